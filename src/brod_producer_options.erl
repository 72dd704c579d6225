%% @private Options of producers. All that brod takes is taken; a value that cannot work at all is an error, and one that
%% would matter only later is replaced by the default, with a warning.
-module(brod_producer_options).

-export([check/1, warn/2, engine_config/1, engine_config/2]).

-include("brod_int.hrl").

-define(DELIVERY_TIMEOUT_MS, 120000).

%% @doc Check a producer's options. The result has every key that has a default, and each value in the
%% one form that the engine reads.
-spec check(brod:producer_config() | map()) -> {ok, map()} | {error, {bad_option, term(), term()}}.
check(Config) ->
  case brod_option_table:check(producer, Config) of
    %% Without the answer of all replicas there is no idempotence to be had.
    {ok, #{enable_idempotence := true, required_acks := Acks}, _} when Acks =/= -1 ->
      {error, {bad_option, required_acks, maps:get(required_acks, brod_options:to_map(Config))}};
    {ok, Options, _Replaced} ->
      {ok, maps:merge(#{delivery_timeout_ms => delivery_timeout(Options)}, Options)};
    {error, Reason} ->
      {error, Reason}
  end.

%% Who wants a message to be tried for ever does not want it to end after two minutes.
delivery_timeout(#{max_retries := -1}) -> infinity;
delivery_timeout(_Options) -> ?DELIVERY_TIMEOUT_MS.

%% @doc Log which values are replaced. `What' says whose they are.
-spec warn(brod:producer_config() | map(), io_lib:chars()) -> ok.
warn(Config, What) ->
  case brod_option_table:check_given(producer, Config) of
    {ok, _Options, Replaced} ->
      lists:foreach(fun({Key, Value, Used}) ->
                      ?BROD_LOG_WARNING("~ts: the option ~p cannot be ~9999P; ~p is used instead.", [What, Key, Value, 12, Used])
                    end, Replaced);
    {error, _} ->
      ok
  end.

%% @doc As {@link engine_config/1}, for a producer to which these were given. `partition_onwire_limit' is as many as its broker's
%% distance is worth, unless somebody has said how many they are to be.
-spec engine_config(brod:producer_config() | map(), map()) -> map().
engine_config(Given, Options) ->
  Config = engine_config(Options),
  case brod_option_table:check_given(producer, Given) of
    {ok, #{partition_onwire_limit := _}, _} -> Config;
    _ -> Config#{partition_onwire_limit := undefined}
  end.

%% @doc Checked options as the engine wants them: with every key.
-spec engine_config(map()) -> map().
engine_config(Options) ->
  All = maps:from_list([{Key, undefined} || Key <- brod_option_table:names(producer)]),
  maps:without([topic_restart_delay_seconds, partition_restart_delay_seconds],
               maps:merge(maps:merge(All, brod_option_table:defaults(producer)), Options)).
