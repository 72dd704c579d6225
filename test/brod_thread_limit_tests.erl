%% A node whose container has no process or thread left to give, before the engine starts and while it runs. The limit of processes does not
%% bind root, so a VM of another user is limited.
-module(brod_thread_limit_tests).
-include_lib("eunit/include/eunit.hrl").
-export([limited/0]).

-define(NOBODY, "65534").

limit_test_() ->
  {"without threads calls fail at once, in words, and go on once there are some", {timeout, 60, fun() ->
    Dir = string:trim(os:cmd("mktemp -d")),
    try
      ?assertMatch([{<<"cannot start the engine's threads: ", _/binary>>, []}, {econnrefused, []}, {eagain, []}, {econnrefused, []}],
                   brod_test:last_term(in_a_vm(Dir))),
      Told = iolist_to_binary(brod_connect_failure:describe([{{"localhost", 1}, {eagain, []}}])),
      ?assertMatch({_, _}, binary:match(Told, <<"gave no thread">>))
    after
      ok = file:del_dir_r(Dir)
    end
  end}}.

%% What that VM does: nobody listens, which takes a thread to find out, as the name is looked up.
limited() ->
  {ok, _} = application:ensure_all_started(brod),
  Whys = [begin processes(Limit), why() end || Limit <- ["1", "1000", "1", "1000"]],
  io:format("~0p.", [Whys]).

why() ->
  try brod:get_metadata([{"localhost", 1}]) of
    {error, [{_Endpoint, Why}]} -> Why
  catch
    throw:{failed_to_connect, [{_Endpoint, Why}]} -> Why
  end.

%% Of this VM alone: the program that sets it is started by another process.
processes(Limit) ->
  "" = os:cmd("prlimit --pid " ++ os:getpid() ++ " --nproc=" ++ Limit ++ ":").

%% What the VM prints. Its user may read nothing but copies.
in_a_vm(Dir) ->
  [Ebin, Tests] = [filename:dirname(code:which(Module)) || Module <- [brod, ?MODULE]],
  Library = filename:join(code:priv_dir(brod), "brod_nif.so"),
  Copy = ["mkdir -p ", Dir, "/brod/priv && cp -r ", Ebin, " ", Dir, "/brod/ebin && cp ", Library, " ", Dir, "/brod/priv && cp ",
          filename:join(Tests, ?MODULE_STRING ".beam"), " ", Dir, " && chmod -R a+rX ", Dir],
  "" = os:cmd(lists:flatten(Copy)),
  User = case string:trim(os:cmd("id -u")) of
           "0" -> "setpriv --reuid " ++ ?NOBODY ++ " --clear-groups ";
           _ -> ""
         end,
  os:cmd("cd " ++ Dir ++ " && " ++ User ++ "env HOME=" ++ Dir ++ " erl +S 1 -noshell -pa brod/ebin . -s " ?MODULE_STRING " limited -s init stop").
