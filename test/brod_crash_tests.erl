%% What is shown of a crash.
-module(brod_crash_tests).

-include_lib("eunit/include/eunit.hrl").
-include("brod_int.hrl").

small_reasons_stay_as_they_are_test() ->
  [?assertEqual(Reason, brod_crash:short(Reason))
   || Reason <- [killed, {badmatch, #{a => <<"b">>}}, {bad_return_value, {m, f, [1, 2]}}]].

large_reasons_keep_their_shape_test() ->
  Message = #kafka_message{offset = 7, key = <<"k">>, value = binary:copy(<<"v">>, 1000000)},
  Reasons = [{badmatch, Message}, {{case_clause, lists:seq(1, 100000)}, x},
             maps:from_keys(lists:seq(1, 1000), Message), [a | binary:copy(<<"v">>, 10000)],
             1 bsl 100000, {fun() -> Message end, Message}],
  [?assert(erlang:external_size(brod_crash:short(Reason)) < 4096) || Reason <- Reasons],
  ?assertMatch({badmatch, #kafka_message{offset = 7, key = <<"k">>}}, brod_crash:short(hd(Reasons))).

stacks_have_no_arguments_test() ->
  Stack = [{m, f, [<<"secret">>, 1], [{line, 1}]}, {m, g, 2, []}],
  ?assertEqual([{m, f, 2, [{line, 1}]}, {m, g, 2, []}], brod_crash:short_stack(Stack)).
