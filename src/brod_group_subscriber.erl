%% @doc A member of a consumer group that handles the messages of all its partitions in one process.
%%
%% The callback module:
%% <ul>
%% <li>`init(GroupId, InitArg) -> {ok, State}'.</li>
%% <li>`handle_message(Topic, Partition, #kafka_message{} | #kafka_message_set{}, State)':
%% `{ok, ack, State}' when it is done with and its offset is to be committed, `{ok, ack_no_commit,
%% State}' when it is only done with, `{ok, State}' when ack/4 or ack/5 will tell later; the next
%% messages come meanwhile. `{lost, Error, State}' when a broker has said by that error, as by `unknown_member_id' to a
%% transaction, that the member has lost its partitions: it joins again, and reads on from what is committed.</li>
%% <li>optional `get_committed_offsets(GroupId, TopicPartitions, State) -> {ok, Offsets, State}',
%% when offsets are `consumer_managed'.</li>
%% <li>optional `assign_partitions(Members, TopicPartitions, State) -> {State, Assignments} |
%% Assignments', when the strategy is `callback_implemented'.</li>
%% <li>optional `user_data(State) -> binary()', for the metadata of this member.</li>
%% </ul>
-module(brod_group_subscriber).
-behaviour(gen_server).
-behaviour(brod_group_member).

-export([child_spec/1]).
-export([start_link/7, start_link/8, stop/1, ack/4, ack/5, commit/1, commit/4]).
-export([get_committed_offsets/2, assign_partitions/3, assignments_received/4,
         assignments_revoked/1, user_data/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3,
         format_status/1]).

-include("brod_int.hrl").

%% Called once, when the subscriber starts.
-callback init(brod:group_id(), term()) -> {ok, State :: term()}.

%% Called for each message, or each set. `ack': it is done with, and its offset is committed;
%% `ack_no_commit': it is only done with; without either ack/4 or ack/5 tells later. `lost': the partitions are another
%% member's by now.
-callback handle_message(brod:topic(), brod:partition(), brod:message() | brod:message_set(),
                         State) ->
  {ok, State} | {ok, ack, State} | {ok, ack_no_commit, State} | {lost, Error :: atom(), State}.

-record(st, {client :: brod:client(),
             group_id :: brod:group_id(),
             consumer_config :: brod:consumer_config(),
             cb_module :: module(),
             cb_state :: term(),
             coordinator :: pid(),
             %% undefined between generations
             generation :: undefined | brod:group_generation_id(),
             trackers = #{} :: #{brod_group_acks:tp() => brod_group_acks:tracker()},
             subs :: brod_subscriptions:subscriptions()}).

%%% API

%% @equiv start_link(Client, GroupId, Topics, GroupConfig, ConsumerConfig, message, CbModule,
%% InitArg)
-spec start_link(brod:client(), brod:group_id(), [brod:topic()], brod:group_config(),
                 brod:consumer_config(), module(), term()) -> {ok, pid()} | {error, term()}.
start_link(Client, GroupId, Topics, GroupConfig, ConsumerConfig, CbModule, InitArg) ->
  start_link(Client, GroupId, Topics, GroupConfig, ConsumerConfig, message, CbModule, InitArg).

%% @doc A child of a supervisor: `{brod_group_subscriber, {Client, GroupId, Topics, GroupConfig, ConsumerConfig, MessageType,
%% CbModule, InitArg}}', the arguments of {@link start_link/8}.
-spec child_spec({brod:client(), brod:group_id(), [brod:topic()], brod:group_config(), brod:consumer_config(),
                  message | message_set, module(), term()}) -> supervisor:child_spec().
child_spec({Client, GroupId, Topics, GroupConfig, ConsumerConfig, MessageType, CbModule, InitArg}) ->
  #{id => {?MODULE, GroupId, CbModule},
    start => {?MODULE, start_link, [Client, GroupId, Topics, GroupConfig, ConsumerConfig, MessageType, CbModule, InitArg]}}.

%% @doc Starts a group subscriber, linked to the caller. For `GroupConfig' see {@link
%% brod_group_coordinator}.
-spec start_link(brod:client(), brod:group_id(), [brod:topic()], brod:group_config(),
                 brod:consumer_config(), message | message_set, module(), term()) ->
        {ok, pid()} | {error, term()}.
start_link(Client, GroupId, Topics, GroupConfig, ConsumerConfig, MessageType, CbModule, InitArg) ->
  gen_server:start_link(?MODULE, {Client, GroupId, Topics, GroupConfig, ConsumerConfig, MessageType,
                                  CbModule, InitArg}, brod_subscriptions:start_options()).

%% @doc Stops after the message that is being handled, commits, leaves the group; waits for all
%% that.
-spec stop(pid()) -> ok.
stop(Pid) ->
  Monitor = monitor(process, Pid),
  gen_server:cast(Pid, stop),
  receive {'DOWN', Monitor, process, _, _Reason} -> ok end.

%% @equiv ack(Pid, Topic, Partition, Offset, true)
-spec ack(pid(), brod:topic(), brod:partition(), brod:offset()) -> ok.
ack(Pid, Topic, Partition, Offset) ->
  ack(Pid, Topic, Partition, Offset, true).

%% @doc Messages of the partition up to `Offset' are done with; `Commit': it is committed with the
%% next commit.
-spec ack(pid(), brod:topic(), brod:partition(), brod:offset(), boolean()) -> ok.
ack(Pid, Topic, Partition, Offset, Commit) ->
  ok = brod_group_args:offset(Topic, Partition, Offset),
  is_boolean(Commit) orelse error({bad_commit, Commit}),
  gen_server:cast(Pid, {ack, {Topic, Partition}, Offset, Commit}).

%% @doc Commits what was acknowledged, now; does not wait for it.
-spec commit(pid()) -> ok.
commit(Pid) -> gen_server:cast(Pid, commit).

%% @doc Has `Offset' committed with the next commit.
-spec commit(pid(), brod:topic(), brod:partition(), brod:offset()) -> ok.
commit(Pid, Topic, Partition, Offset) ->
  ok = brod_group_args:offset(Topic, Partition, Offset),
  gen_server:cast(Pid, {commit, {Topic, Partition}, Offset}).

%%% Callbacks of the group member; they run in a process of the coordinator

%% @private
get_committed_offsets(Pid, TopicPartitions) ->
  gen_server:call(Pid, {get_committed_offsets, TopicPartitions}, infinity).

%% @private
assign_partitions(Pid, Members, TopicPartitions) ->
  gen_server:call(Pid, {assign_partitions, Members, TopicPartitions}, infinity).

%% @private
assignments_received(Pid, _MemberId, Generation, Assignments) ->
  gen_server:call(Pid, {assignments_received, Generation, Assignments}, infinity).

%% @private
assignments_revoked(Pid) ->
  gen_server:call(Pid, assignments_revoked, infinity).

%% @private
user_data(Pid) ->
  gen_server:call(Pid, user_data, infinity).

%%% gen_server

init({Client, GroupId, Topics, GroupConfig, ConsumerConfig, MessageType, CbModule, InitArg}) ->
  process_flag(trap_exit, true),
  process_flag(message_queue_data, off_heap),
  ok = brod_group_args:start(Client, GroupId, Topics),
  ok = brod_group_args:callbacks(CbModule, callbacks(GroupConfig)),
  {ok, CbState} = CbModule:init(GroupId, InitArg),
  case brod_group_coordinator:start_link(Client, GroupId, Topics, GroupConfig, ?MODULE, self()) of
    {ok, Coordinator} ->
      {ok, #st{client = Client, group_id = GroupId, consumer_config = ConsumerConfig,
               cb_module = CbModule, cb_state = CbState, coordinator = Coordinator,
               subs = brod_subscriptions:new(Client, ConsumerConfig, MessageType)}};
    {error, Reason} ->
      {stop, Reason}
  end.

callbacks(GroupConfig) ->
  Assigns = case brod_group_options:new(GroupConfig) of
              {ok, Options} -> lists:member(assign, brod_group_options:callbacks(Options));
              %% the coordinator says what is wrong
              {error, _} -> false
            end,
  [{init, 2}, {handle_message, 4}] ++ [{assign_partitions, 3} || Assigns].

handle_call({get_committed_offsets, TPs}, _From, #st{cb_module = CbModule} = St) ->
  case brod_utils:optional_callback(CbModule, get_committed_offsets,
                                    [St#st.group_id, TPs, St#st.cb_state], undefined) of
    {ok, Offsets, CbState} -> {reply, {ok, Offsets}, St#st{cb_state = CbState}};
    undefined -> {reply, {ok, []}, St};
    Bad -> erlang:error({bad_return_value, {CbModule, get_committed_offsets, Bad}})
  end;
handle_call({assign_partitions, Members, TPs}, _From, #st{cb_module = CbModule} = St) ->
  case CbModule:assign_partitions(Members, TPs, St#st.cb_state) of
    {CbState, Assignments} -> {reply, Assignments, St#st{cb_state = CbState}};
    Assignments when is_list(Assignments) -> {reply, Assignments, St}
  end;
handle_call({assignments_received, Generation, Assignments}, _From, St) ->
  {reply, ok, lists:foldl(fun take_over/2, St#st{generation = Generation, trackers = #{}},
                          start_consumers(Assignments, St))};
handle_call(assignments_revoked, _From, St) ->
  %% What was cast before the revocation counts for the commit that follows it.
  Revoked = drain_acks(St),
  {reply, ok, Revoked#st{generation = undefined,
                         subs = brod_subscriptions:remove_all(Revoked#st.subs)}};
handle_call(user_data, _From, St) ->
  case brod_utils:optional_callback(St#st.cb_module, user_data, [St#st.cb_state], undefined) of
    undefined -> {reply, <<>>, St};
    UserData -> {reply, UserData, St}
  end;
handle_call(Call, _From, St) ->
  {reply, {error, {unknown_call, Call}}, St}.

handle_cast({ack, TP, Offset, Commit}, St) ->
  {noreply, acked(TP, Offset, Commit, St)};
handle_cast({commit, TP, Offset}, St) ->
  ok = commit_offset(TP, Offset, St#st.trackers),
  {noreply, St};
handle_cast(commit, St) ->
  ok = brod_group_coordinator:commit_async(St#st.coordinator),
  {noreply, St};
handle_cast(stop, St) ->
  {stop, normal, St};
handle_cast(_Cast, St) ->
  {noreply, St}.

handle_info({'EXIT', Pid, {shutdown, client_down} = Reason}, #st{coordinator = Pid} = St) ->
  {stop, Reason, St};
handle_info({'EXIT', Pid, Reason}, #st{coordinator = Pid} = St) ->
  ?BROD_LOG_WARNING("group subscriber ~p (~ts) stops, its coordinator has stopped: ~9999p",
                    [self(), St#st.group_id, Reason]),
  {stop, {shutdown, coordinator_failure}, St};
handle_info({'EXIT', _Pid, Reason}, St) when Reason =/= normal ->
  {stop, Reason, St};
handle_info(Info, St) ->
  ok = forget(Info, St),
  case brod_subscriptions:handle_info(Info, St#st.subs) of
    {work, Subs} ->
      {noreply, work(St#st{subs = Subs})};
    {done, Subs} ->
      {noreply, St#st{subs = Subs}};
    unknown ->
      {noreply, St}
  end.

terminate(_Reason, St) ->
  #st{coordinator = Coordinator} = drain_acks(St),
  ok = brod_group_coordinator:stop(Coordinator),
  brod_crash:empty_mailbox().

code_change(_OldVsn, St, _Extra) -> {ok, St}.

%% @private
format_status(Status) -> brod_crash:subscriber_status(Status, fun shown/1).

shown(#st{} = St) ->
  #{client => St#st.client, group_id => St#st.group_id, cb_module => St#st.cb_module,
    generation => St#st.generation, partitions => map_size(St#st.trackers)}.

%%% Internal

work(#st{cb_module = CbModule, trackers = Trackers, cb_state = CbState, subs = Subs, coordinator = Coordinator} = St) ->
  %% Without trackers nothing is committed.
  Handler = fun(Known) -> handler(CbModule, Known, Coordinator) end,
  try brod_subscriptions:work(Handler(Trackers), Handler(#{}), CbState, Subs) of
    {NewCbState, NewSubs} -> St#st{cb_state = NewCbState, subs = NewSubs}
  catch
    Class:Reason:Stack ->
      erlang:raise(Class, brod_crash:short(Reason), brod_crash:short_stack(Stack))
  end.

%% Assignments, each with the outcome of starting the consumers of its topic.
start_consumers(Assignments, #st{client = Client, consumer_config = Config} = St) ->
  Topics = lists:usort([T || #brod_received_assignment{topic = T} <- Assignments]),
  lists:foreach(
    fun(Topic) ->
        case brod:start_consumer(Client, Topic, Config) of
          ok -> ok;
          {error, Reason} ->
            %% The subscriptions are tried again, which starts the consumers first.
            ?BROD_LOG_WARNING("group subscriber ~p (~ts) cannot start consumers of ~ts: ~9999p",
                              [self(), St#st.group_id, Topic, Reason])
        end
    end, Topics),
  Assignments.

take_over(#brod_received_assignment{topic = Topic, partition = Partition, begin_offset = Begin},
          #st{subs = Subs, trackers = Trackers} = St) ->
  Tracker = brod_group_acks:tracker(),
  ok = brod_group_coordinator:track(St#st.coordinator, St#st.generation, Topic, Partition, Tracker),
  BeginOffset = brod_group_options:begin_offset(Begin, St#st.consumer_config),
  St#st{subs = brod_subscriptions:add(Topic, Partition, BeginOffset, Subs),
        trackers = Trackers#{{Topic, Partition} => Tracker}}.

handler(CbModule, Trackers, Coordinator) ->
  fun(Topic, Partition, Message, CbState) ->
      case CbModule:handle_message(Topic, Partition, Message, CbState) of
        {ok, ack, NewCbState} ->
          ok = commit_offset({Topic, Partition}, last_offset(Message), Trackers),
          {ok, ack, NewCbState};
        {ok, ack_no_commit, NewCbState} ->
          {ok, ack, NewCbState};
        {ok, _NewCbState} = Later ->
          Later;
        {lost, Why, NewCbState} when is_atom(Why) ->
          ok = brod_group_coordinator:lost(Coordinator, Why),
          {lost, NewCbState};
        Bad ->
          erlang:error({bad_return_value, {CbModule, handle_message, Bad}})
      end
  end.

acked({Topic, Partition} = TP, Offset, Commit, #st{subs = Subs, trackers = Trackers} = St) ->
  ok = case Commit of
         true -> commit_offset(TP, Offset, Trackers);
         false -> ok
       end,
  St#st{subs = brod_subscriptions:ack(Topic, Partition, Offset, Subs)}.

%% Acks of a generation that has ended find no tracker.
commit_offset(TP, Offset, Trackers) ->
  case Trackers of
    #{TP := Tracker} -> brod_group_acks:put(Tracker, Offset);
    _ -> ok
  end.

%% What was acknowledged in a log that is another one by now.
forget({_Consumer, #kafka_fetch_error{topic = T, partition = P, error_code = offset_out_of_range}}, St) ->
  forget_acks({T, P}, St);
forget(Info, #st{subs = Subs} = St) ->
  case brod_subscriptions:goes_back(Info, Subs) of
    {true, TP} -> forget_acks(TP, St);
    false -> ok
  end.

forget_acks(TP, #st{trackers = Trackers}) ->
  case Trackers of
    #{TP := Tracker} -> brod_group_acks:forget(Tracker);
    _ -> ok
  end.

drain_acks(St) ->
  receive
    {'$gen_cast', {ack, TP, Offset, Commit}} ->
      drain_acks(acked(TP, Offset, Commit, St));
    {'$gen_cast', {commit, TP, Offset}} ->
      ok = commit_offset(TP, Offset, St#st.trackers),
      drain_acks(St)
  after 0 -> St
  end.

last_offset(#kafka_message{offset = Offset}) -> Offset;
last_offset(#kafka_message_set{messages = Messages}) ->
  #kafka_message{offset = Offset} = lists:last(Messages),
  Offset.
