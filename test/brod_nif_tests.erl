%% The library under what a node does to modules, in a VM of its own.
-module(brod_nif_tests).
-include_lib("eunit/include/eunit.hrl").

-export([outage/0]).

%% The engine's threads go on: the VM must not unmap what they run.
the_module_may_be_purged_and_loaded_again_test_() ->
  {timeout, 60, fun() -> ?assertMatch({match, _}, re:run(in_a_vm(
    "Open = fun() -> {ok, Options} = brod_options:client([{client_id, <<\"c\">>}]),"
    "                {ok, C} = brod_nif:client_open([{<<\"127.0.0.1\">>, 1}], brod_options:engine_config(Options)),"
    "                {error, [_]} = brod_engine:call(C, connect, 2000), ok end,"
    "Run = fun() -> {P, M} = spawn_monitor(Open), receive {'DOWN', M, process, P, R} -> normal = R end end,"
    "[begin Run(), true = code:delete(brod_nif), _ = code:purge(brod_nif), erlang:garbage_collect() end"
    " || _ <- lists:seq(1, 5)],"
    "Run(), io:format(\"all is well~n\")"), "all is well"))
  end}.

%% A library cannot be exchanged under what runs on it: the node says so, and all goes on as before.
loading_the_module_under_load_leaves_it_as_it_is_test_() ->
  {timeout, 60, fun() -> ?assertMatch({match, _}, re:run(in_a_vm(
    "{ok, Options} = brod_options:client([{client_id, <<\"c\">>}]),"
    "{ok, C} = brod_nif:client_open([{<<\"127.0.0.1\">>, 1}], brod_options:engine_config(Options)),"
    "_ = code:load_file(brod_nif),"
    "{error, [_]} = brod_engine:call(C, connect, 2000), io:format(\"all is well~n\")"), "all is well"))
  end}.

%% One line for a broker that cannot be reached, and one when it is back, seen with OTP's default handler.
outages_are_seen_test_() ->
  {timeout, 60, fun() ->
    Shown = in_a_vm("brod_nif_tests:outage()"),
    Lines = fun(Text) -> length(string:split(Shown, Text, all)) - 1 end,
    ?assertEqual({1, 1, Shown}, {Lines("Client c: broker lost, broker 127.0.0.1:"),
                                 Lines("Client c: broker back, broker 127.0.0.1:"), Shown})
  end}.

%% @private A cluster of two brokers, the second of which leads the topic and listens only later.
outage() ->
  {ok, Socket} = listen(0),
  {ok, Port} = inet:port(Socket),
  {ok, Later} = listen(0),
  {ok, Dead} = inet:port(Later),
  ok = gen_tcp:close(Later),
  _ = spawn_link(fun() -> serve(Socket, Port, Dead) end),
  {ok, _} = application:ensure_all_started(brod),
  Log = brod_log:start(),
  ok = brod:start_client([{"127.0.0.1", Port}], c, [{query_api_versions, false}]),
  [{error, _} = brod:fetch(c, <<"t">>, 0, 0) || _ <- [1, 2]],
  {ok, Back} = listen(Dead),
  _ = spawn_link(fun() -> serve(Back, Port, Dead) end),
  {error, _} = brod:fetch(c, <<"t">>, 0, 0),
  wait_for(fun() -> brod_log:has(Log, "broker back") end, erlang:monotonic_time(millisecond) + 10000),
  brod_log:stop(Log),
  ok = brod:stop_client(c).

wait_for(Fun, Deadline) ->
  Fun() orelse erlang:monotonic_time(millisecond) > Deadline orelse
    begin erlang:yield(), wait_for(Fun, Deadline) end.

listen(Port) ->
  gen_tcp:listen(Port, [binary, {packet, 4}, {active, false}, {reuseaddr, true}, {ip, {127, 0, 0, 1}}]).

serve(Socket, Port, Dead) ->
  {ok, Connection} = gen_tcp:accept(Socket),
  Pid = spawn(fun() -> receive go -> answer(Connection, Port, Dead) end end),
  ok = gen_tcp:controlling_process(Connection, Pid),
  Pid ! go,
  serve(Socket, Port, Dead).

%% Metadata of version 0; hangs up on everything else.
answer(Connection, Port, Dead) ->
  case gen_tcp:recv(Connection, 0) of
    {ok, <<3:16, 0:16, Correlation:32, _/binary>>} ->
      Broker = fun(Node, At) -> <<Node:32, 9:16, "127.0.0.1", At:32>> end,
      ok = gen_tcp:send(Connection, [<<Correlation:32, 2:32>>, Broker(1, Port), Broker(2, Dead),
                                     <<1:32, 0:16, 1:16, "t", 1:32, 0:16, 0:32, 2:32, 1:32, 2:32,
                                       1:32, 2:32>>]),
      answer(Connection, Port, Dead);
    _ ->
      gen_tcp:close(Connection)
  end.

in_a_vm(Code) ->
  Paths = [filename:dirname(code:which(Module)) || Module <- [brod_options, ?MODULE]],
  os:cmd("erl -noshell -pa " ++ lists:append(lists:join(" ", Paths)) ++ " -eval '" ++
         re:replace(Code, "'", "'\\\\''", [global, {return, list}]) ++ ", init:stop().'").
