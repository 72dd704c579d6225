%% What calls return and raise, word for word, as users and libraries match it: the application,
%% topics, clients. Messages and groups have suites of their own (brod_message_contract_SUITE,
%% brod_group_contract_SUITE).
-module(brod_contract_SUITE).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2,
         end_per_testcase/2]).
-export([application/1, create_and_delete/1, metadata/1, client_start/1, client_linked/1,
         client_information/1, partitions_count/1, client_connections/1, dead_client/1,
         dead_linked_client/1, call_during_connecting/1, stop_client/1, utilities/1]).

-include_lib("eunit/include/eunit.hrl").

-define(LIMIT_MS, 20000).
-define(DEAD, [{{"127.0.0.1", 1}, {econnrefused, Stack}}]).
-define(BAD_NAME, <<"bad name!">>).

suite() -> [{timetrap, {seconds, 90}}].

all() ->
  [application, create_and_delete, metadata, client_start, client_linked, client_information,
   partitions_count, client_connections, dead_client, dead_linked_client, call_during_connecting,
   stop_client, utilities].

init_per_suite(Config) -> brod_test:init_suite(Config).

end_per_suite(_Config) -> ok.

%% Cases that are about the start of clients start their own.
init_per_testcase(Case, Config) ->
  case lists:member(Case, [client_information, partitions_count, client_connections,
                           stop_client]) of
    true -> [{client, brod_test:start_client()} | Config];
    false -> Config
  end.

end_per_testcase(_Case, Config) ->
  case client(Config) of
    undefined -> ok;
    Client -> brod_test:stop_client(Client)
  end.

%%% Application

application(_Config) ->
  ok = brod:stop(),
  ?assertEqual(undefined, whereis(brod_sup)),
  ok = brod:start(),
  ok = brod:start(),
  ?assert(lists:all(fun is_pid/1, [whereis(brod_sup), whereis(brod_kafka_apis)])),
  ?assertEqual([], supervisor:which_children(brod_sup)).

%%% Topics

create_and_delete(_Config) ->
  Topic = brod_test:unique("create"),
  Spec = brod_test:topic_spec(Topic, 1),
  Create = fun(S) -> brod:create_topics(brod_test:bootstrap(), [S], #{timeout => 10000}) end,
  Delete = fun(T) -> brod:delete_topics(brod_test:bootstrap(), [T], 10000) end,
  ?assertEqual(ok, Create(Spec)),
  ?assertEqual({error, <<"Topic '", Topic/binary, "' already exists.">>}, Create(Spec)),
  Count = integer_to_binary(length(brod_test:bootstrap())),
  %% Kafka 4.4 goes on with another reason that there may be.
  Why = <<"Unable to replicate the partition 9 time(s): The target replication factor of 9 cannot be reached because only ",
          Count/binary, " broker(s) are registered">>,
  {error, Text} = Create((other(Spec))#{replication_factor => 9}),
  ?assertEqual(Why, binary:part(Text, 0, byte_size(Why))),
  ?assertEqual({error, <<"Topic name is invalid: 'bad name!' contains one or more characters other "
                         "than ASCII alphanumerics, '.', '_' and '-'">>},
               Create(Spec#{name => ?BAD_NAME})),
  ?assertEqual({error, <<"Unknown topic config name: no.such">>},
               Create((other(Spec))#{configs => [#{name => "no.such", value => "1"}]})),
  ?assertEqual({error, unknown_topic_or_partition}, Delete(brod_test:unique("none"))),
  ?assertEqual(ok, Delete(Topic)),
  Pairs = brod_test:unique("pairs"),
  ?assertEqual(ok, Create([{name, Pairs}, {num_partitions, -1}, {replication_factor, -1},
                           {assignments, [[{partition_index, 0}, {broker_ids, [1]}]]},
                           {configs, [[{name, "cleanup.policy"}, {value, <<"compact">>}]]}])),
  ?assertEqual(ok, Delete(Pairs)),
  ?assertMatch({error, ?DEAD} when is_list(Stack),
               brod:create_topics(brod_test:dead_endpoints(), [Spec], #{timeout => 1000})),
  ?assertMatch({error, ?DEAD} when is_list(Stack),
               brod:delete_topics(brod_test:dead_endpoints(), [Topic], 1000)).

other(Spec) -> Spec#{name => brod_test:unique("other")}.

metadata(_Config) ->
  Topic = brod_test:create_topic(1),
  {ok, Found} = brod:get_metadata(brod_test:bootstrap(), [Topic]),
  ?assertEqual([brokers, cluster_id, controller_id, topics], lists:sort(maps:keys(Found))),
  #{brokers := Brokers, cluster_id := Cluster, controller_id := Controller,
    topics := [Shape]} = Found,
  ?assert(is_binary(Cluster) andalso is_integer(Controller)),
  ?assertEqual(length(brod_test:bootstrap()), length(Brokers)),
  lists:foreach(fun(#{host := H, node_id := N, port := P, rack := R} = Broker) ->
                  ?assert(is_binary(H) andalso is_integer(N) andalso is_integer(P)),
                  ?assert(is_binary(R)),
                  ?assertEqual(4, map_size(Broker))
                end, Brokers),
  ?assertMatch(#{error_code := no_error, is_internal := false, name := Topic,
                 partitions := [#{error_code := no_error, isr_nodes := [Id], leader_id := Id,
                                  partition_index := 0, replica_nodes := [Id]}]}
                 when map_size(Shape) =:= 4, Shape),
  ?assertEqual({error, invalid_topic_exception},
               brod:get_metadata(brod_test:bootstrap(), [?BAD_NAME])),
  {ok, All} = brod:get_metadata(brod_test:bootstrap()),
  ?assertEqual([brokers, cluster_id, controller_id, topics], lists:sort(maps:keys(All))),
  ?assertMatch({throw, {failed_to_connect, ?DEAD}} when is_list(Stack),
               brod_test:outcome(fun() -> brod:get_metadata(brod_test:dead_endpoints()) end)),
  ?assertMatch({throw, {failed_to_connect, [{{"no.such.host.invalid", 9092}, {nxdomain, Stack}}]}}
                 when is_list(Stack),
               brod_test:outcome(fun() -> brod:get_metadata([{"no.such.host.invalid", 9092}]) end)).

%%% Clients

client_start(_Config) ->
  Topic = brod_test:create_topic(3),
  [{Host, Port} | _] = Endpoints = brod_test:bootstrap(),
  Client = brod_test:unique_name("start"),
  ?assertEqual(ok, brod:start_client(Endpoints, Client)),
  ?assertEqual(ok, brod:start_client(Endpoints, Client, [])),
  Pid = whereis(Client),
  ?assertEqual([Pid], brod_sup:find_client(Client)),
  ?assertEqual({true, set, protected}, {ets:info(Client, named_table), ets:info(Client, type),
                                        ets:info(Client, protection)}),
  ?assertMatch([{Client, Pid, worker, _}], supervisor:which_children(brod_sup)),
  ok = brod:stop_client(Client),
  ?assertEqual({exit, "No endpoints found in brod client '" ++ atom_to_list(Client) ++ "' config"},
               brod_test:outcome(fun() -> brod:start_client([], Client) end)),
  {ok, Address} = inet:getaddr(Host, inet),
  lists:foreach(fun(SameHost) ->
                  ?assertEqual(ok, brod:start_client([{SameHost, Port}], Client)),
                  ?assertEqual({ok, 3}, brod:get_partitions_count(Client, Topic)),
                  ?assertMatch({ok, {[{SameHost, Port}], _}}, brod_client:get_bootstrap(Client)),
                  ?assertMatch({ok, _}, brod_client:get_connection(Client, SameHost, Port)),
                  ?assertEqual(ok, brod:stop_client(Client))
                end, [list_to_binary(Host), list_to_atom(Host), Address]),
  [?assertMatch({throw, {failed_to_connect, [{{Local, 1}, {econnrefused, _}}]}},
                brod_test:outcome(fun() -> brod:get_metadata([{Local, 1}]) end))
   || Local <- [{127, 0, 0, 1}, <<"127.0.0.1">>, '127.0.0.1']],
  ?assertEqual(ok, brod:stop_client(brod_test:unique_name("never"))).

client_linked(_Config) ->
  process_flag(trap_exit, true),
  Client = brod_test:unique_name("linked"),
  Endpoints = brod_test:bootstrap(),
  {ok, Pid} = brod:start_link_client(Endpoints, Client),
  {links, Links} = process_info(self(), links),
  ?assert(lists:member(Pid, Links)),
  ?assertEqual({error, {already_started, Pid}}, brod:start_link_client(Endpoints, Client)),
  ?assertEqual(Pid, whereis(Client)),
  ?assertEqual({error, {{already_started, Pid},
                        {child, undefined, Client,
                         {brod_client, start_link, [Endpoints, Client, []]},
                         {permanent, 10}, 5000, worker, [brod_client]}}},
               brod:start_client(Endpoints, Client, [])),
  Monitor = monitor(process, Pid),
  ?assertEqual(ok, brod_client:stop(Pid)),
  ?assertEqual(normal, receive {'DOWN', Monitor, process, Pid, Reason} -> Reason end),
  ?assertEqual(normal, receive {'EXIT', Pid, Why} -> Why end),
  ?assertEqual(undefined, whereis(Client)).

client_information(Config) ->
  Client = client(Config),
  {ok, Metadata} = brod_client:get_metadata(Client, all),
  ?assertEqual([brokers, cluster_id, controller_id, topics], lists:sort(maps:keys(Metadata))),
  Id = atom_to_binary(Client, utf8),
  ?assertEqual({ok, {brod_test:bootstrap(), #{client_id => Id}}},
               brod_client:get_bootstrap(Client)),
  ?assertEqual({error, {unknown_call, foo}}, gen_server:call(Client, foo)).

partitions_count(Config) ->
  Client = client(Config),
  Topic = brod_test:create_topic(3),
  ?assertEqual({ok, 3}, brod:get_partitions_count(Client, Topic)),
  ?assertEqual({ok, 3}, brod:get_partitions_count_safe(Client, Topic)),
  ?assertEqual({ok, 3}, brod_client:get_partitions_count(whereis(Client), Topic)),
  ?assertEqual({ok, 3}, brod_client:get_partitions_count_safe(Client, Topic)),
  Unknown = brod_test:unique("unknown"),
  ?assertEqual({error, unknown_topic_or_partition},
               brod:get_partitions_count_safe(Client, Unknown)),
  ?assertEqual({error, unknown_topic_or_partition}, brod:get_partitions_count(Client, Unknown)),
  ?assertEqual({error, invalid_topic_exception}, brod:get_partitions_count(Client, ?BAD_NAME)),
  ?assertEqual({error, client_down}, brod:get_partitions_count(brod_test:unique_name("no"), Topic)).

client_connections(Config) ->
  Client = client(Config),
  Topic = brod_test:create_topic(1),
  ?assertMatch({ok, Pid} when is_pid(Pid), brod_client:get_leader_connection(Client, Topic, 0)),
  ?assertEqual({error, unknown_topic_or_partition},
               brod_client:get_leader_connection(Client, Topic, 99)),
  ?assertEqual({error, invalid_topic_exception},
               brod_client:get_leader_connection(Client, ?BAD_NAME, 0)),
  [{Host, Port} | _] = brod_test:bootstrap(),
  ?assertMatch({ok, Pid} when is_pid(Pid), brod_client:get_connection(Client, Host, Port)),
  ?assertMatch({error, {econnrefused, Stack}} when is_list(Stack),
               brod_client:get_connection(Client, "127.0.0.1", 1)),
  Id = atom_to_binary(Client, utf8),
  {ok, {Group, GroupConfig}} =
    coordinator(fun() -> brod_client:get_group_coordinator(Client, <<"some-group">>) end),
  {ok, {Txn, TxnConfig}} =
    coordinator(fun() -> brod_client:get_transactional_coordinator(Client, <<"some-txn">>) end),
  ?assertEqual([#{client_id => Id}], lists:usort([GroupConfig, TxnConfig])),
  Known = [{list_to_binary(H), P} || {H, P} <- brod_test:bootstrap()],
  ?assertEqual([], lists:usort([Group, Txn]) -- Known),
  ?assertEqual({error, client_down},
               brod_client:get_group_coordinator(brod_test:unique_name("no"), <<"g">>)).

%% On a new cluster the first question makes Kafka create the topic behind it.
coordinator(Ask) ->
  brod_test:wait_until(fun() ->
    case Ask() of
      {ok, Found} -> {ok, Found};
      {error, [{error_code, coordinator_not_available}, _]} -> false
    end
  end, ?LIMIT_MS).

%%% Clients that go down

dead_client(_Config) ->
  Client = brod_test:unique_name("dead"),
  Topic = <<"t">>,
  ?assertEqual(ok, brod:start_client(brod_test:dead_endpoints(), Client, [])),
  brod_test:wait_until(fun() -> whereis(Client) =:= undefined end, ?LIMIT_MS),
  ?assertEqual({error, client_down}, brod:get_partitions_count(Client, Topic)),
  ?assertEqual({error, client_down}, brod_client:get_metadata(Client, all)),
  ?assertEqual({error, client_down}, brod:start_producer(Client, Topic, [])),
  ?assertEqual({error, client_down}, brod_client:get_group_coordinator(Client, <<"g">>)),
  ?assertEqual(ok, brod:stop_client(Client)).

dead_linked_client(_Config) ->
  process_flag(trap_exit, true),
  {ok, Pid} = brod:start_link_client(brod_test:dead_endpoints(), brod_test:unique_name("dead")),
  ?assertMatch({'EXIT', Pid, ?DEAD} when is_list(Stack),
               receive Exit -> Exit after ?LIMIT_MS -> timeout end).

%% Calls wait while a client connects, and learn why it could not. The listener accepts, says
%% nothing, and closes once the call is there.
call_during_connecting(_Config) ->
  process_flag(trap_exit, true),
  {ok, Listener} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}, {active, false}]),
  {ok, Port} = inet:port(Listener),
  Client = brod_test:unique_name("connecting"),
  {ok, Pid} = brod:start_link_client([{"127.0.0.1", Port}], Client),
  Self = self(),
  Caller = spawn_link(fun() -> Self ! {called, brod:get_partitions_count(Client, <<"t">>)} end),
  {ok, Socket} = gen_tcp:accept(Listener, ?LIMIT_MS),
  Waits = fun() -> {monitored_by, Pids} = process_info(Pid, monitored_by), lists:member(Caller, Pids) end,
  true = brod_test:wait_until(Waits, ?LIMIT_MS),
  ok = gen_tcp:close(Listener),
  ok = gen_tcp:close(Socket),
  ?assertMatch({error, {client_down, [{{"127.0.0.1", Port}, {_, Stack}}]}} when is_list(Stack),
               receive {called, Result} -> Result after ?LIMIT_MS -> timeout end),
  ?assertMatch([{{"127.0.0.1", Port}, {_, _}}],
               receive {'EXIT', Pid, Reason} -> Reason after ?LIMIT_MS -> timeout end).

stop_client(Config) ->
  Client = client(Config),
  Topic = brod_test:create_topic(1),
  ok = brod:start_producer(Client, Topic, []),
  ok = brod:start_consumer(Client, Topic, []),
  {ok, Consumer} = brod:subscribe(Client, self(), Topic, 0, []),
  {ok, Producer} = brod:get_producer(Client, Topic, 0),
  Monitors = [{Name, monitor(process, Target)}
              || {Name, Target} <- [{client, Client}, {consumer, Consumer}, {producer, Producer}]],
  ?assertEqual(ok, brod:stop_client(Client)),
  lists:foreach(fun({Name, Monitor}) ->
                  receive {'DOWN', Monitor, process, _, Reason} ->
                    ?assertEqual({Name, shutdown}, {Name, Reason})
                  after ?LIMIT_MS -> error({still_up, Name})
                  end
                end, Monitors),
  ?assertEqual(undefined, whereis(Client)).

%%% Small functions that others call

utilities(Config) ->
  ?assertEqual([ok, ok], [brod_utils:assert_client(c), brod_utils:assert_client(self())]),
  ?assertError({bad_client, <<"x">>}, brod_utils:assert_client(<<"x">>)),
  ?assertEqual(ok, brod_utils:assert_topic(<<"t">>)),
  ?assertError({bad_topic, "x"}, brod_utils:assert_topic("x")),
  Times = [os:system_time(millisecond), brod_utils:epoch_ms(), os:system_time(millisecond)],
  ?assertEqual(lists:sort(Times), Times),
  ?assertEqual({ok, 1}, (brod_utils:make_part_fun(fun(_, _, _, _) -> {ok, 1} end))(t, 3, k, v)),
  ?assertEqual({ok, erlang:phash2(<<"k">>) rem 3},
               (brod_utils:make_part_fun(hash))(<<"t">>, 3, <<"k">>, <<"v">>)),
  File = filename:join(proplists:get_value(priv_dir, Config), "secret"),
  ok = file:write_file(File, "u\np\n"),
  ?assertEqual([], brod_utils:init_sasl_opt([])),
  [{sasl, {plain, "u", Secret}}] = brod_utils:init_sasl_opt([{sasl, {plain, "u", "p"}}]),
  [{sasl, {scram_sha_256, <<"u">>, FromFile}}] =
    brod_utils:init_sasl_opt([{sasl, {scram_sha_256, File}}]),
  ?assertEqual({"p", <<"p">>}, {Secret(), FromFile()}),
  ?assertEqual([{sasl, {callback, m, o}}], brod_utils:init_sasl_opt([{sasl, {callback, m, o}}])),
  ?assertEqual([#{key => <<>>, value => <<"v">>, headers => []}],
               brod_utils:make_batch_input(<<"dk">>, [#{value => <<"v">>}])).

%%% Helpers

client(Config) -> proplists:get_value(client, Config).
