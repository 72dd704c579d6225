%% Client and producer against an engine in Erlang (brod_fake_nif).
-module(brod_client_tests).
-include_lib("eunit/include/eunit.hrl").
-include("brod_int.hrl").

-define(LIMIT_MS, 20000).
-define(C, brod_client_tests_client).
-define(T, <<"topic">>).
-define(UP, [{"localhost", 9092}]).
-define(DEAD, [{"127.0.0.1", 1}]).
-define(REFUSED, [{{"127.0.0.1", 1}, {econnrefused, []}}]).

all_test_() ->
  {foreach, fun setup/0, fun teardown/1,
   [{atom_to_list(Name), {timeout, 30, fun() -> process_flag(trap_exit, true), Test() end}}
    || {Name, Test} <- tests()]}.

%% Were both the same, the one that tells nothing could end first.
the_limit_of_connecting_is_beyond_those_of_the_endpoints_test() ->
  Limit = fun(Endpoints) ->
            brod_engine:connect_limit(#{engine => make_ref(), endpoints => Endpoints, options => #{connect_timeout => 1000}})
          end,
  ?assert(Limit(?DEAD) > 1000),
  ?assert(Limit(?UP ++ ?DEAD) > 2000).

tests() ->
  [ {start_again, fun start_again/0}
  , {no_endpoints, fun no_endpoints/0}
  , {bad_options, fun bad_options/0}
  , {nobody_listens, fun nobody_listens/0}
  , {no_threads_for_the_engine, fun no_threads_for_the_engine/0}
  , {what_to_check_is_told_by_who_failed, fun what_to_check_is_told_by_who_failed/0}
  , {calls_while_connecting, fun calls_while_connecting/0}
  , {link_client, fun link_client/0}
  , {partitions_count, fun partitions_count/0}
  , {no_client, fun no_client/0}
  , {connections, fun connections/0}
  , {connections_answer_everybody, fun connections_answer_everybody/0}
  , {requests_travel_over_a_connection, fun requests_travel_over_a_connection/0}
  , {versions_are_the_brokers, fun versions_are_the_brokers/0}
  , {fields_decide_on_the_version, fun fields_decide_on_the_version/0}
  , {requests_that_cannot_be_sent, fun requests_that_cannot_be_sent/0}
  , {lost_connections_end, fun lost_connections_end/0}
  , {killed_connection_leaves_nothing, fun killed_connection_leaves_nothing/0}
  , {status_shows_no_secrets, fun status_shows_no_secrets/0}
  , {kafka_apis_come_back, fun kafka_apis_come_back/0}
  , {coordinators, fun coordinators/0}
  , {without_client, fun without_client/0}
  , {arguments_of_calls, fun arguments_of_calls/0}
  , {errors_name_the_argument, fun errors_name_the_argument/0}
  , {folds, fun folds/0}
  , {producers_not_started, fun producers_not_started/0}
  , {producers_and_consumers_on_their_own, fun producers_and_consumers_on_their_own/0}
  , {produce, fun produce/0}
  , {produce_refused, fun produce_refused/0}
  , {produce_waits_for_room, fun produce_waits_for_room/0}
  , {produce_room_timeout, fun produce_room_timeout/0}
  , {callbacks, fun callbacks/0}
  , {callback_crash, fun callback_crash/0}
  , {producer_crash, fun producer_crash/0}
  , {producer_by_message, fun producer_by_message/0}
  , {auto_start, fun auto_start/0}
  , {new_partitions, fun new_partitions/0}
  , {new_partitions_have_producers, fun new_partitions_have_producers/0}
  , {new_partitions_work_at_once, fun new_partitions_work_at_once/0}
  , {partitions_that_nobody_has_seen, fun partitions_that_nobody_has_seen/0}
  , {topic_that_waits_for_its_restart, fun topic_that_waits_for_its_restart/0}
  , {lag_starts_nothing, fun lag_starts_nothing/0}
  , {recreated_topic, fun recreated_topic/0}
  , {unknown_topic_with_producers, fun unknown_topic_with_producers/0}
  , {restart_delay_unset, fun restart_delay_unset/0}
  , {client_dies_before_producer, fun client_dies_before_producer/0}
  , {forwarded_acks, fun forwarded_acks/0}
  , {dispatchers_end_with_client, fun dispatchers_end_with_client/0}
  , {dispatcher_killed, fun dispatcher_killed/0}
  , {provider_of_passwords_killed, fun provider_of_passwords_killed/0}
  , {stop_kills_nobody_else, fun stop_order/0}
  ].

setup() ->
  logger:set_primary_config(level, none),
  process_flag(trap_exit, true),
  ok = brod_fake_nif:load([{?T, 2}]),
  {ok, Sup} = brod_sup:start_link(),
  Sup.

teardown(Sup) ->
  MRef = monitor(process, Sup),
  exit(Sup, shutdown),
  receive {'DOWN', MRef, process, Sup, _} -> ok end,
  receive {'EXIT', Sup, _} -> ok after 0 -> ok end,
  application:unset_env(brod, produce_room_timeout),
  logger:set_primary_config(level, notice),
  ok = brod_fake_nif:unload(),
  flush().

flush() -> receive _ -> flush() after 0 -> ok end.

started() -> started([]).

started(Config) -> ok = brod:start_client(?UP, ?C, Config), whereis(?C).

with_producer() ->
  started(),
  ok = brod:start_producer(?C, ?T, []),
  {ok, Pid} = brod:get_producer(?C, ?T, 0),
  Pid.

down(Pid) -> reason(monitor(process, Pid)).

%% Why a process ended; monitor it before what ends it.
reason(MRef) ->
  receive {'DOWN', MRef, process, _, Reason} -> Reason after ?LIMIT_MS -> error(still_up) end.

start_again() ->
  Pid = started(),
  ?assertEqual(ok, brod:start_client(?UP, ?C)),
  ?assertEqual([Pid], brod_sup:find_client(?C)),
  ?assertEqual({error, {unknown_call, foo}}, gen_server:call(?C, foo)),
  ?assertEqual({ok, {?UP, #{client_id => atom_to_binary(?C, utf8)}}},
               brod_client:get_bootstrap(Pid)),
  ?assertEqual(protected, ets:info(?C, protection)),
  ?assertEqual(ok, brod:stop_client(?C)),
  ?assertEqual(ok, brod:stop_client(?C)).

no_endpoints() ->
  ?assertExit("No endpoints found in brod client 'x' config", brod:start_client([], x)).

bad_options() ->
  ?assertEqual({error, {bad_option, connect_timeout, -1}},
               brod:start_client(?UP, ?C, [{connect_timeout, -1}])),
  ?assertEqual({error, {bad_option, endpoints, [{"h", 0}]}},
               brod:start_link_client([{"h", 0}], ?C)),
  %% one string is not for Erlang, and says so
  Text = unicode:characters_to_list(brod_options:describe({bad_option, endpoints, <<"h:9092">>})),
  ?assertNotEqual(nomatch, string:find(Text, "{Host, Port}; in Brod.Client also")),
  ?assertEqual({error, {bad_option, {ssl, verify_fun}, not_supported}},
               brod:start_link_client(?UP, ?C, [{ssl, [{verify_fun, fun() -> ok end}]}])),
  Pid = started(),
  ?assertEqual({error, {bad_option, compression, brotli}},
               brod:start_producer(?C, ?T, [{compression, brotli}])),
  ?assertEqual(Pid, whereis(?C)).

nobody_listens() ->
  ?assertEqual(ok, brod:start_client(?DEAD, ?C)),
  %% an answer shows that the connection has been tried
  ?assertMatch({error, _}, brod:get_partitions_count(?C, ?T)),
  [?assertEqual({error, client_down}, F())
   || F <- [fun() -> brod:get_partitions_count(?C, ?T) end,
            fun() -> brod_client:get_metadata(?C, all) end,
            fun() -> brod:start_producer(?C, ?T, []) end,
            fun() -> brod_client:get_group_coordinator(?C, <<"g">>) end]],
  %% it waits for its restart
  wait_for(fun() -> brod:start_client(?DEAD, ?C) end, {error, already_present}),
  ?assertEqual(ok, brod:stop_client(?C)),
  ?assertEqual([], brod_supervisor3:which_children(brod_sup)).

%% There may be some later.
no_threads_for_the_engine() ->
  Endpoints = [{"no-threads", 9092}],
  ?assertEqual(ok, brod:start_client(Endpoints, ?C)),
  wait_for(fun() -> brod:start_client(Endpoints, ?C) end, {error, already_present}),
  ?assertEqual(ok, brod:stop_client(?C)),
  {ok, Pid} = brod:start_link_client(Endpoints, ?C),
  receive {'EXIT', Pid, [{{"no-threads", 9092}, {<<"cannot start", _/binary>>, []}} = Failure]} ->
    ?assertMatch({_, _}, binary:match(iolist_to_binary(brod_connect_failure:describe([Failure])), <<"check ulimit -n">>))
  after ?LIMIT_MS -> error(still_up)
  end.

what_to_check_is_told_by_who_failed() ->
  Told = fun(Text) -> brod_connect_failure:why({sasl_auth_error, Text}) end,
  Refused = <<"SASL: Authentication failed: check user and password, or the token">>,
  ?assertEqual(Refused, Told(<<"Authentication failed">>)),
  ?assertMatch({_, _}, binary:match(brod_connect_failure:why(illegal_sasl_state), <<"check the option sasl">>)),
  %% no broker has seen a password
  Asked = Told(<<"OAUTHBEARER: no credentials: token endpoint: h did not answer within 10 ms">>),
  ?assertEqual(nomatch, binary:match(Asked, <<"password">>)),
  ?assertMatch({_, _}, binary:match(Asked, <<"check the option sasl">>)).

calls_while_connecting() ->
  {ok, Pid} = brod:start_link_client(?DEAD, ?C),
  case brod:get_partitions_count(Pid, ?T) of
    {error, {client_down, ?REFUSED}} -> ok;
    %% it was faster than the call
    {error, client_down} -> ok
  end,
  receive {'EXIT', Pid, Reason} -> ?assertEqual(?REFUSED, Reason)
  after ?LIMIT_MS -> error(still_up)
  end.

link_client() ->
  {ok, Pid} = brod:start_link_client(?UP, ?C),
  ?assertEqual({error, {already_started, Pid}}, brod:start_link_client(?UP, ?C)),
  ?assertMatch({error, {{already_started, Pid},
                        {child, undefined, ?C, {brod_client, start_link, [?UP, ?C, []]},
                         {permanent, 10}, 5000, worker, [brod_client]}}},
               brod:start_client(?UP, ?C)),
  ?assertEqual(ok, brod:stop_client(Pid)),
  receive {'EXIT', Pid, Reason} -> ?assertEqual(normal, Reason) end.

partitions_count() ->
  Pid = started(),
  ?assertEqual(false, brod_client:lookup_partitions_count_cache(?C, ?T)),
  ?assertEqual({ok, 2}, brod:get_partitions_count(Pid, ?T)),
  ?assertEqual({ok, 2}, brod_client:lookup_partitions_count_cache(?C, ?T)),
  Unknown = {error, unknown_topic_or_partition},
  ?assertEqual(Unknown, brod:get_partitions_count_safe(?C, <<"none">>)),
  ?assertEqual(Unknown, brod_client:lookup_partitions_count_cache(?C, <<"none">>)),
  ?assertEqual(Unknown, brod:start_producer(?C, <<"none">>, [])).

no_client() ->
  ?assertEqual({error, client_down}, brod:get_partitions_count(nobody, ?T)),
  ?assertEqual({error, client_down}, brod:produce_sync(nobody, ?T, 0, <<>>, <<"v">>)),
  ?assertEqual({error, client_down},
               brod:produce_cb(nobody, ?T, random, <<>>, <<>>, fun(_, _) -> ok end)),
  ?assertEqual({error, client_down}, brod:fetch(nobody, ?T, 0, 0)).

connections() ->
  started(),
  {ok, Conn} = brod_client:get_leader_connection(?C, ?T, 0),
  ?assertEqual({ok, Conn}, brod_client:get_leader_connection(?C, ?T, 0)),
  ?assertMatch({ok, {5, [_ | _]}}, brod:fetch(Conn, ?T, 0, 0)),
  ?assertEqual({ok, -2}, brod_utils:resolve_offset(Conn, ?T, 0, earliest)),
  {ok, Direct} = brod_client:get_connection(?C, <<"localhost">>, 9092),
  ?assertEqual({ok, Direct}, brod_client:get_connection(?C, "localhost", 9092)),
  ?assertEqual({error, {econnrefused, []}}, brod_client:get_connection(?C, "127.0.0.1", 1)),
  ok = brod:stop_client(?C),
  [?assertEqual(true, lists:member(down(P), [normal, noproc])) || P <- [Conn, Direct]].

%% As functions of kafka_protocol do.
connections_answer_everybody() ->
  started(),
  {ok, Conn} = brod_client:get_leader_connection(?C, ?T, 0),
  Ask = fun(Request) ->
          MRef = monitor(process, Conn),
          Conn ! {{self(), MRef}, Request},
          receive
            {MRef, Answer} -> demonitor(MRef, [flush]), Answer;
            {'DOWN', MRef, _, _, Reason} -> {down, Reason}
          after ?LIMIT_MS -> error(no_answer)
          end
        end,
  ?assertEqual({error, not_supported}, Ask({send, request})),
  ?assertEqual({ok, hd(?UP)}, Ask(get_endpoint)),
  ?assertMatch({ok, #{fetch := _}}, Ask(get_api_vsns)),
  ?assertEqual({error, {unknown_call, foo}}, gen_server:call(Conn, foo)),
  logger:set_primary_config(level, notice),
  Log = brod_log:start(),
  gen_server:cast(Conn, {what, <<"secret">>}),
  Conn ! {who, <<"secret">>},
  ?assertEqual(ok, Ask(stop)),
  ?assertEqual([2, 0], [length(brod_log:all(Log, Text)) || Text <- ["does not understand", "secret"]]),
  brod_log:stop(Log),
  logger:set_primary_config(level, none),
  ?assert(lists:member(down(Conn), [normal, noproc])).

connection() ->
  started(),
  ok = brod_fake_nif:watch(self()),
  {ok, Conn} = brod_client:get_leader_connection(?C, ?T, 0),
  Conn.

%% What somebody asks again and again goes over one socket, and each answer comes to who asked.
requests_travel_over_a_connection() ->
  Conn = connection(),
  Groups = <<0:16, 1:32, 1:16, "g", 8:16, "consumer">>,
  brod_fake_nif:answer(connection_open, {ok, [{16, 0, 2}]}),
  brod_fake_nif:answer(response, {ok, Groups}),
  [begin
     Req = brod_kafka_request:list_groups(0),
     ?assertEqual({ok, [#{group_id => <<"g">>, protocol_type => <<"consumer">>}]},
                  brod_utils:request_sync(Conn, Req, ?LIMIT_MS))
   end || _ <- [1, 2]],
  [First, Second] = [receive {connection_request, Handle, {16, 0}, <<>>, true} -> Handle after ?LIMIT_MS -> none end
                     || _ <- [1, 2]],
  ?assertEqual(First, Second),
  %% as kpro:send/2 does: nobody is told that it was sent
  Req = brod_kafka_request:list_groups(0),
  Ref = element(2, Req),
  Conn ! {{self(), noreply}, {send, Req}},
  receive
    {msg, Conn, {kpro_rsp, Ref, list_groups, 0, Message}} -> ?assertMatch(#{groups := [_]}, Message)
  after ?LIMIT_MS -> error(no_answer)
  end,
  %% structures that the connection is to encode, and a request without an answer
  Conn ! {{self(), noreply}, {send, setelement(6, Req, [{tagged_fields, []}])}},
  receive {msg, Conn, {kpro_rsp, Ref, list_groups, 0, _}} -> ok after ?LIMIT_MS -> error(no_answer) end,
  Produce = brod_kafka_request:produce(3, ?T, 0, <<"a batch">>, 0, 1000, no_compression),
  brod_fake_nif:answer(connection_open, {ok, []}),
  {ok, Other} = brod_connection:start(?UP, [], self()),
  ?assertEqual(ok, brod_utils:request_sync(Other, Produce, ?LIMIT_MS)),
  receive {connection_request, _, {0, 3}, _, false} -> ok after ?LIMIT_MS -> error(not_sent) end,
  ok = brod_connection:stop(Other),
  receive {connection_close, _} -> ok after ?LIMIT_MS -> error(not_closed) end.

versions_are_the_brokers() ->
  Conn = connection(),
  brod_fake_nif:answer(connection_open, {ok, [{1, 4, 17}, {3, 0, 5}, {15, 0, 5}, {2, 3, 9}, {16, 90, 99}, {1000, 0, 0}]}),
  ?assertEqual({ok, #{fetch => {4, 17}, metadata => {0, 5}, describe_groups => {0, 5}, list_offsets => {3, 9}, list_groups => {90, 99}}},
               brod_connection:api_versions(Conn)),
  %% what brod 4 picks, whose fields callers give; the oldest that there is if that has gone
  ?assertEqual([10, 2, 0, 3], [brod_kafka_apis:pick_version(Conn, Api) || Api <- [fetch, metadata, describe_groups, list_offsets]]),
  ?assertMatch({kpro_req, _, describe_groups, 0, _, _}, brod_kafka_build:make(describe_groups, brod_kafka_apis:pick_version(Conn, describe_groups), #{groups => [<<"g">>]})),
  ?assertMatch([{kpro_req, _, metadata, 5, _, _}, {kpro_req, _, list_offsets, 5, _, _}],
               [brod_kafka_request:metadata(Conn, all), brod_kafka_request:list_offsets(Conn, ?T, 0, latest)]),
  ?assertError({unsupported_api, produce}, brod_kafka_apis:pick_version(Conn, produce)),
  ?assertError({unsupported_api, no_such_api}, brod_kafka_apis:pick_version(Conn, no_such_api)),
  ?assertError({unsupported_vsn_range, list_groups, {0, 3}, {90, 99}}, brod_kafka_apis:pick_version(Conn, list_groups)),
  ?assertEqual([true, false, false, false],
               [brod_kafka_apis:supports_version(Conn, Api, Vsn) || {Api, Vsn} <- [{fetch, 11}, {fetch, 12}, {fetch, 3}, {produce, 3}]]),
  brod_fake_nif:answer(connection_open, {ok, []}),
  {ok, Old} = brod_connection:start(?UP, [{query_api_versions, false}], self()),
  ?assertEqual({ok, undefined}, brod_connection:api_versions(Old)),
  ?assertEqual(0, brod_kafka_apis:pick_version(Old, fetch)),
  ?assert(brod_kafka_apis:supports_version(Old, fetch, 11)),
  [begin
     brod_fake_nif:answer(connection_open, {ok, [{0, 0, Max}]}),
     {ok, Kafka} = brod_connection:start(?UP, [], self()),
     ?assertEqual({ok, #{produce => {Min, Max}}}, brod_connection:api_versions(Kafka)),
     ok = brod_connection:stop(Kafka)
   end || {Min, Max} <- [{3, 13}, {3, 12}, {0, 11}]],
  ok = brod_connection:stop(Old),
  ?assertMatch({connection_down, _}, catch_reason(fun() -> brod_kafka_apis:pick_version(Old, fetch) end)).

%% Nobody is asked for fields that came later than the program that gives them.
fields_decide_on_the_version() ->
  Made = fun(Versions) ->
           brod_fake_nif:answer(connection_open, {ok, Versions}),
           {ok, Conn} = brod_connection:start(?UP, [], self()),
           Of = fun(Make, Fields) -> try element(4, brod_kafka_request:Make(Conn, Fields))
                                     catch error:{field_missing, [{stack, [{_, Vsn} | Names]} | _]} -> {Vsn, lists:last(Names)}
                                     end
                end,
           Member = [{group_id, <<"g">>}, {generation_id, 1}, {member_id, <<"m">>}],
           Offset = [{partition_index, 0}, {committed_offset, 1}, {committed_metadata, <<>>}],
           Commit = fun(More, Epoch) -> Member ++ More ++ [{topics, [[{name, ?T}, {partitions, [Offset ++ Epoch]}]]}] end,
           Join = [{group_id, <<"g">>}, {session_timeout_ms, 6000}, {member_id, <<>>}, {protocol_type, <<"consumer">>}, {protocols, []}],
           Vsns = [ Of(offset_commit, Commit([{retention_time_ms, -1}], []))
                  , Of(offset_commit, Commit([], [{committed_leader_epoch, -1}]))
                  , Of(offset_commit, Commit([{group_instance_id, <<"i">>}], [{committed_leader_epoch, -1}]))
                  , Of(offset_commit, Commit([], []))
                  , Of(join_group, Join)
                  , Of(join_group, [{rebalance_timeout_ms, 6000} | Join])
                  , Of(join_group, [{rebalance_timeout_ms, 6000}, {group_instance_id, undefined} | Join])
                  , Of(heartbeat, Member)
                  , Of(sync_group, Member ++ [{assignments, []}])
                  , Of(heartbeat, tl(Member))
                  ],
           ok = brod_connection:stop(Conn),
           Vsns
         end,
  ?assertEqual([5, 6, 8, 5, 0, 4, 6, 2, 2, {4, group_id}], Made([{8, 0, 9}, {11, 0, 9}, {12, 0, 4}, {14, 0, 5}])),
  %% not those that the broker has dropped, nor those that keep offsets in ZooKeeper
  ?assertEqual([{8, group_instance_id}, 6, 8, {8, group_instance_id}, {6, rebalance_timeout_ms}, 4, 6, 2, 2, {4, group_id}],
               Made([{8, 6, 9}, {11, 2, 9}, {12, 0, 4}, {14, 0, 5}])),
  ?assertEqual([3, {3, retention_time_ms}], lists:sublist(Made([{8, 0, 3}, {11, 0, 9}, {12, 0, 4}, {14, 0, 5}]), 2)).

catch_reason(Fun) ->
  try Fun() of
    %% it is no connection any more, and counts as none
    Vsn when is_integer(Vsn) -> {connection_down, Vsn}
  catch error:{no_versions, Reason} -> Reason
  end.

%% Whoever can be told is told, and the connection goes on; it ends where nobody can.
requests_that_cannot_be_sent() ->
  Conn = connection(),
  Sync = fun(Req) -> brod_utils:request_sync(Conn, Req, ?LIMIT_MS) end,
  Req = {kpro_req, make_ref(), metadata, 0, false, [{topics, []}]},
  ?assertEqual({error, {not_supported, fetch, {4, 12}}}, Sync(brod_kafka_request:fetch(0, ?T, 0, 0, 0, 0, 1, read_committed))),
  ?assertEqual({error, {not_supported, list_groups, undefined}}, Sync(brod_kafka_request:list_groups(0))),
  ?assertMatch({error, {not_array, [topics, {metadata, 0}], _}}, Sync(setelement(6, Req, [{topics, t}]))),
  ?assertMatch({error, {field_missing, _}}, Sync(setelement(6, Req, #{}))),
  ?assertEqual({error, badarg}, Sync(setelement(6, Req, [foo]))),
  Monitor = monitor(process, Conn),
  Conn ! {{self(), noreply}, {send, setelement(6, Req, [{topics, t}])}},
  receive {'DOWN', Monitor, _, _, Reason} -> ?assertMatch({shutdown, {not_array, _, _}}, Reason)
  after ?LIMIT_MS -> error(alive)
  end,
  {ok, New} = brod_client:get_leader_connection(?C, ?T, 0),
  ?assertNotEqual(Conn, New).

lost_connections_end() ->
  Req = brod_kafka_request:metadata(0, all),
  Conn = connection(),
  %% while something is under way: whoever waits is told, for the connection ends
  ?assertEqual({error, {connection_down, {shutdown, tcp_closed}}}, brod_utils:request_sync(Conn, Req, ?LIMIT_MS)),
  brod_fake_nif:answer(response, {error, timeout}),
  ?assertEqual({error, {connection_down, {shutdown, timeout}}}, brod_utils:request_sync(leader(), Req, ?LIMIT_MS)),
  brod_fake_nif:answer(response, {ok, <<"nonsense">>}),
  ?assertMatch({error, {connection_down, {shutdown, {not_a_response, _}}}}, brod_utils:request_sync(leader(), Req, ?LIMIT_MS)),
  brod_fake_nif:answer(connection_open, {error, econnrefused}),
  ?assertEqual({error, {connection_down, {shutdown, econnrefused}}}, brod_utils:request_sync(leader(), Req, ?LIMIT_MS)),
  %% while nothing is: the next request opens another
  brod_fake_nif:answer(connection_open, {ok, []}),
  brod_fake_nif:answer(response, {ok, <<0:32, 0:32>>}),
  Idle = leader(),
  ?assertMatch({ok, #{topics := []}}, brod_utils:request_sync(Idle, Req, ?LIMIT_MS)),
  [Handle | _] = lists:reverse(requests()),
  Idle ! {brod_connection_closed, Handle},
  ?assertMatch({ok, #{topics := []}}, brod_utils:request_sync(Idle, Req, ?LIMIT_MS)),
  [Another] = requests(),
  ?assertNotEqual(Handle, Another).

leader() -> {ok, Conn} = brod_client:get_leader_connection(?C, ?T, 0), Conn.

requests() ->
  receive {connection_request, Handle, _, _, _} -> [Handle | requests()] after 0 -> [] end.

killed_connection_leaves_nothing() ->
  started(),
  {ok, Conn} = brod_client:get_leader_connection(?C, ?T, 0),
  ?assertMatch([_], ets:lookup(?BROD_HANDLES, Conn)),
  exit(Conn, kill),
  wait_for(fun() -> ets:lookup(?BROD_HANDLES, Conn) end, []).

status_shows_no_secrets() ->
  Client = started([{sasl, {plain, <<"user-7">>, <<"secret-7">>}}]),
  ok = brod:start_producer(?C, ?T, []),
  {ok, Conn} = brod_client:get_leader_connection(?C, ?T, 0),
  {ok, #{producers_sup := Sup}} = brod_client:context(?C),
  Shown = [lists:flatten(io_lib:format("~p", [sys:get_status(Pid)]))
           || Pid <- [Client, Conn, Sup, brod_sup]],
  [?assertEqual(nomatch, re:run(Text, "secret-7|user-7|\\[115,101,99")) || Text <- Shown],
  ?assertMatch({match, _}, re:run(hd(Shown), "producers => 2")).

kafka_apis_come_back() ->
  Before = whereis(brod_kafka_apis),
  exit(Before, kill),
  wait_for(fun() -> is_pid(whereis(brod_kafka_apis)) andalso whereis(brod_kafka_apis) =/= Before end,
           true),
  ?assert(is_process_alive(whereis(brod_sup))).

coordinators() ->
  started(),
  Config = #{client_id => atom_to_binary(?C, utf8)},
  ?assertEqual({ok, {{<<"localhost">>, 9092}, Config}},
               brod_client:get_group_coordinator(?C, <<"g">>)),
  ?assertMatch({error, [{error_code, group_authorization_failed}, {error_msg, _}]},
               brod_client:get_group_coordinator(?C, <<"none">>)).

without_client() ->
  ?assertEqual({error, ?REFUSED}, brod:fetch(?DEAD, ?T, 0, 0)),
  ?assertEqual({error, [{{'127.0.0.1', 1}, {econnrefused, []}}]},
               brod:create_topics([{'127.0.0.1', 1}], [], #{timeout => 10})),
  ?assertThrow({failed_to_connect, ?REFUSED}, brod:get_metadata(?DEAD)),
  ?assertThrow({failed_to_connect, ?REFUSED}, brod:describe_groups(hd(?DEAD), [], [<<"g">>])),
  ?assertThrow({failed_to_connect, ?REFUSED}, brod:list_all_groups(?DEAD, [])),
  ?assertEqual({error, unknown_topic_or_partition}, brod:get_metadata(?UP, [<<"none">>])),
  ?assertMatch({ok, #{topics := [_]}}, brod:get_metadata(?UP)),
  ?assertEqual({ok, [#brod_cg{id = <<"g">>, protocol_type = <<"consumer">>}]},
               brod:list_groups(hd(?UP), [])),
  {ok, Conn} = brod:connect_leader(?UP, ?T, 0, [{nolink, true}]),
  ?assertEqual(ok, brod_connection:stop(Conn)),
  ?assertEqual({error, {bad_option, connect_timeout, x}},
               brod:fetch({?UP, [{connect_timeout, x}]}, ?T, 0, 0)).

arguments_of_calls() ->
  ?assertMatch({ok, #{topics := [#{name := ?T}]}}, brod:get_metadata(?UP, [])),
  ?assertError({missing_key, name, #{num_partitions := 1}},
               brod:create_topics(?UP, [#{num_partitions => 1}], #{})),
  ?assertError({missing_key, value, #{name := <<"c">>}},
               brod:create_topics(?UP, [#{name => <<"t">>, configs => [#{name => <<"c">>}]}], #{})),
  ok = brod:create_topics(?UP, [#{name => <<"t">>, configs => #{'retention.ms' => 5}}], #{timeout => 7}),
  ?assertEqual({create_topics, [#{name => <<"t">>, num_partitions => -1, replication_factor => -1,
                                  assignments => [],
                                  configs => [#{name => <<"retention.ms">>, value => <<"5">>}]}],
                #{timeout => 7, validate_only => false}}, brod_fake_nif:last_op()),
  Limits = fun(Opts) ->
             {ok, _} = brod:fetch(?UP, ?T, 0, 0, Opts),
             {fetch, ?T, 0, 0, #{max_bytes := Max, min_bytes := Min}} = brod_fake_nif:last_op(),
             {Max, Min}
           end,
  ?assertEqual({1048576, 1}, Limits(#{})),
  ?assertEqual({1, 0}, Limits(#{max_bytes => 0, min_bytes => -1})),
  ?assertEqual({1 bsl 31 - 1, 5}, Limits([{max_bytes, 1 bsl 40}, {min_bytes, 5}])).

errors_name_the_argument() ->
  started(),
  Text = fun(Fun) ->
           try Fun() of Result -> error({no_error, Result})
           catch error:Reason:Stack ->
             [{_, _, _, Info} | _] = Stack,
             #{module := Module} = proplists:get_value(error_info, Info),
             #{general := General} = Module:format_error(Reason, Stack),
             %% Elixir takes nothing but a binary.
             {Reason, unicode:characters_to_list(<<_/binary>> = General)}
           end
         end,
  Cases =
    [{{bad_topic, "topic"}, "as a binary", fun() -> brod:get_partitions_count(?C, "topic") end},
     {{bad_topic, "topic"}, "got \"topic\"", fun() -> brod:start_producer(?C, "topic", []) end},
     {{bad_topic, topic}, "got topic", fun() -> brod:start_consumer(?C, topic, []) end},
     {{bad_topic, "t"}, "binary", fun() -> brod:fetch(?UP, "t", 0, 0) end},
     {{bad_partition, -1}, "a partition's number", fun() -> brod:fetch(?UP, ?T, -1, 0) end},
     {{bad_partition, <<"0">>}, "number", fun() -> brod:resolve_offset(?C, ?T, <<"0">>) end},
     {{bad_time, now}, "earliest", fun() -> brod:resolve_offset(?C, ?T, 0, now) end},
     {{bad_client, <<"c">>}, "an atom", fun() -> brod:get_partitions_count(<<"c">>, ?T) end},
     {{bad_client, "c"}, "an atom", fun() -> brod_client:get_metadata("c", all) end},
     {{bad_topic, 1}, "binary", fun() -> brod_client:get_metadata(?C, [?T, 1]) end}],
  [begin
     {Raised, General} = Text(Fun),
     ?assertEqual({Reason, true}, {Raised, string:find(General, Part) =/= nomatch})
   end || {Reason, Part, Fun} <- Cases].

folds() ->
  Count = fun(_, N) -> {ok, N + 1} end,
  Fold = fun(Fun, Limits) -> brod:fold(?UP, ?T, 0, 0, #{}, 0, Fun, Limits) end,
  ?assertEqual({3, 3, reached_message_count_limit}, Fold(Count, #{message_count => 3})),
  ?assertEqual({2, 2, reached_target_offset}, Fold(Count, #{reach_offset => 1})),
  ?assertEqual({5, 5, reached_end_of_partition}, Fold(Count, #{})),
  ?assertEqual({0, 0, stop}, Fold(fun(_, _) -> {error, stop} end, #{})),
  ?assertEqual({0, 0, {error, ?REFUSED}},
               brod:fold(?DEAD, ?T, 0, 0, #{}, 0, Count, #{})),
  ?assertEqual({0, 0, {error, client_down}},
               brod:fold(no_such_client, ?T, 0, 0, #{}, 0, Count, #{})),
  ?assertError(bad_message_count, Fold(Count, #{message_count => 0})).

producers_not_started() ->
  started(),
  NotFound = {error, {producer_not_found, ?T}},
  ?assertEqual(NotFound, brod:get_producer(?C, ?T, 0)),
  ?assertEqual(NotFound, brod:produce_sync(?C, ?T, 0, <<>>, <<"v">>)),
  ?assertEqual(NotFound, brod:produce_sync(?C, ?T, random, <<>>, <<"v">>)).

%% The client is told of it, and is not there yet when it is asked for.
producers_and_consumers_on_their_own() ->
  started(),
  %% A process that starts on a client waits until that is connected.
  {ok, _} = brod_client:context(?C),
  ok = sys:suspend(?C),
  {ok, Producer} = brod_producer:start_link(whereis(?C), ?T, 0, []),
  {ok, Consumer} = brod_consumer:start_link(whereis(?C), ?T, 0, []),
  Self = self(),
  Ask = fun(Kind, Get) -> spawn_link(fun() -> Self ! {Kind, Get(?C, ?T, 0)} end) end,
  _ = Ask(producer, fun brod:get_producer/3),
  _ = Ask(consumer, fun brod:get_consumer/3),
  receive {Kind, Early} -> error({before_the_client, Kind, Early}) after 100 -> ok end,
  ok = sys:resume(?C),
  [receive {Of, Got} -> ?assertEqual({ok, Pid}, Got) after ?LIMIT_MS -> error({no_answer, Of}) end
   || {Of, Pid} <- [{producer, Producer}, {consumer, Consumer}]],
  ?assertEqual(ok, brod:produce_sync(?C, ?T, 0, <<>>, <<"v">>)).

produce() ->
  Pid = with_producer(),
  ?assertEqual(ok, brod:start_producer(?C, ?T, [])),
  Self = self(),
  {ok, Ref} = brod:produce(?C, ?T, 0, <<>>, <<"v">>),
  ?assertMatch(#brod_call_ref{caller = Self, callee = Pid}, Ref),
  receive Reply ->
    ?assertEqual(#brod_produce_reply{call_ref = Ref, base_offset = 7, result = ?acked}, Reply)
  end,
  ?assertEqual(ok, brod:produce_sync(?C, ?T, hash, <<"k">>, <<"v">>)),
  ?assertEqual(ok, brod:produce_sync(?C, ?T, 1, <<>>, <<"dirty">>)),
  ?assertEqual({ok, 7}, brod:produce_sync_offset(?C, ?T, sticky, <<>>, <<"v">>)),
  ?assertEqual(ok, brod:produce_sync(Pid, <<"v">>)),
  ?assertEqual(ok, brod:produce_sync(whereis(?C), ?T, 0, <<>>, <<"v">>)),
  ?assertEqual(ok, brod:produce_no_ack(?C, ?T, 0, <<>>, <<"v">>)),
  ?assertEqual(ok, brod:produce_no_ack(?C, ?T, hash, <<>>, <<"v">>)),
  {ok, Held} = brod:produce(?C, ?T, 0, <<>>, <<"hold">>),
  ?assertEqual({error, timeout}, brod:sync_produce_request(Held, 10)),
  ?assertError(badarg, brod:produce(?C, ?T, 0, <<>>, atom)),
  lists:foreach(fun(Bad) ->
                  ?assertError({badmatch, Bad},
                               brod:produce(?C, ?T, fun(_, _, _, _) -> Bad end, <<>>, <<>>))
                end, [bad, {ok, random}, {ok, fun(_, _, _, _) -> {ok, 0} end}, {ok, 0.0}]),
  ?assertError(mine, brod:produce(?C, ?T, fun(_, _, _, _) -> error(mine) end, <<>>, <<>>)),
  ?assertEqual({error, {producer_not_found, ?T, 99}}, brod:produce_sync(?C, ?T, 99, <<>>, <<>>)),
  ?assertEqual(ok, brod_client:stop_producer(?C, ?T)),
  [?assertEqual({error, {producer_not_found, ?T}}, Call(?C, ?T, Partition, <<>>, <<>>))
   || Call <- [fun brod:produce_sync/5, fun brod:produce_no_ack/5], Partition <- [0, hash]],
  %% as in brod: who has a partitioner is not told that the partitions are unknown, but the log is
  logger:set_primary_config(level, notice),
  Log = brod_log:start(),
  [?assertEqual(ok, brod:produce_no_ack(brod_no_client, ?T, hash, <<>>, <<"v">>)) || _ <- [1, 2]],
  ?assertEqual(1, length(brod_log:all(Log, "produce_no_ack"))),
  ok = brod_log:stop(Log),
  logger:set_primary_config(level, none),
  ?assertEqual({error, client_down}, brod:produce_no_ack(brod_no_client, ?T, 0, <<>>, <<"v">>)).

produce_refused() ->
  with_producer(),
  ?assertEqual({error, {producer_down, refused}}, brod:produce_sync(?C, ?T, 0, <<>>, <<"nack">>)).

last_wait() ->
  case ets:lookup(brod_fake_nif_table, last_wait) of
    [{_, WaitId}] -> WaitId;
    [] -> erlang:yield(), last_wait()
  end.

produce_waits_for_room() ->
  Pid = with_producer(),
  Self = self(),
  Caller = spawn_link(fun() -> Self ! {self(), brod:produce(?C, ?T, 0, <<>>, <<"wait">>)} end),
  WaitId = last_wait(),
  receive {Caller, _} -> error(did_not_wait) after 50 -> ok end,
  ok = brod_fake_nif:room(WaitId),
  receive {Caller, Result} -> ?assertMatch({ok, #brod_call_ref{callee = Pid}}, Result)
  after ?LIMIT_MS -> error(no_room)
  end.

produce_room_timeout() ->
  with_producer(),
  application:set_env(brod, produce_room_timeout, 20),
  ?assertEqual({error, timeout}, brod:produce(?C, ?T, 0, <<>>, <<"wait">>)),
  ?assertEqual([], ets:lookup(brod_fake_nif_table, {wait, last_wait()})).

callbacks() ->
  Pid = with_producer(),
  Self = self(),
  Two = fun(P, O) -> Self ! {cb, P, O} end,
  Three = fun(P, O, R) -> Self ! {cb, P, O, R} end,
  ?assertEqual(ok, brod:produce_cb(?C, ?T, 1, <<>>, <<"v">>, Two)),
  receive M1 -> ?assertEqual({cb, 1, 7}, M1) end,
  ?assertMatch({ok, P} when P < 2, brod:produce_cb(?C, ?T, random, <<>>, <<"v">>, Three)),
  receive M2 -> ?assertMatch({cb, _, 7, ok}, M2) end,
  ?assertEqual(ok, brod:produce_cb(Pid, <<>>, <<"nack">>, Three)),
  receive M3 -> ?assertEqual({cb, 0, -1, {error, refused}}, M3) end.

callback_crash() ->
  Pid = with_producer(),
  ok = brod:produce_cb(?C, ?T, 0, <<>>, <<"v">>, fun(_, _) -> error(mine) end),
  ?assertEqual(ok, brod:produce_sync(?C, ?T, 0, <<>>, <<"v">>)),
  ?assert(is_process_alive(Pid)).

producer_crash() ->
  Pid = with_producer(),
  Pid ! {brod_down, {not_retriable, x}},
  ?assert(lists:member(down(Pid), [{not_retriable, x}, noproc])),
  Gone = {error, {producer_down, noproc}},
  ?assertEqual(Gone, brod:produce_sync(?C, ?T, 0, <<>>, <<"v">>)),
  ?assertEqual(Gone, brod:produce_sync(Pid, <<"v">>)),
  ?assertEqual(Gone, brod:get_producer(?C, ?T, 0)),
  ?assertEqual(ok, brod:produce_sync(?C, ?T, 1, <<>>, <<"v">>)).

%% A producer on another node is asked with messages; unknown to the engine this one looks like that.
producer_by_message() ->
  Pid = with_producer(),
  ok = brod_fake_nif:hide(Pid),
  ?assertEqual(ok, brod:produce_sync(Pid, <<"k">>, <<"v">>)),
  {ok, Ref} = brod:produce(Pid, <<"v">>),
  ?assertEqual({ok, 7}, brod:sync_produce_request_offset(Ref)),
  Self = self(),
  ?assertEqual(ok, brod:produce_cb(Pid, <<>>, <<"v">>, fun(P, O) -> Self ! {cb, P, O} end)),
  receive M -> ?assertEqual({cb, 0, 7}, M) end.

auto_start() ->
  started([{auto_start_producers, true}]),
  ?assertEqual(ok, brod:produce_sync(?C, ?T, hash, <<"k">>, <<"v">>)),
  ?assertEqual({error, unknown_topic_or_partition},
               brod:produce_sync(?C, <<"none">>, 0, <<>>, <<"v">>)),
  ?assertEqual(ok, brod_client:stop_producer(?C, ?T)).

new_partitions() ->
  with_producer(),
  ok = brod_fake_nif:set_topic(?T, 3),
  {ok, _} = brod_client:get_metadata(?C, ?T),
  wait_for(fun() -> brod:get_partitions_count(?C, ?T) end, {ok, 3}),
  ?assertEqual(ok, brod:produce_sync(?C, ?T, 2, <<>>, <<"v">>)).

%% Partitioners do not choose a partition before it has its producer.
new_partitions_have_producers() ->
  with_producer(),
  Ref = make_ref(),
  ok = brod_fake_nif:hold_open(2, Ref),
  ok = brod_fake_nif:set_topic(?T, 3),
  _ = spawn_link(fun() -> {ok, _} = brod_client:get_metadata(?C, ?T) end),
  Opens = receive {opens, Pid, Ref} -> Pid after ?LIMIT_MS -> error(not_opened) end,
  ?assertEqual({ok, 2}, brod:get_partitions_count(?C, ?T)),
  Opens ! Ref,
  wait_for(fun() -> brod:get_partitions_count(?C, ?T) end, {ok, 3}),
  ?assertEqual(ok, brod:produce_sync(?C, ?T, fun(_, N, _, _) -> {ok, N - 1} end, <<>>, <<"v">>)).

new_partitions_work_at_once() ->
  with_producer(),
  ok = brod:start_consumer(?C, ?T, []),
  ok = brod_fake_nif:set_topic(?T, 4),
  {ok, _} = brod_client:get_metadata(?C, ?T),
  ?assertEqual({ok, 4}, brod:get_partitions_count(?C, ?T)),
  ?assertMatch({ok, _}, brod:get_producer(?C, ?T, 3)),
  ?assertEqual(ok, brod:produce_sync(?C, ?T, 3, <<>>, <<"v">>)),
  ?assertMatch({ok, _}, brod:get_consumer(?C, ?T, 3)).

%% Somebody else knows of them: a member of a group, or another node.
partitions_that_nobody_has_seen() ->
  with_producer(),
  ok = brod:start_consumer(?C, ?T, []),
  ok = brod_fake_nif:set_topic(?T, 3),
  ?assertEqual(ok, brod:produce_sync(?C, ?T, 2, <<>>, <<"v">>)),
  ?assertMatch({ok, _}, brod:get_consumer(?C, ?T, 2)),
  ?assertEqual({ok, 3}, brod:get_partitions_count(?C, ?T)),
  %% what is not there is not asked for again and again
  Asked = brod_fake_nif:metadata_requests(),
  Begin = erlang:monotonic_time(second),
  [?assertEqual({error, {producer_not_found, ?T, 9}}, brod:get_producer(?C, ?T, 9))
   || _ <- lists:seq(1, 100)],
  %% once a second, on a machine where it takes some
  Seconds = erlang:monotonic_time(second) - Begin,
  ?assert(brod_fake_nif:metadata_requests() =< Asked + 2 + Seconds).

%% Whoever starts it finds the new producers, also where the client is late to make them known.
topic_that_waits_for_its_restart() ->
  with_producer(),
  {ok, #{producers_sup := Sup}} = brod_client:context(?C),
  [TopicSup] = brod_supervisor3:find_child(Sup, ?T),
  exit(TopicSup, kill),
  wait_for(fun() -> brod_supervisor3:find_child(Sup, ?T) end, []),
  Ref = make_ref(),
  ok = brod_fake_nif:hold_publish(0, Ref),
  Self = self(),
  Asks = spawn_link(fun() ->
                      Started = brod:start_producer(?C, ?T, []),
                      Self ! {self(), Started, brod:produce_sync(?C, ?T, 0, <<>>, <<"v">>)}
                    end),
  Publishes = receive {publishes, Pid, Ref} -> Pid after ?LIMIT_MS -> error(not_published) end,
  receive {Asks, _, _} = Early -> error({before_the_client, Early}) after 100 -> ok end,
  Publishes ! Ref,
  receive {Asks, Started, Produced} -> ?assertEqual({ok, ok}, {Started, Produced}) after ?LIMIT_MS -> error(no_answer) end.

lag_starts_nothing() ->
  started(),
  ok = brod:start_consumer(?C, ?T, []),
  {ok, Pid} = brod:get_consumer(?C, ?T, 0),
  MRef = monitor(process, Pid),
  ok = brod_consumer:stop(Pid),
  _ = reason(MRef),
  %% The client hears by a cast that the consumer is gone.
  wait_for(fun() -> ets:lookup(?C, {consumer, ?T, 0}) end, []),
  ?assertMatch({ok, Lag} when not is_map_key(0, Lag), brod:lag(?C, ?T)),
  _ = sys:get_state(?C),
  ?assertEqual([], ets:lookup(?C, {consumer, ?T, 0})).

%% The brokers did not know the topic for a while, and then it has more partitions.
recreated_topic() ->
  with_producer(),
  ok = brod_fake_nif:set_topic(?T, none),
  {ok, _} = brod_client:get_metadata(?C, ?T),
  ok = brod_fake_nif:set_topic(?T, 3),
  {ok, _} = brod_client:get_metadata(?C, ?T),
  wait_for(fun() -> brod:produce_sync(?C, ?T, 2, <<>>, <<"v">>) end, ok).

unknown_topic_with_producers() ->
  with_producer(),
  ok = brod_fake_nif:set_topic(?T, none),
  {ok, _} = brod_client:get_metadata(?C, ?T),
  ?assertEqual(ok, brod:produce_sync(?C, ?T, random, <<>>, <<"v">>)),
  ok = brod_client:stop_producer(?C, ?T),
  {ok, _} = brod_client:get_metadata(?C, ?T),
  ?assertEqual({error, unknown_topic_or_partition}, brod:get_partitions_count(?C, ?T)).

restart_delay_unset() ->
  started(),
  ok = brod:start_producer(?C, ?T, [{partition_restart_delay_seconds, undefined},
                                    {topic_restart_delay_seconds, undefined}]),
  {ok, #{producers_sup := Sup}} = brod_client:context(?C),
  {ok, TopicSpec} = brod_supervisor3:get_childspec(Sup, ?T),
  [TopicSup] = brod_supervisor3:find_child(Sup, ?T),
  {ok, Spec} = brod_supervisor3:get_childspec(TopicSup, 0),
  ?assertEqual([{permanent, 10}, {permanent, 5}], [element(3, TopicSpec), element(3, Spec)]).

%% As under a supervisor of somebody else. With the client's pid nothing follows it: the next call ends the producer.
client_dies_before_producer() ->
  Client = started(),
  {ok, Producer} = brod_producer:start_link(Client, ?T, 0, []),
  Self = self(),
  Waiter = spawn_link(fun() ->
                        {ok, Ref} = brod:produce(Producer, <<>>, <<"hold">>),
                        Self ! {self(), brod:sync_produce_request(Ref, ?LIMIT_MS)}
                      end),
  wait_for(fun() -> lists:member(Waiter, element(2, process_info(Producer, monitored_by))) end, true),
  exit(Client, kill),
  %% as the engine says when its client is gone
  Producer ! {brod_down, client_down},
  _ = sys:get_status(Producer),
  %% Whoever waits is told why; later nobody knows.
  ?assertEqual({error, {producer_down, client_down}}, brod:produce_sync(Producer, <<"v">>)),
  receive {Waiter, Result} -> ?assertEqual({error, {producer_down, client_down}}, Result)
  after ?LIMIT_MS -> error(not_told)
  end,
  ?assertEqual({error, {producer_down, noproc}}, brod:produce_sync(Producer, <<"v">>)).

%% What a dispatcher still has for a producer that is stopped is passed on first.
forwarded_acks() ->
  Pid = with_producer(),
  Self = self(),
  [Dispatcher | _] = brod_fake_nif:dispatchers(),
  true = erlang:suspend_process(Dispatcher),
  ok = brod_fake_nif:forward(Dispatcher, Pid,
                             {brod_acks, 7, [fun(P, O) -> Self ! {cb, P, O} end, undefined, 0]}),
  Stopper = spawn_link(fun() -> ok = brod_client:stop_producer(?C, ?T), Self ! {self(), stopped} end),
  wait_for(fun() -> brod_fake_nif:is_closed(Pid) end, true),
  true = erlang:resume_process(Dispatcher),
  receive {Stopper, stopped} -> ok after ?LIMIT_MS -> error(not_stopped) end,
  receive {cb, 0, 7} -> ok after ?LIMIT_MS -> error(no_callback) end.

dispatchers_end_with_client() ->
  {ok, Client} = brod:start_link_client(?UP, ?C),
  {ok, _} = brod_client:get_metadata(?C, all),
  [_ | _] = Dispatchers = brod_fake_nif:dispatchers(),
  MRefs = [monitor(process, Pid) || Pid <- Dispatchers],
  Self = self(),
  Producer = spawn_link(fun() -> receive M -> Self ! {forwarded, M} end end),
  ok = brod:stop_client(Client),
  %% for somebody who learns only now that the client is gone
  hd(Dispatchers) ! {brod_forward, 1, Producer, late},
  receive {forwarded, late} -> ok after ?LIMIT_MS -> error(not_forwarded) end,
  ?assertEqual([normal], lists:usort([reason(MRef) || MRef <- MRefs])).

dispatcher_killed() ->
  Client = started(),
  {ok, _} = brod_client:get_metadata(?C, all),
  MRef = monitor(process, Client),
  exit(hd(brod_fake_nif:dispatchers()), kill),
  ?assertEqual({dispatcher_down, killed}, reason(MRef)).

provider_of_passwords_killed() ->
  Client = started([{sasl, {plain, "user", "password"}}]),
  {ok, #{sasl_provider := Provider}} = brod_client:context(Client),
  MRef = monitor(process, Client),
  exit(Provider, kill),
  ?assertEqual({sasl_provider_down, killed}, reason(MRef)).

wait_for(Fun, Expected) ->
  wait_for(Fun, Expected, erlang:monotonic_time(millisecond) + ?LIMIT_MS).

wait_for(Fun, Expected, Deadline) ->
  case Fun() of
    Expected -> ok;
    Other ->
      erlang:monotonic_time(millisecond) < Deadline orelse error({still, Other}),
      erlang:yield(),
      wait_for(Fun, Expected, Deadline)
  end.

stop_order() ->
  Producer = with_producer(),
  Client = whereis(?C),
  MRefs = [monitor(process, P) || P <- [Client, Producer]],
  ok = brod:stop_client(?C),
  ?assertEqual([shutdown, shutdown], [reason(MRef) || MRef <- MRefs]),
  ?assertEqual(undefined, ets:info(?C)).
