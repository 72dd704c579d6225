%% @doc Numbers of as many bytes as they take.
-module(kpro_varint).

-export([encode/1, decode/1, encode_unsigned/1, decode_unsigned/1]).

-spec encode(integer()) -> iodata().
encode(N) -> brod_kafka_codec:encode_type(varint, N).

-spec decode(binary()) -> {integer(), binary()}.
decode(Bytes) -> brod_kafka_codec:decode_type(varint, Bytes).

-spec encode_unsigned(non_neg_integer()) -> iodata().
encode_unsigned(N) -> brod_kafka_codec:encode_type(unsigned_varint, N).

-spec decode_unsigned(binary()) -> {non_neg_integer(), binary()}.
decode_unsigned(Bytes) -> brod_kafka_codec:decode_type(unsigned_varint, Bytes).
