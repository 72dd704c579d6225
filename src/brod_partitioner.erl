%% Partitioners: how a partition is chosen for a message.
-module(brod_partitioner).

-export([partition_fun/1, partition/5, murmur2/1]).

-include("brod_int.hrl").

%% How long `sticky' stays with a partition: long enough to fill batches, short enough to spread.
-define(STICKY_MS, 100).

%% @doc The fun behind a partitioner:
%% - `random': any partition;
%% - `hash': by `erlang:phash2(Key)';
%% - `murmur2': the partition that Kafka's Java client takes for the key, any one for no key;
%% - `sticky': as `murmur2' for a message with a key; without key all messages of a topic go to one
%%   partition for a while, then to another, so that batches fill;
%% - a fun is taken as it is.
-spec partition_fun(brod:partitioner()) -> brod:partition_fun().
partition_fun(random) -> fun random/4;
partition_fun(hash) -> fun hash/4;
partition_fun(murmur2) -> fun by_murmur2/4;
partition_fun(sticky) -> fun sticky/4;
partition_fun(Fun) when is_function(Fun, 4) -> Fun.

%% @doc Choose the partition. Raises `{badmatch, Result}' if a fun returns anything but
%% `{ok, Partition}' with an integer.
-spec partition(brod:partitioner(), brod:topic(), pos_integer(), brod:key(), brod:value()) ->
        brod:partition().
partition(Partitioner, Topic, Count, Key, Value) ->
  case (partition_fun(Partitioner))(Topic, Count, Key, Value) of
    {ok, Partition} when is_integer(Partition) -> Partition;
    Bad -> error({badmatch, Bad})
  end.

random(_Topic, Count, _Key, _Value) ->
  {ok, rand:uniform(Count) - 1}.

hash(_Topic, Count, Key, _Value) ->
  {ok, erlang:phash2(Key) rem Count}.

by_murmur2(Topic, Count, Key, Value) ->
  case key(Key) of
    <<>> -> random(Topic, Count, Key, Value);
    Bytes -> {ok, murmur2_partition(Bytes, Count)}
  end.

%% The time slot is hashed with the topic: no state to keep, and all callers agree.
sticky(Topic, Count, Key, _Value) ->
  case key(Key) of
    <<>> ->
      Slot = erlang:monotonic_time(millisecond) div ?STICKY_MS,
      {ok, erlang:phash2({Topic, Slot}, Count)};
    Bytes ->
      {ok, murmur2_partition(Bytes, Count)}
  end.

key(undefined) -> <<>>;
key(Key) -> iolist_to_binary(Key).

murmur2_partition(Bytes, Count) ->
  (murmur2(Bytes) band 16#7fffffff) rem Count.

-define(M, 16#5bd1e995).
-define(SEED, 16#9747b28c).
-define(U32(X), ((X) band 16#ffffffff)).

%% @doc MurmurHash2 of 32 bits with the seed that Kafka uses, as a signed integer like Java's.
-spec murmur2(binary()) -> integer().
murmur2(Bytes) ->
  <<Hash:32/signed>> = <<(finish(murmur2(Bytes, ?SEED bxor byte_size(Bytes)))):32>>,
  Hash.

murmur2(<<K0:32/little, Rest/binary>>, H) ->
  K1 = ?U32(K0 * ?M),
  K = ?U32((K1 bxor (K1 bsr 24)) * ?M),
  murmur2(Rest, ?U32(H * ?M) bxor K);
murmur2(<<>>, H) ->
  H;
murmur2(Tail, H) ->
  Size = bit_size(Tail),
  <<K:Size/little>> = Tail,
  ?U32((H bxor K) * ?M).

finish(H0) ->
  H = ?U32((H0 bxor (H0 bsr 13)) * ?M),
  H bxor (H bsr 15).
