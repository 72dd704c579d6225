%% No library can be loaded out of an escript: brod takes the engine from the folder priv beside it.
-module(brod_escript_tests).

-export([main/1]).

-include_lib("eunit/include/eunit.hrl").

the_engine_is_taken_from_beside_an_escript_test_() ->
  {timeout, 60, fun the_engine_is_taken_from_beside_an_escript/0}.

the_engine_is_taken_from_beside_an_escript() ->
  Folder = string:trim(os:cmd("mktemp -d")),
  Engine = filename:join([Folder, "priv", "brod_nif.so"]),
  ok = filelib:ensure_dir(Engine),
  {ok, _} = file:copy(filename:join(code:priv_dir(brod), "brod_nif.so"), Engine),
  %% Applications have folders of their own, as from rebar3, or all is in one, as from mix.
  ?assertEqual(["started", "started"], [run(Folder, In) || In <- ["brod/ebin", "tool/ebin"]]),
  ok = file:delete(Engine),
  Without = run(Folder, "brod/ebin"),
  ?assertNotEqual(nomatch, string:find(Without, "engine_not_loaded: Failed to load NIF library: '" ++ filename:rootname(Engine))),
  ?assertEqual(nomatch, string:find(Without, "undef")),
  ok = file:del_dir_r(Folder).

run(Folder, In) ->
  Tool = filename:join(Folder, "tool"),
  Beams = [code:which(?MODULE) | filelib:wildcard(filename:join(code:lib_dir(brod), "ebin/brod*"))],
  Files = [begin {ok, Bytes} = file:read_file(Beam), {filename:join(In, filename:basename(Beam)), Bytes} end || Beam <- Beams],
  ok = escript:create(Tool, [shebang, {emu_args, "-escript main " ++ ?MODULE_STRING}, {archive, Files, []}]),
  os:cmd("escript " ++ Tool).

main([]) ->
  case application:start(brod) of
    ok -> io:put_chars("started");
    {error, {{Reason, Words}, _Where}} -> io:format("~p: ~ts", [Reason, Words])
  end.
