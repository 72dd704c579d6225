%% @private Which members of groups this node has, and what they were assigned last. A transaction commits offsets in
%% the name of such a member (KIP-447).
-module(brod_group_members).

-export([enter/4, lookup/2]).

-export_type([member/0]).

-type member() :: {brod:group_generation_id(), brod:group_member_id(), InstanceId :: binary() | undefined}.

%% @doc The calling process looks after a member, which has these partitions. It stays until the process ends, also
%% when the member has lost them: the broker tells that from the generation.
-spec enter(brod:group_id(), brod:group_generation_id(), brod:group_member_id(),
            {InstanceId :: term(), [brod:topic_partition()]}) -> ok.
enter(GroupId, Generation, MemberId, {InstanceId, Partitions}) ->
  Static = case is_binary(InstanceId) of
             true -> InstanceId;
             false -> undefined
           end,
  brod_handles:put(group_member, {GroupId, {Generation, MemberId, Static},
                                  maps:from_list([{TP, []} || TP <- Partitions])}).

%% @doc The member of a group that was assigned all of these partitions.
-spec lookup(brod:group_id(), [brod:topic_partition()]) -> member() | undefined.
lookup(GroupId, Partitions) ->
  Has = fun({_, _, Assigned}) -> lists:all(fun(TP) -> is_map_key(TP, Assigned) end, Partitions) end,
  case lists:filter(Has, brod_handles:all(group_member, {GroupId, '_', '_'})) of
    [] -> undefined;
    %% after a rebalance two may claim a partition: the later one is right
    Members -> lists:max([Member || {_, Member, _} <- Members])
  end.
