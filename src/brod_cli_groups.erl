%% @private `brod groups' and `brod commits'.
-module(brod_cli_groups).

-export([groups/2, commits/2]).
-export([offsets/1]).

-include("brod_int.hrl").

-define(CLIENT, brod_cli).

%% @doc List, describe, reset and delete groups.
-spec groups(map(), [string()]) -> ok | {error, term()}.
groups(Options, Words) ->
  {Endpoints, Config} = brod_cli_cluster:target(Options),
  case Words of
    ["list" | _] ->
      {ok, _} = brod_cli_cluster:must(brod_cli_cluster:metadata(Endpoints, [], Config), "no metadata"),
      All = [{iolist_to_binary([brod_engine:to_binary(H), ":", integer_to_list(P)]), Groups}
             || {{H, P}, Groups} <- brod:list_all_groups(Endpoints, Config)],
      ok = brod_cli_output:rows(Options, [group, protocol, broker],
                                [[Id, Type, Broker]
                                 || {Broker, Groups} <- All, is_list(Groups), #brod_cg{id = Id, protocol_type = Type} <- Groups]),
      %% What the others tell is not all there is.
      case [{Broker, Reason} || {Broker, {error, Reason}} <- All] of
        [] -> ok;
        [{Broker, Reason} | _] ->
          {error, iolist_to_binary(["the groups of ", Broker, " are missing: ", brod_cli_output:reason(Reason)])}
      end;
    ["describe", Group] ->
      Coordinator = brod_cli_cluster:coordinator(Endpoints, Config, Group),
      Id = brod_cli_cluster:text(Group),
      case brod:describe_groups(Coordinator, Config, [Id]) of
        {ok, [#{group_state := <<"Dead">>} = Described]} ->
          case is_listed(Coordinator, Config, Id) of
            true -> {error, iolist_to_binary([Id, " is a share group, or one whose partitions the brokers deal out: "
                                                  "kafka-share-groups.sh or kafka-consumer-groups.sh describes it"])};
            false -> described(Options, Id, Described)
          end;
        {ok, [Described]} -> described(Options, Id, Described);
        {ok, Other} -> {error, Other};
        Error -> Error
      end;
    ["lag", Group] -> lag(Options, Group);
    ["reset", Group] -> reset(Options, Group, Endpoints, Config);
    ["delete", Group] ->
      Coordinator = brod_cli_cluster:coordinator(Endpoints, Config, Group),
      Fields = #{groups_names => [brod_cli_cluster:text(Group)]},
      case brod_cli_cluster:ask(Coordinator, Config, delete_groups, 1, Fields) of
        {ok, #{results := Answers}} -> brod_cli_cluster:all_done(Answers, 1);
        Other -> Other
      end;
    _ -> brod_cli_commands:usage("groups")
  end.

described(Options, Group, #{group_state := State, members := Members} = Described) ->
  Protocol = maps:get(protocol_data, Described, <<>>),
  Rows = [[M, C, H] || #{member_id := M, client_id := C, client_host := H} <- Members],
  case Options of
    %% A group without members has a state, too.
    #{"json" := true} ->
      Fields = [maps:from_list(lists:zip([member, client, host], Row)) || Row <- Rows],
      brod_cli_output:write([brod_cli_output:json(#{group => Group, state => State, protocol => Protocol,
                                                    members => Fields}), "\n"]);
    _ ->
      brod_cli_output:print("~ts is ~ts, ~b members, protocol ~ts~n", [Group, State, length(Members), Protocol]),
      brod_cli_output:rows(Options, [member, client, host], Rows)
  end.

%% Brokers call what is described by other requests dead, as if it were not there.
is_listed(Coordinator, Config, Group) ->
  {ok, Groups} = brod_cli_cluster:must(brod:list_groups(Coordinator, Config), Group),
  lists:keymember(Group, #brod_cg.id, Groups).

%% @doc What a group has committed, and how far that is from the end.
-spec commits(map(), [string()]) -> ok | {error, term()}.
commits(#{"group" := Group} = Options, _Words) -> show(Options, Group, fun committed/1);
commits(Options, [Group]) -> show(Options, Group, fun committed/1);
commits(_Options, _Words) -> throw({usage, "commits: --group G"}).

lag(Options, Group) -> show(Options, Group, fun read/1).

show(Options, Group, Which) ->
  brod_cli_cluster:with_client(Options, fun() ->
    Rows = [{T, P, O, brod_cli_cluster:resolve(T, P, latest)} || {T, P, O} <- Which(Group)],
    Rows =/= [] orelse is_map_key("json", Options) orelse brod_cli_output:note(["the group ", Group, " has committed nothing, if there is one"]),
    brod_cli_output:rows(Options, [group, topic, partition, committed, 'end', lag],
                         [[brod_cli_cluster:text(Group), T, P, shown(O, Options), End, shown(behind(O, End), Options)]
                          || {T, P, O, End} <- Rows])
  end).

shown(none, #{"json" := true}) -> null;
shown(Value, _Options) -> Value.

%% Where nothing is committed it is up to the members where they begin.
behind(none, _End) -> none;
behind(Committed, End) -> End - Committed.

%% All partitions of the topics of which the group has committed something: one that is left out would look as if nothing
%% were to be done there.
read(Group) ->
  Committed = committed(Group),
  ByPartition = maps:from_list([{{T, P}, O} || {T, P, O} <- Committed]),
  [{T, P, maps:get({T, P}, ByPartition, none)}
   || T <- lists:usort([T || {T, _, _} <- Committed]), P <- brod_cli_cluster:partitions(T, #{})].

committed(Group) ->
  {ok, Topics} = brod_cli_cluster:must(brod:fetch_committed_offsets(?CLIENT, brod_cli_cluster:text(Group)), Group),
  offsets(Topics).

%% @doc The committed offsets of an answer. One that cannot be told is not one that is not there.
-spec offsets([map()]) -> [{brod:topic(), brod:partition(), brod:offset()}].
offsets(Topics) ->
  All = lists:sort([{T, P, O, Code} || #{name := T, partitions := Ps} <- Topics,
                                       #{partition_index := P, committed_offset := O, error_code := Code} <- Ps]),
  case [Untold || {_, _, _, Code} = Untold <- All, Code =/= no_error] of
    [] -> [{T, P, O} || {T, P, O, _} <- All, O >= 0];
    [{T, P, _, Code} | _] -> throw({failed, io_lib:format("~ts, partition ~b: ~ts", [T, P, brod_cli_output:reason(Code)])})
  end.

reset(Options, Group, Endpoints, Config) ->
  Topic = brod_cli_cluster:need_text("topic", Options),
  To = brod_cli_cluster:need("to", Options),
  brod_cli_cluster:with_client(Options, fun() ->
    Before = maps:from_list([{P, O} || {T, P, O} <- committed(Group), T =:= Topic]),
    Rows = [{P, maps:get(P, Before, none)} || P <- brod_cli_cluster:partitions(Topic, Options)],
    New = [{P, O, moved(Topic, P, To, O)} || {P, O} <- Rows],
    ok = brod_cli_output:rows(Options, [topic, partition, committed, new], [[Topic, P, O, N] || {P, O, N} <- New]),
    case Options of
      #{"execute" := true} ->
        Coordinator = brod_cli_cluster:coordinator(Endpoints, Config, Group),
        commit(Coordinator, Config, brod_cli_cluster:text(Group), Topic, [{P, N} || {P, _, N} <- New]);
      _ ->
        brod_cli_output:note("nothing was changed: --execute does it")
    end
  end).

%% As a member of no generation, which a coordinator takes while the group is empty.
commit(Coordinator, Config, Group, Topic, Offsets) ->
  Partitions = [#{partition_index => P, committed_offset => O, committed_metadata => <<>>} || {P, O} <- Offsets],
  Fields = #{group_id => Group, generation_id => -1, member_id => <<>>, retention_time_ms => -1,
             topics => [#{name => Topic, partitions => Partitions}]},
  case brod_cli_cluster:ask(Coordinator, Config, offset_commit, 2, Fields) of
    {ok, #{topics := Answers}} ->
      case brod_cli_cluster:all_done([P || #{partitions := Ps} <- Answers, P <- Ps], length(Offsets)) of
        {error, unknown_member_id} -> {error, <<"the group has members: stop them first">>};
        Result -> Result
      end;
    {error, _} = Error -> Error
  end.

%% Never outside of what the partition holds.
moved(Topic, P, To, Before) ->
  Earliest = brod_cli_cluster:resolve(Topic, P, earliest),
  Latest = brod_cli_cluster:resolve(Topic, P, latest),
  Wanted = case To of
             [Sign | _] when Sign =:= $+; Sign =:= $- ->
               case Before of none -> Latest; _ -> Before end + brod_cli_cluster:number(To);
             _ -> brod_cli_cluster:position(Topic, P, To)
           end,
  min(Latest, max(Earliest, Wanted)).
