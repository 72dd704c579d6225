%% What the page is told, and that nothing that it is told can hurt.
-module(brod_dashboard_tests).
-include_lib("eunit/include/eunit.hrl").

-define(NASTY, <<"</script><b>\"x\\", 255, 1>>).

info() ->
  #{client => c, version => <<"5.0.0">>, endpoints => [{"kafka", 9092}],
    brokers => [#{host => <<"kafka">>, port => 9092, node => 1, state => connected, connections => 2, requests => 7,
                  mean_round_trip_us => undefined}],
    groups => [#{group => ?NASTY, generation => 3, member_id => <<"m">>, partitions => [{<<"t">>, 1}]}],
    errors => [#{broker => <<"kafka:9092">>, what => connect_failed, reason => ?NASTY}],
    events => [#{at_ms => 5, event => [group, assigned], measurements => #{partitions => 1},
                 metadata => #{client => c, group => <<"g">>, member_id => <<"m">>}}]}.

stats(Consumers) ->
  #{brokers => [], producers => [#{topic => <<"t">>, partition => P, records_sent => 10, bytes_sent => 100, batches_failed => 0,
                                   batches_retried => 1, buffered_calls => P, waiting_callers => 0} || P <- [0, 1]],
    consumers => Consumers, stopped_producers => [], stopped_consumers => [],
    unavailable_topics => [], refused_topics => [], events => []}.

consumer(Partition, Lag) ->
  #{topic => <<"t">>, partition => Partition, lag => Lag, position => 7, records => 3, bytes => 30, errors => 0,
    pending_count => 1, paused => false, active => true, stopped => false}.

read(Term) -> brod_json:decode(iolist_to_binary(brod_json:encode(Term))).

partitions_are_summed_by_topic_and_sorted_by_lag_test() ->
  Client = read(brod_dashboard:client(info(), stats([consumer(0, 4), consumer(1, 9), consumer(2, undefined)]))),
  ?assertMatch(#{<<"topics">> := [#{<<"topic">> := <<"t">>, <<"records_sent">> := 20, <<"bytes">> := 90, <<"lag">> := 13,
                                    <<"buffered">> := 1, <<"retried">> := 2}],
                 <<"partitions">> := [#{<<"partition">> := 1, <<"lag">> := 9}, #{<<"lag">> := 4, <<"groups">> := []},
                                      #{<<"lag">> := null}],
                 <<"partitions_more">> := 0,
                 <<"endpoints">> := [<<"kafka:9092">>],
                 <<"brokers">> := [#{<<"name">> := <<"kafka:9092">>, <<"state">> := <<"connected">>,
                                     <<"mean_round_trip_us">> := null}],
                 <<"events">> := [#{<<"event">> := <<"group.assigned">>, <<"group">> := <<"g">>,
                                    <<"about">> := <<"member_id m, partitions 1">>}]}, Client),
  #{<<"partitions">> := [#{<<"groups">> := [Group]} | _], <<"groups">> := [#{<<"group">> := Group, <<"lag">> := 9}],
    <<"errors">> := [#{<<"reason">> := Group}]} = Client,
  %% What is not UTF-8 is shown by its bytes; the rest as it is, for the page makes text of it.
  ?assertEqual(unicode:characters_to_binary(?NASTY, latin1), Group).

a_partition_that_nobody_reads_is_told_from_one_that_an_error_has_stopped_test() ->
  Idle = (consumer(0, 0))#{active := false},
  Client = read(brod_dashboard:client(info(), stats([Idle, Idle#{stopped := true}, (consumer(0, 0))#{paused := true}, consumer(0, 0)]))),
  ?assertMatch(#{<<"partitions">> := [#{<<"state">> := <<"nobody reads it">>}, #{<<"state">> := <<"stopped">>},
                                      #{<<"state">> := <<"paused">>}, #{<<"state">> := <<>>}]}, Client).

of_many_partitions_those_with_the_most_lag_are_told_test() ->
  Client = read(brod_dashboard:client(info(), stats([consumer(P, P) || P <- lists:seq(1, 250)]))),
  ?assertMatch(#{<<"partitions_more">> := 50, <<"partitions">> := [#{<<"lag">> := 250} | _]}, Client).

a_server_gives_the_page_and_its_state_to_this_machine_only_test() ->
  {ok, Server, Port} = brod_dashboard:start(#{}),
  Get = fun(Path, Host) ->
          {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}]),
          ok = gen_tcp:send(Socket, ["GET ", Path, " HTTP/1.1\r\nhost: ", Host, "\r\n\r\n"]),
          Answer = all(Socket),
          [Head, Body] = binary:split(Answer, <<"\r\n\r\n">>),
          {binary:part(Head, 9, 3), Body}
        end,
  {<<"200">>, Page} = Get("/", "localhost"),
  ?assertMatch({_, _}, binary:match(Page, <<"fetch('state'">>)),
  %% Names and errors of others never become markup, and nothing is loaded from elsewhere.
  [?assertEqual(nomatch, binary:match(Page, Bad)) || Bad <- [<<"innerHTML">>, <<"https://">>, <<"document.write">>, <<"src=">>]],
  {<<"200">>, State} = Get("/state?now", "127.0.0.1:1"),
  ?assertMatch(#{<<"clients">> := [], <<"node">> := _, <<"at_ms">> := _}, brod_json:decode(State)),
  ?assertMatch({<<"404">>, _}, Get("/other", "localhost")),
  ?assertMatch({<<"403">>, _}, Get("/state", "evil.example")),
  ok = brod_dashboard:stop(Server),
  ok = await_refused(Port, 500).

%% The port's socket is closed a moment after its process has ended. Whoever connects in that moment is reset.
await_refused(Port, Left) when Left > 0 ->
  case gen_tcp:connect({127, 0, 0, 1}, Port, []) of
    {error, econnrefused} -> ok;
    {error, econnreset} -> receive after 10 -> await_refused(Port, Left - 1) end;
    {ok, Socket} -> ok = gen_tcp:close(Socket), receive after 10 -> await_refused(Port, Left - 1) end
  end.

all(Socket) ->
  case gen_tcp:recv(Socket, 0, 5000) of
    {ok, Data} -> <<Data/binary, (all(Socket))/binary>>;
    {error, closed} -> <<>>
  end.
