%% @private Passes acks on to callers, for many producers of a client. One response of a broker answers
%% hundreds of partitions: a process that finds all of it in its mailbox is woken once, and so are
%% callers that wait for several of these acks. What has callbacks goes to the producer processes, or
%% to a process of its own when its producer was killed.
%%
%% It outlives its client for a moment: what is in its mailbox then is still passed on, and so is
%% what becomes of the calls of producers that see the client go.
-module(brod_dispatcher).
-behaviour(gen_server).

-export([start/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, code_change/3, format_status/1]).

-define(LINGER_MS, 1000).
%% What nobody can inherit while the node has no room for a process waits so long.
-define(AGAIN_MS, 100).

-include("brod_int.hrl").

-record(state,
  { handle     :: brod_nif:dispatcher()
  , client     :: reference()
    %% who runs the callbacks of producers that were killed
  , heirs = #{} :: #{pid() => pid()}
  }).

%% @doc Start a dispatcher for the producers that will be opened on an engine client, which is that of
%% the process `ClientPid'.
-spec start(brod_nif:client(), pid()) -> {ok, pid()} | {error, term()}.
start(Engine, ClientPid) ->
  %% the mailbox may grow to thousands of messages, which a collection of the heap should not copy
  gen_server:start(?MODULE, {Engine, ClientPid}, [{spawn_opt, [{message_queue_data, off_heap}]}]).

init({Engine, ClientPid}) ->
  {ok, Handle} = brod_nif:dispatcher_open(Engine),
  {ok, #state{handle = Handle, client = monitor(process, ClientPid)}}.

handle_call(Call, _From, State) ->
  {reply, {error, {unknown_call, Call}}, State}.

handle_cast(_Cast, State) ->
  {noreply, State}.

handle_info({brod_acks, Number, Batches}, #state{handle = Handle} = State) ->
  ok = pass_acks(Batches),
  ok = brod_nif:dispatcher_done(Handle, Number),
  {noreply, State};
handle_info({brod_forward, Number, Producer, Message}, #state{handle = Handle} = State) ->
  Producer ! Message,
  ok = brod_nif:dispatcher_done(Handle, Number),
  {noreply, State};
handle_info({brod_orphaned, _Producer, Topic, Partition, {brod_lost, Count}}, State) ->
  ?BROD_LOG_ERROR("The producer of ~ts, partition ~p, was killed with ~ts of acks that it had not "
                  "passed on: who waits for one without watching the producer does not hear of it.",
                  [Topic, Partition, brod_logging:count(Count, "message")]),
  {noreply, State};
handle_info({brod_orphaned, Producer, Topic, Partition, Message} = Info, #state{heirs = Heirs} = State) ->
  case heir(Producer, Topic, Partition, Heirs) of
    {ok, Heir} ->
      Heir ! Message,
      {noreply, State#state{heirs = inherited(Producer, Heir, Message, Heirs)}};
    {error, system_limit} ->
      _ = erlang:send_after(?AGAIN_MS, self(), Info),
      {noreply, State}
  end;
handle_info({'DOWN', MRef, process, _Client, _Reason}, #state{client = MRef} = State) ->
  _ = erlang:send_after(?LINGER_MS, self(), client_gone),
  {noreply, State};
handle_info(client_gone, State) ->
  {stop, normal, State};
handle_info(_Info, State) ->
  {noreply, State}.

code_change(_OldVsn, State, _Extra) ->
  {ok, State}.

%% @private Counts, no payloads.
format_status(Status) ->
  brod_crash:status(Status, fun(#state{heirs = Heirs}) -> #{heirs => map_size(Heirs)} end).

pass_acks([Producer, BaseOffset, Targets | Batches]) ->
  ok = brod_producer_acks:pass(Targets, BaseOffset, Producer),
  pass_acks(Batches);
pass_acks([]) ->
  ok.

heir(Producer, Topic, Partition, Heirs) ->
  case Heirs of
    #{Producer := Pid} -> {ok, Pid};
    _ -> brod_producer_acks:start_heir(Topic, Partition, Producer)
  end.

inherited(Producer, _Heir, {brod_down, _Reason}, Heirs) -> maps:remove(Producer, Heirs);
inherited(Producer, Heir, _Message, Heirs) -> Heirs#{Producer => Heir}.
