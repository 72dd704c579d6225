%% What calls return and raise, word for word, as users and libraries match it. Groups have a suite of
%% their own (brod_group_contract_SUITE).
-module(brod_contract_SUITE).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([application/1, create_and_delete/1, metadata/1, client_start/1, client_linked/1,
         client_information/1, partitions_count/1, client_connections/1, producer_start/1,
         produce_replies/1, produce_by_partitioner/1, value_forms/1, not_delivered/1, auto_start/1,
         fetch/1, resolve_offset/1, fold/1, consumer_start/1, consumer_subscription/1,
         offset_out_of_range/1, standalone/1, topic_subscriber/1, topic_subscriber_bad_partition/1,
         dead_client/1, dead_linked_client/1, call_during_connecting/1, stop_client/1, utilities/1]).
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
  [application, create_and_delete, metadata, client_start, client_linked, client_information,
   partitions_count, client_connections, producer_start, produce_replies, produce_by_partitioner,
   value_forms, not_delivered, auto_start, fetch, resolve_offset, fold, consumer_start,
   consumer_subscription, offset_out_of_range, standalone, topic_subscriber,
   topic_subscriber_bad_partition, dead_client, dead_linked_client, call_during_connecting,
   stop_client, utilities].

init_per_suite(Config) -> brod_test:init_suite(Config).

end_per_suite(_Config) -> ok.

%% Cases that are about the start of clients start their own.
init_per_testcase(Case, Config) ->
  case lists:member(Case, [application, create_and_delete, metadata, client_start, client_linked,
                           dead_client, dead_linked_client, call_during_connecting, utilities]) of
    true -> Config;
    false -> [{client, brod_test:start_client()} | Config]
  end.

end_per_testcase(_Case, Config) ->
  case proplists:get_value(client, Config) of
    undefined -> ok;
    Client -> brod_test:stop_client(Client)
  end.

%%% Application

application(_Config) ->
  ok = brod:stop(),
  ?assertEqual(undefined, whereis(brod_sup)),
  ok = brod:start(),
  ok = brod:start(),
  ?assert(lists:all(fun is_pid/1, [whereis(brod_sup), whereis(brod_kafka_apis)])),
  ?assertEqual([], supervisor:which_children(brod_sup)).

%%% Topics

create_and_delete(_Config) ->
  Topic = brod_test:unique("create"),
  Spec = brod_test:topic_spec(Topic, 1),
  Create = fun(S) -> brod:create_topics(brod_test:bootstrap(), [S], #{timeout => 10000}) end,
  Delete = fun(T) -> brod:delete_topics(brod_test:bootstrap(), [T], 10000) end,
  ?assertEqual(ok, Create(Spec)),
  ?assertEqual({error, <<"Topic '", Topic/binary, "' already exists.">>}, Create(Spec)),
  Count = integer_to_binary(length(brod_test:bootstrap())),
  ?assertEqual({error, <<"Unable to replicate the partition 9 time(s): The target replication factor "
                         "of 9 cannot be reached because only ", Count/binary,
                         " broker(s) are registered.">>},
               Create((other(Spec))#{replication_factor => 9})),
  ?assertEqual({error, <<"Topic name is invalid: 'bad name!' contains one or more characters other "
                         "than ASCII alphanumerics, '.', '_' and '-'">>},
               Create(Spec#{name => ?BAD_NAME})),
  ?assertEqual({error, <<"Unknown topic config name: no.such">>},
               Create((other(Spec))#{configs => [#{name => "no.such", value => "1"}]})),
  ?assertEqual({error, unknown_topic_or_partition}, Delete(brod_test:unique("none"))),
  ?assertEqual(ok, Delete(Topic)),
  ?assertMatch({error, ?DEAD} when is_list(Stack),
               brod:create_topics(brod_test:dead_endpoints(), [Spec], #{timeout => 1000})),
  ?assertMatch({error, ?DEAD} when is_list(Stack),
               brod:delete_topics(brod_test:dead_endpoints(), [Topic], 1000)).

other(Spec) -> Spec#{name => brod_test:unique("other")}.

metadata(_Config) ->
  Topic = brod_test:create_topic(1),
  {ok, Found} = brod:get_metadata(brod_test:bootstrap(), [Topic]),
  ?assertEqual([brokers, cluster_id, controller_id, topics], lists:sort(maps:keys(Found))),
  #{brokers := Brokers, cluster_id := Cluster, controller_id := Controller, topics := [Shape]} = Found,
  ?assert(is_binary(Cluster) andalso is_integer(Controller)),
  ?assertEqual(length(brod_test:bootstrap()), length(Brokers)),
  lists:foreach(fun(#{host := H, node_id := N, port := P, rack := R} = Broker) ->
                  ?assert(is_binary(H) andalso is_integer(N) andalso is_integer(P)),
                  ?assert(is_binary(R)),
                  ?assertEqual(4, map_size(Broker))
                end, Brokers),
  ?assertMatch(#{error_code := no_error, is_internal := false, name := Topic,
                 partitions := [#{error_code := no_error, isr_nodes := [Id], leader_id := Id,
                                  partition_index := 0, replica_nodes := [Id]}]}
                 when map_size(Shape) =:= 4, Shape),
  ?assertEqual({error, invalid_topic_exception}, brod:get_metadata(brod_test:bootstrap(), [?BAD_NAME])),
  {ok, All} = brod:get_metadata(brod_test:bootstrap()),
  ?assertEqual([brokers, cluster_id, controller_id, topics], lists:sort(maps:keys(All))),
  ?assertMatch({throw, {failed_to_connect, ?DEAD}} when is_list(Stack),
               brod_test:outcome(fun() -> brod:get_metadata(brod_test:dead_endpoints()) end)),
  ?assertMatch({throw, {failed_to_connect, [{{"no.such.host.invalid", 9092}, {nxdomain, Stack}}]}}
                 when is_list(Stack),
               brod_test:outcome(fun() -> brod:get_metadata([{"no.such.host.invalid", 9092}]) end)).

%%% Clients

client_start(_Config) ->
  Topic = brod_test:create_topic(3),
  [{Host, Port} | _] = Endpoints = brod_test:bootstrap(),
  Client = brod_test:unique_name("start"),
  ?assertEqual(ok, brod:start_client(Endpoints, Client)),
  ?assertEqual(ok, brod:start_client(Endpoints, Client, [])),
  Pid = whereis(Client),
  ?assertEqual([Pid], brod_sup:find_client(Client)),
  ?assertEqual({true, set, protected}, {ets:info(Client, named_table), ets:info(Client, type),
                                        ets:info(Client, protection)}),
  ?assertMatch([{Client, Pid, worker, _}], supervisor:which_children(brod_sup)),
  ok = brod:stop_client(Client),
  ?assertEqual({exit, "No endpoints found in brod client '" ++ atom_to_list(Client) ++ "' config"},
               brod_test:outcome(fun() -> brod:start_client([], Client) end)),
  lists:foreach(fun(SameHost) ->
                  ?assertEqual(ok, brod:start_client([{SameHost, Port}], Client)),
                  ?assertEqual({ok, 3}, brod:get_partitions_count(Client, Topic)),
                  ?assertEqual(ok, brod:stop_client(Client))
                end, [list_to_binary(Host), list_to_atom(Host)]),
  ?assertEqual(ok, brod:stop_client(brod_test:unique_name("never"))).

client_linked(_Config) ->
  process_flag(trap_exit, true),
  Client = brod_test:unique_name("linked"),
  Endpoints = brod_test:bootstrap(),
  {ok, Pid} = brod:start_link_client(Endpoints, Client),
  {links, Links} = process_info(self(), links),
  ?assert(lists:member(Pid, Links)),
  ?assertEqual({error, {already_started, Pid}}, brod:start_link_client(Endpoints, Client)),
  ?assertEqual(Pid, whereis(Client)),
  ?assertEqual({error, {{already_started, Pid},
                        {child, undefined, Client, {brod_client, start_link, [Endpoints, Client, []]},
                         {permanent, 10}, 5000, worker, [brod_client]}}},
               brod:start_client(Endpoints, Client, [])),
  Monitor = monitor(process, Pid),
  ?assertEqual(ok, brod_client:stop(Pid)),
  ?assertEqual(normal, receive {'DOWN', Monitor, process, Pid, Reason} -> Reason end),
  ?assertEqual(normal, receive {'EXIT', Pid, Why} -> Why end),
  ?assertEqual(undefined, whereis(Client)).

client_information(Config) ->
  Client = client(Config),
  {ok, Metadata} = brod_client:get_metadata(Client, all),
  ?assertEqual([brokers, cluster_id, controller_id, topics], lists:sort(maps:keys(Metadata))),
  Id = atom_to_binary(Client, utf8),
  ?assertEqual({ok, {brod_test:bootstrap(), #{client_id => Id}}}, brod_client:get_bootstrap(Client)),
  ?assertEqual({error, {unknown_call, foo}}, gen_server:call(Client, foo)).

partitions_count(Config) ->
  Client = client(Config),
  Topic = brod_test:create_topic(3),
  ?assertEqual({ok, 3}, brod:get_partitions_count(Client, Topic)),
  ?assertEqual({ok, 3}, brod:get_partitions_count_safe(Client, Topic)),
  ?assertEqual({ok, 3}, brod_client:get_partitions_count(whereis(Client), Topic)),
  ?assertEqual({ok, 3}, brod_client:get_partitions_count_safe(Client, Topic)),
  Unknown = brod_test:unique("unknown"),
  ?assertEqual({error, unknown_topic_or_partition}, brod:get_partitions_count_safe(Client, Unknown)),
  ?assertEqual({error, unknown_topic_or_partition}, brod:get_partitions_count(Client, Unknown)),
  ?assertEqual({error, invalid_topic_exception}, brod:get_partitions_count(Client, ?BAD_NAME)),
  ?assertEqual({error, client_down}, brod:get_partitions_count(brod_test:unique_name("no"), Topic)).

client_connections(Config) ->
  Client = client(Config),
  Topic = brod_test:create_topic(1),
  ?assertMatch({ok, Pid} when is_pid(Pid), brod_client:get_leader_connection(Client, Topic, 0)),
  ?assertEqual({error, unknown_topic_or_partition},
               brod_client:get_leader_connection(Client, Topic, 99)),
  ?assertEqual({error, invalid_topic_exception},
               brod_client:get_leader_connection(Client, ?BAD_NAME, 0)),
  [{Host, Port} | _] = brod_test:bootstrap(),
  ?assertMatch({ok, Pid} when is_pid(Pid), brod_client:get_connection(Client, Host, Port)),
  ?assertMatch({error, {econnrefused, Stack}} when is_list(Stack),
               brod_client:get_connection(Client, "127.0.0.1", 1)),
  Id = atom_to_binary(Client, utf8),
  {ok, {Group, GroupConfig}} =
    coordinator(fun() -> brod_client:get_group_coordinator(Client, <<"some-group">>) end),
  {ok, {Txn, TxnConfig}} =
    coordinator(fun() -> brod_client:get_transactional_coordinator(Client, <<"some-txn">>) end),
  ?assertEqual([#{client_id => Id}], lists:usort([GroupConfig, TxnConfig])),
  Known = [{list_to_binary(H), P} || {H, P} <- brod_test:bootstrap()],
  ?assertEqual([], lists:usort([Group, Txn]) -- Known),
  ?assertEqual({error, client_down},
               brod_client:get_group_coordinator(brod_test:unique_name("no"), <<"g">>)).

%% On a new cluster the first question makes Kafka create the topic behind it.
coordinator(Ask) ->
  brod_test:wait_until(fun() ->
    case Ask() of
      {ok, Found} -> {ok, Found};
      {error, [{error_code, coordinator_not_available}, _]} -> false
    end
  end, ?LIMIT_MS).

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
  ?assertEqual(#brod_produce_reply{call_ref = Ref, base_offset = 2, result = brod_produce_req_acked},
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
               brod:sync_produce_request(#brod_call_ref{caller = Self, callee = Pid, ref = make_ref()},
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
  ?assertEqual({ok, 2}, brod:produce_cb(Client, Topic, fun(_, 3, _, _) -> {ok, 2} end, <<>>, <<"v">>,
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
     {14, [{<<"outer">>, [{<<"n1">>, <<"v">>}, {<<"n2">>, <<"v">>}]}]}],
  lists:foreach(fun({Offset, Value}) -> ?assertEqual({ok, Offset}, Produce(Value)) end, Forms),
  ?assertError(badarg, Produce(not_a_value)),
  {ok, {16, Messages}} = brod:fetch(Client, Topic, 0, 0),
  ?assertEqual([{<<"dk">>, <<"a">>, now, []}, {<<"dk">>, <<"bc">>, now, []}, {<<"dk">>, <<>>, now, []},
                {<<"dk">>, <<"d">>, Ts, []}, {<<"k1">>, <<"v1">>, now, []},
                {<<"k2">>, <<"v2">>, now, []}, {<<"k3">>, <<"v3">>, Ts, []},
                {<<"k4">>, <<"v4">>, now, []}, {<<"dk">>, <<"v5">>, now, []},
                {<<"dk">>, <<"v6">>, now, [{<<"h">>, <<"x">>}]}, {<<"k7">>, <<"v7">>, Ts, []},
                {<<>>, <<"v8">>, Ts, []}, {<<"dk">>, <<>>, now, []}, {<<>>, <<>>, now, []},
                {<<"n1">>, <<"v">>, now, []}, {<<"n2">>, <<"v">>, now, []}],
               [{K, V, recent(T), H}
                || #kafka_message{key = K, value = V, ts_type = create, ts = T, headers = H} <- Messages]).

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
  ?assertEqual({error, {producer_down, noproc}}, Produce(<<"small">>)).

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
  ?assertMatch({error, ?DEAD} when is_list(Stack), brod:fetch(brod_test:dead_endpoints(), Topic, 0, 0)),
  ?assertEqual({error, client_down}, brod:fetch(brod_test:unique_name("no"), Topic, 0, 0)),
  ?assertMatch({ok, {3, [_ | _]}}, brod:fetch(Client, Topic, 0, 0, #{max_bytes => 1})),
  ?assertMatch({ok, [#kafka_message{offset = 1} | _]}, brod:fetch(Endpoints, Topic, 0, 1, 1000, 1, 9999)).

resolve_offset(Config) ->
  Client = client(Config),
  Topic = three_messages(Client),
  Endpoints = brod_test:bootstrap(),
  ?assertEqual([{ok, 0}, {ok, 0}, {ok, 0}],
               [brod:resolve_offset(Client, Topic, 0, earliest),
                brod:resolve_offset(Endpoints, Topic, 0, -2),
                brod:resolve_offset(Endpoints, Topic, 0, 0, [])]),
  ?assertEqual([{ok, 3}, {ok, 3}, {ok, 3}],
               [brod:resolve_offset(Client, Topic, 0), brod:resolve_offset(Endpoints, Topic, 0, latest),
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
  ?assertEqual({3, 3, reached_end_of_partition}, brod:fold(Client, Topic, 0, 0, #{}, 0, Count, #{})),
  ?assertEqual({0, 1000, {fetch_failure, offset_out_of_range}},
               brod:fold(Client, Topic, 0, 1000, #{}, 0, Count, #{})).

%%% Consumers

consumer_start(Config) ->
  Client = client(Config),
  Topic = brod_test:create_topic(1),
  ?assertEqual({error, {consumer_not_found, Topic}}, brod:get_consumer(Client, Topic, 0)),
  ?assertEqual({error, {consumer_not_found, Topic}}, brod:subscribe(Client, self(), Topic, 0, [])),
  ?assertEqual({error, {consumer_not_found, Topic}}, brod:unsubscribe(Client, Topic, 0)),
  ?assertEqual(ok, brod:start_consumer(Client, Topic, [])),
  ?assertEqual(ok, brod:start_consumer(Client, Topic, [{begin_offset, earliest}])),
  ?assertEqual({error, {consumer_not_found, Topic, 99}}, brod:subscribe(Client, self(), Topic, 99, [])),
  ?assertEqual({error, unknown_topic_or_partition}, brod:start_consumer(Client, ?BAD_NAME, [])),
  ?assertEqual({error, client_down}, brod:start_consumer(brod_test:unique_name("no"), Topic, [])).

consumer_subscription(Config) ->
  Client = client(Config),
  Topic = three_messages(Client),
  ok = brod:start_consumer(Client, Topic, [{begin_offset, earliest}]),
  {ok, Pid} = brod:subscribe(Client, self(), Topic, 0, []),
  #kafka_message_set{topic = Topic, partition = 0, high_wm_offset = HighWm, messages = [First | _]} =
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
  ok = brod:subscribe(Pid, self(), [{begin_offset, 1000}, {offset_reset_policy, reset_to_earliest}]),
  ?assertMatch(#kafka_message_set{messages = [#kafka_message{offset = 0} | _]}, receive_set(Pid)).

%% Producers and consumers without supervisors of brod, and a consumer without a client.
standalone(Config) ->
  Client = client(Config),
  Topic = three_messages(Client),
  lists:foreach(fun(Target) ->
                  {ok, Pid} = brod_consumer:start_link(Target, Topic, 0, [{begin_offset, earliest}]),
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
  Fun = fun(Partition, Message, State) -> Self ! {fun_message, Partition, Message}, {ok, ack, State} end,
  {ok, FunPid} = brod_topic_subscriber:start_link(Client, Topic, all, Options, [{0, 0}], message, Fun, s),
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

%%% Clients that go down

dead_client(_Config) ->
  Client = brod_test:unique_name("dead"),
  Topic = <<"t">>,
  ?assertEqual(ok, brod:start_client(brod_test:dead_endpoints(), Client, [])),
  brod_test:wait_until(fun() -> whereis(Client) =:= undefined end, ?LIMIT_MS),
  ?assertEqual({error, client_down}, brod:get_partitions_count(Client, Topic)),
  ?assertEqual({error, client_down}, brod_client:get_metadata(Client, all)),
  ?assertEqual({error, client_down}, brod:start_producer(Client, Topic, [])),
  ?assertEqual({error, client_down}, brod_client:get_group_coordinator(Client, <<"g">>)),
  ?assertEqual(ok, brod:stop_client(Client)).

dead_linked_client(_Config) ->
  process_flag(trap_exit, true),
  {ok, Pid} = brod:start_link_client(brod_test:dead_endpoints(), brod_test:unique_name("dead")),
  ?assertMatch({'EXIT', Pid, ?DEAD} when is_list(Stack),
               receive Exit -> Exit after ?LIMIT_MS -> timeout end).

%% Calls wait while a client connects, and learn why it could not. The listener accepts, says
%% nothing, and closes once the call is there.
call_during_connecting(_Config) ->
  process_flag(trap_exit, true),
  {ok, Listener} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}, {active, false}]),
  {ok, Port} = inet:port(Listener),
  Client = brod_test:unique_name("connecting"),
  {ok, Pid} = brod:start_link_client([{"127.0.0.1", Port}], Client),
  Self = self(),
  _ = spawn_link(fun() -> Self ! {called, brod:get_partitions_count(Client, <<"t">>)} end),
  {ok, Socket} = gen_tcp:accept(Listener, ?LIMIT_MS),
  ok = gen_tcp:close(Listener),
  ok = gen_tcp:close(Socket),
  ?assertMatch({error, {client_down, [{{"127.0.0.1", Port}, {_, Stack}}]}} when is_list(Stack),
               receive {called, Result} -> Result after ?LIMIT_MS -> timeout end),
  ?assertMatch([{{"127.0.0.1", Port}, {_, _}}],
               receive {'EXIT', Pid, Reason} -> Reason after ?LIMIT_MS -> timeout end).

stop_client(Config) ->
  Client = client(Config),
  Topic = three_messages(Client),
  ok = brod:start_consumer(Client, Topic, []),
  {ok, Consumer} = brod:subscribe(Client, self(), Topic, 0, []),
  {ok, Producer} = brod:get_producer(Client, Topic, 0),
  Monitors = [{Name, monitor(process, Target)}
              || {Name, Target} <- [{client, Client}, {consumer, Consumer}, {producer, Producer}]],
  ?assertEqual(ok, brod:stop_client(Client)),
  lists:foreach(fun({Name, Monitor}) ->
                  receive {'DOWN', Monitor, process, _, Reason} ->
                    ?assertEqual({Name, shutdown}, {Name, Reason})
                  after ?LIMIT_MS -> error({still_up, Name})
                  end
                end, Monitors),
  ?assertEqual(undefined, whereis(Client)).

%%% Small functions that others call

utilities(Config) ->
  ?assertEqual([ok, ok], [brod_utils:assert_client(c), brod_utils:assert_client(self())]),
  ?assertError({bad_client, <<"x">>}, brod_utils:assert_client(<<"x">>)),
  ?assertEqual(ok, brod_utils:assert_topic(<<"t">>)),
  ?assertError({bad_topic, "x"}, brod_utils:assert_topic("x")),
  ?assert(abs(brod_utils:epoch_ms() - os:system_time(millisecond)) < 1000),
  ?assertEqual({ok, 1}, (brod_utils:make_part_fun(fun(_, _, _, _) -> {ok, 1} end))(t, 3, k, v)),
  ?assertEqual({ok, erlang:phash2(<<"k">>) rem 3},
               (brod_utils:make_part_fun(hash))(<<"t">>, 3, <<"k">>, <<"v">>)),
  File = filename:join(proplists:get_value(priv_dir, Config), "secret"),
  ok = file:write_file(File, "u\np\n"),
  ?assertEqual([], brod_utils:init_sasl_opt([])),
  [{sasl, {plain, "u", Secret}}] = brod_utils:init_sasl_opt([{sasl, {plain, "u", "p"}}]),
  [{sasl, {scram_sha_256, <<"u">>, FromFile}}] =
    brod_utils:init_sasl_opt([{sasl, {scram_sha_256, File}}]),
  ?assertEqual({"p", <<"p">>}, {Secret(), FromFile()}),
  ?assertEqual([{sasl, {callback, m, o}}], brod_utils:init_sasl_opt([{sasl, {callback, m, o}}])),
  ?assertEqual([#{key => <<>>, value => <<"v">>}],
               brod_utils:make_batch_input(<<"dk">>, [#{value => <<"v">>}])).

%%% Helpers

client(Config) -> proplists:get_value(client, Config).

value(N) -> <<"v", (integer_to_binary(N))/binary>>.

%% A topic with v0, v1 and v2 in its only partition, producer started.
three_messages(Client) ->
  Topic = brod_test:create_topic(1),
  ok = brod:start_producer(Client, Topic, []),
  lists:foreach(fun(N) -> {ok, N} = brod:produce_sync_offset(Client, Topic, 0, <<"k">>, value(N)) end,
                [0, 1, 2]),
  Topic.
