%% What a client tells of itself while producers and consumers are stopped by errors and started again, on the Kafka in
%% memory.
-module(brod_health_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include("brod.hrl").

-export([all/0, init_per_suite/1, end_per_suite/1]).
-export([init/2, handle_message/2]).
-export([refused_consumer_is_no_health/1, refused_group_is_no_health/1, what_is_started_again_goes_on_counting/1, each_end_of_a_generation_is_told/1,
         credentials_refused_at_the_start_are_told/1, client_that_cannot_connect_is_one_line_an_attempt/1,
         member_waits_for_a_client_that_cannot_connect/1, what_lasts_is_told_though_it_is_nobodys_error/1]).
-export([get_committed_offsets/2, assignments_received/4, assignments_revoked/1]).

-define(LIMIT_MS, 20000).
-define(NOT_ENOUGH_REPLICAS, 19).
-define(GROUP_AUTHORIZATION_FAILED, 30).
-define(TOPIC_AUTHORIZATION_FAILED, 29).

all() -> [refused_consumer_is_no_health, refused_group_is_no_health, what_is_started_again_goes_on_counting, each_end_of_a_generation_is_told,
          credentials_refused_at_the_start_are_told, client_that_cannot_connect_is_one_line_an_attempt,
          member_waits_for_a_client_that_cannot_connect, what_lasts_is_told_though_it_is_nobodys_error].

init_per_suite(Config) -> brod_test:init_mock_suite(Config).

end_per_suite(_Config) -> ok.

%% Its process ends with the error, and another one is there within seconds, which nothing is known of but that.
refused_consumer_is_no_health(_Config) ->
  brod_test:with_mock(#{topics => #{<<"t">> => 1}}, fun(Mock, Client) ->
    ok = brod:start_producer(Client, <<"t">>, []),
    ok = brod:start_consumer(Client, <<"t">>, [{partition_restart_delay_seconds, 1}, {max_wait_time, 100}]),
    {ok, Consumer} = brod:subscribe(Client, self(), <<"t">>, 0, [{begin_offset, earliest}]),
    Monitor = monitor(process, Consumer),
    ?assertEqual({ok, []}, brod:health(Client)),
    Stopped = {degraded, [{consumers_stopped, [{<<"t">>, 0}]}]},
    ok = brod_mock:fault(Mock, #{api => <<"Fetch">>, times => 1000000, action => {error, ?TOPIC_AUTHORIZATION_FAILED}}),
    receive {'DOWN', Monitor, process, Consumer, Reason} -> ?assertEqual({restart, topic_authorization_failed}, Reason)
    after ?LIMIT_MS -> error(still_there) end,
    %% Nor while there is none.
    ?assertEqual(Stopped, brod:health(Client)),
    brod_test:wait_until(fun() ->
      case brod:get_consumer(Client, <<"t">>, 0) of {ok, Next} -> Next =/= Consumer; {error, _} -> false end
    end, ?LIMIT_MS),
    ?assertEqual(Stopped, brod:health(Client)),
    ok = brod_mock:clear_faults(Mock),
    {ok, Again} = brod:subscribe(Client, self(), <<"t">>, 0, [{begin_offset, earliest}]),
    ok = brod:produce_sync(Client, <<"t">>, 0, <<>>, <<"1">>),
    receive {Again, #kafka_message_set{}} -> ok after ?LIMIT_MS -> error(nothing_came) end,
    ?assertEqual({ok, []}, brod:health(Client)),
    %% the engine counts a set after it has sent it
    brod_test:wait_until(fun() -> [1] =:= [N || #{records := N} <- parts(consumers, Client)] end, ?LIMIT_MS),
    ?assertMatch([#{errors := N}] when N > 0, parts(consumers, Client))
  end).

%% Its members end after some attempts, and others are started: there may be none at the moment.
refused_group_is_no_health(_Config) ->
  brod_test:with_mock(#{topics => #{<<"t">> => 1}}, fun(Mock, Client) ->
    ok = brod_mock:fault(Mock, #{api => <<"JoinGroup">>, times => 1000000, action => {error, ?GROUP_AUTHORIZATION_FAILED}}),
    process_flag(trap_exit, true),
    Start = fun() ->
      brod:start_link_group_subscriber_v2(
        #{client => Client, group_id => <<"g">>, topics => [<<"t">>], cb_module => ?MODULE, message_type => message,
          group_config => [{max_rejoin_attempts, 1}, {rejoin_delay_seconds, 1}]})
    end,
    {ok, Refused} = Start(),
    receive {'EXIT', Refused, _} -> ok after ?LIMIT_MS -> error(still_there) end,
    ?assertEqual({degraded, [{groups_not_joined, [<<"g">>]}]}, brod:health(Client)),
    ok = brod_mock:clear_faults(Mock),
    {ok, Member} = Start(),
    brod_test:wait_until(fun() -> brod:health(Client) =:= {ok, []} end, ?LIMIT_MS),
    ok = brod_group_subscriber_v2:stop(Member)
  end).

init(_, Owner) ->
  _ = is_pid(Owner) andalso (Owner ! {assigned, self()}),
  {ok, undefined}.
handle_message(_Message, State) -> {ok, commit, State}.

%% Metrics have one row for a partition, and do not begin anew.
what_is_started_again_goes_on_counting(_Config) ->
  brod_test:with_mock(#{topics => #{<<"t">> => 1}}, fun(Mock, Client) ->
    ok = brod:start_producer(Client, <<"t">>, [{partition_restart_delay_seconds, 1}]),
    ok = brod:produce_sync(Client, <<"t">>, 0, <<>>, <<"1">>),
    ok = brod_mock:fault(Mock, #{api => <<"Produce">>, action => {error, ?TOPIC_AUTHORIZATION_FAILED}}),
    ?assertEqual({ok, []}, brod:health(Client)),
    {error, {producer_down, {not_retriable, _}}} = brod:produce_sync(Client, <<"t">>, 0, <<>>, <<"2">>),
    Stopped = {degraded, [{producers_stopped, [{<<"t">>, 0}]}]},
    brod_test:wait_until(fun() -> brod:health(Client) =:= Stopped end, ?LIMIT_MS),
    brod_test:wait_until(fun() -> brod:produce_sync(Client, <<"t">>, 0, <<>>, <<"3">>) =:= ok end, ?LIMIT_MS),
    ?assertEqual({ok, []}, brod:health(Client)),
    ?assertMatch([#{batches_acked := 2, batches_failed := 1, records_sent := 3}], parts(producers, Client))
  end).

%% Also that which no broker has asked for: the dashboard would show a member that has left for as long as one looks.
each_end_of_a_generation_is_told(_Config) ->
  brod_test:with_mock(#{topics => #{<<"t">> => 1, <<"u">> => 1}}, fun(_Mock, Client) ->
    {ok, Coordinator} = brod_group_coordinator:start_link(Client, <<"g">>, [<<"t">>], [], ?MODULE, self()),
    true = unlink(Coordinator),
    ok = assigned(),
    ok = brod_group_coordinator:update_topics(Coordinator, [<<"t">>, <<"u">>]),
    ok = assigned(),
    ok = brod_group_coordinator:stop(Coordinator),
    Told = [{Event, maps:get(reason, Metadata, none)} || #{event := [group, Event], metadata := Metadata} <- brod_telemetry:recent(Client)],
    ?assertEqual([{join, none}, {assigned, none}, {revoked, topics_changed},
                  {join, none}, {assigned, none}, {revoked, shutdown}], Told)
  end).

%% As those are that a broker refuses later, and not only as a connection that could not be made.
credentials_refused_at_the_start_are_told(_Config) ->
  Sasl = {sasl, {plain, "alice", "wrong"}},
  brod_test:with_mock(#{brokers => 1, users => #{<<"alice">> => <<"secret">>}}, [Sasl, {restart_delay_seconds, 60}], fun(_Mock, Client) ->
    brod_test:wait_until(fun() -> [] =/= [1 || #{event := [client, connect_failed]} <- brod_telemetry:recent(Client)] end, ?LIMIT_MS),
    ?assertMatch([#{event := [client, authentication_failed], metadata := #{broker := Broker, reason := Why}},
                  #{event := [client, connect_failed], metadata := #{broker := Broker, reason := Why}}],
                 brod_telemetry:recent(Client))
  end).

client_that_cannot_connect_is_one_line_an_attempt(_Config) ->
  Log = brod_log:start(),
  Client = ?FUNCTION_NAME,
  ok = brod:start_client([{"localhost", 1}], Client, [{restart_delay_seconds, 1}]),
  brod_test:wait_until(fun() -> attempts(Client) >= 3 end, ?LIMIT_MS),
  ok = brod:stop_client(Client),
  {Own, Others} = lists:partition(fun(Line) -> string:find(Line, "cannot connect to Kafka") =/= nomatch end,
                                  brod_log:all(Log, atom_to_list(Client))),
  ok = brod_log:stop(Log),
  ?assertEqual(attempts(Client), length(Own)),
  ?assertEqual([], Others).

attempts(Client) ->
  lists:sum([N || {[client, connect_failed], #{client := C}, N} <- brod_telemetry:counters(), C =:= Client]).

%% A node that starts while no broker is there.
member_waits_for_a_client_that_cannot_connect(_Config) ->
  {ok, Mock} = brod_mock:start(#{brokers => 1, topics => #{<<"t">> => 1}}),
  ok = brod_mock:stop_broker(Mock, 1),
  Client = ?FUNCTION_NAME,
  ok = brod:start_client(brod_mock:endpoints(Mock), Client, [{restart_delay_seconds, 1}]),
  process_flag(trap_exit, true),
  {ok, Member} = brod:start_link_group_subscriber_v2(
                   #{client => Client, group_id => <<"g">>, topics => [<<"t">>], cb_module => ?MODULE, init_data => self(),
                     group_config => [{max_rejoin_attempts, 1}, {rejoin_delay_seconds, 0}]}),
  Tried = attempts(Client),
  %% The client is tried again, and so is the member.
  brod_test:wait_until(fun() -> attempts(Client) > Tried end, ?LIMIT_MS),
  ok = brod_mock:start_broker(Mock, 1),
  receive
    {assigned, _Worker} -> ok;
    {'EXIT', Member, Reason} -> error({ended, Reason})
  after ?LIMIT_MS -> error(not_assigned)
  end,
  ok = brod_group_subscriber_v2:stop(Member),
  ok = brod:stop_client(Client),
  ok = brod_mock:stop(Mock).

%% Brokers answer, a consumer gets nothing, and a producer that tries again for ever waits.
what_lasts_is_told_though_it_is_nobodys_error(_Config) ->
  brod_test:with_mock(#{topics => #{<<"gone">> => 2, <<"few">> => 1}}, fun(Mock, Client) ->
    Log = brod_log:start(),
    ok = brod:start_consumer(Client, <<"gone">>, [{max_wait_time, 100}]),
    {ok, _} = brod:subscribe(Client, self(), <<"gone">>, 0, [{begin_offset, earliest}]),
    ok = brod:start_producer(Client, <<"few">>, [{max_retries, -1}]),
    ok = brod:delete_topics(brod_mock:endpoints(Mock), [<<"gone">>], 5000, []),
    ok = brod_mock:fault(Mock, #{api => <<"Produce">>, times => 1000000, action => {error, ?NOT_ENOUGH_REPLICAS}}),
    {ok, Ref} = brod:produce(Client, <<"few">>, 0, <<>>, <<"v">>),
    told(Log, ["the topic is not available", "topic gone", "unknown_topic_or_partition"]),
    told(Log, ["batches are refused and sent again", "topic few", "not_enough_replicas"]),
    ?assertEqual({degraded, [{topics_unavailable, [<<"gone">>]}, {batches_refused, [<<"few">>]}]}, brod:health(Client)),
    ok = brod_mock:clear_faults(Mock),
    ok = brod:sync_produce_request(Ref, ?LIMIT_MS),
    ok = brod_mock:create_topic(Mock, <<"gone">>, 2),
    told(Log, ["the topic is available again", "topic gone"]),
    {_, Reasons} = brod:health(Client),
    ?assertNot(lists:keymember(topics_unavailable, 1, Reasons)),
    ok = brod_log:stop(Log)
  end).

%% One line has all of these.
told(Log, [First | Others]) ->
  Has = fun(Line) -> lists:all(fun(Text) -> string:find(Line, Text) =/= nomatch end, Others) end,
  true = brod_test:wait_until(fun() -> lists:any(Has, brod_log:all(Log, First)) end, 3 * ?LIMIT_MS).

assigned() ->
  receive assigned -> ok after ?LIMIT_MS -> error(not_assigned) end.

get_committed_offsets(_Test, _TPs) -> {ok, []}.

assignments_received(Test, _MemberId, _Generation, _Assignments) ->
  Test ! assigned,
  ok.

assignments_revoked(_Test) -> ok.

parts(Kind, Client) ->
  {ok, Stats} = brod:stats(Client),
  maps:get(Kind, Stats).
