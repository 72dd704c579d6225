%% @doc Reads all or some partitions of a topic and calls a callback module for each message, or for
%% each set of messages, one at a time, in one process.
%%
%% The callback module:
%% <ul>
%% <li>`init(Topic, InitData) -> {ok, CommittedOffsets, State}': `CommittedOffsets' is a list of
%% `{Partition, Offset}', the last offset that was handled; reading begins one after it.
%% `{Partition, {begin_offset, Begin}}' says where to begin. Partitions that are not in the list begin
%% at the `begin_offset' of the consumer options.</li>
%% <li>`handle_message(Partition, #kafka_message{} | #kafka_message_set{}, State) ->
%% {ok, ack, State} | {ok, State}'. Without `ack' the message counts as being worked on, until ack/3
%% names its offset or a later one; meanwhile the next messages come, as far as `prefetch_count' and
%% `prefetch_bytes' allow.</li>
%% <li>optional `handle_info(Message, State) -> {noreply, State}': any other message.</li>
%% <li>optional `terminate(Reason, State)'.</li>
%% </ul>
%%
%% Consumers that die are subscribed to again, from the first message that was not acknowledged.
-module(brod_topic_subscriber).
-behaviour(gen_server).

-export([start_link/1, start_link/6, start_link/7, start_link/8, stop/1, ack/3, health_check/2]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2,
         code_change/3]).

-include("brod_int.hrl").

-export_type([cb_ret/0, cb_fun/0, committed_offsets/0, topic_subscriber_config/0]).

-type cb_state() :: term().
-type cb_ret() :: {ok, cb_state()} | {ok, ack, cb_state()}.
-type cb_fun() :: fun((brod:partition(), brod:message() | brod:message_set(), cb_state()) -> cb_ret()).
-type begin_offset() :: brod:offset() | earliest | latest.
-type committed_offsets() ::
        [{brod:partition(), brod:offset() | {begin_offset, begin_offset()}}].
-type topic_subscriber_config() ::
        #{client := brod:client(),
          topic := brod:topic(),
          cb_module := module(),
          init_data => term(),
          message_type => message | message_set,
          consumer_config => brod:consumer_config(),
          partitions => all | [brod:partition()]}.

-callback init(brod:topic(), term()) -> {ok, committed_offsets(), cb_state()}.
-callback handle_message(brod:partition(), brod:message() | brod:message_set(), cb_state()) ->
  cb_ret().
-callback handle_info(term(), cb_state()) -> {noreply, cb_state()}.
-callback terminate(term(), cb_state()) -> term().
-optional_callbacks([handle_info/2, terminate/2]).

-define(RESUBSCRIBE_DELAY_MS, 2000).
%% How often a subscriber of all partitions looks whether there are more of them.
-define(GROWTH_CHECK_MS, 30000).
%% After so long the process looks into its mailbox again, whatever is left of a set.
-define(SLICE_US, 5000).
%% Messages between two looks at the clock while callbacks are fast, and what is fast.
-define(RUN, 16).
-define(FAST_RUN_US, 500).

%% One partition.
-record(part, {begin_offset :: undefined | begin_offset(),
               acked :: undefined | brod:offset(),
               %% undefined while there is no subscription
               consumer :: undefined | {pid(), Monitor :: reference()},
               handle :: term()}).

-record(st, {client :: brod:client(),
             topic :: brod:topic(),
             wanted :: all | [brod:partition()],
             type :: message | message_set,
             consumer_config :: brod:consumer_config(),
             cb_module :: module(),
             cb_state :: cb_state(),
             committed :: #{brod:partition() => begin_offset()},
             parts = #{} :: #{brod:partition() => #part{}},
             %% work that has arrived and not been done: {ConsumerPid, Partition, Messages or Set}
             work = queue:new() :: queue:queue(),
             %% a message to go on with the work is in the mailbox
             scheduled = false :: boolean(),
             resubscribe_timer :: undefined | reference()}).

%% What stays the same while the messages of one set are handled.
-record(ctx, {cb_module, partition, consumer, handle, deadline}).

%%% API

%% @doc Starts a topic subscriber, linked to the caller. Defaults: `init_data' undefined,
%% `message_type' message_set, `consumer_config' [], `partitions' all. Exits with
%% `{bad_partitions, Partitions, Count}' when `partitions' names some that the topic does not have.
-spec start_link(topic_subscriber_config()) -> {ok, pid()} | {error, term()}.
start_link(Config) ->
  gen_server:start_link(?MODULE, Config, []).

%% @equiv start_link(Client, Topic, Partitions, ConsumerConfig, message, CbModule, InitData)
-spec start_link(brod:client(), brod:topic(), all | [brod:partition()], brod:consumer_config(),
                 module(), term()) -> {ok, pid()} | {error, term()}.
start_link(Client, Topic, Partitions, ConsumerConfig, CbModule, InitData) ->
  start_link(Client, Topic, Partitions, ConsumerConfig, message, CbModule, InitData).

%% @doc As start_link/1, options by position.
-spec start_link(brod:client(), brod:topic(), all | [brod:partition()], brod:consumer_config(),
                 message | message_set, module(), term()) -> {ok, pid()} | {error, term()}.
start_link(Client, Topic, Partitions, ConsumerConfig, MessageType, CbModule, InitData) ->
  start_link(#{client => Client, topic => Topic, partitions => Partitions,
               consumer_config => ConsumerConfig, message_type => MessageType,
               cb_module => CbModule, init_data => InitData}).

%% @doc As start_link/7 with a fun of arity 3 (partition, message or set, state) for a callback module.
-spec start_link(brod:client(), brod:topic(), all | [brod:partition()], brod:consumer_config(),
                 committed_offsets(), message | message_set, cb_fun(), cb_state()) ->
        {ok, pid()} | {error, term()}.
start_link(Client, Topic, Partitions, ConsumerConfig, Committed, MessageType, Fun, State) ->
  InitData = #cbm_init_data{committed_offsets = Committed, cb_fun = Fun, cb_data = State},
  start_link(Client, Topic, Partitions, ConsumerConfig, MessageType, brod_topic_subscriber_cb_fun,
             InitData).

%% @doc Stops after the message that is being handled; waits for it.
-spec stop(pid()) -> ok.
stop(Pid) ->
  Monitor = monitor(process, Pid),
  gen_server:cast(Pid, stop),
  receive {'DOWN', Monitor, process, Pid, _Reason} -> ok end.

%% @doc Acknowledges every message of the partition up to `Offset'.
-spec ack(pid(), brod:partition(), brod:offset()) -> ok.
ack(Pid, Partition, Offset) ->
  gen_server:cast(Pid, {ack, Partition, Offset}).

%% @doc Whether every partition has a living consumer that reaches its leader. `TimeoutMs' is for
%% each step. Each error is a map with `cause', `module' and `func'.
-spec health_check(pid(), timeout()) -> ok | {error, [map()]}.
health_check(Pid, TimeoutMs) ->
  try gen_server:call(Pid, consumers, TimeoutMs) of
    {Topic, Consumers} ->
      Checked = [{Partition, check(Consumer, TimeoutMs)} || {Partition, Consumer} <- Consumers],
      case [?MF_ERR_MAP(#{topic => Topic, partition => Partition, reason => Reason})
            || {Partition, {error, Reason}} <- Checked] of
        [] -> ok;
        Errors -> {error, Errors}
      end
  catch exit:Reason ->
      {error, [?MF_ERR_MAP(#{topic_subscriber => Pid, reason => Reason})]}
  end.

check(undefined, _TimeoutMs) -> {error, not_subscribed};
check(Consumer, TimeoutMs) -> brod_consumer:check_connectivity(Consumer, TimeoutMs).

%%% gen_server

init(#{client := Client, topic := Topic, cb_module := CbModule} = Config) ->
  ok = brod_utils:assert_client(Client),
  ok = brod_utils:assert_topic(Topic),
  %% Sets are large; they need not be copied by each collection while they wait.
  process_flag(message_queue_data, off_heap),
  {ok, Committed, CbState} = CbModule:init(Topic, maps:get(init_data, Config, undefined)),
  {ok, #st{client = Client,
           topic = Topic,
           wanted = maps:get(partitions, Config, all),
           type = maps:get(message_type, Config, message_set),
           consumer_config = maps:get(consumer_config, Config, []),
           cb_module = CbModule,
           cb_state = CbState,
           committed = maps:from_list([{P, first_offset(O)} || {P, O} <- Committed])},
   {continue, start}}.

handle_continue(start, #st{client = Client, topic = Topic} = St) ->
  case brod:start_consumer(Client, Topic, St#st.consumer_config) of
    ok ->
      case brod:get_partitions_count(Client, Topic) of
        {ok, Count} ->
          Parts = [{P, #part{begin_offset = maps:get(P, St#st.committed, undefined)}}
                   || P <- partitions(St#st.wanted, Count)],
          schedule_growth_check(St),
          {noreply, subscribe(St#st{parts = maps:from_list(Parts)})};
        {error, _} = Error ->
          stop_at_start({get_partitions_count, Error}, St)
      end;
    {error, _} = Error ->
      stop_at_start({start_consumer, Error}, St)
  end.

handle_call(consumers, _From, St) ->
  Pids = [{P, consumer_pid(Part)} || {P, Part} <- maps:to_list(St#st.parts)],
  {reply, {St#st.topic, Pids}, St};
handle_call(Call, _From, St) ->
  {reply, {error, {unknown_call, Call}}, St}.

handle_cast({ack, Partition, Offset}, St) ->
  {noreply, ack_offset(Partition, Offset, St)};
handle_cast(stop, St) ->
  {stop, normal, St};
handle_cast(_Cast, St) ->
  {noreply, St}.

handle_info({_Pid, #kafka_message_set{messages = []}}, St) ->
  {noreply, St};
handle_info({Pid, #kafka_message_set{partition = P, messages = Messages} = Set}, St) ->
  Work = case St#st.type of
           message -> Messages;
           message_set -> Set
         end,
  NewSt = St#st{work = queue:in({Pid, P, Work}, St#st.work)},
  case St#st.scheduled of
    true -> {noreply, NewSt};
    false -> {noreply, work(NewSt)}
  end;
handle_info({?MODULE, work}, St) ->
  {noreply, work(St#st{scheduled = false})};
handle_info({Pid, #kafka_fetch_error{} = Error}, St) ->
  {noreply, fetch_error(Pid, Error, St)};
handle_info({brod_subscribed, {Partition, Pid}, Result}, St) ->
  {noreply, subscribed(Partition, Pid, Result, St)};
handle_info({'DOWN', Monitor, process, Pid, Reason} = Down, St) ->
  case [P || {P, #part{consumer = {_, M}}} <- maps:to_list(St#st.parts), M =:= Monitor] of
    [Partition] ->
      ?BROD_LOG_WARNING("consumer ~p of ~s-~p is down, subscribing again in ~p ms: ~p",
                        [Pid, St#st.topic, Partition, ?RESUBSCRIBE_DELAY_MS, Reason]),
      {noreply, resubscribe_later(without_consumer(Partition, St))};
    [] ->
      forward(Down, St)
  end;
handle_info({?MODULE, resubscribe}, St) ->
  {noreply, subscribe(St#st{resubscribe_timer = undefined})};
handle_info({?MODULE, growth_check}, St) ->
  schedule_growth_check(St),
  {noreply, add_new_partitions(St)};
handle_info(Info, St) ->
  forward(Info, St).

terminate(Reason, #st{cb_module = CbModule, cb_state = CbState}) ->
  %% The consumers see this process go, and end its subscriptions.
  case erlang:function_exported(CbModule, terminate, 2) of
    true -> CbModule:terminate(Reason, CbState);
    false -> ok
  end.

code_change(_OldVsn, St, _Extra) -> {ok, St}.

%%% Start, subscriptions

first_offset({begin_offset, Begin}) -> Begin;
first_offset(Last) when is_integer(Last), Last >= -1 -> Last + 1.

partitions(all, Count) -> lists:seq(0, Count - 1);
partitions(Wanted, Count) ->
  case [P || P <- Wanted, not (is_integer(P) andalso P >= 0 andalso P < Count)] of
    [] -> Wanted;
    Bad -> exit({bad_partitions, Bad, Count})
  end.

stop_at_start(Reason, St) ->
  ?BROD_LOG_ERROR("topic subscriber of ~s with client ~p cannot start: ~p",
                  [St#st.topic, St#st.client, Reason]),
  {stop, Reason, St}.

%% Asks for a subscription to each partition that has none. The answers come one by one.
subscribe(#st{parts = Parts} = St) ->
  lists:foldl(fun subscribe/2, St, [P || {P, #part{consumer = undefined}} <- maps:to_list(Parts)]).

subscribe(Partition, #st{client = Client, topic = Topic, parts = Parts} = St) ->
  case brod:get_consumer(Client, Topic, Partition) of
    {ok, Pid} ->
      Part = maps:get(Partition, Parts),
      Monitor = monitor(process, Pid),
      ok = brod_consumer:subscribe_async(Pid, self(), begin_option(Part), {Partition, Pid}),
      Subscribed = Part#part{consumer = {Pid, Monitor}, handle = brod_consumer:handle(Pid)},
      St#st{parts = Parts#{Partition := Subscribed}};
    {error, Reason} ->
      subscribe_failed(Partition, Reason, St)
  end.

begin_option(#part{acked = Acked}) when is_integer(Acked) -> [{begin_offset, Acked + 1}];
begin_option(#part{begin_offset = undefined}) -> [];
begin_option(#part{begin_offset = Begin}) -> [{begin_offset, Begin}].

subscribed(_Partition, _Pid, ok, St) -> St;
subscribed(Partition, Pid, {error, Reason}, #st{parts = Parts} = St) ->
  case Parts of
    #{Partition := #part{consumer = {Pid, _}}} ->
      subscribe_failed(Partition, Reason, without_consumer(Partition, St));
    _ -> St
  end.

subscribe_failed(Partition, Reason, St) ->
  ?BROD_LOG_WARNING("cannot subscribe to ~s-~p, trying again in ~p ms: ~p",
                    [St#st.topic, Partition, ?RESUBSCRIBE_DELAY_MS, Reason]),
  resubscribe_later(St).

resubscribe_later(#st{resubscribe_timer = undefined} = St) ->
  St#st{resubscribe_timer =
          erlang:send_after(?RESUBSCRIBE_DELAY_MS, self(), {?MODULE, resubscribe})};
resubscribe_later(St) -> St.

%% What is queued of the lost consumer is dropped when its turn comes: it will be fetched again.
without_consumer(Partition, #st{parts = Parts} = St) ->
  #part{consumer = {_, Monitor}} = Part = maps:get(Partition, Parts),
  demonitor(Monitor, [flush]),
  St#st{parts = Parts#{Partition := Part#part{consumer = undefined, handle = undefined}}}.

%% The offset where this partition should go on is gone (deleted by retention) or was never there (the
%% topic was made anew). Whatever there is comes after the earliest offset, so nothing is skipped.
fetch_error(Pid, #kafka_fetch_error{partition = P, error_code = offset_out_of_range}, St) ->
  case St#st.parts of
    #{P := #part{consumer = {Pid, _}} = Part} ->
      ?BROD_LOG_WARNING("offset ~p of ~s-~p is out of range, going on at the earliest",
                        [begin_option(Part), St#st.topic, P]),
      Reset = Part#part{begin_offset = earliest, acked = undefined},
      WithReset = St#st{parts = maps:put(P, Reset, St#st.parts)},
      subscribe(P, without_consumer(P, WithReset));
    _ -> St
  end;
fetch_error(_Pid, #kafka_fetch_error{partition = P, error_code = Code}, St) ->
  %% The consumer stops by itself, and is subscribed to again.
  ?BROD_LOG_WARNING("fetch error on ~s-~p: ~p", [St#st.topic, P, Code]),
  St.

schedule_growth_check(#st{wanted = all}) ->
  _ = erlang:send_after(?GROWTH_CHECK_MS, self(), {?MODULE, growth_check}),
  ok;
schedule_growth_check(_St) -> ok.

%% New partitions are read from their beginning, so that nothing written before we noticed is missed.
add_new_partitions(#st{client = Client, topic = Topic, parts = Parts} = St) ->
  case brod:get_partitions_count(Client, Topic) of
    {ok, Count} when Count > map_size(Parts) ->
      New = [{P, #part{begin_offset = maps:get(P, St#st.committed, earliest)}}
             || P <- lists:seq(map_size(Parts), Count - 1)],
      subscribe(St#st{parts = maps:merge(maps:from_list(New), Parts)});
    _ -> St
  end.

consumer_pid(#part{consumer = undefined}) -> undefined;
consumer_pid(#part{consumer = {Pid, _}}) -> Pid.

forward(Info, #st{cb_module = CbModule, cb_state = CbState} = St) ->
  case erlang:function_exported(CbModule, handle_info, 2) of
    true ->
      {noreply, NewCbState} = CbModule:handle_info(Info, CbState),
      {noreply, St#st{cb_state = NewCbState}};
    false ->
      {noreply, St}
  end.

%%% Messages

%% Works for a slice of time, then lets the mailbox have its turn: stop, acks, consumers that died.
work(St) ->
  work(St, erlang:monotonic_time(microsecond) + ?SLICE_US).

work(#st{work = Work, parts = Parts} = St, Deadline) ->
  case queue:out(Work) of
    {empty, _} ->
      St;
    {{value, {Pid, Partition, What}}, Rest} ->
      case Parts of
        #{Partition := #part{consumer = {Pid, _}, handle = Handle}} ->
          Ctx = #ctx{cb_module = St#st.cb_module, partition = Partition, consumer = Pid,
                     handle = Handle, deadline = Deadline},
          {Left, Acked, CbState} = handle(What, Ctx, St#st.cb_state),
          NewSt = note_ack(Partition, Acked, St#st{cb_state = CbState, work = Rest}),
          case Left of
            [] ->
              next(NewSt, Deadline);
            _ ->
              yield(NewSt#st{work = queue:in_r({Pid, Partition, Left}, Rest)})
          end;
        _ ->
          work(St#st{work = Rest}, Deadline)
      end
  end.

next(#st{work = Work} = St, Deadline) ->
  case queue:is_empty(Work) orelse erlang:monotonic_time(microsecond) < Deadline of
    true -> work(St, Deadline);
    false -> yield(St)
  end.

yield(St) ->
  self() ! {?MODULE, work},
  St#st{scheduled = true}.

note_ack(_Partition, undefined, St) -> St;
note_ack(Partition, Offset, #st{parts = Parts} = St) ->
  #{Partition := Part} = Parts,
  St#st{parts = Parts#{Partition := Part#part{acked = Offset}}}.

%% Returns what is left when the time is up, the last offset acknowledged, and the callback's state.
handle(#kafka_message_set{messages = Messages} = Set, Ctx, CbState) ->
  CbModule = Ctx#ctx.cb_module,
  case CbModule:handle_message(Ctx#ctx.partition, Set, CbState) of
    {ok, ack, NewCbState} ->
      #kafka_message{offset = Last} = lists:last(Messages),
      ok = ack_consumer(Ctx, Last),
      {[], Last, NewCbState};
    {ok, NewCbState} ->
      {[], undefined, NewCbState}
  end;
handle(Messages, Ctx, CbState) ->
  handle(Messages, 1, erlang:monotonic_time(microsecond), undefined, Ctx, CbState).

%% One run of messages, then a look at the clock. The engine gets one ack a run. Runs are long only while
%% callbacks are fast, so an ack that is due does not wait long for the callbacks after it.
handle(Messages, Run, Began, AckedBefore, Ctx, CbState) ->
  {Left, AckedNow, NewCbState} = run(Messages, Run, Ctx, CbState, undefined),
  Acked = case AckedNow of
            undefined -> AckedBefore;
            _ -> ok = ack_consumer(Ctx, AckedNow), AckedNow
          end,
  case Left of
    [] ->
      {[], Acked, NewCbState};
    _ ->
      case erlang:monotonic_time(microsecond) of
        Now when Now >= Ctx#ctx.deadline -> {Left, Acked, NewCbState};
        Now when Now - Began < ?FAST_RUN_US -> handle(Left, ?RUN, Now, Acked, Ctx, NewCbState);
        Now -> handle(Left, 1, Now, Acked, Ctx, NewCbState)
      end
  end.

run([#kafka_message{offset = Offset} = Message | Rest], N, Ctx, CbState, Acked) when N > 0 ->
  #ctx{cb_module = CbModule, partition = Partition} = Ctx,
  case CbModule:handle_message(Partition, Message, CbState) of
    {ok, ack, NewCbState} -> run(Rest, N - 1, Ctx, NewCbState, Offset);
    {ok, NewCbState} -> run(Rest, N - 1, Ctx, NewCbState, Acked)
  end;
run(Messages, _N, _Ctx, CbState, Acked) ->
  {Messages, Acked, CbState}.

ack_consumer(#ctx{handle = undefined, consumer = Pid}, Offset) -> brod_consumer:ack(Pid, Offset);
ack_consumer(#ctx{handle = Handle}, Offset) -> brod_nif:consumer_ack(Handle, Offset).

ack_offset(Partition, Offset, #st{parts = Parts} = St) ->
  case Parts of
    #{Partition := #part{consumer = {Pid, _}}} ->
      ok = brod_consumer:ack(Pid, Offset),
      note_ack(Partition, Offset, St);
    #{Partition := _} -> note_ack(Partition, Offset, St);
    _ -> St
  end.
