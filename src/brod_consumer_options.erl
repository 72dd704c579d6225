%% @private The options of a consumer as the engine is given them, from what a start and a subscribe
%% name.
-module(brod_consumer_options).

-export([new/1, merge/2, warn_unusable/1]).

-include("brod_int.hrl").

-export_type([options/0]).

%% Every option that concerns a partition, with a checked value.
-type options() :: #{atom() => term()}.

%% max_batch_bytes: what one batch may unpack to, and one message take with its headers.
-define(DEFAULTS,
        #{begin_offset => latest,
          min_bytes => 0,
          max_bytes => 1048576,
          max_wait_time => 10000,
          sleep_timeout => 1000,
          prefetch_count => 10,
          prefetch_bytes => 102400,
          offset_reset_policy => reset_by_subscriber,
          size_stat_window => 5,
          isolation_level => read_committed,
          share_leader_conn => false,
          max_batch_bytes => 268435456,
          share_fetched_memory => false}).

%% Fixed when the consumer starts; a subscribe call that names them changes nothing.
-define(FIXED, [isolation_level, share_leader_conn]).

%% @doc Options of a consumer that starts. Those of its supervisor are left out.
-spec new(brod:consumer_config() | map()) -> {ok, options()} | {error, brod_options:error()}.
new(Given) ->
  update(?DEFAULTS, Given, []).

%% @doc What a subscribe call changes in options that are in force.
-spec merge(options(), brod:consumer_config() | map()) ->
        {ok, options()} | {error, brod_options:error()}.
merge(Options, Given) ->
  update(Options, Given, ?FIXED).

%% @doc Tells in the log of values that nobody can use, and of what is used instead.
-spec warn_unusable(brod:consumer_config() | map()) -> ok.
warn_unusable(Given) ->
  lists:foreach(fun({Key, Value}) ->
                    ?BROD_LOG_WARNING("consumer option ~p cannot be ~0P: ~p is used instead",
                                      [Key, Value, 12, map_get(Key, ?DEFAULTS)])
                end, brod_options:unusable(Given)).

update(Options, Given, Without) ->
  case brod_options:consumer(Given) of
    {ok, Checked} ->
      Changes = maps:with(maps:keys(?DEFAULTS), maps:without(Without, Checked)),
      {ok, maps:map(fun plain/2, maps:merge(Options, Changes))};
    {error, _} = Error ->
      Error
  end.

plain(begin_offset, -1) -> latest;
plain(begin_offset, -2) -> earliest;
plain(_Key, Value) -> Value.
