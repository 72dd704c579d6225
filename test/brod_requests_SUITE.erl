%% Requests that users build themselves, over connections that brod gives out, to a real Kafka: as functions of
%% brod_kafka_request and brod_utils, which need nothing of kafka_protocol.
-module(brod_requests_SUITE).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([versions/1, every_version_of_metadata/1, produce_and_fetch/1, compressed/1, large_batches/1, offsets/1,
         topics/1, group/1, one_broker/1, closed/1, refused/1, pipelined/1]).

-include_lib("eunit/include/eunit.hrl").
-include("../include/brod.hrl").

-define(LIMIT_MS, 20000).

suite() -> [{timetrap, {seconds, 90}}].

all() ->
  [versions, every_version_of_metadata, produce_and_fetch, compressed, large_batches, offsets, topics, group, one_broker,
   closed, refused, pipelined].

init_per_suite(Config) -> brod_test:init_suite(Config).

end_per_suite(_Config) -> ok.

init_per_testcase(_Case, Config) -> [{client, brod_test:start_client()} | Config].

end_per_testcase(_Case, Config) -> brod_test:stop_client(client(Config)).

client(Config) -> proplists:get_value(client, Config).

leader(Config, Topic) ->
  {ok, Conn} = brod_client:get_leader_connection(client(Config), Topic, 0),
  Conn.

any(Config) ->
  [{Host, Port} | _] = brod_test:bootstrap(),
  {ok, Conn} = brod_client:get_connection(client(Config), Host, Port),
  Conn.

sync(Conn, Req) -> brod_utils:request_sync(Conn, Req, ?LIMIT_MS).

%% What is picked is spoken: nothing of it makes the broker hang up.
versions(Config) ->
  Conn = any(Config),
  {ok, Versions} = brod_connection:api_versions(Conn),
  ?assertMatch(#{produce := {_, _}, metadata := {_, _}, list_groups := {_, _}}, Versions),
  Usable = [Api || Api <- brod_kafka_schema:all_apis(), is_map_key(Api, Versions), overlaps(Api, Versions)],
  ?assertEqual([], [Api || Api <- Usable, not brod_kafka_apis:supports_version(Conn, Api, brod_kafka_apis:pick_version(Conn, Api))]),
  ?assertMatch({ok, [_ | _]}, {ok, Usable}),
  {ok, #{api_keys := Keys, error_code := no_error}} = sync(Conn, brod_kafka_build:make(api_versions, 3, #{client_software_name => <<"brod">>, client_software_version => <<"1">>})),
  ?assertMatch([#{min_version := _}], [K || #{api_key := fetch} = K <- Keys]).

overlaps(Api, Versions) ->
  {Oldest, Newest} = brod_kafka_schema:vsn_range(Api),
  #{Api := {Min, Max}} = Versions,
  Min =< Newest andalso Max >= Oldest.

every_version_of_metadata(Config) ->
  Topic = brod_test:create_topic(2),
  Conn = any(Config),
  {Oldest, Newest} = brod_kafka_schema:vsn_range(metadata),
  Spoken = [V || V <- lists:seq(Oldest, Newest), brod_kafka_apis:supports_version(Conn, metadata, V)],
  ?assertMatch([_, _, _ | _], Spoken),
  [begin
     {ok, #{topics := [Found], brokers := [_ | _] = Brokers}} = sync(Conn, brod_kafka_request:metadata(V, [Topic])),
     ?assertMatch(#{name := Topic, error_code := no_error, partitions := [#{leader_id := _}, _]}, Found),
     ?assertEqual(length(brod_test:bootstrap()), length(Brokers))
   end || V <- Spoken],
  ?assertEqual({error, unknown_topic_or_partition}, sync(Conn, brod_kafka_request:metadata(Conn, [brod_test:unique("no")]))).

%% In every version that both sides speak, read by the engine too.
produce_and_fetch(Config) ->
  Topic = brod_test:create_topic(1),
  Conn = leader(Config, Topic),
  Spoken = fun(Api) ->
             {Oldest, Newest} = brod_kafka_schema:vsn_range(Api),
             [V || V <- lists:seq(Oldest, Newest), brod_kafka_apis:supports_version(Conn, Api, V)]
           end,
  Messages = [#{key => <<"k">>, value => <<"v">>, ts => 1234567890123, headers => [{<<"h">>, <<"x">>}]},
              #{key => <<>>, value => <<"w">>}],
  Offsets = [begin
               {ok, Base} = sync(Conn, brod_kafka_request:produce(V, Topic, 0, Messages, -1, ?LIMIT_MS, no_compression)),
               Base
             end || V <- Spoken(produce)],
  ?assertEqual(lists:seq(0, 2 * length(Offsets) - 2, 2), Offsets),
  End = 2 * length(Offsets),
  [begin
     {ok, #{header := Header, batches := Batches}} =
       sync(Conn, brod_kafka_request:fetch(V, Topic, 0, 0, 1000, 1, 1 bsl 20, read_committed)),
     ?assertEqual(End, brod_utils:get_stable_offset(Header)),
     {End, [First | _] = Found} = brod_utils:flatten_batches(0, Header, Batches),
     ?assertEqual(End, length(Found)),
     ?assertEqual(#kafka_message{offset = 0, key = <<"k">>, value = <<"v">>, ts_type = create, ts = 1234567890123,
                                 headers = [{<<"h">>, <<"x">>}]}, First),
     ?assertMatch({End, [#kafka_message{offset = 1} | _]}, brod_utils:flatten_batches(1, Header, Batches))
   end || V <- Spoken(fetch)],
  {ok, {End, [Engine | _]}} = brod:fetch(client(Config), Topic, 0, 0),
  ?assertMatch(#kafka_message{key = <<"k">>, value = <<"v">>, ts = 1234567890123, headers = [{<<"h">>, <<"x">>}]}, Engine),
  ?assertEqual({error, offset_out_of_range}, sync(Conn, brod_kafka_request:fetch(Conn, Topic, 0, 999, 0, 0, 1000, read_committed))),
  %% without an answer, and then there
  ok = sync(Conn, brod_kafka_request:produce(Conn, Topic, 0, [#{key => <<>>, value => <<"no ack">>}], 0, 1000, no_compression)),
  {ok, _} = brod_test:wait_until(fun() ->
    case brod_utils:resolve_offset(Conn, Topic, 0, latest) of
      {ok, Latest} when Latest > End -> {ok, Latest};
      _ -> false
    end
  end, ?LIMIT_MS).

compressed(Config) ->
  Topic = brod_test:create_topic(1),
  Conn = leader(Config, Topic),
  Codecs = [no_compression, gzip, snappy, lz4, zstd],
  Value = fun(Codec) -> binary:copy(atom_to_binary(Codec, utf8), 1000) end,
  [{ok, _} = sync(Conn, brod_kafka_request:produce(Conn, Topic, 0, [#{key => <<>>, value => Value(C)}], all_isr, ?LIMIT_MS, C))
   || C <- Codecs],
  Expected = [Value(C) || C <- Codecs],
  Fetch = brod_utils:make_fetch_fun(Conn, Topic, 0, #{}),
  {ok, {5, Mine}} = Fetch(0),
  ?assertEqual(Expected, [M#kafka_message.value || M <- Mine]),
  {ok, {5, Engines}} = brod:fetch(client(Config), Topic, 0, 0),
  ?assertEqual(Expected, [M#kafka_message.value || M <- Engines]).

large_batches(Config) ->
  Topic = brod_test:create_topic(1),
  Conn = leader(Config, Topic),
  Value = binary:copy(<<"0123456789">>, 50000),
  {ok, 0} = sync(Conn, brod_kafka_request:produce(Conn, Topic, 0, [#{key => <<>>, value => Value}], -1, ?LIMIT_MS, no_compression)),
  Fetch = brod_utils:make_fetch_fun(Conn, Topic, 0, #{max_bytes => 100}),
  ?assertMatch({ok, {1, [#kafka_message{value = Value}]}}, Fetch(0)),
  ?assertEqual({ok, {1, []}}, Fetch(1)).

offsets(Config) ->
  Topic = brod_test:create_topic(1),
  Conn = leader(Config, Topic),
  {ok, 0} = sync(Conn, brod_kafka_request:produce(Conn, Topic, 0, [#{key => <<>>, value => <<"v">>}], -1, ?LIMIT_MS, gzip)),
  {Oldest, Newest} = brod_kafka_schema:vsn_range(list_offsets),
  [?assertMatch({ok, #{offset := 1, error_code := no_error}},
                sync(Conn, brod_kafka_request:list_offsets(V, Topic, 0, latest)))
   || V <- lists:seq(Oldest, Newest), brod_kafka_apis:supports_version(Conn, list_offsets, V)],
  ?assertMatch({ok, #{offset := 0}}, sync(Conn, brod_kafka_request:list_offsets(Conn, Topic, 0, earliest))).

topics(Config) ->
  {ok, #{controller_id := Controller, brokers := Brokers}} = sync(any(Config), brod_kafka_request:metadata(any(Config), all)),
  [{Host, Port}] = [{H, P} || #{node_id := Id, host := H, port := P} <- Brokers, Id =:= Controller],
  {ok, Conn} = brod_client:get_connection(client(Config), Host, Port),
  {Oldest, Newest} = brod_kafka_schema:vsn_range(create_topics),
  [begin
     Topic = brod_test:unique("create"),
     Spec = #{name => Topic, num_partitions => 1, replication_factor => 1, assignments => [],
              configs => [#{name => <<"retention.ms">>, value => <<"60000">>}]},
     ?assertEqual(ok, sync(Conn, brod_kafka_request:create_topics(V, [Spec], #{timeout => ?LIMIT_MS}))),
     ?assertEqual({error, <<"Topic '", Topic/binary, "' already exists.">>},
                  sync(Conn, brod_kafka_request:create_topics(V, [Spec], #{timeout => ?LIMIT_MS}))),
     ?assertEqual(ok, sync(Conn, brod_kafka_request:delete_topics(Conn, [Topic], ?LIMIT_MS)))
   end || V <- lists:seq(Oldest, Newest), brod_kafka_apis:supports_version(Conn, create_topics, V)],
  ?assertEqual({error, unknown_topic_or_partition}, sync(Conn, brod_kafka_request:delete_topics(Conn, [brod_test:unique("no")], ?LIMIT_MS))).

%% A member by hand: it joins, shares out, beats, commits and leaves, in every version.
group(Config) ->
  Topic = brod_test:create_topic(1),
  [member(Config, Topic, brod_test:unique("group"), V) || V <- [2, 5, 6]].

member(Config, Topic, Group, Vsn) ->
  Conn = coordinator(Config, Group),
  Fields = #{group_id => Group, session_timeout_ms => ?LIMIT_MS, rebalance_timeout_ms => ?LIMIT_MS,
             group_instance_id => undefined, protocol_type => <<"consumer">>,
             protocols => [#{name => <<"range">>, metadata => #{version => 0, topics => [Topic], user_data => <<"u">>}}]},
  {ok, Joined} = brod_test:wait_until(fun() ->
    case join(Conn, Vsn, Fields, <<>>) of
      {error, Code} when Code =:= not_coordinator; Code =:= coordinator_load_in_progress -> false;
      Result -> Result
    end
  end, ?LIMIT_MS),
  #{member_id := Member, leader := Member, generation_id := Generation, members := [Me]} = Joined,
  ?assertMatch(#{member_id := Member, metadata := #{topics := [Topic], user_data := <<"u">>}}, Me),
  Common = #{group_id => Group, member_id => Member, generation_id => Generation, group_instance_id => undefined},
  Assignment = #{version => 0, topic_partitions => [#{topic => Topic, partitions => [0]}], user_data => <<>>},
  ?assertMatch({ok, #{assignment := Assignment}},
               sync(Conn, brod_kafka_request:sync_group(Conn, Common#{assignments => [#{member_id => Member, assignment => Assignment}]}))),
  ?assertMatch({ok, #{error_code := no_error}}, sync(Conn, brod_kafka_request:heartbeat(Conn, Common))),
  Commit = Common#{topics => [#{name => Topic, partitions => [#{partition_index => 0, committed_offset => 42, committed_leader_epoch => -1,
                                                                committed_metadata => <<"m">>}]}], retention_time_ms => -1},
  ?assertMatch({ok, #{topics := [#{partitions := [#{error_code := no_error}]}]}}, sync(Conn, brod_kafka_request:offset_commit(Conn, Commit))),
  Committed = [#{partition_index => 0, committed_offset => 42, metadata => <<"m">>, error_code => no_error}],
  [begin
     {ok, #{topics := [#{name := Topic, partitions := Found}]}} = sync(Conn, brod_kafka_request:offset_fetch(Conn, Group, Wanted)),
     ?assertEqual(Committed, [maps:with(maps:keys(hd(Committed)), P) || P <- Found])
   end || Wanted <- [[{Topic, [0]}], []]],
  {ok, Groups} = sync(Conn, brod_kafka_request:list_groups(Conn)),
  ?assertMatch([_], [G || #{group_id := G} <- Groups, G =:= Group]),
  {ok, [Described]} = sync(Conn, brod_kafka_build:make(describe_groups, 0, #{groups => [Group]})),
  ?assertMatch(#{group_id := Group, group_state := <<"Stable">>,
                 members := [#{member_id := Member, member_assignment := Assignment}]}, Described),
  ?assertEqual(ok, sync(Conn, brod_kafka_build:make(leave_group, 2, Common))).

%% From version 4 on the broker names the member first.
join(Conn, Vsn, Fields, Member) ->
  case raw(Conn, brod_kafka_request:join_group(Vsn, Fields#{member_id => Member})) of
    {kpro_rsp, _, join_group, Vsn, #{error_code := member_id_required, member_id := Named} = Message} = Rsp ->
      ?assertMatch({error, member_id_required}, brod_utils:parse_rsp(Rsp)),
      ?assertEqual(<<>>, Member),
      ?assertMatch(#{members := []}, Message),
      join(Conn, Vsn, Fields, Named);
    Rsp ->
      brod_utils:parse_rsp(Rsp)
  end.

%% As kpro:request_sync/3 does.
raw(Conn, Req) ->
  ok = brod_connection_requests:await(Conn, {send, Req}, ?LIMIT_MS),
  Ref = element(2, Req),
  receive {msg, Conn, {kpro_rsp, Ref, _, _, _} = Rsp} -> Rsp after ?LIMIT_MS -> error(no_answer) end.

coordinator(Config, Group) ->
  {ok, {{Host, Port}, _}} = brod_test:wait_until(fun() ->
    case brod_client:get_group_coordinator(client(Config), Group) of
      {ok, _} = Found -> Found;
      {error, [{error_code, coordinator_not_available}, _]} -> false
    end
  end, ?LIMIT_MS),
  {ok, Conn} = brod_client:get_connection(client(Config), Host, Port),
  Conn.

%% Requests go to the broker that the connection was made to, not to one that would be right.
one_broker(Config) ->
  Topic = brod_test:create_topic(1),
  {ok, #{brokers := Brokers, topics := [#{partitions := [#{leader_id := Leader}]}]}} = brod_client:get_metadata(client(Config), Topic),
  [begin
     {ok, Conn} = brod_client:get_connection(client(Config), Host, Port),
     ?assertEqual({ok, {binary_to_list(Host), Port}}, brod_connection_requests:await(Conn, get_endpoint, ?LIMIT_MS)),
     Result = sync(Conn, brod_kafka_request:list_offsets(Conn, Topic, 0, latest)),
     case Id of
       Leader -> ?assertMatch({ok, #{offset := 0}}, Result);
       _ -> ?assertMatch({ok, #{error_code := not_leader_for_partition}}, Result)
     end
   end || #{node_id := Id, host := Host, port := Port} <- Brokers].

closed(Config) ->
  Topic = brod_test:create_topic(1),
  {ok, Conn} = brod:connect_leader(brod_test:bootstrap(), Topic, 0, [{nolink, true}]),
  {ok, _} = sync(Conn, brod_kafka_request:metadata(Conn, all)),
  Request = brod_kafka_request:fetch(Conn, Topic, 0, 0, 20000, 1, 1000, read_committed),
  Parent = self(),
  {Waiter, Monitor} = spawn_monitor(fun() -> Parent ! sending, exit(sync(Conn, Request)) end),
  receive sending -> ok end,
  {ok, _} = brod_test:wait_until(fun() ->
    {status, waiting} =:= process_info(Waiter, status)
      andalso brod_kafka_response =:= element(1, element(2, process_info(Waiter, current_function)))
      andalso {ok, waits}
  end, ?LIMIT_MS),
  ?assertEqual(ok, brod_connection_requests:await(Conn, stop, ?LIMIT_MS)),
  receive {'DOWN', Monitor, _, _, Result} -> ?assertEqual({error, {connection_down, normal}}, Result) after ?LIMIT_MS -> error(waits) end,
  ?assertEqual({error, {connection_down, noproc}}, sync(Conn, Request)),
  {ok, Group} = brod:connect_group_coordinator(brod_test:bootstrap(), [], <<"some-group">>),
  {ok, _} = sync(Group, brod_kafka_request:list_groups(Group)),
  ok = brod_connection:stop(Group),
  ?assert(is_process_alive(whereis(client(Config)))).

refused(Config) ->
  Conn = any(Config),
  {ok, #{list_groups := {_, _}}} = brod_connection:api_versions(Conn),
  ?assertMatch({error, {not_supported, fetch, {_, _}}},
               sync(Conn, brod_kafka_request:fetch(0, <<"t">>, 0, 0, 0, 0, 1, read_committed))),
  ?assertMatch({error, {field_missing, _}}, sync(Conn, {kpro_req, make_ref(), metadata, 4, false, #{topics => []}})),
  %% bytes that are no request: the broker hangs up, and who waits is told
  ?assertEqual({error, {connection_down, {shutdown, tcp_closed}}},
               sync(Conn, {kpro_req, make_ref(), metadata, 4, false, <<"nonsense">>})).

pipelined(Config) ->
  Conn = any(Config),
  Reqs = [brod_kafka_request:metadata(1, all) || _ <- lists:seq(1, 100)],
  [Conn ! {{self(), noreply}, {send, Req}} || Req <- Reqs],
  [receive {msg, Conn, Rsp} -> ?assertEqual(element(2, Req), element(2, Rsp)) after ?LIMIT_MS -> error(no_answer) end
   || Req <- Reqs].
