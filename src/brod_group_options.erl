%% @doc The options of a group member (`group_config'): defaults, checks, and what the engine is
%% given.
-module(brod_group_options).

-export([new/1, engine_config/2, begin_offset/2]).

-export_type([options/0]).

-type options() :: #{atom() => term()}.

%% How often a leader looks whether topics have gained partitions.
-define(GROWTH_CHECK_MS, 60000).
-define(DEFAULTS,
        #{partition_assignment_strategy => roundrobin_v2,
          session_timeout_seconds => 30,
          rebalance_timeout_seconds => 30,
          %% Members learn of a rebalance by a heartbeat, so its pace decides how long one takes.
          heartbeat_rate_seconds => 1,
          max_rejoin_attempts => 5,
          rejoin_delay_seconds => 1,
          offset_commit_policy => commit_to_kafka_v2,
          offset_commit_interval_seconds => 5,
          offset_retention_seconds => undefined,
          protocol_name => undefined,
          group_instance_id => undefined}).

%% @doc Options from what the user gave. `undefined' counts as not given; unknown keys are left out.
-spec new([term()] | map()) -> {ok, options()} | {error, {bad_option, atom(), term()}}.
new(Given) when is_map(Given) -> new(maps:to_list(Given));
new(Given) ->
  Set = [{K, V} || {K, V} <- proplists:unfold(Given), V =/= undefined, is_map_key(K, ?DEFAULTS)],
  case [{bad_option, K, V} || {K, V} <- Set, not is_valid(K, V)] of
    [] -> {ok, maps:merge(?DEFAULTS, maps:from_list(lists:reverse(Set)))};
    [Bad | _] -> {error, Bad}
  end.

%% @doc The config of `brod_nif:group_open/2'.
-spec engine_config(brod:group_id(), options()) -> map().
engine_config(GroupId, Options) ->
  #{partition_assignment_strategy := Strategy, offset_commit_policy := Policy} = Options,
  #{group_id => GroupId,
    session_timeout_ms => ms(session_timeout_seconds, Options),
    rebalance_timeout_ms => ms(rebalance_timeout_seconds, Options),
    heartbeat_interval_ms => ms(heartbeat_rate_seconds, Options),
    max_rejoin_attempts => maps:get(max_rejoin_attempts, Options),
    rejoin_delay_ms => ms(rejoin_delay_seconds, Options),
    retention_ms => retention_ms(maps:get(offset_retention_seconds, Options)),
    group_instance_id => maps:get(group_instance_id, Options),
    protocols => protocols(maps:get(protocol_name, Options), Strategy),
    assignment => case Strategy of
                    callback_implemented -> owner;
                    roundrobin_v2 -> engine
                  end,
    fetch_offsets => Policy =:= commit_to_kafka_v2,
    growth_check_interval_ms => application:get_env(brod, partition_check_interval_ms,
                                                    ?GROWTH_CHECK_MS)}.

%% @doc Where a member begins to read a partition: at the committed offset, or else where the consumer
%% options say. Consumers are shared by what runs on a client, so one may have been read from before,
%% and would go on from there. `undefined': let it, or have it begin at the end; to skip what came
%% since it was last read would lose messages.
-spec begin_offset(undefined | brod_subscriptions:begin_offset(), brod:consumer_config()) ->
        undefined | brod_subscriptions:begin_offset().
begin_offset(undefined, ConsumerConfig) ->
  case brod_options:to_map(ConsumerConfig) of
    #{begin_offset := Latest} when Latest =:= latest; Latest =:= -1 -> undefined;
    #{begin_offset := Begin} -> Begin;
    #{} -> undefined
  end;
begin_offset(Committed, _ConsumerConfig) ->
  Committed.

ms(Key, Options) -> round(maps:get(Key, Options) * 1000).

retention_ms(undefined) -> -1;
retention_ms(-1) -> -1;
retention_ms(Seconds) -> round(Seconds * 1000).

%% Beside our own name the member offers what other clients know, so that it can share a group with
%% them: a group uses a protocol that all its members offer.
protocols(undefined, roundrobin_v2) -> [<<"roundrobin_v2">>, <<"roundrobin">>, <<"range">>];
protocols(undefined, Strategy) -> [atom_to_binary(Strategy)];
protocols(Name, _Strategy) when is_atom(Name) -> [atom_to_binary(Name)];
protocols(Name, _Strategy) -> [unicode:characters_to_binary(Name)].

is_valid(partition_assignment_strategy, V) -> V =:= roundrobin_v2 orelse V =:= callback_implemented;
is_valid(offset_commit_policy, V) -> V =:= commit_to_kafka_v2 orelse V =:= consumer_managed;
is_valid(max_rejoin_attempts, V) -> is_integer(V) andalso V >= 0;
is_valid(rejoin_delay_seconds, V) -> is_number(V) andalso V >= 0;
is_valid(offset_retention_seconds, V) -> V =:= -1 orelse (is_number(V) andalso V >= 0);
is_valid(protocol_name, V) -> is_atom(V) orelse is_binary(V) orelse io_lib:printable_list(V);
is_valid(group_instance_id, V) -> V =:= null orelse is_binary(V);
is_valid(_Seconds, V) -> is_number(V) andalso V > 0.
