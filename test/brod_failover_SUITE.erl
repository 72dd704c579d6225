%% Brokers that die, hang, or are all gone while messages flow: nothing acknowledged is lost,
%% doubled or out of order, and nobody waits for ever.
-module(brod_failover_SUITE).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2,
         end_per_testcase/2]).
-export([broker_killed/1, broker_hangs/1, total_outage/1]).

-include_lib("eunit/include/eunit.hrl").
-include("../include/brod.hrl").

-define(LIMIT_MS, 90000).
%% Partitions that are written to. The engine writes those below 64 and the others over different
%% connections.
-define(WRITERS, [0, 1, 64, 65]).
-define(PARTITIONS, 66).
%% Calls that a writer has under way.
-define(WINDOW, 50).

suite() -> [{timetrap, {seconds, 240}}].

all() -> [broker_killed, broker_hangs, total_outage].

init_per_suite(Config) -> brod_test:init_suite_of_three(Config).

end_per_suite(_Config) -> ok.

init_per_testcase(_Case, Config) ->
  [{client, brod_test:start_client()}, {topic, brod_test:replicated_topic(?PARTITIONS)} | Config].

end_per_testcase(_Case, Config) ->
  true = brod_test:whole(),
  brod_test:stop_client(proplists:get_value(client, Config)).

%% With the default configuration but for unlimited retries every call succeeds, through the death
%% of a broker and its return.
broker_killed(Config) ->
  through_trouble(Config, kill, start, [{max_retries, -1}], []).

%% A broker that stops to answer without closing its connections is given up after a while.
broker_hangs(Config) ->
  through_trouble(Config, pause, resume, [{max_retries, -1}, {ack_timeout, 1000}],
                  [{max_wait_time, 1000}]).

through_trouble(Config, Harm, Repair, ProducerOptions, ConsumerOptions) ->
  {Client, Topic} = {proplists:get_value(client, Config), proplists:get_value(topic, Config)},
  Pid = whereis(Client),
  ok = brod:start_producer(Client, Topic, ProducerOptions),
  Reader = start_reader(Client, Topic, ConsumerOptions),
  Before = write(Client, Topic, 1, 20000),
  await_acks(Before, 2000),
  Broker = leader(Topic, 0),
  ok = brod_test:brokers(Harm, [Broker]),
  await_end(Before),
  During = write(Client, Topic, 20001, 30000),
  await_end(During),
  ?assertNotEqual(Broker, leader(Topic, 0)),
  After = write(Client, Topic, 30001, 50000),
  ok = brod_test:brokers(Repair, [Broker]),
  await_end(After),
  lists:foreach(fun(Partition) ->
                  Log = brod_test:values(brod_test:fetch_all(Client, Topic, Partition)),
                  ?assert(Log =:= brod_test:numbers(1, 50000), {log, Partition, summary(Log)}),
                  Read = read(Partition, length(Log)),
                  ?assert(Read =:= Log, {read, Partition, summary(Read)})
                end, ?WRITERS),
  ?assertEqual(Pid, whereis(Client)),
  ok = brod_topic_subscriber:stop(Reader),
  ?assertEqual([], brod_test:flush()).

%% Enough to see what went wrong, without 50000 numbers.
summary(Values) ->
  Numbers = [binary_to_integer(V) || V <- Values],
  Steps = lists:zip(lists:droplast([0 | Numbers]), Numbers),
  Wrong = [Step || {A, B} = Step <- Steps, B =/= A + 1],
  #{count => length(Values), wrong_steps => lists:sublist(Wrong, 10)}.

%% All brokers are killed, and come back. Calls wait or fail meanwhile, each is answered, and the
%% client goes on by itself.
total_outage(Config) ->
  {Client, Topic} = {proplists:get_value(client, Config), proplists:get_value(topic, Config)},
  Pid = whereis(Client),
  ok = brod:start_producer(Client, Topic, [{partition_restart_delay_seconds, 1}]),
  Reader = start_reader(Client, Topic, []),
  await_end(write(Client, Topic, 1, 100)),
  All = lists:seq(1, length(brod_test:bootstrap())),
  ok = brod_test:brokers(kill, All),
  Refs = [{P, N, brod:produce(Client, Topic, P, <<>>, integer_to_binary(N))}
          || N <- lists:seq(101, 200), P <- ?WRITERS],
  ?assertMatch({error, _}, brod_client:get_metadata(Client, all)),
  ?assertMatch({error, _}, brod:fetch(brod_test:bootstrap(), Topic, 0, 0)),
  ok = brod_test:brokers(start, All),
  Results = [{P, N, case Produced of
                      {ok, Ref} -> brod:sync_produce_request(Ref, 150000);
                      {error, _} = Refused -> Refused
                    end} || {P, N, Produced} <- Refs],
  ?assertEqual([], [R || {_, _, {error, timeout}} = R <- Results]),
  ?assertEqual(Pid, whereis(Client)),
  lists:foreach(fun(P) ->
                  ok = brod_test:wait_until(fun() ->
                                              case brod:produce_sync(Client, Topic, P, <<>>,
                                                                     <<"999">>) of
                                                ok -> ok;
                                                {error, _} -> false
                                              end
                                            end, ?LIMIT_MS),
                  Log = brod_test:values(brod_test:fetch_all(Client, Topic, P)),
                  Acked = [integer_to_binary(N) || {Q, N, ok} <- Results, Q =:= P],
                  ?assertEqual(lists:usort(Log), lists:sort(Log)),
                  ?assertEqual(brod_test:numbers(1, 100) ++ Acked ++ [<<"999">>],
                               [V || V <- Log, not failed(P, V, Results)]),
                  ?assertEqual(Log, read(P, length(Log)))
                end, ?WRITERS),
  ok = brod_topic_subscriber:stop(Reader),
  ?assertEqual([], brod_test:flush()).

failed(Partition, Value, Results) ->
  [] =/= [N || {P, N, {error, _}} <- Results, P =:= Partition, integer_to_binary(N) =:= Value].

leader(Topic, Partition) ->
  {ok, #{topics := [#{partitions := Partitions}]}} =
    brod:get_metadata(brod_test:bootstrap(), [Topic]),
  [Leader] = [L || #{partition_index := P, leader_id := L} <- Partitions, P =:= Partition],
  Leader.

%%% Writers: one process a partition, that writes numbers and reports every hundredth ack

write(Client, Topic, From, To) ->
  Self = self(),
  [spawn_link(fun() ->
                write(Client, Topic, Partition, From, To, queue:new(), Self),
                Self ! {written, self()}
              end) || Partition <- ?WRITERS].

write(Client, Topic, Partition, Next, To, Refs, Test) ->
  case Next =< To andalso queue:len(Refs) < ?WINDOW of
    true ->
      {ok, Ref} = brod:produce(Client, Topic, Partition, <<>>, integer_to_binary(Next)),
      write(Client, Topic, Partition, Next + 1, To, queue:in({Next, Ref}, Refs), Test);
    false ->
      case queue:out(Refs) of
        {{value, {Number, Ref}}, Rest} ->
          ok = brod:sync_produce_request(Ref, ?LIMIT_MS),
          Number rem 100 =:= 0 andalso (Test ! {acked, self(), Number}),
          write(Client, Topic, Partition, Next, To, Rest, Test);
        {empty, _} ->
          ok
      end
  end.

await_acks(Writers, Number) ->
  lists:foreach(fun(Writer) ->
                  receive {acked, Writer, Number} -> ok
                  after ?LIMIT_MS -> error({no_ack, Number})
                  end
                end, Writers).

await_end(Writers) ->
  lists:foreach(fun(Writer) ->
                  receive {written, Writer} -> ok after ?LIMIT_MS -> error(writer_waits) end,
                  drop_acks(Writer)
                end, Writers).

drop_acks(Writer) ->
  receive {acked, Writer, _} -> drop_acks(Writer) after 0 -> ok end.

%%% A reader of all partitions

start_reader(Client, Topic, Options) ->
  Test = self(),
  Tell = fun(Partition, #kafka_message_set{messages = Messages}, State) ->
           Test ! {read, Partition, Messages},
           {ok, ack, State}
         end,
  {ok, Reader} = brod_topic_subscriber:start_link(Client, Topic, all,
                                                  [{begin_offset, earliest} | Options],
                                                  [], message_set, Tell, no_state),
  Reader.

read(_Partition, Count) when Count =< 0 -> [];
read(Partition, Count) ->
  receive {read, Partition, Messages} ->
    brod_test:values(Messages) ++ read(Partition, Count - length(Messages))
  after ?LIMIT_MS -> error({not_read, Partition, Count})
  end.
