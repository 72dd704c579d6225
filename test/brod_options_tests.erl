-module(brod_options_tests).
-include_lib("eunit/include/eunit.hrl").

producer_defaults_test() ->
  {ok, Options} = brod_options:producer([]),
  ?assertMatch(#{partition_buffer_limit := 512, partition_onwire_limit := 1, max_retries := 3,
                 required_acks := -1, compression := no_compression, max_linger_ms := 0}, Options),
  ?assertNot(is_map_key(produce_req_vsn, Options)).

what_is_on_the_wire_is_left_to_the_engine_unless_it_is_given_test_() ->
  Used = fun(Given) ->
           {ok, Options} = brod_options:producer(Given),
           maps:get(partition_onwire_limit, brod_producer_options:engine_config(Given, Options))
         end,
  [?_assertEqual(undefined, Used([])), ?_assertEqual(undefined, Used(#{partition_onwire_limit => undefined})),
   ?_assertEqual(1, Used([{partition_onwire_limit, 1}])), ?_assertEqual(3, Used(#{partition_onwire_limit => 3}))].

acks_by_name_test_() ->
  [?_assertMatch({ok, #{required_acks := N}}, brod_options:producer([{required_acks, Name}]))
   || {Name, N} <- [{all, -1}, {none, 0}, {leader_only, 1}, {1, 1}]].

bad_values_are_named_test_() ->
  [?_assertEqual({error, {bad_option, K, V}}, brod_options:producer([{max_linger_ms, 1}, {K, V}]))
   || {K, V} <- [{compression, brotli}, {max_retries, -2}, {partition_buffer_limit, 0},
                 {required_acks, 2}, {max_batch_size, many},
                 {retry_backoff_ms, 1 bsl 31}, {produce_req_vsn, 1 bsl 15}, {produce_req_vsn, -1},
                 {compression_level, 1 bsl 31}, {compression_level, -(1 bsl 31) - 1}]].

negative_levels_are_levels_test() ->
  ?assertMatch({ok, #{compression_level := -5}}, brod_options:producer([{compression_level, -5}])).

idempotence_takes_the_answer_of_all_replicas_test_() ->
  Check = fun(Idempotence, Acks) ->
            brod_options:producer([{enable_idempotence, Idempotence}, {required_acks, Acks}])
          end,
  [?_assertEqual({error, {bad_option, required_acks, Acks}}, Check(true, Acks))
   || Acks <- [0, 1, none, leader_only]]
  ++ [?_assertMatch({ok, _}, Check(Idempotence, Acks))
      || {Idempotence, Acks} <- [{true, -1}, {true, all}, {auto, 1}, {false, 0}]].

unknown_and_unset_options_are_ignored_test() ->
  ?assertMatch({ok, #{max_retries := 3}},
               brod_options:producer([{no_such_option, 1}, some_flag, {max_retries, undefined}])).

first_of_a_repeated_key_counts_test() ->
  ?assertMatch({ok, #{max_retries := 1}},
               brod_options:producer([{max_retries, 1}, {max_retries, 2}])).

bare_atom_is_true_test() ->
  ?assertMatch({ok, #{auto_start_producers := true}}, brod_options:client([auto_start_producers])).

cool_down_is_the_engine_s_backoff_test() ->
  {ok, Options} = brod_options:client([{reconnect_cool_down_seconds, 3}, {rack_id, <<"r">>}]),
  ?assertMatch(#{reconnect_backoff := 3000, rack_id := <<"r">>},
               brod_options:engine_config(Options)).

unknown_options_are_a_warning_with_the_nearest_name_test() ->
  Log = brod_log:start(),
  ok = brod_options:warn_unknown(producer, [{max_retrys, 1}, {max_retries, 1}, {"x", 1}]),
  ok = brod_options:warn_unknown(client, #{nothing_like_it => 1, conect_timeout => 2}),
  ok = brod_options:warn_unknown(group, [session_timeout]),
  Has = [brod_log:has(Log, Text)
         || Text <- ["Unknown producer options are ignored: max_retrys (did you mean max_retries?), \"x\"",
                     "conect_timeout (did you mean connect_timeout?), nothing_like_it"]],
  HasGroup = brod_log:has(Log, "group"),
  brod_log:stop(Log),
  ?assertEqual([true, true], Has),
  ?assert(HasGroup).

options_that_come_with_each_call_are_warned_of_once_test() ->
  {ok, Apps} = application:ensure_all_started(brod),
  Log = brod_log:start(),
  Closed = [{"127.0.0.1", 1}],
  Given = [{conect_timeot, 1}, {extra_sock_opts, [{no_such, 1}, {nodelay, true}]}],
  Calls = [fun() -> brod:resolve_offset(Closed, <<"t">>, 0, latest, Given) end,
           fun() -> brod:fetch({Closed, Given}, <<"t">>, 0, 0) end,
           fun() -> brod:create_topics(Closed, [], #{timeout => 1, tiemout => 1}, []) end,
           fun() -> brod_transaction:start_link(no_client, <<"id">>, [{tiemout, 1}]) end],
  _ = [{error, _} = Call() || Call <- Calls, _ <- [1, 2]],
  Counts = [length(brod_log:all(Log, Text))
            || Text <- ["connection options are ignored: conect_timeot", "Socket options that the engine does not know are ignored: [{no_such,1}]",
                        "create_topics options are ignored: tiemout", "transaction options are ignored: tiemout"]],
  brod_log:stop(Log),
  [ok = application:stop(App) || App <- lists:reverse(Apps)],
  ?assertEqual([1, 1, 1, 1], Counts).

known_options_are_no_warning_test() ->
  Log = brod_log:start(),
  ok = brod_options:warn_unknown(connection, [{restart_delay_seconds, 1}, nolink, {ssl, true}]),
  Has = brod_log:has(Log, "Unknown"),
  brod_log:stop(Log),
  ?assertNot(Has).

times_that_no_timer_takes_are_bad_values_test_() ->
  [?_assertEqual({error, {bad_option, K, V}}, brod_options:client([{K, V}]))
   || {K, V} <- [{restart_delay_seconds, 1 bsl 60}, {get_metadata_timeout_seconds, 1 bsl 60},
                 {get_metadata_timeout_seconds, 0}, {reconnect_cool_down_seconds, 1 bsl 31},
                 {connect_timeout, 1 bsl 31}, {restart_delay_seconds, -1}]].

infinity_is_the_longest_time_test() ->
  {ok, Options} = brod_options:client([{K, infinity} || K <- [connect_timeout, request_timeout,
                                                              unknown_topic_cache_ttl,
                                                              get_metadata_timeout_seconds]]),
  #{connect_timeout := Connect, request_timeout := Request,
    get_metadata_timeout_seconds := Metadata} = Options,
  ?assert(Connect > 1_000_000_000),
  ?assertEqual(Connect, Request),
  ?assertEqual(Connect div 1000, Metadata).

the_engine_is_told_every_option_test() ->
  {ok, Client} = brod_options:client([]),
  {ok, Connection} = brod_options:connection([{request_timeout, 7}]),
  Keys = lists:sort(maps:keys(brod_options:engine_config(Client))),
  ?assertEqual(Keys, lists:sort(maps:keys(brod_options:engine_config(Connection)))),
  ?assertMatch(#{request_timeout := 7, buffer_bytes := 268435456, fetch_buffer_bytes := 67108864,
                 query_api_versions := true,
                 rack_id := <<>>}, brod_options:engine_config(Connection)).

socket_options_reach_the_engine_test() ->
  {ok, Options} = brod_options:client([{extra_sock_opts,
                                        [inet6, {sndbuf, 1000}, {ip, {127, 0, 0, 1}},
                                         {nodelay, false}, {linger, {true, 2}}, {active, true}]}]),
  ?assertMatch(#{socket := #{family := inet6, sndbuf := 1000, ip := <<"127.0.0.1">>,
                             nodelay := false, keepalive := true, linger := 2000}},
               brod_options:engine_config(Options)),
  ?assertMatch({error, {bad_option, extra_sock_opts, _}},
               brod_options:client([{extra_sock_opts, [{sndbuf, many}]}])).

what_brod_takes_is_taken_test_() ->
  [?_assertMatch({ok, #{Key := Expected}}, brod_options:producer([{Key, Value}]))
   || {Key, Value, Expected} <- [{ack_timeout, 0, 0}, {ack_timeout, infinity, infinity},
                                 {delivery_timeout_ms, infinity, infinity},
                                 {retry_backoff_ms, infinity, infinity}, {max_retries, infinity, -1},
                                 {max_linger_ms, -1, 0}, {compression, none, no_compression}]].

a_message_that_is_tried_for_ever_does_not_time_out_test_() ->
  Timeout = fun(Config) ->
              {ok, #{delivery_timeout_ms := Ms}} = brod_options:producer(Config),
              Ms
            end,
  [?_assertEqual(120000, Timeout([])), ?_assertEqual(infinity, Timeout([{max_retries, -1}])),
   ?_assertEqual(infinity, Timeout([{max_retries, infinity}])),
   ?_assertEqual(7, Timeout([{max_retries, -1}, {delivery_timeout_ms, 7}]))].

what_matters_only_later_is_replaced_with_a_warning_test_() ->
  {setup, fun brod_log:start/0, fun brod_log:stop/1,
   fun(Log) ->
     Config = [{max_linger_count, many}, {topic_restart_delay_seconds, soon}, {max_linger_ms, 5}],
     [?_assertMatch({ok, #{max_linger_count := 0, topic_restart_delay_seconds := 10,
                           max_linger_ms := 5}}, brod_options:producer(Config)),
      fun() ->
        Level = maps:get(level, logger:get_primary_config()),
        ok = logger:set_primary_config(level, notice),
        ok = brod_producer_options:warn(Config, "Producers of t"),
        ok = logger:set_primary_config(level, Level),
        [?assert(brod_log:has(Log, ["Producers of t: the option ", Text]))
         || Text <- ["max_linger_count cannot be many; 0 is used instead",
                     "topic_restart_delay_seconds cannot be soon; 10 is used instead"]],
        ?assertNot(brod_log:has(Log, "max_linger_ms"))
      end]
   end}.

the_engine_gets_every_option_test() ->
  {ok, Options} = brod_options:producer([]),
  Config = brod_producer_options:engine_config(Options),
  ?assertMatch(#{produce_req_vsn := undefined, compression_level := undefined,
                 delivery_timeout_ms := 120000, max_request_size := 1048576}, Config),
  ?assertNot(is_map_key(topic_restart_delay_seconds, Config)).
