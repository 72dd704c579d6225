%% @private The options of a group member (`group_config'): defaults, checks, and what the engine is
%% given.
-module(brod_group_options).

-export([new/1, warn/1, hint/2, callbacks/1, engine_config/3, begin_offset/2]).

-export_type([options/0]).

-include("brod_int.hrl").

-type options() :: #{atom() => term()}.

-define(MANY_ATTEMPTS, 16#7fffffff).
%% Where there is no default.
-define(UNSET, #{offset_retention_seconds => undefined, protocol_name => undefined, group_instance_id => undefined}).

%% @doc Options from what the user gave, a proplist or a map. `undefined' counts as not given; unknown
%% keys are left out. What only matters later, and cannot be, is replaced: warn/1 tells.
-spec new(term()) -> {ok, options()} | {error, {bad_option, atom(), term()}}.
new(Given) ->
  case check(Given) of
    {ok, Options, _Replaced} -> {ok, Options};
    {error, _} = Error -> Error
  end.

%% @doc Logs what of the options is not used as it was given.
-spec warn(term()) -> ok.
warn(Given) ->
  case check(Given) of
    {ok, Options, Replaced} ->
      ok = brod_options:warn_unknown(group, Given),
      ok = warn_slow_heartbeat(Options),
      lists:foreach(fun({Key, Value, Used}) ->
                        ?BROD_LOG_WARNING("group option ~p cannot be ~9999P, ~9999p is used instead",
                                          [Key, Value, 12, Used])
                    end, Replaced);
    {error, _} ->
      ok
  end.

check(Given) ->
  case brod_option_table:check(group, Given) of
    {ok, Options, Replaced} ->
      {Beating, Slower} = heartbeat(maps:merge(?UNSET, Options)),
      {ok, Beating, Slower ++ Replaced};
    {error, {bad_option, group, Given}} ->
      {error, {bad_option, group_config, Given}};
    {error, Reason} ->
      {error, Reason}
  end.

%% A member that shows itself less often than the session lasts is thrown out again and again.
heartbeat(#{heartbeat_rate_seconds := Rate, session_timeout_seconds := Session} = Options)
  when Rate >= Session ->
  Used = Session / 3,
  {Options#{heartbeat_rate_seconds := Used}, [{heartbeat_rate_seconds, Rate, Used}]};
heartbeat(Options) ->
  {Options, []}.

%% With two heartbeats lost the third one has to be in time.
warn_slow_heartbeat(#{heartbeat_rate_seconds := Rate, session_timeout_seconds := Session}) when Rate * 3 > Session ->
  ?BROD_LOG_WARNING("group options: heartbeat_rate_seconds ~9999p is more than a third of session_timeout_seconds ~9999p: "
                    "a member may be thrown out when one or two heartbeats are late", [Rate, Session]);
warn_slow_heartbeat(_Options) ->
  ok.

%% @doc What is to be done where a coordinator refuses a member or throws it out, as the end of a sentence; empty where
%% nothing is known.
-spec hint(term(), options()) -> iodata().
hint(invalid_session_timeout, #{session_timeout_seconds := Seconds}) ->
  io_lib:format(" (session_timeout_seconds is ~0p, and the broker allows what lies between its group.min.session.timeout.ms and "
                "group.max.session.timeout.ms: 6 and 1800 seconds unless configured otherwise)", [Seconds]);
hint(inconsistent_group_protocol, #{protocol_name := Name, partition_assignment_strategy := Strategy}) ->
  Offered = lists:join(", ", protocols(Name, Strategy)),
  io_lib:format(" (it is a share group, or its members use other protocols than ~ts: take another group_id, or give "
                "protocol_name and partition_assignment_strategy as they have them)", [Offered]);
hint(fenced_instance_id, #{group_instance_id := Id, fenced_member_action := Action}) ->
  io_lib:format(" (another member has the group_instance_id ~ts: ~ts)",
                [Id, case Action of
                       retry -> "this one takes the place back in ten seconds or more; one of both has to go";
                       stop -> "this one stops"
                     end]);
hint(group_authorization_failed, _Options) ->
  " (the user needs the ACL Read on the group)";
hint(topic_authorization_failed, _Options) ->
  " (the user needs the ACLs Describe and Read on the topics)";
hint(_Reason, _Options) ->
  "".

%% @doc What a member module has to export with these options.
-spec callbacks(options()) -> [offsets | assign].
callbacks(#{partition_assignment_strategy := Strategy, offset_commit_policy := Policy}) ->
  [offsets || Policy =:= consumer_managed] ++ [assign || Strategy =:= callback_implemented].

%% @doc The config of `brod_nif:group_open/2'; `CreateTopics': whether the client may.
-spec engine_config(brod:group_id(), boolean(), options()) -> map().
engine_config(GroupId, CreateTopics, Options) ->
  #{partition_assignment_strategy := Strategy, offset_commit_policy := Policy} = Options,
  #{group_id => GroupId,
    session_timeout_ms => ms(session_timeout_seconds, Options),
    rebalance_timeout_ms => ms(rebalance_timeout_seconds, Options),
    heartbeat_interval_ms => ms(heartbeat_rate_seconds, Options),
    max_rejoin_attempts => case maps:get(max_rejoin_attempts, Options) of
                             infinity -> ?MANY_ATTEMPTS;
                             Attempts -> min(Attempts, ?MANY_ATTEMPTS)
                           end,
    rejoin_delay_ms => ms(rejoin_delay_seconds, Options),
    retention_ms => retention_ms(maps:get(offset_retention_seconds, Options)),
    group_instance_id => maps:get(group_instance_id, Options),
    protocols => protocols(maps:get(protocol_name, Options), Strategy),
    assignment => case Strategy of
                    callback_implemented -> owner;
                    roundrobin_v2 -> engine
                  end,
    fetch_offsets => Policy =:= commit_to_kafka_v2,
    create_topics => CreateTopics,
    growth_check_interval_ms => brod_option_table:environment(partition_check_interval_ms)}.

%% @doc Where a member begins to read a partition: at the committed offset, or else where the consumer
%% options say: `begin_offset', or without it the end of the log that `offset_reset_policy' resets to (as in brod from
%% 4.5.4 on). Consumers are shared by what runs on a client, so one may have been read from before,
%% and would go on from there. `undefined': let it, or have it begin at the end; to skip what came
%% since it was last read would lose messages.
-spec begin_offset(undefined | brod_subscriptions:begin_offset(), brod:consumer_config()) ->
        undefined | brod_subscriptions:begin_offset().
begin_offset(undefined, ConsumerConfig) ->
  case brod_options:to_map(ConsumerConfig) of
    #{begin_offset := Latest} when Latest =:= latest; Latest =:= -1 -> undefined;
    #{begin_offset := Begin} -> Begin;
    #{offset_reset_policy := reset_to_earliest} -> earliest;
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
