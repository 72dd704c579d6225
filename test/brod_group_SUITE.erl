%% Consumer groups on a real Kafka whose brokers stay up: who gets which partitions, and what the
%% callbacks decide.
-module(brod_group_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include("../include/brod.hrl").

-compile([export_all, nowarn_export_all]).

-define(config(Key, Config), proplists:get_value(Key, Config)).

-import(brod_group_probe, [v2/4, v2/5, v1/5, member/5, await_assigned/2, collect/2,
                           await_committed/4, committed/3, filled/3, fill/4, ends/2, tps/2,
                           members/2, assigned/1]).
-import(brod_test, [wait_until/2, numbers/2, unique/1]).

-define(LIMIT_MS, 30000).
-define(RECEIVE(Pattern, Result),
        receive Pattern -> Result
        after ?LIMIT_MS -> error({not_received, ??Pattern, brod_test:flush()})
        end).

all() -> [{group, membership}, {group, callbacks}, {group, others}].

groups() ->
  [{membership, [],
    [one_member, one_member_v1, two_members, three_members_join_leave_die, blocked_callback,
     static_member_restarts, second_static_member_fences, update_topics, topic_grows, topic_is_made_again_with_fewer_partitions,
     topic_is_made_later, topics_are_created, topics_are_not_created]},
   {callbacks, [],
    [consumer_managed, consumer_managed_v1, callback_implemented, callback_implemented_v1,
     user_data, worker_info, commit_makes_room]},
   {others, [],
    [kcat_joins_first, kcat_joins_later, java_joins_first, java_joins_later, java_of_kip_848_joins, cg_commits,
     list_and_describe]}].

init_per_suite(Config) -> brod_test:init_suite(Config).

end_per_suite(_Config) -> application:stop(brod).

init_per_testcase(_Case, Config) ->
  Client = brod_test:start_client(),
  [{client, Client}, {group, unique("g")} | Config].

end_per_testcase(_Case, Config) ->
  brod_test:stop_client(?config(client, Config)).

%%% Membership

one_member(Config) -> reads_all(fun brod_group_probe:v2/4, Config).

one_member_v1(Config) -> reads_all(fun brod_group_probe:v1/4, Config).

reads_all(Start, Config) ->
  {Client, Group, Topic} = filled(3, 300, Config),
  Pid = Start(a, Client, Group, [Topic]),
  Seen = collect(numbers(1, 300), ?LIMIT_MS),
  ?assertEqual([], [V || {V, Tags} <- maps:to_list(Seen), length(Tags) =/= 1]),
  ok = stop(Pid),
  ?assertEqual(ends(Client, Topic), committed(Client, Group, Topic)).

two_members(Config) ->
  {Client, Group, Topic} = filled(4, 400, Config),
  A = v2(a, Client, Group, [Topic]),
  _ = await_assigned([A], tps(Topic, 4)),
  B = v2(b, Client, Group, [Topic]),
  Shares = await_assigned([A, B], tps(Topic, 4)),
  ?assertEqual([2, 2], [length(Share) || {_, Share} <- Shares]),
  _ = collect(numbers(1, 400), ?LIMIT_MS),
  %% What is handled and committed before a move is not handled again after it.
  _ = brod_test:flush(),
  ok = stop(A),
  _ = await_assigned([B], tps(Topic, 4)),
  fill(Client, Topic, 4, numbers(401, 800)),
  Seen = collect(numbers(401, 800), ?LIMIT_MS),
  ?assertEqual([[b]], lists:usort(maps:values(Seen))),
  ok = stop(B),
  ?assertEqual(ends(Client, Topic), committed(Client, Group, Topic)).

three_members_join_leave_die(Config) ->
  {Client, Group, Topic} = filled(6, 0, Config),
  Tps = tps(Topic, 6),
  [A, B, C] = [v2(Tag, Client, Group, [Topic]) || Tag <- [a, b, c]],
  Shares = await_assigned([A, B, C], Tps),
  ?assertEqual([2, 2, 2], [length(Share) || {_, Share} <- Shares]),
  ok = stop(C),
  _ = await_assigned([A, B], Tps),
  exit(A, kill),
  _ = await_assigned([B], Tps),
  D = v2(d, Client, Group, [Topic]),
  _ = await_assigned([B, D], Tps),
  fill(Client, Topic, 6, numbers(1, 600)),
  Seen = collect(numbers(1, 600), ?LIMIT_MS),
  ?assertEqual([b, d], lists:usort(lists:append(maps:values(Seen)))),
  ok = stop(B),
  ok = stop(D),
  ?assertEqual(ends(Client, Topic), committed(Client, Group, Topic)).

%% The callback takes longer than the session lasts, and the member is not evicted: it keeps its
%% generation, so what it commits afterwards counts.
blocked_callback(Config) ->
  {Client, Group, Topic} = filled(1, 1, Config),
  GroupV1 = unique("g"),
  Options = [{on_message, fun(_) -> receive after 10000 -> commit end end},
             {session_timeout_seconds, 6}, {heartbeat_rate_seconds, 1}],
  A = v2(a, Client, Group, [Topic], Options),
  Other = brod_test:start_client(),
  B = v1(b, Other, GroupV1, [Topic], Options),
  ok = ?RECEIVE({probe, a, {handled, Topic, 0, _}}, ok),
  ok = ?RECEIVE({probe, b, {handled, Topic, 0, _}}, ok),
  await_committed(Client, Group, Topic, #{0 => 1}),
  await_committed(Client, GroupV1, Topic, #{0 => 1}),
  Events = brod_test:flush(),
  ?assertMatch([_], [Event || {probe, a, {init, _, _, _, _}} = Event <- Events]),
  ?assertEqual([], [Event || {probe, _, {handled, _, _, _}} = Event <- Events]),
  ok = stop(A),
  ok = brod_group_subscriber:stop(B),
  brod_test:stop_client(Other).

static_member_restarts(Config) ->
  {Client, Group, Topic} = filled(4, 0, Config),
  Start = fun(Tag, Id) ->
              v2(Tag, Client, Group, [Topic], [{group_instance_id, Id},
                                               {session_timeout_seconds, 30}])
          end,
  A = Start(a, <<"one">>),
  B = Start(b, <<"two">>),
  Shares = await_assigned([A, B], tps(Topic, 4)),
  ShareOfB = proplists:get_value(B, Shares),
  _ = brod_test:flush(),
  ok = stop(B),
  B2 = Start(c, <<"two">>),
  _ = await_assigned([B2], ShareOfB),
  fill(Client, Topic, 4, numbers(1, 40)),
  Seen = collect(numbers(1, 40), ?LIMIT_MS),
  ?assertEqual([[a], [c]], lists:usort(maps:values(Seen))),
  %% A has the workers that it had.
  ?assertEqual([], [Event || {probe, a, {terminate, _, _, _}} = Event <- brod_test:flush()]),
  ok = stop(A),
  ok = stop(B2),
  ?assertEqual(2, length(members(Client, Group))).

second_static_member_fences(Config) ->
  {Client, Group, Topic} = filled(2, 0, Config),
  Options = [{group_instance_id, <<"one">>}],
  A = v2(a, Client, Group, [Topic], Options),
  _ = await_assigned([A], tps(Topic, 2)),
  Log = brod_log:start(),
  B = v2(b, Client, Group, [Topic], Options),
  _ = await_assigned([B], tps(Topic, 2)),
  wait_until(fun() -> brod_group_subscriber_v2:get_workers(A) =:= #{} end, ?LIMIT_MS),
  ?assert(brod_log:has(Log, "another member has the group_instance_id one")),
  ok = brod_log:stop(Log),
  fill(Client, Topic, 2, numbers(1, 20)),
  Seen = collect(numbers(1, 20), ?LIMIT_MS),
  ?assertEqual([[b]], lists:usort(maps:values(Seen))),
  ok = stop(A),
  ok = stop(B).

update_topics(Config) ->
  {Client, Group, First} = filled(2, 0, Config),
  Second = brod_test:create_topic(3),
  {Member, Coordinator} = member(a, Client, Group, [First], []),
  ?assertEqual(tps(First, 2), assigned_tps(a)),
  ok = brod_group_coordinator:update_topics(Coordinator, [First, Second]),
  ?assertEqual(lists:sort(tps(First, 2) ++ tps(Second, 3)), assigned_tps(a)),
  ok = brod_group_coordinator:update_topics(Coordinator, [Second]),
  ?assertEqual(tps(Second, 3), assigned_tps(a)),
  Member ! stop.

topic_grows(Config) ->
  {Client, Group, Topic} = filled(1, 0, Config),
  with_growth_checks(fun() ->
    A = v2(a, Client, Group, [Topic], [{consumer, []}]),
    B = v2(b, Client, Group, [Topic], [{consumer, []}]),
    wait_until(fun() -> length(workers([A, B])) =:= 1 end, ?LIMIT_MS),
    _ = brod_test:add_partitions(Topic, 2),
    _ = await_assigned([A, B], tps(Topic, 2)),
    ok = stop(A),
    ok = stop(B)
  end).

%% What is written meanwhile is read by who begins at the latest, too.
topic_is_made_again_with_fewer_partitions(Config) ->
  {Client, Group, Topic} = filled(4, 0, Config),
  with_growth_checks(fun() ->
    A = v2(a, Client, Group, [Topic], [{consumer, []}]),
    B = v2(b, Client, Group, [Topic], [{consumer, []}]),
    wait_until(fun() -> length(workers([A])) =:= 2 andalso length(workers([B])) =:= 2 end, ?LIMIT_MS),
    ok = brod:delete_topics(brod_test:bootstrap(), [Topic], ?LIMIT_MS),
    ok = brod_test:create_again(Topic, 2),
    fill(Client, Topic, 2, numbers(1, 10)),
    _ = await_assigned([A, B], tps(Topic, 2)),
    _ = collect(numbers(1, 10), ?LIMIT_MS),
    ok = stop(A),
    ok = stop(B)
  end).

topic_is_made_later(Config) ->
  {Client, Group, First} = filled(1, 0, Config),
  Second = unique("later"),
  with_growth_checks(fun() ->
    A = v2(a, Client, Group, [First, Second]),
    _ = await_assigned([A], tps(First, 1)),
    ok = brod:create_topics(brod_test:bootstrap(), [brod_test:topic_spec(Second, 2)],
                            #{timeout => ?LIMIT_MS}),
    _ = await_assigned([A], tps(First, 1) ++ tps(Second, 2)),
    ok = stop(A)
  end).

%% As with brod, a group that asks for a topic has it created where brokers and client permit it.
topics_are_created(Config) ->
  brod_test:with_kafka(["KAFKA_AUTO_CREATE=true"], fun(Endpoint) ->
    Client = brod_test:unique_name("creates"),
    ok = brod:start_client([Endpoint], Client, []),
    Topic = unique("created"),
    with_growth_checks(fun() ->
      A = v2(a, Client, ?config(group, Config), [Topic]),
      _ = await_assigned([A], tps(Topic, 1)),
      ok = brod:start_producer(Client, Topic, []),
      ok = brod:produce_sync(Client, Topic, 0, <<>>, <<"1">>),
      _ = collect([<<"1">>], ?LIMIT_MS),
      ok = stop(A)
    end),
    Forbidden = brod_test:unique_name("creates_not"),
    ok = brod:start_client([Endpoint], Forbidden, [{allow_topic_auto_creation, false}]),
    Other = unique("other"),
    with_growth_checks(fun() -> says_once(Forbidden, ?config(group, Config), Other) end),
    {ok, #{topics := Topics}} = brod:get_metadata([Endpoint], all),
    ?assertEqual([Topic], [Name || #{name := Name} <- Topics, binary:first(Name) =/= $_]),
    ok = brod:stop_client(Forbidden),
    ok = brod:stop_client(Client)
  end).

topics_are_not_created(Config) ->
  with_growth_checks(fun() -> says_once(?config(client, Config), ?config(group, Config), unique("missing")) end).

%% The member looks for the topic again and again, and says so once.
says_once(Client, Group, Topic) ->
  Log = brod_log:start(),
  A = v2(a, Client, Group, [Topic]),
  Said = fun() -> length(brod_log:all(Log, Topic)) end,
  wait_until(fun() -> Said() > 0 end, ?LIMIT_MS),
  Coordinator = brod_group_probe:coordinator(A),
  wait_until(fun() -> generation(Coordinator) > 0 end, ?LIMIT_MS),
  [begin
     Generation = generation(Coordinator),
     ok = brod_group_coordinator:update_topics(Coordinator, [Topic]),
     wait_until(fun() -> generation(Coordinator) > Generation end, ?LIMIT_MS)
   end || _ <- [1, 2]],
  ?assertEqual(1, Said()),
  ok = stop(A),
  brod_log:stop(Log).

generation(Coordinator) ->
  {status, _, _, Items} = sys:get_status(Coordinator),
  {match, [Digits]} = re:run(io_lib:format("~0p", [Items]), "generation => ([0-9]+|undefined)",
                             [{capture, all_but_first, list}]),
  case Digits of
    "undefined" -> 0;
    _ -> list_to_integer(Digits)
  end.

with_growth_checks(Fun) ->
  ok = application:set_env(brod, partition_check_interval_ms, 300),
  try Fun()
  after application:unset_env(brod, partition_check_interval_ms)
  end.

%%% Callbacks

consumer_managed(Config) ->
  {Client, Group, Topic} = filled(3, 30, Config),
  Stored = fun(_, 0) -> {ok, 4};
              (_, 1) -> {ok, {begin_offset, 7}};
              (_, 2) -> undefined
           end,
  A = v2(a, Client, Group, [Topic], [{offset_commit_policy, consumer_managed}, {stored, Stored}]),
  ?assertEqual([{0, 5}, {1, 7}, {2, 0}], first_offsets(Topic, 3)),
  ok = stop(A),
  ?assertEqual(#{}, committed(Client, Group, Topic)).

consumer_managed_v1(Config) ->
  {Client, Group, Topic} = filled(2, 30, Config),
  Stored = fun(_, 0) -> {ok, 4};
              (_, 1) -> undefined
           end,
  A = v1(a, Client, Group, [Topic], [{offset_commit_policy, consumer_managed}, {stored, Stored}]),
  ?assertEqual([{0, 5}, {1, 0}], first_offsets(Topic, 2)),
  ok = brod_group_subscriber:stop(A),
  ?assertEqual(#{}, committed(Client, Group, Topic)).

callback_implemented(Config) -> leader_takes_all(fun brod_group_probe:v2/5, Config).

callback_implemented_v1(Config) -> leader_takes_all(fun brod_group_probe:v1/5, Config).

leader_takes_all(Start, Config) ->
  {Client, Group, Topic} = filled(4, 0, Config),
  Test = self(),
  Assign = fun([{Leader, Meta} | Others] = Members, TPs) ->
               ?assertMatch(#kafka_group_member_metadata{topics = [Topic]}, Meta),
               Test ! {assigned, length(Members), TPs},
               [{Leader, [{Topic, [P || {_, P} <- TPs]}]} | [{Id, []} || {Id, _} <- Others]]
           end,
  Options = [{partition_assignment_strategy, callback_implemented}, {assign, Assign}],
  Pids = [Start(Tag, Client, Group, [Topic], Options) || Tag <- [a, b]],
  Tps = ?RECEIVE({assigned, 2, Found}, Found),
  ?assertEqual(tps(Topic, 4), Tps),
  %% In both members the generation is complete when the leader reads.
  fill(Client, Topic, 4, numbers(1, 40)),
  Seen = collect(numbers(1, 40), ?LIMIT_MS),
  ?assertMatch([[_]], lists:usort(maps:values(Seen))),
  lists:foreach(fun brod_group_subscriber_v2:stop/1, Pids).

user_data(Config) ->
  {Client, Group, Topic} = filled(2, 0, Config),
  Assign = fun([{Leader, _} | _], _TPs) -> [{Leader, []}] end,
  Options = [{partition_assignment_strategy, callback_implemented}, {protocol_name, "mine"},
             {assign, Assign}],
  {A, _} = member(a, Client, Group, [Topic], Options),
  ?assertEqual([], assigned(a)),
  {B, _} = member(b, Client, Group, [Topic], Options),
  Members = ?RECEIVE({probe, a, {assign, [_, _] = Both, _}}, Both),
  Data = [UserData || {_, #kafka_group_member_metadata{user_data = UserData}} <- Members],
  ?assertEqual([<<"a-1">>, <<"b-0">>], lists:sort(Data)),
  A ! stop,
  B ! stop.

worker_info(Config) ->
  {Client, Group, Topic} = filled(1, 10, Config),
  A = v2(a, Client, Group, [Topic], [{on_message, fun(_) -> later end}]),
  Info = ?RECEIVE({probe, a, {init, Topic, 0, _Worker, Found}}, Found),
  ?assertMatch(#{group_id := Group, topic := Topic, partition := 0}, Info),
  #{ack_fun := Ack, commit_fun := Commit} = Info,
  _ = collect(numbers(1, 10), ?LIMIT_MS),
  ok = Ack(9),
  ok = Commit(6),
  await_committed(Client, Group, Topic, #{0 => 7}),
  ok = stop(A),
  ?RECEIVE({probe, a, {terminate, Topic, 0, normal}}, ok).

%% What is to be committed is done with: more is fetched, also when nobody says so twice.
commit_makes_room(Config) ->
  {Client, Group, Topic} = filled(1, 0, Config),
  lists:foreach(fun(Value) -> fill(Client, Topic, 1, [Value]) end, numbers(1, 20)),
  A = v2(a, Client, Group, [Topic],
         [{on_message, fun(_) -> later end},
          {consumer, [{begin_offset, earliest}, {prefetch_count, 0}, {prefetch_bytes, 0}, {max_bytes, 1}]}]),
  #{commit_fun := Commit} = ?RECEIVE({probe, a, {init, Topic, 0, _, Found}}, Found),
  lists:foreach(fun(Offset) ->
                  ?RECEIVE({probe, a, {handled, Topic, 0, #kafka_message{offset = Offset}}}, ok),
                  ok = case Offset rem 2 of
                         0 -> Commit(Offset);
                         1 -> brod_group_subscriber_v2:commit(A, Topic, 0, Offset)
                       end
                end, lists:seq(0, 19)),
  await_committed(Client, Group, Topic, #{0 => 20}),
  ok = stop(A).

%%% Other clients, other calls

kcat_joins_first(Config) -> joins_first(fun kcat/2, Config).

kcat_joins_later(Config) -> joins_later(fun kcat/2, Config).

java_joins_first(Config) -> joins_first(java([]), Config).

java_joins_later(Config) -> joins_later(java([]), Config).

%% The broker makes the group one of its own kind, and deals out the partitions until the last of these members leaves.
java_of_kip_848_joins(Config) -> joins_later(java(["--group-protocol", "consumer"]), Config).

kcat(Group, Topic) ->
  {brod_test:kcat_start(["-G", Group, "-u", "-X", "auto.offset.reset=earliest", "-f", "%p %s\n",
                         Topic], <<>>), <<"^[0-9]+ ([0-9]+)$">>}.

java(Options) ->
  fun(Group, Topic) ->
    {brod_test:java_start("org.apache.kafka.tools.VerifiableConsumer",
                          ["--bootstrap-server", brod_test:servers(), "--group-id", Group, "--topic", Topic,
                           "--reset-policy", "earliest", "--verbose" | Options]), <<"\"value\":\"([0-9]+)\"">>}
  end.

joins_first(Start, Config) ->
  {Client, Group, Topic} = filled(4, 0, Config),
  Other = Start(Group, Topic),
  wait_until(fun() -> length(members(Client, Group)) =:= 1 end, ?LIMIT_MS),
  A = v2(a, Client, Group, [Topic]),
  share_with(Other, A, Topic, Config).

joins_later(Start, Config) ->
  {Client, Group, Topic} = filled(4, 0, Config),
  A = v2(a, Client, Group, [Topic]),
  _ = await_assigned([A], tps(Topic, 4)),
  share_with(Start(Group, Topic), A, Topic, Config).

%% Another client's member, and what finds the values in that which it prints.
share_with({Port, Pattern}, A, Topic, Config) ->
  Client = ?config(client, Config),
  wait_until(fun() -> map_size(brod_group_subscriber_v2:get_workers(A)) =:= 2 end, ?LIMIT_MS),
  Ours = [P || {_, P} <- maps:keys(brod_group_subscriber_v2:get_workers(A))],
  fill(Client, Topic, 4, numbers(1, 40)),
  Partition = fun(V) -> (V - 1) div 10 end,
  Mine = [integer_to_binary(V) || V <- lists:seq(1, 40), lists:member(Partition(V), Ours)],
  _ = collect(Mine, ?LIMIT_MS),
  ?assertEqual(lists:sort(numbers(1, 40) -- Mine), lists:sort(printed(Port, Pattern, <<>>, 20))),
  %% It leaves, and we have it all.
  {os_pid, OsPid} = erlang:port_info(Port, os_pid),
  "" = os:cmd("kill -TERM " ++ integer_to_list(OsPid)),
  _ = await_assigned([A], tps(Topic, 4)),
  ok = stop(A).

%% The first `Count' values that another client has printed.
printed(Port, Pattern, Output, Count) ->
  case re:run(Output, Pattern, [global, multiline, {capture, [1], binary}]) of
    {match, Values} when length(Values) >= Count -> lists:append(Values);
    _ -> printed(Port, Pattern, ?RECEIVE({Port, {data, Data}}, <<Output/binary, Data/binary>>), Count)
  end.

cg_commits(Config) ->
  {Client, Group, Topic} = filled(3, 30, Config),
  Run = fun(Offsets) ->
            brod_cg_commits:run(Client, [{id, Group}, {topic, Topic}, {offsets, Offsets}])
        end,
  ok = Run(latest),
  ?assertEqual(#{0 => 10, 1 => 10, 2 => 10}, committed(Client, Group, Topic)),
  ok = Run([{0, 3}, {2, 5}]),
  ?assertEqual(#{0 => 3, 1 => 10, 2 => 5}, committed(Client, Group, Topic)),
  ok = Run(earliest),
  ?assertEqual(#{0 => 0, 1 => 0, 2 => 0}, committed(Client, Group, Topic)),
  ?assertMatch({error, _}, Run([{7, 1}])),
  ?assertEqual([], members(Client, Group)).

list_and_describe(Config) ->
  {Client, Group, Topic} = filled(2, 0, Config),
  A = v2(a, Client, Group, [Topic]),
  _ = await_assigned([A], tps(Topic, 2)),
  {ok, {Endpoint, ConnConfig}} = brod_client:get_group_coordinator(Client, Group),
  {ok, Groups} = brod:list_groups(Endpoint, ConnConfig),
  ?assertMatch(#brod_cg{protocol_type = <<"consumer">>}, lists:keyfind(Group, #brod_cg.id, Groups)),
  All = brod:list_all_groups(brod_test:bootstrap(), []),
  ?assert(lists:any(fun({_, Found}) -> lists:keymember(Group, #brod_cg.id, Found) end, All)),
  {ok, [Description]} = brod:describe_groups(Endpoint, ConnConfig, [Group]),
  ?assertMatch(#{group_id := Group, group_state := <<"Stable">>, protocol_type := <<"consumer">>,
                 members := [_]}, Description),
  ok = stop(A).

%%% Helpers

stop(Pid) -> brod_group_subscriber_v2:stop(Pid).

workers(Pids) ->
  lists:append([maps:keys(brod_group_subscriber_v2:get_workers(Pid)) || Pid <- Pids]).

assigned_tps(Tag) ->
  [{T, P} || #brod_received_assignment{topic = T, partition = P} <- assigned(Tag)].

first_offsets(Topic, Partitions) ->
  [{P, ?RECEIVE({probe, _, {handled, Topic, P, #kafka_message{offset = Offset}}}, Offset)}
   || P <- lists:seq(0, Partitions - 1)].
