%% @private Options of producers: the one table of their names and defaults, and what their values may be. All
%% that brod takes is taken; a value that cannot work at all is an error, and one that would matter only
%% later is replaced by the default, with a warning.
-module(brod_producer_options).

-export([check/1, warn/2, engine_config/1, keys/0]).

-include("brod_int.hrl").

-define(DELIVERY_TIMEOUT_MS, 120000).

-type kind() :: {integer, Min :: integer(), Max :: integer()} | ms | timeout | linger | retries | codec | acks
              | {one_of, [atom()]}.

%% @doc Check a producer's options. The result has every key that has a default, and each value in the
%% one form that the engine reads.
-spec check(brod:producer_config() | map()) -> {ok, map()} | {error, {bad_option, term(), term()}}.
check(Config) when is_list(Config); is_map(Config) ->
  Given = maps:filter(fun(_, V) -> V =/= undefined end, brod_options:to_map(Config)),
  case check_each(table(), Given, #{}) of
    %% Without the answer of all replicas there is no idempotence to be had.
    {ok, #{enable_idempotence := true, required_acks := Acks}} when Acks =/= -1 ->
      {error, {bad_option, required_acks, maps:get(required_acks, Given)}};
    {ok, Options} ->
      {ok, maps:merge(#{delivery_timeout_ms => delivery_timeout(Options)}, Options)};
    {error, Reason} ->
      {error, Reason}
  end;
check(Config) ->
  {error, {bad_option, producer, Config}}.

%% Who wants a message to be tried for ever does not want it to end after two minutes.
delivery_timeout(#{max_retries := -1}) -> infinity;
delivery_timeout(_Options) -> ?DELIVERY_TIMEOUT_MS.

%% @doc Log which values are replaced. `What' says whose they are.
-spec warn(brod:producer_config() | map(), io_lib:chars()) -> ok.
warn(Config, What) ->
  Given = brod_options:to_map(Config),
  lists:foreach(fun({Key, {later, Kind}, Default}) ->
                  case Given of
                    #{Key := Value} when Value =/= undefined -> warn(What, Key, Kind, Value, Default);
                    _ -> ok
                  end;
                   (_) -> ok
                end, table()).

warn(What, Key, Kind, Value, Default) ->
  case value(Kind, Value) of
    {ok, _} -> ok;
    error ->
      ?BROD_LOG_WARNING("~ts: the option ~p cannot be ~0p; ~p is used instead.",
                        [What, Key, Value, Default])
  end.

%% @doc Checked options as the engine wants them: with every key.
-spec engine_config(map()) -> map().
engine_config(Options) ->
  All = maps:from_list([{Key, Default} || {Key, _, Default} <- table()]),
  maps:without([topic_restart_delay_seconds, partition_restart_delay_seconds],
               maps:merge(All, Options)).

%% @doc The options that there are.
-spec keys() -> [atom()].
keys() -> [Key || {Key, _, _} <- table()].

check_each([], _Given, Options) ->
  {ok, Options};
check_each([{Key, Kind, Default} | Table], Given, Options) ->
  case {Given, Kind} of
    {#{Key := Value}, {later, Later}} ->
      case value(Later, Value) of
        {ok, Checked} -> check_each(Table, Given, Options#{Key => Checked});
        error -> check_each(Table, Given, Options#{Key => Default})
      end;
    {#{Key := Value}, _} ->
      case value(Kind, Value) of
        {ok, Checked} -> check_each(Table, Given, Options#{Key => Checked});
        error -> {error, {bad_option, Key, Value}}
      end;
    {_, _} when Default =:= undefined ->
      check_each(Table, Given, Options);
    {_, _} ->
      check_each(Table, Given, Options#{Key => Default})
  end.

%% {Key, Kind, Default}; `{later, Kind}': the producer can do without. What goes to the engine or to
%% Kafka fits into 32 bits.
-spec table() -> [{atom(), kind() | {later, kind()}, Default :: term()}].
table() ->
  [ {partition_buffer_limit, {integer, 1, 1 bsl 31 - 1}, 512}
  , {partition_onwire_limit, {integer, 1, 1 bsl 31 - 1}, 1}
  , {max_batch_size, {integer, 1, 1 bsl 31 - 1}, 1048576}
  , {max_request_size, {integer, 1, 1 bsl 31 - 1}, 1048576}
  , {max_retries, retries, 3}
  , {retry_backoff_ms, ms, 500}
  , {required_acks, acks, -1}
  , {ack_timeout, ms, 10000}
  , {compression, codec, no_compression}
  , {compression_level, {integer, -(1 bsl 31), 1 bsl 31 - 1}, undefined}
  , {max_linger_ms, {later, linger}, 0}
  , {max_linger_count, {later, {integer, 0, 1 bsl 31 - 1}}, 0}
  , {produce_req_vsn, {integer, 0, 1 bsl 15 - 1}, undefined}
  , {delivery_timeout_ms, timeout, undefined}
  , {enable_idempotence, {one_of, [auto, true, false]}, auto}
  , {topic_restart_delay_seconds, {later, {integer, 0, 1 bsl 31 - 1}}, 10}
  , {partition_restart_delay_seconds, {later, {integer, 0, 1 bsl 31 - 1}}, 5}
  ].

-spec value(kind(), term()) -> {ok, term()} | error.
value({integer, Min, Max}, V) when is_integer(V), V >= Min, V =< Max -> {ok, V};
value(timeout, 0) -> error;
value(timeout, V) -> value(ms, V);
value(ms, infinity) -> {ok, infinity};
value(ms, V) -> value({integer, 0, 1 bsl 31 - 1}, V);
%% in brod any time that has passed does not linger
value(linger, V) when is_integer(V), V < 0 -> {ok, 0};
value(linger, V) -> value(ms, V);
value(retries, infinity) -> {ok, -1};
value(retries, V) -> value({integer, -1, 1 bsl 31 - 1}, V);
value(codec, none) -> {ok, no_compression};
value(codec, V) -> value({one_of, [no_compression, gzip, snappy, lz4, zstd]}, V);
value(acks, Acks) when Acks =:= all; Acks =:= all_isr -> {ok, -1};
value(acks, none) -> {ok, 0};
value(acks, leader_only) -> {ok, 1};
value(acks, V) -> value({integer, -1, 1}, V);
value({one_of, Values}, V) ->
  case lists:member(V, Values) of
    true -> {ok, V};
    false -> error
  end;
value(_Kind, _Value) -> error.
