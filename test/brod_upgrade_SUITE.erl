%% Upgrades of a release under load: every module is loaded anew, with code that differs, and old code is purged.
-module(brod_upgrade_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include("../include/brod.hrl").

-compile([export_all, nowarn_export_all]).

-define(LIMIT_MS, 30000).
-define(ROUNDS, 3).
-define(config(Key, Config), proplists:get_value(Key, Config)).

all() ->
  [the_library_is_loaded_again_under_load, a_new_release_with_its_library_is_loaded_under_load,
   a_release_is_upgraded_under_load].

init_per_suite(Config) -> brod_test:init_suite(Config).

end_per_suite(_Config) -> application:stop(brod).

end_per_testcase(_Case, _Config) ->
  [ok = brod:stop_client(Client) || {Client, _, _, _} <- brod_supervisor3:which_children(brod_sup)],
  _ = code:del_path("brod-99.0.0"),
  lists:foreach(fun load/1, modules()).

the_library_is_loaded_again_under_load(_) ->
  brod_load:run(client(), fun() ->
    [begin load(brod_nif), wait(50) end || _ <- lists:seq(1, 40)]
  end).

%% As a release has it: a folder of the new version, with a library of its own. What runs goes on where it is.
a_new_release_with_its_library_is_loaded_under_load(Config) ->
  Dir = filename:join(?config(priv_dir, Config), "brod-99.0.0"),
  {Old, New} = {filename:dirname(code:which(brod_nif)), filename:join(Dir, "ebin")},
  [begin
     To = filename:join([Dir, Folder, File]),
     ok = filelib:ensure_dir(To),
     {ok, _} = file:copy(filename:join(From, File), To)
   end || {From, Folder, File} <- [{Old, "ebin", "brod_nif.beam"}, {code:priv_dir(brod), "priv", "brod_nif.so"}]],
  brod_load:run(client(), fun() ->
    [begin
       true = Change(Path),
       load(brod_nif),
       ?assertEqual(Now, filename:dirname(code:which(brod_nif))),
       %% clients that come and go
       {ok, _} = brod:get_metadata(brod_test:bootstrap(), []),
       wait(200)
     end || _ <- [1, 2], {Change, Path, Now} <- [{fun code:add_patha/1, New, New}, {fun code:del_path/1, New, Old}]]
  end).

%% Subscribers, groups and sessions of SASL that are renewed go on, in the same processes.
a_release_is_upgraded_under_load(_) ->
  Client = client(),
  Topic = brod_test:create_topic(2),
  ok = brod:start_producer(Client, Topic, []),
  Self = self(),
  Tell = fun(_Partition, #kafka_message{value = Value}, State) -> Self ! {subscriber, Value}, {ok, ack, State} end,
  {ok, Subscriber} = brod_topic_subscriber:start_link(Client, Topic, all, [{begin_offset, earliest}], [], message,
                                                      Tell, no_state),
  [Group1, Group2] = [brod_test:unique("g"), brod_test:unique("g")],
  V1 = brod_group_probe:v1(v1, client(), Group1, [Topic]),
  V2 = brod_group_probe:v2(v2, client(), Group2, [Topic]),
  Ticker = spawn_link(fun() -> Self ! {self(), tick(Client, Topic, 0)} end),
  Infos = [receive {probe, v2, {init, Topic, P, _Worker, Info}} -> Info after ?LIMIT_MS -> error(no_member) end
           || P <- [0, 1]],
  First = receive {subscriber, Value} -> Value after ?LIMIT_MS -> error(nothing_consumed) end,
  brod_load:run(secure_client(), fun() ->
    Before = lasting_processes(),
    [upgrade(Number) || Number <- lists:seq(1, ?ROUNDS)],
    ?assertEqual([], [Gone || {Pid, _} = Gone <- Before, not is_process_alive(Pid)]),
    %% a session ends each 5 s: the next one begins with what the client was given before
    wait(6000)
  end),
  Ticker ! stop,
  Count = receive {Ticker, N} -> N after ?LIMIT_MS -> error(still_running) end,
  ?assert(Count > 100),
  Values = brod_test:numbers(0, Count - 1),
  ?assertEqual(lists:sort(Values), lists:sort([First | [subscribed() || _ <- tl(Values)]])),
  [?assertEqual(lists:sort(Values), lists:sort([handled(Tag) || _ <- Values])) || Tag <- [v1, v2]],
  %% funs that users were given before
  [ok = Ack(0) || #{ack_fun := Ack} <- Infos],
  ok = brod_topic_subscriber:stop(Subscriber),
  ok = brod_group_subscriber_v2:stop(V2),
  ok = brod_group_subscriber:stop(V1),
  [receive Twice -> ?assertNotMatch({subscriber, _}, Twice),
                    ?assertNotMatch({probe, _, {handled, _, _, _}}, Twice)
   after 0 -> ok
   end || _ <- lists:seq(1, element(2, process_info(self(), message_queue_len)))],
  [?assertEqual(Count, lists:sum([Offset || #{partitions := Partitions} <- committed(Client, Group),
                                            #{committed_offset := Offset} <- Partitions]))
   || Group <- [Group1, Group2]],
  ok = brod:stop_client(Client).

%%% helpers

client() ->
  Client = brod_test:unique_name("upgraded"),
  ok = brod:start_client(brod_test:bootstrap(), Client),
  Client.

%% Where the cluster has them: sessions that end, with a password that the client keeps in a fun.
secure_client() ->
  case os:getenv("BROD_BOOTSTRAP_REAUTH") of
    false -> client();
    _ ->
      Client = brod_test:unique_name("upgraded"),
      ok = brod:start_client(brod_security:endpoints(reauth), Client, [{sasl, {plain, "alice", "alice-secret"}}]),
      Client
  end.

tick(Client, Topic, Number) ->
  receive
    stop -> Number
  after 2 ->
    ok = brod:produce_sync(Client, Topic, Number rem 2, <<>>, integer_to_binary(Number)),
    tick(Client, Topic, Number + 1)
  end.

subscribed() ->
  receive {subscriber, Value} -> Value after ?LIMIT_MS -> error(messages_are_missing) end.

handled(Tag) ->
  receive {probe, Tag, {handled, _, _, #kafka_message{value = Value}}} -> Value
  after ?LIMIT_MS -> error({messages_are_missing, Tag})
  end.

committed(Client, Group) ->
  {ok, Topics} = brod:fetch_committed_offsets(Client, Group),
  Topics.

%% All modules but the one whose funs live on are another version afterwards.
upgrade(Number) ->
  [begin
     Code = changed(Module, Number),
     soft_purge(Module),
     {module, Module} = code:load_binary(Module, code:which(Module), Code),
     Number = Module:number_of_the_upgrade()
   end || Module <- modules() -- [brod_closures]],
  load(brod_closures).

changed(Module, Number) ->
  {ok, {Module, [{abstract_code, {raw_abstract_v1, Forms}}]}} =
    beam_lib:chunks(beam_of(Module), [abstract_code]),
  Name = number_of_the_upgrade,
  Added = [{attribute, 0, export, [{Name, 0}]}, {function, 0, Name, 0, [{clause, 0, [], [], [{integer, 0, Number}]}]}],
  {Head, Eof} = lists:split(length(Forms) - 1, Forms),
  {Attributes, Functions} = lists:splitwith(fun(Form) -> element(1, Form) =/= function end, Head),
  [Export, Function] = Added,
  {ok, Module, Code} = compile:forms(Attributes ++ [Export] ++ Functions ++ [Function] ++ Eof, []),
  Code.

beam_of(Module) -> filename:join([code:lib_dir(brod), "ebin", atom_to_list(Module) ++ ".beam"]).

modules() ->
  {ok, Modules} = application:get_key(brod, modules),
  [Module || Module <- Modules, lists:prefix("brod", atom_to_list(Module)), filelib:is_file(beam_of(Module)),
             not is_a_test(Module)].

is_a_test(Module) ->
  Source = proplists:get_value(source, Module:module_info(compile), ""),
  filename:basename(filename:dirname(Source)) =:= "test".

load(Module) ->
  soft_purge(Module),
  {module, Module} = code:load_file(Module).

%% Whoever is in the middle of a call gets out of it; a process that never does would be killed by an upgrade.
soft_purge(Module) ->
  brod_test:wait_until(fun() -> code:soft_purge(Module) end, ?LIMIT_MS).

%% brod's processes but those that live for a moment.
lasting_processes() ->
  [{Pid, Call} || Pid <- processes(), {Module, _, _} = Call <- [proc_lib:translate_initial_call(Pid)],
                  lists:prefix("brod", atom_to_list(Module)), not is_a_test(Module), not is_leaving(Pid, Module)].

%% A dispatcher outlives its client for a moment.
is_leaving(Pid, brod_dispatcher) -> process_info(Pid, monitors) =:= {monitors, []};
is_leaving(_, _) -> false.

wait(Ms) -> receive after Ms -> ok end.
