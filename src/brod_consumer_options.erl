%% @private The options of a consumer as the engine is given them, from what a start and a subscribe
%% name.
-module(brod_consumer_options).

-export([new/1, merge/2, warn_unusable/1]).

-include("brod_int.hrl").

-export_type([options/0]).

%% Every option that concerns a partition, with a checked value.
-type options() :: #{atom() => term()}.

%% Those of the supervisors.
-define(NOT_OF_A_PARTITION, [partitions, topic_restart_delay_seconds, partition_restart_delay_seconds]).

%% Fixed when the consumer starts; a subscribe call that names them changes nothing.
-define(FIXED, [isolation_level, share_leader_conn]).

%% @doc Options of a consumer that starts. Those of its supervisor are left out.
-spec new(brod:consumer_config() | map()) -> {ok, options()} | {error, brod_options:error()}.
new(Given) ->
  update(maps:without(?NOT_OF_A_PARTITION, brod_option_table:defaults(consumer)), Given).

%% @doc What a subscribe call changes in options that are in force. What it cannot change, though it says so, is told in the log.
-spec merge(options(), brod:consumer_config() | map()) ->
        {ok, options()} | {error, brod_options:error()}.
merge(Options, Given) ->
  case update(Options, Given) of
    {ok, Wanted} ->
      Fixed = maps:with(?FIXED, Options),
      _ = [?BROD_LOG_WARNING("consumer option ~p stays ~p: it is fixed when the consumer starts", [Key, Value])
           || {Key, Value} <- maps:to_list(Fixed), map_get(Key, Wanted) =/= Value],
      {ok, maps:merge(Wanted, Fixed)};
    {error, _} = Error ->
      Error
  end.

%% @doc Tells in the log of values that nobody can use, and of what is used instead.
-spec warn_unusable(brod:consumer_config() | map()) -> ok.
warn_unusable(Given) ->
  Defaults = brod_option_table:defaults(consumer),
  lists:foreach(fun({Key, Value}) ->
                    ?BROD_LOG_WARNING("consumer option ~p cannot be ~9999P: ~p is used instead",
                                      [Key, Value, 12, map_get(Key, Defaults)])
                end, brod_options:unusable(Given)).

update(Options, Given) ->
  case brod_options:consumer(Given) of
    {ok, Checked} ->
      {ok, maps:merge(Options, maps:without(?NOT_OF_A_PARTITION, Checked))};
    {error, _} = Error ->
      Error
  end.
