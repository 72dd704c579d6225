%% What calls about messages return and raise, word for word, as users and libraries match it:
%% producers, fetches, consumers, topic subscribers.
-module(brod_message_contract_SUITE).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2,
         end_per_testcase/2]).
-export([producer_start/1, produce_replies/1, produce_by_partitioner/1, value_forms/1,
         not_delivered/1, auto_start/1, fetch/1, resolve_offset/1, fold/1, consumer_start/1,
         consumer_subscription/1, consumer_smallest_numbers/1, offset_out_of_range/1, standalone/1, topic_subscriber/1,
         topic_subscriber_bad_partition/1]).
%% brod_topic_subscriber
-export([init/2, handle_message/3, terminate/2]).

-behaviour(brod_topic_subscriber).

-include_lib("eunit/include/eunit.hrl").
-include("../include/brod.hrl").

-define(LIMIT_MS, 20000).
-define(DEAD, [{{"127.0.0.1", 1}, {econnrefused, Stack}}]).
-define(BAD_NAME, <<"bad name!">>).

suite() -> [{timetrap, {seconds, 90}}].

all() ->
  [producer_start, produce_replies, produce_by_partitioner, value_forms, not_delivered, auto_start,
   fetch, resolve_offset, fold, consumer_start, consumer_subscription, consumer_smallest_numbers, offset_out_of_range,
   standalone, topic_subscriber, topic_subscriber_bad_partition].

init_per_suite(Config) -> brod_test:init_suite(Config).

end_per_suite(_Config) -> ok.

init_per_testcase(_Case, Config) -> [{client, brod_test:start_client()} | Config].

end_per_testcase(_Case, Config) -> brod_test:stop_client(client(Config)).

%%% Producers

producer_start(Config) ->
  Client = client(Config),
  Topic = brod_test:create_topic(3),
  ?assertEqual({error, {producer_not_found, Topic}}, brod:get_producer(Client, Topic, 0)),
  ?assertEqual({error, {producer_not_found, Topic}},
               brod:produce_sync(Client, Topic, 0, <<>>, <<"v">>)),
  NoClient = brod_test:unique_name("no"),
  ?assertEqual({error, client_down}, brod:produce_sync(NoClient, Topic, 0, <<>>, <<"v">>)),
  ?assertEqual({error, client_down}, brod:get_producer(NoClient, Topic, 0)),
  ?assertEqual({error, client_down}, brod:start_producer(NoClient, Topic, [])),
  ?assertEqual({error, unknown_topic_or_partition}, brod:start_producer(Client, ?BAD_NAME, [])),
  ?assertEqual(ok, brod:start_producer(Client, Topic, [])),
  ?assertEqual(ok, brod:start_producer(Client, Topic, [{required_acks, 1}])),
  ?assertMatch({ok, Pid} when is_pid(Pid), brod:get_producer(Client, Topic, 0)),
  ?assertEqual({error, {producer_not_found, Topic, 99}}, brod:get_producer(Client, Topic, 99)),
  ?assertEqual({error, {producer_not_found, Topic, 99}},
               brod:produce_sync(Client, Topic, 99, <<>>, <<"v">>)),
  ?assertEqual(ok, brod_client:stop_producer(Client, Topic)),
  ?assertEqual({error, {producer_not_found, Topic}}, brod:get_producer(Client, Topic, 0)).

produce_replies(Config) ->
  Client = client(Config),
  Topic = brod_test:create_topic(1),
  ok = brod:start_producer(Client, Topic, []),
  {ok, Pid} = brod:get_producer(Client, Topic, 0),
  Self = self(),
  ?assertEqual(ok, brod:produce_sync(Client, Topic, 0, <<"k">>, <<"v0">>)),
  ?assertEqual({ok, 1}, brod:produce_sync_offset(Client, Topic, 0, <<"k">>, <<"v1">>)),

  {ok, Ref} = brod:produce(Client, Topic, 0, <<"k">>, <<"v2">>),
  ?assertMatch(#brod_call_ref{caller = Self, callee = Pid, ref = R} when is_reference(R), Ref),
  ?assertEqual(#brod_produce_reply{call_ref = Ref, base_offset = 2,
                                   result = brod_produce_req_acked},
               receive Reply -> Reply after ?LIMIT_MS -> timeout end),

  {ok, Ref3} = brod:produce(Client, Topic, 0, <<"k">>, <<"v3">>),
  ?assertEqual(ok, brod:sync_produce_request(Ref3)),
  {ok, Ref4} = brod:produce(Client, Topic, 0, <<"k">>, <<"v4">>),
  ?assertEqual({ok, 4}, brod:sync_produce_request_offset(Ref4)),

  ?assertEqual(ok, brod:produce_sync(Pid, <<"v5">>)),
  ?assertEqual(ok, brod:produce_sync(Pid, <<"k">>, <<"v6">>)),
  {ok, Ref7} = brod:produce(Pid, <<"v7">>),
  ?assertEqual(ok, brod:sync_produce_request(Ref7, ?LIMIT_MS)),
  {ok, Ref8} = brod:produce(Pid, <<"k">>, <<"v8">>),
  ?assertEqual(ok, brod:sync_produce_request(Ref8, infinity)),
  ?assertEqual([], brod_test:flush()),

  Callback = fun(Partition, Offset) -> Self ! {callback, self(), Partition, Offset} end,
  ?assertEqual(ok, brod:produce_cb(Client, Topic, 0, <<"k">>, <<"v9">>, Callback)),
  ?assertEqual({callback, Pid, 0, 9}, receive Call9 -> Call9 after ?LIMIT_MS -> timeout end),
  ?assertEqual(ok, brod:produce_cb(Pid, <<"k">>, <<"v10">>, Callback)),
  ?assertEqual({callback, Pid, 0, 10}, receive Call10 -> Call10 after ?LIMIT_MS -> timeout end),

  ?assertEqual(ok, brod:produce_no_ack(Client, Topic, 0, <<"k">>, <<"v11">>)),
  ?assertEqual({ok, 12}, brod:produce_sync_offset(Client, Topic, 0, <<"k">>, <<"v12">>)),
  ?assertEqual([], brod_test:flush()),
  ?assertEqual({error, timeout},
               brod:sync_produce_request(#brod_call_ref{caller = Self, callee = Pid,
                                                        ref = make_ref()},
                                         10)).

produce_by_partitioner(Config) ->
  Client = client(Config),
  Topic = brod_test:create_topic(3),
  Produce = fun(How, Key) -> brod:produce_sync_offset(Client, Topic, How, Key, <<"v">>) end,
  ?assertEqual({error, {producer_not_found, Topic}}, Produce(random, <<"k">>)),
  ok = brod:start_producer(Client, Topic, []),
  ?assertEqual([{ok, 0}, {ok, 1}, {ok, 2}], [Produce(hash, <<"k">>) || _ <- [1, 2, 3]]),
  ?assertError({badmatch, bad}, Produce(fun(_, _, _, _) -> bad end, <<"k">>)),
  Self = self(),
  Last = fun(_, 3, _, _) -> {ok, 2} end,
  ?assertEqual({ok, 2}, brod:produce_cb(Client, Topic, Last, <<>>, <<"v">>,
                                        fun(Partition, _) -> Self ! {acked, Partition} end)),
  ?assertEqual({acked, 2}, receive Acked -> Acked after ?LIMIT_MS -> timeout end).

value_forms(Config) ->
  Client = client(Config),
  Topic = brod_test:create_topic(1),
  ok = brod:start_producer(Client, Topic, []),
  Produce = fun(Value) -> brod:produce_sync_offset(Client, Topic, 0, <<"dk">>, Value) end,
  Ts = 1234567,
  Forms =
    [{0, <<"a">>}, {1, ["b", $c]}, {2, <<>>}, {3, {Ts, <<"d">>}},
     {4, [{<<"k1">>, <<"v1">>}, {<<"k2">>, <<"v2">>}]},
     {6, [{Ts, <<"k3">>, <<"v3">>}]},
     {7, #{key => <<"k4">>, value => <<"v4">>}},
     {8, #{value => <<"v5">>}},
     {9, #{value => <<"v6">>, headers => [{<<"h">>, <<"x">>}]}},
     {10, [#{key => <<"k7">>, value => <<"v7">>, ts => Ts}, #{value => <<"v8">>, ts => Ts}]},
     {12, undefined},
     {13, #{key => undefined, value => undefined}},
     {14, [{<<"outer">>, [{<<"n1">>, <<"v">>}, {<<"n2">>, <<"v">>}]}]},
     {16, #{key => <<"k9">>}},
     {17, [#{ts => Ts, headers => [{"h", ["y", $z]}, {<<"i">>, undefined}]}, {Ts, <<"k10">>, undefined}]}],
  lists:foreach(fun({Offset, Value}) -> ?assertEqual({ok, Offset}, Produce(Value)) end, Forms),
  ?assertError(badarg, Produce(not_a_value)),
  lists:foreach(fun(Bad) -> ?assertError(badarg, Produce(Bad)) end,
                [#{}, #{key => <<"k">>, vlaue => <<"v">>}, [#{headers => [], val => <<"v">>}]]),
  {ok, {19, Messages}} = brod:fetch(Client, Topic, 0, 0),
  ?assertEqual([{<<"dk">>, <<"a">>, now, []}, {<<"dk">>, <<"bc">>, now, []},
                {<<"dk">>, <<>>, now, []},
                {<<"dk">>, <<"d">>, Ts, []}, {<<"k1">>, <<"v1">>, now, []},
                {<<"k2">>, <<"v2">>, now, []}, {<<"k3">>, <<"v3">>, Ts, []},
                {<<"k4">>, <<"v4">>, now, []}, {<<"dk">>, <<"v5">>, now, []},
                {<<"dk">>, <<"v6">>, now, [{<<"h">>, <<"x">>}]}, {<<"k7">>, <<"v7">>, Ts, []},
                {<<>>, <<"v8">>, Ts, []}, {<<"dk">>, <<>>, now, []}, {<<>>, <<>>, now, []},
                {<<"n1">>, <<"v">>, now, []}, {<<"n2">>, <<"v">>, now, []},
                {<<"k9">>, <<>>, now, []}, {<<>>, <<>>, Ts, [{<<"h">>, <<"yz">>}, {<<"i">>, <<>>}]},
                {<<"k10">>, <<>>, Ts, []}],
               [{K, V, recent(T), H}
                || #kafka_message{key = K, value = V, ts_type = create, ts = T,
                                  headers = H} <- Messages]).

recent(Ts) ->
  case abs(os:system_time(millisecond) - Ts) < 60000 of
    true -> now;
    false -> Ts
  end.

not_delivered(Config) ->
  Client = client(Config),
  Topic = brod_test:create_topic(3),
  ok = brod:start_producer(Client, Topic, []),
  Produce = fun(Value) -> brod:produce_sync(Client, Topic, 2, <<>>, Value) end,
  ?assertEqual({error, {producer_down, {not_retriable, {produce_response_error, Topic, 2, -1,
                                                        message_too_large}}}},
               Produce(binary:copy(<<"x">>, 2000000))),
  %% brod's producer is down for a while then, and so is every message behind it
  ?assertEqual(ok, Produce(<<"small">>)).

auto_start(_Config) ->
  Client = brod_test:start_client([{auto_start_producers, true}]),
  Topic = brod_test:create_topic(1),
  ?assertEqual({ok, 0}, brod:produce_sync_offset(Client, Topic, 0, <<>>, <<"v">>)),
  ?assertEqual({error, unknown_topic_or_partition},
               brod:produce_sync_offset(Client, ?BAD_NAME, 0, <<>>, <<"v">>)),
  ?assertEqual(ok, brod_client:stop_producer(Client, Topic)),
  ok = brod:stop_client(Client).

%%% Fetching

fetch(Config) ->
  Client = client(Config),
  Topic = three_messages(Client),
  Endpoints = brod_test:bootstrap(),
  {ok, Connection} = brod_client:get_leader_connection(Client, Topic, 0),
  lists:foreach(fun({Target, Offset}) ->
                  {ok, {3, [#kafka_message{offset = Offset, key = <<"k">>, value = Value,
                                           ts_type = create, headers = []} | _]}} =
                    brod:fetch(Target, Topic, 0, Offset),
                  ?assertEqual(value(Offset), Value)
                end, [{Client, 0}, {Endpoints, 1}, {{Endpoints, []}, 1}, {Connection, 2}]),
  ?assertEqual({ok, {3, []}}, brod:fetch(Client, Topic, 0, 3)),
  ?assertEqual({error, offset_out_of_range}, brod:fetch(Client, Topic, 0, 1000)),
  ?assertEqual({error, invalid_topic_exception}, brod:fetch(Client, ?BAD_NAME, 0, 0)),
  ?assertEqual({error, unknown_topic_or_partition}, brod:fetch(Client, Topic, 99, 0)),
  ?assertMatch({error, ?DEAD} when is_list(Stack),
               brod:fetch(brod_test:dead_endpoints(), Topic, 0, 0)),
  ?assertEqual({error, client_down}, brod:fetch(brod_test:unique_name("no"), Topic, 0, 0)),
  ?assertMatch({ok, {3, [_ | _]}}, brod:fetch(Client, Topic, 0, 0, #{max_bytes => 1})),
  ?assertMatch({ok, [#kafka_message{offset = 1} | _]},
               brod:fetch(Endpoints, Topic, 0, 1, 1000, 1, 9999)).

resolve_offset(Config) ->
  Client = client(Config),
  Topic = three_messages(Client),
  Endpoints = brod_test:bootstrap(),
  ?assertEqual([{ok, 0}, {ok, 0}, {ok, 0}],
               [brod:resolve_offset(Client, Topic, 0, earliest),
                brod:resolve_offset(Endpoints, Topic, 0, -2),
                brod:resolve_offset(Endpoints, Topic, 0, 0, [])]),
  ?assertEqual([{ok, 3}, {ok, 3}, {ok, 3}],
               [brod:resolve_offset(Client, Topic, 0),
                brod:resolve_offset(Endpoints, Topic, 0, latest),
                brod:resolve_offset(Client, Topic, 0, -1)]),
  Future = os:system_time(millisecond) + 3600000,
  ?assertEqual({ok, -1}, brod:resolve_offset(Client, Topic, 0, Future)),
  ?assertEqual({error, unknown_topic_or_partition}, brod:resolve_offset(Client, Topic, 99, latest)),
  ?assertEqual({error, invalid_topic_exception}, brod:resolve_offset(Client, ?BAD_NAME, 0, latest)),
  ?assertMatch({error, ?DEAD} when is_list(Stack),
               brod:resolve_offset(brod_test:dead_endpoints(), Topic, 0, latest)),
  ?assertEqual({ok, 0}, brod:resolve_offset(Endpoints, Topic, 0, earliest, [], #{timeout => 5000})).

fold(Config) ->
  Client = client(Config),
  Topic = three_messages(Client),
  Values = fun(#kafka_message{value = V}, Acc) -> {ok, [V | Acc]} end,
  ?assertEqual({[<<"v2">>, <<"v1">>, <<"v0">>], 3, reached_message_count_limit},
               brod:fold(Client, Topic, 0, 0, #{}, [], Values, #{message_count => 3})),
  ?assertEqual({0, 0, stop},
               brod:fold(Client, Topic, 0, 0, #{}, 0, fun(_, _) -> {error, stop} end, #{})),
  Count = fun(_, N) -> {ok, N + 1} end,
  ?assertEqual({2, 2, reached_target_offset},
               brod:fold(Client, Topic, 0, 0, #{}, 0, Count, #{reach_offset => 1})),
  ?assertEqual({3, 3, reached_end_of_partition},
               brod:fold(Client, Topic, 0, 0, #{}, 0, Count, #{})),
  ?assertEqual({0, 1000, {fetch_failure, offset_out_of_range}},
               brod:fold(Client, Topic, 0, 1000, #{}, 0, Count, #{})),
  lists:foreach(fun(Target) ->
                  ?assertEqual({0, 0, {error, unknown_topic_or_partition}},
                               brod:fold(Target, Topic, 99, 0, #{}, 0, Count, #{}))
                end, [Client, brod_test:bootstrap()]).

%%% Consumers

consumer_start(Config) ->
  Client = client(Config),
  Topic = brod_test:create_topic(1),
  ?assertEqual({error, {consumer_not_found, Topic}}, brod:get_consumer(Client, Topic, 0)),
  ?assertEqual({error, {consumer_not_found, Topic}}, brod:subscribe(Client, self(), Topic, 0, [])),
  ?assertEqual({error, {consumer_not_found, Topic}}, brod:unsubscribe(Client, Topic, 0)),
  ?assertEqual(ok, brod:start_consumer(Client, Topic, [])),
  ?assertEqual(ok, brod:start_consumer(Client, Topic, [{begin_offset, earliest}])),
  ?assertEqual({error, {consumer_not_found, Topic, 99}},
               brod:subscribe(Client, self(), Topic, 99, [])),
  ?assertEqual({error, unknown_topic_or_partition}, brod:start_consumer(Client, ?BAD_NAME, [])),
  ?assertEqual({error, client_down}, brod:start_consumer(brod_test:unique_name("no"), Topic, [])).

%% One batch at a time.
consumer_smallest_numbers(Config) ->
  Client = client(Config),
  Topic = three_messages(Client),
  ok = brod:start_consumer(Client, Topic, [{begin_offset, earliest}, {max_bytes, 0}, {min_bytes, -1},
                                           {prefetch_count, -1}, {prefetch_bytes, -1}]),
  {ok, Pid} = brod:subscribe(Client, self(), Topic, 0, []),
  [begin
     #kafka_message_set{messages = Messages} = receive_set(Pid),
     ?assertEqual([Offset], [O || #kafka_message{offset = O} <- Messages]),
     receive {Pid, Early} -> error({not_acked_yet, Early}) after 100 -> ok end,
     ok = brod:consume_ack(Pid, Offset)
   end || Offset <- [0, 1, 2]],
  ok = brod:unsubscribe(Pid).

consumer_subscription(Config) ->
  Client = client(Config),
  Topic = three_messages(Client),
  ok = brod:start_consumer(Client, Topic, [{begin_offset, earliest}]),
  {ok, Pid} = brod:subscribe(Client, self(), Topic, 0, []),
  #kafka_message_set{topic = Topic, partition = 0, high_wm_offset = HighWm,
                     messages = [First | _]} =
    receive_set(Pid),
  ?assert(is_integer(HighWm)),
  ?assertMatch(#kafka_message{offset = 0, key = <<"k">>, value = <<"v0">>, ts_type = create,
                              headers = []}, First),
  ?assertEqual({trap_exit, true}, process_info(Pid, trap_exit)),
  {links, Links} = process_info(self(), links),
  ?assertNot(lists:member(Pid, Links)),
  ?assertEqual(ok, brod:subscribe(Pid, self(), [])),

  Self = self(),
  Other = spawn_link(fun() -> receive stop -> ok end end),
  ?assertEqual({error, {already_subscribed_by, Self}}, brod:subscribe(Pid, Other, [])),
  ?assertEqual({error, ignored}, brod:unsubscribe(Pid, Other)),
  ?assertEqual(ok, brod:consume_ack(Pid, 0)),
  ?assertEqual(ok, brod:consume_ack(Client, Topic, 0, 2)),
  ?assert(is_process_alive(Pid)),
  ?assertEqual(ok, brod_consumer:check_connectivity(Pid, 5000)),
  ?assert(is_pid(brod_consumer:get_connection(Pid))),
  ?assertEqual(ok, brod:unsubscribe(Pid)),
  ?assertEqual({error, ignored}, brod:unsubscribe(Pid, self())),
  Other ! stop.

offset_out_of_range(Config) ->
  Client = client(Config),
  Topic = three_messages(Client),
  ok = brod:start_consumer(Client, Topic, []),
  {ok, Pid} = brod:subscribe(Client, self(), Topic, 0, [{begin_offset, 1000}]),
  ?assertEqual(#kafka_fetch_error{topic = Topic, partition = 0, error_code = offset_out_of_range,
                                  error_desc = []},
               receive {Pid, Error} -> Error after ?LIMIT_MS -> timeout end),
  ok = brod:subscribe(Pid, self(),
                      [{begin_offset, 1000}, {offset_reset_policy, reset_to_earliest}]),
  ?assertMatch(#kafka_message_set{messages = [#kafka_message{offset = 0} | _]}, receive_set(Pid)).

%% Producers and consumers without supervisors of brod, and a consumer without a client.
standalone(Config) ->
  Client = client(Config),
  Topic = three_messages(Client),
  lists:foreach(fun(Target) ->
                  {ok, Pid} = brod_consumer:start_link(Target, Topic, 0,
                                                       [{begin_offset, earliest}]),
                  ?assertEqual(ok, brod_consumer:subscribe(Pid, self(), [])),
                  ?assertMatch(#kafka_message_set{messages = [#kafka_message{offset = 0} | _]},
                               receive_set(Pid)),
                  ?assertEqual(ok, brod_consumer:ack(Pid, 0)),
                  ?assertEqual(ok, brod_consumer:unsubscribe(Pid, self())),
                  ?assertEqual(ok, brod_consumer:stop(Pid))
                end, [Client, brod_test:bootstrap(), {brod_test:bootstrap(), []}]),
  Fresh = brod_test:create_topic(1),
  {ok, Producer} = brod_producer:start_link(Client, Fresh, 0, []),
  {ok, Ref} = brod_producer:produce(Producer, <<"k">>, <<"v">>),
  ?assertEqual({ok, 0}, brod_producer:sync_produce_request(Ref, infinity)),
  ?assertEqual(ok, brod_producer:stop(Producer)).

receive_set(Pid) ->
  receive {Pid, #kafka_message_set{} = Set} -> Set
  after ?LIMIT_MS -> timeout
  end.

%%% Topic subscriber

topic_subscriber(Config) ->
  Client = client(Config),
  Topic = three_messages(Client),
  Options = [{begin_offset, earliest}],
  {ok, Pid} = brod:start_link_topic_subscriber(
                #{client => Client, topic => Topic, cb_module => ?MODULE, init_data => self(),
                  message_type => message, consumer_config => Options}),
  ?assertEqual({init, Topic}, next()),
  ?assertMatch({message, 0, #kafka_message{offset = 0, value = <<"v0">>}}, next()),
  ?assertEqual(ok, brod_topic_subscriber:stop(Pid)),
  ?assertEqual([{terminate, normal}], [T || {terminate, _} = T <- brod_test:flush()]),

  Self = self(),
  Fun = fun(Partition, Message, State) ->
          Self ! {fun_message, Partition, Message},
          {ok, ack, State}
        end,
  {ok, FunPid} = brod_topic_subscriber:start_link(Client, Topic, all, Options, [{0, 0}], message,
                                                  Fun, s),
  %% the offset says what is done already
  ?assertMatch({fun_message, 0, #kafka_message{offset = 1, value = <<"v1">>}}, next()),
  ok = brod_topic_subscriber:stop(FunPid).

topic_subscriber_bad_partition(Config) ->
  process_flag(trap_exit, true),
  Client = client(Config),
  Topic = brod_test:create_topic(3),
  {ok, Pid} = brod:start_link_topic_subscriber(Client, Topic, [99], [], ?MODULE, self()),
  ?assertEqual({bad_partitions, [99], 3},
               receive {'EXIT', Pid, Reason} -> Reason after ?LIMIT_MS -> timeout end).

init(Topic, Test) ->
  Test ! {init, Topic},
  {ok, [], Test}.

handle_message(Partition, Message, Test) ->
  Test ! {message, Partition, Message},
  {ok, ack, Test}.

terminate(Reason, Test) -> Test ! {terminate, Reason}.

next() -> receive Message -> Message after ?LIMIT_MS -> timeout end.

%%% Helpers

client(Config) -> proplists:get_value(client, Config).

value(N) -> <<"v", (integer_to_binary(N))/binary>>.

%% A topic with v0, v1 and v2 in its only partition, producer started.
three_messages(Client) ->
  Topic = brod_test:create_topic(1),
  ok = brod:start_producer(Client, Topic, []),
  lists:foreach(fun(N) ->
                  {ok, N} = brod:produce_sync_offset(Client, Topic, 0, <<"k">>, value(N))
                end, [0, 1, 2]),
  Topic.
