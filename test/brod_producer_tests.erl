%% The producer's process and its callers, against an engine in Erlang (brod_fake_nif).
-module(brod_producer_tests).
-include_lib("eunit/include/eunit.hrl").
-include("brod_int.hrl").

-define(LIMIT_MS, 20000).
-define(C, brod_producer_tests_client).
-define(T, <<"topic">>).
-define(UP, [{"localhost", 9092}]).

all_test_() ->
  {foreach, fun setup/0, fun teardown/1,
   [{Title, {timeout, 30, fun() -> process_flag(trap_exit, true), Test() end}}
    || {Title, Test} <- tests()]}.

tests() ->
  [ {"a stand-alone producer works again when its client is back", fun client_comes_back/0}
  , {"a stand-alone producer of a client's pid ends with the next call, not with the client", fun client_was_a_pid/0}
  , {"a client that was stopped is no reason to warn", fun quiet_when_stopped/0}
  , {"calls of other nodes wait for the client, and are refused when the producer is stopped",
     fun parked/0}
  , {"after an error of produce_cb the callback does not run", fun callback_of_a_timeout/0}
  , {"a call of another node that is given up is not made any more", fun cancelled/0}
  , {"callbacks of arity 2 of calls that failed are counted in the log", fun untold_callbacks/0}
  , {"dropped messages are counted in the log and by telemetry", fun dropped/0}
  , {"a producer that was killed with acks in its mailbox is an error in the log", fun lost_acks/0}
  , {"a producer that an error ends says so once", fun ended/0}
  , {"a crash report has counts and no payloads", fun status/0}
  , {"producers that wait for their restart are started at once when asked for", fun already_present/0}
  , {"what is wrong with an argument is named", fun arguments/0}
  , {"only who has produced can wait for the reply", fun foreign_reply/0}
  , {"who waits for an ack for longer sees the producer end", fun watched/0}
  ].

setup() ->
  logger:set_primary_config(level, notice),
  process_flag(trap_exit, true),
  ok = brod_fake_nif:load([{?T, 2}]),
  {ok, Sup} = brod_sup:start_link(),
  {Sup, brod_log:start()}.

teardown({Sup, Log}) ->
  MRef = monitor(process, Sup),
  exit(Sup, shutdown),
  receive {'DOWN', MRef, process, Sup, _} -> ok end,
  application:unset_env(brod, produce_room_timeout),
  ok = brod_fake_nif:unload(),
  ok = brod_log:stop(Log),
  flush().

flush() -> receive _ -> flush() after 0 -> ok end.

started() -> ok = brod:start_client(?UP, ?C, []), whereis(?C).

stand_alone() ->
  Client = started(),
  {ok, Producer} = brod_producer:start_link(?C, ?T, 0, []),
  {Client, Producer}.

%% As the engine tells when the client is closed.
lose_client(Client, Producer, Reason) ->
  MRef = monitor(process, Client),
  case Reason of
    stop -> ok = brod:stop_client(?C);
    _ -> exit(Client, Reason)
  end,
  receive {'DOWN', MRef, process, Client, _} -> ok end,
  Producer ! {brod_down, client_down},
  wait_for(fun() -> brod_producer_state(Producer) end, lost).

brod_producer_state(Producer) ->
  case sys:get_status(Producer) of
    {status, _, _, [_, _, _, _, Misc]} ->
      [#{is_lost := IsLost}] = [S || {data, [{"State", S}]} <- Misc],
      case IsLost of true -> lost; false -> open end
  end.

wait_for(Fun, Expected) ->
  Deadline = erlang:monotonic_time(millisecond) + ?LIMIT_MS,
  wait_for(Fun, Expected, Deadline).

wait_for(Fun, Expected, Deadline) ->
  case Fun() of
    Expected -> ok;
    Other ->
      erlang:monotonic_time(millisecond) < Deadline orelse error({still, Other}),
      timer:sleep(2),
      wait_for(Fun, Expected, Deadline)
  end.

logged(Text) -> brod_log:has(log(), Text).

log() ->
  [Log] = [{Id, Table} || #{id := Id, module := brod_log, config := #{table := Table}}
                            <- logger:get_handler_config()],
  Log.

%% Monitors and links have the reason; there are no reports with the whole state.
ended() ->
  {_Client, Producer} = stand_alone(),
  Monitor = monitor(process, Producer),
  Producer ! {brod_down, {not_retriable, topic_authorization_failed}},
  receive {'DOWN', Monitor, process, Producer, Reason} -> ?assertEqual({not_retriable, topic_authorization_failed}, Reason)
  after ?LIMIT_MS -> error(alive) end,
  receive {'EXIT', Producer, Why} -> ?assertEqual({not_retriable, topic_authorization_failed}, Why)
  after ?LIMIT_MS -> error(alive) end,
  ?assertEqual(1, length(brod_log:all(log(), "producer of topic-0 stops: {not_retriable,topic_authorization_failed}"))),
  ?assertEqual([], brod_log:all(log(), "terminating") ++ brod_log:all(log(), "crasher")).

client_comes_back() ->
  {Client, Producer} = stand_alone(),
  ok = brod:produce_sync(Producer, <<"v">>),
  lose_client(Client, Producer, kill),
  wait_for(fun() -> logged("has ended: killed") end, true),
  %% its supervisor would take its time
  ok = brod:stop_client(?C),
  _ = started(),
  ?assertEqual(ok, brod:produce_sync(Producer, <<"v">>)),
  wait_for(fun() -> brod_producer_state(Producer) end, open),
  %% It enters itself into the client's table after it has opened.
  wait_for(fun() -> brod:get_producer(?C, ?T, 0) end, {ok, Producer}),
  ?assertEqual(ok, brod:produce_sync(?C, ?T, 0, <<>>, <<"v">>)).

%% A supervisor that has the pid cannot start it again; until the one above has the next client it would try in vain.
client_was_a_pid() ->
  [begin
     Client = started(),
     {ok, Producer} = brod_producer:start_link(Client, ?T, 0, []),
     ok = brod:produce_sync(Producer, <<"v">>),
     lose_client(Client, Producer, Reason),
     ok = brod_producer:produce_no_ack(Producer, <<>>, <<"v">>),
     ?assertEqual(lost, brod_producer_state(Producer)),
     ?assertEqual({error, {producer_down, client_down}}, brod:produce_sync(Producer, <<"v">>)),
     receive {'EXIT', Producer, Why} -> ?assertEqual(client_down, Why) after ?LIMIT_MS -> error(lives) end,
     _ = brod:stop_client(?C)
   end || Reason <- [stop, kill]].

quiet_when_stopped() ->
  {Client, Producer} = stand_alone(),
  lose_client(Client, Producer, stop),
  ?assertNot(logged("has ended")),
  ok = brod_producer:stop(Producer),
  receive {'EXIT', Producer, Reason} -> ?assertEqual(normal, Reason) after ?LIMIT_MS -> error(lives) end.

parked() ->
  {Client, Producer} = stand_alone(),
  lose_client(Client, Producer, kill),
  Self = self(),
  Caller = spawn_link(fun() -> Self ! {self(), brod:produce_sync(Producer, <<"v">>)} end),
  wait_for(fun() -> parked(Producer) end, 1),
  ok = brod_producer:stop(Producer),
  receive {Caller, Result} -> ?assertMatch({error, {producer_down, normal}}, Result)
  after ?LIMIT_MS -> error(no_answer)
  end.

parked(Producer) ->
  {status, _, _, [_, _, _, _, Misc]} = sys:get_status(Producer),
  [#{parked := Count}] = [S || {data, [{"State", S}]} <- Misc],
  Count.

with_producer() ->
  _ = started(),
  ok = brod:start_producer(?C, ?T, []),
  {ok, Pid} = brod:get_producer(?C, ?T, 0),
  Pid.

callback_of_a_timeout() ->
  Pid = with_producer(),
  Self = self(),
  ok = application:set_env(brod, produce_room_timeout, 10),
  Callback = fun(P, O, R) -> Self ! {callback, P, O, R} end,
  ?assertEqual({error, timeout}, brod:produce_cb(?C, ?T, 0, <<>>, <<"wait">>, Callback)),
  ?assertEqual({error, timeout}, brod:produce_cb(Pid, <<>>, <<"wait">>, Callback)),
  ok = brod:stop_client(?C),
  receive {callback, _, _, _} = Called -> error(Called) after 0 -> ok end.

cancelled() ->
  Pid = with_producer(),
  ok = brod_fake_nif:hide(Pid),
  Self = self(),
  ok = application:set_env(brod, produce_room_timeout, 10),
  ?assertEqual({error, timeout},
               brod:produce_cb(Pid, <<>>, [#{key => <<>>, value => <<"wait">>}],
                               fun(P, O, R) -> Self ! {callback, P, O, R} end)),
  ?assertEqual(0, waiting(Pid)).

waiting(Producer) ->
  {status, _, _, [_, _, _, _, Misc]} = sys:get_status(Producer),
  [#{waiting := Count}] = [S || {data, [{"State", S}]} <- Misc],
  Count.

untold_callbacks() ->
  Pid = with_producer(),
  Two = fun(_, _) -> error(called) end,
  Pid ! {brod_nacks, {delivery_timeout, econnrefused}, [Two, undefined, 0, Two, undefined, 1]},
  wait_for(fun() -> logged("2 of them, because of {delivery_timeout,econnrefused}") end, true).

dropped() ->
  Self = self(),
  ok = brod_fake:load(telemetry, #{{execute, 3} => fun(Event, Counts, About) ->
                                                     Self ! {Event, Counts, About},
                                                     ok
                                                   end}),
  Pid = with_producer(),
  Pid ! {brod_dropped, 17},
  wait_for(fun() -> logged("17 messages of produce_no_ack to topic, partition 0, were dropped") end,
           true),
  receive {[brod, produce_dropped], Counts, About} ->
    ?assertEqual({#{count => 17}, #{client => ?C, topic => ?T, partition => 0}}, {Counts, About})
  after 20000 -> error(no_event)
  end,
  ok = brod_fake:unload(telemetry).

lost_acks() ->
  Pid = with_producer(),
  [Dispatcher | _] = brod_fake_nif:dispatchers(),
  Dispatcher ! {brod_orphaned, Pid, ?T, 0, {brod_lost, 3}},
  wait_for(fun() -> logged("was killed with 3 messages of acks") end, true).

status() ->
  Pid = with_producer(),
  Payload = binary:copy(<<"secret payload">>, 1000),
  State = sys:get_state(Pid),
  Call = {{brod_call_ref, self(), Pid, make_ref()}, [#{key => <<>>, value => Payload}], undefined},
  Status = brod_producer:format_status(
             #{state => setelement(tuple_size(State), State, [{infinity, Call}]),
               message => {produce, x, Payload, y}, reason => oops, log => [Payload]}),
  Text = lists:flatten(io_lib:format("~p", [Status])),
  ?assertEqual(nomatch, string:find(Text, "secret")),
  ?assertMatch(#{state := #{parked := 1, topic := ?T, partition := 0}, message := produce}, Status).

%% A topic that cannot be started again for now.
already_present() ->
  with_producer(),
  {ok, #{producers_sup := Sup}} = brod_client:context(?C),
  [TopicSup] = brod_supervisor3:find_child(Sup, ?T),
  ok = brod_supervisor3:terminate_child(TopicSup, 1),
  ?assertMatch({ok, _}, brod_producers_sup:start_producer(Sup, whereis(?C), ?T, 1, [])),
  ok = brod_supervisor3:terminate_child(Sup, ?T),
  ?assertEqual(ok, brod:start_producer(?C, ?T, [])),
  ?assertMatch({ok, _}, brod:get_producer(?C, ?T, 1)).

%% What is wrong, and how the shell and Elixir say it.
arguments() ->
  Pid = with_producer(),
  Key = "expected a key: iodata or undefined; got the atom nil",
  Value = "got the integer 42",
  lists:foreach(fun({Position, Expected, Call}) ->
                  Text = text(Position, Call),
                  ?assertNotEqual({nomatch, Text}, {string:find(Text, Expected), Text})
                end,
                [{2, "binary; got the string (a list of characters) \"topic\"",
                  fun() -> brod:produce(?C, "topic", 0, <<>>, <<"v">>) end},
                 {2, "got the atom topic", fun() -> brod:produce_sync(?C, topic, random, <<>>, <<"v">>) end},
                 {3, "random, hash, murmur2, sticky or a fun of arity 4; got the atom randm",
                  fun() -> brod:produce(?C, ?T, randm, <<>>, <<"v">>) end},
                 {3, "got a fun", fun() -> brod:produce(?C, ?T, fun(_) -> ok end, <<>>, <<"v">>) end},
                 {4, Key, fun() -> brod:produce_sync(?C, ?T, 0, nil, nil) end},
                 {4, Key, fun() -> brod:produce(?C, ?T, murmur2, nil, <<"v">>) end},
                 {5, Value, fun() -> brod:produce(?C, ?T, hash, <<>>, 42) end},
                 {5, Value, fun() -> brod:produce_no_ack(?C, ?T, 0, <<>>, 42) end},
                 {5, Value, fun() -> brod:produce_cb(?C, ?T, 0, <<>>, 42, fun(_, _) -> ok end) end},
                 {3, Value, fun() -> brod:produce(Pid, <<>>, 42) end},
                 {5, "message 2 of the batch: expected iodata or undefined as value; got the atom nil",
                  fun() -> brod:produce(?C, ?T, 0, <<>>, [#{value => <<>>}, #{value => nil}]) end},
                 {5, "proper list", fun() -> brod:produce(?C, ?T, 0, <<>>, [{<<>>, <<>>} | x]) end}]).

foreign_reply() ->
  {_Client, _Producer} = stand_alone(),
  {ok, CallRef} = brod:produce(?C, ?T, 0, <<>>, <<"v">>),
  Self = self(),
  Wait = fun() -> Self ! {waited, catch brod:sync_produce_request(CallRef)} end,
  {_, Monitor} = spawn_monitor(Wait),
  receive {'DOWN', Monitor, process, _, normal} -> ok after ?LIMIT_MS -> error(waits) end,
  receive {waited, Result} -> ?assertMatch({'EXIT', {{bad_caller, Self}, _}}, Result) end.

watched() ->
  Producer = spawn(fun() -> receive stop -> ok end end),
  {Self, Ref} = {self(), make_ref()},
  Wait = fun() ->
           Result = brod:sync_produce_request(#brod_call_ref{caller = self(), callee = Producer, ref = Ref}),
           Self ! {self(), Result}
         end,
  Result = fun(Waits) -> receive {Waits, Of} -> Of after ?LIMIT_MS -> error(waits) end end,
  [Acked, Left] = Both = [spawn_link(Wait), spawn_link(Wait)],
  wait_for(fun() -> {monitored_by, Pids} = process_info(Producer, monitored_by), lists:sort(Pids) end, lists:sort(Both)),
  Acked ! #brod_produce_reply{call_ref = #brod_call_ref{caller = Acked, callee = Producer, ref = Ref}, base_offset = 7,
                              result = brod_produce_req_acked},
  ?assertEqual(ok, Result(Acked)),
  wait_for(fun() -> process_info(Producer, monitored_by) end, {monitored_by, [Left]}),
  exit(Producer, kill),
  ?assertEqual({error, {producer_down, killed}}, Result(Left)),
  ?assertEqual({error, {producer_down, noproc}}, Result(spawn_link(Wait))).

text(Position, Call) ->
  try Call() of
    Result -> error({no_error, Result})
  catch
    error:badarg:Stack ->
      [{_, _, _, Info} | _] = Stack,
      #{module := Module} = proplists:get_value(error_info, Info),
      case Module:format_error(badarg, Stack) of
        #{Position := Text} -> unicode:characters_to_list(Text);
        Other -> lists:flatten(io_lib:format("~p", [Other]))
      end
  end.
