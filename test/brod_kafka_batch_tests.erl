%% Batches that users encode and decode themselves.
-module(brod_kafka_batch_tests).
-include_lib("eunit/include/eunit.hrl").
-include("../include/brod.hrl").

-define(CODECS, [no_compression, gzip, snappy, lz4, zstd]).

messages() ->
  [#{ts => 1000, key => <<"k1">>, value => <<"v1">>, headers => [{<<"h">>, <<"x">>}, {<<"i">>, <<>>}]},
   #{ts => 900, key => <<>>, value => binary:copy(<<"long ">>, 1000)},
   #{ts => 1100, value => <<>>}].

a_batch_comes_back_as_it_was_test_() ->
  [{atom_to_list(Codec), fun() ->
     [{Meta, Messages}] = brod_kafka_batch:decode(brod_kafka_batch:encode(2, messages(), Codec)),
     ?assertEqual(#{is_transaction => false, is_control => false, last_offset => 2, max_ts => 1100, producer_id => -1}, Meta),
     ?assertEqual([{0, <<"k1">>, <<"v1">>, create, 1000, [{<<"h">>, <<"x">>}, {<<"i">>, <<>>}]},
                   {1, <<>>, binary:copy(<<"long ">>, 1000), create, 900, []},
                   {2, <<>>, <<>>, create, 1100, []}], [tuple(M) || M <- Messages])
   end} || Codec <- ?CODECS].

message_sets_come_back_as_they_were_test_() ->
  [{lists:flatten(io_lib:format("magic ~b, ~s", [Magic, Codec])), fun() ->
     [{undefined, Messages}] = brod_kafka_batch:decode(brod_kafka_batch:encode(Magic, messages(), Codec)),
     Long = binary:copy(<<"long ">>, 1000),
     {Type, Times} = case Magic of 0 -> {undefined, [undefined, undefined, undefined]}; 1 -> {create, [1000, 900, 1100]} end,
     Expected = [{<<"k1">>, <<"v1">>}, {<<>>, Long}, {<<>>, <<>>}],
     ?assertEqual(Expected, [{M#kafka_message.key, M#kafka_message.value} || M <- Messages]),
     ?assertEqual([{Type, Ts} || Ts <- Times], [{M#kafka_message.ts_type, M#kafka_message.ts} || M <- Messages])
   end} || Magic <- [0, 1], Codec <- [no_compression, gzip, snappy, lz4]].

%% As brokers store them: the wrapper has the offset of the last, and its time is that of all of them.
offsets_in_a_wrapper_are_relative_test() ->
  <<0:64, Length:32, _Crc:32, Checked/binary>> = brod_kafka_batch:encode(1, messages(), gzip),
  [{undefined, Messages}] = brod_kafka_batch:decode(stored(41, Length, Checked)),
  ?assertEqual([39, 40, 41], [M#kafka_message.offset || M <- Messages]),
  <<1, Attributes, _:64, Rest/binary>> = Checked,
  Appended = <<1, (Attributes bor 8), 7777:64, Rest/binary>>,
  [{undefined, Others}] = brod_kafka_batch:decode(stored(41, Length, Appended)),
  ?assertEqual([{39, append, 7777}, {40, append, 7777}, {41, append, 7777}],
               [{M#kafka_message.offset, M#kafka_message.ts_type, M#kafka_message.ts} || M <- Others]).

stored(Offset, Length, Checked) -> <<Offset:64, Length:32, (erlang:crc32(Checked)):32, Checked/binary>>.

what_is_cut_off_says_how_much_it_takes_test() ->
  Batch = brod_kafka_batch:encode(2, messages(), no_compression),
  ?assertEqual([], brod_kafka_batch:decode(<<>>)),
  ?assertEqual({incomplete_batch, 12}, brod_kafka_batch:decode(binary:part(Batch, 0, 11))),
  ?assertEqual({incomplete_batch, byte_size(Batch)}, brod_kafka_batch:decode(binary:part(Batch, 0, byte_size(Batch) - 1))),
  ?assertMatch([{_, [_, _, _]}], brod_kafka_batch:decode(<<Batch/binary, (binary:part(Batch, 0, 50))/binary>>)).

what_is_corrupt_is_refused_test() ->
  [?assertError({corrupt_batch, _}, brod_kafka_batch:decode(flipped(brod_kafka_batch:encode(Magic, messages(), Codec))))
   || Magic <- [0, 1, 2], Codec <- [no_compression, gzip]],
  ?assertError({corrupt_batch, Text} when is_binary(Text), brod_kafka_batch:decompress(snappy, <<"nonsense">>)),
  ?assertError({corrupt_batch, [{codec, 7}]}, brod_kafka_batch:codec_of(7)).

flipped(Batch) ->
  Size = byte_size(Batch) - 1,
  <<Front:Size/binary, Last>> = Batch,
  <<Front/binary, (Last bxor 1)>>.

%% Producer 7 aborted from offset 0 and committed what came later, beside producer 8.
messages_of_aborted_transactions_are_left_out_test() ->
  Batch = fun(Offset, Id) -> {#{is_transaction => true, is_control => false, last_offset => Offset, max_ts => 0, producer_id => Id},
                              [#kafka_message{offset = Offset}]} end,
  Marker = fun(Offset, Id) -> {#{is_transaction => true, is_control => true, last_offset => Offset, max_ts => 0, producer_id => Id},
                               [#kafka_message{offset = Offset}]} end,
  Batches = [Batch(0, 7), Batch(1, 8), Batch(2, 7), Marker(3, 7), Batch(4, 7), Marker(5, 7), Marker(6, 8)],
  Flat = fun(Offset, Aborted) ->
           {Next, Messages} = brod_kafka_batch:flatten(Offset, #{aborted_transactions => Aborted}, Batches),
           {Next, [M#kafka_message.offset || M <- Messages]}
         end,
  ?assertEqual({7, [1, 4]}, Flat(0, [#{producer_id => 7, first_offset => 0}])),
  ?assertEqual({7, [4]}, Flat(2, [#{producer_id => 7, first_offset => 0}])),
  ?assertEqual({7, [0, 1, 2, 4]}, Flat(0, undefined)),
  ?assertEqual({7, []}, Flat(0, [#{producer_id => 7, first_offset => 0}, #{producer_id => 8, first_offset => 1},
                                 #{producer_id => 7, first_offset => 4}])),
  ?assertEqual({9, []}, brod_kafka_batch:flatten(9, undefined, [])).

transactional_batches_carry_their_producer_test() ->
  Txn = #{producer_id => 5, producer_epoch => 2, transactional_id => <<"t">>},
  Bytes = iolist_to_binary(brod_kafka_batch:encode_tx(messages(), lz4, 17, Txn)),
  <<0:64, _:32, _:32, 2, _:32, _:16, 2:32, 1000:64, 1100:64, 5:64, 2:16, 17:32, 3:32, _/binary>> = Bytes,
  ?assertMatch([{#{is_transaction := true, producer_id := 5}, [_, _, _]}], brod_kafka_batch:decode(Bytes)).

tuple(#kafka_message{offset = O, key = K, value = V, ts_type = T, ts = Ts, headers = H}) -> {O, K, V, T, Ts, H}.
