%% @doc Sets the committed offsets of a consumer group: joins the group as its leader, takes all
%% partitions of the topic, commits, and leaves. The group should have no other members meanwhile.
%%
%% The input is a proplist or a map: `id' (the group), `topic', `offsets' (`latest', `earliest', or a list of
%% `{Partition, Offset}', where `Offset' is the next one to be read), and optionally `retention'
%% (seconds) and `protocol' (name of the group protocol that the members use).
-module(brod_cg_commits).
-behaviour(gen_server).
-behaviour(brod_group_member).

-export([run/2, start_link/2, stop/1, sync/1]).
-export([get_committed_offsets/2, assign_partitions/3, assignments_received/4,
         assignments_revoked/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3,
         format_status/1]).

-include("brod_int.hrl").

-define(OFFSET_TIMEOUT_MS, 10000).

-type offsets() :: latest | earliest | [{brod:partition(), brod:offset()}].
-type prop() :: {id, brod:group_id()} | {topic, brod:topic()} | {offsets, offsets()}
              | {protocol, brod_group_coordinator:protocol_name()} | {retention, integer()}.
-type group_input() :: [prop()] | map().

-record(st, {client :: brod:client(),
             group_id :: brod:group_id(),
             topic :: brod:topic(),
             %% as the user wrote it: checked when it is used
             offsets :: term(),
             coordinator :: pid(),
             %% undefined until the commit has been tried
             result :: undefined | ok | {error, term()},
             waiting = [] :: [gen_server:from()]}).

%%% API

%% @doc Does it all and returns when the offsets are committed.
-spec run(brod:client(), group_input()) -> ok | {error, term()}.
run(Client, Input) ->
  case start_link(Client, Input) of
    {ok, Pid} ->
      Result = sync(Pid),
      ok = stop(Pid),
      Result;
    {error, _} = Error ->
      Error
  end.

%% @doc Join the group and commit the offsets, linked to the caller; {@link sync/1} waits until they are committed.
-spec start_link(brod:client(), group_input()) -> {ok, pid()} | {error, term()}.
start_link(Client, Input) ->
  gen_server:start_link(?MODULE, {Client, Input}, []).

%% @doc Leave the group and stop.
-spec stop(pid()) -> ok.
stop(Pid) ->
  Monitor = monitor(process, Pid),
  gen_server:cast(Pid, stop),
  receive {'DOWN', Monitor, process, _, _Reason} -> ok end.

%% @doc Waits for the commit and returns how it went.
-spec sync(pid()) -> ok | {error, term()}.
sync(Pid) ->
  try gen_server:call(Pid, sync, infinity)
  catch exit:{Reason, _} -> {error, Reason}
  end.

%%% Callbacks of the group member; they run in a process of the coordinator

%% @private
get_committed_offsets(_Pid, _TopicPartitions) -> {ok, []}.

%% @private The leader is the first member.
assign_partitions(_Pid, [{Leader, _} | Others], TopicPartitions) ->
  Topics = lists:usort([T || {T, _} <- TopicPartitions]),
  All = [{Topic, [P || {T, P} <- TopicPartitions, T =:= Topic]} || Topic <- Topics],
  [{Leader, All} | [{Other, []} || {Other, _} <- Others]].

%% @private
assignments_received(Pid, _MemberId, _Generation, Assignments) ->
  gen_server:cast(Pid, {assigned, [P || #brod_received_assignment{partition = P} <- Assignments]}).

%% @private
assignments_revoked(_Pid) -> ok.

%%% gen_server

init({Client, Given}) ->
  process_flag(trap_exit, true),
  Input = brod_options:to_map(Given),
  ok = brod_options:warn_unknown(cg_commits, Input),
  ok = brod_group_args:keys(Input, [id, topic, offsets]),
  #{id := GroupId, topic := Topic, offsets := Offsets} = Input,
  ok = brod_utils:assert_client(Client),
  ok = brod_utils:assert_group_id(GroupId),
  ok = brod_utils:assert_topic(Topic),
  Config = [{partition_assignment_strategy, callback_implemented},
            {offset_commit_policy, commit_to_kafka_v2},
            {offset_retention_seconds, maps:get(retention, Input, undefined)},
            {protocol_name, maps:get(protocol, Input, undefined)}],
  case brod_group_coordinator:start_link(Client, GroupId, [Topic], Config, ?MODULE, self()) of
    {ok, Coordinator} ->
      {ok, #st{client = Client, group_id = GroupId, topic = Topic, coordinator = Coordinator,
               offsets = Offsets}};
    {error, Reason} ->
      {stop, Reason}
  end.

handle_call(sync, From, #st{result = undefined, waiting = Waiting} = St) ->
  {noreply, St#st{waiting = [From | Waiting]}};
handle_call(sync, _From, #st{result = Result} = St) ->
  {reply, Result, St};
handle_call(Call, _From, St) ->
  {reply, {error, {unknown_call, Call}}, St}.

handle_cast({assigned, Partitions}, #st{result = undefined} = St) ->
  {noreply, finish(commit(Partitions, St), St)};
handle_cast(stop, St) ->
  {stop, normal, St};
handle_cast(_Cast, St) ->
  {noreply, St}.

handle_info({'EXIT', Pid, Reason}, #st{coordinator = Pid, result = undefined} = St) ->
  {stop, {shutdown, coordinator_failure}, finish({error, Reason}, St)};
handle_info({'EXIT', _Pid, Reason}, St) when Reason =/= normal ->
  {stop, Reason, St};
handle_info(_Info, St) ->
  {noreply, St}.

terminate(_Reason, #st{coordinator = Coordinator}) ->
  brod_group_coordinator:stop(Coordinator).

code_change(_OldVsn, St, _Extra) -> {ok, St}.

%% @private Counts, no payloads.
format_status(Status) -> brod_crash:status(Status, fun shown/1).

%%% Internal

shown(#st{offsets = Offsets} = St) ->
  #{client => St#st.client, group_id => St#st.group_id, topic => St#st.topic,
    offsets => offset_count(Offsets),
    coordinator => St#st.coordinator, is_done => St#st.result =/= undefined,
    waiting_calls => length(St#st.waiting)}.

%% A user may have written anything.
offset_count(Offsets) when length(Offsets) >= 0 -> length(Offsets);
offset_count(Offsets) when is_atom(Offsets) -> Offsets;
offset_count(_) -> bad.

finish(Result, #st{waiting = Waiting} = St) ->
  lists:foreach(fun(From) -> gen_server:reply(From, Result) end, Waiting),
  St#st{result = Result, waiting = []}.

commit(Partitions, #st{topic = Topic, coordinator = Coordinator} = St) ->
  case offsets(Partitions, St) of
    {ok, Offsets} ->
      case [P || {P, _} <- Offsets] -- Partitions of
        [] ->
          %% The coordinator takes offsets of handled messages, and commits the next one.
          Acked = [{{Topic, P}, Offset - 1} || {P, Offset} <- Offsets],
          brod_group_coordinator:commit_offsets(Coordinator, Acked);
        NotOurs ->
          {error, {not_assigned, NotOurs}}
      end;
    {error, _} = Error ->
      Error
  end.

offsets(_Partitions, #st{offsets = Offsets}) when is_list(Offsets) -> {ok, Offsets};
offsets(Partitions, #st{offsets = latest} = St) -> resolve(Partitions, -1, St, []);
offsets(Partitions, #st{offsets = earliest} = St) -> resolve(Partitions, -2, St, []);
offsets(_Partitions, #st{offsets = Bad}) -> {error, {bad_option, offsets, Bad}}.

resolve([], _Time, _St, Acc) -> {ok, Acc};
resolve([Partition | Rest], Time, #st{client = Client, topic = Topic} = St, Acc) ->
  case list_offsets(Client, Topic, Partition, Time) of
    {ok, Offset} -> resolve(Rest, Time, St, [{Partition, Offset} | Acc]);
    {error, Reason} -> {error, {Partition, Reason}}
  end.

list_offsets(Client, Topic, Partition, Time) ->
  case brod_client:engine(Client) of
    {ok, Engine} ->
      brod_engine:call(Engine, {list_offsets, Topic, Partition, Time}, ?OFFSET_TIMEOUT_MS);
    {error, _} = Error -> Error
  end.
