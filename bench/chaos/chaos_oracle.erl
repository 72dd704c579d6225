%% What a reader may see of the messages of a caller, who numbers them from 0 on, partition by partition.
-module(chaos_oracle).

-export([once/3, at_least_once/4, with_losses/3, summary/1]).

-export_type([expected/0, weak/0]).

-type expected() :: #{term() => non_neg_integer()}.
-type weak() :: #{term() => {Next :: non_neg_integer(), Missing :: [{non_neg_integer(), non_neg_integer()}],
                             Doubled :: non_neg_integer()}}.

%% @doc Each message once and in order.
-spec once(Caller :: term(), non_neg_integer(), expected()) -> {ok, expected()} | {error, term()}.
once(Caller, N, Expected) ->
  case maps:get(Caller, Expected, 0) of
    N -> {ok, Expected#{Caller => N + 1}};
    Other -> {error, {wrong_order, {caller, Caller}, {expected, Other}, {got, N}}}
  end.

%% @doc One partition of a member of a group: it begins anywhere up to what the group has seen, and goes on in order.
-spec at_least_once(Caller :: term(), non_neg_integer(), Seen :: non_neg_integer(), expected()) ->
        {ok, expected()} | {error, term()}.
at_least_once(Caller, N, Seen, Expected) ->
  case Expected of
    #{Caller := N} -> {ok, Expected#{Caller := N + 1}};
    #{Caller := Other} -> {error, {wrong_order, {caller, Caller}, {expected, Other}, {got, N}}};
    _ when N =< Seen -> {ok, Expected#{Caller => N + 1}};
    _ -> {error, {passed_over, {caller, Caller}, {seen_by_the_group, Seen}, {got, N}}}
  end.

%% @doc A leader that has not got what its predecessor acked loses it, and what is sent again may come twice; what is missing
%% once does not come later, behind what was sent after it.
-spec with_losses(Caller :: term(), non_neg_integer(), weak()) -> {ok, weak()} | {error, term()}.
with_losses(Caller, N, State) ->
  {Next, Missing, Doubled} = maps:get(Caller, State, {0, [], 0}),
  if
    N =:= Next -> {ok, State#{Caller => {N + 1, Missing, Doubled}}};
    N > Next -> {ok, State#{Caller => {N + 1, [{Next, N - 1} | Missing], Doubled}}};
    true ->
      case [Range || {From, To} = Range <- Missing, N >= From, N =< To] of
        [] -> {ok, State#{Caller => {Next, Missing, Doubled + 1}}};
        [Range] -> {error, {later_than_its_successors, {caller, Caller}, {got, N}, {missing, Range}, {next, Next}}}
      end
  end.

%% @doc How many are missing, and how many came again.
-spec summary(weak()) -> {Lost :: non_neg_integer(), Doubled :: non_neg_integer()}.
summary(State) ->
  {lists:sum([To - From + 1 || {_, Missing, _} <- maps:values(State), {From, To} <- Missing]),
   lists:sum([Doubled || {_, _, Doubled} <- maps:values(State)])}.
