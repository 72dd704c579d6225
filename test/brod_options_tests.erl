-module(brod_options_tests).
-include_lib("eunit/include/eunit.hrl").

producer_defaults_test() ->
  {ok, Options} = brod_options:producer([]),
  ?assertMatch(#{partition_buffer_limit := 512, partition_onwire_limit := 1, max_retries := 3,
                 required_acks := -1, compression := no_compression, max_linger_ms := 0}, Options),
  ?assertNot(is_map_key(produce_req_vsn, Options)).

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

tls_is_refused_clearly_test() ->
  ?assertMatch({ok, _}, brod_options:client([{ssl, false}, {sasl, undefined}])),
  ?assertEqual({error, {not_supported_yet, ssl}}, brod_options:client([{ssl, true}])),
  ?assertEqual({error, {not_supported_yet, sasl}},
               brod_options:client([{sasl, {plain, "u", "p"}}])).

cool_down_is_the_engine_s_backoff_test() ->
  {ok, Options} = brod_options:client([{reconnect_cool_down_seconds, 3}, {rack_id, <<"r">>}]),
  ?assertMatch(#{reconnect_backoff := 3000, rack_id := <<"r">>},
               brod_options:engine_config(Options)).
