%% Brokers whose answers come damaged at random, and clients of every kind that live with them: the VM lives, no caller
%% waits for ever, and once the answers are right again everybody's work goes on.
-module(brod_malformed).
-behaviour(brod_group_subscriber_v2).

-export([main/0, run/1]).
-export([init/2, handle_message/2]).

-include("../include/brod.hrl").

-define(TOPIC, <<"t">>).
-define(PARTITIONS, 3).
-define(USER, <<"user">>).
-define(PASSWORD, <<"password">>).
%% One in so many answers is damaged.
-define(ONE_IN, 8).
%% Whoever gets nothing done for so long hangs.
-define(LIMIT_MS, 120000).
%% How often each must succeed afterwards.
-define(HEALED, 3).
-define(CONNECT, [{connect_timeout, 2000}, {request_timeout, 1000}]).

-type role() :: produce | subscribe | group | transact | administrate | connect.

%% @doc For `make malformed': MALFORMED_ANSWERS (100000), drawn from MALFORMED_SEED (the clock).
main() ->
  Env = fun(Name, Default) -> list_to_integer(os:getenv(Name, integer_to_list(Default))) end,
  {ok, _} = application:ensure_all_started(brod),
  Config = #{answers => Env("MALFORMED_ANSWERS", 100000), each => 3, seed => Env("MALFORMED_SEED", os:system_time(second))},
  Told = run(Config),
  [io:format("malformed: ~-14s ~8b done, ~8b refused~n", [Role, Done, Failed])
   || {Role, {Done, Failed}} <- lists:sort(maps:to_list(maps:get(roles, Told)))],
  io:format("malformed: ok, ~b damaged answers in ~b s, seed ~b; memory ~b MB before, ~b MB after~n",
            [maps:get(Key, Told) || Key <- [damaged, seconds, seed, mb_before, mb_after]]),
  halt(0).

%% @doc Until so many answers have come damaged, with so many clients of each role; then all must work again. What each role
%% got done and what failed.
%% An answer may have told a client to be silent for weeks, which it is for a minute, on that connection (KIP-219). With
%% `restart' nobody waits for that: connections end together with the damage.
-spec run(#{answers := pos_integer(), each := pos_integer(), seed := integer(), restart => boolean()}) ->
        #{roles := #{role() => {non_neg_integer(), non_neg_integer()}}, atom() => integer()}.
run(#{answers := Answers, each := Each, seed := Seed} = Config) ->
  {ok, Mock} = brod_mock:start(#{topics => #{?TOPIC => ?PARTITIONS}, users => #{?USER => ?PASSWORD}, seed => Seed}),
  #{level := Level} = logger:get_primary_config(),
  %% Thousands of lines are to be expected, which are not what this is about.
  ok = logger:set_primary_config(level, none),
  Before = megabytes(),
  T0 = erlang:monotonic_time(second),
  Endpoints = brod_mock:endpoints(Mock),
  Main = self(),
  Workers = [spawn_monitor(fun() -> work(Role, Main, Endpoints) end)
             || Role <- [produce, subscribe, group, transact, administrate, connect], _ <- lists:seq(1, Each)],
  Told =
    try
      Healthy = progress(Workers, #{}, fun(All) -> all_done(1, Workers, All) end),
      ok = brod_mock:fault(Mock, #{action => {damage, ?ONE_IN}, times => 1 bsl 40}),
      Damaged = progress(Workers, Healthy, fun(_) -> brod_mock:faults_met(Mock) >= Answers end),
      Met = brod_mock:faults_met(Mock),
      ok = brod_mock:clear_faults(Mock),
      _ = [ok = restarted(Mock, Broker) || maps:get(restart, Config, false), Broker <- [1, 2, 3]],
      Healed = progress(Workers, Damaged, fun(All) -> all_done(?HEALED, Workers, All, Damaged) end),
      #{roles => by_role(Healed), damaged => Met, seconds => erlang:monotonic_time(second) - T0, seed => Seed,
        mb_before => Before}
    after
      [exit(Pid, shutdown) || {Pid, _} <- Workers],
      [receive {'DOWN', Ended, process, _, _} -> ok end || Ended <- [monitor(process, Pid) || {Pid, _} <- Workers]],
      flush(),
      ok = logger:set_primary_config(level, Level),
      ok = brod_mock:stop(Mock)
    end,
  %% What ended clients have left.
  Told#{mb_after => megabytes()}.

restarted(Mock, Broker) ->
  ok = brod_mock:stop_broker(Mock, Broker),
  brod_mock:start_broker(Mock, Broker).

flush() -> receive _ -> flush() after 0 -> ok end.

megabytes() ->
  _ = [erlang:garbage_collect(Pid) || Pid <- processes()],
  erlang:memory(total) div 1000000.

%% Counts what workers get done until it is enough. Nobody may end, or get nothing done for long.
progress(Workers, Counts, IsEnough) ->
  Now = erlang:monotonic_time(millisecond),
  progress(Workers, Counts, maps:from_list([{Pid, Now} || {Pid, _} <- Workers]), IsEnough).

progress(Workers, Counts0, Last0, IsEnough) ->
  {Counts, Last} = counted(Counts0, Last0, 100),
  Late = erlang:monotonic_time(millisecond) - ?LIMIT_MS,
  case [{Pid, process_info(Pid, current_stacktrace)} || {Pid, At} <- maps:to_list(Last), At < Late] of
    [] -> ok;
    Hanging -> error({hangs, Hanging, Counts})
  end,
  case IsEnough(Counts) of
    true -> Counts;
    false -> progress(Workers, Counts, Last, IsEnough)
  end.

counted(Counts, Last, WaitMs) ->
  receive
    {did, Pid, Role, Result} ->
      {_, Done, Failed} = maps:get(Pid, Counts, {Role, 0, 0}),
      Count = case Result of
                ok -> {Role, Done + 1, Failed};
                _ -> {Role, Done, Failed + 1}
              end,
      counted(Counts#{Pid => Count}, Last#{Pid => erlang:monotonic_time(millisecond)}, 0);
    {'DOWN', _, process, Pid, Reason} -> error({ended, Pid, Reason})
  after WaitMs -> {Counts, Last}
  end.

all_done(Least, Workers, Counts) -> all_done(Least, Workers, Counts, #{}).

all_done(Least, Workers, Counts, Before) ->
  lists:all(fun({Pid, _}) -> done(Pid, Counts) - done(Pid, Before) >= Least end, Workers).

done(Pid, Counts) ->
  case Counts of
    #{Pid := {_, Done, _}} -> Done;
    _ -> 0
  end.

by_role(Counts) ->
  maps:fold(fun(_, {Role, Done, Failed}, All) ->
    {D, F} = maps:get(Role, All, {0, 0}),
    All#{Role => {D + Done, F + Failed}}
  end, #{}, Counts).

%% A worker has a client of its own, tells how each thing that it does ends, and starts again what has ended.

work(Role, Main, Endpoints) ->
  process_flag(trap_exit, true),
  Client = list_to_atom("malformed" ++ ref_name()),
  Mechanism = case erlang:phash2(self(), 3) of 0 -> scram_sha_256; _ -> plain end,
  Config = [{reconnect_cool_down_seconds, 0}, {get_metadata_timeout_seconds, 2}, {sasl, {Mechanism, ?USER, ?PASSWORD}} | ?CONNECT],
  try
    work(Role, #{main => Main, client => Client, endpoints => Endpoints, config => Config, n => 0, consumer => undefined})
  after
    brod:stop_client(Client)
  end.

ref_name() -> [C || C <- ref_to_list(make_ref()), C >= $0, C =< $9].

work(Role, #{main := Main, client := Client, endpoints := Endpoints, config := Config, n := N} = State0) ->
  receive {'EXIT', Main, _} -> exit(shutdown)
  after 0 -> ok
  end,
  {Result, State} =
    case brod:start_client(Endpoints, Client, Config) of
      ok ->
        try do(Role, State0)
        catch
          throw:ended -> exit(shutdown);
          _:Reason -> {{error, Reason}, State0}
        end;
      Error -> {Error, State0}
    end,
  Main ! {did, self(), Role, Result},
  work(Role, State#{n := N + 1}).

do(produce, #{client := Client, n := N} = State) ->
  Options = [{retry_backoff_ms, 10}, {max_retries, 3}, {max_linger_count, 1}],
  case brod:start_producer(Client, ?TOPIC, Options) of
    ok -> {brod:produce_sync(Client, ?TOPIC, N rem ?PARTITIONS, <<"k">>, integer_to_binary(N)), State};
    Error -> {Error, State}
  end;
do(subscribe, #{client := Client, consumer := undefined, n := N} = State) ->
  Options = [{begin_offset, latest}, {offset_reset_policy, reset_to_latest}],
  case brod:start_consumer(Client, ?TOPIC, Options) of
    ok ->
      case brod:subscribe(Client, self(), ?TOPIC, N rem ?PARTITIONS, Options) of
        {ok, Consumer} -> received(State#{consumer := {Consumer, monitor(process, Consumer)}});
        Error -> {Error, State}
      end;
    Error -> {Error, State}
  end;
do(subscribe, State) -> received(State);
do(group, #{client := Client, consumer := undefined} = State) ->
  Config = #{client => Client, group_id => atom_to_binary(Client, utf8), topics => [?TOPIC], cb_module => ?MODULE,
             init_data => self(), message_type => message,
             consumer_config => [{begin_offset, latest}, {offset_reset_policy, reset_to_latest}],
             group_config => [{offset_commit_interval_seconds, 1}, {heartbeat_rate_seconds, 1}, {session_timeout_seconds, 10},
                              {rejoin_delay_seconds, 0}, {max_rejoin_attempts, 3}]},
  case brod:start_link_group_subscriber_v2(Config) of
    {ok, Member} -> grouped(State#{consumer := Member});
    Error -> {Error, State}
  end;
do(group, State) -> grouped(State);
do(transact, #{client := Client, n := N} = State) ->
  case brod:transaction(Client, atom_to_binary(Client, utf8), []) of
    {ok, Tx} -> {transacted(Tx, N), State};
    Error -> {Error, State}
  end;
do(administrate, #{n := N} = State) -> {administrated(N rem 7, N, State), State};
do(connect, #{client := Client} = State) ->
  Result = brod:get_partitions_count(Client, ?TOPIC),
  ok = brod:stop_client(Client),
  case Result of
    {ok, ?PARTITIONS} -> {ok, State};
    Other -> {Other, State}
  end.

received(#{consumer := {Consumer, Monitor}} = State) ->
  Again = fun(Why) ->
            true = demonitor(Monitor, [flush]),
            {{error, Why}, State#{consumer := undefined}}
          end,
  receive
    {Consumer, #kafka_message_set{messages = Messages}} ->
      {brod:consume_ack(Consumer, (lists:last(Messages))#kafka_message.offset), State};
    {Consumer, #kafka_fetch_error{error_code = Code}} -> Again(Code);
    {'DOWN', Monitor, process, _, Reason} -> Again(Reason);
    {'EXIT', Main, _} when Main =:= map_get(main, State) -> throw(ended)
  after ?LIMIT_MS div 4 -> {{error, nothing_came}, State}
  end.

grouped(#{consumer := Member} = State) ->
  receive
    consumed -> {ok, State};
    {'EXIT', Member, Reason} -> {{error, Reason}, State#{consumer := undefined}};
    {'EXIT', Main, _} when Main =:= map_get(main, State) -> throw(ended)
  after ?LIMIT_MS div 4 -> {{error, nothing_came}, State}
  end.

%% @private
init(_, Worker) -> {ok, Worker}.

%% @private
handle_message(#kafka_message{}, Worker) ->
  Worker ! consumed,
  {ok, commit, Worker}.

transacted(Tx, N) ->
  Produced = brod:txn_produce(Tx, ?TOPIC, N rem ?PARTITIONS, <<"k">>, integer_to_binary(N)),
  Added = case Produced of
            {ok, _} -> brod:txn_add_offsets(Tx, <<"offsets">>, #{{?TOPIC, 0} => N});
            _ -> Produced
          end,
  case Added of
    ok -> brod:commit(Tx);
    Error ->
      _ = brod:abort(Tx),
      Error
  end.

administrated(Which, N, #{client := Client, endpoints := Endpoints, config := Config}) ->
  Connect = [Option || {Key, _} = Option <- Config, Key =/= reconnect_cool_down_seconds],
  case Which of
    0 -> only_ok(brod:get_metadata(Endpoints, [?TOPIC], Connect));
    1 -> all_ok(brod:list_all_groups(Endpoints, Connect));
    2 -> only_ok(brod:describe_groups(hd(Endpoints), Connect, [<<"offsets">>]));
    3 -> only_ok(brod:fetch_committed_offsets(Endpoints, Connect, <<"offsets">>));
    4 -> only_ok(brod:resolve_offset(Endpoints, ?TOPIC, 0, earliest, Connect));
    5 -> only_ok(brod:fetch(Client, ?TOPIC, N rem ?PARTITIONS, 0, #{max_wait_time => 50}));
    6 ->
      Name = <<"made", (integer_to_binary(N))/binary, (atom_to_binary(Client, utf8))/binary>>,
      Topic = #{name => Name, num_partitions => 1, replication_factor => 1, assignments => [], configs => []},
      case brod:create_topics(Endpoints, [Topic], #{timeout => 1000}, Connect) of
        ok -> brod:delete_topics(Endpoints, [Name], 1000, Connect);
        Error -> Error
      end
  end.

only_ok({ok, _}) -> ok;
only_ok(Other) -> Other.

all_ok(Brokers) ->
  case [Error || {_, {error, _} = Error} <- Brokers] of
    [] -> ok;
    [Error | _] -> Error
  end.
