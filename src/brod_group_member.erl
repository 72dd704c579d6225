%% @doc Behaviour of a process that takes part in a consumer group through
%% {@link brod_group_coordinator}. The first argument of each callback is the pid of the member.
%%
%% A member typically starts a coordinator, subscribes to the partitions that
%% `assignments_received/4' brings, acknowledges with {@link brod_group_coordinator:ack/5}, and lets
%% go of all partitions when `assignments_revoked/1' is called. A callback may take its time: the
%% member stays in the group meanwhile, as long as a revocation does not take longer than the
%% rebalance timeout.
-module(brod_group_member).

%% Only with `{offset_commit_policy, consumer_managed}': the offsets that the member has stored,
%% each that of the last message done with (reading begins one after it), or where to begin.
%% Partitions left out begin where the consumer options say.
-callback get_committed_offsets(pid(), [{brod:topic(), brod:partition()}]) ->
  {ok, [{{brod:topic(), brod:partition()},
         brod:offset() | {begin_offset, brod:offset_time()}}]}.

%% Only with `{partition_assignment_strategy, callback_implemented}', when this member is the
%% leader, who is the first of `Members': deals out all partitions.
-callback assign_partitions(pid(), Members :: [brod:group_member()],
                            [{brod:topic(), brod:partition()}]) ->
  [{brod:group_member_id(), [brod:partition_assignment()]}].

%% A new generation has begun. `begin_offset' of an assignment is where to go on, `undefined' when
%% nothing was committed.
-callback assignments_received(pid(), brod:group_member_id(), brod:group_generation_id(),
                               brod:received_assignments()) -> ok.

%% The generation ends. What is acknowledged before this returns is still committed. Also called
%% before the first generation.
-callback assignments_revoked(pid()) -> ok.

%% Bytes that the leader finds in this member's metadata. Called for each join.
-callback user_data(pid()) -> binary().

-optional_callbacks([assign_partitions/3, user_data/1]).
