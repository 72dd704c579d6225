%% @doc Finding brokers and connecting to them.
-module(kpro_brokers).

-export([connect_any/2, with_connection/3, connect_partition_leader/5, connect_coordinator/3, connect_controller/3]).
-export([discover_partition_leader/4, discover_coordinator/4, get_api_versions/1, get_api_vsn_range/2]).

-include("kpro.hrl").

-define(TIMEOUT_MS, 5000).

-type from() :: kpro:connection() | [kpro:endpoint()].

%% @doc Connect to any of the brokers, in a random order. The error lists all of them.
-spec connect_any([kpro:endpoint()], kpro:conn_config()) ->
        {ok, kpro:connection()} | {error, [{kpro:endpoint(), term()}]}.
connect_any(Endpoints, Config) ->
  Shuffled = [Endpoint || {_, Endpoint} <- lists:sort([{rand:uniform(), E} || E <- Endpoints])],
  connect_first(Shuffled, Config, []).

connect_first([], _Config, Failures) ->
  {error, lists:reverse(Failures)};
connect_first([{Host, Port} = Endpoint | Rest], Config, Failures) ->
  case kpro_connection:start(Host, Port, Config) of
    {ok, Connection} -> {ok, Connection};
    {error, Reason} -> connect_first(Rest, Config, [{Endpoint, Reason} | Failures])
  end.

%% @doc Call a fun with a connection to any of the brokers, which is closed then. Throws `{failed_to_connect, Failures}'.
-spec with_connection([kpro:endpoint()], kpro:conn_config(), fun((kpro:connection()) -> Result)) -> Result.
with_connection(Endpoints, Config, Fun) ->
  case with_any(Endpoints, Config, Fun) of
    {connected, Result} -> Result;
    {error, Failures} -> throw({failed_to_connect, Failures})
  end.

with_any(Endpoints, Config, Fun) ->
  case connect_any(Endpoints, (to_map(Config))#{nolink => true}) of
    {ok, Connection} ->
      try {connected, Fun(Connection)}
      after kpro_connection:stop(Connection)
      end;
    {error, Failures} ->
      {error, Failures}
  end.

to_map(Config) when is_list(Config) -> maps:from_list(Config);
to_map(Config) -> Config.

%% @doc Connect to the leader of a partition, which is asked of a connection or of any of the brokers.
-spec connect_partition_leader(from(), kpro:conn_config(), kpro:topic(), kpro:partition(), #{timeout => timeout()}) ->
        {ok, kpro:connection()} | {error, term()}.
connect_partition_leader(From, Config, Topic, Partition, Opts) ->
  connect_found(From, Config, fun(Connection) ->
    discover_partition_leader(Connection, Topic, Partition, timeout(Opts))
  end).

%% @doc Connect to the coordinator of a group or a transactional id.
-spec connect_coordinator(from(), kpro:conn_config(),
                          #{type := kpro:coordinator_type(), id := binary(), timeout => timeout()}) ->
        {ok, kpro:connection()} | {error, term()}.
connect_coordinator(From, Config, #{type := Type, id := Id} = Args) ->
  connect_found(From, Config, fun(Connection) -> discover_coordinator(Connection, Type, Id, timeout(Args)) end).

%% @doc Connect to the controller of the cluster.
-spec connect_controller(from(), kpro:conn_config(), #{timeout => timeout()}) ->
        {ok, kpro:connection()} | {error, term()}.
connect_controller(From, Config, Opts) ->
  connect_found(From, Config, fun(Connection) -> discover_controller(Connection, timeout(Opts)) end).

timeout(Opts) -> maps:get(timeout, Opts, ?TIMEOUT_MS).

connect_found(Connection, Config, Find) when is_pid(Connection) ->
  connect_to(Find(Connection), Config);
connect_found(Endpoints, Config, Find) ->
  case with_any(Endpoints, Config, Find) of
    {connected, Found} -> connect_to(Found, Config);
    {error, Failures} -> {error, Failures}
  end.

connect_to({ok, Endpoint}, Config) -> connect_any([Endpoint], Config);
connect_to({error, Reason}, _Config) -> {error, Reason}.

%% @doc Where the leader of a partition listens. `{error, Code}'.
-spec discover_partition_leader(kpro:connection(), kpro:topic(), kpro:partition(), timeout()) ->
        {ok, kpro:endpoint()} | {error, term()}.
discover_partition_leader(Connection, Topic, Partition, Timeout) ->
  case metadata(Connection, [Topic], Timeout) of
    {ok, #{topics := [#{error_code := ?no_error, partitions := Partitions}]} = Metadata} ->
      case kpro_lib:keyfind(partition_index, Partition, Partitions) of
        false -> {error, unknown_topic_or_partition};
        #{error_code := Code, leader_id := -1} when Code =/= ?no_error -> {error, Code};
        #{leader_id := Leader} -> endpoint(Leader, Metadata, leader_not_available)
      end;
    {ok, #{topics := [#{error_code := Code}]}} -> {error, Code};
    {error, Reason} -> {error, Reason}
  end.

discover_controller(Connection, Timeout) ->
  case metadata(Connection, all, Timeout) of
    {ok, #{controller_id := Controller} = Metadata} -> endpoint(Controller, Metadata, not_controller);
    %% version 0 does not tell
    {ok, _} -> {error, not_supported};
    {error, Reason} -> {error, Reason}
  end.

endpoint(Node, #{brokers := Brokers}, Otherwise) ->
  case kpro_lib:keyfind(node_id, Node, Brokers) of
    #{host := Host, port := Port} -> {ok, {Host, Port}};
    false -> {error, Otherwise}
  end.

metadata(Connection, Topics, Timeout) ->
  request(Connection, metadata, fun(Vsn) -> kpro_req_lib:metadata(Vsn, Topics) end, Timeout).

%% @doc Where the coordinator of a group or a transactional id listens. `{error, Code}', or since version 1
%% `{error, [{error_code, Code}, {error_msg, Text}]}'.
-spec discover_coordinator(kpro:connection(), kpro:coordinator_type(), kpro:group_id() | kpro:transactional_id(),
                           timeout()) -> {ok, kpro:endpoint()} | {error, term()}.
discover_coordinator(Connection, Type, Id, Timeout) ->
  Request = fun(0) when Type =:= txn -> error({bad_vsn, [{api, find_coordinator}, {type, txn}]});
               (Vsn) -> kpro_req_lib:make(find_coordinator, Vsn, #{key => Id, key_type => Type})
            end,
  case request(Connection, find_coordinator, Request, Timeout) of
    {ok, #{error_code := ?no_error, host := Host, port := Port}} -> {ok, {Host, Port}};
    {ok, #{error_code := Code, error_message := Text}} -> {error, [{error_code, Code}, {error_msg, Text}]};
    {ok, #{error_code := Code}} -> {error, Code};
    {error, Reason} -> {error, Reason}
  end.

request(Connection, Api, Make, Timeout) ->
  case get_api_vsn_range(Connection, Api) of
    {ok, {_Min, Max}} ->
      case kpro_connection:request_sync(Connection, Make(Max), Timeout) of
        {ok, #kpro_rsp{msg = Message}} -> {ok, Message};
        {error, Reason} -> {error, Reason}
      end;
    {error, Reason} ->
      {error, Reason}
  end.

%% @doc Versions that the connection's broker speaks and requests can be made in.
-spec get_api_versions(kpro:connection()) -> {ok, kpro:vsn_ranges()} | {error, term()}.
get_api_versions(Connection) ->
  case kpro_connection:get_api_vsns(Connection) of
    {ok, Versions} -> {ok, kpro_api_vsn:intersect(Versions)};
    {error, Reason} -> {error, Reason}
  end.

%% @doc As {@link get_api_versions/1}, of one API.
-spec get_api_vsn_range(kpro:connection(), kpro:api()) -> {ok, kpro:vsn_range()} | {error, not_supported | term()}.
get_api_vsn_range(Connection, Api) ->
  case get_api_versions(Connection) of
    {ok, #{Api := Range}} -> {ok, Range};
    {ok, _} -> {error, not_supported};
    {error, Reason} -> {error, Reason}
  end.
