%% @private The process behind a pid that brod gives out as a connection. It stands for an engine client, its own one or
%% that of a brod client, so that functions which take a connection find the engine by the pid
%% (docs/adr/0021-connection-pids.md). Requests that users have built themselves go over a socket of its own.
-module(brod_connection).
-behaviour(gen_server).

-export([start/3, start_link/2, start_shared/3, stop/1, context/1, api_versions/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3, format_status/1]).

-include("brod_int.hrl").

%% Opening the connection has a limit of its own, which is shorter.
-define(ANSWER_LIMIT_MS, 60000).

-record(state,
  { context  :: brod_engine:context()
  , owner    :: reference()
  , kind     :: own | shared
    %% of the broker that it was made for
  , endpoint :: brod:endpoint()
  , requests :: brod_connection_requests:state()
  }).

%% @doc Connect to `Endpoints'; the process lives as long as `Owner'.
%% `{error, [{{Host, Port}, {Reason, Stack}}]}' when nobody answers there.
-spec start([brod:endpoint()], brod:conn_config(), Owner :: pid()) ->
        {ok, pid()} | {error, term()}.
start(Endpoints, ConnConfig, Owner) ->
  Config = brod_options:hide_secrets(ConnConfig),
  case gen_server:start(?MODULE, {own, Endpoints, Config, Owner}, []) of
    {ok, Pid} -> {ok, Pid};
    {error, {shutdown, Reason}} -> {error, Reason}
  end.

%% @doc As {@link start/3}, owned by and linked to the caller, unless the option `nolink' is set.
-spec start_link([brod:endpoint()], brod:conn_config()) -> {ok, pid()} | {error, term()}.
start_link(Endpoints, ConnConfig) ->
  case start(Endpoints, ConnConfig, self()) of
    {ok, Pid} ->
      brod_options:given(nolink, ConnConfig, false) =:= true orelse link(Pid),
      {ok, Pid};
    {error, Reason} ->
      {error, Reason}
  end.

%% @doc A connection to the broker at `Endpoint' that shares the engine client of `Owner', and ends with it.
-spec start_shared(brod_engine:context(), Owner :: pid(), brod:endpoint()) -> {ok, pid()} | {error, term()}.
start_shared(Context, Owner, Endpoint) ->
  gen_server:start(?MODULE, {shared, Context, Owner, Endpoint}, []).

%% @doc Close the connection. Also `ok' when it is closed already.
-spec stop(pid()) -> ok.
stop(Pid) ->
  try gen_server:call(Pid, stop, 5000)
  catch exit:_ -> ok
  end.

%% @doc What operations on this connection need, or `false' if the pid is no connection.
-spec context(pid()) -> {ok, brod_engine:context()} | false.
context(Pid) when node(Pid) =/= node() ->
  try brod_engine:on_node(node(Pid), ?MODULE, context, [Pid]) of
    {ok, Context} -> {ok, Context};
    _ -> false
  catch
    %% there is no brod
    error:{exception, undef, _} -> false
  end;
context(Pid) -> brod_handles:lookup(connection, Pid).

%% @doc Versions of APIs that the broker speaks, as it says; `undefined' where it is not to be asked
%% (`query_api_versions').
-spec api_versions(pid()) ->
        {ok, undefined | #{atom() => {non_neg_integer(), non_neg_integer()}}} | {error, term()}.
api_versions(Pid) ->
  brod_connection_requests:await(Pid, get_api_vsns, ?ANSWER_LIMIT_MS).

init({own, Endpoints, ConnConfig, Owner}) ->
  case brod_engine:open(Endpoints, ConnConfig) of
    {ok, Context} ->
      case brod_engine:connect(Context) of
        ok -> start_up(Context, Owner, own, hd(Endpoints));
        {error, Reason} -> {stop, {shutdown, Reason}}
      end;
    {error, Reason} ->
      {stop, {shutdown, Reason}}
  end;
init({shared, Context, Owner, Endpoint}) ->
  start_up(Context, Owner, shared, Endpoint).

start_up(Context, Owner, Kind, Endpoint) ->
  process_flag(trap_exit, true),
  ok = brod_logging:about(#{client => maps:get(table, Context, undefined)}),
  ok = brod_handles:put(connection, Context),
  {ok, #state{context = Context, owner = monitor(process, Owner), kind = Kind, endpoint = Endpoint,
              requests = brod_connection_requests:new(Context, Endpoint)}}.

handle_call(stop, _From, State) ->
  {stop, normal, ok, State};
handle_call(Call, _From, State) ->
  {reply, {error, {unknown_call, Call}}, State}.

handle_cast(Cast, State) ->
  {noreply, unexpected(Cast, State)}.

handle_info({'DOWN', MRef, process, _, _}, #state{owner = MRef} = State) ->
  {stop, normal, State};
handle_info({'EXIT', _Pid, normal}, State) ->
  {noreply, State};
%% It ends as brod's, which does not trap exits: for the same reason, and without a report of its own of what happened to another.
handle_info({'EXIT', _Pid, Reason}, State) ->
  ok = terminate(Reason, State),
  true = process_flag(trap_exit, false),
  true = exit(self(), Reason),
  {stop, Reason, State};
%% A defect of the engine, which it has told its owner; the client that is shared sees to itself.
handle_info({brod_engine_down, What}, State) ->
  {stop, {engine_down, What}, State};
%% As kafka_protocol's functions call a connection: they wait for an answer under the tag.
handle_info({{Pid, Tag}, Request}, State) when is_pid(Pid), is_reference(Tag) orelse Tag =:= noreply ->
  request(Request, {Pid, Tag}, State);
handle_info(Info, #state{requests = Requests} = State) ->
  case brod_connection_requests:info(Info, Requests) of
    ignored -> {noreply, unexpected(Info, State)};
    Outcome -> outcome(Outcome, State)
  end.

request(stop, From, State) ->
  ok = answer(From, ok),
  {stop, normal, State};
request(get_endpoint, From, #state{endpoint = {Host, Port}} = State) ->
  ok = answer(From, {ok, {unicode:characters_to_list(brod_engine:to_binary(Host)), Port}}),
  {noreply, State};
request(get_api_vsns, From, #state{requests = Requests} = State) ->
  outcome(brod_connection_requests:ask(From, get_api_vsns, Requests), State);
request({send, {kpro_req, _Ref, Api, Vsn, _NoAck, _Message}} = Send, From, #state{requests = Requests} = State)
  when is_atom(Api), is_integer(Vsn) ->
  outcome(brod_connection_requests:ask(From, Send, Requests), State);
request(_Other, From, State) ->
  ok = answer(From, {error, not_supported}),
  {noreply, State}.

outcome({ok, Requests}, State) -> {noreply, State#state{requests = Requests}};
outcome({stop, Reason, Requests}, State) -> {stop, Reason, State#state{requests = Requests}}.

answer({_Pid, noreply}, _Answer) -> ok;
answer({Pid, Tag}, Answer) ->
  Pid ! {Tag, Answer},
  ok.

%% Whoever sent it may wait for something. What it was stays out of the log: it may be a request with data.
unexpected(Message, State) ->
  Kind = case is_tuple(Message) andalso tuple_size(Message) > 0 of
           true -> {element(1, Message), '...'};
           false -> '...'
         end,
  ?BROD_LOG_WARNING("A connection got a message that it does not understand: ~9999P", [Kind, 8]),
  State.

terminate(_Reason, #state{context = Context, kind = Kind, requests = Requests}) ->
  ok = brod_handles:take_back(),
  ok = brod_connection_requests:close(Requests),
  Kind =:= own andalso brod_engine:close(Context),
  brod_crash:empty_mailbox().

code_change(_OldVsn, State, _Extra) ->
  {ok, State}.

%% No options: there may be secrets among them.
format_status(Status) ->
  brod_crash:status(Status, fun(#state{kind = Kind, endpoint = Endpoint, context = Context}) ->
    #{kind => Kind, endpoint => Endpoint, endpoints => maps:get(endpoints, Context)}
  end).
