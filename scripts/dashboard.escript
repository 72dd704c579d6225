#!/usr/bin/env escript
%% -*- erlang -*-
%% Serves brod_dashboard's page of a client that produces and consumes, on a Kafka in memory; prints its port, and ends with its
%% standard input.
%%   dashboard.escript EBIN
-mode(compile).
-export([init/2, handle_message/2]).

main([Ebin]) ->
  true = code:add_patha(Ebin),
  ok = logger:set_primary_config(level, warning),
  {ok, _} = application:ensure_all_started(brod),
  {ok, Mock} = brod_mock:start(#{brokers => 3, topics => #{<<"orders">> => 6, <<"invoices">> => 2}}),
  ok = brod:start_client(brod_mock:endpoints(Mock), shop, [{auto_start_producers, true}]),
  {ok, _} = brod_group_subscriber_v2:start_link(
              #{ client => shop, group_id => <<"billing">>, topics => [<<"orders">>], cb_module => ?MODULE
               , message_type => message, consumer_config => [{begin_offset, earliest}]}),
  ok = brod_mock:await_stable(Mock, <<"billing">>, 1, 60000),
  _ = [spawn_link(fun() -> customer(N) end) || N <- lists:seq(1, 4)],
  {ok, _, Port} = brod_dashboard:start(#{port => 0}),
  io:format("~b~n", [Port]),
  eof = io:get_line("").

customer(N) ->
  ok = brod:produce_sync(shop, <<"orders">>, hash, integer_to_binary(N), <<"an order">>),
  timer:sleep(rand:uniform(10)),
  customer(N + 4).

init(_Partition, _InitData) -> {ok, []}.

%% The slower one lags behind now and then.
handle_message(_Message, State) ->
  ok = brod:produce_no_ack(shop, <<"invoices">>, random, <<>>, <<"an invoice">>),
  timer:sleep(rand:uniform(20)),
  {ok, commit, State}.
