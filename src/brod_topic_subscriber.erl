%% @doc Reads all or some partitions of a topic and calls a callback module for each message, or for
%% each set of messages, one at a time, in one process.
%%
%% The callback module:
%% <ul>
%% <li>`init(Topic, InitData) -> {ok, CommittedOffsets, State}': `CommittedOffsets' is a list of
%% `{Partition, Offset}', the last offset that was handled; reading begins one after it.
%% `{Partition, {begin_offset, Begin}}', `{Partition, earliest}' and `{Partition, latest}' say where to
%% begin. Partitions that are not in the list, or there with `undefined', begin at the `begin_offset' of the
%% consumer options.</li>
%% <li>`handle_message(Partition, #kafka_message{} | #kafka_message_set{}, State) ->
%% {ok, ack, State} | {ok, State}'. Without `ack' the message counts as being worked on, until ack/3
%% names its offset or a later one; meanwhile the next messages come, as far as `prefetch_count' and
%% `prefetch_bytes' allow.</li>
%% <li>optional `handle_info(Message, State) -> {noreply, State}': any other message, and
%% `{ConsumerPid, #kafka_fetch_error{}}'. Where the offset is gone (`offset_out_of_range') it may say where to go on:
%% `brod:subscribe(ConsumerPid, self(), [{begin_offset, latest}])'. Otherwise the partition goes on at its earliest
%% message.</li>
%% <li>optional `terminate(Reason, State)'.</li>
%% </ul>
%%
%% Consumers that die are subscribed to again. The callback gets no message twice: what it has got and
%% not acknowledged it is still working on. When the client is stopped, the subscriber ends with the
%% reason `client_down'; when the client crashes, it waits for it.
-module(brod_topic_subscriber).
-behaviour(gen_server).

-export([child_spec/1]).
-export([start_link/1, start_link/6, start_link/7, start_link/8, stop/1, ack/3, health_check/2]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2,
         code_change/3, format_status/1]).

-include("brod_int.hrl").

-export_type([cb_ret/0, cb_fun/0, committed_offsets/0, topic_subscriber_config/0, hooks/0]).

-type cb_state() :: term().
-type cb_ret() :: {ok, cb_state()} | {ok, ack, cb_state()}.
-type cb_fun() ::
        fun((brod:partition(), brod:message() | brod:message_set(), cb_state()) -> cb_ret()).
-type begin_offset() :: brod:offset() | earliest | latest.
-type committed_offsets() ::
        [{brod:partition(), undefined | begin_offset() | {begin_offset, begin_offset()}}].
-type topic_subscriber_config() ::
        #{client := brod:client(),
          topic := brod:topic(),
          cb_module := module(),
          init_data => term(),
          message_type => message | message_set,
          consumer_config => brod:consumer_config(),
          partitions => all | [brod:partition()]}.

%% Of brod_group_subscriber_worker alone. `handle_former': in place of handle_message/3, for messages of a log that is another one by
%% now. `goes_back': told that the position goes back to such a log, see brod_subscriptions:goes_back/2. `client_down': the reason to
%% end with when the client was stopped.
-type hooks() :: #{handle_former => cb_fun(), goes_back => fun((cb_state()) -> ok), client_down => term()}.

%% Called once, with `init_data'. The offsets are those of the last messages that were handled, or where to
%% begin; other partitions begin at the `begin_offset' of the consumer options.
-callback init(brod:topic(), term()) -> {ok, committed_offsets(), cb_state()}.

%% Called for each message, or each set with `message_type' message_set. With `ack' it is done with;
%% without, it counts as being worked on until ack/3 names its offset or a later one.
-callback handle_message(brod:partition(), brod:message() | brod:message_set(), cb_state()) ->
  cb_ret().

%% Called for any other message that the process gets, and for fetch errors. Without it they are dropped.
-callback handle_info(term(), cb_state()) -> {noreply, cb_state()}.

%% Called when the process ends, with the reason.
-callback terminate(term(), cb_state()) -> term().

-optional_callbacks([handle_info/2, terminate/2]).

%% How often a subscriber of all partitions looks whether there are more of them.
-define(GROWTH_CHECK_MS, 30000).
%% How often it looks whether a client that crashed is back.
-define(CLIENT_CHECK_MS, 1000).

-record(st, {client :: brod:client(),
             client_monitor :: undefined | reference(),
             topic :: brod:topic(),
             wanted :: all | [brod:partition()],
             cb_module :: module(),
             cb_state :: cb_state(),
             consumer_config :: brod:consumer_config(),
             committed :: #{brod:partition() => brod_subscriptions:begin_offset()},
             subs :: brod_subscriptions:subscriptions()}).

%%% API

%% @doc A child of a supervisor: `{brod_topic_subscriber, Config}', with the `Config' of {@link start_link/1}. The id has
%% the names of topic and module, so that a supervisor may have several.
-spec child_spec(topic_subscriber_config()) -> supervisor:child_spec().
child_spec(Config) ->
  #{id => {?MODULE, maps:get(topic, Config, undefined), maps:get(cb_module, Config, undefined)},
    start => {?MODULE, start_link, [Config]}}.

%% @doc Starts a topic subscriber, linked to the caller. Defaults: `init_data' undefined,
%% `message_type' message_set, `consumer_config' [], `partitions' all. Exits with
%% `{bad_partitions, Partitions, Count}' when `partitions' names some that the topic does not have.
-spec start_link(topic_subscriber_config()) -> {ok, pid()} | {error, term()}.
start_link(Config) ->
  gen_server:start_link(?MODULE, Config, brod_subscriptions:start_options()).

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

%% @doc As start_link/7 with a fun of arity 3 (partition, message or set, state) for a callback
%% module.
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
  receive {'DOWN', Monitor, process, _, _Reason} -> ok end.

%% @doc Acknowledges every message of the partition up to `Offset'. Raises `badarg' for what cannot be
%% a partition or an offset.
-spec ack(pid(), brod:partition(), brod:offset()) -> ok.
ack(Pid, Partition, Offset) ->
  is_integer(Partition) andalso is_integer(Offset) andalso abs(Offset) < 1 bsl 63
    orelse error(badarg, [Pid, Partition, Offset]),
  gen_server:cast(Pid, {ack, Partition, Offset}).

%% @doc Whether every partition has a living consumer that reaches its leader: the list of those that
%% do not, one map each with `cause', `module' and `func'. `TimeoutMs' is for each step.
-spec health_check(pid(), timeout()) -> [map()].
health_check(Pid, TimeoutMs) ->
  try gen_server:call(Pid, consumers, TimeoutMs) of
    {ok, Consumers} ->
      Checked = [{Key, check(Consumer, TimeoutMs)} || {Key, Consumer} <- Consumers],
      [?MF_ERR_MAP(#{topic => Topic, partition => Partition, reason => Reason})
       || {{Topic, Partition}, {error, Reason}} <- Checked]
  catch exit:Reason ->
      [?MF_ERR_MAP(#{topic_subscriber => Pid, reason => Reason})]
  end.

check(undefined, _TimeoutMs) -> {error, not_subscribed};
check(Consumer, TimeoutMs) -> brod_consumer:check_connectivity(Consumer, TimeoutMs).

%%% gen_server

init(#{client := Client, topic := Topic, cb_module := CbModule} = Config) ->
  ok = brod_utils:assert_client(Client),
  ok = brod_utils:assert_topic(Topic),
  ok = brod_options:warn_unknown(topic_subscriber, Config),
  %% Sets are large; they need not be copied by each collection while they wait.
  process_flag(message_queue_data, off_heap),
  {ok, Committed, CbState} = CbModule:init(Topic, maps:get(init_data, Config, undefined)),
  ConsumerConfig = maps:get(consumer_config, Config, []),
  MessageType = maps:get(message_type, Config, message_set),
  {ok, #st{client = Client,
           client_monitor = monitor(process, Client),
           topic = Topic,
           wanted = maps:get(partitions, Config, all),
           cb_module = CbModule,
           cb_state = CbState,
           consumer_config = ConsumerConfig,
           committed = maps:from_list([{P, first_offset(O)} || {P, O} <- Committed, O =/= undefined]),
           subs = brod_subscriptions:new(Client, ConsumerConfig, MessageType)},
   {continue, start}}.

handle_continue(start, #st{client = Client, topic = Topic, committed = Committed} = St) ->
  case brod:start_consumer(Client, Topic, St#st.consumer_config) of
    ok ->
      case brod:get_partitions_count(Client, Topic) of
        {ok, Count} ->
          schedule_growth_check(St),
          Partitions = [{P, maps:get(P, Committed, undefined)}
                        || P <- partitions(St#st.wanted, Count)],
          {noreply, subscribe(Partitions, St)};
        {error, _} = Error ->
          stop_at_start({get_partitions_count, Error}, St)
      end;
    {error, _} = Error ->
      stop_at_start({start_consumer, Error}, St)
  end.

handle_call(consumers, _From, St) ->
  {reply, {ok, brod_subscriptions:consumers(St#st.subs)}, St};
handle_call(Call, _From, St) ->
  {reply, {error, {unknown_call, Call}}, St}.

handle_cast({ack, Partition, Offset}, #st{topic = Topic, subs = Subs} = St) ->
  {noreply, St#st{subs = brod_subscriptions:ack(Topic, Partition, Offset, Subs)}};
handle_cast(stop, St) ->
  {stop, normal, St};
handle_cast(_Cast, St) ->
  {noreply, St}.

handle_info({'DOWN', Monitor, process, _, Reason}, #st{client_monitor = Monitor} = St) ->
  case brod_utils:is_normal_reason(Reason) of
    true -> {stop, client_down(St), St};
    false -> {noreply, watch_client_later(St#st{client_monitor = undefined})}
  end;
handle_info({?MODULE, watch_client}, St) ->
  {noreply, watch_client(St)};
handle_info({?MODULE, growth_check}, St) ->
  schedule_growth_check(St),
  {noreply, add_new_partitions(St)};
handle_info({_Consumer, #kafka_fetch_error{}} = Info, St) ->
  %% The callback has its turn first: what it leaves as it is, the subscriptions see to.
  {noreply, #st{subs = Subs} = NewSt} = forward(Info, St),
  {done, NewSubs} = brod_subscriptions:handle_info(Info, Subs),
  {noreply, NewSt#st{subs = NewSubs}};
handle_info(Info, St) ->
  ok = goes_back(Info, St),
  case brod_subscriptions:handle_info(Info, St#st.subs) of
    {work, Subs} ->
      {CbState, NewSubs} = work(St, Subs),
      {noreply, St#st{cb_state = CbState, subs = NewSubs}};
    {done, Subs} ->
      {noreply, St#st{subs = Subs}};
    unknown ->
      forward(Info, St)
  end.

terminate(Reason, #st{cb_module = CbModule, cb_state = CbState}) ->
  %% The consumers see this process go, and end its subscriptions.
  try brod_utils:optional_callback(CbModule, terminate, [Reason, CbState], ok)
  after brod_crash:empty_mailbox()
  end.

code_change(_OldVsn, St, _Extra) -> {ok, St}.

%% @private
format_status(Status) -> brod_crash:subscriber_status(Status, fun shown/1).

shown(#st{} = St) ->
  #{client => St#st.client, topic => St#st.topic, cb_module => St#st.cb_module,
    subscriptions => brod_subscriptions:info(St#st.subs)}.

%%% Internal

%% A crash report shows the arguments of the call that failed: messages are not for logs.
work(#st{cb_module = CbModule, cb_state = CbState} = St, Subs) ->
  Handler = fun(_Topic, P, Message, State) -> CbModule:handle_message(P, Message, State) end,
  Former = case hooks(St) of
             #{handle_former := Handle} -> fun(_Topic, P, Message, State) -> Handle(P, Message, State) end;
             #{} -> Handler
           end,
  try brod_subscriptions:work(Handler, Former, CbState, Subs)
  catch
    Class:Reason:Stack ->
      erlang:raise(Class, brod_crash:short(Reason), brod_crash:short_stack(Stack))
  end.

goes_back(Info, #st{cb_state = CbState, subs = Subs} = St) ->
  case hooks(St) of
    #{goes_back := Tell} ->
      case brod_subscriptions:goes_back(Info, Subs) of
        {true, _} -> Tell(CbState);
        false -> ok
      end;
    #{} ->
      ok
  end.

%% What one module does beside the callbacks, which are all that users' modules have.
hooks(#st{cb_module = brod_group_subscriber_worker = Worker}) -> Worker:hooks();
hooks(_St) -> #{}.

%% A client that crashed is started again by its supervisor.
watch_client(#st{client = Client} = St) ->
  case is_pid(Client) orelse whereis(Client) =/= undefined of
    true -> St#st{client_monitor = monitor(process, Client)};
    false -> watch_client_later(St)
  end.

watch_client_later(St) ->
  _ = erlang:send_after(?CLIENT_CHECK_MS, self(), {?MODULE, watch_client}),
  St.

first_offset({begin_offset, Begin}) -> Begin;
first_offset(Begin) when Begin =:= earliest; Begin =:= latest -> Begin;
first_offset(-2) -> earliest;
first_offset(Last) when is_integer(Last), Last >= -1 -> Last + 1.

partitions(all, Count) -> lists:seq(0, Count - 1);
partitions(Wanted, Count) ->
  case [P || P <- Wanted, not (is_integer(P) andalso P >= 0 andalso P < Count)] of
    [] -> Wanted;
    Bad -> exit({bad_partitions, Bad, Count})
  end.

stop_at_start(Reason, St) ->
  ?BROD_LOG_ERROR("topic subscriber of ~ts with client ~p cannot start: ~9999p",
                  [St#st.topic, St#st.client, Reason]),
  {stop, Reason, St}.

subscribe(Partitions, #st{topic = Topic, subs = Subs} = St) ->
  Add = fun({P, Begin}, Acc) -> brod_subscriptions:add(Topic, P, Begin, Acc) end,
  St#st{subs = lists:foldl(Add, Subs, Partitions)}.

client_down(St) -> maps:get(client_down, hooks(St), client_down).

schedule_growth_check(#st{wanted = all}) ->
  _ = erlang:send_after(?GROWTH_CHECK_MS, self(), {?MODULE, growth_check}),
  ok;
schedule_growth_check(_St) -> ok.

%% New partitions are read from their beginning, so that nothing written before we noticed is
%% missed.
add_new_partitions(#st{client = Client, topic = Topic, subs = Subs} = St) ->
  Known = length(brod_subscriptions:consumers(Subs)),
  case brod:get_partitions_count(Client, Topic) of
    {ok, Count} when Count > Known ->
      New = lists:seq(Known, Count - 1),
      subscribe([{P, maps:get(P, St#st.committed, earliest)} || P <- New], St);
    _ -> St
  end.

forward(Info, #st{cb_module = CbModule, cb_state = CbState} = St) ->
  {noreply, NewCbState} =
    brod_utils:optional_callback(CbModule, handle_info, [Info, CbState], {noreply, CbState}),
  {noreply, St#st{cb_state = NewCbState}}.
