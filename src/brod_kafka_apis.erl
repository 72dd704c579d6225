%% @doc Versions of Kafka's APIs that the engine speaks, for callers who build requests themselves. What
%% is used on a connection is negotiated by the engine.
-module(brod_kafka_apis).
-behaviour(gen_server).

-export([start_link/0, stop/0, default_version/1, pick_version/2, supports_version/3,
         supported_versions/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3, format_status/1]).

-export_type([api/0, vsn/0]).

-type api() :: atom().
-type vsn() :: non_neg_integer().

-define(SERVER, ?MODULE).
-define(ETS, ?MODULE).

%% @doc Start the server that owns the table.
-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
  gen_server:start_link({local, ?SERVER}, ?MODULE, [], []).

%% @doc Stop the server.
-spec stop() -> ok.
stop() ->
  gen_server:call(?SERVER, stop, 5000).

%% @doc The lowest version that is spoken: every broker in range understands it.
-spec default_version(api()) -> vsn().
default_version(Api) ->
  {Min, _Max} = range(Api),
  Min.

%% @doc The highest version that is spoken. Raises `{unsupported_api, Api}' for others.
-spec pick_version(brod:connection(), api()) -> vsn().
pick_version(_Connection, Api) ->
  {_Min, Max} = range(Api),
  Max.

%% @doc Whether version `Vsn' of `Api' is spoken.
-spec supports_version(brod:connection(), api(), vsn()) -> boolean().
supports_version(_Connection, Api, Vsn) ->
  case find(Api) of
    {ok, {Min, Max}} -> Vsn >= Min andalso Vsn =< Max;
    error -> false
  end.

%% @doc All APIs with their lowest and highest version: those that the engine picks on a connection.
-spec supported_versions() -> #{api() => {vsn(), vsn()}}.
supported_versions() ->
  maps:from_list(brod_nif:api_versions()).

range(Api) ->
  case find(Api) of
    {ok, Range} -> Range;
    error -> error({unsupported_api, Api})
  end.

%% The table goes with its owner, and comes back with the next one.
find(Api) ->
  try ets:lookup(?ETS, Api) of
    [{_, Range}] -> {ok, Range};
    [] -> error
  catch
    error:badarg -> maps:find(Api, supported_versions())
  end.

init([]) ->
  ?ETS = ets:new(?ETS, [named_table, protected, {read_concurrency, true}]),
  true = ets:insert(?ETS, maps:to_list(supported_versions())),
  {ok, no_state}.

handle_call(stop, _From, State) ->
  {stop, normal, ok, State};
handle_call(Call, _From, State) ->
  {reply, {error, {unknown_call, Call}}, State}.

handle_cast(_Cast, State) ->
  {noreply, State}.

handle_info(_Info, State) ->
  {noreply, State}.

terminate(_Reason, _State) ->
  ok.

code_change(_OldVsn, State, _Extra) ->
  {ok, State}.

%% @private No payloads: it may be sent anything.
format_status(Status) ->
  brod_crash:status(Status, fun(no_state) -> #{apis => ets:info(?ETS, size)} end).
