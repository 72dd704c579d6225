%% Consumer groups while brokers fail and members come and go. Every test leaves the brokers whole.
-module(brod_group_faults_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-import(brod_group_probe, [v2/5, coordinator/1, await_assigned/2, collect/2, await_committed/4,
                           committed/3, ends/2]).
-import(brod_test, [wait_until/2, numbers/2, unique/1]).

-define(config(Key, Config), proplists:get_value(Key, Config)).
-define(PARTITIONS, 6).
-define(LIMIT_MS, 60000).
-define(CHURN_MS, 30000).
-define(OPTIONS, [{offset_commit_interval_seconds, 1}]).

all() -> [churn, coordinator_broker_dies, outage_of_all_brokers, refused_for_good].

init_per_suite(Config) -> brod_test:init_suite(Config).

end_per_suite(_Config) -> application:stop(brod).

init_per_testcase(_Case, Config) ->
  Client = brod_test:start_client(),
  Topic = brod_test:create_topic(?PARTITIONS, #{replication_factor => 3}),
  %% A broker that was restarted just now may be asked, and not know the topic yet.
  Start = fun() -> brod:start_producer(Client, Topic, [{max_retries, -1}]) =:= ok end,
  wait_until(Start, ?LIMIT_MS),
  [{client, Client}, {topic, Topic}, {group, unique("g")} | Config].

end_per_testcase(_Case, Config) ->
  brod_test:stop_client(?config(client, Config)),
  brod_test:whole().

%% Members join, leave and die at random for half a minute, while messages come in: all are handled,
%% and in the end committed, by whoever is left.
churn(Config) ->
  {Client, Group, Topic} = names(Config),
  %% A client each, as members of one group have in real life.
  Clients = [Client | [brod_test:start_client() || _ <- lists:seq(1, 3)]],
  Seed = rand:seed(exsss),
  ct:log("seed ~p", [rand:export_seed_s(Seed)]),
  Writer = start_writer(Client, Topic),
  Deadline = erlang:monotonic_time(millisecond) + ?CHURN_MS,
  Slots = lists:foldl(fun(C, Acc) -> Acc#{C => start_member(C, Config)} end, #{}, Clients),
  Last = churn(Slots, Config, Deadline),
  Written = stop_writer(Writer),
  ct:log("~b messages", [length(Written)]),
  _ = collect(Written, ?LIMIT_MS),
  Ends = ends(Client, Topic),
  %% One that died at the last moment may have handled messages and not committed them: another one
  %% gets them once more.
  wait_until(fun() -> committed(Client, Group, Topic) =:= Ends end, ?LIMIT_MS),
  maps:foreach(fun(_, undefined) -> ok;
                  (_, Pid) -> ok = brod_group_subscriber_v2:stop(Pid)
               end, Last),
  ?assertEqual(Ends, committed(Client, Group, Topic)),
  [brod_test:stop_client(C) || C <- tl(Clients)],
  ok.

churn(Slots, Config, Deadline) ->
  case erlang:monotonic_time(millisecond) < Deadline of
    false ->
      %% One member at least is there to finish the work.
      [Client | _] = maps:keys(Slots),
      case Slots of
        #{Client := undefined} -> Slots#{Client := start_member(Client, Config)};
        _ -> Slots
      end;
    true ->
      receive after rand:uniform(1500) -> ok end,
      Client = lists:nth(rand:uniform(map_size(Slots)), maps:keys(Slots)),
      #{Client := Pid} = Slots,
      churn(Slots#{Client := shake(Pid, Client, Config)}, Config, Deadline)
  end.

shake(undefined, Client, Config) -> start_member(Client, Config);
shake(Pid, _Client, _Config) ->
  case rand:uniform(4) of
    1 -> die(Pid, Pid);
    2 -> die(Pid, coordinator(Pid));
    3 ->
      case maps:values(brod_group_subscriber_v2:get_workers(Pid)) of
        [] -> Pid;
        Workers -> die(Pid, lists:nth(rand:uniform(length(Workers)), Workers))
      end;
    4 -> ok = brod_group_subscriber_v2:stop(Pid), undefined
  end.

%% Returns when the subscriber is gone.
die(Pid, Victim) ->
  Monitor = monitor(process, Pid),
  exit(Victim, kill),
  receive {'DOWN', Monitor, process, Pid, _} -> undefined
  after ?LIMIT_MS -> error({does_not_die, Pid})
  end.

start_member(Client, Config) ->
  {_, Group, Topic} = names(Config),
  v2(Client, Client, Group, [Topic], ?OPTIONS).

coordinator_broker_dies(Config) ->
  {Client, Group, Topic} = names(Config),
  Pids = [v2(Tag, Client, Group, [Topic], ?OPTIONS) || Tag <- [a, b]],
  _ = await_assigned(Pids, tps(Topic)),
  Coordinators = [coordinator(Pid) || Pid <- Pids],
  Writer = start_writer(Client, Topic),
  Broker = coordinator_broker(Client, Group),
  ok = brod_test:brokers(kill, [Broker]),
  wait_until(fun() -> moved_from(Broker, Client, Group) end, ?LIMIT_MS),
  ok = brod_test:brokers(start, [Broker]),
  Written = stop_writer(Writer),
  _ = collect(Written, ?LIMIT_MS),
  ?assertEqual(Coordinators, [coordinator(Pid) || Pid <- Pids]),
  await_committed(Client, Group, Topic, ends(Client, Topic)),
  lists:foreach(fun brod_group_subscriber_v2:stop/1, Pids).

moved_from(Broker, Client, Group) ->
  try coordinator_broker(Client, Group) =/= Broker
  catch error:{badmatch, {error, _}} -> false
  end.

%% Broker N listens N - 1 tens above the first.
coordinator_broker(Client, Group) ->
  {ok, {{_, Port}, _}} = brod_client:get_group_coordinator(Client, Group),
  [{_, First} | _] = brod_test:bootstrap(),
  (Port - First) div 10 + 1.

%% The members are still the same processes, and go on.
outage_of_all_brokers(Config) ->
  {Client, Group, Topic} = names(Config),
  Pids = [v2(Tag, Client, Group, [Topic], ?OPTIONS) || Tag <- [a, b]],
  _ = await_assigned(Pids, tps(Topic)),
  Coordinators = [coordinator(Pid) || Pid <- Pids],
  write(Client, Topic, numbers(1, 60)),
  _ = collect(numbers(1, 60), ?LIMIT_MS),
  Brokers = lists:seq(1, length(brod_test:bootstrap())),
  ok = brod_test:brokers(kill, Brokers),
  brod_test:whole(),
  write(Client, Topic, numbers(61, 120)),
  _ = collect(numbers(61, 120), ?LIMIT_MS),
  ?assertEqual(Coordinators, [coordinator(Pid) || Pid <- Pids]),
  await_committed(Client, Group, Topic, ends(Client, Topic)),
  lists:foreach(fun brod_group_subscriber_v2:stop/1, Pids).

%% A group with another protocol refuses the member. It gives up, and the log says why.
refused_for_good(Config) ->
  {Client, Group, Topic} = names(Config),
  A = v2(a, Client, Group, [Topic], []),
  _ = await_assigned([A], tps(Topic)),
  Log = brod_log:start(),
  B = v2(b, Client, Group, [Topic], [{protocol_name, "other"}, {max_rejoin_attempts, 2},
                                     {rejoin_delay_seconds, 0.1}]),
  Monitor = monitor(process, B),
  receive
    {'DOWN', Monitor, process, B, Reason} ->
      ?assertEqual({shutdown, coordinator_failure}, Reason)
  after ?LIMIT_MS -> error(does_not_give_up)
  end,
  ?assert(brod_log:has(Log, "members use other protocols than other:")),
  ?assert(brod_log:has(Log, "max_rejoin_attempts")),
  brod_log:stop(Log),
  ok = brod_group_subscriber_v2:stop(A).

%%% Helpers

names(Config) -> {?config(client, Config), ?config(group, Config), ?config(topic, Config)}.

tps(Topic) -> [{Topic, P} || P <- lists:seq(0, ?PARTITIONS - 1)].

%% Writes numbers from 1, one at a time to each partition in turn, until it is stopped.
start_writer(Client, Topic) ->
  spawn_link(fun() -> writer(Client, Topic, 0) end).

writer(Client, Topic, N) ->
  receive
    {stop, From} -> From ! {self(), N}
  after 2 ->
    Value = integer_to_binary(N + 1),
    ok = brod:produce_sync(Client, Topic, N rem ?PARTITIONS, <<>>, Value),
    writer(Client, Topic, N + 1)
  end.

%% What was written.
stop_writer(Writer) ->
  Writer ! {stop, self()},
  receive {Writer, N} -> numbers(1, N)
  after ?LIMIT_MS -> error(writer_hangs)
  end.

write(Client, Topic, Values) ->
  lists:foreach(fun(P) ->
                    Part = [V || V <- Values, binary_to_integer(V) rem ?PARTITIONS =:= P],
                    ok = brod:produce_sync(Client, Topic, P, <<>>, [{<<>>, V} || V <- Part])
                end, lists:seq(0, ?PARTITIONS - 1)).
