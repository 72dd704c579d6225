%% @private Producers of a client, on two levels: a supervisor per topic, and a producer per partition.
-module(brod_producers_sup).
-behaviour(brod_supervisor3).

-export([start_link/0, start_producer/4, start_producer/5, stop_producer/2, find_producer/3,
         get_producer_config/3, count_started_children/1, start_new_partitions/4]).
-export([init/1, post_init/1, ends_all/2]).

%% @doc Start the root of a client's producers.
-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
  brod_supervisor3:start_link(?MODULE, root).

%% @doc Start the producers of a topic. They are up when this returns.
-spec start_producer(pid(), pid(), brod:topic(), brod:producer_config()) ->
        {ok, pid()} | {error, term()}.
start_producer(SupPid, ClientPid, Topic, Config) ->
  ok = brod_producer_options:warn(Config, io_lib:format("Producers of ~ts", [Topic])),
  case start_child(SupPid, topic_spec(ClientPid, Topic, Config)) of
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

%% @doc Start the producer of one partition of a topic that has been started.
-spec start_producer(pid(), pid(), brod:topic(), brod:partition(), brod:producer_config()) ->
        {ok, pid()} | {error, term()}.
start_producer(SupPid, ClientPid, Topic, Partition, Config) ->
  case brod_supervisor3:find_child(SupPid, Topic) of
    [TopicSup] ->
      start_child(TopicSup, partition_spec(ClientPid, Topic, Partition, Config));
    [] ->
      {error, {producer_not_found, Topic}}
  end.

%% One that has failed and waits for its restart is started now.
start_child(Sup, Spec) ->
  case brod_supervisor3:start_child(Sup, Spec) of
    {error, already_present} ->
      _ = brod_supervisor3:remove_child(Sup, element(1, Spec)),
      case brod_supervisor3:start_child(Sup, Spec) of
        {error, already_present} -> {error, {producer_down, noproc}};
        Result -> Result
      end;
    Result ->
      Result
  end.

%% @doc Stop the producers of a topic.
-spec stop_producer(pid(), brod:topic()) -> ok | {error, not_found}.
stop_producer(SupPid, Topic) ->
  brod_supervisor3:remove_child(SupPid, Topic).

%% @doc The pid of a partition's producer.
-spec find_producer(pid(), brod:topic(), brod:partition()) ->
        {ok, pid()}
      | {error, {producer_not_found, brod:topic()}
              | {producer_not_found, brod:topic(), brod:partition()}
              | {producer_down, term()}}.
find_producer(SupPid, Topic, Partition) ->
  try
    case brod_supervisor3:find_child(SupPid, Topic) of
      [] -> {error, {producer_not_found, Topic}};
      [TopicSup] -> find_partition(TopicSup, Topic, Partition)
    end
  catch
    exit:{Reason, _} -> {error, {producer_down, Reason}}
  end.

find_partition(TopicSup, Topic, Partition) ->
  case brod_supervisor3:find_child(TopicSup, Partition) of
    [Pid] ->
      {ok, Pid};
    [] ->
      case brod_supervisor3:get_childspec(TopicSup, Partition) of
        {ok, _WaitsForItsRestart} -> {error, {producer_down, noproc}};
        {error, not_found} -> {error, {producer_not_found, Topic, Partition}}
      end
  end.

%% @doc The options that a partition's producer was started with.
-spec get_producer_config(pid(), brod:topic(), brod:partition()) ->
        {ok, brod:producer_config()} | {error, term()}.
get_producer_config(SupPid, Topic, Partition) ->
  case brod_supervisor3:find_child(SupPid, Topic) of
    [] -> {error, {producer_not_found, Topic}};
    [TopicSup] ->
      case brod_supervisor3:get_childspec(TopicSup, Partition) of
        {ok, {_, {_, _, [_Client, _Topic, _Partition, Config]}, _, _, _, _}} -> {ok, Config};
        {error, not_found} -> {error, {producer_not_found, Topic, Partition}}
      end
  end.

%% @doc How many producers of all topics are running.
-spec count_started_children(pid()) -> non_neg_integer().
count_started_children(SupPid) ->
  lists:sum([proplists:get_value(active, brod_supervisor3:count_children(TopicSup))
             || {_Topic, TopicSup, _, _} <- brod_supervisor3:which_children(SupPid),
                is_pid(TopicSup)]).

%% @doc Start producers of partitions that a topic has gained, with the options of partition 0.
%% Nothing happens for a topic whose producers are not started.
-spec start_new_partitions(pid(), pid(), brod:topic(), [brod:partition()]) -> ok.
start_new_partitions(SupPid, ClientPid, Topic, Partitions) ->
  case get_producer_config(SupPid, Topic, 0) of
    {ok, Config} ->
      _ = [start_producer(SupPid, ClientPid, Topic, P, Config) || P <- Partitions],
      ok;
    {error, _} ->
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
            [partition_spec(ClientPid, Topic, P, Config) || P <- lists:seq(0, Count - 1)]}};
    {error, Reason} ->
      {error, Reason}
  end.

%% @private
ends_all({topic, _ClientPid, Topic, _Config}, Reason) -> brod_crash:shared_line("producers", Topic, Reason);
ends_all(root, _Reason) -> false.

topic_spec(ClientPid, Topic, Config) ->
  {Topic, {brod_supervisor3, start_link, [?MODULE, {topic, ClientPid, Topic, Config}]},
   {permanent, brod_options:given_at(producer, topic_restart_delay_seconds, Config)}, infinity, supervisor, [?MODULE]}.

partition_spec(ClientPid, Topic, Partition, Config) ->
  {Partition, {brod_producer, start_link, [ClientPid, Topic, Partition, Config]},
   {permanent, max(1, brod_options:given_at(producer, partition_restart_delay_seconds, Config))}, 5000, worker, [brod_producer]}.
