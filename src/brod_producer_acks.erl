%% @private Passes the engine's acks on to callers: for producers, for dispatchers, and for what is left of a
%% producer that has ended.
-module(brod_producer_acks).

-export([pass/3, pass/4, pass_failed/5, start_heir/3, confirm/2, reply_fun/1]).

-include("brod_int.hrl").

%% Longer than the engine keeps anything.
-define(HEIR_LIMIT_MS, 300000).

%% @doc Tell the callers of a batch that has no callbacks.
-spec pass([term()], brod:offset(), pid()) -> ok.
pass(Targets, BaseOffset, Producer) ->
  pass(Targets, BaseOffset, none, Producer).

%% @doc Tell the callers of a batch, and run its callbacks. Targets come as [Target, Ref, Delta, ...].
%% These loops run once per produce call.
-spec pass([term()], brod:offset(), brod:partition() | none, pid()) -> ok.
pass([Pid, Ref, Delta | Rest], BaseOffset, Partition, Self) when is_pid(Pid) ->
  Pid ! reply(Pid, Self, Ref, offset(BaseOffset, Delta), ?acked),
  pass(Rest, BaseOffset, Partition, Self);
pass([AckCb, _Ref, Delta | Rest], BaseOffset, Partition, Self) ->
  Offset = offset(BaseOffset, Delta),
  _ = if is_function(AckCb, 2) -> guarded(AckCb, [Partition, Offset]);
         is_function(AckCb, 3) -> guarded(AckCb, [Partition, Offset, ok])
      end,
  pass(Rest, BaseOffset, Partition, Self);
pass([], _BaseOffset, _Partition, _Self) ->
  ok.

%% @doc Tell the callers of a batch why it is not delivered. Callbacks of arity 2 are not called (ADR 2):
%% a line in the log counts them.
-spec pass_failed([term()], term(), brod:topic(), brod:partition(), pid()) -> ok.
pass_failed(Targets, Reason, Topic, Partition, Self) ->
  case pass_failed(Targets, Reason, Partition, Self) of
    0 -> ok;
    Count ->
      ?BROD_LOG_ERROR("Produce calls of ~ts, partition ~p, failed and have no callback that could be "
                      "told: ~p of them, because of ~9999p.", [Topic, Partition, Count, Reason])
  end.

pass_failed(Targets, Reason, Partition, Self) ->
  pass_failed_(Targets, Reason, Partition, Self, 0).

pass_failed_([Pid, Ref, _Delta | Rest], Reason, Partition, Self, Untold) when is_pid(Pid) ->
  Pid ! reply(Pid, Self, Ref, ?BROD_PRODUCE_UNKNOWN_OFFSET, {error, {producer_down, Reason}}),
  pass_failed_(Rest, Reason, Partition, Self, Untold);
pass_failed_([AckCb, _Ref, _Delta | Rest], Reason, Partition, Self, Untold)
  when is_function(AckCb, 3) ->
  _ = guarded(AckCb, [Partition, ?BROD_PRODUCE_UNKNOWN_OFFSET, {error, Reason}]),
  pass_failed_(Rest, Reason, Partition, Self, Untold);
pass_failed_([_AckCb, _Ref, _Delta | Rest], Reason, Partition, Self, Untold) ->
  pass_failed_(Rest, Reason, Partition, Self, Untold + 1);
pass_failed_([], _Reason, _Partition, _Self, Untold) ->
  Untold.

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

%% @doc The engine replies to processes of this node only, so callers elsewhere are served by a fun.
-spec reply_fun(brod:call_ref()) -> fun((brod:partition(), brod:offset(), ok | {error, term()}) -> term()).
reply_fun(#brod_call_ref{caller = Caller} = CallRef) ->
  fun(_Partition, Offset, Result) ->
    Caller ! #brod_produce_reply{call_ref = CallRef, base_offset = Offset,
                                 result = case Result of
                                            ok -> ?acked;
                                            {error, Reason} -> {error, {producer_down, Reason}}
                                          end}
  end.

%% @doc Tell a caller elsewhere that its call is taken, or why it is not.
-spec confirm(brod:call_ref(), term()) -> ok.
confirm(#brod_call_ref{caller = Caller} = CallRef, Result) ->
  Caller ! #brod_produce_reply{call_ref = CallRef, base_offset = ?BROD_PRODUCE_UNKNOWN_OFFSET,
                               result = Result},
  ok.

%% @doc Start a process that passes on what comes for a producer that is gone: calls in flight may take
%% a while.
-spec start_heir(brod:topic(), brod:partition(), pid()) -> {ok, pid()} | {error, system_limit}.
start_heir(Topic, Partition, Producer) ->
  brod_spawn:start(fun() -> inherit(Topic, Partition, Producer) end).

inherit(Topic, Partition, Producer) ->
  receive
    {brod_acks, BaseOffset, Targets} ->
      ok = pass(Targets, BaseOffset, Partition, Producer),
      inherit(Topic, Partition, Producer);
    {brod_nacks, Reason, Targets} ->
      ok = pass_failed(Targets, Reason, Topic, Partition, Producer),
      inherit(Topic, Partition, Producer);
    {brod_down, _Reason} ->
      ok
  after ?HEIR_LIMIT_MS ->
    ok
  end.
