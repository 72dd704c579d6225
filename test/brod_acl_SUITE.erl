%% Permissions on a real Kafka with StandardAuthorizer: what a user learns who may not do something, and
%% how little a client needs. The user is bob, who may do nothing but what a test permits.
-module(brod_acl_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include("../include/brod.hrl").

-compile([export_all, nowarn_export_all]).

-define(config(Key, Config), proplists:get_value(Key, Config)).
-define(LIMIT_MS, 30000).

all() ->
  [no_permission_on_a_topic, only_described, a_line_tells_for_all_partitions, only_produced, idempotence_is_not_permitted, no_permission_on_a_group, nothing_to_create,
   the_least_that_a_client_needs, a_permission_is_withdrawn_and_given_back,
   a_group_member_loses_its_permission].

init_per_suite(Config) ->
  case os:getenv("BROD_ACL") of
    "1" -> brod_test:init_suite([{watch, brod_security:watch(["bob-secret", "alice-secret"])} | Config]);
    _ -> {skip, "the Kafka checks no permissions (KAFKA_ACL=1 scripts/kafka-up.sh starts one)"}
  end.

end_per_suite(Config) ->
  ok = brod_security:unwatch(?config(watch, Config)),
  application:stop(brod).

init_per_testcase(_Case, Config) ->
  ok = brod_security:withdraw("bob"),
  [{topic, brod_test:create_topic(1)}, {group, brod_test:unique("g")} | Config].

end_per_testcase(_Case, Config) ->
  ok = brod_security:withdraw("bob"),
  ok = brod_security:check(?config(watch, Config)),
  [ok = brod:stop_client(Client) || {Client, _, _, _} <- brod_supervisor3:which_children(brod_sup)],
  ok.

no_permission_on_a_topic(Config) ->
  Topic = ?config(topic, Config),
  Client = client(),
  ?assertEqual({error, topic_authorization_failed}, brod:get_partitions_count(Client, Topic)),
  ?assertEqual({error, topic_authorization_failed}, brod:start_producer(Client, Topic, [])),
  ?assertEqual({error, topic_authorization_failed}, brod:start_consumer(Client, Topic, [])),
  ?assertEqual({error, topic_authorization_failed}, brod:get_metadata(endpoints(), [Topic], options())),
  ?assertEqual({error, topic_authorization_failed}, brod:resolve_offset(Client, Topic, 0, latest)),
  ?assertEqual({error, topic_authorization_failed}, brod:fetch(Client, Topic, 0, 0)),
  lives(Client).

only_described(Config) ->
  Topic = ?config(topic, Config),
  permit(topic, Topic, [describe]),
  Client = client(),
  ok = brod:start_producer(Client, Topic, []),
  {error, Reason} = brod:produce_sync(Client, Topic, 0, <<>>, <<"v">>),
  ?assertMatch({producer_down, {not_retriable, {produce_response_error, Topic, 0, -1,
                                                topic_authorization_failed}}}, Reason),
  ?assertEqual({error, topic_authorization_failed}, brod:fetch(Client, Topic, 0, 0)),
  ?assertEqual({ok, 0}, brod:resolve_offset(Client, Topic, 0, latest)),
  ok = brod:start_consumer(Client, Topic, [{begin_offset, earliest}]),
  {ok, Consumer} = brod:subscribe(Client, self(), Topic, 0, []),
  receive {Consumer, #kafka_fetch_error{error_code = topic_authorization_failed}} -> ok
  after ?LIMIT_MS -> error({nothing_was_said, brod_test:flush()})
  end,
  lives(Client).

%% Not one for each partition, each time that it is tried again.
a_line_tells_for_all_partitions(_Config) ->
  Topic = brod_test:create_topic(3),
  permit(topic, Topic, [describe]),
  Client = client(),
  Log = brod_log:start(),
  ok = brod:start_producer(Client, Topic, [{partition_restart_delay_seconds, 1}]),
  ok = brod:start_consumer(Client, Topic, [{begin_offset, earliest}, {partition_restart_delay_seconds, 1}]),
  Fails = fun(Partition) ->
            {ok, Consumer} = brod:get_consumer(Client, Topic, Partition),
            MRef = monitor(process, Consumer),
            ok = brod:subscribe(Consumer, self(), []),
            {error, _} = brod:produce_sync(Client, Topic, Partition, <<>>, <<"v">>),
            receive {'DOWN', MRef, _, _, Why} -> ?assertEqual({restart, topic_authorization_failed}, Why)
            after ?LIMIT_MS -> error({still_runs, Partition})
            end,
            {Partition, Consumer}
          end,
  Ended = [Fails(Partition) || Partition <- [0, 1, 2]],
  IsBack = fun() -> lists:all(fun({P, Former}) -> is_back(Client, Topic, P, Former) end, Ended) end,
  brod_test:wait_until(IsBack, ?LIMIT_MS),
  lists:foreach(Fails, [2, 1, 0]),
  Told = fun(Kind) -> length(brod_log:all(Log, [Kind, " of ", Topic])) end,
  ?assertEqual([1, 1, 0, 0], [Told(Kind) || Kind <- ["consumers", "producers", "consumer", "producer"]]),
  ok = brod_log:stop(Log),
  lives(Client).

is_back(Client, Topic, Partition, Former) ->
  case {brod:get_producer(Client, Topic, Partition), brod:get_consumer(Client, Topic, Partition)} of
    {{ok, _}, {ok, Consumer}} -> Consumer =/= Former;
    _ -> false
  end.

%% Who may write to a topic may do so without gaps and duplicates; nothing else is needed for it.
only_produced(Config) ->
  Topic = ?config(topic, Config),
  permit(topic, Topic, [write]),
  Client = client(),
  ok = brod:start_producer(Client, Topic, [{enable_idempotence, true}]),
  ?assertEqual({ok, 0}, brod:produce_sync_offset(Client, Topic, 0, <<>>, <<"v">>)),
  ?assertEqual({error, topic_authorization_failed}, brod:fetch(Client, Topic, 0, 0)),
  lives(Client).

%% Brokers give a producer id to who may write to some topic, or has the permission of the cluster. Without an id it
%% goes on where idempotence was not asked for (only_described), and fails where it was, until there is one.
idempotence_is_not_permitted(Config) ->
  Topic = ?config(topic, Config),
  permit(topic, Topic, [describe]),
  Client = client(),
  Log = brod_log:start(),
  ok = brod:start_producer(Client, Topic, [{enable_idempotence, true}, {partition_restart_delay_seconds, 1}]),
  brod_test:wait_until(fun() -> brod_log:has(Log, "cluster_authorization_failed") end, ?LIMIT_MS),
  brod_log:stop(Log),
  ?assertMatch({error, {producer_down, _}}, brod:produce_sync(Client, Topic, 0, <<>>, <<"v">>)),
  lives(Client),
  permit(cluster, "kafka-cluster", [idempotent_write]),
  Code = fun() ->
           case brod:produce_sync(Client, Topic, 0, <<>>, <<"v">>) of
             {error, {producer_down, {not_retriable, {produce_response_error, Topic, 0, -1, Why}}}} -> Why;
             _ -> none
           end
         end,
  brod_test:wait_until(fun() -> Code() =:= topic_authorization_failed end, ?LIMIT_MS),
  permit(topic, Topic, [write]),
  brod_test:wait_until(fun() -> brod:produce_sync(Client, Topic, 0, <<>>, <<"v">>) =:= ok end, ?LIMIT_MS).

no_permission_on_a_group(Config) ->
  {Topic, Group} = {?config(topic, Config), ?config(group, Config)},
  permit(topic, Topic, [read]),
  Client = client(),
  ?assertEqual({error, group_authorization_failed}, brod:fetch_committed_offsets(Client, Group)),
  ?assertMatch({error, [{error_code, group_authorization_failed} | _]},
               brod_client:get_group_coordinator(Client, Group)),
  ?assertError({offsets_not_fetched, Group, group_authorization_failed},
               brod_transaction_processor:get_committed_offsets(Group, [{Topic, 0}], #{client => Client})),
  Log = brod_log:start(),
  Pid = brod_group_probe:v2(a, Client, Group, [Topic]),
  MRef = monitor(process, Pid),
  %% it goes on trying, as brod does, or ends and says why
  brod_test:wait_until(fun() -> brod_log:has(Log, "group_authorization_failed") end, ?LIMIT_MS),
  brod_log:stop(Log),
  exit(Pid, shutdown),
  receive {'DOWN', MRef, _, _, _} -> ok after ?LIMIT_MS -> error(still_running) end,
  lives(Client).

nothing_to_create(Config) ->
  Topic = ?config(topic, Config),
  Create = fun(Name) -> brod:create_topics(endpoints(), [brod_test:topic_spec(Name, 1)],
                                           #{timeout => ?LIMIT_MS}, options()) end,
  ?assertMatch({error, <<_/binary>>}, Create(brod_test:unique("new"))),
  ?assertEqual({error, topic_authorization_failed},
               brod:delete_topics(endpoints(), [Topic], ?LIMIT_MS, options())),
  permit(topic, Topic, [delete, describe]),
  ?assertEqual(ok, brod:delete_topics(endpoints(), [Topic], ?LIMIT_MS, options())).

%% Not the cluster, no other topic, no ListTopics.
the_least_that_a_client_needs(Config) ->
  {Topic, Group} = {?config(topic, Config), ?config(group, Config)},
  permit(topic, Topic, [read, write]),
  permit(group, Group, [read]),
  Client = client(),
  ok = brod:start_producer(Client, Topic, []),
  ok = brod:produce_sync(Client, Topic, 0, <<>>, <<"1">>),
  Member = brod_group_probe:v2(a, Client, Group, [Topic]),
  _ = brod_group_probe:collect([<<"1">>], ?LIMIT_MS),
  ok = brod_group_subscriber_v2:stop(Member),
  ?assertMatch({ok, [#{partitions := [#{committed_offset := 1}]}]},
               brod:fetch_committed_offsets(Client, Group)),
  {ok, #{topics := Topics}} = brod_client:get_metadata(Client, all),
  ?assertEqual([Topic], [Name || #{name := Name} <- Topics]).

a_permission_is_withdrawn_and_given_back(Config) ->
  Topic = ?config(topic, Config),
  permit(topic, Topic, [read, write]),
  Client = client(),
  Pid = whereis(Client),
  ok = brod:start_producer(Client, Topic, [{partition_restart_delay_seconds, 1}]),
  Produce = fun() -> brod:produce_sync(Client, Topic, 0, <<>>, <<"v">>) end,
  ok = Produce(),
  ok = brod_security:withdraw("bob"),
  brod_test:wait_until(fun() -> Produce() =/= ok end, ?LIMIT_MS),
  ?assertEqual(Pid, whereis(Client)),
  permit(topic, Topic, [read, write]),
  brod_test:wait_until(fun() -> Produce() =:= ok end, ?LIMIT_MS),
  ?assertEqual(Pid, whereis(Client)).

a_group_member_loses_its_permission(Config) ->
  {Topic, Group} = {?config(topic, Config), ?config(group, Config)},
  permit(topic, Topic, [read, write]),
  permit(group, Group, [read]),
  Client = client(),
  Pid = whereis(Client),
  ok = brod:start_producer(Client, Topic, []),
  ok = brod:produce_sync(Client, Topic, 0, <<>>, <<"1">>),
  Member = brod_group_probe:v2(a, Client, Group, [Topic]),
  _ = brod_group_probe:collect([<<"1">>], ?LIMIT_MS),
  Log = brod_log:start(),
  ok = brod_security:withdraw("bob"),
  brod_test:wait_until(fun() -> brod_log:has(Log, "authorization_failed") end, ?LIMIT_MS),
  brod_log:stop(Log),
  ?assertEqual(Pid, whereis(Client)),
  exit(Member, shutdown).

%%% helpers

endpoints() -> brod_security:endpoints(sasl).

options() -> [{sasl, {scram_sha_256, "bob", "bob-secret"}}].

client() ->
  Client = brod_test:unique_name("bob"),
  ok = brod:start_client(endpoints(), Client, options()),
  %% no topic is asked for: it is connected when this returns
  {ok, _} = brod_client:get_metadata(Client, []),
  Client.

lives(Client) -> ?assertMatch({ok, _}, brod_client:get_metadata(Client, [])).

%% The brokers know it when this returns: they learn of permissions as of topics, from a log.
permit(Type, Name, Operations) ->
  ok = brod_security:allow("bob", Type, Name, Operations).
