%% @doc The public API.
-module(brod).
-behaviour(application).

%% Application
-export([start/0, stop/0, start/2, stop/1]).
%% Clients
-export([start_client/1, start_client/2, start_client/3,
         start_link_client/1, start_link_client/2, start_link_client/3, stop_client/1]).
-export([info/1, stats/1, health/1]).
%% Producers
-export([start_producer/3, get_producer/3,
         produce/2, produce/3, produce/5, produce_cb/4, produce_cb/6, produce_no_ack/5,
         produce_sync/2, produce_sync/3, produce_sync/5, produce_sync_offset/5,
         sync_produce_request/1, sync_produce_request/2,
         sync_produce_request_offset/1, sync_produce_request_offset/2]).
%% Consumers
-export([start_consumer/3, get_consumer/3, subscribe/3, subscribe/5,
         unsubscribe/1, unsubscribe/2, unsubscribe/3, unsubscribe/4,
         consume_ack/2, consume_ack/4, pause/3, resume/3, seek/4, lag/2]).
%% Subscribers
-export([start_link_topic_subscriber/1, start_link_topic_subscriber/5,
         start_link_topic_subscriber/6, start_link_topic_subscriber/7,
         start_link_group_subscriber/7, start_link_group_subscriber/8,
         start_link_group_subscriber_v2/1]).
%% Topics, metadata, offsets
-export([create_topics/3, create_topics/4, delete_topics/3, delete_topics/4,
         get_metadata/1, get_metadata/2, get_metadata/3,
         get_partitions_count/2, get_partitions_count_safe/2,
         resolve_offset/3, resolve_offset/4, resolve_offset/5, resolve_offset/6]).
%% Fetch
-export([fetch/4, fetch/5, fetch/7, fetch/8, fold/8]).
%% Transactions
-export([transaction/3, txn_do/3, txn_produce/4, txn_produce/5, txn_produce_async/4, txn_produce_async/5,
         txn_add_offsets/3, commit/1, abort/1]).
%% Connections and groups
-export([connect_leader/4, connect_group_coordinator/3, list_groups/2, list_all_groups/2,
         describe_groups/3, fetch_committed_offsets/2, fetch_committed_offsets/3]).

-export_type([ batch_input/0, bootstrap/0, call_ref/0, cg/0, cg_protocol_type/0, client/0
             , client_config/0, client_id/0, compression/0, conn_config/0, connection/0
             , consumer_config/0, consumer_options/0, endpoint/0, error_code/0, fetch_opts/0
             , fold_acc/0, fold_fun/1, fold_limits/0, fold_result/0, fold_stop_reason/0
             , group_config/0, group_generation_id/0, group_id/0, group_member/0
             , group_member_id/0, hostname/0, key/0, message/0, message_set/0, msg_input/0
             , msg_ts/0, offset/0, offset_time/0, offsets_to_commit/0, partition/0
             , partition_assignment/0, partition_fun/0, partitioner/0, portnum/0
             , produce_ack_cb/0, produce_reply/0, produce_result/0, producer_config/0
             , received_assignments/0, topic/0, topic_config/0, topic_partition/0, transaction/0
             , transaction_config/0, transactional_id/0, value/0 ]).

-include("brod_int.hrl").

-type hostname() :: string() | binary() | atom() | inet:ip_address().
-type portnum() :: 1..65535.
-type endpoint() :: {hostname(), portnum()}.
-type client_id() :: atom().
-type client() :: client_id() | pid().
-type connection() :: pid().
-type conn_config() :: brod_option_types:client().
%% Options of a connection: docs/options.md.
-type client_config() :: brod_client:config().
%% Options of {@link start_client/3}.
-type bootstrap() :: [endpoint()] | {[endpoint()], conn_config()}.
%% Brokers to ask first, and how to connect to them: in place of a client.
-type topic() :: binary().
-type partition() :: non_neg_integer().
-type topic_config() :: map() | [{atom(), term()}].
%% A topic to create: `name', and what it shall be like, `num_partitions', `replication_factor', `assignments' and `configs'.
%% It, and each of its assignments and configs, is a map or a list of pairs.
-type topic_partition() :: {topic(), partition()}.
-type offset() :: integer().
-type offset_time() :: earliest | latest | integer().
%% The first offset that there is, that of the next message to come, or that of the first message of a time (ms since 1970) or later.
-type error_code() :: atom().
%% Kafka's name of an error, such as `not_leader_or_follower'.
-type msg_ts() :: integer().
%% Milliseconds since 1970.
-type key() :: undefined | iodata().
-type msg_input() :: #{ key => iodata() | undefined, value => iodata() | undefined
                      , ts => msg_ts(), headers => [{binary(), binary()}] }.
%% A message to produce. Without `ts' it gets the time of the call.
-type batch_input() :: [msg_input()].
-type value() :: undefined | iodata() | {msg_ts(), iodata()} | msg_input() | batch_input()
               | [{key(), value()}] | [{msg_ts(), key(), value()}].
%% A value, a value with its time, or a batch in one of its forms.
-type message() :: #kafka_message{}.
-type message_set() :: #kafka_message_set{}.
-type compression() :: no_compression | gzip | snappy | lz4 | zstd.
-type producer_config() :: brod_producer:config().
-type partition_fun() :: brod_partition_fun().
-type partitioner() :: partition_fun() | random | hash | murmur2 | sticky.
%% Which partition a message goes to. A fun gets topic, count of partitions, key and value, and returns `{ok, Partition}'; `hash' is
%% `erlang:phash2/1' of the key, `murmur2' what Java's client takes for it; `sticky' is `murmur2' where there is a key, and else
%% stays with a partition for 16 KiB.
-type call_ref() :: #brod_call_ref{}.
%% Names one call of {@link produce/5}: for {@link sync_produce_request/2}, and in the reply.
-type produce_result() :: brod_produce_req_buffered | brod_produce_req_acked | {error, term()}.
-type produce_reply() :: #brod_produce_reply{}.
-type produce_ack_cb() :: fun((partition(), offset()) -> term())
                        | fun((partition(), offset(), ok | {error, term()}) -> term()).
%% With two arguments it hears of messages that were delivered only.
-type consumer_config() :: brod_option_types:consumer().
-type consumer_options() :: consumer_config().
-type fetch_opts() :: #{ max_wait_time => non_neg_integer(), min_bytes => non_neg_integer()
                       , max_bytes => pos_integer()
                       , max_batch_bytes => pos_integer(), max_memory => pos_integer()
                       , isolation_level => read_committed | read_uncommitted }.
%% Of {@link fetch/5}: the time in ms, sizes in bytes.
-type fold_acc() :: term().
-type fold_fun(Acc) :: fun((message(), Acc) -> {ok, Acc} | {error, Reason :: term()}).
-type fold_limits() :: #{message_count => pos_integer(), reach_offset => offset()}.
%% `reach_offset': the last offset to fold over.
-type fold_stop_reason() :: reached_end_of_partition | reached_message_count_limit
                          | reached_target_offset | {fetch_failure, term()} | {error, term()} | term().
%% Why a fold has ended; the last is what the fun gave as its `Reason'.
-type fold_result() :: {fold_acc(), NextOffset :: offset(), fold_stop_reason()}.
%% `NextOffset': where to go on, behind the last message that was folded over, or behind what nobody sees after it, such as the
%% end of a transaction.
-type group_id() :: binary().
-type transactional_id() :: binary().
-type transaction() :: brod_transaction:transaction().
-type transaction_config() :: brod_transaction:transaction_config().
-type group_member_id() :: binary().
-type group_generation_id() :: non_neg_integer().
-type group_member() :: {group_member_id(), #kafka_group_member_metadata{}}.
-type group_config() :: brod_option_types:group().
-type partition_assignment() :: {topic(), [partition()]}.
-type received_assignments() :: [#brod_received_assignment{}].
-type offsets_to_commit() :: #{topic_partition() => offset()}
                           | [{topic_partition(), offset()}].
%% The offset of the last message of a partition that is done with, or of the first one that is not: the function says which.
-type cg() :: #brod_cg{}.
-type cg_protocol_type() :: binary().

%% Application

%% @doc Start the application and what it depends on.
-spec start() -> ok | {error, term()}.
start() ->
  case application:ensure_all_started(?MODULE) of
    {ok, _Apps} -> ok;
    {error, Reason} -> {error, Reason}
  end.

%% @doc Stop the application with all clients.
-spec stop() -> ok | {error, term()}.
stop() -> application:stop(?MODULE).

%% @private
start(_StartType, _StartArgs) ->
  ok = brod_logging:show(default),
  case code:ensure_loaded(brod_nif) of
    {module, _} -> brod_sup:start_link();
    {error, Reason} -> {error, {engine_not_loaded, persistent_term:get({brod_nif, not_loaded}, Reason)}}
  end.

%% @private
stop(_State) -> brod_logging:hide(default).

%% Clients

%% @doc Start a client called `brod_default_client'.
-spec start_client([endpoint()]) -> ok | {error, term()}.
start_client(Endpoints) -> start_client(Endpoints, ?BROD_DEFAULT_CLIENT_ID).

%% @doc Start a client with default options.
-spec start_client([endpoint()], client_id()) -> ok | {error, term()}.
start_client(Endpoints, ClientId) -> start_client(Endpoints, ClientId, []).

%% @doc Start a client under brod's supervisor; `ok' also if it is running there already. Returns
%% before the client is connected. If no broker can be reached, the client is started again after
%% `restart_delay_seconds' (10), and calls return `{error, client_down}' meanwhile; this one returns
%% `{error, already_present}'.
%%
%% Options: `connect_timeout' (ms, 5000), `request_timeout' (ms, 240000),
%% `get_metadata_timeout_seconds' (5), `reconnect_backoff' (ms, 50: the pause after an attempt to connect that failed, doubled with
%% each one) up to `reconnect_backoff_max' (ms, 1000), `reconnect_cool_down_seconds' (brod 4's name of the first, in seconds),
%% `connections_max_idle_ms' (ms, 540000), `ssl' and `sasl' (docs/migrating-tls.md), `allow_topic_auto_creation'
%% (true), `auto_start_producers' (false), `default_producer_config' ([]), `unknown_topic_cache_ttl' (ms,
%% 120000), `metadata_max_age' (ms, 300000), `buffer_bytes'
%% (limit of unsent messages in all partitions together, 268435456), `fetch_buffer_bytes' (what is fetched
%% and waits until subscribers have acknowledged enough, in all partitions together, 67108864: what is
%% beyond that is fetched again later), `rack_id', `enable_metrics_push' (true),
%% `query_api_versions' (true), `extra_sock_opts' (those of `gen_tcp' that concern the socket: nodelay,
%% keepalive, sndbuf, recbuf, tos, ip, inet, inet6, linger, bind_to_device). A timeout may be
%% `infinity'. A value that an option cannot have is `{error, {bad_option, Key, Value}}', an option
%% that nobody reads is a warning in the log; docs/options.md has all of them. Exits with a text when `Endpoints' is empty.
-spec start_client([endpoint()], client_id(), client_config()) -> ok | {error, term()}.
start_client(Endpoints, ClientId, Config) ->
  case brod_options:client(Config) of
    {ok, _} ->
      case brod_sup:start_client(Endpoints, ClientId, Config) of
        ok -> ok;
        {error, {already_started, _Pid}} -> ok;
        {error, {{bad_option, _, _} = Reason, _Child}} -> {error, Reason};
        {error, Reason} -> {error, Reason}
      end;
    {error, Reason} ->
      ?BROD_LOG_ERROR("Client ~p is not started: ~ts", [ClientId, brod_options:describe(Reason)]),
      {error, Reason}
  end.

%% @doc As {@link start_client/1}, linked to the caller and without a supervisor.
-spec start_link_client([endpoint()]) -> {ok, pid()} | {error, term()}.
start_link_client(Endpoints) -> start_link_client(Endpoints, ?BROD_DEFAULT_CLIENT_ID).

%% @doc As {@link start_client/2}, linked to the caller and without a supervisor.
-spec start_link_client([endpoint()], client_id()) -> {ok, pid()} | {error, term()}.
start_link_client(Endpoints, ClientId) -> start_link_client(Endpoints, ClientId, []).

%% @doc As {@link start_client/3}, linked to the caller and without a supervisor.
-spec start_link_client([endpoint()], client_id(), client_config()) ->
        {ok, pid()} | {error, term()}.
start_link_client(Endpoints, ClientId, Config) ->
  brod_client:start_link(Endpoints, ClientId, Config).

%% @doc Stop a client with its producers and consumers; `ok' also if there is none.
-spec stop_client(client()) -> ok.
stop_client(ClientId) when is_atom(ClientId) ->
  case brod_sup:stop_client(ClientId) of
    ok -> ok;
    {error, not_found} -> brod_client:stop(ClientId)
  end;
stop_client(ClientPid) ->
  ok = brod_args:client(ClientPid),
  brod_client:stop(ClientPid).

%% @doc What a client is doing, for people and for tools: `client', `version' of brod, `endpoints', `controller', `client_instance_id',
%% `brokers' (each with `host', `port', `node', `state' as `connected', `idle' or `unreachable', its open `connections',
%% counters, and `mean_round_trip_us' of requests that brokers do not hold back), `producers' with what they buffer,
%% `consumers' with position and lag, `groups' of which it has members, the last `errors' and `events'. Asks no broker.
-spec info(client()) -> {ok, map()} | {error, term()}.
info(Client) -> brod_stats:info(Client).

%% @doc All counters of a client since it was started: `brokers' with `apis' (requests by API, with bytes and
%% `latency_buckets' for the bounds `bounds_us'), `producers', `consumers', `events', `rebootstraps'. They only grow;
%% {@link brod_prometheus} shows them as metrics, {@link brod_telemetry} as events.
-spec stats(client()) -> {ok, map()} | {error, term()}.
stats(Client) -> brod_stats:stats(Client).

%% @doc Whether a client can do its work: `ok'; `degraded' with the reasons; `down' when it does not run or reaches no
%% broker. Reasons: `{brokers_unreachable, [{Host, Port}]}', `{topics_unavailable, [Topic]}' (not there, or partitions without a
%% leader) and `{batches_refused, [Topic]}' (and sent again), both for ten seconds at least, `{producers_full, [{Topic, Partition}]}' (callers are held
%% up), `{producers_stopped, [{Topic, Partition}]}' and `{consumers_stopped, [{Topic, Partition}]}' (by an error),
%% `{groups_not_joined, [Group]}' (refused within the last minute), `{client, Reason}'. Asks no broker, so it is cheap enough for a probe.
-spec health(client()) -> {ok | degraded | down, [{atom(), term()}]}.
health(Client) -> brod_stats:health(Client).

%% Producers

%% @doc Start the producers of all partitions of a topic; `ok' also if they are running.
%%
%% Options: `required_acks' (-1 all in-sync replicas, 0 none, 1 leader; -1), `ack_timeout' (ms,
%% 10000), `compression' (no_compression), `compression_level', `partition_buffer_limit' (calls
%% that may wait to be sent, 512), `partition_onwire_limit' (requests in flight; 1, or
%% up to 5 to a broker that is far away where `enable_idempotence' keeps the order), `max_batch_size' (bytes, 1048576), `max_request_size' (bytes of several batches, 1048576), `max_linger_ms' (0), `max_linger_count' (0), `max_retries'
%% (3, -1 for no limit), `retry_backoff_ms' (500), `delivery_timeout_ms' (120000; `infinity' if
%% `max_retries' is -1), `enable_idempotence'
%% (auto), `produce_req_vsn', `topic_restart_delay_seconds' (10),
%% `partition_restart_delay_seconds' (5).
-spec start_producer(client(), topic(), producer_config()) -> ok | {error, term()}.
start_producer(Client, Topic, Config) -> brod_client:start_producer(Client, Topic, Config).

%% @doc The producer process of a partition.
-spec get_producer(client(), topic(), partition()) -> {ok, pid()} | {error, term()}.
get_producer(Client, Topic, Partition) -> brod_client:get_producer(Client, Topic, Partition).

%% @doc {@link produce/3} with an empty key.
-spec produce(pid(), value()) -> {ok, call_ref()} | {error, term()}.
produce(Pid, Value) -> produce(Pid, <<>>, Value).

%% @doc Produce through a producer process: see {@link produce/5}.
-spec produce(pid(), key(), value()) -> {ok, call_ref()} | {error, term()}.
produce(Pid, Key, Value) -> brod_producer:produce(Pid, Key, Value).

%% @doc Produce one message or a batch without waiting for the ack. The caller gets
%% `#brod_produce_reply{call_ref = CallRef, result = brod_produce_req_acked}' when it arrives, or
%% with `result = {error, Reason}' when the message will not be delivered; it may instead wait with
%% {@link sync_produce_request/2}. Blocks while the partition's buffer is full, at most as long as
%% the application environment's `produce_room_timeout' says (ms, 300000).
%%
%% The key of a batch only serves to choose the partition. Raises `badarg' for a key or a value
%% that is none.
-spec produce(client(), topic(), partition() | partitioner(), key(), value()) ->
        {ok, call_ref()} | {error, term()}.
produce(Client, Topic, Partition, Key, Value) when is_integer(Partition) ->
  case brod_producer_calls:produce_to(Client, Topic, Partition, Key, Value) of
    undefined ->
      with_producer(Client, Topic, Partition, fun(Pid) ->
        brod_producer:produce(Pid, Key, Value)
      end);
    Result -> Result
  end;
produce(Client, Topic, Partitioner, Key, Value) ->
  with_partition(Client, Topic, Partitioner, Key, Value, fun(Partition) ->
    produce(Client, Topic, Partition, Key, Value)
  end).

%% @doc Produce through a producer process, with a callback: see {@link produce_cb/6}.
-spec produce_cb(pid(), key(), value(), produce_ack_cb()) -> ok | {error, term()}.
produce_cb(Pid, Key, Value, AckCb) -> brod_producer:produce_cb(Pid, Key, Value, AckCb).

%% @doc As {@link produce/5}, but instead of a message the ack is a call of `AckCb' with partition
%% and offset, in the producer process. A callback with a third argument gets `ok' there, and is
%% also called, with offset -1 and `{error, Reason}', for what will not be delivered. `{ok,
%% Partition}' is returned if the partition was chosen by a partitioner, else `ok'.
-spec produce_cb(client(), topic(), partition() | partitioner(), key(), value(),
                 produce_ack_cb()) -> ok | {ok, partition()} | {error, term()}.
produce_cb(Client, Topic, Partition, Key, Value, AckCb) when is_integer(Partition) ->
  case brod_producer_calls:produce_cb_to(Client, Topic, Partition, Key, Value, AckCb) of
    undefined ->
      with_producer(Client, Topic, Partition, fun(Pid) ->
        brod_producer:produce_cb(Pid, Key, Value, AckCb)
      end);
    Result -> Result
  end;
produce_cb(Client, Topic, Partitioner, Key, Value, AckCb) ->
  with_partition(Client, Topic, Partitioner, Key, Value, fun(Partition) ->
    case produce_cb(Client, Topic, Partition, Key, Value, AckCb) of
      ok -> {ok, Partition};
      {error, Reason} -> {error, Reason}
    end
  end).

%% @doc Produce without ack, and without ever waiting for room in the buffer. Above the client's
%% `buffer_bytes' messages are dropped, and counted (see `brod_producer:produce_no_ack/3'). With a partitioner the answer is
%% `ok' also where it cannot be had how many partitions the topic has, as without a client: the message is lost, and the log says so once a
%% minute.
-spec produce_no_ack(client(), topic(), partition() | partitioner(), key(), value()) ->
        ok | {error, term()}.
produce_no_ack(Client, Topic, Partition, Key, Value) when is_integer(Partition) ->
  case brod_producer_calls:produce_no_ack_to(Client, Topic, Partition, Key, Value) of
    undefined ->
      with_producer(Client, Topic, Partition, fun(Pid) ->
        brod_producer:produce_no_ack(Pid, Key, Value)
      end);
    Result -> Result
  end;
produce_no_ack(Client, Topic, Partitioner, Key, Value) ->
  Given = with_partition(Client, Topic, Partitioner, Key, Value, fun(Partition) ->
    {given, produce_no_ack(Client, Topic, Partition, Key, Value)}
  end),
  case Given of
    {given, Result} -> Result;
    {error, NoPartitions} -> brod_producer_calls:lost_unheard(Topic, NoPartitions)
  end.

%% @doc {@link produce_sync/3} with an empty key.
-spec produce_sync(pid(), value()) -> ok | {error, term()}.
produce_sync(Pid, Value) -> produce_sync(Pid, <<>>, Value).

%% @doc Produce through a producer process and wait for the ack.
-spec produce_sync(pid(), key(), value()) -> ok | {error, term()}.
produce_sync(Pid, Key, Value) ->
  without_offset(brod_producer_calls:produce_sync(Pid, Key, Value, reply_timeout())).

%% @doc Produce and wait for the ack. `{error, {producer_down, Reason}}' when it was not delivered.
-spec produce_sync(client(), topic(), partition() | partitioner(), key(), value()) ->
        ok | {error, term()}.
produce_sync(Client, Topic, Partition, Key, Value) ->
  without_offset(produce_sync_offset(Client, Topic, Partition, Key, Value)).

%% @doc As {@link produce_sync/5}; returns the offset of the (first) message.
-spec produce_sync_offset(client(), topic(), partition() | partitioner(), key(), value()) ->
        {ok, offset()} | {error, term()}.
produce_sync_offset(Client, Topic, Partition, Key, Value) when is_integer(Partition) ->
  case brod_producer_calls:produce_sync_to(Client, Topic, Partition, Key, Value, reply_timeout()) of
    undefined ->
      with_producer(Client, Topic, Partition, fun(Pid) ->
        brod_producer_calls:produce_sync(Pid, Key, Value, reply_timeout())
      end);
    Result -> Result
  end;
produce_sync_offset(Client, Topic, Partitioner, Key, Value) ->
  with_partition(Client, Topic, Partitioner, Key, Value, fun(Partition) ->
    produce_sync_offset(Client, Topic, Partition, Key, Value)
  end).

%% @doc Wait for the ack of a call, at most as long as the application environment's
%% `produce_reply_timeout' says (ms, 600000).
-spec sync_produce_request(call_ref()) -> ok | {error, term()}.
sync_produce_request(CallRef) -> sync_produce_request(CallRef, reply_timeout()).

%% @doc Wait for the ack of a call that the calling process made (else `{bad_caller, Pid}' is raised); `{error, timeout}' after
%% `Timeout' ms.
-spec sync_produce_request(call_ref(), timeout()) -> ok | {error, term()}.
sync_produce_request(CallRef, Timeout) ->
  without_offset(brod_producer:sync_produce_request(CallRef, Timeout)).

%% @doc As {@link sync_produce_request/1}; returns the offset.
-spec sync_produce_request_offset(call_ref()) -> {ok, offset()} | {error, term()}.
sync_produce_request_offset(CallRef) -> sync_produce_request_offset(CallRef, reply_timeout()).

%% @doc As {@link sync_produce_request/2}; returns the offset.
-spec sync_produce_request_offset(call_ref(), timeout()) -> {ok, offset()} | {error, term()}.
sync_produce_request_offset(CallRef, Timeout) ->
  brod_producer:sync_produce_request(CallRef, Timeout).

without_offset({ok, _Offset}) -> ok;
without_offset({error, Reason}) -> {error, Reason}.

reply_timeout() -> brod_option_table:environment(produce_reply_timeout).

%% For when the engine knows no producer: the client is asked for one, and may start it.
with_producer(Client, Topic, Partition, Fun) ->
  ok = brod_produce_errors:check_topic(produce, 5, 2, Topic),
  case brod_client:get_producer(Client, Topic, Partition) of
    {ok, Pid} -> Fun(Pid);
    {error, Reason} -> {error, Reason}
  end.

with_partition(Client, Topic, Partitioner, Key, Value, Fun) ->
  ok = brod_produce_errors:check_topic(produce, 5, 2, Topic),
  ok = brod_produce_errors:check_partitioner(produce, 5, 3, Partitioner),
  case brod_client:get_partitions_count(Client, Topic) of
    {ok, Count} -> Fun(partition(Partitioner, Topic, Count, Key, Value));
    {error, Reason} -> {error, Reason}
  end.

%% A user's fun may raise what it likes.
partition(Partitioner, Topic, Count, Key, Value) when is_atom(Partitioner) ->
  try brod_partitioner:partition(Partitioner, Topic, Count, Key, Value)
  catch
    error:badarg:Stack -> brod_produce_errors:raise(produce, 5, [{4, key, Key}], Stack)
  end;
partition(Partitioner, Topic, Count, Key, Value) ->
  brod_partitioner:partition(Partitioner, Topic, Count, Key, Value).

%% Consumers

%% @doc Start the consumers of a topic; `ok' also if they are running, their options unchanged.
%%
%% Options: `begin_offset' (latest), `min_bytes' (0), `max_bytes' (1048576), `max_wait_time' (ms,
%% 10000), `sleep_timeout' (ms, 1000), `prefetch_count' (10), `prefetch_bytes' (102400),
%% `offset_reset_policy' (reset_by_subscriber), `size_stat_window' (5), `isolation_level'
%% (read_committed), `share_leader_conn' (false), `partitions' ([] for all), `max_batch_bytes' (268435456: what
%% one batch may unpack to, and one message take with its headers; beyond it the subscriber gets
%% `message_too_large' and may seek past it), `share_fetched_memory' (false: messages are copied out of what
%% was fetched, so that one that is kept keeps little else),
%% `topic_restart_delay_seconds' (10), `partition_restart_delay_seconds' (2).
-spec start_consumer(client(), topic(), consumer_config()) -> ok | {error, term()}.
start_consumer(Client, Topic, Config) -> brod_client:start_consumer(Client, Topic, Config).

%% @doc The consumer process of a partition.
-spec get_consumer(client(), topic(), partition()) -> {ok, pid()} | {error, term()}.
get_consumer(Client, Topic, Partition) -> brod_client:get_consumer(Client, Topic, Partition).

%% @doc Subscribe a process to a partition. It gets `{ConsumerPid, #kafka_message_set{}}' and
%% `{ConsumerPid, #kafka_fetch_error{}}' messages, and acknowledges with {@link consume_ack/2}.
%% `Options' change those that the consumer was started with, but for `isolation_level' and `share_leader_conn', which are
%% fixed then.
-spec subscribe(client(), pid() | atom(), topic(), partition(), consumer_config()) ->
        {ok, pid()} | {error, term()}.
subscribe(Client, Subscriber, Topic, Partition, Options) ->
  with_consumer(Client, Topic, Partition, fun(ConsumerPid) ->
    case subscribe(ConsumerPid, Subscriber, Options) of
      ok -> {ok, ConsumerPid};
      {error, Reason} -> {error, Reason}
    end
  end).

%% @doc Subscribe a process to a consumer.
-spec subscribe(pid(), pid() | atom(), consumer_config()) -> ok | {error, term()}.
subscribe(ConsumerPid, Subscriber, Options) ->
  brod_consumer:subscribe(ConsumerPid, Subscriber, Options).

%% @doc End the calling process's subscription.
-spec unsubscribe(pid()) -> ok | {error, term()}.
unsubscribe(ConsumerPid) -> unsubscribe(ConsumerPid, self()).

%% @doc End the subscription of a process.
-spec unsubscribe(pid(), pid()) -> ok | {error, term()}.
unsubscribe(ConsumerPid, Subscriber) -> brod_consumer:unsubscribe(ConsumerPid, Subscriber).

%% @doc End the calling process's subscription to a partition.
-spec unsubscribe(client(), topic(), partition()) -> ok | {error, term()}.
unsubscribe(Client, Topic, Partition) -> unsubscribe(Client, Topic, Partition, self()).

%% @doc End a process's subscription to a partition.
-spec unsubscribe(client(), topic(), partition(), pid()) -> ok | {error, term()}.
unsubscribe(Client, Topic, Partition, Subscriber) ->
  with_consumer(Client, Topic, Partition, fun(Pid) -> unsubscribe(Pid, Subscriber) end).

%% @doc All messages up to `Offset' are processed: the consumer may fetch more.
-spec consume_ack(pid(), offset()) -> ok | {error, term()}.
consume_ack(ConsumerPid, Offset) -> brod_consumer:ack(ConsumerPid, Offset).

%% @doc As {@link consume_ack/2}, by partition.
-spec consume_ack(client(), topic(), partition(), offset()) -> ok | {error, term()}.
consume_ack(Client, Topic, Partition, Offset) ->
  with_consumer(Client, Topic, Partition, fun(Pid) -> consume_ack(Pid, Offset) end).

%% @doc Stop fetching a partition until {@link resume/3}; its subscriber stays. What has been handed
%% to the subscriber before still arrives.
-spec pause(client(), topic(), partition()) -> ok | {error, term()}.
pause(Client, Topic, Partition) ->
  with_consumer(Client, Topic, Partition, fun brod_consumer:pause/1).

%% @doc Go on after {@link pause/3}.
-spec resume(client(), topic(), partition()) -> ok | {error, term()}.
resume(Client, Topic, Partition) ->
  with_consumer(Client, Topic, Partition, fun brod_consumer:resume/1).

%% @doc Have the subscriber of a partition go on at another offset: an integer, `earliest',
%% `latest' or `{timestamp, Ms}'. Messages fetched for the old one are dropped.
%% `{error, no_subscriber}' if nobody is subscribed, `{error, busy}' while another seek or subscribe is under way.
-spec seek(client(), topic(), partition(), offset_time() | {timestamp, msg_ts()}) ->
        ok | {error, term()}.
seek(Client, Topic, Partition, BeginOffset) ->
  with_consumer(Client, Topic, Partition, fun(Pid) -> brod_consumer:seek(Pid, BeginOffset) end).

%% @doc How many messages each subscribed partition of a topic is behind: from the first that is
%% not acked to the end that the subscriber can see, as of the last fetch. `undefined' before the
%% first fetch, partitions without a consumer are left out.
-spec lag(client(), topic()) -> {ok, #{partition() => non_neg_integer() | undefined}}
                              | {error, term()}.
lag(Client, Topic) ->
  case get_partitions_count_safe(Client, Topic) of
    {ok, Count} ->
      {ok, maps:from_list([{P, Lag} || P <- lists:seq(0, Count - 1),
                                       #{lag := Lag} <- [consumer_info(Client, Topic, P)]])};
    {error, Reason} ->
      {error, Reason}
  end.

%% Nothing is started to be asked.
consumer_info(Client, Topic, Partition) ->
  case brod_client_workers:lookup(Client, consumer, Topic, Partition) of
    {ok, ConsumerPid} -> brod_consumer:info(ConsumerPid);
    false -> not_running
  end.

with_consumer(Client, Topic, Partition, Fun) ->
  case get_consumer(Client, Topic, Partition) of
    {ok, ConsumerPid} -> Fun(ConsumerPid);
    {error, Reason} -> {error, Reason}
  end.

%% Subscribers

%% @doc Start a topic subscriber: see `brod_topic_subscriber:start_link/1'.
-spec start_link_topic_subscriber(brod_topic_subscriber:topic_subscriber_config()) ->
        {ok, pid()} | {error, term()}.
start_link_topic_subscriber(Config) -> brod_topic_subscriber:start_link(Config).

%% @doc {@link start_link_topic_subscriber/6} on all partitions.
-spec start_link_topic_subscriber(client(), topic(), consumer_config(), module(), term()) ->
        {ok, pid()} | {error, term()}.
start_link_topic_subscriber(Client, Topic, ConsumerConfig, CbModule, CbInitArg) ->
  start_link_topic_subscriber(Client, Topic, all, ConsumerConfig, CbModule, CbInitArg).

%% @doc {@link start_link_topic_subscriber/7} with single messages.
-spec start_link_topic_subscriber(client(), topic(), all | [partition()], consumer_config(),
                                  module(), term()) -> {ok, pid()} | {error, term()}.
start_link_topic_subscriber(Client, Topic, Partitions, ConsumerConfig, CbModule, CbInitArg) ->
  start_link_topic_subscriber(Client, Topic, Partitions, ConsumerConfig, message, CbModule,
                              CbInitArg).

%% @doc Start a topic subscriber on some partitions.
-spec start_link_topic_subscriber(client(), topic(), all | [partition()], consumer_config(),
                                  message | message_set, module(), term()) ->
        {ok, pid()} | {error, term()}.
start_link_topic_subscriber(Client, Topic, Partitions, ConsumerConfig, MessageType, CbModule,
                            CbInitArg) ->
  brod_topic_subscriber:start_link(Client, Topic, Partitions, ConsumerConfig, MessageType,
                                   CbModule, CbInitArg).

%% @doc Start a group subscriber with single messages.
-spec start_link_group_subscriber(client(), group_id(), [topic()], group_config(),
                                  consumer_config(), module(), term()) ->
        {ok, pid()} | {error, term()}.
start_link_group_subscriber(Client, GroupId, Topics, GroupConfig, ConsumerConfig, CbModule,
                            CbInitArg) ->
  brod_group_subscriber:start_link(Client, GroupId, Topics, GroupConfig, ConsumerConfig, CbModule,
                                   CbInitArg).

%% @doc Start a group subscriber.
-spec start_link_group_subscriber(client(), group_id(), [topic()], group_config(),
                                  consumer_config(), message | message_set, module(), term()) ->
        {ok, pid()} | {error, term()}.
start_link_group_subscriber(Client, GroupId, Topics, GroupConfig, ConsumerConfig, MessageType,
                            CbModule, CbInitArg) ->
  brod_group_subscriber:start_link(Client, GroupId, Topics, GroupConfig, ConsumerConfig,
                                   MessageType, CbModule, CbInitArg).

%% @doc Start a group subscriber with a process per partition: see
%% `brod_group_subscriber_v2:start_link/1'.
-spec start_link_group_subscriber_v2(map()) -> {ok, pid()} | {error, term()}.
start_link_group_subscriber_v2(Config) -> brod_group_subscriber_v2:start_link(Config).

%% Topics, metadata, offsets

%% @doc {@link create_topics/4} without options to connect.
-spec create_topics([endpoint()], [topic_config()], #{timeout => integer(), validate_only => boolean()}) ->
        ok | {error, term()}.
create_topics(Hosts, Topics, Opts) -> brod_utils:create_topics(Hosts, Topics, Opts).

%% @doc Create topics, each a {@type topic_config()}: `name', `num_partitions', `replication_factor', `assignments' (each with
%% `partition_index' and `broker_ids') and `configs' (each with `name' and `value'); `timeout' is in ms. An error is the broker's text, or its code where it has none.
%% Where the cluster's controller changes meanwhile, the broker asks the next one, too: a topic that
%% this call has created can then be said to exist already.
-spec create_topics([endpoint()], [topic_config()], #{timeout => integer(), validate_only => boolean()},
                    conn_config()) -> ok | {error, term()}.
create_topics(Hosts, Topics, Opts, ConnConfig) ->
  brod_utils:create_topics(Hosts, Topics, Opts, ConnConfig).

%% @doc {@link delete_topics/4} without options to connect.
-spec delete_topics([endpoint()], [topic()], pos_integer()) -> ok | {error, term()}.
delete_topics(Hosts, Topics, Timeout) -> brod_utils:delete_topics(Hosts, Topics, Timeout).

%% @doc Delete topics; `Timeout' in ms.
-spec delete_topics([endpoint()], [topic()], pos_integer(), conn_config()) -> ok | {error, term()}.
delete_topics(Hosts, Topics, Timeout, ConnConfig) ->
  brod_utils:delete_topics(Hosts, Topics, Timeout, ConnConfig).

%% @doc Metadata of all topics.
-spec get_metadata([endpoint()]) -> {ok, map()} | {error, term()}.
get_metadata(Hosts) -> brod_utils:get_metadata(Hosts).

%% @doc Metadata of some topics.
-spec get_metadata([endpoint()], all | [topic()]) -> {ok, map()} | {error, term()}.
get_metadata(Hosts, Topics) -> brod_utils:get_metadata(Hosts, Topics).

%% @doc Metadata of some topics, with options to connect. Creates none of them, where brokers can be told so (0.11).
%% Throws `{failed_to_connect, [{{Host, Port}, {Reason, Stack}}]}' if no broker can be reached.
-spec get_metadata([endpoint()], all | [topic()], conn_config()) -> {ok, map()} | {error, term()}.
get_metadata(Hosts, Topics, ConnConfig) -> brod_utils:get_metadata(Hosts, Topics, ConnConfig).

%% @doc Number of a topic's partitions. May create the topic, as broker and client permit.
-spec get_partitions_count(client(), topic()) -> {ok, pos_integer()} | {error, term()}.
get_partitions_count(Client, Topic) -> brod_client:get_partitions_count(Client, Topic).

%% @doc Number of a topic's partitions; never creates the topic.
-spec get_partitions_count_safe(client(), topic()) -> {ok, pos_integer()} | {error, term()}.
get_partitions_count_safe(Client, Topic) -> brod_client:get_partitions_count_safe(Client, Topic).

%% @doc The latest offset: that of the next message to come.
-spec resolve_offset(client() | bootstrap(), topic(), partition()) ->
        {ok, offset()} | {error, term()}.
resolve_offset(Target, Topic, Partition) -> resolve_offset(Target, Topic, Partition, latest).

%% @doc The offset at a time: `earliest', `latest', or ms since 1970; -1 where no message is of that time or later.
-spec resolve_offset(client() | bootstrap(), topic(), partition(), offset_time()) ->
        {ok, offset()} | {error, term()}.
resolve_offset(Target, Topic, Partition, Time) ->
  brod_utils:resolve_offset(Target, Topic, Partition, Time).

%% @doc As {@link resolve_offset/4}, with options to connect.
-spec resolve_offset(client() | bootstrap(), topic(), partition(), offset_time(), conn_config()) ->
        {ok, offset()} | {error, term()}.
resolve_offset(Target, Topic, Partition, Time, ConnConfig) ->
  brod_utils:resolve_offset(Target, Topic, Partition, Time, ConnConfig).

%% @doc As {@link resolve_offset/5}, with `#{timeout => Ms}'.
-spec resolve_offset([endpoint()], topic(), partition(), offset_time(), conn_config(),
                     #{timeout => pos_integer()}) -> {ok, offset()} | {error, term()}.
resolve_offset(Hosts, Topic, Partition, Time, ConnConfig, Opts) ->
  brod_utils:resolve_offset(Hosts, Topic, Partition, Time, ConnConfig, Opts).

%% Fetch

%% @doc {@link fetch/5} with default options.
-spec fetch(connection() | client_id() | bootstrap(), topic(), partition(), offset()) ->
        {ok, {offset(), [message()]}} | {error, term()}.
fetch(Target, Topic, Partition, Offset) -> brod_utils:fetch(Target, Topic, Partition, Offset).

%% @doc Fetch one message set. Returns it with the last stable offset (or the high watermark, for
%% `read_uncommitted'); an empty list if there is nothing up to it. Options: `max_wait_time' (ms,
%% 1000), `min_bytes' (1), `max_bytes' (1048576), `isolation_level' (read_committed), `max_batch_bytes'
%% (268435456): what a batch may unpack to, and one message take with its headers, else the error is
%% `message_too_large'; `max_memory' (67108864): about what the messages of one call take, if they are
%% more than one.
-spec fetch(connection() | client_id() | bootstrap(), topic(), partition(), offset(),
            fetch_opts()) -> {ok, {offset(), [message()]}} | {error, term()}.
fetch(Target, Topic, Partition, Offset, Opts) ->
  brod_utils:fetch(Target, Topic, Partition, Offset, Opts).

%% @doc Old form of {@link fetch/5}, that returns messages only.
-spec fetch([endpoint()], topic(), partition(), offset(), non_neg_integer(), non_neg_integer(),
            pos_integer()) -> {ok, [message()]} | {error, term()}.
fetch(Hosts, Topic, Partition, Offset, MaxWaitTime, MinBytes, MaxBytes) ->
  fetch(Hosts, Topic, Partition, Offset, MaxWaitTime, MinBytes, MaxBytes, []).

%% @doc Old form of {@link fetch/5}, that returns messages only.
-spec fetch([endpoint()], topic(), partition(), offset(), non_neg_integer(), non_neg_integer(),
            pos_integer(), conn_config()) -> {ok, [message()]} | {error, term()}.
fetch(Hosts, Topic, Partition, Offset, MaxWaitTime, MinBytes, MaxBytes, ConnConfig) ->
  Opts = #{max_wait_time => MaxWaitTime, min_bytes => MinBytes, max_bytes => MaxBytes},
  case fetch({Hosts, ConnConfig}, Topic, Partition, Offset, Opts) of
    {ok, {_StableOffset, Messages}} -> {ok, Messages};
    {error, Reason} -> {error, Reason}
  end.

%% @doc Fold over a partition's messages from `Offset', until `Fun' returns `{error, Reason}', a
%% limit is reached, the partition ends, or a fetch fails (`{fetch_failure, Reason}'; `{error, Reason}' where there
%% was no way to the leader).
-spec fold(connection() | client_id() | bootstrap(), topic(), partition(), offset(), fetch_opts(),
           Acc, fold_fun(Acc), fold_limits()) -> fold_result() when Acc :: fold_acc().
fold(Target, Topic, Partition, Offset, Opts, Acc, Fun, Limits) ->
  brod_utils:fold(Target, Topic, Partition, Offset, Opts, Acc, Fun, Limits).

%% Transactions

%% @doc Start a transaction, linked to the caller: see {@link brod_transaction:start_link/3}.
-spec transaction(client(), transactional_id(), transaction_config()) ->
        {ok, transaction()} | {error, term()}.
transaction(Client, TxnId, Config) -> brod_transaction:new(Client, TxnId, Config).

%% @doc Read from topics, process, and write, in transactions: see {@link brod_transaction_processor:do/3}.
-spec txn_do(brod_transaction_processor:process_function(), client(),
             brod_transaction_processor:do_options()) -> {ok, pid()} | {error, term()}.
txn_do(ProcessFun, Client, Opts) -> brod_transaction_processor:do(ProcessFun, Client, Opts).

%% @doc Produce a batch in a transaction, and wait for the offset of its first message: see {@link
%% brod_transaction:produce/4}.
-spec txn_produce(transaction(), topic(), partition() | partitioner(), batch_input()) ->
        {ok, offset()} | {error, term()}.
txn_produce(Transaction, Topic, Partition, Batch) ->
  brod_transaction:produce(Transaction, Topic, Partition, Batch).

%% @doc Produce one message in a transaction, and wait for its offset: see {@link brod_transaction:produce/5}.
-spec txn_produce(transaction(), topic(), partition() | partitioner(), key(), value()) ->
        {ok, offset()} | {error, term()}.
txn_produce(Transaction, Topic, Partition, Key, Value) ->
  brod_transaction:produce(Transaction, Topic, Partition, Key, Value).

%% @doc Produce a batch in a transaction without waiting for it: see {@link brod_transaction:produce_async/4}.
-spec txn_produce_async(transaction(), topic(), partition() | partitioner(), batch_input()) ->
        ok | {error, term()}.
txn_produce_async(Transaction, Topic, Partition, Batch) ->
  brod_transaction:produce_async(Transaction, Topic, Partition, Batch).

%% @doc Produce one message in a transaction without waiting for it: see {@link brod_transaction:produce_async/5}.
-spec txn_produce_async(transaction(), topic(), partition() | partitioner(), key(), value()) ->
        ok | {error, term()}.
txn_produce_async(Transaction, Topic, Partition, Key, Value) ->
  brod_transaction:produce_async(Transaction, Topic, Partition, Key, Value).

%% @doc Make a group's offsets part of a transaction: see {@link brod_transaction:add_offsets/3}.
-spec txn_add_offsets(transaction(), group_id(), offsets_to_commit()) -> ok | {error, term()}.
txn_add_offsets(Transaction, GroupId, Offsets) ->
  brod_transaction:add_offsets(Transaction, GroupId, Offsets).

%% @doc Commit a transaction: see {@link brod_transaction:commit/1}.
-spec commit(transaction()) -> ok | {error, term()}.
commit(Transaction) -> brod_transaction:commit(Transaction).

%% @doc Abort a transaction: see {@link brod_transaction:abort/1}.
-spec abort(transaction()) -> ok | {error, term()}.
abort(Transaction) -> brod_transaction:abort(Transaction).

%% Connections and groups

%% @doc Connect to the leader of a partition. The connection is linked to the caller unless
%% `{nolink, true}' is given.
-spec connect_leader([endpoint()], topic(), partition(), conn_config()) ->
        {ok, connection()} | {error, term()}.
connect_leader(Hosts, Topic, Partition, ConnConfig) ->
  brod_utils:connect_leader(Hosts, Topic, Partition, ConnConfig).

%% @doc Connect to the coordinator of a group, linked as in {@link connect_leader/4}.
-spec connect_group_coordinator([endpoint()], conn_config(), group_id()) ->
        {ok, connection()} | {error, term()}.
connect_group_coordinator(Hosts, ConnConfig, GroupId) ->
  brod_utils:connect_group_coordinator(Hosts, ConnConfig, GroupId).

%% @doc Groups that one broker coordinates.
%% Throws `{failed_to_connect, Failures}' if it cannot be reached, as do the next two.
-spec list_groups(endpoint(), conn_config()) -> {ok, [cg()]} | {error, term()}.
list_groups(Endpoint, ConnConfig) -> brod_utils:list_groups(Endpoint, ConnConfig).

%% @doc Groups of all brokers.
-spec list_all_groups([endpoint()], conn_config()) -> [{endpoint(), [cg()] | {error, term()}}].
list_all_groups(Endpoints, ConnConfig) -> brod_utils:list_all_groups(Endpoints, ConnConfig).

%% @doc State and members of groups, asked at the coordinator of each; any broker will do as `Endpoint'. A group that does not exist
%% has the state `Dead', and so has one of another kind: a share group, or one whose partitions the brokers deal out (KIP-848).
-spec describe_groups(endpoint(), conn_config(), [group_id()]) -> {ok, [map()]} | {error, term()}.
describe_groups(Endpoint, ConnConfig, GroupIds) ->
  brod_utils:describe_groups(Endpoint, ConnConfig, GroupIds).

%% @doc Offsets that a group has committed, of all its topics: `#{name, partitions}' for each, with
%% `#{partition_index, committed_offset, metadata, error_code}' for each partition. Empty where nothing is committed.
-spec fetch_committed_offsets(client(), group_id()) -> {ok, [map()]} | {error, term()}.
fetch_committed_offsets(Client, GroupId) ->
  brod_utils:fetch_committed_offsets(Client, GroupId, []).

%% @doc As {@link fetch_committed_offsets/2}, without a client.
-spec fetch_committed_offsets([endpoint()], conn_config(), group_id()) ->
        {ok, [map()]} | {error, term()}.
fetch_committed_offsets(Hosts, ConnConfig, GroupId) ->
  brod_utils:fetch_committed_offsets(Hosts, ConnConfig, GroupId, []).
