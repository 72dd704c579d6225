%% A node that has as many Erlang processes as it may have (+P), for a while. The limit is the VM's: the test has one of its own.
-module(brod_process_limit_tests).
-include_lib("eunit/include/eunit.hrl").
-export([limited/0]).

-define(C, brod_process_limit_tests_client).
-define(T, <<"topic">>).
-define(LIMIT_MS, 10000).

limit_test_() ->
  {"who serves others goes on without room for a process, and so do they", {timeout, 60, fun() ->
    ?assertEqual([{metadata_asked_again, ok}, {password, {error, <<"the VM has as many processes as it may have (+P)">>}},
                  {http, {error, closed}}, {callback, {0, 7}}, {helpers, up}, {password, {ok, {<<"user">>, <<"password">>}}},
                  {http, ok}, {same, true}], brod_test:last_term(in_a_vm()))
  end}}.

%% What that VM does.
limited() ->
  ok = logger:set_primary_config(level, none),
  process_flag(trap_exit, true),
  ok = brod_fake_nif:load([{?T, 1}]),
  {ok, Sup} = brod_sup:start_link(),
  ok = brod:start_client([{"localhost", 9092}], ?C, [{sasl, {plain, "user", "password"}}]),
  {ok, #{sasl_provider := Provider}} = brod_client:context(?C),
  {ok, 1} = brod:get_partitions_count(?C, ?T),
  {ok, Http, Port} = brod_http:start(#{}, fun(_) -> {200, "text/plain", "ok\n"} end),
  [Dispatcher | _] = brod_fake_nif:dispatchers(),
  Lasting = [Sup, whereis(?C), Provider, Http, Dispatcher],
  ok = end_helpers(Sup),
  Fillers = fill([]),
  true = erlang:resume_process(Sup),
  Self = self(),
  Dispatcher ! {brod_orphaned, self(), ?T, 0, {brod_acks, 7, [fun(P, O) -> Self ! {callback, {P, O}} end, undefined, 0]}},
  ?C ! refresh_metadata,
  Results = [{metadata_asked_again, answered(fun() -> _ = sys:get_state(?C), ok end)}, {password, password(Provider)},
             {http, page(Port)}],
  _ = [answered(fun() -> sys:get_state(Pid) end) || Pid <- [Sup, Dispatcher]],
  lists:foreach(fun end_process/1, Fillers),
  After = [receive {callback, _} = Called -> Called after ?LIMIT_MS -> no_callback end,
           {helpers, wait_until(fun() -> is_pid(whereis(brod_stats_poller)) end, ?LIMIT_MS)},
           {password, password(Provider)}, {http, page(Port)},
           {same, Lasting =:= [Pid || Pid <- Lasting, is_process_alive(Pid)]}],
  io:format("~n~0p.", [Results ++ After]).

%% The supervisor hears of it when it is resumed.
end_helpers(Sup) ->
  {links, Links} = process_info(Sup, links),
  [Helpers] = [Pid || Pid <- Links, is_pid(Pid), proc_lib:translate_initial_call(Pid) =:= {supervisor, brod_helpers_sup, 1}],
  Children = [Pid || {_, Pid, _, _} <- supervisor:which_children(Helpers)],
  true = erlang:suspend_process(Sup),
  lists:foreach(fun end_process/1, [Helpers | Children]).

end_process(Pid) ->
  MRef = monitor(process, Pid),
  exit(Pid, kill),
  receive {'DOWN', MRef, process, Pid, _} -> ok end.

fill(Pids) ->
  try fill([spawn(fun() -> receive stop -> ok end end) | Pids])
  catch error:system_limit -> Pids
  end.

answered(Fun) ->
  try Fun() catch exit:Reason -> {ended, Reason} end.

password(Provider) ->
  Ref = make_ref(),
  Provider ! {brod_sasl, {self(), Ref}, login, ?LIMIT_MS},
  receive {Ref, Answer} -> Answer after ?LIMIT_MS -> no_answer end.

page(Port) ->
  {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}]),
  _ = gen_tcp:send(Socket, "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n"),
  Result = case gen_tcp:recv(Socket, 0, ?LIMIT_MS) of
             {ok, <<"HTTP/1.", _, " 200", _/binary>>} -> ok;
             Other -> Other
           end,
  ok = gen_tcp:close(Socket),
  Result.

wait_until(_Fun, Left) when Left < 0 -> down;
wait_until(Fun, Left) ->
  case Fun() of
    true -> up;
    false -> receive after 20 -> wait_until(Fun, Left - 20) end
  end.

in_a_vm() ->
  [Ebin, Tests] = [filename:dirname(code:which(Module)) || Module <- [brod, ?MODULE]],
  os:cmd("ERL_CRASH_DUMP_SECONDS=0 erl +P 1024 -noshell -pa " ++ Ebin ++ " " ++ Tests ++ " -s " ?MODULE_STRING " limited -s init stop").
