%% @doc One member of a consumer group, as seen from Erlang. The engine speaks the group protocol
%% and sends the heartbeats; this process turns what happens into the callbacks of {@link
%% brod_group_member}, collects acks, and says what is committed and when.
%%
%% The callbacks run in a process of their own, linked to this one, one at a time and always the same.
%% So a callback may take long, or call this module, without holding up acks, commits or a stop. What
%% is sent to this process and is not for it reaches a callback that is running, and what is sent to
%% the process of the callbacks comes here.
%%
%% Options (`group_config') and defaults: `partition_assignment_strategy' roundrobin_v2 (or
%% callback_implemented), `session_timeout_seconds' 30, `rebalance_timeout_seconds' 30,
%% `heartbeat_rate_seconds' 1, `max_rejoin_attempts' 5 (refusals by the broker; outages do not
%% count), `rejoin_delay_seconds' 1, `offset_commit_policy' commit_to_kafka_v2 (or
%% consumer_managed), `offset_commit_interval_seconds' 5, `offset_retention_seconds',
%% `protocol_name', `group_instance_id' (a binary makes the membership static), `fenced_member_action'
%% retry (or stop).
%%
%% Stops with `shutdown' (stop/1, or the member has ended orderly), `member_down', `{shutdown,
%% member_down}' (a callback found no member), `{shutdown, client_down}' (the client was stopped),
%% `max_rejoin_attempts', or `fenced_instance_id' with `fenced_member_action' stop. In each case it commits
%% what was acknowledged and leaves the group, also when the client is gone already.
-module(brod_group_coordinator).
-behaviour(gen_server).

-export([start_link/6, stop/1, ack/5, track/5, commit_offsets/1, commit_offsets/2,
         commit_async/1, update_topics/2, lost/2]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2,
         code_change/3, format_status/1]).

-include("brod_int.hrl").

-export_type([protocol_name/0]).

-type protocol_name() :: string().

%% How long a caller of commit_offsets waits; the commit itself gives up earlier.
-define(COMMIT_CALL_TIMEOUT_MS, 15000).
%% The time of the last commit and of leaving, each.
-define(FAREWELL_TIMEOUT_MS, 5000).
%% An outage of the client is no reason to fill the log.
-define(OPEN_ATTEMPTS_A_LOG, 10).
%% Why a generation ended when its offsets can still be committed. After any other reason the broker
%% refuses them.
-define(STILL_MEMBER(Why), (Why =:= rebalance_in_progress orelse Why =:= topics_changed orelse
                            Why =:= partitions_added orelse Why =:= partitions_gone orelse Why =:= client_down)).

%% starting: nothing has happened. revoking: the member lets go. committing: the last commit of the
%% generation. opening: waits for the client. joining: waits for the engine. member: in a
%% generation.
-type phase() :: starting | revoking | committing | opening | joining | member.

-record(st, {client :: brod:client(),
             group_id :: brod:group_id(),
             topics :: [brod:topic()],
             options :: brod_group_options:options(),
             member_module :: module(),
             %% the first argument of callbacks; its end is ours if it is a process
             member_pid :: term(),
             member_monitor :: undefined | reference(),
             client_monitor :: undefined | reference(),
             %% lost: it has ended, but commits and leaving still work; stopped: on purpose
             client_state = present :: present | lost | stopped,
             %% undefined: there is no client
             handle :: term(),
             open_attempts = 0 :: non_neg_integer(),
             has_been_member = false :: boolean(),
             %% another member has the place, and this one is not to take it back
             is_replaced = false :: boolean(),
             phase = starting :: phase(),
             join_id = 0 :: non_neg_integer(),
             commits :: brod_group_commits:commits(),
             %% runs the callbacks
             runner :: pid(),
             %% callbacks are running, and what to do with their result
             callback :: undefined | fun((term(), #st{}) -> #st{}),
             %% what waits for the callbacks that run: why the generation has to end, or events
             rejoin :: undefined | atom(),
             postponed = [] :: [term()],
             user_data = <<>> :: binary()}).

%%% API

%% @doc Starts a coordinator for the member `Member', linked to the caller. Returns at once; the group is
%% joined in the background. `Member' is what callbacks are given; when it is a process, its end is the
%% coordinator's. `{error, {bad_option, Key, Value}}' for an option that cannot be.
-spec start_link(brod:client(), brod:group_id(), [brod:topic()], brod:group_config(), module(),
                 Member :: term()) -> {ok, pid()} | {error, term()}.
start_link(Client, GroupId, Topics, Config, MemberModule, Member) ->
  gen_server:start_link(?MODULE, {Client, GroupId, Topics, Config, MemberModule, Member}, []).

%% @doc Commits what was acknowledged, leaves the group (a static member stays in it) and stops.
-spec stop(pid()) -> ok.
stop(Pid) ->
  Monitor = monitor(process, Pid),
  exit(Pid, shutdown),
  receive {'DOWN', Monitor, process, _, _Reason} -> ok end.

%% @doc The message at `Offset' and those before it are done with: `Offset + 1' is committed with
%% the next commit. An ack of another generation than the present one is dropped.
-spec ack(pid(), brod:group_generation_id(), brod:topic(), brod:partition(), brod:offset()) -> ok.
ack(Pid, Generation, Topic, Partition, Offset) ->
  ok = brod_group_args:offset(Topic, Partition, Offset),
  Pid ! {ack, Generation, Topic, Partition, Offset},
  ok.

%% @private From now on the offset in `Tracker' counts as acknowledged, in this generation.
-spec track(pid(), brod:group_generation_id(), brod:topic(), brod:partition(),
            brod_group_acks:tracker()) -> ok.
track(Pid, Generation, Topic, Partition, Tracker) ->
  Pid ! {track, Generation, Topic, Partition, Tracker},
  ok.

%% @equiv commit_offsets(Pid, [])
-spec commit_offsets(pid()) -> ok | {error, term()}.
commit_offsets(Pid) -> commit_offsets(Pid, []).

%% @doc Commits at once what was acknowledged, and `Offsets' as if they were; of several offsets of a
%% partition the first one counts. Returns when Kafka has answered. `{error, not_a_member}' between
%% generations.
-spec commit_offsets(pid(), [{{brod:topic(), brod:partition()}, brod:offset()}]) ->
        ok | {error, term()}.
commit_offsets(Pid, Offsets) ->
  ok = brod_group_args:offsets(Offsets),
  try gen_server:call(Pid, {commit_offsets, lists:ukeysort(1, Offsets)}, ?COMMIT_CALL_TIMEOUT_MS)
  catch exit:{Reason, _} -> {error, Reason}
  end.

%% @private As commit_offsets/1 for those who cannot wait.
-spec commit_async(pid()) -> ok.
commit_async(Pid) -> gen_server:cast(Pid, commit_offsets).

%% @doc Makes the member join again for other topics.
-spec update_topics(pid(), [brod:topic()]) -> ok.
update_topics(Pid, Topics) ->
  Topics =:= [] orelse brod_group_args:topics(Topics),
  gen_server:cast(Pid, {update_topics, Topics}).

%% @private Somebody has been told that the member has lost its partitions, before this process has: it joins again.
-spec lost(pid(), Why :: atom()) -> ok.
lost(Pid, Why) -> gen_server:cast(Pid, {lost, Why}).

%%% gen_server

init({Client, GroupId, Topics, Config, MemberModule, Member}) ->
  process_flag(trap_exit, true),
  ok = brod_logging:about(#{client => brod_logging:client(Client), group => GroupId}),
  ok = brod_group_args:member(Client, GroupId, Topics),
  case brod_group_options:new(Config) of
    {ok, Options} ->
      ok = brod_group_args:callbacks(MemberModule, member_callbacks(Options)),
      ok = brod_group_options:warn(Config),
      Coordinator = self(),
      St = #st{client = Client, group_id = GroupId, topics = lists:usort(Topics), options = Options,
               member_module = MemberModule, member_pid = Member,
               commits = brod_group_commits:new(maps:get(offset_commit_policy, Options)),
               runner = spawn_link(fun() -> brod_group_callbacks:serve(Coordinator) end),
               member_monitor = case is_pid(Member) of
                                  true -> monitor(process, Member);
                                  false -> undefined
                                end},
      {ok, St, {continue, open}};
    {error, Reason} ->
      {stop, Reason}
  end.

member_callbacks(Options) ->
  Optional = [case Kind of
                offsets -> {get_committed_offsets, 2};
                assign -> {assign_partitions, 3}
              end || Kind <- brod_group_options:callbacks(Options)],
  [{assignments_received, 4}, {assignments_revoked, 1} | Optional].

handle_continue(open, St) ->
  start_commit_timer(St),
  {noreply, end_generation(first_join, St)}.

handle_call({commit_offsets, Offsets}, From, #st{commits = Commits} = St) ->
  case brod_group_commits:generation(Commits) of
    undefined -> {reply, {error, not_a_member}, St};
    _ -> {noreply, commit([From], St#st{commits = brod_group_commits:ack_all(Offsets, Commits)})}
  end;
handle_call(Call, _From, St) ->
  {reply, {error, {unknown_call, Call}}, St}.

handle_cast(commit_offsets, St) ->
  {noreply, commit([], St)};
handle_cast({update_topics, Topics}, St) ->
  {noreply, end_generation(topics_changed, St#st{topics = lists:usort(Topics)})};
handle_cast({lost, Why}, #st{phase = member} = St) ->
  {noreply, end_generation(Why, replaced(Why, St))};
handle_cast(_Cast, St) ->
  {noreply, St}.

handle_info({ack, Generation, Topic, Partition, Offset}, #st{commits = Commits} = St) ->
  Ack = {{Topic, Partition}, Offset},
  {noreply, St#st{commits = brod_group_commits:ack(Generation, Ack, Commits)}};
handle_info({track, Generation, Topic, Partition, Tracker}, #st{commits = Commits} = St) ->
  TP = {Topic, Partition},
  {noreply, St#st{commits = brod_group_commits:track(Generation, TP, Tracker, Commits)}};
handle_info({brod_group, Handle, JoinId, Event}, #st{handle = Handle, join_id = JoinId} = St) ->
  handle_event(Event, St);
handle_info({brod_group, Handle, _JoinId, {down, _} = Event}, #st{handle = Handle} = St) ->
  handle_event(Event, St);
handle_info({brod_group, _Handle, _JoinId, _Event}, St) ->
  {noreply, St};
handle_info({brod_reply, Ref, Result}, #st{commits = Commits} = St) ->
  case brod_group_commits:reply(Ref, Result, Commits) of
    unknown -> {noreply, St};
    Done -> {noreply, tell(Done, St)}
  end;
handle_info({?MODULE, commit}, St) ->
  start_commit_timer(St),
  {noreply, commit([], St)};
handle_info({?MODULE, open}, #st{phase = opening} = St) ->
  open(St);
handle_info({?MODULE, open}, St) ->
  {noreply, St};
handle_info({?MODULE, stop, Reason}, St) ->
  {stop, Reason, St};
handle_info({brod_callbacks_done, Runner, Result}, #st{runner = Runner, callback = Then} = St) ->
  go_on(Then(Result, St#st{callback = undefined}));
handle_info({'EXIT', Runner, Reason}, #st{runner = Runner} = St) ->
  {stop, brod_group_callbacks:stop_reason(Reason), St#st{callback = undefined}};
handle_info({'EXIT', Pid, Reason}, #st{member_pid = Pid} = St) ->
  {stop, member_stop_reason(Reason), St};
handle_info({'DOWN', Monitor, process, _, Reason}, #st{member_monitor = Monitor} = St) ->
  {stop, member_stop_reason(Reason), St};
handle_info({'DOWN', Monitor, process, _, Reason}, #st{client_monitor = Monitor} = St) ->
  client_ended(Reason, St#st{client_monitor = undefined});
handle_info({'EXIT', _Pid, Reason}, St) when Reason =/= normal ->
  {stop, Reason, St};
handle_info(Info, #st{callback = Then, runner = Runner} = St) ->
  Then =:= undefined orelse (Runner ! Info),
  {noreply, St}.

terminate(Reason, St) ->
  ok = stop_callbacks(St),
  log(level(Reason), "stops: ~9999P", [Reason, 20], St),
  ok = revoked(Reason, St),
  ok = brod_group_commits:farewell(?FAREWELL_TIMEOUT_MS, drain_acks(St#st.commits)),
  leave(St).

%% @private
format_status(#{state := #st{} = St} = Status) ->
  #st{client = Client, group_id = GroupId, topics = Topics, member_module = Module} = St,
  Status#{state := #{client => Client, group_id => GroupId, topics => length(Topics),
                     member_module => Module, phase => St#st.phase, options => St#st.options,
                     commits => brod_group_commits:summary(St#st.commits)}};
format_status(Status) ->
  Status.

code_change(_OldVsn, St, _Extra) -> {ok, St}.

%%% Events of the engine

handle_event({revoke, Why}, #st{commits = Commits} = St) ->
  log(revoke_level(Why), "generation ~p ends: ~p~ts",
      [brod_group_commits:generation(Commits), Why, brod_group_options:hint(Why, St#st.options)], St),
  ok = case ?STILL_MEMBER(Why) of
         true -> ok;
         false -> brod_telemetry:happened([group, heartbeat_failed], #{count => 1}, #{reason => Why})
       end,
  {noreply, end_generation(Why, replaced(Why, St))};
handle_event(Event, #st{callback = Running, postponed = Postponed} = St)
  when Running =/= undefined, (element(1, Event) =:= assign orelse element(1, Event) =:= assigned) ->
  {noreply, St#st{postponed = Postponed ++ [Event]}};
handle_event({assign, Members, Partitions}, #st{member_module = Module, member_pid = Pid} = St) ->
  Then = fun(Assignments, #st{handle = Handle, join_id = JoinId} = Now) ->
             Handle =:= undefined orelse brod_nif:group_assign(Handle, JoinId, Assignments),
             Now
         end,
  Callbacks = fun() -> brod_group_callbacks:assign(Module, Pid, Members, Partitions) end,
  {noreply, run_callbacks(Callbacks, Then, St)};
handle_event({assigned, Assigned}, St) ->
  {noreply, begin_generation(Assigned, St)};
handle_event({coordinator, {Host, Port}}, St) ->
  log(info, "coordinator is ~ts:~p", [Host, Port], St),
  {noreply, St};
handle_event({unknown_topics, Topics}, St) ->
  log(warning, "joined for topics that do not exist, or that the user lacks the ACL Describe on: ~9999P", [Topics, 20], St),
  {noreply, St};
handle_event({retrying, 0, Reason}, St) ->
  log(warning, "waits for the group's coordinator: ~ts", [brod_connect_failure:words(Reason)], St),
  {noreply, St};
handle_event({retrying, Attempt, Reason}, St) ->
  log(warning, "cannot join, attempt ~p: ~p~ts", [Attempt, Reason, brod_group_options:hint(Reason, St#st.options)], St),
  ok = brod_telemetry:happened([group, retrying], #{attempt => Attempt}, #{reason => Reason}),
  case replaced(Reason, St) of
    #st{is_replaced = true} = Replaced -> {stop, Reason, Replaced};
    _ -> {noreply, St}
  end;
handle_event({down, {max_rejoin_attempts, Reason}}, St) ->
  log(error, "gives up joining after max_rejoin_attempts, the last error: ~p~ts",
      [Reason, brod_group_options:hint(Reason, St#st.options)], St),
  gives_up(St);
handle_event({down, Reason}, #st{client_state = ClientState} = St) ->
  log(info, "has lost its client: ~9999p", [Reason], St),
  Lost = case ClientState of
           present -> St#st{client_state = lost};
           _ -> St
         end,
  {noreply, end_generation(client_down, Lost)}.

replaced(fenced_instance_id, #st{options = #{fenced_member_action := stop}} = St) -> St#st{is_replaced = true};
replaced(_Why, St) -> St.

%% Two members of one name are a mistake of whoever deployed them, or one is about to end.
revoke_level(fenced_instance_id) -> warning;
revoke_level(_Why) -> info.

client_ended(Reason, St) ->
  case Reason =/= noproc andalso brod_utils:is_normal_reason(Reason) of
    true -> client_stopped(St);
    false -> {noreply, St}
  end.

%% Whoever stopped the client wants no more of it. What was acknowledged is committed first.
client_stopped(#st{phase = opening} = St) ->
  {stop, {shutdown, client_down}, St#st{client_state = stopped}};
client_stopped(St) ->
  {noreply, end_generation(client_down, St#st{client_state = stopped})}.

%%% The life of a generation: callbacks, last commit, join, callbacks, and so on

begin_generation(#{member_id := MemberId, generation := Generation, leader := IsLeader,
                   partitions := Partitions}, St) ->
  #st{client = Client, member_module = Module, member_pid = Pid, group_id = GroupId,
      options = #{offset_commit_policy := Policy, group_instance_id := InstanceId}} = St,
  log(info, "is member of generation ~p with ~ts, leader: ~p",
      [Generation, brod_logging:count(length(Partitions), "partition"), IsLeader], St),
  ok = brod_telemetry:happened([group, assigned], #{partitions => length(Partitions), generation => Generation},
                               #{member_id => MemberId, leader => IsLeader}),
  log_new(Policy, [{T, P} || {T, P, undefined, _} <- Partitions], St),
  TPs = [{T, P} || {T, P, _, _} <- Partitions],
  ok = brod_group_members:enter(brod_logging:client(Client), GroupId, Pid, {Generation, MemberId, InstanceId}, TPs),
  Callbacks = fun() ->
                  ok = brod_group_callbacks:await_partitions(Client, TPs),
                  brod_group_callbacks:received(Module, Pid, MemberId, Generation, Policy,
                                                Partitions)
              end,
  Commits = brod_group_commits:begin_generation(St#st.handle, Generation, St#st.commits),
  Member = St#st{phase = member, commits = Commits, has_been_member = true},
  run_callbacks(Callbacks, fun(_Result, Now) -> Now end, Member).

%% Where reading begins is then up to the member's consumer options, and may be the end.
log_new(commit_to_kafka_v2, [_ | _] = New, St) ->
  log(info, "finds no committed offset for ~ts: ~9999p", [brod_logging:count(length(New), "partition"), New], St);
log_new(_Policy, _New, _St) -> ok.

%% Ends the generation, if there is one, and joins (again). In the phases between, a join is to come
%% anyway. Callbacks that are running come first.
end_generation(_Why, #st{phase = Phase} = St)
  when Phase =:= revoking; Phase =:= committing; Phase =:= opening ->
  St;
end_generation(Why, #st{callback = Running, rejoin = Earlier} = St) when Running =/= undefined ->
  %% A lost membership outweighs a wish to rejoin.
  case Earlier =:= undefined orelse ?STILL_MEMBER(Earlier) of
    true -> St#st{rejoin = Why};
    false -> St
  end;
end_generation(_Why, #st{phase = joining} = St) ->
  join(St);
end_generation(Why, #st{member_module = Module, member_pid = Pid} = St) ->
  ok = revoked(Why, St),
  Then = fun(UserData, Now) -> last_commit(Why, Now#st{user_data = UserData}) end,
  run_callbacks(fun() -> brod_group_callbacks:revoked(Module, Pid) end, Then,
                St#st{phase = revoking}).

%% Told once for each generation that was told of, whatever ends it.
revoked(Why, #st{phase = member}) -> brod_telemetry:happened([group, revoked], #{count => 1}, #{reason => Why});
revoked(_Why, _St) -> ok.

%% All that was acknowledged before the callbacks returned is in the mailbox before their result.
last_commit(Why, St) when ?STILL_MEMBER(Why) ->
  commit([rejoin], St#st{phase = committing});
last_commit(_Why, St) ->
  join(St).

join(#st{commits = Commits} = St) ->
  join_again(St#st{commits = brod_group_commits:end_generation(Commits), rejoin = undefined,
                   postponed = []}).

join_again(#st{is_replaced = true} = St) ->
  self() ! {?MODULE, stop, fenced_instance_id},
  St#st{phase = opening};
join_again(#st{client_state = stopped} = St) ->
  self() ! {?MODULE, stop, {shutdown, client_down}},
  St#st{phase = opening};
join_again(#st{client_state = lost, handle = Handle} = St) ->
  _ = brod_nif:group_close(Handle, is_dynamic(St)),
  join_again(St#st{client_state = present, handle = undefined});
join_again(#st{handle = undefined} = St) ->
  self() ! {?MODULE, open},
  St#st{phase = opening};
join_again(#st{handle = Handle, join_id = LastId, topics = Topics, user_data = UserData} = St) ->
  JoinId = LastId + 1,
  ok = brod_telemetry:happened([group, join], #{topics => length(Topics)}, #{}),
  ok = brod_nif:group_join(Handle, JoinId, Topics, UserData),
  St#st{phase = joining, join_id = JoinId}.

%% How a client has ended is told once, so that no monitor is given up: the news may be in the mailbox already, and a
%% client that has closed its engine ends a moment later.
open(#st{client = Client, client_monitor = undefined} = St) ->
  open_group(St#st{client_monitor = monitor(process, Client)});
open(#st{client_monitor = Monitor} = St) ->
  receive
    {'DOWN', Monitor, process, _, Reason} ->
      case client_ended(Reason, St#st{client_monitor = undefined}) of
        {noreply, Ended} -> open(Ended);
        Stopped -> Stopped
      end
  after 0 -> open_group(St)
  end.

%% Before this process has been a member, a client that is missing is an error of who started it; afterwards, or where brod's
%% supervisor has it, the client is being restarted, which may take its time.
open_group(#st{client = Client, options = Options} = St) ->
  #{max_rejoin_attempts := MaxAttempts, rejoin_delay_seconds := Delay} = Options,
  Attempt = St#st.open_attempts + 1,
  case opened(St) of
    {ok, Handle} ->
      {noreply, join(St#st{handle = Handle, open_attempts = 0})};
    {error, Reason} ->
      case Attempt >= MaxAttempts andalso not (St#st.has_been_member orelse lists:member(Client, brod_sup:clients())) of
        true ->
          log(error, "gives up after ~p attempts (max_rejoin_attempts) to reach client ~p: ~9999p",
              [Attempt, Client, Reason], St),
          gives_up(St);
        false ->
          Attempt rem ?OPEN_ATTEMPTS_A_LOG =:= 1 andalso
            log(warning, "cannot reach client ~p, attempt ~p: ~9999p", [Client, Attempt, Reason], St),
          _ = erlang:send_after(max(100, round(Delay * 1000)), self(), {?MODULE, open}),
          {noreply, St#st{open_attempts = Attempt}}
      end
  end.

%% Lines have told why; reports of the process would only add its state.
-spec gives_up(#st{}) -> no_return().
gives_up(St) ->
  _ = terminate(max_rejoin_attempts, St),
  brod_crash:quietly(max_rejoin_attempts).

opened(#st{client = Client, group_id = GroupId, options = Options}) ->
  try brod_client:context_here(Client) of
    {ok, #{engine := Engine, options := #{allow_topic_auto_creation := Create}} = Context} ->
      ok = brod_sasl_provider:hold(maps:get(sasl_provider, Context, undefined)),
      brod_nif:group_open(Engine, brod_group_options:engine_config(GroupId, Create, Options));
    {error, _} = Error -> Error
  catch
    exit:Why -> {error, Why}
  end.

%%% Callbacks

run_callbacks(Fun, Then, #st{callback = undefined, runner = Runner} = St) ->
  ok = brod_group_callbacks:run(Runner, Fun),
  St#st{callback = Then}.

%% What came up while callbacks were running.
go_on(#st{callback = Running} = St) when Running =/= undefined -> {noreply, St};
go_on(#st{rejoin = undefined, postponed = []} = St) -> {noreply, St};
go_on(#st{rejoin = undefined, postponed = [Event | Events]} = St) ->
  case handle_event(Event, St#st{postponed = Events}) of
    {noreply, Now} -> go_on(Now);
    Stop -> Stop
  end;
go_on(#st{rejoin = Why} = St) ->
  {noreply, end_generation(Why, St#st{rejoin = undefined})}.

stop_callbacks(#st{runner = Runner}) ->
  unlink(Runner),
  exit(Runner, kill),
  ok.

member_stop_reason(normal) -> shutdown;
member_stop_reason(shutdown) -> shutdown;
member_stop_reason({shutdown, _}) -> shutdown;
member_stop_reason(_Reason) -> member_down.

%%% Commits

commit(Waiting, #st{commits = Commits} = St) ->
  tell(brod_group_commits:commit(Waiting, Commits), St).

tell({Waited, Commits}, St) ->
  _ = [gen_server:reply(From, Result) || {From, Result} <- Waited, From =/= rejoin],
  Told = St#st{commits = Commits},
  case lists:keymember(rejoin, 1, Waited) of
    true -> join(Told);
    false -> Told
  end.

drain_acks(Commits) ->
  receive
    {ack, Generation, Topic, Partition, Offset} ->
      drain_acks(brod_group_commits:ack(Generation, {{Topic, Partition}, Offset}, Commits))
  after 0 -> Commits
  end.

leave(#st{handle = undefined}) -> ok;
leave(#st{handle = Handle} = St) ->
  Ref = brod_nif:group_close(Handle, is_dynamic(St)),
  receive {brod_reply, Ref, _} -> ok
  after ?FAREWELL_TIMEOUT_MS -> ok
  end.

%% A static member keeps its place in the group.
is_dynamic(#st{options = #{group_instance_id := InstanceId}}) -> not is_binary(InstanceId).

%%% Misc

start_commit_timer(#st{options = #{offset_commit_interval_seconds := infinity}}) ->
  ok;
start_commit_timer(#st{options = #{offset_commit_interval_seconds := Seconds}}) ->
  _ = erlang:send_after(max(1, round(Seconds * 1000)), self(), {?MODULE, commit}),
  ok.

level(Reason) ->
  case brod_utils:is_normal_reason(Reason) of
    true -> info;
    false -> error
  end.

log(Level, Format, Args, #st{group_id = GroupId, member_pid = Member}) ->
  ?BROD_LOG(Level, "group member ~p (~ts, coordinator ~p) " ++ Format,
            [Member, GroupId, self() | Args]).
