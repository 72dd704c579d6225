%% The process behind a pid that brod gives out as a connection. It owns no socket: it stands for
%% an engine client, its own one or that of a brod client, so that functions which take a
%% connection find the engine by the pid.
-module(brod_connection).
-behaviour(gen_server).

-export([start/3, start_link/2, start_shared/2, stop/1, context/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-include("brod_int.hrl").

%% @doc Connect to `Endpoints'; the process lives as long as `Owner'.
%% `{error, [{{Host, Port}, {Reason, Stack}}]}' when nobody answers there.
-spec start([brod:endpoint()], brod:conn_config(), Owner :: pid()) ->
        {ok, pid()} | {error, term()}.
start(Endpoints, ConnConfig, Owner) ->
  case gen_server:start(?MODULE, {own, Endpoints, ConnConfig, Owner}, []) of
    {ok, Pid} -> {ok, Pid};
    {error, {shutdown, Reason}} -> {error, Reason}
  end.

%% @doc As {@link start/3}, owned by and linked to the caller, unless the option `nolink' is set.
-spec start_link([brod:endpoint()], brod:conn_config()) -> {ok, pid()} | {error, term()}.
start_link(Endpoints, ConnConfig) ->
  case start(Endpoints, ConnConfig, self()) of
    {ok, Pid} ->
      NoLink = maps:get(nolink, brod_options:to_map(ConnConfig), false),
      NoLink =:= true orelse link(Pid),
      {ok, Pid};
    {error, Reason} ->
      {error, Reason}
  end.

%% @doc A connection that shares the engine client of `Owner', and ends with it.
-spec start_shared(brod_engine:context(), Owner :: pid()) -> {ok, pid()} | {error, term()}.
start_shared(Context, Owner) ->
  gen_server:start(?MODULE, {shared, Context, Owner}, []).

%% @doc Close the connection. Also `ok' when it is closed already.
-spec stop(pid()) -> ok.
stop(Pid) ->
  try gen_server:call(Pid, stop, 5000)
  catch exit:_ -> ok
  end.

%% @doc What operations on this connection need, or `false' if the pid is no connection.
-spec context(pid()) -> {ok, brod_engine:context()} | false.
context(Pid) ->
  try ets:lookup(?BROD_HANDLES, Pid) of
    [{_, connection, Context}] -> {ok, Context};
    _ -> false
  catch
    error:badarg -> false
  end.

init({own, Endpoints, ConnConfig, Owner}) ->
  case brod_engine:open(Endpoints, ConnConfig) of
    {ok, #{options := #{connect_timeout := Timeout}} = Context} ->
      case brod_engine:connect(Context, Timeout * length(Endpoints)) of
        ok -> start_up(Context, Owner, own);
        {error, Reason} -> {stop, {shutdown, Reason}}
      end;
    {error, Reason} ->
      {stop, {shutdown, Reason}}
  end;
init({shared, Context, Owner}) ->
  start_up(Context, Owner, shared).

start_up(Context, Owner, Kind) ->
  process_flag(trap_exit, true),
  MRef = monitor(process, Owner),
  true = ets:insert(?BROD_HANDLES, {self(), connection, Context}),
  {ok, #{context => Context, owner => MRef, kind => Kind}}.

handle_call(stop, _From, State) ->
  {stop, normal, ok, State};
handle_call(Call, _From, State) ->
  {reply, {error, {unknown_call, Call}}, State}.

handle_cast(_Cast, State) ->
  {noreply, State}.

handle_info({'DOWN', MRef, process, _, _}, #{owner := MRef} = State) ->
  {stop, normal, State};
handle_info({'EXIT', _Pid, Reason}, State) ->
  {stop, Reason, State};
handle_info(_Info, State) ->
  {noreply, State}.

terminate(_Reason, #{context := Context, kind := Kind}) ->
  true = ets:delete(?BROD_HANDLES, self()),
  Kind =:= own andalso brod_engine:close(Context),
  ok.
