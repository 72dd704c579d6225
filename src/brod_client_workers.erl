%% @private The producers and consumers of a client: starting, stopping, finding, registering them.
-module(brod_client_workers).

-export([start_producer/3, stop_producer/2, get_producer/3, find_producer/3,
         start_consumer/3, stop_consumer/2, get_consumer/3, find_consumer/3, lookup/4]).
-export([register_producer/3, register_producer/4, deregister_producer/3,
         register_consumer/3, deregister_consumer/3]).
-export([grow/2]).

-export_type([growth/0]).

-include("brod_int.hrl").

-define(GROWTH_LIMIT_MS, 60000).

%% Partitions `From' to `To' - 1 are new.
-type growth() :: {brod:topic(), From :: pos_integer(), To :: pos_integer()}.

%% @doc Start the producers of a topic; `ok' also if they are running.
-spec start_producer(brod:client(), brod:topic(), brod:producer_config()) -> ok | {error, term()}.
start_producer(Client, Topic, Config) ->
  Start = fun(#{client := Pid, producers_sup := Sup}) ->
            ok = brod_options:warn_unknown(producer, Config),
            brod_producers_sup:start_producer(Sup, Pid, Topic, Config)
          end,
  start_workers(Client, Topic, brod_options:producer(Config), {producers_sup, Start}).

%% @doc Start the consumers of a topic; `ok' also if they are running.
-spec start_consumer(brod:client(), brod:topic(), brod:consumer_config()) -> ok | {error, term()}.
start_consumer(Client, Topic, Config) ->
  Start = fun(#{client := Pid, consumers_sup := Sup}) ->
            ok = brod_options:warn_unknown(consumer, Config),
            brod_consumers_sup:start_consumer(Sup, Pid, Topic, Config)
          end,
  start_workers(Client, Topic, brod_consumer_options:new(Config), {consumers_sup, Start}).

start_workers(_Client, Topic, {error, BadOption}, {What, _Start}) ->
  ok = brod_args:topic(Topic),
  ?BROD_LOG_ERROR("~s of ~ts are not started: ~ts",
                  [case What of producers_sup -> "Producers"; consumers_sup -> "Consumers" end, Topic, brod_options:describe(BadOption)]),
  {error, BadOption};
start_workers(Client, Topic, {ok, _}, {Sup, Start}) ->
  brod_client_ref:with_context(Client, fun(Context) ->
    case brod_client_lookup:partitions_count(Client, Topic, true) of
      {ok, _Count} ->
        #{Sup := SupPid} = Context,
        case start_topic(SupPid, Topic, fun() -> Start(Context) end) of
          {ok, _Pid} -> registered(Context);
          {error, {already_started, _Pid}} -> ok;
          {error, Reason} -> {error, Reason}
        end;
      {error, invalid_topic_exception} ->
        {error, unknown_topic_or_partition};
      {error, Reason} ->
        {error, Reason}
    end
  end).

%% Those that have just started have told the client of themselves. Until that has come to it, callers would find the ones
%% before them, which have crashed.
registered(#{client := Pid}) ->
  case brod_client_ref:call(Pid, registered) of
    ok -> ok;
    {error, Reason} -> {error, Reason}
  end.

%% A topic whose supervisor waits for its restart is started now, with the options given now.
start_topic(SupPid, Topic, Start) ->
  case brod_client_ref:safe(Start) of
    {error, already_present} ->
      case brod_client_ref:safe(fun() -> brod_supervisor3:remove_child(SupPid, Topic) end) of
        {error, Reason} when Reason =/= not_found -> {error, Reason};
        _ -> start_topic(SupPid, Topic, Start)
      end;
    Result ->
      Result
  end.

%% @doc Stop the producers of a topic.
-spec stop_producer(brod:client(), brod:topic()) -> ok | {error, term()}.
stop_producer(Client, Topic) ->
  stop_workers(Client, producer, Topic, fun(#{producers_sup := Sup}) ->
    brod_producers_sup:stop_producer(Sup, Topic)
  end).

%% @doc Stop the consumers of a topic.
-spec stop_consumer(brod:client(), brod:topic()) -> ok | {error, term()}.
stop_consumer(Client, Topic) ->
  stop_workers(Client, consumer, Topic, fun(#{consumers_sup := Sup}) ->
    brod_consumers_sup:stop_consumer(Sup, Topic)
  end).

stop_workers(Client, Kind, Topic, Stop) ->
  brod_client_ref:with_context(Client, fun(#{client := Pid} = Context) ->
    Result = brod_client_ref:safe(fun() -> Stop(Context) end),
    _ = brod_client_ref:call(Pid, {deregister_topic, Kind, Topic}),
    Result
  end).

%% @doc A partition's producer. Starts the topic's producers if the client's option
%% `auto_start_producers' says so.
-spec get_producer(brod:client(), brod:topic(), brod:partition()) ->
        {ok, pid()}
      | {error, {producer_not_found, brod:topic()}
              | {producer_not_found, brod:topic(), brod:partition()}
              | {producer_down, term()} | client_down | term()}.
get_producer(Client, Topic, Partition) ->
  case get_worker(Client, producer, Topic, Partition) of
    {error, {producer_not_found, Topic}} = Error ->
      brod_client_ref:with_context(Client, fun(#{options := Options}) ->
        case Options of
          #{auto_start_producers := true, default_producer_config := Config} ->
            case start_producer(Client, Topic, Config) of
              ok -> get_worker(Client, producer, Topic, Partition);
              {error, Reason} -> {error, Reason}
            end;
          _ ->
            Error
        end
      end);
    Result ->
      Result
  end.

%% @doc A partition's consumer.
-spec get_consumer(brod:client(), brod:topic(), brod:partition()) ->
        {ok, pid()}
      | {error, {consumer_not_found, brod:topic()}
              | {consumer_not_found, brod:topic(), brod:partition()}
              | {consumer_down, term()} | client_down | term()}.
get_consumer(Client, Topic, Partition) ->
  get_worker(Client, consumer, Topic, Partition).

get_worker(Client, Kind, Topic, Partition) ->
  case lookup(Client, Kind, Topic, Partition) of
    {ok, Pid} -> {ok, Pid};
    false ->
      case find_worker(Client, Kind, Topic, Partition) of
        {error, {_NotFound, Topic}} = Error ->
          find_registered(Client, Kind, Topic, Partition, fun() -> Error end);
        {error, {_NotFound, Topic, Partition}} = Error ->
          find_registered(Client, Kind, Topic, Partition, fun() ->
            find_after_growth(Client, Kind, Topic, Partition, Error)
          end);
        Result ->
          Result
      end
  end.

%% The topic's processes are started: it may have gained the partition.
find_after_growth(Client, Kind, Topic, Partition, NotFound) ->
  brod_client_ref:with_context(Client, fun(#{client := Pid} = Context) ->
    case brod_client_ref:call(Pid, {may_look_for_growth, Topic}) of
      true ->
        _ = brod_metadata:fetch(Context, Topic, false),
        find_worker(Client, Kind, Topic, Partition);
      _ ->
        NotFound
    end
  end).

%% One that somebody has started on its own, under a supervisor of his, has told the client of itself: that may not
%% have come to it.
find_registered(Client, Kind, Topic, Partition, Otherwise) ->
  brod_client_ref:with_context(Client, fun(Context) ->
    _ = registered(Context),
    case lookup(Client, Kind, Topic, Partition) of
      {ok, Worker} -> {ok, Worker};
      false -> Otherwise()
    end
  end).

%% @doc A partition's producer or consumer as far as it is running. Starts nothing, asks nobody.
-spec lookup(brod:client(), producer | consumer, brod:topic(), brod:partition()) -> {ok, pid()} | false.
lookup(Client, Kind, Topic, Partition) ->
  try ets:lookup(brod_client_ref:name(Client), {Kind, Topic, Partition}) of
    [{_, Pid}] ->
      case brod_utils:is_pid_alive(Pid) of
        true -> {ok, Pid};
        false -> false
      end;
    [] ->
      false
  catch
    error:badarg -> false
  end.

%% @doc As {@link get_producer/3}, by asking the supervisors.
-spec find_producer(brod:client(), brod:topic(), brod:partition()) ->
        {ok, pid()} | {error, term()}.
find_producer(Client, Topic, Partition) ->
  find_worker(Client, producer, Topic, Partition).

%% @doc As {@link get_consumer/3}, by asking the supervisors.
-spec find_consumer(brod:client(), brod:topic(), brod:partition()) ->
        {ok, pid()} | {error, term()}.
find_consumer(Client, Topic, Partition) ->
  find_worker(Client, consumer, Topic, Partition).

find_worker(Client, Kind, Topic, Partition) ->
  brod_client_ref:with_context(Client, fun(Context) ->
    #{producers_sup := ProducersSup, consumers_sup := ConsumersSup} = Context,
    case Kind of
      producer -> brod_producers_sup:find_producer(ProducersSup, Topic, Partition);
      consumer -> brod_consumers_sup:find_consumer(ConsumersSup, Topic, Partition)
    end
  end).

%% @doc Make the calling process known as a partition's producer.
-spec register_producer(brod:client(), brod:topic(), brod:partition()) -> ok.
register_producer(Client, Topic, Partition) ->
  gen_server:cast(Client, {register, {{producer, Topic, Partition}, self()}}).

%% @doc As {@link register_producer/3}; callers of `brod:produce/5' find it in the engine.
-spec register_producer(brod:client(), brod:topic(), brod:partition(), brod_nif:producer()) -> ok.
register_producer(Client, Topic, Partition, Handle) ->
  gen_server:cast(Client, {publish, Handle}),
  register_producer(Client, Topic, Partition).

%% @doc Forget a partition's producer.
-spec deregister_producer(brod:client(), brod:topic(), brod:partition()) -> ok.
deregister_producer(Client, Topic, Partition) ->
  gen_server:cast(Client, {deregister, {producer, Topic, Partition}}).

%% @doc Make the calling process known as a partition's consumer.
-spec register_consumer(brod:client(), brod:topic(), brod:partition()) -> ok.
register_consumer(Client, Topic, Partition) ->
  gen_server:cast(Client, {register, {{consumer, Topic, Partition}, self()}}).

%% @doc Forget a partition's consumer.
-spec deregister_consumer(brod:client(), brod:topic(), brod:partition()) -> ok.
deregister_consumer(Client, Topic, Partition) ->
  gen_server:cast(Client, {deregister, {consumer, Topic, Partition}}).

%% Growth

%% @doc Start processes for partitions that topics have gained, and then let callers see the new counts, so that
%% whoever chooses or is given a new partition finds its processes. Returns when that is done.
-spec grow(brod_client:context(), [growth()]) -> ok.
grow(_Context, []) ->
  ok;
grow(Context, Grown) ->
  %% Not in the caller, who may die; not in the client, which producers and consumers call when they start.
  {_, MRef} = spawn_monitor(fun() -> lists:foreach(fun(G) -> grow_topic(Context, G) end, Grown) end),
  receive
    {'DOWN', MRef, process, _, _} -> ok
  after ?GROWTH_LIMIT_MS ->
    true = demonitor(MRef, [flush]),
    ok
  end.

grow_topic(#{client := Client} = Context, {Topic, From, To}) ->
  #{producers_sup := ProducersSup, consumers_sup := ConsumersSup} = Context,
  Partitions = lists:seq(From, To - 1),
  ok = brod_producers_sup:start_new_partitions(ProducersSup, Client, Topic, Partitions),
  ok = brod_consumers_sup:start_new_partitions(ConsumersSup, Client, Topic, Partitions),
  _ = brod_client_ref:call(Client, {publish_count, Topic, To}),
  ok.
