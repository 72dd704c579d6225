%% A random walk: clients produce and consume on a Kafka in memory while brokers, leaders, coordinators and requests fare as
%% a script says that is drawn from a seed. Nothing that was acked may be lost, doubled or out of order, and nobody may wait
%% for ever. A script that fails is cut down to the steps that it needs to fail.
-module(brod_walk).
-behaviour(brod_group_subscriber_v2).

-export([main/0, run/2, walk/1, script/1, play/2]).
-export([init/2, handle_message/2]).

-include("../include/brod.hrl").

-define(TOPIC, <<"t">>).
-define(GROUP, <<"g">>).
-define(PARTITIONS, 3).
-define(BROKERS, 3).
-define(STEPS, 25).
-define(LIMIT_MS, 60000).
%% How often a script that fails is tried with less.
-define(TRIES, 60).

-type step() :: {produce, brod:partition(), pos_integer()} | {fault, brod_mock:fault()} | {pause, non_neg_integer()}
              | {move_leader, brod:partition(), integer()} | {move_coordinator, integer()}
              | {stop, integer()} | {start, integer()} | {control_batch, brod:partition()}.
-type how() :: subscribe | group.

%% @doc For `make chaos': CHAOS_MINUTES (60) of walks from CHAOS_SEED (the clock) on.
main() ->
  Seed = list_to_integer(os:getenv("CHAOS_SEED", integer_to_list(os:system_time(second)))),
  Minutes = list_to_integer(os:getenv("CHAOS_MINUTES", "60")),
  {ok, _} = application:ensure_all_started(brod),
  case run(Seed, Minutes * 60000) of
    {ok, Walks} -> io:format("chaos: ok, ~b walks from seed ~b on~n", [Walks, Seed]), halt(0);
    {error, Failure} -> io:format("chaos: failed: ~p~n", [Failure]), halt(1)
  end.

%% @doc Walks with one seed after the other, for so many ms: how many, or the first that failed.
-spec run(integer(), non_neg_integer()) -> {ok, non_neg_integer()} | {error, map()}.
run(Seed, Ms) ->
  run(Seed, erlang:monotonic_time(millisecond) + Ms, 0).

run(Seed, Deadline, Walks) ->
  case erlang:monotonic_time(millisecond) >= Deadline of
    true -> {ok, Walks};
    false ->
      case walk(Seed + Walks) of
        ok -> run(Seed, Deadline, Walks + 1);
        {error, _} = Error -> Error
      end
  end.

%% @doc The walk of one seed.
-spec walk(integer()) -> ok | {error, map()}.
walk(Seed) ->
  {How, Script} = script(Seed),
  case play(How, Script) of
    ok -> ok;
    {error, Why} ->
      io:format("walk of seed ~b fails: ~p~n", [Seed, Why]),
      {Smallest, Reason} = shrunk(How, Script, Why),
      {error, #{seed => Seed, how => How, script => Smallest, why => Reason}}
  end.

%% @doc What a seed stands for.
-spec script(integer()) -> {how(), [step()]}.
script(Seed) ->
  R0 = rand:seed_s(exsss, Seed),
  {How, R1} = one_of([subscribe, group], R0),
  {Steps, _} = lists:mapfoldl(fun(_, R) -> step(How, R) end, R1, lists:seq(1, ?STEPS)),
  {How, Steps}.

step(How, R0) ->
  {Kind, R1} = one_of([produce, produce, produce, fault, fault, pause, move_leader, stop, start, control_batch]
                      ++ [move_coordinator || How =:= group], R0),
  {Partition, R2} = one_of(lists:seq(0, ?PARTITIONS - 1), R1),
  {Broker, R3} = one_of(lists:seq(1, ?BROKERS), R2),
  {N, R4} = rand:uniform_s(50, R3),
  case Kind of
    produce -> {{produce, Partition, N}, R4};
    pause -> {{pause, N}, R4};
    move_leader -> {{move_leader, Partition, Broker}, R4};
    control_batch -> {{control_batch, Partition}, R4};
    fault -> fault(How, R4);
    Other -> {{Other, Broker}, R4}
  end.

fault(How, R0) ->
  Apis = [{<<"Produce">>, [5, 6, 7, 19, 20]}, {<<"Fetch">>, [5, 6]}, {<<"Metadata">>, [5]}, {<<"ListOffsets">>, [5, 6]},
          {<<"InitProducerId">>, [14, 15]}, {<<"ApiVersions">>, []}],
  OfGroups = [{<<"FindCoordinator">>, [15]}, {<<"JoinGroup">>, [14, 15, 16]}, {<<"SyncGroup">>, [16, 27]},
              {<<"Heartbeat">>, [16, 22, 25, 27]}, {<<"OffsetCommit">>, [14, 16, 22, 27]},
              {<<"OffsetFetch">>, [14, 16]}],
  {{Api, Codes}, R1} = one_of(Apis ++ case How of group -> OfGroups; subscribe -> [] end, R0),
  {Ms, R2} = rand:uniform_s(100, R1),
  {Action, R3} = one_of([reset_before, reset_after, {delay, Ms}, {delay_answer, Ms}, {jitter, Ms}, {throttle, Ms},
                         {truncate, Ms}] ++ [{error, Code} || Code <- Codes], R2),
  {Nth, R4} = rand:uniform_s(3, R3),
  {Times, R5} = rand:uniform_s(3, R4),
  {{fault, #{api => Api, nth => Nth, times => Times, action => Action}}, R5}.

one_of(List, R0) ->
  {N, R} = rand:uniform_s(length(List), R0),
  {lists:nth(N, List), R}.

%% @doc Does the steps, heals the cluster, and looks at what became of the messages.
-spec play(how(), [step()]) -> ok | {error, term()}.
play(How, Script) ->
  {Pid, Monitor} = spawn_monitor(fun() -> exit({done, in_own_process(How, Script)}) end),
  receive
    {'DOWN', Monitor, process, Pid, {done, Result}} -> Result;
    {'DOWN', Monitor, process, Pid, Reason} -> {error, Reason}
  after 4 * ?LIMIT_MS ->
    exit(Pid, kill),
    {error, {hangs, process_info(Pid, current_stacktrace)}}
  end.

in_own_process(How, Script) ->
  {ok, Mock} = brod_mock:start(#{brokers => ?BROKERS, topics => #{?TOPIC => ?PARTITIONS}}),
  Client = list_to_atom("walk" ++ integer_to_list(erlang:phash2(self()))),
  ok = brod:start_client(brod_mock:endpoints(Mock), Client, [{reconnect_cool_down_seconds, 0}]),
  ok = brod:start_producer(Client, ?TOPIC, [{retry_backoff_ms, 10}, {max_retries, -1}, {max_linger_count, 1}]),
  Consumer = consume(How, Client),
  try
    Refs = steps(Script, Mock, Client, Consumer, #{}),
    ok = brod_mock:clear_faults(Mock),
    [ok = brod_mock:start_broker(Mock, Broker) || Broker <- lists:seq(1, ?BROKERS)],
    verdict(How, Mock, Consumer, Refs)
  after
    stop_consumer(How, Consumer),
    ok = brod:stop_client(Client),
    ok = brod_mock:stop(Mock)
  end.

%% How many messages each partition was given, and the calls that brought them.
steps([], _Mock, _Client, _Consumer, Refs) -> Refs;
steps([Step | Rest], Mock, Client, Consumer, Refs0) ->
  Refs = case Step of
           {produce, Partition, Count} ->
             Before = maps:get(Partition, Refs0, []),
             First = length(Before) + 1,
             New = [begin
                      {ok, Ref} = brod:produce(Client, ?TOPIC, Partition, <<>>, value(N)),
                      Ref
                    end || N <- lists:seq(First, First + Count - 1)],
             Refs0#{Partition => Before ++ New};
           _ ->
             _ = disturb(Step, Mock),
             Refs0
         end,
  steps(Rest, Mock, Client, Consumer, Refs).

disturb({pause, Ms}, _Mock) -> timer:sleep(Ms);
disturb({fault, Fault}, Mock) -> brod_mock:fault(Mock, Fault);
disturb({move_leader, Partition, Broker}, Mock) -> brod_mock:move_leader(Mock, ?TOPIC, Partition, Broker);
disturb({move_coordinator, Broker}, Mock) -> brod_mock:move_coordinator(Mock, ?GROUP, Broker);
disturb({stop, Broker}, Mock) -> brod_mock:stop_broker(Mock, Broker);
disturb({start, Broker}, Mock) -> brod_mock:start_broker(Mock, Broker);
disturb({control_batch, Partition}, Mock) -> brod_mock:control_batch(Mock, ?TOPIC, Partition, 1).

verdict(How, Mock, Consumer, Refs) ->
  Sent = maps:map(fun(_, Calls) -> lists:seq(1, length(Calls)) end, Refs),
  Failed = [{Partition, N, Result}
            || {Partition, Calls} <- maps:to_list(Refs), {N, Ref} <- lists:zip(lists:seq(1, length(Calls)), Calls),
               Result <- [brod:sync_produce_request(Ref, ?LIMIT_MS)], Result =/= ok],
  Stored = by_partition([{P, V} || {P, #kafka_message{value = V}} <- brod_mock:messages(Mock, ?TOPIC)]),
  case {Failed, Stored} of
    {[], Sent} -> consumed(How, Mock, Consumer, Sent);
    {[], _} -> {error, {stored, Stored, sent, Sent}};
    _ -> {error, {not_acked, Failed}}
  end.

consumed(subscribe, _Mock, Consumer, Sent) ->
  Received = received(Consumer, lists:sum([length(Numbers) || Numbers <- maps:values(Sent)])),
  case by_partition(Received) of
    Sent -> ok;
    Other -> {error, {received, Other, sent, Sent}}
  end;
consumed(group, Mock, Consumer, Sent) ->
  case brod_mock:await_caught_up(Mock, ?GROUP, ?TOPIC, ?LIMIT_MS) of
    ok ->
      %% What was not committed when a member lost its partition comes again: from there on, in order.
      Received = by_partition(received(Consumer, 0)),
      Jumps = [{P, Numbers} || {P, Numbers} <- maps:to_list(Received), not in_order(Numbers, 0)],
      Missing = [P || {P, Numbers} <- maps:to_list(Sent), lists:usort(maps:get(P, Received, [])) =/= Numbers],
      case {Jumps, Missing} of
        {[], []} -> ok;
        _ -> {error, {group, Received, jumps, Jumps, missing, Missing}}
      end;
    {error, timeout} ->
      {error, {not_caught_up, brod_mock:group(Mock, ?GROUP), lag, brod_mock:lag(Mock, ?GROUP, ?TOPIC)}}
  end.

in_order([], _) -> true;
in_order([N | Rest], Most) when N =< Most + 1 -> in_order(Rest, max(Most, N));
in_order(_, _) -> false.

%% Some are so large that the engine does not copy them.
value(N) when N rem 10 =:= 0 -> <<(integer_to_binary(N))/binary, (binary:copy(<<" ">>, 40000))/binary>>;
value(N) -> integer_to_binary(N).

number(Value) -> binary_to_integer(hd(binary:split(Value, <<" ">>))).

by_partition(Values) ->
  Add = fun({P, V}, Acc) -> maps:update_with(P, fun(All) -> [number(V) | All] end, [number(V)], Acc) end,
  maps:map(fun(_, All) -> lists:reverse(All) end, lists:foldl(Add, #{}, Values)).

%% Who consumes

consume(subscribe, Client) ->
  Self = self(),
  spawn_link(fun() ->
    ok = brod:start_consumer(Client, ?TOPIC, [{begin_offset, earliest}]),
    [{ok, _} = brod:subscribe(Client, self(), ?TOPIC, P, [{begin_offset, earliest}]) || P <- lists:seq(0, ?PARTITIONS - 1)],
    subscribed(Self)
  end);
consume(group, Client) ->
  {ok, Member} = brod:start_link_group_subscriber_v2(
                   #{client => Client, group_id => ?GROUP, topics => [?TOPIC], cb_module => ?MODULE, init_data => self(),
                     message_type => message, consumer_config => [{begin_offset, earliest}],
                     group_config => [{offset_commit_interval_seconds, 1}, {heartbeat_rate_seconds, 1},
                                      {session_timeout_seconds, 10}, {rejoin_delay_seconds, 0},
                                      {max_rejoin_attempts, 1000}]}),
  Member.

stop_consumer(subscribe, Pid) -> unlink(Pid), exit(Pid, kill);
stop_consumer(group, Member) -> unlink(Member), catch brod_group_subscriber_v2:stop(Member).

subscribed(Parent) ->
  receive
    {Consumer, #kafka_message_set{partition = Partition, messages = Messages}} ->
      [Parent ! {consumed, Partition, Value} || #kafka_message{value = Value} <- Messages],
      ok = brod:consume_ack(Consumer, (lists:last(Messages))#kafka_message.offset),
      subscribed(Parent);
    {_, #kafka_fetch_error{} = Error} -> exit(Error)
  end.

%% @private
init(#{partition := Partition}, Parent) -> {ok, {Partition, Parent}}.

%% @private
handle_message(#kafka_message{value = Value}, {Partition, Parent} = State) ->
  Parent ! {consumed, Partition, Value},
  {ok, commit, State}.

%% At least so many, and all that are there.
received(_Consumer, Least) ->
  received(Least, [], erlang:monotonic_time(millisecond) + ?LIMIT_MS).

received(Least, Acc, Deadline) ->
  Wait = case length(Acc) < Least of
           true -> max(0, Deadline - erlang:monotonic_time(millisecond));
           false -> 0
         end,
  receive
    {consumed, Partition, Value} -> received(Least, [{Partition, Value} | Acc], Deadline)
  after Wait -> lists:reverse(Acc)
  end.

%% Cut down to what it needs to fail

shrunk(How, Script, Why) ->
  shrunk(How, Script, Why, max(1, length(Script) div 2), 0, ?TRIES).

shrunk(_How, Script, Why, _Size, _At, 0) -> {Script, Why};
shrunk(How, Script, Why, Size, At, Tries) when At >= length(Script) ->
  case Size of
    1 -> {Script, Why};
    _ -> shrunk(How, Script, Why, Size div 2, 0, Tries)
  end;
shrunk(How, Script, Why, Size, At, Tries) ->
  {Before, Rest} = lists:split(At, Script),
  Less = Before ++ lists:nthtail(min(Size, length(Rest)), Rest),
  case play(How, Less) of
    ok -> shrunk(How, Script, Why, Size, At + Size, Tries - 1);
    {error, Reason} -> shrunk(How, Less, Reason, Size, At, Tries - 1)
  end.
