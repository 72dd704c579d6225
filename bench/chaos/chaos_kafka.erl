%% The cluster, as those who run it see it: requests over listeners that no fault damages, and processes that end and begin.
-module(chaos_kafka).

-export([new/3, brokers/0, broker/3, ensure_up/2, partitions/2, await/2, settle/2]).
-export([create/4, delete_and_create/3, elect/4, reassign/3, quota/2]).

-include_lib("brod/include/brod.hrl").

-define(LIMIT_MS, 180000).
-define(REQUEST_MS, 15000).
%% A broker that hangs is passed over.
-define(CONNECT_MS, 3000).
-define(METADATA_VSN, 1).
%% The offset of the listener that no proxy stands before.
-define(DIRECT, 5).

-opaque cluster() :: #{scripts := file:filename(), jars := file:filename(), base := inet:port_number()}.
-type node_id() :: pos_integer().
-export_type([cluster/0, node_id/0]).

-spec new(file:filename(), file:filename(), inet:port_number()) -> cluster().
new(Scripts, Jars, Base) -> #{scripts => Scripts, jars => Jars, base => Base}.

-spec brokers() -> [node_id()].
brokers() -> [1, 2, 3].

%% @doc kill, stop, start, pause or resume a broker: see scripts/kafka-broker.sh.
-spec broker(cluster(), string(), node_id()) -> ok | {error, string()}.
broker(#{scripts := Scripts}, What, Node) ->
  run(filename:join(Scripts, "kafka-broker.sh"), [What, integer_to_list(Node)]).

%% @doc Starts a broker, unless it runs.
-spec ensure_up(cluster(), node_id()) -> ok.
ensure_up(Cluster, Node) ->
  case broker(Cluster, "start", Node) of
    ok -> ok;
    {error, Output} ->
      case string:find(Output, "runs already") of
        nomatch -> error({start, Node, Output});
        _ -> ok
      end
  end.

run(Program, Arguments) ->
  Port = open_port({spawn_executable, Program}, [{args, Arguments}, exit_status, stderr_to_stdout, in]),
  output(Port, []).

output(Port, Acc) ->
  receive
    {Port, {data, Data}} -> output(Port, [Acc, Data]);
    {Port, {exit_status, 0}} -> ok;
    {Port, {exit_status, _}} -> {error, lists:flatten(Acc)}
  end.

%% @doc Of a topic, as one of the brokers knows it.
-spec partitions(cluster(), brod:topic()) -> [map()].
partitions(Cluster, Topic) ->
  {ok, Partitions} = await(fun() -> any(Cluster, fun(Node) -> partitions_at(Cluster, Node, Topic) end) end, ?LIMIT_MS),
  Partitions.

partitions_at(Cluster, Node, Topic) ->
  case ask(Cluster, Node, metadata, ?METADATA_VSN, #{topics => [#{name => Topic}]}) of
    {ok, #{topics := [#{error_code := no_error, partitions := Partitions}]}} ->
      {ok, lists:sort(fun(#{partition_index := A}, #{partition_index := B}) -> A =< B end, Partitions)};
    {ok, #{topics := [#{error_code := Code}]}} -> {error, Code};
    {error, Reason} -> {error, Reason}
  end.

any(Cluster, Fun) -> any(Cluster, brokers(), Fun, {error, no_broker}).

any(_Cluster, [], _Fun, Error) -> Error;
any(Cluster, [Node | Rest], Fun, _) ->
  case Fun(Node) of
    {ok, Result} -> {ok, Result};
    {error, _} = Error -> any(Cluster, Rest, Fun, Error)
  end.

%% @doc Polls until the function gives something else than an error; raises when the time (ms) is up.
-spec await(fun(() -> {ok, Result} | {error, term()}), integer()) -> {ok, Result}.
await(Fun, Ms) -> await_until(Fun, erlang:monotonic_time(millisecond) + Ms).

await_until(Fun, Deadline) ->
  case Fun() of
    {ok, Result} -> {ok, Result};
    {error, Reason} ->
      erlang:monotonic_time(millisecond) < Deadline orelse error({too_slow, Reason}),
      receive after 250 -> await_until(Fun, Deadline) end
  end.

%% @doc Waits until all brokers are there and each partition of these topics has a leader and all its replicas in sync.
-spec settle(cluster(), [brod:topic()]) -> ok.
settle(Cluster, Topics) ->
  {ok, _} = await(fun() ->
    case [{Node, Topic} || Node <- brokers(), Topic <- Topics, not is_whole(partitions_at(Cluster, Node, Topic))] of
      [] -> {ok, settled};
      Missing -> {error, Missing}
    end
  end, ?LIMIT_MS),
  ok.

is_whole({ok, Partitions}) ->
  lists:all(fun(#{leader_id := Leader, replica_nodes := Replicas, isr_nodes := Isr}) ->
              Leader >= 0 andalso length(Isr) =:= length(Replicas)
            end, Partitions);
is_whole({error, _}) -> false.

%% @doc Creates a topic whose partitions have these replicas.
-spec create(cluster(), brod:topic(), [[node_id()]], #{binary() => binary()}) -> ok.
create(Cluster, Topic, Replicas, Config) ->
  {ok, _} = await(fun() -> create_once(Cluster, Topic, Replicas, Config) end, ?LIMIT_MS),
  ok.

create_once(Cluster, Topic, Replicas, Config) ->
  Assignments = [#{partition_index => P, broker_ids => Nodes}
                 || {P, Nodes} <- lists:zip(lists:seq(0, length(Replicas) - 1), Replicas)],
  Request = #{name => Topic, num_partitions => -1, replication_factor => -1, assignments => Assignments,
              configs => [#{name => Name, value => Value} || {Name, Value} <- maps:to_list(Config)]},
  case brod:create_topics(direct(Cluster), [Request], #{timeout => ?REQUEST_MS}, []) of
    ok -> {ok, created};
    {error, topic_already_exists} -> {ok, created};
    {error, Reason} -> {error, Reason}
  end.

%% @doc Deletes a topic, waits until no broker knows it any more, and creates another one of that name.
-spec delete_and_create(cluster(), brod:topic(), fun(() -> ok)) -> ok.
delete_and_create(Cluster, Topic, Create) ->
  {ok, _} = await(fun() ->
    case brod:delete_topics(direct(Cluster), [Topic], ?REQUEST_MS, []) of
      ok -> {ok, deleted};
      {error, unknown_topic_or_partition} -> {ok, deleted};
      {error, Reason} -> {error, Reason}
    end
  end, ?LIMIT_MS),
  {ok, _} = await(fun() ->
    case [Node || Node <- brokers(), {error, unknown_topic_or_partition} =/= partitions_at(Cluster, Node, Topic)] of
      [] -> {ok, gone};
      Nodes -> {error, {still_known, Nodes}}
    end
  end, ?LIMIT_MS),
  Create().

%% @doc The preferred leaders, or whatever replica is there.
-spec elect(cluster(), preferred | unclean, brod:topic(), [brod:partition()]) -> {ok, term()} | {error, term()}.
elect(Cluster, Kind, Topic, Partitions) ->
  Type = case Kind of preferred -> 0; unclean -> 1 end,
  Fields = #{election_type => Type, timeout_ms => ?REQUEST_MS,
             topic_partitions => [#{topic => Topic, partition_id => Partitions}]},
  any(Cluster, fun(Node) -> ask(Cluster, Node, elect_leaders, 1, Fields) end).

%% @doc Has partitions kept by other brokers, and waits until they are.
-spec reassign(cluster(), brod:topic(), #{brod:partition() => [node_id()]}) -> ok.
reassign(Cluster, Topic, Replicas) ->
  Partitions = [#{partition_index => P, replicas => Nodes, tagged_fields => #{}} || {P, Nodes} <- maps:to_list(Replicas)],
  Fields = #{timeout_ms => ?REQUEST_MS, tagged_fields => #{},
             topics => [#{name => Topic, partitions => Partitions, tagged_fields => #{}}]},
  {ok, _} = await(fun() ->
    any(Cluster, fun(Node) -> ask(Cluster, Node, alter_partition_reassignments, 0, Fields) end)
  end, ?LIMIT_MS),
  {ok, _} = await(fun() ->
    case [P || #{partition_index := P, replica_nodes := Nodes} <- partitions(Cluster, Topic),
               lists:sort(maps:get(P, Replicas, Nodes)) =/= lists:sort(Nodes)] of
      [] -> {ok, moved};
      Left -> {error, {not_moved, Left}}
    end
  end, ?LIMIT_MS),
  ok.

%% @doc So many bytes a second for producers and consumers of each client, or no limit.
-spec quota(cluster(), pos_integer() | none) -> ok.
quota(#{jars := Jars} = Cluster, Rate) ->
  Change = case Rate of
             none -> ["--delete-config", "producer_byte_rate,consumer_byte_rate"];
             _ -> ["--add-config", lists:flatten(io_lib:format("producer_byte_rate=~b,consumer_byte_rate=~b", [Rate, Rate]))]
           end,
  Servers = string:join([Host ++ ":" ++ integer_to_list(Port) || {Host, Port} <- direct(Cluster)], ","),
  Command = fun(Class) ->
              run(os:find_executable("java"),
                  ["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", filename:join(Jars, "*"),
                   Class, "--bootstrap-server", Servers, "--alter", "--entity-type", "clients", "--entity-default" | Change])
            end,
  %% In Kafka 4.4 it is somewhere else than in 4.1.
  true = lists:any(fun(Class) -> Command(Class) =:= ok end, ["kafka.admin.ConfigCommand", "org.apache.kafka.tools.ConfigCommand"]),
  ok.

direct(Cluster) -> [direct(Cluster, Node) || Node <- brokers()].

direct(#{base := Base}, Node) -> {"127.0.0.1", Base + 10 * (Node - 1) + ?DIRECT}.

ask(Cluster, Node, Api, Vsn, Fields) ->
  case brod_connection:start([direct(Cluster, Node)], [{connect_timeout, ?CONNECT_MS}, {request_timeout, ?REQUEST_MS}], self()) of
    {ok, Connection} ->
      try brod_kafka_response:exchange(Connection, brod_kafka_build:make(Api, Vsn, Fields), ?REQUEST_MS) of
        {ok, {kpro_rsp, _, _, _, Message}} -> {ok, Message};
        {error, Reason} -> {error, Reason}
      after
        brod_connection:stop(Connection)
      end;
    {error, Reason} -> {error, Reason}
  end.
