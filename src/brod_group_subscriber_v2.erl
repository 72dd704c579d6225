%% @doc A member of a consumer group that has a worker process for each partition it is assigned, so
%% that partitions are worked on in parallel.
%%
%% The callback module:
%% <ul>
%% <li>`init(InitInfo, InitData) -> {ok, State}', in the worker; `InitInfo' has the keys `group_id',
%% `topic', `partition', `commit_fun' and `ack_fun', two funs of one argument, the offset.</li>
%% <li>`handle_message(#kafka_message{} | #kafka_message_set{}, State)': `{ok, commit, State}' when
%% the message is done with and its offset is to be committed, `{ok, ack, State}' when it is only
%% done with (more may be fetched), `{ok, State}' when the worker will tell later, with ack/4 or
%% commit/4 or the funs of `InitInfo'.</li>
%% <li>optional `get_committed_offset(InitData, Topic, Partition) -> {ok, Offset | {begin_offset,
%% Begin}} | undefined', when offsets are `consumer_managed': the last offset that is done
%% with.</li>
%% <li>optional `assign_partitions(InitData, Members, TopicPartitions)', when the strategy is
%% `callback_implemented'.</li>
%% <li>optional `handle_info(Message, State) -> {noreply, State}', and `terminate(Reason,
%% State)'.</li>
%% </ul>
%%
%% When a worker dies for a reason of its own, or the coordinator does, all workers are stopped and
%% the process ends, for its supervisor to start it again. When partitions are revoked, a worker
%% may finish the message it is at; what it commits thereby is committed. One that takes longer than
%% the rebalance timeout is killed.
-module(brod_group_subscriber_v2).
-behaviour(gen_server).
-behaviour(brod_group_member).

-export([child_spec/1]).
-export([start_link/1, stop/1, ack/4, commit/4, get_workers/1, health_check/2]).
-export([get_committed_offsets/2, assign_partitions/3, assignments_received/4,
         assignments_revoked/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3, format_status/1]).

-include("brod_int.hrl").

-export_type([init_info/0, subscriber_config/0, commit_fun/0, ack_fun/0]).

-type commit_fun() :: fun((brod:offset()) -> ok).
-type ack_fun() :: fun((brod:offset()) -> ok).
-type init_info() ::
        #{group_id := brod:group_id(),
          topic := brod:topic(),
          partition := brod:partition(),
          commit_fun := commit_fun(),
          ack_fun := ack_fun()}.
-type subscriber_config() ::
        #{client := brod:client(),
          group_id := brod:group_id(),
          topics := [brod:topic()],
          cb_module := module(),
          init_data => term(),
          message_type => message | message_set,
          consumer_config => brod:consumer_config(),
          group_config => brod:group_config()}.

%% Called in the worker of a partition when it starts, with `init_data'.
-callback init(init_info(), term()) -> {ok, State :: term()}.

%% Called for each message, or each set with `message_type' message_set. `commit': it is done with, and
%% its offset is committed; `ack': it is only done with; without either ack/4 or commit/4 tells later.
-callback handle_message(brod:message() | brod:message_set(), State) ->
  {ok, commit, State} | {ok, ack, State} | {ok, State}.

%% Only with `{offset_commit_policy, consumer_managed}': the offset of the last message done with, or
%% where to begin. The first argument is `init_data'.
-callback get_committed_offset(term(), brod:topic(), brod:partition()) ->
  {ok, brod:offset() | {begin_offset, brod:offset_time()}} | undefined.

%% Only with `{partition_assignment_strategy, callback_implemented}', in the leader, who is the first of the
%% members: deals out all partitions. The first argument is `init_data'.
-callback assign_partitions(term(), [brod:group_member()], [brod:topic_partition()]) ->
  [{brod:group_member_id(), [brod:partition_assignment()]}].

%% Called in a worker for any other message that it gets. Without it they are dropped.
-callback handle_info(term(), State) -> {noreply, State}.

%% Called when a worker ends, with the reason.
-callback terminate(term(), State :: term()) -> term().

-optional_callbacks([get_committed_offset/3, assign_partitions/3, handle_info/2, terminate/2]).

-type topic_partition() :: {brod:topic(), brod:partition()}.

-define(MANDATORY, [client, group_id, topics, cb_module]).

-record(st, {config :: subscriber_config(),
             coordinator :: pid(),
             %% how long a worker may take to stop
             stop_timeout_ms :: pos_integer(),
             %% undefined between generations
             generation :: undefined | brod:group_generation_id(),
             workers = #{} :: #{topic_partition() => pid()},
             trackers = #{} :: #{topic_partition() => brod_group_acks:tracker()},
             %% workers that were told to stop, and who waits for that
             stopping = [] :: [pid()],
             revoking :: undefined | {gen_server:from(),
                                       {Ref :: reference(), Timer :: reference()}}}).

%%% API

%% @doc A child of a supervisor: `{brod_group_subscriber_v2, Config}', with the `Config' of {@link start_link/1}. The id
%% has the group's name, so that a supervisor may have several.
-spec child_spec(subscriber_config() | proplists:proplist()) -> supervisor:child_spec().
child_spec(Config) ->
  Options = brod_options:to_map(Config),
  #{id => {?MODULE, maps:get(group_id, Options, undefined), maps:get(cb_module, Options, undefined)},
    start => {?MODULE, start_link, [Config]}}.

%% @doc Starts a group subscriber, linked to the caller. Defaults: `init_data' undefined,
%% `message_type' message_set, `consumer_config' [], `group_config' [] (see {@link
%% brod_group_coordinator}).
-spec start_link(subscriber_config() | proplists:proplist()) -> {ok, pid()} | {error, term()}.
start_link(Config) when is_list(Config) ->
  start_link(brod_options:to_map(Config));
start_link(Config) ->
  gen_server:start_link(?MODULE, Config, []).

%% @doc Stops the workers, commits, leaves the group, and waits for all that. Its end is no exit signal
%% to the caller, also when they are linked.
-spec stop(pid()) -> ok.
stop(Pid) ->
  Monitor = monitor(process, Pid),
  unlink(Pid),
  gen_server:cast(Pid, stop),
  receive {'DOWN', Monitor, process, _, _Reason} -> ok end.

%% @doc Messages of the partition up to `Offset' are done with; nothing is committed.
-spec ack(pid(), brod:topic(), brod:partition(), brod:offset()) -> ok.
ack(Pid, Topic, Partition, Offset) ->
  ok = brod_group_args:offset(Topic, Partition, Offset),
  gen_server:cast(Pid, {ack, {Topic, Partition}, Offset}).

%% @doc As ack/4, and has `Offset' committed with the next commit.
-spec commit(pid(), brod:topic(), brod:partition(), brod:offset()) -> ok.
commit(Pid, Topic, Partition, Offset) ->
  ok = brod_group_args:offset(Topic, Partition, Offset),
  gen_server:cast(Pid, {commit, {Topic, Partition}, Offset}).

%% @doc The workers by topic and partition.
-spec get_workers(pid()) -> #{topic_partition() => pid()}.
get_workers(Pid) -> gen_server:call(Pid, get_workers, infinity).

%% @doc Whether each partition has a consumer that reaches its leader, and whose messages go to nobody else.
%% `TimeoutMs' is for each step.
-spec health_check(pid(), timeout()) -> healthy | rebalancing | {error, [map()]}.
health_check(Pid, TimeoutMs) ->
  try gen_server:call(Pid, {health_check, TimeoutMs}, TimeoutMs) of
    rebalancing ->
      rebalancing;
    {Client, Workers} ->
      case lists:append([check(Client, TP, Worker, TimeoutMs) || {TP, Worker} <- Workers]) of
        [] -> healthy;
        Errors -> {error, Errors}
      end
  catch exit:Reason ->
      {error, [?MF_ERR_MAP(#{group_subscriber => Pid, reason => Reason})]}
  end.

%% The worker is not asked: it may be busy with a message, and healthy.
check(Client, {Topic, Partition}, Worker, TimeoutMs) ->
  Result = case brod:get_consumer(Client, Topic, Partition) of
             {ok, Consumer} ->
               case brod_consumer:info(Consumer) of
                 %% Such as another group with the same client.
                 #{subscriber := Other} when is_pid(Other), Other =/= Worker ->
                   {error, {already_subscribed_by, Other}};
                 _ ->
                   brod_consumer:check_connectivity(Consumer, TimeoutMs)
               end;
             {error, _} = Error -> Error
           end,
  case Result of
    ok -> [];
    {error, Reason} ->
      [?MF_ERR_MAP(#{topic => Topic, partition => Partition, reason => Reason})]
  end.

%%% Callbacks of the group member; they run in a process of the coordinator

%% @private
get_committed_offsets(Pid, TopicPartitions) ->
  #{cb_module := CbModule} = Config = gen_server:call(Pid, get_config, infinity),
  InitData = maps:get(init_data, Config, undefined),
  Stored = [{TP, brod_utils:optional_callback(CbModule, get_committed_offset, [InitData, T, P],
                                              undefined)}
            || {T, P} = TP <- TopicPartitions],
  {ok, [{TP, Offset} || {TP, {ok, Offset}} <- Stored]}.

%% @private
assign_partitions(Pid, Members, TopicPartitions) ->
  #{cb_module := CbModule} = Config = gen_server:call(Pid, get_config, infinity),
  CbModule:assign_partitions(maps:get(init_data, Config, undefined), Members, TopicPartitions).

%% @private
assignments_received(Pid, _MemberId, Generation, Assignments) ->
  gen_server:call(Pid, {assignments_received, Generation, Assignments}, infinity).

%% @private
assignments_revoked(Pid) ->
  gen_server:call(Pid, assignments_revoked, infinity).

%%% gen_server

init(Config) ->
  process_flag(trap_exit, true),
  is_map(Config) andalso (ok = brod_options:warn_unknown(group_subscriber, Config)),
  ok = brod_group_args:keys(Config, ?MANDATORY),
  #{client := Client, group_id := GroupId, topics := Topics, cb_module := CbModule} = Config,
  ok = brod_group_args:start(Client, GroupId, Topics),
  GroupConfig = maps:get(group_config, Config, []),
  case brod_group_options:new(GroupConfig) of
    {ok, #{rebalance_timeout_seconds := Seconds} = Options} ->
      Assigns = lists:member(assign, brod_group_options:callbacks(Options)),
      ok = brod_group_args:callbacks(CbModule, [{init, 2}, {handle_message, 2}] ++
                                       [{assign_partitions, 3} || Assigns]),
      {ok, Coordinator} = brod_group_coordinator:start_link(Client, GroupId, Topics, GroupConfig,
                                                            ?MODULE, self()),
      {ok, #st{config = Config, coordinator = Coordinator,
               stop_timeout_ms = round(Seconds * 1000)}};
    {error, Reason} ->
      {stop, Reason}
  end.

handle_call(get_config, _From, St) ->
  {reply, St#st.config, St};
handle_call(get_workers, _From, St) ->
  {reply, St#st.workers, St};
handle_call({health_check, _TimeoutMs}, _From, #st{generation = undefined} = St) ->
  {reply, rebalancing, St};
handle_call({health_check, _TimeoutMs}, _From, #st{config = #{client := Client}} = St) ->
  {reply, {Client, maps:to_list(St#st.workers)}, St};
handle_call({assignments_received, Generation, Assignments}, _From, St) ->
  start_workers(Assignments, St#st{generation = Generation, trackers = #{}});
handle_call(assignments_revoked, From, St) ->
  {noreply, revoke(From, St)};
handle_call(Call, _From, St) ->
  {reply, {error, {unknown_call, Call}}, St}.

handle_cast({ack, TP, Offset}, St) ->
  ok = ack_offset(TP, Offset, St),
  {noreply, St};
handle_cast({commit, TP, Offset}, St) ->
  ok = commit_offset(TP, Offset, St),
  ok = ack_offset(TP, Offset, St),
  {noreply, St};
handle_cast(stop, St) ->
  {stop, shutdown, St};
handle_cast(_Cast, St) ->
  {noreply, St}.

handle_info({'EXIT', Pid, {shutdown, client_down}}, #st{coordinator = Pid} = St) ->
  log(info, "stops, its client was stopped", [], St),
  {stop, shutdown, St};
handle_info({'EXIT', Pid, Reason}, #st{coordinator = Pid} = St) ->
  log(warning, "stops, its coordinator has stopped: ~9999p", [Reason], St),
  {stop, {shutdown, coordinator_failure}, St};
handle_info({'EXIT', Pid, Reason}, #st{stopping = Stopping, workers = Workers} = St) ->
  Current = [TP || {TP, Worker} <- maps:to_list(Workers), Worker =:= Pid],
  case {lists:member(Pid, Stopping), Current} of
    {true, _} ->
      {noreply, revoked(St#st{stopping = lists:delete(Pid, Stopping)})};
    {false, [_]} when Reason =:= {shutdown, client_down} ->
      log(info, "stops, its client was stopped", [], St),
      {stop, shutdown, St};
    {false, [{Topic, Partition}]} ->
      log(error, "stops, the worker ~p of ~ts-~p has stopped: ~ts",
          [Pid, Topic, Partition, brod_crash:text(brod_crash:short(Reason))], St),
      {stop, shutdown, St};
    {false, []} when Reason =:= normal ->
      {noreply, St};
    {false, []} ->
      log(info, "stops, ~p has exited: ~9999p", [Pid, Reason], St),
      {stop, shutdown, St}
  end;
handle_info({?MODULE, revoke_timeout, Ref}, #st{revoking = {_, {Ref, _}}} = St) ->
  log(error, "kills ~p workers that did not stop within the rebalance timeout",
      [length(St#st.stopping)], St),
  lists:foreach(fun(Pid) -> exit(Pid, kill) end, St#st.stopping),
  {noreply, St};
handle_info(_Info, St) ->
  {noreply, St}.

terminate(_Reason, #st{coordinator = Coordinator, config = Config} = St) ->
  ok = await_ends(stop_workers(St), St#st.stop_timeout_ms),
  ok = drain_commits(St),
  ok = brod_group_coordinator:stop(Coordinator),
  #{client := Client, topics := Topics} = Config,
  lists:foreach(fun(Topic) -> brod_consumers_sup:stop_unused(Client, Topic) end, Topics).

%% @private
code_change(_OldVsn, State, _Extra) ->
  {ok, State}.

%% @private
format_status(#{state := #st{config = Config} = St} = Status) ->
  Shown = maps:with([client, group_id, topics, cb_module], Config),
  Status#{state := Shown#{generation => St#st.generation, workers => map_size(St#st.workers),
                          stopping => length(St#st.stopping)}};
format_status(Status) ->
  Status.

%%% Internal

start_workers([], St) ->
  {reply, ok, St};
start_workers([Assignment | Rest], St) ->
  #brod_received_assignment{topic = Topic, partition = Partition} = Assignment,
  TP = {Topic, Partition},
  Tracker = brod_group_acks:tracker(),
  case start_worker(Assignment, Tracker, St#st.config) of
    {ok, Worker} ->
      ok = brod_group_coordinator:track(St#st.coordinator, St#st.generation, Topic, Partition,
                                        Tracker),
      start_workers(Rest, St#st{workers = maps:put(TP, Worker, St#st.workers),
                                trackers = maps:put(TP, Tracker, St#st.trackers)});
    {error, Reason} ->
      log(error, "stops, no worker for ~ts-~p could be started: ~9999p",
          [Topic, Partition, Reason], St),
      {stop, shutdown, ok, St}
  end.

start_worker(#brod_received_assignment{topic = Topic, partition = Partition, begin_offset = Begin},
             Tracker, #{client := Client, group_id := GroupId, cb_module := CbModule} = Config) ->
  ConsumerConfig = maps:get(consumer_config, Config, []),
  StartOptions = #{group_id => GroupId,
                   partition => Partition,
                   begin_offset => begin_offset(Begin, ConsumerConfig),
                   cb_module => CbModule,
                   cb_config => maps:get(init_data, Config, undefined),
                   tracker => Tracker},
  brod_topic_subscriber:start_link(
    #{client => Client,
      topic => Topic,
      partitions => [Partition],
      consumer_config => ConsumerConfig,
      message_type => maps:get(message_type, Config, message_set),
      cb_module => brod_group_subscriber_worker,
      init_data => StartOptions}).

%% Who is at 0 has read nothing: where the begin of the log is gone, what is left of it is read, whatever `offset_reset_policy'
%% says (as in brod from 3.16.5 on).
begin_offset(0, _ConsumerConfig) -> earliest;
begin_offset(Begin, ConsumerConfig) -> brod_group_options:begin_offset(Begin, ConsumerConfig).

%% The answer is given when all workers have stopped; meanwhile this process serves its callers.
revoke(From, St) ->
  Ref = make_ref(),
  Timer = erlang:send_after(St#st.stop_timeout_ms, self(), {?MODULE, revoke_timeout, Ref}),
  Stopping = stop_workers(St),
  revoked(St#st{generation = undefined, workers = #{}, stopping = Stopping,
                revoking = {From, {Ref, Timer}}}).

stop_workers(#st{workers = Workers, stopping = Stopping}) ->
  Pids = maps:values(Workers),
  lists:foreach(fun(Pid) -> gen_server:cast(Pid, stop) end, Pids),
  Pids ++ Stopping.

revoked(#st{stopping = [], revoking = {From, {_Ref, Timer}}} = St) ->
  _ = erlang:cancel_timer(Timer),
  ok = drain_commits(St),
  gen_server:reply(From, ok),
  St#st{revoking = undefined};
revoked(St) ->
  St.

ack_offset(TP, Offset, #st{workers = Workers}) ->
  case Workers of
    #{TP := Worker} -> brod_topic_subscriber:ack(Worker, element(2, TP), Offset);
    _ -> ok
  end.

commit_offset(TP, Offset, #st{trackers = Trackers}) ->
  case Trackers of
    #{TP := Tracker} -> brod_group_acks:put(Tracker, Offset);
    _ -> ok
  end.

%% Commits that are in the mailbox already count for the commit that comes now.
drain_commits(St) ->
  receive
    {'$gen_cast', {commit, TP, Offset}} ->
      ok = commit_offset(TP, Offset, St),
      drain_commits(St)
  after 0 -> ok
  end.

await_ends(Pids, TimeoutMs) ->
  Deadline = erlang:monotonic_time(millisecond) + TimeoutMs,
  Monitors = [{Pid, monitor(process, Pid)} || Pid <- Pids],
  lists:foreach(fun({Pid, Monitor}) ->
                    Left = max(0, Deadline - erlang:monotonic_time(millisecond)),
                    receive {'DOWN', Monitor, process, Pid, _Reason} -> ok
                    after Left -> exit(Pid, kill)
                    end
                end, Monitors).

log(Level, Format, Args, #st{config = #{group_id := GroupId}}) ->
  ?BROD_LOG(Level, "group subscriber ~p (~ts) " ++ Format, [self(), GroupId | Args]).
