%% The companion application: functions of kafka_protocol that need no broker, and that it is what kafka_protocol was.
-module(kpro_tests).
-include_lib("eunit/include/eunit.hrl").
-include("../kafka_protocol/include/kpro.hrl").
%% either order
-include("../include/brod.hrl").

-export([auth/6, auth/7]).

%% What kafka_protocol 4.3 exports and does not keep to itself.
-define(EXPORTS,
  [{kpro, [{close_connection, 1}, {connect, 2}, {connect_any, 2}, {connect_controller, 2}, {connect_controller, 3},
           {connect_coordinator, 3}, {connect_partition_leader, 4}, {connect_partition_leader, 5}, {decode_batches, 1},
           {discover_coordinator, 4}, {discover_partition_leader, 4}, {encode_batch, 3}, {encode_request, 3}, {find, 2},
           {find, 3}, {get_api_versions, 1}, {get_api_vsn_range, 2}, {make_request, 3}, {parse_endpoints, 1},
           {parse_endpoints, 2}, {produce_api_vsn_to_magic_vsn, 1}, {provide_compression, 1}, {request_async, 2},
           {request_sync, 3}, {send, 2}, {txn_abort, 1}, {txn_abort, 2}, {txn_commit, 1}, {txn_commit, 2},
           {txn_init_ctx, 2}, {txn_init_ctx, 3}, {txn_offset_commit, 4}, {txn_offset_commit, 5}, {txn_send_cg, 2},
           {txn_send_cg, 3}, {txn_send_partitions, 2}, {txn_send_partitions, 3}]},
   {kpro_api_vsn, [{intersect, 1}, {intersect, 2}, {range, 1}, {kafka_09_range, 1}]},
   {kpro_auth_backend, [{auth, 8}]},
   {kpro_batch, [{decode, 1}, {encode, 3}, {encode_tx, 4}, {is_control, 1}]},
   {kpro_brokers, [{connect_any, 2}, {connect_controller, 3}, {connect_coordinator, 3}, {connect_partition_leader, 5},
                   {discover_coordinator, 4}, {discover_partition_leader, 4}, {get_api_versions, 1},
                   {get_api_vsn_range, 2}, {with_connection, 3}]},
   {kpro_compress, [{codec_to_method, 1}, {compress, 2}, {decompress, 2}, {method_to_codec, 1}, {provide, 1}]},
   {kpro_connection, [{all_cfg_keys, 0}, {debug, 2}, {request_async, 2}, {request_sync, 3}, {send, 2}, {start, 3},
                      {stop, 1}, {get_api_vsns, 1}, {get_connect_timeout, 1}, {get_endpoint, 1}, {get_tcp_sock, 1}]},
   {kpro_consumer_group, [{decode, 2}]},
   {kpro_lib, [{copy_bytes, 2}, {decode, 2}, {decode_corr_id, 1}, {encode, 2}, {find, 2}, {find, 3}, {keyfind, 3},
               {ok_pipe, 1}, {ok_pipe, 2}, {parse_endpoints, 2}, {send_and_recv, 5}, {send_and_recv_raw, 4},
               {update_map, 4}, {with_timeout, 2}, {get_prelude_schema, 2}, {get_req_schema, 2}, {get_rsp_schema, 2},
               {get_ts_type, 2}, {now_ts, 0}, {produce_api_vsn_to_magic_vsn, 1}]},
   {kpro_prelude_schema, [{get, 2}]},
   {kpro_req_lib, [{add_offsets_to_txn, 2}, {add_partitions_to_txn, 2}, {alter_configs, 3}, {create_partitions, 3},
                   {create_topics, 3}, {delete_topics, 3}, {describe_configs, 3}, {encode, 3}, {end_txn, 2}, {fetch, 5},
                   {list_offsets, 4}, {list_offsets, 5}, {list_offsets, 6}, {make, 3}, {make, 4}, {metadata, 2},
                   {metadata, 3}, {produce, 4}, {produce, 5}, {produce, 6}, {txn_offset_commit, 4}]},
   {kpro_rsp_lib, [{dec_struct, 4}, {decode, 4}]},
   {kpro_sasl, [{auth, 7}]},
   {kpro_schema, [{all_apis, 0}, {api_key, 1}, {ec, 1}, {min_flexible_vsn, 1}, {req, 2}, {rsp, 2}, {vsn_range, 1}]},
   {kpro_scram, [{final, 1}, {first, 1}, {init, 3}, {parse, 2}, {validate, 2}]},
   {kpro_txn_lib, [{add_offsets_to_txn, 3}, {add_partitions_to_txn, 3}, {end_txn, 3}, {txn_init_ctx, 3},
                   {txn_offset_commit, 5}]},
   {kpro_varint, [{decode, 1}, {decode_unsigned, 1}, {encode, 1}, {encode_unsigned, 1}]}]).

everything_of_kafka_protocol_is_there_test_() ->
  [{atom_to_list(Module), ?_assertEqual([], Functions -- Module:module_info(exports))} || {Module, Functions} <- ?EXPORTS].

endpoints_test() ->
  ?assertEqual([{"a", 1}, {"b", 2}], kpro:parse_endpoints("a:1,b:2")),
  ?assertEqual([{"h", 9093}], kpro:parse_endpoints(ssl, "a:1,SSL://H:9093,sasl_ssl://s:3,plaintext://p")),
  ?assertEqual([{"p", 9092}], kpro:parse_endpoints(plaintext, "plaintext://p")),
  ?assertEqual([], kpro:parse_endpoints("")),
  %% IPv6: in brackets where there is a port
  ?assertEqual([{"::1", 1234}, {"fd00::5", 9092}, {"fd00::6", 9092}, {"h", 1}],
               kpro:parse_endpoints("[::1]:1234,[fd00::5] FD00::6 h:1")),
  ?assertEqual([{"fd00::5", 1234}], kpro:parse_endpoints(ssl, "SSL://[FD00::5]:1234")).

fields_test() ->
  ?assertEqual({1, d}, {kpro:find(a, #{a => 1}), kpro:find(b, [{a, 1}], d)}),
  ?assertError({no_such_field, b}, kpro:find(b, #{a => 1})),
  ?assertEqual(2, kpro_lib:find(a, [{a, 2}])),
  ?assertError({not_struct, x}, kpro_lib:find(a, x)),
  ?assertEqual({#{a => 2}, false}, {kpro_lib:keyfind(a, 2, [#{a => 1}, #{a => 2}]), kpro_lib:keyfind(a, 3, [#{a => 1}])}),
  ?assertEqual(#{a => 2, b => 0}, kpro_lib:update_map(b, fun(N) -> N + 1 end, 0, kpro_lib:update_map(a, fun(N) -> N + 1 end, 0, #{a => 1}))),
  ?assert(abs(kpro_lib:now_ts() - os:system_time(millisecond)) < 1000).

requests_are_encoded_with_their_headers_test() ->
  Req = #kpro_req{api = metadata, vsn = 1, no_ack = false} = kpro:make_request(metadata, 1, [{topics, [[{name, <<"t">>}]]}]),
  ?assertEqual(<<3:16, 1:16, 7:32, 2:16, "me", 1:32, 1:16, "t">>, bin(kpro:encode_request(<<"me">>, 7, Req))),
  %% flexible from version 9 on
  ?assertMatch(<<3:16, 9:16, 7:32, 2:16, "me", 0, 2, 2, "t", 0, _/binary>>,
               bin(kpro:encode_request(<<"me">>, 7, kpro_req_lib:metadata(9, [<<"t">>])))),
  Ref = make_ref(),
  ?assertMatch(#kpro_req{ref = Ref, api = list_groups}, kpro_req_lib:make(list_groups, 0, [], Ref)),
  ?assertMatch(#kpro_req{ref = Ref, no_ack = true}, kpro_req_lib:produce(3, <<"t">>, 0, <<"batch">>, #{required_acks => none}, Ref)),
  ?assertError({unknown_api, foo}, kpro:make_request(foo, 0, [])),
  ?assertError({unknown_vsn, _}, kpro:make_request(fetch, 12, [])).

%% Each function of kpro_req_lib makes what the schemas take, in every version.
requests_are_made_in_every_version_test() ->
  Txn = #{transactional_id => <<"t">>, producer_id => 1, producer_epoch => 0, connection => self()},
  Each = fun(Api, Make) ->
           {Min, Max} = kpro_schema:vsn_range(Api),
           [#kpro_req{api = Api, vsn = V} = Make(V) || V <- lists:seq(Min, Max)]
         end,
  Each(metadata, fun(V) -> kpro_req_lib:metadata(V, all) end),
  Each(list_offsets, fun(V) -> kpro_req_lib:list_offsets(V, <<"t">>, 0, latest) end),
  Each(fetch, fun(V) -> kpro_req_lib:fetch(V, <<"t">>, 0, 0, #{}) end),
  Each(produce, fun(V) -> kpro_req_lib:produce(V, <<"t">>, 0, [#{key => <<"k">>, value => <<"v">>}]) end),
  Each(create_topics, fun(V) -> kpro_req_lib:create_topics(V, [#{name => t, num_partitions => 1, replication_factor => 1, assignments => [], configs => []}], #{}) end),
  Each(delete_topics, fun(V) -> kpro_req_lib:delete_topics(V, [<<"t">>], #{}) end),
  Each(create_partitions, fun(V) -> kpro_req_lib:create_partitions(V, [#{topic => <<"t">>, new_partitions => #{count => 2, assignment => undefined}}], #{}) end),
  Each(describe_configs, fun(V) -> kpro_req_lib:describe_configs(V, [#{resource_type => 2, resource_name => <<"t">>, config_names => undefined}], #{}) end),
  Each(alter_configs, fun(V) -> kpro_req_lib:alter_configs(V, [#{resource_type => 2, resource_name => <<"t">>, config_entries => [#{config_name => "a", config_value => "b"}]}], #{}) end),
  ?assertMatch(#kpro_req{api = add_partitions_to_txn}, kpro_req_lib:add_partitions_to_txn(Txn, [{<<"t">>, 0}, {<<"t">>, 1}])),
  ?assertMatch(#kpro_req{api = add_offsets_to_txn}, kpro_req_lib:add_offsets_to_txn(Txn, <<"g">>)),
  ?assertMatch(#kpro_req{api = end_txn}, kpro_req_lib:end_txn(Txn, abort)),
  ?assertMatch(#kpro_req{api = txn_offset_commit}, kpro_req_lib:txn_offset_commit(<<"g">>, Txn, #{{<<"t">>, 0} => {5, <<"u">>}, {<<"t">>, 1} => 6}, <<>>)),
  ?assertMatch(#kpro_req{api = produce}, kpro_req_lib:produce(3, <<"t">>, 0, [#{value => <<"v">>}], #{txn_ctx => Txn, first_sequence => 0})).

what_an_answer_leaves_out_is_not_part_of_the_transaction_test() ->
  Txn = fun(Answer) ->
          #{transactional_id => <<"t">>, producer_id => 1, producer_epoch => 0, connection => answering(Answer)}
        end,
  Added = fun(Codes) ->
            Partitions = [#{partition_index => P, partition_error_code => Code} || {P, Code} <- Codes],
            Answer = #{results => [#{name => <<"t">>, results_by_partition => Partitions}]},
            kpro:txn_send_partitions(Txn(Answer), [{<<"t">>, 0}, {<<"t">>, 1}])
          end,
  ?assertEqual(ok, Added([{0, no_error}, {1, no_error}])),
  ?assertEqual({error, [{<<"t">>, 1, unknown_server_error}]}, Added([{0, no_error}])),
  ?assertEqual({error, [{<<"t">>, 0, not_coordinator}, {<<"t">>, 1, unknown_server_error}]}, Added([{0, not_coordinator}])),
  Committed = fun(Offsets, Codes) ->
                Partitions = [#{partition_index => P, error_code => Code} || {P, Code} <- Codes],
                Answer = #{topics => [#{name => <<"t">>, partitions => Partitions}]},
                kpro:txn_offset_commit(answering(Answer), <<"g">>, Txn(#{}), Offsets)
              end,
  Offsets = #{{<<"t">>, 0} => 5, {<<"t">>, 1} => {6, <<"m">>}},
  ?assertEqual(ok, Committed(Offsets, [{0, no_error}, {1, no_error}])),
  [?assertEqual({error, [{{<<"t">>, 1}, unknown_server_error}]}, Committed(Given, [{0, no_error}]))
   || Given <- [Offsets, maps:to_list(Offsets)]].

%% A connection whose broker answers one request.
answering(Answer) ->
  spawn(fun() ->
          receive
            {{From, Tag}, {send, #kpro_req{ref = Ref}}} ->
              From ! {Tag, ok},
              From ! {msg, self(), #kpro_rsp{ref = Ref, msg = Answer}},
              receive stop -> ok end
          after 5000 -> ok
          end
        end).

responses_are_decoded_with_their_headers_test() ->
  ?assertEqual(#kpro_rsp{ref = false, api = heartbeat, vsn = 0, msg = #{error_code => unknown_member_id}},
               kpro_rsp_lib:decode(heartbeat, 0, <<25:16>>, false)),
  ?assertEqual(#{throttle_time_ms => 0, error_code => no_error, tagged_fields => #{}},
               (kpro_rsp_lib:decode(heartbeat, 4, <<0, 0:32, 0:16, 0>>, false))#kpro_rsp.msg),
  %% the header of ApiVersions never is
  ?assertMatch(#{api_keys := []}, (kpro_rsp_lib:decode(api_versions, 3, <<0:16, 1, 0:32, 0>>, false))#kpro_rsp.msg),
  ?assertEqual({#{a => 1, b => 2}, <<"rest">>}, kpro_rsp_lib:dec_struct([{b, int8}], #{a => 1}, [], <<2, "rest">>)).

batches_test() ->
  Batch = kpro:encode_batch(2, [#{key => <<"k">>, value => <<"v">>, ts => 5}], snappy),
  ?assertMatch([{#{is_control := false} = Meta, [#kafka_message{key = <<"k">>, value = <<"v">>, ts = 5}]}]
                 when is_map(Meta), kpro:decode_batches(Batch)),
  ?assertEqual(?incomplete_batch(12), kpro:decode_batches(<<1>>)),
  ?assertEqual([0, 1, 1, 2, 2], [kpro:produce_api_vsn_to_magic_vsn(V) || V <- [0, 1, 2, 3, 8]]),
  [?assertEqual(<<"text">>, kpro_compress:decompress(M, bin(kpro_compress:compress(M, [<<"te">>, "xt"]))))
   || M <- [no_compression, gzip, snappy, lz4, zstd]],
  ?assertEqual([no_compression, gzip, snappy, lz4, zstd],
               [kpro_compress:codec_to_method(kpro_compress:method_to_codec(M)) || M <- [no_compression, gzip, snappy, lz4, zstd]]),
  ?assertEqual(ok, kpro:provide_compression([{snappy, some_module}])).

version_ranges_test() ->
  ?assertEqual(#{fetch => {4, 11}, metadata => {0, 5}},
               kpro_api_vsn:intersect(#{fetch => {4, 17}, metadata => {0, 5}, list_groups => {90, 99}, foo => {0, 1}})),
  ?assertMatch(#{metadata := {0, 0}, fetch := {0, 0}, offset_commit := {2, 2}, offset_fetch := {1, 1}},
               kpro_api_vsn:intersect(undefined)),
  %% what kafka_protocol gives of Kafka 4, which claims version 0 of Produce, and of Kafka 1
  ?assertEqual(#{produce => {3, 8}, fetch => {4, 11}, offset_commit => {2, 8}, offset_fetch => {1, 2}},
               kpro_api_vsn:intersect(#{produce => {0, 13}, fetch => {0, 18}, offset_commit => {0, 9}, offset_fetch => {0, 9}})),
  ?assertEqual(#{produce => {0, 5}, fetch => {0, 6}, offset_commit => {2, 3}},
               kpro_api_vsn:intersect(#{produce => {0, 5}, fetch => {0, 6}, offset_commit => {0, 3}})),
  ?assertEqual([{2, 2}, {1, 1}, {0, 0}, false], [kpro_api_vsn:kafka_09_range(A) || A <- [offset_commit, offset_fetch, produce, foo]]),
  ?assertEqual([{2, 5}, false], [kpro_api_vsn:intersect(A, {0, 5}) || A <- [offset_commit, foo]]),
  ?assertError(#{reason := incompatible_version_ranges, api := offset_commit, supported := {2, 8}, received := {0, 1}},
               kpro_api_vsn:intersect(offset_commit, {0, 1})),
  ?assertEqual(false, kpro_api_vsn:range(foo)).

pipes_test() ->
  ?assertEqual({ok, 3}, kpro_lib:ok_pipe([fun() -> {ok, 1} end, fun(N) -> {ok, N + 2} end])),
  ?assertEqual({error, no}, kpro_lib:ok_pipe([fun() -> ok end, fun() -> {error, no} end, fun(_) -> error(called) end], 5000)),
  ?assertEqual({error, timeout}, kpro_lib:with_timeout(fun() -> receive never -> ok end end, 10)),
  ?assertError(oops, kpro_lib:with_timeout(fun() -> error(oops) end, 5000)),
  Linked = kpro_lib:with_timeout(fun() -> spawn_link(fun() -> receive stop -> ok end end) end, 5000),
  {links, Links} = process_info(self(), links),
  ?assert(lists:member(Linked, Links)),
  Linked ! stop.

%% What a broker writes; the bytes are laid out by hand.
consumer_offsets_test() ->
  Str = fun(T) -> <<(byte_size(T)):16, T/binary>> end,
  Bytes = fun(T) -> <<(byte_size(T)):32, T/binary>> end,
  Key = <<1:16, (Str(<<"g">>))/binary, (Str(<<"t">>))/binary, 3:32>>,
  ?assertEqual({offset, [{version, 1}, {group_id, <<"g">>}, {topic, <<"t">>}, {partition, 3}],
                [{version, 3}, {offset, 42}, {leader_epoch, 7}, {metadata, <<"m">>}, {commit_time, 99}]},
               kpro_consumer_group:decode(Key, <<3:16, 42:64, 7:32, (Str(<<"m">>))/binary, 99:64>>)),
  ?assertMatch({offset, _, [{version, 1}, {offset, 42}, {metadata, <<>>}, {commit_time, 1}, {expire_time, 2}]},
               kpro_consumer_group:decode(Key, <<1:16, 42:64, -1:16, 1:64, 2:64>>)),
  ?assertMatch({offset, [_ | _], []}, kpro_consumer_group:decode(Key, <<>>)),
  Subscription = <<0:16, 1:32, (Str(<<"t">>))/binary, -1:32>>,
  Assignment = <<0:16, 1:32, (Str(<<"t">>))/binary, 1:32, 3:32, -1:32>>,
  Group = <<3:16, (Str(<<"consumer">>))/binary, 5:32, (Str(<<"range">>))/binary, (Str(<<"m">>))/binary, 88:64, 1:32,
            (Str(<<"m">>))/binary, -1:16, (Str(<<"c">>))/binary, (Str(<<"/h">>))/binary, 10:32, 20:32,
            (Bytes(Subscription))/binary, (Bytes(Assignment))/binary>>,
  ?assertEqual({group, [{version, 2}, {group_id, <<"g">>}],
                [{version, 3}, {protocol_type, <<"consumer">>}, {generation_id, 5}, {protocol, <<"range">>}, {leader, <<"m">>},
                 {current_state_timestamp, 88},
                 {members, [[{member_id, <<"m">>}, {group_instance_id, <<>>}, {client_id, <<"c">>}, {client_host, <<"/h">>},
                             {rebalance_timeout, 10}, {session_timeout, 20},
                             {subscription, [{version, 0}, {topics, [<<"t">>]}, {user_data, <<>>}]},
                             {assignment, [{version, 0}, {topic_partitions, [{<<"t">>, [3]}]}, {user_data, <<>>}]}]]}]},
               kpro_consumer_group:decode(<<2:16, (Str(<<"g">>))/binary>>, Group)),
  ?assertMatch({group, _, []}, kpro_consumer_group:decode(<<2:16, (Str(<<"g">>))/binary>>, undefined)),
  ?assertError({unknown_key_version, 3}, kpro_consumer_group:decode(<<3:16, 0>>, <<>>)).

%% The example of RFC 7677.
scram_test() ->
  Scram = (kpro_scram:init(sha256, <<"user">>, <<"pencil">>))#{nonce := <<"rOprNGfwEbeRWgbNEkqO">>},
  ?assertEqual(<<"n,,n=user,r=rOprNGfwEbeRWgbNEkqO">>, bin(kpro_scram:first(Scram))),
  Parsed = kpro_scram:parse(Scram, <<"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096">>),
  ?assertEqual(<<"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=">>,
               bin(kpro_scram:final(Parsed))),
  ?assertEqual(ok, kpro_scram:validate(Parsed, <<"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=">>)),
  ?assertError({bad_scram, _}, kpro_scram:validate(Parsed, <<"v=AAAA">>)),
  ?assertError({bad_scram, _}, kpro_scram:parse(Scram, <<"r=other,s=QQ==,i=4096">>)),
  ?assertError({bad_scram, _}, kpro_scram:parse(Scram, <<"r=rOprNGfwEbeRWgbNEkqOx,s=QQ==,i=99999999">>)).

backends_are_called_as_they_can_be_test() ->
  ?assertEqual({error, {7, "h", 1}}, kpro_auth_backend:auth(?MODULE, "h", socket, 1, gen_tcp, <<"c">>, 10, opts)),
  ?assertError({sasl_auth_error, {7, "h", 1}}, kpro_sasl:auth("h", socket, gen_tcp, <<"c">>, 10, {callback, ?MODULE, opts}, 1)),
  ?assertEqual(ok, kpro_sasl:auth("h", socket, gen_tcp, <<"c">>, 10, undefined, 1)).

auth(Host, _Socket, _Mod, _ClientId, _Timeout, _Opts) -> {error, {6, Host}}.
auth(Host, _Socket, Vsn, _Mod, _ClientId, _Timeout, _Opts) -> {error, {7, Host, Vsn}}.

bin(IoData) -> iolist_to_binary(IoData).
