%% @private The connections that a client gives out: one a broker and kind, kept by the client's process.
-module(brod_client_connections).

-export([leader/3, direct/3]).
-export([new/0, find/2, add/3, down/2, size/1]).

-export_type([pool/0]).

-opaque pool() :: #{Key :: term() => {pid(), reference()}}.

%% Callers. A connection lives where its client does: on another node, where that is.

%% @doc See {@link brod_client:get_leader_connection/3}.
-spec leader(brod:client(), brod:topic(), brod:partition()) -> {ok, brod:connection()} | {error, term()}.
leader(Client, Topic, Partition) when is_pid(Client), node(Client) =/= node() ->
  brod_engine:on_node(node(Client), ?MODULE, leader, [Client, Topic, Partition]);
leader(Client, Topic, Partition) ->
  brod_client_ref:with_context(Client, fun(#{client := Pid} = Context) ->
    case brod_client_lookup:call(Context, {leader, Topic, Partition}) of
      {ok, {_NodeId, Host, Port}} ->
        connection(Pid, {leader, Host, Port},
                   fun() -> brod_connection:start_shared(Context, Pid, {Host, Port}) end);
      {error, Reason} ->
        {error, Reason}
    end
  end).

%% @doc See {@link brod_client:get_connection/3}.
-spec direct(brod:client(), brod:hostname(), brod:portnum()) -> {ok, brod:connection()} | {error, term()}.
direct(Client, Host, Port) when is_pid(Client), node(Client) =/= node() ->
  brod_engine:on_node(node(Client), ?MODULE, direct, [Client, Host, Port]);
direct(Client, Host, Port) ->
  brod_client_ref:with_context(Client, fun(#{client := Pid, conn_config := Config}) ->
    Start = fun() -> brod_connection:start([{Host, Port}], Config, Pid) end,
    case connection(Pid, {direct, brod_engine:to_binary(Host), Port}, Start) of
      {error, [{_Endpoint, Reason}]} -> {error, Reason};
      Result -> Result
    end
  end).

connection(ClientPid, Key, Start) ->
  case brod_client_ref:call(ClientPid, {find_connection, Key}) of
    false ->
      case Start() of
        {ok, Conn} ->
          case brod_client_ref:call(ClientPid, {add_connection, Key, Conn}) of
            {ok, Conn} -> {ok, Conn};
            OtherWasFaster -> brod_connection:stop(Conn), OtherWasFaster
          end;
        {error, Reason} ->
          {error, Reason}
      end;
    Found ->
      Found
  end.

%% The client's process

%% @doc No connection yet.
-spec new() -> pool().
new() -> #{}.

%% @doc The connection of a key.
-spec find(term(), pool()) -> {ok, pid()} | false.
find(Key, Pool) ->
  case Pool of
    #{Key := {Pid, _}} -> {ok, Pid};
    _ -> false
  end.

%% @doc Add a connection, unless another one has been added meanwhile; which one it is now.
-spec add(term(), pid(), pool()) -> {pid(), pool()}.
add(Key, Pid, Pool) ->
  case Pool of
    #{Key := {First, _}} -> {First, Pool};
    _ -> {Pid, Pool#{Key => {Pid, monitor(process, Pid)}}}
  end.

%% @doc How many there are.
-spec size(pool()) -> non_neg_integer().
size(Pool) -> map_size(Pool).

%% @doc Forget the connection with this monitor.
-spec down(reference(), pool()) -> pool().
down(MRef, Pool) ->
  maps:filter(fun(_, {_, M}) -> M =/= MRef end, Pool).
