%% @doc Compression as Kafka's clients do it, by the engine of brod: gzip, snappy, lz4 and zstd need no libraries.
-module(kpro_compress).

-export([compress/2, decompress/2, codec_to_method/1, method_to_codec/1, provide/1]).

-spec compress(kpro:compress_option(), iodata()) -> iodata().
compress(Method, Bytes) -> brod_kafka_batch:compress(Method, Bytes).

-spec decompress(kpro:compress_option(), binary()) -> binary().
decompress(Method, Bytes) -> brod_kafka_batch:decompress(Method, Bytes).

%% @doc What a batch's attributes name.
-spec codec_to_method(non_neg_integer()) -> kpro:compress_option().
codec_to_method(Attributes) -> brod_kafka_batch:codec_of(Attributes).

%% @doc A method's number in a batch's attributes.
-spec method_to_codec(kpro:compress_option()) -> 0..4.
method_to_codec(Method) -> brod_kafka_batch:number_of(Method).

%% @doc Modules that compress; taken and not used, because the engine does it.
-spec provide([{kpro:compress_option(), module()}]) -> ok.
provide(Modules) when is_list(Modules) -> ok.
