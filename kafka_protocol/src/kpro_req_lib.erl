%% @doc Requests. Fields are maps or lists of pairs, by the names of Kafka's protocol as {@link kpro_schema:req/2}
%% has them. A request that cannot be made raises `{unknown_api, Api}', `{unknown_vsn, Info}', `{field_missing, Info}',
%% or `{Reason, Path, Fields}' where a value does not fit.
-module(kpro_req_lib).

-export([make/3, make/4, encode/3]).
-export([metadata/2, metadata/3, list_offsets/4, list_offsets/5, list_offsets/6, fetch/5]).
-export([produce/4, produce/5, produce/6]).
-export([create_topics/3, delete_topics/3, create_partitions/3, describe_configs/3, alter_configs/3]).
-export([add_offsets_to_txn/2, add_partitions_to_txn/2, end_txn/2, txn_offset_commit/4]).

-export_type([fetch_opts/0]).

-include("kpro.hrl").

-type fetch_opts() :: #{ max_wait_time => kpro:wait()
                       , min_bytes => kpro:count()
                       , max_bytes => kpro:count()
                       , isolation_level => kpro:isolation_level()
                       , session_id => kpro:int32()
                       , session_epoch => kpro:int32()
                       , leader_epoch => kpro:leader_epoch()
                       , rack_id => iodata()
                       }.

%% @doc A request of any API.
-spec make(kpro:api(), kpro:vsn(), kpro:struct()) -> kpro:req().
make(Api, Vsn, Fields) -> brod_kafka_build:make(Api, Vsn, Fields).

%% @doc As {@link make/3}, with a reference that its response will carry.
-spec make(kpro:api(), kpro:vsn(), kpro:struct(), reference()) -> kpro:req().
make(Api, Vsn, Fields, Ref) -> (make(Api, Vsn, Fields))#kpro_req{ref = Ref}.

%% @doc A request with its header, as it goes over a socket that puts the length before it (`{packet, 4}').
-spec encode(kpro:client_id(), kpro:corr_id(), kpro:req()) -> iodata().
encode(ClientId, CorrId, #kpro_req{api = Api, vsn = Vsn, msg = Message}) ->
  Tagged = [<<0>> || Vsn >= kpro_schema:min_flexible_vsn(Api)],
  [<<(kpro_schema:api_key(Api)):16, Vsn:16, CorrId:32>>, kpro_lib:encode(string, ClientId), Tagged, body(Api, Vsn, Message)].

body(Api, Vsn, Message) when is_map(Message); is_tuple(hd(Message)) -> brod_kafka_codec:encode(Api, Vsn, Message);
body(_Api, _Vsn, Encoded) -> Encoded.

%% @doc Metadata of topics; an empty list means all.
-spec metadata(kpro:vsn(), all | [kpro:topic()]) -> kpro:req().
metadata(Vsn, Topics) -> metadata(Vsn, Topics, false).

%% @doc As {@link metadata/2}; topics that do not exist may be created.
-spec metadata(kpro:vsn(), all | [kpro:topic()], boolean()) -> kpro:req().
metadata(Vsn, Topics, AutoCreate) -> brod_kafka_build:metadata(Vsn, Topics, AutoCreate).

%% @doc The offset at a time: `latest', `earliest', or ms since 1970.
-spec list_offsets(kpro:vsn(), kpro:topic(), kpro:partition(), latest | earliest | kpro:msg_ts()) -> kpro:req().
list_offsets(Vsn, Topic, Partition, Time) -> list_offsets(Vsn, Topic, Partition, Time, ?kpro_read_committed).

%% @doc As {@link list_offsets/4}, with an isolation level.
-spec list_offsets(kpro:vsn(), kpro:topic(), kpro:partition(), latest | earliest | kpro:msg_ts(),
                   kpro:isolation_level()) -> kpro:req().
list_offsets(Vsn, Topic, Partition, Time, Isolation) -> list_offsets(Vsn, Topic, Partition, Time, Isolation, -1).

%% @doc As {@link list_offsets/5}, for a leader's epoch.
-spec list_offsets(kpro:vsn(), kpro:topic(), kpro:partition(), latest | earliest | kpro:msg_ts(),
                   kpro:isolation_level(), kpro:leader_epoch()) -> kpro:req().
list_offsets(Vsn, Topic, Partition, Time, Isolation, LeaderEpoch) ->
  brod_kafka_build:list_offsets(Vsn, Topic, Partition, Time, Isolation, LeaderEpoch).

%% @doc Messages of one partition. Defaults: `max_wait_time' 1000 ms, `min_bytes' 0, `max_bytes' 1 MB,
%% `isolation_level' read_committed, no session.
-spec fetch(kpro:vsn(), kpro:topic(), kpro:partition(), kpro:offset(), fetch_opts()) -> kpro:req().
fetch(Vsn, Topic, Partition, Offset, Opts) -> brod_kafka_build:fetch(Vsn, Topic, Partition, Offset, Opts).

%% @doc {@link produce/5} with the defaults.
-spec produce(kpro:vsn(), kpro:topic(), kpro:partition(), binary() | kpro:batch_input()) -> kpro:req().
produce(Vsn, Topic, Partition, Batch) -> produce(Vsn, Topic, Partition, Batch, #{}).

%% @doc Messages to one partition, or a batch that is encoded already. Defaults: `required_acks' all_isr,
%% `ack_timeout' 10000 ms, `compression' no_compression. In a transaction `txn_ctx' and `first_sequence' are given.
-spec produce(kpro:vsn(), kpro:topic(), kpro:partition(), binary() | kpro:batch_input(), kpro:produce_opts()) ->
        kpro:req().
produce(Vsn, Topic, Partition, Batch, Opts) -> brod_kafka_build:produce(Vsn, Topic, Partition, Batch, Opts).

%% @doc As {@link produce/5}, with a reference that its response will carry.
-spec produce(kpro:vsn(), kpro:topic(), kpro:partition(), binary() | kpro:batch_input(), kpro:produce_opts(),
              reference()) -> kpro:req().
produce(Vsn, Topic, Partition, Batch, Opts, Ref) ->
  (produce(Vsn, Topic, Partition, Batch, Opts))#kpro_req{ref = Ref}.

%% @doc Topics to create. `timeout' in ms: with 0 the broker does not wait until they are there.
-spec create_topics(kpro:vsn(), [kpro:struct()], #{timeout => kpro:int32(), validate_only => boolean()}) -> kpro:req().
create_topics(Vsn, Topics, Opts) -> brod_kafka_build:create_topics(Vsn, Topics, Opts).

%% @doc Topics to delete.
-spec delete_topics(kpro:vsn(), [kpro:topic()], #{timeout => kpro:int32()}) -> kpro:req().
delete_topics(Vsn, Topics, Opts) -> brod_kafka_build:delete_topics(Vsn, Topics, Opts).

%% @doc Partitions to add.
-spec create_partitions(kpro:vsn(), [kpro:struct()], #{timeout => kpro:int32(), validate_only => boolean()}) ->
        kpro:req().
create_partitions(Vsn, Topics, Opts) ->
  make(create_partitions, Vsn, #{topic_partitions => Topics, timeout => maps:get(timeout, Opts, 0),
                                 validate_only => maps:get(validate_only, Opts, false)}).

%% @doc Configuration to read.
-spec describe_configs(kpro:vsn(), [kpro:struct()], #{include_synonyms => boolean()}) -> kpro:req().
describe_configs(Vsn, Resources, Opts) ->
  make(describe_configs, Vsn, #{resources => Resources, include_synonyms => maps:get(include_synonyms, Opts, false)}).

%% @doc Configuration to change.
-spec alter_configs(kpro:vsn(), [kpro:struct()], #{validate_only => boolean()}) -> kpro:req().
alter_configs(Vsn, Resources, Opts) ->
  make(alter_configs, Vsn, #{resources => Resources, validate_only => maps:get(validate_only, Opts, false)}).

%% @doc The group whose offsets a transaction will commit.
-spec add_offsets_to_txn(kpro:txn_ctx(), kpro:group_id()) -> kpro:req().
add_offsets_to_txn(Txn, GroupId) -> make(add_offsets_to_txn, 0, Txn#{group_id => GroupId}).

%% @doc The partitions that a transaction will write to.
-spec add_partitions_to_txn(kpro:txn_ctx(), [{kpro:topic(), kpro:partition()}]) -> kpro:req().
add_partitions_to_txn(Txn, TopicPartitions) ->
  Topics = [#{name => Topic, partitions => Partitions} || {Topic, Partitions} <- brod_utils:group_per_key(TopicPartitions)],
  make(add_partitions_to_txn, 0, Txn#{topics => Topics}).

%% @doc The end of a transaction.
-spec end_txn(kpro:txn_ctx(), commit | abort) -> kpro:req().
end_txn(Txn, How) -> make(end_txn, 0, Txn#{transaction_result => How =:= commit}).

%% @doc Offsets that a transaction commits; `UserData' for those that have none of their own.
-spec txn_offset_commit(kpro:group_id(), kpro:txn_ctx(), kpro:offsets_to_commit(), binary()) -> kpro:req().
txn_offset_commit(GroupId, Txn, Offsets, UserData) when is_map(Offsets) ->
  txn_offset_commit(GroupId, Txn, maps:to_list(Offsets), UserData);
txn_offset_commit(GroupId, Txn, Offsets, UserData) ->
  Partitions = [{Topic, committed(Partition, Offset, UserData)} || {{Topic, Partition}, Offset} <- Offsets],
  Topics = [#{name => Topic, partitions => Ps} || {Topic, Ps} <- brod_utils:group_per_key(Partitions)],
  make(txn_offset_commit, 0, Txn#{group_id => GroupId, topics => Topics}).

committed(Partition, {Offset, UserData}, _Default) -> committed(Partition, Offset, UserData);
committed(Partition, Offset, UserData) ->
  #{partition_index => Partition, committed_offset => Offset, committed_leader_epoch => -1, committed_metadata => UserData}.
