%% Subscriptions of the test process; consumers and engine are played by the test.
-module(brod_subscriptions_tests).
-include_lib("eunit/include/eunit.hrl").
-include("brod_int.hrl").

-define(T, <<"topic">>).

subscriptions_test_() ->
  [{Name, {spawn, {timeout, 30, fun() -> setup(), try Test() after cleanup() end end}}} ||
    {Name, Test} <- [{"messages in order, acked in runs", fun in_order/0},
                     {"without ack", fun without_ack/0},
                     {"sets", fun sets/0},
                     {"the place of a message that cannot be handled is told", fun failing_handler/0},
                     {"a slow handler gives way", fun slow_handler/0},
                     {"what is in the mailbox comes before the next set", fun mailbox_first/0},
                     {"goes on after the last ack when the consumer dies", fun consumer_dies/0},
                     {"what a lost consumer has sent is dropped", fun lost_consumer/0},
                     {"nothing is lost before the first ack", fun dies_before_ack/0},
                     {"what is being worked on is not handed out again", fun handed_once/0},
                     {"late answers to a former subscribe", fun late_answer/0},
                     {"acks in any order", fun acks_in_any_order/0},
                     {"an offset out of range", fun out_of_range/0},
                     {"who is slower than retention is told of once a minute", fun slower_than_retention/0},
                     {"a callback that sees to a fetch error", fun seen_to/0},
                     {"messages of a log that is gone", fun former_log/0},
                     {"who handles them may know", fun former_handler/0},
                     {"messages from before a consumer that goes back by itself", fun former_by_policy/0},
                     {"goes back without a word", fun goes_back/0},
                     {"what comes again from the same consumer is not handed out before", fun comes_again/0},
                     {"a callback that subscribes to the consumer in a lost one's place", fun taken_over/0},
                     {"it may go back behind what was acknowledged", fun taken_over_further_back/0},
                     {"a subscription that fails is tried again", fun tried_again/0},
                     {"who reads a partition already is told once", fun told_once/0},
                     {"a consumer that was stopped is no trouble yet", fun stopped/0},
                     {"removed partitions", fun removed/0}]].

setup() ->
  Test = self(),
  brod_fake:load(brod, #{{get_consumer, 3} => fun(client, ?T, P) -> get_consumer(Test, P) end,
                         {start_consumer, 3} => fun(client, ?T, config) -> ok end}),
  brod_fake:load(brod_consumer,
                 #{{subscribe_async, 4} => fun(C, _, Opts, Tag) -> tell({sub, C, Opts, Tag}) end,
                   {unsubscribe_async, 2} => fun(C, _) -> tell({unsub, C}) end,
                   {handle, 1} => fun(C) -> {handle, C} end,
                   {info, 1} => fun(_) -> #{active => get(seen_to) =:= true} end,
                   {ack, 2} => fun(C, Offset) -> tell({ack, {handle, C}, Offset}) end}),
  ok = brod_fake_nif:load([]),
  ok = brod_fake_nif:watch(Test).

cleanup() ->
  lists:foreach(fun brod_fake:unload/1, [brod, brod_consumer]),
  ok = brod_fake_nif:unload().

tell(What) -> self() ! What, ok.

%% The consumer of a partition is a process that waits.
get_consumer(Test, Partition) ->
  Test = self(),
  case get({consumer, Partition}) of
    undefined -> {error, no_consumer};
    Pid -> {ok, Pid}
  end.

start_consumer(Partition) ->
  Pid = spawn_link(fun() -> receive stop -> ok end end),
  put({consumer, Partition}, Pid),
  Pid.

new(Type, Partitions) ->
  lists:foldl(fun({P, Begin}, Subs) ->
                  start_consumer(P),
                  brod_subscriptions:add(?T, P, Begin, Subs)
              end, brod_subscriptions:new(client, config, Type), Partitions).

set(Partition, Offsets) ->
  #kafka_message_set{topic = ?T, partition = Partition, high_wm_offset = 100,
                     messages = [#kafka_message{offset = O} || O <- Offsets]}.

deliver(Partition, Offsets, Handler, State, Subs) ->
  deliver_from(get({consumer, Partition}), Partition, Offsets, Handler, State, Subs).

%% All of it, however many slices a busy machine makes of it.
deliver_from(Pid, Partition, Offsets, Handler, State, Subs) ->
  {Handled, Left} = work(arrive_from(Pid, Partition, Offsets, Subs), Handler, State),
  work_on(Handled, Handler, Left).

work_on(State, Handler, Subs) ->
  receive
    {brod_subscriptions, work} = Message ->
      {work, Now} = brod_subscriptions:handle_info(Message, Subs),
      {Handled, Left} = brod_subscriptions:work(Handler, State, Now),
      work_on(Handled, Handler, Left)
  after 0 -> {State, Subs}
  end.

arrive(Partition, Offsets, Subs) -> arrive_from(get({consumer, Partition}), Partition, Offsets, Subs).

arrive_from(Pid, Partition, Offsets, Subs) ->
  {_, Arrived} = brod_subscriptions:handle_info({Pid, set(Partition, Offsets)}, Subs),
  Arrived.

%% One slice, at once or when its message has come.
work(Subs, Handler, State) ->
  {work, Now} = receive {brod_subscriptions, work} = Message -> brod_subscriptions:handle_info(Message, Subs) after 0 -> {work, Subs} end,
  brod_subscriptions:work(Handler, State, Now).

collect(Return) ->
  fun(?T, P, #kafka_message{offset = O}, Acc) -> add(Return, [{P, O} | Acc]);
     (?T, P, #kafka_message_set{messages = Ms}, Acc) -> add(Return, [{P, length(Ms)} | Acc])
  end.

add(ack, State) -> {ok, ack, State};
add(later, State) -> {ok, State}.

acks() ->
  receive {ack, _Handle, Offset} -> [Offset | acks()] after 0 -> [] end.

subscribed_at() ->
  receive {sub, _, Options, _} -> Options after 20000 -> error(not_subscribed) end.

failing_handler() ->
  Told = fun(Type, Handler) ->
    Log = brod_log:start(),
    Failed = try deliver(0, [7, 8, 9], Handler, [], new(Type, [{0, 0}])) catch Class:Reason -> {Class, Reason} end,
    Lines = [lists:last(string:split(Line, "error: ", all)) || Line <- brod_log:all(Log, "callback")],
    ok = brod_log:stop(Log),
    {Failed, Lines}
  end,
  At8 = fun(Fail) -> fun(?T, 0, #kafka_message{offset = O}, St) -> O =:= 8 andalso Fail(), {ok, ack, St} end end,
  ?assertEqual({{error, poison}, ["the callback fails for the message at offset 8 of topic-0\n"]}, Told(message, At8(fun() -> error(poison) end))),
  ?assertEqual({{exit, normal}, []}, Told(message, At8(fun() -> exit(normal) end))),
  ?assertEqual({{error, poison}, ["the callback fails for the messages at offsets 7 to 9 of topic-0\n"]},
               Told(message_set, fun(_, _, _, _) -> error(poison) end)).

in_order() ->
  Subs = new(message, [{0, 0}]),
  ?assertEqual([{begin_offset, 0}], subscribed_at()),
  {Handled, _} = deliver(0, lists:seq(0, 99), collect(ack), [], Subs),
  ?assertEqual([{0, O} || O <- lists:seq(0, 99)], lists:reverse(Handled)),
  Acks = acks(),
  ?assertEqual(99, lists:last(Acks)),
  ?assert(length(Acks) < 50).

without_ack() ->
  Subs = new(message, [{0, undefined}]),
  ?assertEqual([], subscribed_at()),
  {Handled, Subs1} = deliver(0, [4, 5, 6], collect(later), [], Subs),
  ?assertEqual(3, length(Handled)),
  ?assertEqual([], acks()),
  _ = brod_subscriptions:ack(?T, 0, 5, Subs1),
  ?assertEqual([5], acks()).

sets() ->
  {Handled, _} = deliver(0, [4, 5, 6], collect(ack), [], new(message_set, [{0, 4}])),
  ?assertEqual([{0, 3}], Handled),
  ?assertEqual([6], acks()).

slow_handler() ->
  Slow = fun(_, _, #kafka_message{offset = O}, Acc) ->
             Until = erlang:monotonic_time(millisecond) + 6,
             busy(Until),
             {ok, ack, [O | Acc]}
         end,
  {Handled, Subs} = work(arrive(0, [0, 1], new(message, [{0, 0}])), Slow, []),
  ?assertEqual([0], Handled),
  %% The rest waits behind what is in the mailbox; a set that comes meanwhile waits too.
  Subs1 = arrive(0, [2], Subs),
  ?assertEqual([0], acks()),
  {[1, 0], Subs2} = work(Subs1, Slow, Handled),
  {[2, 1, 0], _} = work(Subs2, Slow, [1, 0]).

%% Sets that have come are no reason to let a stop wait that has come after them.
mailbox_first() ->
  Slow = fun(_, _, #kafka_message_set{messages = [#kafka_message{offset = O}]}, Acc) ->
             busy(erlang:monotonic_time(millisecond) + 21),
             {ok, ack, [O | Acc]}
         end,
  Set = fun(O, Subs) -> brod_subscriptions:handle_info({get({consumer, 0}), set(0, [O])}, Subs) end,
  {work, First} = Set(0, new(message_set, [{0, 0}])),
  {[0], Subs0} = work(First, Slow, []),
  {done, Subs1} = Set(1, Subs0),
  {done, Subs2} = Set(2, Subs1),
  self() ! stop,
  {[1, 0], Left} = work(Subs2, Slow, [0]),
  ?assertEqual(stop, receive Next when Next =:= stop; element(1, Next) =:= brod_subscriptions -> Next after 0 -> none end),
  %% It goes on, and is handled as it comes once that is soon done.
  Fast = fun(_, _, #kafka_message_set{messages = [#kafka_message{offset = O}]}, Acc) -> {ok, ack, [O | Acc]} end,
  {[2, 1, 0], Done} = work(Left, Fast, [1, 0]),
  ok = at_once(Set, Fast, 3, Done),
  ?assertMatch({[1, 0], _}, work(brod_subscriptions:remove_all(Left), Slow, [1, 0])).

%% Where the machine keeps the callback from its end, it was not soon done.
at_once(Set, Fast, Offset, Subs) when Offset < 1000 ->
  case Set(Offset, Subs) of
    {work, _} -> ok;
    {done, Later} ->
      {_, Done} = work(Later, Fast, []),
      at_once(Set, Fast, Offset + 1, Done)
  end.

busy(Until) ->
  erlang:monotonic_time(millisecond) < Until andalso busy(Until).

down(Partition) ->
  Pid = get({consumer, Partition}),
  Pid ! stop,
  receive {'DOWN', _, process, Pid, _} = Down -> Down after 20000 -> error(no_down) end.

resubscribe(Subs) ->
  receive
    {brod_subscriptions, resubscribe} = Message ->
      {done, NewSubs} = brod_subscriptions:handle_info(Message, Subs),
      NewSubs
  after 20000 -> error(no_resubscribe)
  end.

%% Without waiting for the timer.
resubscribe_now(Subs) ->
  {done, NewSubs} = brod_subscriptions:handle_info({brod_subscriptions, resubscribe}, Subs),
  NewSubs.

consumer_dies() ->
  Subs = new(message, [{0, 7}]),
  _ = subscribed_at(),
  {_, Subs1} = deliver(0, [7, 8], collect(ack), [], Subs),
  {done, Subs2} = brod_subscriptions:handle_info(down(0), Subs1),
  ?assertEqual([{{?T, 0}, undefined}], brod_subscriptions:consumers(Subs2)),
  New = start_consumer(0),
  ?assertEqual([{{?T, 0}, New}], brod_subscriptions:consumers(resubscribe(Subs2))),
  ?assertEqual([{begin_offset, 9}], subscribed_at()).

%% A set that has arrived and waits behind other callbacks, so that `latest' would be behind it.
dies_before_ack() ->
  [begin
     Subs = new(message, [{0, Begin}]),
     _ = subscribed_at(),
     Subs1 = arrive(0, [7, 8], Subs),
     {done, Subs2} = brod_subscriptions:handle_info(down(0), Subs1),
     _ = start_consumer(0),
     Subs3 = resubscribe_now(Subs2),
     ?assertEqual([{begin_offset, 7}], subscribed_at()),
     {Handled, _} = work(Subs3, collect(later), []),
     ?assertEqual([], Handled)
   end || Begin <- [undefined, latest, earliest]].

handed_once() ->
  [begin
     Subs = new(message, [{0, Begin}]),
     _ = subscribed_at(),
     {_, Subs1} = deliver(0, [7, 8, 9], collect(later), [], Subs),
     Subs2 = brod_subscriptions:ack(?T, 0, 7, Subs1),
     {done, Subs3} = brod_subscriptions:handle_info(down(0), Subs2),
     _ = start_consumer(0),
     Subs4 = resubscribe_now(Subs3),
     ?assertEqual([{begin_offset, 10}], subscribed_at()),
     _ = acks(),
     %% a consumer that dies before anything has come from it
     {done, Subs5} = brod_subscriptions:handle_info(down(0), Subs4),
     _ = start_consumer(0),
     Subs6 = resubscribe_now(Subs5),
     ?assertEqual([{begin_offset, 10}], subscribed_at()),
     _ = brod_subscriptions:ack(?T, 0, 9, Subs6),
     ?assertEqual([9], acks())
   end || Begin <- [undefined, latest, 7]].

late_answer() ->
  Subs = new(message, [{0, 3}]),
  Consumer = get({consumer, 0}),
  receive {sub, _, _, First} -> ok end,
  Error = #kafka_fetch_error{topic = ?T, partition = 0, error_code = offset_out_of_range},
  {done, Subs1} = brod_subscriptions:handle_info({Consumer, Error}, Subs),
  receive {sub, _, _, Second} -> ok end,
  ?assertNotEqual(First, Second),
  {done, Subs2} = brod_subscriptions:handle_info({brod_subscribed, First, {error, superseded}}, Subs1),
  ?assertEqual([{{?T, 0}, Consumer}], brod_subscriptions:consumers(Subs2)).

acks_in_any_order() ->
  Subs = new(message, [{0, 0}]),
  _ = subscribed_at(),
  {_, Subs1} = deliver(0, [0, 1, 2], collect(later), [], Subs),
  Subs2 = brod_subscriptions:ack(?T, 0, 2, Subs1),
  Subs3 = brod_subscriptions:ack(?T, 0, 1, Subs2),
  {done, Subs4} = brod_subscriptions:handle_info(down(0), Subs3),
  _ = start_consumer(0),
  _ = resubscribe_now(Subs4),
  ?assertEqual([{begin_offset, 3}], subscribed_at()).

lost_consumer() ->
  Subs = new(message, [{0, 0}]),
  Old = get({consumer, 0}),
  {done, Subs1} = brod_subscriptions:handle_info(down(0), Subs),
  {Handled, _} = deliver_from(Old, 0, [0, 1], collect(ack), [], Subs1),
  ?assertEqual([], Handled).

out_of_range() ->
  Subs = new(message, [{0, 50}]),
  ?assertEqual([{begin_offset, 50}], subscribed_at()),
  _ = fetch_failed(offset_out_of_range, Subs),
  ?assertEqual([{begin_offset, earliest}], subscribed_at()).

slower_than_retention() ->
  Log = brod_log:start(),
  Subs = new(message, [{0, 50}]),
  ?assertEqual([{begin_offset, 50}], subscribed_at()),
  _ = lists:foldl(fun(_, Acc) ->
                    Failed = fetch_failed(offset_out_of_range, Acc),
                    ?assertEqual([{begin_offset, earliest}], subscribed_at()),
                    Failed
                  end, Subs, [1, 2, 3]),
  Lines = brod_log:all(Log, "is out of range"),
  brod_log:stop(Log),
  ?assertMatch([_], Lines),
  ?assertNotEqual(nomatch, string:find(hd(Lines), "offset 50 of topic-0")).

%% Nobody subscribes once more; acks from before say nothing of what comes now.
seen_to() ->
  Subs1 = queued([100, 101], new(message, [{0, 100}])),
  put(seen_to, true),
  Subs2 = fetch_failed(offset_out_of_range, Subs1),
  {Handled, Subs3} = deliver(0, [0, 1], collect(ack), [], Subs2),
  ?assertEqual([100, 101, 0, 1], [O || {0, O} <- lists:reverse(Handled)]),
  Subs4 = fetch_failed(message_too_large, Subs3),
  receive {sub, _, _, _} -> error(subscribed_again) after 0 -> ok end,
  {done, Subs5} = brod_subscriptions:handle_info(down(0), Subs4),
  _ = start_consumer(0),
  _ = resubscribe_now(Subs5),
  ?assertEqual([{begin_offset, 2}], subscribed_at()).

%% They have been read and may be handled, but say nothing of the new log.
former_log() ->
  Subs2 = fetch_failed(offset_out_of_range, queued([100, 101], new(message, [{0, 100}]))),
  ?assertEqual([{begin_offset, earliest}], subscribed_at()),
  {Handled, Subs3} = deliver(0, [0, 1, 2], collect(ack), [], Subs2),
  ?assertEqual([100, 101, 0, 1, 2], [O || {0, O} <- lists:reverse(Handled)]),
  ?assertEqual(2, lists:max(acks())),
  {done, Subs4} = brod_subscriptions:handle_info(down(0), Subs3),
  _ = start_consumer(0),
  _ = resubscribe_now(Subs4),
  ?assertEqual([{begin_offset, 3}], subscribed_at()).

goes_back() ->
  {_, Subs1} = deliver(0, [8, 9], collect(ack), [], new(message, [{0, 8}])),
  ?assertEqual([{begin_offset, 8}], subscribed_at()),
  {_, Subs2} = deliver(0, [0, 1], collect(ack), [], Subs1),
  {done, Subs3} = brod_subscriptions:handle_info(down(0), Subs2),
  _ = start_consumer(0),
  _ = resubscribe_now(Subs3),
  ?assertEqual([{begin_offset, 2}], subscribed_at()).

former_handler() ->
  Subs = fetch_failed(offset_out_of_range, queued([100, 101], new(message, [{0, 100}]))),
  Of = fun(Log) -> fun(?T, 0, #kafka_message{offset = O}, Acc) -> {ok, ack, [{Log, O} | Acc]} end end,
  Arrived = arrive(0, [0], Subs),
  {Handled, _} = brod_subscriptions:work(Of(present), Of(former), [], Arrived),
  ?assertEqual([{former, 100}, {former, 101}, {present, 0}], lists:reverse(Handled)).

%% Acks of what was read before it went back would count for what comes.
former_by_policy() ->
  Subs = queued([100, 101], new(message, [{0, 100}])),
  Set = {get({consumer, 0}), set(0, [0])},
  ?assertEqual({true, {?T, 0}}, brod_subscriptions:goes_back(Set, Subs)),
  Of = fun(Log) -> fun(?T, 0, #kafka_message{offset = O}, Acc) -> {ok, ack, [{Log, O} | Acc]} end end,
  {_, Arrived} = brod_subscriptions:handle_info(Set, Subs),
  ?assertEqual(false, brod_subscriptions:goes_back({get({consumer, 0}), set(0, [1])}, Arrived)),
  {done, Lost} = brod_subscriptions:handle_info(down(0), Arrived),
  {Handled, Subs1} = brod_subscriptions:work(Of(present), Of(former), [], Arrived),
  ?assertEqual([{former, 100}, {former, 101}, {present, 0}], lists:reverse(Handled)),
  ?assertEqual([0], acks()),
  ?assertMatch(#{partitions := #{{?T, 0} := #{acked := 0}}}, brod_subscriptions:info(Subs1)),
  %% What cannot be fetched any more is handled although the consumer is lost.
  ?assertMatch({[{former, 101}, {former, 100}], _}, brod_subscriptions:work(Of(present), Of(former), [], Lost)),
  ?assertEqual([], acks()).

comes_again() ->
  Subs2 = fetch_failed(message_too_large, queued([4, 5], new(message, [{0, 0}]))),
  Subs3 = resubscribe_now(Subs2),
  ?assertEqual([{begin_offset, 4}], subscribed_at()),
  {Handled, Subs4} = work(Subs3, collect(ack), []),
  ?assertEqual([], Handled),
  ?assertMatch({[{0, 5}, {0, 4}], _}, deliver(0, [4, 5], collect(ack), [], Subs4)).

%% The callback has not acknowledged 8 and 9 and asks for them again; the last one that it did is the last one still.
taken_over() ->
  [begin
     {_, Subs1} = deliver(0, [7, 8, 9], collect(later), [], new(message, [{0, 7}])),
     _ = subscribed_at(),
     Subs2 = brod_subscriptions:ack(?T, 0, 7, Subs1),
     Down = down(0),
     {done, Subs3} = case Told of
                       told -> brod_subscriptions:handle_info(Down, Subs2);
                       not_told -> {done, Subs2}
                     end,
     New = start_consumer(0),
     ?assertEqual(false, brod_subscriptions:goes_back({New, set(0, [8])}, Subs3)),
     {Handled, Subs4} = deliver(0, [8, 9], collect(later), [], Subs3),
     ?assertEqual([8, 9], [O || {0, O} <- lists:reverse(Handled)]),
     ?assertEqual([{{?T, 0}, New}], brod_subscriptions:consumers(Subs4)),
     _ = resubscribe_now(Subs4),
     ?assertEqual(not_subscribed, receive {sub, _, _, _} = Sub -> Sub after 0 -> not_subscribed end),
     {done, Subs5} = brod_subscriptions:handle_info(down(0), Subs4),
     _ = start_consumer(0),
     _ = resubscribe_now(Subs5),
     ?assertEqual([{begin_offset, 10}], subscribed_at())
   end || Told <- [told, not_told]].

taken_over_further_back() ->
  {_, Subs1} = deliver(0, [7, 8, 9], collect(ack), [], new(message, [{0, 7}])),
  _ = subscribed_at(),
  _ = acks(),
  {done, Subs2} = brod_subscriptions:handle_info(down(0), Subs1),
  New = start_consumer(0),
  ?assertEqual({true, {?T, 0}}, brod_subscriptions:goes_back({New, set(0, [3])}, Subs2)),
  {Handled, Subs3} = deliver(0, [3, 4], collect(ack), [], Subs2),
  ?assertEqual([3, 4], [O || {0, O} <- lists:reverse(Handled)]),
  ?assertEqual(4, lists:last(acks())),
  {done, Subs4} = brod_subscriptions:handle_info(down(0), Subs3),
  _ = start_consumer(0),
  _ = resubscribe_now(Subs4),
  ?assertEqual([{begin_offset, 5}], subscribed_at()).

%% These have arrived at the first subscription, and nobody has handled them.
queued(Offsets, Subs) ->
  _ = subscribed_at(),
  arrive(0, Offsets, Subs).

fetch_failed(Code, Subs) ->
  Error = #kafka_fetch_error{topic = ?T, partition = 0, error_code = Code},
  {done, Failed} = brod_subscriptions:handle_info({get({consumer, 0}), Error}, Subs),
  Failed.

tried_again() ->
  Subs = new(message, [{0, 3}]),
  receive {sub, _, _, Tag} -> ok end,
  {done, Subs1} = brod_subscriptions:handle_info({brod_subscribed, Tag, {error, timeout}}, Subs),
  _ = resubscribe(Subs1),
  ?assertEqual([{begin_offset, 3}], subscribed_at()).

told_once() ->
  Log = brod_log:start(),
  Subs0 = new(message, [{0, 3}]),
  Other = self(),
  Refused = fun(Answer, Subs) ->
              receive {sub, _, _, Tag} -> ok end,
              {done, Next} = brod_subscriptions:handle_info({brod_subscribed, Tag, Answer}, Subs),
              Next
            end,
  Subs = lists:foldl(fun(_, Acc) -> resubscribe_now(Refused({error, {already_subscribed_by, Other}}, Acc)) end, Subs0, [1, 2, 3]),
  _ = Refused(ok, Subs),
  Lines = brod_log:all(Log, "topic-0"),
  brod_log:stop(Log),
  ?assertMatch([_, _], Lines),
  [?assertMatch({Line, {match, _}}, {Line, re:run(Line, Text)})
   || {Line, Text} <- lists:zip(Lines, ["no subscription to topic-0, next try in 2000 ms: <[0-9.]+> reads it already.*client of its own",
                                        "subscribed to topic-0; 3 attempts had failed"])].

stopped() ->
  Lines = fun(Reason) ->
            Log = brod_log:start(),
            Subs = new(message, [{0, 3}]),
            _ = subscribed_at(),
            {done, Lost} = brod_subscriptions:handle_info(setelement(5, down(0), Reason), Subs),
            _ = start_consumer(0),
            _ = resubscribe_now(Lost),
            ?assertEqual([{begin_offset, 3}], subscribed_at()),
            All = brod_log:all(Log, "no subscription"),
            brod_log:stop(Log),
            length(All)
          end,
  ?assertEqual({0, 1}, {Lines(shutdown), Lines(killed)}).

removed() ->
  Subs = new(message, [{0, 0}]),
  Consumer = get({consumer, 0}),
  {done, Subs1} = {done, brod_subscriptions:remove_all(Subs)},
  receive {unsub, Consumer} -> ok end,
  {Handled, _} = deliver(0, [0], collect(ack), [], Subs1),
  ?assertEqual([], Handled).
