%% @private Options of clients, connections, producers and consumers, by the table that brod_option_table is.
%% Input is a proplist (an atom `K' counts as `{K, true}') or a map. Unknown keys are ignored, so
%% that configurations written for other versions keep working; where users give options,
%% warn_unknown/2 tells them. A value that a known key cannot have is an error. `undefined' counts
%% as not set, as does Elixir's `nil', which a configuration has where nobody has set anything, and as
%% a timeout `infinity' is the longest one there is.
-module(brod_options).

-export([client/1, connection/1, producer/1, consumer/1, connection_keys/0]).
-export([known/1, unknown/2]).
-export([to_map/1, given/3, given_at/3, is_config/1, is_text/1, is_id/1, unusable/1, engine_config/1, hide_secrets/1, warn_unknown/2, warn_unknown_once/2, describe/1]).

-export_type([error/0]).

-include("brod_int.hrl").

%% That are told in one line: what somebody took for options may be something else, and large.
-define(MOST_NAMES, 10).
%% In bytes.
-define(LONGEST_ID, 16#7fff).

-type error() :: {bad_option, Key :: term(), Value :: term()}.

%% @doc Check a client's options. The result has every key that has a default.
-spec client(brod:client_config() | map()) -> {ok, map()} | {error, error()}.
client(Config) ->
  case secured(check(client, Config)) of
    {ok, #{default_producer_config := Producers} = Options} ->
      case brod_producer_options:check(Producers) of
        {ok, _} -> {ok, Options};
        {error, Reason} -> {error, Reason}
      end;
    {error, Reason} ->
      {error, Reason}
  end.

%% @doc Check the options of a connection for one call (`brod:conn_config()').
-spec connection(brod:conn_config()) -> {ok, map()} | {error, error()}.
connection(Config) ->
  secured(check(connection, Config)).

check(Level, Config) ->
  case brod_option_table:check(Level, Config) of
    {ok, Options, []} -> {ok, Options};
    {error, Reason} -> {error, Reason}
  end.

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
hide_secrets([Option | Config]) -> [hide_secret(Option) | hide_secrets(Config)];
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
  case brod_option_table:check_given(consumer, Config) of
    {ok, Options, _Replaced} -> {ok, Options};
    {error, Reason} -> {error, Reason}
  end.

%% @doc What is left out of a consumer's options because nobody could use it: values that would
%% matter only later, if ever.
-spec unusable(brod:consumer_config() | map()) -> [{Key :: atom(), Value :: term()}].
unusable(Config) ->
  case brod_option_table:check_given(consumer, Config) of
    {ok, _Options, Replaced} -> [{Key, Value} || {Key, Value, _Used} <- Replaced];
    {error, _} -> []
  end.

%% @doc Keys of a connection's options.
-spec connection_keys() -> [atom()].
connection_keys() -> brod_option_table:names(connection).

%% @doc Whether it may be somebody's options: a map, or a list that ends as lists do.
-spec is_config(term()) -> boolean().
is_config(Config) -> is_map(Config) orelse is_proper(Config).

is_proper(List) -> try length(List) of _ -> true catch error:badarg -> false end.

%% @doc Whether it can be told to a broker: an atom, a string, or a binary of UTF-8.
-spec is_text(term()) -> boolean().
is_text(Text) when is_binary(Text) -> is_binary(unicode:characters_to_binary(Text));
is_text(Text) -> is_atom(Text) orelse io_lib:printable_unicode_list(Text).

%% @doc Whether it can be the id of a group, or of a transaction: brokers read no longer ones, and close the connection.
-spec is_id(term()) -> boolean().
is_id(Id) -> is_binary(Id) andalso Id =/= <<>> andalso byte_size(Id) =< ?LONGEST_ID andalso is_text(Id).

%% @doc A proplist or a map as a map. Of a key that is given twice the first value counts.
-spec to_map(list() | map()) -> map().
to_map(Config) when is_map(Config) ->
  Config;
to_map(Config) ->
  is_config(Config) orelse brod_args:raise({bad_options, Config}, "a list or a map of options", Config),
  maps:from_list([case E of {K, V} -> {K, V}; K -> {K, true} end || E <- lists:reverse(Config)]).

%% @doc One of the options, or the default where it is not given, or is `undefined' or `nil'.
-spec given(atom(), list() | map(), term()) -> term().
given(Key, Config, Default) ->
  case to_map(Config) of
    #{Key := Value} when Value =/= undefined, Value =/= nil -> Value;
    _ -> Default
  end.

%% @doc As {@link given/3}, with the default that the table of options has.
-spec given_at(brod_option_table:level(), atom(), list() | map()) -> term().
given_at(Level, Key, Config) ->
  {ok, Default} = brod_option_table:default(Level, Key),
  given(Key, Config, Default).

%% @doc Log which options nobody reads, each with the known name that is nearest to it. Meant for where a user's options come
%% in, not for each process that reads them.
-spec warn_unknown(brod_option_table:level(), list() | map()) -> ok.
warn_unknown(Level, Config) ->
  Given = to_map(Config),
  ok = warn_unknown_socket_options(Given),
  case unknown(Given, known(Level)) of
    [] -> ok;
    Unknown ->
      ?BROD_LOG_WARNING("Unknown ~p options are ignored: ~ts",
                        [Level, lists:join(", ", [with_nearest(Key, Nearest) || {Key, Nearest} <- lists:sublist(Unknown, ?MOST_NAMES)] ++
                                                 [io_lib:format("and ~b more", [length(Unknown) - ?MOST_NAMES])
                                                  || length(Unknown) > ?MOST_NAMES])])
  end.

%% @doc As {@link warn_unknown/2}, but each name is told once as long as the application runs: for options that come with each
%% call. Libraries call for each partition of a group, with all that their users have given them.
-spec warn_unknown_once(brod_option_table:level(), list() | map()) -> ok.
warn_unknown_once(Level, Config) ->
  Known = known(Level),
  warn_unknown(Level, maps:filtermap(fun(Key, Value) -> untold(Level, Known, Key, Value) end, to_map(Config))).

untold(_Level, _Known, extra_sock_opts, [_ | _] = Options) ->
  {true, [Option || Option <- brod_socket_options:unknown(Options), is_told_first(socket, socket_option_name(Option))]};
untold(Level, Known, Key, _Value) ->
  not lists:member(Key, Known) andalso is_told_first(Level, Key).

socket_option_name(Option) when is_tuple(Option), tuple_size(Option) > 0 -> element(1, Option);
socket_option_name(Option) -> Option.

is_told_first(Level, Key) ->
  try ets:insert_new(?BROD_JOURNAL, {{told, Level, Key}}) catch error:badarg -> true end.

%% @doc An error about options, in words.
-spec describe(term()) -> unicode:chardata().
describe({bad_option, What, Value} = Reason) ->
  %% what was given for all options of one together
  case lists:member(What, [client, producer, consumer]) andalso not is_config(Value) of
    true -> io_lib:format("options are a list or a map, not ~0P: [] where there are none", [Value, 12]);
    false -> describe_one(Reason)
  end;
describe(Reason) ->
  io_lib:format("~0P", [Reason, 30]).

describe_one(Reason) ->
  [wrong(Reason), "; ",
   case brod_option_table:right(Reason) of
     {meant, Name} -> io_lib:format("did you mean ~p?", [Name]);
     {may_be, Text} -> ["it may be: ", Text];
     {see, Where} -> ["see ", Where]
   end].

wrong({bad_option, {Of, Name}, unknown}) -> io_lib:format("~p has no option ~0P", [Of, Name, 12]);
wrong({bad_option, {Of, Name}, missing}) -> io_lib:format("the option ~p of ~p is missing", [Name, Of]);
wrong({bad_option, {Of, Name}, not_supported}) -> io_lib:format("the engine does not have the option ~p of ~p", [Name, Of]);
wrong({bad_option, {Of, Name}, Why}) -> io_lib:format("the option ~p of ~p cannot be used: ~0P", [Name, Of, Why, 12]);
wrong({bad_option, sasl, {unknown_mechanism, Name}}) -> io_lib:format("sasl has no mechanism ~0P", [Name, 12]);
wrong({bad_option, sasl, Why}) -> io_lib:format("the option sasl cannot be used: ~0P", [Why, 12]);
wrong({bad_option, required_acks, Acks}) when Acks =:= 0; Acks =:= 1; Acks =:= none; Acks =:= leader_only ->
  io_lib:format("required_acks ~p contradicts enable_idempotence true", [Acks]);
wrong({bad_option, Name, Value}) -> io_lib:format("the option ~0P cannot be ~0P", [Name, 12, Value, 12]).

%% @doc The options of which nobody knows the name, each with the known name that is so near that it may be
%% meant.
-spec unknown(list() | map(), Known :: [atom()]) -> [{Key :: term(), Nearest :: undefined | atom()}].
unknown(Config, Known) ->
  [{Key, brod_option_table:nearest(Key, Known)} || Key <- lists:usort(maps:keys(to_map(Config))), not lists:member(Key, Known)].

warn_unknown_socket_options(#{extra_sock_opts := [_ | _] = Options}) ->
  case brod_socket_options:unknown(Options) of
    [] -> ok;
    Unknown -> ?BROD_LOG_WARNING("Socket options that the engine does not know are ignored: ~9999P", [Unknown, 30])
  end;
warn_unknown_socket_options(_) ->
  ok.

%% @doc Names of options. A connection may be given those of a client, too.
-spec known(brod_option_table:level()) -> [atom()].
known(connection) -> known(client);
known(Level) -> brod_option_table:names(Level).

with_nearest(Key, undefined) when is_atom(Key) -> io_lib:format("~p", [Key]);
with_nearest(Key, undefined) -> io_lib:format("~0P", [Key, 8]);
with_nearest(Key, Nearest) -> io_lib:format("~p (did you mean ~p?)", [Key, Nearest]).

%% @doc What the engine is told by checked client or connection options. It has no defaults of its own:
%% every key is there, `undefined' where nothing is set.
-spec engine_config(map()) -> map().
engine_config(Options) ->
  All = #{client_id := Id, extra_sock_opts := SocketOptions} =
    maps:merge(engine_defaults(), cool_down(Options)),
  Config = maps:with([connect_timeout, request_timeout, metadata_timeout, metadata_max_age,
                      reconnect_backoff, reconnect_backoff_max, buffer_bytes, fetch_buffer_bytes, rack_id,
                      query_api_versions, connections_max_idle_ms, enable_metrics_push], All),
  Config#{client_id => brod_engine:to_binary(Id),
          socket => brod_socket_options:engine(SocketOptions),
          tls => tls(All),
          engine_threads => brod_option_table:environment(engine_threads)}.

tls(#{ssl := #{} = Checked}) -> brod_ssl_options:engine(Checked);
tls(_Options) -> undefined.

%% Of what a connection has no option for, too.
engine_defaults() ->
  maps:merge(brod_option_table:defaults(client),
             #{client_id => <<"brod">>, enable_metrics_push => false, metadata_timeout => 5000, reconnect_backoff => 50, reconnect_backoff_max => 1000}).

%% brod's pause between two attempts to connect is the engine's smallest backoff.
cool_down(#{reconnect_backoff := _} = Options) -> Options;
cool_down(#{reconnect_cool_down_seconds := S} = Options) when S > 0 ->
  Ms = ceil(S * 1000),
  Options#{reconnect_backoff => Ms,
           reconnect_backoff_max => max(Ms, maps:get(reconnect_backoff_max, Options, Ms))};
cool_down(Options) -> Options.
