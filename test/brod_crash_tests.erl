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

statuses_have_counts_and_no_payloads_test() ->
  Secret = "secret payload",
  {ok, Options} = brod_options:connection([{sasl, {plain, "user", Secret}}]),
  Provider = brod_sasl_provider:start(Options),
  Sasl = sys:get_state(Provider),
  ok = brod_sasl_provider:stop(Provider),
  Offsets = [{P, Secret} || P <- [0, 1, 2]],
  Commits = {st, c, <<"g">>, <<"t">>, Offsets, self(), undefined, [{self(), Secret}]},
  Context = #{endpoints => [{"h", 1}], options => #{sasl => Secret}},
  Connection = {state, Context, make_ref(), own, {"h", 1}, Secret},
  Transaction = {state, c, <<"id">>, #{producer_config => Secret}, undefined, ok, undefined, #{}, undefined, false},
  [begin
     Status = Module:format_status(#{state => State, message => {sent, Secret}, reason => oops,
                                     log => [Secret]}),
     ?assertEqual(nomatch, string:find(io_lib:format("~p", [Status]), "secret")),
     ?assertEqual({Module, Shown}, {Module, maps:with(maps:keys(Shown), maps:get(state, Status))}),
     ?assertMatch(#{message := sent, reason := oops, log := []}, Status)
   end || {Module, State, Shown} <-
            [{brod_cg_commits, Commits, #{offsets => 3, waiting_calls => 1, is_done => false}},
             {brod_cg_commits, setelement(5, Commits, latest), #{offsets => latest}},
             {brod_cg_commits, setelement(5, Commits, [1 | Secret]), #{offsets => length(Secret) + 1}},
             {brod_cg_commits, setelement(5, Commits, [1 | x]), #{offsets => bad}},
             {brod_dispatcher, {state, make_ref(), make_ref(), #{self() => Secret}}, #{heirs => 1}},
             {brod_kafka_apis, no_state, #{}},
             {brod_connection, Connection, #{kind => own, endpoint => {"h", 1}}},
             {brod_transaction, Transaction, #{client => c, calls => 0}},
             {brod_sasl_provider, Sasl, #{mechanism => plain}}]].

%% Whoever produces to a topic that was deleted has all producers of it end every few seconds.
what_ends_all_producers_of_a_topic_is_one_trouble_test() ->
  Nack = fun(Partition, Code) -> {produce_response_error, <<"t">>, Partition, -1, Code} end,
  Line = fun(Reason) -> brod_crash:shared_line("producers", <<"t">>, Reason) end,
  Trouble = fun(Reason) -> {Why, _} = Line(Reason), Why end,
  GivenUp = fun(Partition, Code) -> {reached_max_retries, Nack(Partition, Code)} end,
  ?assertEqual(Trouble(GivenUp(0, unknown_topic_or_partition)), Trouble(GivenUp(7, unknown_topic_or_partition))),
  ?assertNotEqual(Trouble(GivenUp(0, unknown_topic_or_partition)), Trouble(GivenUp(0, not_enough_replicas))),
  ?assertEqual(Trouble({delivery_timeout, {closed, "a"}}), Trouble({delivery_timeout, {closed, "b"}})),
  {_, Words} = Line(GivenUp(7, not_enough_replicas)),
  ?assertEqual("producers of t stop: {reached_max_retries,{produce_response_error,<<\"t\">>,7,-1,not_enough_replicas}}",
               unicode:characters_to_list(Words)),
  {topic_authorization_failed, Refused} = Line({not_retriable, Nack(1, topic_authorization_failed)}),
  ?assertEqual("producers of t stop: topic_authorization_failed", unicode:characters_to_list(Refused)),
  [?assertEqual(false, Line(Reason)) || Reason <- [{not_retriable, Nack(0, unsupported_version)}, boom]].
