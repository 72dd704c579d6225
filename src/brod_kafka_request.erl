%% @doc Requests for those who talk to a broker themselves: `kpro:request_sync/3' of kafka_protocol or
%% `brod_utils:request_sync/3' sends them. The first argument is the version, or the connection that the request is
%% for, whose broker's newest version is taken: where fields are given, the newest that asks for no others. Messages and errors are those of kafka_protocol.
-module(brod_kafka_request).

-export([produce/7, fetch/8, list_offsets/4, metadata/2, offset_fetch/3, list_groups/1]).
-export([join_group/2, sync_group/2, heartbeat/2, offset_commit/2]).
-export([create_topics/3, delete_topics/3]).

-include("brod_kafka.hrl").

-type to() :: brod:connection() | non_neg_integer().
-type req() :: brod_kafka_build:req().
-type fields() :: brod_kafka_codec:struct().

%% @doc Produce messages to a partition; `AckTimeout' in ms.
-spec produce(to(), brod:topic(), brod:partition(), binary() | [map()], RequiredAcks :: atom() | integer(),
              AckTimeout :: non_neg_integer(), brod:compression()) -> req().
produce(To, Topic, Partition, Messages, RequiredAcks, AckTimeout, Compression) ->
  brod_kafka_build:produce(version(produce, To), Topic, Partition, Messages,
                           #{required_acks => RequiredAcks, ack_timeout => AckTimeout, compression => Compression}).

%% @doc Fetch from an offset of a partition; `WaitTime' in ms.
-spec fetch(to(), brod:topic(), brod:partition(), brod:offset(), WaitTime :: non_neg_integer(),
            MinBytes :: non_neg_integer(), MaxBytes :: non_neg_integer(), read_committed | read_uncommitted) -> req().
fetch(To, Topic, Partition, Offset, WaitTime, MinBytes, MaxBytes, IsolationLevel) ->
  brod_kafka_build:fetch(version(fetch, To), Topic, Partition, Offset,
                         #{max_wait_time => WaitTime, min_bytes => MinBytes, max_bytes => MaxBytes,
                           isolation_level => IsolationLevel}).

%% @doc The offset at a time: `latest' or -1, `earliest' or -2, or ms since 1970.
-spec list_offsets(to(), brod:topic(), brod:partition(), brod:offset_time()) -> req().
list_offsets(To, Topic, Partition, Time) ->
  brod_kafka_build:list_offsets(version(list_offsets, To), Topic, Partition, Time, read_committed, -1).

%% @doc Metadata of topics, or of `all'.
-spec metadata(to(), all | [brod:topic()]) -> req().
metadata(To, Topics) ->
  brod_kafka_build:metadata(version(metadata, To), Topics, false).

%% @doc Offsets that a group has committed; an empty list means all.
-spec offset_fetch(to(), brod:group_id(), [{brod:topic(), [brod:partition()]}]) -> req().
offset_fetch(To, GroupId, TopicPartitions) ->
  brod_kafka_build:offset_fetch(version(offset_fetch, To), GroupId, TopicPartitions).

%% @doc Groups that a broker coordinates.
-spec list_groups(to()) -> req().
list_groups(To) -> make(list_groups, To, []).

%% @doc Join a group; the fields are Kafka's.
-spec join_group(to(), fields()) -> req().
join_group(To, Fields) -> make(join_group, To, Fields).

%% @doc Share out, or be told, what was assigned.
-spec sync_group(to(), fields()) -> req().
sync_group(To, Fields) -> make(sync_group, To, Fields).

%% @doc Stay a member.
-spec heartbeat(to(), fields()) -> req().
heartbeat(To, Fields) -> make(heartbeat, To, Fields).

%% @doc Commit offsets.
-spec offset_commit(to(), fields()) -> req().
offset_commit(To, Fields) -> make(offset_commit, To, Fields).

%% @doc Create topics: maps with `name', `num_partitions', `replication_factor', `assignments', `configs'.
-spec create_topics(to(), [fields()], #{timeout => integer(), validate_only => boolean()}) -> req().
create_topics(To, Topics, Opts) ->
  brod_kafka_build:create_topics(version(create_topics, To), Topics, Opts).

%% @doc Delete topics; `Timeout' in ms.
-spec delete_topics(to(), [brod:topic()], Timeout :: integer()) -> req().
delete_topics(To, Topics, Timeout) ->
  brod_kafka_build:delete_topics(version(delete_topics, To), Topics, #{timeout => Timeout}).

%% The newest version that the caller's fields suffice for: programs that know of no static members give none of those
%% that came with them.
make(Api, Connection, Fields) when is_pid(Connection) ->
  Newest = version(Api, Connection),
  try brod_kafka_build:make(Api, Newest, Fields)
  catch error:{field_missing, _} = Missing:Stack ->
    case make_older(Api, Connection, Newest - 1, Fields) of
      {ok, Req} -> Req;
      none -> erlang:raise(error, Missing, Stack)
    end
  end;
make(Api, To, Fields) ->
  brod_kafka_build:make(Api, version(Api, To), Fields).

make_older(Api, Connection, Vsn, Fields) ->
  case Vsn >= oldest(Api) andalso brod_kafka_apis:supports_version(Connection, Api, Vsn) of
    true ->
      try {ok, brod_kafka_build:make(Api, Vsn, Fields)}
      catch error:{field_missing, _} -> make_older(Api, Connection, Vsn - 1, Fields)
      end;
    false ->
      none
  end.

%% Older ones keep offsets in ZooKeeper.
oldest(offset_commit) -> 2;
oldest(_Api) -> 0.

version(_Api, Vsn) when is_integer(Vsn) -> Vsn;
version(Api, Connection) when is_pid(Connection) -> brod_kafka_apis:newest_version(Connection, Api);
version(Api, _) -> brod_kafka_apis:default_version(Api).
