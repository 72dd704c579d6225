%% The coordinator against an engine played by the test.
-module(brod_group_coordinator_tests).
-include_lib("eunit/include/eunit.hrl").
-include("brod_int.hrl").

-export([get_committed_offsets/2, assign_partitions/3, assignments_received/4,
         assignments_revoked/1, user_data/1]).

-define(T, <<"topic">>).

%% The member: each callback asks the test what to do.
get_committed_offsets(Pid, TPs) -> ask(Pid, {get_committed_offsets, TPs}).
assign_partitions(Pid, Members, TPs) -> ask(Pid, {assign_partitions, Members, TPs}).
assignments_received(Pid, Id, Gen, Assignments) -> ask(Pid, {received, Id, Gen, Assignments}).
assignments_revoked(Pid) -> ask(Pid, revoked).
user_data(_Pid) -> <<"me">>.

ask({me, Pid}, What) -> ask(Pid, What);
ask(Pid, What) ->
  Pid ! {callback, self(), What},
  receive
    {answer, Answer} -> Answer;
    {fail, Reason} -> error(Reason)
  end.

coordinator_test_() ->
  [{Name, {spawn, {timeout, 30, fun() -> setup(), try Test() after cleanup() end end}}} ||
    {Name, Test} <- [{"joins, commits, leaves", fun joins_commits_leaves/0},
                     {"acks during a revocation are committed", fun acks_during_revocation/0},
                     {"nothing is committed for a lost member", fun lost_member/0},
                     {"commits while a callback runs", fun commit_in_callback/0},
                     {"a revocation waits for the callback before", fun revoke_in_callback/0},
                     {"a stop does not wait for a callback", fun stop_in_callback/0},
                     {"offsets of the member's own store", fun consumer_managed/0},
                     {"assignment by the leader", fun assigns/0},
                     {"assignments that are none are an error of the callback", fun bad_assignments/0},
                     {"trackers", fun trackers/0},
                     {"a failed commit is tried again", fun failed_commit/0},
                     {"commits that go on failing are told once, and when they are over", fun failing_commits/0},
                     {"an older commit never overtakes a newer one", fun commits_in_order/0},
                     {"events of an old join", fun stale_events/0},
                     {"why there is no coordinator is told in words", fun no_coordinator/0},
                     {"new partitions", fun new_partitions/0},
                     {"credentials are there for as long as the coordinator is", fun holds_credentials/0},
                     {"a replaced member takes its place back, or stops", fun replaced_member/0},
                     {"a member that is replaced while it lets go stops", fun replaced_meanwhile/0},
                     {"a member that is replaced before it has joined stops", fun replaced_before/0},
                     {"the client is restarted", fun client_restarts/0},
                     {"the client is stopped", fun client_stopped/0},
                     {"the client ends a while after its engine", fun client_stopped_later/0},
                     {"what is sent to the coordinator reaches a callback", fun message_to_callback/0},
                     {"a callback that fails is reported short", fun callback_fails/0},
                     {"a member without topics", fun no_topics/0},
                     {"the member is any term", fun any_member/0},
                     {"wrong arguments are their caller's error", fun wrong_arguments/0},
                     {"the status shows counts", fun status/0},
                     {"no client", fun no_client/0},
                     {"a bad option", fun bad_option/0}]].

setup() ->
  process_flag(trap_exit, true),
  brod_fake:load(brod_client,
                 #{{context_here, 1} => fun(_) -> {ok, #{engine => engine, options => #{allow_topic_auto_creation => true}}} end,
                   {get_partitions_count_safe, 2} => fun(_, ?T) -> {ok, 8} end}),
  ok = brod_fake_nif:load([]),
  ok = brod_fake_nif:watch(self()).

cleanup() ->
  Coordinator = get(coordinator),
  is_pid(Coordinator) andalso exit(Coordinator, kill),
  brod_fake:unload(brod_client),
  ok = brod_fake_nif:unload().

start(Config) -> start(client, Config).

start(Client, Config) ->
  {ok, Pid} = brod_group_coordinator:start_link(Client, <<"g">>, [?T], Config, ?MODULE, self()),
  put(coordinator, Pid),
  Pid.

%% Plays the engine up to the generation; the callback `received' is answered.
member(Config) -> member(client, Config).

member(Client, Config) ->
  Pid = start(Client, Config),
  answer(revoked, ok),
  receive {join, Id, [?T], <<"me">>} -> ok end,
  assigned(Pid, Id, 1, false, [{?T, 0, 5, <<>>}, {?T, 1, undefined, <<>>}]),
  answer(received, ok),
  {Pid, Id}.

assigned(Pid, JoinId, Gen, Leader, Partitions) ->
  event(Pid, JoinId, {assigned, #{member_id => <<"m">>, generation => Gen, leader => Leader,
                                  protocol => <<"p">>, partitions => Partitions}}).

event(Pid, JoinId, Event) -> Pid ! {brod_group, {group, Pid}, JoinId, Event}.

%% Waits for a callback and answers it.
answer(Kind, Answer) ->
  {Runner, What} = callback(Kind),
  Runner ! {answer, Answer},
  What.

callback(Kind) ->
  receive
    {callback, Runner, What} when What =:= Kind; element(1, What) =:= Kind -> {Runner, What}
  after 20000 -> error({no_callback, Kind})
  end.

commit_request() ->
  receive {Ref, {commit, Gen, Offsets}} -> {Ref, Gen, [{T, P, O} || {T, P, O, _} <- Offsets]}
  after 20000 -> error(no_commit)
  end.

%% The call is made by another process; its result comes as a message.
async(Fun) ->
  Test = self(),
  spawn(fun() -> Test ! {result, Fun()} end).

result() ->
  receive {result, Result} -> Result after 20000 -> error(no_result) end.

stop(Pid) ->
  Stopper = async(fun() -> brod_group_coordinator:stop(Pid) end),
  receive
    {Ref, {close, Leave}} ->
      Pid ! {brod_reply, Ref, ok},
      ok = result(),
      {close, Leave}
  after 20000 -> error({no_close, Stopper})
  end.

joins_commits_leaves() ->
  Pid = start([{offset_commit_interval_seconds, 3600}]),
  answer(revoked, ok),
  receive
    {open_group, Config} ->
      ?assertMatch(#{group_id := <<"g">>, session_timeout_ms := 30000, fetch_offsets := true,
                     assignment := engine}, Config)
  end,
  receive {join, Id, [?T], <<"me">>} -> ok end,
  assigned(Pid, Id, 7, false, [{?T, 0, 5, <<>>}, {?T, 1, undefined, <<>>}]),
  ?assertEqual({received, <<"m">>, 7,
                [#brod_received_assignment{topic = ?T, partition = 0, begin_offset = 5},
                 #brod_received_assignment{topic = ?T, partition = 1, begin_offset = undefined}]},
               answer(received, ok)),
  brod_group_coordinator:ack(Pid, 7, ?T, 0, 9),
  brod_group_coordinator:ack(Pid, 6, ?T, 1, 99),
  async(fun() -> brod_group_coordinator:commit_offsets(Pid, [{{?T, 1}, 3}]) end),
  {Ref, 7, Offsets} = commit_request(),
  ?assertEqual([{?T, 0, 10}, {?T, 1, 4}], lists:sort(Offsets)),
  Pid ! {brod_reply, Ref, ok},
  ?assertEqual(ok, result()),
  ?assertEqual(ok, brod_group_coordinator:commit_offsets(Pid)),
  ?assertEqual({close, true}, stop(Pid)).

acks_during_revocation() ->
  {Pid, Id} = member([]),
  event(Pid, Id, {revoke, rebalance_in_progress}),
  {Runner, revoked} = callback(revoked),
  brod_group_coordinator:ack(Pid, 1, ?T, 0, 20),
  Runner ! {answer, ok},
  {Ref, 1, [{?T, 0, 21}]} = commit_request(),
  Pid ! {brod_reply, Ref, ok},
  receive {join, Next, _, _} -> ?assert(Next > Id) end,
  ?assertEqual({error, not_a_member}, brod_group_coordinator:commit_offsets(Pid)).

lost_member() ->
  {Pid, Id} = member([]),
  brod_group_coordinator:ack(Pid, 1, ?T, 0, 20),
  event(Pid, Id, {revoke, unknown_member_id}),
  answer(revoked, ok),
  receive
    {join, _, _, _} -> ok;
    {_, {commit, _, _}} -> error(committed)
  end.

commit_in_callback() ->
  {Pid, Id} = member([]),
  event(Pid, Id, {revoke, rebalance_in_progress}),
  {Runner, revoked} = callback(revoked),
  async(fun() -> brod_group_coordinator:commit_offsets(Pid, [{{?T, 0}, 1}]) end),
  {Ref, 1, [{?T, 0, 2}]} = commit_request(),
  %% The revocation ends while the commit is under way.
  Runner ! {answer, ok},
  Pid ! {brod_reply, Ref, ok},
  ?assertEqual(ok, result()),
  receive {join, _, _, _} -> ok end.

revoke_in_callback() ->
  Pid = start([]),
  answer(revoked, ok),
  receive {join, Id, _, _} -> ok end,
  assigned(Pid, Id, 1, false, []),
  {Runner, _} = callback(received),
  event(Pid, Id, {revoke, rebalance_in_progress}),
  Runner ! {answer, ok},
  answer(revoked, ok),
  receive {join, _, _, _} -> ok end.

%% To commit and to leave a connection may have to be made, when the client has ended.
holds_credentials() ->
  brod_fake:load(brod_client, #{{context_here, 1} => fun(_) ->
                                                         {ok, #{engine => engine, sasl_provider => whereis(provider),
                                                                options => #{allow_topic_auto_creation => true}}}
                                                     end}),
  true = register(provider, self()),
  Pid = start([]),
  answer(revoked, ok),
  receive {'$gen_cast', {hold, Holder}} -> ?assertEqual(Pid, Holder) end.

-define(REPLACEABLE, [{group_instance_id, <<"static">>}, {fenced_member_action, stop}]).

replaced_member() ->
  {Lasting, First} = member([{group_instance_id, <<"static">>}]),
  event(Lasting, First, {revoke, fenced_instance_id}),
  answer(revoked, ok),
  receive {join, _, _, _} -> ok end,
  ?assertEqual({close, false}, stop(Lasting)),
  {Pid, Id} = member(?REPLACEABLE),
  brod_group_coordinator:ack(Pid, 1, ?T, 0, 1),
  event(Pid, Id, {revoke, fenced_instance_id}),
  answer(revoked, ok),
  ?assertEqual([{close, false}], until_fenced(Pid)).

replaced_meanwhile() ->
  {Pid, Id} = member(?REPLACEABLE),
  event(Pid, Id, {revoke, rebalance_in_progress}),
  {Runner, revoked} = callback(revoked),
  event(Pid, Id, {revoke, fenced_instance_id}),
  Runner ! {answer, ok},
  ?assertEqual([{close, false}], until_fenced(Pid)).

replaced_before() ->
  Pid = start(?REPLACEABLE),
  answer(revoked, ok),
  receive {join, Id, _, _} -> ok end,
  event(Pid, Id, {retrying, 1, fenced_instance_id}),
  ?assertEqual([{close, false}], until_fenced(Pid)).

%% What the engine is asked for until the coordinator has ended.
until_fenced(Pid) ->
  receive
    {'EXIT', Pid, Reason} ->
      ?assertEqual(fenced_instance_id, Reason),
      [];
    {join, _, _, _} = Join ->
      [Join | until_fenced(Pid)];
    {Ref, {close, _} = Close} ->
      Pid ! {brod_reply, Ref, ok},
      [Close | until_fenced(Pid)];
    {Ref, {commit, _, _}} ->
      Pid ! {brod_reply, Ref, {error, illegal_generation}},
      until_fenced(Pid)
  end.

stop_in_callback() ->
  {Pid, Id} = member([{group_instance_id, <<"static">>}]),
  event(Pid, Id, {revoke, rebalance_in_progress}),
  {_Runner, revoked} = callback(revoked),
  ?assertEqual({close, false}, stop(Pid)).

consumer_managed() ->
  Pid = start([{offset_commit_policy, consumer_managed}]),
  answer(revoked, ok),
  receive {join, Id, _, _} -> ok end,
  assigned(Pid, Id, 1, false, [{?T, P, undefined, <<>>} || P <- [0, 1, 2, 3, 4]]),
  ?assertEqual({get_committed_offsets, [{?T, 0}, {?T, 1}, {?T, 2}, {?T, 3}, {?T, 4}]},
               answer(get_committed_offsets,
                      {ok, [{{?T, 0}, 4}, {{?T, 1}, {begin_offset, latest}}, {{?T, 2}, -1}, {{?T, 4}, {begin_offset, 0}}]})),
  {received, _, _, Assignments} = answer(received, ok),
  ?assertEqual([5, latest, 0, undefined, earliest],
               [B || #brod_received_assignment{begin_offset = B} <- Assignments]).

assigns() ->
  Pid = start([{partition_assignment_strategy, callback_implemented}]),
  answer(revoked, ok),
  receive {join, Id, _, _} -> ok end,
  Members = [{<<"a">>, #kafka_group_member_metadata{version = 0, topics = [?T], user_data = <<>>}}],
  event(Pid, Id, {assign, Members, [{?T, 0}]}),
  {Runner, {assign_partitions, Members, [{?T, 0}]}} = callback(assign_partitions),
  %% The engine starts over meanwhile.
  event(Pid, Id, {assign, [], []}),
  Runner ! {answer, [{<<"a">>, [{?T, [0]}]}]},
  ?assertEqual({Id, [{<<"a">>, [{?T, [0]}]}]}, assignment()),
  answer(assign_partitions, []),
  ?assertEqual({Id, []}, assignment()).

bad_assignments() ->
  [begin
     Pid = start([{partition_assignment_strategy, callback_implemented}]),
     answer(revoked, ok),
     receive {join, Id, _, _} -> ok end,
     event(Pid, Id, {assign, [], [{?T, 0}]}),
     answer(assign_partitions, Bad),
     receive {Close, {close, true}} -> Pid ! {brod_reply, Close, ok} end,
     receive {'EXIT', Pid, Reason} -> ?assertMatch({{bad_assignments, Bad}, [_ | _]}, Reason) end
   end || Bad <- [none, [<<"a">>], [{<<"a">>, [{?T, [0 | 1]}]}], [{<<"a">>, [{?T, [0]} | b]}],
                  [{<<"a">>, [{?T, [-1]}]}], [{<<"a">>, []} | b], [{a, [{?T, [0]}]}]]].

assignment() ->
  receive {assign, Id, Assignments} -> {Id, Assignments} after 20000 -> error(no_assignment) end.

trackers() ->
  {Pid, Id} = member([]),
  Tracker = brod_group_acks:tracker(),
  brod_group_coordinator:track(Pid, 1, ?T, 0, Tracker),
  brod_group_acks:put(Tracker, 41),
  brod_group_coordinator:commit_async(Pid),
  {Ref, 1, [{?T, 0, 42}]} = commit_request(),
  Pid ! {brod_reply, Ref, ok},
  brod_group_acks:put(Tracker, 42),
  event(Pid, Id, {revoke, rebalance_in_progress}),
  answer(revoked, ok),
  {_, 1, [{?T, 0, 43}]} = commit_request().

failed_commit() ->
  {Pid, _} = member([]),
  brod_group_coordinator:ack(Pid, 1, ?T, 0, 1),
  brod_group_coordinator:ack(Pid, 1, ?T, 1, 1),
  async(fun() -> brod_group_coordinator:commit_offsets(Pid) end),
  {Ref, 1, _} = commit_request(),
  brod_group_coordinator:ack(Pid, 1, ?T, 0, 2),
  Pid ! {brod_reply, Ref, {error, request_timed_out}},
  ?assertEqual({error, request_timed_out}, result()),
  brod_group_coordinator:commit_async(Pid),
  {_, 1, Offsets} = commit_request(),
  ?assertEqual([{?T, 0, 3}, {?T, 1, 2}], lists:sort(Offsets)).

failing_commits() ->
  {Pid, _} = member([]),
  Log = brod_log:start(),
  Commit = fun(Offset, Answer) ->
             brod_group_coordinator:ack(Pid, 1, ?T, 0, Offset),
             async(fun() -> brod_group_coordinator:commit_offsets(Pid) end),
             {Ref, 1, _} = commit_request(),
             Pid ! {brod_reply, Ref, Answer},
             result()
           end,
  [{error, timeout} = Commit(Offset, {error, timeout}) || Offset <- [1, 2, 3]],
  {error, _} = Commit(4, {partial, [{?T, 0, not_coordinator}]}),
  [ok = Commit(Offset, ok) || Offset <- [5, 6]],
  %% No later commit of this generation is going to be taken.
  {error, _} = Commit(7, {partial, [{?T, 0, illegal_generation}]}),
  {error, _} = Commit(8, {error, unknown_member_id}),
  Lines = brod_log:all(Log, "group coordinator"),
  brod_log:stop(Log),
  ?assertMatch([_, _, _, _, _], Lines),
  [?assertMatch({Line, {match, _}}, {Line, re:run(Line, Text)})
   || {Line, Text} <- lists:zip(Lines, ["offsets of 1 partition could not be committed: no answer within 5000 ms; the next commit takes",
                                        "could not be committed: not_coordinator",
                                        "offsets are committed again; 4 commits had failed",
                                        "could not be committed: illegal_generation; the partitions were dealt out anew",
                                        "could not be committed: unknown_member_id; the partitions were dealt out anew"])].

stale_events() ->
  {Pid, Id} = member([]),
  event(Pid, Id, {revoke, rebalance_in_progress}),
  answer(revoked, ok),
  receive {join, Next, _, _} -> ok end,
  assigned(Pid, Id, 2, false, []),
  assigned(Pid, Next, 3, false, []),
  ?assertMatch({received, _, 3, _}, answer(received, ok)).

no_coordinator() ->
  Log = brod_log:start(),
  {Pid, Id} = member([]),
  Request = {kpro_req, make_ref(), api_versions, 0, false, []},
  [event(Pid, Id, {retrying, 0, Why}) || Why <- [[{"h", 1, econnrefused}, {"k", 2, {Request, closed}}], not_coordinator]],
  _ = sys:get_state(Pid),
  [Unreachable, Other] = brod_log:all(Log, "waits for the group's coordinator: "),
  brod_log:stop(Log),
  ?assertMatch({_, _}, binary:match(unicode:characters_to_binary(Unreachable), <<"h:1 nobody listens there">>)),
  ?assertMatch({_, _}, binary:match(unicode:characters_to_binary(Unreachable), <<"k:2 it closed the connection at the first request">>)),
  ?assertMatch({_, _}, binary:match(unicode:characters_to_binary(Other), <<": not_coordinator">>)).

%% The leader's engine has seen a topic grow.
new_partitions() ->
  {Pid, Id} = member([]),
  brod_group_coordinator:ack(Pid, 1, ?T, 0, 7),
  event(Pid, Id, {revoke, partitions_added}),
  answer(revoked, ok),
  {Ref, 1, [{?T, 0, 8}]} = commit_request(),
  Pid ! {brod_reply, Ref, ok},
  receive {join, Next, _, _} -> ?assert(Next > Id) end.

commits_in_order() ->
  {Pid, _} = member([]),
  brod_group_coordinator:ack(Pid, 1, ?T, 0, 1),
  brod_group_coordinator:commit_async(Pid),
  {Ref1, 1, [{?T, 0, 2}]} = commit_request(),
  brod_group_coordinator:ack(Pid, 1, ?T, 0, 5),
  brod_group_coordinator:commit_async(Pid),
  {Ref2, 1, [{?T, 0, 6}]} = commit_request(),
  %% Nothing new, but what is under way is waited for.
  async(fun() -> brod_group_coordinator:commit_offsets(Pid) end),
  Pid ! {brod_reply, Ref1, {error, request_timed_out}},
  Pid ! {brod_reply, Ref2, ok},
  ?assertEqual(ok, result()),
  %% The older offset, whose commit failed, does not go out behind the newer one.
  ?assertEqual(ok, brod_group_coordinator:commit_offsets(Pid)),
  receive {_, {commit, _, _}} -> error(committed) after 0 -> ok end.

%% What was acknowledged is committed and the group left, although the client has ended.
client_restarts() ->
  {Pid, Id} = member([]),
  receive {open_group, _} -> ok end,
  brod_group_coordinator:ack(Pid, 1, ?T, 0, 1),
  async(fun() -> brod_group_coordinator:commit_offsets(Pid) end),
  {Ref, 1, [{?T, 0, 2}]} = commit_request(),
  event(Pid, Id, {down, client_down}),
  brod_group_coordinator:ack(Pid, 1, ?T, 0, 2),
  Pid ! {brod_reply, Ref, {error, client_down}},
  ?assertEqual({error, client_down}, result()),
  answer(revoked, ok),
  {Last, 1, [{?T, 0, 3}]} = commit_request(),
  Pid ! {brod_reply, Last, ok},
  receive {_, {close, true}} -> ok end,
  receive {open_group, _} -> ok end,
  receive {join, _, _, _} -> ok end.

client_stopped() ->
  Client = spawn(fun() -> receive stop -> ok end end),
  {Pid, Id} = member(Client, []),
  brod_group_coordinator:ack(Pid, 1, ?T, 0, 1),
  MRef = monitor(process, Client),
  Client ! stop,
  receive {'DOWN', MRef, process, Client, _} -> ok end,
  event(Pid, Id, {down, client_down}),
  answer(revoked, ok),
  {Ref, 1, [{?T, 0, 2}]} = commit_request(),
  Pid ! {brod_reply, Ref, ok},
  receive {Close, {close, true}} -> Pid ! {brod_reply, Close, ok} end,
  receive {'EXIT', Pid, Reason} -> ?assertEqual({shutdown, client_down}, Reason) end.

%% Meanwhile the coordinator looks for a client that goes on, and finds none.
client_stopped_later() ->
  Client = spawn(fun() -> receive stop -> ok end end),
  {Pid, Id} = member(Client, [{rejoin_delay_seconds, 3600}]),
  brod_fake:load(brod_client, #{{context_here, 1} => fun(_) -> {error, client_down} end}),
  event(Pid, Id, {down, client_down}),
  answer(revoked, ok),
  receive {_, {close, true}} -> ok end,
  %% twice: what it has sent to itself meanwhile comes before the second one
  _ = [sys:get_state(Pid) || _ <- [1, 2]],
  Client ! stop,
  receive {'EXIT', Pid, Reason} -> ?assertEqual({shutdown, client_down}, Reason)
  after 20000 -> error(lives_on)
  end.

%% brod runs callbacks in the coordinator, whose mailbox they may look into.
message_to_callback() ->
  {Pid, Id} = member([]),
  event(Pid, Id, {revoke, rebalance_in_progress}),
  {Runner, revoked} = callback(revoked),
  Pid ! {answer, ok},
  receive {join, Next, _, _} -> ok end,
  %% The process of the callbacks, taken for the coordinator.
  assigned(Pid, Next, 2, false, [{?T, 0, 5, <<>>}]),
  answer(received, ok),
  brod_group_coordinator:ack(Runner, 2, ?T, 0, 7),
  _ = gen_server:call(Runner, nonsense),
  async(fun() -> brod_group_coordinator:commit_offsets(Runner) end),
  {Ref, 2, [{?T, 0, 8}]} = commit_request(),
  Pid ! {brod_reply, Ref, ok},
  ?assertEqual(ok, result()),
  exit(Runner, shutdown),
  receive {Close, {close, true}} -> Pid ! {brod_reply, Close, ok} end,
  receive {'EXIT', Pid, Reason} -> ?assertEqual(shutdown, Reason) end.

callback_fails() ->
  {Pid, Id} = member([]),
  event(Pid, Id, {revoke, rebalance_in_progress}),
  {Runner, revoked} = callback(revoked),
  Runner ! {fail, {bad, binary:copy(<<"payload">>, 100000)}},
  receive {Close, {close, true}} -> Pid ! {brod_reply, Close, ok} end,
  receive
    {'EXIT', Pid, Reason} ->
      ?assertMatch({{bad, _}, [_ | _]}, Reason),
      ?assert(erlang:external_size(Reason) < 4096)
  end.

no_topics() ->
  {Pid, _} = member([]),
  ok = brod_group_coordinator:update_topics(Pid, []),
  answer(revoked, ok),
  receive {join, _, [], _} -> ok end.

any_member() ->
  Test = self(),
  {ok, Pid} = brod_group_coordinator:start_link(client, <<"g">>, [?T], [], ?MODULE, {me, Test}),
  put(coordinator, Pid),
  answer(revoked, ok),
  receive {join, _, [?T], <<"me">>} -> ok end.

wrong_arguments() ->
  {Pid, _} = member([]),
  Max = 16#7fffffffffffffff,
  %% Not ?assertError: the compiler of OTP 27 gets a pattern of bound variables in a catch wrong here.
  Error = fun(Call) -> try Call() catch error:Reason -> Reason end end,
  [?assertEqual({Class, Bad}, Error(Call)) ||
    {Class, Bad, Call} <-
      [{bad_offset, Max, fun() -> brod_group_coordinator:ack(Pid, 1, ?T, 0, Max) end},
       {bad_offset, a, fun() -> brod_group_coordinator:ack(Pid, 1, ?T, 0, a) end},
       {bad_partition, -1, fun() -> brod_group_coordinator:ack(Pid, 1, ?T, -1, 1) end},
       {bad_topic, "t", fun() -> brod_group_coordinator:ack(Pid, 1, "t", 0, 1) end},
       {bad_offset, Max, fun() -> brod_group_coordinator:commit_offsets(Pid, [{{?T, 0}, Max}]) end},
       {bad_offsets, x, fun() -> brod_group_coordinator:commit_offsets(Pid, [x]) end},
       {bad_offsets, [a | b], fun() -> brod_group_coordinator:commit_offsets(Pid, [a | b]) end},
       {bad_topic, "t", fun() -> brod_group_coordinator:update_topics(Pid, ["t"]) end},
       {bad_topics, t, fun() -> brod_group_coordinator:update_topics(Pid, t) end}]],
  ?assertEqual(ok, brod_group_coordinator:commit_offsets(Pid)).

status() ->
  {Pid, _} = member([]),
  brod_group_coordinator:ack(Pid, 1, ?T, 0, 1),
  {status, Pid, _, Items} = sys:get_status(Pid),
  Text = lists:flatten(io_lib:format("~0p", [Items])),
  [?assertNotEqual(nomatch, string:find(Text, T))
   || T <- ["pending => 1", "generation => 1", "phase => member"]].

no_client() ->
  brod_fake:load(brod_client, #{{context_here, 1} => fun(_) -> {error, client_down} end}),
  Log = brod_log:start(),
  Pid = start([{max_rejoin_attempts, 2}, {rejoin_delay_seconds, 0}]),
  answer(revoked, ok),
  receive {'EXIT', Pid, Reason} -> ?assertEqual(max_rejoin_attempts, Reason) end,
  Lines = brod_log:lines(Log),
  ok = brod_log:stop(Log),
  ?assertEqual([true, false, false], [lists:any(fun(Line) -> string:find(Line, Text) =/= nomatch end, Lines)
                                      || Text <- ["gives up after", "terminating", "crasher"]]).

bad_option() ->
  ?assertEqual({error, {bad_option, session_timeout_seconds, 0}},
               brod_group_coordinator:start_link(client, <<"g">>, [?T],
                                                 [{session_timeout_seconds, 0}], ?MODULE, self())).
