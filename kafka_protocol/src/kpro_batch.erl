%% @doc Batches of messages.
-module(kpro_batch).

-export([encode/3, encode_tx/4, decode/1, is_control/1]).

%% @doc A batch of magic 0, 1 or 2 for a produce request.
-spec encode(kpro:magic(), kpro:batch_input(), kpro:compress_option()) -> binary().
encode(Magic, Messages, Compression) -> brod_kafka_batch:encode(Magic, Messages, Compression).

%% @doc A batch of a transaction.
-spec encode_tx(kpro:batch_input(), kpro:compress_option(), kpro:seqno(), kpro:txn_ctx()) -> iodata().
encode_tx(Messages, Compression, FirstSequence, Txn) ->
  brod_kafka_batch:encode_tx(Messages, Compression, FirstSequence, Txn).

%% @doc What a fetch response holds. Raises `{corrupt_batch, Info}'.
-spec decode(binary()) -> [kpro:batch()].
decode(Bytes) -> brod_kafka_batch:decode(Bytes).

%% @doc Whether a batch is a marker of a transaction's end.
-spec is_control(kpro:batch_meta()) -> boolean().
is_control(Meta) -> brod_kafka_batch:is_control(Meta).
