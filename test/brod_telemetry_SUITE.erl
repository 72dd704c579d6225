%% What users see of a running client: telemetry events, brod:info/1 and its like, metrics.
-module(brod_telemetry_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include("brod.hrl").

-export([all/0, init_per_suite/1, end_per_suite/1]).
-export([what_a_client_does_is_told/1, groups_and_transactions_are_told/1, a_client_that_reaches_nobody_is_down/1]).
-export([init/2, handle_message/2]).

-define(CLIENT, ?MODULE).

all() -> [what_a_client_does_is_told, groups_and_transactions_are_told, a_client_that_reaches_nobody_is_down].

init_per_suite(Config) ->
  case brod_test:init_suite(Config) of
    {skip, _} = Skip -> Skip;
    Ready -> ok = brod:start_client(brod_test:bootstrap(), ?CLIENT, []), Ready
  end.

end_per_suite(_Config) ->
  ok = brod:stop_client(?CLIENT).

what_a_client_does_is_told(_Config) ->
  Topic = brod_test:create_topic(1),
  told_while(fun() ->
    ok = brod:start_producer(?CLIENT, Topic, []),
    ok = brod:start_consumer(?CLIENT, Topic, [{begin_offset, earliest}]),
    {ok, _} = brod:subscribe(?CLIENT, self(), Topic, 0, []),
    [ok = brod:produce_sync(?CLIENT, Topic, 0, <<"k">>, <<"value">>) || _ <- lists:seq(1, 3)],
    ok = received(3),
    Told = fun(Event) -> lists:sum([N || {E, #{records := N}, #{topic := T}} <- told(), E =:= Event, T =:= Topic]) end,
    %% the engine counts a set after it has sent it
    brod_test:wait_until(fun() ->
                           ok = brod_stats_poller:poll(),
                           Told([brod, consume, delivered]) >= 3
                         end, 20000),
    #{broker := Broker} = metadata([brod, client, connect]),
    ?assert(is_binary(Broker)),
    ?assertEqual([3, 3], [Told(Event) || Event <- [[brod, produce, batches], [brod, consume, delivered]]]),
    ?assertMatch([_ | _], [N || {[brod, request], #{count := N}, #{api := <<"produce">>}} <- told(), N > 0])
  end),
  Positions = fun() ->
                {ok, #{consumers := Consumers}} = brod:info(?CLIENT),
                [Position || #{topic := T, position := Position} <- Consumers, T =:= Topic]
              end,
  brod_test:wait_until(fun() -> Positions() =:= [3] end, 20000),
  {ok, #{brokers := Brokers, version := <<_/binary>>}} = brod:info(?CLIENT),
  ?assertMatch([_ | _], [B || #{state := connected, mean_round_trip_us := Us} = B <- Brokers, is_integer(Us)]),
  ?assertEqual({ok, []}, brod:health(?CLIENT)),
  Text = iolist_to_binary(brod_prometheus:scrape()),
  Line = <<"brod_producer_records_sent_total{client=\"", (atom_to_binary(?CLIENT))/binary, "\",topic=\"", Topic/binary,
           "\",partition=\"0\"} 3\n">>,
  ?assertMatch({_, _}, binary:match(Text, Line)),
  ?assertMatch({_, _}, binary:match(Text, <<"api=\"produce\",le=\"+Inf\"} ">>)).

groups_and_transactions_are_told(_Config) ->
  Topic = brod_test:create_topic(1),
  Group = <<Topic/binary, "-group">>,
  told_while(fun() ->
    {ok, Tx} = brod:transaction(?CLIENT, Topic, []),
    {ok, 0} = brod:txn_produce(Tx, Topic, 0, <<>>, <<"value">>),
    ok = brod:commit(Tx),
    ?assertMatch(#{transactional_id := Topic, result := ok}, metadata([brod, transaction, commit])),
    {ok, Pid} = brod:start_link_group_subscriber_v2(
      #{client => ?CLIENT, group_id => Group, topics => [Topic], cb_module => ?MODULE, init_data => self(),
        consumer_config => [{begin_offset, earliest}], group_config => [{offset_commit_interval_seconds, 1}]}),
    receive handled -> ok after 20000 -> error(nothing_came) end,
    ?assertMatch(#{client := ?CLIENT, group := Group}, metadata([brod, group, assigned])),
    ?assertMatch(#{result := ok}, metadata([brod, group, commit])),
    {ok, #{groups := Groups, events := Events}} = brod:info(?CLIENT),
    ?assertMatch([#{partitions := [{Topic, 0}]}], [G || #{group := G0} = G <- Groups, G0 =:= Group]),
    ?assertMatch([_ | _], [E || #{event := [group, assigned]} = E <- Events]),
    ok = brod_group_subscriber_v2:stop(Pid)
  end).

a_client_that_reaches_nobody_is_down(_Config) ->
  ?assertMatch({down, [{client, _}]}, brod:health(no_such_client)),
  ?assertMatch({error, _}, brod:info(no_such_client)).

%% the subscriber

init(_Info, Test) -> {ok, Test}.

handle_message(_Message, Test) ->
  Test ! handled,
  {ok, commit, Test}.

%% events

told_while(Fun) ->
  told = ets:new(told, [named_table, public, duplicate_bag]),
  ok = brod_fake:load(telemetry, #{{execute, 3} => fun(Event, Measurements, Metadata) ->
    ets:insert(told, {Event, Measurements, Metadata}), ok
  end}),
  persistent_term:erase(brod_metrics),
  try Fun() after
    brod_fake:unload(telemetry),
    ets:delete(told)
  end.

told() -> ets:tab2list(told).

metadata(Event) ->
  brod_test:wait_until(fun() -> ets:member(told, Event) end, 20000),
  [{_, _, Metadata} | _] = ets:lookup(told, Event),
  Metadata.

received(0) -> ok;
received(Left) ->
  receive
    {Consumer, #kafka_message_set{messages = Messages}} ->
      #kafka_message{offset = Last} = lists:last(Messages),
      ok = brod:consume_ack(Consumer, Last),
      received(Left - length(Messages))
  after 20000 -> error({missing, Left})
  end.
