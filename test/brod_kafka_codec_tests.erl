%% Requests and responses as maps: every API in every version of the table, and what is wrong with them.
-module(brod_kafka_codec_tests).
-include_lib("eunit/include/eunit.hrl").

-define(API(Kind, Api, Vsn), lists:flatten(io_lib:format("~s ~s v~b", [Kind, Api, Vsn]))).

%% What is written with a schema is read with it, for values of each field's extremes.
everything_that_is_written_is_read_again_test_() ->
  [{?API(Kind, Api, Vsn), fun() -> round_trip(brod_kafka_schema:Kind(Api, Vsn)) end}
   || Api <- brod_kafka_schema:all_apis(), {Min, Max} <- [brod_kafka_schema:vsn_range(Api)],
      Vsn <- lists:seq(Min, Max), Kind <- [req, rsp]].

round_trip(Schema) ->
  lists:foreach(fun(Seed) ->
    Value = value(Schema, Seed),
    Bytes = iolist_to_binary(brod_kafka_codec:encode_struct(Schema, [test], Value)),
    {Read, <<"rest">>} = brod_kafka_codec:decode_struct(Schema, [test], <<Bytes/binary, "rest">>),
    ?assertEqual(Value, with_codes(Read)),
    %% cut anywhere, it is an error and nothing else
    [?assertError(_, brod_kafka_codec:decode_struct(Schema, [test], binary:part(Bytes, 0, Length)))
     || Length <- lists:usort([0, byte_size(Bytes) div 2, byte_size(Bytes) - 1]), Length >= 0, Length < byte_size(Bytes),
        Schema =/= [{tagged_fields, tagged_fields}]]
  end, [0, 1, 2]).

%% Seed 0: the least; 1: the largest; 2: something between.
value(Fields, Seed) when is_list(Fields) ->
  maps:from_list([{Name, field(Name, Type, Seed)} || {Name, Type} <- Fields]).

field(isolation_level, int8, Seed) -> lists:nth(Seed + 1, [read_uncommitted, read_committed, read_committed]);
field(error_code, int16, _) -> 0;
field(partition_error_code, int16, _) -> 0;
field(api_key, int16, _) -> 1000;
field(key_type, int8, _) -> 1;
field(Name, Type, Seed) when Name =:= metadata; Name =:= assignment; Name =:= member_metadata; Name =:= member_assignment ->
  case is_atom(Type) of
    %% of a protocol that is not the consumers'
    true when Seed > 0, Type =/= nullable_string, Type =/= compact_nullable_string -> <<0, 1, 2>>;
    true when Seed =:= 0 -> null(Name, Type);
    _ -> of_type(Type, Seed)
  end;
field(_Name, Type, Seed) -> of_type(Type, Seed).

null(metadata, Type) when Type =:= nullable_string; Type =:= compact_nullable_string -> <<>>;
null(_, Type) -> of_type(Type, 2).

of_type({_Array, Element}, Seed) -> [of_type(Element, Seed) || _ <- lists:seq(1, Seed)];
of_type(Fields, Seed) when is_list(Fields) -> value(Fields, Seed);
of_type(boolean, Seed) -> Seed > 0;
of_type(int8, Seed) -> lists:nth(Seed + 1, [-128, 127, 5]);
of_type(int16, Seed) -> lists:nth(Seed + 1, [-32768, 32767, 300]);
of_type(int32, Seed) -> lists:nth(Seed + 1, [-(1 bsl 31), 1 bsl 31 - 1, 70000]);
of_type(int64, Seed) -> lists:nth(Seed + 1, [-(1 bsl 63), 1 bsl 63 - 1, 1 bsl 40]);
of_type(tagged_fields, _) -> #{};
of_type(_Text, Seed) -> lists:nth(Seed + 1, [<<>>, binary:copy(<<"x">>, 200), <<"text">>]).

%% error_code 0 reads as no_error
with_codes(Map) when is_map(Map) -> maps:map(fun(_, V) -> with_codes(V) end, Map);
with_codes(List) when is_list(List) -> [with_codes(E) || E <- List];
with_codes(no_error) -> 0;
with_codes(Other) -> Other.

requests_are_as_kafka_reads_them_test() ->
  ?assertEqual(<<0, 0, 0, 1, 0, 1, "t">>, bin(brod_kafka_codec:encode(metadata, 0, [{topics, [[{name, <<"t">>}]]}]))),
  %% no topics at all are others than an empty list of them
  ?assertEqual(<<-1:32>>, bin(brod_kafka_codec:encode(metadata, 1, #{topics => undefined}))),
  %% version 9 has lengths in one byte, and a byte for tagged fields
  ?assertEqual(<<2, 2, "t", 0, 1, 0, 0, 0>>,
               bin(brod_kafka_codec:encode(metadata, 9, #{topics => [#{name => t}], allow_auto_topic_creation => true,
                                                          include_cluster_authorized_operations => false,
                                                          include_topic_authorized_operations => false}))),
  ?assertEqual(<<0, 1, "g", 1>>, bin(brod_kafka_codec:encode(find_coordinator, 1, [{key, "g"}, {key_type, txn}]))),
  ?assertEqual(<<>>, bin(brod_kafka_codec:encode(api_versions, 0, []))).

members_of_groups_are_read_by_the_consumers_protocol_test() ->
  Subscription = #{version => 0, topics => [<<"a">>, <<"b">>], user_data => <<"u">>},
  Join = brod_kafka_codec:encode(join_group, 0, #{group_id => <<"g">>, session_timeout_ms => 1, member_id => <<>>,
                                                  protocol_type => <<"consumer">>,
                                                  protocols => [#{name => <<"range">>, metadata => Subscription}]}),
  {_, _} = binary:match(bin(Join), Bytes = <<0:16, 2:32, 1:16, "a", 1:16, "b", 1:32, "u">>),
  Rsp = <<0:16, 1:32, 5:16, "range", 1:16, "m", 1:16, "m", 1:32, 1:16, "m", (byte_size(Bytes)):32, Bytes/binary>>,
  ?assertMatch(#{error_code := no_error, leader := <<"m">>, members := [#{member_id := <<"m">>, metadata := Subscription}]},
               brod_kafka_codec:decode(join_group, 0, Rsp)),
  Assigned = <<0:16, 1:32, 1:16, "a", 2:32, 0:32, 1:32, -1:32>>,
  ?assertEqual(#{error_code => no_error,
                 assignment => #{version => 0, topic_partitions => [#{topic => <<"a">>, partitions => [0, 1]}],
                                 user_data => <<>>}},
               brod_kafka_codec:decode(sync_group, 0, <<0:16, (byte_size(Assigned)):32, Assigned/binary>>)),
  ?assertEqual(#{error_code => no_error, assignment => undefined},
               brod_kafka_codec:decode(sync_group, 0, <<0:16, 0:32>>)).

wrong_requests_say_what_is_wrong_test() ->
  ?assertError({unknown_api, no_such_api}, brod_kafka_codec:encode(no_such_api, 0, [])),
  ?assertError({unknown_api, <<"fetch">>}, brod_kafka_codec:encode(<<"fetch">>, 0, [])),
  ?assertError({unknown_vsn, [{api, metadata}, {vsn, 99}, {known_vsn_range, {0, 9}}]},
               brod_kafka_codec:encode(metadata, 99, [])),
  ?assertError({field_missing, [{stack, [{metadata, 0}, topics, name]}, {input, [{topic, <<"t">>}]}]},
               brod_kafka_codec:encode(metadata, 0, [{topics, [[{topic, <<"t">>}]]}])),
  ?assertError({not_array, [topics, {metadata, 0}], _}, brod_kafka_codec:encode(metadata, 0, [{topics, <<"t">>}])),
  ?assertError({function_clause, [timeout_ms, {delete_topics, 0}], _},
               brod_kafka_codec:encode(delete_topics, 0, [{topic_names, []}, {timeout_ms, 1 bsl 31}])),
  ?assertError({{too_long, 40000}, [key, {find_coordinator, 0}], _},
               brod_kafka_codec:encode(find_coordinator, 0, [{key, binary:copy(<<"x">>, 40000)}])),
  ?assertError({not_struct, nonsense}, brod_kafka_codec:encode(metadata, 0, nonsense)).

responses_that_are_none_are_refused_test() ->
  ?assertError({not_a_response, [{api, metadata}, {vsn, 0}, {bytes, 3}]}, brod_kafka_codec:decode(metadata, 0, <<1, 2, 3>>)),
  %% a length that the bytes do not have
  ?assertError({not_a_response, _}, brod_kafka_codec:decode(list_groups, 0, <<0:16, 16#7fffffff:32, 0>>)),
  ?assertError({not_a_response, _}, brod_kafka_codec:decode(list_groups, 3, <<0:32, 0:16, (binary:copy(<<255>>, 20))/binary>>)).

error_codes_have_names_test() ->
  ?assertEqual([unknown_server_error, no_error, offset_out_of_range, not_leader_for_partition, unstable_offset_commit, 9999],
               [brod_kafka_codec:error_code(Code) || Code <- [-1, 0, 1, 6, 88, 9999]]).

varints_test() ->
  [?assertEqual({N, <<"x">>}, brod_kafka_codec:decode_type(varint, <<(bin(brod_kafka_codec:encode_type(varint, N)))/binary, "x">>))
   || N <- [0, -1, 1, -64, 64, 300, -300, 1 bsl 62, -(1 bsl 62)]],
  ?assertEqual(<<1>>, bin(brod_kafka_codec:encode_type(varint, -1))),
  ?assertEqual(<<16#ac, 2>>, bin(brod_kafka_codec:encode_type(unsigned_varint, 300))).

bin(IoData) -> iolist_to_binary(IoData).
