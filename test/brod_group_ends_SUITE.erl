%% How members of groups end on a real Kafka: with their client, with their owner, by a callback that
%% fails; and what is left of what they had in their hands.
-module(brod_group_ends_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include("../include/brod.hrl").

-compile([export_all, nowarn_export_all]).

-define(config(Key, Config), proplists:get_value(Key, Config)).

-import(brod_group_probe, [v2/5, v1/5, member/5, await_assigned/2, collect/2, await_committed/4,
                           committed/3, filled/3, fill/4, tps/2, assignment/1, assigned/1]).
-import(brod_test, [wait_until/2, numbers/2, unique/1]).

-define(LIMIT_MS, 30000).
-define(ROUNDS, 20).

all() ->
  [client_stops_right_after, owner_dies_and_client_stops, client_stops_v1, client_stops_v2,
   client_stops_and_acks_are_committed, client_is_restarted, new_partition_of_a_latest_group,
   new_partition_and_new_member_of_a_latest_group,
   wrong_starts, wrong_acks, callback_fails, consumer_dies_v1, consumer_dies_v2,
   killed_under_load].

init_per_suite(Config) -> brod_test:init_suite(Config).

end_per_suite(_Config) -> application:stop(brod).

init_per_testcase(_Case, Config) ->
  Client = brod_test:start_client(),
  [{client, Client}, {group, unique("g")} | Config].

end_per_testcase(_Case, Config) ->
  brod_test:stop_client(?config(client, Config)).

%% Ends as pipelines end, round by round: the coordinator is told to stop, and the client is stopped
%% at once. The next member finds the offset and does not wait for the session of the last one, which
%% is longer than the test waits for an assignment.
client_stops_right_after(Config) ->
  hand_over(fun(Client, Coordinator, _Owner) ->
                exit(Coordinator, shutdown),
                ok = brod:stop_client(Client)
            end, Config).

owner_dies_and_client_stops(Config) ->
  hand_over(fun(Client, _Coordinator, Owner) ->
                exit(Owner, kill),
                ok = brod:stop_client(Client)
            end, Config).

hand_over(End, Config) ->
  {Watcher, Group, Topic} = filled(1, 0, Config),
  Long = ?LIMIT_MS div 1000 * 2,
  lists:foreach(
    fun(Round) ->
        Client = brod_test:start_client(),
        {Owner, Coordinator} = member(Round, Client, Group, [Topic],
                                      [{session_timeout_seconds, Long},
                                       {rebalance_timeout_seconds, Long},
                                       {offset_commit_interval_seconds, 3600}]),
        Monitor = monitor(process, Coordinator),
        {Generation, [#brod_received_assignment{begin_offset = Offset}]} = assignment(Round),
        ?assertEqual(case Round of 1 -> undefined; _ -> Round - 1 end, Offset),
        ok = brod_group_coordinator:ack(Coordinator, Generation, Topic, 0, Round - 1),
        End(Client, Coordinator, Owner),
        receive {'DOWN', Monitor, process, _, _} -> ok after ?LIMIT_MS -> error(lives_on) end,
        ?assertEqual(#{0 => Round}, committed(Watcher, Group, Topic))
    end, lists:seq(1, ?ROUNDS)).

client_stops_v1(Config) ->
  ends_with_its_client(fun brod_group_probe:v1/5, {shutdown, client_down}, Config).

client_stops_v2(Config) ->
  ends_with_its_client(fun brod_group_probe:v2/5, shutdown, Config).

ends_with_its_client(Start, Expected, Config) ->
  {_, Group, Topic} = filled(2, 20, Config),
  Client = brod_test:start_client(),
  Pid = Start(a, Client, Group, [Topic], []),
  Monitor = monitor(process, Pid),
  _ = collect(numbers(1, 20), ?LIMIT_MS),
  Log = brod_log:start(),
  ok = brod:stop_client(Client),
  Reason = receive {'DOWN', Monitor, process, Pid, Why} -> Why after ?LIMIT_MS -> lives_on end,
  ?assertEqual(Expected, Reason),
  ?assertEqual(false, brod_log:has(Log, "terminating")),
  ok = brod_log:stop(Log),
  ?assertEqual(#{0 => 10, 1 => 10}, committed(?config(client, Config), Group, Topic)).

%% Nobody has told the member to stop.
client_stops_and_acks_are_committed(Config) ->
  {Watcher, Group, Topic} = filled(1, 0, Config),
  Client = brod_test:start_client(),
  {_, Coordinator} = member(a, Client, Group, [Topic], [{offset_commit_interval_seconds, 3600}]),
  {Generation, [_]} = assignment(a),
  Monitor = monitor(process, Coordinator),
  ok = brod_group_coordinator:ack(Coordinator, Generation, Topic, 0, 41),
  ok = brod:stop_client(Client),
  Reason = receive {'DOWN', Monitor, process, _, Why} -> Why after ?LIMIT_MS -> lives_on end,
  ?assertEqual({shutdown, client_down}, Reason),
  ?assertEqual(#{0 => 42}, committed(Watcher, Group, Topic)).

%% A client that crashes comes back; its members stay, and their acks are not lost.
client_is_restarted(Config) ->
  {Watcher, Group, Topic} = filled(1, 0, Config),
  Client = brod_test:start_client([{restart_delay_seconds, 1}]),
  {Owner, Coordinator} = member(a, Client, Group, [Topic], [{offset_commit_interval_seconds, 3600},
                                                            {session_timeout_seconds, 30}]),
  {Generation, [_]} = assignment(a),
  ok = brod_group_coordinator:ack(Coordinator, Generation, Topic, 0, 6),
  exit(whereis(Client), kill),
  {_, [#brod_received_assignment{begin_offset = Offset}]} = assignment(a),
  ?assertEqual(7, Offset),
  ?assertEqual(#{0 => 7}, committed(Watcher, Group, Topic)),
  Owner ! stop,
  ok = brod:stop_client(Client).

new_partition_of_a_latest_group(Config) ->
  {Client, Group, Topic} = filled(1, 0, Config),
  ok = application:set_env(brod, partition_check_interval_ms, 3600000),
  Latest = [{consumer, [{begin_offset, latest}]}],
  A = v2(a, Client, Group, [Topic], Latest),
  _ = await_assigned([A], tps(Topic, 1)),
  _ = brod_test:add_partitions(Topic, 2),
  Other = brod_test:start_client(),
  ok = brod:start_producer(Other, Topic, []),
  ok = brod:produce_sync(Other, Topic, 1, <<>>, <<"early">>),
  %% Now the group learns of it.
  {ok, _} = brod_client:get_metadata(Client, Topic),
  _ = await_assigned([A], tps(Topic, 2)),
  _ = collect([<<"early">>], ?LIMIT_MS),
  ok = application:unset_env(brod, partition_check_interval_ms),
  ok = brod_group_subscriber_v2:stop(A),
  ok = brod:stop_client(Other).

%% Who joins in the rebalance that first shares out a partition does not pass over what is in it.
new_partition_and_new_member_of_a_latest_group(Config) ->
  {Client, Group, Topic} = filled(1, 0, Config),
  ok = application:set_env(brod, partition_check_interval_ms, 3600000),
  %% The first member has partition 0, the last one the others.
  Deal = fun(Members, TPs) ->
           Ids = [Id || {Id, _} <- Members],
           Owner = fun(0) -> hd(Ids); (_) -> lists:last(Ids) end,
           [{Id, [{Topic, [P || {_, P} <- TPs, Owner(P) =:= Id]}]} || Id <- Ids]
         end,
  Options = [{consumer, [{begin_offset, latest}]}, {assign, Deal},
             {partition_assignment_strategy, callback_implemented}],
  A = v2(a, Client, Group, [Topic], Options),
  _ = await_assigned([A], tps(Topic, 1)),
  _ = brod_test:add_partitions(Topic, 2),
  Other = brod_test:start_client(),
  ok = brod:start_producer(Other, Topic, []),
  ok = brod:produce_sync(Other, Topic, 1, <<>>, <<"early">>),
  B = v2(b, Other, Group, [Topic], Options),
  _ = await_assigned([A, B], tps(Topic, 2)),
  ?assertEqual(#{<<"early">> => [b]}, collect([<<"early">>], ?LIMIT_MS)),
  ok = application:unset_env(brod, partition_check_interval_ms),
  ok = brod_group_subscriber_v2:stop(B),
  ok = brod_group_subscriber_v2:stop(A),
  ok = brod:stop_client(Other).

wrong_starts(Config) ->
  process_flag(trap_exit, true),
  {Client, Group, Topic} = filled(1, 0, Config),
  V2 = #{client => Client, group_id => Group, topics => [Topic], cb_module => brod_group_probe},
  ?assertMatch({error, {{missing_option, cb_module}, _}},
               brod:start_link_group_subscriber_v2(maps:remove(cb_module, V2))),
  ?assertMatch({error, {{missing_option, topic}, _}},
               brod_cg_commits:start_link(Client, #{id => Group, offsets => latest})),
  ?assertMatch({error, {{bad_topic, "orders"}, _}},
               brod:start_link_group_subscriber_v2(V2#{topics := ["orders"]})),
  ?assertMatch({error, {undef, [{lists, init, 2, _} | _]}},
               brod:start_link_group_subscriber_v2(V2#{cb_module := lists})),
  ?assertMatch({error, {undef, [{?MODULE, handle_message, 4, _} | _]}},
               brod:start_link_group_subscriber(Client, Group, [Topic], [], [], ?MODULE, x)),
  {error, {{bad_topics, orders}, Stack}} =
    brod:start_link_group_subscriber(Client, Group, orders, [], [], brod_group_probe, x),
  #{general := Text} = brod_args:format_error(badarg, Stack),
  ?assertNotEqual(nomatch, string:find(Text, "expected a list of binaries")),
  ?assertNotEqual(nomatch, string:find(Text, "got orders")).

init(_, _) -> {ok, none}.

wrong_acks(Config) ->
  {Client, Group, Topic} = filled(1, 10, Config),
  V1 = v1(a, Client, Group, [Topic], []),
  Other = brod_test:start_client(),
  V2 = v2(b, Other, unique("g"), [Topic], []),
  [?assertError({bad_offset, 1 bsl 63}, F(P, Topic, 0, 1 bsl 63))
   || {P, F} <- [{V1, fun brod_group_subscriber:ack/4}, {V1, fun brod_group_subscriber:commit/4},
                 {V2, fun brod_group_subscriber_v2:ack/4},
                 {V2, fun brod_group_subscriber_v2:commit/4}]],
  ?assertError({bad_partition, all}, brod_group_subscriber:ack(V1, Topic, all, 1, true)),
  ?assertError({bad_topic, topic}, brod_group_subscriber_v2:ack(V2, topic, 0, 1)),
  _ = collect(numbers(1, 10), ?LIMIT_MS),
  await_committed(Client, Group, Topic, #{0 => 10}),
  ok = brod_group_subscriber:stop(V1),
  ok = brod_group_subscriber_v2:stop(V2),
  ok = brod:stop_client(Other).

%% The report names the fault and shows no message, however many were prefetched.
callback_fails(Config) ->
  {Client, Group, Topic} = filled(1, 0, Config),
  ok = brod:start_producer(Client, Topic, []),
  Secret = binary:copy(<<"secret">>, 2000),
  ok = brod:produce_sync(Client, Topic, 0, <<>>, [{<<>>, Secret} || _ <- lists:seq(1, 200)]),
  Log = {_, Table} = brod_log:start(),
  Fail = fun(Message) -> error({cannot_handle, Message}) end,
  Pid = v1(a, Client, Group, [Topic], [{on_message, Fail}]),
  Monitor = monitor(process, Pid),
  Reason = receive {'DOWN', Monitor, process, Pid, Why} -> Why after ?LIMIT_MS -> lives_on end,
  ?assertMatch({{cannot_handle, #kafka_message{offset = 0}}, [_ | _]}, Reason),
  wait_until(fun() -> brod_log:has(Log, "cannot_handle") end, ?LIMIT_MS),
  Reports = [Line || {_, Line} <- ets:tab2list(Table),
                     string:find(Line, "cannot_handle") =/= nomatch],
  [?assert(length(Report) < 8192) || Report <- Reports],
  [?assertEqual(nomatch, string:find(Report, lists:duplicate(12, $s) ++ "secretsecretsecretsecret"))
   || Report <- Reports],
  ok = brod_log:stop(Log).

%% What a callback has got and not acknowledged it is working on, whatever becomes of the consumer.
consumer_dies_v1(Config) ->
  no_message_twice(fun brod_group_probe:v1/5, fun brod_group_subscriber:ack/4, Config).

consumer_dies_v2(Config) ->
  no_message_twice(fun brod_group_probe:v2/5, fun brod_group_subscriber_v2:commit/4, Config).

no_message_twice(Start, Ack, Config) ->
  {Client, Group, Topic} = filled(1, 20, Config),
  Options = [{on_message, fun(_) -> later end},
             {consumer, [{begin_offset, earliest}, {prefetch_count, 100},
                         {partition_restart_delay_seconds, 1}]}],
  Pid = Start(a, Client, Group, [Topic], Options),
  ?assertEqual(numbers(1, 20), handled(20)),
  {ok, Consumer} = brod_client:get_consumer(Client, Topic, 0),
  exit(Consumer, kill),
  ok = brod:start_producer(Client, Topic, []),
  ok = brod:produce_sync(Client, Topic, 0, <<>>, [{<<>>, V} || V <- numbers(21, 25)]),
  ?assertEqual(numbers(21, 25), handled(5)),
  ok = Ack(Pid, Topic, 0, 24),
  await_committed(Client, Group, Topic, #{0 => 25}),
  ok = brod_group_subscriber:stop(Pid).

handled(N) -> lists:sublist(first_handled(N), N).

%% Whatever is killed, each message is handled at least once, and the group goes on.
killed_under_load(Config) ->
  {Client, Group, Topic} = filled(2, 2000, Config),
  Slow = [{on_message, fun(_) -> receive after 1 -> commit end end}],
  A = v2(a, Client, Group, [Topic], Slow),
  B = v1(b, Client, Group, [Topic], Slow),
  Monitors = [{P, monitor(process, P)} || P <- [A, B]],
  First = first_handled(50),
  exit(brod_group_probe:coordinator(A), kill),
  exit(B, kill),
  [receive {'DOWN', M, process, P, _} -> ok after ?LIMIT_MS -> error({lives_on, P}) end
   || {P, M} <- Monitors],
  Before = brod_test:flush(),
  Handled = lists:usort([V || {probe, _, {handled, _, _, #kafka_message{value = V}}} <- Before]),
  C = v2(c, Client, Group, [Topic], []),
  Committed = fun() ->
                  case committed(Client, Group, Topic) of
                    #{0 := 1000, 1 := 1000} -> true;
                    _ -> false
                  end
              end,
  wait_until(Committed, ?LIMIT_MS),
  After = [V || {probe, _, {handled, _, _, #kafka_message{value = V}}} <- brod_test:flush()],
  ?assertEqual([], ((numbers(1, 2000) -- First) -- Handled) -- After),
  ok = brod_group_subscriber_v2:stop(C).

first_handled(0) -> [];
first_handled(N) ->
  receive {probe, _, {handled, _, _, #kafka_message{value = V}}} -> [V | first_handled(N - 1)]
  after ?LIMIT_MS -> error(nothing_handled)
  end.
