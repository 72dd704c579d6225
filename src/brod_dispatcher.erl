%% Passes acks on to callers, for many producers of a client. One response of a broker answers
%% hundreds of partitions: a process that finds all of it in its mailbox is woken once, and so are
%% callers that wait for several of these acks. What has callbacks goes to the producer processes.
-module(brod_dispatcher).
-behaviour(gen_server).

-export([start_link/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

%% @doc Start a dispatcher for the producers that will be opened on an engine client.
-spec start_link(brod_nif:client()) -> {ok, pid()} | {error, term()}.
start_link(Engine) ->
  %% the mailbox may grow to thousands of messages, which a collection of the heap should not copy
  gen_server:start_link(?MODULE, Engine, [{spawn_opt, [{message_queue_data, off_heap}]}]).

init(Engine) ->
  brod_nif:dispatcher_open(Engine).

handle_call(Call, _From, Dispatcher) ->
  {reply, {error, {unknown_call, Call}}, Dispatcher}.

handle_cast(_Cast, Dispatcher) ->
  {noreply, Dispatcher}.

handle_info({brod_acks, Number, Batches}, Dispatcher) ->
  ok = pass_acks(Batches),
  ok = brod_nif:dispatcher_done(Dispatcher, Number),
  {noreply, Dispatcher};
handle_info({brod_forward, Number, Producer, Message}, Dispatcher) ->
  Producer ! Message,
  ok = brod_nif:dispatcher_done(Dispatcher, Number),
  {noreply, Dispatcher};
handle_info(_Info, Dispatcher) ->
  {noreply, Dispatcher}.

pass_acks([Producer, BaseOffset, Targets | Batches]) ->
  ok = brod_producer:pass_acks(Targets, BaseOffset, Producer),
  pass_acks(Batches);
pass_acks([]) ->
  ok.
