%% The Kafka in memory: what brod and kcat do on it, and that no fault scripted there loses, duplicates or reorders a
%% message.
-module(brod_mock_SUITE).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([produced_is_consumed/1, ends_with_its_owner/1, crash_is_an_exit/1, kcat_both_ways/1, leader_moves/1,
         broker_stops/1, looks_older/1, no_fault_harms/1]).

-include_lib("eunit/include/eunit.hrl").
-include("../include/brod.hrl").

-define(LIMIT_MS, 30000).
-define(CLUSTERS, 8).

suite() -> [{timetrap, {minutes, 4}}].

all() ->
  [produced_is_consumed, ends_with_its_owner, crash_is_an_exit, kcat_both_ways, leader_moves, broker_stops, looks_older,
   no_fault_harms].

init_per_suite(Config) -> brod_test:init_mock_suite(Config).

end_per_suite(_Config) -> ok.

produced_is_consumed(_Config) ->
  with_mock(#{topics => #{<<"t">> => 3}}, fun(Mock, Client) ->
    ok = brod:start_producer(Client, <<"t">>, []),
    Sent = [{P, N} || P <- [0, 1, 2], N <- lists:seq(0, 99)],
    [ok = brod:produce_sync(Client, <<"t">>, P, <<"k">>, integer_to_binary(N)) || {P, N} <- Sent],
    ?assertEqual(Sent, [{P, binary_to_integer(V)}
                        || {P, #kafka_message{value = V}} <- brod_mock:messages(Mock, <<"t">>)]),
    ok = brod:start_consumer(Client, <<"t">>, [{begin_offset, earliest}]),
    [begin
       {ok, Consumer} = brod:subscribe(Client, self(), <<"t">>, P, [{begin_offset, earliest}]),
       ?assertEqual(lists:seq(0, 99), received(Consumer, 100))
     end || P <- [0, 1, 2]]
  end).

ends_with_its_owner(_Config) ->
  Self = self(),
  Owner = spawn(fun() ->
                  {ok, Mock} = brod_mock:start(#{brokers => 1}),
                  Self ! {mock, Mock, brod_mock:endpoints(Mock)},
                  receive stop -> ok end
                end),
  {Mock, [{Host, Port}]} = receive {mock, M, Endpoints} -> {M, Endpoints} after ?LIMIT_MS -> error(not_started) end,
  {ok, Socket} = gen_tcp:connect(Host, Port, []),
  Monitor = monitor(process, Mock),
  Owner ! stop,
  receive {'DOWN', Monitor, process, Mock, normal} -> ok after ?LIMIT_MS -> error(still_there) end,
  receive {tcp_closed, Socket} -> ok after ?LIMIT_MS -> error(still_listening) end.

crash_is_an_exit(_Config) ->
  process_flag(trap_exit, true),
  {ok, Mock} = brod_mock:start(#{brokers => 1}),
  {os_pid, Pid} = erlang:port_info(sys:get_state(Mock), os_pid),
  [] = os:cmd("kill -9 " ++ integer_to_list(Pid)),
  receive {'EXIT', Mock, {exited, _}} -> ok after ?LIMIT_MS -> error(no_exit) end,
  process_flag(trap_exit, false).

kcat_both_ways(_Config) ->
  with_mock(#{topics => #{<<"t">> => 1}}, fun(Mock, Client) ->
    [{Host, Port} | _] = brod_mock:endpoints(Mock),
    Kcat = lists:flatten(io_lib:format("kcat -q -b ~s:~b -t t -p 0 ", [Host, Port])),
    "" = os:cmd("seq 1 1000 | " ++ Kcat ++ "-P -z gzip"),
    ?assertEqual(1000, length(brod_mock:messages(Mock, <<"t">>))),
    ok = brod:start_producer(Client, <<"t">>, []),
    ok = brod:produce_sync(Client, <<"t">>, 0, <<>>, <<"1001">>),
    Read = string:lexemes(os:cmd(Kcat ++ "-C -e"), "\n"),
    ?assertEqual(lists:seq(1, 1001), [list_to_integer(Line) || Line <- Read])
  end).

leader_moves(_Config) ->
  with_mock(#{topics => #{<<"t">> => 1}}, fun(Mock, Client) ->
    ok = brod:start_producer(Client, <<"t">>, []),
    [begin
       ok = brod_mock:move_leader(Mock, <<"t">>, 0, 1 + N rem 3),
       ok = brod:produce_sync(Client, <<"t">>, 0, <<>>, integer_to_binary(N))
     end || N <- lists:seq(1, 6)],
    ?assertEqual(lists:seq(1, 6), stored(Mock, <<"t">>))
  end).

broker_stops(_Config) ->
  with_mock(#{topics => #{<<"t">> => 3}}, fun(Mock, Client) ->
    ok = brod:start_producer(Client, <<"t">>, []),
    ok = brod:produce_sync(Client, <<"t">>, 0, <<>>, <<"1">>),
    ok = brod_mock:stop_broker(Mock, 1),
    ok = brod:produce_sync(Client, <<"t">>, 0, <<>>, <<"2">>),
    ok = brod_mock:start_broker(Mock, 1),
    ok = brod:produce_sync(Client, <<"t">>, 0, <<>>, <<"3">>),
    ?assertEqual([1, 2, 3], stored(Mock, <<"t">>))
  end).

looks_older(_Config) ->
  [with_mock(#{topics => #{<<"t">> => 1}, version => Version}, fun(Mock, Client) ->
     ok = brod:start_producer(Client, <<"t">>, []),
     ok = brod:produce_sync(Client, <<"t">>, 0, <<>>, <<"1">>),
     ?assertEqual([1], stored(Mock, <<"t">>)),
     {ok, {1, [#kafka_message{value = <<"1">>}]}} = brod:fetch(Client, <<"t">>, 0, 0)
   end) || Version <- [<<"0.11">>, <<"1.1">>, <<"2.8">>, <<"3.9">>, <<"4.1">>]].

%% Each fault, at each moment, met by each kind of producer: clusters work side by side.
no_fault_harms(_Config) ->
  Cases = cases(),
  ct:pal("~b cases", [length(Cases)]),
  Numbered = lists:zip(lists:seq(1, length(Cases)), Cases),
  Workers = [spawn_monitor(fun() -> work([C || {N, C} <- Numbered, N rem ?CLUSTERS =:= W]) end)
             || W <- lists:seq(0, ?CLUSTERS - 1)],
  [receive {'DOWN', Monitor, process, _, Reason} -> ?assertEqual(normal, Reason) end || {_, Monitor} <- Workers],
  ok.

cases() ->
  Produce = [reset_before, reset_after, {delay, 30}, {delay_answer, 30}, {truncate, 6}, {truncate, 20},
             {error, 6}, {error, 5}, {error, 7}, {error, 19}, {error, 20}],
  Metadata = [reset_before, reset_after, {delay, 30}, {truncate, 20}, {error, 5}],
  [{#{api => Api, nth => Nth, times => Times, action => Action}, Kind}
   || {Api, Actions} <- [{<<"Produce">>, Produce}, {<<"Metadata">>, Metadata}, {<<"ApiVersions">>, [reset_before, reset_after]}],
      Action <- Actions, Nth <- [1, 2, 5], Times <- [1, 2],
      Kind <- [[], [{enable_idempotence, false}], [{required_acks, 1}]]].

work(Cases) ->
  {ok, Mock} = brod_mock:start(#{}),
  [faulty(Mock, Case, iolist_to_binary(["t", integer_to_list(N)]))
   || {N, Case} <- lists:zip(lists:seq(1, length(Cases)), Cases)],
  brod_mock:stop(Mock).

%% Calls are made side by side; what is answered ok must be there, once if the producer is idempotent, and in order.
faulty(Mock, {Fault, Kind} = Case, Topic) ->
  ok = brod_mock:create_topic(Mock, Topic, 1),
  Client = list_to_atom(pid_to_list(self()) ++ binary_to_list(Topic)),
  ok = brod_mock:fault(Mock, Fault),
  ok = brod:start_client(brod_mock:endpoints(Mock), Client, [{reconnect_cool_down_seconds, 0}]),
  ok = started(Client, Topic, [{retry_backoff_ms, 20}, {max_retries, 10}, {max_linger_count, 1} | Kind], 50),
  Sent = lists:seq(1, 40),
  Refs = [begin
            {ok, Ref} = brod:produce(Client, Topic, 0, <<>>, integer_to_binary(N)),
            {N, Ref}
          end || N <- Sent],
  Acked = [N || {N, Ref} <- Refs, brod:sync_produce_request(Ref, ?LIMIT_MS) =:= ok],
  Stored = stored(Mock, Topic),
  Told = #{'case' => Case, stored => Stored},
  ?assertEqual(Sent, Acked, Told),
  ?assertEqual(Sent, lists:usort(Stored), Told),
  case Kind of
    [] -> ?assertEqual(Sent, Stored, Told);
    _ -> ?assertEqual(Sent, once(Stored, []), Told)
  end,
  ok = brod:stop_client(Client),
  ok = brod_mock:clear_faults(Mock).

%% A client's first request may be the one that fails.
started(Client, Topic, Options, Tries) ->
  case brod:start_producer(Client, Topic, Options) of
    ok -> ok;
    {error, _} when Tries > 0 -> started(Client, Topic, Options, Tries - 1)
  end.

once([], Seen) -> lists:reverse(Seen);
once([N | Rest], Seen) ->
  case lists:member(N, Seen) of
    true -> once(Rest, Seen);
    false -> once(Rest, [N | Seen])
  end.

with_mock(Config, Fun) ->
  {ok, Mock} = brod_mock:start(Config),
  Client = list_to_atom("mock" ++ pid_to_list(Mock)),
  ok = brod:start_client(brod_mock:endpoints(Mock), Client, [{reconnect_cool_down_seconds, 0}]),
  try
    Fun(Mock, Client)
  after
    ok = brod:stop_client(Client),
    ok = brod_mock:stop(Mock)
  end.

stored(Mock, Topic) ->
  [binary_to_integer(V) || {_, #kafka_message{value = V}} <- brod_mock:messages(Mock, Topic)].

received(_Consumer, 0) -> [];
received(Consumer, Left) ->
  receive
    {Consumer, #kafka_message_set{messages = Messages}} ->
      ok = brod:consume_ack(Consumer, (lists:last(Messages))#kafka_message.offset),
      [binary_to_integer(V) || #kafka_message{value = V} <- Messages] ++ received(Consumer, Left - length(Messages))
  after ?LIMIT_MS -> error({missing, Left})
  end.
