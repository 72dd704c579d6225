%% @private Every option there is, in one table: what it may be, its default, since when, and what it is for. From it come the
%% checks, the defaults (the engine has none of its own), the types of specs (brod_option_types) and docs/options.md, the latter
%% two by scripts/generate-options.escript.
-module(brod_option_table).

-export([levels/0, rows/1, names/1, defaults/1, default/2, environment/1, value/3, check/2, check_given/2, nearest/2, right/1, right/2]).

-export_type([level/0, row/0, replaced/0]).

-type level() :: client | connection | producer | consumer | group | transaction | ssl | sasl | sasl_login | sasl_oauthbearer
               | sasl_aws_msk_iam | fetch | group_subscriber | topic_subscriber | create_topics | create_topic | cg_commits | produce
               | produce_stream | stream | application.
%% Name, what it may be, its default (`undefined': none, or it depends on others), the version of this application since which
%% it exists (4: brod 4 has it), and what it does.
-type row() :: {atom(), brod_option_kinds:kind(), Default :: term(), Since :: 4 | 5, Text :: string()}.
%% What a value that cannot be, and matters only later, is replaced by.
-type replaced() :: {Key :: atom(), Value :: term(), Used :: term()}.

-define(MAX, 16#7fffffff).
-define(MAX64, 16#7fffffffffffffff).
-define(MAX_SECONDS, 2147483).

%% @doc The levels of the page, each with where its options are given.
-spec levels() -> [{level(), Title :: string(), string()}].
levels() ->
  [ {client, "Client", "`brod:start_client/3`, `Brod.Client`, `clients` in the application environment. Those from `connect_timeout` "
                       "on are options of connections, too, wherever a function takes some."}
  , {ssl, "TLS", "In the option `ssl`, a list or a map. More about them, and about what Erlang's `ssl` has and the engine does not: "
                 "docs/migrating-tls.md."}
  , {sasl, "SASL", "The option `sasl` is `{Mechanism, User, Password}`, `{Mechanism, File}`, `{Mechanism, Options}` or "
                   "`{callback, Module, Term}`; or a map or a list of the mechanism's options, with this one:"}
  , {sasl_login, "SASL: plain, scram_sha_256, scram_sha_512", "The options of these mechanisms."}
  , {sasl_oauthbearer, "SASL: oauthbearer", "The options of `{oauthbearer, Options}`."}
  , {sasl_aws_msk_iam, "SASL: aws_msk_iam", "The options of `{aws_msk_iam, Options}`."}
  , {producer, "Producer", "`brod:start_producer/3`, `Brod.Producer.start/3`, `default_producer_config` of a client, `producer_config` "
                           "of a transaction."}
  , {consumer, "Consumer", "`brod:start_consumer/3`, `brod:subscribe/5`, `Brod.Consumer`, `consumer_config` of a subscriber."}
  , {group, "Group", "`group_config` of a group subscriber, `brod_group_coordinator:start_link/6`."}
  , {group_subscriber, "Group subscriber", "`brod_group_subscriber_v2:start_link/1`, `Brod.GroupSubscriber`."}
  , {topic_subscriber, "Topic subscriber", "`brod_topic_subscriber:start_link/1`, `Brod.TopicSubscriber`."}
  , {cg_commits, "Committing for a group", "`brod_cg_commits:start_link/2`."}
  , {transaction, "Transaction", "`brod:transaction/3`, `Brod.Transaction`."}
  , {fetch, "Fetch", "`brod:fetch/5`, `brod:fold/8`, `Brod.Consumer.fetch/5`, `Brod.stream/3`."}
  , {create_topics, "Topics", "`brod:create_topics/4`."}
  , {create_topic, "Brod.Admin.create_topic/3", "Elixir only."}
  , {produce, "Brod.Producer.produce/4", "Elixir only; also of the other functions that produce."}
  , {produce_stream, "Brod.Producer.produce_stream/4", "Elixir only."}
  , {stream, "Brod.stream/3", "Elixir only; beside those of fetches."}
  , {application, "Application environment", "Of the application `brod`."}
  ].

%% @doc The names of a level's options.
-spec names(level()) -> [atom()].
names(Level) -> [element(1, Row) || Row <- rows(Level)].

%% @doc The defaults of a level; an option without one is not there.
-spec defaults(level()) -> #{atom() => term()}.
defaults(Level) -> maps:from_list([{Name, Default} || {Name, _, Default, _, _} <- rows(Level), Default =/= undefined]).

%% @doc The default of an option; `none' where there is none, or where it depends on others.
-spec default(level(), atom()) -> {ok, term()} | none.
default(Level, Name) ->
  case stated(Level, Name) of
    undefined -> none;
    Default -> {ok, Default}
  end.

%% @doc What the application environment says, or the default. Nothing is built: it is asked for each message that somebody waits for.
-spec environment(atom()) -> term().
environment(Name) ->
  case application:get_env(brod, Name) of
    {ok, Value} -> Value;
    undefined -> stated(application, Name)
  end.

stated(Level, Name) ->
  {Name, _, Default, _, _} = lists:keyfind(Name, 1, rows(Level)),
  Default.

%% @doc The value of one option in the form that is used inside, `error' where it cannot be: for checks that look at more than one
%% option, which go through them themselves.
-spec value(level(), atom(), term()) -> {ok, term()} | error.
value(Level, Name, Value) ->
  {Name, Kind, _, _, _} = lists:keyfind(Name, 1, rows(Level)),
  case brod_option_kinds:value(Kind, Value) of
    {ok, Used} -> {ok, Used};
    _ -> error
  end.

%% @doc Check options, a proplist (an atom `K' counts as `{K, true}') or a map. `undefined', and `nil' where it is not one of an
%% option's values, count as not given, and names that are not known are left out. The result has every key that was given or has a
%% default.
-spec check(level(), term()) ->
        {ok, #{atom() => term()}, [replaced()]} | {error, {bad_option, Key :: term(), Value :: term()}}.
check(Level, Given) -> check(Level, Given, fun(Default) -> Default end).

%% @doc As {@link check/2}, without defaults.
-spec check_given(level(), term()) ->
        {ok, #{atom() => term()}, [replaced()]} | {error, {bad_option, Key :: term(), Value :: term()}}.
check_given(Level, Given) -> check(Level, Given, fun(_Default) -> undefined end).

check(Level, Given, Default) ->
  try brod_options:to_map(Given) of
    Map -> check_each(rows(Level), Map, Default, #{}, [])
  catch
    error:_ -> {error, {bad_option, Level, Given}}
  end.

check_each([], _Given, _Default, Options, Replaced) ->
  {ok, Options, lists:reverse(Replaced)};
check_each([{Name, Kind, Declared, _, _} | Rows], Given, Default, Options, Replaced) ->
  case Given of
    #{Name := Value} when Value =/= undefined, (Value =/= nil orelse element(1, Kind) =:= any) ->
      case {brod_option_kinds:value(Kind, Value), Kind} of
        {{ok, Used}, _} ->
          check_each(Rows, Given, Default, Options#{Name => Used}, Replaced);
        {{instead, Used}, _} ->
          check_each(Rows, Given, Default, Options#{Name => Used}, [{Name, Value, Used} | Replaced]);
        {error, {later, _}} ->
          check_each(Rows, Given, Default, with_default(Name, Default(Declared), Options), [{Name, Value, Declared} | Replaced]);
        {error, _} ->
          {error, {bad_option, Name, Value}}
      end;
    #{} ->
      check_each(Rows, Given, Default, with_default(Name, Default(Declared), Options), Replaced)
  end.

with_default(_Name, undefined, Options) -> Options;
with_default(Name, Default, Options) -> Options#{Name => Default}.

%% @doc The name that is so near to a misspelt one that it may be meant.
-spec nearest(term(), [atom()]) -> undefined | atom().
nearest(Name, [_ | _] = Known) when is_atom(Name) ->
  Text = atom_to_list(Name),
  {Distance, Nearest} = lists:min([{distance(Text, atom_to_list(K)), K} || K <- Known]),
  case Distance =< max(2, length(Text) div 3) of
    true -> Nearest;
    false -> undefined
  end;
nearest(_Name, _Known) ->
  undefined.

%% Levenshtein's: how many letters have to be changed, added or removed.
distance(From, To) ->
  lists:last(lists:foldl(fun distance_row/2, lists:seq(0, length(From)), [{C, From} || C <- To])).

distance_row({C, From}, [Corner | Above]) ->
  {Row, _, _} = lists:foldl(fun({F, Up}, {[Left | _] = Acc, Diagonal, Char}) ->
                              Changed = Diagonal + case F of Char -> 0; _ -> 1 end,
                              {[lists:min([Up + 1, Left + 1, Changed]) | Acc], Up, Char}
                            end, {[Corner + 1], Corner, C}, lists:zip(From, Above)),
  lists:reverse(Row).

%% @doc What would be right in place of an option that is wrong: a name, what the option may be, or where that is written.
-spec right({bad_option, term(), term()}) -> {meant, atom()} | {may_be, string()} | {see, string()}.
right({bad_option, {Of, Name}, unknown}) -> meant(Name, all_names(Of));
right({bad_option, {_Of, _Name}, not_supported}) -> {see, "docs/migrating-tls.md"};
right({bad_option, {Of, Name}, _Why}) -> may_be(Name, families(Of));
right({bad_option, sasl, {unknown_mechanism, Mechanism}}) -> meant(Mechanism, brod_option_security:mechanisms());
%% What is right by itself, and not with what else was given.
right({bad_option, required_acks, Acks}) when Acks =:= 0; Acks =:= 1; Acks =:= none; Acks =:= leader_only -> {may_be, "-1 (all)"};
right({bad_option, Name, _Value}) -> may_be(Name, [Level || {Level, _, _} <- levels()]).

%% @doc The same of an option of which the level is known.
-spec right(level(), {bad_option, atom(), term()}) -> {may_be, string()}.
right(Level, {bad_option, Name, _Value}) -> {may_be, _} = may_be(Name, [Level]).

meant(Name, Known) ->
  case nearest(Name, Known) of
    undefined -> {see, "docs/options.md"};
    Nearest -> {meant, Nearest}
  end.

%% Several levels may have an option of this name: it is told only where they agree.
may_be(Name, Levels) ->
  case lists:usort([brod_option_kinds:text(Kind) || Level <- Levels, {N, Kind, _, _, _} <- rows(Level), N =:= Name]) of
    [Text] -> {may_be, Text};
    _ -> {see, "docs/options.md"}
  end.

all_names(Of) -> lists:append([names(Level) || Level <- families(Of)]).

families(sasl) -> [sasl, sasl_login, sasl_oauthbearer, sasl_aws_msk_iam];
families(Level) -> [Level].

%% @doc The options of a level, in the order of the page.
-spec rows(level()) -> [row()].
rows(client) ->
  [ {endpoints, {any, "list of {Host, Port}; in Brod.Client also \"host:port,host:port\""}, undefined, 4, "Brokers to ask first. Only in the application environment and in "
     "`Brod.Client`."}
  , {restart_delay_seconds, {number, seconds, from, 0, ?MAX_SECONDS}, 10, 4, "After so long a client that ended is started again."}
  , {get_metadata_timeout_seconds, {or_infinity, {integer, seconds, 1, ?MAX_SECONDS}, ?MAX_SECONDS}, 5, 4, "Limit of one question for metadata."}
  , {reconnect_cool_down_seconds, {number, seconds, from, 0, ?MAX_SECONDS}, undefined, 4, "Pause between attempts to connect; sets the smallest `reconnect_backoff`."}
  , {allow_topic_auto_creation, boolean, true, 4, "Whether to ask for a topic's metadata may create it, where the broker allows that."}
  , {auto_start_producers, boolean, false, 4, "Start a topic's producers with its first message. `Brod.Client` has true."}
  , {default_producer_config, {options, producer}, [], 4, "Options of producers that are started so."}
  , {unknown_topic_cache_ttl, {or_infinity, {integer, ms, 0, ?MAX64}, 1 bsl 62}, 120000, 4, "How long it is remembered that a topic does not exist."}
  , {metadata_max_age, {integer, ms, 1, ?MAX}, 300000, 5, "Metadata is read again after so long although nothing failed."}
  , {buffer_bytes, {integer, bytes, 1, ?MAX64}, 268435456, 5, "What unsent messages of all partitions may hold together. Beyond it callers wait, and "
     "`produce_no_ack` drops."}
  , {fetch_buffer_bytes, {integer, bytes, 1, ?MAX64}, 67108864, 5, "What fetched messages of all partitions may hold together before they are delivered."}
  , {rack_id, binary, <<>>, 5, "Fetch from a replica in this rack, where the brokers allow it (KIP-392)."}
  , {enable_metrics_push, boolean, true, 5, "Push metrics of the client to brokers that ask for them (KIP-714)."}
  | rows(connection)
  ];
rows(connection) ->
  [ {connect_timeout, {or_infinity, {integer, ms, 1, ?MAX}, ?MAX}, 5000, 4, "Limit of connecting, with TLS and SASL."}
  , {request_timeout, {or_infinity, {integer, ms, 1, ?MAX}, ?MAX}, 240000, 4, "Limit of an answer; after it the connection is closed. "
     "A batch has `ack_timeout` and 10 s, a consumer's fetch `max_wait_time` and 10 s, where that is less. "
     "A batch that is given up so is sent again, which counts as a retry."}
  , {client_id, name, undefined, 4, "What brokers see in their logs and quotas: of a client always its name, of other connections this, or `kpro-client`."}
  , {ssl, ssl, undefined, 4, "TLS. Certificates are verified by default."}
  , {sasl, sasl, undefined, 4, "Authentication."}
  , {reconnect_backoff, {integer, ms, 1, ?MAX}, undefined, 5, "Pause after the first failed attempt to connect (50), doubled with each one."}
  , {reconnect_backoff_max, {integer, ms, 1, ?MAX}, undefined, 5, "The longest such pause (1000)."}
  , {query_api_versions, boolean, true, 4, "false for brokers before 0.10."}
  , {connections_max_idle_ms, {or_infinity, {integer, ms, 1, ?MAX}, ?MAX}, 540000, 5, "A connection that nobody used for so long is closed."}
  , {extra_sock_opts, socket_options, [], 4, "nodelay, keepalive (on: a connection that is silent for a minute is probed), sndbuf, recbuf, tos, ip, inet, inet6, linger, bind_to_device."}
  , {debug, {any, "any"}, undefined, 4, "Taken and not used."}
  , {nolink, boolean, undefined, 4, "Of a connection: not linked to who asked for it."}
  ];
rows(producer) ->
  [ {required_acks, acks, -1, 4, "Who has to have a message before it is confirmed: all in-sync replicas, nobody, the leader."}
  , {ack_timeout, {or_infinity, {integer, ms, 0, ?MAX}, infinity}, 10000, 4, "How long the broker waits for its replicas."}
  , {partition_buffer_limit, {integer, none, 1, ?MAX}, 512, 4, "Calls of a partition that may wait to be sent; beyond it callers wait."}
  , {partition_onwire_limit, {integer, none, 1, ?MAX}, 1, 4, "Requests of a partition in flight; order is kept where idempotence is on. Not given it is 1, and "
     "up to 5 where idempotence is on and the broker is 2 ms away or more."}
  , {max_batch_size, {integer, bytes, 1, ?MAX}, 1048576, 4, "Size of a batch; a larger message is refused by itself."}
  , {max_request_size, {integer, bytes, 1, ?MAX}, 1048576, 5, "What batches of several partitions may add up to in one request."}
  , {max_retries, {or_infinity, {integer, none, -1, ?MAX}, -1}, 3, 4, "Attempts after the first; -1: no limit."}
  , {retry_backoff_ms, {or_infinity, {integer, ms, 0, ?MAX}, infinity}, 500, 4, "Pause between attempts."}
  , {compression, codec, no_compression, 4, "Codec of batches."}
  , {compression_level, {integer, none, -(1 bsl 31), ?MAX}, undefined, 5, "Level of gzip (0 to 9; -1: its own default) or zstd (up to 22); what is beyond is the nearest, and other codecs have none."}
  , {max_linger_ms, {later, linger}, 0, 4, "How long a batch may wait for more messages."}
  , {max_linger_count, {later, {integer, messages, 0, ?MAX}}, 0, 4, "How many messages a batch waits for at most."}
  , {produce_req_vsn, {integer, none, 0, 1 bsl 15 - 1}, undefined, 4, "Version of the request, where another than the highest is wanted; below 3 counts as 3."}
  , {delivery_timeout_ms, {or_infinity, {integer, ms, 1, ?MAX}, infinity}, undefined, 5, "After so long a message is given up: 120000, and never where `max_retries` is -1."}
  , {enable_idempotence, {one_of, [auto, true, false]}, auto, 5, "No message is stored twice, however often it is sent again. true takes "
     "`required_acks` -1 only."}
  , {topic_restart_delay_seconds, {later, {integer, seconds, 0, ?MAX}}, 10, 4, "Pause before the supervisor of a topic's producers is started again."}
  , {partition_restart_delay_seconds, {later, {integer, seconds, 0, ?MAX}}, 5, 4, "Pause before a producer is started again."}
  ];
rows(consumer) ->
  [ {begin_offset, begin_offset, latest, 4, "Where to begin, if nothing is committed. The timestamp is ours."}
  , {min_bytes, {clamped, bytes, 0, ?MAX}, 0, 4, "A broker waits until it has so much."}
  , {max_bytes, {clamped, bytes, 0, ?MAX}, 1048576, 4, "How much of a partition one fetch asks for."}
  , {max_wait_time, {clamped, ms, 0, ?MAX}, 10000, 4, "But it waits no longer than this."}
  , {sleep_timeout, {integer, ms, 0, ?MAX64}, 1000, 4, "Pause after a fetch that failed."}
  , {prefetch_count, {clamped, messages, 0, ?MAX64}, 10, 4, "Messages that may be delivered and not acknowledged. What is fetched is in "
     "force until both limits are passed."}
  , {prefetch_bytes, {clamped, bytes, 0, ?MAX64}, 102400, 4, "The same in bytes."}
  , {offset_reset_policy, {later, {one_of, [reset_by_subscriber, reset_to_earliest, reset_to_latest]}}, reset_by_subscriber, 4,
     "What to do where the offset is gone: tell the subscriber, or go on at one of the ends. Groups without `begin_offset` also begin at the "
     "earliest message with `reset_to_earliest`."}
  , {size_stat_window, {integer, none, 0, ?MAX64}, 5, 4, "Taken, and has no effect: batches are unpacked as far as the window goes."}
  , {isolation_level, {later, {one_of, [read_committed, read_uncommitted]}}, read_committed, 4, "Whether messages of open and aborted transactions are left out."}
  , {max_batch_bytes, {integer, bytes, 1, ?MAX}, 268435456, 5, "What one batch may unpack to, and one message take with its headers; beyond it the "
     "subscriber gets an error and may seek past it."}
  , {share_fetched_memory, boolean, false, 5, "Large values stay in the memory that they were fetched into (ADR 14)."}
  , {share_leader_conn, boolean, false, 4, "Taken: all partitions of a broker share a connection here anyway."}
  , {partitions, partition_list, undefined, 4, "Which partitions get consumers; [] or nothing: all."}
  , {topic_restart_delay_seconds, {integer, seconds, 0, ?MAX64}, 10, 4, "Pause before the supervisor of a topic's consumers is started again."}
  , {partition_restart_delay_seconds, {integer, seconds, 0, ?MAX64}, 2, 4, "Pause before a consumer is started again."}
  ];
rows(group) ->
  Seconds = {number, seconds, above, 0, ?MAX_SECONDS},
  [ {partition_assignment_strategy, {later, {one_of, [roundrobin_v2, callback_implemented]}}, roundrobin_v2, 4, "Who deals out partitions: the client, or "
     "`assign_partitions` of the callback module."}
  , {session_timeout_seconds, Seconds, 30, 4, "A member that is not heard of for so long is out. Brokers allow 6 to 1800 seconds "
     "unless configured otherwise."}
  , {rebalance_timeout_seconds, Seconds, 30, 4, "How long members may take to come back when a group is dealt out anew."}
    %% Members learn of a rebalance by a heartbeat, so its pace decides how long one takes.
  , {heartbeat_rate_seconds, Seconds, 1, 4, "Pause between heartbeats. Less than a third of the session timeout."}
  , {max_rejoin_attempts, {or_infinity, {integer, none, 0, ?MAX64}, infinity}, 5, 4, "Attempts to join before the member gives up."}
  , {rejoin_delay_seconds, {number, seconds, from, 0, ?MAX_SECONDS}, 1, 4, "Pause between them."}
  , {offset_commit_policy, {later, {one_of, [commit_to_kafka_v2, consumer_managed]}}, commit_to_kafka_v2, 4, "Where offsets are kept: in Kafka, or by the callback module."}
  , {offset_commit_interval_seconds, {later, commit_interval}, 5, 4, "How often they are committed."}
  , {offset_retention_seconds, retention, undefined, 4, "How long the broker keeps them; only brokers before 2.1 are told."}
  , {protocol_name, protocol_name, undefined, 4, "Name of the protocol, instead of the strategy's."}
  , {group_instance_id, instance_id, undefined, 5, "Static membership (KIP-345): a member that restarts within the session keeps its partitions."}
  , {fenced_member_action, {one_of, [retry, stop]}, retry, 5, "What it does when another one takes its `group_instance_id`: after ten seconds or more "
     "it takes the place back, or it stops with `fenced_instance_id`."}
  ];
rows(transaction) ->
  [ {timeout, {integer, ms, 1, ?MAX}, 1000, 4, "How long a broker may take for one answer."}
  , {backoff_step, {integer, ms, 0, ?MAX}, 100, 4, "The longest pause between attempts."}
  , {max_retries, {integer, none, 0, ?MAX}, 5, 4, "Attempts after which to give up; what passes by itself is tried for `transaction_timeout` at least."}
  , {transaction_timeout, {integer, ms, 1, ?MAX}, 60000, 5, "After so long the broker aborts it."}
  , {producer_config, {options, producer}, [], 5, "How its messages are produced."}
  ];
rows(Level) when Level =:= ssl; Level =:= sasl; Level =:= sasl_login; Level =:= sasl_oauthbearer; Level =:= sasl_aws_msk_iam ->
  brod_option_security:rows(Level);
rows(fetch) ->
  [ {max_wait_time, {clamped, ms, 0, ?MAX}, 1000, 4, "A broker waits no longer than this for `min_bytes`."}
  , {min_bytes, {clamped, bytes, 0, ?MAX}, 1, 4, "What it waits for."}
  , {max_bytes, {clamped, bytes, 1, ?MAX}, 1048576, 4, "How much is asked for; one batch comes at least."}
  , {isolation_level, {one_of, [read_committed, read_uncommitted]}, read_committed, 4, "Whether messages of open and aborted transactions are left out."}
  , {max_batch_bytes, {clamped, bytes, 1, ?MAX}, 268435456, 5, "What one batch may unpack to: beyond it the error is `message_too_large`."}
  , {max_memory, {clamped, bytes, 1, ?MAX}, 67108864, 5, "About what the messages of one call take, if they are more than one."}
  ];
rows(group_subscriber) ->
  [ {client, {any, "name or pid"}, undefined, 4, "The client. Needed."}
  , {group_id, {any, "binary"}, undefined, 4, "The group. Needed."}
  , {topics, topics, undefined, 4, "Its topics. Needed."}
  | subscriber() ++
  [ {group_config, {options, group}, [], 4, "How it is a member."}
  ]];
rows(topic_subscriber) ->
  [ {client, {any, "name or pid"}, undefined, 4, "The client. Needed."}
  , {topic, {any, "binary"}, undefined, 4, "The topic. Needed."}
  , {partitions, partitions, all, 4, "What is read of it."}
  | subscriber()
  ];
rows(cg_commits) ->
  [ {id, {any, "binary"}, undefined, 4, "The group. Needed."}
  , {topic, {any, "binary"}, undefined, 4, "The topic. Needed."}
  , {offsets, {any, "offsets by partition, latest, earliest"}, undefined, 4, "What is committed. Needed."}
  , {protocol, protocol_name, undefined, 4, "The name of the protocol of the group's other members."}
  , {retention, retention, undefined, 4, "As `offset_retention_seconds` of a group."}
  ];
rows(create_topics) ->
  [ {timeout, {integer, ms, -(1 bsl 31), ?MAX}, 5000, 4, "How long the controller waits for the topics to exist."}
  , {validate_only, boolean, false, 4, "Only say what would happen."}
  ];
rows(create_topic) ->
  [ {partitions, {integer, none, -1, ?MAX}, -1, 5, "How many; -1: as the broker is configured."}
  , {replication_factor, {integer, none, -1, 32767}, -1, 5, "How many replicas each has; -1: as the broker is configured."}
  , {configs, pairs, [], 5, "Such as `%{\"retention.ms\" => \"60000\"}`."}
  , {timeout, {integer, ms, 1, ?MAX}, 30000, 5, "How long to wait until it can be used."}
  ];
rows(produce) ->
  [ {partition, partition_or_partitioner, sticky, 5, "Where to, or how that is chosen."}
  , {timeout, {or_infinity, {integer, ms, 0, ?MAX}, infinity}, 600000, 5, "How long to wait for an answer."}
  ];
rows(produce_stream) ->
  rows(produce) ++
  [ {in_flight, {integer, messages, 1, ?MAX}, 1000, 5, "How many messages may be unanswered."}
  ];
rows(stream) ->
  [ {partitions, partitions, all, 5, "What is read."}
  , {from, from_offset, earliest, 5, "Where to begin."}
  , {follow, boolean, false, 5, "Whether to wait at the end for what comes."}
  ];
rows(application) ->
  [ {clients, {any, "list of {Name, client options}"}, [], 4, "Clients that start with the application."}
  , {ssl_default_verify, verification, verify_peer, 5, "Whether certificates are checked where `ssl` does not say."}
  , {telemetry_interval_ms, {integer, ms, 0, ?MAX}, 5000, 5, "How often counters become telemetry events; 0: never."}
  , {engine_threads, {integer, none, 1, 64}, undefined, 5, "Threads of the engine. Counts when it is first used."}
  , {produce_reply_timeout, {integer, ms, 1, ?MAX}, 600000, 5, "How long `produce_sync` waits for an answer."}
  , {produce_room_timeout, {integer, ms, 1, ?MAX}, 300000, 5, "How long a caller waits for room in a full buffer."}
  , {partition_check_interval_ms, {integer, ms, 1, ?MAX}, 60000, 5, "How often the leader of a group looks whether topics have gained partitions. Topic subscribers "
     "look every 30 seconds, whatever this says."}
  ].

subscriber() ->
  [ {cb_module, {any, "module"}, undefined, 4, "Whose callbacks are called. Needed; in Elixir it is the module itself."}
  , {init_data, {any, "any"}, undefined, 4, "What its `init` gets."}
  , {message_type, {one_of, [message, message_set]}, message_set, 4, "Whether it gets messages one by one. Elixir's modules have message."}
  , {consumer_config, {options, consumer}, [], 4, "How partitions are read."}
  ].
