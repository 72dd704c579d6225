%% Consuming: what subscribers get, how much of it at once, and what they get after something went
%% wrong.
-module(brod_consume_SUITE).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2,
         end_per_testcase/2]).
-export([window_of_count/1, window_of_bytes/1, slow_subscriber/1, idle_latency/1, resubscribe/1,
         subscriber_dies/1, consumer_dies/1, second_consumer/1, bad_seek/1, recreated_topic/1, offset_reset/1, begin_offsets/1, isolation/1,
         larger_than_max_bytes/1, holes_of_compaction/1, pause_and_resume/1, seek_and_lag/1,
         topic_subscriber_acks/1, topic_subscriber_sets/1, topic_subscriber_begins/1, topic_subscriber_resumes/1,
         topic_subscriber_grows/1, kept_messages/1, topic_made_again/1, unacked_are_kept/1,
         client_stops/1, crash_report/1, bad_names/1, dear_batches/1]).
%% run on a peer
-export([subscribe_to_zeros/3]).
%% brod_topic_subscriber
-export([init/2, handle_message/3, handle_info/2, terminate/2]).

-behaviour(brod_topic_subscriber).

-include_lib("eunit/include/eunit.hrl").
-include("../include/brod.hrl").

-define(LIMIT_MS, 30000).

suite() -> [{timetrap, {seconds, 120}}].

all() ->
  [second_consumer, bad_seek, recreated_topic, window_of_count, window_of_bytes, slow_subscriber, idle_latency, resubscribe, subscriber_dies,
   consumer_dies, offset_reset, begin_offsets, isolation, larger_than_max_bytes,
   holes_of_compaction, pause_and_resume, seek_and_lag, topic_subscriber_acks,
   topic_subscriber_sets,
   topic_subscriber_begins, topic_subscriber_resumes, topic_subscriber_grows, kept_messages, topic_made_again,
   unacked_are_kept, client_stops, crash_report, bad_names, dear_batches].

init_per_suite(Config) -> brod_test:init_suite(Config).

end_per_suite(_Config) -> ok.

init_per_testcase(_Case, Config) -> [{client, brod_test:start_client()} | Config].

end_per_testcase(_Case, Config) -> brod_test:stop_client(client(Config)).

%%% The prefetch window

%% With one message a fetch (each is larger than max_bytes), a subscriber that never acks gets as
%% many messages as the window lets out, and one more for every one that it acks.
window_of_count(Config) ->
  {Client, Topic} = filled(Config, [binary:copy(<<N>>, 2000) || N <- lists:seq(1, 30)]),
  {ok, Pid} = subscribe(Client, Topic,
                        [{max_bytes, 1000}, {prefetch_count, 5}, {prefetch_bytes, 0}]),
  %% fetches go on until more than 5 are out
  ?assertEqual(lists:seq(0, 5), offsets(take(Pid, 6))),
  nothing_more(Pid, 6),
  ok = brod:consume_ack(Pid, 0),
  ?assertEqual([6], offsets(take(Pid, 1))),
  nothing_more(Pid, 6),
  ok = brod:consume_ack(Pid, 6),
  ?assertEqual(lists:seq(7, 12), offsets(take(Pid, 6))),
  nothing_more(Pid, 6).

%% The window is full when both limits are exceeded, not before.
window_of_bytes(Config) ->
  {Client, Topic} = filled(Config, [binary:copy(<<N>>, 2000) || N <- lists:seq(1, 30)]),
  {ok, Pid} = subscribe(Client, Topic,
                        [{max_bytes, 1000}, {prefetch_count, 0}, {prefetch_bytes, 9000}]),
  ?assertEqual(lists:seq(0, 4), offsets(take(Pid, 5))),
  nothing_more(Pid, 5),
  ok = brod:consume_ack(Pid, 4),
  ?assertEqual(lists:seq(5, 9), offsets(take(Pid, 5))),
  nothing_more(Pid, 5).

%% A second consumer that reads everything proves that there was time for more to come.
nothing_more(Pid, Pending) ->
  #{topic := Topic} = brod_consumer:info(Pid),
  {ok, Other} = brod_consumer:start_link(brod_test:bootstrap(), Topic, 0,
                                         [{begin_offset, earliest}]),
  ok = brod:subscribe(Other, self(), [{prefetch_count, 1000}, {max_bytes, 1000}]),
  _ = take(Other, 30),
  ok = brod_consumer:stop(Other),
  brod_test:wait_until(fun() -> maps:get(pending_count, brod_consumer:info(Pid)) =:= Pending end,
                       ?LIMIT_MS),
  ?assertEqual([], [Set || {From, Set} <- brod_test:flush(), From =:= Pid]).

slow_subscriber(Config) ->
  Client = client(Config),
  Topic = brod_test:create_topic(2),
  ok = brod:start_producer(Client, Topic, []),
  Values = brod_test:numbers(1, 2000),
  [ok = brod_test:produce_all(Client, Topic, P, Values) || P <- [0, 1]],
  ok = brod:start_consumer(Client, Topic, [{begin_offset, earliest}, {max_bytes, 10000},
                                           {prefetch_count, 1}, {prefetch_bytes, 1}]),
  {ok, Slow} = brod:subscribe(Client, self(), Topic, 0, []),
  First = take(Slow, 1),
  {ok, Fast} = brod:subscribe(Client, self(), Topic, 1, []),
  ?assertEqual(Values, brod_test:values(take_acking(Fast, 2000))),
  ok = brod:consume_ack(Slow, (lists:last(First))#kafka_message.offset),
  ?assertEqual(Values, brod_test:values(First ++ take_acking(Slow, 2000 - length(First)))).

%% No timer stands between a message and a subscriber that waits for it: with all of them at a
%% minute, messages come within seconds.
idle_latency(Config) ->
  {Client, Topic} = filled(Config, []),
  {ok, Pid} = subscribe(Client, Topic, [{sleep_timeout, 60000}, {max_wait_time, 60000}]),
  lists:foreach(fun(Offset) ->
                  brod_test:wait_until(fun() -> fetches(Pid) end, ?LIMIT_MS),
                  ok = brod:produce_sync(Client, Topic, 0, <<>>, <<"v">>),
                  receive {Pid, #kafka_message_set{messages = [#kafka_message{offset = O}]}} ->
                    ?assertEqual(Offset, O),
                    ok = brod:consume_ack(Pid, O)
                  after ?LIMIT_MS -> error({late, Offset})
                  end
                end, [0, 1, 2, 3]).

fetches(Pid) ->
  #{position := Position} = brod_consumer:info(Pid),
  is_integer(Position).

%%% Subscriptions

resubscribe(Config) ->
  {Client, Topic} = filled(Config, brod_test:numbers(0, 9)),
  {ok, Pid} = subscribe(Client, Topic, []),
  ?assertEqual(lists:seq(0, 9), offsets(take(Pid, 10))),
  ok = brod:consume_ack(Pid, 3),
  %% without begin_offset: after what was acknowledged
  ok = brod:unsubscribe(Pid),
  ok = brod:subscribe(Pid, self(), []),
  ?assertEqual(lists:seq(4, 9), offsets(take(Pid, 6))),
  ok = brod:subscribe(Pid, self(), [{begin_offset, 8}]),
  ?assertEqual([8, 9], offsets(take(Pid, 2))),
  ?assertEqual({error, {bad_option, begin_offset, nonsense}},
               brod:subscribe(Pid, self(), [{begin_offset, nonsense}])),
  ok = brod:unsubscribe(Pid),
  ok = brod:produce_sync(Client, Topic, 0, <<>>, <<"10">>),
  ok = brod:subscribe(Pid, self(), [{begin_offset, 10}]),
  ?assertEqual([10], offsets(take(Pid, 1))).

%% The next subscriber begins with what the dead one had not acknowledged.
subscriber_dies(Config) ->
  {Client, Topic} = filled(Config, brod_test:numbers(0, 9)),
  ok = brod:start_consumer(Client, Topic, [{begin_offset, earliest}]),
  Self = self(),
  {Doomed, Monitor} =
    spawn_monitor(fun() ->
                    {ok, Pid} = brod:subscribe(Client, self(), Topic, 0, []),
                    receive {Pid, #kafka_message_set{}} -> ok = brod:consume_ack(Pid, 4) end,
                    Self ! subscribed,
                    receive never -> ok end
                  end),
  receive subscribed -> ok after ?LIMIT_MS -> error(timeout) end,
  ?assertEqual({error, {already_subscribed_by, Doomed}},
               brod:subscribe(Client, Self, Topic, 0, [])),
  exit(Doomed, kill),
  receive {'DOWN', Monitor, process, Doomed, killed} -> ok end,
  {ok, Pid} = brod:subscribe(Client, Self, Topic, 0, []),
  ?assertEqual(lists:seq(5, 9), offsets(take(Pid, 5))).

consumer_dies(Config) ->
  {Client, Topic} = filled(Config, brod_test:numbers(0, 9)),
  ok = brod:start_consumer(Client, Topic,
                           [{begin_offset, earliest}, {partition_restart_delay_seconds, 1}]),
  {ok, Pid} = brod:subscribe(Client, self(), Topic, 0, []),
  _ = take(Pid, 10),
  Monitor = monitor(process, Pid),
  exit(Pid, kill),
  receive {'DOWN', Monitor, process, Pid, killed} -> ok end,
  Again = brod_test:wait_until(fun() ->
                                 case brod:subscribe(Client, self(), Topic, 0,
                                                     [{begin_offset, 7}]) of
                                   {ok, New} -> New;
                                   {error, _} -> false
                                 end
                               end, ?LIMIT_MS),
  ?assertNotEqual(Pid, Again),
  ?assertEqual([7, 8, 9], offsets(take(Again, 3))),
  ?assertEqual([], brod_test:flush()).

%% Two consumers of a partition in one client, each with a subscriber of its own, do not disturb each
%% other.
second_consumer(Config) ->
  {Client, Topic} = filled(Config, brod_test:numbers(0, 9)),
  Start = fun() ->
            {ok, Pid} = brod_consumer:start_link(Client, Topic, 0, [{begin_offset, earliest}]),
            Pid
          end,
  {First, Second} = {Start(), Start()},
  ok = brod:subscribe(First, self(), []),
  ok = brod:subscribe(Second, self(), []),
  ?assertEqual(lists:seq(0, 9), offsets(take_acking(First, 10))),
  ?assertEqual(lists:seq(0, 9), offsets(take_acking(Second, 10))),
  ok = brod:produce_sync(Client, Topic, 0, <<>>, <<"10">>),
  ?assertEqual([[10], [10]], [offsets(take_acking(Pid, 1)) || Pid <- [First, Second]]),
  ok = brod:subscribe(First, self(), [{begin_offset, 9}]),
  ?assertEqual([9, 10], offsets(take_acking(First, 2))),
  ok = brod_consumer:check_connectivity(Second, infinity),
  ok = brod_consumer:stop(First),
  ok = brod:produce_sync(Client, Topic, 0, <<>>, <<"11">>),
  ?assertEqual([11], offsets(take_acking(Second, 1))),
  ok = brod_consumer:stop(Second).

bad_seek(Config) ->
  {Client, Topic} = filled(Config, brod_test:numbers(0, 9)),
  {ok, Pid} = subscribe(Client, Topic, []),
  ?assertEqual(lists:seq(0, 9), offsets(take_acking(Pid, 10))),
  Large = 1 bsl 64,
  ?assertEqual({error, {bad_option, begin_offset, Large}}, brod:seek(Client, Topic, 0, Large)),
  ok = brod:produce_sync(Client, Topic, 0, <<>>, <<"10">>),
  ?assertEqual([10], offsets(take_acking(Pid, 1))),
  ok = brod:seek(Client, Topic, 0, latest),
  ok = brod:produce_sync(Client, Topic, 0, <<>>, <<"11">>),
  ?assertEqual([11], offsets(take_acking(Pid, 1))),
  ok = brod:seek(Client, Topic, 0, {timestamp, 0}),
  ?assertEqual(lists:seq(0, 11), offsets(take_acking(Pid, 12))).

%% A topic subscriber goes on with a topic that was deleted and made anew.
recreated_topic(Config) ->
  {Client, Topic} = filled(Config, brod_test:numbers(0, 9)),
  {ok, Pid} = brod:start_link_topic_subscriber(
                #{client => Client, topic => Topic, cb_module => ?MODULE, message_type => message,
                  init_data => #{test => self(), return => ack, committed => []},
                  consumer_config => [{begin_offset, earliest},
                                      {partition_restart_delay_seconds, 1}]}),
  ?assertEqual(lists:seq(0, 9), [handled_offset() || _ <- lists:seq(0, 9)]),
  ok = brod:delete_topics(brod_test:bootstrap(), [Topic], 10000),
  brod_test:wait_until(fun() ->
                         brod:create_topics(brod_test:bootstrap(), [brod_test:topic_spec(Topic, 1)],
                                            #{timeout => 10000}) =:= ok
                       end, ?LIMIT_MS),
  brod_test:await_topic(Topic, 1),
  %% with a client that does not know the former topic
  Other = brod_test:start_client(),
  ok = brod:start_producer(Other, Topic, []),
  [ok = brod:produce_sync(Other, Topic, 0, <<>>, V) || V <- [<<"a">>, <<"b">>]],
  ?assertEqual([0, 1], [handled_offset() || _ <- [1, 2]]),
  brod_test:stop_client(Other),
  ok = brod_topic_subscriber:stop(Pid),
  {terminated, normal} = lists:last(brod_test:flush()).

offset_reset(Config) ->
  {Client, Topic} = filled(Config, brod_test:numbers(0, 9)),
  {ok, Pid} = subscribe(Client, Topic,
                        [{begin_offset, 500}, {offset_reset_policy, reset_to_earliest}]),
  ?assertEqual(lists:seq(0, 9), offsets(take(Pid, 10))),
  ok = brod:subscribe(Pid, self(), [{begin_offset, 500}, {offset_reset_policy, reset_to_latest}]),
  brod_test:wait_until(fun() -> maps:get(position, brod_consumer:info(Pid)) =:= 10 end, ?LIMIT_MS),
  ok = brod:produce_sync(Client, Topic, 0, <<>>, <<"new">>),
  ?assertEqual([10], offsets(take(Pid, 1))),
  %% suspended until the subscriber says where to go on
  ok = brod:subscribe(Pid, self(),
                      [{begin_offset, 500}, {offset_reset_policy, reset_by_subscriber}]),
  receive {Pid, #kafka_fetch_error{error_code = offset_out_of_range}} -> ok
  after ?LIMIT_MS -> error(timeout)
  end,
  ok = brod:subscribe(Pid, self(), [{begin_offset, 9}]),
  ?assertEqual([9, 10], offsets(take(Pid, 2))).

begin_offsets(Config) ->
  {Client, Topic} = filled(Config, [#{value => <<"v">>, ts => N * 1000} || N <- lists:seq(1, 10)]),
  ok = brod:start_consumer(Client, Topic, []),
  {ok, Pid} = brod:get_consumer(Client, Topic, 0),
  lists:foreach(fun({Begin, First}) ->
                  ok = brod:subscribe(Pid, self(), [{begin_offset, Begin}]),
                  ?assertEqual({Begin, First}, {Begin, hd(offsets(take(Pid, 10 - First)))})
                end, [{earliest, 0}, {-2, 0}, {3, 3}, {{timestamp, 5000}, 4},
                      {{timestamp, 5001}, 5},
                      {{timestamp, 0}, 0}]),
  lists:foreach(fun({Begin, Next}) ->
                  ok = brod:subscribe(Pid, self(), [{begin_offset, Begin}]),
                  {ok, Next} = brod:produce_sync_offset(Client, Topic, 0, <<>>,
                                                        #{value => <<"v">>, ts => 1}),
                  ?assertEqual([Next], offsets(take(Pid, 1)))
                end, [{latest, 10}, {-1, 11}, {{timestamp, 100000}, 12}]).

%%% What is in the log

%% kcat writes one transaction, and commits it at the end of its input. The one of a kcat that is
%% killed is aborted when the next one of its name begins.
isolation(Config) ->
  Client = client(Config),
  Topic = brod_test:create_topic(1),
  Txn = fun(Id) -> ["-P", "-t", Topic, "-p", "0", "-X", <<"transactional.id=", Id/binary>>] end,
  [Whole, Left] = [brod_test:unique(Id) || Id <- ["whole", "left"]],
  {_, 0} = brod_test:kcat(Txn(Whole), <<"c1\nc2\n">>),
  Lines = [[binary:copy(<<"a">>, 999), $\n] || _ <- lists:seq(1, 100)],
  Aborted = brod_test:kcat_start(Txn(Left), Lines),
  at_least(Client, Topic, 3),
  %% nothing is stable beyond the beginning of a transaction that is still open
  {ok, Open} = brod:resolve_offset(Client, Topic, 0, latest),
  ok = brod_test:kcat_kill(Aborted),
  {_, 0} = brod_test:kcat(Txn(Left), <<"c3\n">>),
  brod_test:wait_until(fun() ->
                         {ok, Now} = brod:resolve_offset(Client, Topic, 0, latest),
                         Now > Open
                       end, ?LIMIT_MS),
  ok = brod:start_producer(Client, Topic, []),
  ok = brod:produce_sync(Client, Topic, 0, <<>>, <<"last">>),
  Committed = [<<"c1">>, <<"c2">>, <<"c3">>, <<"last">>],
  ?assertEqual(Committed, consumed(Client, Topic, read_committed)),
  All = consumed(Client, Topic, read_uncommitted),
  ?assertEqual(Committed, [V || V <- All, byte_size(V) < 999]),
  ?assert(length(All) > length(Committed)).

%% The values up to the last one, which a consumer and a fold see alike.
consumed(Client, Topic, Level) ->
  {ok, Pid} = brod_consumer:start_link(Client, Topic, 0, [{begin_offset, earliest},
                                                          {isolation_level, Level}]),
  ok = brod:subscribe(Pid, self(), []),
  Values = take_until_last(Pid),
  ok = brod_consumer:stop(Pid),
  Fold = fun(#kafka_message{value = V}, Acc) -> {ok, Acc ++ [V]} end,
  {Folded, _, reached_end_of_partition} =
    brod:fold(Client, Topic, 0, 0, #{isolation_level => Level}, [], Fold, #{}),
  ?assertEqual(Values, Folded),
  Values.

take_until_last(Pid) ->
  Values = brod_test:values(take_acking(Pid, 1)),
  case lists:last(Values) of
    <<"last">> -> Values;
    _ -> Values ++ take_until_last(Pid)
  end.

at_least(Client, Topic, Offset) ->
  brod_test:wait_until(fun() ->
                         case brod:fetch(Client, Topic, 0, Offset,
                                         #{isolation_level => read_uncommitted}) of
                           {ok, {_, [_ | _]}} -> true;
                           _ -> false
                         end
                       end, ?LIMIT_MS).

larger_than_max_bytes(Config) ->
  Values = [<<"small">>, binary:copy(<<"large">>, 100000), <<"small again">>],
  {Client, Topic} = filled(Config, Values),
  {ok, Pid} = subscribe(Client, Topic,
                        [{max_bytes, 100}, {prefetch_bytes, 10}, {prefetch_count, 1}]),
  ?assertEqual(Values, brod_test:values(take_acking(Pid, 3))).

%% The cleaner leaves the last message of each key: offsets are no longer consecutive.
holes_of_compaction(Config) ->
  Client = client(Config),
  Topic = brod_test:create_topic(1, #{configs => #{"cleanup.policy" => "compact",
                                                   "min.cleanable.dirty.ratio" => "0.001",
                                                   "segment.ms" => "1"}}),
  ok = brod:start_producer(Client, Topic, []),
  Produce = fun(Key, N) -> ok = brod:produce_sync(Client, Topic, 0, Key, integer_to_binary(N)) end,
  [Produce(Key, N) || N <- lists:seq(1, 20), Key <- [<<"a">>, <<"b">>]],
  Holes = brod_test:wait_until(fun() ->
                                 %% only what lies before the segment that is written to is cleaned
                                 Produce(<<"roll">>, 0),
                                 Offsets = offsets(brod_test:fetch_all(Client, Topic, 0)),
                                 length([O || O <- Offsets, O < 38]) =:= 0 andalso Offsets
                               end, 3 * ?LIMIT_MS),
  ?assert(length(Holes) < lists:last(Holes) + 1),
  {ok, Pid} = subscribe(Client, Topic,
                        [{begin_offset, 5}, {prefetch_count, 1}, {prefetch_bytes, 1}]),
  Read = take_acking_until(Pid, lists:last(Holes)),
  ?assertMatch([{<<"a">>, <<"20">>}, {<<"b">>, <<"20">>}],
               [{K, V} || #kafka_message{key = K, value = V} <- Read, K =/= <<"roll">>]),
  ?assertMatch({ok, {_, [#kafka_message{offset = 38} | _]}}, brod:fetch(Client, Topic, 0, 5)).

%%% Pause, seek, lag

pause_and_resume(Config) ->
  {Client, Topic} = filled(Config, brod_test:numbers(0, 9)),
  {ok, Pid} = subscribe(Client, Topic, []),
  _ = take_acking(Pid, 10),
  ok = brod:pause(Client, Topic, 0),
  ok = brod:produce_sync(Client, Topic, 0, <<>>, <<"10">>),
  %% a fetch that was waiting at the broker when the pause came may still bring it
  ?assertMatch(#{paused := true}, brod_consumer:info(Pid)),
  Early = lists:append([Ms || {From, #kafka_message_set{messages = Ms}} <- brod_test:flush(),
                        From =:= Pid]),
  ok = brod:resume(Client, Topic, 0),
  ?assertEqual([10], offsets(Early ++ take(Pid, 1 - length(Early)))),
  ?assertMatch(#{paused := false}, brod_consumer:info(Pid)).

seek_and_lag(Config) ->
  {Client, Topic} = filled(Config, brod_test:numbers(0, 9)),
  {ok, Pid} = subscribe(Client, Topic, []),
  ?assertEqual(lists:seq(0, 9), offsets(take(Pid, 10))),
  ok = brod:consume_ack(Pid, 3),
  brod_test:wait_until(fun() -> brod:lag(Client, Topic) =:= {ok, #{0 => 6}} end, ?LIMIT_MS),
  ok = brod:seek(Client, Topic, 0, 7),
  ?assertEqual([7, 8, 9], offsets(take(Pid, 3))),
  ok = brod:consume_ack(Pid, 9),
  brod_test:wait_until(fun() -> brod:lag(Client, Topic) =:= {ok, #{0 => 0}} end, ?LIMIT_MS),
  ok = brod:seek(Client, Topic, 0, earliest),
  ?assertEqual(lists:seq(0, 9), offsets(take(Pid, 10))),
  ok = brod:unsubscribe(Pid),
  ?assertEqual({error, no_subscriber}, brod:seek(Client, Topic, 0, 0)),
  ?assertMatch({error, {consumer_not_found, _, 9}}, brod:pause(Client, Topic, 9)).

%%% Topic subscriber

%% Without `ack' the window stays full until ack/3 is called; unknown messages reach handle_info.
topic_subscriber_acks(Config) ->
  {Client, Topic} = filled(Config, [binary:copy(<<N>>, 2000) || N <- lists:seq(1, 10)]),
  Start = fun(Return) ->
            {ok, Pid} = brod_topic_subscriber:start_link(
                          #{client => Client, topic => Topic, cb_module => ?MODULE,
                            message_type => message,
                            init_data => #{test => self(), return => Return, committed => [{0, 1}]},
                            consumer_config => [{max_bytes, 100}, {prefetch_count, 1},
                                                {prefetch_bytes, 0}]}),
            Pid
          end,
  Acking = Start(ack),
  %% begins after the offset that init/2 says is done
  ?assertEqual(lists:seq(2, 9), [handled_offset() || _ <- lists:seq(1, 8)]),
  [] = brod_topic_subscriber:health_check(Acking, 10000),
  Acking ! {hello, self()},
  receive {info, {hello, _}} -> ok after ?LIMIT_MS -> error(timeout) end,
  ok = brod_topic_subscriber:stop(Acking),
  receive {terminated, normal} -> ok after ?LIMIT_MS -> error(timeout) end,

  Holding = Start(no_ack),
  ?assertEqual([2, 3], [handled_offset() || _ <- [1, 2]]),
  {ok, Consumer} = brod:get_consumer(Client, Topic, 0),
  %% the engine counts a set after it has sent it
  brod_test:wait_until(fun() -> maps:get(pending_count, brod_consumer:info(Consumer)) =:= 2 end,
                       ?LIMIT_MS),
  ok = brod_topic_subscriber:ack(Holding, 0, 2),
  ?assertEqual(4, handled_offset()),
  ok = brod_topic_subscriber:stop(Holding),
  ?assertEqual([{terminated, normal}], brod_test:flush()).

topic_subscriber_sets(Config) ->
  Client = client(Config),
  Topic = brod_test:create_topic(3),
  ok = brod:start_producer(Client, Topic, []),
  [ok = brod_test:produce_all(Client, Topic, P, brod_test:numbers(0, 99)) || P <- [0, 1, 2]],
  {ok, Pid} = brod:start_link_topic_subscriber(
                #{client => Client, topic => Topic, cb_module => ?MODULE, partitions => [0, 2],
                  init_data => #{test => self(), return => ack, committed => []},
                  consumer_config => [{begin_offset, earliest}, {max_bytes, 1000}]}),
  lists:foreach(fun(P) -> ?assertEqual(lists:seq(0, 99), handled_sets(P, 100)) end, [0, 2]),
  ok = brod_topic_subscriber:stop(Pid),
  ?assertEqual([], [P || {handled, P, _} <- brod_test:flush()]).

handled_sets(_Partition, 0) -> [];
handled_sets(Partition, Count) ->
  receive {handled, Partition, #kafka_message_set{partition = Partition, messages = Messages}} ->
    offsets(Messages) ++ handled_sets(Partition, Count - length(Messages))
  after ?LIMIT_MS -> error({still_missing, Count})
  end.

%% Where init/2 says that a partition begins.
topic_subscriber_begins(Config) ->
  {Client, Topic} = filled(Config, brod_test:numbers(0, 4)),
  lists:foreach(
    fun({Committed, Expected}) ->
        {ok, Pid} = brod:start_link_topic_subscriber(
                      #{client => Client, topic => Topic, cb_module => ?MODULE, message_type => message,
                        init_data => #{test => self(), return => ack, committed => [{0, Committed}]},
                        consumer_config => [{begin_offset, latest}]}),
        ?assertEqual({Committed, Expected}, {Committed, handled_offset()}),
        ok = brod_topic_subscriber:stop(Pid),
        _ = brod_test:flush()
    end,
    [{earliest, 0}, {-2, 0}, {0, 1}, {3, 4}, {{begin_offset, earliest}, 0}, {{begin_offset, 3}, 3}]),
  {ok, Pid} = brod:start_link_topic_subscriber(
                #{client => Client, topic => Topic, cb_module => ?MODULE, message_type => message,
                  init_data => #{test => self(), return => ack, committed => [{0, latest}]},
                  consumer_config => [{begin_offset, earliest}]}),
  brod_test:wait_until(fun() -> brod_topic_subscriber:health_check(Pid, 5000) =:= [] end, ?LIMIT_MS),
  %% the consumer knows where it begins when it answers
  {ok, Consumer} = brod:get_consumer(Client, Topic, 0),
  brod_test:wait_until(fun() -> maps:get(next_offset, brod_consumer:info(Consumer)) =:= 5 end, ?LIMIT_MS),
  ok = brod:produce_sync(Client, Topic, 0, <<>>, <<"5">>),
  ?assertEqual(5, handled_offset()),
  ok = brod_topic_subscriber:stop(Pid).

%% When its consumer dies, a topic subscriber goes on after what was acknowledged.
topic_subscriber_resumes(Config) ->
  {Client, Topic} = filled(Config, brod_test:numbers(0, 9)),
  {ok, Pid} = brod:start_link_topic_subscriber(
                #{client => Client, topic => Topic, cb_module => ?MODULE, message_type => message,
                  init_data => #{test => self(), return => ack, committed => []},
                  consumer_config => [{begin_offset, earliest},
                                      {partition_restart_delay_seconds, 1}]}),
  ?assertEqual(lists:seq(0, 9), [handled_offset() || _ <- lists:seq(0, 9)]),
  {ok, Consumer} = brod:get_consumer(Client, Topic, 0),
  exit(Consumer, kill),
  ok = brod:produce_sync(Client, Topic, 0, <<>>, <<"10">>),
  ?assertEqual(10, handled_offset()),
  ok = brod_topic_subscriber:stop(Pid),
  ?assertEqual([{terminated, normal}], brod_test:flush()).

%% Partitions that are added are read from their beginning.
topic_subscriber_grows(_Config) ->
  Client = brod_test:start_client([{metadata_max_age, 500}]),
  Topic = brod_test:create_topic(1),
  ok = brod:start_producer(Client, Topic, []),
  {ok, Pid} = brod:start_link_topic_subscriber(
                #{client => Client, topic => Topic, cb_module => ?MODULE, message_type => message,
                  init_data => #{test => self(), return => ack, committed => []}}),
  brod_test:wait_until(fun() -> brod_topic_subscriber:health_check(Pid, 5000) =:= [] end, ?LIMIT_MS),
  _ = brod_test:add_partitions(Topic, 2),
  brod_test:wait_until(fun() -> brod:get_partitions_count(Client, Topic) =:= {ok, 2} end, ?LIMIT_MS),
  brod_test:wait_until(fun() -> brod:produce_sync(Client, Topic, 1, <<>>, <<"v">>) =:= ok end,
                       ?LIMIT_MS),
  %% what it sends to itself twice a minute
  Pid ! {brod_topic_subscriber, growth_check},
  receive {handled, 1, #kafka_message{offset = 0, value = <<"v">>}} -> ok
  after ?LIMIT_MS -> error(timeout)
  end,
  ok = brod_topic_subscriber:stop(Pid),
  ok = brod:stop_client(Client).

handled_offset() ->
  receive {handled, 0, #kafka_message{offset = Offset}} -> Offset
  after ?LIMIT_MS -> error(timeout)
  end.

init(_Topic, #{committed := Committed} = State) -> {ok, Committed, State}.

handle_message(Partition, Message, #{test := Test, return := Return} = State) ->
  Test ! {handled, Partition, Message},
  case Return of
    ack -> {ok, ack, State};
    no_ack -> {ok, State};
    crash -> {ok, length(Message)}
  end.

handle_info(Info, #{test := Test} = State) ->
  Test ! {info, Info},
  {noreply, State}.

terminate(Reason, #{test := Test}) -> Test ! {terminated, Reason}.

%%% Helpers

%% A message that is kept keeps little else, and the VM knows how much.
kept_messages(Config) ->
  Client = client(Config),
  Topic = brod_test:create_topic(1),
  ok = brod:start_producer(Client, Topic, [{max_linger_ms, 20}, {max_linger_count, 1000}]),
  Sizes = [100, 1000, 10000, 500000],
  Batch = [#{key => binary:copy(<<"k">>, 80), value => binary:copy(<<S:8>>, S)}
           || _ <- lists:seq(1, 30), S <- Sizes],
  [ok = brod:produce_sync(Client, Topic, 0, <<>>, [Message]) || Message <- Batch],
  Count = length(Batch),
  [begin
     ok = brod:start_consumer(Client, Topic, [{begin_offset, earliest}]),
     {ok, Pid} = brod:subscribe(Client, self(), Topic, 0,
                                [{prefetch_count, Count}, {share_fetched_memory, Shares},
                                 {begin_offset, 0}, {max_bytes, 2000000}]),
     Messages = take(Pid, Count),
     Pinned = [{byte_size(V), lists:sum([binary:referenced_byte_size(B) || B <- [K, V]])}
               || #kafka_message{key = K, value = V} <- Messages],
     %% shared memory is one that the VM does not see
     Unseen = [Size || {Size, Referenced} <- Pinned, Referenced < Size],
     ?assertEqual(Shares, Unseen =/= []),
     ?assertEqual([], [P || {Size, Referenced} = P <- Pinned, Referenced > Size + 40000]),
     ok = brod:unsubscribe(Pid)
   end || Shares <- [false, true]].

%% The new topic has more messages than the position in the former one: nothing is out of range.
topic_made_again(_Config) ->
  Client = brod_test:start_client([{metadata_max_age, 1000}]),
  Topic = brod_test:create_topic(1),
  ok = brod:start_producer(Client, Topic, []),
  ok = brod_test:produce_all(Client, Topic, 0, brod_test:numbers(0, 2)),
  Log = brod_log:start(),
  {ok, Pid} = subscribe(Client, Topic, [{offset_reset_policy, reset_to_earliest}]),
  ?assertEqual([0, 1, 2], offsets(take(Pid, 3))),
  ok = brod:consume_ack(Pid, 2),
  ok = brod:delete_topics(brod_test:bootstrap(), [Topic], 10000),
  ok = brod_test:create_again(Topic, 1),
  Other = brod_test:start_client(),
  ok = brod:start_producer(Other, Topic, []),
  ok = brod_test:produce_all(Other, Topic, 0, brod_test:numbers(0, 5)),
  ?assertEqual([0, 1, 2, 3, 4, 5], offsets(take(Pid, 6))),
  %% whichever is seen first: another id in the metadata, or the end of a log that is shorter still
  Told = fun() -> brod_log:has(Log, "made again") orelse brod_log:has(Log, "offset_out_of_range") end,
  brod_test:wait_until(Told, ?LIMIT_MS),
  ok = brod_log:stop(Log),
  ok = brod_test:stop_client(Other),
  ok = brod_test:stop_client(Client).

%% What a callback is still working on does not come again when the consumer dies.
unacked_are_kept(Config) ->
  {Client, Topic} = filled(Config, brod_test:numbers(0, 2)),
  {ok, Pid} = brod_topic_subscriber:start_link(
                #{client => Client, topic => Topic, cb_module => ?MODULE, message_type => message,
                  init_data => #{test => self(), return => no_ack, committed => []},
                  consumer_config => [{begin_offset, earliest},
                                      {partition_restart_delay_seconds, 1}]}),
  ?assertEqual([0, 1, 2], [handled_offset() || _ <- lists:seq(0, 2)]),
  {ok, Consumer} = brod:get_consumer(Client, Topic, 0),
  exit(Consumer, kill),
  ok = brod:produce_sync(Client, Topic, 0, <<>>, <<"3">>),
  ?assertEqual(3, handled_offset()),
  ok = brod_topic_subscriber:ack(Pid, 0, 3),
  [?assertError(badarg, brod_topic_subscriber:ack(Pid, P, O)) || {P, O} <- [{0, 1 bsl 63}, {x, 1}]],
  ok = brod_topic_subscriber:stop(Pid),
  ?assertEqual([{terminated, normal}], brod_test:flush()).

%% A subscriber of a client that is stopped ends as well; a consumer on its own waits for the client.
client_stops(_Config) ->
  Client = brod_test:start_client(),
  Topic = brod_test:create_topic(1),
  process_flag(trap_exit, true),
  {ok, Consumer} = brod_consumer:start_link(Client, Topic, 0, [{begin_offset, earliest}]),
  ok = brod:subscribe(Consumer, self(), []),
  {ok, Subscriber} = brod_topic_subscriber:start_link(
                       #{client => Client, topic => Topic, cb_module => ?MODULE,
                         init_data => #{test => self(), return => ack, committed => []}}),
  brod_test:wait_until(fun() -> brod_topic_subscriber:health_check(Subscriber, 5000) =:= [] end,
                       ?LIMIT_MS),
  ok = brod_test:stop_client(Client),
  receive {'EXIT', Subscriber, Reason} -> ?assertEqual(client_down, Reason)
  after ?LIMIT_MS -> error(timeout)
  end,
  ok = brod:start_client(brod_test:bootstrap(), Client, []),
  ok = brod:start_producer(Client, Topic, []),
  ok = brod:produce_sync(Client, Topic, 0, <<>>, <<"v">>),
  ?assertEqual([0], offsets(take(Consumer, 1))),
  ok = brod_consumer:stop(Consumer),
  ok = brod_test:stop_client(Client).

%% A callback that fails does not put the messages into the log.
crash_report(Config) ->
  {Client, Topic} = filled(Config, [binary:copy(<<"payload">>, 20000) || _ <- lists:seq(1, 20)]),
  process_flag(trap_exit, true),
  Log = brod_log:start(),
  {ok, Pid} = brod_topic_subscriber:start_link(
                #{client => Client, topic => Topic, cb_module => ?MODULE,
                  init_data => #{test => self(), return => crash, committed => []},
                  consumer_config => [{begin_offset, earliest}, {max_bytes, 10000000}]}),
  receive {'EXIT', Pid, _} -> ok after ?LIMIT_MS -> error(timeout) end,
  brod_test:wait_until(fun() -> brod_log:has(Log, "crash") end, ?LIMIT_MS),
  ?assertEqual([], [Line || Line <- brod_log:lines(Log), length(Line) >= 8000]),
  ok = brod_log:stop(Log).

%% Names that no topic can have are an error at once, whatever way is taken.
bad_names(Config) ->
  process_flag(trap_exit, true),
  Client = client(Config),
  [begin
     [?assertEqual({error, invalid_topic_exception},
                   brod_consumer:start_link(Bootstrap, Name, 0, [{begin_offset, 0}]))
      || Bootstrap <- [Client, brod_test:bootstrap(), {brod_test:bootstrap(), []}]],
     ?assertEqual({error, unknown_topic_or_partition}, brod:start_consumer(Client, Name, [])),
     ?assertEqual({error, {consumer_not_found, Name}}, brod:subscribe(Client, self(), Name, 0, [])),
     ?assertMatch({error, {_, _}}, subscriber_ends(Client, Name))
   end || Name <- [<<"a b">>, <<>>, binary:copy(<<"x">>, 300)]],
  ?assertEqual({error, {start_consumer, {error, unknown_topic_or_partition}}},
               subscriber_ends(Client, <<"a b">>)).

subscriber_ends(Client, Name) ->
  case brod_topic_subscriber:start_link(
         #{client => Client, topic => Name, cb_module => ?MODULE,
           init_data => #{test => self(), return => ack, committed => []}}) of
    {ok, Pid} -> receive {'EXIT', Pid, Reason} -> {error, Reason} after ?LIMIT_MS -> error(alive) end;
    {error, _} = Error -> Error
  end.

%% Eight partitions have a batch each that is a few KB and unpacks to 240 MB. A subscriber of all of them
%% that acknowledges nothing makes its VM no larger than their windows; beyond max_batch_bytes it is told,
%% and goes on behind.
dear_batches(Config) ->
  Client = client(Config),
  Topic = brod_test:create_topic(8),
  Large = brod_test:start_client([{buffer_bytes, 1 bsl 30}]),
  ok = brod:start_producer(Large, Topic, [{compression, zstd}, {max_batch_size, 300000000}]),
  Batch = lists:duplicate(240, #{key => <<>>, value => binary:copy(<<0>>, 1000000)}),
  [ok = brod:produce_sync(Large, Topic, P, <<>>, Batch) || P <- lists:seq(0, 7)],
  [ok = brod:produce_sync(Large, Topic, P, <<>>, <<"behind">>) || P <- lists:seq(0, 7)],
  ok = brod_test:stop_client(Large),
  {ok, Peer, _} = peer:start_link(#{connection => standard_io, args => ["-pa" | code:get_path()]}),
  {Before, After} = peer:call(Peer, ?MODULE, subscribe_to_zeros, [brod_test:bootstrap(), Topic, 8], 60000),
  ok = peer:stop(Peer),
  ct:pal("RSS before ~b MB, with 8 subscriptions ~b MB", [Before, After]),
  ?assert(After - Before < 150),
  {ok, Pid} = subscribe(Client, Topic, [{max_batch_bytes, 100000000}]),
  Error = fun() ->
            receive {Pid, #kafka_fetch_error{error_code = Code}} -> Code after ?LIMIT_MS -> error(none) end
          end,
  drain(Pid, message_too_large),
  ok = brod:seek(Client, Topic, 0, 240),
  ?assertEqual([240], offsets(take(Pid, 1))),
  ok = brod:subscribe(Pid, self(), [{begin_offset, 0}, {max_batch_bytes, 500000}]),
  ?assertEqual(message_too_large, Error()),
  ok = brod:subscribe(Pid, self(), [{begin_offset, 240}]),
  ?assertEqual([240], offsets(take(Pid, 1))).

%% Acknowledges what comes before the error.
drain(Pid, Code) ->
  receive
    {Pid, #kafka_message_set{messages = Messages}} ->
      ok = brod:consume_ack(Pid, (lists:last(Messages))#kafka_message.offset),
      drain(Pid, Code);
    {Pid, #kafka_fetch_error{error_code = Code}} -> ok
  after ?LIMIT_MS -> error({no, Code})
  end.

%% @private The memory of this VM in MB before and after every partition has delivered what it may.
subscribe_to_zeros(Bootstrap, Topic, Partitions) ->
  {ok, _} = application:ensure_all_started(brod),
  ok = brod:start_client(Bootstrap, zeros, []),
  ok = brod:start_consumer(zeros, Topic, [{begin_offset, earliest}]),
  Before = rss_mb(),
  Pids = [begin {ok, Pid} = brod:subscribe(zeros, self(), Topic, P, []), Pid end
          || P <- lists:seq(0, Partitions - 1)],
  %% the window is open until more than 10 messages are out
  brod_test:wait_until(fun() -> lists:all(fun is_full/1, Pids) end, ?LIMIT_MS),
  {Before, rss_mb()}.

is_full(Pid) -> maps:get(pending_count, brod_consumer:info(Pid)) > 10.

rss_mb() ->
  {ok, Status} = file:read_file("/proc/self/status"),
  {match, [Kb]} = re:run(Status, "VmHWM:\\s+(\\d+)", [{capture, [1], binary}]),
  binary_to_integer(Kb) div 1024.

client(Config) -> proplists:get_value(client, Config).

%% A topic with these values in its only partition, each in a batch of its own.
filled(Config, Values) ->
  Client = client(Config),
  Topic = brod_test:create_topic(1),
  ok = brod:start_producer(Client, Topic, []),
  [ok = brod:produce_sync(Client, Topic, 0, <<>>, V) || V <- Values],
  {Client, Topic}.

subscribe(Client, Topic, Options) ->
  ok = brod:start_consumer(Client, Topic, [{begin_offset, earliest}]),
  brod:subscribe(Client, self(), Topic, 0, Options).

offsets(Messages) -> [O || #kafka_message{offset = O} <- Messages].

%% The next messages of a consumer, so many or, where a set has more, a few more.
take(_Pid, Count) when Count =< 0 -> [];
take(Pid, Count) ->
  receive {Pid, #kafka_message_set{messages = Messages}} ->
    Messages ++ take(Pid, Count - length(Messages))
  after ?LIMIT_MS -> error({messages_missing, Count})
  end.

take_acking(_Pid, Count) when Count =< 0 -> [];
take_acking(Pid, Count) ->
  receive {Pid, #kafka_message_set{messages = Messages}} ->
    ok = brod:consume_ack(Pid, (lists:last(Messages))#kafka_message.offset),
    Messages ++ take_acking(Pid, Count - length(Messages))
  after ?LIMIT_MS -> error({messages_missing, Count})
  end.

take_acking_until(Pid, Last) ->
  Messages = take_acking(Pid, 1),
  case (lists:last(Messages))#kafka_message.offset of
    Offset when Offset >= Last -> Messages;
    _ -> Messages ++ take_acking_until(Pid, Last)
  end.
