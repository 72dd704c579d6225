%% Members of consumer groups for the tests: whatever happens to one is told to the process that
%% started it, as `{probe, Tag, Event}'. One module for the three kinds of members:
%% - brod_group_subscriber_v2 and brod_group_subscriber, see v2/4 and v1/4
%% - a plain brod_group_member on a coordinator of its own, see member/5
-module(brod_group_probe).
%% No behaviour is named: those of a member and of a v2 subscriber share a callback.

-export([v2/4, v2/5, v1/4, v1/5, member/5, member_pids/1]).
-export([await_assigned/2, collect/2, committed/3, await_committed/4, coordinator/1]).
-export([filled/3, fill/4, ends/2, tps/2, members/2, assignment/1, assigned/1, first_revocation/1]).
%% callbacks
-export([init/2, handle_message/2, handle_message/4, handle_info/2, terminate/2, get_committed_offset/3,
         assign_partitions/3, get_committed_offsets/2, get_committed_offsets/3,
         assignments_received/4, assignments_revoked/1, user_data/1]).

-include("../include/brod.hrl").

-define(LIMIT_MS, 30000).

-record(probe, {tag, owner, on_message, on_info, stored, assign}).

%% @doc Starts a v2 subscriber, not linked to the caller. Options of the group, and beside them:
%% `on_message' fun(Message) -> commit | ack | later (default commit), `on_info' fun(Info), `stored' fun(T, P) ->
%% what get_committed_offset answers, `assign' fun(Members, TopicPartitions) -> Assignments,
%% `type' message | message_set, `consumer' options of the consumer.
v2(Tag, Client, Group, Topics) -> v2(Tag, Client, Group, Topics, []).

v2(Tag, Client, Group, Topics, Options) ->
  Config = #{client => Client, group_id => Group, topics => Topics, cb_module => ?MODULE,
             init_data => probe(Tag, Options),
             message_type => proplists:get_value(type, Options, message),
             consumer_config => consumer_options(Options), group_config => group_options(Options)},
  unlinked(brod:start_link_group_subscriber_v2(Config)).

v1(Tag, Client, Group, Topics) -> v1(Tag, Client, Group, Topics, []).

v1(Tag, Client, Group, Topics, Options) ->
  unlinked(brod:start_link_group_subscriber(Client, Group, Topics, group_options(Options),
                                            consumer_options(Options),
                                            proplists:get_value(type, Options, message),
                                            ?MODULE, probe(Tag, Options))).

probe(Tag, Options) ->
  #probe{tag = Tag, owner = self(),
         on_message = proplists:get_value(on_message, Options, fun(_) -> commit end),
         on_info = proplists:get_value(on_info, Options, fun(_) -> ok end),
         stored = proplists:get_value(stored, Options, fun(_, _) -> undefined end),
         assign = proplists:get_value(assign, Options)}.

%% Tests outlive a subscriber that stops.
unlinked({ok, Pid}) ->
  true = unlink(Pid),
  Pid.

consumer_options(Options) ->
  proplists:get_value(consumer, Options, [{begin_offset, earliest}]).

group_options(Options) ->
  Ours = [on_message, on_info, stored, assign, type, consumer, hold],
  lists:foldl(fun proplists:delete/2, Options, Ours) ++
    [{session_timeout_seconds, 6}, {rebalance_timeout_seconds, 20},
     {heartbeat_rate_seconds, 0.3}, {offset_commit_interval_seconds, 1}].

%%% Subscribers' callbacks

init(#{topic := Topic, partition := Partition} = Info, #probe{} = Probe) ->
  tell(Probe, {init, Topic, Partition, self(), Info}),
  {ok, {Topic, Partition, Probe}};
init(GroupId, #probe{} = Probe) ->
  tell(Probe, {init, GroupId, self()}),
  {ok, Probe}.

handle_message(Message, {Topic, Partition, Probe} = State) ->
  case handle(Topic, Partition, Message, Probe) of
    later -> {ok, State};
    Done -> {ok, Done, State}
  end.

handle_message(Topic, Partition, Message, Probe) ->
  case handle(Topic, Partition, Message, Probe) of
    later -> {ok, Probe};
    commit -> {ok, ack, Probe};
    ack -> {ok, ack_no_commit, Probe}
  end.

handle(Topic, Partition, Message, #probe{on_message = OnMessage} = Probe) ->
  Result = OnMessage(Message),
  tell(Probe, {handled, Topic, Partition, Message}),
  Result.

handle_info(Info, {_, _, #probe{on_info = OnInfo}} = State) ->
  _ = OnInfo(Info),
  {noreply, State}.

terminate(Reason, {Topic, Partition, Probe}) ->
  tell(Probe, {terminate, Topic, Partition, Reason}).

get_committed_offset(#probe{stored = Stored}, Topic, Partition) -> Stored(Topic, Partition).

get_committed_offsets(_GroupId, TopicPartitions, #probe{stored = Stored} = Probe) ->
  Known = [{{T, P}, Stored(T, P)} || {T, P} <- TopicPartitions],
  {ok, [{TP, Offset} || {TP, {ok, Offset}} <- Known], Probe}.

%% One callback of three behaviours.
assign_partitions(#probe{assign = Assign}, Members, TopicPartitions) ->
  Assign(Members, TopicPartitions);
assign_partitions(Members, TopicPartitions, #probe{assign = Assign}) ->
  Assign(Members, TopicPartitions);
assign_partitions(Pid, Members, TopicPartitions) when is_pid(Pid) ->
  ask(Pid, {assign, Members, TopicPartitions}).

tell(#probe{tag = Tag, owner = Owner}, Event) -> Owner ! {probe, Tag, Event}.

%%% A plain member: the process that runs it relays its callbacks, and answers them

%% @doc Starts a member and its coordinator, which it is linked to. Further options: `stored' and
%% `assign' as above; `hold': a revocation waits until its caller, who is named in the event
%% `{revoked, Caller}', gets `go'.
member(Tag, Client, Group, Topics, Options) ->
  Owner = self(),
  Pid = spawn(fun() ->
                  {ok, Coordinator} = brod_group_coordinator:start_link(
                                        Client, Group, Topics, group_options(Options), ?MODULE,
                                        self()),
                  Owner ! {self(), Coordinator},
                  relay(probe(Tag, Options), Owner, proplists:get_bool(hold, Options), 0)
              end),
  receive {Pid, Coordinator} -> {Pid, Coordinator}
  after ?LIMIT_MS -> error(no_coordinator)
  end.

relay(Probe0, Owner, Hold, Joins) ->
  Probe = Probe0#probe{owner = Owner},
  receive
    {ask, Caller, revoked} ->
      tell(Probe, {revoked, Caller}),
      Hold orelse (Caller ! go),
      relay(Probe, Owner, Hold, Joins);
    {ask, Caller, user_data} ->
      Caller ! {answer, iolist_to_binary(io_lib:format("~p-~b", [Probe#probe.tag, Joins]))},
      relay(Probe, Owner, Hold, Joins + 1);
    {ask, Caller, {assign, Members, TPs}} ->
      tell(Probe, {assign, Members, TPs}),
      Caller ! {answer, (Probe#probe.assign)(Members, TPs)},
      relay(Probe, Owner, Hold, Joins);
    {ask, Caller, {stored, TPs}} ->
      Known = [{{T, P}, (Probe#probe.stored)(T, P)} || {T, P} <- TPs],
      Caller ! {answer, {ok, [{TP, Offset} || {TP, {ok, Offset}} <- Known]}},
      relay(Probe, Owner, Hold, Joins);
    {assigned, MemberId, Generation, Assignments} ->
      tell(Probe, {assigned, MemberId, Generation, Assignments}),
      relay(Probe, Owner, Hold, Joins);
    stop ->
      ok
  end.

ask(Pid, Question) ->
  Pid ! {ask, self(), Question},
  receive {answer, Answer} -> Answer end.

get_committed_offsets(Pid, TopicPartitions) -> ask(Pid, {stored, TopicPartitions}).

assignments_received(Pid, MemberId, Generation, Assignments) ->
  Pid ! {assigned, MemberId, Generation, Assignments},
  ok.

assignments_revoked(Pid) ->
  Pid ! {ask, self(), revoked},
  receive go -> ok end.

user_data(#probe{tag = Tag}) -> atom_to_binary(Tag);
user_data(Pid) -> ask(Pid, user_data).

%%% Waiting and looking

%% @doc Waits until the v2 subscribers have workers for exactly `TopicPartitions' together, none
%% for the same, and each at least one; `[{Pid, [TopicPartition]}]'.
await_assigned(Pids, TopicPartitions) ->
  All = lists:sort(TopicPartitions),
  brod_test:wait_until(
    fun() ->
        Shares = [{Pid, maps:keys(brod_group_subscriber_v2:get_workers(Pid))} || Pid <- Pids],
        Settled = lists:sort(lists:append([Share || {_, Share} <- Shares])) =:= All
          andalso lists:all(fun({_, Share}) -> Share =/= [] end, Shares),
        Settled andalso Shares
    end, ?LIMIT_MS).

%% @doc What the process that runs callbacks of a v2 subscriber consists of: itself, its
%% coordinator and its workers.
member_pids(Pid) ->
  [Pid, coordinator(Pid) | maps:values(brod_group_subscriber_v2:get_workers(Pid))].

%% @doc The coordinator of a subscriber.
coordinator(Pid) ->
  {links, Links} = process_info(Pid, links),
  [Coordinator] = [Link || Link <- Links, is_pid(Link),
                           proc_lib:translate_initial_call(Link) =:=
                             {brod_group_coordinator, init, 1}],
  Coordinator.

%% @doc Waits until each of `Values' has been handled at least once, whoever did it; how often each
%% one was, and by whom.
collect(Values, LimitMs) ->
  Deadline = erlang:monotonic_time(millisecond) + LimitMs,
  collect(maps:from_keys(Values, []), length(Values), Deadline).

collect(Seen, 0, _Deadline) -> Seen;
collect(Seen, Missing, Deadline) ->
  receive
    {probe, Tag, {handled, _T, _P, #kafka_message{value = Value}}} ->
      case Seen of
        #{Value := []} -> collect(Seen#{Value := [Tag]}, Missing - 1, Deadline);
        #{Value := Tags} -> collect(Seen#{Value := [Tag | Tags]}, Missing, Deadline);
        #{} -> collect(Seen, Missing, Deadline)
      end
  after max(0, Deadline - erlang:monotonic_time(millisecond)) ->
    error({not_handled, Missing, lists:sublist([V || {V, []} <- maps:to_list(Seen)], 10)})
  end.

%% @doc The committed offsets of a topic, by partition; those that are.
committed(Client, Group, Topic) ->
  case brod:fetch_committed_offsets(Client, Group) of
    {ok, Topics} ->
      maps:from_list([{P, Offset} || #{name := Name, partitions := Ps} <- Topics, Name =:= Topic,
                                     #{partition_index := P, committed_offset := Offset} <- Ps]);
    {error, _} ->
      #{}
  end.

%% @doc Waits until exactly these offsets are committed.
await_committed(Client, Group, Topic, Offsets) ->
  brod_test:wait_until(fun() -> committed(Client, Group, Topic) =:= Offsets end, ?LIMIT_MS).

%%% Topics and groups

%% @doc A topic with `Count' messages, dealt to its partitions in equal, contiguous shares.
filled(Partitions, Count, Config) ->
  Client = proplists:get_value(client, Config),
  Topic = brod_test:create_topic(Partitions),
  fill(Client, Topic, Partitions, brod_test:numbers(1, Count)),
  {Client, proplists:get_value(group, Config), Topic}.

fill(_Client, _Topic, _Partitions, []) -> ok;
fill(Client, Topic, Partitions, Values) ->
  ok = brod_test:producer(Client, Topic),
  Share = length(Values) div Partitions,
  lists:foreach(fun(P) ->
                    Part = lists:sublist(Values, P * Share + 1, Share),
                    ok = brod:produce_sync(Client, Topic, P, <<>>, [{<<>>, V} || V <- Part])
                end, lists:seq(0, Partitions - 1)).

tps(Topic, Partitions) -> [{Topic, P} || P <- lists:seq(0, Partitions - 1)].

ends(Client, Topic) ->
  {ok, Count} = brod:get_partitions_count(Client, Topic),
  maps:from_list([begin
                    {ok, End} = brod:resolve_offset(Client, Topic, P, latest),
                    {P, End}
                  end || P <- lists:seq(0, Count - 1)]).

%% @doc The generation and assignments that a member gets next.
assignment(Tag) ->
  receive {probe, Tag, {assigned, _, Generation, Given}} -> {Generation, Given}
  after ?LIMIT_MS -> error(not_assigned)
  end.

assigned(Tag) -> element(2, assignment(Tag)).

%% @doc Before its first join a member is told to let go, too.
first_revocation(Tag) ->
  receive {probe, Tag, {revoked, Caller}} -> Caller ! go, ok
  after ?LIMIT_MS -> error(not_revoked)
  end.

members(Client, Group) ->
  {ok, {Endpoint, ConnConfig}} = brod_client:get_group_coordinator(Client, Group),
  {ok, [#{members := Members}]} = brod:describe_groups(Endpoint, ConnConfig, [Group]),
  Members.
