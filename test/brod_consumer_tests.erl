%% The process of a consumer, with an engine that the test plays (brod_fake_nif).
-module(brod_consumer_tests).
-include_lib("eunit/include/eunit.hrl").
-include("brod_int.hrl").

-define(T, <<"topic">>).
-define(LIMIT_MS, 20000).

consumer_test_() ->
  [{Name, {spawn, {timeout, 30, fun() -> setup(), try Test() after cleanup() end end}}} ||
    {Name, Test} <- [{"fetch errors", fun fetch_errors/0},
                     {"an error of a former subscription", fun stale_error/0},
                     {"an error from before a seek", fun error_before_seek/0},
                     {"a seek that fails", fun failed_seek/0},
                     {"numbers that are too large", fun large_numbers/0},
                     {"re-subscribing with other options", fun other_options/0},
                     {"the engine goes down", fun engine_down/0},
                     {"check_connectivity", fun connectivity/0},
                     {"debug", fun debug/0},
                     {"what is shown of it has no payloads and no secrets", fun shown/0},
                     {"a second consumer of the partition", fun second_consumer/0},
                     {"a consumer that was killed leaves nothing", fun killed/0},
                     {"a registered name as subscriber", fun registered_name/0},
                     {"wrong arguments hurt their caller only", fun wrong_arguments/0},
                     {"a leader that cannot be reached", fun unreachable/0},
                     {"a connection without a client", fun connection/0},
                     {"a client that goes and comes back", fun client_comes_back/0},
                     {"a subscriber on another node", fun remote_subscriber/0}]].

setup() ->
  process_flag(trap_exit, true),
  put(consumers, []),
  ?BROD_HANDLES = ets:new(?BROD_HANDLES, [named_table, public]),
  ok = brod_fake_nif:load([]),
  ok = brod_fake_nif:watch(self()),
  set_active(false).

cleanup() ->
  %% linked to this process, and to end before the engine does
  [brod_consumer:stop(Pid) || Pid <- get(consumers)],
  ok = brod_fake_nif:unload(),
  ets:delete(?BROD_HANDLES).

set_active(Active) -> brod_fake_nif:answer(consumer_info, #{next_offset => 5, active => Active}).

start() -> start({[{"localhost", 1}], []}).

start(Bootstrap) ->
  {ok, Pid} = brod_consumer:start_link(Bootstrap, ?T, 0, []),
  put(consumers, [Pid | get(consumers)]),
  receive {open_consumer, ?T, 0} -> ok after ?LIMIT_MS -> error(not_opened) end,
  Pid.

%% Returns how the engine would send an error.
subscribe(Pid, Options) ->
  ok = brod_consumer:subscribe(Pid, self(), Options),
  {Handle, Number, _} = subscribed(Pid),
  fun(Code, Desc) -> Pid ! {brod_fetch_error, Handle, Number, Code, Desc} end.

subscribed(Pid) ->
  receive {subscribe, Pid, Handle, _, Number, Options} -> {Handle, Number, Options}
  after ?LIMIT_MS -> error(timeout)
  end.

exit_reason(Pid) ->
  receive {'EXIT', Pid, Reason} -> Reason after ?LIMIT_MS -> error(alive) end.

error_of(Pid) ->
  receive {Pid, #kafka_fetch_error{error_code = Code, error_desc = Desc}} -> {Code, Desc}
  after ?LIMIT_MS -> error(timeout)
  end.

%% After a call to the process all that was sent to it before has been handled.
nothing_from(Pid) ->
  _ = brod_consumer:info(Pid),
  receive {Pid, What} -> error({unexpected, What}) after 0 -> ok end.

fetch_errors() ->
  Log = brod_log:start(),
  [begin
     Pid = start(),
     Error = subscribe(Pid, []),
     Error(Code, <<"why">>),
     ?assertEqual({Code, "why"}, error_of(Pid)),
     ?assertEqual(Reason, exit_reason(Pid))
   end || {Code, Reason} <- [{invalid_topic_exception, normal},
                             {topic_authorization_failed, {restart, topic_authorization_failed}}]],
  %% One line each, and no reports with the whole state.
  ?assertMatch([_, _], brod_log:all(Log, "consumer of topic-0 stops: why")),
  ?assertEqual([], brod_log:all(Log, "terminating") ++ brod_log:all(Log, "crasher")),
  Pid = start(),
  Error = subscribe(Pid, []),
  Error(message_too_large, <<"why">>),
  ?assertEqual({message_too_large, "why"}, error_of(Pid)),
  %% Behind the line.
  _ = brod_consumer:info(Pid),
  ?assertMatch([_], brod_log:all(Log, "consumer of topic-0 waits for a seek: why")),
  ok = brod_log:stop(Log),
  Error(offset_out_of_range, <<"why">>),
  ?assertEqual({offset_out_of_range, []}, error_of(Pid)),
  ?assertMatch(#{subscriber := Self} when Self =:= self(), brod_consumer:info(Pid)).

shown() ->
  Pid = start({[{"localhost", 1}], [{sasl, {plain, "user", "secret password"}}]}),
  _ = subscribe(Pid, [{prefetch_count, 3}]),
  Self = self(),
  Status = brod_consumer:format_status(#{state => sys:get_state(Pid), reason => oops,
                                         message => {sent, "secret message"}, log => ["secret event"]}),
  ?assertEqual(nomatch, string:find(io_lib:format("~p", [Status]), "secret")),
  ?assertMatch(#{message := sent, reason := oops, log := [],
                 state := #{topic := ?T, partition := 0, subscriber := Self, subscriptions := 1,
                            options := #{prefetch_count := 3}}}, Status).

stale_error() ->
  Pid = start(),
  Stale = subscribe(Pid, []),
  _ = subscribe(Pid, [{begin_offset, 3}]),
  Stale(offset_out_of_range, <<>>),
  Stale(corrupt_message, <<>>),
  nothing_from(Pid).

error_before_seek() ->
  Pid = start(),
  Error = subscribe(Pid, []),
  ok = brod_consumer:seek(Pid, 3),
  set_active(true),
  Error(offset_out_of_range, <<>>),
  nothing_from(Pid).

failed_seek() ->
  Pid = start(),
  Error = subscribe(Pid, []),
  ok = brod_fake_nif:answer(consumer_seek, {error, leader_not_available}),
  ?assertEqual({error, leader_not_available}, brod_consumer:seek(Pid, latest)),
  ?assertMatch(#{subscriber := Self} when Self =:= self(), brod_consumer:info(Pid)),
  Error(offset_out_of_range, <<>>),
  ?assertEqual({offset_out_of_range, []}, error_of(Pid)),
  ok = brod_fake_nif:answer(consumer_seek, ok),
  [begin
     ?assertEqual(ok, brod_consumer:seek(Pid, To)),
     receive {seek, Sent} -> ok after ?LIMIT_MS -> error(timeout) end
   end || {To, Sent} <- [{latest, latest}, {-2, earliest}, {{timestamp, 8}, {timestamp, 8}}]].

large_numbers() ->
  Pid = start(),
  _ = subscribe(Pid, []),
  Large = 1 bsl 63,
  [?assertEqual({error, {bad_option, Key, Value}}, brod_consumer:subscribe(Pid, self(), [{Key, Value}]))
   || {Key, Value} <- [{begin_offset, Large}, {begin_offset, {timestamp, Large}}]],
  [?assertEqual({error, {bad_option, begin_offset, To}}, brod_consumer:seek(Pid, To))
   || To <- [Large, {timestamp, Large}, -3]],
  ok = brod_consumer:seek(Pid, Large - 1),
  %% as from another node
  gen_server:cast(Pid, {ack, Large}),
  gen_server:cast(Pid, {ack, 7}),
  receive {ack, _, 7} -> ok after ?LIMIT_MS -> error(timeout) end.

other_options() ->
  Pid = start(),
  ok = brod_consumer:subscribe(Pid, self(), [{prefetch_count, 3}, {size_stat_window, 7},
                                             {share_leader_conn, true}]),
  ?assertMatch({_, _, #{prefetch_count := 3, begin_offset := latest}}, subscribed(Pid)),
  ok = brod_consumer:subscribe(Pid, self(), [{max_bytes, 10}]),
  ?assertMatch({_, _, #{prefetch_count := 3, max_bytes := 10, begin_offset := 5}}, subscribed(Pid)),
  %% as if none was given
  [begin
     ok = brod_consumer:subscribe(Pid, self(), Given),
     ?assertMatch({_, _, #{begin_offset := 5}}, subscribed(Pid))
   end || Given <- [[{begin_offset, undefined}], #{begin_offset => nil}]].

engine_down() ->
  Pid = start(),
  Pid ! {brod_engine_down, <<"panic">>},
  ?assertEqual({engine_down, <<"panic">>}, exit_reason(Pid)).

connectivity() ->
  Pid = start(),
  Answer = fun(Result) -> brod_fake_nif:answer(op, Result) end,
  Answer({ok, 7}),
  ?assertEqual(ok, brod_consumer:check_connectivity(Pid, 1000)),
  ?assertEqual(ok, brod_consumer:check_connectivity(Pid, infinity)),
  [receive {op, {list_offsets, ?T, 0, -1}, Limit} when is_integer(Limit) -> ok end || _ <- [1, 2]],
  Answer({error, [{"localhost", 1, econnrefused}]}),
  ?assertEqual({error, [{{"localhost", 1}, {econnrefused, []}}]},
               brod_consumer:check_connectivity(Pid, 1000)),
  Answer({error, timeout}),
  ?assertEqual({error, timeout}, brod_consumer:check_connectivity(Pid, 1000)),
  ok = sys:suspend(Pid),
  ?assertEqual({error, timeout}, brod_consumer:check_connectivity(Pid, 1)),
  ok = sys:resume(Pid),
  ?assertEqual(undefined, brod_consumer:get_connection(Pid)),
  ok = brod_consumer:stop(Pid),
  normal = exit_reason(Pid),
  ?assertEqual({error, noproc}, brod_consumer:check_connectivity(Pid, 1000)),
  ?assertEqual({error, noproc}, brod_consumer:get_connection(Pid)).

debug() ->
  Pid = start(),
  File = filename:join(filename:basedir(user_cache, "brod"), "consumer_debug.log"),
  ok = filelib:ensure_dir(File),
  ok = brod_consumer:debug(Pid, File),
  _ = brod_consumer:info(Pid),
  ok = brod_consumer:debug(Pid, none),
  {ok, Log} = file:read_file(File),
  ok = file:delete(File),
  ?assertNotEqual(nomatch, binary:match(Log, <<"info">>)),
  ok = brod_consumer:debug(Pid, print),
  ok = brod_consumer:debug(Pid, none).

with_client(Engine) ->
  Table = ets:new(client, [public]),
  Context = #{engine => Engine, endpoints => [{"localhost", 1}], options => #{}, table => Table},
  Test = self(),
  Register = fun(_, T, P) ->
               true = ets:insert(Table, {{consumer, T, P}, self()}),
               Test ! {registered, self()},
               ok
             end,
  brod_fake:load(brod_client, #{{context_here, 1} => fun(_) -> {ok, Context} end,
                                {register_consumer, 3} => Register,
                                {deregister_consumer, 3} => fun(_, _, _) -> Test ! deregistered, ok
                                                            end}).

second_consumer() ->
  %% its engine has a consumer of the partition already
  ok = brod_fake_nif:take_consumers(taken),
  with_client(taken),
  Pid = start(self()),
  receive {registered, Pid} -> ok after ?LIMIT_MS -> error(timeout) end,
  _ = subscribe(Pid, []),
  ok = brod_consumer:stop(Pid),
  receive deregistered -> ok after ?LIMIT_MS -> error(timeout) end,
  brod_fake:unload(brod_client).

registered_name() ->
  Pid = start(),
  true = register(?MODULE, self()),
  ok = brod_consumer:subscribe(Pid, ?MODULE, []),
  Self = self(),
  ?assertMatch({_, 1, _}, subscribed(Pid)),
  ?assertMatch(#{subscriber := Self}, brod_consumer:info(Pid)),
  %% brucke finds out in this way whether a consumer is taken
  ?assertEqual({error, {already_subscribed_by, Self}}, brod_consumer:subscribe(Pid, nobody_has_this_name, [])),
  ok = brod_consumer:unsubscribe(Pid, ?MODULE),
  true = unregister(?MODULE),
  ?assertEqual({error, {no_such_process, ?MODULE}}, brod_consumer:subscribe(Pid, ?MODULE, [])).

wrong_arguments() ->
  Pid = start(),
  [?assertError(badarg, brod_consumer:subscribe(Pid, Subscriber, Options))
   || {Subscriber, Options} <- [{"name", []}, {self(), [a | b]}, {self(), x}]],
  ?assertMatch({error, {bad_option, _, _}}, brod_consumer:subscribe(Pid, self(), [{max_bytes, x}])),
  [?assertError(badarg, brod_consumer:ack(Pid, Offset)) || Offset <- [1 bsl 63, x, 1.0]],
  ok = brod_consumer:subscribe(Pid, self(), []).

unreachable() ->
  Pid = start(),
  ok = brod_fake_nif:answer(consumer_subscribe, {error, [{"localhost", 1, econnrefused}]}),
  ?assertEqual({error, [{{"localhost", 1}, {econnrefused, []}}]},
               brod_consumer:subscribe(Pid, self(), [])).

connection() ->
  Pid = start(),
  ok = brod_fake_nif:answer(op, {ok, {1, <<"localhost">>, 1}}),
  Connection = brod_consumer:get_connection(Pid),
  {ok, #{engine := Engine}} = brod_connection:context(Connection),
  %% the one that the consumer has opened
  ?assertEqual([{<<"localhost">>, 1}], brod_fake_nif:endpoints(Engine)),
  ?assertEqual(Connection, brod_consumer:get_connection(Pid)),
  Monitor = monitor(process, Connection),
  ok = brod_consumer:stop(Pid),
  receive {'DOWN', Monitor, process, Connection, _} -> ok after ?LIMIT_MS -> error(timeout) end.

client_comes_back() ->
  with_client(engine),
  Client = fun() ->
             Pid = spawn(fun() -> receive stop -> exit(shutdown) end end),
             true = register(?MODULE, Pid),
             Pid
           end,
  First = Client(),
  Pid = start(?MODULE),
  ok = brod_consumer:subscribe(Pid, self(), [{begin_offset, 1}]),
  {Former, 1, #{begin_offset := 1}} = subscribed(Pid),
  Monitor = monitor(process, First),
  First ! stop,
  receive {'DOWN', Monitor, process, First, shutdown} -> ok end,
  Down = fun() -> brod_consumer:subscribe(Pid, self(), []) =:= {error, client_down} end,
  brod_test:wait_until(Down, ?LIMIT_MS),
  Second = Client(),
  %% it goes on where the subscriber was
  {Handle, _, #{begin_offset := 5}} = subscribed(Pid),
  ?assertNotEqual(Former, Handle),
  ?assertEqual(Handle, brod_consumer:handle(Pid)),
  Second ! stop,
  ok = brod_consumer:stop(Pid),
  brod_fake:unload(brod_client).

killed() ->
  with_client(engine),
  Killed = start(self()),
  exit(Killed, kill),
  killed = exit_reason(Killed),
  Pid = start(self()),
  ?assertMatch([{Pid, consumer, _}], ets:tab2list(?BROD_HANDLES)),
  ok = brod_consumer:stop(Pid),
  ?assertEqual([], ets:tab2list(?BROD_HANDLES)),
  brod_fake:unload(brod_client).

remote_subscriber() ->
  case brod_test:distributed(fun with_peer/0) of
    {skip, Why} -> ?debugFmt("skipped: ~s", [Why]);
    _ -> ok
  end.

with_peer() ->
  {ok, Peer, Node} = peer:start_link(#{name => peer:random_name()}),
  Remote = remote_echo(Node),
  Pid = start(),
  ok = brod_consumer:subscribe(Pid, Remote, []),
  Former = receiver(Pid),
  deliver(Former, Pid, 1),
  ?assertEqual(1, echoed(Pid)),
  ?assertEqual({error, {already_subscribed_by, Remote}}, brod_consumer:subscribe(Pid, self(), [])),
  ok = brod_consumer:subscribe(Pid, Remote, []),
  Receiver = receiver(Pid),
  %% what is still sent for the former subscription goes nowhere
  deliver(Former, Pid, 2),
  deliver(Receiver, Pid, 3),
  ?assertEqual(3, echoed(Pid)),
  %% an upgrade of the module does not find it in the old code
  brod_test:wait_until(fun() -> process_info(Receiver, current_function) =:=
                                  {current_function, {erlang, hibernate, 3}} end, ?LIMIT_MS),
  ok = brod_consumer:unsubscribe(Pid, Remote),
  ?assertNot(is_process_alive(Receiver)),
  ok = peer:stop(Peer).

receiver(Pid) ->
  receive {subscribe, Pid, _, Receiver, _, _} ->
    ?assertEqual(node(), node(Receiver)),
    Receiver
  after ?LIMIT_MS -> error(timeout)
  end.

deliver(Receiver, Pid, Offset) ->
  Receiver ! {Pid, #kafka_message_set{messages = [#kafka_message{offset = Offset}]}}.

echoed(Pid) ->
  receive {echo, {Pid, #kafka_message_set{messages = [#kafka_message{offset = Offset}]}}} -> Offset
  after ?LIMIT_MS -> error(timeout)
  end.

%% A process of the peer without code of ours: it evaluates an expression.
remote_echo(Node) ->
  Text = "fun(Fun, Test) -> receive M -> Test ! {echo, M} end, Fun(Fun, Test) end.",
  {ok, Tokens, _} = erl_scan:string(Text),
  {ok, [Fun]} = erl_parse:parse_exprs(Tokens),
  erlang:spawn(Node, erl_eval, exprs,
               [[{match, 1, {var, 1, 'F'}, Fun},
                 {call, 1, {var, 1, 'F'}, [{var, 1, 'F'}, {var, 1, 'T'}]}],
                #{'T' => self()}]).
