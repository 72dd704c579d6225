%% @doc Versions of Kafka's APIs: those that the engine speaks, and for callers who build requests themselves those
%% that a connection's broker speaks and `brod_kafka_request' can make.
-module(brod_kafka_apis).
-behaviour(gen_server).

-export([start_link/0, stop/0, default_version/1, pick_version/2, newest_version/2, supports_version/3,
         supported_versions/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3, format_status/1]).

-export_type([api/0, vsn/0]).

-type api() :: atom().
-type vsn() :: non_neg_integer().

-define(SERVER, ?MODULE).
-define(ETS, ?MODULE).

%% Whoever builds a request himself gives the fields of the versions that brod 4 picks. These are where newer ones ask
%% for more.
-define(NEWEST_PICKED, #{fetch => 10, list_offsets => 2, metadata => 2, find_coordinator => 0, describe_groups => 0}).

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

%% @doc The version to make a request in: the newest that asks for no other fields than brod 4's does, can be made here
%% and is spoken by the connection's broker; without a connection the newest that the engine speaks. Raises
%% `{unsupported_api, Api}' for an API that there is not, and `{unsupported_vsn_range, Api, Ours, TheBrokers}' for one
%% that the broker speaks in other versions only.
-spec pick_version(brod:connection(), api()) -> vsn().
pick_version(Connection, Api) -> pick(Connection, Api, maps:get(Api, ?NEWEST_PICKED, infinity)).

%% @private As {@link pick_version/2} where all fields of all versions are given.
-spec newest_version(brod:connection(), api()) -> vsn().
newest_version(Connection, Api) -> pick(Connection, Api, infinity).

%% A number is less than an atom.
pick(Connection, Api, Wanted) ->
  case of_broker(Connection) of
    {ok, Versions} ->
      case {brod_kafka_schema:vsn_range(Api), Versions} of
        {{Oldest, _Newest}, undefined} -> Oldest;
        {{Oldest, Newest}, #{Api := {Min, Max}}} when Min =< Newest, Max >= Oldest ->
          max(max(Oldest, Min), min(Wanted, min(Newest, Max)));
        {{_, _} = Ours, #{Api := TheBrokers}} -> error({unsupported_vsn_range, Api, Ours, TheBrokers});
        _ -> error({unsupported_api, Api})
      end;
    none ->
      {_Min, Max} = range(Api),
      Max
  end.

%% @doc Whether a request can be made in version `Vsn' of `Api', and the connection's broker speaks it.
-spec supports_version(brod:connection(), api(), vsn()) -> boolean().
supports_version(Connection, Api, Vsn) ->
  case of_broker(Connection) of
    {ok, Versions} ->
      is_within(Vsn, brod_kafka_schema:vsn_range(Api))
        andalso (Versions =:= undefined orelse is_within(Vsn, maps:get(Api, Versions, false)));
    none ->
      case find(Api) of
        {ok, Range} -> is_within(Vsn, Range);
        error -> false
      end
  end.

is_within(_Vsn, false) -> false;
is_within(Vsn, {Min, Max}) -> Vsn >= Min andalso Vsn =< Max.

%% A process that is no connection is not asked: it would not answer.
of_broker(Pid) when is_pid(Pid), Pid =/= self() ->
  case brod_connection:context(Pid) =/= false orelse is_connection_of_kafka_protocol(Pid) of
    true ->
      case brod_connection:api_versions(Pid) of
        {ok, Versions} -> {ok, Versions};
        {error, Reason} -> error({no_versions, Reason})
      end;
    false ->
      none
  end;
of_broker(_NoConnection) ->
  none.

is_connection_of_kafka_protocol(Pid) ->
  node(Pid) =:= node() andalso proc_lib:translate_initial_call(Pid) =:= {kpro_connection, init, 4}.

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
