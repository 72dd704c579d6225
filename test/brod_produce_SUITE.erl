%% Producing: what arrives in Kafka, in which order, and what callers are told.
-module(brod_produce_SUITE).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2,
         end_per_testcase/2]).
-export([keys_values_headers/1, partitioners/1, acks/1, codecs/1, kcat_reads/1, kcat_produces/1,
         large_batch/1, back_pressure/1, callbacks_in_order/1, no_ack/1, too_large_alone/1, split_calls/1,
         bad_input/1, linger/1, partitions_added/1, topic_deleted/1,
         producer_killed/1, client_stopped/1]).

-include_lib("eunit/include/eunit.hrl").
-include("../include/brod.hrl").

-define(LIMIT_MS, 30000).
-define(CODECS, [no_compression, gzip, snappy, lz4, zstd]).

suite() -> [{timetrap, {seconds, 90}}].

all() ->
  [keys_values_headers, partitioners, acks, codecs, kcat_reads, kcat_produces, large_batch,
   back_pressure, callbacks_in_order, no_ack, too_large_alone, split_calls, bad_input, linger, partitions_added,
   topic_deleted, producer_killed, client_stopped].

init_per_suite(Config) -> brod_test:init_suite(Config).

end_per_suite(_Config) -> ok.

init_per_testcase(_Case, Config) -> [{client, brod_test:start_client()} | Config].

end_per_testcase(_Case, Config) -> brod_test:stop_client(client(Config)).

%% Keys, values and headers with every byte and at the edges of their length's encoding.
keys_values_headers(Config) ->
  {Client, Topic} = started(Config, 1, []),
  Bytes = list_to_binary(lists:seq(0, 255)),
  Sizes = [0, 1, 63, 64, 127, 128, 8191, 8192, 100000],
  Given = [#{key => binary:copy(<<"k">>, Size), value => binary:copy(<<"v">>, Size),
             ts => 1000 + Size,
             headers => [{<<"size">>, integer_to_binary(Size)}, {<<"size">>, <<>>}, {<<>>, Bytes}]}
           || Size <- Sizes] ++ [#{key => Bytes, value => Bytes, ts => 0, headers => []}],
  {ok, Ref} = brod:produce(Client, Topic, 0, <<>>, Given),
  ?assertEqual({ok, 0}, brod:sync_produce_request_offset(Ref, ?LIMIT_MS)),
  Read = brod_test:fetch_all(Client, Topic, 0),
  ?assertEqual(Given, [#{key => K, value => V, ts => Ts, headers => H}
                       || #kafka_message{key = K, value = V, ts = Ts, headers = H} <- Read]),
  ?assertEqual(lists:seq(0, length(Given) - 1), [O || #kafka_message{offset = O} <- Read]).

partitioners(Config) ->
  {Client, Topic} = started(Config, 4, []),
  Java = fun(Key) -> (brod_partitioner:murmur2(Key) band 16#7fffffff) rem 4 end,
  Keys = brod_test:numbers(1, 40),
  Produced = fun(Partitioner, Key, Value) ->
               Self = self(),
               {ok, Partition} = brod:produce_cb(Client, Topic, Partitioner, Key, Value,
                                                 fun(P, O) -> Self ! {acked, P, O} end),
               receive {acked, Partition, Offset} -> {Partition, Offset}
               after ?LIMIT_MS -> error(no_ack)
               end
             end,
  lists:foreach(fun({Partitioner, Expected}) ->
                  lists:foreach(fun(Key) ->
                                  {Partition, Offset} = Produced(Partitioner, Key, <<"v">>),
                                  ?assertEqual(Expected(Key), Partition),
                                  {ok, {_, [Read | _]}} = brod:fetch(Client, Topic, Partition,
                                                                     Offset),
                                  ?assertEqual(Key, Read#kafka_message.key)
                                end, Keys)
                end, [{hash, fun(Key) -> erlang:phash2(Key) rem 4 end}, {murmur2, Java},
                      {sticky, Java},
                      {fun(T, 4, Key, <<"v">>) when T =:= Topic -> {ok, byte_size(Key)} end,
                       fun erlang:byte_size/1}]),
  ?assertEqual([0, 1, 2, 3],
               lists:usort([element(1, Produced(random, <<>>, <<"v">>))
                            || _ <- lists:seq(1, 100)])),
  ?assertError({badmatch, nonsense},
               brod:produce(Client, Topic, fun(_, _, _, _) -> nonsense end, <<>>, <<>>)),
  ?assertEqual({error, {producer_not_found, Topic, 4}},
               brod:produce(Client, Topic, fun(_, N, _, _) -> {ok, N} end, <<>>, <<>>)).

%% kcat chooses partitions for keys as Java does.
kcat_reads(Config) ->
  {Client, Topic} = started(Config, 3, []),
  lists:foreach(fun(Key) -> ok = brod:produce_sync(Client, Topic, murmur2, Key, Key) end,
                brod_test:numbers(1, 30)),
  {_, 0} = brod_test:kcat(["-P", "-t", Topic, "-K", ":", "-X", "partitioner=murmur2_random"],
                          [[K, ":", K, "\n"] || K <- brod_test:numbers(1, 30)]),
  lists:foreach(fun(Partition) ->
                  Read = brod_test:fetch_all(Client, Topic, Partition),
                  {Ours, Theirs} = half(brod_test:values(Read)),
                  ?assertEqual(Ours, Theirs)
                end, [0, 1, 2]).

half(List) -> lists:split(length(List) div 2, List).

acks(Config) ->
  lists:foreach(fun({Acks, Offsets}) ->
                  {Client, Topic} = started(Config, 1, [{required_acks, Acks}]),
                  ?assertEqual(Offsets, [brod:produce_sync_offset(Client, Topic, 0, <<>>, V)
                                         || V <- brod_test:numbers(1, 3)]),
                  brod_test:wait_until(fun() ->
                                         brod:resolve_offset(Client, Topic, 0) =:= {ok, 3}
                                       end, ?LIMIT_MS),
                  ?assertEqual(brod_test:numbers(1, 3),
                               brod_test:values(brod_test:fetch_all(Client, Topic, 0)))
                end, [{-1, [{ok, 0}, {ok, 1}, {ok, 2}]}, {1, [{ok, 0}, {ok, 1}, {ok, 2}]},
                      %% the broker does not tell
                      {0, [{ok, -1}, {ok, -1}, {ok, -1}]}]).

%% What we compress is read by us and by librdkafka.
codecs(Config) ->
  Values = compressible(1000),
  lists:foreach(fun(Codec) ->
                  {Client, Topic} = started(Config, 1, [{compression, Codec}]),
                  ok = brod_test:produce_all(Client, Topic, 0, Values),
                  ?assertEqual(Values, brod_test:values(brod_test:fetch_all(Client, Topic, 0))),
                  {Output, 0} = brod_test:kcat(["-C", "-e", "-t", Topic, "-p", "0"], <<>>),
                  ?assertEqual(Values, binary:split(Output, <<"\n">>, [global, trim]))
                end, ?CODECS).

%% What librdkafka compresses is read by us.
kcat_produces(Config) ->
  Client = client(Config),
  Values = compressible(1000),
  lists:foreach(fun(Codec) ->
                  Topic = brod_test:create_topic(1),
                  {_, 0} = brod_test:kcat(["-P", "-t", Topic, "-p", "0", "-z", codec_name(Codec)],
                                          lists:join("\n", Values)),
                  ?assertEqual(Values, brod_test:values(brod_test:fetch_all(Client, Topic, 0)))
                end, ?CODECS).

codec_name(no_compression) -> "none";
codec_name(Codec) -> atom_to_list(Codec).

compressible(Count) ->
  [<<N/binary, " ", (binary:copy(<<"the same again ">>, 10))/binary>>
   || N <- brod_test:numbers(1, Count)].

%% More than one call may write on a normal scheduler.
large_batch(Config) ->
  {Client, Topic} = started(Config, 1, []),
  Values = brod_test:numbers(1, 20000),
  ?assertEqual({ok, 0}, brod:produce_sync_offset(Client, Topic, 0, <<>>,
                                                 [{<<>>, V} || V <- Values])),
  ?assertEqual(Values, brod_test:values(brod_test:fetch_all(Client, Topic, 0))).

%% Far more callers than the buffer has room for: all wait their turn, none is lost or overtaken.
back_pressure(Config) ->
  {Client, Topic} = started(Config, 1, [{partition_buffer_limit, 2}, {partition_onwire_limit, 1}]),
  Callers = lists:seq(1, 50),
  Produce = fun(Caller) ->
              Refs = [begin
                        {ok, Ref} = brod:produce(Client, Topic, 0, integer_to_binary(Caller), V),
                        Ref
                      end || V <- brod_test:numbers(1, 20)],
              [brod:sync_produce_request(Ref, ?LIMIT_MS) || Ref <- Refs]
            end,
  Results = parallel(Produce, Callers),
  ?assertEqual([ok], lists:usort(lists:append(Results))),
  Read = brod_test:fetch_all(Client, Topic, 0),
  ?assertEqual(50 * 20, length(Read)),
  lists:foreach(fun(Caller) ->
                  Key = integer_to_binary(Caller),
                  ?assertEqual(brod_test:numbers(1, 20),
                               [V || #kafka_message{key = K, value = V} <- Read, K =:= Key])
                end, Callers).

parallel(Fun, Args) ->
  Self = self(),
  Pids = [spawn_link(fun() -> Self ! {self(), Fun(Arg)} end) || Arg <- Args],
  [receive {Pid, Result} -> Result after ?LIMIT_MS -> error(timeout) end || Pid <- Pids].

callbacks_in_order(Config) ->
  {Client, Topic} = started(Config, 1, []),
  {ok, Producer} = brod:get_producer(Client, Topic, 0),
  Self = self(),
  Count = 5000,
  lists:foreach(fun(N) ->
                  Callback = case N rem 2 of
                               0 -> fun(0, Offset) -> Self ! {acked, self(), N, Offset} end;
                               1 -> fun(0, Offset, ok) -> Self ! {acked, self(), N, Offset} end
                             end,
                  ok = brod:produce_cb(Client, Topic, 0, <<>>, integer_to_binary(N), Callback)
                end, lists:seq(1, Count)),
  lists:foreach(fun(N) ->
                  receive {acked, _, _, _} = Acked ->
                    ?assertEqual({acked, Producer, N, N - 1}, Acked)
                  after ?LIMIT_MS -> error({no_ack_of, N})
                  end
                end, lists:seq(1, Count)),
  %% a callback that fails costs nobody else anything
  ok = brod:produce_cb(Client, Topic, 0, <<>>, <<"bad">>, fun(_, _) -> error(callback_bug) end),
  ok = brod:produce_sync(Client, Topic, 0, <<>>, <<"after">>),
  ?assert(is_process_alive(Producer)),
  ?assertEqual([], brod_test:flush()).

no_ack(Config) ->
  {Client, Topic} = started(Config, 1, []),
  Values = brod_test:numbers(1, 100),
  [ok = brod:produce_no_ack(Client, Topic, 0, <<>>, V) || V <- Values],
  ok = brod:produce_sync(Client, Topic, 0, <<>>, <<"last">>),
  ?assertEqual(Values ++ [<<"last">>], brod_test:values(brod_test:fetch_all(Client, Topic, 0))),
  ?assertEqual([], brod_test:flush()).

%% A message that the broker refuses ends its producer, but costs no other message its delivery or
%% its answer; then the supervisor starts another one.
too_large_alone(Config) ->
  {Client, Topic} = started(Config, 1, [{max_linger_ms, 100}, {max_linger_count, 1000},
                                        {partition_restart_delay_seconds, 1}]),
  {ok, Producer} = brod:get_producer(Client, Topic, 0),
  Monitor = monitor(process, Producer),
  Values = [<<"before">>, binary:copy(<<"x">>, 2000000), <<"behind">>],
  Refs = [begin
            {ok, Ref} = brod:produce(Client, Topic, 0, <<>>, V),
            Ref
          end || V <- Values],
  Reason = {not_retriable, {produce_response_error, Topic, 0, -1, message_too_large}},
  ?assertEqual([ok, {error, {producer_down, Reason}}, ok],
               [brod:sync_produce_request(Ref, ?LIMIT_MS) || Ref <- Refs]),
  receive {'DOWN', Monitor, process, _, Down} -> ?assertEqual(Reason, Down)
  after ?LIMIT_MS -> error(producer_lives)
  end,
  {ok, Again} = brod_test:wait_until(fun() ->
                                       case brod:get_producer(Client, Topic, 0) of
                                         {ok, Pid} -> {ok, Pid};
                                         {error, _} -> false
                                       end
                                     end, ?LIMIT_MS),
  ?assertNotEqual(Producer, Again),
  ok = brod:produce_sync(Client, Topic, 0, <<>>, <<"later">>),
  ?assertEqual([<<"before">>, <<"behind">>, <<"later">>],
               brod_test:values(brod_test:fetch_all(Client, Topic, 0))).

%% A batch that the broker finds too large is split, wherever its calls begin and end. Each call is
%% answered once: with the offset of its first message, or why one of its messages was not stored.
split_calls(Config) ->
  Client = client(Config),
  Small = fun(N) -> {<<>>, <<(integer_to_binary(N))/binary, (binary:copy(<<"s">>, 300))/binary>>} end,
  Huge = {<<>>, binary:copy(<<"x">>, 5000)},
  lists:foreach(
    fun({Calls, Results, Stored}) ->
      Topic = brod_test:create_topic(1, #{configs => #{"max.message.bytes" => "1000"}}),
      %% All calls are in one batch.
      ok = brod:start_producer(Client, Topic, [{max_linger_ms, 60000},
                                               {max_linger_count, length(Calls)}]),
      Error = {error, {producer_down, {not_retriable, {produce_response_error, Topic, 0, -1,
                                                       message_too_large}}}},
      Refs = [case Call of
                {no_ack, Value} -> ok = brod:produce_no_ack(Client, Topic, 0, <<>>, Value), no_ack;
                Value -> {ok, Ref} = brod:produce(Client, Topic, 0, <<>>, Value), Ref
              end || Call <- Calls],
      ?assertEqual([case R of too_large -> Error; Offset -> {ok, Offset} end || R <- Results],
                   [brod:sync_produce_request_offset(Ref, ?LIMIT_MS)
                    || Ref <- Refs, Ref =/= no_ack]),
      ?assertEqual([element(2, Message) || Message <- Stored],
                   brod_test:values(brod_test:fetch_all(Client, Topic, 0)))
    end,
    [ {[[Huge, Small(1)]], [too_large], [Small(1)]}
    , {[[Small(1), Huge]], [too_large], [Small(1)]}
    , {[[Small(1), Small(2), Huge], [Small(3)]], [too_large, 2], [Small(N) || N <- [1, 2, 3]]}
    , {[[Small(1)], {no_ack, [Huge]}, [Small(2)]], [0, 1], [Small(1), Small(2)]}
    , {[[Small(1)], [Small(N) || N <- lists:seq(2, 10)], [Small(11)]], [0, 1, 10],
       [Small(N) || N <- lists:seq(1, 11)]}
    ]).

bad_input(Config) ->
  {Client, Topic} = started(Config, 1, []),
  {ok, Producer} = brod:get_producer(Client, Topic, 0),
  lists:foreach(fun({Key, Value}) ->
                  ?assertError(badarg, brod:produce(Client, Topic, 0, Key, Value))
                end, [{<<"k">>, atom}, {<<"k">>, 1}, {atom, <<"v">>}, {<<"k">>, [300]},
                      {<<"k">>, {<<"ts">>, <<"v">>}}, {<<"k">>, [{<<"k">>, <<"v">>}, atom]},
                      {<<"k">>, #{value => self()}}, {<<"k">>, #{value => <<"v">>, ts => now}},
                      {<<"k">>, #{value => <<"v">>, headers => nonsense}},
                      {<<"k">>, [<<"a">> | atom]}]),
  ?assertEqual({ok, Producer}, brod:get_producer(Client, Topic, 0)),
  %% no part of a bad batch was taken
  ?assertEqual({ok, 0}, brod:produce_sync_offset(Client, Topic, 0, <<>>, <<"good">>)).

%% With linger calls wait for each other and travel together; the count ends the wait at once.
linger(Config) ->
  {Client, Topic} = started(Config, 1, [{max_linger_ms, 60000}, {max_linger_count, 100},
                                        {partition_buffer_limit, 1000}]),
  Refs = [begin
            {ok, Ref} = brod:produce(Client, Topic, 0, <<>>, V),
            Ref
          end || V <- brod_test:numbers(1, 99)],
  ?assertEqual({error, timeout}, brod:sync_produce_request(hd(Refs), 200)),
  {ok, Last} = brod:produce(Client, Topic, 0, <<>>, <<"100">>),
  ?assertEqual([ok], lists:usort([brod:sync_produce_request(R, ?LIMIT_MS)
                                  || R <- tl(Refs) ++ [Last]])),
  ?assertEqual(brod_test:numbers(1, 100), brod_test:values(brod_test:fetch_all(Client, Topic, 0))),
  {_, Timed} = started(Config, 1, [{max_linger_ms, 100}]),
  ?assertEqual(ok, brod:produce_sync(Client, Timed, 0, <<>>, <<"after 100 ms">>)).

%% New partitions are found by the refresh of metadata, and get producers.
partitions_added(_Config) ->
  Client = brod_test:start_client([{metadata_max_age, 500}]),
  Topic = brod_test:create_topic(1),
  ok = brod:start_producer(Client, Topic, []),
  _ = brod_test:add_partitions(Topic, 3),
  brod_test:wait_until(fun() -> brod:get_partitions_count(Client, Topic) =:= {ok, 3} end,
                       ?LIMIT_MS),
  brod_test:wait_until(fun() ->
                         case brod:produce_sync(Client, Topic, 2, <<>>, <<"v">>) of
                           ok -> true;
                           {error, {producer_not_found, Topic, 2}} -> false
                         end
                       end, ?LIMIT_MS),
  ?assertEqual([<<"v">>], brod_test:values(brod_test:fetch_all(Client, Topic, 2))),
  ok = brod:stop_client(Client).

topic_deleted(Config) ->
  {Client, Topic} = started(Config, 1, [{max_retries, 2}, {retry_backoff_ms, 100}]),
  ok = brod:produce_sync(Client, Topic, 0, <<>>, <<"v">>),
  ok = brod:delete_topics(brod_test:bootstrap(), [Topic], 10000),
  %% brokers learn of it a little later
  Error = brod_test:wait_until(fun() ->
                                 case brod:produce_sync(Client, Topic, 0, <<>>, <<"v">>) of
                                   ok -> false;
                                   {error, Reason} -> Reason
                                 end
                               end, ?LIMIT_MS),
  ?assertMatch({producer_down, _}, Error).

%% A killed producer is gone for its callers at once, by name and by pid; its successor is found by both.
producer_killed(Config) ->
  {Client, Topic} = started(Config, 1, [{partition_restart_delay_seconds, 1}]),
  {ok, Pid} = brod:get_producer(Client, Topic, 0),
  ok = brod:produce_sync(Pid, <<"1">>),
  MRef = monitor(process, Pid),
  exit(Pid, kill),
  receive {'DOWN', MRef, process, Pid, killed} -> ok after ?LIMIT_MS -> error(not_killed) end,
  Gone = {error, {producer_down, noproc}},
  ?assertEqual(Gone, brod:produce_sync(Client, Topic, 0, <<>>, <<"lost">>)),
  ?assertEqual(Gone, brod:produce_sync(Pid, <<"lost">>)),
  brod_test:wait_until(fun() -> brod:produce_sync(Client, Topic, 0, <<>>, <<"2">>) =:= ok end,
                       ?LIMIT_MS),
  {ok, Successor} = brod:get_producer(Client, Topic, 0),
  ?assertEqual(ok, brod:produce_sync(Successor, <<"3">>)),
  ?assertEqual(Gone, brod:produce_sync(Pid, <<"lost">>)),
  Values = brod_test:values(brod_test:fetch_all(Client, Topic, 0)),
  %% a call that crossed the kill may have come through although its caller was told it is down
  ?assertEqual(brod_test:numbers(1, 3), [V || V <- Values, V =/= <<"lost">>]).

%% Whoever waits when the client is stopped is told that it was in vain.
client_stopped(Config) ->
  {Client, Topic} = started(Config, 1, [{max_linger_ms, 60000}, {max_linger_count, 1000}]),
  Self = self(),
  Refs = [begin
            {ok, Ref} = brod:produce(Client, Topic, 0, <<>>, <<"v">>),
            Ref
          end || _ <- lists:seq(1, 100)],
  ok = brod:produce_cb(Client, Topic, 0, <<>>, <<"v">>,
                       fun(P, O, Result) -> Self ! {callback, P, O, Result} end),
  ok = brod:stop_client(Client),
  lists:foreach(fun(Ref) ->
                  ?assertMatch({error, {producer_down, _}},
                               brod:sync_produce_request(Ref, ?LIMIT_MS))
                end, Refs),
  receive {callback, 0, -1, {error, _}} -> ok
  after ?LIMIT_MS -> error(callback_not_called)
  end,
  ?assertEqual({error, client_down}, brod:produce(Client, Topic, 0, <<>>, <<"v">>)).

client(Config) -> proplists:get_value(client, Config).

started(Config, Partitions, Options) ->
  Client = client(Config),
  Topic = brod_test:create_topic(Partitions),
  ok = brod:start_producer(Client, Topic, Options),
  {Client, Topic}.
