%% @doc A client: the process that owns an engine client, and with it the connections to a cluster, and
%% that supervises the producers and consumers started on it.
%%
%% Calls that wait for Kafka run in the caller's process on the engine client that they find in the
%% client's ETS table, so a slow broker keeps nobody waiting but who asked. The table has the
%% client's name; the client alone writes:
%%   {engine, Engine, Context}            what a caller needs to work without asking the client
%%   {{producer, Topic, Partition}, Pid}  and {{consumer, Topic, Partition}, Pid}
%%   {{topics, Topic}, ...}               see brod_topic_cache
-module(brod_client).
-behaviour(gen_server).

-export([child_spec/1]).
-export([start_link/3, stop/1]).
-export([engine/1, context/1, context_here/1, get_bootstrap/1]).
-export([get_metadata/2, get_metadata_safe/2, get_partitions_count/2, get_partitions_count_safe/2,
         lookup_partitions_count_cache/2]).
-export([get_leader_connection/3, get_connection/3, get_group_coordinator/2,
         get_transactional_coordinator/2]).
-export([start_producer/3, stop_producer/2, get_producer/3, find_producer/3,
         start_consumer/3, stop_consumer/2, get_consumer/3, find_consumer/3]).
-export([register_producer/3, register_producer/4, deregister_producer/3,
         register_consumer/3, deregister_consumer/3]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2,
         code_change/3, format_status/1]).

-export_type([config/0, context/0]).

-include("brod_int.hrl").

-define(MAX_DISPATCHERS, 8).
-define(STOP_LIMIT_MS, 60000).
-define(GROWTH_CHECK_INTERVAL_MS, 1000).
-define(CONNECT_GRACE_MS, 5000).

-type config() :: brod_option_types:client().
-type context() ::
        #{ engine := brod_nif:client()
         , options := map()
         , endpoints := [brod:endpoint()]
         , conn_config := map()
         , table := atom()
         , client := pid()
         , producers_sup := pid()
         , consumers_sup := pid()
         }.

-record(state,
  { id                :: brod:client_id()
  , context           :: map()
  , connecting        :: undefined | reference()
  , waiting = []      :: [{term(), gen_server:from()}]
  , connections       :: brod_client_connections:pool()
    %% monitors
  , dispatchers = []  :: [reference()]
    %% when a topic was last asked whether it has a partition that nobody knows (monotonic ms)
  , growth_checks = #{} :: #{brod:topic() => integer()}
  }).

%% @doc A child of a supervisor: `{brod_client, {Endpoints, ClientId, Config}}'. It ends where no broker can be reached when it
%% starts: `brod:start_client/3' has brod's own supervisor try again after `restart_delay_seconds'.
-spec child_spec({[brod:endpoint()], brod:client_id(), config()}) -> supervisor:child_spec().
child_spec({Endpoints, ClientId, Config}) ->
  #{id => {?MODULE, ClientId}, start => {?MODULE, start_link, [Endpoints, ClientId, Config]}}.

%% @doc Start a client. Returns before it is connected: calls wait until it is, and when no broker
%% can be reached it exits with `[{{Host, Port}, {Reason, Stack}}]'. Once it has been connected, it
%% lives through any outage. `{error, {bad_option, Key, Value}}' for an option that cannot be used.
-spec start_link([brod:endpoint()], brod:client_id(), config()) -> {ok, pid()} | {error, term()}.
start_link(Endpoints, ClientId, Config) when is_atom(ClientId) ->
  Args = {Endpoints, ClientId, brod_options:hide_secrets(Config)},
  gen_server:start_link({local, ClientId}, ?MODULE, Args, []).

%% @doc Stop a client; `ok' also when it is not running.
-spec stop(brod:client()) -> ok.
stop(Client) ->
  MRef = monitor(process, Client),
  _ = brod_client_ref:call(Client, stop),
  receive
    {'DOWN', MRef, process, _, _} -> ok
  after ?STOP_LIMIT_MS ->
    demonitor(MRef, [flush]),
    ok
  end.

%% @doc The engine client, for {@link brod_engine:call/3}. Does not involve the client's process
%% once the client is connected.
-spec engine(brod:client()) -> {ok, brod_nif:client()} | {error, term()}.
engine(Client) ->
  case context(Client) of
    {ok, #{engine := Engine}} -> {ok, Engine};
    {error, Reason} -> {error, Reason}
  end.

%% @doc All that is needed to work with the client from another process.
%% `{error, client_down}' or `{error, {client_down, Reason}}' if it is not running.
-spec context(brod:client()) -> {ok, context()} | {error, term()}.
context(Client) -> brod_client_ref:context(Client).

%% @doc As {@link context/1}, to open something on the client: what the engine has belongs to a process of its node.
-spec context_here(brod:client()) -> {ok, context()} | {error, term()}.
context_here(Client) when is_pid(Client), node(Client) =/= node() ->
  {error, {client_down, {runs_on, node(Client)}}};
context_here(Client) ->
  context(Client).

%% @doc The endpoints and connection options that the client was started with.
-spec get_bootstrap(brod:client()) ->
        {ok, {[brod:endpoint()], map()}} | {error, term()}.
get_bootstrap(Client) ->
  brod_client_ref:with_context(Client, fun(#{endpoints := Endpoints, conn_config := Config}) ->
    {ok, {Endpoints, brod_client_lookup:public(Config)}}
  end).

%% Metadata

%% @doc Metadata of all topics (`all' or `undefined'), of one topic, or of several. Errors of single
%% topics are found inside, as `error_code'. A topic that does not exist may be created by this,
%% if broker and client (`allow_topic_auto_creation') permit it.
-spec get_metadata(brod:client(), all | undefined | brod:topic() | [brod:topic()]) ->
        {ok, map()} | {error, term()}.
get_metadata(Client, Topics) ->
  brod_client_lookup:metadata(Client, Topics, true).

%% @doc As {@link get_metadata/2}, but never creates a topic.
-spec get_metadata_safe(brod:client(), all | undefined | brod:topic() | [brod:topic()]) ->
        {ok, map()} | {error, term()}.
get_metadata_safe(Client, Topics) ->
  brod_client_lookup:metadata(Client, Topics, false).

%% @doc Number of a topic's partitions, remembered after the first time.
-spec get_partitions_count(brod:client(), brod:topic()) ->
        {ok, pos_integer()} | {error, term()}.
get_partitions_count(Client, Topic) ->
  brod_client_lookup:partitions_count(Client, Topic, true).

%% @doc As {@link get_partitions_count/2}, but never creates the topic.
-spec get_partitions_count_safe(brod:client(), brod:topic()) ->
        {ok, pos_integer()} | {error, term()}.
get_partitions_count_safe(Client, Topic) ->
  brod_client_lookup:partitions_count(Client, Topic, false).

%% @doc What is remembered of a topic's partition count; `false' if nothing.
-spec lookup_partitions_count_cache(atom(), brod:topic()) ->
        {ok, pos_integer()} | {error, term()} | false.
lookup_partitions_count_cache(Table, Topic) ->
  brod_topic_cache:lookup(Table, Topic).

%% Connections and coordinators

%% @doc A connection to the leader of a partition. It belongs to the client: do not close it.
-spec get_leader_connection(brod:client(), brod:topic(), brod:partition()) ->
        {ok, brod:connection()} | {error, term()}.
get_leader_connection(Client, Topic, Partition) ->
  brod_client_connections:leader(Client, Topic, Partition).

%% @doc A connection to a given broker. It belongs to the client: do not close it.
%% `{error, {Reason, Stack}}' if nobody answers there.
-spec get_connection(brod:client(), brod:hostname(), brod:portnum()) ->
        {ok, brod:connection()} | {error, term()}.
get_connection(Client, Host, Port) ->
  brod_client_connections:direct(Client, Host, Port).

%% @doc The broker that coordinates a group, with the options to connect to it.
-spec get_group_coordinator(brod:client(), brod:group_id()) ->
        {ok, {brod:endpoint(), map()}} | {error, term()}.
get_group_coordinator(Client, GroupId) ->
  brod_client_lookup:coordinator(Client, group, GroupId).

%% @doc The broker that coordinates a transactional id, with the options to connect to it.
-spec get_transactional_coordinator(brod:client(), brod:transactional_id()) ->
        {ok, {brod:endpoint(), map()}} | {error, term()}.
get_transactional_coordinator(Client, TransactionalId) ->
  brod_client_lookup:coordinator(Client, txn, TransactionalId).

%% Producers and consumers

%% @doc Start the producers of a topic; `ok' also if they are running.
-spec start_producer(brod:client(), brod:topic(), brod:producer_config()) -> ok | {error, term()}.
start_producer(Client, Topic, Config) ->
  brod_client_workers:start_producer(Client, Topic, Config).

%% @doc Start the consumers of a topic; `ok' also if they are running.
-spec start_consumer(brod:client(), brod:topic(), brod:consumer_config()) -> ok | {error, term()}.
start_consumer(Client, Topic, Config) ->
  brod_client_workers:start_consumer(Client, Topic, Config).

%% @doc Stop the producers of a topic.
-spec stop_producer(brod:client(), brod:topic()) -> ok | {error, term()}.
stop_producer(Client, Topic) ->
  brod_client_workers:stop_producer(Client, Topic).

%% @doc Stop the consumers of a topic.
-spec stop_consumer(brod:client(), brod:topic()) -> ok | {error, term()}.
stop_consumer(Client, Topic) ->
  brod_client_workers:stop_consumer(Client, Topic).

%% @doc A partition's producer. Starts the topic's producers if the client's option
%% `auto_start_producers' says so.
-spec get_producer(brod:client(), brod:topic(), brod:partition()) ->
        {ok, pid()}
      | {error, {producer_not_found, brod:topic()}
              | {producer_not_found, brod:topic(), brod:partition()}
              | {producer_down, term()} | client_down | term()}.
get_producer(Client, Topic, Partition) ->
  brod_client_workers:get_producer(Client, Topic, Partition).

%% @doc A partition's consumer.
-spec get_consumer(brod:client(), brod:topic(), brod:partition()) ->
        {ok, pid()}
      | {error, {consumer_not_found, brod:topic()}
              | {consumer_not_found, brod:topic(), brod:partition()}
              | {consumer_down, term()} | client_down | term()}.
get_consumer(Client, Topic, Partition) ->
  brod_client_workers:get_consumer(Client, Topic, Partition).

%% @doc As {@link get_producer/3}, by asking the supervisors.
-spec find_producer(brod:client(), brod:topic(), brod:partition()) ->
        {ok, pid()} | {error, term()}.
find_producer(Client, Topic, Partition) ->
  brod_client_workers:find_producer(Client, Topic, Partition).

%% @doc As {@link get_consumer/3}, by asking the supervisors.
-spec find_consumer(brod:client(), brod:topic(), brod:partition()) ->
        {ok, pid()} | {error, term()}.
find_consumer(Client, Topic, Partition) ->
  brod_client_workers:find_consumer(Client, Topic, Partition).

%% @doc Make the calling process known as a partition's producer.
-spec register_producer(brod:client(), brod:topic(), brod:partition()) -> ok.
register_producer(Client, Topic, Partition) ->
  brod_client_workers:register_producer(Client, Topic, Partition).

%% @doc As {@link register_producer/3}; callers of `brod:produce/5' find it in the engine.
-spec register_producer(brod:client(), brod:topic(), brod:partition(), brod_nif:producer()) -> ok.
register_producer(Client, Topic, Partition, Handle) ->
  brod_client_workers:register_producer(Client, Topic, Partition, Handle).

%% @doc Forget a partition's producer.
-spec deregister_producer(brod:client(), brod:topic(), brod:partition()) -> ok.
deregister_producer(Client, Topic, Partition) ->
  brod_client_workers:deregister_producer(Client, Topic, Partition).

%% @doc Make the calling process known as a partition's consumer.
-spec register_consumer(brod:client(), brod:topic(), brod:partition()) -> ok.
register_consumer(Client, Topic, Partition) ->
  brod_client_workers:register_consumer(Client, Topic, Partition).

%% @doc Forget a partition's consumer.
-spec deregister_consumer(brod:client(), brod:topic(), brod:partition()) -> ok.
deregister_consumer(Client, Topic, Partition) ->
  brod_client_workers:deregister_consumer(Client, Topic, Partition).

%% gen_server

init({Endpoints, ClientId, Config}) ->
  process_flag(trap_exit, true),
  ok = brod_logging:about(#{client => ClientId}),
  case open(Endpoints, ClientId, Config) of
    {ok, #{sasl_provider := Provider} = Context} ->
      _ = Provider =:= undefined orelse monitor(process, Provider),
      ClientId = ets:new(ClientId, [named_table, protected, set, {read_concurrency, true}]),
      ok = log_tls(ClientId, Context),
      {ok, new_state(ClientId, Context), {continue, connect}};
    {error, [_ | _] = Failures} ->
      %% as if the brokers could not be reached: what is missing may come
      {ok, new_state(ClientId, #{endpoints => Endpoints}), {continue, {fail, Failures}}};
    {error, Reason} ->
      ?BROD_LOG_ERROR("Client ~p cannot start: ~ts. Correct its endpoints or options.",
                      [ClientId, brod_options:describe(Reason)]),
      {stop, Reason}
  end.

new_state(ClientId, Context) ->
  #state{id = ClientId, context = Context, connections = brod_client_connections:new()}.

open(Endpoints, ClientId, Config) ->
  case brod_options:client(Config) of
    {ok, Options0} ->
      ok = brod_options:warn_unknown(client, Config),
      Id = atom_to_binary(ClientId, utf8),
      Options = Options0#{client_id => Id},
      Public = maps:with(brod_options:connection_keys(), brod_options:to_map(Config)),
      case brod_engine:open_checked(Endpoints, Options) of
        {ok, Context} ->
          {ok, Context#{conn_config => Public#{client_id => Id}, table => ClientId,
                        client => self()}};
        {error, Reason} ->
          {error, Reason}
      end;
    {error, Reason} ->
      {error, Reason}
  end.

handle_continue(connect, #state{context = #{engine := Engine} = Context} = State) ->
  Limit = brod_engine:connect_limit(Context),
  Ref = make_ref(),
  ok = brod_nif:op(Engine, Ref, connect, Limit),
  _ = erlang:send_after(Limit + ?CONNECT_GRACE_MS, self(), {brod_reply, Ref, {error, timeout}}),
  {noreply, State#state{connecting = Ref}};
handle_continue({fail, Failures}, State) ->
  connect_failed(Failures, State).

log_tls(ClientId, #{options := #{ssl := #{} = Tls}}) ->
  {Level, Text} = brod_ssl_options:describe(Tls),
  ?BROD_LOG(Level, "Client ~p: ~ts.", [ClientId, Text]);
log_tls(_ClientId, _Context) ->
  ok.

handle_call(stop, _From, State) ->
  {stop, normal, ok, State};
handle_call(Call, From, #state{connecting = Ref, waiting = Waiting} = State)
  when is_reference(Ref) ->
  {noreply, State#state{waiting = [{Call, From} | Waiting]}};
handle_call(Call, _From, State) ->
  {Reply, NewState} = handle_request(Call, State),
  {reply, Reply, NewState}.

handle_cast({register, Row}, #state{id = Table} = State) ->
  true = ets:insert(Table, Row),
  {noreply, State};
handle_cast({publish, Handle}, #state{id = Id} = State) ->
  ok = brod_nif:producer_publish(Handle, Id),
  {noreply, State};
handle_cast({deregister, Key}, #state{id = Table} = State) ->
  true = ets:delete(Table, Key),
  {noreply, State};
handle_cast(_Cast, State) ->
  {noreply, State}.

handle_info({brod_reply, Ref, Result}, #state{connecting = Ref} = State) ->
  case Result of
    ok -> {noreply, connected(State)};
    {error, Reason} -> connect_failed(Reason, State)
  end;
handle_info({brod_engine_down, What}, #state{id = Id} = State) ->
  ?BROD_LOG_ERROR("Client ~p: the engine's task ~s failed; the client starts anew. This is a defect "
                  "of brod: please report it.", [Id, What]),
  ok = brod_telemetry:happened([client, engine_defect], #{count => 1}, #{client => Id, task => What}),
  {stop, {engine_down, What}, State};
handle_info(refresh_metadata, State) ->
  {noreply, refresh_metadata(State)};
handle_info({'EXIT', Pid, Reason}, #state{context = #{producers_sup := Pid}} = State) ->
  {stop, {producers_sup_down, Reason}, State};
handle_info({'EXIT', Pid, Reason}, #state{context = #{consumers_sup := Pid}} = State) ->
  {stop, {consumers_sup_down, Reason}, State};
%% no connection could log in any more
handle_info({'DOWN', _MRef, process, Pid, Reason}, #state{context = #{sasl_provider := Pid}} = State) ->
  {stop, {sasl_provider_down, Reason}, State};
handle_info({'DOWN', MRef, process, _Pid, Reason},
            #state{connections = Connections, dispatchers = Dispatchers} = State) ->
  case lists:member(MRef, Dispatchers) of
    %% it took acks with it: whoever waits for one is told when the producers end
    true -> {stop, {dispatcher_down, Reason}, State};
    false ->
      {noreply, State#state{connections = brod_client_connections:down(MRef, Connections)}}
  end;
handle_info(_Info, State) ->
  {noreply, State}.

%% The dispatchers end by themselves, when they have passed on what is left.
terminate(_Reason, #state{context = #{engine := Engine} = Context}) ->
  lists:foreach(fun shutdown/1, maps:values(maps:with([producers_sup, consumers_sup], Context))),
  brod_nif:client_close(Engine);
terminate(_Reason, _State) ->
  ok.

code_change(_OldVsn, State, _Extra) ->
  {ok, State}.

%% Counts; no options, for there may be secrets among them, and no callers' data.
format_status(#{state := #state{} = State} = Status) ->
  #state{id = Id, context = Context, connecting = Connecting, waiting = Waiting} = State,
  Status#{state := #{ id => Id
                    , endpoints => maps:get(endpoints, Context, [])
                    , connected => Connecting =:= undefined
                    , waiting_calls => length(Waiting)
                    , connections => brod_client_connections:size(State#state.connections)
                    , dispatchers => length(State#state.dispatchers)
                    , producers => count(producer, Id)
                    , consumers => count(consumer, Id)
                    }};
format_status(Status) ->
  Status.

count(Kind, Table) ->
  try ets:select_count(Table, [{{{Kind, '_', '_'}, '_'}, [], [true]}])
  catch error:badarg -> 0
  end.

handle_request(context, #state{context = Context} = State) ->
  {{ok, Context}, State};
%% What was cast before is in the table.
handle_request(registered, State) ->
  {ok, State};
handle_request({store_counts, Counts, Ttl}, #state{id = Table} = State) ->
  {{ok, lists:append([brod_topic_cache:store(Table, T, Result, Ttl) || {T, Result} <- Counts])}, State};
handle_request({publish_count, Topic, Count}, #state{id = Table} = State) ->
  {brod_topic_cache:publish(Table, Topic, Count), State};
handle_request({may_look_for_growth, Topic}, #state{growth_checks = Checks} = State) ->
  Now = erlang:monotonic_time(millisecond),
  case Checks of
    #{Topic := Last} when Now - Last < ?GROWTH_CHECK_INTERVAL_MS -> {false, State};
    _ -> {true, State#state{growth_checks = Checks#{Topic => Now}}}
  end;
handle_request({find_connection, Key}, #state{connections = Connections} = State) ->
  {brod_client_connections:find(Key, Connections), State};
handle_request({add_connection, Key, Pid}, #state{connections = Connections} = State) ->
  {First, Left} = brod_client_connections:add(Key, Pid, Connections),
  {{ok, First}, State#state{connections = Left}};
handle_request({deregister_topic, Kind, Topic}, #state{id = Table} = State) ->
  true = ets:match_delete(Table, {{Kind, Topic, '_'}, '_'}),
  {ok, State};
handle_request(Call, State) ->
  {{error, {unknown_call, Call}}, State}.

connected(#state{id = Table, context = Context0, waiting = Waiting} = State0) ->
  Dispatchers = start_dispatchers(maps:get(engine, Context0)),
  {ok, ProducersSup} = brod_producers_sup:start_link(),
  {ok, ConsumersSup} = brod_consumers_sup:start_link(),
  Context = Context0#{producers_sup => ProducersSup, consumers_sup => ConsumersSup},
  true = ets:insert(Table, {engine, maps:get(engine, Context), Context}),
  ok = brod_handles:put(client, {Table, self()}),
  State = schedule_refresh(State0#state{context = Context, connecting = undefined, waiting = [],
                                        dispatchers = Dispatchers}),
  lists:foldr(fun({Call, From}, Acc0) ->
                {Reply, Acc} = handle_request(Call, Acc0),
                gen_server:reply(From, Reply),
                Acc
              end, State, Waiting).

%% One process passes on millions of acks a second, so there are fewer than schedulers.
start_dispatchers(Engine) ->
  Count = max(1, min(?MAX_DISPATCHERS, erlang:system_info(schedulers_online) div 2)),
  [begin
     {ok, Pid} = brod_dispatcher:start(Engine, self()),
     monitor(process, Pid)
   end || _ <- lists:seq(1, Count)].

%% Its line says all that there is to say, and comes again with each attempt.
-spec connect_failed(term(), #state{}) -> no_return().
connect_failed(Reason, #state{id = Id, context = #{endpoints := Endpoints}} = State) ->
  Failures = case brod_engine:failures({error, Reason}, Endpoints) of
               {error, [_ | _] = L} -> L;
               {error, R} -> [{Endpoint, {R, []}} || Endpoint <- Endpoints]
             end,
  ?BROD_LOG_ERROR("Client ~p cannot connect to Kafka: ~ts.",
                  [Id, brod_connect_failure:describe(Failures)]),
  %% The engine's own events of it go with the engine's client. Those of a kind stand together: see brod_stats:why_down/1.
  Tell = fun(Event, {{Host, Port}, {Why, _Stack}}) ->
           Broker = brod_stats:name(#{host => brod_engine:to_binary(Host), port => Port}),
           ok = brod_telemetry:happened([client, Event], #{count => 1},
                                        #{client => Id, broker => Broker, reason => brod_connect_failure:why(Why)})
         end,
  _ = [Tell(authentication_failed, Refused) || {_, {{sasl_auth_error, _}, _}} = Refused <- Failures],
  _ = [Tell(connect_failed, Failure) || Failure <- Failures],
  ok = terminate(Failures, State),
  brod_crash:quietly(Failures).

%% Partitions that a topic gained are found without anybody asking for them.
refresh_metadata(#state{id = Table} = State) ->
  ok = brod_topic_cache:forget_gone(Table),
  _ = case brod_topic_cache:known_topics(Table) of
        [] -> ok;
        %% without a process for it, the next time will do
        Topics -> brod_spawn:start(fun() -> get_metadata_safe(Table, Topics) end)
      end,
  schedule_refresh(State).

schedule_refresh(#state{context = #{options := #{metadata_max_age := Age}}} = State) ->
  _ = erlang:send_after(Age, self(), refresh_metadata),
  State.

%% A kind order first; supervisors end when their children have ended.
shutdown(Sup) ->
  MRef = monitor(process, Sup),
  exit(Sup, shutdown),
  receive {'DOWN', MRef, process, Sup, _} -> ok end.
