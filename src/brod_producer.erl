%% The producer of one partition: the process that users monitor, and that passes the engine's acks
%% on to callers. Messages do not go through it: callers hand them to the engine themselves, which
%% finds a producer by client and partition, or by pid.
-module(brod_producer).
-behaviour(gen_server).

-export([start_link/4, stop/1]).
-export([produce/3, produce_cb/4, produce_no_ack/3, sync_produce_request/2]).
-export([produce_to/5, produce_cb_to/6, produce_no_ack_to/5, pass_acks/3, start_heir/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3,
         format_status/1]).

-export_type([config/0]).

-include("brod_int.hrl").

-define(DEFAULT_ROOM_TIMEOUT_MS, 300000).
-define(STOP_TIMEOUT_MS, 5000).
%% Less than the supervisor waits for.
-define(HAND_OVER_LIMIT_MS, 2000).
%% Longer than the engine keeps anything.
-define(HEIR_LIMIT_MS, 300000).
-define(IS_CALLBACK(Fun), (is_function(Fun, 2) orelse is_function(Fun, 3))).

-type config() :: proplists:proplist().
-type produce_error() :: {producer_down, term()} | timeout.

-record(state,
  { client    :: brod:client()
  , topic     :: brod:topic()
  , partition :: brod:partition()
  , config    :: map()
  , handle    :: brod_nif:producer()
    %% monitor of the client's process: without its engine nothing is sent any more
  , client_monitor :: reference()
    %% the engine has told everything
  , is_down = false :: boolean()
    %% callers on other nodes whose call is taken, but not confirmed until there is room
  , waiting = #{} :: #{term() => brod:call_ref()}
  }).

%% @doc Start a producer, also without a supervisor of brod. Options: `brod:start_producer/3'.
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
produce(Pid, Key, Value) ->
  Ref = make_ref(),
  case call_ref(brod_nif:produce(Pid, Ref, Key, Value), Ref, Key, Value) of
    undefined -> send_request(Pid, brod_utils:make_batch_input(Key, Value), undefined);
    Result -> Result
  end.

%% @doc As {@link produce/3}; the ack is a call of `AckCb' in the producer process, with partition
%% and offset. With arity 3 it is also called for what cannot be delivered:
%% `(Partition, -1, {error, Reason})'.
-spec produce_cb(pid(), brod:key(), brod:value(), brod:produce_ack_cb()) ->
        ok | {error, produce_error()}.
produce_cb(Pid, Key, Value, AckCb) when ?IS_CALLBACK(AckCb) ->
  case ok(brod_nif:produce(Pid, AckCb, Key, Value), AckCb, Key, Value) of
    undefined ->
      case send_request(Pid, brod_utils:make_batch_input(Key, Value), AckCb) of
        {ok, _CallRef} -> ok;
        {error, Reason} -> {error, Reason}
      end;
    Result ->
      Result
  end.

%% @doc Produce without ack and without ever waiting. Nothing tells whether it succeeded.
-spec produce_no_ack(pid(), brod:key(), brod:value()) -> ok.
produce_no_ack(Pid, Key, Value) ->
  case taken(brod_nif:produce(Pid, no_ack, Key, Value), Key, Value) of
    undefined ->
      CallRef = #brod_call_ref{caller = self(), callee = Pid, ref = undefined},
      Pid ! {produce, CallRef, brod_utils:make_batch_input(Key, Value), no_ack},
      ok;
    ok ->
      ok
  end.

%% @doc Wait for the ack of a produce call. Only for the process that made the call.
%% Offset -1: unknown, because the broker was not asked for acks.
-spec sync_produce_request(brod:call_ref(), timeout()) ->
        {ok, brod:offset()} | {error, produce_error() | term()}.
sync_produce_request(#brod_call_ref{callee = Callee, ref = Ref}, Timeout) ->
  MRef = monitor(process, Callee),
  receive
    #brod_produce_reply{call_ref = #brod_call_ref{ref = Ref}, result = Result,
                        base_offset = Offset} ->
      demonitor(MRef, [flush]),
      case Result of
        ?acked -> {ok, Offset};
        {error, Reason} -> {error, Reason}
      end;
    {'DOWN', MRef, process, _Pid, Reason} ->
      {error, {producer_down, Reason}}
  after Timeout ->
    demonitor(MRef, [flush]),
    {error, timeout}
  end.

%% @private The way of every message. `undefined': no producer is known for the partition.
-spec produce_to(brod:client(), brod:topic(), brod:partition(), brod:key(), brod:value()) ->
        {ok, brod:call_ref()} | {error, produce_error()} | undefined.
produce_to(Client, Topic, Partition, Key, Value) when is_atom(Client) ->
  Ref = make_ref(),
  call_ref(brod_nif:produce_to(Client, Topic, Partition, Ref, Key, Value), Ref, Key, Value);
produce_to(_ClientPid, _Topic, _Partition, _Key, _Value) ->
  undefined.

%% @private
-spec produce_cb_to(brod:client(), brod:topic(), brod:partition(), brod:key(), brod:value(),
                    brod:produce_ack_cb()) -> ok | {error, produce_error()} | undefined.
produce_cb_to(Client, Topic, Partition, Key, Value, AckCb)
  when is_atom(Client), ?IS_CALLBACK(AckCb) ->
  ok(brod_nif:produce_to(Client, Topic, Partition, AckCb, Key, Value), AckCb, Key, Value);
produce_cb_to(_ClientPid, _Topic, _Partition, _Key, _Value, AckCb) when ?IS_CALLBACK(AckCb) ->
  undefined.

%% @private
-spec produce_no_ack_to(brod:client(), brod:topic(), brod:partition(), brod:key(), brod:value()) ->
        ok | undefined.
produce_no_ack_to(Client, Topic, Partition, Key, Value) when is_atom(Client) ->
  taken(brod_nif:produce_to(Client, Topic, Partition, no_ack, Key, Value), Key, Value);
produce_no_ack_to(_ClientPid, _Topic, _Partition, _Key, _Value) ->
  undefined.

%% What the engine answered to a call, as its caller is told; `undefined' if it knows no producer there.

call_ref(Pid, Ref, _Key, _Value) when is_pid(Pid) ->
  {ok, #brod_call_ref{caller = self(), callee = Pid, ref = Ref}};
call_ref({Handle, Outcome}, Ref, Key, Value) ->
  case settle(Outcome, Handle, Ref, Key, Value) of
    {ok, Pid} -> call_ref(Pid, Ref, Key, Value);
    {error, Reason} -> {error, Reason}
  end;
call_ref(undefined, _Ref, _Key, _Value) ->
  undefined.

ok(Pid, _AckCb, _Key, _Value) when is_pid(Pid) ->
  ok;
ok({Handle, Outcome}, AckCb, Key, Value) ->
  case settle(Outcome, Handle, AckCb, Key, Value) of
    {ok, _Pid} -> ok;
    {error, Reason} -> {error, Reason}
  end;
ok(undefined, _AckCb, _Key, _Value) ->
  undefined.

taken({Handle, dirty}, Key, Value) ->
  _ = brod_nif:produce_dirty(Handle, no_ack, Key, Value),
  ok;
taken(undefined, _Key, _Value) ->
  undefined;
taken(_PidOrOutcome, _Key, _Value) ->
  ok.

settle(Pid, _Handle, _Target, _Key, _Value) when is_pid(Pid) ->
  {ok, Pid};
settle({wait, WaitId}, Handle, Target, _Key, _Value) ->
  wait_for_room(WaitId, Handle, Target);
settle(dirty, Handle, Target, Key, Value) ->
  settle(brod_nif:produce_dirty(Handle, Target, Key, Value), Handle, Target, Key, Value);
settle({error, closed}, _Handle, _Target, _Key, _Value) ->
  {error, {producer_down, noproc}}.

wait_for_room(WaitId, Handle, Target) ->
  Pid = brod_nif:producer_process(Handle),
  MRef = monitor(process, Pid),
  receive
    {brod_room, WaitId} ->
      demonitor(MRef, [flush]),
      {ok, Pid};
    {'DOWN', MRef, process, _, Reason} ->
      flush_reply(Target),
      {error, {producer_down, Reason}}
  after application:get_env(brod, produce_room_timeout, ?DEFAULT_ROOM_TIMEOUT_MS) ->
    demonitor(MRef, [flush]),
    ok = brod_nif:producer_cancel_wait(Handle, WaitId),
    receive {brod_room, WaitId} -> ok after 0 -> ok end,
    flush_reply(Target),
    {error, timeout}
  end.

%% The caller is told by the return value; a reply with a reference that it never saw is no use.
flush_reply(Ref) when is_reference(Ref) ->
  receive
    #brod_produce_reply{call_ref = #brod_call_ref{ref = Ref}} -> ok
  after 0 ->
    ok
  end;
flush_reply(_AckCb) ->
  ok.

%% A producer that is not known here lives on another node.
send_request(Pid, Batch, AckCb) ->
  MRef = monitor(process, Pid),
  CallRef = #brod_call_ref{caller = self(), callee = Pid, ref = MRef},
  Pid ! {produce, CallRef, Batch, AckCb},
  receive
    #brod_produce_reply{call_ref = #brod_call_ref{ref = MRef}, result = ?buffered} ->
      demonitor(MRef, [flush]),
      {ok, CallRef};
    #brod_produce_reply{call_ref = #brod_call_ref{ref = MRef}, result = {error, Reason}} ->
      demonitor(MRef, [flush]),
      {error, Reason};
    {'DOWN', MRef, process, _, Reason} ->
      {error, {producer_down, Reason}}
  after application:get_env(brod, produce_room_timeout, ?DEFAULT_ROOM_TIMEOUT_MS) ->
    demonitor(MRef, [flush]),
    {error, timeout}
  end.

%% gen_server

init({Client, Topic, Partition, Config}) ->
  process_flag(trap_exit, true),
  case brod_options:producer(Config) of
    {ok, Options} -> open(Client, Topic, Partition, Options);
    {error, Reason} -> {stop, Reason}
  end.

open(Client, Topic, Partition, Options) ->
  case brod_client:context(Client) of
    {ok, #{engine := Engine, client := ClientPid}} ->
      EngineConfig = maps:without([topic_restart_delay_seconds, partition_restart_delay_seconds],
                                  Options#{telemetry => brod_metrics:is_enabled()}),
      case brod_nif:producer_open(Engine, Topic, Partition, EngineConfig) of
        {ok, Handle} ->
          ok = brod_client:register_producer(Client, Topic, Partition, Handle),
          {ok, #state{client = Client, topic = Topic, partition = Partition, config = Options,
                      handle = Handle, client_monitor = monitor(process, ClientPid)}};
        {error, Reason} ->
          {stop, Reason}
      end;
    {error, Reason} ->
      {stop, Reason}
  end.

handle_call(stop, _From, State) ->
  {stop, normal, ok, State};
handle_call(Call, _From, State) ->
  {reply, {error, {unknown_call, Call}}, State}.

handle_cast(_Cast, State) ->
  {noreply, State}.

handle_info({brod_acks, BaseOffset, Targets}, #state{handle = Handle} = State) ->
  ok = pass_acks(Targets, BaseOffset, State#state.partition, self()),
  ok = brod_nif:producer_acks_done(Handle),
  {noreply, State};
handle_info({brod_nacks, Reason, Targets}, #state{handle = Handle} = State) ->
  ok = pass_nacks(Targets, Reason, State#state.partition, self()),
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
handle_info({produce, CallRef, Batch, AckCb}, State) ->
  {noreply, produce_for(CallRef, Batch, AckCb, State)};
handle_info({brod_down, Reason}, State) ->
  {stop, Reason, State#state{is_down = true}};
handle_info({'DOWN', MRef, process, _Client, _Reason}, #state{client_monitor = MRef} = State) ->
  {stop, client_down, State};
handle_info({'EXIT', _Pid, Reason}, State) when Reason =/= normal ->
  {stop, Reason, State};
handle_info(_Info, State) ->
  {noreply, State}.

terminate(Reason, #state{client = Client, topic = Topic, partition = Partition} = State) ->
  Heir = heir(State),
  ok = brod_nif:producer_close(State#state.handle, Reason, Heir),
  %% the engine tells the callers of what it still holds; what it has handed over is ours to tell,
  %% also what is on its way through a dispatcher
  ok = drain(Heir, now_ms() + ?HAND_OVER_LIMIT_MS, State),
  %% after a failure it can be found until the restart, so that callers see a producer that is down
  case brod_utils:is_normal_reason(Reason) of
    true ->
      ok = brod_nif:producer_withdraw(State#state.handle),
      brod_client:deregister_producer(Client, Topic, Partition);
    false -> ok
  end.

code_change(_OldVsn, State, _Extra) ->
  {ok, State}.

%% @private
format_status(#{state := #state{} = State} = Status) ->
  #state{topic = Topic, partition = Partition, client = Client, config = Config} = State,
  Status#{state := #{client => Client, topic => Topic, partition => Partition, config => Config}};
format_status(Status) ->
  Status.

%% Runs the callbacks of calls that end after the producer: those on the wire may take a while.
heir(#state{is_down = true}) -> self();
heir(#state{partition = Partition}) -> start_heir(Partition, self()).

%% @private Start a process that passes on what comes for a producer that is gone.
-spec start_heir(brod:partition(), pid()) -> pid().
start_heir(Partition, Producer) ->
  spawn(fun() -> inherit(Partition, Producer) end).

inherit(Partition, Producer) ->
  receive
    {brod_acks, BaseOffset, Targets} ->
      ok = pass_acks(Targets, BaseOffset, Partition, Producer),
      inherit(Partition, Producer);
    {brod_nacks, Reason, Targets} ->
      ok = pass_nacks(Targets, Reason, Partition, Producer),
      inherit(Partition, Producer);
    {brod_down, _Reason} ->
      ok
  after ?HEIR_LIMIT_MS ->
    ok
  end.

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

%% @private Tell the callers of a batch that has no callbacks, for a dispatcher.
-spec pass_acks([term()], brod:offset(), pid()) -> ok.
pass_acks(Targets, BaseOffset, Producer) ->
  pass_acks(Targets, BaseOffset, none, Producer).

%% Targets come as [Target, Ref, Delta, ...]. These loops run once per produce call.

pass_acks([Pid, Ref, Delta | Rest], BaseOffset, Partition, Self) when is_pid(Pid) ->
  Pid ! reply(Pid, Self, Ref, offset(BaseOffset, Delta), ?acked),
  pass_acks(Rest, BaseOffset, Partition, Self);
pass_acks([AckCb, _Ref, Delta | Rest], BaseOffset, Partition, Self) ->
  Offset = offset(BaseOffset, Delta),
  _ = if is_function(AckCb, 2) -> guarded(AckCb, [Partition, Offset]);
         is_function(AckCb, 3) -> guarded(AckCb, [Partition, Offset, ok])
      end,
  pass_acks(Rest, BaseOffset, Partition, Self);
pass_acks([], _BaseOffset, _Partition, _Self) ->
  ok.

pass_nacks([Pid, Ref, _Delta | Rest], Reason, Partition, Self) when is_pid(Pid) ->
  Pid ! reply(Pid, Self, Ref, ?BROD_PRODUCE_UNKNOWN_OFFSET, {error, {producer_down, Reason}}),
  pass_nacks(Rest, Reason, Partition, Self);
pass_nacks([AckCb, _Ref, _Delta | Rest], Reason, Partition, Self) ->
  is_function(AckCb, 3) andalso
    guarded(AckCb, [Partition, ?BROD_PRODUCE_UNKNOWN_OFFSET, {error, Reason}]),
  pass_nacks(Rest, Reason, Partition, Self);
pass_nacks([], _Reason, _Partition, _Self) ->
  ok.

reply(Caller, Callee, Ref, Offset, Result) ->
  #brod_produce_reply{call_ref = #brod_call_ref{caller = Caller, callee = Callee, ref = Ref},
                      base_offset = Offset, result = Result}.

offset(-1, _Delta) -> ?BROD_PRODUCE_UNKNOWN_OFFSET;
offset(BaseOffset, Delta) -> BaseOffset + Delta.

%% The callback of one call must not cost the others their acks.
guarded(AckCb, Args) ->
  try apply(AckCb, Args)
  catch
    Class:Reason:Stack ->
      ?BROD_LOG_ERROR("Ack callback ~p failed with ~p:~p~n~p", [AckCb, Class, Reason, Stack])
  end.

pass_room([Pid, WaitId | Rest], #state{waiting = Waiting} = State) when Pid =:= self() ->
  case maps:take(WaitId, Waiting) of
    {CallRef, StillWaiting} ->
      confirm(CallRef, ?buffered),
      pass_room(Rest, State#state{waiting = StillWaiting});
    error ->
      pass_room(Rest, State)
  end;
pass_room([Pid, WaitId | Rest], State) ->
  Pid ! {brod_room, WaitId},
  pass_room(Rest, State);
pass_room([], State) ->
  State.

%% The engine replies to processes of this node only, so callers elsewhere are served by a fun.
produce_for(CallRef, Batch, AckCb, #state{handle = Handle} = State) ->
  Target = case AckCb of
             undefined -> reply_fun(CallRef);
             _ -> AckCb
           end,
  Result = try brod_nif:produce_dirty(Handle, Target, <<>>, Batch)
           catch error:badarg -> {error, badarg}
           end,
  case Result of
    _ when AckCb =:= no_ack ->
      State;
    Pid when is_pid(Pid) ->
      confirm(CallRef, ?buffered),
      State;
    {wait, WaitId} ->
      State#state{waiting = (State#state.waiting)#{WaitId => CallRef}};
    {error, closed} ->
      confirm(CallRef, {error, {producer_down, noproc}}),
      State;
    {error, Reason} ->
      confirm(CallRef, {error, Reason}),
      State
  end.

reply_fun(#brod_call_ref{caller = Caller} = CallRef) ->
  fun(_Partition, Offset, Result) ->
    Caller ! #brod_produce_reply{call_ref = CallRef, base_offset = Offset,
                                 result = case Result of
                                            ok -> ?acked;
                                            {error, Reason} -> {error, {producer_down, Reason}}
                                          end}
  end.

confirm(#brod_call_ref{caller = Caller} = CallRef, Result) ->
  Caller ! #brod_produce_reply{call_ref = CallRef, base_offset = ?BROD_PRODUCE_UNKNOWN_OFFSET,
                               result = Result},
  ok.
