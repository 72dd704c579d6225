%% The Kafka in memory: what brod and kcat do on it, and that no fault scripted there loses, duplicates or reorders a
%% message.
-module(brod_mock_SUITE).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([produced_is_consumed/1, malformed_messages_are_refused_in_words/1, topic_that_is_gone_is_one_line/1, large_values_arrive_as_they_were/1, ends_with_its_owner/1, crash_is_an_exit/1, kcat_both_ways/1, leader_moves/1,
         leader_that_hangs_keeps_nothing_from_the_next_one/1, broker_stops/1, looks_older/1, no_fault_harms/1]).
-export([metadata_without_a_client_creates_no_topic/1, holes_are_read_over/1, control_batches_are_not_messages/1, lying_high_watermark_harms_no_consumer/1,
         consumer_goes_on_after_an_unclean_election/1, brokers_clock_is_seen/1, throttled_client_waits/1, throttle_ends_with_its_connection/1,
         throttle_that_nobody_tells_is_waited_for/1, quota_is_waited_for_by_fold/1, fetch_and_fold_of_a_client_that_is_stopped_say_so/1,
         producer_does_without_an_id_where_there_is_none_to_be_had/1, member_waits_for_a_coordinator_with_trouble_in_its_storage/1,
         answer_that_is_minutes_late_is_not_waited_for/1, calls_that_end_with_their_producer_leave_nothing/1, what_is_wrong_with_a_request_is_told/1,
         idle_subscribers_hold_no_messages/1, commands_come_by_tcp/1, metrics_are_pushed_where_brokers_ask/1, tls_comes_from_files/1,
         starts_quickly_and_small/1, random_walk_loses_nothing_and_leaves_nothing/1]).

-export([init/2, handle_message/2, handle_message/3, handle_message/4]).

-include_lib("eunit/include/eunit.hrl").
-include_lib("public_key/include/public_key.hrl").
-include("../include/brod.hrl").

-define(LIMIT_MS, 30000).
-define(CLUSTERS, 16).
-define(UNSUPPORTED_VERSION, 35).
-define(INVALID_REQUEST, 42).
-define(UNSUPPORTED_FOR_MESSAGE_FORMAT, 43).
-define(KAFKA_STORAGE_ERROR, 56).
-define(THROTTLING_QUOTA_EXCEEDED, 89).

suite() -> [{timetrap, {minutes, 8}}].

all() ->
  [produced_is_consumed, malformed_messages_are_refused_in_words, topic_that_is_gone_is_one_line, metadata_without_a_client_creates_no_topic, large_values_arrive_as_they_were, ends_with_its_owner, crash_is_an_exit, kcat_both_ways, leader_moves,
   leader_that_hangs_keeps_nothing_from_the_next_one, broker_stops, looks_older,
   holes_are_read_over, control_batches_are_not_messages, lying_high_watermark_harms_no_consumer,
   consumer_goes_on_after_an_unclean_election, brokers_clock_is_seen, throttled_client_waits, throttle_ends_with_its_connection,
   throttle_that_nobody_tells_is_waited_for, quota_is_waited_for_by_fold, fetch_and_fold_of_a_client_that_is_stopped_say_so,
   producer_does_without_an_id_where_there_is_none_to_be_had, member_waits_for_a_coordinator_with_trouble_in_its_storage,
   answer_that_is_minutes_late_is_not_waited_for, calls_that_end_with_their_producer_leave_nothing,
   what_is_wrong_with_a_request_is_told, idle_subscribers_hold_no_messages, commands_come_by_tcp,
   metrics_are_pushed_where_brokers_ask, tls_comes_from_files,
   starts_quickly_and_small, random_walk_loses_nothing_and_leaves_nothing, no_fault_harms].

init_per_suite(Config) -> brod_test:init_mock_suite(Config).

end_per_suite(_Config) -> ok.

%% Callers hear of each message; the log does not hear of each partition each time that its producer was started again.
topic_that_is_gone_is_one_line(_Config) ->
  brod_test:with_mock(#{topics => #{<<"t">> => 3}}, fun(Mock, Client) ->
    ok = brod:start_producer(Client, <<"t">>, [{max_retries, 0}, {partition_restart_delay_seconds, 1}]),
    [ok = brod:produce_sync(Client, <<"t">>, P, <<>>, <<"v">>) || P <- [0, 1, 2]],
    Log = brod_log:start(),
    ok = brod:delete_topics(brod_mock:endpoints(Mock), [<<"t">>], 5000),
    Refused = fun(P) ->
                case brod:produce_sync(Client, <<"t">>, P, <<>>, <<"v">>) of
                  {error, {producer_down, {reached_max_retries, {produce_response_error, <<"t">>, P, -1, unknown_topic_or_partition}}}} -> true;
                  {error, {producer_down, _}} -> false
                end
              end,
    [brod_test:wait_until(fun() -> Refused(P) end, ?LIMIT_MS) || _Life <- [1, 2], P <- [0, 1, 2]],
    ?assertMatch([_], brod_log:all(Log, "producers of t stop: {reached_max_retries")),
    ?assertEqual([], brod_log:all(Log, "producer of t-") ++ brod_log:all(Log, "child")),
    ok = brod_log:stop(Log)
  end).

produced_is_consumed(_Config) ->
  brod_test:with_mock(#{topics => #{<<"t">> => 3}}, fun(Mock, Client) ->
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

%% A process for each of a thousand partitions: what each was given last would be a gigabyte.
idle_subscribers_hold_no_messages(_Config) ->
  brod_test:with_mock(#{topics => #{<<"t">> => 1}}, fun(_Mock, Client) ->
    ok = brod:start_producer(Client, <<"t">>, []),
    ok = brod:produce_sync(Client, <<"t">>, 0, <<>>, [#{key => <<>>, value => integer_to_binary(N)} || N <- lists:seq(1, 5000)]),
    Consumer = [{begin_offset, earliest}],
    Given = #{client => Client, topic => <<"t">>, topics => [<<"t">>], message_type => message_set, cb_module => ?MODULE,
              init_data => self(), consumer_config => Consumer},
    Starts = [fun() -> brod:start_link_topic_subscriber(Given) end,
              fun() -> brod:start_link_group_subscriber_v2(Given#{group_id => <<"g2">>}) end,
              fun() -> brod:start_link_group_subscriber(Client, <<"g1">>, [<<"t">>], [], Consumer, message_set, ?MODULE, self()) end],
    [begin
       {ok, Subscriber} = Start(),
       Handler = receive {handled_all, Pid} -> Pid after ?LIMIT_MS -> error(not_handled) end,
       Heap = fun() -> {total_heap_size, Words} = process_info(Handler, total_heap_size), Words end,
       ?assert(brod_test:wait_until(fun() -> Heap() < 5000 end, ?LIMIT_MS)),
       unlink(Subscriber),
       ok = gen_server:stop(Subscriber)
     end || Start <- Starts]
  end).

init(<<"t">>, Owner) -> {ok, [], Owner};
init(_Group, Owner) -> {ok, Owner}.

handle_message(#kafka_message_set{} = Set, Owner) -> handled(Set, Owner).
handle_message(_Partition, Set, Owner) -> handled(Set, Owner).
handle_message(_Topic, _Partition, Set, Owner) -> handled(Set, Owner).

handled(#kafka_message_set{messages = Messages}, Owner) ->
  _ = [Owner ! {handled_all, self()} || #kafka_message{offset = 4999} <- Messages],
  {ok, ack, Owner}.

%% Whichever way a message that is none is given: what raises says what is wrong with it.
malformed_messages_are_refused_in_words(_Config) ->
  brod_test:with_mock(#{topics => #{<<"t">> => 1}}, fun(Mock, Client) ->
    ok = brod:start_producer(Client, <<"t">>, []),
    {ok, Pid} = brod:get_producer(Client, <<"t">>, 0),
    {ok, Txn} = brod:transaction(Client, <<"malformed">>, []),
    Callback = fun(_, _) -> ok end,
    Calls = [{Name, Call(Partition)}
             || Partition <- [0, random, hash, murmur2, sticky],
                {Name, Call} <-
                  [{produce, fun(P) -> fun(K, V) -> brod:produce(Client, <<"t">>, P, K, V) end end},
                   {sync, fun(P) -> fun(K, V) -> brod:produce_sync(Client, <<"t">>, P, K, V) end end},
                   {no_ack, fun(P) -> fun(K, V) -> brod:produce_no_ack(Client, <<"t">>, P, K, V) end end},
                   {callback, fun(P) -> fun(K, V) -> brod:produce_cb(Client, <<"t">>, P, K, V, Callback) end end},
                   {txn, fun(P) -> fun(K, V) -> brod:txn_produce(Txn, <<"t">>, P, K, V) end end},
                   {txn_async, fun(P) -> fun(K, V) -> brod:txn_produce_async(Txn, <<"t">>, P, K, V) end end}]]
      ++ [{{pid, produce}, fun(K, V) -> brod:produce(Pid, K, V) end},
          {{pid, sync}, fun(K, V) -> brod:produce_sync(Pid, K, V) end},
          {{pid, callback}, fun(K, V) -> brod:produce_cb(Pid, K, V, Callback) end},
          {{pid, no_ack}, fun(K, V) -> brod_producer:produce_no_ack(Pid, K, V) end}],
    ?assertEqual([], [lists:flatten(io_lib:format("~0p ~0p: ~0P", [Name, Outcome, {Key, Value}, 20]))
                      || {Name, Call} <- Calls, {Key, Value} <- malformed_messages(),
                         Outcome <- [refusal(Call, Key, Value)], not is_binary(Outcome)]),
    ok = brod:abort(Txn),
    ?assertEqual([], brod_mock:messages(Mock, <<"t">>)),
    ?assertEqual({ok, Pid}, brod:get_producer(Client, <<"t">>, 0))
  end).

malformed_messages() ->
  V = <<"v">>,
  Times = ["1700000000000", <<"1700000000000">>, 1.5, undefined, 1 bsl 63],
  Data = [atom, 42, 1.5, self(), <<1:3>>, {}, #{}, [300], [V | atom], "\x{442}"],
  Headers = [nonsense, [atom], [{atom, V}], [{undefined, V}], [{V, 1}], [{V, V, V}], [{V, V} | atom]],
  Maps = [#{}, #{vlaue => V}] ++ [#{value => V, ts => Time} || Time <- Times]
    ++ [#{value => V, headers => H} || H <- Headers]
    ++ lists:append([[#{value => D}, #{key => D, value => V}, #{key => D}] || D <- Data]),
  Messages = [{D, V} || D <- Data] ++ [{V, D} || D <- Data] ++ [{V, {1, V}}, {V, #{value => V}}, {}, {V, V, V, V}]
    ++ [{Time, V, V} || Time <- Times] ++ [{1, D, V} || D <- Data],
  Batches = [[{V, V}, M] || M <- Maps ++ Messages ++ [atom, V]] ++ [[{V, [{V, V}, M]}] || M <- Messages]
    ++ [[{V, V} | atom], [{V, [{V, V} | atom]}], lists:duplicate(5000, {V, V}) ++ [{V, atom}]],
  [{V, Value} || Value <- Data ++ Maps ++ Batches ++ [{Time, V} || Time <- Times] ++ [{1, D} || D <- Data]
                          ++ [{1, V, V}, {1, [{V, V}]}, {1, #{value => V}}]]
    ++ [{D, Value} || D <- Data, Value <- [V, {1, V}, #{value => V}, undefined]].

%% Its text, or what came instead.
refusal(Call, Key, Value) ->
  try Call(Key, Value) of
    Result -> Result
  catch
    error:badarg:Stack ->
      [{_, _, _, Info} | _] = Stack,
      #{module := Module} = maps:merge(#{module => erl_erts_errors}, proplists:get_value(error_info, Info, #{})),
      case maps:values(Module:format_error(badarg, Stack)) of
        [Text | _] -> Text;
        [] -> no_words
      end;
    Class:Reason -> {Class, Reason}
  end.

%% As with services that list InitProducerId and do not know idempotence.
producer_does_without_an_id_where_there_is_none_to_be_had(_Config) ->
  [brod_test:with_mock(#{topics => #{<<"t">> => 1}}, fun(Mock, Client) ->
     ok = brod_mock:fault(Mock, #{api => <<"InitProducerId">>, times => 1000, action => {error, Code}}),
     ok = brod:start_producer(Client, <<"t">>, []),
     ?assertEqual(ok, brod:produce_sync(Client, <<"t">>, 0, <<>>, <<"v">>)),
     ?assertEqual(1, brod_mock:faults_met(Mock))
   end) || Code <- [?UNSUPPORTED_VERSION, ?INVALID_REQUEST, ?UNSUPPORTED_FOR_MESSAGE_FORMAT]].

%% As WarpStream's agents have it when they want to be asked again.
member_waits_for_a_coordinator_with_trouble_in_its_storage(_Config) ->
  brod_test:with_mock(#{topics => #{<<"t">> => 1}}, fun(Mock, Client) ->
    ok = brod:start_producer(Client, <<"t">>, []),
    ok = brod:produce_sync(Client, <<"t">>, 0, <<>>, <<"v">>),
    Apis = [<<"FindCoordinator">>, <<"JoinGroup">>, <<"SyncGroup">>, <<"OffsetFetch">>, <<"OffsetCommit">>, <<"Heartbeat">>],
    [ok = brod_mock:fault(Mock, #{api => Api, times => 2, action => {error, ?KAFKA_STORAGE_ERROR}}) || Api <- Apis],
    Options = [{max_rejoin_attempts, 0}, {offset_commit_interval_seconds, 1}, {heartbeat_rate_seconds, 1}],
    Member = brod_group_probe:v2(member, Client, <<"g">>, [<<"t">>], Options),
    ok = brod_mock:await_caught_up(Mock, <<"g">>, <<"t">>, ?LIMIT_MS),
    AllMet = fun() -> brod_mock:faults_met(Mock) =:= 2 * length(Apis) end,
    true = brod_test:wait_until(AllMet, ?LIMIT_MS),
    ?assert(is_process_alive(Member)),
    ok = brod_group_subscriber_v2:stop(Member)
  end).

%% A misspelt name is no new topic, on brokers that create topics.
metadata_without_a_client_creates_no_topic(_Config) ->
  brod_test:with_mock(#{topics => #{<<"t">> => 1}, auto_create_topics => true}, fun(Mock, _Client) ->
    Endpoints = brod_mock:endpoints(Mock),
    ?assertEqual({error, unknown_topic_or_partition}, brod:get_metadata(Endpoints, [<<"misspelt">>])),
    ?assertEqual({error, unknown_topic_or_partition}, brod:get_metadata(Endpoints, [<<"t">>, <<"misspelt">>], [])),
    {ok, #{topics := Topics}} = brod:get_metadata(Endpoints),
    ?assertEqual([<<"t">>], [Name || #{name := Name} <- Topics])
  end).

%% Large values are not copied but lent to the engine, while the VM may free, move or append to what it has.
large_values_arrive_as_they_were(_Config) ->
  Whole = rand:bytes(3000000),
  Values = [binary:part(Whole, N * 1000, Size)
            || {N, Size} <- lists:enumerate([1, 32767, 32768, 32769, 100000, 550000, 1000000, 0, 49153])],
  %% Two together may be more than the broker takes, so that the batch is split.
  Forms = [fun(V) -> V end, fun(V) -> [{<<>>, V}, {<<>>, V}] end, fun(V) -> {17, V} end,
           fun(V) -> #{value => V, headers => [{<<"h">>, <<"x">>}]} end, fun(V) -> [<<>>, [V]] end],
  Produced = fun(Form) -> [case Form(V) of
                             [{_, V}, {_, V}] -> [V, V];
                             _ -> [V]
                           end || V <- Values]
             end,
  [brod_test:with_mock(#{topics => #{<<"t">> => 1}, version => Version}, fun(Mock, Client) ->
     %% Nothing is sent before the processes that had the values are gone.
     ok = brod:start_producer(Client, <<"t">>, [{max_linger_ms, 300}, {max_linger_count, 1000}, {compression, Codec}]),
     _ = [begin
            {_, MRef} = spawn_monitor(fun() ->
                          [ok = brod:produce_no_ack(Client, <<"t">>, 0, <<>>, Form(binary:copy(V))) || V <- Values]
                        end),
            receive {'DOWN', MRef, _, _, normal} -> ok after ?LIMIT_MS -> error(slow) end
          end || Form <- Forms],
     %% It is made longer in place, and is somewhere else then.
     Growing = <<Whole/binary, 1>>,
     Part = binary:part(Growing, 2000000, 100000),
     {ok, Ref1} = brod:produce(Client, <<"t">>, 0, <<>>, Part),
     {ok, Ref2} = brod:produce(Client, <<"t">>, 0, <<>>, binary:part(Growing, 0, 200000)),
     Grown = lists:foldl(fun(_, B) -> <<B/binary, Whole/binary>> end, Growing, lists:seq(1, 4)),
     [ok = brod:sync_produce_request(Ref, ?LIMIT_MS) || Ref <- [Ref1, Ref2]],
     Expected = lists:append([lists:append(Produced(Form)) || Form <- Forms])
                ++ [binary:part(Grown, 2000000, 100000), binary:part(Grown, 0, 200000)],
     %% Empty ones are null, and are read as empty.
     Stored = [V || {0, #kafka_message{value = V}} <- brod_mock:messages(Mock, <<"t">>)],
     ?assertEqual([erlang:md5(V) || V <- Expected], [erlang:md5(V) || V <- Stored])
   end) || {Version, Codec} <- [{<<"4.1">>, no_compression}, {<<"4.1">>, lz4}, {<<"0.11">>, no_compression}]].

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
  brod_test:with_mock(#{topics => #{<<"t">> => 1}}, fun(Mock, Client) ->
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
  brod_test:with_mock(#{topics => #{<<"t">> => 1}}, fun(Mock, Client) ->
    ok = brod:start_producer(Client, <<"t">>, []),
    [begin
       ok = brod_mock:move_leader(Mock, <<"t">>, 0, 1 + N rem 3),
       ok = brod:produce_sync(Client, <<"t">>, 0, <<>>, integer_to_binary(N))
     end || N <- lists:seq(1, 6)],
    ?assertEqual(lists:seq(1, 6), stored(Mock, <<"t">>))
  end).

%% What it was asked, what waited behind that for a new connection to it, and what is read of it go to the next leader,
%% however long connecting may take.
leader_that_hangs_keeps_nothing_from_the_next_one(_Config) ->
  Options = [{connect_timeout, 10 * ?LIMIT_MS}],
  brod_test:with_mock(#{brokers => 2, topics => #{<<"t">> => 2}}, Options, fun(Mock, Client) ->
    Lead = fun(Node) -> [ok = brod_mock:move_leader(Mock, <<"t">>, P, Node) || P <- [0, 1]] end,
    _ = Lead(1),
    ok = brod:start_producer(Client, <<"t">>, [{ack_timeout, 10 * ?LIMIT_MS}, {max_retries, -1}]),
    [ok = brod:produce_sync(Client, <<"t">>, P, <<>>, <<"0">>) || P <- [0, 1]],
    Consumer = subscribed(Client),
    [0] = received(Consumer, 1),
    Met = brod_mock:faults_met(Mock),
    ok = brod_mock:fault(Mock, #{broker => 1, api => <<"Produce">>, nth => 1, times => 1000, action => drop}),
    {ok, Asked} = brod:produce(Client, <<"t">>, 0, <<>>, <<"1">>),
    true = brod_test:wait_until(fun() -> brod_mock:faults_met(Mock) > Met end, ?LIMIT_MS),
    ok = brod_mock:fault(Mock, #{broker => 1, nth => 1, times => 1000, action => drop}),
    {ok, Behind} = brod:produce(Client, <<"t">>, 1, <<>>, <<"1">>),
    _ = Lead(2),
    [ok = brod:sync_produce_request(Ref, ?LIMIT_MS) || Ref <- [Asked, Behind]],
    ?assertEqual([1], received(Consumer, 1))
  end).

broker_stops(_Config) ->
  brod_test:with_mock(#{topics => #{<<"t">> => 3}}, fun(Mock, Client) ->
    ok = brod:start_producer(Client, <<"t">>, []),
    ok = brod:produce_sync(Client, <<"t">>, 0, <<>>, <<"1">>),
    ok = brod_mock:stop_broker(Mock, 1),
    ok = brod:produce_sync(Client, <<"t">>, 0, <<>>, <<"2">>),
    ok = brod_mock:start_broker(Mock, 1),
    ok = brod:produce_sync(Client, <<"t">>, 0, <<>>, <<"3">>),
    ?assertEqual([1, 2, 3], stored(Mock, <<"t">>))
  end).

looks_older(_Config) ->
  [brod_test:with_mock(#{topics => #{<<"t">> => 1}, version => Version}, fun(Mock, Client) ->
     ok = brod:start_producer(Client, <<"t">>, []),
     ok = brod:produce_sync(Client, <<"t">>, 0, <<>>, <<"1">>),
     ?assertEqual([1], stored(Mock, <<"t">>)),
     {ok, {1, [#kafka_message{value = <<"1">>}]}} = brod:fetch(Client, <<"t">>, 0, 0)
   end) || Version <- [<<"0.11">>, <<"1.1">>, <<"2.8">>, <<"3.9">>, <<"4.1">>]].

holes_are_read_over(_Config) ->
  brod_test:with_mock(#{topics => #{<<"t">> => 1}}, fun(Mock, Client) ->
    Batch = fun(Numbers) -> [{integer_to_binary(N rem 3), integer_to_binary(N)} || N <- Numbers] end,
    ok = brod:start_producer(Client, <<"t">>, []),
    [ok = brod:produce_sync(Client, <<"t">>, 0, <<>>, Batch(lists:seq(N, N + 9))) || N <- lists:seq(0, 90, 10)],
    ok = brod_mock:compact(Mock, <<"t">>, 0),
    [ok = brod:produce_sync(Client, <<"t">>, 0, <<>>, Batch([N])) || N <- [100, 101, 102]],
    ?assertEqual([97, 98, 99, 100, 101, 102], stored(Mock, <<"t">>)),
    ?assertEqual([97, 98, 99, 100, 101, 102], received(subscribed(Client), 6)),
    ?assertMatch({ok, {103, [#kafka_message{offset = 97} | _]}}, brod:fetch(Client, <<"t">>, 0, 12))
  end).

control_batches_are_not_messages(_Config) ->
  brod_test:with_mock(#{topics => #{<<"t">> => 1}}, fun(Mock, Client) ->
    ok = brod:start_producer(Client, <<"t">>, []),
    [begin
       ok = brod_mock:control_batch(Mock, <<"t">>, 0, Kind),
       ok = brod:produce_sync(Client, <<"t">>, 0, <<>>, integer_to_binary(Kind))
     end || Kind <- [0, 1, 5]],
    ok = brod_mock:control_batch(Mock, <<"t">>, 0, 1),
    ?assertEqual([0, 1, 5], received(subscribed(Client), 3)),
    ?assertEqual({ok, 7}, brod:resolve_offset(Client, <<"t">>, 0, latest))
  end).

%% Whether it is told too high or too low, what is there is delivered once, and what comes later as well.
lying_high_watermark_harms_no_consumer(_Config) ->
  brod_test:with_mock(#{topics => #{<<"t">> => 1}}, fun(Mock, Client) ->
    ok = brod:start_producer(Client, <<"t">>, []),
    ok = brod_mock:lie(Mock, <<"t">>, 0, 1000),
    [ok = brod:produce_sync(Client, <<"t">>, 0, <<>>, integer_to_binary(N)) || N <- lists:seq(1, 10)],
    Consumer = subscribed(Client),
    ?assertEqual(lists:seq(1, 10), received(Consumer, 10)),
    ok = brod_mock:lie(Mock, <<"t">>, 0, -1000),
    [ok = brod:produce_sync(Client, <<"t">>, 0, <<>>, integer_to_binary(N)) || N <- lists:seq(11, 20)],
    ?assertEqual(lists:seq(11, 20), received(Consumer, 10))
  end).

%% What was consumed and is gone is not the consumer's fault; by its offset_reset_policy it goes on.
consumer_goes_on_after_an_unclean_election(_Config) ->
  brod_test:with_mock(#{topics => #{<<"t">> => 1}}, fun(Mock, Client) ->
    ok = brod:start_producer(Client, <<"t">>, []),
    [ok = brod:produce_sync(Client, <<"t">>, 0, <<>>, integer_to_binary(N)) || N <- lists:seq(1, 10)],
    Consumer = subscribed(Client, [{offset_reset_policy, reset_to_latest}]),
    ?assertEqual(lists:seq(1, 10), received(Consumer, 10)),
    {ok, #{topics := [#{partitions := [#{leader_id := Leader}]}]}} =
      brod:get_metadata(brod_mock:endpoints(Mock), [<<"t">>]),
    ok = brod_mock:stop_broker(Mock, Leader, 4),
    ?assertEqual(lists:seq(1, 6), stored(Mock, <<"t">>)),
    Produce = fun(N) -> brod:produce_sync(Client, <<"t">>, 0, <<>>, integer_to_binary(N)) end,
    More = produced_until_received(Produce, Consumer, 11),
    ?assertEqual(lists:seq(1, 6) ++ More, stored(Mock, <<"t">>))
  end).

brokers_clock_is_seen(_Config) ->
  brod_test:with_mock(#{}, fun(Mock, Client) ->
    Configs = [#{name => <<"message.timestamp.type">>, value => <<"LogAppendTime">>}],
    Topic = #{name => <<"t">>, num_partitions => 1, replication_factor => 1, assignments => [], configs => Configs},
    ok = brod:create_topics(brod_mock:endpoints(Mock), [Topic], #{timeout => ?LIMIT_MS}),
    [ok = brod_mock:skew(Mock, Broker, 3600000) || Broker <- [1, 2, 3]],
    ok = brod:start_producer(Client, <<"t">>, []),
    ok = brod:produce_sync(Client, <<"t">>, 0, <<>>, <<"v">>),
    {ok, {1, [#kafka_message{ts_type = append, ts = Ts} = Message]}} = brod:fetch(Client, <<"t">>, 0, 0),
    ?assert(Ts > os:system_time(millisecond) + 3000000),
    ?assertEqual([{0, Message}], brod_mock:messages(Mock, <<"t">>))
  end).

%% KIP-219: what it was told is waited for by the client; the broker reads nothing earlier. The time counts from
%% before the request whose answer tells: how soon this process learns of the answer is nobody's promise.
throttled_client_waits(_Config) ->
  brod_test:with_mock(#{topics => #{<<"t">> => 1}}, fun(Mock, Client) ->
    ok = brod:start_producer(Client, <<"t">>, []),
    ok = brod:produce_sync(Client, <<"t">>, 0, <<>>, <<"v">>),
    MsOf = fun(Values) ->
             T0 = erlang:monotonic_time(millisecond),
             [ok = brod:produce_sync(Client, <<"t">>, 0, <<>>, Value) || Value <- Values],
             erlang:monotonic_time(millisecond) - T0
           end,
    ok = brod_mock:fault(Mock, #{api => <<"Produce">>, action => {throttle, 300}}),
    ?assert(MsOf([<<"told">>, <<"waits">>]) >= 300),
    %% A client's own name is the one of its brod client.
    ok = brod_mock:quota(Mock, atom_to_binary(Client, utf8), #{produce => 1000}),
    ?assert(MsOf([binary:copy(<<"x">>, 1300), <<"waits">>]) >= 290)
  end).

%% How long that takes is up to the quota: longer than a leader takes to move.
quota_is_waited_for_by_fold(_Config) ->
  brod_test:with_mock(#{topics => #{<<"t">> => 1}}, fun(Mock, Client) ->
    ok = brod:start_producer(Client, <<"t">>, []),
    ok = brod:produce_sync(Client, <<"t">>, 0, <<>>, <<"v">>),
    ok = brod_mock:fault(Mock, #{api => <<"Fetch">>, times => 10, action => {error, ?THROTTLING_QUOTA_EXCEEDED}}),
    Count = fun(_Message, N) -> {ok, N + 1} end,
    ?assertEqual({1, 1, reached_end_of_partition}, brod:fold(Client, <<"t">>, 0, 0, #{max_wait_time => 1}, 0, Count, #{})),
    ?assertEqual(10, brod_mock:faults_met(Mock))
  end).

%% A broker that comes back knows nothing of what it asked for, nor does one whose answer was damaged.
throttle_ends_with_its_connection(_Config) ->
  brod_test:with_mock(#{brokers => 1, topics => #{<<"t">> => 1}}, fun(Mock, Client) ->
    ok = brod:start_producer(Client, <<"t">>, []),
    ok = brod_mock:fault(Mock, #{api => <<"Produce">>, action => {throttle, 300000}}),
    ok = brod:produce_sync(Client, <<"t">>, 0, <<>>, <<"1">>),
    {ok, Waits} = brod:produce(Client, <<"t">>, 0, <<>>, <<"2">>),
    ok = brod_mock:stop_broker(Mock, 1),
    ok = brod_mock:start_broker(Mock, 1),
    ?assertEqual(ok, brod:sync_produce_request(Waits, ?LIMIT_MS)),
    ?assertEqual([1, 2], stored(Mock, <<"t">>))
  end).

%% Where no answer is asked for none tells of it, and the broker reads nothing for up to eleven seconds. To give the connection up
%% meanwhile would have what was written to it stored behind what goes over the next one.
throttle_that_nobody_tells_is_waited_for(_Config) ->
  brod_test:with_mock(#{brokers => 1, topics => #{<<"t">> => 1}}, fun(Mock, Client) ->
    ok = brod:start_producer(Client, <<"t">>, [{required_acks, 0}, {ack_timeout, 1}]),
    ok = brod_mock:fault(Mock, #{api => <<"Produce">>, action => {throttle, 11000}}),
    %% More than sockets take.
    Numbers = lists:seq(1, 300),
    Refs = [begin {ok, Ref} = brod:produce(Client, <<"t">>, 0, <<>>, <<N:32, 0:(8 * 50000)>>), Ref end || N <- Numbers],
    [ok = brod:sync_produce_request(Ref, ?LIMIT_MS) || Ref <- Refs],
    Stored = fun() -> [N || {0, #kafka_message{value = <<N:32, _/binary>>}} <- brod_mock:messages(Mock, <<"t">>)] end,
    true = brod_test:wait_until(fun() -> length(Stored()) >= length(Numbers) end, ?LIMIT_MS),
    ?assertEqual(Numbers, Stored())
  end).

fetch_and_fold_of_a_client_that_is_stopped_say_so(_Config) ->
  brod_test:with_mock(#{topics => #{<<"t">> => 1}}, fun(Mock, Client0) ->
    Client = list_to_atom(atom_to_list(Client0) ++ "stopped"),
    Stopped = fun(Call) ->
                ok = brod:start_client(brod_mock:endpoints(Mock), Client),
                ok = brod_mock:fault(Mock, #{api => <<"Fetch">>, action => drop, times => 1000}),
                Met = brod_mock:faults_met(Mock),
                Test = self(),
                Caller = spawn_link(fun() -> Test ! {self(), Call()} end),
                true = brod_test:wait_until(fun() -> brod_mock:faults_met(Mock) > Met end, ?LIMIT_MS),
                ok = brod:stop_client(Client),
                ok = brod_mock:clear_faults(Mock),
                receive {Caller, Result} -> Result after ?LIMIT_MS -> error(no_answer) end
              end,
    ?assertEqual({error, client_down}, Stopped(fun() -> brod:fetch(Client, <<"t">>, 0, 0) end)),
    ?assertEqual({0, 0, {fetch_failure, client_down}},
                 Stopped(fun() -> brod:fold(Client, <<"t">>, 0, 0, #{}, 0, fun(_, N) -> {ok, N + 1} end, #{}) end))
  end).

answer_that_is_minutes_late_is_not_waited_for(_Config) ->
  brod_test:with_mock(#{topics => #{<<"t">> => 1}}, fun(Mock, Client0) ->
    Late = list_to_atom(atom_to_list(Client0) ++ "late"),
    ok = brod:start_client(brod_mock:endpoints(Mock), Late, [{request_timeout, 1000}, {reconnect_cool_down_seconds, 0}]),
    ok = brod:start_producer(Late, <<"t">>, [{retry_backoff_ms, 10}]),
    ok = brod_mock:fault(Mock, #{api => <<"Produce">>, action => {delay_answer, 300000}}),
    ok = brod:produce_sync(Late, <<"t">>, 0, <<>>, <<"1">>),
    ?assertEqual([1], stored(Mock, <<"t">>)),
    ok = brod:stop_client(Late)
  end).

%% A gen_server that calls produce_sync has no clause for a reply that comes after the call.
calls_that_end_with_their_producer_leave_nothing(_Config) ->
  brod_test:with_mock(#{topics => #{<<"t">> => 1}}, fun(Mock, Client0) ->
    Test = self(),
    Client = list_to_atom(atom_to_list(Client0) ++ "stopped"),
    ok = brod:start_client(brod_mock:endpoints(Mock), Client),
    %% Some of the calls wait for an ack, and some for room.
    ok = brod:start_producer(Client, <<"t">>, [{partition_buffer_limit, 10}]),
    ok = brod_mock:fault(Mock, #{api => <<"Produce">>, action => drop, times => 1000}),
    {ok, _} = brod:produce(Client, <<"t">>, 0, <<>>, <<>>),
    Calls = [spawn_link(fun() ->
                          Test ! {self(), brod:produce_sync(Client, <<"t">>, 0, <<>>, <<>>)},
                          receive look -> Test ! {self(), process_info(self(), messages)} end
                        end) || _ <- lists:seq(1, 40)],
    true = brod_test:wait_until(fun() -> [] =:= [C || C <- Calls, process_info(C, status) =/= {status, waiting}] end, ?LIMIT_MS),
    ok = brod:stop_client(Client),
    Answers = [receive {Call, Answer} -> Answer after ?LIMIT_MS -> error(no_answer) end || Call <- Calls],
    ?assertEqual([], [Answer || Answer <- Answers, Answer =/= {error, {producer_down, shutdown}}]),
    receive #brod_produce_reply{} -> ok after ?LIMIT_MS -> error(no_reply) end,
    [Call ! look || Call <- Calls],
    ?assertEqual([], lists:append([receive {Call, {messages, Left}} -> Left after ?LIMIT_MS -> error(no_answer) end || Call <- Calls]))
  end).

what_is_wrong_with_a_request_is_told(_Config) ->
  brod_test:with_mock(#{brokers => 1}, fun(Mock, _Client) ->
    [{Host, Port}] = brod_mock:endpoints(Mock),
    Asked = fun(Request) ->
              {ok, Socket} = gen_tcp:connect(Host, Port, [binary, {packet, 4}, {active, false}]),
              ok = gen_tcp:send(Socket, Request),
              {error, closed} = gen_tcp:recv(Socket, 0, ?LIMIT_MS)
            end,
    Asked(<<3:16, 1:16, 7:32, -1:16, 5:32>>),
    Asked(<<999:16, 0:16, 7:32, -1:16>>),
    Asked(<<0:16, 99:16, 7:32, -1:16, 0>>),
    [Metadata, Unknown, Version] = brod_mock:complaints(Mock),
    ?assertMatch(<<"Metadata of version 1: ", _/binary>>, Metadata),
    ?assertEqual(<<"nobody knows an API 999">>, Unknown),
    ?assertMatch(<<"Produce is not offered in version 99", _/binary>>, Version)
  end).

%% KIP-714.
metrics_are_pushed_where_brokers_ask(_Config) ->
  Producer = <<"org.apache.kafka.producer.">>,
  brod_test:with_mock(#{topics => #{<<"t">> => 1}, brokers => 1, client_metrics => #{names => [Producer]}}, fun(Mock, Client) ->
    Pushed = fun(Which) ->
               true = brod_test:wait_until(fun() -> lists:any(Which, brod_mock:pushed_metrics(Mock)) end, ?LIMIT_MS),
               hd(lists:filter(Which, lists:reverse(brod_mock:pushed_metrics(Mock))))
             end,
    Has = fun(Name) -> fun(#{metrics := Metrics}) -> is_map_key(Name, Metrics) end end,
    Latency = <<Producer/binary, "node.request.latency.avg">>,
    %% Who wants no part of it, does not.
    ok = brod:start_client(brod_mock:endpoints(Mock), ?FUNCTION_NAME, [{enable_metrics_push, false}]),
    [begin
       ok = brod:start_producer(Any, <<"t">>, []),
       ok = brod:produce_sync(Any, <<"t">>, 0, <<>>, <<"1">>)
     end || Any <- [?FUNCTION_NAME, Client]],
    #{client := Name, instance := Instance, terminating := false, metrics := Told} = Pushed(Has(Latency)),
    ?assertEqual(atom_to_binary(Client), Name),
    {ok, #{client_instance_id := Own}} = brod:info(Client),
    ?assertEqual(Instance, Own),
    [{Ms, #{<<"node_id">> := <<"1">>}}] = maps:get(Latency, Told),
    ?assert(Ms > 0),
    ?assertMatch(#{<<Producer/binary, "connection.creation.total">> := [{N, #{}}]} when N >= 1, Told),
    %% What is wanted changes.
    ok = brod:start_consumer(Client, <<"t">>, []),
    {ok, Consumer} = brod:subscribe(Client, self(), <<"t">>, 0, [{begin_offset, earliest}]),
    [1, 1] = received(Consumer, 2),
    ok = brod_mock:want_metrics(Mock, [<<"org.apache.kafka.consumer.fetch.">>]),
    #{metrics := Fetches} = Pushed(Has(<<"org.apache.kafka.consumer.fetch.manager.fetch.latency.max">>)),
    ?assertEqual([], [Other || Other <- maps:keys(Fetches), nomatch =:= string:prefix(Other, "org.apache.kafka.consumer.fetch.")]),
    %% The last words.
    ok = brod:stop_client(Client),
    #{instance := Instance} = Pushed(fun(#{terminating := Last}) -> Last end),
    ok = brod:stop_client(?FUNCTION_NAME),
    ?assertEqual([Name], lists:usort([Who || #{client := Who} <- brod_mock:pushed_metrics(Mock)]))
  end).

commands_come_by_tcp(_Config) ->
  {ok, Socket0} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]),
  {ok, Port} = inet:port(Socket0),
  ok = gen_tcp:close(Socket0),
  {ok, Mock} = brod_mock:start(#{brokers => 1, control_port => Port}),
  {ok, Socket} = gen_tcp:connect("127.0.0.1", Port, [binary, {packet, line}, {active, false}]),
  ok = gen_tcp:send(Socket, <<"{\"do\": \"create_topic\", \"topic\": \"t\", \"partitions\": 2}\n">>),
  ?assertEqual({ok, <<"{\"ok\":true}\n">>}, gen_tcp:recv(Socket, 0, ?LIMIT_MS)),
  ?assertEqual([], brod_mock:messages(Mock, <<"t">>)),
  ok = gen_tcp:close(Socket),
  ok = brod_mock:stop(Mock).

%% Certificates are the user's, and whoever has none of the clients' authority is sent away.
tls_comes_from_files(Config) ->
  Kind = [{key, {rsa, 2048, 65537}}, {digest, sha256}],
  Names = #'Extension'{extnID = ?'id-ce-subjectAltName', critical = false,
                       extnValue = [{dNSName, "localhost"}, {iPAddress, <<127, 0, 0, 1>>}]},
  Chain = fun(Peer) -> #{root => Kind, intermediates => [], peer => Kind ++ Peer} end,
  #{server_config := Server, client_config := Client} =
    public_key:pkix_test_data(#{server_chain => Chain([{extensions, [Names]}]), client_chain => Chain([])}),
  File = fun(Name, Entries) ->
           Path = filename:join(proplists:get_value(priv_dir, Config), Name),
           ok = file:write_file(Path, public_key:pem_encode([{Type, Der, not_encrypted} || {Type, Der} <- Entries])),
           list_to_binary(Path)
         end,
  Certificates = fun(Ders) -> [{'Certificate', Der} || Der <- Ders] end,
  Cert = fun(Of) -> Certificates([proplists:get_value(cert, Of)]) end,
  Authority = fun(Of) -> Certificates(proplists:get_value(cacerts, Of)) end,
  Tls = #{cert_file => File("broker.pem", Cert(Server)), key_file => File("broker.key", [proplists:get_value(key, Server)]),
          client_ca_file => File("clients-ca.pem", Authority(Server))},
  {ok, Mock} = brod_mock:start(#{brokers => 1, topics => #{<<"t">> => 1}, tls => Tls}),
  ?assertEqual(undefined, brod_mock:ca_pem(Mock)),
  Trusted = [{verify, verify_peer}, {cacertfile, File("ca.pem", Authority(Client))}],
  Own = [{certfile, File("client.pem", Cert(Client))}, {keyfile, File("client.key", [proplists:get_value(key, Client)])}],
  Asked = fun(Ssl) -> brod:get_metadata(brod_mock:endpoints(Mock), [<<"t">>], [{ssl, Ssl}, {connect_timeout, ?LIMIT_MS}]) end,
  ?assertMatch({ok, #{topics := [#{name := <<"t">>}]}}, Asked(Own ++ Trusted)),
  ?assertThrow({failed_to_connect, _}, Asked(Trusted)),
  ok = brod_mock:stop(Mock),
  process_flag(trap_exit, true),
  [begin
     ?assertMatch({error, {exited, 1}}, brod_mock:start(#{tls => Bad})),
     receive {'EXIT', _, {exited, 1}} -> ok after ?LIMIT_MS -> error(no_exit) end
   end || Bad <- [maps:remove(key_file, Tls), Tls#{client_ca_file := <<"nowhere">>}, Tls#{cert_file := maps:get(key_file, Tls)}]],
  process_flag(trap_exit, false).

%% A machine that has other things to do is slow at times: one of many starts is quick.
starts_quickly_and_small(_Config) ->
  Start = fun() ->
            T0 = erlang:monotonic_time(microsecond),
            {ok, Mock} = brod_mock:start(#{}),
            Us = erlang:monotonic_time(microsecond) - T0,
            {os_pid, Pid} = erlang:port_info(sys:get_state(Mock), os_pid),
            Rss = os:cmd("awk '/VmRSS/ { print $2 }' /proc/" ++ integer_to_list(Pid) ++ "/status"),
            ok = brod_mock:stop(Mock),
            {Us, list_to_integer(string:trim(Rss))}
          end,
  Kb = quick(Start, 50000, 200),
  ?assert(Kb < 30000).

quick(Start, LimitUs, Tries) when Tries > 0 ->
  case Start() of
    {Us, Kb} when Us < LimitUs -> ct:pal("a mock of three brokers starts in ~b us and takes ~b kB", [Us, Kb]), Kb;
    _ -> quick(Start, LimitUs, Tries - 1)
  end.

%% 20 s of what `make chaos' does for an hour, and everything that it took is given back.
random_walk_loses_nothing_and_leaves_nothing(_Config) ->
  ok = brod_walk:walk(1),
  Before = resources(),
  %% the same walks each time; `make chaos' takes others
  Seed = 1,
  ct:pal("random walk from seed ~b on", [Seed]),
  {ok, Walks} = brod_walk:run(Seed, 20000),
  ct:pal("~b walks", [Walks]),
  given_back(Before).

given_back(Before) ->
  try brod_test:wait_until(fun() -> not_more(resources(), Before) end, ?LIMIT_MS)
  catch error:{not_within_ms, _} -> error({left, resources(), before, Before})
  end.

%% Of this VM: processes, ETS tables and what stands in brod's, ports, threads, descriptors, and memory.
resources() ->
  Listed = fun(Dir) -> {ok, Names} = file:list_dir(Dir), length(Names) end,
  _ = [erlang:garbage_collect(Pid) || Pid <- processes()],
  #{processes => erlang:system_info(process_count), tables => erlang:system_info(ets_count),
    entries => lists:sum([ets:info(Table, size) || Table <- ets:all(), is_brods(Table)]),
    ports => erlang:system_info(port_count), threads => Listed("/proc/self/task"),
    descriptors => Listed("/proc/self/fd"), megabytes => erlang:memory(total) div 1000000, resident => resident()}.

%% A table may be gone by now. The journal's counters outlive their client by ten minutes.
is_brods(Table) ->
  case {ets:info(Table, owner), ets:info(Table, name)} of
    {undefined, _} -> false;
    {_, brod_journal} -> false;
    {Owner, _} -> application:get_application(Owner) =:= {ok, brod} andalso is_integer(ets:info(Table, size))
  end.

%% What is not Erlang's as well, in MB.
resident() ->
  {ok, Status} = file:read_file("/proc/self/status"),
  {match, [Kb]} = re:run(Status, "VmRSS:\\s+(\\d+)", [{capture, [1], binary}]),
  binary_to_integer(Kb) div 1000.

%% Code that was loaded meanwhile takes memory, and allocators keep some.
not_more(Now, Before) ->
  Slack = #{megabytes => 10, resident => 150},
  maps:fold(fun(Kind, N, All) -> All andalso N =< maps:get(Kind, Before) + maps:get(Kind, Slack, 0) end, true, Now).

subscribed(Client) -> subscribed(Client, []).

subscribed(Client, Options) ->
  ok = brod:start_consumer(Client, <<"t">>, [{begin_offset, earliest} | Options]),
  {ok, Consumer} = brod:subscribe(Client, self(), <<"t">>, 0, [{begin_offset, earliest} | Options]),
  Consumer.

%% Messages from N on are produced until one of them is received: how many it took is not said anywhere.
produced_until_received(Produce, Consumer, N) ->
  ok = Produce(N),
  receive
    {Consumer, #kafka_message_set{messages = Messages}} ->
      ?assertEqual([], [V || #kafka_message{value = V} <- Messages, binary_to_integer(V) < 11]),
      lists:seq(11, N)
  after 200 -> produced_until_received(Produce, Consumer, N + 1)
  end.

%% Each fault, at each moment, met by each kind of client: clusters work side by side. Afterwards nothing is left of it.
no_fault_harms(_Config) ->
  Cases = brod_fault_matrix:cases(),
  [] = brod_fault_matrix:run([Case || {N, Case} <- lists:zip(lists:seq(1, length(Cases)), Cases), N rem 40 =:= 1], ?CLUSTERS),
  Before = resources(),
  T0 = erlang:monotonic_time(millisecond),
  ?assertEqual([], brod_fault_matrix:run(Cases, ?CLUSTERS)),
  ct:pal("~b cases in ~b ms", [length(Cases), erlang:monotonic_time(millisecond) - T0]),
  given_back(Before).

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
