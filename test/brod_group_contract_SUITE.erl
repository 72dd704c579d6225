%% What calls about consumer groups return, and what group members are called with, word for word.
-module(brod_group_contract_SUITE).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2,
         end_per_testcase/2]).
-export([coordinator/1, unreachable/1, subscriber_v1/1, subscriber_v1_sets/1, subscriber_v2/1,
         subscriber_v2_health_dead/1]).
%% brod_group_member
-export([get_committed_offsets/2, assignments_received/4, assignments_revoked/1]).
%% brod_group_subscriber and brod_group_subscriber_v2
-export([init/2, handle_message/4, handle_message/2, terminate/2]).

-behaviour(brod_group_member).

-include_lib("eunit/include/eunit.hrl").
-include("../include/brod.hrl").

-define(LIMIT_MS, 30000).
-define(DEAD, [{{"127.0.0.1", 1}, {econnrefused, Stack}}]).

suite() -> [{timetrap, {seconds, 120}}].

all() ->
  [coordinator, unreachable, subscriber_v1, subscriber_v1_sets, subscriber_v2,
   subscriber_v2_health_dead].

init_per_suite(Config) -> brod_test:init_suite(Config).

end_per_suite(_Config) -> ok.

init_per_testcase(_Case, Config) -> [{client, brod_test:start_client()} | Config].

end_per_testcase(_Case, Config) -> brod_test:stop_client(client(Config)).

%%% Coordinator and requests about groups

coordinator(Config) ->
  process_flag(trap_exit, true),
  Client = client(Config),
  Topic = brod_test:create_topic(3),
  Group = brod_test:unique("group"),
  {ok, Pid} = brod_group_coordinator:start_link(Client, Group, [Topic], [], ?MODULE, self()),
  {Generation, Assignments} = received(),
  ?assertEqual([#brod_received_assignment{topic = Topic, partition = P, begin_offset = undefined}
                || P <- [0, 1, 2]], lists:sort(Assignments)),

  ?assertEqual(ok, brod_group_coordinator:ack(Pid, Generation, Topic, 1, 3)),
  ?assertEqual(ok, brod_group_coordinator:commit_offsets(Pid)),
  %% of several offsets of a partition the first one counts
  ?assertEqual(ok, brod_group_coordinator:commit_offsets(Pid, [{{Topic, 0}, 5}, {{Topic, 0}, 2}])),
  ?assertEqual({ok, #{0 => 6, 1 => 4}}, committed(Client, Group, Topic)),
  {ok, [#{partitions := FromEndpoints}]} =
    brod:fetch_committed_offsets(brod_test:bootstrap(), [], Group),
  ?assertEqual(2, length(FromEndpoints)),
  ?assertEqual({ok, []}, brod:fetch_committed_offsets(Client, brod_test:unique("none"))),
  %% an ack of another generation is dropped
  ?assertEqual(ok, brod_group_coordinator:ack(Pid, Generation + 7, Topic, 2, 9)),
  ?assertEqual(ok, brod_group_coordinator:commit_offsets(Pid)),
  ?assertEqual({ok, #{0 => 6, 1 => 4}}, committed(Client, Group, Topic)),

  {ok, {Coordinator, _}} = brod_client:get_group_coordinator(Client, Group),
  {ok, [Description]} = brod:describe_groups(Coordinator, [], [Group]),
  ?assertEqual([error_code, group_id, group_state, members, protocol_data, protocol_type],
               lists:sort(maps:keys(Description))),
  ?assertMatch(#{error_code := no_error, group_id := Group, group_state := <<"Stable">>,
                 protocol_type := <<"consumer">>, members := [_]}, Description),
  Listed = #brod_cg{id = Group, protocol_type = <<"consumer">>},
  {ok, Groups} = brod:list_groups(Coordinator, []),
  ?assert(lists:member(Listed, Groups)),
  All = brod:list_all_groups(brod_test:bootstrap(), []),
  ?assertEqual(lists:sort(brod_test:bootstrap()), lists:sort([Endpoint || {Endpoint, _} <- All])),
  ?assert(lists:any(fun({_, Cgs}) -> lists:member(Listed, Cgs) end, All)),

  Other = brod_test:create_topic(1),
  ?assertEqual(ok, brod_group_coordinator:update_topics(Pid, [Topic, Other])),
  receive revoked -> ok after ?LIMIT_MS -> error(not_revoked) end,
  {_, More} = received(),
  ?assertEqual(4, length(More)),
  ?assertEqual(6, hd([O || #brod_received_assignment{topic = T, partition = 0,
                                                     begin_offset = O} <- More,
                           T =:= Topic])),
  ?assertEqual(ok, brod_group_coordinator:stop(Pid)),
  ?assertNot(is_process_alive(Pid)),
  {ok, [Left]} = brod:describe_groups(Coordinator, [], [Group]),
  ?assertMatch(#{members := []}, Left).

committed(Client, Group, Topic) ->
  {ok, [#{name := Topic, partitions := Partitions}]} = brod:fetch_committed_offsets(Client, Group),
  %% "+1" says that the offset is of the next message to handle
  {ok, maps:from_list([begin
                         ?assertEqual(4, map_size(P)),
                         ?assertMatch(<<"+1/", _/binary>>, Metadata),
                         {I, O}
                       end || #{partition_index := I, committed_offset := O, error_code := no_error,
                                metadata := Metadata} = P <- Partitions])}.

unreachable(_Config) ->
  process_flag(trap_exit, true),
  [Dead] = Endpoints = brod_test:dead_endpoints(),
  ?assertMatch({throw, {failed_to_connect, ?DEAD}} when is_list(Stack),
               brod_test:outcome(fun() -> brod:describe_groups(Dead, [], [<<"g">>]) end)),
  ?assertMatch({throw, {failed_to_connect, ?DEAD}} when is_list(Stack),
               brod_test:outcome(fun() -> brod:list_groups(Dead, []) end)),
  ?assertMatch({throw, {failed_to_connect, ?DEAD}} when is_list(Stack),
               brod_test:outcome(fun() -> brod:list_all_groups(Endpoints, []) end)),
  {ok, Pid} = brod_group_coordinator:start_link(brod_test:unique_name("no"), <<"g">>, [<<"t">>],
                                                [{max_rejoin_attempts, 1},
                                                 {rejoin_delay_seconds, 0}],
                                                ?MODULE, self()),
  ?assertEqual(max_rejoin_attempts,
               receive {'EXIT', Pid, Reason} -> Reason after ?LIMIT_MS -> still_alive end).

%%% Subscribers

subscriber_v1(Config) ->
  {Client, Topic} = filled(Config, 1),
  {ok, Pid} = brod:start_link_group_subscriber(Client, brod_test:unique("group"), [Topic], [],
                                               [{begin_offset, earliest}], ?MODULE, {v1, self()}),
  ?assertEqual({init, v1}, next()),
  ?assertMatch({message, Topic, 0, #kafka_message{offset = 0, value = <<"v">>}}, next()),
  ?assertEqual(ok, brod_group_subscriber:stop(Pid)),
  ?assertNot(is_process_alive(Pid)).

subscriber_v1_sets(Config) ->
  {Client, Topic} = filled(Config, 1),
  {ok, Pid} = brod:start_link_group_subscriber(Client, brod_test:unique("group"), [Topic], [],
                                               [{begin_offset, earliest}], message_set, ?MODULE,
                                               {v1, self()}),
  ?assertEqual({init, v1}, next()),
  ?assertMatch({message, Topic, 0,
                #kafka_message_set{topic = Topic, partition = 0,
                                   messages = [#kafka_message{offset = 0}]}}, next()),
  ?assertEqual(ok, brod_group_subscriber:stop(Pid)).

subscriber_v2(Config) ->
  {Client, Topic} = filled(Config, 2),
  Group = brod_test:unique("group"),
  Leave = held_up(Client, Group, Topic),
  {ok, Pid} = brod:start_link_group_subscriber_v2(
                #{client => Client, group_id => Group, topics => [Topic], cb_module => ?MODULE,
                  init_data => {v2, self()}, message_type => message,
                  consumer_config => [{begin_offset, earliest}]}),
  ?assertEqual(rebalancing, brod_group_subscriber_v2:health_check(Pid, ?LIMIT_MS)),
  ok = Leave(),
  {Inits, Messages} = inits_and_messages(2, 2),
  ?assertEqual([0, 1], lists:sort([P || #{partition := P} <- Inits])),
  lists:foreach(fun(Info) ->
                  ?assertEqual([ack_fun, commit_fun, group_id, partition, topic],
                               lists:sort(maps:keys(Info))),
                  ?assertMatch(#{group_id := Group, topic := Topic, ack_fun := Ack,
                                 commit_fun := Commit}
                                 when is_function(Ack, 1) andalso is_function(Commit, 1), Info)
                end, Inits),
  ?assertMatch([#kafka_message{offset = 0}, #kafka_message{offset = 0}], Messages),
  ?assertEqual(healthy, brod_group_subscriber_v2:health_check(Pid, ?LIMIT_MS)),
  ?assertEqual([{Topic, 0}, {Topic, 1}],
               lists:sort(maps:keys(brod_group_subscriber_v2:get_workers(Pid)))),
  ?assertEqual(ok, brod_group_subscriber_v2:stop(Pid)),
  ?assertEqual([{terminate, normal}, {terminate, normal}], brod_test:flush()),
  %% stopping commits what handle_message/2 said was to be committed
  {ok, [#{partitions := Committed}]} = brod:fetch_committed_offsets(Client, Group),
  ?assertEqual([{0, 1}, {1, 1}],
               lists:sort([{P, O} || #{partition_index := P, committed_offset := O} <- Committed])).

%% Another member, which lets nobody join until it leaves: that is what the returned fun has it do.
held_up(Client, Group, Topic) ->
  {Member, Coordinator} = brod_group_probe:member(held, Client, Group, [Topic], [hold]),
  ok = brod_group_probe:first_revocation(held),
  _ = brod_group_probe:assignment(held),
  fun() ->
    receive {probe, held, {revoked, _}} -> ok after ?LIMIT_MS -> error(nobody_joins) end,
    Monitor = monitor(process, Coordinator),
    exit(Member, kill),
    receive {'DOWN', Monitor, process, _, _} -> ok after ?LIMIT_MS -> error(does_not_leave) end
  end.

%% Partitions come up one after another, each with its init before its message.
inits_and_messages(0, 0) -> {[], []};
inits_and_messages(Inits, Messages) ->
  case next() of
    {init, Info} ->
      {Is, Ms} = inits_and_messages(Inits - 1, Messages),
      {[Info | Is], Ms};
    {message, Message} ->
      {Is, Ms} = inits_and_messages(Inits, Messages - 1),
      {Is, [Message | Ms]}
  end.

subscriber_v2_health_dead(_Config) ->
  {Pid, Monitor} = spawn_monitor(fun() -> ok end),
  receive {'DOWN', Monitor, process, Pid, _} -> ok end,
  ?assertEqual({error, [#{cause => #{group_subscriber => Pid,
                                     reason => {noproc, {gen_server, call,
                                                         [Pid, {health_check, 500}, 500]}}},
                          func => health_check, module => brod_group_subscriber_v2}]},
               brod_group_subscriber_v2:health_check(Pid, 500)).

%%% Callbacks: all tell the test, whose pid is their argument

get_committed_offsets(_Test, _TopicPartitions) -> {ok, []}.

assignments_received(Test, MemberId, Generation, Assignments) when is_binary(MemberId) ->
  Test ! {assigned, Generation, Assignments},
  ok.

assignments_revoked(Test) ->
  Test ! revoked,
  ok.

init(#{} = Info, {v2, Test}) ->
  Test ! {init, Info},
  {ok, Test};
init(GroupId, {v1, Test}) when is_binary(GroupId) ->
  Test ! {init, v1},
  {ok, Test}.

handle_message(Topic, Partition, Message, Test) ->
  Test ! {message, Topic, Partition, Message},
  {ok, ack, Test}.

handle_message(Message, Test) ->
  Test ! {message, Message},
  {ok, commit, Test}.

terminate(Reason, Test) -> Test ! {terminate, Reason}.

%%% Helpers

client(Config) -> proplists:get_value(client, Config).

received() ->
  receive {assigned, Generation, Assignments} -> {Generation, Assignments}
  after ?LIMIT_MS -> error(no_assignment)
  end.

next() -> receive Message -> Message after ?LIMIT_MS -> timeout end.

%% A topic with one message in each partition.
filled(Config, Partitions) ->
  Client = client(Config),
  Topic = brod_test:create_topic(Partitions),
  ok = brod:start_producer(Client, Topic, []),
  [ok = brod:produce_sync(Client, Topic, P, <<>>, <<"v">>) || P <- lists:seq(0, Partitions - 1)],
  {Client, Topic}.
