%% @doc Options as types, so that dialyzer finds a name that is misspelt: docs/options.md says what each is for. Made from
%% brod_option_table by scripts/generate-options.escript; what is written here by hand is lost.
-module(brod_option_types).

-export_type([sasl/0, client/0, producer/0, consumer/0, group/0, transaction/0, ssl/0, sasl_login/0, sasl_oauthbearer/0, sasl_aws_msk_iam/0]).

-type client() ::
        [{endpoints, undefined | nil | term()}
         | {restart_delay_seconds, undefined | nil | number()}
         | {get_metadata_timeout_seconds, undefined | nil | pos_integer() | infinity}
         | {reconnect_cool_down_seconds, undefined | nil | number()}
         | {allow_topic_auto_creation, undefined | nil | boolean()}
         | {auto_start_producers, undefined | nil | boolean()}
         | {default_producer_config, undefined | nil | producer()}
         | {unknown_topic_cache_ttl, undefined | nil | non_neg_integer() | infinity}
         | {metadata_max_age, undefined | nil | pos_integer()}
         | {buffer_bytes, undefined | nil | pos_integer()}
         | {fetch_buffer_bytes, undefined | nil | pos_integer()}
         | {rack_id, undefined | nil | binary()}
         | {enable_metrics_push, undefined | nil | boolean()}
         | {connect_timeout, undefined | nil | pos_integer() | infinity}
         | {request_timeout, undefined | nil | pos_integer() | infinity}
         | {client_id, undefined | nil | atom() | binary() | string()}
         | {ssl, undefined | nil | boolean() | ssl()}
         | {sasl, undefined | nil | false | sasl()}
         | {reconnect_backoff, undefined | nil | pos_integer()}
         | {reconnect_backoff_max, undefined | nil | pos_integer()}
         | {query_api_versions, undefined | nil | boolean()}
         | {connections_max_idle_ms, undefined | nil | pos_integer() | infinity}
         | {extra_sock_opts, undefined | nil | [term()]}
         | {debug, undefined | nil | term()}
         | {nolink, undefined | nil | boolean()}
         | endpoints
         | allow_topic_auto_creation
         | auto_start_producers
         | enable_metrics_push
         | ssl
         | query_api_versions
         | debug
         | nolink]
      | #{endpoints => undefined | nil | term(),
          restart_delay_seconds => undefined | nil | number(),
          get_metadata_timeout_seconds => undefined | nil | pos_integer() | infinity,
          reconnect_cool_down_seconds => undefined | nil | number(),
          allow_topic_auto_creation => undefined | nil | boolean(),
          auto_start_producers => undefined | nil | boolean(),
          default_producer_config => undefined | nil | producer(),
          unknown_topic_cache_ttl => undefined | nil | non_neg_integer() | infinity,
          metadata_max_age => undefined | nil | pos_integer(),
          buffer_bytes => undefined | nil | pos_integer(),
          fetch_buffer_bytes => undefined | nil | pos_integer(),
          rack_id => undefined | nil | binary(),
          enable_metrics_push => undefined | nil | boolean(),
          connect_timeout => undefined | nil | pos_integer() | infinity,
          request_timeout => undefined | nil | pos_integer() | infinity,
          client_id => undefined | nil | atom() | binary() | string(),
          ssl => undefined | nil | boolean() | ssl(),
          sasl => undefined | nil | false | sasl(),
          reconnect_backoff => undefined | nil | pos_integer(),
          reconnect_backoff_max => undefined | nil | pos_integer(),
          query_api_versions => undefined | nil | boolean(),
          connections_max_idle_ms => undefined | nil | pos_integer() | infinity,
          extra_sock_opts => undefined | nil | [term()],
          debug => undefined | nil | term(),
          nolink => undefined | nil | boolean()}.

-type producer() ::
        [{required_acks, undefined | nil | -1..1 | all | all_isr | none | leader_only}
         | {ack_timeout, undefined | nil | non_neg_integer() | infinity}
         | {partition_buffer_limit, undefined | nil | pos_integer()}
         | {partition_onwire_limit, undefined | nil | pos_integer()}
         | {max_batch_size, undefined | nil | pos_integer()}
         | {max_request_size, undefined | nil | pos_integer()}
         | {max_retries, undefined | nil | integer() | infinity}
         | {retry_backoff_ms, undefined | nil | non_neg_integer() | infinity}
         | {compression, undefined | nil | no_compression | gzip | snappy | lz4 | zstd | none}
         | {compression_level, undefined | nil | integer()}
         | {max_linger_ms, undefined | nil | integer() | infinity}
         | {max_linger_count, undefined | nil | non_neg_integer()}
         | {produce_req_vsn, undefined | nil | non_neg_integer()}
         | {delivery_timeout_ms, undefined | nil | pos_integer() | infinity}
         | {enable_idempotence, undefined | nil | auto | true | false}
         | {topic_restart_delay_seconds, undefined | nil | non_neg_integer()}
         | {partition_restart_delay_seconds, undefined | nil | non_neg_integer()}
         | enable_idempotence]
      | #{required_acks => undefined | nil | -1..1 | all | all_isr | none | leader_only,
          ack_timeout => undefined | nil | non_neg_integer() | infinity,
          partition_buffer_limit => undefined | nil | pos_integer(),
          partition_onwire_limit => undefined | nil | pos_integer(),
          max_batch_size => undefined | nil | pos_integer(),
          max_request_size => undefined | nil | pos_integer(),
          max_retries => undefined | nil | integer() | infinity,
          retry_backoff_ms => undefined | nil | non_neg_integer() | infinity,
          compression => undefined | nil | no_compression | gzip | snappy | lz4 | zstd | none,
          compression_level => undefined | nil | integer(),
          max_linger_ms => undefined | nil | integer() | infinity,
          max_linger_count => undefined | nil | non_neg_integer(),
          produce_req_vsn => undefined | nil | non_neg_integer(),
          delivery_timeout_ms => undefined | nil | pos_integer() | infinity,
          enable_idempotence => undefined | nil | auto | true | false,
          topic_restart_delay_seconds => undefined | nil | non_neg_integer(),
          partition_restart_delay_seconds => undefined | nil | non_neg_integer()}.

-type consumer() ::
        [{begin_offset, undefined | nil | integer() | earliest | latest | {timestamp, non_neg_integer()}}
         | {min_bytes, undefined | nil | integer() | infinity}
         | {max_bytes, undefined | nil | integer() | infinity}
         | {max_wait_time, undefined | nil | integer() | infinity}
         | {sleep_timeout, undefined | nil | non_neg_integer()}
         | {prefetch_count, undefined | nil | integer() | infinity}
         | {prefetch_bytes, undefined | nil | integer() | infinity}
         | {offset_reset_policy, undefined | nil | reset_by_subscriber | reset_to_earliest | reset_to_latest}
         | {size_stat_window, undefined | nil | non_neg_integer()}
         | {isolation_level, undefined | nil | read_committed | read_uncommitted}
         | {max_batch_bytes, undefined | nil | pos_integer()}
         | {share_fetched_memory, undefined | nil | boolean()}
         | {share_leader_conn, undefined | nil | boolean()}
         | {partitions, undefined | nil | [non_neg_integer()]}
         | {topic_restart_delay_seconds, undefined | nil | non_neg_integer()}
         | {partition_restart_delay_seconds, undefined | nil | non_neg_integer()}
         | share_fetched_memory
         | share_leader_conn]
      | #{begin_offset => undefined | nil | integer() | earliest | latest | {timestamp, non_neg_integer()},
          min_bytes => undefined | nil | integer() | infinity,
          max_bytes => undefined | nil | integer() | infinity,
          max_wait_time => undefined | nil | integer() | infinity,
          sleep_timeout => undefined | nil | non_neg_integer(),
          prefetch_count => undefined | nil | integer() | infinity,
          prefetch_bytes => undefined | nil | integer() | infinity,
          offset_reset_policy => undefined | nil | reset_by_subscriber | reset_to_earliest | reset_to_latest,
          size_stat_window => undefined | nil | non_neg_integer(),
          isolation_level => undefined | nil | read_committed | read_uncommitted,
          max_batch_bytes => undefined | nil | pos_integer(),
          share_fetched_memory => undefined | nil | boolean(),
          share_leader_conn => undefined | nil | boolean(),
          partitions => undefined | nil | [non_neg_integer()],
          topic_restart_delay_seconds => undefined | nil | non_neg_integer(),
          partition_restart_delay_seconds => undefined | nil | non_neg_integer()}.

-type group() ::
        [{partition_assignment_strategy, undefined | nil | roundrobin_v2 | callback_implemented}
         | {session_timeout_seconds, undefined | nil | number()}
         | {rebalance_timeout_seconds, undefined | nil | number()}
         | {heartbeat_rate_seconds, undefined | nil | number()}
         | {max_rejoin_attempts, undefined | nil | non_neg_integer() | infinity}
         | {rejoin_delay_seconds, undefined | nil | number()}
         | {offset_commit_policy, undefined | nil | commit_to_kafka_v2 | consumer_managed}
         | {offset_commit_interval_seconds, undefined | nil | number() | infinity}
         | {offset_retention_seconds, undefined | nil | number()}
         | {protocol_name, undefined | nil | atom() | binary() | string()}
         | {group_instance_id, undefined | nil | null | binary()}
         | {fenced_member_action, undefined | nil | retry | stop}]
      | #{partition_assignment_strategy => undefined | nil | roundrobin_v2 | callback_implemented,
          session_timeout_seconds => undefined | nil | number(),
          rebalance_timeout_seconds => undefined | nil | number(),
          heartbeat_rate_seconds => undefined | nil | number(),
          max_rejoin_attempts => undefined | nil | non_neg_integer() | infinity,
          rejoin_delay_seconds => undefined | nil | number(),
          offset_commit_policy => undefined | nil | commit_to_kafka_v2 | consumer_managed,
          offset_commit_interval_seconds => undefined | nil | number() | infinity,
          offset_retention_seconds => undefined | nil | number(),
          protocol_name => undefined | nil | atom() | binary() | string(),
          group_instance_id => undefined | nil | null | binary(),
          fenced_member_action => undefined | nil | retry | stop}.

-type transaction() ::
        [{timeout, undefined | nil | pos_integer()}
         | {backoff_step, undefined | nil | non_neg_integer()}
         | {max_retries, undefined | nil | non_neg_integer()}
         | {transaction_timeout, undefined | nil | pos_integer()}
         | {producer_config, undefined | nil | producer()}]
      | #{timeout => undefined | nil | pos_integer(),
          backoff_step => undefined | nil | non_neg_integer(),
          max_retries => undefined | nil | non_neg_integer(),
          transaction_timeout => undefined | nil | pos_integer(),
          producer_config => undefined | nil | producer()}.

-type ssl() ::
        [{verify, undefined | verify_peer | verify_none}
         | {cacertfile, undefined | unicode:chardata()}
         | {cacerts, undefined | [binary() | tuple()]}
         | {certfile, undefined | unicode:chardata()}
         | {keyfile, undefined | unicode:chardata()}
         | {password, undefined | unicode:chardata() | fun(() -> term())}
         | {cert, undefined | binary() | [binary()]}
         | {key, undefined | {atom(), binary()} | fun(() -> term())}
         | {certs_keys, undefined | [map() | [{atom(), term()}]]}
         | {server_name_indication, undefined | disable | unicode:chardata()}
         | {versions, undefined | ['tlsv1.2' | 'tlsv1.3']}
         | {ciphers, undefined | binary() | [char() | unicode:chardata() | tuple() | map()]}
         | {depth, undefined | non_neg_integer()}
         | {alpn_advertised_protocols, undefined | [binary()]}
         | {reuse_sessions, undefined | true | false | save}
         | {session_tickets, undefined | disabled | auto}
         | {customize_hostname_check, undefined | [{match_fun, fun((term(), term()) -> term())}] | #{match_fun => fun((term(), term()) -> term())}}
         | {secure_renegotiate, undefined | true}
         | {client_renegotiation, undefined | false}
         | {middlebox_comp_mode, undefined | true}
         | {crl_check, undefined | false}
         | {fallback, undefined | false}
         | {keep_secrets, undefined | false}
         | {protocol, undefined | tls}
         | {ocsp_stapling, undefined | false}
         | {stapling, undefined | no_staple}
         | {handshake, undefined | full}
         | {log_level, undefined | term()}
         | {log_alert, undefined | term()}
         | {hibernate_after, undefined | term()}
         | {handshake_timeout, undefined | term()}
         | {ssl_imp, undefined | term()}
         | {max_handshake_size, undefined | term()}
         | {receiver_spawn_opts, undefined | term()}
         | {sender_spawn_opts, undefined | term()}
         | reuse_sessions
         | secure_renegotiate
         | middlebox_comp_mode
         | log_level
         | log_alert
         | hibernate_after
         | handshake_timeout
         | ssl_imp
         | max_handshake_size
         | receiver_spawn_opts
         | sender_spawn_opts]
      | #{verify => undefined | verify_peer | verify_none,
          cacertfile => undefined | unicode:chardata(),
          cacerts => undefined | [binary() | tuple()],
          certfile => undefined | unicode:chardata(),
          keyfile => undefined | unicode:chardata(),
          password => undefined | unicode:chardata() | fun(() -> term()),
          cert => undefined | binary() | [binary()],
          key => undefined | {atom(), binary()} | fun(() -> term()),
          certs_keys => undefined | [map() | [{atom(), term()}]],
          server_name_indication => undefined | disable | unicode:chardata(),
          versions => undefined | ['tlsv1.2' | 'tlsv1.3'],
          ciphers => undefined | binary() | [char() | unicode:chardata() | tuple() | map()],
          depth => undefined | non_neg_integer(),
          alpn_advertised_protocols => undefined | [binary()],
          reuse_sessions => undefined | true | false | save,
          session_tickets => undefined | disabled | auto,
          customize_hostname_check => undefined | [{match_fun, fun((term(), term()) -> term())}] | #{match_fun => fun((term(), term()) -> term())},
          secure_renegotiate => undefined | true,
          client_renegotiation => undefined | false,
          middlebox_comp_mode => undefined | true,
          crl_check => undefined | false,
          fallback => undefined | false,
          keep_secrets => undefined | false,
          protocol => undefined | tls,
          ocsp_stapling => undefined | false,
          stapling => undefined | no_staple,
          handshake => undefined | full,
          log_level => undefined | term(),
          log_alert => undefined | term(),
          hibernate_after => undefined | term(),
          handshake_timeout => undefined | term(),
          ssl_imp => undefined | term(),
          max_handshake_size => undefined | term(),
          receiver_spawn_opts => undefined | term(),
          sender_spawn_opts => undefined | term()}.

-type sasl_login() ::
        [{username, undefined | unicode:chardata()}
         | {user, undefined | unicode:chardata()}
         | {password, undefined | unicode:chardata() | fun(() -> term())}
         | {file, undefined | unicode:chardata()}]
      | #{username => undefined | unicode:chardata(),
          user => undefined | unicode:chardata(),
          password => undefined | unicode:chardata() | fun(() -> term()),
          file => undefined | unicode:chardata()}.

-type sasl_oauthbearer() ::
        [{token, undefined | fun(() -> term())}
         | {token_endpoint, undefined | unicode:chardata()}
         | {client_id, undefined | unicode:chardata()}
         | {client_secret, undefined | unicode:chardata() | fun(() -> term())}
         | {urlencode, undefined | boolean()}
         | {client_assertion, undefined | unicode:chardata() | fun(() -> term())}
         | {client_assertion_file, undefined | unicode:chardata()}
         | {client_assertion_key_file, undefined | unicode:chardata()}
         | {client_assertion_key_id, undefined | unicode:chardata()}
         | {client_assertion_audience, undefined | unicode:chardata()}
         | {scope, undefined | unicode:chardata()}
         | {parameters, undefined | [{atom() | unicode:chardata(), unicode:chardata()}] | #{atom() | unicode:chardata() => unicode:chardata()}}
         | {extensions, undefined | [{atom() | unicode:chardata(), unicode:chardata()}] | #{atom() | unicode:chardata() => unicode:chardata()}}
         | {ssl, undefined | true | ssl()}
         | {timeout, undefined | pos_integer()}
         | urlencode]
      | #{token => undefined | fun(() -> term()),
          token_endpoint => undefined | unicode:chardata(),
          client_id => undefined | unicode:chardata(),
          client_secret => undefined | unicode:chardata() | fun(() -> term()),
          urlencode => undefined | boolean(),
          client_assertion => undefined | unicode:chardata() | fun(() -> term()),
          client_assertion_file => undefined | unicode:chardata(),
          client_assertion_key_file => undefined | unicode:chardata(),
          client_assertion_key_id => undefined | unicode:chardata(),
          client_assertion_audience => undefined | unicode:chardata(),
          scope => undefined | unicode:chardata(),
          parameters => undefined | [{atom() | unicode:chardata(), unicode:chardata()}] | #{atom() | unicode:chardata() => unicode:chardata()},
          extensions => undefined | [{atom() | unicode:chardata(), unicode:chardata()}] | #{atom() | unicode:chardata() => unicode:chardata()},
          ssl => undefined | true | ssl(),
          timeout => undefined | pos_integer()}.

-type sasl_aws_msk_iam() ::
        [{credentials, undefined | default | environment | profile | container | web_identity | instance | fun(() -> term())}
         | {access_key_id, undefined | unicode:chardata()}
         | {secret_access_key, undefined | unicode:chardata() | fun(() -> term())}
         | {session_token, undefined | unicode:chardata() | fun(() -> term())}
         | {profile, undefined | unicode:chardata()}
         | {region, undefined | unicode:chardata()}
         | {role_arn, undefined | unicode:chardata()}
         | {token_file, undefined | unicode:chardata()}
         | {user_agent, undefined | unicode:chardata()}]
      | #{credentials => undefined | default | environment | profile | container | web_identity | instance | fun(() -> term()),
          access_key_id => undefined | unicode:chardata(),
          secret_access_key => undefined | unicode:chardata() | fun(() -> term()),
          session_token => undefined | unicode:chardata() | fun(() -> term()),
          profile => undefined | unicode:chardata(),
          region => undefined | unicode:chardata(),
          role_arn => undefined | unicode:chardata(),
          token_file => undefined | unicode:chardata(),
          user_agent => undefined | unicode:chardata()}.

-type sasl() ::
        {plain | scram_sha_256 | scram_sha_512, User :: unicode:chardata(), Password :: unicode:chardata() | fun(() -> term())}
      | {plain | scram_sha_256 | scram_sha_512, File :: unicode:chardata()}
      | {plain | scram_sha_256 | scram_sha_512, sasl_login()}
      | {oauthbearer, sasl_oauthbearer() | fun(() -> term())}
      | {aws_msk_iam, sasl_aws_msk_iam()}
      | {callback, module(), term()}
      | #{mechanism := plain | scram_sha_256 | scram_sha_512 | oauthbearer | aws_msk_iam, atom() => term()}
      | [{atom(), term()}, ...].
