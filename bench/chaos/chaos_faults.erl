%% What can happen to a cluster, drawn by chance: each kind once before any comes again, and every third time the network is damaged
%% beside what befalls brokers. One line is printed for each, and how long it took afterwards until every client had got on.
-module(chaos_faults).

-export([kinds/0, run/1]).

-export_type([options/0]).

%% Faults last so long, in seconds.
-define(LEAST_S, 5).
-define(MOST_S, 20).
-define(QUOTA, 100000).

-type options() :: #{cluster := chaos_kafka:cluster(), proxies := #{chaos_kafka:node_id() => chaos_proxy:proxy()},
                     clients := chaos_clients:clients(), topics := chaos_clients:topics(), kinds := [atom()],
                     create := fun((brod:topic(), pos_integer()) -> ok), small_disk := file:filename() | none,
                     seed := integer(), pause := pos_integer(), limit := pos_integer(), until := integer()}.

%% @doc All kinds of faults.
-spec kinds() -> [atom()].
kinds() ->
  network() ++ [kill, stop, pause, kill_all, restart_all, full_disk, preferred_leaders, unclean_election, reassignment, new_topic,
                quota, member].

network() -> [cut, cut_all, silence, hold_requests, hold_answers, swallow_requests, swallow_answers].

%% @doc Faults until the time is up; then all is whole again. How many there were of each kind.
-spec run(options()) -> #{atom() => pos_integer()}.
run(#{seed := Seed} = Options) ->
  _ = rand:seed(exsss, Seed),
  run(Options, [], #{}).

run(#{kinds := Kinds} = Options, [], Done) ->
  run(Options, shuffled(Kinds), Done);
run(#{until := Until, pause := Pause} = Options, [Kind | Rest], Done) ->
  receive after 1000 * Pause -> ok end,
  case now_ms() < Until of
    true ->
      fault(Options, Kind),
      run(Options, Rest, maps:update_with(Kind, fun(N) -> N + 1 end, 1, Done));
    false ->
      heal(Options),
      Done
  end.

fault(#{clients := Clients, limit := Limit} = Options, Kind) ->
  {Node, Seconds} = drawn(),
  Beside = beside(Options, Kind),
  Both = [{Kind, Node, Seconds} | Beside],
  chaos:say("~s", [lists:join(", ", [text(Fault) || Fault <- Both])]),
  Begun = now_ms(),
  Network = [spawn_monitor(fun() -> exit(inflict(K, N, S, Options)) end) || {K, N, S} <- Beside],
  ok = inflict(Kind, Node, Seconds, Options),
  [receive {'DOWN', Monitor, process, Pid, Reason} -> ok = Reason end || {Pid, Monitor} <- Network],
  Over = now_ms(),
  GoneOn = chaos_clients:await_progress(Clients, Limit),
  chaos:say("over after ~.1f s; all clients went on within ~.1f s; ~s", [(Over - Begun) / 1000, GoneOn / 1000, chaos:counted(Clients)]).

text({Kind, Node, Seconds}) ->
  OfOne = lists:member(Kind, [kill, stop, pause, unclean_election | network() -- [cut_all]]),
  Lasts = lists:member(Kind, [pause, full_disk, reassignment, quota | network()]),
  [atom_to_list(Kind), [io_lib:format(" of broker ~b", [Node]) || OfOne], [io_lib:format(" for ~b s", [Seconds]) || Lasts]].

drawn() -> {one_of(chaos_kafka:brokers()), ?LEAST_S + rand:uniform(?MOST_S - ?LEAST_S + 1) - 1}.

beside(#{kinds := Kinds}, Kind) ->
  IsThird = rand:uniform(3) =:= 1,
  case [K || K <- network(), lists:member(K, Kinds), IsThird, not lists:member(Kind, network())] of
    [] -> [];
    Some ->
      {Node, Seconds} = drawn(),
      [{one_of(Some), Node, Seconds}]
  end.

inflict(Kind, Node, _, #{cluster := Cluster}) when Kind =:= kill; Kind =:= stop ->
  ok = chaos_kafka:broker(Cluster, atom_to_list(Kind), Node),
  chaos_kafka:ensure_up(Cluster, Node);
inflict(pause, Node, Seconds, #{cluster := Cluster}) ->
  ok = chaos_kafka:broker(Cluster, "pause", Node),
  pass(Seconds),
  chaos_kafka:broker(Cluster, "resume", Node);
inflict(kill_all, _, _, #{cluster := Cluster}) ->
  [ok = chaos_kafka:broker(Cluster, "kill", Node) || Node <- chaos_kafka:brokers()],
  all_up(Cluster);
inflict(restart_all, _, _, #{cluster := Cluster}) ->
  [begin
     ok = chaos_kafka:broker(Cluster, "stop", Node),
     ok = chaos_kafka:ensure_up(Cluster, Node)
   end || Node <- shuffled(chaos_kafka:brokers())],
  ok;
inflict(cut, Node, Seconds, #{proxies := Proxies}) -> cut([map_get(Node, Proxies)], Seconds);
inflict(cut_all, _, Seconds, #{proxies := Proxies}) -> cut(maps:values(Proxies), Seconds);
inflict(silence, Node, Seconds, Options) -> damage(Node, Seconds, #{requests => hold, answers => hold}, Options);
inflict(hold_requests, Node, Seconds, Options) -> damage(Node, Seconds, #{requests => hold}, Options);
inflict(hold_answers, Node, Seconds, Options) -> damage(Node, Seconds, #{answers => hold}, Options);
inflict(swallow_requests, Node, Seconds, Options) -> damage(Node, Seconds, #{requests => swallow}, Options);
inflict(swallow_answers, Node, Seconds, Options) -> damage(Node, Seconds, #{answers => swallow}, Options);
inflict(full_disk, _, Seconds, #{cluster := Cluster, small_disk := Directory}) ->
  File = filename:join(Directory, "filler"),
  _ = os:cmd("cat /dev/zero >'" ++ File ++ "'"),
  pass(Seconds),
  ok = file:delete(File),
  %% A broker uses a directory again only after a start; with its only directory, it has ended.
  Node = lists:max(chaos_kafka:brokers()),
  _ = chaos_kafka:broker(Cluster, "kill", Node),
  chaos_kafka:ensure_up(Cluster, Node);
inflict(preferred_leaders, _, _, Options) ->
  %% Others are preferred from now on.
  ok = reassigned(Options, strict, 3),
  elect_preferred(Options);
inflict(unclean_election, Node, _, Options) ->
  unclean(Node, Options);
inflict(reassignment, _, Seconds, Options) ->
  %% Two of three replicas, then three again, which copies the log; elsewhere another two of three.
  ok = reassigned(Options, strict, 2),
  ok = reassigned(Options, weak, 2),
  pass(Seconds),
  ok = reassigned(Options, strict, 3),
  elect_preferred(Options);
inflict(new_topic, _, _, #{cluster := Cluster, clients := Clients, create := Create, limit := Limit}) ->
  chaos_clients:new_life(Clients, fun(Topic, Partitions) ->
    chaos_kafka:delete_and_create(Cluster, Topic, fun() -> Create(Topic, Partitions) end)
  end, Limit);
inflict(quota, _, Seconds, #{cluster := Cluster}) ->
  ok = chaos_kafka:quota(Cluster, ?QUOTA),
  pass(Seconds),
  chaos_kafka:quota(Cluster, none);
inflict(member, _, _, #{clients := Clients}) ->
  chaos_clients:change_member(Clients).

cut(Proxies, Seconds) ->
  [ok = chaos_proxy:cut(Proxy) || Proxy <- Proxies],
  pass(Seconds),
  [ok = chaos_proxy:heal(Proxy) || Proxy <- Proxies],
  ok.

damage(Node, Seconds, Modes, #{proxies := Proxies}) ->
  Proxy = map_get(Node, Proxies),
  ok = chaos_proxy:set(Proxy, Modes),
  pass(Seconds),
  chaos_proxy:heal(Proxy).

%% None of them is ready before another one is there.
all_up(Cluster) ->
  Pids = [spawn_link(fun() -> chaos_kafka:ensure_up(Cluster, Node) end) || Node <- chaos_kafka:brokers()],
  Monitors = [{Pid, monitor(process, Pid)} || Pid <- Pids],
  [receive {'DOWN', Monitor, process, Pid, _} -> ok end || {Pid, Monitor} <- Monitors],
  ok.

reassigned(#{cluster := Cluster, topics := Topics}, Role, Replicas) ->
  {Topic, Partitions, _} = map_get(Role, Topics),
  New = maps:from_list([{P, lists:sublist(shuffled(chaos_kafka:brokers()), Replicas)} || P <- lists:seq(0, Partitions - 1)]),
  chaos_kafka:reassign(Cluster, Topic, New).

elect_preferred(#{cluster := Cluster, topics := Topics}) ->
  [{ok, _} = chaos_kafka:elect(Cluster, preferred, Topic, lists:seq(0, Partitions - 1))
   || {Topic, Partitions, _} <- maps:values(Topics)],
  ok.

%% A follower hangs until it is no longer in sync, the leader goes on alone and is killed, and the follower is all that is
%% there of the weak topic.
unclean(Node, #{cluster := Cluster, topics := #{weak := {Topic, _, _}}}) ->
  ok = chaos_kafka:settle(Cluster, [Topic]),
  case [{P, hd(lists:delete(Node, Replicas))}
        || #{partition_index := P, leader_id := Leader, replica_nodes := Replicas} <- chaos_kafka:partitions(Cluster, Topic), Leader =:= Node] of
    [] ->
      chaos:say("broker ~b leads nothing of the weak topic", [Node]);
    [{_, Follower} | _] = Led ->
      Partitions = [P || {P, Of} <- Led, Of =:= Follower],
      ok = chaos_kafka:broker(Cluster, "pause", Follower),
      {ok, _} = chaos_kafka:await(fun() ->
        case [P || #{partition_index := P, isr_nodes := Isr} <- chaos_kafka:partitions(Cluster, Topic),
                   lists:member(P, Partitions), Isr =/= [Node]] of
          [] -> {ok, alone};
          InSync -> {error, {in_sync, InSync}}
        end
      end, 60000),
      pass(2),
      ok = chaos_kafka:broker(Cluster, "kill", Node),
      ok = chaos_kafka:broker(Cluster, "resume", Follower),
      %% The topic's setting permits it, so that the controller may be faster.
      Elected = chaos_kafka:await(fun() -> chaos_kafka:elect(Cluster, unclean, Topic, Partitions) end, 60000),
      _ = Elected,
      ok = chaos_kafka:ensure_up(Cluster, Node)
  end.

heal(#{cluster := Cluster, proxies := Proxies, topics := Topics}) ->
  [ok = chaos_proxy:heal(Proxy) || Proxy <- maps:values(Proxies)],
  [ok = chaos_kafka:ensure_up(Cluster, Node) || Node <- chaos_kafka:brokers()],
  chaos_kafka:settle(Cluster, [Topic || {Topic, _, _} <- maps:values(Topics)]).

pass(Seconds) -> receive after 1000 * Seconds -> ok end.

one_of(List) -> lists:nth(rand:uniform(length(List)), List).

shuffled(List) -> [Item || {_, Item} <- lists:sort([{rand:uniform(), Item} || Item <- List])].

now_ms() -> erlang:monotonic_time(millisecond).
