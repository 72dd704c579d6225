%% @private What the members of a generation have acknowledged and what of it is still to be committed.
%% A plain data structure.
%%
%% An ack comes either as a call of ack/3, or through a tracker: a cell that the worker of a
%% partition writes its last offset to, and that is read when a commit is due. So a worker's ack
%% costs no message, and survives the worker.
-module(brod_group_acks).

-export([new/0, ack/3, tracker/0, put/2, forget/1, track/3, take/1, give_back/2, summary/1]).

-export_type([acks/0, tracker/0, tp/0]).

-type tp() :: {brod:topic(), brod:partition()}.
-opaque tracker() :: atomics:atomics_ref().
-opaque acks() :: {Pending :: #{tp() => brod:offset()},
                   Trackers :: #{tp() => {tracker(), Seen :: integer()}}}.

-define(NOTHING, -1).
-define(FORGOTTEN, -2).

-spec new() -> acks().
new() -> {#{}, #{}}.

%% @doc The message at `Offset' and those before it are done with.
-spec ack(tp(), brod:offset(), acks()) -> acks().
ack(TP, Offset, {Pending, Trackers}) ->
  _ = case Trackers of
        #{TP := {Tracker, _}} -> atomics:compare_exchange(Tracker, 1, ?FORGOTTEN, ?NOTHING);
        _ -> ok
      end,
  {Pending#{TP => Offset}, Trackers}.

-spec tracker() -> tracker().
tracker() ->
  Ref = atomics:new(1, [{signed, true}]),
  ok = atomics:put(Ref, 1, ?NOTHING),
  Ref.

%% @doc As ack/3, by the worker that has the tracker.
-spec put(tracker(), brod:offset()) -> ok.
put(Tracker, Offset) when is_integer(Offset), Offset >= -1, Offset < 16#7fffffffffffffff ->
  atomics:put(Tracker, 1, Offset);
put(_Tracker, Offset) ->
  error({bad_offset, Offset}).

%% @doc What was acknowledged and is not committed yet is not to be, as it was in a log that is another one by now, or was
%% cut off: those who go on at such an offset would pass over messages. Until the next put/2.
-spec forget(tracker()) -> ok.
forget(Tracker) -> atomics:put(Tracker, 1, ?FORGOTTEN).

-spec track(tp(), tracker(), acks()) -> acks().
track(TP, Tracker, {Pending, Trackers}) -> {Pending, Trackers#{TP => {Tracker, ?NOTHING}}}.

%% @doc What has been acknowledged since the last take.
-spec take(acks()) -> {#{tp() => brod:offset()}, acks()}.
take({Pending, Trackers}) ->
  Now = maps:map(fun(_TP, {Tracker, _Seen}) -> {Tracker, atomics:get(Tracker, 1)} end, Trackers),
  Forgotten = [TP || {TP, {_, ?FORGOTTEN}} <- maps:to_list(Now)],
  New = maps:filter(fun(TP, {_, Offset}) -> Offset =/= element(2, maps:get(TP, Trackers)) end, maps:without(Forgotten, Now)),
  {maps:merge(maps:without(Forgotten, Pending), maps:map(fun(_TP, {_, Offset}) -> Offset end, New)), {#{}, Now}}.

%% @doc How many partitions have acks that are not committed, and how many have trackers.
-spec summary(acks()) -> map().
summary({Pending, Trackers}) -> #{pending => map_size(Pending), trackers => map_size(Trackers)}.

%% @doc What was taken could not be committed: it is taken again, unless something newer has come.
-spec give_back(#{tp() => brod:offset()}, acks()) -> acks().
give_back(Taken, {Pending, Trackers}) -> {maps:merge(Taken, Pending), Trackers}.
