%% What group members make of their options.
-module(brod_group_options_tests).

-include_lib("eunit/include/eunit.hrl").

used(Given) ->
  {ok, Options} = brod_group_options:new(Given),
  Options.

%% The options and the lines that were logged.
warned(Given) ->
  Log = brod_log:start(),
  ok = brod_group_options:warn(Given),
  fun(Texts) ->
      [?assert(brod_log:has(Log, Text)) || Text <- Texts],
      brod_log:stop(Log)
  end.

what_only_matters_later_is_replaced_with_a_warning_test() ->
  Bad = [{offset_commit_policy, sometimes}, {partition_assignment_strategy, range},
         {offset_commit_interval_seconds, 0}],
  ?assertMatch(#{offset_commit_policy := commit_to_kafka_v2,
                 partition_assignment_strategy := roundrobin_v2,
                 offset_commit_interval_seconds := 0.1}, used(Bad)),
  (warned(Bad))(["group option offset_commit_policy cannot be sometimes, commit_to_kafka_v2 is used",
                 "group option partition_assignment_strategy cannot be range, roundrobin_v2 is used",
                 "group option offset_commit_interval_seconds cannot be 0, 0.1 is used"]),
  ?assertMatch(#{offset_commit_interval_seconds := 5},
               used([{offset_commit_interval_seconds, soon}])).

infinity_where_it_makes_sense_test() ->
  Options = used([{max_rejoin_attempts, infinity}, {offset_commit_interval_seconds, infinity}]),
  ?assertMatch(#{offset_commit_interval_seconds := infinity}, Options),
  ?assertMatch(#{max_rejoin_attempts := 16#7fffffff},
               brod_group_options:engine_config(<<"g">>, true, Options)).

a_heartbeat_comes_before_the_session_ends_test() ->
  Slow = [{session_timeout_seconds, 6}, {heartbeat_rate_seconds, 6}],
  ?assertMatch(#{heartbeat_rate_seconds := 2.0}, used(Slow)),
  (warned(Slow))(["group option heartbeat_rate_seconds cannot be 6, 2.0 is used"]).

a_map_is_taken_as_well_as_a_list_test() ->
  ?assertEqual(used([{session_timeout_seconds, 10}]), used(#{session_timeout_seconds => 10})).

a_heartbeat_that_leaves_no_room_for_a_late_one_is_a_warning_test() ->
  (warned([{session_timeout_seconds, 10}, {heartbeat_rate_seconds, 5}]))(["more than a third of session_timeout_seconds 10"]).

unknown_options_are_a_warning_with_the_nearest_name_test() ->
  (warned(#{sesion_timeout_seconds => 10}))(["sesion_timeout_seconds (did you mean session_timeout_seconds?)"]).

what_cannot_be_is_an_error_test() ->
  [?assertEqual({error, {bad_option, Key, Value}}, brod_group_options:new([{Key, Value}]))
   || {Key, Value} <- [{session_timeout_seconds, 0}, {session_timeout_seconds, 1 bsl 60},
                       {rebalance_timeout_seconds, infinity}, {rejoin_delay_seconds, -1},
                       {max_rejoin_attempts, many}, {group_instance_id, "text"}]],
  [?assertEqual({error, {bad_option, group_config, Given}}, brod_group_options:new(Given))
   || Given <- [nonsense, [a | b]]].

the_engine_gets_every_key_test() ->
  Config = brod_group_options:engine_config(<<"g">>, false, used([])),
  ?assertEqual([assignment, create_topics, fetch_offsets, group_id, group_instance_id,
                growth_check_interval_ms, heartbeat_interval_ms, max_rejoin_attempts, protocols,
                rebalance_timeout_ms, rejoin_delay_ms, retention_ms, session_timeout_ms],
               lists:sort(maps:keys(Config))).

%% `undefined' is where the consumer was, or else the end.
where_nothing_is_committed_the_consumer_options_say_where_to_begin_test() ->
  Begin = fun(Options) -> brod_group_options:begin_offset(undefined, Options) end,
  [?assertEqual(undefined, Begin(Options))
   || Options <- [[], [{offset_reset_policy, reset_to_latest}], [{offset_reset_policy, reset_by_subscriber}],
                  [{begin_offset, latest}, {offset_reset_policy, reset_to_earliest}]]],
  ?assertEqual(earliest, Begin([{offset_reset_policy, reset_to_earliest}])),
  ?assertEqual(earliest, Begin(#{offset_reset_policy => reset_to_earliest})),
  ?assertEqual(7, Begin([{offset_reset_policy, reset_to_earliest}, {begin_offset, 7}])),
  ?assertEqual(5, brod_group_options:begin_offset(5, [{offset_reset_policy, reset_to_earliest}])).

what_is_wrong_with_an_argument_of_a_group_is_said_test() ->
  Said = fun(Call) ->
           try Call() of Result -> error({no_error, Result})
           catch error:Reason:Stack ->
             #{general := Text} = brod_args:format_error(Reason, Stack),
             {Reason, unicode:characters_to_list(Text)}
           end
         end,
  [?assertEqual({Reason, Text}, Said(Call))
   || {Reason, Text, Call} <-
        [{{bad_topic, x}, "expected a binary, the name of a topic, got x",
          fun() -> brod_group_args:offset(x, 0, 0) end},
         {{bad_offsets, [1 | 2]}, "expected a list of {{Topic, Partition}, Offset}, got [1|2]",
          fun() -> brod_group_args:offsets([1 | 2]) end},
         {{missing_option, b}, "expected a map with the keys a, b, got one with a, c",
          fun() -> brod_group_args:keys(#{a => 1, c => 2}, [a, b]) end},
         {{missing_option, a}, "expected a map with the keys a, got one with none",
          fun() -> brod_group_args:keys(#{}, [a]) end},
         {undef, "expected a callback module that exports no_such/7, got lists",
          fun() -> brod_group_args:callbacks(lists, [{no_such, 7}]) end}]].
