%% @private Options of clients, connections, producers and consumers: known keys, defaults, checks.
%% Input is a proplist (an atom `K' counts as `{K, true}') or a map. Unknown keys are ignored, so
%% that configurations written for other versions keep working; where users give options,
%% warn_unknown/2 tells them. A value that a known key cannot have is an error. `undefined' counts
%% as not set, and as a timeout `infinity' is the longest one there is.
-module(brod_options).

-export([client/1, connection/1, producer/1, consumer/1, connection_keys/0]).
-export([known/1, unknown/2]).
-export([to_map/1, unusable/1, engine_config/1, hide_secrets/1, warn_unknown/2, warn_unknown/3]).

-export_type([error/0]).

-include("brod_int.hrl").

%% What `infinity' stands for; the engine takes no more.
-define(LONGEST_MS, 16#7fffffff).
-define(MAX_INT32, 16#7fffffff).
-define(MAX_INT64, 16#7fffffffffffffff).

-type error() :: {bad_option, Key :: term(), Value :: term()}.

%% @doc Check a client's options. The result has every key that has a default.
-spec client(brod:client_config() | map()) -> {ok, map()} | {error, error()}.
client(Config) ->
  secured(check(client, Config, client_specs() ++ connection_specs())).

%% @doc Check the options of a connection for one call (`brod:conn_config()').
-spec connection(brod:conn_config()) -> {ok, map()} | {error, error()}.
connection(Config) ->
  secured(check(connection, Config, connection_specs())).

secured({ok, Options}) ->
  case brod_ssl_options:check(maps:get(ssl, Options, undefined)) of
    {ok, Tls} ->
      case brod_sasl_options:check(maps:get(sasl, Options, undefined)) of
        {ok, Sasl} -> {ok, Options#{ssl => Tls, sasl => Sasl}};
        {error, Reason} -> {error, Reason}
      end;
    {error, Reason} -> {error, Reason}
  end;
secured({error, Reason}) ->
  {error, Reason}.

%% @doc The options as given, alone or beside endpoints, with what is secret in `ssl' and `sasl' in funs.
%% Whatever keeps options or may print them gets them from here.
-spec hide_secrets(Config) -> Config when Config :: term().
hide_secrets({Endpoints, Config}) when is_list(Endpoints) -> {Endpoints, hide_secrets(Config)};
hide_secrets(Config) when is_list(Config) -> [hide_secret(Option) || Option <- Config];
hide_secrets(Config) when is_map(Config) -> maps:map(fun(K, V) -> hide(K, V) end, Config);
hide_secrets(Config) -> Config.

hide_secret({Name, Value}) -> {Name, hide(Name, Value)};
hide_secret(Option) -> Option.

hide(ssl, Value) -> brod_ssl_options:hide(Value);
hide(sasl, Value) -> brod_sasl_options:hide(Value);
hide(_, Value) -> Value.

%% @doc Check a producer's options: `brod_producer_options:check/1'.
-spec producer(brod:producer_config() | map()) -> {ok, map()} | {error, error()}.
producer(Config) -> brod_producer_options:check(Config).

%% @doc Check a consumer's options. Only what was given is returned: defaults depend on whether
%% they are for a start or for a subscribe.
-spec consumer(brod:consumer_config() | map()) -> {ok, map()} | {error, error()}.
consumer(Config) ->
  case check(consumer, Config, consumer_specs()) of
    {ok, Options} -> {ok, maps:without([Key || {Key, _} <- unusable(Options)], Options)};
    {error, _} = Error -> Error
  end.

%% @doc What is left out of a consumer's options because nobody could use it: values that would
%% matter only later, if ever.
-spec unusable(brod:consumer_config() | map()) -> [{Key :: atom(), Value :: term()}].
unusable(Config) ->
  Given = to_map(Config),
  [{Key, map_get(Key, Given)} || {Key, {usable, Values}} <- consumer_specs(),
                                 is_map_key(Key, Given), map_get(Key, Given) =/= undefined,
                                 not lists:member(map_get(Key, Given), Values)].

%% @doc Keys of a connection's options.
-spec connection_keys() -> [atom()].
connection_keys() ->
  keys(connection_specs()).

keys(Specs) -> [element(1, Spec) || Spec <- Specs].

%% @doc A proplist or a map as a map. Of a key that is given twice the first value counts.
-spec to_map(list() | map()) -> map().
to_map(Config) when is_map(Config) ->
  Config;
to_map(Config) when is_list(Config) ->
  maps:from_list([case E of {K, V} -> {K, V}; K -> {K, true} end || E <- lists:reverse(Config)]).

%% @doc Log which options nobody reads, each with the known name that is nearest to it.
-spec warn_unknown(client | connection | producer | consumer, list() | map()) -> ok.
warn_unknown(Kind, Config) ->
  warn_unknown(Kind, Config, known(Kind)).

%% @doc As {@link warn_unknown/2}, for options of any kind. Meant for where a user's options come in,
%% not for each process that reads them.
-spec warn_unknown(Kind :: atom(), list() | map(), Known :: [atom()]) -> ok.
warn_unknown(Kind, Config, Known) ->
  Given = to_map(Config),
  ok = warn_unknown_socket_options(Given),
  case unknown(Given, Known) of
    [] -> ok;
    Unknown ->
      ?BROD_LOG_WARNING("Unknown ~p options are ignored: ~ts",
                        [Kind, lists:join(", ", [with_nearest(Key, Nearest) || {Key, Nearest} <- Unknown])])
  end.

%% @doc The options of which nobody knows the name, each with the known name that is so near that it may be
%% meant.
-spec unknown(list() | map(), Known :: [atom()]) -> [{Key :: term(), Nearest :: undefined | atom()}].
unknown(Config, Known) ->
  [{Key, nearest(Key, Known)} || Key <- lists:usort(maps:keys(to_map(Config))), not lists:member(Key, Known)].

warn_unknown_socket_options(#{extra_sock_opts := [_ | _] = Options}) ->
  case brod_socket_options:unknown(Options) of
    [] -> ok;
    Unknown -> ?BROD_LOG_WARNING("Socket options that the engine does not know are ignored: ~0p", [Unknown])
  end;
warn_unknown_socket_options(_) ->
  ok.

%% @doc Names of options.
-spec known(client | connection | producer | consumer | group | transaction) -> [atom()].
known(group) -> brod_group_options:keys();
known(transaction) -> brod_transaction_options:keys();
known(connection) -> known(client);
known(client) -> keys(client_specs() ++ connection_specs());
known(producer) -> brod_producer_options:keys();
known(consumer) -> keys(consumer_specs()).

with_nearest(Key, undefined) when is_atom(Key) -> io_lib:format("~p", [Key]);
with_nearest(Key, undefined) -> io_lib:format("~0P", [Key, 8]);
with_nearest(Key, Nearest) -> io_lib:format("~p (did you mean ~p?)", [Key, Nearest]).

nearest(Key, [_ | _] = Known) when is_atom(Key) ->
  Name = atom_to_list(Key),
  {Distance, Nearest} = lists:min([{distance(Name, atom_to_list(K)), K} || K <- Known]),
  case Distance =< max(2, length(Name) div 3) of
    true -> Nearest;
    false -> undefined
  end;
nearest(_Key, _Known) ->
  undefined.

%% Levenshtein's: how many letters have to be changed, added or removed.
distance(From, To) ->
  lists:last(lists:foldl(fun distance_row/2, lists:seq(0, length(From)), [{C, From} || C <- To])).

distance_row({C, From}, [Corner | Above]) ->
  {Row, _, _} = lists:foldl(fun({F, Up}, {[Left | _] = Acc, Diagonal, Char}) ->
                              Changed = Diagonal + case F of Char -> 0; _ -> 1 end,
                              {[lists:min([Up + 1, Left + 1, Changed]) | Acc], Up, Char}
                            end, {[Corner + 1], Corner, C}, lists:zip(From, Above)),
  lists:reverse(Row).

%% @doc What the engine is told by checked client or connection options. It has no defaults of its own:
%% every key is there, `undefined' where nothing is set.
-spec engine_config(map()) -> map().
engine_config(Options) ->
  All = #{client_id := Id, extra_sock_opts := SocketOptions} =
    maps:merge(engine_defaults(), cool_down(Options)),
  Config = maps:with([connect_timeout, request_timeout, metadata_timeout, metadata_max_age,
                      reconnect_backoff, reconnect_backoff_max, buffer_bytes, fetch_buffer_bytes, rack_id,
                      query_api_versions, connections_max_idle_ms], All),
  Config#{client_id => brod_engine:to_binary(Id),
          socket => brod_socket_options:engine(SocketOptions),
          tls => tls(All),
          threads => application:get_env(brod, engine_threads, undefined)}.

tls(#{ssl := #{} = Checked}) -> brod_ssl_options:engine(Checked);
tls(_Options) -> undefined.

%% Of what a connection has no option for, too.
engine_defaults() ->
  maps:from_list([{K, V} || {K, _, V} <- client_specs() ++ connection_specs()] ++
                 [{client_id, <<"brod">>}, {metadata_timeout, 5000}, {reconnect_backoff, 50},
                  {reconnect_backoff_max, 1000}]).

%% brod's pause between two attempts to connect is the engine's smallest backoff.
cool_down(#{reconnect_backoff := _} = Options) -> Options;
cool_down(#{reconnect_cool_down_seconds := S} = Options) when S > 0 ->
  Ms = ceil(S * 1000),
  Options#{reconnect_backoff => Ms,
           reconnect_backoff_max => max(Ms, maps:get(reconnect_backoff_max, Options, Ms))};
cool_down(Options) -> Options.

check(_Kind, Config, Specs) when is_list(Config); is_map(Config) ->
  check_each(Specs, maps:filter(fun(_, V) -> V =/= undefined end, to_map(Config)), #{});
check(Kind, Config, _Specs) ->
  {error, {bad_option, Kind, Config}}.

check_each([], _Given, Acc) ->
  {ok, Acc};
check_each([Spec | Specs], Given, Acc) ->
  Key = element(1, Spec),
  case Given of
    #{Key := Value} ->
      case is_valid(element(2, Spec), Value) of
        true -> check_each(Specs, Given, Acc#{Key => plain(element(2, Spec), Value)});
        false -> {error, {bad_option, Key, Value}}
      end;
    _ when tuple_size(Spec) =:= 3 ->
      check_each(Specs, Given, Acc#{Key => element(3, Spec)});
    _ ->
      check_each(Specs, Given, Acc)
  end.

plain(Timeout, infinity) when Timeout =:= timeout; Timeout =:= seconds -> ?LONGEST_MS div unit(Timeout);
plain(ttl, infinity) -> 1 bsl 62;
plain({at_most, Most}, infinity) -> Most;
plain({at_most, Most}, Value) -> max(0, min(Value, Most));
plain(_Check, Value) -> Value.

unit(timeout) -> 1;
unit(seconds) -> 1000.

%% {Key, Check} or {Key, Check, Default}. What goes to the engine or to Kafka fits into 32 bits,
%% offsets, timestamps and the prefetch window into 64.

client_specs() ->
  [ {restart_delay_seconds, delay_seconds, 10}
  , {get_metadata_timeout_seconds, seconds, 5}
  , {reconnect_cool_down_seconds, delay_seconds}
  , {allow_topic_auto_creation, boolean, true}
  , {auto_start_producers, boolean, false}
  , {default_producer_config, config, []}
  , {unknown_topic_cache_ttl, ttl, 120000}
  , {metadata_max_age, pos_int32, 300000}
  , {buffer_bytes, pos_int64, 268435456}
  , {fetch_buffer_bytes, pos_int64, 67108864}
  , {rack_id, binary, <<>>}
  , {endpoints, any}
  ].

connection_specs() ->
  [ {connect_timeout, timeout, 5000}
  , {request_timeout, timeout, 240000}
  , {client_id, text}
  , {ssl, any}
  , {sasl, any}
  , {reconnect_backoff, pos_int32}
  , {reconnect_backoff_max, pos_int32}
  , {query_api_versions, boolean, true}
  , {connections_max_idle_ms, timeout, 540000}
  , {extra_sock_opts, socket_options, []}
  , {debug, any}
  , {nolink, boolean}
  ].

consumer_specs() ->
  [ {begin_offset, begin_offset}
  , {min_bytes, {at_most, ?MAX_INT32}}
  , {max_bytes, {at_most, ?MAX_INT32}}
  , {max_wait_time, {at_most, ?MAX_INT32}}
  , {sleep_timeout, non_neg}
  , {prefetch_count, {at_most, ?MAX_INT64}}
  , {prefetch_bytes, {at_most, ?MAX_INT64}}
  , {offset_reset_policy, {usable, [reset_by_subscriber, reset_to_earliest, reset_to_latest]}}
  , {size_stat_window, non_neg}
  , {isolation_level, {usable, [read_committed, read_uncommitted]}}
  , {max_batch_bytes, pos_int32}
  , {share_fetched_memory, boolean}
  , {share_leader_conn, boolean}
  , {partitions, partitions}
  , {topic_restart_delay_seconds, non_neg}
  , {partition_restart_delay_seconds, non_neg}
  ].

is_valid(any, _) -> true;
is_valid({at_most, _}, V) -> is_integer(V) orelse V =:= infinity;
is_valid({usable, _}, _) -> true;
is_valid(int32, V) -> is_integer(V) andalso V >= 0 andalso V < 1 bsl 31;
is_valid(int64, V) -> is_integer(V) andalso V >= 0 andalso V < 1 bsl 63;
is_valid(pos_int32, V) -> is_valid(int32, V) andalso V > 0;
is_valid(partitions, V) ->
  is_list(V) andalso lists:all(fun(P) -> is_integer(P) andalso P >= 0 end, V);
is_valid(begin_offset, {timestamp, Ms}) -> is_valid(int64, Ms);
is_valid(begin_offset, V) when is_integer(V) -> V =:= -1 orelse V =:= -2 orelse is_valid(int64, V);
is_valid(begin_offset, V) -> V =:= earliest orelse V =:= latest;
is_valid(pos_int64, V) -> is_valid(int64, V) andalso V > 0;
is_valid(timeout, V) -> V =:= infinity orelse is_valid(pos_int32, V);
is_valid(seconds, V) ->
  V =:= infinity orelse (is_integer(V) andalso V > 0 andalso V * 1000 =< ?LONGEST_MS);
is_valid(delay_seconds, V) -> is_number(V) andalso V >= 0 andalso V * 1000 =< ?LONGEST_MS;
is_valid(ttl, V) -> V =:= infinity orelse is_valid(int64, V);
is_valid(socket_options, V) -> brod_socket_options:is_valid(V);
is_valid(non_neg, V) -> is_integer(V) andalso V >= 0;
is_valid(boolean, V) -> is_boolean(V);
is_valid(binary, V) -> is_binary(V);
is_valid(text, V) -> is_binary(V) orelse is_atom(V) orelse io_lib:printable_unicode_list(V);
is_valid(config, V) -> is_list(V) orelse is_map(V);
is_valid({one_of, Values}, V) -> lists:member(V, Values).
