%% The library under what a node does to modules, in a VM of its own.
-module(brod_nif_tests).
-include_lib("eunit/include/eunit.hrl").

-export([outage/0, long_input/0, responsive/0, restarts/0]).

%% The engine's threads go on: the VM must not unmap what they run.
the_module_may_be_purged_and_loaded_again_test_() ->
  {timeout, 60, fun() -> ?assertMatch({match, _}, re:run(in_a_vm(
    "Open = fun() -> {ok, Options} = brod_options:client([{client_id, <<\"c\">>}]),"
    "                {ok, C} = brod_nif:client_open([{<<\"127.0.0.1\">>, 1}], brod_options:engine_config(Options)),"
    "                {error, [_]} = brod_engine:call(C, connect, 2000), ok end,"
    "Run = fun() -> {P, M} = spawn_monitor(Open), receive {'DOWN', M, process, P, R} -> normal = R end end,"
    "[begin Run(), true = code:delete(brod_nif), _ = code:purge(brod_nif), erlang:garbage_collect() end"
    " || _ <- lists:seq(1, 5)],"
    "Run(), io:format(\"all is well~n\")"), "all is well"))
  end}.

%% A release upgrade loads each module anew while the node works.
the_module_may_be_loaded_again_under_load_test_() ->
  {timeout, 60, fun() -> ?assertMatch({match, _}, re:run(in_a_vm(
    open() ++
    "C = Open(),"
    "[begin {module, brod_nif} = code:load_file(brod_nif), {error, [_]} = brod_engine:call(C, connect, 2000),"
    "       _ = Open(), true = code:soft_purge(brod_nif) end || _ <- lists:seq(1, 20)],"
    "{error, [_]} = brod_engine:call(C, connect, 2000), io:format(\"all is well~n\")"), "all is well"))
  end}.

%% A new release has a library of its own, which takes no handles of the old one: the old one goes on, until nothing runs
%% on it and the module is gone.
a_new_release_goes_on_with_the_engine_that_runs_test_() ->
  {timeout, 60, fun() ->
    Dir = new_release(),
    ?assertMatch({match, _}, re:run(in_a_vm(
      open() ++
      "Libraries = fun() -> {ok, Maps} = file:read_file(\"/proc/self/maps\"),"
      "                     lists:usort([L || Line <- string:lexemes(Maps, \"\\n\"), L <- [lists:last(string:lexemes(Line, \" \"))],"
      "                                       string:find(L, \"brod_nif\") =/= nomatch]) end,"
      "C = Open(), IsLinux = os:type() =:= {unix, linux}, Before = [Libraries() || IsLinux],"
      "true = code:add_patha(" ++ io_lib:format("~p", [filename:join(Dir, "ebin")]) ++ "),"
      "[begin {module, brod_nif} = code:load_file(brod_nif), {error, [_]} = brod_engine:call(C, connect, 2000),"
      "       _ = Open(), true = code:soft_purge(brod_nif) end || _ <- [1, 2]],"
      "true = lists:prefix(" ++ io_lib:format("~p", [Dir]) ++ ", code:which(brod_nif)),"
      "Before = [Libraries() || IsLinux],"
      "ok = brod_nif:client_close(C), true = code:delete(brod_nif), _ = code:purge(brod_nif),"
      "_ = Open(), true = length(hd([Libraries() || IsLinux] ++ [[1, 2]])) =:= 2,"
      "io:format(\"all is well~n\")"), "all is well"))
  end}.

%% What a new library finds of another one's is not its own: it is refused, and the old one goes on.
a_library_takes_nothing_over_from_another_one_test_() ->
  {timeout, 60, fun() ->
    Dir = new_release(),
    Shown = in_a_vm(
      open() ++
      "C = Open(), true = code:add_patha(" ++ io_lib:format("~p", [filename:join(Dir, "ebin")]) ++ "),"
      "true = persistent_term:erase(brod_nif),"
      "{error, on_load_failure} = code:load_file(brod_nif), {error, [_]} = brod_engine:call(C, connect, 2000),"
      "io:format(\"all is well~n\"), timer:sleep(100)"),
    ?assertMatch({match, _}, re:run(Shown, "all is well")),
    ?assertMatch({match, _}, re:run(Shown, "upgrade"))
  end}.

%% The engine's threads are the node's, and there once. They are not waited for: none is to end.
the_application_may_be_stopped_and_started_under_load_test_() ->
  {timeout, 60, fun() -> ?assertMatch({match, _}, re:run(in_a_vm("brod_nif_tests:restarts()"), "all is well")) end}.

%% The same process of the system begins anew: modules go and come back.
the_node_may_be_restarted_test_() ->
  {timeout, 60, fun() -> ?assertMatch({match, _}, re:run(in_a_vm(
    open() ++
    "{ok, _} = application:ensure_all_started(brod), _ = Open(),"
    "case os:getenv(\"BROD_RESTARTED\", \"0\") of"
    "  \"2\" -> io:format(\"all is well~n\");"
    "  N -> os:putenv(\"BROD_RESTARTED\", integer_to_list(list_to_integer(N) + 1)), init:restart(),"
    "       receive never -> ok end "
    "end"), "all is well"))
  end}.

%% @private
restarts() ->
  logger:set_primary_config(level, none),
  {ok, Socket} = listen(0),
  {ok, Port} = inet:port(Socket),
  _ = spawn_link(fun() -> serve(Socket, Port, Port) end),
  Round = fun() ->
    {ok, _} = application:ensure_all_started(brod),
    ok = brod:start_client([{"127.0.0.1", Port}], c, [{query_api_versions, false}]),
    ok = brod:start_producer(c, <<"t">>, []),
    %% nobody answers: they are in the middle of it when all ends
    [spawn(fun() -> catch brod:produce_sync(c, <<"t">>, 0, <<>>, <<"v">>) end) || _ <- lists:seq(1, 10)],
    ok = application:stop(brod),
    {threads(), length(processes())}
  end,
  {Threads, Processes} = Round(),
  Later = [Round() || _ <- lists:seq(1, 20)],
  [Threads] = lists:usort([T || {T, _} <- Later]),
  Settled = fun() -> length(processes()) =< Processes + 10 end,
  wait_for(Settled, erlang:monotonic_time(millisecond) + 10000),
  true = Settled(),
  io:format("all is well~n").

%% Of the engine, where the system tells (Linux).
threads() ->
  length([Task || Task <- filelib:wildcard("/proc/self/task/*"), {ok, <<"brod", _/binary>>} <- [file:read_file(Task ++ "/comm")]]).

open() ->
  "Open = fun() -> {ok, Options} = brod_options:client([{client_id, <<\"c\">>}]),"
  "                {ok, C} = brod_nif:client_open([{<<\"127.0.0.1\">>, 1}], brod_options:engine_config(Options)),"
  "                {error, [_]} = brod_engine:call(C, connect, 2000), C end,".

%% A copy of the module and its library, where a release of another version has them.
new_release() ->
  Dir = filename:join([filename:dirname(code:which(?MODULE)), "new_release", "brod-99.0.0"]),
  Ebin = filename:join(Dir, "ebin"),
  Library = filename:join([Dir, "priv", "brod_nif.so"]),
  ok = filelib:ensure_dir(filename:join(Ebin, "x")),
  ok = filelib:ensure_dir(Library),
  {ok, _} = file:copy(code:which(brod_nif), filename:join(Ebin, "brod_nif.beam")),
  {ok, _} = file:copy(filename:join(code:priv_dir(brod), "brod_nif.so"), Library),
  Dir.

%% One line for a broker that cannot be reached, and one when it is back, seen with OTP's default handler.
outages_are_seen_test_() ->
  {timeout, 60, fun() ->
    Shown = in_a_vm("brod_nif_tests:outage()"),
    Lines = fun(Text) -> length(string:split(Shown, Text, all)) - 1 end,
    ?assertEqual({1, 1, Shown}, {Lines("Client c: broker lost, broker 127.0.0.1:"),
                                 Lines("Client c: broker back, broker 127.0.0.1:"), Shown})
  end}.

%% @private A cluster of two brokers, the second of which leads the topic and listens only later.
outage() ->
  {ok, Socket} = listen(0),
  {ok, Port} = inet:port(Socket),
  {ok, Later} = listen(0),
  {ok, Dead} = inet:port(Later),
  ok = gen_tcp:close(Later),
  _ = spawn_link(fun() -> serve(Socket, Port, Dead) end),
  {ok, _} = application:ensure_all_started(brod),
  Log = brod_log:start(),
  ok = brod:start_client([{"127.0.0.1", Port}], c, [{query_api_versions, false}]),
  [{error, _} = brod:fetch(c, <<"t">>, 0, 0) || _ <- [1, 2]],
  {ok, Back} = listen(Dead),
  _ = spawn_link(fun() -> serve(Back, Port, Dead) end),
  {error, _} = brod:fetch(c, <<"t">>, 0, 0),
  wait_for(fun() -> brod_log:has(Log, "broker back") end, erlang:monotonic_time(millisecond) + 10000),
  brod_log:stop(Log),
  ok = brod:stop_client(c).

%% What has much to decode is told from what has not without looking at all of it.
long_input_is_left_to_dirty_schedulers_test_() ->
  {timeout, 60, fun() -> ?assertMatch({match, _}, re:run(in_a_vm("brod_nif_tests:long_input()"), "all is well")) end}.

%% @private
long_input() ->
  Client = client(),
  Topics = fun(N) -> [#{name => integer_to_binary(I), num_partitions => 1, replication_factor => 1,
                        assignments => [], configs => []} || I <- lists:seq(1, N)] end,
  Options = #{timeout => 1000, validate_only => false},
  Names = [integer_to_binary(I) || I <- lists:seq(1, 10000)],
  Numbers = lists:seq(1, 1000000),
  Assigned = [#{name => <<"t">>, configs => [],
                assignments => [#{partition_index => I, broker_ids => [1]} || I <- lists:seq(1, 10000)]}],
  [begin
     {Us, Results} = quickest(fun() -> brod_nif:op(Client, make_ref(), Op, 1000) end),
     ?assertEqual([dirty], Results),
     ?assert(Us < 1000, {Us, element(1, Op)}),
     Ref = make_ref(),
     ok = brod_nif:op_dirty(Client, Ref, Op, 1000),
     receive {brod_reply, Ref, {error, _}} -> ok end
   end || Op <- [{create_topics, Topics(10000), Options},
                 {create_topics, Topics(101), Options},
                 {create_topics, Assigned, Options},
                 {delete_topics, Names, 1000},
                 {metadata, Names, false},
                 {describe_groups, Names},
                 {offset_fetch, <<"g">>, [{<<"t">>, Numbers}]}]],
  Few = {create_topics, Topics(100), Options},
  {Us, _} = quickest(fun() -> brod_nif:op(Client, make_ref(), Few, 1000) end),
  ?assert(Us < 1000, Us),
  [?assertError(badarg, Call(Client, make_ref(), Op, 1000))
   || Call <- [fun brod_nif:op/4, fun brod_nif:op_dirty/4],
      Op <- [{metadata, [<<"a">> | <<"b">>], false}, {delete_topics, [<<"a">> | b], 1000},
             {describe_groups, [<<"g">> | <<"h">>]}, {create_topics, [#{name => <<"a">>} | b], Options},
             {create_topics, [#{name => <<"a">>, configs => [#{name => <<"c">>} | d]}], Options},
             {offset_fetch, <<"g">>, [{<<"t">>, [0 | 1]}]}, {offset_fetch, <<"g">>, [{<<"t">>, [0]} | t]}]],
  io:format("all is well~n").

%% A preempted call says nothing of the others.
quickest(Fun) ->
  {Times, Results} = lists:unzip([timer:tc(Fun) || _ <- lists:seq(1, 20)]),
  {lists:min(Times), lists:usort(Results)}.

%% The only scheduler of a VM goes on with other processes while large terms are copied.
large_terms_are_copied_on_dirty_schedulers_test_() ->
  {timeout, 60, fun() -> ?assertMatch({match, _}, re:run(in_a_vm("brod_nif_tests:responsive()", "+S 1:1"),
                                                         "all is well")) end}.

%% @private
responsive() ->
  Client = client(),
  Large = lists:seq(1, 3000000),
  Names = [integer_to_binary(I) || I <- lists:seq(1, 300000)],
  {ok, Options} = brod_options:producer([]),
  Config = (brod_producer_options:engine_config(Options))#{telemetry => false},
  {ok, Group} = group(Client),
  [?assertNot(stops_others(Call, 10), What) || {What, Call} <-
     [{producer_close, fun() ->
         {ok, Producer} = brod_nif:producer_open(Client, <<"t">>, 0, Config),
         brod_nif:producer_close(Producer, Large, self())
       end},
      {group_join, fun() -> brod_nif:group_join(Group, 1, Names, <<>>) end}]],
  Name = binary:copy(<<"x">>, 100000000),
  {Us, [{error, invalid_topic_exception}]} = quickest(fun() -> brod_nif:producer_open(Client, Name, 0, Config) end),
  ?assert(Us < 1000, Us),
  io:format("all is well~n").

%% Whether no other process runs for at least half of the call, each time: the machine has other work, too.
stops_others(_Call, 0) -> true;
stops_others(Call, Tries) ->
  Self = self(),
  Ticker = spawn_link(fun() -> tick(Self, erlang:monotonic_time(microsecond), 0) end),
  receive ticks -> ok end,
  {Us, _} = timer:tc(Call),
  Ticker ! stop,
  Gap = receive {longest_gap, Longest} -> Longest end,
  ?assert(Us > 5000, Us),
  Gap >= Us div 2 andalso stops_others(Call, Tries - 1).

tick(Test, Last, Longest) ->
  Longest =:= 0 andalso (Test ! ticks),
  Now = erlang:monotonic_time(microsecond),
  receive stop -> Test ! {longest_gap, Longest}
  after 0 -> tick(Test, Now, max(Longest, max(1, Now - Last)))
  end.

client() ->
  {ok, Options} = brod_options:client([{client_id, <<"c">>}]),
  {ok, Client} = brod_nif:client_open([{<<"127.0.0.1">>, 1}], brod_options:engine_config(Options)),
  Client.

group(Client) ->
  {ok, Options} = brod_group_options:new([]),
  brod_nif:group_open(Client, brod_group_options:engine_config(<<"g">>, false, Options)).

wait_for(Fun, Deadline) ->
  Fun() orelse erlang:monotonic_time(millisecond) > Deadline orelse
    begin erlang:yield(), wait_for(Fun, Deadline) end.

listen(Port) ->
  gen_tcp:listen(Port, [binary, {packet, 4}, {active, false}, {reuseaddr, true}, {ip, {127, 0, 0, 1}}]).

serve(Socket, Port, Dead) ->
  {ok, Connection} = gen_tcp:accept(Socket),
  Pid = spawn(fun() -> receive go -> answer(Connection, Port, Dead) end end),
  ok = gen_tcp:controlling_process(Connection, Pid),
  Pid ! go,
  serve(Socket, Port, Dead).

%% Metadata of version 0; hangs up on everything else.
answer(Connection, Port, Dead) ->
  case gen_tcp:recv(Connection, 0) of
    {ok, <<3:16, 0:16, Correlation:32, _/binary>>} ->
      Broker = fun(Node, At) -> <<Node:32, 9:16, "127.0.0.1", At:32>> end,
      ok = gen_tcp:send(Connection, [<<Correlation:32, 2:32>>, Broker(1, Port), Broker(2, Dead),
                                     <<1:32, 0:16, 1:16, "t", 1:32, 0:16, 0:32, 2:32, 1:32, 2:32,
                                       1:32, 2:32>>]),
      answer(Connection, Port, Dead);
    _ ->
      gen_tcp:close(Connection)
  end.

in_a_vm(Code) -> in_a_vm(Code, "").

in_a_vm(Code, Flags) ->
  Paths = [filename:dirname(code:which(Module)) || Module <- [brod_options, ?MODULE]],
  os:cmd("erl -noshell " ++ Flags ++ " -pa " ++ lists:append(lists:join(" ", Paths)) ++ " -eval '" ++
         re:replace(Code, "'", "'\\\\''", [global, {return, list}]) ++ ", init:stop().'").
