%% @private How other processes reach a client: its context in the table of its name, calls that never raise.
-module(brod_client_ref).

-export([context/1, with_context/2, call/2, safe/1, name/1]).

-define(CALL_TIMEOUT_MS, 60000).

%% @doc All that is needed to work with the client from another process.
%% `{error, client_down}' or `{error, {client_down, Reason}}' if it is not running.
-spec context(brod:client()) -> {ok, brod_client:context()} | {error, term()}.
context(Client) ->
  ok = brod_args:client(Client),
  Name = name(Client),
  try ets:lookup(Name, engine) of
    [{engine, _Engine, Context}] -> {ok, Context};
    [] -> call(Client, context)
  catch
    error:badarg -> call(Client, context)
  end.

%% @doc Run `Fun' with the client's context, or return why there is none.
-spec with_context(brod:client(), fun((brod_client:context()) -> Result)) -> Result | {error, term()}.
with_context(Client, Fun) ->
  case context(Client) of
    {ok, Context} -> brod_engine:ended(Fun(Context), Context);
    {error, Reason} -> {error, Reason}
  end.

%% @doc Ask the client's process; `{error, client_down | {client_down, Reason} | timeout}' where that fails.
-spec call(brod:client(), term()) -> term().
call(Client, Call) ->
  safe(fun() -> gen_server:call(Client, Call, ?CALL_TIMEOUT_MS) end).

%% @doc Run a fun that calls a client's processes, with exits of the calls as errors.
-spec safe(fun(() -> Result)) -> Result | {error, term()}.
safe(Fun) ->
  try Fun()
  catch
    exit:{noproc, _} -> {error, client_down};
    exit:{timeout, _} -> {error, timeout};
    exit:{Reason, _} -> {error, {client_down, Reason}}
  end.

%% @doc The client's name, which is also that of its table. A pid on another node has none here.
-spec name(brod:client()) -> atom().
name(Client) when is_atom(Client) -> Client;
name(Client) when is_pid(Client), node(Client) =:= node() ->
  case process_info(Client, registered_name) of
    {registered_name, Name} -> Name;
    _ -> undefined
  end;
name(Client) when is_pid(Client) -> undefined;
name(Client) -> brod_args:client(Client), undefined.
