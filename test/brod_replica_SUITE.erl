%% Fetching from the replica in the client's own rack (KIP-392). The brokers of scripts/kafka-up.sh
%% are in racks of their own: broker 1 in rack1, and so on.
-module(brod_replica_SUITE).

-export([all/0, init_per_suite/1, end_per_suite/1]).
-export([nearest_replica_is_fetched_from/1]).

-include_lib("eunit/include/eunit.hrl").
-include("../include/brod.hrl").

-define(LIMIT_MS, 30000).

all() -> [nearest_replica_is_fetched_from].

init_per_suite(Config) -> brod_test:init_suite(Config).

end_per_suite(_Config) -> ok.

nearest_replica_is_fetched_from(_Config) ->
  Topic = brod_test:create_topic(1, #{replication_factor => 3}),
  Leader = leader(Topic),
  Near = hd([1, 2, 3] -- [Leader]),
  Client = brod_test:start_client([{rack_id, <<"rack", (integer_to_binary(Near))/binary>>}]),
  ok = brod:start_producer(Client, Topic, []),
  ok = brod:start_consumer(Client, Topic, [{begin_offset, earliest}]),
  {ok, Pid} = brod:subscribe(Client, self(), Topic, 0, []),
  [ok = brod:produce_sync(Client, Topic, 0, <<>>, integer_to_binary(N)) || N <- lists:seq(0, 4)],
  ?assertEqual(lists:seq(0, 4), values(Pid, 5)),
  brod_test:wait_until(fun() -> maps:get(node, brod_consumer:info(Pid)) =:= Near end, ?LIMIT_MS),
  [ok = brod:produce_sync(Client, Topic, 0, <<>>, integer_to_binary(N)) || N <- lists:seq(5, 9)],
  ?assertEqual(lists:seq(5, 9), values(Pid, 5)),
  ?assertMatch(#{node := Near}, brod_consumer:info(Pid)),
  brod_test:stop_client(Client).

leader(Topic) ->
  {ok, #{topics := [#{partitions := [#{leader_id := Leader}]}]}} =
    brod:get_metadata(brod_test:bootstrap(), [Topic]),
  Leader.

values(_Pid, 0) -> [];
values(Pid, Count) ->
  receive
    {Pid, #kafka_message_set{messages = Messages}} ->
      ok = brod:consume_ack(Pid, (lists:last(Messages))#kafka_message.offset),
      Values = [binary_to_integer(V) || #kafka_message{value = V} <- Messages],
      Values ++ values(Pid, Count - length(Values))
  after ?LIMIT_MS ->
    error({messages_missing, Count})
  end.
