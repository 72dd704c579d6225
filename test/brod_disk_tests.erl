%% Files that are not read as files are: they do not end, nobody writes to them, or there is no descriptor to read them with.
-module(brod_disk_tests).
-include_lib("eunit/include/eunit.hrl").
-export([without_descriptors/0]).

%% What start_client may take: the engine gives a file up before.
-define(SOON_MS, 8000).

fifo_test_() ->
  {"a FIFO that nobody writes to holds up no other client", {timeout, 60, in_a_directory(fun(Dir) ->
    Fifo = filename:join(Dir, "fifo"),
    "" = os:cmd("mkfifo " ++ Fifo),
    Certificate = filename:join(Dir, "none.pem"),
    [?assertMatch({failed_to_upgrade_to_ssl, {options, {Option, Fifo, {error, etimedout}}}}, soon(why(Ssl)))
     || {Option, Ssl} <- [{cacertfile, [{cacertfile, Fifo}]},
                          {certfile, [{verify, verify_none}, {certfile, Fifo}, {keyfile, Certificate}]}]],
    {ok, _} = application:ensure_all_started(brod),
    ok = soon(fun() -> brod:start_client([{"localhost", 1}], waits, [{ssl, [{cacertfile, Fifo}]}]) end),
    ok = soon(fun() -> brod:start_client([{"localhost", 1}], another, []) end),
    ok = application:stop(brod)
  end)}}.

endless_test() ->
  ?assertMatch({failed_to_upgrade_to_ssl, {options, {cacertfile, "/dev/zero", {error, efbig}}}},
               soon(why([{cacertfile, "/dev/zero"}]))).

descriptors_test_() ->
  {"without descriptors no name and no file is at fault", {timeout, 60, fun() ->
    Ebin = [filename:dirname(code:which(Module)) || Module <- [brod, ?MODULE]],
    Shown = os:cmd(lists:flatten(["ulimit -n 100; erl +S 1 -noshell -pa ", lists:join(" ", Ebin), " -s " ?MODULE_STRING
                                  " without_descriptors -s init stop"])),
    {ok, Tokens, _} = erl_scan:string(lists:last(string:split(Shown, "\n", trailing))),
    ?assertMatch({ok, [econnrefused, emfile, {failed_to_upgrade_to_ssl, {options, {cacertfile, _, {error, emfile}}}}, econnrefused]},
                 erl_parse:parse_term(Tokens)),
    ?assertMatch({_, _}, binary:match(iolist_to_binary(brod_connect_failure:why({failed_to_upgrade_to_ssl, {options, {cacertfile, "f", {error, emfile}}}})),
                                      <<"ulimit -n">>))
  end}}.

%% What that VM does.
without_descriptors() ->
  {ok, _} = application:ensure_all_started(brod),
  %% the code for all of it is loaded
  Before = (why([]))(),
  {failed_to_upgrade_to_ssl, _} = (why([{cacertfile, "/none"}]))(),
  File = code:which(?MODULE),
  Files = all_descriptors(File),
  Without = [(why([]))(), (why([{cacertfile, File}]))()],
  ok = lists:foreach(fun file:close/1, Files),
  io:format("~0p.", [[Before | Without] ++ [(why([]))()]]).

all_descriptors(File) ->
  case file:open(File, [raw, read]) of
    {ok, Fd} -> [Fd | all_descriptors(File)];
    {error, emfile} -> []
  end.

why(Ssl) ->
  fun() ->
    try brod:get_metadata([{"localhost", 1}], all, [{ssl, Ssl} || Ssl =/= []]) of
      {error, [{_Endpoint, {Why, _}}]} -> Why
    catch
      throw:{failed_to_connect, [{_Endpoint, {Why, _}}]} -> Why
    end
  end.

%% Within the limit, in a process of its own: a call that hangs in the engine cannot be ended.
soon(Fun) ->
  {Pid, MRef} = spawn_monitor(fun() -> exit({result, Fun()}) end),
  receive
    {'DOWN', MRef, process, Pid, {result, Result}} -> Result;
    {'DOWN', MRef, process, Pid, Reason} -> error(Reason)
  after ?SOON_MS -> error(hangs)
  end.

in_a_directory(Fun) ->
  fun() ->
    Dir = string:trim(os:cmd("mktemp -d")),
    try Fun(Dir) after ok = file:del_dir_r(Dir) end
  end.
