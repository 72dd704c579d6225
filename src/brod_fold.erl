%% @private Fold over the messages of a partition.
-module(brod_fold).

-export([fold/8]).

-include("brod_int.hrl").

%% @doc See `brod:fold/8'.
-spec fold(brod_engine:target(), brod:topic(), brod:partition(), brod:offset(), brod:fetch_opts(),
           Acc, brod:fold_fun(Acc), brod:fold_limits()) -> brod:fold_result()
        when Acc :: brod:fold_acc().
fold(Target, Topic, Partition, Offset, Opts, Acc, Fun, Limits) ->
  Count = maps:get(message_count, Limits, infinity),
  Last = maps:get(reach_offset, Limits, infinity),
  is_integer(Count) andalso Count < 1 andalso error(bad_message_count),
  is_limit(Count, 1) orelse error({bad_limit, message_count, Count}),
  is_limit(Last, 0) orelse error({bad_limit, reach_offset, Last}),
  Result = brod_engine:with_target(Target, fun(#{endpoints := Endpoints} = Context) ->
    Fetch = fun(From) ->
              Fetched = brod_engine:failures(brod_calls:fetch_with(Context, Topic, Partition, From, Opts), Endpoints),
              brod_engine:ended(Fetched, Context)
            end,
    {done, loop(Fetch, Offset, Acc, Fun, Count, Last)}
  end),
  case Result of
    {done, ?BROD_FOLD_RET(_, Offset, {fetch_failure, Reason}) = Folded} when not is_pid(Target) ->
      case is_on_the_way(Reason) of
        true -> ?BROD_FOLD_RET(Acc, Offset, {error, Reason});
        false -> Folded
      end;
    {done, Folded} ->
      Folded;
    {error, Reason} ->
      ?BROD_FOLD_RET(Acc, Offset, {error, Reason})
  end.

%% Whether this stands in the way to the leader, so that there was no fetch: brod tells that as an error of
%% its own. Whoever gives a connection has got there.
is_on_the_way(Code) when Code =:= unknown_topic_or_partition; Code =:= invalid_topic_exception;
                         Code =:= leader_not_available; Code =:= topic_authorization_failed ->
  true;
is_on_the_way(Reason) ->
  brod_engine:is_failures(Reason).

is_limit(infinity, _Min) -> true;
is_limit(N, Min) -> is_integer(N) andalso N >= Min.

loop(Fetch, Offset, Acc, Fun, Count, Last) ->
  case Fetch(Offset) of
    {ok, {_StableOffset, [], Next}} ->
      ?BROD_FOLD_RET(Acc, Next, reached_end_of_partition);
    {ok, {_StableOffset, Messages, _}} ->
      case messages(Messages, Offset, Acc, Fun, Count, Last) of
        {more, NextOffset, NewAcc, Left} -> loop(Fetch, NextOffset, NewAcc, Fun, Left, Last);
        {done, Result} -> Result
      end;
    {error, Reason} ->
      ?BROD_FOLD_RET(Acc, Offset, {fetch_failure, Reason})
  end.

%% An atom is greater than any integer, so `infinity' is never reached.
messages(_Messages, Offset, Acc, _Fun, 0, _Last) ->
  {done, ?BROD_FOLD_RET(Acc, Offset, reached_message_count_limit)};
messages(_Messages, Offset, Acc, _Fun, _Count, Last) when Offset > Last ->
  {done, ?BROD_FOLD_RET(Acc, Offset, reached_target_offset)};
messages([], Offset, Acc, _Fun, Count, _Last) ->
  {more, Offset, Acc, Count};
messages([#kafka_message{offset = Offset} | _], _, Acc, _Fun, _Count, Last) when Offset > Last ->
  {done, ?BROD_FOLD_RET(Acc, Offset, reached_target_offset)};
messages([#kafka_message{offset = Offset} = Message | Rest], _, Acc, Fun, Count, Last) ->
  case Fun(Message, Acc) of
    {ok, NewAcc} -> messages(Rest, Offset + 1, NewAcc, Fun, decrement(Count), Last);
    {error, Reason} -> {done, ?BROD_FOLD_RET(Acc, Offset, Reason)}
  end.

decrement(infinity) -> infinity;
decrement(N) -> N - 1.
