%% @private The process that runs the callbacks of a coordinator; what the coordinator asks of a member
%% module, and what a failure of it means.
-module(brod_group_callbacks).

-export([serve/1, run/2]).
-export([revoked/2, await_partitions/2, received/6, assign/4, stop_reason/1]).

-include("brod_int.hrl").

-define(PARTITIONS_TRIES, 20).
-define(PARTITIONS_RETRY_MS, 100).

%% @doc The process: runs what it is given, one after the other. A callback may take it for the
%% coordinator; what comes for that is passed on, in order and ahead of the result. While it waits it is
%% in no version of this module: old ones can be purged.
-spec serve(pid()) -> no_return().
serve(Coordinator) ->
  receive
    {?MODULE, run, Fun} ->
      Result = call(Fun),
      ok = pass_on(Coordinator),
      Coordinator ! {brod_callbacks_done, self(), Result};
    Other ->
      Coordinator ! Other
  after 0 ->
    ok
  end,
  erlang:hibernate(?MODULE, serve, [Coordinator]).

pass_on(Coordinator) ->
  receive Other -> Coordinator ! Other, pass_on(Coordinator)
  after 0 -> ok
  end.

%% The coordinator reports how callbacks fail, once.
call(Fun) ->
  try Fun()
  catch
    error:Reason:Stack -> exit({brod_crash:short(Reason), brod_crash:short_stack(Stack)});
    throw:Value:Stack -> exit({{nocatch, brod_crash:short(Value)}, brod_crash:short_stack(Stack)})
  end.

%% @doc Runs `Fun' there; the coordinator gets `{brod_callbacks_done, Pid, Result}', or its exit.
-spec run(pid(), fun(() -> term())) -> ok.
run(Pid, Fun) ->
  Pid ! {?MODULE, run, Fun},
  ok.

%% @doc Has the member let go of its partitions, and returns its user data for the next join.
-spec revoked(module(), term()) -> binary().
revoked(Module, Pid) ->
  _ = Module:assignments_revoked(Pid),
  iolist_to_binary(brod_utils:optional_callback(Module, user_data, [Pid], <<>>)).

%% @doc Has the client learn of partitions that it does not know: the leader of the group may have
%% seen a topic grow first. Waits for brokers that are behind, but not for long.
-spec await_partitions(brod:client(), [brod:topic_partition()]) -> ok.
await_partitions(Client, Partitions) ->
  Counts = lists:foldl(fun({T, P}, Acc) -> Acc#{T => max(P + 1, maps:get(T, Acc, 0))} end, #{},
                       Partitions),
  maps:foreach(fun(Topic, Count) -> await_count(Client, Topic, Count, ?PARTITIONS_TRIES) end,
               Counts).

await_count(_Client, _Topic, _Count, 0) ->
  ok;
await_count(Client, Topic, Count, Tries) ->
  case brod_client:get_partitions_count_safe(Client, Topic) of
    {ok, Known} when Known >= Count ->
      ok;
    _ when Tries =:= ?PARTITIONS_TRIES ->
      refresh(Client, Topic, Count, Tries);
    _ ->
      receive after ?PARTITIONS_RETRY_MS -> refresh(Client, Topic, Count, Tries) end
  end.

refresh(Client, Topic, Count, Tries) ->
  _ = brod_client:get_metadata_safe(Client, Topic),
  await_count(Client, Topic, Count, Tries - 1).

%% @doc Brings the member its partitions. `Partitions' as in the engine's event.
-spec received(module(), term(), brod:group_member_id(), brod:group_generation_id(),
               commit_to_kafka_v2 | consumer_managed,
               [{brod:topic(), brod:partition(), undefined | brod:offset(), binary()}]) -> term().
received(Module, Pid, MemberId, Generation, Policy, Partitions) ->
  Assignments = [#brod_received_assignment{topic = T, partition = P, begin_offset = Offset}
                 || {{T, P}, Offset} <- with_offsets(Policy, Module, Pid, Partitions)],
  Module:assignments_received(Pid, MemberId, Generation, Assignments).

with_offsets(commit_to_kafka_v2, _Module, _Pid, Partitions) ->
  [{{T, P}, Offset} || {T, P, Offset, _Metadata} <- Partitions];
with_offsets(consumer_managed, Module, Pid, Partitions) ->
  TPs = [{T, P} || {T, P, _, _} <- Partitions],
  {ok, Stored} = Module:get_committed_offsets(Pid, TPs),
  [{{T, P}, begin_offset(lists:keyfind({T, P}, 1, Stored), Begin)}
   || {T, P, Begin, _} <- Partitions].

%% Members store the offset of the last message, as they acknowledge it.
begin_offset(false, Begin) -> Begin;
%% Nothing is earlier than 0: where the begin of the log is gone, what is left of it is read (as in brod from 3.16.5 on).
begin_offset({_TP, {begin_offset, 0}}, _Begin) -> earliest;
begin_offset({_TP, {begin_offset, Offset}}, _Begin) -> Offset;
begin_offset({_TP, Last}, _Begin) when is_integer(Last), Last >= -1 -> Last + 1.

%% @doc Has the member, who leads the group, deal out the partitions.
-spec assign(module(), term(), [brod:group_member()], [{brod:topic(), brod:partition()}]) ->
        [{brod:group_member_id(), [brod:partition_assignment()]}].
assign(Module, Pid, Members, Partitions) ->
  Assignments = Module:assign_partitions(Pid, Members, Partitions),
  ok = brod_group_args:assignments(Assignments),
  Assignments.

%% @doc What the coordinator stops with when callbacks ended with `Reason'.
-spec stop_reason(term()) -> term().
stop_reason({timeout, _} = Timeout) -> Timeout;
stop_reason({noproc, _}) -> {shutdown, member_down};
stop_reason({_Reason, {gen_server, call, _}}) -> {shutdown, member_down};
stop_reason({_Reason, {'Elixir.GenServer', call, _}}) -> {shutdown, member_down};
stop_reason(Reason) -> Reason.
