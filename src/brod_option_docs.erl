%% @private What each option is for, level by level: docs/options.md is made from it, with the names and defaults that the
%% checks have (scripts/generate-options.escript), and a test fails where an option has no row.
-module(brod_option_docs).

-export([levels/0, rows/1, default/2]).

-type level() :: client | producer | consumer | group | transaction.
%% Name, what it may be, whose it is (brod's or of this version only), and what it does.
-type row() :: {atom(), Range :: string(), brod | ours, Text :: string()}.

-export_type([level/0, row/0]).

%% @doc The levels, each with where its options are given.
-spec levels() -> [{level(), string()}].
levels() ->
  [ {client, "`brod:start_client/3`, `Brod.Client`, `clients` in the application environment. Those from `connect_timeout` "
             "on are options of connections, too, wherever a function takes some."}
  , {producer, "`brod:start_producer/3`, `Brod.Producer.start/3`, `default_producer_config` of a client, `producer_config` "
               "of a transaction."}
  , {consumer, "`brod:start_consumer/3`, `brod:subscribe/5`, `Brod.Consumer`, `consumer_config` of a subscriber."}
  , {group, "`group_config` of a group subscriber, `brod_group_coordinator:start_link/6`."}
  , {transaction, "`brod:transaction/3`, `Brod.Transaction`."}
  ].

%% @doc The default of an option as the checks give it; `none' where there is none, or where it depends on others.
-spec default(level(), atom()) -> {ok, term()} | none.
default(Level, Key) ->
  case maps:find(Key, defaults(Level)) of
    {ok, undefined} -> none;
    {ok, Default} -> {ok, Default};
    error -> none
  end.

defaults(client) -> ok(brod_options:client([]));
defaults(producer) -> ok(brod_options:producer([]));
defaults(consumer) -> ok(brod_consumer_options:new([]));
defaults(group) -> ok(brod_group_options:new([]));
defaults(transaction) -> ok(brod_transaction_options:check(<<"id">>, [])).

ok({ok, Options}) -> Options.

%% @doc The options of a level, in the order of the page.
-spec rows(level()) -> [row()].
rows(client) ->
  [ {endpoints, "list of {Host, Port}", brod, "Brokers to ask first. Only in the application environment and in `Brod.Client`."}
  , {restart_delay_seconds, "number >= 0", brod, "After so long a client that ended is started again."}
  , {get_metadata_timeout_seconds, "seconds or infinity", brod, "Limit of one question for metadata."}
  , {reconnect_cool_down_seconds, "number >= 0", brod, "Pause between attempts to connect; sets the smallest `reconnect_backoff`."}
  , {allow_topic_auto_creation, "true, false", brod, "Whether to ask for a topic's metadata may create it, where the broker allows that."}
  , {auto_start_producers, "true, false", brod, "Start a topic's producers with its first message. `Brod.Client` has true."}
  , {default_producer_config, "producer options", brod, "Options of producers that are started so."}
  , {unknown_topic_cache_ttl, "ms or infinity", brod, "How long it is remembered that a topic does not exist."}
  , {metadata_max_age, "ms > 0", ours, "Metadata is read again after so long although nothing failed."}
  , {buffer_bytes, "bytes > 0", ours, "What unsent messages of all partitions may hold together. Beyond it callers wait, and "
                                      "`produce_no_ack` drops."}
  , {fetch_buffer_bytes, "bytes > 0", ours, "What fetched messages of all partitions may hold together before they are delivered."}
  , {rack_id, "binary", ours, "Fetch from a replica in this rack, where the brokers allow it (KIP-392)."}
  , {connect_timeout, "ms or infinity", brod, "Limit of connecting, with TLS and SASL."}
  , {request_timeout, "ms or infinity", brod, "Limit of an answer; after it the connection is closed."}
  , {client_id, "text", brod, "What brokers see in their logs and quotas. Default: the client's name."}
  , {ssl, "true, false, options", brod, "TLS: see docs/migrating-tls.md. Certificates are verified by default."}
  , {sasl, "{Mechanism, ...}", brod, "Authentication: see docs/migrating-tls.md."}
  , {reconnect_backoff, "ms > 0", ours, "Pause after the first failed attempt to connect (50), doubled with each one."}
  , {reconnect_backoff_max, "ms > 0", ours, "The longest such pause (1000)."}
  , {query_api_versions, "true, false", brod, "false for brokers before 0.10."}
  , {connections_max_idle_ms, "ms or infinity", ours, "A connection that nobody used for so long is closed."}
  , {extra_sock_opts, "options of gen_tcp", brod, "nodelay, keepalive, sndbuf, recbuf, tos, ip, inet, inet6, linger, bind_to_device."}
  , {debug, "any", brod, "Taken and not used."}
  , {nolink, "true, false", brod, "Of a connection: not linked to who asked for it."}
  ];
rows(producer) ->
  [ {required_acks, "-1 (all), 0 (none), 1 (leader_only)", brod, "Who has to have a message before it is confirmed: all in-sync "
     "replicas, nobody, the leader."}
  , {ack_timeout, "ms", brod, "How long the broker waits for its replicas."}
  , {partition_buffer_limit, "integer > 0", brod, "Calls of a partition that may wait to be sent; beyond it callers wait."}
  , {partition_onwire_limit, "integer > 0", brod, "Requests of a partition in flight. Order is kept where idempotence is on."}
  , {max_batch_size, "bytes > 0", brod, "Size of a batch; a larger message is refused by itself."}
  , {max_request_size, "bytes > 0", ours, "What batches of several partitions may add up to in one request."}
  , {max_retries, "integer >= -1, infinity", brod, "Attempts after the first; -1: no limit."}
  , {retry_backoff_ms, "ms", brod, "Pause between attempts."}
  , {compression, "no_compression, gzip, snappy, lz4, zstd", brod, "Codec of batches."}
  , {compression_level, "integer", ours, "Level of that codec."}
  , {max_linger_ms, "ms", brod, "How long a batch may wait for more messages."}
  , {max_linger_count, "integer >= 0", brod, "How many messages a batch waits for at most."}
  , {produce_req_vsn, "integer", brod, "Version of the request, where another than the highest is wanted."}
  , {delivery_timeout_ms, "ms or infinity", ours, "After so long a message is given up: 120000, and never where `max_retries` is -1."}
  , {enable_idempotence, "auto, true, false", ours, "No message is stored twice, however often it is sent again. true takes "
     "`required_acks` -1 only."}
  , {topic_restart_delay_seconds, "seconds", brod, "Pause before the supervisor of a topic's producers is started again."}
  , {partition_restart_delay_seconds, "seconds", brod, "Pause before a producer is started again."}
  ];
rows(consumer) ->
  [ {begin_offset, "offset, earliest, latest, {timestamp, Ms}", brod, "Where to begin, if nothing is committed. The timestamp is ours."}
  , {min_bytes, "bytes", brod, "A broker waits until it has so much."}
  , {max_bytes, "bytes", brod, "How much of a partition one fetch asks for."}
  , {max_wait_time, "ms", brod, "But it waits no longer than this."}
  , {sleep_timeout, "ms", brod, "Pause after a fetch that failed."}
  , {prefetch_count, "integer", brod, "Messages that may be delivered and not acknowledged. What is fetched is in "
     "force until both limits are passed."}
  , {prefetch_bytes, "bytes", brod, "The same in bytes."}
  , {offset_reset_policy, "reset_by_subscriber, reset_to_earliest, reset_to_latest", brod, "What to do where the offset is gone: "
     "tell the subscriber, or go on at one of the ends."}
  , {size_stat_window, "integer", brod, "Taken, and has no effect: batches are unpacked as far as the window goes."}
  , {isolation_level, "read_committed, read_uncommitted", brod, "Whether messages of open and aborted transactions are left out."}
  , {max_batch_bytes, "bytes > 0", ours, "What one batch may unpack to; beyond it the subscriber gets an error and may seek past it."}
  , {share_fetched_memory, "true, false", ours, "Large values stay in the memory that they were fetched into (ADR 14)."}
  , {share_leader_conn, "true, false", brod, "Taken: all partitions of a broker share a connection here anyway."}
  , {partitions, "list of integers", brod, "Which partitions get consumers; [] or nothing: all."}
  , {topic_restart_delay_seconds, "seconds", brod, "Pause before the supervisor of a topic's consumers is started again (10)."}
  , {partition_restart_delay_seconds, "seconds", brod, "Pause before a consumer is started again (2)."}
  ];
rows(group) ->
  [ {partition_assignment_strategy, "roundrobin_v2, callback_implemented", brod, "Who deals out partitions: the client, or "
     "`assign_partitions` of the callback module."}
  , {session_timeout_seconds, "seconds > 0", brod, "A member that is not heard of for so long is out. Brokers allow 6 to 1800 seconds "
     "unless configured otherwise."}
  , {rebalance_timeout_seconds, "seconds > 0", brod, "How long members may take to come back when a group is dealt out anew."}
  , {heartbeat_rate_seconds, "seconds > 0", brod, "Pause between heartbeats. Less than a third of the session timeout."}
  , {max_rejoin_attempts, "integer >= 0, infinity", brod, "Attempts to join before the member gives up."}
  , {rejoin_delay_seconds, "seconds", brod, "Pause between them."}
  , {offset_commit_policy, "commit_to_kafka_v2, consumer_managed", brod, "Where offsets are kept: in Kafka, or by the callback module."}
  , {offset_commit_interval_seconds, "seconds, infinity", brod, "How often they are committed."}
  , {offset_retention_seconds, "seconds, -1", brod, "How long the broker keeps them; only brokers before 2.1 are told."}
  , {protocol_name, "text", brod, "Name of the protocol, instead of the strategy's."}
  , {group_instance_id, "binary", ours, "Static membership (KIP-345): a member that restarts within the session keeps its partitions."}
  ];
rows(transaction) ->
  [ {timeout, "ms > 0", brod, "How long a broker may take for one answer."}
  , {backoff_step, "ms", brod, "The longest pause between attempts."}
  , {max_retries, "integer >= 0", brod, "Attempts after which to give up; what passes by itself is tried for `transaction_timeout` at least."}
  , {transaction_timeout, "ms > 0", ours, "After so long the broker aborts it."}
  , {producer_config, "producer options", ours, "How its messages are produced."}
  ].
