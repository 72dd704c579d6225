%% Consumer groups on a real Kafka whose brokers stay up: what is committed and when, and what
%% happens to the processes of a member.
-module(brod_group_commits_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include("../include/brod.hrl").
-include("../src/brod_kafka.hrl").

-compile([export_all, nowarn_export_all]).

-define(config(Key, Config), proplists:get_value(Key, Config)).

-import(brod_group_probe, [v2/4, v2/5, v1/4, v1/5, member/5, coordinator/1, await_assigned/2,
                           collect/2, await_committed/4, committed/3, filled/3, fill/4, ends/2,
                           tps/2, members/2, assignment/1, assigned/1, first_revocation/1]).
-import(brod_test, [wait_until/2, numbers/2, unique/1]).

-define(LIMIT_MS, 30000).
-define(RECEIVE(Pattern, Result),
        receive Pattern -> Result
        after ?LIMIT_MS -> error({not_received, ??Pattern, brod_test:flush()})
        end).

all() -> [{group, commits}, {group, processes}].

groups() ->
  [{commits, [],
    [commits_on_stop, commits_within_interval, no_committed_offset, consumer_used_before,
     offset_out_of_range, topic_made_again, topic_made_again_by_policy, callback_says_where_to_go_on, zero_is_the_earliest, ack_without_commit, acks_during_revoke, acks_of_old_generation,
     commit_offsets, revoke_waits_for_callback, stuck_callback_is_given_up,
     killed_worker_loses_no_ack, retention]},
   {processes, [],
    [stop_leaves_nothing, killed_subscriber, killed_coordinator, killed_worker, stop_v1,
     killed_coordinator_v1, member_dies, unlinked_coordinator_is_shut_down, no_client,
     health_check]}].

init_per_suite(Config) -> brod_test:init_suite(Config).

end_per_suite(_Config) -> application:stop(brod).

init_per_testcase(_Case, Config) ->
  Client = brod_test:start_client(),
  [{client, Client}, {group, unique("g")} | Config].

end_per_testcase(_Case, Config) ->
  brod_test:stop_client(?config(client, Config)).

%%% Commits

commits_on_stop(Config) ->
  Never = [{offset_commit_interval_seconds, 3600}],
  {Client, Group, Topic} = filled(2, 20, Config),
  A = v2(a, Client, Group, [Topic], Never),
  _ = collect(numbers(1, 20), ?LIMIT_MS),
  ?assertEqual(#{}, committed(Client, Group, Topic)),
  ok = stop(A),
  ?assertEqual(ends(Client, Topic), committed(Client, Group, Topic)),
  GroupV1 = unique("g"),
  B = v1(b, Client, GroupV1, [Topic], Never),
  _ = collect(numbers(1, 20), ?LIMIT_MS),
  ok = brod_group_subscriber:stop(B),
  ?assertEqual(ends(Client, Topic), committed(Client, GroupV1, Topic)).

commits_within_interval(Config) ->
  {Client, Group, Topic} = filled(2, 20, Config),
  A = v2(a, Client, Group, [Topic], [{type, message_set}]),
  await_committed(Client, Group, Topic, ends(Client, Topic)),
  ok = stop(A),
  GroupV1 = unique("g"),
  B = v1(b, Client, GroupV1, [Topic]),
  await_committed(Client, GroupV1, Topic, ends(Client, Topic)),
  ok = brod_group_subscriber:stop(B).

%% Nothing committed: the consumer options say where to begin, whatever they say.
no_committed_offset(Config) ->
  {Client, Group, Topic} = filled(1, 10, Config),
  {Member, _} = member(a, Client, Group, [Topic], []),
  ?assertMatch([#brod_received_assignment{begin_offset = undefined}], assigned(a)),
  Member ! stop,
  B = v2(b, Client, unique("g"), [Topic], [{consumer, [{begin_offset, 4}]}]),
  Seen = collect(numbers(5, 10), ?LIMIT_MS),
  ?assertEqual(6, map_size(Seen)),
  ok = stop(B).

%% The consumer of the partition has been read from already, to its end. That is no reason for a
%% group to begin there.
consumer_used_before(Config) ->
  {Client, Group, Topic} = filled(1, 10, Config),
  ok = brod:start_consumer(Client, Topic, [{begin_offset, earliest}]),
  {ok, Consumer} = brod:subscribe(Client, self(), Topic, 0, []),
  ?RECEIVE({Consumer, #kafka_message_set{messages = [_ | _]}}, brod:consume_ack(Consumer, 9)),
  ok = brod:unsubscribe(Client, Topic, 0),
  A = v2(a, Client, Group, [Topic]),
  _ = collect(numbers(1, 10), ?LIMIT_MS),
  ok = stop(A),
  B = v1(b, Client, unique("g"), [Topic]),
  _ = collect(numbers(1, 10), ?LIMIT_MS),
  ok = brod_group_subscriber:stop(B).

%% Where the former topic was read up to says nothing of the new one: who took over at that offset would pass over the new
%% one's first messages. The last of the former ones is handled when the new one is known already.
topic_made_again(Config) -> made_again([], [], fun(Info) -> is_record(Info, kafka_fetch_error) end, Config).

%% The same where the subscriber is not asked where to go on.
topic_made_again_by_policy(Config) ->
  IsNew = fun(#kafka_message_set{messages = [#kafka_message{offset = Offset} | _]}) -> Offset =:= 0;
             (_) -> false
          end,
  Consumer = [{consumer, [{begin_offset, earliest}, {offset_reset_policy, reset_to_earliest}]}],
  made_again(Consumer, numbers(11, 12), IsNew, Config).

made_again(Consumer, New, IsSign, Config) ->
  [ok = made_again(Start, Stop, Consumer, New, IsSign, Config)
   || {Start, Stop} <- [{fun brod_group_probe:v2/5, fun stop/1}, {fun brod_group_probe:v1/5, fun brod_group_subscriber:stop/1}]].

made_again(Start, Stop, Consumer, New, IsSign, Config) ->
  {Client, _, Topic} = filled(1, 10, Config),
  Group = unique("g"),
  Test = self(),
  Held = fun(#kafka_message{offset = 8}) -> Test ! {holds, self()}, receive go -> commit end;
            (#kafka_message{value = Value}) -> case lists:member(Value, New) of true -> ack; false -> commit end
         end,
  A = Start(a, Client, Group, [Topic], [{offset_commit_interval_seconds, 3600}, {on_message, Held} | Consumer]),
  Handler = ?RECEIVE({holds, Pid}, Pid),
  ok = brod:delete_topics(brod_test:bootstrap(), [Topic], ?LIMIT_MS),
  ok = brod_test:create_again(Topic, 1),
  _ = New =:= [] orelse fill(Client, Topic, 1, New),
  HasSign = fun() ->
              {messages, Waiting} = process_info(Handler, messages),
              lists:any(fun({_, Info}) -> IsSign(Info); (_) -> false end, Waiting)
            end,
  true = wait_until(HasSign, ?LIMIT_MS),
  Handler ! go,
  _ = collect(numbers(1, 10) ++ New, ?LIMIT_MS),
  ok = Stop(A),
  ?assertEqual(#{}, committed(Client, Group, Topic)).

%% The committed offset lies behind the end: begins anew at the earliest, and goes on.
offset_out_of_range(Config) ->
  {Client, Group, Topic} = filled(1, 10, Config),
  ok = brod_cg_commits:run(Client, [{id, Group}, {topic, Topic}, {offsets, [{0, 1000}]}]),
  A = v2(a, Client, Group, [Topic], [{consumer, []}]),
  _ = collect(numbers(1, 10), ?LIMIT_MS),
  fill(Client, Topic, 1, numbers(11, 20)),
  _ = collect(numbers(11, 20), ?LIMIT_MS),
  ok = stop(A),
  ?assertEqual(#{0 => 20}, committed(Client, Group, Topic)).

%% A callback module with handle_info/2 hears that the offset is gone, and may go on elsewhere.
callback_says_where_to_go_on(Config) ->
  {Client, Group, Topic} = filled(1, 10, Config),
  ok = brod_cg_commits:run(Client, [{id, Group}, {topic, Topic}, {offsets, [{0, 1000}]}]),
  Test = self(),
  Latest = fun({Consumer, #kafka_fetch_error{} = Error}) ->
               Test ! {told, Error, brod:subscribe(Consumer, self(), [{begin_offset, latest}])}
           end,
  A = v2(a, Client, Group, [Topic], [{consumer, []}, {on_info, Latest}]),
  ?assertEqual({#kafka_fetch_error{topic = Topic, partition = 0, error_code = offset_out_of_range}, ok},
               ?RECEIVE({told, Error, Subscribed}, {Error, Subscribed})),
  fill(Client, Topic, 1, numbers(11, 20)),
  ?assertEqual(lists:sort(numbers(11, 20)), lists:sort(maps:keys(collect(numbers(11, 20), ?LIMIT_MS)))),
  ok = stop(A),
  ?assertEqual(#{0 => 20}, committed(Client, Group, Topic)).

%% Of a group that is at 0 nothing was read: what is left of the log is, although the policy is to go on at its end.
zero_is_the_earliest(Config) ->
  {Client, Group, Topic} = filled(1, 10, Config),
  ok = brod_cg_commits:run(Client, [{id, Group}, {topic, Topic}, {offsets, [{0, 0}]}]),
  ok = delete_records(Client, Topic, 5),
  A = v2(a, Client, Group, [Topic], [{consumer, [{offset_reset_policy, reset_to_latest}]}]),
  _ = collect(numbers(6, 10), ?LIMIT_MS),
  ok = stop(A),
  ?assertEqual(#{0 => 10}, committed(Client, Group, Topic)).

ack_without_commit(Config) ->
  {Client, Group, Topic} = filled(1, 10, Config),
  Options = [{on_message, fun(_) -> ack end}],
  A = v2(a, Client, Group, [Topic], Options),
  _ = collect(numbers(1, 10), ?LIMIT_MS),
  ok = brod_group_subscriber_v2:commit(A, Topic, 0, 3),
  await_committed(Client, Group, Topic, #{0 => 4}),
  ok = stop(A),
  ?assertEqual(#{0 => 4}, committed(Client, Group, Topic)),
  GroupV1 = unique("g"),
  B = v1(b, Client, GroupV1, [Topic], Options),
  _ = collect(numbers(1, 10), ?LIMIT_MS),
  ok = brod_group_subscriber:commit(B, Topic, 0, 5),
  ok = brod_group_subscriber:commit(B),
  await_committed(Client, GroupV1, Topic, #{0 => 6}),
  ok = brod_group_subscriber:stop(B).

acks_during_revoke(Config) ->
  {Client, Group, Topic} = filled(2, 20, Config),
  {A, CoordinatorA} = member(a, Client, Group, [Topic], [hold]),
  first_revocation(a),
  {Generation, _} = assignment(a),
  {B, _} = member(b, Client, Group, [Topic], []),
  Caller = ?RECEIVE({probe, a, {revoked, Pid}}, Pid),
  ok = brod_group_coordinator:ack(CoordinatorA, Generation, Topic, 0, 6),
  ok = brod_group_coordinator:ack(CoordinatorA, Generation, Topic, 1, 3),
  Caller ! go,
  Begins = [{P, Offset} || #brod_received_assignment{partition = P, begin_offset = Offset}
                             <- assigned(a) ++ assigned(b)],
  ?assertEqual([{0, 7}, {1, 4}], lists:sort(Begins)),
  A ! stop,
  B ! stop.

acks_of_old_generation(Config) ->
  {Client, Group, Topic} = filled(1, 10, Config),
  {A, Coordinator} = member(a, Client, Group, [Topic], []),
  {Old, _} = assignment(a),
  ok = brod_group_coordinator:update_topics(Coordinator, [Topic]),
  {New, _} = assignment(a),
  ?assert(New > Old),
  ok = brod_group_coordinator:ack(Coordinator, New, Topic, 0, 2),
  ok = brod_group_coordinator:ack(Coordinator, Old, Topic, 0, 5),
  ok = brod_group_coordinator:commit_offsets(Coordinator),
  ?assertEqual(#{0 => 3}, committed(Client, Group, Topic)),
  A ! stop.

commit_offsets(Config) ->
  {Client, Group, Topic} = filled(2, 10, Config),
  {A, Coordinator} = member(a, Client, Group, [Topic], [hold]),
  Caller = ?RECEIVE({probe, a, {revoked, Pid}}, Pid),
  ?assertEqual({error, not_a_member}, brod_group_coordinator:commit_offsets(Coordinator)),
  Caller ! go,
  {Generation, _} = assignment(a),
  ok = brod_group_coordinator:commit_offsets(Coordinator),
  ?assertEqual(#{}, committed(Client, Group, Topic)),
  ok = brod_group_coordinator:ack(Coordinator, Generation, Topic, 0, 1),
  ok = brod_group_coordinator:commit_offsets(Coordinator, [{{Topic, 1}, 2}]),
  ?assertEqual(#{0 => 2, 1 => 3}, committed(Client, Group, Topic)),
  %% What is not the member's and was refused does not come again with each commit.
  ?assertMatch({error, [{Topic, 9, _}]}, brod_group_coordinator:commit_offsets(Coordinator, [{{Topic, 9}, 0}])),
  ?assertEqual(ok, brod_group_coordinator:commit_offsets(Coordinator, [{{Topic, 1}, 3}])),
  ?assertEqual(#{0 => 2, 1 => 4}, committed(Client, Group, Topic)),
  A ! stop.

%% The message that is being handled is committed by its member, not handled again by another.
revoke_waits_for_callback(Config) ->
  {Client, Group, Topic} = filled(2, 4, Config),
  Test = self(),
  OnMessage = fun(#kafka_message{offset = Offset}) ->
                  Test ! {at, Offset, self()},
                  receive go -> commit end
              end,
  A = v2(a, Client, Group, [Topic], [{on_message, OnMessage}]),
  Workers = [?RECEIVE({at, 0, Worker}, Worker) || _ <- tps(Topic, 2)],
  B = v2(b, Client, Group, [Topic]),
  wait_until(fun() -> brod_group_subscriber_v2:health_check(A, ?LIMIT_MS) =:= rebalancing end,
             ?LIMIT_MS),
  ?assertEqual(#{}, brod_group_subscriber_v2:get_workers(B)),
  [Worker ! go || Worker <- Workers],
  ok = ?RECEIVE({probe, b, {handled, Topic, _, #kafka_message{offset = 1}}}, ok),
  ?assertEqual([], [E || {probe, b, {handled, _, _, #kafka_message{offset = 0}}} = E
                           <- brod_test:flush()]),
  exit(A, kill),
  ok = stop(B).

%% A callback that does not come back holds the group up for the rebalance timeout, not for ever.
stuck_callback_is_given_up(Config) ->
  {Client, Group, Topic} = filled(2, 4, Config),
  Test = self(),
  OnMessage = fun(_) -> Test ! stuck, receive never -> commit end end,
  A = v2(a, Client, Group, [Topic], [{on_message, OnMessage}, {rebalance_timeout_seconds, 3}]),
  [?RECEIVE(stuck, ok) || _ <- tps(Topic, 2)],
  B = v2(b, Client, Group, [Topic], [{rebalance_timeout_seconds, 3}]),
  _ = await_assigned([A, B], tps(Topic, 2)),
  ok = ?RECEIVE({probe, b, {handled, Topic, _, #kafka_message{offset = 0}}}, ok),
  ok = stop(A),
  await_committed(Client, Group, Topic, ends(Client, Topic)),
  ok = stop(B).

killed_worker_loses_no_ack(Config) ->
  {Client, Group, Topic} = filled(1, 10, Config),
  A = v2(a, Client, Group, [Topic], [{offset_commit_interval_seconds, 3600}]),
  _ = collect(numbers(1, 10), ?LIMIT_MS),
  #{{Topic, 0} := Worker} = brod_group_subscriber_v2:get_workers(A),
  Monitor = monitor(process, A),
  %% What its callback has returned is noted when it answers.
  _ = sys:get_state(Worker),
  exit(Worker, kill),
  shutdown = ?RECEIVE({'DOWN', Monitor, process, A, Reason}, Reason),
  ?assertEqual(#{0 => 10}, committed(Client, Group, Topic)).

retention(Config) ->
  {Client, Group, Topic} = filled(1, 10, Config),
  A = v2(a, Client, Group, [Topic], [{offset_retention_seconds, 3600}]),
  await_committed(Client, Group, Topic, #{0 => 10}),
  ok = stop(A).

%%% Processes

stop_leaves_nothing(Config) ->
  {Client, Group, Topic} = filled(4, 0, Config),
  A = v2(a, Client, Group, [Topic], [{session_timeout_seconds, 60}]),
  _ = await_assigned([A], tps(Topic, 4)),
  Pids = brod_group_probe:member_pids(A),
  ?assertEqual(6, length(Pids)),
  ?assertEqual(1, length(members(Client, Group))),
  ok = stop(A),
  ?assertEqual([], [Pid || Pid <- Pids, is_process_alive(Pid)]),
  ?assertEqual([], members(Client, Group)).

killed_subscriber(Config) -> dies(fun(Pid) -> Pid end, killed, Config).

killed_coordinator(Config) ->
  dies(fun brod_group_probe:coordinator/1, {shutdown, coordinator_failure}, Config).

killed_worker(Config) ->
  dies(fun(Pid) -> hd(maps:values(brod_group_subscriber_v2:get_workers(Pid))) end, shutdown,
       Config).

%% Nothing is left, and the group does not have to wait for the session to time out.
dies(Whom, Reason, Config) ->
  {Client, Group, Topic} = filled(4, 0, Config),
  A = v2(a, Client, Group, [Topic], [{session_timeout_seconds, 60}]),
  _ = await_assigned([A], tps(Topic, 4)),
  Pids = brod_group_probe:member_pids(A),
  Monitors = [monitor(process, Pid) || Pid <- Pids],
  exit(Whom(A), kill),
  ?assertEqual(Reason, ?RECEIVE({'DOWN', _, process, A, Why}, Why)),
  [?RECEIVE({'DOWN', Monitor, process, _, _}, ok) || Monitor <- tl(Monitors)],
  wait_until(fun() -> members(Client, Group) =:= [] end, ?LIMIT_MS).

stop_v1(Config) ->
  {Client, Group, Topic} = filled(2, 0, Config),
  A = v1(a, Client, Group, [Topic], [{session_timeout_seconds, 60}]),
  wait_until(fun() -> length(members(Client, Group)) =:= 1 end, ?LIMIT_MS),
  Coordinator = coordinator(A),
  ok = brod_group_subscriber:stop(A),
  ?assertNot(is_process_alive(Coordinator)),
  ?assertEqual([], members(Client, Group)).

killed_coordinator_v1(Config) ->
  {Client, Group, Topic} = filled(2, 0, Config),
  A = v1(a, Client, Group, [Topic]),
  Monitor = monitor(process, A),
  exit(coordinator(A), kill),
  ?assertEqual({shutdown, coordinator_failure},
               ?RECEIVE({'DOWN', Monitor, process, A, Reason}, Reason)).

member_dies(Config) ->
  {Client, Group, Topic} = filled(1, 0, Config),
  [begin
     {A, Coordinator} = member(a, Client, Group, [Topic], []),
     _ = assigned(a),
     Monitor = monitor(process, Coordinator),
     exit(A, How),
     ?assertEqual(Reason, ?RECEIVE({'DOWN', Monitor, process, Coordinator, Why}, Why)),
     ?assertEqual([], members(Client, Group))
   end || {How, Reason} <- [{kill, killed}, {shutdown, shutdown}, {bad, bad}]].

%% As broadway_kafka has it: not linked, shut down by another process while a callback is waiting.
unlinked_coordinator_is_shut_down(Config) ->
  {Client, Group, Topic} = filled(1, 10, Config),
  {A, Coordinator} = member(a, Client, Group, [Topic], [hold, {session_timeout_seconds, 60}]),
  first_revocation(a),
  {Generation, _} = assignment(a),
  ok = brod_group_coordinator:ack(Coordinator, Generation, Topic, 0, 4),
  ok = brod_group_coordinator:update_topics(Coordinator, [Topic]),
  ?RECEIVE({probe, a, {revoked, _}}, ok),
  Monitor = monitor(process, Coordinator),
  exit(Coordinator, shutdown),
  ?assertEqual(shutdown, ?RECEIVE({'DOWN', Monitor, process, Coordinator, Reason}, Reason)),
  ?assertEqual([], members(Client, Group)),
  ?assertEqual(#{0 => 5}, committed(Client, Group, Topic)),
  exit(A, kill).

no_client(Config) ->
  Log = brod_log:start(),
  {_, Coordinator} = member(a, no_such_client, ?config(group, Config), [<<"t">>],
                            [{max_rejoin_attempts, 2}, {rejoin_delay_seconds, 0}]),
  Monitor = monitor(process, Coordinator),
  ?assertEqual(max_rejoin_attempts,
               ?RECEIVE({'DOWN', Monitor, process, Coordinator, Reason}, Reason)),
  ?assert(brod_log:has(Log, "max_rejoin_attempts")),
  brod_log:stop(Log).

health_check(Config) ->
  {Client, Group, Topic} = filled(2, 0, Config),
  A = v2(a, Client, Group, [Topic]),
  wait_until(fun() -> brod_group_subscriber_v2:health_check(A, ?LIMIT_MS) =:= healthy end,
             ?LIMIT_MS),
  %% Another group gets nothing of the topic from the same client.
  B = v2(b, Client, unique("g"), [Topic]),
  _ = await_assigned([B], tps(Topic, 2)),
  #{{Topic, 0} := Worker} = brod_group_subscriber_v2:get_workers(A),
  {error, Errors} = brod_group_subscriber_v2:health_check(B, ?LIMIT_MS),
  ?assertMatch([_], [E || #{cause := #{partition := 0, reason := {already_subscribed_by, Pid}}} = E <- Errors, Pid =:= Worker]),
  ok = stop(A),
  wait_until(fun() -> brod_group_subscriber_v2:health_check(B, ?LIMIT_MS) =:= healthy end, ?LIMIT_MS),
  ok = stop(B),
  ?assertMatch({error, [#{cause := #{reason := _}}]},
               brod_group_subscriber_v2:health_check(A, ?LIMIT_MS)).

%%% Helpers

stop(Pid) -> brod_group_subscriber_v2:stop(Pid).

%% Has the broker drop what is before an offset of partition 0.
delete_records(Client, Topic, Offset) ->
  {ok, Leader} = brod_client:get_leader_connection(Client, Topic, 0),
  Partition = #{partition => 0, offset => Offset},
  Request = brod_kafka_build:make(delete_records, 1,
                                  #{topics => [#{topic => Topic, partitions => [Partition]}], timeout => ?LIMIT_MS}),
  {ok, #kpro_rsp{msg = #{topics := [#{partitions := [#{error_code := no_error}]}]}}} =
    brod_kafka_response:exchange(Leader, Request, ?LIMIT_MS),
  ok.
