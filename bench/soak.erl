%% Produces to a topic and consumes it for a while, and checks that every acked message comes back once
%% and in order, and that memory does not grow.
%%
%%   erl -noshell -pa BROD/ebin -pa . -s soak main -extra bootstrap=HOST:PORT,... minutes=10 replicas=1 \
%%     partitions=8 limit=60 rate=0
%%
%% Ends with status 1 if a message is lost, doubled or out of order, if one fails, if all comes to a
%% halt for `limit' seconds, or if, after five minutes at least, the VM needs a tenth more memory in the last fifth of the
%% time than in the first.
-module(soak).

-include_lib("brod/include/brod.hrl").

-export([main/0]).

-define(CLIENT, soak).
-define(TOPIC, <<"soak">>).
-define(CALLERS, 8).
%% Unacknowledged messages of a caller.
-define(WINDOW, 1000).
%% Messages on the way from producers to consumers: the topic keeps far more.
-define(AHEAD, 200000).
%% Creating the topic, and until all brokers know it, in milliseconds.
-define(LIMIT, 60000).
-define(SAMPLE_MS, 1000).
%% A line after so many samples.
-define(SAMPLES_A_LINE, 5).
-define(PRODUCED, 1).
-define(CONSUMED, 2).

main() ->
  Options = maps:from_list([list_to_tuple(string:split(S, "=")) || S <- init:get_plain_arguments()]),
  try run(Options) of
    ok -> halt(0)
  catch
    Class:Reason:Stack ->
      io:format("soak: FAILED ~p~n", [{Class, Reason, Stack}]),
      halt(1)
  end.

run(Options) ->
  process_flag(trap_exit, true),
  {ok, _} = application:ensure_all_started(brod),
  Endpoints = [{Host, list_to_integer(Port)}
               || S <- string:split(maps:get("bootstrap", Options), ",", all),
                  [Host, Port] <- [string:split(S, ":")]],
  Minutes = list_to_integer(maps:get("minutes", Options, "10")),
  Partitions = list_to_integer(maps:get("partitions", Options, "8")),
  Number = fun(Key, Default) -> list_to_integer(maps:get(Key, Options, Default)) end,
  ok = persistent_term:put({?MODULE, partitions}, Partitions),
  ok = persistent_term:put({?MODULE, limit}, 1000 * Number("limit", "60")),
  ok = persistent_term:put({?MODULE, rate}, Number("rate", "0")),
  ok = persistent_term:put({?MODULE, begun}, erlang:monotonic_time(millisecond)),
  ok = create_topic(Endpoints, list_to_integer(maps:get("replicas", Options, "1"))),
  ok = brod:start_client(Endpoints, ?CLIENT),
  ok = sooner_or_later(fun() ->
    brod:start_consumer(?CLIENT, ?TOPIC, [{begin_offset, earliest}])
  end),
  ok = sooner_or_later(fun() -> brod:start_producer(?CLIENT, ?TOPIC, [{max_retries, -1}]) end),
  Counts = counters:new(2, []),
  [spawn_link(fun() -> consume(P, Counts) end) || P <- partitions()],
  Stop = atomics:new(1, []),
  Callers = [spawn_link(fun() -> produce(C, Counts, Stop) end) || C <- lists:seq(1, ?CALLERS)],
  Turns = spawn_link(fun long_turns/0),
  _ = erlang:system_monitor(Turns, [{long_schedule, 1}]),
  Samples = watch(erlang:monotonic_time(second) + 60 * Minutes, Counts, []),
  _ = erlang:system_monitor(undefined),
  ok = atomics:put(Stop, 1, 1),
  [receive {'EXIT', Caller, normal} -> ok after limit() -> error(no_acks) end || Caller <- Callers],
  ok = drain(counters:get(Counts, ?PRODUCED), Counts),
  report_turns(Turns),
  report(counters:get(Counts, ?CONSUMED), Minutes, lists:reverse(Samples)).

create_topic(Endpoints, Replicas) ->
  Config = [#{name => <<"retention.bytes">>, value => <<"1073741824">>},
            #{name => <<"segment.bytes">>, value => <<"134217728">>}],
  Topic = #{name => ?TOPIC, num_partitions => partition_count(), replication_factor => Replicas,
            assignments => [], configs => Config},
  ok = brod:create_topics(Endpoints, [Topic], #{timeout => ?LIMIT}, []).

partition_count() -> persistent_term:get({?MODULE, partitions}).

%% A killed broker may hold things up for so long, in milliseconds.
limit() -> persistent_term:get({?MODULE, limit}).

%% Whether a caller that has called so often is faster than is wanted.
is_early(Turn) ->
  case persistent_term:get({?MODULE, rate}) of
    0 -> false;
    Rate ->
      Ms = erlang:monotonic_time(millisecond) - persistent_term:get({?MODULE, begun}),
      Turn > Ms * Rate div (1000 * ?CALLERS)
  end.

partitions() -> lists:seq(0, partition_count() - 1).

%% A caller numbers its messages, partition by partition.

produce(Caller, Counts, Stop) ->
  produce(Caller, Counts, Stop, maps:from_list([{P, 0} || P <- partitions()]), Caller, 0).

produce(Caller, Counts, Stop, Next, Turn, Waiting) ->
  IsOver = atomics:get(Stop, 1) =:= 1,
  IsAhead = is_early(Turn) orelse counters:get(Counts, ?PRODUCED) - counters:get(Counts, ?CONSUMED) > ?AHEAD,
  if
    IsOver, Waiting =:= 0 ->
      ok;
    IsOver; Waiting >= ?WINDOW; IsAhead, Waiting > 0 ->
      receive
        #brod_produce_reply{result = brod_produce_req_acked} -> ok;
        #brod_produce_reply{result = Result} -> error(Result)
      after limit() ->
        error({no_ack, Caller, Waiting})
      end,
      counters:add(Counts, ?PRODUCED, 1),
      produce(Caller, Counts, Stop, Next, Turn, Waiting - 1);
    IsAhead ->
      receive after 1 -> produce(Caller, Counts, Stop, Next, Turn, Waiting) end;
    true ->
      P = Turn rem partition_count(),
      #{P := N} = Next,
      {ok, _} = brod:produce(?CLIENT, ?TOPIC, P, <<>>, <<Caller:16, N:64, 0:720>>),
      produce(Caller, Counts, Stop, Next#{P := N + 1}, Turn + 1, Waiting + 1)
  end.

consume(P, Counts) ->
  {ok, Consumer} = sooner_or_later(fun() ->
    brod:subscribe(?CLIENT, self(), ?TOPIC, P, [])
  end),
  consume(P, Consumer, Counts, maps:from_list([{C, 0} || C <- lists:seq(1, ?CALLERS)])).

consume(P, Consumer, Counts, Expected0) ->
  receive
    {Consumer, #kafka_message_set{messages = Messages}} ->
      Expected = lists:foldl(fun(Message, Acc) -> check(P, Message, Acc) end, Expected0, Messages),
      #kafka_message{offset = Last} = lists:last(Messages),
      ok = brod:consume_ack(Consumer, Last),
      counters:add(Counts, ?CONSUMED, length(Messages)),
      consume(P, Consumer, Counts, Expected);
    {Consumer, #kafka_fetch_error{} = Error} ->
      error(Error)
  end.

check(P, #kafka_message{offset = Offset, value = <<Caller:16, N:64, _/binary>>}, Expected) ->
  case Expected of
    #{Caller := N} -> Expected#{Caller := N + 1};
    #{Caller := Other} -> error({wrong_order, {partition, P}, {offset, Offset}, {caller, Caller},
                                 {expected, Other}, {got, N}})
  end.

%% Of a new topic not every broker knows at once, nor that it leads a partition.
sooner_or_later(Fun) -> sooner_or_later(Fun, erlang:monotonic_time(millisecond) + ?LIMIT).

sooner_or_later(Fun, Deadline) ->
  case Fun() of
    {error, Reason} ->
      erlang:monotonic_time(millisecond) < Deadline orelse error(Reason),
      receive after 50 -> sooner_or_later(Fun, Deadline) end;
    Result ->
      Result
  end.

%% Memory, and what was consumed by then, each second until the time is up, the newest first.
watch(Deadline, Counts, Samples0) ->
  receive
    {'EXIT', _Pid, Reason} -> error(Reason)
  after ?SAMPLE_MS ->
    Samples = [{now_ms(), rss_mb(), counters:get(Counts, ?CONSUMED)} | Samples0],
    Left = Deadline - erlang:monotonic_time(second),
    length(Samples) rem ?SAMPLES_A_LINE =/= 0 orelse line(Left, Samples),
    case Left > 0 of
      true -> watch(Deadline, Counts, Samples);
      false -> Samples
    end
  end.

line(Left, [{_, MB, Consumed} | _] = Samples) ->
  Rates = rates(lists:sublist(Samples, ?SAMPLES_A_LINE)),
  io:format("soak: ~b s left, ~b messages, ~b msgs/s, ~.1f MB~n", [Left, Consumed, lists:sum(Rates) div max(1, length(Rates)), MB]).

%% Messages a second between two samples each.
rates([{To, _, B}, {From, _, A} = Older | Rest]) -> [(B - A) * 1000 div max(1, To - From) | rates([Older | Rest])];
rates(_) -> [].

drain(Produced, Counts) -> drain(Produced, Counts, erlang:monotonic_time(millisecond) + limit()).

drain(Produced, Counts, Deadline) ->
  case counters:get(Counts, ?CONSUMED) of
    Produced ->
      ok;
    Consumed ->
      erlang:monotonic_time(millisecond) < Deadline orelse error({produced, Produced, consumed, Consumed}),
      receive
        {'EXIT', _Pid, Reason} when Reason =/= normal -> error(Reason)
      after 50 ->
        drain(Produced, Counts, Deadline)
      end
  end.

report(Messages, Minutes, Samples) ->
  Memory = [MB || {_, MB, _} <- Samples],
  Fifth = max(1, length(Memory) div 5),
  First = lists:max(lists:sublist(Memory, Fifth)),
  Last = lists:max(lists:nthtail(length(Memory) - Fifth, Memory)),
  Rates = lists:sort(rates(lists:reverse(Samples))),
  {Low, Median} = {percentile(1, Rates), percentile(50, Rates)},
  io:format("soak: ~b messages, each once and in order; at most ~.1f MB in the first fifth of the time, "
            "~.1f MB in the last~n", [Messages, First, Last]),
  io:format("soak: rates of single seconds: p1 ~b msgs/s, median ~b msgs/s (~.2f)~n", [Low, Median, Low / max(1, Median)]),
  Minutes < 5 orelse Last =< First * 1.1 orelse error(memory_grows),
  ok.

percentile(_, []) -> 0;
percentile(P, Sorted) -> lists:nth(length(Sorted) * P div 100 + 1, Sorted).

%% Turns of a scheduler that took a millisecond or longer, of which those that begin or end in a NIF may be its fault; on a
%% machine that others use the system may as well have given the core to one of them.
long_turns() -> long_turns(0, []).

long_turns(Count, AtNif) ->
  receive
    {monitor, _, long_schedule, Turn} ->
      case [Place || {_, {brod_nif, Name, Arity}} <- Turn, Place <- [{Name, Arity}]] of
        [] -> long_turns(Count + 1, AtNif);
        [{Name, Arity} | _] ->
          {timeout, Ms} = lists:keyfind(timeout, 1, Turn),
          long_turns(Count + 1, [{Ms, Name, Arity} | AtNif])
      end;
    {From, how_many} ->
      From ! {self(), Count, AtNif}
  end.

report_turns(Watcher) ->
  Watcher ! {self(), how_many},
  receive
    {Watcher, Count, AtNif} ->
      Longest = lists:sublist(lists:reverse(lists:sort(AtNif)), 3),
      io:format("soak: turns of a scheduler over 1 ms: ~b, of which begin or end in a NIF: ~b; the longest: ~p~n",
                [Count, length(AtNif), Longest])
  end.

now_ms() -> erlang:monotonic_time(millisecond).

rss_mb() ->
  {ok, Status} = file:read_file("/proc/self/status"),
  {match, [KB]} = re:run(Status, "VmRSS:\\s+(\\d+)", [{capture, [1], list}]),
  list_to_integer(KB) / 1024.
