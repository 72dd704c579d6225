%% @doc The producer of one partition: the process that users monitor, and that passes the engine's acks
%% on to callers. Messages do not go through it: callers hand them to the engine themselves, which
%% finds a producer by client and partition, or by pid.
-module(brod_producer).
-behaviour(gen_server).

-export([child_spec/1]).
-export([start_link/4, stop/1]).
-export([produce/3, produce_cb/4, produce_no_ack/3, sync_produce_request/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3,
         format_status/1]).

-export_type([config/0]).

-include("brod_int.hrl").

-define(STOP_TIMEOUT_MS, 5000).
%% Less than the supervisor waits for.
-define(HAND_OVER_LIMIT_MS, 2000).
%% Between two looks whether a client that has ended is back.
-define(REOPEN_MS, 500).

-type config() :: brod_option_types:producer().
-type produce_error() :: {producer_down, term()} | timeout.
%% A call from another node, or one that came while there was no client.
-type call() :: {brod:call_ref(), Batch :: [map()], undefined | no_ack | brod:produce_ack_cb()}.

-record(state,
  { client    :: brod:client()
  , topic     :: brod:topic()
  , partition :: brod:partition()
  , config    :: map()
  , engine_config :: map()
  , handle    :: brod_nif:producer()
    %% monitor of the client's process: without its engine nothing is sent any more
  , client_monitor :: reference()
    %% the engine has told everything
  , is_down = false :: boolean()
    %% waits for the next process of the client
  , is_lost = false :: boolean()
    %% calls that are not confirmed until there is room: taken, or to be taken then
  , waiting = #{} :: #{term() => {taken, brod:call_ref()} | {full, call()}}
    %% calls that wait for the client, the latest first, and until when
  , parked = [] :: [{DeadlineMs :: integer() | infinity, call()}]
  }).

%% @doc A child of a supervisor: `{brod_producer, {Client, Topic, Partition, Config}}'.
-spec child_spec({brod:client(), brod:topic(), brod:partition(), config()}) -> supervisor:child_spec().
child_spec({Client, Topic, Partition, Config}) ->
  #{id => {?MODULE, Topic, Partition}, start => {?MODULE, start_link, [Client, Topic, Partition, Config]}}.

%% @doc Start a producer, also without a supervisor of brod. Options: `brod:start_producer/3'. When its
%% client ends, calls that are not acknowledged fail with `client_down', and the producer goes on with
%% the client's next process; a producer of a client that was given as a pid ends with the next call, so
%% that its supervisor does not start it in vain.
-spec start_link(brod:client(), brod:topic(), brod:partition(), config()) ->
        {ok, pid()} | {error, term()}.
start_link(Client, Topic, Partition, Config) ->
  gen_server:start_link(?MODULE, {Client, Topic, Partition, Config}, []).

%% @doc Stop a producer. What is not acknowledged yet is told to its callers as an error.
-spec stop(pid()) -> ok.
stop(Pid) ->
  try gen_server:call(Pid, stop, ?STOP_TIMEOUT_MS)
  catch exit:_ -> ok
  end.

%% @doc Produce without waiting for the ack, which comes as a `#brod_produce_reply{}' message.
%% Waits while the partition's buffer is full, at most the application environment's
%% `produce_room_timeout' (ms, default 5 minutes).
-spec produce(pid(), brod:key(), brod:value()) ->
        {ok, brod:call_ref()} | {error, produce_error()}.
produce(Pid, Key, Value) -> brod_producer_calls:produce(Pid, Key, Value).

%% @doc As {@link produce/3}; the ack is a call of `AckCb' in the producer process, with partition
%% and offset. With arity 3 it is also called for what cannot be delivered:
%% `(Partition, -1, {error, Reason})'. After an error of this function it is not called.
-spec produce_cb(pid(), brod:key(), brod:value(), brod:produce_ack_cb()) ->
        ok | {error, produce_error()}.
produce_cb(Pid, Key, Value, AckCb) -> brod_producer_calls:produce_cb(Pid, Key, Value, AckCb).

%% @doc Produce without ack and without ever waiting. Nothing tells whether it succeeded. While the
%% client buffers more than its `buffer_bytes', the message is dropped; a line in the log and the
%% telemetry event `[brod, produce_dropped]' count those, at most once a second.
-spec produce_no_ack(pid(), brod:key(), brod:value()) -> ok.
produce_no_ack(Pid, Key, Value) -> brod_producer_calls:produce_no_ack(Pid, Key, Value).

%% @doc Wait for the ack of a produce call. Only for the process that made the call.
%% Offset -1: unknown, because the broker was not asked for acks.
-spec sync_produce_request(brod:call_ref(), timeout()) ->
        {ok, brod:offset()} | {error, produce_error() | term()}.
sync_produce_request(CallRef, Timeout) ->
  brod_producer_calls:sync_produce_request(CallRef, Timeout).

%% gen_server

init({Client, Topic, Partition, Config}) ->
  process_flag(trap_exit, true),
  ok = brod_logging:about(#{client => brod_logging:client(Client), topic => Topic, partition => Partition}),
  case brod_producer_options:check(Config) of
    {ok, Options} ->
      %% those of a topic's producers are told once, where they are started
      ok = case is_atom(Client) of
             true -> brod_producer_options:warn(Config, io_lib:format("Producer of ~ts", [Topic]));
             false -> ok
           end,
      EngineConfig = brod_producer_options:engine_config(Config, Options),
      case open(Client, Topic, Partition, EngineConfig) of
        {ok, Handle, MRef} ->
          %% Most have nothing to do from now on: their callers find the engine without them.
          {ok, #state{client = Client, topic = Topic, partition = Partition, config = Options, engine_config = EngineConfig,
                      handle = Handle, client_monitor = MRef}, hibernate};
        {error, Reason} ->
          {stop, Reason}
      end;
    {error, Reason} ->
      {stop, Reason}
  end.

open(Client, Topic, Partition, EngineConfig) ->
  case brod_client:context_here(Client) of
    {ok, #{engine := Engine, client := ClientPid}} ->
      case brod_nif:producer_open(Engine, Topic, Partition,
                                  EngineConfig#{telemetry => brod_metrics:is_enabled()}) of
        {ok, Handle} ->
          ok = brod_client:register_producer(Client, Topic, Partition, Handle),
          {ok, Handle, monitor(process, ClientPid)};
        {error, Reason} ->
          {error, Reason}
      end;
    {error, Reason} ->
      {error, Reason}
  end.

handle_call(stop, _From, State) ->
  {stop, normal, ok, State};
handle_call(Call, _From, State) ->
  {reply, {error, {unknown_call, Call}}, State}.

handle_cast(_Cast, State) ->
  {noreply, State}.

handle_info({brod_acks, BaseOffset, Targets}, #state{handle = Handle} = State) ->
  ok = brod_producer_acks:pass(Targets, BaseOffset, State#state.partition, self()),
  ok = brod_nif:producer_acks_done(Handle),
  {noreply, State};
handle_info({brod_nacks, Reason, Targets}, #state{handle = Handle} = State) ->
  #state{topic = Topic, partition = Partition} = State,
  ok = brod_producer_acks:pass_failed(Targets, Reason, Topic, Partition, self()),
  ok = brod_nif:producer_acks_done(Handle),
  {noreply, State};
handle_info({brod_room, Waiting}, State) when is_list(Waiting) ->
  {noreply, pass_room(Waiting, State)};
handle_info({brod_room, WaitId}, State) ->
  {noreply, pass_room([self(), WaitId], State)};
handle_info({brod_request_sent, Count, Bytes}, State) ->
  #state{topic = Topic, partition = Partition} = State,
  ok = brod_metrics:produce_request_sent(Topic, Partition, #{count => Count, bytes => Bytes}),
  {noreply, State};
handle_info({brod_dropped, Count}, State) ->
  #state{topic = Topic, partition = Partition} = State,
  ?BROD_LOG_WARNING("~p messages of produce_no_ack to ~ts, partition ~p, were dropped: the client has "
                    "buffered more than its buffer_bytes.", [Count, Topic, Partition]),
  ok = brod_metrics:produce_dropped(Topic, Partition, #{count => Count}),
  {noreply, State};
handle_info({produce, CallRef, Batch, AckCb}, State) ->
  end_unless_idle(produce_for({CallRef, Batch, AckCb}, State));
handle_info({cancel, CallRef}, State) ->
  {noreply, cancel(CallRef, State)};
handle_info({brod_down, client_down}, State) ->
  end_unless_idle(lost(State));
handle_info({brod_down, Reason}, State) ->
  ended(Reason, State#state{is_down = true});
handle_info({'DOWN', MRef, process, _Client, Reason}, #state{client_monitor = MRef} = State) ->
  client_ended(Reason, State);
handle_info(reopen, State) ->
  {noreply, reopen(State)};
handle_info({'EXIT', _Pid, Reason}, State) when Reason =/= normal ->
  {stop, Reason, State};
handle_info(_Info, State) ->
  {noreply, State}.

terminate(Reason, #state{client = Client, topic = Topic, partition = Partition} = State) ->
  _ = [refuse(Call, Reason) || {_, Call} <- State#state.parked],
  Heir = heir(State),
  ok = brod_nif:producer_close(State#state.handle, short(Reason), Heir),
  %% the engine tells the callers of what it still holds; what it has handed over is ours to tell,
  %% also what is on its way through a dispatcher
  ok = drain(Heir, now_ms() + ?HAND_OVER_LIMIT_MS, State),
  %% after a failure it can be found until the restart, so that callers see a producer that is down
  case brod_utils:is_normal_reason(Reason) of
    true ->
      ok = brod_nif:producer_withdraw(State#state.handle),
      ok = brod_client:deregister_producer(Client, Topic, Partition);
    false -> ok
  end,
  brod_crash:empty_mailbox().

%% An error has ended it, or its client has.
ended(Reason, #state{topic = Topic, partition = Partition} = State) ->
  case brod_utils:is_normal_reason(Reason) of
    true -> {stop, Reason, State};
    false ->
      %% See brod_producers_sup:ends_all/2.
      brod_crash:shared(Reason) =/= none andalso brod_supervisor3:is_child()
        orelse ?BROD_LOG_ERROR("producer of ~ts-~p stops: ~ts", [Topic, Partition, brod_crash:text(Reason)]),
      ok = terminate(Reason, State),
      brod_crash:quietly(Reason)
  end.

%% The engine copies the reason while a scheduler waits.
short(Reason) ->
  case erts_debug:flat_size(Reason) > 1000 of
    true -> too_large_to_tell;
    false -> Reason
  end.

code_change(_OldVsn, State, _Extra) ->
  {ok, State}.

%% @private Counts, no payloads.
format_status(Status) ->
  brod_crash:status(Status, fun status/1).

status(#state{topic = Topic, partition = Partition, client = Client, config = Config} = State) ->
  #{client => Client, topic => Topic, partition => Partition, config => Config,
    is_lost => State#state.is_lost, waiting => map_size(State#state.waiting),
    parked => length(State#state.parked), buffer => brod_nif:producer_info(State#state.handle)}.

%% Runs the callbacks of calls that end after the producer: those in flight may take a while.
heir(#state{is_down = true}) -> self();
heir(#state{topic = Topic, partition = Partition}) ->
  %% One that fails here is as one that was killed: a dispatcher starts its heir.
  {ok, Heir} = brod_producer_acks:start_heir(Topic, Partition, self()),
  Heir.

drain(Heir, Deadline, State) ->
  receive
    {brod_acks, _, _} = Acks ->
      {noreply, _} = handle_info(Acks, State),
      drain(Heir, Deadline, State);
    {brod_nacks, _, _} = Nacks ->
      {noreply, _} = handle_info(Nacks, State),
      drain(Heir, Deadline, State);
    {brod_room, _} = Room ->
      {noreply, NewState} = handle_info(Room, State),
      drain(Heir, Deadline, NewState);
    {brod_down, _} = Down when Heir =/= self() ->
      Heir ! Down,
      drain(Heir, Deadline, State);
    brod_handed_over ->
      ok
  after max(0, Deadline - now_ms()) ->
    ok
  end.

now_ms() -> erlang:monotonic_time(millisecond).

%% The client

%% Under a supervisor of brod the producer ends with its client all the same: that supervisor does.
client_ended(Reason, #state{client = Client} = State) when is_atom(Client) ->
  _ = brod_utils:is_normal_reason(Reason) orelse
        ?BROD_LOG_WARNING("The client ~p of the producer of ~ts, partition ~p, has ended: ~9999p. The "
                          "producer goes on when it is back.",
                          [Client, State#state.topic, State#state.partition, Reason]),
  {noreply, State};
client_ended(_Reason, #state{client = Client} = State) when node(Client) =:= node() ->
  {noreply, State};
client_ended(Reason, State) ->
  case brod_utils:is_normal_reason(Reason) of
    true -> {stop, {shutdown, client_down}, State};
    false -> {stop, client_down, State}
  end.

%% A pid has no next process that calls could wait for.
end_unless_idle(#state{client = Client, is_lost = true, parked = [_ | _]} = State) when is_pid(Client) ->
  ended(client_down, State);
end_unless_idle(State) ->
  {noreply, State}.

%% The engine has told what it has to tell. Calls come to this process until there is a client again.
lost(#state{handle = Handle, topic = Topic, partition = Partition} = State) ->
  ok = brod_nif:producer_withdraw(Handle),
  ok = brod_client:deregister_producer(State#state.client, Topic, Partition),
  _ = [brod_producer_acks:confirm(CallRef, {error, {producer_down, client_down}})
       || {taken, CallRef} <- maps:values(State#state.waiting)],
  Calls = [Call || {full, Call} <- maps:values(State#state.waiting)],
  _ = is_atom(State#state.client) andalso erlang:send_after(?REOPEN_MS, self(), reopen),
  lists:foldl(fun park/2, State#state{is_lost = true, waiting = #{}}, Calls).

reopen(State0) ->
  #state{client = Client, topic = Topic, partition = Partition, engine_config = EngineConfig} = State =
    drop_late(State0),
  case open(Client, Topic, Partition, EngineConfig) of
    {ok, Handle, MRef} ->
      true = demonitor(State#state.client_monitor, [flush]),
      Calls = [Call || {_, Call} <- lists:reverse(State#state.parked)],
      lists:foldl(fun produce_for/2,
                  State#state{handle = Handle, client_monitor = MRef, is_lost = false, parked = []},
                  Calls);
    {error, _} ->
      _ = erlang:send_after(?REOPEN_MS, self(), reopen),
      State
  end.

park(Call, #state{config = #{delivery_timeout_ms := Limit}, parked = Parked} = State) ->
  Deadline = case Limit of
               infinity -> infinity;
               _ -> now_ms() + Limit
             end,
  State#state{parked = [{Deadline, Call} | Parked]}.

drop_late(#state{parked = Parked} = State) ->
  Now = now_ms(),
  {InTime, Late} = lists:partition(fun({Deadline, _}) -> Deadline > Now end, Parked),
  _ = [refuse(Call, client_down) || {_, Call} <- lists:reverse(Late)],
  State#state{parked = InTime}.

refuse({_CallRef, _Batch, no_ack}, _Reason) -> ok;
refuse({CallRef, _Batch, _AckCb}, Reason) ->
  brod_producer_acks:confirm(CallRef, {error, {producer_down, Reason}}).

%% Calls that come as messages

produce_for({_CallRef, _Batch, no_ack}, #state{is_lost = true} = State) ->
  State;
produce_for(Call, #state{is_lost = true} = State) ->
  park(Call, State);
produce_for({CallRef, Batch, AckCb} = Call, #state{handle = Handle, waiting = Waiting} = State) ->
  Target = case AckCb of
             undefined -> brod_producer_acks:reply_fun(CallRef);
             _ -> AckCb
           end,
  Result = try brod_nif:produce_dirty(Handle, Target, <<>>, Batch)
           catch error:badarg -> {error, badarg}
           end,
  case Result of
    _ when AckCb =:= no_ack ->
      State;
    Pid when is_pid(Pid) ->
      ok = brod_producer_acks:confirm(CallRef, ?buffered),
      State;
    {full, WaitId} ->
      State#state{waiting = Waiting#{WaitId => {full, Call}}};
    {wait, WaitId} ->
      State#state{waiting = Waiting#{WaitId => {taken, CallRef}}};
    {error, closed} ->
      ok = brod_producer_acks:confirm(CallRef, {error, {producer_down, noproc}}),
      State;
    {error, Reason} ->
      ok = brod_producer_acks:confirm(CallRef, {error, Reason}),
      State
  end.

%% The caller has given up.
cancel(CallRef, #state{waiting = Waiting, parked = Parked} = State) ->
  State#state{waiting = maps:filter(fun(_, {full, {Ref, _, _}}) -> Ref =/= CallRef;
                                       (_, {taken, _}) -> true
                                    end, Waiting),
              parked = [Call || {_, {Ref, _, _}} = Call <- Parked, Ref =/= CallRef]}.

pass_room([Pid, WaitId | Rest], #state{waiting = Waiting} = State) when Pid =:= self() ->
  case maps:take(WaitId, Waiting) of
    {{taken, CallRef}, StillWaiting} ->
      ok = brod_producer_acks:confirm(CallRef, ?buffered),
      pass_room(Rest, State#state{waiting = StillWaiting});
    {{full, Call}, StillWaiting} ->
      pass_room(Rest, produce_for(Call, State#state{waiting = StillWaiting}));
    error ->
      pass_room(Rest, State)
  end;
pass_room([Pid, WaitId | Rest], State) ->
  Pid ! {brod_room, WaitId},
  pass_room(Rest, State);
pass_room([], State) ->
  State.
