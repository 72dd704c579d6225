%% @private Partitioners: how a partition is chosen for a message.
-module(brod_partitioner).

-export([partition_fun/1, partition/5, murmur2/1]).

%% What `sticky' writes to a partition before it goes to another: the Java client's `batch.size', for
%% which KIP-794 counts on batches that fill and on partitions that get the same share.
-define(STICKY_BYTES, 16384).
%% What surrounds a record's key and value on the wire, about.
-define(RECORD_OVERHEAD, 16).

%% @doc The fun behind a partitioner:
%% - `random': any partition;
%% - `hash': by `erlang:phash2(Key)';
%% - `murmur2': the partition that Kafka's Java client takes for the key, any one for no key;
%% - `sticky': as `murmur2' for a message with a key; without key all messages of a topic go to one
%%   partition until it has got 16 KiB, then to another one, so that batches fill (KIP-480, KIP-794);
%% - a fun is taken as it is; what it returns is for who calls it to check.
-spec partition_fun(brod:partitioner()) ->
        fun((brod:topic(), pos_integer(), brod:key(), brod:value()) -> term()).
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

sticky(Topic, Count, Key, Value) ->
  case key(Key) of
    <<>> -> {ok, sticky_partition(Topic, Count, min(payload(Value), ?STICKY_BYTES))};
    Bytes -> {ok, murmur2_partition(Bytes, Count)}
  end.

%% One word a topic, for all callers: the partition, and how many bytes it has got. Callers that come
%% while one of them moves on write a little more than the share.
sticky_partition(Topic, Count, Bytes) ->
  Ref = sticky_state(Topic),
  State = atomics:add_get(Ref, 1, Bytes),
  case State bsr 32 of
    Partition when Partition < Count, State band 16#ffffffff =< ?STICKY_BYTES ->
      Partition;
    Partition ->
      Next = other(Partition, Count),
      case atomics:compare_exchange(Ref, 1, State, (Next bsl 32) bor Bytes) of
        ok -> Next;
        _Moved when Partition < Count -> Partition;
        _Moved -> Next
      end
  end.

sticky_state(Topic) ->
  case persistent_term:get({?MODULE, Topic}, undefined) of
    undefined ->
      Ref = atomics:new(1, [{signed, false}]),
      %% no partition has this number, so the first message chooses one
      ok = atomics:put(Ref, 1, 16#7fffffff bsl 32),
      %% adding a term that was not there is cheap; it stays
      ok = persistent_term:put({?MODULE, Topic}, Ref),
      Ref;
    Ref ->
      Ref
  end.

%% Any partition but this one, where there are others.
other(Partition, Count) when Partition < Count, Count > 1 ->
  (Partition + rand:uniform(Count - 1)) rem Count;
other(_Partition, Count) ->
  rand:uniform(Count) - 1.

%% Bytes on the wire, about. What is no value is for the producer to refuse.
payload(#{} = Message) ->
  payload(maps:get(key, Message, <<>>)) + payload(maps:get(value, Message, <<>>));
payload(Value) when is_binary(Value) ->
  byte_size(Value) + ?RECORD_OVERHEAD;
payload({_Ts, Value}) ->
  payload(Value);
payload([First | _] = Messages) when is_tuple(First); is_map(First) ->
  lists:sum([payload_of(Message) || Message <- Messages]);
payload(Value) ->
  try iolist_size(Value) + ?RECORD_OVERHEAD
  catch error:badarg -> ?RECORD_OVERHEAD
  end.

payload_of({Key, Value}) -> payload(Key) + payload(Value);
payload_of({_Ts, Key, Value}) -> payload(Key) + payload(Value);
payload_of(Message) -> payload(Message).

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
