%% @doc The options of a consumer: defaults, and what values they may have.
-module(brod_consumer_options).

-export([new/1, merge/2]).

-export_type([options/0]).

%% What the engine is given: every option that concerns a partition, with a checked value.
-type options() :: #{atom() => term()}.

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
          share_leader_conn => false}).

%% Fixed when the consumer starts; a subscribe call that names them changes nothing.
-define(FIXED, [isolation_level, share_leader_conn]).

%% @doc Options for a consumer that starts. Keys that are none of ours (those of the supervisor, or of
%% other clients) are left out.
-spec new([term()] | map()) -> {ok, options()} | {error, {bad_option, atom(), term()}}.
new(Given) ->
  update(?DEFAULTS, to_map(Given)).

%% @doc What a subscribe call changes: as `new/1' over options that are in force already.
-spec merge(options(), [term()] | map()) -> {ok, options()} | {error, {bad_option, atom(), term()}}.
merge(Options, Given) ->
  update(Options, maps:without(?FIXED, to_map(Given))).

%% The first occurrence of a key counts, as with proplists:get_value/2.
to_map(Map) when is_map(Map) -> Map;
to_map(List) when is_list(List) -> maps:from_list(lists:reverse(proplists:unfold(List))).

update(Options, Given) ->
  try {ok, maps:merge(Options, maps:map(fun checked/2, maps:with(maps:keys(?DEFAULTS), Given)))}
  catch throw:{bad_option, _, _} = Bad -> {error, Bad}
  end.

checked(begin_offset, -1) -> latest;
checked(begin_offset, -2) -> earliest;
checked(Key, Value) ->
  case is_valid(Key, Value) of
    true -> Value;
    false -> throw({bad_option, Key, Value})
  end.

is_valid(begin_offset, {timestamp, Ms}) -> is_integer(Ms) andalso Ms >= 0;
is_valid(begin_offset, Offset) when is_atom(Offset) -> lists:member(Offset, [earliest, latest]);
is_valid(offset_reset_policy, Policy) ->
  lists:member(Policy, [reset_by_subscriber, reset_to_earliest, reset_to_latest]);
is_valid(isolation_level, Level) -> lists:member(Level, [read_committed, read_uncommitted]);
is_valid(share_leader_conn, Bool) -> is_boolean(Bool);
is_valid(max_bytes, N) -> is_integer(N) andalso N > 0 andalso N < 1 bsl 31;
is_valid(Key, N) when Key =:= min_bytes; Key =:= max_wait_time ->
  is_integer(N) andalso N >= 0 andalso N < 1 bsl 31;
is_valid(_Key, N) -> is_integer(N) andalso N >= 0.
