%% What Kafka and the Kafka in memory must answer alike (ADR 36): each case runs on both.
-module(brod_likeness_SUITE).

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_group/2, end_per_group/2,
         init_per_testcase/2, end_per_testcase/2]).
-export([topics_are_refused_in_the_same_words/1, names_that_differ_in_dots_collide/1, what_is_named_twice_is_not_done/1,
         messages_from_the_future_are_refused/1, broker_time_has_no_limit/1, what_is_not_there_makes_no_group/1,
         times_that_an_old_version_lacks/1, epochs_to_come_are_unknown/1, compacted_topics_keep_their_records/1]).

-include_lib("eunit/include/eunit.hrl").
-include("../include/brod.hrl").

-define(LIMIT_MS, 20000).

suite() -> [{timetrap, {seconds, 60}}].

all() -> [{group, kafka}, {group, mock}].

groups() -> [{kafka, [], cases()}, {mock, [], cases()}].

cases() ->
  [topics_are_refused_in_the_same_words, names_that_differ_in_dots_collide, what_is_named_twice_is_not_done,
   messages_from_the_future_are_refused, broker_time_has_no_limit, what_is_not_there_makes_no_group,
   times_that_an_old_version_lacks, epochs_to_come_are_unknown, compacted_topics_keep_their_records].

init_per_suite(Config) -> brod_test:init_suite_of_three(Config).

end_per_suite(_Config) -> ok.

init_per_group(kafka, Config) -> [{endpoints, brod_test:bootstrap()} | Config];
init_per_group(mock, Config) -> brod_test:init_mock_suite(Config).

end_per_group(_Group, _Config) -> ok.

init_per_testcase(_Case, Config) ->
  More = case proplists:get_value(endpoints, Config) of
           undefined ->
             {ok, Mock} = brod_mock:start(#{auto_create_topics => false}),
             %% The case runs in another process than this one, which ends.
             unlink(Mock),
             [{mock, Mock}, {endpoints, brod_mock:endpoints(Mock)}];
           _ ->
             []
         end,
  Client = brod_test:unique_name("client"),
  ok = brod:start_client(proplists:get_value(endpoints, More ++ Config), Client),
  [{client, Client} | More] ++ Config.

end_per_testcase(_Case, Config) ->
  ok = brod:stop_client(client(Config)),
  case proplists:get_value(mock, Config) of
    undefined -> ok;
    Mock -> brod_mock:stop(Mock)
  end.

client(Config) -> proplists:get_value(client, Config).

endpoints(Config) -> proplists:get_value(endpoints, Config).

create(Config, Specs) -> brod:create_topics(endpoints(Config), Specs, #{timeout => ?LIMIT_MS}).

spec(Topic) -> brod_test:topic_spec(Topic, 1).

with_config(Topic, Key, Value) -> (spec(Topic))#{configs => [#{name => Key, value => Value}]}.

%% A new topic of one partition that can be written to.
topic(Config, Configs) ->
  Topic = brod_test:unique("t"),
  ok = create(Config, [(spec(Topic))#{configs => [#{name => K, value => V} || {K, V} <- Configs]}]),
  {ok, _} = brod_test:wait_until(fun() ->
    case catch brod:resolve_offset(endpoints(Config), Topic, 0, latest) of
      {ok, 0} = Ok -> Ok;
      _ -> false
    end
  end, ?LIMIT_MS),
  Topic.

sync(Conn, Req) -> brod_utils:request_sync(Conn, Req, ?LIMIT_MS).

leader(Config, Topic) ->
  {ok, Conn} = brod_client:get_leader_connection(client(Config), Topic, 0),
  Conn.

topics_are_refused_in_the_same_words(Config) ->
  T = brod_test:unique("t"),
  Assigned = fun(Replicas) ->
               As = [#{partition_index => I, broker_ids => Ids} || {I, Ids} <- Replicas],
               (spec(T))#{num_partitions => -1, replication_factor => -1, assignments => As}
             end,
  Includes = "The manual partition assignment includes ",
  [?assertEqual({error, iolist_to_binary(Words)}, create(Config, [Spec])) || {Spec, Words} <-
    [{spec(<<>>), "Topic name is invalid: the empty string is not allowed"},
     {spec(<<"..">>), "Topic name is invalid: '..' is not allowed"},
     {(spec(T))#{num_partitions => 0}, "Number of partitions was set to an invalid non-positive value."},
     {(spec(T))#{replication_factor => -2},
      "Replication factor must be larger than 0, or -1 to use the default value."},
     {with_config(T, <<"no.such">>, <<"1">>), "Unknown topic config name: no.such"},
     {with_config(T, <<"retention.ms">>, <<"x">>),
      "Invalid value x for configuration retention.ms: Not a number of type LONG"},
     {with_config(T, <<"cleanup.policy">>, <<"shred">>),
      "Invalid value shred for configuration cleanup.policy: String must be one of: compact, delete"},
     {with_config(T, <<"min.insync.replicas">>, <<"0">>),
      "Invalid value 0 for configuration min.insync.replicas: Value must be at least 1"},
     {(Assigned([{0, [1]}]))#{num_partitions => 2},
      "A manual partition assignment was specified, but numPartitions was not set to -1."},
     {Assigned([{0, [1, 1]}]), [Includes, "the broker 1 more than once."]},
     {Assigned([{0, [9]}]), [Includes, "broker 9, but no such broker is registered."]},
     {Assigned([{0, []}]), [Includes, "an empty replica list."]},
     {Assigned([{1, [1]}]), "partitions should be a consecutive 0-based integer sequence"}]].

names_that_differ_in_dots_collide(Config) ->
  Name = brod_test:unique("t"),
  Dotted = <<Name/binary, ".a">>,
  ok = create(Config, [spec(Dotted)]),
  Expected = <<"Topic '", Name/binary, "_a' collides with existing topic: ", Dotted/binary>>,
  ?assertEqual({error, Expected}, create(Config, [spec(<<Name/binary, "_a">>)])).

what_is_named_twice_is_not_done(Config) ->
  Topic = topic(Config, []),
  New = spec(brod_test:unique("t")),
  ?assertEqual({error, <<"Duplicate topic name.">>}, create(Config, [New, New])),
  ?assertEqual({error, invalid_request}, brod:delete_topics(endpoints(Config), [Topic, Topic], ?LIMIT_MS)),
  ?assertEqual({ok, 0}, brod:resolve_offset(endpoints(Config), Topic, 0, latest)).

%% Kafka 4 takes nothing that is an hour ahead, and of a batch with such a message nothing.
messages_from_the_future_are_refused(Config) ->
  Topic = topic(Config, []),
  ok = brod:start_producer(client(Config), Topic, []),
  Batch = [#{key => <<"k">>, value => <<"v">>, ts => 0}, #{key => <<"k">>, value => <<"v">>, ts => far_ahead()}],
  ?assertEqual({error, {producer_down, {not_retriable, {produce_response_error, Topic, 0, -1, invalid_timestamp}}}},
               brod:produce_sync_offset(client(Config), Topic, 0, <<>>, Batch)),
  ?assertEqual({ok, 0}, brod:produce_sync_offset(client(Config), Topic, 0, <<>>, hd(Batch))).

far_ahead() -> os:system_time(millisecond) + 7200000.

broker_time_has_no_limit(Config) ->
  Topic = topic(Config, [{<<"message.timestamp.type">>, <<"LogAppendTime">>}]),
  ok = brod:start_producer(client(Config), Topic, []),
  ?assertEqual({ok, 0}, brod:produce_sync_offset(client(Config), Topic, 0, <<>>,
                                                 #{key => <<"k">>, value => <<"v">>, ts => far_ahead()})).

what_is_not_there_makes_no_group(Config) ->
  Topic = topic(Config, []),
  Group = brod_test:unique("group"),
  {ok, {{Host, Port} = Endpoint, _}} = brod_client:get_group_coordinator(client(Config), Group),
  {ok, Conn} = brod_client:get_connection(client(Config), Host, Port),
  Commit = fun(Partition, Generation) ->
             Offset = #{partition_index => Partition, committed_offset => 1, committed_leader_epoch => -1,
                        committed_metadata => <<>>},
             Fields = #{group_id => Group, generation_id => Generation, member_id => <<>>, group_instance_id => undefined,
                        topics => [#{name => Topic, partitions => [Offset]}]},
             {ok, #{topics := [#{partitions := [#{error_code := Code}]}]}} =
               sync(Conn, brod_kafka_build:make(offset_commit, 7, Fields)),
             Code
           end,
  IsListed = fun() ->
               {ok, Groups} = brod:list_groups(Endpoint, []),
               lists:keymember(Group, #brod_cg.id, Groups)
             end,
  ?assertEqual(unknown_topic_or_partition, Commit(7, 5)),
  ?assertEqual(unknown_topic_or_partition, Commit(7, -1)),
  ?assertNot(IsListed()),
  ?assertEqual(no_error, Commit(0, -1)),
  ?assert(IsListed()).

times_that_an_old_version_lacks(Config) ->
  Topic = topic(Config, []),
  [?assertMatch({ok, #{error_code := unsupported_version, offset := -1}},
                sync(leader(Config, Topic), brod_kafka_request:list_offsets(5, Topic, 0, Time)))
   || Time <- [-3, -4, -5]].

epochs_to_come_are_unknown(Config) ->
  Topic = topic(Config, []),
  ok = brod:start_producer(client(Config), Topic, []),
  {ok, 0} = brod:produce_sync_offset(client(Config), Topic, 0, <<"k">>, <<"v">>),
  Ended = fun(Epoch) ->
            Asked = #{topic => Topic, partitions => [#{partition => 0, current_leader_epoch => -1, leader_epoch => Epoch}]},
            {ok, #{topics := [#{partitions := [#{error_code := no_error, leader_epoch := E, end_offset := End}]}]}} =
              sync(leader(Config, Topic),
                   brod_kafka_build:make(offset_for_leader_epoch, 3, #{replica_id => -1, topics => [Asked]})),
            {E, End}
          end,
  ?assertEqual({-1, -1}, Ended(9)),
  ?assertEqual({-1, -1}, Ended(-1)),
  ?assertEqual({0, 1}, Ended(0)).

compacted_topics_keep_their_records(Config) ->
  Topic = topic(Config, [{<<"cleanup.policy">>, <<"compact">>}]),
  Fields = #{topics => [#{topic => Topic, partitions => [#{partition => 0, offset => -1}]}], timeout => ?LIMIT_MS},
  ?assertMatch({ok, #{topics := [#{partitions := [#{error_code := policy_violation}]}]}},
               sync(leader(Config, Topic), brod_kafka_build:make(delete_records, 1, Fields))).
