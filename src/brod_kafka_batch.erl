%% @private Record batches (magic 2) and message sets (magic 0 and 1) of requests that users build and of responses
%% that they read themselves. The bytes are taken apart here, checksums and codecs are the engine's.
-module(brod_kafka_batch).

-export([encode/3, encode_tx/4, decode/1, is_control/1, flatten/3]).
-export([compress/2, decompress/2, codec_of/1, number_of/1]).

-include("brod.hrl").

-type magic() :: 0..2.
-type input() :: [#{key => iodata(), value => iodata() | undefined, ts => integer(), headers => [{binary(), binary()}]}].
-type codec() :: no_compression | gzip | snappy | lz4 | zstd.
-type meta() :: undefined | #{is_transaction := boolean(), is_control := boolean(), last_offset := integer(),
                              max_ts := integer(), producer_id := integer()}.
-type batch() :: {meta(), [#kafka_message{}]}.

-export_type([input/0, codec/0, meta/0, batch/0]).

-define(TIMESTAMP_TYPE, 16#08).
-define(TRANSACTIONAL, 16#10).
-define(CONTROL, 16#20).
%% More than a batch can hold: a broker that says otherwise is not believed.
-define(MAX_UNPACKED_BYTES, 1 bsl 30).

%% Encoding

%% @doc A batch for a produce request.
-spec encode(magic(), input(), codec()) -> binary().
encode(2, Messages, Codec) ->
  iolist_to_binary(encode_tx(Messages, Codec, -1, #{producer_id => -1, producer_epoch => -1}));
encode(Magic, Messages, Codec) ->
  Now = brod_utils:epoch_ms(),
  Sized = [{maps:get(ts, Message, Now), Message} || Message <- Messages],
  iolist_to_binary(message_set(Magic, Sized, Codec)).

%% @doc A record batch of an idempotent or transactional producer.
-spec encode_tx(input(), codec(), FirstSequence :: integer(), #{producer_id := integer(), producer_epoch := integer(),
                                                                atom() => term()}) -> iodata().
encode_tx([First | _] = Messages, Codec, FirstSequence, #{producer_id := ProducerId, producer_epoch := Epoch}) ->
  Base = maps:get(ts, First, brod_utils:epoch_ms()),
  Max = lists:max([maps:get(ts, Message, Base) || Message <- Messages]),
  Count = length(Messages),
  Records = [record(Delta, Base, Message) || {Delta, Message} <- lists:zip(lists:seq(0, Count - 1), Messages)],
  Transactional = case ProducerId >= 0 of true -> ?TRANSACTIONAL; false -> 0 end,
  Checked = iolist_to_binary([<<(number_of(Codec) bor Transactional):16, (Count - 1):32, Base:64, Max:64, ProducerId:64,
                                Epoch:16, FirstSequence:32, Count:32>>, compress(Codec, Records)]),
  Body = [<<-1:32, 2, (brod_nif:crc32c(Checked)):32>>, Checked],
  [<<0:64, (iolist_size(Body)):32>>, Body].

record(Delta, Base, Message) ->
  Headers = maps:get(headers, Message, []),
  Body = [0, varint(maps:get(ts, Message, Base) - Base), varint(Delta), sized(maps:get(key, Message, undefined)),
          sized(maps:get(value, Message, <<>>)), varint(length(Headers)), [[sized_text(K), sized_text(V)] || {K, V} <- Headers]],
  [varint(iolist_size(Body)), Body].

%% As brod does: what is empty goes as null.
sized(undefined) -> varint(-1);
sized(Bytes) ->
  case iolist_size(Bytes) of
    0 -> varint(-1);
    Size -> [varint(Size), Bytes]
  end.

sized_text(Bytes) -> [varint(iolist_size(Bytes)), Bytes].

varint(N) -> brod_kafka_codec:encode_type(varint, N).

message_set(Magic, Messages, no_compression) ->
  [message(Magic, 0, Offset, Ts, maps:get(key, M, undefined), maps:get(value, M, <<>>))
   || {Offset, {Ts, M}} <- lists:zip(lists:seq(0, length(Messages) - 1), Messages)];
message_set(Magic, Messages, Codec) ->
  Inner = message_set(Magic, Messages, no_compression),
  Max = lists:max([Ts || {Ts, _} <- Messages]),
  message(Magic, number_of(Codec), 0, Max, undefined, compress(Codec, Inner)).

message(Magic, Attributes, Offset, Ts, Key, Value) ->
  Time = case Magic of 0 -> <<>>; 1 -> <<Ts:64>> end,
  Checked = [Magic, Attributes, Time, bytes(Key), bytes(Value)],
  [<<Offset:64, (4 + iolist_size(Checked)):32, (erlang:crc32(Checked)):32>>, Checked].

bytes(undefined) -> <<-1:32>>;
bytes(Bytes) ->
  case iolist_size(Bytes) of
    0 -> <<-1:32>>;
    Size -> [<<Size:32>>, Bytes]
  end.

%% Decoding

%% @doc What a fetch response holds: batches with their messages, or `{incomplete_batch, Bytes}' when not one is
%% whole and so many bytes have to be asked for. Message sets that follow each other are one batch without meta.
-spec decode(binary()) -> [batch()] | {incomplete_batch, non_neg_integer()}.
decode(<<>>) ->
  [];
decode(<<_Offset:64, Length:32, Rest/binary>> = Bytes) when byte_size(Rest) >= Length ->
  decode(Bytes, []);
decode(<<_Offset:64, Length:32, _/binary>>) ->
  {incomplete_batch, Length + 12};
decode(_) ->
  {incomplete_batch, 12}.

decode(<<Offset:64, Length:32, Body:Length/binary, Rest/binary>>, Batches) ->
  case {Body, Batches} of
    {<<_Epoch:32, 2, _/binary>>, _} ->
      decode(Rest, [record_batch(Offset, Body) | Batches]);
    {_, [{undefined, Before} | Others]} ->
      decode(Rest, [{undefined, Before ++ messages(Offset, Body)} | Others]);
    _ ->
      decode(Rest, [{undefined, messages(Offset, Body)} | Batches])
  end;
decode(_CutOff, Batches) ->
  lists:reverse(Batches).

record_batch(Offset, <<_Epoch:32, 2, Crc:32, Checked/binary>>) ->
  Crc =:= brod_nif:crc32c(Checked) orelse error({corrupt_batch, [{offset, Offset}]}),
  <<Attributes:16, LastDelta:32, Base:64/signed, Max:64/signed, ProducerId:64/signed, _ProducerEpoch:16,
    _Sequence:32, Count:32/signed, Packed/binary>> = Checked,
  Type = case Attributes band ?TIMESTAMP_TYPE of 0 -> create; _ -> append end,
  Records = decompress(codec_of(Attributes), Packed),
  Ts = case Type of create -> {deltas, Base}; append -> Max end,
  {#{is_transaction => Attributes band ?TRANSACTIONAL =/= 0, is_control => Attributes band ?CONTROL =/= 0,
     last_offset => Offset + LastDelta, max_ts => Max, producer_id => ProducerId},
   records(Count, Offset, Type, Ts, Records, [])}.

records(0, _Offset, _Type, _Ts, _Rest, Acc) ->
  lists:reverse(Acc);
records(Left, Offset, Type, Ts, Bytes, Acc) when Left > 0 ->
  {Size, AfterSize} = read(varint, Bytes),
  <<Record:Size/binary, Rest/binary>> = AfterSize,
  <<_Attributes, R1/binary>> = Record,
  {TsDelta, R2} = read(varint, R1),
  {OffsetDelta, R3} = read(varint, R2),
  {Key, R4} = read(sized, R3),
  {Value, R5} = read(sized, R4),
  {HeaderCount, R6} = read(varint, R5),
  Message = #kafka_message{ offset = Offset + OffsetDelta
                          , key = Key
                          , value = Value
                          , ts_type = Type
                          , ts = case Ts of {deltas, Base} -> Base + TsDelta; _ -> Ts end
                          , headers = headers(HeaderCount, R6, [])
                          },
  records(Left - 1, Offset, Type, Ts, Rest, [Message | Acc]).

headers(0, _Rest, Acc) -> lists:reverse(Acc);
headers(Left, Bytes, Acc) when Left > 0 ->
  {Key, R1} = read(sized, Bytes),
  {Value, R2} = read(sized, R1),
  headers(Left - 1, R2, [{Key, Value} | Acc]).

read(varint, Bytes) -> brod_kafka_codec:decode_type(varint, Bytes);
read(sized, Bytes) ->
  case read(varint, Bytes) of
    {-1, Rest} -> {<<>>, Rest};
    {Size, Rest} ->
      <<Value:Size/binary, Left/binary>> = Rest,
      {binary:copy(Value), Left}
  end.

%% A message, or the messages that are packed in one. Those of magic 1 count their offsets from 0, and the wrapper
%% has the offset of the last; those of magic 0 carry their own.
messages(Offset, <<Crc:32, Checked/binary>>) ->
  Crc =:= erlang:crc32(Checked) orelse error({corrupt_batch, [{offset, Offset}]}),
  <<Magic, Attributes, R1/binary>> = Checked,
  {Ts, R2} = case Magic of
               0 -> {undefined, R1};
               1 -> <<Time:64/signed, AfterTime/binary>> = R1, {Time, AfterTime}
             end,
  Type = case {Magic, Attributes band ?TIMESTAMP_TYPE} of {0, _} -> undefined; {1, 0} -> create; {1, _} -> append end,
  {Key, R3} = brod_kafka_codec:decode_type(bytes, R2),
  {Value, _} = brod_kafka_codec:decode_type(bytes, R3),
  case codec_of(Attributes) of
    no_compression ->
      [#kafka_message{offset = Offset, key = Key, value = Value, ts_type = Type, ts = Ts}];
    Codec ->
      [{undefined, Inner}] = decode(decompress(Codec, Value), []),
      [wrapped(Message, Type, Ts, Magic, Offset, lists:last(Inner)) || Message <- Inner]
  end.

wrapped(Message, _Type, _Ts, 0, _Offset, _Last) -> Message;
wrapped(#kafka_message{offset = Relative} = Message, Type, Ts, 1, Offset, #kafka_message{offset = Last}) ->
  Moved = Message#kafka_message{offset = Offset - Last + Relative},
  case Type of
    append -> Moved#kafka_message{ts_type = append, ts = Ts};
    create -> Moved
  end.

%% @doc Whether a batch is a marker of a transaction's end.
-spec is_control(meta()) -> boolean().
is_control(#{is_control := Is}) -> Is;
is_control(undefined) -> false.

%% @doc The messages of batches from `Offset' on, without those of transactions that were aborted, and the offset to
%% fetch next. `Header' is that of the partition in the response.
-spec flatten(integer(), map() | undefined, [batch()]) -> {integer(), [#kafka_message{}]}.
flatten(Offset, _Header, []) ->
  {Offset, []};
flatten(Offset, Header, Batches) ->
  Aborted = case Header of
              #{aborted_transactions := [_ | _] = List} -> List;
              _ -> []
            end,
  Messages = [Message || Message <- kept(Batches, ranges(Aborted), []), Message#kafka_message.offset >= Offset],
  {next(Offset, lists:last(Batches)), Messages}.

next(_Offset, {#{last_offset := Last}, _}) -> Last + 1;
next(_Offset, {undefined, [_ | _] = Messages}) -> (lists:last(Messages))#kafka_message.offset + 1;
next(Offset, {undefined, []}) -> Offset + 1.

ranges(Aborted) -> [{FirstOffset, ProducerId} || #{producer_id := ProducerId, first_offset := FirstOffset} <- Aborted].

%% A producer's transaction is aborted from its first offset to its next marker.
kept([], _Aborted, Acc) ->
  lists:append(lists:reverse(Acc));
kept([{#{is_control := true, producer_id := Id, last_offset := Offset}, _} | Rest], Aborted, Acc) ->
  Ended = lists:sort([Range || {First, P} = Range <- Aborted, P =:= Id, First =< Offset]),
  kept(Rest, Aborted -- lists:sublist(Ended, 1), Acc);
kept([{#{is_transaction := true, producer_id := Id, last_offset := Offset}, Messages} | Rest], Aborted, Acc) ->
  case [First || {First, P} <- Aborted, P =:= Id, First =< Offset] of
    [] -> kept(Rest, Aborted, [Messages | Acc]);
    _ -> kept(Rest, Aborted, Acc)
  end;
kept([{_Meta, Messages} | Rest], Aborted, Acc) ->
  kept(Rest, Aborted, [Messages | Acc]).

%% Codecs

%% @doc Compress as Kafka's clients do.
-spec compress(codec(), iodata()) -> iodata().
compress(no_compression, Bytes) -> Bytes;
compress(Codec, Bytes) -> brod_nif:compress(Codec, iolist_to_binary(Bytes)).

%% @doc Decompress. Raises `{corrupt_batch, Text}' for bytes that are not of the codec.
-spec decompress(codec(), binary()) -> binary().
decompress(no_compression, Bytes) -> Bytes;
decompress(Codec, Bytes) ->
  case brod_nif:decompress(Codec, Bytes, ?MAX_UNPACKED_BYTES) of
    {ok, Unpacked} -> Unpacked;
    {error, Text} -> error({corrupt_batch, Text})
  end.

%% @doc The codec that a batch's attributes name.
-spec codec_of(non_neg_integer()) -> codec().
codec_of(Attributes) ->
  case Attributes band 7 of
    0 -> no_compression;
    1 -> gzip;
    2 -> snappy;
    3 -> lz4;
    4 -> zstd;
    Other -> error({corrupt_batch, [{codec, Other}]})
  end.

%% @doc A codec's number in a batch's attributes.
-spec number_of(codec()) -> 0..4.
number_of(no_compression) -> 0;
number_of(gzip) -> 1;
number_of(snappy) -> 2;
number_of(lz4) -> 3;
number_of(zstd) -> 4.
