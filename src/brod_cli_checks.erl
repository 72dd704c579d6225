%% @private What `brod doctor' asks brokers beyond the way to them: what the user may do, and whose clock is wrong.
-module(brod_cli_checks).

-export([permissions/3, clock/3]).
-export([topic_permissions/1, clock_findings/2]).

-type finding() :: {ok | bad, io:format(), [term()]}.
-export_type([finding/0]).

-define(METADATA_VSN, 8).
-define(DESCRIBE_GROUPS_VSN, 3).
-define(LIST_OFFSETS_VSN, 2).
%% By AclOperation, the bit of each in what brokers answer (KIP-430).
-define(OPERATIONS, [{3, read}, {4, write}, {5, create}, {6, delete}, {7, alter}, {8, describe}, {9, cluster_action},
                     {10, describe_configs}, {11, alter_configs}, {12, idempotent_write}]).
-define(UNKNOWN, -16#80000000).
%% What two clocks may differ by, with the time that asking takes.
-define(SKEW_MS, 60000).
-define(MAX_PARTITIONS, 2000).
-define(GROUP_OFFSETS, <<"__consumer_offsets">>).

%% Permissions

%% @doc What the user may do: with the topic and the group that the options name, else with all topics together.
-spec permissions(map(), [brod:endpoint()], brod_cli_cluster:config()) -> [finding()].
permissions(Options, Endpoints, Config) ->
  Named = case Options of #{"topic" := Name} -> [#{name => brod_cli_cluster:text(Name)}]; _ -> undefined end,
  Fields = #{topics => Named, allow_auto_topic_creation => false, include_cluster_authorized_operations => false,
             include_topic_authorized_operations => true},
  Topics = case brod_cli_cluster:answer(hd(Endpoints), Config, metadata, ?METADATA_VSN, Fields) of
             {ok, #{topics := [Topic]}} when is_list(Named) -> topic_permissions(Topic);
             {ok, #{topics := All}} -> together([Operations || #{is_internal := false, topic_authorized_operations := Operations} <- All]);
             {error, _} -> []
           end,
  Topics ++ case Options of #{"group" := Group} -> group(Group, Endpoints, Config); _ -> [] end.

%% @doc What a topic that somebody has asked about lets them do.
-spec topic_permissions(map()) -> [finding()].
topic_permissions(#{name := Name, error_code := Code}) when Code =/= no_error ->
  Hint = case Code of
           topic_authorization_failed -> ": this user needs Describe, and Read or Write (ACLs)";
           unknown_topic_or_partition -> ": it does not exist, or this user may not see it (ACLs)";
           _ -> ""
         end,
  [{bad, "topic ~ts: ~s~s", [Name, Code, Hint]}];
topic_permissions(#{name := Name, topic_authorized_operations := Operations}) ->
  case allowed(Operations) of
    unknown -> [];
    Allowed -> told(["topic ", Name], Allowed, [read, write])
  end.

told(What, Allowed, Useful) ->
  case [O || O <- Useful, lists:member(O, Allowed)] of
    [] -> [{bad, "~ts: this user may not ~s (ACLs)", [What, words(Useful, " or ")]}];
    Useful -> [{ok, "~ts: this user may ~s", [What, words(Useful, " and ")]}];
    Some -> [{ok, "~ts: this user may ~s, but not ~s (ACLs)", [What, words(Some, " and "), words(Useful -- Some, " or ")]}]
  end.

words(Operations, Last) -> lists:join(Last, [atom_to_list(O) || O <- Operations]).

together(Bits) ->
  Known = [Allowed || Allowed <- [allowed(B) || B <- Bits], is_list(Allowed)],
  Count = fun(Operation) -> length([1 || Allowed <- Known, lists:member(Operation, Allowed)]) end,
  [{ok, "of ~b topics this user may read ~b and write ~b (--topic, --group: of one)", [length(Known), Count(read), Count(write)]}
   || Known =/= []].

allowed(?UNKNOWN) -> unknown;
allowed(Bits) -> [Operation || {Bit, Operation} <- ?OPERATIONS, Bits band (1 bsl Bit) =/= 0].

group(Group, Endpoints, Config) ->
  case brod_cli_cluster:find_coordinator(Endpoints, Config, Group) of
    {ok, Coordinator} -> group_permissions(Group, Coordinator, Config);
    {error, group_authorization_failed = Code} -> refused(Group, Code);
    {error, Reason} -> [{bad, "group ~ts has no coordinator: ~ts", [Group, brod_cli_output:reason(Reason)]}]
  end.

group_permissions(Group, Coordinator, Config) ->
  Fields = #{groups => [brod_cli_cluster:text(Group)], include_authorized_operations => true},
  case brod_cli_cluster:answer(Coordinator, Config, describe_groups, ?DESCRIBE_GROUPS_VSN, Fields) of
    {ok, #{groups := [#{error_code := no_error, authorized_operations := Operations}]}} ->
      case allowed(Operations) of
        unknown -> [];
        Allowed -> told(["group ", brod_cli_cluster:text(Group)], Allowed, [read])
      end;
    {ok, #{groups := [#{error_code := group_authorization_failed = Code}]}} -> refused(Group, Code);
    _ -> []
  end.

refused(Group, Code) -> [{bad, "group ~ts: ~s: this user needs Read and Describe (ACLs)", [Group, Code]}].

%% Clock

%% @doc Kafka tells nobody the time. What it has stored has one, though, and none of it can be of the future: so a clock here
%% that is slow is found, as one that is fast is not.
-spec clock(map(), brod_cli_cluster:config(), Now :: integer()) -> [finding()].
clock(#{brokers := Brokers, topics := Topics}, Config, Now) ->
  Places = [{Leader, Name, P} || #{name := Name, error_code := no_error, partitions := Ps} <- Topics,
                                 #{partition_index := P, leader_id := Leader} <- Ps, Leader >= 0],
  ByLeader = maps:groups_from_list(fun({Leader, _, _}) -> Leader end, lists:sublist(Places, ?MAX_PARTITIONS)),
  Found = [Stored || #{node_id := Id, host := Host, port := Port} <- Brokers, #{Id := Led} <- [ByLeader],
                     Stored <- stored_after(Now + ?SKEW_MS, {Host, Port}, Led, Config)],
  clock_findings(Found, Now).

stored_after(Time, Endpoint, Led, Config) ->
  ByTopic = maps:groups_from_list(fun({_, Name, _}) -> Name end, fun({_, _, P}) -> P end, Led),
  Topics = [#{topic => Name, partitions => [#{partition => P, timestamp => Time} || P <- Ps]} || {Name, Ps} <- maps:to_list(ByTopic)],
  Fields = #{replica_id => -1, isolation_level => 0, topics => Topics},
  case brod_cli_cluster:answer(Endpoint, Config, list_offsets, ?LIST_OFFSETS_VSN, Fields) of
    {ok, #{responses := Answers}} ->
      [{Name, P, Stored} || #{topic := Name, partition_responses := Ps} <- Answers,
                            #{partition := P, error_code := no_error, offset := Offset, timestamp := Stored} <- Ps, Offset >= 0];
    {error, _} -> []
  end.

%% @doc What messages of the future say.
-spec clock_findings([{brod:topic(), brod:partition(), Time :: integer()}], Now :: integer()) -> [finding()].
clock_findings([], _Now) -> [];
clock_findings(Found, Now) ->
  {Topic, P, Time} = lists:last(lists:keysort(3, Found)),
  Ahead = max(Time - Now, 0) div 1000,
  case lists:keymember(?GROUP_OFFSETS, 1, Found) of
    %% Brokers themselves write the time there.
    true -> [{bad, "the clock of this machine is slow: brokers have stored offsets ~b s from now", [Ahead]}];
    false -> [{bad, "~ts, partition ~b, has a message of ~b s from now: the clock of this machine is slow, or that of a producer fast",
               [Topic, P, Ahead]}]
  end.
