%% One benchmark scenario through brod's public API, so that any application called brod on the code path
%% can be measured. One scenario a VM:
%%
%%   erl -noshell -pa BROD/ebin -pa . -s bench_client main -extra SCENARIO bootstrap=HOST:PORT topic=T ...
%%
%% Prints one line of fields separated by tabs, which run.sh makes a table of: name, messages/s, MB/s,
%% CPU seconds of this VM per million messages, peak memory in MB, and what else is worth saying.
-module(bench_client).
-behaviour(brod_topic_subscriber).

-include_lib("brod/include/brod.hrl").

-export([main/0]).
-export([init/2, handle_message/2, handle_message/3]).

-define(CLIENT, bench_client).
%% Nothing may take longer than this many milliseconds.
-define(LIMIT, 300000).

-type options() :: #{binary() => binary()}.

main() ->
  [Scenario | Settings] = init:get_plain_arguments(),
  Options = maps:from_list([begin
                              [K, V] = string:split(S, "="),
                              {list_to_binary(K), list_to_binary(V)}
                            end || S <- Settings]),
  try
    {ok, _} = application:ensure_all_started(brod),
    run(Scenario, Options)
  of
    _ -> halt(0)
  catch
    Class:Reason:Stack ->
      io:format(standard_error, "bench: ~s failed: ~p~n", [Scenario, {Class, Reason, Stack}]),
      halt(1)
  end.

%% One message a call: every caller keeps up to `window' messages unacknowledged.
run("produce", Options) ->
  produce(Options, 1, value(Options));
%% `per_call' messages a call.
run("produce_batch", Options) ->
  PerCall = int(per_call, Options, 100),
  produce(Options, PerCall, lists:duplicate(PerCall, #{key => <<>>, value => value(Options)}));
%% Every caller waits for each of its messages.
run("sync", Options) ->
  Topic = new_topic(Options),
  start_producer(Topic, Options),
  Callers = int(callers, Options, 1),
  PerCaller = int(messages, Options, 20000) div Callers,
  Value = value(Options),
  measure(Options, Callers * PerCaller, fun() ->
    Latencies = in_parallel(Callers, fun(I) ->
      [timed_sync(Topic, partition(I + K, Options), Value) || K <- lists:seq(1, PerCaller)]
    end),
    percentiles(lists:sort(lists:append(Latencies)))
  end);
%% Every caller has a transactional id, and writes `per_txn' messages a transaction, `per_call' a call. How long a
%% transaction takes, from its start to the end of its commit.
run("txn", Options) ->
  Topic = new_topic(Options),
  start_client(Options),
  Callers = int(callers, Options, 8),
  PerTxn = int(per_txn, Options, 1000),
  PerCall = min(PerTxn, int(per_call, Options, 100)),
  Transactions = max(1, int(messages, Options, 1000000) div PerTxn div Callers),
  Batch = lists:duplicate(PerCall, #{key => <<>>, value => value(Options)}),
  Id = fun(I) -> iolist_to_binary(io_lib:format("bench-~b-~b", [os:system_time(), I])) end,
  Run = fun(I, TxnId) ->
          T0 = erlang:monotonic_time(microsecond),
          {ok, Tx} = brod:transaction(?CLIENT, TxnId, []),
          [ok = brod:txn_produce_async(Tx, Topic, partition(I + Call, Options), Batch)
           || Call <- lists:seq(1, PerTxn div PerCall)],
          ok = brod:commit(Tx),
          erlang:monotonic_time(microsecond) - T0
        end,
  _ = Run(0, Id(Callers)),
  measure(Options, Callers * Transactions * PerTxn, fun() ->
    Times = in_parallel(Callers, fun(I) ->
      TxnId = Id(I),
      [Run(I, TxnId) || _ <- lists:seq(1, Transactions)]
    end),
    percentiles(lists:sort(lists:append(Times)))
  end);
%% Raw subscriptions, every set acknowledged.
run("subscribe", Options) ->
  Topic = topic(Options),
  start_client(Options),
  ok = brod:start_consumer(?CLIENT, Topic, consumer_config()),
  Messages = int(messages, Options, 1000000),
  measure(Options, Messages, fun() ->
    subscribe_all(Topic, Options),
    receive_sets(Messages)
  end);
run("topic_subscriber", Options) ->
  start_client(Options),
  Messages = int(messages, Options, 1000000),
  measure(Options, Messages, fun() ->
    {ok, Pid} = brod:start_link_topic_subscriber(
                  #{client => ?CLIENT, topic => topic(Options), cb_module => ?MODULE,
                    message_type => type(Options), init_data => {self(), Messages},
                    consumer_config => consumer_config()}),
    await(done),
    unlink(Pid),
    ""
  end);
run("group_subscriber", Options) ->
  start_client(Options),
  Messages = int(messages, Options, 1000000),
  %% The workers, one a partition, count together.
  Left = counters:new(1, []),
  counters:put(Left, 1, Messages),
  Group = iolist_to_binary(io_lib:format("bench-~b", [os:system_time()])),
  measure(Options, Messages, fun() ->
    {ok, Pid} = brod:start_link_group_subscriber_v2(
                  #{client => ?CLIENT, group_id => Group, topics => [topic(Options)],
                    cb_module => ?MODULE, message_type => type(Options),
                    init_data => {self(), Left}, consumer_config => consumer_config()}),
    await(done),
    unlink(Pid),
    ""
  end);
%% From the call that produces to the callback or message that brings it: `rate' messages/s for `messages', or one
%% after the other without; `via' subscribe, topic_subscriber or group_subscriber. Values carry their time.
run("latency", Options) ->
  Topic = new_topic(Options),
  start_producer(Topic, Options),
  Messages = int(messages, Options, 5000),
  start_reader(atom(via, Options, subscribe), Topic, Options),
  %% Not before the reader gets what is written: a group takes its time to form.
  ok = brod:produce_sync(?CLIENT, Topic, 0, <<>>, stamp(Options)),
  _ = next_latency(),
  measure(Options, Messages, fun() ->
    Latencies =
      case int(rate, Options, 0) of
        0 ->
          [begin
             {ok, _} = brod:produce(?CLIENT, Topic, partition(I, Options), <<>>, stamp(Options)),
             next_latency()
           end || I <- lists:seq(1, Messages)];
        Rate ->
          spawn_link(fun() -> paced(Topic, Options, Messages, Rate) end),
          [next_latency() || _ <- lists:seq(1, Messages)]
      end,
    percentiles(lists:sort(Latencies))
  end);
%% How long one call keeps a scheduler: the smallest, and the largest that a normal one takes. They
%% linger, so that no thread of the engine wakes up in between and takes the core away.
run("calls", Options) ->
  Topic = new_topic(Options),
  start_producer(Topic, Options#{<<"linger">> => <<"20">>}),
  Value = value(Options),
  Time = fun(Input) ->
    T0 = erlang:monotonic_time(nanosecond),
    ok = brod:produce_no_ack(?CLIENT, Topic, 0, <<>>, Input),
    (erlang:monotonic_time(nanosecond) - T0) / 1000
  end,
  lists:foreach(fun({Shape, Input}) ->
    Times = [begin
               Round = [Time(Input) || _ <- lists:seq(1, 20)],
               ok = brod:produce_sync(?CLIENT, Topic, 0, <<>>, <<>>),
               Round
             end || _ <- lists:seq(1, 100)],
    line(Options#{<<"name">> := Shape},
         ["-", "-", "-", "-", percentiles(lists:sort(lists:append(Times)))])
  end, [{"call, 100 bytes", Value},
        {"call, 48 KB", binary:copy(<<0>>, 49000)},
        {"call, 256 messages", lists:duplicate(256, #{key => <<>>, value => Value})}]);
%% What one call takes of its scheduler, without the engine's threads and without the reply: the best of many short
%% loops, which differs by a few percent from run to run, even where other programs have the same cores. They linger, as above.
run("append", Options) ->
  append(Options, fun(Topic, Value) -> {ok, _} = brod:produce(?CLIENT, Topic, 0, <<>>, Value) end);
run("append_no_ack", Options) ->
  append(Options, fun(Topic, Value) -> ok = brod:produce_no_ack(?CLIENT, Topic, 0, <<>>, Value) end);
%% Subscribed to empty partitions, nothing happens. A duration is measured here, so it has to pass.
run("idle", Options) ->
  Topic = new_topic(Options),
  start_client(Options),
  ok = brod:start_consumer(?CLIENT, Topic, consumer_config()),
  subscribe_all(Topic, Options),
  Seconds = int(seconds, Options, 20),
  ok = pass(5),
  Cpu = cpu_seconds(),
  ok = pass(Seconds),
  Percent = (cpu_seconds() - Cpu) * 100 / Seconds,
  Descriptors = length(filelib:wildcard("/proc/self/fd/*")),
  line(Options, ["-", "-", "-", io_lib:format("~.1f", [peak_mb()]),
                 io_lib:format("~.2f % of a core, ~b descriptors", [Percent, Descriptors])]).

%% Producing

produce(Options, PerCall, Value) ->
  Topic = new_topic(Options),
  start_producer(Topic, Options),
  Callers = int(callers, Options, 8),
  Calls = int(messages, Options, 1000000) div PerCall div Callers,
  Window = max(1, int(window, Options, 1000) div PerCall),
  %% Looked up once: a look-up for each message would be a twentieth of what is measured.
  Partitions = int(partitions, Options, 8),
  measure(Options, Callers * Calls * PerCall, fun() ->
    in_parallel(Callers, fun(I) -> produce_loop(Topic, I, Value, Partitions, Calls, 0, Window) end),
    ""
  end).

produce_loop(_Topic, _I, _Value, _Partitions, 0, 0, _Window) -> ok;
produce_loop(Topic, I, Value, Partitions, Left, Waiting, Window) when Left =:= 0; Waiting >= Window ->
  receive
    #brod_produce_reply{result = brod_produce_req_acked} -> ok
  after ?LIMIT -> error(no_reply)
  end,
  produce_loop(Topic, I, Value, Partitions, Left, Waiting - 1, Window);
produce_loop(Topic, I, Value, Partitions, Left, Waiting, Window) ->
  {ok, _} = brod:produce(?CLIENT, Topic, (I + Left) rem Partitions, <<>>, Value),
  produce_loop(Topic, I, Value, Partitions, Left - 1, Waiting + 1, Window).

append(Options, Call) ->
  Topic = new_topic(Options),
  start_producer(Topic, Options#{<<"linger">> => <<"20">>}),
  Value = value(Options),
  Calls = 1000,
  Loops = lists:sort([append_loop(Topic, Value, Call, Calls) || _ <- lists:seq(1, 100)]),
  [Best, Median] = [Ns / Calls || Ns <- [hd(Loops), lists:nth(50, Loops)]],
  line(Options, [integer_to_list(round(1.0e9 / Best)), "-", io_lib:format("~.3f", [Best / 1000]), "-",
                 io_lib:format("a call takes ~b ns, median ~b ns", [round(Best), round(Median)])]).

append_loop(Topic, Value, Call, Calls) ->
  T0 = erlang:monotonic_time(nanosecond),
  calls(Topic, Value, Call, Calls),
  Time = erlang:monotonic_time(nanosecond) - T0,
  ok = brod:produce_sync(?CLIENT, Topic, 0, <<>>, Value),
  ok = forget_replies(),
  Time.

calls(_Topic, _Value, _Call, 0) -> ok;
calls(Topic, Value, Call, Left) ->
  _ = Call(Topic, Value),
  calls(Topic, Value, Call, Left - 1).

forget_replies() ->
  receive #brod_produce_reply{} -> forget_replies()
  after 0 -> ok
  end.

timed_sync(Topic, Partition, Value) ->
  T0 = erlang:monotonic_time(microsecond),
  ok = brod:produce_sync(?CLIENT, Topic, Partition, <<>>, Value),
  erlang:monotonic_time(microsecond) - T0.

percentiles(Sorted) ->
  At = fun(Q) -> lists:nth(max(1, round(Q * length(Sorted))), Sorted) end,
  io_lib:format("p50 ~b us, p99 ~b us, p99.9 ~b us",
                [round(At(Q)) || Q <- [0.5, 0.99, 0.999]]).

%% Latency

start_reader(subscribe, Topic, Options) ->
  ok = brod:start_consumer(?CLIENT, Topic, [{begin_offset, earliest}]),
  Parent = self(),
  spawn_link(fun() ->
    Deadline = erlang:monotonic_time(millisecond) + 30000,
    lists:foreach(fun(P) -> subscribe(Topic, P, Deadline) end, partitions(Options)),
    read_sets(Parent)
  end);
start_reader(topic_subscriber, Topic, _Options) ->
  {ok, _} = brod:start_link_topic_subscriber(
              #{client => ?CLIENT, topic => Topic, cb_module => ?MODULE, message_type => message,
                init_data => {latency, self()}, consumer_config => consumer_config()});
start_reader(group_subscriber, Topic, _Options) ->
  Group = iolist_to_binary(io_lib:format("bench-~b", [os:system_time()])),
  {ok, _} = brod:start_link_group_subscriber_v2(
              #{client => ?CLIENT, group_id => Group, topics => [Topic], cb_module => ?MODULE,
                message_type => message, init_data => {latency, self()},
                consumer_config => consumer_config()}).

read_sets(Parent) ->
  receive
    {Consumer, #kafka_message_set{messages = Messages}} ->
      lists:foreach(fun(Message) -> tell_latency(Parent, Message) end, Messages),
      ok = brod:consume_ack(Consumer, (lists:last(Messages))#kafka_message.offset),
      read_sets(Parent)
  end.

%% Bursts of what is due, every millisecond.
paced(Topic, Options, Messages, Rate) -> paced(Topic, Options, 0, Messages, Rate, erlang:monotonic_time(microsecond)).

paced(_Topic, _Options, Messages, Messages, _Rate, _T0) -> ok;
paced(Topic, Options, Sent, Messages, Rate, T0) ->
  Due = min(Messages, (erlang:monotonic_time(microsecond) - T0) * Rate div 1000000),
  [ok = brod:produce_no_ack(?CLIENT, Topic, partition(I, Options), <<>>, stamp(Options)) || I <- lists:seq(Sent + 1, Due)],
  receive after 1 -> ok end,
  paced(Topic, Options, max(Sent, Due), Messages, Rate, T0).

stamp(Options) ->
  Padding = max(0, int(size, Options, 100) - 8),
  <<(erlang:monotonic_time(microsecond)):64/signed, 0:Padding/unit:8>>.

%% What opened the partitions carries no time.
tell_latency(_To, #kafka_message{value = <<"warm">>}) -> ok;
tell_latency(To, #kafka_message{value = <<Sent:64/signed, _/binary>>}) ->
  To ! {latency, erlang:monotonic_time(microsecond) - Sent}.

next_latency() ->
  receive {latency, Us} -> Us
  after ?LIMIT -> error(no_message)
  end.

%% Consuming

subscribe_all(Topic, Options) ->
  Deadline = erlang:monotonic_time(millisecond) + 30000,
  lists:foreach(fun(P) -> subscribe(Topic, P, Deadline) end, partitions(Options)).

%% Of a new topic not every broker knows at once that it leads a partition.
subscribe(Topic, P, Deadline) ->
  case brod:subscribe(?CLIENT, self(), Topic, P, []) of
    {ok, _} -> ok;
    {error, Reason} ->
      erlang:monotonic_time(millisecond) < Deadline orelse error({not_subscribed, P, Reason}),
      receive after 50 -> subscribe(Topic, P, Deadline) end
  end.

receive_sets(Left) when Left =< 0 -> "";
receive_sets(Left) ->
  receive
    {Consumer, #kafka_message_set{messages = Messages}} ->
      #kafka_message{offset = Offset} = lists:last(Messages),
      ok = brod:consume_ack(Consumer, Offset),
      receive_sets(Left - length(Messages));
    {_Consumer, #kafka_fetch_error{} = Error} -> error(Error)
  after ?LIMIT -> error({still_missing, Left})
  end.

%% @private brod_topic_subscriber and brod_group_subscriber_v2
init(Topic, {latency, _} = State) when is_binary(Topic) -> {ok, [], State};
init(_Info, {latency, _} = State) -> {ok, State};
init(_Topic, {Parent, Left}) when is_integer(Left) -> {ok, [], {Parent, Left}};
init(_Info, {Parent, Left}) -> {ok, {Parent, Left}}.

%% @private brod_topic_subscriber
handle_message(_Partition, Message, {latency, Parent} = State) ->
  tell_latency(Parent, Message),
  {ok, ack, State};
handle_message(_Partition, Message, {Parent, Left0}) ->
  Left = Left0 - count(Message),
  Left =< 0 andalso Left0 > 0 andalso (Parent ! done),
  {ok, ack, {Parent, Left}}.

%% @private brod_group_subscriber_v2
handle_message(Message, {latency, Parent} = State) ->
  tell_latency(Parent, Message),
  {ok, ack, State};
handle_message(Message, {Parent, Left} = State) ->
  counters:sub(Left, 1, count(Message)),
  counters:get(Left, 1) =< 0 andalso (Parent ! done),
  {ok, ack, State}.

count(#kafka_message_set{messages = Messages}) -> length(Messages);
count(#kafka_message{}) -> 1.

%% Setting up

start_client(Options) -> ok = brod:start_client(endpoints(Options), ?CLIENT, security(Options)).

%% `ca': the file of roots for TLS.
security(#{<<"ca">> := File}) -> [{ssl, [{verify, verify_peer}, {cacertfile, File}]}];
security(_) -> [].

%% Producers run and every partition has had a message before the clock starts.
start_producer(Topic, Options) ->
  start_client(Options),
  Config = [{partition_buffer_limit, 1024}, {required_acks, int(acks, Options, -1)},
            {max_linger_ms, int(linger, Options, 0)}, {max_linger_count, 1000000},
            {compression, atom(compression, Options, no_compression)}],
  ok = brod:start_producer(?CLIENT, Topic, Config),
  [ok = brod:produce_sync(?CLIENT, Topic, P, <<>>, <<"warm">>) || P <- partitions(Options)],
  ok.

%% New, unless it is there already.
new_topic(Options) ->
  Topic = topic(Options),
  Spec = #{name => Topic, num_partitions => int(partitions, Options, 8), replication_factor => 1,
           assignments => [], configs => []},
  case brod:create_topics(endpoints(Options), [Spec], #{timeout => 30000}, security(Options)) of
    ok -> ok;
    {error, Text} -> {_, _} = binary:match(Text, <<"already exists">>)
  end,
  wait_for_leaders(Topic, Options, erlang:monotonic_time(millisecond) + 60000),
  Topic.

wait_for_leaders(Topic, Options, Deadline) ->
  {ok, #{topics := [Meta]}} = brod:get_metadata(endpoints(Options), [Topic], security(Options)),
  Led = [P || #{error_code := no_error} = P <- maps:get(partitions, Meta, [])],
  case length(Led) =:= int(partitions, Options, 8) of
    true -> ok;
    false ->
      erlang:monotonic_time(millisecond) < Deadline orelse error({no_leaders, Meta}),
      wait_for_leaders(Topic, Options, Deadline)
  end.

consumer_config() -> [{begin_offset, earliest}].

%% Half of it does not compress.
value(Options) ->
  Size = int(size, Options, 100),
  Random = crypto:strong_rand_bytes(Size div 2),
  <<Random/binary, 0:((Size - Size div 2) * 8)>>.

-spec int(atom(), options(), integer()) -> integer().
int(Key, Options, Default) ->
  case maps:find(atom_to_binary(Key, utf8), Options) of
    {ok, Text} -> binary_to_integer(Text);
    error -> Default
  end.

topic(#{<<"topic">> := Topic}) -> Topic.

type(Options) -> atom(type, Options, message).

atom(Key, Options, Default) ->
  case maps:find(atom_to_binary(Key, utf8), Options) of
    {ok, Text} -> binary_to_atom(Text, utf8);
    error -> Default
  end.

partitions(Options) -> lists:seq(0, int(partitions, Options, 8) - 1).

partition(N, Options) -> N rem int(partitions, Options, 8).

endpoints(#{<<"bootstrap">> := Text}) ->
  [begin
     [Host, Port] = binary:split(Endpoint, <<":">>),
     {Host, binary_to_integer(Port)}
   end || Endpoint <- binary:split(Text, <<",">>, [global])].

%% Measuring

in_parallel(N, Fun) ->
  Parent = self(),
  Pids = [spawn_link(fun() -> Parent ! {self(), Fun(I)} end) || I <- lists:seq(0, N - 1)],
  [receive {Pid, Result} -> Result after ?LIMIT -> error(too_slow) end || Pid <- Pids].

measure(Options, Messages, Fun) ->
  Watcher = spawn_link(fun watch/0),
  _ = erlang:system_monitor(Watcher, [{long_schedule, 1}]),
  Cpu0 = cpu_seconds(),
  T0 = erlang:monotonic_time(microsecond),
  Remark = Fun(),
  Seconds = (erlang:monotonic_time(microsecond) - T0) / 1.0e6,
  Cpu = cpu_seconds() - Cpu0,
  Watched = watched(Watcher),
  line(Options, [integer_to_list(round(Messages / Seconds)),
                 io_lib:format("~.1f", [Messages * int(size, Options, 100) / Seconds / 1.0e6]),
                 io_lib:format("~.2f", [Cpu * 1.0e6 / Messages]),
                 io_lib:format("~.1f", [peak_mb()]),
                 lists:join(", ", [Text || Text <- [Remark, Watched], Text =/= ""])]).

%% Processes that had a scheduler for a millisecond or longer, the least that the VM tells of. With other
%% programs on the same cores, that may be because the system gave the core to one of them. A NIF that
%% takes long ends such a turn, or the turn ends in it.
watch() ->
  receive {From, how_long} -> From ! {self(), watch([])} end.

watch(Turns) ->
  receive
    {monitor, _Pid, long_schedule, Turn} -> watch([Turn | Turns])
  after 0 -> Turns
  end.

watched(Watcher) ->
  _ = erlang:system_monitor(undefined),
  Watcher ! {self(), how_long},
  Turns = receive {Watcher, Told} -> Told after ?LIMIT -> error(no_answer) end,
  AtNif = [Turn || Turn <- Turns, lists:any(fun is_nif/1, Turn)],
  io_lib:format("turns over 1 ms: ~b, at a NIF ~b", [length(Turns), length(AtNif)]).

is_nif({_Where, {brod_nif, _, _}}) -> true;
is_nif(_) -> false.

line(Options, Fields) ->
  io:format("~s~n", [lists:join("\t", [maps:get(<<"name">>, Options) | Fields])]).

await(Message) -> receive Message -> ok after ?LIMIT -> error({no, Message}) end.

pass(Seconds) -> receive after Seconds * 1000 -> ok end.

%% The whole VM, the engine's threads included.
cpu_seconds() ->
  {ok, Stat} = file:read_file("/proc/self/stat"),
  [_, Fields] = binary:split(Stat, <<") ">>),
  [User, System] = lists:sublist(binary:split(Fields, <<" ">>, [global]), 12, 2),
  (binary_to_integer(User) + binary_to_integer(System)) / 100.

peak_mb() ->
  {ok, Status} = file:read_file("/proc/self/status"),
  {match, [Kb]} = re:run(Status, "VmHWM:\\s+(\\d+)", [{capture, [1], binary}]),
  binary_to_integer(Kb) / 1024.
