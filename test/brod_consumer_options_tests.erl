-module(brod_consumer_options_tests).
-include_lib("eunit/include/eunit.hrl").

defaults_test() ->
  {ok, Options} = brod_consumer_options:new([]),
  ?assertMatch(#{begin_offset := latest, max_bytes := 1048576, prefetch_count := 10,
                 isolation_level := read_committed}, Options).

given_values_test() ->
  {ok, Options} = brod_consumer_options:new([share_leader_conn, {begin_offset, 5}, {begin_offset, 6},
                                             {partition_restart_delay_seconds, 1}]),
  ?assertMatch(#{share_leader_conn := true, begin_offset := 5}, Options),
  ?assertNot(maps:is_key(partition_restart_delay_seconds, Options)).

special_offsets_test() ->
  [?assertMatch({ok, #{begin_offset := Out}}, brod_consumer_options:new([{begin_offset, In}]))
   || {In, Out} <- [{-1, latest}, {-2, earliest}, {earliest, earliest}, {0, 0},
                    {{timestamp, 7}, {timestamp, 7}}]].

bad_values_test() ->
  [?assertEqual({error, {bad_option, K, V}}, brod_consumer_options:new([{K, V}]))
   || {K, V} <- [{begin_offset, -3}, {begin_offset, first}, {begin_offset, {timestamp, -1}},
                 {begin_offset, 1 bsl 63}, {begin_offset, {timestamp, 1 bsl 63}},
                 {prefetch_count, 1 bsl 64}, {prefetch_bytes, 1 bsl 63},
                 {min_bytes, -1}, {max_bytes, -1}, {prefetch_bytes, -1},
                 {max_bytes, 0}, {prefetch_count, -1}, {prefetch_bytes, "1"},
                 {offset_reset_policy, reset}, {isolation_level, 1}, {share_leader_conn, 1}]].

subscribe_changes_test() ->
  {ok, Options} = brod_consumer_options:new([{isolation_level, read_uncommitted}]),
  {ok, New} = brod_consumer_options:merge(Options, [{prefetch_count, 1},
                                                    {isolation_level, read_committed}]),
  ?assertEqual(Options#{prefetch_count := 1}, New),
  ?assertEqual({error, {bad_option, prefetch_count, x}},
               brod_consumer_options:merge(Options, [{prefetch_count, x}])).
