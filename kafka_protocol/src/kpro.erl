%% @doc Kafka's protocol for Erlang and Elixir: connections, requests and responses. A connection is a pid that brod
%% has given out, or that functions of this module make.
-module(kpro).

%% connections
-export([connect/2, connect_any/2, connect_partition_leader/4, connect_partition_leader/5, connect_coordinator/3,
         connect_controller/2, connect_controller/3, close_connection/1]).
-export([discover_partition_leader/4, discover_coordinator/4, get_api_versions/1, get_api_vsn_range/2]).
%% requests and responses
-export([make_request/3, encode_request/3, request_sync/3, request_async/2, send/2, find/2, find/3]).
-export([encode_batch/3, decode_batches/1, produce_api_vsn_to_magic_vsn/1, provide_compression/1]).
%% transactions
-export([txn_init_ctx/2, txn_init_ctx/3, txn_send_partitions/2, txn_send_partitions/3, txn_send_cg/2, txn_send_cg/3,
         txn_offset_commit/4, txn_offset_commit/5, txn_commit/1, txn_commit/2, txn_abort/1, txn_abort/2]).
-export([parse_endpoints/1, parse_endpoints/2]).

-export_type([api/0, batch/0, batch_decode_result/0, batch_input/0, batch_meta/0, bytes/0, client_id/0,
              compress_option/0, conn_config/0, connection/0, coordinator_type/0, corr_id/0, count/0, endpoint/0,
              error_code/0, fetch_opts/0, field_name/0, field_value/0, group_id/0, header_key/0, header_val/0,
              headers/0, hostname/0, incomplete_batch/0, int16/0, int32/0, int64/0, int8/0, isolation_level/0, key/0,
              leader_epoch/0, magic/0, message/0, msg_input/0, msg_ts/0, offset/0, offsets_to_commit/0, partition/0,
              portnum/0, primitive/0, primitive_type/0, produce_opts/0, producer_epoch/0, producer_id/0, protocol/0,
              req/0, req_ref/0, required_acks/0, rsp/0, schema/0, seqno/0, stack/0, str/0, struct/0, struct_schema/0,
              timestamp_type/0, topic/0, transactional_id/0, txn_ctx/0, value/0, vsn/0, vsn_range/0, vsn_ranges/0,
              wait/0]).

-include("kpro.hrl").

-type int8() :: -128..127.
-type int16() :: -32768..32767.
-type int32() :: -2147483648..2147483647.
-type int64() :: -9223372036854775808..9223372036854775807.
-type str() :: undefined | string() | binary().
-type bytes() :: binary().
-type error_code() :: int16() | atom().
-type count() :: non_neg_integer().
-type wait() :: non_neg_integer().
-type vsn() :: non_neg_integer().
-type vsn_range() :: {vsn(), vsn()}.
-type vsn_ranges() :: #{api() => vsn_range()}.
-type api() :: atom().
-type req() :: #kpro_req{}.
-type rsp() :: #kpro_rsp{}.
-type req_ref() :: reference().
-type corr_id() :: int32().
-type client_id() :: binary().
-type hostname() :: binary() | string() | atom() | inet:ip_address().
-type portnum() :: non_neg_integer().
-type endpoint() :: {hostname(), portnum()}.
-type protocol() :: plaintext | ssl | sasl_plaintext | sasl_ssl.
-type connection() :: kpro_connection:connection().
-type conn_config() :: kpro_connection:config().
-type coordinator_type() :: group | txn.
-type group_id() :: binary().
-type topic() :: binary().
-type partition() :: int32().
-type offset() :: int64().
-type leader_epoch() :: int32().
-type isolation_level() :: read_committed | read_uncommitted.
-type key() :: undefined | iodata().
-type value() :: undefined | iodata().
-type header_key() :: binary().
-type header_val() :: binary().
-type headers() :: [{header_key(), header_val()}].
-type msg_ts() :: int64().
-type timestamp_type() :: undefined | create | append.
-type message() :: #kafka_message{}.
-type magic() :: 0..2.
-type compress_option() :: no_compression | gzip | snappy | lz4 | zstd.
-type msg_input() :: #{headers => headers(), ts => msg_ts(), key => key(), value => value()}.
-type batch_input() :: [msg_input()].
-type batch_meta() :: undefined | #{is_transaction := boolean(), is_control := boolean(), last_offset := offset(),
                                    max_ts := msg_ts(), producer_id := producer_id()}.
-type batch() :: {batch_meta(), [message()]}.
-type incomplete_batch() :: {incomplete_batch, int32()}.
-type batch_decode_result() :: incomplete_batch() | [batch()].
-type required_acks() :: -1..1 | all_isr | leader_only | none.
-type seqno() :: integer().
-type producer_id() :: int64().
-type producer_epoch() :: int16().
-type transactional_id() :: binary().
-type txn_ctx() :: #{connection => connection(), transactional_id => transactional_id(),
                     producer_id := producer_id(), producer_epoch := producer_epoch()}.
-type produce_opts() :: #{compression => compress_option(), required_acks => required_acks(), ack_timeout => wait(),
                          txn_ctx => txn_ctx(), first_sequence => seqno()}.
-type fetch_opts() :: kpro_req_lib:fetch_opts().
-type offsets_to_commit() :: #{{topic(), partition()} => offset() | {offset(), binary()}}
                           | [{{topic(), partition()}, offset() | {offset(), binary()}}].
-type primitive_type() :: atom().
-type primitive() :: undefined | boolean() | integer() | string() | binary() | atom().
-type field_name() :: atom().
-type field_value() :: primitive() | struct() | [struct()] | term().
-type struct() :: #{field_name() => field_value()} | [{field_name(), field_value()}].
-type struct_schema() :: [{field_name(), schema()}].
-type schema() :: primitive_type() | struct_schema() | {array | compact_array, schema()}
                | fun((binary()) -> {field_value(), binary()}).
-type stack() :: [{api(), vsn()} | field_name()].

%% Connections

%% @doc Connect to a broker. The connection ends with the caller, to whom it is linked unless `nolink' is set.
-spec connect(endpoint(), conn_config()) -> {ok, connection()} | {error, term()}.
connect({Host, Port}, Config) -> kpro_connection:start(Host, Port, Config).

%% @doc Connect to any of the brokers.
-spec connect_any([endpoint()], conn_config()) -> {ok, connection()} | {error, [{endpoint(), term()}]}.
connect_any(Endpoints, Config) -> kpro_brokers:connect_any(Endpoints, Config).

%% @doc {@link connect_partition_leader/5} within 5 s.
-spec connect_partition_leader(connection() | [endpoint()], conn_config(), topic(), partition()) ->
        {ok, connection()} | {error, term()}.
connect_partition_leader(From, Config, Topic, Partition) ->
  connect_partition_leader(From, Config, Topic, Partition, #{}).

%% @doc Connect to the leader of a partition, which is asked of a connection or of any of the brokers.
-spec connect_partition_leader(connection() | [endpoint()], conn_config(), topic(), partition(),
                               #{timeout => timeout()}) -> {ok, connection()} | {error, term()}.
connect_partition_leader(From, Config, Topic, Partition, Opts) ->
  kpro_brokers:connect_partition_leader(From, Config, Topic, Partition, Opts).

%% @doc Connect to the coordinator of a group or a transactional id.
-spec connect_coordinator(connection() | [endpoint()], conn_config(),
                          #{type := coordinator_type(), id := binary(), timeout => timeout()}) ->
        {ok, connection()} | {error, term()}.
connect_coordinator(From, Config, Args) -> kpro_brokers:connect_coordinator(From, Config, Args).

%% @doc {@link connect_controller/3} within 5 s.
-spec connect_controller(connection() | [endpoint()], conn_config()) -> {ok, connection()} | {error, term()}.
connect_controller(From, Config) -> connect_controller(From, Config, #{}).

%% @doc Connect to the controller of the cluster.
-spec connect_controller(connection() | [endpoint()], conn_config(), #{timeout => timeout()}) ->
        {ok, connection()} | {error, term()}.
connect_controller(From, Config, Opts) -> kpro_brokers:connect_controller(From, Config, Opts).

%% @doc Close a connection.
-spec close_connection(connection()) -> ok | {error, term()}.
close_connection(Connection) -> kpro_connection:stop(Connection).

%% @doc Where the leader of a partition listens.
-spec discover_partition_leader(connection(), topic(), partition(), timeout()) -> {ok, endpoint()} | {error, term()}.
discover_partition_leader(Connection, Topic, Partition, Timeout) ->
  kpro_brokers:discover_partition_leader(Connection, Topic, Partition, Timeout).

%% @doc Where the coordinator of a group or a transactional id listens.
-spec discover_coordinator(connection(), coordinator_type(), group_id() | transactional_id(), timeout()) ->
        {ok, endpoint()} | {error, term()}.
discover_coordinator(Connection, Type, Id, Timeout) ->
  kpro_brokers:discover_coordinator(Connection, Type, Id, Timeout).

%% @doc Versions that a connection's broker speaks and requests can be made in.
-spec get_api_versions(connection()) -> {ok, vsn_ranges()} | {error, term()}.
get_api_versions(Connection) -> kpro_brokers:get_api_versions(Connection).

%% @doc As {@link get_api_versions/1}, of one API.
-spec get_api_vsn_range(connection(), api()) -> {ok, vsn_range()} | {error, not_supported | term()}.
get_api_vsn_range(Connection, Api) -> kpro_brokers:get_api_vsn_range(Connection, Api).

%% Requests and responses

%% @doc A request. `kpro_req_lib' says what it raises, and has functions for single APIs.
-spec make_request(api(), vsn(), struct()) -> req().
make_request(Api, Vsn, Fields) -> kpro_req_lib:make(Api, Vsn, Fields).

%% @doc A request as it goes over a socket that puts the length before it.
-spec encode_request(client_id(), corr_id(), req()) -> iodata().
encode_request(ClientId, CorrId, Req) -> kpro_req_lib:encode(ClientId, CorrId, Req).

%% @doc Send a request and wait for its response; `ok' for one that has none. `{error, {connection_down, Reason}}' when
%% the connection ends meanwhile.
-spec request_sync(connection(), req(), timeout()) -> ok | {ok, rsp()} | {error, term()}.
request_sync(Connection, Req, Timeout) -> kpro_connection:request_sync(Connection, Req, Timeout).

%% @doc Send a request. Its response comes as `{msg, Connection, #kpro_rsp{}}', with the request's `ref'.
-spec request_async(connection(), req()) -> ok | {error, term()}.
request_async(Connection, Req) -> kpro_connection:request_async(Connection, Req).

%% @doc As {@link request_async/2}, without waiting until it is sent.
-spec send(connection(), req()) -> ok.
send(Connection, Req) -> kpro_connection:send(Connection, Req).

%% @doc A field. Raises `{no_such_field, Name}'.
-spec find(field_name(), struct()) -> field_value().
find(Name, Struct) -> kpro_lib:find(Name, Struct).

%% @doc A field, or the default.
-spec find(field_name(), struct(), field_value()) -> field_value().
find(Name, Struct, Default) -> kpro_lib:find(Name, Struct, Default).

%% @doc A batch for a produce request.
-spec encode_batch(magic(), batch_input(), compress_option()) -> binary().
encode_batch(Magic, Messages, Compression) -> kpro_batch:encode(Magic, Messages, Compression).

%% @doc What a fetch response holds; `{incomplete_batch, Bytes}' where not one batch is whole, and so many are to be
%% asked for.
-spec decode_batches(binary()) -> batch_decode_result().
decode_batches(Bytes) -> brod_kafka_batch:decode(Bytes).

%% @doc The magic of batches in a produce request.
-spec produce_api_vsn_to_magic_vsn(vsn()) -> magic().
produce_api_vsn_to_magic_vsn(Vsn) -> kpro_lib:produce_api_vsn_to_magic_vsn(Vsn).

%% @doc Modules that compress; taken and not used, because the engine does it.
-spec provide_compression([{compress_option(), module()}]) -> ok.
provide_compression(Modules) -> kpro_compress:provide(Modules).

%% Transactions

%% @doc {@link txn_init_ctx/3} with the defaults.
-spec txn_init_ctx(connection(), transactional_id()) -> {ok, txn_ctx()} | {error, term()}.
txn_init_ctx(Connection, TransactionalId) -> txn_init_ctx(Connection, TransactionalId, #{}).

%% @doc Begin to use a transactional id, by a connection to its coordinator. Options: `timeout' of the request (5000 ms),
%% `txn_timeout' after which brokers abort (30000 ms).
-spec txn_init_ctx(connection(), transactional_id(), #{timeout => timeout(), txn_timeout => pos_integer()}) ->
        {ok, txn_ctx()} | {error, term()}.
txn_init_ctx(Connection, TransactionalId, Opts) -> kpro_txn_lib:txn_init_ctx(Connection, TransactionalId, Opts).

%% @doc {@link txn_send_partitions/3} within 5 s.
-spec txn_send_partitions(txn_ctx(), [{topic(), partition()}]) -> ok | {error, term()}.
txn_send_partitions(Txn, TopicPartitions) -> txn_send_partitions(Txn, TopicPartitions, #{}).

%% @doc Tell the coordinator which partitions will be written to. `{error, [{Topic, Partition, Code}]}'.
-spec txn_send_partitions(txn_ctx(), [{topic(), partition()}], #{timeout => timeout()}) -> ok | {error, term()}.
txn_send_partitions(Txn, TopicPartitions, Opts) -> kpro_txn_lib:add_partitions_to_txn(Txn, TopicPartitions, Opts).

%% @doc {@link txn_send_cg/3} within 5 s.
-spec txn_send_cg(txn_ctx(), group_id()) -> ok | {error, term()}.
txn_send_cg(Txn, GroupId) -> txn_send_cg(Txn, GroupId, #{}).

%% @doc Tell the coordinator which group's offsets will be committed.
-spec txn_send_cg(txn_ctx(), group_id(), #{timeout => timeout()}) -> ok | {error, term()}.
txn_send_cg(Txn, GroupId, Opts) -> kpro_txn_lib:add_offsets_to_txn(Txn, GroupId, Opts).

%% @doc {@link txn_offset_commit/5} with the defaults.
-spec txn_offset_commit(connection(), group_id(), txn_ctx(), offsets_to_commit()) -> ok | {error, term()}.
txn_offset_commit(GroupConnection, GroupId, Txn, Offsets) ->
  txn_offset_commit(GroupConnection, GroupId, Txn, Offsets, #{}).

%% @doc Commit offsets with the transaction, by a connection to the group's coordinator. `{error, [{{Topic, Partition},
%% Code}]}'.
-spec txn_offset_commit(connection(), group_id(), txn_ctx(), offsets_to_commit(),
                        #{timeout => timeout(), user_data => binary()}) -> ok | {error, term()}.
txn_offset_commit(GroupConnection, GroupId, Txn, Offsets, Opts) ->
  kpro_txn_lib:txn_offset_commit(GroupConnection, GroupId, Txn, Offsets, Opts).

%% @doc {@link txn_commit/2} within 5 s.
-spec txn_commit(txn_ctx()) -> ok | {error, term()}.
txn_commit(Txn) -> txn_commit(Txn, #{}).

%% @doc Commit.
-spec txn_commit(txn_ctx(), #{timeout => timeout()}) -> ok | {error, term()}.
txn_commit(Txn, Opts) -> kpro_txn_lib:end_txn(Txn, commit, Opts).

%% @doc {@link txn_abort/2} within 5 s.
-spec txn_abort(txn_ctx()) -> ok | {error, term()}.
txn_abort(Txn) -> txn_abort(Txn, #{}).

%% @doc Abort.
-spec txn_abort(txn_ctx(), #{timeout => timeout()}) -> ok | {error, term()}.
txn_abort(Txn, Opts) -> kpro_txn_lib:end_txn(Txn, abort, Opts).

%% @doc {@link kpro_lib:parse_endpoints/2} of those without a protocol.
-spec parse_endpoints(string()) -> [endpoint()].
parse_endpoints(Text) -> parse_endpoints(undefined, Text).

%% @doc See {@link kpro_lib:parse_endpoints/2}.
-spec parse_endpoints(protocol() | undefined, string()) -> [endpoint()].
parse_endpoints(Protocol, Text) -> kpro_lib:parse_endpoints(Protocol, Text).
