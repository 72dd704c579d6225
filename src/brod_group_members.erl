%% @private Which members of groups this node has, and what they were assigned last. A transaction commits offsets in
%% the name of such a member (KIP-447).
-module(brod_group_members).

-export([enter/5, assigned/0, lookup/3, of_client/1, groups/0]).

-export_type([member/0]).

-type member() :: {brod:group_generation_id(), brod:group_member_id(), InstanceId :: binary() | undefined}.

%% @doc The calling process looks after a member on a client, of process `MemberPid', which has these partitions. That stays until
%% the calling process ends, also when the member has lost them: the broker tells that from the generation.
-spec enter(brod:client_id(), brod:group_id(), pid(),
            {brod:group_generation_id(), brod:group_member_id(), InstanceId :: term()}, [brod:topic_partition()]) -> ok.
enter(Client, GroupId, MemberPid, {Generation, MemberId, InstanceId}, Partitions) ->
  Static = case is_binary(InstanceId) of
             true -> InstanceId;
             false -> undefined
           end,
  brod_handles:put(group_member, {GroupId, MemberPid, {Generation, MemberId, Static},
                                  maps:from_list([{TP, []} || TP <- Partitions]), Client}).

%% @doc What the member that the calling process looks after was assigned last.
-spec assigned() -> [brod:topic_partition()].
assigned() ->
  case brod_handles:lookup(group_member, self()) of
    {ok, {_GroupId, _Pid, _Member, Assigned, _Client}} -> maps:keys(Assigned);
    false -> []
  end.

%% @doc The members that are on a client, with their group and what they have.
-spec of_client(brod:client_id()) -> [{brod:group_id(), member(), [brod:topic_partition()]}].
of_client(Client) ->
  [{GroupId, Member, lists:sort(maps:keys(Assigned))}
   || {GroupId, _Pid, Member, Assigned, _} <- brod_handles:all(group_member, {'_', '_', '_', '_', Client})].

%% @doc The groups that have members here.
-spec groups() -> [{brod:client_id(), brod:group_id()}].
groups() ->
  [{Client, GroupId} || {GroupId, _, _, _, Client} <- brod_handles:all(group_member, {'_', '_', '_', '_', '_'})].

%% @doc The member of a group that was assigned all of these partitions: that of the calling process or of one that
%% has started it, whatever others claim. For any other process it is the one that got them last, of those on the client
%% if there are any: a group of the same name may be another cluster's.
-spec lookup(brod:group_id(), [brod:topic_partition()], brod:client() | undefined) -> member() | undefined.
lookup(GroupId, Partitions, Client) ->
  Has = fun({_, _, _, Assigned, _}) -> lists:all(fun(TP) -> is_map_key(TP, Assigned) end, Partitions) end,
  Members = lists:filter(Has, brod_handles:all(group_member, {GroupId, '_', '_', '_', '_'})),
  Family = [self() | case get('$ancestors') of undefined -> []; Ancestors -> Ancestors end],
  Name = brod_logging:client(Client),
  case {[Member || {_, Pid, Member, _, _} <- Members, lists:member(Pid, Family)],
        [Member || {_, _, Member, _, On} <- Members, On =:= Name],
        [Member || {_, _, Member, _, _} <- Members]} of
    {[Own | _], _, _} -> Own;
    {[], [_ | _] = OnClient, _} -> lists:max(OnClient);
    {[], [], []} -> undefined;
    {[], [], All} -> lists:max(All)
  end.
