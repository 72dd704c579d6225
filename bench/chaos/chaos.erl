%% Faults of every kind on a real cluster of three brokers, while clients produce and consume through proxies, and every message
%% is accounted for: see scripts/chaos.sh.
%%
%%   erl -noshell -pa BROD/ebin -pa . -s chaos main -extra base=PORT scripts=DIR jars=DIR small_disk=DIR log=FILE \
%%     minutes=30 rate=20000 seed=N pause=10 limit=180 kinds=kill,pause
%%
%% Broker N listens for the proxy at base + 10 * (N - 1), and says that it does at 8 more. Ends with status 1 with the first thing
%% that is wrong, and if memory grows by more than a quarter from the second fifth of the time to the last, of 25 minutes or more.
-module(chaos).

-export([main/0, say/2, failed/1, counted/1]).

-define(HOST, "127.0.0.1").
-define(PROXY, 8).
-define(SAMPLE_MS, 1000).
-define(REPORT_S, 60).
%% Memory says nothing sooner: the proxies hold bytes in this VM, too, and all kinds of faults have been after ten minutes, each of
%% which takes what it needs once.
-define(MEMORY_S, 25 * 60).
%% Partitions and callers.
-define(ROLES, #{strict => {8, 6}, phoenix => {3, 1}, weak => {6, 1}}).
%% So long before the end no new fault begins, in seconds.
-define(CALM_S, 30).

main() ->
  Options = maps:from_list([list_to_tuple(string:split(S, "=")) || S <- init:get_plain_arguments()]),
  %% Once, for all that say something.
  ok = persistent_term:put(?MODULE, erlang:monotonic_time(millisecond)),
  log_to(map_get("log", Options)),
  try run(Options) of
    ok -> halt(0)
  catch
    Class:Reason:Stack -> say("FAILED ~p~n~p", [{Class, Reason}, Stack]), halt(1)
  end.

run(Options) ->
  process_flag(trap_exit, true),
  Number = fun(Key) -> list_to_integer(map_get(Key, Options)) end,
  {Base, Seed, Limit} = {Number("base"), Number("seed"), 1000 * Number("limit")},
  say("seed ~b", [Seed]),
  Topics = maps:map(fun(Role, {Partitions, Callers}) -> {topic(Role, Seed), Partitions, Callers} end, ?ROLES),
  Cluster = chaos_kafka:new(map_get("scripts", Options), map_get("jars", Options), Base),
  Proxies = maps:from_list([{N, chaos_proxy:start(Base + 10 * (N - 1) + ?PROXY, Base + 10 * (N - 1))} || N <- chaos_kafka:brokers()]),
  [ok = create(Cluster, Role, Topic, Partitions) || {Role, {Topic, Partitions, _}} <- maps:to_list(Topics)],
  ok = chaos_kafka:settle(Cluster, [Topic || {Topic, _, _} <- maps:values(Topics)]),
  Clients = chaos_clients:start(#{endpoints => [{?HOST, Base + 10 * (N - 1) + ?PROXY} || N <- chaos_kafka:brokers()],
                                  topics => Topics, rate => Number("rate"), limit => Limit}),
  _ = chaos_clients:await_progress(Clients, Limit),
  {Kinds, SmallDisk} = kinds(map_get("kinds", Options), map_get("small_disk", Options)),
  Self = self(),
  Until = erlang:monotonic_time(millisecond) + 60000 * Number("minutes") - 1000 * ?CALM_S,
  _ = spawn_link(fun() ->
    Done = chaos_faults:run(#{cluster => Cluster, proxies => Proxies, clients => Clients, topics => Topics, kinds => Kinds,
                              create => fun(Topic, Partitions) -> create(Cluster, phoenix, Topic, Partitions) end,
                              small_disk => SmallDisk, seed => Seed, pause => Number("pause"), limit => Limit, until => Until}),
    Self ! {done, Done}
  end),
  {Done, Samples} = watch(Clients, []),
  ok = chaos_clients:stop(Clients),
  report(Clients, Done, lists:reverse(Samples)).

%% Of its own in each run, for a cluster that has seen others.
topic(Role, Seed) -> iolist_to_binary(io_lib:format("~s-~b", [Role, Seed])).

kinds(Wanted, SmallDisk) ->
  Kinds = case Wanted of
            "" -> chaos_faults:kinds();
            _ -> [Kind || Kind <- chaos_faults:kinds(), lists:member(atom_to_list(Kind), string:split(Wanted, ",", all))]
          end,
  case SmallDisk of
    "" -> say("no small disk: full_disk is left out", []), {Kinds -- [full_disk], none};
    _ -> {Kinds, SmallDisk}
  end.

%% An acked message of the strict and the phoenix topic is on two of three brokers at least. Retention leaves to slow readers what they
%% have not got yet, and room on a small disk.
create(Cluster, Role, Topic, Partitions) ->
  Small = #{<<"retention.bytes">> => <<"25165824">>, <<"segment.bytes">> => <<"8388608">>},
  {Replicas, Config} = case Role of
                         weak -> {2, #{<<"unclean.leader.election.enable">> => <<"true">>}};
                         _ -> {3, #{<<"min.insync.replicas">> => <<"2">>}}
                       end,
  Nodes = chaos_kafka:brokers() ++ chaos_kafka:brokers(),
  Assignment = [lists:sublist(Nodes, P rem 3 + 1, Replicas) || P <- lists:seq(0, Partitions - 1)],
  chaos_kafka:create(Cluster, Topic, Assignment, maps:merge(Small, Config)).

%% @doc A line, with the seconds since the begin.
-spec say(io:format(), [term()]) -> ok.
say(Format, Arguments) ->
  Seconds = (erlang:monotonic_time(millisecond) - persistent_term:get(?MODULE)) div 1000,
  io:format("chaos: ~4b s  " ++ Format ++ "~n", [Seconds | Arguments]).

%% @doc Ends it all, from a process whose end nobody would hear of.
-spec failed(term()) -> no_return().
failed(Reason) ->
  say("FAILED ~p", [Reason]),
  halt(1).

%% @doc Counts of all roles, as text.
-spec counted(chaos_clients:clients()) -> iolist().
counted(Clients) ->
  #{strict := #{acked := Strict, consumed := Read, seen := Seen}, phoenix := #{consumed := Phoenix},
    weak := #{acked := Acked, consumed := Weak}} = chaos_clients:counts(Clients),
  io_lib:format("strict ~b acked, ~b read, ~b by the group; phoenix ~b; weak ~b acked, ~b read", [Strict, Read, Seen, Phoenix, Acked, Weak]).

%% What the clients log is none of our lines.
log_to(File) ->
  _ = logger:remove_handler(default),
  ok = logger:add_handler(file, logger_std_h, #{config => #{file => File}, level => notice}).

watch(Clients, Samples) ->
  receive
    {done, Done} -> {Done, Samples};
    {'EXIT', _, normal} -> watch(Clients, Samples);
    {'EXIT', _, Reason} -> error(Reason)
  after ?SAMPLE_MS ->
    Now = [{rss_mb(), acked(Clients)} | Samples],
    length(Now) rem ?REPORT_S =/= 0 orelse say("~.1f MB; ~s", [rss_mb(), counted(Clients)]),
    watch(Clients, Now)
  end.

acked(Clients) -> map_get(acked, map_get(strict, chaos_clients:counts(Clients))).

report(Clients, Done, Samples) ->
  Memory = [MB || {MB, _} <- Samples],
  Fifth = max(1, length(Memory) div 5),
  First = lists:max(lists:sublist(lists:nthtail(min(Fifth, length(Memory) - 1), Memory), Fifth)),
  Last = lists:max(lists:nthtail(length(Memory) - Fifth, Memory)),
  {Lost, Doubled} = chaos_clients:losses(Clients),
  say("~s", [counted(Clients)]),
  say("weak topic: ~b lost at elections, ~b came again", [Lost, Doubled]),
  say("~b faults: ~s", [lists:sum(maps:values(Done)),
                        lists:join(", ", [io_lib:format("~s ~b", [Kind, N]) || {Kind, N} <- maps:to_list(Done)])]),
  say("at most ~.1f MB in the second fifth of the time, ~.1f MB in the last", [First, Last]),
  length(Samples) < ?MEMORY_S orelse Last =< First * 1.25 orelse error(memory_grows),
  say("ok", []).

rss_mb() ->
  {ok, Status} = file:read_file("/proc/self/status"),
  {match, [KB]} = re:run(Status, "VmRSS:\\s+(\\d+)", [{capture, [1], list}]),
  list_to_integer(KB) / 1024.
