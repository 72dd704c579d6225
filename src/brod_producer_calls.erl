%% @private The caller's side of producing: hands messages to the engine, and waits where there is to wait.
-module(brod_producer_calls).

-export([produce/3, produce_cb/4, produce_no_ack/3, sync_produce_request/2]).
-export([produce_to/5, produce_cb_to/6, produce_no_ack_to/5, lost_unheard/2]).
-export([produce_sync/4, produce_sync_to/6]).

-include("brod_int.hrl").

%% How long a caller waits for its ack before it watches the producer, too: longer than most acks take, from another region as well.
-define(UNWATCHED_MS, 100).
%% How long a reply is waited for when the producer has ended. None comes for an ack that has ended with it, and it comes later for
%% a call that was under way to a broker when the producer was killed.
-define(LAST_WORD_MS, 200).
-define(IS_CALLBACK(Fun), (is_function(Fun, 2) orelse is_function(Fun, 3))).

-type produce_error() :: {producer_down, term()} | timeout.

%% @doc See `brod_producer:produce/3'.
-spec produce(pid(), brod:key(), brod:value()) ->
        {ok, brod:call_ref()} | {error, produce_error()}.
produce(Pid, Key, Value) -> give(Pid, unmarked_ref(), Key, Value).

give(Pid, Ref, Key, Value) ->
  try call_ref(brod_nif:produce(Pid, Ref, Key, Value), Ref, Key, Value) of
    undefined -> send_request(Pid, Key, Value, undefined);
    Result -> Result
  catch
    error:badarg:Stack -> bad_message(produce, 3, 2, Key, Value, Stack)
  end.

%% @doc See `brod_producer:produce_cb/4'.
-spec produce_cb(pid(), brod:key(), brod:value(), brod:produce_ack_cb()) ->
        ok | {error, produce_error()}.
produce_cb(Pid, Key, Value, AckCb) when ?IS_CALLBACK(AckCb) ->
  Call = fun() -> brod_nif:produce(Pid, AckCb, Key, Value) end,
  try with_callback(Call(), Call, AckCb, Key, Value) of
    undefined ->
      case send_request(Pid, Key, Value, AckCb) of
        {ok, _CallRef} -> ok;
        {error, Reason} -> {error, Reason}
      end;
    Result ->
      Result
  catch
    error:badarg:Stack -> bad_message(produce_cb, 4, 2, Key, Value, Stack)
  end.

%% @doc See `brod_producer:produce_no_ack/3'.
-spec produce_no_ack(pid(), brod:key(), brod:value()) -> ok.
produce_no_ack(Pid, Key, Value) ->
  try taken(brod_nif:produce(Pid, no_ack, Key, Value), Key, Value) of
    undefined ->
      CallRef = #brod_call_ref{caller = self(), callee = Pid, ref = undefined},
      Pid ! {produce, CallRef, batch(Key, Value), no_ack},
      ok;
    ok ->
      ok
  catch
    error:badarg:Stack -> bad_message(produce_no_ack, 3, 2, Key, Value, Stack)
  end.

%% @doc See `brod_producer:sync_produce_request/2'.
-spec sync_produce_request(brod:call_ref(), timeout()) ->
        {ok, brod:offset()} | {error, produce_error() | term()}.
sync_produce_request(#brod_call_ref{caller = Caller}, _Timeout) when is_pid(Caller), Caller =/= self() ->
  brod_args:raise({bad_caller, Caller}, io_lib:format("the reply goes to ~p, which called produce: no other process "
                                                      "can wait for it", [Caller]));
sync_produce_request(#brod_call_ref{callee = Callee, ref = Ref}, Timeout) ->
  await_ack(Callee, Ref, Timeout).

%% @doc {@link produce/3} and {@link sync_produce_request/2} in one.
-spec produce_sync(pid(), brod:key(), brod:value(), timeout()) ->
        {ok, brod:offset()} | {error, produce_error() | term()}.
produce_sync(Pid, Key, Value, Timeout) ->
  Ref = make_ref(),
  await_call(give(Pid, Ref, Key, Value), Ref, Timeout).

%% @doc {@link produce_to/5} and {@link sync_produce_request/2} in one. `undefined': no producer is known for the partition.
-spec produce_sync_to(brod:client(), brod:topic(), brod:partition(), brod:key(), brod:value(), timeout()) ->
        {ok, brod:offset()} | {error, produce_error() | term()} | undefined.
produce_sync_to(Client, Topic, Partition, Key, Value, Timeout) ->
  Ref = make_ref(),
  await_call(give_to(Client, Topic, Partition, Ref, Key, Value), Ref, Timeout).

await_call({ok, #brod_call_ref{callee = Callee, ref = Of}}, Ref, Timeout) when Of =:= Ref -> await_ack(Callee, Ref, Timeout);
%% Another node's calls go by a reference of their own.
await_call({ok, CallRef}, _Ref, Timeout) -> sync_produce_request(CallRef, Timeout);
await_call(Result, _Ref, _Timeout) -> Result.

%% A monitor and its end are signals, which wake the producer's process. Most acks are here before it is worth that.
await_ack(Callee, Ref, Timeout) ->
  Unwatched = min(Timeout, ?UNWATCHED_MS),
  receive
    #brod_produce_reply{call_ref = #brod_call_ref{ref = Ref}} = Reply -> outcome(Reply)
  after Unwatched ->
    await_watched(Callee, Ref, left(Timeout, Unwatched))
  end.

%% Both messages have the reference that was made before the call: the VM does not look for them in what was in the mailbox
%% then, however much that is.
await_watched(Callee, Ref, Timeout) ->
  MRef = monitor(process, Callee, [{tag, {'DOWN', Ref}}]),
  receive
    #brod_produce_reply{call_ref = #brod_call_ref{ref = Ref}} = Reply ->
      demonitor(MRef, [flush]),
      outcome(Reply);
    {{'DOWN', Ref}, _MRef, process, _Pid, Reason} ->
      last_word(Ref, {error, {producer_down, Reason}}, ?LAST_WORD_MS)
  after Timeout ->
    demonitor(MRef, [flush]),
    {error, timeout}
  end.

%% @doc A message without ack is lost, and its caller is not to be told.
-spec lost_unheard(brod:topic(), term()) -> ok.
lost_unheard(Topic, Reason) ->
  case brod_trouble:fails({no_ack, Topic}, Reason) of
    {tell, Untold} ->
      ?BROD_LOG_WARNING("A message of produce_no_ack to ~ts is lost: ~9999p~ts",
                        [Topic, Reason, brod_trouble:before(Untold, "message")]);
    quiet ->
      ok
  end.

%% Whoever tells of the calls that a producer has left behind hears of its end no sooner than their callers do. A caller that has its
%% answer shall find no reply in its mailbox afterwards.
last_word(Ref, Otherwise, WithinMs) ->
  receive
    #brod_produce_reply{call_ref = #brod_call_ref{ref = Ref}} = Reply -> outcome(Reply)
  after WithinMs ->
    Otherwise
  end.

outcome(#brod_produce_reply{result = ?acked, base_offset = Offset}) -> {ok, Offset};
outcome(#brod_produce_reply{result = {error, Reason}}) -> {error, Reason}.

left(infinity, _Passed) -> infinity;
left(Timeout, Passed) -> Timeout - Passed.

%% @doc The way of every message. `undefined': no producer is known for the partition.
-spec produce_to(brod:client(), brod:topic(), brod:partition(), brod:key(), brod:value()) ->
        {ok, brod:call_ref()} | {error, produce_error()} | undefined.
produce_to(Client, Topic, Partition, Key, Value) ->
  give_to(Client, Topic, Partition, unmarked_ref(), Key, Value).

give_to(Client, Topic, Partition, Ref, Key, Value) when is_atom(Client) ->
  try
    call_ref(brod_nif:produce_to(Client, Topic, Partition, Ref, Key, Value), Ref, Key, Value)
  catch
    error:badarg:Stack -> bad_message(produce, 5, 4, Key, Value, Stack)
  end;
give_to(_ClientPid, _Topic, _Partition, _Ref, _Key, _Value) ->
  undefined.

%% @doc As {@link produce_to/5}, with a callback.
-spec produce_cb_to(brod:client(), brod:topic(), brod:partition(), brod:key(), brod:value(),
                    brod:produce_ack_cb()) -> ok | {error, produce_error()} | undefined.
produce_cb_to(Client, Topic, Partition, Key, Value, AckCb)
  when is_atom(Client), ?IS_CALLBACK(AckCb) ->
  Call = fun() -> brod_nif:produce_to(Client, Topic, Partition, AckCb, Key, Value) end,
  try
    with_callback(Call(), Call, AckCb, Key, Value)
  catch
    error:badarg:Stack -> bad_message(produce_cb, 6, 4, Key, Value, Stack)
  end;
produce_cb_to(_ClientPid, _Topic, _Partition, _Key, _Value, AckCb) when ?IS_CALLBACK(AckCb) ->
  undefined.

%% @doc As {@link produce_to/5}, for nobody to hear of.
-spec produce_no_ack_to(brod:client(), brod:topic(), brod:partition(), brod:key(), brod:value()) ->
        ok | undefined.
produce_no_ack_to(Client, Topic, Partition, Key, Value) when is_atom(Client) ->
  try
    taken(brod_nif:produce_to(Client, Topic, Partition, no_ack, Key, Value), Key, Value)
  catch
    error:badarg:Stack -> bad_message(produce_no_ack, 5, 4, Key, Value, Stack)
  end;
produce_no_ack_to(_ClientPid, _Topic, _Partition, _Key, _Value) ->
  undefined.

-spec bad_message(atom(), arity(), pos_integer(), term(), term(), erlang:stacktrace()) -> no_return().
bad_message(Function, Arity, KeyPosition, Key, Value, Stack) ->
  brod_produce_errors:raise(Function, Arity, [{KeyPosition, key, Key},
                                              {KeyPosition + 1, value, Value}], Stack).

%% What the engine answered to a call, as its caller is told; `undefined' if it knows no producer there.

call_ref(Pid, Ref, _Key, _Value) when is_pid(Pid) ->
  {ok, #brod_call_ref{caller = self(), callee = Pid, ref = Ref}};
call_ref({Handle, {wait, WaitId}}, Ref, Key, Value) ->
  case wait_for_room(WaitId, Handle) of
    {ok, Pid} ->
      call_ref(Pid, Ref, Key, Value);
    %% The caller is told by the return value; a reply with a reference that it never saw is no use.
    {error, timeout} = Error ->
      _ = last_word(Ref, Error, 0),
      Error;
    Error ->
      _ = last_word(Ref, Error, ?LAST_WORD_MS),
      Error
  end;
call_ref({Handle, dirty}, Ref, Key, Value) ->
  call_ref(again(Handle, brod_nif:produce_dirty(Handle, Ref, Key, Value)), Ref, Key, Value);
call_ref({_Handle, {error, closed}}, _Ref, _Key, _Value) ->
  {error, {producer_down, noproc}};
call_ref(undefined, _Ref, _Key, _Value) ->
  undefined.

%% A call with a callback is not taken before there is room: after an error it must not be run.
with_callback(Pid, _Call, _AckCb, _Key, _Value) when is_pid(Pid) ->
  ok;
with_callback({Handle, {full, WaitId}}, Call, AckCb, Key, Value) ->
  case wait_for_room(WaitId, Handle) of
    {ok, _Pid} -> with_callback(Call(), Call, AckCb, Key, Value);
    {error, Reason} -> {error, Reason}
  end;
with_callback({Handle, dirty}, _Call, AckCb, Key, Value) ->
  Call = fun() -> again(Handle, brod_nif:produce_dirty(Handle, AckCb, Key, Value)) end,
  with_callback(Call(), Call, AckCb, Key, Value);
with_callback({_Handle, {error, closed}}, _Call, _AckCb, _Key, _Value) ->
  {error, {producer_down, noproc}};
with_callback(undefined, _Call, _AckCb, _Key, _Value) ->
  undefined.

again(_Handle, Pid) when is_pid(Pid) -> Pid;
again(Handle, Outcome) -> {Handle, Outcome}.

taken({Handle, dirty}, Key, Value) ->
  _ = brod_nif:produce_dirty(Handle, no_ack, Key, Value),
  ok;
taken(undefined, _Key, _Value) ->
  undefined;
taken(_PidOrOutcome, _Key, _Value) ->
  ok.

wait_for_room(WaitId, Handle) ->
  Pid = brod_nif:producer_process(Handle),
  MRef = monitor(process, Pid),
  receive
    {brod_room, WaitId} ->
      demonitor(MRef, [flush]),
      {ok, Pid};
    {'DOWN', MRef, process, _, Reason} ->
      {error, {producer_down, Reason}}
  after room_timeout() ->
    demonitor(MRef, [flush]),
    ok = brod_nif:producer_cancel_wait(Handle, WaitId),
    receive {brod_room, WaitId} -> ok after 0 -> ok end,
    {error, timeout}
  end.

room_timeout() -> brod_option_table:environment(produce_room_timeout).

%% Where the compiler sees a reference made and then looked for, it has the mailbox marked there. That takes its lock with each call,
%% for a look that next to none of them takes.
unmarked_ref() -> make_ref().

%% A producer that is not known here lives on another node, or waits for its client to come back.
send_request(Pid, Key, Value, AckCb) ->
  Batch = batch(Key, Value),
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
  after room_timeout() ->
    demonitor(MRef, [flush]),
    Pid ! {cancel, CallRef},
    {error, timeout}
  end.

batch(Key, Value) ->
  try brod_utils:make_batch_input(Key, Value)
  catch
    error:_:Stack -> bad_message(produce, 3, 2, Key, Value, Stack)
  end.
