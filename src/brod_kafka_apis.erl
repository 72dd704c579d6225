%% Versions of Kafka's APIs that the engine speaks, for callers who build requests themselves. What
%% is used on a connection is negotiated by the engine.
-module(brod_kafka_apis).
-behaviour(gen_server).

-export([start_link/0, stop/0, default_version/1, pick_version/2, supports_version/3,
         supported_versions/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3]).

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
  case supported_versions() of
    #{Api := {Min, Max}} -> Vsn >= Min andalso Vsn =< Max;
    _ -> false
  end.

%% @doc All APIs with their lowest and highest version.
-spec supported_versions() -> #{api() => {vsn(), vsn()}}.
supported_versions() ->
  #{ produce                 => {3, 9}
   , fetch                   => {4, 12}
   , list_offsets            => {1, 6}
   , metadata                => {1, 9}
   , offset_commit           => {2, 8}
   , offset_fetch            => {1, 7}
   , find_coordinator        => {0, 3}
   , join_group              => {0, 7}
   , heartbeat               => {0, 4}
   , leave_group             => {0, 4}
   , sync_group              => {0, 5}
   , describe_groups         => {0, 5}
   , list_groups             => {0, 4}
   , sasl_handshake          => {0, 1}
   , api_versions            => {0, 3}
   , create_topics           => {2, 5}
   , delete_topics           => {1, 5}
   , init_producer_id        => {0, 4}
   , add_partitions_to_txn   => {0, 3}
   , add_offsets_to_txn      => {0, 3}
   , end_txn                 => {0, 3}
   , txn_offset_commit       => {0, 3}
   , sasl_authenticate       => {0, 2}
   }.

range(Api) ->
  case ets:lookup(?ETS, Api) of
    [{_, Range}] -> Range;
    [] -> error({unsupported_api, Api})
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
