%% @private The subscriptions of a process that handles the messages of many partitions: keeps them
%% up, queues what arrives, and hands it to a callback in slices of time. Part of the state of that
%% process, which passes on the messages that it gets with handle_info/2.
-module(brod_subscriptions).

-export([start_options/0, new/3, add/4, remove_all/1, consumers/1, info/1, ack/4, goes_back/2, handle_info/2, work/3, work/4]).

-export_type([subscriptions/0, begin_offset/0, handler/1]).

-include("brod_int.hrl").

-define(RESUBSCRIBE_DELAY_MS, 2000).
%% After so long the process looks into its mailbox again, whatever is left of a set.
-define(SLICE_US, 5000).
%% Where callbacks take so much longer, what comes waits behind all that is in the mailbox.
-define(SLOW_US, 15000).
%% Messages between two looks at the clock while callbacks are fast, and what is fast.
-define(RUN, 16).
-define(FAST_RUN_US, 500).

%% Idle for so long, the process gives back what it has handled.
-define(IDLE_MS, 100).

-type begin_offset() :: brod:offset() | earliest | latest.
-type key() :: {brod:topic(), brod:partition()}.
%% Handles a message or a set; `ack' when it is done with. `lost': neither it nor what has come after it is to be handled
%% here.
-type handler(State) ::
        fun((brod:topic(), brod:partition(), brod:message() | brod:message_set(), State) ->
              {ok, ack, State} | {ok, State} | {lost, State}).

%% One partition.
-record(part, {begin_offset :: undefined | begin_offset(),
               acked :: undefined | brod:offset(),
               %% the last offset that has arrived
               last :: undefined | brod:offset(),
               %% after a consumer was lost: the first one that was not handed to the handler
               next :: undefined | brod:offset(),
               %% undefined while there is no subscription
               consumer :: undefined | {pid(), Monitor :: reference()},
               handle :: term()}).

-record(subs, {client :: brod:client(),
               config :: brod:consumer_config(),
               type :: message | message_set,
               parts = #{} :: #{key() => #part{}},
               %% what has arrived and not been handled: {ConsumerPid | former, Key, [Message] or Set}; former: of a log that
               %% is another one by now, whose acks the engine does not wait for
               queue = queue:new() :: queue:queue(),
               %% a message to go on with the queue is in the mailbox; slow: none is, and the last callback took longer than
               %% several slices
               scheduled = false :: boolean() | slow,
               timer :: undefined | reference()}).

-opaque subscriptions() :: #subs{}.

%% What stays the same while one set is handled.
-record(ctx, {handler, topic, partition, consumer, handle, deadline}).

%% @doc How the process is to be started. A set of messages that was handled stays in its heap until there is more to
%% collect, and a thousand partitions have a process each.
-spec start_options() -> [gen_server:start_opt()].
start_options() -> [{hibernate_after, ?IDLE_MS}].

%% @doc No subscriptions yet. `Config' is for consumers that have to be started.
-spec new(brod:client(), brod:consumer_config(), message | message_set) -> subscriptions().
new(Client, Config, Type) ->
  #subs{client = Client, config = Config, type = Type}.

%% @doc Subscribes to a partition, whose consumer has been started; `undefined': begins where the
%% consumer options say. Returns at once; a subscription that fails is tried again, and again.
-spec add(brod:topic(), brod:partition(), undefined | begin_offset(), subscriptions()) ->
        subscriptions().
add(Topic, Partition, BeginOffset, #subs{parts = Parts} = Subs) ->
  Key = {Topic, Partition},
  subscribe(Key, Subs#subs{parts = Parts#{Key => #part{begin_offset = BeginOffset}}}).

%% @doc Ends all subscriptions. What has arrived and not been handled is forgotten.
-spec remove_all(subscriptions()) -> subscriptions().
remove_all(#subs{parts = Parts} = Subs) ->
  maps:foreach(fun(_Key, #part{consumer = undefined}) -> ok;
                  (_Key, #part{consumer = {Pid, Monitor}}) ->
                   demonitor(Monitor, [flush]),
                   brod_consumer:unsubscribe_async(Pid, self())
               end, Parts),
  Subs#subs{parts = #{}, queue = queue:new()}.

%% @doc The partitions with their consumers.
-spec consumers(subscriptions()) -> [{key(), undefined | pid()}].
consumers(#subs{parts = Parts}) ->
  [{Key, case Consumer of
           undefined -> undefined;
           {Pid, _} -> Pid
         end} || {Key, #part{consumer = Consumer}} <- maps:to_list(Parts)].

%% @doc For crash reports: how far each partition is, and how much waits.
-spec info(subscriptions()) -> map().
info(#subs{parts = Parts, queue = Queue}) ->
  #{queued_sets => queue:len(Queue),
    partitions => maps:map(fun(_Key, #part{acked = Acked, last = Last, consumer = Consumer}) ->
                               #{acked => Acked, last => Last, subscribed => Consumer =/= undefined}
                           end, Parts)}.

%% @doc Messages up to `Offset' are done with.
-spec ack(brod:topic(), brod:partition(), brod:offset(), subscriptions()) -> subscriptions().
ack(Topic, Partition, Offset, #subs{parts = Parts} = Subs) ->
  Key = {Topic, Partition},
  case Parts of
    #{Key := #part{consumer = Consumer}} ->
      Consumer =:= undefined orelse brod_consumer:ack(element(1, Consumer), Offset),
      note_ack(Key, Offset, Subs);
    _ -> Subs
  end.

%% @doc A message that the process got, before it is given to handle_info/2: the partition whose position goes back with it,
%% by a seek or because `offset_reset_policy' did not ask. What was acknowledged before is not to be committed: the log may be
%% another one.
-spec goes_back(term(), subscriptions()) -> {true, key()} | false.
goes_back({Pid, #kafka_message_set{topic = T, partition = P, messages = [#kafka_message{offset = First} | _]}},
          #subs{parts = Parts}) ->
  case Parts of
    #{{T, P} := #part{consumer = {Pid, _}, last = Last}} -> is_integer(Last) andalso First =< Last andalso {true, {T, P}};
    #{{T, P} := #part{consumer = Consumer, acked = Acked}} when is_integer(Acked), First =< Acked ->
      is_taken_over(Pid, Consumer) andalso {true, {T, P}};
    _ -> false
  end;
goes_back(_Info, _Subs) ->
  false.

%% @doc Takes a message that the process got: `work' when there is something for work/3 now, `done',
%% or `unknown' when the message is not for here.
-spec handle_info(term(), subscriptions()) -> {work | done, subscriptions()} | unknown.
handle_info({_Pid, #kafka_message_set{messages = []}}, Subs) ->
  {done, Subs};
handle_info({Pid, #kafka_message_set{topic = T, partition = P} = Set} = Info, #subs{} = Arrived) ->
  Taken = take_over(Pid, {T, P}, Set, Arrived),
  Subs = case goes_back(Info, Arrived) of
           {true, Key} -> back(Pid, Key, Set, Taken);
           false -> Taken
         end,
  What = case Subs#subs.type of
           message -> Set#kafka_message_set.messages;
           message_set -> Set
         end,
  Queued = received(Pid, {T, P}, Set, Subs#subs{queue = queue:in({Pid, {T, P}, What},
                                                               Subs#subs.queue)}),
  case Subs of
    #subs{scheduled = true} -> {done, Queued};
    #subs{scheduled = slow} -> {done, schedule(Queued)};
    %% What is handled at once is soon no more than garbage: a fifth faster than by way of the queue.
    _ -> {work, Queued}
  end;
handle_info({?MODULE, work}, Subs) ->
  {work, Subs#subs{scheduled = false}};
handle_info({?MODULE, resubscribe}, #subs{parts = Parts} = Subs) ->
  Topics = lists:usort([T || {{T, _}, #part{consumer = undefined}} <- maps:to_list(Parts)]),
  {done, lists:foldl(fun resubscribe/2, Subs#subs{timer = undefined}, Topics)};
handle_info({brod_subscribed, {Key, Monitor}, Result}, Subs) ->
  {done, subscribed(Key, Monitor, Result, Subs)};
handle_info({Pid, #kafka_fetch_error{} = Error}, Subs) ->
  {done, fetch_error(Pid, Error, Subs)};
handle_info({'DOWN', Monitor, process, Pid, Reason}, #subs{parts = Parts} = Subs) ->
  case [Key || {Key, #part{consumer = {P, M}}} <- maps:to_list(Parts), P =:= Pid, M =:= Monitor] of
    [Key] -> {done, lost(Key, Reason, without_consumer(Key, Subs))};
    [] -> unknown
  end;
handle_info(_Info, _Subs) ->
  unknown.

%%% Subscribing

subscribe({Topic, Partition} = Key, #subs{client = Client, parts = Parts} = Subs) ->
  case brod:get_consumer(Client, Topic, Partition) of
    {ok, Pid} ->
      #{Key := Part} = Parts,
      Monitor = monitor(process, Pid),
      Options = case begin_at(Part) of
                  undefined -> [];
                  Begin -> [{begin_offset, Begin}]
                end,
      ok = brod_consumer:subscribe_async(Pid, self(), Options, {Key, Monitor}),
      Subscribed = Part#part{consumer = {Pid, Monitor}, handle = brod_consumer:handle(Pid)},
      Subs#subs{parts = Parts#{Key := Subscribed}};
    {error, Reason} ->
      failed(Key, Reason, Subs)
  end.

%% The consumers of the topic may have been stopped meanwhile, or their client restarted.
resubscribe(Topic, #subs{client = Client, config = Config, parts = Parts} = Subs) ->
  case brod:start_consumer(Client, Topic, Config) of
    ok ->
      ok = works({Topic, all}),
      Keys = [Key || {{T, _} = Key, #part{consumer = undefined}} <- maps:to_list(Parts),
                     T =:= Topic],
      lists:foldl(fun subscribe/2, Subs, Keys);
    {error, Reason} ->
      failed({Topic, all}, Reason, Subs)
  end.

%% A callback has subscribed, in this process, to a consumer that was started in the place of one that is lost, before it was
%% done here. What is behind the offset that it asked for comes again.
take_over(Pid, Key, #kafka_message_set{messages = [#kafka_message{offset = First} | _]}, #subs{parts = Parts} = Subs) ->
  case Parts of
    #{Key := #part{consumer = {Pid, _}}} ->
      Subs;
    #{Key := #part{consumer = Consumer}} ->
      case is_taken_over(Pid, Consumer) of
        true ->
          #subs{parts = #{Key := Part} = Left} = Lost = lose(Key, Consumer, Subs),
          Taken = Part#part{consumer = {Pid, monitor(process, Pid)}, handle = brod_consumer:handle(Pid), next = First},
          Lost#subs{parts = Left#{Key := Taken}};
        false ->
          Subs
      end;
    _ -> Subs
  end.

lose(_Key, undefined, Subs) -> Subs;
lose(Key, _Consumer, Subs) -> without_consumer(Key, Subs).

%% Nobody gets sets from a consumer that he has not subscribed to. Those of a dead one are fetched again.
is_taken_over(Pid, undefined) -> is_here(Pid) andalso is_process_alive(Pid);
is_taken_over(Pid, {Lost, _}) -> is_here(Lost) andalso not is_process_alive(Lost) andalso is_taken_over(Pid, undefined).

is_here(Pid) -> node(Pid) =:= node().

received(Pid, Key, #kafka_message_set{messages = Messages}, #subs{parts = Parts} = Subs) ->
  case Parts of
    #{Key := #part{consumer = {Pid, _}} = Part} ->
      #kafka_message{offset = Last} = lists:last(Messages),
      Subs#subs{parts = Parts#{Key := Part#part{last = Last}}};
    _ -> Subs
  end.

%% What was acknowledged says nothing of what comes.
back(Pid, Key, #kafka_message_set{messages = [#kafka_message{offset = First} | _]}, #subs{parts = Parts, queue = Queue} = Subs) ->
  #{Key := Part} = Parts,
  Subs#subs{parts = Parts#{Key := Part#part{acked = undefined, next = First}}, queue = former(Pid, Key, Queue)}.

%% What the handler has got it does not get again: it is still working on what it has not
%% acknowledged.
begin_at(#part{acked = undefined, next = undefined, begin_offset = Begin}) -> Begin;
begin_at(#part{acked = undefined, next = Next}) -> Next;
begin_at(#part{acked = Acked, next = undefined}) -> Acked + 1;
begin_at(#part{acked = Acked, next = Next}) -> max(Acked + 1, Next).

%% The monitor tells a subscribe from an earlier one to the same consumer, whose answer may be late.
subscribed(Key, _Monitor, ok, Subs) ->
  ok = works(Key),
  Subs;
subscribed(Key, Monitor, {error, Reason}, #subs{parts = Parts} = Subs) ->
  case Parts of
    #{Key := #part{consumer = {_, Monitor}}} -> failed(Key, Reason, without_consumer(Key, Subs));
    _ -> Subs
  end.

%% Somebody has stopped it, its client most often, with all the others. If that lasts, the next attempt says so.
lost(_Key, shutdown, Subs) -> later(Subs);
lost(Key, Reason, Subs) -> failed(Key, Reason, Subs).

failed({Topic, Partition} = Key, Reason, Subs) ->
  case brod_trouble:fails({?MODULE, Key}, kind(Reason)) of
    {tell, Untold} ->
      ?BROD_LOG_WARNING("no subscription to ~ts-~p, next try in ~p ms: ~ts~ts",
                        [Topic, Partition, ?RESUBSCRIBE_DELAY_MS, words(Reason),
                         brod_trouble:before(Untold, "attempt")]);
    quiet ->
      ok
  end,
  later(Subs).

works({Topic, Partition} = Key) ->
  case brod_trouble:passes({?MODULE, Key}) of
    {tell, Attempts} -> ?BROD_LOG(notice, "subscribed to ~ts-~p; ~b attempts had failed", [Topic, Partition, Attempts]);
    quiet -> ok
  end.

%% Without what is another one each time, such as a pid.
kind(Reason) when is_tuple(Reason), tuple_size(Reason) > 0 -> element(1, Reason);
kind(Reason) -> Reason.

words({already_subscribed_by, Pid}) ->
  io_lib:format("~p reads it already. In one client a partition has one subscriber: another one needs a client of its own", [Pid]);
words(Reason) ->
  io_lib:format("~0P", [Reason, 20]).

later(#subs{timer = undefined} = Subs) ->
  Subs#subs{timer = erlang:send_after(?RESUBSCRIBE_DELAY_MS, self(), {?MODULE, resubscribe})};
later(Subs) -> Subs.

%% What is queued of the lost consumer is dropped: it will be fetched again, maybe from the same one.
without_consumer(Key, #subs{parts = Parts, queue = Queue} = Subs) ->
  #{Key := #part{consumer = {Pid, Monitor}} = Part} = Parts,
  demonitor(Monitor, [flush]),
  Lost = Part#part{consumer = undefined, handle = undefined, last = undefined,
                   next = not_handed(Pid, Key, Part, queue:to_list(Queue))},
  Subs#subs{parts = Parts#{Key := Lost},
            queue = queue:filter(fun({From, Of, _}) -> From =:= former orelse Of =/= Key end, Queue)}.

not_handed(Pid, Key, Part, [{Pid, Key, What} | _]) when Part#part.last =/= undefined ->
  first_offset(What);
not_handed(Pid, Key, Part, [_ | Queue]) ->
  not_handed(Pid, Key, Part, Queue);
not_handed(_Pid, _Key, #part{last = undefined, next = Next}, []) ->
  Next;
not_handed(_Pid, _Key, #part{last = Last}, []) ->
  Last + 1.

first_offset(#kafka_message_set{messages = Messages}) -> first_offset(Messages);
first_offset([#kafka_message{offset = Offset} | _]) -> Offset.

%% The offset to go on at is gone (deleted by retention) or was never there (the topic was made
%% anew). Whatever there is comes after the earliest offset, so nothing is skipped. What is queued cannot be fetched again; acks of
%% it say nothing of what comes now.
fetch_error(Pid, #kafka_fetch_error{topic = T, partition = P, error_code = offset_out_of_range},
            #subs{parts = Parts, queue = Queue} = Subs) ->
  Key = {T, P},
  case Parts of
    #{Key := #part{consumer = {Pid, _}} = Part} ->
      Marked = Subs#subs{queue = former(Pid, Key, Queue)},
      Forgetful = Part#part{acked = undefined, last = undefined, next = undefined},
      case is_seen_to(Pid) of
        true ->
          Marked#subs{parts = Parts#{Key := Forgetful}};
        false ->
          tell_of_reset(Key, begin_at(Part)),
          Lost = without_consumer(Key, Marked),
          Reset = Forgetful#part{begin_offset = earliest, consumer = undefined, handle = undefined},
          subscribe(Key, Lost#subs{parts = Parts#{Key := Reset}})
      end;
    _ -> Subs
  end;
fetch_error(Pid, #kafka_fetch_error{topic = T, partition = P, error_code = message_too_large},
            #subs{parts = Parts} = Subs) ->
  %% Its consumer goes on, with nothing to do until somebody subscribes again.
  Key = {T, P},
  case Parts of
    #{Key := #part{consumer = {Pid, _}}} ->
      case is_seen_to(Pid) of
        true -> Subs;
        false -> failed(Key, message_too_large, without_consumer(Key, Subs))
      end;
    _ -> Subs
  end;
fetch_error(_Pid, #kafka_fetch_error{}, Subs) ->
  %% The consumer tells why it stops, and is subscribed to again.
  Subs.

%% Who is slower than retention is reset time and again.
tell_of_reset({T, P} = Key, Offset) ->
  case brod_trouble:fails({?MODULE, reset, Key}, offset_out_of_range) of
    {tell, Untold} ->
      ?BROD_LOG_WARNING("~ts is out of range, going on at the earliest~ts", [place(Offset, T, P), brod_trouble:before(Untold, "time")]);
    quiet -> ok
  end.

%% Of what was just begun with no offset is known: there was another log, or its begin has gone.
place(Offset, T, P) when is_integer(Offset) -> io_lib:format("offset ~b of ~ts-~p", [Offset, T, P]);
place(_Begin, T, P) -> io_lib:format("where reading of ~ts-~p began", [T, P]).

%% What is queued of the consumer is of a former log.
former(Pid, Key, Queue) ->
  queue:filter(fun({From, Of, What}) when From =:= Pid, Of =:= Key -> [{former, Key, What}];
                  (_) -> true
               end, Queue).

%% A callback that was told of the error has subscribed again where it wants to go on, or somebody has sought.
is_seen_to(Consumer) ->
  case brod_consumer:info(Consumer) of
    #{active := true} -> true;
    _ -> false
  end.

%%% Handling messages

%% @doc Works for a slice of time, then lets the mailbox have its turn: stop, acks, consumers that
%% died.
-spec work(handler(State), State, subscriptions()) -> {State, subscriptions()}.
work(Handler, State, Subs) -> work(Handler, Handler, State, Subs).

%% @doc The same; `Former' handles messages of a log that is another one by now: what is acknowledged of them is not to be
%% committed.
-spec work(handler(State), Former :: handler(State), State, subscriptions()) -> {State, subscriptions()}.
work(Handler, Former, State, Subs) ->
  slice({Handler, Former}, State, Subs, erlang:monotonic_time(microsecond) + ?SLICE_US).

slice(Handlers, State, #subs{queue = Queue, parts = Parts} = Subs, Deadline) ->
  case queue:out(Queue) of
    {empty, _} ->
      {State, Subs#subs{scheduled = false}};
    {{value, {Pid, {Topic, Partition} = Key, What}}, Rest} ->
      case Parts of
        #{Key := #part{consumer = Consumer, handle = Handle}} when Pid =:= former; Pid =:= element(1, Consumer) ->
          Ctx = #ctx{handler = handler(Pid, Handlers), topic = Topic, partition = Partition, consumer = Pid,
                     handle = Handle, deadline = Deadline},
          {Left, Acked, NewState} = handle(What, Ctx, State),
          NewSubs = case Pid of
                      former -> Subs#subs{queue = Rest};
                      _ -> note_ack(Key, Acked, Subs#subs{queue = Rest})
                    end,
          case Left of
            [] -> next(Handlers, NewState, NewSubs, Deadline);
            lost -> {NewState, remove_all(NewSubs)};
            _ -> {NewState, schedule(NewSubs#subs{queue = queue:in_r({Pid, Key, Left}, Rest)})}
          end;
        _ ->
          slice(Handlers, State, Subs#subs{queue = Rest}, Deadline)
      end
  end.

handler(former, {_Handler, Former}) -> Former;
handler(_Consumer, {Handler, _Former}) -> Handler.

next(Handlers, State, #subs{queue = Queue} = Subs, Deadline) ->
  case erlang:monotonic_time(microsecond) - Deadline of
    Early when Early < 0 ->
      slice(Handlers, State, Subs, Deadline);
    Late ->
      case queue:is_empty(Queue) of
        true when Late > ?SLOW_US -> {State, Subs#subs{scheduled = slow}};
        true -> {State, Subs};
        false -> {State, schedule(Subs)}
      end
  end.

%% Behind all that is in the mailbox: a stop or a revocation waits for the callback that runs, not for all sets that
%% came before it.
schedule(Subs) ->
  self() ! {?MODULE, work},
  Subs#subs{scheduled = true}.

note_ack(_Key, undefined, Subs) -> Subs;
note_ack(Key, Offset, #subs{parts = Parts} = Subs) ->
  case Parts of
    %% Acks of several processes may come in any order; each speaks for all before it.
    #{Key := #part{acked = Acked}} when is_integer(Acked), Acked >= Offset -> Subs;
    #{Key := Part} -> Subs#subs{parts = Parts#{Key := Part#part{acked = Offset}}}
  end.

%% Returns what is left when the time is up, or that all is lost, the last offset acknowledged, and the handler's state.
handle(#kafka_message_set{messages = Messages} = Set, Ctx, State) ->
  case call(Set, Ctx, State) of
    {ok, ack, NewState} ->
      #kafka_message{offset = Last} = lists:last(Messages),
      ok = ack_consumer(Ctx, Last),
      {[], Last, NewState};
    {ok, NewState} ->
      {[], undefined, NewState};
    {lost, NewState} ->
      {lost, undefined, NewState}
  end;
handle(Messages, Ctx, State) ->
  handle(Messages, 1, erlang:monotonic_time(microsecond), undefined, Ctx, State).

%% One run of messages, then a look at the clock. The engine gets one ack a run. Runs are long only
%% while callbacks are fast, so an ack that is due does not wait long for the callbacks after it.
handle(Messages, Run, Began, AckedBefore, Ctx, State) ->
  {Left, AckedNow, NewState} = run(Messages, Run, Ctx, State, undefined),
  Acked = case AckedNow of
            undefined -> AckedBefore;
            _ -> ok = ack_consumer(Ctx, AckedNow), AckedNow
          end,
  case Left of
    Ends when Ends =:= []; Ends =:= lost ->
      {Ends, Acked, NewState};
    _ ->
      case erlang:monotonic_time(microsecond) of
        Now when Now >= Ctx#ctx.deadline -> {Left, Acked, NewState};
        Now when Now - Began < ?FAST_RUN_US -> handle(Left, ?RUN, Now, Acked, Ctx, NewState);
        Now -> handle(Left, 1, Now, Acked, Ctx, NewState)
      end
  end.

run([#kafka_message{offset = Offset} = Message | Rest], N, Ctx, State, Acked) when N > 0 ->
  case call(Message, Ctx, State) of
    {ok, ack, NewState} -> run(Rest, N - 1, Ctx, NewState, Offset);
    {ok, NewState} -> run(Rest, N - 1, Ctx, NewState, Acked);
    {lost, NewState} -> {lost, Acked, NewState}
  end;
run(Messages, _N, _Ctx, State, Acked) ->
  {Messages, Acked, State}.

%% Reports of a process that failed show no messages: whoever looks for the one that a callback cannot take finds its place here.
call(What, #ctx{handler = Handler, topic = Topic, partition = Partition}, State) ->
  try Handler(Topic, Partition, What, State)
  catch
    Class:Reason:Stack ->
      _ = (Class =:= exit andalso brod_utils:is_normal_reason(Reason))
            orelse ?BROD_LOG_ERROR("the callback fails for ~ts of ~ts-~p", [offsets(What), Topic, Partition]),
      erlang:raise(Class, Reason, Stack)
  end.

offsets(#kafka_message{offset = Offset}) ->
  io_lib:format("the message at offset ~b", [Offset]);
offsets(#kafka_message_set{messages = [#kafka_message{offset = First} | _] = Messages}) ->
  io_lib:format("the messages at offsets ~b to ~b", [First, (lists:last(Messages))#kafka_message.offset]).

ack_consumer(#ctx{consumer = former}, _Offset) -> ok;
ack_consumer(#ctx{handle = undefined, consumer = Pid}, Offset) -> brod_consumer:ack(Pid, Offset);
ack_consumer(#ctx{handle = Handle}, Offset) -> brod_nif:consumer_ack(Handle, Offset).
