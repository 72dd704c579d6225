%% @private What callers of a client ask the cluster: partition counts, coordinators. They wait in their own
%% process.
-module(brod_client_lookup).

-export([call/2, metadata/3, partitions_count/3, partitions_count_for_start/2, coordinator/3, public/1]).

%% @doc Run an operation that looks something up, for as long as metadata may take.
-spec call(brod_client:context(), brod_nif:op()) -> term().
call(#{engine := Engine, endpoints := Endpoints, options := Options}, Op) ->
  Timeout = maps:get(get_metadata_timeout_seconds, Options) * 1000,
  brod_engine:failures(brod_engine:call(Engine, Op, Timeout), Endpoints).

%% @doc Metadata of topics; see {@link brod_client:get_metadata/2}.
-spec metadata(brod:client(), all | undefined | brod:topic() | [brod:topic()], AutoCreate :: boolean()) ->
        {ok, map()} | {error, term()}.
metadata(Client, Topics, AutoCreate) ->
  brod_client_ref:with_context(Client, fun(Context) ->
    brod_metadata:fetch(Context, Topics, AutoCreate)
  end).

%% @doc Number of a topic's partitions, from the client's table if it is there.
-spec partitions_count(brod:client(), brod:topic(), AutoCreate :: boolean()) ->
        {ok, pos_integer()} | {error, term()}.
partitions_count(Client, Topic, AutoCreate) ->
  partitions_count(Client, Topic, AutoCreate, fun(Grow) -> Grow() end).

%% @doc As {@link partitions_count/3}, for a supervisor that is about to start the partitions of a topic, and that
%% cannot wait for processes which it has to start itself.
-spec partitions_count_for_start(brod:client(), brod:topic()) -> {ok, pos_integer()} | {error, term()}.
partitions_count_for_start(Client, Topic) ->
  partitions_count(Client, Topic, true, fun(Grow) -> brod_spawn:start(Grow) end).

partitions_count(Client, Topic, AutoCreate, Run) ->
  ok = brod_args:topic(Topic),
  case brod_topic_cache:lookup(brod_client_ref:name(Client), Topic) of
    {ok, Count} ->
      {ok, Count};
    {error, Reason} when Reason =/= client_down ->
      {error, Reason};
    _ ->
      brod_client_ref:with_context(Client, fun(Context) ->
        brod_metadata:partitions_count(Context, Topic, AutoCreate, Run)
      end)
  end.

%% @doc The coordinator of a group or a transactional id, with the options to connect to it.
-spec coordinator(brod:client(), group | txn, binary()) -> {ok, {brod:endpoint(), map()}} | {error, term()}.
coordinator(Client, Kind, Id) ->
  brod_client_ref:with_context(Client, fun(#{conn_config := Config} = Context) ->
    case call(Context, {coordinator, Kind, Id}) of
      {ok, {_NodeId, Host, Port}} -> {ok, {{Host, Port}, public(Config)}};
      {error, Code} when is_atom(Code), Code =/= timeout, Code =/= closed ->
        {error, [{error_code, Code}, {error_msg, <<>>}]};
      {error, Reason} -> {error, Reason}
    end
  end).

%% @doc The connection options of a client as they are given out. Passwords stay in their funs.
-spec public(map()) -> map().
public(#{sasl := Sasl} = Config) -> Config#{sasl := brod_sasl_options:public(Sasl)};
public(Config) -> Config.
