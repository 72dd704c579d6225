%% @private Funs that are kept for long: with secrets in options, or by users. A fun goes with the version of the
%% module that made it: once that is purged, calling it fails. So they are made here, where a new release changes
%% nothing: leave this module as it is (docs/adr/0030-a-node-keeps-its-engine.md).
-module(brod_closures).

-export([value/1, commit/3, ack/2]).

%% @doc Returns the value. Who prints the fun does not see it.
-spec value(Value) -> fun(() -> Value).
value(Value) -> fun() -> Value end.

%% @doc Puts an offset into a tracker, and acknowledges it to a worker.
-spec commit(brod_group_acks:tracker(), pid(), brod:partition()) -> fun((brod:offset()) -> ok).
commit(Tracker, Worker, Partition) ->
  fun(Offset) ->
      ok = brod_group_acks:put(Tracker, Offset),
      brod_topic_subscriber:ack(Worker, Partition, Offset)
  end.

%% @doc Acknowledges an offset to a worker.
-spec ack(pid(), brod:partition()) -> fun((brod:offset()) -> ok).
ack(Worker, Partition) -> fun(Offset) -> brod_topic_subscriber:ack(Worker, Partition, Offset) end.
