-module(brod_telemetry_tests).

-include_lib("eunit/include/eunit.hrl").

a_sample_tells_what_has_changed_since_the_last_one_test() ->
  Api = #{api => <<"produce">>, bytes_sent => 30, bytes_received => 8, latency_sum_us => 900, latency_buckets => [2, 1]},
  Producer = #{topic => <<"t">>, partition => 0, buffered_calls => 0, in_flight_batches => 1, waiting_callers => 0,
               batches_sent => 5, records_sent => 50, bytes_sent => 500, batches_acked => 4, batches_failed => 0,
               batches_retried => 1},
  Stats = #{brokers => [#{host => <<"k">>, port => 1, apis => [Api]}], producers => [Producer], consumers => [],
            events => [{7, <<"k:1">>, connected, 1500}, {8, <<"k:1">>, closed, <<"idle">>}], bounds_us => [500]},
  Before = #{apis => #{{<<"k:1">>, <<"produce">>} => Api#{latency_buckets := [1, 1], bytes_sent := 20, latency_sum_us := 600}},
             producers => #{{<<"t">>, 0} => Producer#{records_sent := 45, batches_sent := 4}}},
  ?assertEqual(
    [{[client, connect], #{duration => 1500}, #{broker => <<"k:1">>}},
     {[client, disconnect], #{count => 1}, #{broker => <<"k:1">>, reason => <<"idle">>, expected => true}},
     {[request], #{count => 1, bytes_sent => 10, bytes_received => 0, duration => 300},
      #{broker => <<"k:1">>, api => <<"produce">>, latency => [{500, 1}, {infinity, 0}]}},
     {[produce, batches], #{sent => 1, acked => 0, failed => 0, retried => 0, records => 5, bytes => 0},
      #{topic => <<"t">>, partition => 0}},
     {[produce, buffer], #{buffered_calls => 0, in_flight_batches => 1, waiting_callers => 0},
      #{topic => <<"t">>, partition => 0}}],
    brod_stats_poller:differences(Before, Stats)).

a_broker_is_unreachable_while_the_last_that_was_heard_of_it_is_a_failure_test() ->
  Broker = fun(Port, Connections) -> #{node => Port, host => <<"k">>, port => Port, connections => Connections, connect_failures => 1} end,
  Stats = fun(Brokers, Events) -> #{brokers => Brokers, producers => [], consumers => [], stopped_producers => [], stopped_consumers => [],
    unavailable_topics => [], refused_topics => [], events => Events} end,
  Failed = {1, <<"k:1">>, connect_failed, <<"refused">>},
  Back = {2, <<"k:1">>, connected, 1500},
  Lost = {3, <<"k:1">>, closed, <<"idle">>},
  ?assertEqual({down, [{brokers_unreachable, [{<<"k">>, 1}]}]}, brod_stats:health_of(Stats([Broker(1, 0)], [Failed]))),
  ?assertEqual({degraded, [{brokers_unreachable, [{<<"k">>, 1}]}]},
               brod_stats:health_of(Stats([Broker(1, 0), Broker(2, 1)], [Failed]))),
  ?assertEqual({ok, []}, brod_stats:health_of(Stats([Broker(1, 0), Broker(2, 1)], [Lost, Failed, Back]))).

what_an_error_has_stopped_is_no_health_test() ->
  Stats = #{brokers => [#{node => 1, host => <<"k">>, port => 1, connections => 1}], producers => [], events => [],
            stopped_producers => [{<<"t">>, 0}], stopped_consumers => [{<<"t">>, 1}],
            unavailable_topics => [<<"u">>], refused_topics => [<<"r">>]},
  ?assertEqual({degraded, [{topics_unavailable, [<<"u">>]}, {batches_refused, [<<"r">>]},
                           {producers_stopped, [{<<"t">>, 0}]}, {consumers_stopped, [{<<"t">>, 1}]}]},
               brod_stats:health_of(Stats)).

counters_of_a_client_that_is_gone_are_dropped_after_a_while_test() ->
  {ok, Started} = application:ensure_all_started(brod),
  true = register(a_client_that_lives, self()),
  Of = fun(Client) -> length([1 || {_, #{client := C}, _} <- brod_telemetry:counters(), C =:= Client]) end,
  try
    [begin
       ok = brod_telemetry:happened([client, throttle], #{duration_ms => 1}, #{client => Client}),
       ok = brod_telemetry:happened([group, join], #{topics => 1}, #{client => Client, group => <<"g">>})
     end || Client <- [a_client_that_is_gone, a_client_that_lives]],
    Gone = brod_telemetry:forget_gone(#{}, 0),
    ?assertEqual({2, 2}, {Of(a_client_that_is_gone), Of(a_client_that_lives)}),
    StillGone = brod_telemetry:forget_gone(Gone, 599999),
    ?assertEqual({2, 2}, {Of(a_client_that_is_gone), Of(a_client_that_lives)}),
    ?assertEqual(#{}, maps:filter(fun(#{client := C}, _) -> C =:= a_client_that_is_gone end,
                                  brod_telemetry:forget_gone(StillGone, 600000))),
    %% Its group has no member.
    ?assertEqual({0, 1}, {Of(a_client_that_is_gone), Of(a_client_that_lives)})
  after
    true = unregister(a_client_that_lives),
    [ok = application:stop(App) || App <- lists:reverse(Started), App =:= brod]
  end.

counters_of_a_group_without_members_are_dropped_once_they_have_stood_still_for_a_while_test() ->
  {ok, Started} = application:ensure_all_started(brod),
  true = register(a_client_that_lives, self()),
  Happens = fun(Group) -> ok = brod_telemetry:happened([group, retrying], #{attempt => 1}, #{client => a_client_that_lives, group => Group}) end,
  Groups = fun() -> lists:sort([Group || {_, #{client := a_client_that_lives, group := Group}, _} <- brod_telemetry:counters()]) end,
  try
    lists:foreach(Happens, [<<"member">>, <<"tries">>, <<"gone">>]),
    ok = brod_group_members:enter(a_client_that_lives, <<"member">>, self(), {1, <<"m">>, undefined}, []),
    Gone = brod_telemetry:forget_gone(#{}, 0),
    Happens(<<"tries">>),
    StillGone = brod_telemetry:forget_gone(Gone, 60000),
    ?assertEqual([<<"gone">>, <<"member">>, <<"tries">>], Groups()),
    _ = brod_telemetry:forget_gone(StillGone, 600000),
    ?assertEqual([<<"member">>, <<"tries">>], Groups()),
    _ = brod_telemetry:forget_gone(StillGone, 660000),
    ?assertEqual([<<"member">>], Groups())
  after
    ok = brod_handles:take_back(),
    true = unregister(a_client_that_lives),
    [ok = application:stop(App) || App <- lists:reverse(Started), App =:= brod]
  end.

%% Prometheus sees no increase in a row that begins with 1.
metrics_of_a_group_are_there_before_something_goes_wrong_test() ->
  {ok, Started} = application:ensure_all_started(brod),
  try
    ok = brod_telemetry:happened([group, join], #{topics => 1}, #{client => a_client, group => <<"g">>}),
    Text = iolist_to_binary(brod_prometheus:scrape()),
    Labels = "{client=\"a_client\",group=\"g\"} ",
    [?assertMatch({_, _}, binary:match(Text, iolist_to_binary(["\nbrod_group_", Line])))
     || Line <- [["join_total", Labels, "1\n"], ["heartbeat_failed_total", Labels, "0\n"], ["revoked_total", Labels, "0\n"]]]
  after
    [ok = application:stop(App) || App <- lists:reverse(Started), App =:= brod]
  end.

what_is_no_number_is_no_measurement_test() ->
  Consumer = #{topic => <<"t">>, partition => 0, lag => 2, position => undefined, high_watermark => 5, pending_count => 0,
               fetches => 0, bytes_fetched => 0, pauses => 0, errors => 0, records => 0, bytes => 0},
  Stats = #{brokers => [], producers => [], consumers => [Consumer], events => [], bounds_us => []},
  ?assertEqual([{[consume, lag], #{lag => 2, high_watermark => 5, pending_count => 0}, #{topic => <<"t">>, partition => 0}}],
               brod_stats_poller:differences(#{}, Stats)).

%% In a release that is upgraded it goes on with what it has seen, and begins to drop what is kept of clients that are gone.
the_poller_takes_over_the_state_of_a_version_before_test_() ->
  Seen = #{self() => #{last_event => 7}},
  Change = fun(Pid) -> ok = sys:suspend(Pid), ok = sys:change_code(Pid, brod_stats_poller, undefined, []), ok = sys:resume(Pid) end,
  [{Name, {timeout, 30, fun() ->
      {ok, Pid} = gen_server:start(brod_stats_poller, [], []),
      _ = sys:replace_state(Pid, fun(_) -> {state, Seen} end),
      1 = erlang:trace(Pid, true, ['receive']),
      Upgrade(Pid),
      receive {trace, Pid, 'receive', sweep} -> ok after 20000 -> error(nothing_is_dropped) end,
      ?assertEqual({state, Seen, #{}}, sys:get_state(Pid)),
      ok = gen_server:stop(Pid)
    end}}
   || {Name, Upgrade} <- [{"told of the change", Change},
                          {"only loaded", fun(Pid) -> {error, {unknown_call, ping}} = gen_server:call(Pid, ping) end},
                          {"only loaded, and spoken to by nobody", fun(Pid) -> Pid ! any, ok end}]].

every_event_that_the_documentation_names_is_in_the_list_test() ->
  {ok, Source} = file:read_file(source()),
  {match, Found} = re:run(Source, "`(\\[brod, [a-z_, ]+\\])'", [global, {capture, all_but_first, list}]),
  Documented = [parse(Text) || [Text] <- Found],
  ?assertEqual(lists:usort(Documented), lists:sort(brod_telemetry:events())).

parse(Text) ->
  %% `begin' is a word of the language
  {ok, Tokens, _} = erl_scan:string(lists:flatten([string:replace(Text, "begin", "'begin'"), "."])),
  {ok, Term} = erl_parse:parse_term(Tokens),
  Term.

source() -> proplists:get_value(source, brod_telemetry:module_info(compile)).

the_server_answers_get_alone_and_by_local_names_alone_test() ->
  {ok, Server, Port} = brod_prometheus:start(#{}),
  try
    ?assertMatch("HTTP/1.1 200 OK" ++ _, request(Port, "GET /metrics?x=1 HTTP/1.1\r\nhost: localhost\r\n\r\n")),
    ?assertMatch("HTTP/1.1 404" ++ _, request(Port, "GET / HTTP/1.1\r\n\r\n")),
    ?assertMatch("HTTP/1.1 405" ++ _, request(Port, "POST /metrics HTTP/1.1\r\n\r\n")),
    ?assertMatch("HTTP/1.1 403" ++ _, request(Port, "GET /metrics HTTP/1.1\r\nhost: evil.example\r\n\r\n")),
    ?assertMatch("HTTP/1.1 400" ++ _, request(Port, "nonsense\r\n\r\n"))
  after
    ok = brod_prometheus:stop(Server)
  end.

request(Port, Text) ->
  {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, Port, [{active, false}]),
  ok = gen_tcp:send(Socket, Text),
  all(Socket, "").

all(Socket, Read) ->
  case gen_tcp:recv(Socket, 0, 5000) of
    {ok, More} -> all(Socket, Read ++ More);
    {error, closed} -> Read
  end.

the_dashboard_asks_for_metrics_that_there_are_test() ->
  {ok, Dashboard} = file:read_file(beside(docs, "grafana-dashboard.json")),
  {ok, Source} = file:read_file(beside(src, "brod_prometheus.erl")),
  {match, Found} = re:run(Dashboard, "brod_([a-z_]+?)(?:_bucket)?\\{", [global, {capture, all_but_first, binary}]),
  Events = [iolist_to_binary([lists:join("_", [atom_to_list(A) || A <- Event]), "_total"])
            || [brod | Event] <- brod_telemetry:events()],
  IsThere = fun(Name) -> lists:member(Name, Events) orelse binary:match(Source, <<"\"", Name/binary, "\"">>) =/= nomatch end,
  ?assertEqual([], [Name || [Name] <- Found, not IsThere(Name)]).

beside(Folder, Name) ->
  filename:join([filename:dirname(filename:dirname(source())), Folder, Name]).

what_is_measured_without_telemetry_is_told_to_nobody_test() ->
  ?assertNot(brod_metrics:is_enabled()),
  ?assertEqual(ok, brod_metrics:produce_request_sent(<<"t">>, 0, #{count => 1, bytes => 9})),
  ?assertEqual(ok, brod_metrics:produce_dropped(<<"t">>, 0, #{count => 1})).
