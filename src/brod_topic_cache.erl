%% Partition counts of topics in a client's table:
%% {{topics, Topic}, Count, {added, Time}} and {{topics, Topic}, {error, Reason}, {expire, Time}}.
%% Anybody reads, only the client writes.
-module(brod_topic_cache).

-export([lookup/2, store/4, known_topics/1, counts/1]).

-type ttl_ms() :: non_neg_integer().

%% @doc A topic's partition count, the error that is remembered for it, or `false'.
-spec lookup(ets:tab(), brod:topic()) ->
        {ok, pos_integer()} | {error, client_down | atom()} | false.
lookup(Table, Topic) ->
  try ets:lookup(Table, {topics, Topic}) of
    [] -> false;
    [{_, Count, {added, _}}] when is_integer(Count) -> {ok, Count};
    [{_, {error, Reason}, {expire, Expire}}] ->
      case now_ms() < Expire of
        true -> {error, Reason};
        false -> false
      end
  catch
    error:badarg -> {error, client_down}
  end.

%% @doc Remember a result. Of errors only that a topic does not exist, for `TtlMs'. Returns the
%% count that was known before, if there was one and the new one is larger.
-spec store(ets:tab(), brod:topic(), {ok, pos_integer()} | {error, term()}, ttl_ms()) ->
        unchanged | {grown, From :: pos_integer(), To :: pos_integer()}.
store(Table, Topic, {ok, Count}, _TtlMs) ->
  Known = lookup(Table, Topic),
  true = ets:insert(Table, {{topics, Topic}, Count, {added, now_ms()}}),
  case Known of
    {ok, Less} when Less < Count -> {grown, Less, Count};
    _ -> unchanged
  end;
store(Table, Topic, {error, unknown_topic_or_partition = Reason}, TtlMs) ->
  true = ets:insert(Table, {{topics, Topic}, {error, Reason}, {expire, now_ms() + TtlMs}}),
  unchanged;
store(_Table, _Topic, {error, _}, _TtlMs) ->
  unchanged.

%% @doc Topics whose partition count is known.
-spec known_topics(ets:tab()) -> [brod:topic()].
known_topics(Table) ->
  ets:select(Table, [{{{topics, '$1'}, '_', {added, '_'}}, [], ['$1']}]).

%% @doc Partition counts of a metadata map.
-spec counts(map()) -> [{brod:topic(), {ok, pos_integer()} | {error, atom()}}].
counts(#{topics := Topics}) ->
  [{Name, case Topic of
            #{error_code := no_error, partitions := Partitions} -> {ok, length(Partitions)};
            #{error_code := Code} -> {error, Code}
          end} || #{name := Name} = Topic <- Topics].

now_ms() -> erlang:monotonic_time(millisecond).
