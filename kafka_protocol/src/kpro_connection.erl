%% @doc Connections: pids that brod gives out, or that {@link start/3} makes. Each is a process of brod with one socket
%% of the engine's, which takes requests in the messages of kafka_protocol 4.
-module(kpro_connection).

-export([start/3, stop/1, all_cfg_keys/0, debug/2]).
-export([request_sync/3, request_async/2, send/2]).
-export([get_api_vsns/1, get_endpoint/1, get_tcp_sock/1, get_connect_timeout/1]).

-export_type([config/0, connection/0]).


-type config() :: [{atom(), term()}] | #{atom() => term()}.
-type connection() :: pid().

-define(CONNECT_TIMEOUT_MS, 5000).

%% @doc Options of connections.
-spec all_cfg_keys() -> [atom()].
all_cfg_keys() ->
  [connect_timeout, client_id, request_timeout, sasl, ssl, query_api_versions, extra_sock_opts, debug, nolink].

%% @doc Connect to a broker. The connection ends with the caller, to whom it is linked unless `nolink' is set.
%% `{error, {Reason, Stack}}' when that fails.
-spec start(kpro:hostname(), kpro:portnum(), config()) -> {ok, connection()} | {error, term()}.
start(Host, Port, Config) ->
  Known = maps:with(all_cfg_keys(), case is_list(Config) of true -> maps:from_list(Config); false -> Config end),
  case brod_connection:start_link([{Host, Port}], Known) of
    {ok, Connection} -> {ok, Connection};
    {error, [{_Endpoint, Reason}]} -> {error, Reason};
    {error, Reason} -> {error, Reason}
  end.

%% @doc Close a connection.
-spec stop(connection() | term()) -> ok | {error, term()}.
stop(Connection) when is_pid(Connection) -> call(Connection, stop);
stop(_) -> ok.

%% @doc Send a request and wait for its response; `ok' for one that has none.
-spec request_sync(connection(), kpro:req(), timeout()) -> ok | {ok, kpro:rsp()} | {error, term()}.
request_sync(Connection, Req, Timeout) -> brod_kafka_response:exchange(Connection, Req, Timeout).

%% @doc Send a request. Its response comes as `{msg, Connection, #kpro_rsp{}}', with the request's `ref'.
-spec request_async(connection(), kpro:req()) -> ok | {error, term()}.
request_async(Connection, Req) -> call(Connection, {send, Req}).

%% @doc As {@link request_async/2}, without waiting until it is sent.
-spec send(connection(), kpro:req()) -> ok.
send(Connection, Req) ->
  Connection ! {{self(), noreply}, {send, Req}},
  ok.

%% @doc Versions that the broker speaks, as it says; `undefined' where it was not to be asked.
-spec get_api_vsns(connection()) -> {ok, undefined | kpro:vsn_ranges()} | {error, term()}.
get_api_vsns(Connection) -> call(Connection, get_api_vsns).

%% @doc The broker's address.
-spec get_endpoint(connection()) -> {ok, kpro:endpoint()} | {error, term()}.
get_endpoint(Connection) -> call(Connection, get_endpoint).

%% @private There is none: the socket is the engine's.
-spec get_tcp_sock(connection()) -> {error, not_supported | term()}.
get_tcp_sock(Connection) -> call(Connection, get_tcp_sock).

%% @doc How long connecting may take, in ms.
-spec get_connect_timeout(config()) -> timeout().
get_connect_timeout(Config) -> brod_options:given(connect_timeout, Config, ?CONNECT_TIMEOUT_MS).

%% @doc Trace a connection: to the shell (`print'), to a file, or not any more (`none').
-spec debug(connection(), print | string() | none) -> ok | {error, term()}.
debug(Connection, none) -> sys:no_debug(Connection);
debug(Connection, print) -> sys:trace(Connection, true);
debug(Connection, File) -> sys:log_to_file(Connection, File).

call(Connection, Request) -> brod_connection_requests:await(Connection, Request, infinity).
