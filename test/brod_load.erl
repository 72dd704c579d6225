%% A load for tests of what happens meanwhile: each message arrives once and in order.
-module(brod_load).

-export([run/2]).

-include_lib("stdlib/include/assert.hrl").
-include("../include/brod.hrl").

-define(LIMIT_MS, 30000).

%% @doc Produces and consumes while `Meanwhile' runs, and stops the client in the end.
run(Client, Meanwhile) ->
  Topic = brod_test:create_topic(2),
  ok = brod:start_producer(Client, Topic, []),
  ok = brod:start_consumer(Client, Topic, [{begin_offset, earliest}]),
  Self = self(),
  Producers = [spawn_link(fun() -> Self ! {self(), produce(Client, Topic, P, 0)} end) || P <- [0, 1]],
  Consumers = [spawn_link(fun() ->
                 {ok, _} = brod:subscribe(Client, self(), Topic, P, []),
                 Self ! {self(), consume(0, infinity)}
               end) || P <- [0, 1]],
  Meanwhile(),
  %% Goes on working afterwards, and on a slow machine until there was load at all.
  [Pid ! {stop_after, 101} || Pid <- Producers],
  Counts = [receive {Pid, Count} -> Count end || Pid <- Producers],
  [Pid ! {until, Count} || {Pid, Count} <- lists:zip(Consumers, Counts)],
  [receive {Pid, Consumed} -> ?assertEqual(Count, Consumed)
   after ?LIMIT_MS -> error(messages_are_missing)
   end || {Pid, Count} <- lists:zip(Consumers, Counts)],
  ?assert(lists:min(Counts) > 100),
  ok = brod:stop_client(Client).

produce(Client, Topic, Partition, Number) ->
  receive
    {stop_after, Least} when Number >= Least -> Number
  after 1 ->
    {ok, Number} = brod:produce_sync_offset(Client, Topic, Partition, <<>>, integer_to_binary(Number)),
    produce(Client, Topic, Partition, Number + 1)
  end.

consume(Next, Next) -> Next;
consume(Next, Until) ->
  receive
    {until, Count} -> consume(Next, Count);
    {Pid, #kafka_message_set{messages = Messages}} ->
      consume(lists:foldl(fun(#kafka_message{offset = Offset, value = Value}, Expected) ->
                            ?assertEqual({Expected, integer_to_binary(Expected)}, {Offset, Value}),
                            ok = brod:consume_ack(Pid, Offset),
                            Expected + 1
                          end, Next, Messages), Until)
  end.
