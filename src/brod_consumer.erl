%% @doc The consumer of one partition: the process that others subscribe to, acknowledge to, monitor
%% and stop.
%%
%% The engine fetches and sends the message sets straight to the subscriber; no message passes
%% through this process. It keeps the subscription: who has it, with what options, and whether they
%% live. Between the engine and a subscriber on another node stands a process that passes the sets on.
%%
%% A subscriber gets `{ConsumerPid, #kafka_message_set{}}' and `{ConsumerPid,
%% #kafka_fetch_error{}}'.
-module(brod_consumer).
-behaviour(gen_server).

-export([child_spec/1]).
-export([start_link/4, start_link/5, start_supervised/4, stop/1, stop_maybe_kill/2]).
-export([subscribe/3, subscribe_async/4, unsubscribe/2, unsubscribe_async/2]).
-export([ack/2, pause/1, resume/1, seek/2]).
-export([info/1, get_connection/1, check_connectivity/2, debug/2, handle/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3,
         format_status/1]).

-include("brod_int.hrl").

-export_type([config/0, isolation_level/0, offset_reset_policy/0]).

-type isolation_level() :: read_committed | read_uncommitted.
-type offset_reset_policy() :: reset_by_subscriber | reset_to_earliest | reset_to_latest.
-type config() :: proplists:proplist().
-type begin_offset() :: brod:offset() | earliest | latest | {timestamp, non_neg_integer()}.

%% How long the engine may take to find out where a subscription begins.
-define(SUBSCRIBE_TIMEOUT_MS, 20000).
-define(CALL_TIMEOUT_MS, 5000).
-define(LONGEST_MS, 16#7fffffff).
-define(MAX_OFFSET, 16#7fffffffffffffff).
%% How often a consumer looks whether its client is back.
-define(CLIENT_CHECK_MS, 1000).

%% The one call to the engine that may be under way: a subscribe or a seek.
-record(pending, {ref :: reference(), from, kind :: subscribe | resubscribe | seek,
                  timer :: reference()}).

-record(st, {client :: brod:client() | brod:bootstrap(),
             engine :: term(),
             endpoints = [] :: [brod:endpoint()],
             %% undefined: there is no client, or it is away
             client_monitor :: undefined | reference(),
             %% the engine client when it is this consumer's own: it was given endpoints, or there
             %% is another consumer of the partition
             own :: undefined | brod_engine:context(),
             topic :: brod:topic(),
             partition :: brod:partition(),
             handle :: term(),
             options :: brod_consumer_options:options(),
             %% false until a subscription has begun: only then can one go on where it stood
             began = false :: boolean(),
             subscriber :: undefined | {pid(), Monitor :: reference()},
             %% counts subscriptions
             number = 0 :: non_neg_integer(),
             %% its connection to the leader, where it was asked for one and has no client
             connection :: undefined | pid(),
             %% passes sets on to a subscriber on another node
             forwarder :: undefined | pid(),
             pending :: undefined | #pending{}}).

%%% API

%% @doc A child of a supervisor: `{brod_consumer, {Client, Topic, Partition, Config}}'.
-spec child_spec({brod:client() | brod:bootstrap(), brod:topic(), brod:partition(), config()}) -> supervisor:child_spec().
child_spec({Client, Topic, Partition, Config}) ->
  #{id => {?MODULE, Topic, Partition}, start => {?MODULE, start_link, [Client, Topic, Partition, Config]}}.

%% @equiv start_link(Bootstrap, Topic, Partition, Config, [])
-spec start_link(brod:client() | brod:bootstrap(), brod:topic(), brod:partition(), config()) ->
        {ok, pid()} | {error, term()}.
start_link(Bootstrap, Topic, Partition, Config) ->
  start_link(Bootstrap, Topic, Partition, Config, []).

%% @doc Starts the consumer of a partition, linked to the caller. `Bootstrap' is a client (id or
%% pid), where the consumer is then registered, or endpoints with or without connection options, for
%% a consumer with an engine client of its own. Several consumers of a partition work independently;
%% the client knows the last one. `Debug': options of `sys'.
%% An option with a wrong value: `{error, {bad_option, Key, Value}}'.
-spec start_link(brod:client() | brod:bootstrap(), brod:topic(), brod:partition(), config(),
                 [term()]) -> {ok, pid()} | {error, term()}.
start_link(Bootstrap, Topic, Partition, Config, Debug) ->
  case brod_options:is_config(Config) of
    true -> ok = brod_consumer_options:warn_unusable(Config);
    false -> ok
  end,
  start(Bootstrap, Topic, Partition, Config, Debug).

%% @private As start_link/4, where somebody has looked at the options.
-spec start_supervised(brod:client(), brod:topic(), brod:partition(), config()) ->
        {ok, pid()} | {error, term()}.
start_supervised(Client, Topic, Partition, Config) ->
  start(Client, Topic, Partition, Config, []).

start(Bootstrap, Topic, Partition, Config, Debug) ->
  gen_server:start_link(?MODULE, {Bootstrap, Topic, Partition, Config}, [{debug, Debug}]).

%% @doc Stop a consumer. Its supervisor, if there is one, does not start it again.
-spec stop(pid()) -> ok | {error, term()}.
stop(Pid) -> safe_call(Pid, stop, infinity).

%% @doc Stops the consumer; kills it if it has not stopped within `TimeoutMs'.
-spec stop_maybe_kill(pid(), timeout()) -> ok.
stop_maybe_kill(Pid, TimeoutMs) ->
  case safe_call(Pid, stop, TimeoutMs) of
    {error, {timeout, _}} -> exit(Pid, kill), ok;
    {error, timeout} -> exit(Pid, kill), ok;
    _ -> ok
  end.

%% @doc Makes `SubscriberPid' the one that the messages go to. Whoever subscribed first keeps the
%% consumer while it lives: others get `{error, {already_subscribed_by, Pid}}'. The same process may
%% subscribe again, with other options; without `begin_offset' it goes on after what it
%% acknowledged. Returns when the begin offset is known. A call that another one overtakes gets
%% `{error, superseded}'.
%% A registered name stands for the process that has it now; with a name that nobody has it is still said
%% who has the consumer, if somebody has. Raises `badarg' for what is no process of either kind, and for
%% options that are neither a list nor a map.
-spec subscribe(pid(), pid() | atom(), config()) -> ok | {error, term()}.
subscribe(Pid, Name, Options) when is_atom(Name) ->
  case whereis(Name) of
    undefined -> refuse_nobody(Pid, Name);
    SubscriberPid -> subscribe(Pid, SubscriberPid, Options)
  end;
subscribe(Pid, SubscriberPid, Options) when is_pid(SubscriberPid) ->
  brod_options:is_config(Options) orelse error(badarg, [Pid, SubscriberPid, Options]),
  ok = brod_consumer_options:warn_unusable(Options),
  %% No limit here: the consumer always answers, at the latest after its own.
  safe_call(Pid, {subscribe, SubscriberPid, Options}, infinity);
subscribe(Pid, Subscriber, Options) ->
  error(badarg, [Pid, Subscriber, Options]).

refuse_nobody(Pid, Name) ->
  case info(Pid) of
    #{subscriber := Other} when is_pid(Other) -> {error, {already_subscribed_by, Other}};
    #{} -> {error, {no_such_process, Name}};
    {error, _} = Error -> Error
  end.

%% @private As subscribe/3 for the calling process; the result comes as `{brod_subscribed, Tag,
%% Result}'.
-spec subscribe_async(pid(), pid(), config(), term()) -> ok.
subscribe_async(Pid, SubscriberPid, Options, Tag) ->
  gen_server:cast(Pid, {subscribe, {SubscriberPid, Tag}, Options}).

%% @doc Ends the subscription of `SubscriberPid'; `{error, ignored}' when it has none.
-spec unsubscribe(pid(), pid() | atom()) -> ok | {error, term()}.
unsubscribe(Pid, Name) when is_atom(Name), Name =/= undefined ->
  unsubscribe(Pid, whereis(Name));
unsubscribe(Pid, SubscriberPid) -> safe_call(Pid, {unsubscribe, SubscriberPid}, infinity).

%% @private As unsubscribe/2 for those who do not care whether there was a subscription.
-spec unsubscribe_async(pid(), pid()) -> ok.
unsubscribe_async(Pid, SubscriberPid) -> gen_server:cast(Pid, {unsubscribe, SubscriberPid}).

%% @doc Tells that the messages up to `Offset' are done with, so that more may be fetched.
%% Raises `badarg' for what cannot be an offset.
-spec ack(pid(), brod:offset()) -> ok.
ack(Pid, Offset) ->
  (is_integer(Offset) andalso abs(Offset) =< ?MAX_OFFSET) orelse error(badarg, [Pid, Offset]),
  case handle(Pid) of
    undefined -> gen_server:cast(Pid, {ack, Offset});
    Handle -> brod_nif:consumer_ack(Handle, Offset)
  end.

%% @private The engine's handle of a consumer on this node, for callers that acknowledge often.
-spec handle(pid()) -> undefined | term().
handle(Pid) ->
  try ets:lookup_element(?BROD_HANDLES, Pid, 3)
  catch error:badarg -> undefined
  end.

%% @doc Stops fetching until resume/1. What is on its way to the subscriber still arrives.
-spec pause(pid()) -> ok | {error, term()}.
pause(Pid) -> safe_call(Pid, pause, ?CALL_TIMEOUT_MS).

%% @doc Goes on fetching after {@link pause/1}.
-spec resume(pid()) -> ok | {error, term()}.
resume(Pid) -> safe_call(Pid, resume, ?CALL_TIMEOUT_MS).

%% @doc Moves the subscription to another offset. Sets from before may still be in the mailbox of
%% the subscriber. `{error, no_subscriber}' when nobody is subscribed, `{error, busy}' while another seek or a subscribe is under way.
-spec seek(pid(), begin_offset()) -> ok | {error, term()}.
seek(Pid, BeginOffset) -> safe_call(Pid, {seek, BeginOffset}, infinity).

%% @doc What the engine knows of this consumer, with the keys `topic', `partition' and `subscriber'.
-spec info(pid()) -> map() | {error, term()}.
info(Pid) -> safe_call(Pid, info, ?CALL_TIMEOUT_MS).

%% @doc A connection to the leader of the partition, `undefined' when there is none.
-spec get_connection(pid()) -> undefined | pid() | {error, term()}.
get_connection(Pid) ->
  case safe_call(Pid, source, ?CALL_TIMEOUT_MS) of
    {ok, #{client := Client, topic := Topic, partition := Partition}}
      when is_atom(Client); is_pid(Client) ->
      case brod_client:get_leader_connection(Client, Topic, Partition) of
        {ok, Connection} -> Connection;
        {error, _} -> undefined
      end;
    {ok, _Bootstrap} ->
      case safe_call(Pid, connection, infinity) of
        {ok, Connection} -> Connection;
        {error, _} -> undefined
      end;
    {error, _} = Error -> Error
  end.

%% @doc Asks the leader of the partition something, and waits at most `TimeoutMs' for the answer.
-spec check_connectivity(pid(), timeout()) -> ok | {error, term()}.
check_connectivity(Pid, TimeoutMs) ->
  case safe_call(Pid, source, TimeoutMs) of
    {ok, #{engine := Engine, endpoints := Endpoints, topic := Topic, partition := Partition}} ->
      Op = {list_offsets, Topic, Partition, -1},
      case brod_engine:failures(brod_engine:call(Engine, Op, limit(TimeoutMs)), Endpoints) of
        {ok, _Offset} -> ok;
        {error, _} = Error -> Error
      end;
    {error, _} = Error ->
      Error
  end.

%% The engine wants a number; it asks for as long as its own limits let it.
limit(infinity) -> ?LONGEST_MS;
limit(TimeoutMs) -> min(TimeoutMs, ?LONGEST_MS).

%% @doc Traces the process: to the shell, to a file, or no more.
-spec debug(pid(), print | string() | none) -> ok.
debug(Pid, none) -> sys:no_debug(Pid);
debug(Pid, print) -> sys:trace(Pid, true);
debug(Pid, File) when is_list(File) -> sys:log_to_file(Pid, File).

%%% gen_server

init({Bootstrap, Topic, Partition, Config}) ->
  process_flag(trap_exit, true),
  ok = brod_logging:about(#{client => brod_logging:client(Bootstrap), topic => Topic, partition => Partition}),
  case brod_consumer_options:new(Config) of
    {ok, Options} -> open(#st{client = brod_options:hide_secrets(Bootstrap), topic = Topic,
                              partition = Partition, options = Options});
    {error, Reason} -> {stop, Reason}
  end.

handle_call({subscribe, Pid, Options}, From, St) ->
  case is_away(St) of
    true -> {reply, {error, client_down}, St};
    false -> begin_subscription(Pid, Options, From, St)
  end;
handle_call({unsubscribe, Pid}, _From, #st{subscriber = {Pid, _}} = St) ->
  {reply, ok, drop_subscriber(St, unsubscribed)};
handle_call({unsubscribe, _Pid}, _From, St) ->
  {reply, {error, ignored}, St};
handle_call({seek, BeginOffset}, From, St) ->
  begin_seek(BeginOffset, From, St);
handle_call(pause, _From, St) ->
  {reply, brod_nif:consumer_pause(St#st.handle), St};
handle_call(resume, _From, St) ->
  {reply, brod_nif:consumer_resume(St#st.handle), St};
handle_call(info, _From, St) ->
  Info = brod_nif:consumer_info(St#st.handle),
  {reply, Info#{topic => St#st.topic, partition => St#st.partition,
                subscriber => subscriber_pid(St)}, St};
handle_call(source, _From, St) ->
  {reply, {ok, #{client => St#st.client, engine => St#st.engine, endpoints => St#st.endpoints,
                 topic => St#st.topic, partition => St#st.partition}}, St};
handle_call(connection, _From, St) ->
  connect_leader(St);
handle_call(stop, _From, St) ->
  {stop, normal, ok, St};
handle_call(Call, _From, St) ->
  {reply, {error, {unknown_call, Call}}, St}.

handle_cast({ack, Offset}, St) when is_integer(Offset), abs(Offset) =< ?MAX_OFFSET ->
  ok = brod_nif:consumer_ack(St#st.handle, Offset),
  {noreply, St};
handle_cast({unsubscribe, Pid}, #st{subscriber = {Pid, _}} = St) ->
  {noreply, drop_subscriber(St, unsubscribed)};
handle_cast({subscribe, {Pid, Tag}, Options}, St) ->
  case not is_away(St) andalso begin_subscription(Pid, Options, {async, Pid, Tag}, St) of
    {reply, Result, NewSt} ->
      reply({async, Pid, Tag}, Result),
      {noreply, NewSt};
    {noreply, NewSt} ->
      {noreply, NewSt};
    false ->
      reply({async, Pid, Tag}, {error, client_down}),
      {noreply, St}
  end;
handle_cast(_Cast, St) ->
  {noreply, St}.

handle_info({brod_reply, Ref, Result}, #st{pending = #pending{ref = Ref}} = St) ->
  %% From now on the engine delivers to the subscriber.
  {noreply, finish(Result, St), hibernate};
handle_info({subscribe_timeout, Ref}, #st{pending = #pending{ref = Ref}} = St) ->
  {noreply, finish({error, timeout}, St)};
handle_info({brod_fetch_error, Handle, Number, Code, Desc},
            #st{handle = Handle, number = Number} = St) ->
  case brod_nif:consumer_info(Handle) of
    %% A seek has gone on since.
    #{active := true} -> {noreply, St};
    _ -> fetch_error(Code, Desc, St)
  end;
handle_info({brod_engine_down, What}, St) ->
  {stop, {engine_down, What}, St};
handle_info({'DOWN', Monitor, process, Pid, _Reason}, #st{subscriber = {Pid, Monitor}} = St) ->
  {noreply, drop_subscriber(St, subscriber_down)};
handle_info({'DOWN', Monitor, process, _, Reason}, #st{client_monitor = Monitor, client = Client} = St)
  when is_pid(Client) ->
  {stop, {shutdown, {client_down, Reason}}, St};
handle_info({'DOWN', Monitor, process, _, _Reason}, #st{client_monitor = Monitor} = St) ->
  {noreply, client_is_away(St)};
handle_info(client_check, #st{client_monitor = undefined} = St) ->
  {noreply, find_client(St)};
handle_info({'EXIT', Connection, _Reason}, #st{connection = Connection} = St) ->
  {noreply, St#st{connection = undefined}};
handle_info({'EXIT', _Pid, Reason}, St) when Reason =/= normal ->
  {stop, Reason, St};
handle_info(_Info, St) ->
  {noreply, St}.

terminate(_Reason, #st{client = Client} = St) ->
  ok = brod_handles:take_back(),
  ok = brod_nif:consumer_close(St#st.handle),
  St#st.own =:= undefined orelse brod_engine:close(St#st.own),
  St#st.client_monitor =:= undefined
    orelse brod_client:deregister_consumer(Client, St#st.topic, St#st.partition).

code_change(_OldVsn, St, _Extra) -> {ok, St}.

%% @private
format_status(Status) -> brod_crash:status(Status, fun shown/1).

shown(#st{} = St) ->
  #{client => St#st.client, topic => St#st.topic,
    partition => St#st.partition, options => St#st.options,
    subscriber => subscriber_pid(St), subscriptions => St#st.number}.

%%% Internal

%% The client that it works with is known by name and does not run.
is_away(#st{client = Client, client_monitor = Monitor}) ->
  is_atom(Client) andalso Monitor =:= undefined.

%% As a consumer of brod does, it waits for the client to come back, and is not heard of meanwhile.
%% The handle of the engine's former client still knows where it stood.
client_is_away(St) ->
  ok = abandon(client_down, St),
  St#st.own =:= undefined orelse brod_engine:close(St#st.own),
  check_client_later(St#st{client_monitor = undefined, own = undefined, pending = undefined}).

check_client_later(St) ->
  _ = erlang:send_after(?CLIENT_CHECK_MS, self(), client_check),
  St.

find_client(#st{handle = Former} = St) ->
  %% A client that has not connected yet lets its callers wait.
  case whereis(St#st.client) =/= undefined andalso open(St) of
    {ok, New} ->
      ok = brod_nif:consumer_close(Former),
      go_on(next_offset(maps:get(begin_offset, St#st.options), St), New);
    _ ->
      check_client_later(St)
  end.

%% The subscriber that there was goes on getting messages from where it was.
go_on(_Begin, #st{subscriber = undefined} = St) -> St;
go_on(Begin, #st{subscriber = {Pid, _}} = St) ->
  ok = brod_consumer_forwarder:stop(St#st.forwarder),
  subscribe_engine(Pid, Begin, none, resubscribe, St).

connect_leader(#st{connection = Connection} = St) when is_pid(Connection) ->
  {reply, {ok, Connection}, St};
connect_leader(#st{own = Own, topic = Topic, partition = Partition} = St) ->
  case brod_consumer_engine:connect_leader(Own, Topic, Partition) of
    {ok, Connection} -> {reply, {ok, Connection}, St#st{connection = Connection}};
    {error, _} = Error -> {reply, Error, St}
  end.

open(#st{client = Client, topic = Topic, partition = Partition, options = Options} = St) ->
  case brod_consumer_engine:open(Client, Topic, Partition, Options) of
    {ok, #{engine := Engine, endpoints := Endpoints, client_monitor := Monitor, own := Own,
           handle := Handle}} ->
      {ok, St#st{engine = Engine, endpoints = Endpoints, client_monitor = Monitor, own = Own,
                 handle = Handle}};
    {error, Reason} ->
      {stop, Reason}
  end.

begin_subscription(Pid, Given, From, St) ->
  case subscriber_pid(St) of
    Other when Other =/= undefined, Other =/= Pid ->
      {reply, {error, {already_subscribed_by, Other}}, St};
    _ ->
      case brod_consumer_options:merge(St#st.options, Given) of
        {ok, Options} ->
          Start = maps:get(begin_offset, Options),
          BeginOffset = case brod_options:given(begin_offset, Given, undefined) of
                          undefined -> next_offset(Start, St);
                          _ -> Start
                        end,
          ok = abandon(superseded, St),
          ok = brod_consumer_forwarder:stop(St#st.forwarder),
          NewSt = St#st{options = Options, subscriber = monitored(Pid, St)},
          {noreply, subscribe_engine(Pid, BeginOffset, From, subscribe, NewSt)};
        {error, _} = Error ->
          {reply, Error, St}
      end
  end.

subscribe_engine(Pid, BeginOffset, From, Kind, #st{options = Options} = St) ->
  Number = St#st.number + 1,
  {Receiver, Forwarder} = brod_consumer_forwarder:receiver(Pid),
  Ref = brod_nif:consumer_subscribe(St#st.handle, Receiver, Number,
                                    Options#{begin_offset := BeginOffset}),
  St#st{number = Number, forwarder = Forwarder, pending = pending(Ref, From, Kind)}.

begin_seek(_BeginOffset, _From, #st{subscriber = undefined} = St) ->
  {reply, {error, no_subscriber}, St};
%% Not set is no place to go to.
begin_seek(NotSet, _From, St) when NotSet =:= undefined; NotSet =:= nil ->
  {reply, {error, {bad_option, begin_offset, NotSet}}, St};
begin_seek(BeginOffset, From, #st{pending = undefined} = St) ->
  case brod_consumer_options:merge(St#st.options, [{begin_offset, BeginOffset}]) of
    {ok, #{begin_offset := Checked}} ->
      Ref = brod_nif:consumer_seek(St#st.handle, Checked),
      {noreply, St#st{pending = pending(Ref, From, seek)}};
    {error, _} = Error ->
      {reply, Error, St}
  end;
begin_seek(_BeginOffset, _From, St) ->
  {reply, {error, busy}, St}.

pending(Ref, From, Kind) ->
  Timer = erlang:send_after(?SUBSCRIBE_TIMEOUT_MS, self(), {subscribe_timeout, Ref}),
  #pending{ref = Ref, from = From, kind = Kind, timer = Timer}.

%% The engine's answer to the pending call has come, or will be waited for no longer.
finish(Outcome, #st{pending = #pending{from = From, kind = Kind, timer = Timer}} = St) ->
  _ = erlang:cancel_timer(Timer),
  Result = brod_engine:failures(Outcome, St#st.endpoints),
  reply(From, Result),
  Done = St#st{pending = undefined},
  case {Kind, Result} of
    {subscribe, ok} -> Done#st{began = true};
    {resubscribe, ok} -> Done#st{began = true};
    %% The subscriber sees the consumer go, and subscribes to the next one.
    {resubscribe, {error, Reason}} -> exit({shutdown, {not_resumed, Reason}});
    {subscribe, _} -> drop_subscriber(Done, failed);
    %% A seek that failed leaves the subscription where it was.
    {seek, _} -> Done
  end.

abandon(_Why, #st{pending = undefined}) -> ok;
abandon(Why, #st{pending = #pending{from = From, timer = Timer}}) ->
  _ = erlang:cancel_timer(Timer),
  reply(From, {error, Why}).

reply(none, _Result) -> ok;
reply({async, Pid, Tag}, Result) -> Pid ! {brod_subscribed, Tag, Result}, ok;
reply(From, Result) -> gen_server:reply(From, Result).

next_offset(Start, #st{began = false}) -> Start;
next_offset(Start, #st{handle = Handle}) ->
  case brod_nif:consumer_info(Handle) of
    #{next_offset := Offset} when is_integer(Offset) -> Offset;
    _ -> Start
  end.

monitored(Pid, #st{subscriber = {Pid, _} = Same}) -> Same;
monitored(Pid, _St) -> {Pid, monitor(process, Pid)}.

subscriber_pid(#st{subscriber = undefined}) -> undefined;
subscriber_pid(#st{subscriber = {Pid, _}}) ->
  %% The monitor's message may still be on its way when the next one subscribes.
  case node(Pid) =/= node() orelse is_process_alive(Pid) of
    true -> Pid;
    false -> undefined
  end.

drop_subscriber(#st{subscriber = undefined} = St, _Why) -> St;
drop_subscriber(#st{subscriber = {_Pid, Monitor}} = St, Why) ->
  demonitor(Monitor, [flush]),
  ok = brod_nif:consumer_unsubscribe(St#st.handle),
  ok = brod_consumer_forwarder:stop(St#st.forwarder),
  ok = abandon(Why, St),
  St#st{subscriber = undefined, forwarder = undefined, pending = undefined}.

%% What a fetch error that the engine cannot get over does to the consumer.
fetch_error(offset_out_of_range, _Desc, St) ->
  tell_subscriber(offset_out_of_range, [], St),
  {noreply, St};
fetch_error(Code, Desc, St) ->
  tell_subscriber(Code, unicode:characters_to_list(Desc), St),
  %% See brod_consumers_sup:ends_all/2.
  brod_crash:shared(Code) =/= none andalso brod_supervisor3:is_child()
    orelse ?BROD_LOG_ERROR("consumer of ~ts-~p ~ts: ~ts", [St#st.topic, St#st.partition, becomes(Code), Desc]),
  case Code of
    invalid_topic_exception -> {stop, normal, St};
    message_too_large -> {noreply, St};
    _ ->
      _ = terminate({restart, Code}, St),
      brod_crash:quietly({restart, Code})
  end.

%% Fetching again would not make a message smaller: the subscriber may seek past it.
becomes(message_too_large) -> "waits for a seek";
becomes(_Code) -> "stops".

tell_subscriber(_Code, _Desc, #st{subscriber = undefined}) -> ok;
tell_subscriber(Code, Desc, #st{subscriber = {Pid, _}} = St) ->
  Pid ! {self(), #kafka_fetch_error{topic = St#st.topic, partition = St#st.partition,
                                    error_code = Code, error_desc = Desc}},
  ok.

safe_call(Pid, Call, Timeout) ->
  try gen_server:call(Pid, Call, Timeout)
  catch exit:{Reason, _} -> {error, Reason}
  end.
