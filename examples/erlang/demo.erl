%% The main job of a Kafka client, checked: produce with callbacks and with waits, consume through a topic
%% subscriber, a raw subscription and a consumer group; every message must arrive exactly once and in order.
%%
%%   BROD_BOOTSTRAP=127.0.0.1:9092 erl -noshell -pa .../brod/ebin -pa . -s demo main
%%
%% Settings, from the environment: BROD_BOOTSTRAP (host:port,...), DEMO_MESSAGES (1000000),
%% DEMO_AT_QUARTER: a shell command to run once a quarter of the messages is produced, such as one that
%% kills a broker.
-module(demo).
-behaviour(brod_topic_subscriber).

-include_lib("brod/include/brod.hrl").

-export([main/0]).
-export([init/2, handle_message/3]).

-define(CLIENT, demo_client).
-define(PARTITIONS, 8).
-define(SIZE, 100).
%% How many unacknowledged messages a writer keeps when it waits for replies.
-define(WINDOW, 1000).
%% Nothing that the demo waits for may take longer than this many milliseconds.
-define(LIMIT, 120000).

main() ->
  try run() of
    ok -> halt(0)
  catch
    throw:{failed, Step, Why} ->
      io:format(standard_error, "demo (erlang): step '~s' failed: ~p~n", [Step, Why]),
      halt(1)
  end.

run() ->
  Endpoints = endpoints(os:getenv("BROD_BOOTSTRAP", "127.0.0.1:9092")),
  PerPartition = list_to_integer(os:getenv("DEMO_MESSAGES", "1000000")) div ?PARTITIONS,
  Total = PerPartition * ?PARTITIONS,
  Half = PerPartition div 2,
  Topic = iolist_to_binary(io_lib:format("demo-erlang-~b", [os:system_time(millisecond)])),
  {ok, _} = application:ensure_all_started(brod),
  step("create the topic", fun() -> create_topic(Endpoints, Topic) end),
  step("start client and producers", fun() ->
    ok = brod:start_client(Endpoints, ?CLIENT),
    ok = brod:start_producer(?CLIENT, Topic, [{max_retries, -1}, {retry_backoff_ms, 100},
                                              {partition_buffer_limit, 1024}])
  end),
  measure("produce, callbacks", Half * ?PARTITIONS, fun() ->
    each_partition(fun(P) -> with_callbacks(Topic, P, 0, Half) end)
  end),
  measure("produce, waits", Total - Half * ?PARTITIONS, fun() ->
    each_partition(fun(P) -> with_waits(Topic, P, Half, PerPartition) end)
  end),
  step("nothing twice, nothing lost", fun() ->
    [{P, {ok, PerPartition}} = {P, brod:resolve_offset(Endpoints, Topic, P, latest)} || P <- partitions()]
  end),
  measure("consume, topic subscriber", Total, fun() -> topic_subscriber(Topic, Total) end),
  ok = brod:stop_client(?CLIENT),
  ok = brod:start_client(Endpoints, ?CLIENT),
  measure("consume, subscribe", Total, fun() -> subscribe(Topic, Total) end),
  measure("consume, group", Total, fun() ->
    demo_group:consume(?CLIENT, Topic, partitions(), {PerPartition, fun number/2}, ?LIMIT)
  end),
  step("delete the topic", fun() -> ok = brod:delete_topics(Endpoints, [Topic], 10000) end),
  ok = brod:stop_client(?CLIENT).

create_topic(Endpoints, Topic) ->
  ok = brod:create_topics(Endpoints, [#{name => Topic, num_partitions => ?PARTITIONS,
                                        replication_factor => 3, assignments => [], configs => []}],
                          #{timeout => 10000}),
  wait_for_leaders(Endpoints, Topic, erlang:monotonic_time(millisecond) + 30000).

%% A topic exists before all its partitions have a leader.
wait_for_leaders(Endpoints, Topic, Deadline) ->
  {ok, #{topics := [#{error_code := Code} = Meta]}} = brod:get_metadata(Endpoints, [Topic]),
  Led = [P || #{error_code := no_error, partition_index := P} <- maps:get(partitions, Meta, [])],
  case length(Led) of
    ?PARTITIONS -> ok;
    N ->
      erlang:monotonic_time(millisecond) < Deadline orelse throw({no_leaders, Code, N}),
      wait_for_leaders(Endpoints, Topic, Deadline)
  end.

%% One writer a partition, so that the order of its messages is known.
each_partition(Write) ->
  Writers = [spawn_monitor(fun() -> Write(P) end) || P <- partitions()],
  [receive {'DOWN', Monitor, process, Pid, Reason} -> normal = Reason end || {Pid, Monitor} <- Writers],
  ok.

with_callbacks(Topic, P, From, To) ->
  Acked = counters:new(1, []),
  Self = self(),
  Ack = fun(_Partition, _Offset) -> counters:add(Acked, 1, 1) end,
  Last = fun(_Partition, _Offset) -> Self ! last_acked end,
  [begin
     at_quarter(P, Seq, To div 2),
     ok = brod:produce_cb(?CLIENT, Topic, P, <<>>, value(P, Seq), Ack)
   end || Seq <- lists:seq(From, To - 2)],
  ok = brod:produce_cb(?CLIENT, Topic, P, <<>>, value(P, To - 1), Last),
  receive last_acked -> ok after ?LIMIT -> exit({no_ack_within_ms, ?LIMIT}) end,
  Expected = To - From - 1,
  Expected = counters:get(Acked, 1).

with_waits(Topic, P, From, To) -> with_waits(Topic, P, From, To, queue:new(), 0).

with_waits(_Topic, _P, To, To, _Refs, 0) -> ok;
with_waits(Topic, P, Seq, To, Refs0, Waiting) when Seq =:= To; Waiting >= ?WINDOW ->
  {{value, Ref}, Refs} = queue:out(Refs0),
  receive
    #brod_produce_reply{call_ref = Ref, result = Result} -> brod_produce_req_acked = Result
  after ?LIMIT -> exit({no_reply_within_ms, ?LIMIT})
  end,
  with_waits(Topic, P, Seq, To, Refs, Waiting - 1);
with_waits(Topic, P, Seq, To, Refs, Waiting) ->
  {ok, Ref} = brod:produce(?CLIENT, Topic, P, <<>>, value(P, Seq)),
  with_waits(Topic, P, Seq + 1, To, queue:in(Ref, Refs), Waiting + 1).

%% The callback half is half of the messages, so its middle is a quarter of them all.
at_quarter(0, Quarter, Quarter) ->
  case os:getenv("DEMO_AT_QUARTER") of
    false -> ok;
    Command ->
      io:format("demo (erlang): ~s~n", [Command]),
      spawn(fun() -> io:put_chars(os:cmd(Command)) end)
  end;
at_quarter(_, _, _) -> ok.

topic_subscriber(Topic, Total) ->
  {ok, Pid} = brod:start_link_topic_subscriber(
                #{client => ?CLIENT, topic => Topic, cb_module => ?MODULE, message_type => message,
                  init_data => {self(), Total}, consumer_config => consumer_config()}),
  Monitor = monitor(process, Pid),
  unlink(Pid),
  receive
    {Pid, all_received} -> ok = brod_topic_subscriber:stop(Pid);
    {'DOWN', Monitor, process, Pid, Reason} -> exit(Reason)
  after ?LIMIT -> exit({not_all_received_within_ms, ?LIMIT})
  end.

%% @private brod_topic_subscriber: nothing is committed anywhere, so begin where the config says.
init(_Topic, {Parent, Total}) -> {ok, [], {Parent, Total, first()}}.

%% @private
handle_message(Partition, Message, {Parent, Left, Next}) ->
  Left =:= 1 andalso (Parent ! {self(), all_received}),
  {ok, ack, {Parent, Left - 1, check(Partition, Message, Next)}}.

subscribe(Topic, Total) ->
  ok = brod:start_consumer(?CLIENT, Topic, consumer_config()),
  [{ok, _Pid} = brod:subscribe(?CLIENT, self(), Topic, P, []) || P <- partitions()],
  receive_sets(Total, first()),
  [ok = brod:unsubscribe(?CLIENT, Topic, P) || P <- partitions()],
  ok.

receive_sets(0, _Next) -> ok;
receive_sets(Left, Next0) ->
  receive
    {Consumer, #kafka_message_set{partition = P, messages = Messages}} ->
      Next = lists:foldl(fun(Message, Acc) -> check(P, Message, Acc) end, Next0, Messages),
      #kafka_message{offset = Offset} = lists:last(Messages),
      ok = brod:consume_ack(Consumer, Offset),
      receive_sets(Left - length(Messages), Next);
    {_Consumer, #kafka_fetch_error{} = Error} -> exit(Error)
  after ?LIMIT -> exit({not_all_received_within_ms, ?LIMIT, {left, Left}})
  end.

consumer_config() -> [{begin_offset, earliest}, {prefetch_bytes, 1048576}].

%% Next: the sequence number that each partition must deliver next.
first() -> maps:from_list([{P, 0} || P <- partitions()]).

check(P, #kafka_message{offset = Offset, value = <<P:32, Seq:64, _/binary>>}, Next) ->
  case Next of
    #{P := Seq} -> Next#{P := Seq + 1};
    #{P := Expected} -> exit({wrong_message, [{partition, P}, {offset, Offset}, {got, Seq},
                                              {expected, Expected}]})
  end.

number(P, #kafka_message{value = <<P:32, Seq:64, _/binary>>}) -> Seq.

value(P, Seq) -> <<P:32, Seq:64, 0:((?SIZE - 12) * 8)>>.

partitions() -> lists:seq(0, ?PARTITIONS - 1).

%% Runs Fun in a process of its own: whatever goes wrong in it names the step.
step(Name, Fun) ->
  {Pid, Monitor} = spawn_monitor(fun() -> Fun() end),
  receive
    {'DOWN', Monitor, process, Pid, normal} -> io:format("demo (erlang): ~s: ok~n", [Name]);
    {'DOWN', Monitor, process, Pid, Reason} -> throw({failed, Name, Reason})
  end.

measure(Name, Messages, Fun) ->
  Cpu0 = cpu_seconds(),
  T0 = erlang:monotonic_time(),
  step(Name, Fun),
  Seconds = erlang:convert_time_unit(erlang:monotonic_time() - T0, native, microsecond) / 1.0e6,
  io:format("demo (erlang): ~s: ~b messages, ~b msgs/s, ~.2f CPU s~n",
            [Name, Messages, round(Messages / Seconds), cpu_seconds() - Cpu0]).

%% CPU time of this whole VM, its native threads included (Linux; 0 elsewhere).
cpu_seconds() ->
  case file:read_file("/proc/self/stat") of
    {ok, Stat} ->
      [_, Fields] = binary:split(Stat, <<") ">>),
      [User, System] = lists:sublist(binary:split(Fields, <<" ">>, [global]), 12, 2),
      (binary_to_integer(User) + binary_to_integer(System)) / 100;
    {error, _} -> 0.0
  end.

endpoints(Text) ->
  [begin
     [Host, Port] = string:split(Endpoint, ":", trailing),
     {Host, list_to_integer(Port)}
   end || Endpoint <- string:lexemes(Text, ",")].
