%% @private Partition counts of topics in a client's table:
%% {{topics, Topic}, Count, {added, Time}} and {{topics, Topic}, {error, Reason}, {expire, Time}},
%% and {{last_count, Topic}, Count}, which an error leaves alone. Anybody reads, only the client writes.
-module(brod_topic_cache).

-export([lookup/2, store/4, publish/3, known_topics/1, forget_gone/1, counts/1]).

-type ttl_ms() :: non_neg_integer().

%% @doc A topic's partition count, the error that is remembered for it, or `false'.
-spec lookup(ets:tab(), brod:topic()) ->
        {ok, pos_integer()} | {error, client_down | atom()} | false.
lookup(Table, Topic) ->
  try ets:lookup(Table, {topics, Topic}) of
    [] -> false;
    [{_, Count, _Added}] when is_integer(Count) -> {ok, Count};
    [{_, {error, Reason}, {expire, Expire}}] ->
      case now_ms() < Expire of
        true -> {error, Reason};
        false -> false
      end
  catch
    error:badarg -> {error, client_down}
  end.

%% @doc Remember a result. Of errors only that a topic does not exist, for `TtlMs', and not while
%% it has producers: one answer of a broker that lags behind must not hold up their callers, and if
%% the topic is gone they find out themselves. A count that is larger than the one known before is
%% returned: when the processes of the new partitions are started, it is to be given to {@link publish/3}.
-spec store(ets:tab(), brod:topic(), {ok, pos_integer()} | {error, term()}, ttl_ms()) ->
        [brod_client_workers:growth()].
store(Table, Topic, {ok, Count}, _TtlMs) ->
  case ets:lookup(Table, {last_count, Topic}) of
    [{_, Less}] when Less < Count ->
      [{Topic, Less, Count}];
    _ ->
      ok = publish(Table, Topic, Count),
      []
  end;
store(Table, Topic, {error, unknown_topic_or_partition = Reason}, TtlMs) ->
  _ = has(producer, Table, Topic) orelse
        ets:insert(Table, {{topics, Topic}, {error, Reason}, {expire, now_ms() + TtlMs}}),
  [];
store(_Table, _Topic, {error, _}, _TtlMs) ->
  [].

%% @doc Let callers see a partition count.
-spec publish(ets:tab(), brod:topic(), pos_integer()) -> ok.
publish(Table, Topic, Count) ->
  true = ets:insert(Table, [{{topics, Topic}, Count, {added, now_ms()}},
                            {{last_count, Topic}, Count}]),
  ok.

has(Kind, Table, Topic) ->
  ets:match(Table, {{Kind, Topic, '_'}, '$1'}, 1) =/= '$end_of_table'.

%% @doc Forget errors whose time is over, and the counts of topics that were not there when they were last asked for, unless they
%% have producers or consumers: there is no end of names.
-spec forget_gone(ets:tab()) -> ok.
forget_gone(Table) ->
  Error = {{topics, '$1'}, {error, '_'}, {expire, '$2'}},
  %% names that never were have no count, and there may be many of them: only for others it is worth to look through the table
  Gone = [Topic || Topic <- ets:select(Table, [{Error, [], ['$1']}]), ets:member(Table, {last_count, Topic}),
                   not has(producer, Table, Topic), not has(consumer, Table, Topic)],
  lists:foreach(fun(Topic) -> true = ets:delete(Table, {last_count, Topic}) end, Gone),
  _ = ets:select_delete(Table, [{Error, [{'=<', '$2', now_ms()}], [true]}]),
  ok.

%% @doc Topics whose partition count is or was known.
-spec known_topics(ets:tab()) -> [brod:topic()].
known_topics(Table) ->
  ets:select(Table, [{{{last_count, '$1'}, '_'}, [], ['$1']}]).

%% @doc Partition counts of a metadata map.
-spec counts(map()) -> [{brod:topic(), {ok, pos_integer()} | {error, atom()}}].
counts(#{topics := Topics}) ->
  [{Name, case Topic of
            #{error_code := no_error, partitions := Partitions} -> {ok, length(Partitions)};
            #{error_code := Code} -> {error, Code}
          end} || #{name := Name} = Topic <- Topics].

now_ms() -> erlang:monotonic_time(millisecond).
