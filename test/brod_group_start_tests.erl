%% A node that starts while no broker is there.
-module(brod_group_start_tests).
-behaviour(brod_group_subscriber_v2).
-include_lib("eunit/include/eunit.hrl").

-export([init/2, handle_message/2]).

-define(LIMIT_MS, 30000).

init(_Info, Owner) -> Owner ! assigned, {ok, Owner}.

handle_message(_Message, Owner) -> {ok, Owner}.

an_outage_at_the_start_does_not_count_test_() -> {timeout, 60, fun() -> with_brod(fun a_member_waits/0) end}.

an_outage_at_the_start_is_a_line_an_attempt_test_() -> {timeout, 60, fun() -> with_brod(fun a_client_is_tried_again/0) end}.

with_brod(Fun) ->
  {ok, _} = application:ensure_all_started(brod),
  process_flag(trap_exit, true),
  try Fun() after _ = application:stop(brod) end.

a_member_waits() ->
  {ok, Before} = brod_mock:start(#{brokers => 1}),
  [{Host, Port}] = brod_mock:endpoints(Before),
  ok = brod_mock:stop(Before),
  ok = brod:start_client([{Host, Port}], ?MODULE, [{restart_delay_seconds, 1}]),
  Started = counted(),
  {ok, Member} = brod:start_link_group_subscriber_v2(
                   #{client => ?MODULE, group_id => <<"g">>, topics => [<<"t">>], cb_module => ?MODULE, init_data => self(),
                     group_config => [{max_rejoin_attempts, 1}, {rejoin_delay_seconds, 0}]}),
  %% The client has been tried again, and so has the member.
  wait(fun() -> counted() > Started end),
  {ok, Mock} = brod_mock:start(#{ports => [Port], topics => #{<<"t">> => 1}}),
  receive
    assigned -> ok;
    {'EXIT', Member, Reason} -> error({ended, Reason})
  after ?LIMIT_MS -> error(not_assigned)
  end,
  ok = brod_group_subscriber_v2:stop(Member),
  ok = brod_mock:stop(Mock).

a_client_is_tried_again() ->
  Log = brod_log:start(),
  Started = counted(),
  ok = brod:start_client([{"localhost", 1}], ?MODULE, [{restart_delay_seconds, 1}]),
  wait(fun() -> counted() >= Started + 3 end),
  %% The supervisor has heard of the end before the last one.
  ok = brod:stop_client(?MODULE),
  {Own, Others} = lists:partition(fun(Line) -> string:find(Line, "cannot connect") =/= nomatch end, brod_log:lines(Log)),
  ok = brod_log:stop(Log),
  ?assertEqual(counted() - Started, length(Own)),
  ?assertMatch([_], [Line || Line <- Others, string:find(Line, ?MODULE_STRING) =/= nomatch]).

counted() ->
  lists:sum([N || {[client, connect_failed], #{client := ?MODULE}, N} <- brod_telemetry:counters()]).

wait(Fun) -> wait(Fun, erlang:monotonic_time(millisecond) + ?LIMIT_MS).

wait(Fun, Until) ->
  case Fun() of
    true -> ok;
    false ->
      ?assert(erlang:monotonic_time(millisecond) < Until),
      receive after 20 -> wait(Fun, Until) end
  end.
