%% @private `brod bench': how fast a topic is written and read from here.
-module(brod_cli_bench).
-behaviour(brod_topic_subscriber).

-export([options/0, run/2]).
-export([percentile/2]).
-export([init/2, handle_message/3]).

-include("brod_int.hrl").

-define(CLIENT, brod_cli).
-define(IDLE_MS, 10000).
-define(TICK_MS, 100).
%% Of so many messages the latency of one is kept.
-define(SAMPLE, 100).

%% @doc What the command takes.
-spec options() -> brod_cli:spec().
options() ->
  [{"topic", string, "-t: the topic; produce writes into it"}, {"count", natural, "-n: how many messages (100000)"},
   {"size", natural, "bytes of a value (100)"}, {"acks", integer, "-1, 1 or 0"},
   {"compression", string, "none, gzip, snappy, lz4 or zstd"}].

%% @doc Produce messages, or consume those that are there.
-spec run(map(), [string()]) -> ok | {error, term()}.
run(Options, ["produce"]) ->
  Topic = brod_cli_cluster:need_text("topic", Options),
  Count = maps:get("count", Options, 100000),
  Value = rand:bytes(maps:get("size", Options, 100)),
  brod_cli_cluster:with_client(Options, fun() ->
    ok = brod_cli_messages:start_producer(?CLIENT, Topic, producer(Options)),
    Partitions = brod_cli_cluster:partitions(Topic, #{}),
    %% Messages that are acked, and failures.
    Counters = counters:new(2, [write_concurrency]),
    Bar = brod_cli_output:progress("messages", Count),
    Start = now_us(),
    ok = produce(Topic, list_to_tuple(Partitions), Value, Count, Counters, self()),
    ok = await(Counters, Count, Bar, 0, now_us()),
    Us = now_us() - Start,
    Latencies = lists:sort(latencies()),
    case counters:get(Counters, 2) of
      0 ->
        brod_cli_output:rows(Options, [messages, seconds, messages_per_second, mb_per_second, latency_ms_p50, latency_ms_p99],
                             [rates(Count, Count * byte_size(Value), Us)
                              ++ [decimal(percentile(P, Latencies) / 1000) || P <- [50, 99]]]);
      Failed -> {error, iolist_to_binary(io_lib:format("~b of ~b messages were not stored", [Failed, Count]))}
    end
  end);
run(Options, ["consume"]) ->
  Topic = brod_cli_cluster:need_text("topic", Options),
  brod_cli_cluster:with_client(Options, fun() ->
    There = lists:sum([brod_cli_cluster:resolve(Topic, P, latest) - brod_cli_cluster:resolve(Topic, P, earliest)
                       || P <- brod_cli_cluster:partitions(Topic, #{})]),
    Count = min(There, maps:get("count", Options, There)),
    Counters = counters:new(2, []),
    Bar = brod_cli_output:progress("messages", Count),
    Start = now_us(),
    {ok, Subscriber} = brod_cli_cluster:must(brod:start_link_topic_subscriber(
      #{client => ?CLIENT, topic => Topic, cb_module => ?MODULE, init_data => Counters, message_type => message_set,
        consumer_config => [{begin_offset, earliest}, {prefetch_bytes, 16777216}, {max_bytes, 4194304}]}), Topic),
    ok = await(Counters, Count, Bar, 0, now_us()),
    Us = now_us() - Start,
    Got = counters:get(Counters, 1),
    Bytes = counters:get(Counters, 2),
    ok = brod_topic_subscriber:stop(Subscriber),
    brod_cli_output:rows(Options, [messages, seconds, messages_per_second, mb_per_second], [rates(Got, Bytes, Us)])
  end);
run(_Options, _Words) -> brod_cli_commands:usage("bench").

producer(Options) ->
  [{required_acks, Acks} || #{"acks" := Acks} <- [Options]]
    ++ [{compression, compression(Name)} || #{"compression" := Name} <- [Options]].

compression("none") -> no_compression;
compression(Name) ->
  case [C || C <- [gzip, snappy, lz4, zstd], atom_to_list(C) =:= Name] of
    [Compression] -> Compression;
    [] -> throw({usage, ["no compression ", Name, ": none, gzip, snappy, lz4, zstd"]})
  end.

produce(_Topic, _Partitions, _Value, 0, _Counters, _Owner) -> ok;
produce(Topic, Partitions, Value, Left, Counters, Owner) ->
  Partition = element(Left rem tuple_size(Partitions) + 1, Partitions),
  Sent = now_us(),
  Acked = fun(_, _, Result) ->
            Left rem ?SAMPLE =:= 0 andalso (Owner ! {latency, now_us() - Sent}),
            Result =:= ok orelse counters:add(Counters, 2, 1),
            counters:add(Counters, 1, 1)
          end,
  ok = brod_cli_cluster:must(brod:produce_cb(?CLIENT, Topic, Partition, <<>>, Value, Acked), "not sent"),
  produce(Topic, Partitions, Value, Left - 1, Counters, Owner).

%% What was counted grows, or there is an end.
await(Counters, Count, Bar, Before, Since) ->
  Done = counters:get(Counters, 1),
  Next = brod_cli_output:step(Bar, Done - Before),
  if
    Done >= Count -> brod_cli_output:finish(Next);
    Done > Before -> timer:sleep(min(?TICK_MS, 1 + Done div 1000)), await(Counters, Count, Next, Done, now_us());
    true ->
      now_us() - Since < ?IDLE_MS * 1000 orelse throw({failed, io_lib:format("only ~b of ~b messages came", [Done, Count])}),
      timer:sleep(1),
      await(Counters, Count, Next, Done, Since)
  end.

latencies() ->
  receive {latency, Us} -> [Us | latencies()] after 0 -> [] end.

rates(Count, Bytes, Us) ->
  Seconds = max(1, Us) / 1000000,
  [Count, decimal(Seconds), round(Count / Seconds), decimal(Bytes / Seconds / 1000000)].

%% In hundredths.
decimal(Number) -> round(Number * 100) / 100.

%% @doc The value that so many of a hundred do not exceed, of a sorted list; 0 of none.
-spec percentile(1..100, [number()]) -> number().
percentile(_, []) -> 0;
percentile(P, Sorted) -> lists:nth(max(1, (length(Sorted) * P + 99) div 100), Sorted).

now_us() -> erlang:monotonic_time(microsecond).

%% @private
init(_Topic, Counters) -> {ok, [], Counters}.

%% @private
handle_message(_Partition, #kafka_message_set{messages = Messages}, Counters) ->
  Bytes = lists:sum([byte_size(K) + byte_size(V) || #kafka_message{key = K, value = V} <- Messages]),
  counters:add(Counters, 2, Bytes),
  counters:add(Counters, 1, length(Messages)),
  {ok, ack, Counters}.
