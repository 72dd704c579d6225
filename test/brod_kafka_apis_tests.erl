-module(brod_kafka_apis_tests).
-include_lib("eunit/include/eunit.hrl").

apis_test_() ->
  {setup, fun start/0, fun stop/1,
   [{"the versions that the engine speaks are reported", fun reported/0},
    {"a version is picked, and an API that is not spoken is an error", fun picked/0},
    {"a killed server comes back, and answers meanwhile", fun killed/0},
    {"so do all that serve the clients when their supervisor is killed", {timeout, 60, fun supervisor_killed/0}}]}.

start() ->
  {ok, _} = application:ensure_all_started(brod).

stop(_) ->
  application:stop(brod).

reported() ->
  Apis = brod_kafka_apis:supported_versions(),
  ?assertMatch(#{produce := {3, 12}, fetch := {4, 12}, metadata := {0, 13},
                 list_offsets := {1, 10}, offset_commit := {2, 9}, api_versions := {0, 4}}, Apis),
  ?assertEqual(Apis, maps:from_list(ets:tab2list(brod_kafka_apis))).

picked() ->
  ?assertEqual(3, brod_kafka_apis:default_version(produce)),
  ?assertEqual(12, brod_kafka_apis:pick_version(self(), fetch)),
  ?assert(brod_kafka_apis:supports_version(self(), fetch, 4)),
  ?assertNot(brod_kafka_apis:supports_version(self(), fetch, 13)),
  ?assertNot(brod_kafka_apis:supports_version(self(), no_such_api, 0)),
  ?assertError({unsupported_api, no_such_api}, brod_kafka_apis:pick_version(self(), no_such_api)).

killed() ->
  Pid = whereis(brod_kafka_apis),
  Ref = monitor(process, Pid),
  exit(Pid, kill),
  receive {'DOWN', Ref, process, Pid, killed} -> ok after 20000 -> error(alive) end,
  ?assertEqual(12, brod_kafka_apis:pick_version(self(), fetch)),
  await(fun() -> is_pid(whereis(brod_kafka_apis)) andalso ets:whereis(brod_kafka_apis) =/= undefined end, 500),
  ?assertNotEqual(Pid, whereis(brod_kafka_apis)),
  ?assertEqual([], supervisor:which_children(brod_sup)).

%% Their names may still be taken when the next ones are started.
supervisor_killed() ->
  Sup = whereis(brod_sup),
  [kill_supervisor() || _ <- lists:seq(1, 10)],
  ?assertEqual(Sup, whereis(brod_sup)),
  ?assertEqual([], supervisor:which_children(brod_sup)).

kill_supervisor() ->
  {dictionary, Dictionary} = process_info(whereis(brod_kafka_apis), dictionary),
  [Sup | _] = proplists:get_value('$ancestors', Dictionary),
  Names = [brod_kafka_apis, brod_stats_poller],
  Before = [whereis(Name) || Name <- Names],
  exit(Sup, kill),
  await(fun() -> lists:all(fun(Name) -> is_pid(whereis(Name)) andalso not lists:member(whereis(Name), Before) end, Names) end, 500).

await(_Holds, 0) ->
  error(timeout);
await(Holds, N) ->
  case Holds() of
    true -> ok;
    false -> timer:sleep(10), await(Holds, N - 1)
  end.
