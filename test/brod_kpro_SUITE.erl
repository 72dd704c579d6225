%% The companion application against a real Kafka: connections that its functions make and those that brod gives out,
%% by functions of `kpro' alone, as libraries of brod's users call them.
-module(brod_kpro_SUITE).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([connections/1, dead_brokers/1, finding_brokers/1, produce_fetch_and_offsets/1, pids_of_brod/1, topics/1,
         groups/1, committed_offsets/1, transactions/1, secured/1, over_a_socket/1, sasl_over_a_socket/1, a_plugin/1]).
-export([auth/7]).

-include_lib("eunit/include/eunit.hrl").
-include("../kafka_protocol/include/kpro.hrl").

-define(LIMIT_MS, 20000).

suite() -> [{timetrap, {seconds, 90}}].

all() ->
  [connections, dead_brokers, finding_brokers, produce_fetch_and_offsets, pids_of_brod, topics, groups, committed_offsets,
   transactions, secured, over_a_socket, sasl_over_a_socket, a_plugin].

init_per_suite(Config) -> brod_test:init_suite(Config).

end_per_suite(_Config) -> ok.

sync(Conn, Req) ->
  {ok, #kpro_rsp{msg = Message}} = kpro:request_sync(Conn, Req, ?LIMIT_MS),
  Message.

leader(Topic) ->
  {ok, Conn} = kpro:connect_partition_leader(brod_test:bootstrap(), [], Topic, 0),
  Conn.

connections(_Config) ->
  {ok, Conn} = kpro:connect_any(brod_test:bootstrap(), #{client_id => <<"me">>}),
  {links, Links} = process_info(self(), links),
  ?assert(lists:member(Conn, Links)),
  {ok, #{list_groups := Range} = Versions} = kpro:get_api_versions(Conn),
  ?assertEqual({ok, Range}, kpro:get_api_vsn_range(Conn, list_groups)),
  ?assertEqual({error, not_supported}, kpro:get_api_vsn_range(Conn, no_such_api)),
  ?assertEqual([], maps:keys(Versions) -- kpro_schema:all_apis()),
  Req = kpro:make_request(list_groups, element(2, Range), []),
  ?assertMatch({ok, #kpro_rsp{api = list_groups, ref = Ref, vsn = 3}} when Ref =:= Req#kpro_req.ref, kpro:request_sync(Conn, Req, ?LIMIT_MS)),
  ok = kpro:request_async(Conn, Req),
  ok = kpro:send(Conn, Req),
  [receive {msg, Conn, #kpro_rsp{msg = #{error_code := no_error}}} -> ok after ?LIMIT_MS -> error(no_answer) end || _ <- [1, 2]],
  ?assert(lists:member(element(2, kpro_connection:get_endpoint(Conn)), brod_test:bootstrap())),
  ?assertEqual({error, not_supported}, kpro_connection:get_tcp_sock(Conn)),
  ok = kpro_connection:debug(Conn, none),
  Monitor = monitor(process, Conn),
  ?assertEqual(ok, kpro:close_connection(Conn)),
  %% it answers before it ends
  receive {'DOWN', Monitor, process, Conn, normal} -> ok after ?LIMIT_MS -> error(still_open) end,
  ?assertEqual({error, {connection_down, noproc}}, kpro:request_sync(Conn, Req, ?LIMIT_MS)),
  {ok, Free} = kpro:connect(hd(brod_test:bootstrap()), #{nolink => true}),
  ?assertNot(lists:member(Free, element(2, process_info(self(), links)))),
  ok = kpro:close_connection(Free).

dead_brokers(_Config) ->
  [Dead] = brod_test:dead_endpoints(),
  ?assertMatch({error, {econnrefused, Stack}} when is_list(Stack), kpro:connect(Dead, #{})),
  ?assertMatch({error, [{Dead, {econnrefused, _}}]}, kpro:connect_any([Dead], [])),
  ?assertThrow({failed_to_connect, [{Dead, {econnrefused, _}}]}, kpro_brokers:with_connection([Dead], #{}, fun(_) -> error(called) end)),
  ?assertMatch({error, [{Dead, _}]}, kpro:connect_controller([Dead], #{})).

finding_brokers(_Config) ->
  Topic = brod_test:create_topic(1),
  {ok, Any} = kpro:connect_any(brod_test:bootstrap(), []),
  {ok, {Host, Port} = Leader} = kpro:discover_partition_leader(Any, Topic, 0, ?LIMIT_MS),
  Conn = leader(Topic),
  ?assertEqual({ok, {binary_to_list(Host), Port}}, kpro_connection:get_endpoint(Conn)),
  {ok, FromConn} = kpro:connect_partition_leader(Any, [], Topic, 0, #{timeout => ?LIMIT_MS}),
  ?assertEqual(kpro_connection:get_endpoint(Conn), kpro_connection:get_endpoint(FromConn)),
  ?assertEqual({error, unknown_topic_or_partition}, kpro:discover_partition_leader(Any, Topic, 9, ?LIMIT_MS)),
  ?assertEqual({error, unknown_topic_or_partition}, kpro:connect_partition_leader(Any, [], brod_test:unique("no"), 0)),
  {ok, Controller} = kpro:connect_controller(brod_test:bootstrap(), #{}),
  {ok, Coordinator} = brod_test:wait_until(fun() ->
    case kpro:connect_coordinator(brod_test:bootstrap(), [], #{type => group, id => <<"g">>}) of
      {ok, Found} -> {ok, Found};
      {error, [{error_code, coordinator_not_available}, {error_msg, _}]} -> false
    end
  end, ?LIMIT_MS),
  ?assertMatch({_, _}, Leader),
  [ok = kpro:close_connection(C) || C <- [Any, Conn, FromConn, Controller, Coordinator]].

produce_fetch_and_offsets(_Config) ->
  Topic = brod_test:create_topic(1),
  Conn = leader(Topic),
  [begin
     Req = kpro_req_lib:produce(V, Topic, 0, [#{key => <<"k">>, value => <<"v">>, headers => [{<<"h">>, <<"x">>}]}], #{compression => C}),
     #{responses := [#{topic := Topic, partition_responses := [Partition]}]} = sync(Conn, Req),
     ?assertMatch(#{partition := 0, error_code := no_error}, Partition)
   end || {V, C} <- [{3, no_compression}, {7, zstd}, {8, lz4}]],
  #{responses := [#{partition_responses := [#{partition_header := Header, record_set := Records}]}]} =
    sync(Conn, kpro_req_lib:fetch(11, Topic, 0, 0, #{})),
  ?assertMatch(#{partition := 0, error_code := no_error, high_watermark := 3}, Header),
  ?assertMatch([{#{is_transaction := false}, [#kafka_message{offset = 0, key = <<"k">>, value = <<"v">>, headers = [{<<"h">>, <<"x">>}]}]} | _],
               kpro:decode_batches(Records)),
  ?assertMatch(#{responses := [#{partition_responses := [#{offset := 3}]}]}, sync(Conn, kpro_req_lib:list_offsets(5, Topic, 0, latest))),
  NoAck = kpro_req_lib:produce(3, Topic, 0, [#{value => <<"w">>}], #{required_acks => none}),
  ?assertEqual(ok, kpro:request_sync(Conn, NoAck, ?LIMIT_MS)),
  ok = kpro:close_connection(Conn).

%% What kastlex and others do with the pids that a client gives out.
pids_of_brod(_Config) ->
  Topic = brod_test:create_topic(1),
  Client = brod_test:start_client(),
  {ok, Leader} = brod_client:get_leader_connection(Client, Topic, 0),
  {ok, {_, Max}} = kpro:get_api_vsn_range(Leader, metadata),
  ?assertMatch(#{topics := [#{name := Topic}]}, sync(Leader, kpro_req_lib:metadata(Max, [Topic]))),
  ?assertMatch(#{groups := _}, sync(Leader, brod_kafka_request:list_groups(Leader))),
  {ok, Linked} = brod:connect_leader(brod_test:bootstrap(), Topic, 0, []),
  ?assertMatch({ok, {0, []}}, brod:fetch(Linked, Topic, 0, 0, #{max_wait_time => 100})),
  ?assertMatch(#{responses := [_]}, sync(Linked, kpro_req_lib:fetch(4, Topic, 0, 0, #{max_wait_time => 100}))),
  ok = kpro:close_connection(Linked),
  {ok, Conn} = kpro:connect(hd(brod_test:bootstrap()), []),
  ?assertMatch({ok, 0}, brod_utils:resolve_offset(Conn, Topic, 0, latest)),
  ok = kpro:close_connection(Conn),
  brod_test:stop_client(Client),
  ?assertMatch({error, {connection_down, _}}, kpro:request_sync(Leader, kpro_req_lib:metadata(Max, []), ?LIMIT_MS)).

topics(_Config) ->
  {ok, Conn} = kpro:connect_controller(brod_test:bootstrap(), []),
  Topic = brod_test:unique("kpro"),
  {ok, {_, Create}} = kpro:get_api_vsn_range(Conn, create_topics),
  Spec = #{name => Topic, num_partitions => 1, replication_factor => 1, assignments => [], configs => []},
  ?assertMatch(#{topics := [#{name := Topic, error_code := no_error}]}, sync(Conn, kpro_req_lib:create_topics(Create, [Spec], #{timeout => 5000}))),
  ?assertMatch(#{topics := [#{error_code := topic_already_exists}]}, sync(Conn, kpro_req_lib:create_topics(Create, [Spec], #{timeout => 5000}))),
  More = #{topic => Topic, new_partitions => #{count => 3, assignment => undefined}},
  ?assertMatch(#{topic_errors := [#{topic := Topic, error_code := no_error}]}, sync(Conn, kpro_req_lib:create_partitions(1, [More], #{timeout => 5000}))),
  Resource = #{resource_type => 2, resource_name => Topic},
  Change = Resource#{config_entries => [#{config_name => <<"retention.ms">>, config_value => <<"60000">>}]},
  ?assertMatch(#{resources := [#{error_code := no_error}]}, sync(Conn, kpro_req_lib:alter_configs(1, [Change], #{}))),
  {ok, _} = brod_test:wait_until(fun() ->
    #{resources := [#{config_entries := Entries}]} =
      sync(Conn, kpro_req_lib:describe_configs(2, [Resource#{config_names => [<<"retention.ms">>]}], #{})),
    case Entries of
      [#{config_name := <<"retention.ms">>, config_value := <<"60000">>}] -> {ok, changed};
      _ -> false
    end
  end, ?LIMIT_MS),
  {ok, {_, Delete}} = kpro:get_api_vsn_range(Conn, delete_topics),
  ?assertMatch(#{responses := [#{name := Topic, error_code := no_error}]}, sync(Conn, kpro_req_lib:delete_topics(Delete, [Topic], #{timeout => 5000}))),
  ok = kpro:close_connection(Conn).

%% A group of brod's, as it is seen by requests.
groups(_Config) ->
  Topic = brod_test:create_topic(1),
  Client = brod_test:start_client(),
  Group = brod_test:unique("group"),
  {ok, Pid} = brod_cg_commits:start_link(Client, [{id, Group}, {topic, Topic}, {offsets, [{0, 7}]}]),
  ok = brod_cg_commits:sync(Pid),
  {ok, Conn} = kpro:connect_coordinator(brod_test:bootstrap(), [], #{type => group, id => Group}),
  #{groups := [Described]} = sync(Conn, kpro:make_request(describe_groups, 5, #{groups => [Group], include_authorized_operations => false})),
  ?assertMatch(#{group_id := Group, error_code := no_error, protocol_type := <<"consumer">>}, Described),
  ?assertMatch(#{topics := [#{name := Topic, partitions := [#{partition_index := 0, committed_offset := 7}]}]},
               sync(Conn, brod_kafka_request:offset_fetch(Conn, Group, [{Topic, [0]}]))),
  ok = brod_cg_commits:stop(Pid),
  ok = kpro:close_connection(Conn),
  brod_test:stop_client(Client).

%% What a broker has written of the groups above.
committed_offsets(_Config) ->
  Topic = brod_test:create_topic(1),
  Client = brod_test:start_client(),
  Group = brod_test:unique("group"),
  {ok, Pid} = brod_cg_commits:start_link(Client, [{id, Group}, {topic, Topic}, {offsets, [{0, 41}]}]),
  ok = brod_cg_commits:sync(Pid),
  ok = brod_cg_commits:stop(Pid),
  {ok, Count} = brod:get_partitions_count(Client, <<"__consumer_offsets">>),
  Find = fun({kafka_message, _, Key, Value, _, _, _}, Acc) ->
           try kpro_consumer_group:decode(Key, Value) of
             {offset, [_, {group_id, Group} | _] = K, V} -> {ok, [{K, V} | Acc]};
             {group, [_, {group_id, Group}], V} -> {ok, [{group, V} | Acc]};
             _ -> {ok, Acc}
           catch
             error:{unknown_key_version, _} -> {ok, Acc}
           end
         end,
  Found = lists:append([begin
                          {Of, _, reached_end_of_partition} =
                            brod:fold(Client, <<"__consumer_offsets">>, P, 0, #{max_wait_time => 1}, [], Find, #{}),
                          Of
                        end || P <- lists:seq(0, Count - 1)]),
  ?assertMatch([_ | _], [V || {K, V} <- Found, is_list(K), lists:member({topic, Topic}, K), lists:member({offset, 41}, V)]),
  Members = [M || {group, V} <- Found, {members, Ms} <- V, M <- Ms],
  ?assertMatch([_ | _], Members),
  [?assertMatch({topics, [Topic]}, lists:keyfind(topics, 1, proplists:get_value(subscription, M))) || M <- Members],
  brod_test:stop_client(Client).

transactions(_Config) ->
  Topic = brod_test:create_topic(1),
  Id = brod_test:unique("txn"),
  Group = brod_test:unique("group"),
  {ok, Coordinator} = brod_test:wait_until(fun() ->
    case kpro:connect_coordinator(brod_test:bootstrap(), [], #{type => txn, id => Id}) of
      {ok, Found} -> {ok, Found};
      {error, [{error_code, coordinator_not_available}, _]} -> false
    end
  end, ?LIMIT_MS),
  {ok, Txn} = retried(fun() -> kpro:txn_init_ctx(Coordinator, Id) end),
  Leader = leader(Topic),
  Produce = fun(Sequence) ->
              #{responses := [#{partition_responses := [#{error_code := Code}]}]} =
                sync(Leader, kpro_req_lib:produce(3, Topic, 0, [#{value => <<"v">>}], #{txn_ctx => Txn, first_sequence => Sequence})),
              Code
            end,
  ok = kpro:txn_send_partitions(Txn, [{Topic, 0}]),
  ?assertEqual(no_error, Produce(0)),
  ?assertEqual(ok, retried(fun() -> kpro:txn_send_cg(Txn, Group) end)),
  {ok, GroupConn} = kpro:connect_coordinator(brod_test:bootstrap(), [], #{type => group, id => Group}),
  ?assertEqual(ok, retried(fun() -> kpro:txn_offset_commit(GroupConn, Group, Txn, #{{Topic, 0} => {5, <<"m">>}}) end)),
  ?assertEqual(ok, kpro:txn_commit(Txn)),
  ok = retried(fun() -> kpro:txn_send_partitions(Txn, [{Topic, 0}]) end),
  ?assertEqual(no_error, Produce(1)),
  ?assertEqual(ok, kpro:txn_abort(Txn)),
  %% marker, the aborted one, and its marker
  {ok, _} = brod_test:wait_until(fun() ->
    case brod_utils:make_fetch_fun(Leader, Topic, 0, #{max_wait_time => 100}) of
      Fetch -> case Fetch(0) of {ok, {4, [#kafka_message{offset = 0}]}} -> {ok, committed}; _ -> false end
    end
  end, ?LIMIT_MS),
  {ok, _} = brod_test:wait_until(fun() ->
    case sync(GroupConn, brod_kafka_request:offset_fetch(GroupConn, Group, [{Topic, [0]}])) of
      #{topics := [#{partitions := [#{committed_offset := 5, metadata := <<"m">>}]}]} -> {ok, committed};
      _ -> false
    end
  end, ?LIMIT_MS),
  ?assertMatch({error, invalid_producer_epoch}, kpro:txn_commit(Txn#{producer_epoch := 99})),
  [ok = kpro:close_connection(C) || C <- [Coordinator, Leader, GroupConn]].

retried(Fun) ->
  brod_test:wait_until(fun() ->
    case Fun() of
      {error, Code} when Code =:= not_coordinator; Code =:= coordinator_load_in_progress;
                         Code =:= concurrent_transactions -> false;
      {error, [{_, _, concurrent_transactions}]} -> false;
      {error, [{_, Code}]} when Code =:= not_coordinator; Code =:= coordinator_load_in_progress -> false;
      Result -> Result
    end
  end, ?LIMIT_MS).

%% The engine authenticates and encrypts; requests travel as over any other.
secured(_Config) ->
  Options = #{ssl => brod_security:ca(), sasl => {scram_sha_512, "alice", "alice-secret"}},
  {ok, Conn} = kpro:connect_any(brod_security:endpoints(sasl_tls), Options),
  ?assertMatch(#{brokers := [_ | _]}, sync(Conn, kpro_req_lib:metadata(5, all))),
  ok = kpro:close_connection(Conn).

%% As plugins and tools do: a passive socket of one's own.
over_a_socket(_Config) ->
  [{Host, Port} | _] = brod_test:bootstrap(),
  {ok, Socket} = gen_tcp:connect(Host, Port, [binary, {active, false}, {packet, 4}]),
  ?assertMatch(#{error_code := no_error, api_keys := [_ | _]},
               kpro_lib:send_and_recv(kpro_req_lib:make(api_versions, 0, []), Socket, gen_tcp, <<"me">>, ?LIMIT_MS)),
  ?assertMatch(#{brokers := [_ | _]}, kpro_lib:send_and_recv(kpro_req_lib:metadata(9, all), Socket, gen_tcp, <<"me">>, ?LIMIT_MS)),
  ok = gen_tcp:close(Socket),
  ?assertError({#kpro_req{api = metadata}, closed},
               kpro_lib:send_and_recv(kpro_req_lib:metadata(9, all), Socket, gen_tcp, <<"me">>, ?LIMIT_MS)).

sasl_over_a_socket(_Config) ->
  [{Host, Port} | _] = brod_security:endpoints(sasl),
  Auth = fun(Sasl) ->
           {ok, Socket} = gen_tcp:connect(Host, Port, [binary, {active, false}, {packet, 4}]),
           try kpro_sasl:auth(Host, Socket, gen_tcp, <<"me">>, ?LIMIT_MS, Sasl, 1)
           after gen_tcp:close(Socket)
           end
         end,
  [?assertEqual(ok, Auth({Mechanism, "alice", fun() -> "alice-secret" end})) || Mechanism <- [plain, scram_sha_256, scram_sha_512]],
  [?assertError({sasl_auth_error, Text} when is_binary(Text), Auth({Mechanism, "alice", "wrong"})) || Mechanism <- [plain, scram_sha_256]].

%% A plugin as users write them, with the companion's functions on the engine's socket.
a_plugin(_Config) ->
  Endpoints = brod_security:endpoints(sasl),
  {ok, Conn} = kpro:connect_any(Endpoints, #{sasl => {callback, ?MODULE, {"alice", "alice-secret"}}}),
  ?assertMatch(#{brokers := [_ | _]}, sync(Conn, kpro_req_lib:metadata(5, all))),
  ok = kpro:close_connection(Conn),
  ?assertMatch({error, [{_, {{sasl_auth_error, wrong}, _}} | _]},
               kpro:connect_any(Endpoints, #{sasl => {callback, ?MODULE, {"alice", "nonsense"}}})).

auth(_Host, Socket, HandshakeVsn, Mod, ClientId, Timeout, {User, Password}) ->
  Ask = fun(Req) -> kpro_lib:send_and_recv(Req, Socket, Mod, ClientId, Timeout) end,
  Handshake = Ask(kpro_req_lib:make(sasl_handshake, HandshakeVsn, [{mechanism, <<"PLAIN">>}])),
  no_error = kpro:find(error_code, Handshake),
  Rsp = Ask(kpro_req_lib:make(sasl_authenticate, 0, [{auth_bytes, iolist_to_binary([0, User, 0, Password])}])),
  case kpro:find(error_code, Rsp) of
    no_error -> ok;
    sasl_authentication_failed -> {error, wrong}
  end.
