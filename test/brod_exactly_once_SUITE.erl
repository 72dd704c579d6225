%% A read-process-write chain through trouble: members are killed, and brokers, among them those that lead
%% partitions and those that coordinate transactions and groups. Whoever reads what is committed sees the outcome
%% of every input once, and in order. BROD_EXACTLY_ONCE_SECONDS says for how long (25).
-module(brod_exactly_once_SUITE).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([every_input_is_seen_once/1]).

-include_lib("stdlib/include/assert.hrl").
-include("../include/brod.hrl").

-define(config(Key, Config), proplists:get_value(Key, Config)).
-define(PARTITIONS, 3).
-define(MEMBERS, 3).
%% Inputs of a partition come in batches, which are not far ahead of what is worked on.
-define(BATCH, 10).
-define(AHEAD, 300).
-define(INPUT_EVERY_MS, 50).
%% Between two members of the same name.
-define(RESTART_MS, 300).
-define(LIMIT_MS, 120000).
%% Of a minute each.
-define(RESTORE_ATTEMPTS, 5).

suite() -> [{timetrap, {seconds, seconds() + 1000}}].

all() -> [every_input_is_seen_once].

seconds() -> list_to_integer(os:getenv("BROD_EXACTLY_ONCE_SECONDS", "25")).

init_per_suite(Config) -> brod_test:init_suite_of_three(Config).

end_per_suite(_Config) -> ok.

init_per_testcase(_Case, Config) ->
  process_flag(trap_exit, true),
  Topic = fun() -> brod_test:replicated_topic(?PARTITIONS) end,
  [{client, brod_test:start_client()}, {seen, atomics:new(?PARTITIONS, [])}, {input, Topic()}, {output, Topic()},
   {group, brod_test:unique("once")} | Config].

end_per_testcase(_Case, Config) ->
  ok = restore(),
  brod_test:stop_client(?config(client, Config)).

every_input_is_seen_once(Config) ->
  {Client, Output} = {?config(client, Config), ?config(output, Config)},
  ok = brod:start_producer(Client, ?config(input, Config), [{max_retries, -1}]),
  Members = [spawn_link(fun() -> member(N, Config) end) || N <- lists:seq(1, ?MEMBERS)],
  Writers = [spawn_link(fun() -> writer(P, Config) end) || P <- lists:seq(0, ?PARTITIONS - 1)],
  Harm = trouble(Members, Config, erlang:monotonic_time(second) + seconds(), #{}),
  ok = restore(),
  Counts = [begin
              W ! {stop, self()},
              receive {W, Count} -> Count after ?LIMIT_MS -> error(writer_waits) end
            end || W <- Writers],
  [begin
     ok = await_output(Client, Output, P, Count),
     Seen = [N || <<"done ", N/binary>> <- brod_test:values(brod_test:fetch_all(Client, Output, P))],
     ?assert(Seen =:= brod_test:numbers(1, Count), {P, Count, wrong(Seen)})
   end || {P, Count} <- lists:zip(lists:seq(0, ?PARTITIONS - 1), Counts)],
  _ = [M ! stop || M <- Members],
  Restarts = [receive {'EXIT', M, {stopped, Restarts}} -> Restarts after ?LIMIT_MS -> error(member_stays) end
              || M <- Members],
  ct:pal("~b inputs, harm ~p, members started again ~p times", [lists:sum(Counts), Harm, Restarts]),
  %% it was no quiet time
  ?assertMatch(#{member := _, leader := _}, Harm).

%% The first places at which the outcome is not the next number.
wrong(Seen) ->
  Numbers = [binary_to_integer(N) || N <- Seen],
  Steps = lists:zip(lists:droplast([0 | Numbers]), Numbers),
  #{count => length(Seen), wrong_steps => lists:sublist([Step || {A, B} = Step <- Steps, B =/= A + 1], 10)}.

await_output(Client, Output, Partition, Count) ->
  Last = <<"done ", (integer_to_binary(Count))/binary>>,
  Ends = fun() ->
           case brod_test:fetch_all(Client, Output, Partition) of
             [] -> Count =:= 0;
             Messages -> (lists:last(Messages))#kafka_message.value =:= Last
           end
         end,
  true = brod_test:wait_until(Ends, ?LIMIT_MS),
  ok.

%% Writes numbers until it is told to stop, and says how many.
writer(Partition, Config) -> writer(0, Partition, Config).

writer(Written, Partition, Config) ->
  receive {stop, From} -> From ! {self(), Written}
  after ?INPUT_EVERY_MS ->
    case Written - atomics:get(?config(seen, Config), Partition + 1) < ?AHEAD of
      true ->
        Batch = [#{value => V} || V <- brod_test:numbers(Written + 1, Written + ?BATCH)],
        ok = brod:produce_sync(?config(client, Config), ?config(input, Config), Partition, <<>>, Batch),
        writer(Written + ?BATCH, Partition, Config);
      false ->
        writer(Written, Partition, Config)
    end
  end.

%% A supervisor of one processor: each has a client of its own, as on a node of its own.
member(Number, Config) ->
  process_flag(trap_exit, true),
  Client = brod_test:unique_name("member"),
  ok = brod:start_client(brod_test:bootstrap(), Client, []),
  {Output, Seen} = {?config(output, Config), ?config(seen, Config)},
  Process = fun(Tx, #kafka_message_set{partition = P, messages = Messages}) ->
              Batch = [#{value => <<"done ", V/binary>>} || #kafka_message{value = V} <- Messages],
              #kafka_message{value = Last} = lists:last(Messages),
              ok = atomics:put(Seen, P + 1, binary_to_integer(Last)),
              %% in one call, or in many that are on their way together
              case rand:uniform(2) - 1 of
                0 -> {ok, _} = brod:txn_produce(Tx, Output, P, Batch);
                1 -> [ok = brod:txn_produce_async(Tx, Output, P, [M]) || M <- Batch]
              end,
              ok
            end,
  Options = #{group_id => ?config(group, Config), topics => [?config(input, Config)],
              consumer_config => [{begin_offset, earliest}, {max_wait_time, 200}],
              transaction_config => [{transaction_timeout, 15000}],
              group_config => [{offset_commit_policy, consumer_managed}, {session_timeout_seconds, 6},
                               {heartbeat_rate_seconds, 1}, {max_rejoin_attempts, 100}]},
  Restarts = serve(fun() -> brod:txn_do(Process, Client, Options) end, Number, 0),
  ok = brod:stop_client(Client),
  exit({stopped, Restarts}).

serve(Start, Number, Restarts) ->
  {ok, Pid} = Start(),
  receive
    kill ->
      exit(Pid, kill),
      receive {'EXIT', Pid, _} -> again(Start, Number, Restarts) end;
    stop ->
      exit(Pid, shutdown),
      receive {'EXIT', Pid, _} -> Restarts end;
    {'EXIT', Pid, _Reason} ->
      again(Start, Number, Restarts)
  end.

again(Start, Number, Restarts) ->
  receive stop -> Restarts
  after ?RESTART_MS -> serve(Start, Number, Restarts + 1)
  end.

%% One harm after the other, until the time is up; counts them.
trouble(Members, Config, Until, Done) ->
  case erlang:monotonic_time(second) < Until of
    false -> Done;
    true ->
      Kinds = [member, leader, transaction_coordinator, member, group_coordinator],
      Kind = lists:nth(1 + lists:sum(maps:values(Done)) rem length(Kinds), Kinds),
      ok = harm(Kind, Members, Config),
      trouble(Members, Config, Until, maps:update_with(Kind, fun(N) -> N + 1 end, 1, Done))
  end.

harm(member, Members, Config) ->
  Before = position(Config),
  lists:nth(rand:uniform(length(Members)), Members) ! kill,
  progress(Before, Config);
harm(Kind, _Members, Config) ->
  Before = position(Config),
  Broker = broker(Kind, Config),
  ok = brod_test:brokers(kill, [Broker]),
  ok = progress(Before, Config),
  restore().

%% A broker may take its time to come back on a machine that has much to do.
restore() -> restore(?RESTORE_ATTEMPTS).

restore(Attempts) ->
  try brod_test:whole() of
    true -> ok
  catch
    error:{not_within_ms, _} when Attempts > 1 -> restore(Attempts - 1)
  end.

%% The others go on without it.
progress(Before, Config) ->
  brod_test:wait_until(fun() -> position(Config) > Before andalso ok end, ?LIMIT_MS).

%% How far readers of what is committed get.
position(Config) ->
  lists:sum([case brod:fetch(?config(client, Config), ?config(output, Config), P, 0, #{max_bytes => 1}) of
               {ok, {Stable, _}} -> Stable;
               {error, _} -> -1000000
             end || P <- lists:seq(0, ?PARTITIONS - 1)]).

broker(leader, Config) ->
  {ok, #{topics := [#{partitions := Partitions}]}} =
    brod_client:get_metadata(?config(client, Config), ?config(output, Config)),
  [Leader | _] = [L || #{leader_id := L, partition_index := 0} <- Partitions],
  Leader;
broker(group_coordinator, Config) ->
  coordinator(fun brod_client:get_group_coordinator/2, ?config(group, Config), Config);
broker(transaction_coordinator, Config) ->
  %% each partition has its own id, and so one of the brokers
  coordinator(fun brod_client:get_transactional_coordinator/2, brod_test:unique("any"), Config).

coordinator(Ask, Id, Config) ->
  {ok, {{Host, Port}, _}} = brod_test:wait_until(fun() ->
                                                   case Ask(?config(client, Config), Id) of
                                                     {ok, _} = Found -> Found;
                                                     {error, _} -> false
                                                   end
                                                 end, ?LIMIT_MS),
  {ok, #{brokers := Brokers}} = brod_client:get_metadata(?config(client, Config), []),
  [Node] = [N || #{node_id := N, host := H, port := P} <- Brokers, {H, P} =:= {Host, Port}],
  Node.
