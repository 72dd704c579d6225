%% @private What is known of running clients: counters of the engine, and what follows from them.
-module(brod_stats).

-export([clients/0, stats/1, stats/2, info/1, info/3, health/1, health_of/2, not_connected/0, why_down/1, name/1]).
%% for tests
-export([health_of/1]).

%% A group that has refused a member is spoken of for so long.
-define(REFUSED_MS, 60000).

%% @doc The clients that run here and are connected.
-spec clients() -> [{brod:client_id(), pid()}].
clients() ->
  lists:usort([{Id, Pid} || {Id, Pid} <- brod_handles:all(client, '_'), is_process_alive(Pid)]).

%% @doc The clients that are to run here, and are not connected.
-spec not_connected() -> [brod:client_id()].
not_connected() -> brod_sup:clients() -- [Id || {Id, _Pid} <- clients()].

%% @doc Why a client could not connect when it tried last, endpoint by endpoint; `undefined' where nothing is known.
-spec why_down(brod:client_id()) -> undefined | binary().
why_down(Client) ->
  Failed = lists:takewhile(fun(#{event := Name}) -> Name =:= [client, connect_failed] end,
                           lists:reverse(brod_telemetry:recent(Client))),
  case maps:from_list([{Broker, Why} || #{metadata := #{broker := Broker, reason := Why}} <- lists:reverse(Failed)]) of
    Each when map_size(Each) =:= 0 -> undefined;
    Each -> iolist_to_binary(lists:join("; ", [[Broker, $\s, Why] || {Broker, Why} <- lists:sort(maps:to_list(Each))]))
  end.

%% @doc All counters of a client; see {@link brod:stats/1}.
-spec stats(brod:client()) -> {ok, map()} | {error, term()}.
stats(Client) -> stats(Client, 0).

%% @doc As {@link stats/1}, with the engine's events after that number only.
-spec stats(brod:client(), non_neg_integer()) -> {ok, map()} | {error, term()}.
stats(Client, Since) when is_pid(Client), node(Client) =/= node() ->
  brod_engine:on_node(node(Client), ?MODULE, stats, [Client, Since]);
stats(Client, Since) ->
  case brod_client:engine(Client) of
    {ok, Engine} -> {ok, brod_nif:client_stats(Engine, Since)};
    {error, Reason} -> {error, Reason}
  end.

%% @doc See {@link brod:info/1}.
-spec info(brod:client()) -> {ok, map()} | {error, term()}.
info(Client) ->
  case {stats(Client), brod_client:get_bootstrap(Client)} of
    {{ok, Stats}, {ok, {Endpoints, _Options}}} -> {ok, info(brod_logging:client(Client), Endpoints, Stats)};
    {{error, Reason}, _} -> {error, Reason};
    {_, {error, Reason}} -> {error, Reason}
  end.

%% @doc As {@link info/1}, of counters that the caller has.
-spec info(brod:client_id(), [brod:endpoint()], map()) -> map().
info(Id, Endpoints, #{brokers := Brokers, producers := Producers, consumers := Consumers, events := Events} = Stats) ->
  #{ client => Id
   , version => version()
   , endpoints => Endpoints
   , controller => maps:get(controller, Stats)
   , client_instance_id => maps:get(client_instance_id, Stats, undefined)
   , brokers => [broker(Broker, Events) || Broker <- lists:sort(Brokers)]
   , producers => [maps:with([topic, partition, buffered_calls, in_flight_batches, waiting_callers], P)
                   || P <- lists:sort(Producers)]
   , consumers => [maps:with([topic, partition, position, lag, pending_count, pending_bytes, paused, active, node], C)
                   || C <- lists:sort(Consumers)]
   , groups => groups(Id)
   , errors => errors(Stats)
   , events => brod_telemetry:recent(Id)
   }.

broker(#{apis := Apis} = Broker, Events) ->
  All = [Api || Api <- Apis],
  Count = lists:sum([lists:sum(Buckets) || #{latency_buckets := Buckets} <- All]),
  Sum = lists:sum([Us || #{latency_sum_us := Us, api := Name} <- All, Name =/= <<"fetch">>]),
  Asked = lists:sum([lists:sum(Buckets) || #{latency_buckets := Buckets, api := Name} <- All, Name =/= <<"fetch">>]),
  (maps:without([apis], Broker))#{ requests => Count
                                 , mean_round_trip_us => case Asked of 0 -> undefined; _ -> Sum div Asked end
                                 , state => state(Broker, Events)}.

%% A broker that nobody asks is closed after a while: only what was last heard of it says whether it can be reached.
state(#{connections := N}, _Events) when N > 0 -> connected;
state(Endpoint, Events) ->
  Name = name(Endpoint),
  case lists:last([idle | [What || {_, Broker, What, _} <- lists:sort(Events), Broker =:= Name]]) of
    Failed when Failed =:= connect_failed; Failed =:= authentication_failed -> unreachable;
    _ -> idle
  end.

groups(Client) ->
  [#{group => Group, generation => Generation, member_id => MemberId, partitions => Partitions}
   || {Group, {Generation, MemberId, _}, Partitions} <- lists:sort(brod_group_members:of_client(Client))].

errors(#{events := Events}) ->
  [#{broker => Broker, what => What, reason => Why}
   || {_, Broker, What, Why} <- Events,
      lists:member(What, [connect_failed, disconnected, authentication_failed])].

version() ->
  case application:get_key(brod, vsn) of
    {ok, Version} -> list_to_binary(Version);
    undefined -> undefined
  end.

%% @doc See {@link brod:health/1}.
-spec health(brod:client()) -> {ok | degraded | down, [{atom(), term()}]}.
health(Client) when is_pid(Client), node(Client) =/= node() ->
  case brod_engine:on_node(node(Client), ?MODULE, health, [Client]) of
    {error, Reason} -> {down, [{client, Reason}]};
    Health -> Health
  end;
health(Client) ->
  try stats(Client) of
    {ok, Stats} -> health_of(brod_logging:client(Client), Stats);
    {error, Reason} -> {down, [{client, Reason}]}
  catch
    exit:Reason -> {down, [{client, Reason}]}
  end.

%% @private The same, of counters that the caller has.
-spec health_of(brod:client_id(), map()) -> {ok | degraded | down, [{atom(), term()}]}.
health_of(Id, Stats) ->
  case {not_joined(Id), health_of(Stats)} of
    {[], Health} -> Health;
    {Groups, {down, Problems}} -> {down, Problems ++ [{groups_not_joined, Groups}]};
    {Groups, {_, Problems}} -> {degraded, Problems ++ [{groups_not_joined, Groups}]}
  end.

%% A member that gives up is started again, and may be gone at the moment: what it was told last counts for a while.
not_joined(Id) ->
  Since = erlang:system_time(millisecond) - ?REFUSED_MS,
  Last = maps:from_list([{Group, Name}
                         || #{event := [group, Name], at_ms := At, metadata := #{group := Group}} <- brod_telemetry:recent(Id),
                            lists:member(Name, [assigned, retrying]), At > Since]),
  [Group || {Group, retrying} <- lists:sort(maps:to_list(Last))].

%% @private What counters and events say of a client's health.
-spec health_of(map()) -> {ok | degraded | down, [{atom(), term()}]}.
health_of(#{closed := true}) ->
  {down, [{client, closed}]};
health_of(#{brokers := Brokers, producers := Producers, events := Events,
            stopped_producers := Ended, stopped_consumers := Stopped,
            unavailable_topics := Unavailable, refused_topics := Refused}) ->
  Known = [Broker || #{node := Node} = Broker <- Brokers, is_integer(Node)],
  Lost = [Broker || Broker <- Known, state(Broker, Events) =:= unreachable],
  Connected = [Broker || Broker <- Brokers, state(Broker, Events) =:= connected],
  Full = [{Topic, Partition} || #{topic := Topic, partition := Partition, waiting_callers := N} <- Producers, N > 0],
  Problems = [{brokers_unreachable, [endpoint(Broker) || Broker <- Lost]} || Lost =/= []]
    ++ [{topics_unavailable, Unavailable} || Unavailable =/= []]
    ++ [{batches_refused, Refused} || Refused =/= []]
    ++ [{producers_full, Full} || Full =/= []]
    ++ [{producers_stopped, Ended} || Ended =/= []]
    ++ [{consumers_stopped, Stopped} || Stopped =/= []],
  case {Connected, Problems} of
    {[], [_ | _]} -> {down, Problems};
    {_, []} -> {ok, []};
    _ -> {degraded, Problems}
  end.

endpoint(#{host := Host, port := Port}) -> {Host, Port}.

%% @doc A broker as the engine's events, and with them metrics, name it: `<<"host:port">>'.
-spec name(#{host := binary(), port := inet:port_number(), _ => _}) -> binary().
name(#{host := Host, port := Port}) -> <<Host/binary, $:, (integer_to_binary(Port))/binary>>.
