%% Producing: what arrives in Kafka, in which order, and what callers are told.
-module(brod_produce_SUITE).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2,
         end_per_testcase/2]).
-export([keys_values_headers/1, partitioners/1, acks/1, quota/1, codecs/1, kcat_reads/1, kcat_produces/1,
         large_batch/1, back_pressure/1, callbacks_in_order/1, no_ack/1, no_ack_drops/1, too_large_alone/1, split_calls/1,
         bad_records/1, times_of_a_batch/1, topic_made_again/1,
         bad_input/1, linger/1, partitions_added/1, topic_deleted/1,
         producer_killed/1, killed_with_callbacks/1, client_stopped/1, client_killed/1,
         client_stopped_before_producer/1, stopped_behind_dispatcher/1, failed_behind_dispatcher/1, dispatcher_killed/1,
         deep_nesting/1, large_lists/1, invalid_topic/1, telemetry_event/1, other_node/1]).

-include_lib("eunit/include/eunit.hrl").
-include("../include/brod.hrl").

-define(LIMIT_MS, 30000).
-define(CODECS, [no_compression, gzip, snappy, lz4, zstd]).

suite() -> [{timetrap, {seconds, 90}}].

all() ->
  [keys_values_headers, partitioners, acks, quota, codecs, kcat_reads, kcat_produces, large_batch,
   back_pressure, callbacks_in_order, no_ack, no_ack_drops, too_large_alone, split_calls,
   bad_records, times_of_a_batch, topic_made_again, bad_input, linger, partitions_added,
   topic_deleted, producer_killed, killed_with_callbacks, client_stopped, client_killed,
   client_stopped_before_producer, stopped_behind_dispatcher, failed_behind_dispatcher, dispatcher_killed,
   deep_nesting, large_lists, invalid_topic, telemetry_event, other_node].

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

%% A quota slows producers down, and nothing else: while the broker throttles, which is longer than it may
%% take to answer, nothing times out, is sent again or gets lost; and what waits to be sent stays bounded.
quota(_Config) ->
  Client = brod_test:start_client([{buffer_bytes, 1000000}]),
  Reader = brod_test:start_client(),
  ok = brod_test:limit_producers(Client, 100000),
  Log = brod_log:start(),
  %% A broker counts what it gets itself: all of them are led by one.
  Led = #{num_partitions => -1, replication_factor => -1,
          assignments => [#{partition_index => 0, broker_ids => [1]}]},
  Topics = [Unanswered | _] = [brod_test:create_topic(1, Led) || _ <- [0, 1, -1]],
  %% The limit for an answer is ten seconds more than `ack_timeout'.
  [ok = brod:start_producer(Client, Topic, [{required_acks, Acks}, {ack_timeout, 1}])
   || {Topic, Acks} <- lists:zip(Topics, [0, 1, -1])],
  Value = fun(N) -> <<N:32, 0:(8 * 50000)>> end,
  Begin = erlang:monotonic_time(millisecond),
  Refs = [begin {ok, Ref} = brod:produce(Client, Topic, 0, <<>>, Value(N)), Ref end
          || N <- lists:seq(1, 20), Topic <- Topics],
  [ok = brod:produce_no_ack(Client, Unanswered, 0, <<>>, Value(N)) || N <- lists:seq(21, 320)],
  brod_test:wait_until(fun() -> brod_log:has(Log, "messages of produce_no_ack") end, ?LIMIT_MS),
  [?assertEqual(ok, brod:sync_produce_request(Ref, 60000)) || Ref <- Refs],
  ?assert(erlang:monotonic_time(millisecond) - Begin > 11000),
  Stored = fun(Topic) -> [N || <<N:32, _/binary>> <- brod_test:values(brod_test:fetch_all(Reader, Topic, 0))] end,
  [?assertEqual(lists:seq(1, 20), Stored(Topic)) || Topic <- tl(Topics)],
  Numbers = brod_test:wait_until(fun() ->
                                   Ns = Stored(Unanswered),
                                   length(Ns) >= 20 andalso Ns
                                 end, ?LIMIT_MS),
  ?assertEqual({lists:seq(1, 20), lists:usort(Numbers)}, {lists:sublist(Numbers, 20), Numbers}),
  ?assertEqual(false, brod_log:has(Log, "timed out")),
  ok = brod_log:stop(Log),
  brod_test:stop_client(Client),
  brod_test:stop_client(Reader).

no_ack(Config) ->
  {Client, Topic} = started(Config, 1, []),
  Values = brod_test:numbers(1, 100),
  [ok = brod:produce_no_ack(Client, Topic, 0, <<>>, V) || V <- Values],
  ok = brod:produce_sync(Client, Topic, 0, <<>>, <<"last">>),
  ?assertEqual(Values ++ [<<"last">>], brod_test:values(brod_test:fetch_all(Client, Topic, 0))),
  ?assertEqual([], brod_test:flush()).

%% A message that the broker refuses for what it is costs no other message its delivery or its answer,
%% and its producer goes on.
too_large_alone(Config) ->
  {Client, Topic} = started(Config, 1, [{max_linger_ms, 100}, {max_linger_count, 1000}]),
  {ok, Producer} = brod:get_producer(Client, Topic, 0),
  Values = [<<"before">>, binary:copy(<<"x">>, 2000000), <<"behind">>],
  Refs = [begin
            {ok, Ref} = brod:produce(Client, Topic, 0, <<>>, V),
            Ref
          end || V <- Values],
  Reason = {not_retriable, {produce_response_error, Topic, 0, -1, message_too_large}},
  ?assertEqual([ok, {error, {producer_down, Reason}}, ok],
               [brod:sync_produce_request(Ref, ?LIMIT_MS) || Ref <- Refs]),
  ok = brod:produce_sync(Client, Topic, 0, <<>>, <<"later">>),
  ?assertEqual({ok, Producer}, brod:get_producer(Client, Topic, 0)),
  ?assertEqual([<<"before">>, <<"behind">>, <<"later">>],
               brod_test:values(brod_test:fetch_all(Client, Topic, 0))).

%% A compacted topic takes no message without a key, and the broker says which (KIP-467): the calls
%% beside it are stored.
bad_records(Config) ->
  Client = client(Config),
  Topic = brod_test:create_topic(1, #{configs => #{"cleanup.policy" => "compact"}}),
  ok = brod:start_producer(Client, Topic, [{max_linger_ms, 60000}, {max_linger_count, 4}]),
  {ok, Producer} = brod:get_producer(Client, Topic, 0),
  Calls = [{<<"k">>, <<"1">>}, {<<>>, <<"bad">>},
           {<<>>, [{<<"k">>, <<"not stored">>}, {<<>>, <<"bad">>}]}, {<<"k">>, <<"2">>}],
  Log = brod_log:start(),
  Refs = [element(2, {ok, _} = brod:produce(Client, Topic, 0, K, V)) || {K, V} <- Calls],
  Bad = {error, {producer_down, {not_retriable, {produce_response_error, Topic, 0, -1, invalid_record}}}},
  ?assertEqual([{ok, 0}, Bad, Bad, {ok, 1}],
               [brod:sync_produce_request_offset(Ref, ?LIMIT_MS) || Ref <- Refs]),
  %% The broker's words are for the log.
  Said = ["the broker refuses messages as invalid_record, topic ", Topic, ", partition 0, records 2, says \""],
  brod_test:wait_until(fun() -> brod_log:has(Log, Said) end, ?LIMIT_MS),
  ok = brod_log:stop(Log),
  ?assertEqual([<<"1">>, <<"2">>], brod_test:values(brod_test:fetch_all(Client, Topic, 0))),
  ?assertEqual({ok, Producer}, brod:get_producer(Client, Topic, 0)).

%% Nothing is held up and no memory is used up: what does not fit into buffer_bytes is dropped, and that
%% is said.
no_ack_drops(_Config) ->
  Client = brod_test:start_client([{buffer_bytes, 50000}]),
  Log = brod_log:start(),
  try
    Topic = brod_test:create_topic(1),
    ok = brod:start_producer(Client, Topic, [{max_linger_ms, 2000}, {max_linger_count, 1000000}]),
    Value = binary:copy(<<"v">>, 100),
    [ok = brod:produce_no_ack(Client, Topic, 0, <<>>, Value) || _ <- lists:seq(1, 5000)],
    brod_test:wait_until(fun() -> brod_log:has(Log, "messages of produce_no_ack") end, ?LIMIT_MS),
    ok = brod:produce_sync(Client, Topic, 0, <<>>, <<"last">>),
    Stored = length(brod_test:fetch_all(Client, Topic, 0)),
    ?assert(Stored > 300),
    ?assert(Stored < 1000)
  after
    brod_log:stop(Log),
    brod_test:stop_client(Client)
  end.

%% A pair has the time of the call, whatever times others beside it have; a map without a time that of the first message.
times_of_a_batch(Config) ->
  {Client, Topic} = started(Config, 1, []),
  Before = os:system_time(millisecond),
  ok = brod:produce_sync(Client, Topic, 0, <<>>,
                         [#{value => <<"1">>, ts => 1000}, #{value => <<"2">>}, {2000, <<>>, <<"3">>}, {<<>>, <<"4">>},
                          {3000, <<>>, [{<<>>, <<"5">>}, #{value => <<"6">>}]}]),
  After = os:system_time(millisecond),
  Times = [Ts || #kafka_message{ts = Ts} <- brod_test:fetch_all(Client, Topic, 0)],
  ?assertEqual([1000, 1000, 2000, now, now, 1000],
               [case Ts >= Before andalso Ts =< After of true -> now; false -> Ts end || Ts <- Times]).

%% The topic of the same name is another one: offsets and sequence numbers begin anew.
topic_made_again(Config) ->
  {Client, Topic} = started(Config, 1, [{max_retries, 100}]),
  [ok = brod:produce_sync(Client, Topic, 0, <<>>, V) || V <- brod_test:numbers(1, 3)],
  ok = brod:delete_topics(brod_test:bootstrap(), [Topic], 10000),
  brod_test:wait_until(fun() -> brod:create_topics(brod_test:bootstrap(), [brod_test:topic_spec(Topic, 1)],
                                                   #{timeout => 10000}) =:= ok
                       end, ?LIMIT_MS),
  _ = brod_test:await_topic(Topic, 1),
  ?assertEqual([{ok, 0}, {ok, 1}],
               [brod:produce_sync_offset(Client, Topic, 0, <<>>, V) || V <- [<<"a">>, <<"b">>]]),
  ?assertEqual([<<"a">>, <<"b">>], brod_test:values(brod_test:fetch_all(Client, Topic, 0))).

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
  {Client, Topic} = started(Config, 1, [{partition_restart_delay_seconds, 5}]),
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

%% Callbacks that wait when their producer is killed are called by somebody else.
killed_with_callbacks(Config) ->
  {Client, Topic} = started(Config, 1, [{max_linger_ms, 60000}, {max_linger_count, 1000}]),
  {ok, Pid} = brod:get_producer(Client, Topic, 0),
  Self = self(),
  [ok = brod:produce_cb(Client, Topic, 0, <<>>, <<"v">>,
                        fun(P, O, Result) -> Self ! {callback, N, P, O, Result} end)
   || N <- [1, 2]],
  {ok, Ref} = brod:produce(Client, Topic, 0, <<>>, <<"v">>),
  exit(Pid, kill),
  ?assertEqual([{callback, N, 0, -1, {error, killed}} || N <- [1, 2]],
               [receive {callback, N, _, _, _} = Called -> Called
                after ?LIMIT_MS -> not_called
                end || N <- [1, 2]]),
  receive #brod_produce_reply{call_ref = CallRef, result = Result} ->
    ?assertEqual({Ref, {error, {producer_down, killed}}}, {CallRef, Result})
  after ?LIMIT_MS -> error(no_reply)
  end.

%% Producers under somebody else's supervisor outlive the client, and work again when it is back.
client_killed(Config) ->
  outlives(client(Config), fun(Client) -> exit(whereis(Client), kill) end).

client_stopped_before_producer(Config) ->
  outlives(client(Config), fun(Client) -> ok = brod:stop_client(Client) end).

outlives(Client, EndClient) ->
  process_flag(trap_exit, true),
  Topic = brod_test:create_topic(1),
  {ok, Producer} = brod_producer:start_link(Client, Topic, 0,
                                            [{max_linger_ms, 60000}, {max_linger_count, 1000}]),
  Self = self(),
  {ok, Ref} = brod:produce(Producer, <<>>, <<"v">>),
  ok = brod:produce_cb(Producer, <<>>, <<"v">>,
                       fun(P, O, Result) -> Self ! {callback, P, O, Result} end),
  _ = EndClient(Client),
  receive #brod_produce_reply{call_ref = Ref, result = Result} ->
    ?assertEqual({error, {producer_down, client_down}}, Result)
  after ?LIMIT_MS -> error(no_reply)
  end,
  receive {callback, 0, -1, {error, client_down}} -> ok
  after ?LIMIT_MS -> error(callback_not_called)
  end,
  %% it goes on with the next process of the client
  ok = brod:stop_client(Client),
  ok = brod:start_client(brod_test:bootstrap(), Client, []),
  {ok, Batch} = brod:produce(Producer, <<>>, [{<<>>, <<"v">>} || _ <- lists:seq(1, 1000)]),
  [{ok, _} = brod:produce(Producer, <<>>, <<"v">>) || _ <- lists:seq(2, 1000)],
  ?assertMatch({ok, _}, brod:sync_produce_request_offset(Batch, ?LIMIT_MS)),
  ?assertEqual({ok, Producer}, brod:get_producer(Client, Topic, 0)),
  ok = brod_producer:stop(Producer).

%% A producer is stopped while acks of stored messages are on their way through a dispatcher.
stopped_behind_dispatcher(Config) ->
  {Client, Topic, Producer, Dispatchers} = with_suspended_dispatchers(Config),
  Caller = calls(10, fun() -> brod:produce(Client, Topic, 0, <<>>, <<"v">>) end),
  stored(Client, Topic, 10),
  Self = self(),
  [ok = brod:produce_cb(Client, Topic, 0, <<>>, <<"v">>,
                        fun(0, Offset) -> Self ! {callback, Offset} end) || _ <- lists:seq(1, 5)],
  stored(Client, Topic, 15),
  Stopper = spawn_link(fun() -> ok = brod_client:stop_producer(Client, Topic) end),
  MRef = monitor(process, Stopper),
  brod_test:wait_until(fun() -> is_ending(Producer) end, ?LIMIT_MS),
  lists:foreach(fun erlang:resume_process/1, Dispatchers),
  receive {'DOWN', MRef, process, _, Reason} -> ?assertEqual(normal, Reason)
  after ?LIMIT_MS -> error(not_stopped)
  end,
  ?assertEqual([{ok, Offset} || Offset <- lists:seq(0, 9)], results(Caller)),
  ?assertEqual(lists:seq(10, 14),
               [receive {callback, Offset} -> Offset after ?LIMIT_MS -> not_called end
                || _ <- lists:seq(1, 5)]).

is_ending(Producer) ->
  case process_info(Producer, current_stacktrace) of
    {_, Stack} -> lists:any(fun({M, F, _, _}) -> {M, F} =:= {brod_producer, terminate} end, Stack);
    undefined -> true
  end.

%% Who waits for a reply that a killed dispatcher had not passed on hears that, and so does the log. What the
%% broker answers later still reaches its caller.
dispatcher_killed(Config) ->
  {Client, Topic, _Producer, Dispatchers} = with_suspended_dispatchers(Config),
  Log = brod_log:start(),
  Caller = calls(10, fun() -> brod:produce(Client, Topic, 0, <<>>, <<"v">>) end),
  stored(Client, Topic, 10),
  [exit(Dispatcher, kill) || Dispatcher <- Dispatchers],
  [case Result of
     {ok, Stored} -> ?assertEqual(Offset, Stored);
     _ -> ?assertMatch({error, {producer_down, _}}, Result)
   end || {Offset, Result} <- lists:zip(lists:seq(0, 9), results(Caller))],
  brod_test:wait_until(fun() -> brod_log:has(Log, "{dispatcher_down,killed}") end, ?LIMIT_MS),
  ok = brod_log:stop(Log).

%% A call fails while acks of stored messages, and the news of the failure, are on their way through a
%% dispatcher.
failed_behind_dispatcher(Config) ->
  {Client, Topic, Producer, Dispatchers} = with_suspended_dispatchers(Config),
  Caller = calls(10, fun() -> brod:produce(Client, Topic, 0, <<>>, <<"v">>) end),
  stored(Client, Topic, 10),
  Self = self(),
  TooLarge = binary:copy(<<"x">>, 2000000),
  ok = brod:produce_cb(Client, Topic, 0, <<>>, TooLarge,
                       fun(P, O, Result) -> Self ! {callback, P, O, Result} end),
  %% acks and nacks
  brod_test:wait_until(fun() ->
                         Waiting = [element(2, process_info(D, message_queue_len))
                                    || D <- Dispatchers],
                         lists:sum(Waiting) >= 2 orelse not is_process_alive(Producer)
                       end, ?LIMIT_MS),
  lists:foreach(fun erlang:resume_process/1, Dispatchers),
  ?assertEqual([{ok, Offset} || Offset <- lists:seq(0, 9)], results(Caller)),
  Reason = {not_retriable, {produce_response_error, Topic, 0, -1, message_too_large}},
  receive {callback, 0, -1, Result} -> ?assertEqual({error, Reason}, Result)
  after ?LIMIT_MS -> error(callback_not_called)
  end.

with_suspended_dispatchers(Config) ->
  %% batches of more calls than the engine answers itself
  {Client, Topic} = started(Config, 1, [{max_linger_ms, 60000}, {max_linger_count, 5}]),
  {ok, Producer} = brod:get_producer(Client, Topic, 0),
  {monitors, Monitors} = process_info(whereis(Client), monitors),
  Dispatchers = [Pid || {process, Pid} <- Monitors,
                        proc_lib:translate_initial_call(Pid) =:= {brod_dispatcher, init, 1}],
  ?assertNotEqual([], Dispatchers),
  lists:foreach(fun erlang:suspend_process/1, Dispatchers),
  {Client, Topic, Producer, Dispatchers}.

%% A process that makes calls and waits for all their results.
calls(Count, Call) ->
  Self = self(),
  spawn_link(fun() ->
               Refs = [element(2, {ok, _} = Call()) || _ <- lists:seq(1, Count)],
               Self ! {self(), [brod:sync_produce_request_offset(Ref, ?LIMIT_MS) || Ref <- Refs]}
             end).

results(Caller) -> receive {Caller, Results} -> Results after ?LIMIT_MS -> error(no_results) end.

stored(Client, Topic, Count) ->
  brod_test:wait_until(fun() -> brod:resolve_offset(Client, Topic, 0) =:= {ok, Count} end, ?LIMIT_MS).

%% Nested far deeper than any stack of the engine.
deep_nesting(Config) ->
  {Client, Topic} = started(Config, 1, []),
  Levels = lists:seq(1, 1000000),
  Nested = fun(Wrap, Inner) -> lists:foldl(fun(_, Term) -> Wrap(Term) end, Inner, Levels) end,
  Deep = Nested(fun(Term) -> [Term] end, <<"v">>),
  Left = Nested(fun(Term) -> [Term, <<>>] end, <<"v">>),
  Batch = Nested(fun(Term) -> [{<<"k">>, Term}] end, [{<<"k">>, <<"v">>}]),
  WithMore = Nested(fun(Term) -> [{<<>>, Term}, {<<>>, <<>>}] end, [{<<"k">>, <<"v">>}]),
  lists:foreach(fun(Value) -> ?assertEqual(ok, brod:produce_sync(Client, Topic, 0, <<>>, Value)) end,
                [Deep, Left, Batch, [{Deep, Deep}],
                 #{key => <<"k">>, value => <<"v">>, headers => [{Deep, Deep}]}]),
  ?assertEqual([{<<>>, <<"v">>}, {<<>>, <<"v">>}, {<<"k">>, <<"v">>}, {<<"v">>, <<"v">>},
                {<<"k">>, <<"v">>}],
               [{K, V} || #kafka_message{key = K, value = V}
                            <- brod_test:fetch_all(Client, Topic, 0)]),
  ?assertMatch({ok, _}, brod:produce(Client, Topic, 0, <<>>, WithMore)),
  lists:foreach(fun(Value) ->
                  ?assertError(badarg, brod:produce(Client, Topic, 0, <<>>, Value))
                end, [Nested(fun(Term) -> [Term] end, atom),
                      Nested(fun(Term) -> [{<<"k">>, Term}] end, [{<<"k">>, atom}]),
                      Nested(fun(Term) -> [{<<"k">>, Term} | atom] end, [{<<"k">>, <<"v">>}])]).

%% What takes long to flatten arrives whole, whatever it is made of.
large_lists(Config) ->
  {Client, Topic} = started(Config, 1, []),
  Chars = lists:duplicate(100000, $c),
  Parts = lists:duplicate(2000, [<<"some">>, [$p, "art"]]),
  Headers = [{[<<"name">>, integer_to_binary(N)], Parts} || N <- lists:seq(1, 20)],
  lists:foreach(fun(Value) -> ?assertEqual(ok, brod:produce_sync(Client, Topic, 0, Parts, Value)) end,
                [Chars, Parts, #{value => Chars, headers => Headers}]),
  [Read1, Read2, Read3] = brod_test:fetch_all(Client, Topic, 0),
  [Key, Value1, Value2] = [iolist_to_binary(IoData) || IoData <- [Parts, Chars, Parts]],
  ?assertMatch(#kafka_message{key = Key, value = Value1}, Read1),
  ?assertMatch(#kafka_message{key = Key, value = Value2}, Read2),
  ?assertEqual([{iolist_to_binary(N), iolist_to_binary(V)} || {N, V} <- Headers],
               Read3#kafka_message.headers).

%% The brokers say that it will never be a topic: nobody has to wait for the delivery timeout.
invalid_topic(Config) ->
  process_flag(trap_exit, true),
  Topic = <<"not a topic!">>,
  {ok, Producer} = brod_producer:start_link(client(Config), Topic, 0, []),
  Reason = {not_retriable, {produce_response_error, Topic, 0, -1, invalid_topic_exception}},
  {ok, Ref} = brod:produce(Producer, <<>>, <<"v">>),
  ?assertEqual({error, {producer_down, Reason}}, brod:sync_produce_request(Ref, ?LIMIT_MS)),
  receive {'EXIT', Producer, Exit} -> ?assertEqual(Reason, Exit)
  after ?LIMIT_MS -> error(producer_lives)
  end.

telemetry_event(Config) ->
  Self = self(),
  ok = brod_fake:load(telemetry, #{{execute, 3} => fun(Event, Measurements, Metadata) ->
                                                     Self ! {Event, self(), Measurements, Metadata},
                                                     ok
                                                   end}),
  try
    {Client, Topic} = started(Config, 1, []),
    {ok, Producer} = brod:get_producer(Client, Topic, 0),
    ok = brod:produce_sync(Client, Topic, 0, <<>>,
                           [#{key => <<"key">>, value => <<"value">>, headers => [{<<"h">>, <<"1">>}]},
                            #{key => <<>>, value => <<"v">>}]),
    receive {[brod, produce_request_sent], Pid, Measurements, Metadata} ->
      ?assertEqual({Producer, #{count => 2, bytes => 3 + 5 + 2 + 1 + 2 * 8},
                    #{topic => Topic, partition => 0}}, {Pid, Measurements, Metadata})
    after ?LIMIT_MS -> error(no_event)
    end
  after
    brod_fake:unload(telemetry)
  end.

%% A producer's pid works on another node.
other_node(Config) ->
  brod_test:distributed(fun() -> with_peer(fun(Node) -> produced_from(Node, Config) end) end).

produced_from(Node, Config) ->
  {Client, Topic} = started(Config, 1, []),
  {ok, Producer} = brod:get_producer(Client, Topic, 0),
  Call = fun(F, A) -> erpc:call(Node, brod, F, A, ?LIMIT_MS) end,
  ?assertEqual(ok, Call(produce_sync, [Producer, <<"k">>, <<"1">>])),
  ?assertEqual(ok, Call(produce_sync, [Producer, <<>>, [{<<"k">>, <<"2">>}, {<<>>, <<"3">>}]])),
  ?assertMatch({ok, #brod_call_ref{callee = Producer}},
               Call(produce, [Producer, <<"k">>, <<"4">>])),
  Self = self(),
  ok = Call(produce_cb, [Producer, <<>>, <<"5">>, fun(P, O) -> Self ! {acked, P, O} end]),
  receive Acked -> ?assertEqual({acked, 0, 4}, Acked) after ?LIMIT_MS -> error(no_ack) end,
  ?assertEqual(brod_test:numbers(1, 5),
               brod_test:values(brod_test:fetch_all(Client, Topic, 0))),
  ok = brod_client:stop_producer(Client, Topic),
  ?assertEqual({error, {producer_down, noproc}}, Call(produce_sync, [Producer, <<>>, <<"v">>])).

with_peer(Fun) ->
  Args = lists:append([["-pa", Dir] || Dir <- code:get_path(), filelib:is_dir(Dir)]),
  {ok, Peer, Node} = peer:start_link(#{name => brod_test:unique_name("peer"), args => Args}),
  try Fun(Node) after ok = peer:stop(Peer) end.

client(Config) -> proplists:get_value(client, Config).

started(Config, Partitions, Options) ->
  Client = client(Config),
  Topic = brod_test:create_topic(Partitions),
  ok = brod:start_producer(Client, Topic, Options),
  {Client, Topic}.
