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
                 {prefetch_bytes, "1"}, {max_bytes, 1.0}, {min_bytes, none}, {max_batch_bytes, 0},
                 {share_fetched_memory, 1}, {share_leader_conn, 1}]].

%% As in brod, where no number is too small or too large.
limits_test() ->
  [begin
     {ok, Options} = brod_consumer_options:new([{K, In}]),
     ?assertEqual(Out, map_get(K, Options))
   end || {K, In, Out} <- [{max_bytes, 0, 0}, {max_bytes, -1, 0}, {max_bytes, 1 bsl 31, 16#7fffffff},
                           {min_bytes, -1, 0}, {prefetch_count, -1, 0}, {prefetch_bytes, -1, 0},
                           {prefetch_count, 1 bsl 64, 16#7fffffffffffffff},
                           {prefetch_count, infinity, 16#7fffffffffffffff},
                           {prefetch_bytes, infinity, 16#7fffffffffffffff}]].

values_that_nobody_can_use_test() ->
  Given = [{offset_reset_policy, reset}, {isolation_level, 1}, {prefetch_count, 3}],
  {ok, Options} = brod_consumer_options:new(Given),
  ?assertMatch(#{offset_reset_policy := reset_by_subscriber, isolation_level := read_committed,
                 prefetch_count := 3}, Options),
  ?assertEqual([{isolation_level, 1}, {offset_reset_policy, reset}],
               lists:sort(brod_options:unusable(Given))),
  Log = brod_log:start(),
  ok = brod_consumer_options:warn_unusable(Given),
  [?assert(brod_log:has(Log, Text))
   || Text <- ["offset_reset_policy cannot be reset: reset_by_subscriber is used",
               "isolation_level cannot be 1: read_committed is used"]],
  ?assertNot(brod_log:has(Log, "prefetch_count")),
  ok = brod_log:stop(Log).

subscribe_changes_test() ->
  {ok, Options} = brod_consumer_options:new([{isolation_level, read_uncommitted}]),
  Log = brod_log:start(),
  {ok, Same} = brod_consumer_options:merge(Options, [{prefetch_count, 1}, {isolation_level, read_uncommitted}]),
  ?assertEqual(Options#{prefetch_count := 1}, Same),
  ?assertNot(brod_log:has(Log, "isolation_level")),
  %% what it cannot change it says
  ?assertEqual({ok, Same}, brod_consumer_options:merge(Options, [{prefetch_count, 1}, {isolation_level, read_committed}])),
  ?assert(brod_log:has(Log, "isolation_level stays read_uncommitted")),
  ok = brod_log:stop(Log),
  ?assertEqual({error, {bad_option, prefetch_count, x}},
               brod_consumer_options:merge(Options, [{prefetch_count, x}])).
