%% @private Requests of one topic or partition, as the functions of `brod_kafka_request' and of kafka_protocol's
%% `kpro_req_lib' make them.
-module(brod_kafka_build).

-export([make/3, metadata/3, list_offsets/6, fetch/5, produce/5, create_topics/3, delete_topics/3, offset_fetch/3]).

-include("brod_kafka.hrl").

-define(ANY_REPLICA, -1).
-define(ACK_TIMEOUT_MS, 10000).
-define(FETCH_MAX_BYTES, 1048576).
-define(MIN_MAGIC_1_PRODUCE, 1).
-define(MIN_MAGIC_2_PRODUCE, 3).

-type vsn() :: non_neg_integer().
-type req() :: #kpro_req{}.

-export_type([req/0]).

%% @doc A request of any API, encoded. Raises what {@link brod_kafka_codec:encode/3} does.
-spec make(atom(), vsn(), brod_kafka_codec:struct()) -> req().
make(Api, Vsn, Fields) ->
  #kpro_req{ref = make_ref(), api = Api, vsn = Vsn, msg = brod_kafka_codec:encode(Api, Vsn, Fields)}.

%% @doc Metadata of topics; an empty list means all of them, too.
-spec metadata(vsn(), all | [brod:topic()], AutoCreate :: boolean()) -> req().
metadata(Vsn, Topics, AutoCreate) ->
  make(metadata, Vsn, #{ topics => topics(Vsn, Topics)
                       , allow_auto_topic_creation => AutoCreate
                       , include_cluster_authorized_operations => false
                       , include_topic_authorized_operations => false
                       }).

%% In version 0 an empty list means all, later it means none.
topics(Vsn, []) -> topics(Vsn, all);
topics(0, all) -> [];
topics(_Vsn, all) -> undefined;
topics(_Vsn, Topics) -> [#{name => Topic} || Topic <- Topics].

%% @doc The offset at a time.
-spec list_offsets(vsn(), brod:topic(), brod:partition(), brod:offset_time(), brod_consumer:isolation_level(),
                   LeaderEpoch :: integer()) -> req().
list_offsets(Vsn, Topic, Partition, Time, Isolation, LeaderEpoch) ->
  At = #{partition => Partition, timestamp => time(Time), max_num_offsets => 1, current_leader_epoch => LeaderEpoch},
  make(list_offsets, Vsn, #{ replica_id => ?ANY_REPLICA
                           , isolation_level => Isolation
                           , topics => [#{topic => Topic, partitions => [At]}]
                           }).

time(latest) -> -1;
time(earliest) -> -2;
time(Time) when is_integer(Time) -> Time.

%% @doc Messages from an offset on, of one partition. Options: `max_wait_time' (1000 ms), `min_bytes' (0), `max_bytes'
%% (1 MB), `isolation_level' (read_committed), `session_id', `session_epoch', `leader_epoch', `rack_id'.
-spec fetch(vsn(), brod:topic(), brod:partition(), brod:offset(), map()) -> req().
fetch(Vsn, Topic, Partition, Offset, Opts) ->
  MaxBytes = maps:get(max_bytes, Opts, ?FETCH_MAX_BYTES),
  From = #{ partition => Partition
          , fetch_offset => Offset
          , partition_max_bytes => MaxBytes
          , log_start_offset => -1
          , current_leader_epoch => maps:get(leader_epoch, Opts, -1)
          },
  make(fetch, Vsn, #{ replica_id => ?ANY_REPLICA
                    , max_wait_time => maps:get(max_wait_time, Opts, 1000)
                    , min_bytes => maps:get(min_bytes, Opts, 0)
                    , max_bytes => MaxBytes
                    , isolation_level => maps:get(isolation_level, Opts, read_committed)
                    , session_id => maps:get(session_id, Opts, 0)
                    , session_epoch => maps:get(session_epoch, Opts, -1)
                    , topics => [#{topic => Topic, partitions => [From]}]
                    , forgotten_topics_data => []
                    , rack_id => maps:get(rack_id, Opts, undefined)
                    }).

%% @doc Messages to one partition, or a batch that is encoded already. Options: `required_acks' (all_isr, leader_only,
%% none, or the number), `ack_timeout' in ms, `compression'; for a transaction `txn_ctx' and `first_sequence'.
-spec produce(vsn(), brod:topic(), brod:partition(), binary() | brod_kafka_batch:input(), map()) -> req().
produce(Vsn, Topic, Partition, Batch, Opts) ->
  Acks = required_acks(maps:get(required_acks, Opts, all_isr)),
  TransactionalId = case Opts of
                      #{txn_ctx := #{transactional_id := Id}} -> Id;
                      _ -> undefined
                    end,
  Data = #{topic => Topic, data => [#{partition => Partition, record_set => batch(Vsn, Batch, Opts)}]},
  Req = make(produce, Vsn, #{ transactional_id => TransactionalId
                            , acks => Acks
                            , timeout => maps:get(ack_timeout, Opts, ?ACK_TIMEOUT_MS)
                            , topic_data => [Data]
                            }),
  Req#kpro_req{no_ack = Acks =:= 0}.

required_acks(all_isr) -> -1;
required_acks(leader_only) -> 1;
required_acks(none) -> 0;
required_acks(Acks) when Acks =:= -1; Acks =:= 0; Acks =:= 1 -> Acks.

batch(_Vsn, Encoded, _Opts) when is_binary(Encoded) -> Encoded;
batch(_Vsn, Messages, #{txn_ctx := #{} = Txn, first_sequence := First} = Opts) ->
  brod_kafka_batch:encode_tx(Messages, maps:get(compression, Opts, no_compression), First, Txn);
batch(Vsn, Messages, Opts) ->
  Magic = if Vsn >= ?MIN_MAGIC_2_PRODUCE -> 2; Vsn >= ?MIN_MAGIC_1_PRODUCE -> 1; true -> 0 end,
  brod_kafka_batch:encode(Magic, Messages, maps:get(compression, Opts, no_compression)).

%% @doc Topics to create, in Kafka's words: `name', `num_partitions', `replication_factor', `assignments', `configs'.
-spec create_topics(vsn(), [brod_kafka_codec:struct()], #{timeout => integer(), validate_only => boolean()}) -> req().
create_topics(Vsn, Topics, Opts) ->
  make(create_topics, Vsn, #{topics => Topics, timeout_ms => maps:get(timeout, Opts, 0),
                             validate_only => maps:get(validate_only, Opts, false)}).

%% @doc Topics to delete.
-spec delete_topics(vsn(), [brod:topic()], #{timeout => integer()}) -> req().
delete_topics(Vsn, Topics, Opts) ->
  make(delete_topics, Vsn, #{topic_names => Topics, timeout_ms => maps:get(timeout, Opts, 0)}).

%% @doc Committed offsets of partitions; an empty list means all.
-spec offset_fetch(vsn(), brod:group_id(), [{brod:topic(), [brod:partition()]}]) -> req().
offset_fetch(Vsn, GroupId, TopicPartitions) ->
  Topics = [#{name => Topic, partition_indexes => Partitions} || {Topic, Partitions} <- TopicPartitions],
  make(offset_fetch, Vsn, #{group_id => GroupId, topics => case Topics of [] -> undefined; _ -> Topics end}).
