%% Callers and subscribers of three topics, each with a promise of its own (chaos_oracle):
%%   strict   acks of all replicas, idempotent: each message once and in order, also while the group reads it
%%   phoenix  the same, for a topic that is deleted and created again: what is produced meanwhile is nobody's, what is produced
%%            to the new one is not
%%   weak     acks of the leader alone
-module(chaos_clients).

-export([start/1, counts/1, stop/1, new_life/3, change_member/1, await_progress/2, losses/1]).

-include_lib("brod/include/brod.hrl").

-export_type([clients/0, topics/0]).

-define(CLIENT, chaos).
-define(MEMBERS_CLIENT, chaos_members).
-define(MEMBERS, 2).
-define(ROLES, [strict, phoenix, weak]).
%% Unacknowledged messages of a caller.
-define(WINDOW, 500).
%% Messages on the way to the slowest reader: the topics keep far more.
-define(AHEAD, 100000).
-define(STARTED_MS, 60000).
%% What is counted of a role. The group counts what it has seen of the strict topic.
-define(COUNTED, [sent, acked, consumed, seen]).

-type role() :: strict | phoenix | weak.
-type topics() :: #{role() := {brod:topic(), Partitions :: pos_integer(), Callers :: pos_integer()}}.
-opaque clients() :: map().

%% @doc Everything is linked to the caller. Limit: ms in which each of them has to get on.
-spec start(#{endpoints := [brod:endpoint()], topics := topics(), rate := pos_integer(), limit := pos_integer()}) -> clients().
start(#{endpoints := Endpoints, topics := Topics} = Options) ->
  {ok, _} = application:ensure_all_started(brod),
  [ok = brod:start_client(Endpoints, Client, [{reconnect_cool_down_seconds, 1}]) || Client <- [?CLIENT, ?MEMBERS_CLIENT]],
  Callers = lists:sum([N || {_, _, N} <- maps:values(Topics)]),
  Base = Options#{counts => counters:new(length(?ROLES) * length(?COUNTED), []), stop => atomics:new(1, []),
                  life => atomics:new(1, []), losses => ets:new(losses, [public]), group => chaos_group:new(),
                  callers => Callers, begun => now_ms()},
  [ready(Role, Topic) || {Role, {Topic, _, _}} <- maps:to_list(Topics)],
  Readers = [spawn_link(fun() -> subscribe(Base, Role, Topic, P) end)
             || {Role, {Topic, Partitions, _}} <- maps:to_list(Topics), P <- lists:seq(0, Partitions - 1)],
  Writers = [spawn_link(fun() -> produce(Base, Role, Topic, Partitions, Caller) end)
             || {Role, {Topic, Partitions, N}} <- maps:to_list(Topics), Caller <- lists:seq(1, N)],
  Members = spawn_link(fun() -> members(Base) end),
  Base#{readers => Readers, writers => Writers, members => Members}.

ready(Role, Topic) ->
  ok = sooner_or_later(fun() -> brod:start_producer(?CLIENT, Topic, [{max_retries, -1} | producer(Role)]) end),
  ok = sooner_or_later(fun() -> brod:start_consumer(?CLIENT, Topic, [{begin_offset, earliest},
                                                                     {offset_reset_policy, reset_to_earliest}]) end).

%% Requests that are on their way together keep their order by their sequence numbers alone.
producer(strict) -> [{required_acks, -1}, {enable_idempotence, true}, {partition_onwire_limit, 5}];
producer(phoenix) -> [{required_acks, -1}, {enable_idempotence, true}];
producer(weak) -> [{required_acks, 1}, {enable_idempotence, false}].

%% @doc What was counted, by role.
-spec counts(clients()) -> #{role() => #{sent | acked | consumed | seen => non_neg_integer()}}.
counts(Clients) ->
  maps:from_list([{Role, maps:from_list([{What, count(Clients, Role, What)} || What <- ?COUNTED])} || Role <- ?ROLES]).

count(#{counts := Counts}, Role, What) -> counters:get(Counts, index(Role, What)).

add(#{counts := Counts}, Role, What, N) -> counters:add(Counts, index(Role, What), N).

index(Role, What) -> (position(Role, ?ROLES) - 1) * length(?COUNTED) + position(What, ?COUNTED).

position(Item, [Item | _]) -> 1;
position(Item, [_ | Rest]) -> 1 + position(Item, Rest).

%% @doc How many messages of the weak topic are missing, and how many came twice.
-spec losses(clients()) -> {non_neg_integer(), non_neg_integer()}.
losses(#{losses := Table}) ->
  All = [Summary || {_, Summary} <- ets:tab2list(Table)],
  {lists:sum([Lost || {Lost, _} <- All]), lists:sum([Doubled || {_, Doubled} <- All])}.

%% @doc Waits until every role has got something acked and read, and the group, too; for how many ms that took.
-spec await_progress(clients(), pos_integer()) -> non_neg_integer().
await_progress(Clients, LimitMs) ->
  Begun = now_ms(),
  Before = counts(Clients),
  ok = await(fun() ->
    Now = counts(Clients),
    case [{Role, What} || {Role, What} <- [{strict, seen} | [{R, W} || R <- ?ROLES, W <- [acked, consumed]]],
                          count_of(Now, Role, What) =:= count_of(Before, Role, What)] of
      [] -> ok;
      Waiting -> {error, {no_progress, Waiting}}
    end
  end, LimitMs),
  now_ms() - Begun.

count_of(Counts, Role, What) -> map_get(What, map_get(Role, Counts)).

%% @doc Has the phoenix topic deleted and created again, by a function, in the midst of producing; until all is seen of what came before,
%% and until messages of a new life are acked.
-spec new_life(clients(), fun((brod:topic(), Partitions :: pos_integer()) -> ok), pos_integer()) -> ok.
new_life(#{life := Life, topics := #{phoenix := {Topic, Partitions, _}}} = Clients, Recreate, LimitMs) ->
  ok = atomics:add(Life, 1, 1),
  ok = drained(Clients, phoenix, LimitMs),
  ok = Recreate(Topic, Partitions),
  ok = await(fun() ->
    Results = [brod:produce_sync(?CLIENT, Topic, P, <<>>, message(atomics:get(Life, 1), 0, 0)) || P <- lists:seq(0, Partitions - 1)],
    case [Result || Result <- Results, Result =/= ok] of
      [] -> ok;
      Errors -> {error, Errors}
    end
  end, LimitMs),
  atomics:add(Life, 1, 1).

%% Callers may be about to count, so all has to be the same for a while.
drained(Clients, Role, LimitMs) ->
  await(fun() ->
    Counts = [count(Clients, Role, sent) || _ <- lists:seq(1, 3), receive after 100 -> true end],
    Read = [count(Clients, Role, What) || What <- [acked, consumed | [seen || Role =:= strict]]],
    case lists:usort(Counts ++ Read) of
      [_] -> ok;
      _ -> {error, {not_drained, Role, Counts, Read}}
    end
  end, LimitMs).

%% @doc Ends callers, and waits until everything that was acked is read. What the weak topic lost cannot be read.
-spec stop(clients()) -> ok.
stop(#{stop := Stop, writers := Writers, limit := Limit} = Clients) ->
  ok = atomics:put(Stop, 1, 1),
  [receive
     {'EXIT', Writer, normal} -> ok;
     {'EXIT', _, Reason} when Reason =/= normal -> error(Reason)
   after Limit -> error({no_acks, Writer})
   end || Writer <- Writers],
  [ok = drained(Clients, Role, Limit) || Role <- [strict, phoenix]],
  ok.

%% Callers. A life that is odd is one in which the topic comes and goes.

produce(Clients, Role, Topic, Partitions, Caller) ->
  State = #{clients => Clients, role => Role, topic => Topic, partitions => Partitions, caller => Caller},
  calls(State, life(Clients, Role), #{}, Caller, #{}).

life(#{life := Life}, phoenix) -> atomics:get(Life, 1);
life(_, _) -> 0.

calls(#{clients := Clients, role := Role} = State, Life, Next, Turn, Waiting) ->
  IsOver = atomics:get(map_get(stop, Clients), 1) =:= 1,
  IsAhead = is_early(Clients, Turn) orelse ahead(Clients, Role) > ?AHEAD,
  if
    IsOver, map_size(Waiting) =:= 0 -> ok;
    IsOver; map_size(Waiting) >= ?WINDOW; IsAhead, map_size(Waiting) > 0 ->
      calls(State, Life, Next, Turn, answered(State, Waiting));
    IsAhead -> receive after 2 -> calls(State, Life, Next, Turn, Waiting) end;
    true -> call(State, Life, Next, Turn, Waiting)
  end.

call(#{clients := Clients, role := Role, topic := Topic, partitions := Partitions, caller := Caller} = State, Before, Next0,
     Turn, Waiting) ->
  %% Counted before it is known to which life it belongs: who waits for all of a life waits for this one.
  add(Clients, Role, sent, 1),
  Life = life(Clients, Role),
  Next = case Life of Before -> Next0; _ -> #{} end,
  P = Turn rem Partitions,
  N = maps:get(P, Next, 0),
  Life rem 2 =:= 0 orelse add(Clients, Role, sent, -1),
  case brod:produce(?CLIENT, Topic, P, <<>>, message(Life, Caller, N)) of
    {ok, Ref} -> calls(State, Life, Next#{P => N + 1}, Turn + 1, Waiting#{Ref => {Life, P, N}});
    {error, _} when Life rem 2 =:= 1 ->
      receive after 100 -> calls(State, Life, Next#{P => N + 1}, Turn + 1, Waiting) end;
    {error, Reason} -> error({produce, Role, Caller, P, Reason})
  end.

message(Life, Caller, N) -> <<Life:32, Caller:16, N:64, 0:688>>.

answered(#{clients := #{limit := Limit} = Clients, role := Role, caller := Caller}, Waiting) ->
  receive
    #brod_produce_reply{call_ref = Ref, result = Result} ->
      {{Life, P, N}, Left} = maps:take(Ref, Waiting),
      case Result of
        _ when Life rem 2 =:= 1 -> ok;
        brod_produce_req_acked -> add(Clients, Role, acked, 1);
        _ -> error({not_acked, Role, {caller, Caller}, {partition, P}, {number, N}, Result})
      end,
      Left
  after Limit ->
    error({no_answer, Role, {caller, Caller}, map_size(Waiting)})
  end.

%% Each caller has its share of the rate.
is_early(#{begun := Begun, rate := Rate, callers := Callers}, Turn) ->
  Turn > (now_ms() - Begun) * Rate div (1000 * Callers).

ahead(Clients, strict) ->
  count(Clients, strict, acked) - min(count(Clients, strict, consumed), count(Clients, strict, seen));
ahead(Clients, phoenix) -> count(Clients, phoenix, acked) - count(Clients, phoenix, consumed);
%% What is lost is never read.
ahead(_Clients, weak) -> 0.

%% Subscribers

subscribe(Clients, Role, Topic, P) ->
  {ok, Consumer} = sooner_or_later(fun() -> brod:subscribe(?CLIENT, self(), Topic, P, []) end),
  _ = monitor(process, Consumer),
  read(Clients, Role, P, Consumer, #{}).

read(#{limit := Limit} = Clients, Role, P, Consumer, State0) ->
  receive
    {Consumer, #kafka_message_set{messages = Messages}} ->
      State = lists:foldl(fun(Message, State) -> check(Clients, Role, P, Message, State) end, State0, Messages),
      Role =/= weak orelse ets:insert(map_get(losses, Clients), {P, chaos_oracle:summary(State)}),
      ok = brod:consume_ack(Consumer, (lists:last(Messages))#kafka_message.offset),
      read(Clients, Role, P, Consumer, State);
    {Consumer, #kafka_fetch_error{} = Error} ->
      error({subscriber, Role, {partition, P}, Error});
    {'DOWN', _, process, Consumer, Reason} ->
      error({consumer, Role, {partition, P}, Reason})
  after Limit ->
    error({nothing_read, Role, {partition, P}})
  end.

check(Clients, Role, P, #kafka_message{offset = Offset, value = <<Life:32, Caller:16, N:64, _/binary>>}, State0)
    when Life rem 2 =:= 0 ->
  Result = case Role of
             weak -> chaos_oracle:with_losses(Caller, N, State0);
             _ -> chaos_oracle:once({Life, Caller}, N, State0)
           end,
  case Result of
    {ok, State} -> add(Clients, Role, consumed, 1), State;
    {error, Reason} -> error({Role, {partition, P}, {offset, Offset}, Reason})
  end;
check(_Clients, _Role, _P, _Message, State) ->
  State.

%% Members of the group. From time to time one leaves, and another one joins.

members(#{topics := #{strict := {Topic, Partitions, _}}, group := Table, limit := Limit} = Clients) ->
  process_flag(trap_exit, true),
  Data = {Topic, Table, fun() -> add(Clients, strict, seen, 1) end},
  Start = fun() -> {ok, Member} = chaos_group:start(?MEMBERS_CLIENT, Data), Member end,
  members(Start, [Start() || _ <- lists:seq(1, ?MEMBERS)], fun() -> chaos_group:stalled(Table, Partitions, Limit) end).

members(Start, [First | Rest] = Members, Stalled) ->
  receive
    {leave, From} ->
      ok = chaos_group:stop(First),
      From ! left,
      members(Start, Rest ++ [Start()], Stalled);
    {'EXIT', Pid, Reason} ->
      error(case lists:member(Pid, Members) of true -> {group_member, Reason}; false -> Reason end)
  after 1000 ->
    case Stalled() of
      [] -> members(Start, Members, Stalled);
      Partitions -> error({nothing_read_by_the_group, Partitions})
    end
  end.

%% @doc A member leaves, and another one joins.
-spec change_member(clients()) -> ok.
change_member(#{members := Members}) ->
  Members ! {leave, self()},
  receive left -> ok end.

%% Of a new topic not every broker knows at once.
sooner_or_later(Fun) ->
  Result = make_ref(),
  ok = await(fun() ->
    case Fun() of
      {error, Reason} -> {error, Reason};
      Other -> self() ! {Result, Other}, ok
    end
  end, ?STARTED_MS),
  receive {Result, Other} -> Other end.

await(Fun, LimitMs) -> await_until(Fun, now_ms() + LimitMs).

await_until(Fun, Deadline) ->
  case Fun() of
    ok -> ok;
    {error, Reason} ->
      now_ms() < Deadline orelse error(Reason),
      receive
        {'EXIT', _, Ended} when Ended =/= normal -> error(Ended)
      after 50 -> await_until(Fun, Deadline)
      end
  end.

now_ms() -> erlang:monotonic_time(millisecond).
