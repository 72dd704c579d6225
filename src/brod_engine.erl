%% @private Calls into the engine that wait for an answer, and clients for the length of one call.
-module(brod_engine).

-export([call/3, on_node/4, connect/1, connect_limit/1]).
-export([open/2, open_checked/2, close/1, with_target/2]).
-export([failures/2, ended/2, to_binary/1, host/1, is_failures/1]).

-export_type([context/0, target/0]).

%% The engine answers in time by itself; this is the margin before we stop to believe it.
-define(GRACE_MS, 5000).
-define(LONGEST_RECEIVE_MS, 16#ffffffff).
%% An endpoint whose time is up says what took so long, if it is asked for that long and a moment more.
-define(LAST_WORDS_MS, 500).
%% Of the counters of a client, not what has happened: no event has such a number yet.
-define(NO_EVENTS, 16#7fffffffffffffff).

%% What an operation needs: the engine client, the checked connection options, and the endpoints
%% as the user wrote them. That of a brod_client has more keys.
-type context() :: #{engine := brod_nif:client(), options := map(), endpoints := [brod:endpoint()],
                     atom() => term()}.
-type target() :: brod:client() | brod:connection() | [brod:endpoint()] | brod:bootstrap().

%% @doc Run an operation of docs/boundary.md and wait for its result. Always returns: at the latest
%% some seconds after `TimeoutMs', with `{error, timeout}'. The engine may be another node's: then that node asks it.
-spec call(brod_nif:client(), brod_nif:op(), TimeoutMs :: non_neg_integer()) -> term().
call(Engine, Op, TimeoutMs) when node(Engine) =/= node() ->
  on_node(node(Engine), ?MODULE, call, [Engine, Op, TimeoutMs]);
call(Engine, Op, TimeoutMs) ->
  Ref = make_ref(),
  ok = begin_op(Engine, Ref, Op, TimeoutMs),
  receive
    {brod_reply, Ref, Result} -> Result
  after min(TimeoutMs + ?GRACE_MS, ?LONGEST_RECEIVE_MS) ->
    {error, timeout}
  end.

begin_op(Engine, Ref, Op, TimeoutMs) ->
  try brod_nif:op(Engine, Ref, Op, TimeoutMs) of
    dirty -> brod_nif:op_dirty(Engine, Ref, Op, TimeoutMs);
    ok -> ok
  catch
    error:badarg -> brod_args:raise(badarg, "arguments that a broker can be asked with: texts are UTF-8, numbers as long as Kafka's", Op)
  end.

%% @doc Run a function where a client is. `{error, client_down}': that node cannot be reached.
-spec on_node(node(), module(), atom(), [term()]) -> term().
on_node(Node, Module, Function, Args) ->
  try erpc:call(Node, Module, Function, Args)
  catch
    error:{erpc, _} -> {error, client_down}
  end.

%% @doc Connect an engine client to the first endpoint that answers. The error lists all endpoints.
-spec connect(context()) -> ok | {error, [{brod:endpoint(), {term(), list()}}]}.
connect(#{engine := Engine, endpoints := Endpoints} = Context) ->
  case failures(call(Engine, connect, connect_limit(Context)), Endpoints) of
    ok -> ok;
    {error, [_ | _] = Failures} -> {error, Failures};
    {error, Reason} -> {error, [{Endpoint, {Reason, []}} || Endpoint <- Endpoints]}
  end.

%% @doc How many ms it may take to connect: `connect_timeout' for each endpoint, which the engine counts itself, and a moment more.
-spec connect_limit(context()) -> pos_integer().
connect_limit(#{endpoints := Endpoints, options := #{connect_timeout := Timeout}}) ->
  min(Timeout * length(Endpoints) + ?LAST_WORDS_MS, 16#7fffffff).

%% @doc Make an engine client for `Endpoints'. `{error, {bad_option, Key, Value}}' for options that
%% cannot be used.
-spec open([brod:endpoint()], brod:conn_config()) -> {ok, context()} | {error, term()}.
open(Endpoints, ConnConfig) ->
  case brod_options:connection(ConnConfig) of
    {ok, Options} ->
      ok = brod_options:warn_unknown_once(connection, ConnConfig),
      open_checked(Endpoints, maps:merge(#{client_id => <<"kpro-client">>}, Options));
    {error, Reason} -> {error, Reason}
  end.

%% @doc As {@link open/2}, with options that brod_options has checked.
-spec open_checked([brod:endpoint()], map()) -> {ok, context()} | {error, term()}.
open_checked(Endpoints, Options) ->
  case is_list(Endpoints) andalso Endpoints =/= [] andalso brod_options:is_config(Endpoints)
    andalso lists:all(fun is_endpoint/1, Endpoints) of
    true ->
      Provider = brod_sasl_provider:start(Options),
      case client_open(Endpoints, engine_config(Options, Provider)) of
        {ok, Engine} ->
          {ok, #{engine => Engine, options => Options, endpoints => Endpoints,
                 sasl_provider => Provider}};
        {error, Reason} ->
          brod_sasl_provider:stop(Provider),
          {error, Reason}
      end;
    false ->
      {error, {bad_option, endpoints, Endpoints}}
  end.

engine_config(Options, Provider) ->
  Config = brod_options:engine_config(Options),
  case Options of
    #{sasl := #{} = Checked} ->
      case brod_sasl_options:engine(Checked, Provider) of
        {ok, Sasl} -> {ok, Config#{sasl => Sasl}};
        {error, Reason} -> {error, Reason}
      end;
    _ ->
      {ok, Config#{sasl => undefined}}
  end.

%% Certificates that cannot be read, and threads that the system does not give, are told as the connections that they would
%% be for: the client is started again, as both may come.
client_open(_Endpoints, {error, Reason}) ->
  {error, Reason};
client_open(Endpoints, {ok, Config}) ->
  Addresses = [{to_binary(H), P} || {H, P} <- Endpoints],
  try brod_nif:client_open(Addresses, Config) of
    {error, {tls_error, Reason}} -> {error, [{Endpoint, {Reason, []}} || Endpoint <- Endpoints]};
    {error, Text} when is_binary(Text) -> {error, [{Endpoint, {Text, []}} || Endpoint <- Endpoints]};
    Result -> Result
  catch
    %% Raised further, the error would carry the arguments, secrets among them.
    error:badarg -> {error, {bad_option, client, refused_by_the_engine}}
  end.

is_endpoint({Host, Port}) ->
  is_integer(Port) andalso Port > 0 andalso Port < 65536 andalso
    not lists:member(Host, ["", <<>>, undefined, nil]) andalso
    (brod_options:is_text(Host) orelse inet:is_ip_address(Host));
is_endpoint(_) ->
  false.

%% @doc Close what {@link open/2} made.
-spec close(context()) -> ok.
close(#{engine := Engine} = Context) ->
  brod_sasl_provider:stop(maps:get(sasl_provider, Context, undefined)),
  brod_nif:client_close(Engine).

%% @doc Run `Fun' with whatever users may name a cluster by: a client, a connection, endpoints, or
%% endpoints with the options to connect with. Failures to connect that `Fun' returns get their
%% public form.
-spec with_target(target(), fun((context()) -> Result)) -> Result | {error, term()}.
with_target(Endpoints, Fun) when is_list(Endpoints) ->
  with_target({Endpoints, []}, Fun);
with_target({Endpoints, ConnConfig}, Fun) ->
  with_client(Endpoints, ConnConfig, run(Fun));
with_target(Target, Fun) ->
  case context(Target) of
    {ok, Context} -> ended((run(Fun))(Context), Context);
    {error, Reason} -> {error, Reason}
  end.

with_client(Endpoints, ConnConfig, Fun) ->
  case open(Endpoints, ConnConfig) of
    {ok, Context} ->
      try
        case connect(Context) of
          ok -> Fun(Context);
          {error, Reason} -> {error, Reason}
        end
      after
        close(Context)
      end;
    {error, Reason} ->
      {error, Reason}
  end.

%% @doc A client that is stopped while somebody asks it is one that is down. The engine has the same word for a connection that was
%% closed.
-spec ended(term(), context()) -> term().
ended({error, closed} = Error, #{engine := Engine}) when node(Engine) =/= node() ->
  Error;
ended({error, closed}, #{engine := Engine}) ->
  case brod_nif:client_stats(Engine, ?NO_EVENTS) of
    #{closed := true} -> {error, client_down};
    _ -> {error, closed}
  end;
ended(Result, _Context) ->
  Result.

run(Fun) ->
  fun(#{endpoints := Endpoints} = Context) -> failures(Fun(Context), Endpoints) end.

context(Pid) when is_pid(Pid) ->
  case brod_connection:context(Pid) of
    {ok, Context} -> {ok, Context};
    false -> brod_client:context(Pid)
  end;
context(Client) ->
  brod_client:context(Client).

%% @doc The engine's list of endpoints that failed in brod's form, hosts written as the user did.
%% Any other result stays as it is.
-spec failures(term(), [brod:endpoint()]) -> term().
failures({error, [{_, _, _} | _] = Failures}, Endpoints) ->
  AsGiven = maps:from_list([{{to_string(H), P}, H} || {H, P} <- Endpoints]),
  {error, [{{maps:get({host(H), P}, AsGiven, host(H)), P}, {Reason, []}} || {H, P, Reason} <- Failures]};
failures(Result, _Endpoints) ->
  Result.

%% @doc Whether an error reason says that no broker could be reached.
-spec is_failures(term()) -> boolean().
is_failures([{{_Host, _Port}, {_Reason, Stack}} | _]) -> is_list(Stack);
is_failures(_) -> false.

%% @doc A host name or client id as a binary.
-spec to_binary(brod:hostname()) -> binary().
to_binary(Host) -> unicode:characters_to_binary(to_string(Host)).

%% @doc A host name as the engine gives it in a list, which has the bytes of its UTF-8.
-spec host([byte()]) -> string().
host(Bytes) ->
  Host = unicode:characters_to_list(list_to_binary(Bytes)),
  true = is_list(Host),
  Host.

to_string(Host) when is_atom(Host) -> atom_to_list(Host);
to_string(Host) when is_binary(Host) -> unicode:characters_to_list(Host);
to_string(Address) when is_tuple(Address) -> inet:ntoa(Address);
to_string(Host) -> Host.
