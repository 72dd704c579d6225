%% @private Consumers of a client, on two levels: a supervisor per topic, and a consumer per
%% partition.
-module(brod_consumers_sup).
-behaviour(brod_supervisor3).

-export([start_link/0, start_consumer/4, stop_consumer/2, stop_unused/2, find_consumer/3,
         start_new_partitions/4]).
-export([init/1, post_init/1, ends_all/2]).

%% @doc Starts the root of a client's consumers.
-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
  brod_supervisor3:start_link(?MODULE, root).

%% @doc Starts the consumers of a topic, all or those of the option `partitions'. They are up when
%% this returns.
-spec start_consumer(pid(), pid(), brod:topic(), brod:consumer_config()) ->
        {ok, pid()} | {error, term()}.
start_consumer(SupPid, ClientPid, Topic, Config) ->
  ok = brod_consumer_options:warn_unusable(Config),
  case brod_supervisor3:start_child(SupPid, topic_spec(ClientPid, Topic, Config)) of
    {ok, TopicSup} ->
      %% answered after the partitions were started
      try brod_supervisor3:count_children(TopicSup) of
        _ -> {ok, TopicSup}
      catch
        exit:{Reason, _} -> {error, Reason}
      end;
    Error ->
      Error
  end.

%% @doc Stops the consumers of a topic.
-spec stop_consumer(pid(), brod:topic()) -> ok | {error, not_found}.
stop_consumer(SupPid, Topic) ->
  brod_supervisor3:remove_child(SupPid, Topic).

%% @doc Stops the consumers of a topic if nobody is subscribed to any of them.
-spec stop_unused(brod:client(), brod:topic()) -> ok.
stop_unused(Client, Topic) ->
  try
    {ok, #{consumers_sup := SupPid}} = brod_client:context(Client),
    [TopicSup] = brod_supervisor3:find_child(SupPid, Topic),
    Pids = [Pid || {_, Pid, _, _} <- brod_supervisor3:which_children(TopicSup), is_pid(Pid)],
    _ = lists:any(fun is_used/1, Pids) orelse brod_client:stop_consumer(Client, Topic),
    ok
  catch
    error:{badmatch, _} -> ok;
    exit:_ -> ok
  end.

is_used(Pid) ->
  case brod_consumer:info(Pid) of
    #{subscriber := Subscriber} -> is_pid(Subscriber);
    {error, _} -> false
  end.

%% @doc The pid of a partition's consumer. One that was stopped is started again.
-spec find_consumer(pid(), brod:topic(), brod:partition()) ->
        {ok, pid()}
      | {error, {consumer_not_found, brod:topic()}
              | {consumer_not_found, brod:topic(), brod:partition()}
              | {consumer_down, term()}}.
find_consumer(SupPid, Topic, Partition) ->
  try
    case brod_supervisor3:find_child(SupPid, Topic) of
      [] -> {error, {consumer_not_found, Topic}};
      [TopicSup] -> find_partition(TopicSup, Topic, Partition)
    end
  catch
    exit:{Reason, _} -> {error, {consumer_down, Reason}}
  end.

find_partition(TopicSup, Topic, Partition) ->
  case brod_supervisor3:find_child(TopicSup, Partition) of
    [Pid] ->
      {ok, Pid};
    [] ->
      case brod_supervisor3:restart_child(TopicSup, Partition) of
        {ok, Pid} -> {ok, Pid};
        {error, running} -> find_partition(TopicSup, Topic, Partition);
        {error, not_found} -> {error, {consumer_not_found, Topic, Partition}};
        {error, Reason} -> {error, {consumer_down, Reason}}
      end
  end.

%% @doc Starts consumers of partitions that a topic has gained, with the options of the topic.
%% Nothing happens for a topic whose consumers are not started, or that were limited to some
%% partitions.
-spec start_new_partitions(pid(), pid(), brod:topic(), [brod:partition()]) -> ok.
start_new_partitions(SupPid, ClientPid, Topic, Partitions) ->
  case brod_supervisor3:find_child(SupPid, Topic) of
    [TopicSup] ->
      {ok, {_, {_, _, [_, {topic, _, _, Config}]}, _, _, _, _}} =
        brod_supervisor3:get_childspec(SupPid, Topic),
      Wanted = wanted(Partitions, Config),
      _ = [brod_supervisor3:start_child(TopicSup, partition_spec(ClientPid, Topic, P, Config))
           || P <- Wanted],
      ok;
    [] ->
      ok
  end.

%% @private
init(root) -> {ok, {{one_for_one, 0, 1}, []}};
init({topic, _ClientPid, _Topic, _Config}) -> post_init.

%% @private
post_init({topic, ClientPid, Topic, Config}) ->
  ok = brod_logging:about(#{client => brod_logging:client(ClientPid), topic => Topic}),
  case brod_client_lookup:partitions_count_for_start(ClientPid, Topic) of
    {ok, Count} ->
      {ok, {{one_for_one, 0, 1},
            [partition_spec(ClientPid, Topic, P, Config)
             || P <- wanted(lists:seq(0, Count - 1), Config)]}};
    {error, Reason} ->
      {error, Reason}
  end.

wanted(Partitions, Config) ->
  case brod_options:given(partitions, Config, []) of
    [] -> Partitions;
    Some -> [P || P <- Partitions, lists:member(P, Some)]
  end.

%% @private
ends_all({topic, _ClientPid, Topic, _Config}, Reason) -> brod_crash:shared_line("consumers", Topic, Reason);
ends_all(root, _Reason) -> false.

topic_spec(ClientPid, Topic, Config) ->
  {Topic, {brod_supervisor3, start_link, [?MODULE, {topic, ClientPid, Topic, Config}]},
   {permanent, brod_options:given_at(consumer, topic_restart_delay_seconds, Config)}, infinity, supervisor, [?MODULE]}.

%% Transient: a consumer that somebody stops stays down until it is asked for again.
partition_spec(ClientPid, Topic, Partition, Config) ->
  {Partition, {brod_consumer, start_supervised, [ClientPid, Topic, Partition, Config]},
   {transient, brod_options:given_at(consumer, partition_restart_delay_seconds, Config)}, 5000, worker, [brod_consumer]}.
