%% The way of a precompiled library into priv, and of those that must not come there: scripts/build-nif.sh as rebar3 and mix
%% start it, with a cargo that only says that it was called.
-module(brod_precompiled_tests).
-include_lib("eunit/include/eunit.hrl").

-define(LIMIT_MS, 60000).
-define(TARGET, "x86_64-unknown-linux-gnu").

precompiled_test_() ->
  {inparallel, 2,
   [{timeout, 120, {Name, fun() -> in_folder(Test) end}}
    || {Name, Test} <- [{"a library of a folder is installed, once", fun from_folder/1},
                        {"a library of a URL is installed, and kept for other projects", fun from_url/1},
                        {"another checksum: nothing is unpacked, cargo builds", fun wrong_checksum/1},
                        {"the package names no checksum: cargo builds", fun no_checksum/1},
                        {"there is no such file, in a folder or behind a URL: cargo builds", fun missing/1},
                        {"half a download is none", fun half/1},
                        {"no library for this machine: cargo builds", fun other_target/1},
                        {"an archive of something else is not unpacked", fun other_contents/1},
                        {"BROD_BUILD=1 builds, also over a precompiled one", fun forced/1},
                        {"neither a library nor cargo: both are said", fun no_cargo/1},
                        {"a cargo that is too old is named", fun old_cargo/1}]]}.

from_folder(Dir) ->
  Sum = pack(Dir, [{library(), <<"precompiled">>}]),
  Env = [{"BROD_PRECOMPILED", Dir}],
  {0, Said} = build(Dir, Env),
  ?assertEqual("brod: the library is precompiled, for " ++ ?TARGET ++ ", from " ++ Dir ++ "\n", Said),
  ?assertEqual(<<"precompiled">>, installed(Dir)),
  ?assertEqual({0, ""}, build(Dir, Env)),
  %% A new package brings a new checksum.
  New = pack(Dir, [{library(), <<"newer">>}]),
  ?assertNotEqual(Sum, New),
  {0, _} = build(Dir, Env),
  ?assertEqual(<<"newer">>, installed(Dir)).

from_url(Dir) ->
  _ = pack(Dir, [{library(), <<"precompiled">>}]),
  {ok, Archive} = file:read_file(filename:join(Dir, archive())),
  Url = serve(fun("/some/where/" ++ Name) -> ?assertEqual(archive(), Name), ok(Archive) end),
  {0, _} = build(Dir, [{"BROD_PRECOMPILED", Url ++ "/some/where/"}]),
  ?assertEqual(<<"precompiled">>, installed(Dir)),
  ok = file:del_dir_r(priv(Dir)),
  %% Nobody listens there.
  {0, _} = build(Dir, [{"BROD_PRECOMPILED", "http://127.0.0.1:1"}]),
  ?assertEqual(<<"precompiled">>, installed(Dir)).

wrong_checksum(Dir) ->
  _ = pack(Dir, [{library(), <<"precompiled">>}]),
  ok = file:write_file(filename:join(Dir, "sums.exs"), sums(binary:copy(<<"0">>, 64))),
  Built = build(Dir, [{"BROD_PRECOMPILED", Dir}]),
  says("it is not what the package was made with", Built),
  says("so cargo builds it", Built),
  ?assertEqual(<<"by cargo">>, installed(Dir)),
  {ok, Archive} = file:read_file(filename:join(Dir, archive())),
  {0, _} = build(Dir, [{"BROD_PRECOMPILED", serve(fun(_) -> ok(Archive) end)}]),
  ?assertEqual({error, enoent}, file:read_file(filename:join([Dir, "cache", "brod", archive()]))).

no_checksum(Dir) ->
  _ = pack(Dir, [{library(), <<"precompiled">>}]),
  ok = file:write_file(filename:join(Dir, "sums.exs"), "%{}\n"),
  says("sums.exs has no checksum of " ++ archive(), build(Dir, [{"BROD_PRECOMPILED", Dir}])),
  ok = file:delete(filename:join(Dir, "sums.exs")),
  says("sums.exs: no such file", build(Dir, [{"BROD_PRECOMPILED", Dir}])),
  ?assertEqual(<<"by cargo">>, installed(Dir)).

missing(Dir) ->
  _ = pack(Dir, [{library(), <<"precompiled">>}]),
  ok = file:delete(filename:join(Dir, archive())),
  says("no such file", build(Dir, [{"BROD_PRECOMPILED", Dir}])),
  says(": 404 Not Found", build(Dir, [{"BROD_PRECOMPILED", serve(fun(_) -> "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n" end)}])),
  says("econnrefused", build(Dir, [{"BROD_PRECOMPILED", "http://127.0.0.1:1"}])),
  says("no folder and no http URL: ftp://x", build(Dir, [{"BROD_PRECOMPILED", "ftp://x"}])),
  ?assertEqual(<<"by cargo">>, installed(Dir)).

half(Dir) ->
  _ = pack(Dir, [{library(), <<"precompiled">>}]),
  {ok, Archive} = file:read_file(filename:join(Dir, archive())),
  Half = binary:part(Archive, 0, byte_size(Archive) div 2),
  %% One who says how much there is, and one who does not.
  [begin
     says("so cargo builds it", build(Dir, [{"BROD_PRECOMPILED", serve(fun(_) -> [Head, Half] end)}])),
     ?assertEqual(<<"by cargo">>, installed(Dir)),
     ?assertEqual({error, enoent}, file:read_file(filename:join([Dir, "cache", "brod", archive()])))
   end || Head <- [["HTTP/1.1 200 OK\r\ncontent-length: ", integer_to_list(byte_size(Archive)), "\r\n\r\n"], "HTTP/1.0 200 OK\r\n\r\n"]].

other_target(Dir) ->
  _ = pack(Dir, [{library(), <<"precompiled">>}]),
  says("none is made for riscv64gc-unknown-linux-gnu",
       build(Dir, [{"BROD_PRECOMPILED", Dir}, {"CARGO_BUILD_TARGET", "riscv64gc-unknown-linux-gnu"}])),
  says("has no checksum of libbrod_nif-v" ++ version() ++ "-nif-2.16-aarch64-apple-darwin.so.tar.gz",
       build(Dir, [{"BROD_PRECOMPILED", Dir}, {"CARGO_BUILD_TARGET", "aarch64-apple-darwin"}])),
  ?assertEqual(<<"by cargo">>, installed(Dir)).

other_contents(Dir) ->
  Outside = filename:join(Dir, "outside"),
  [begin
     _ = pack(Dir, Contents),
     says("the archive holds", build(Dir, [{"BROD_PRECOMPILED", Dir}])),
     ?assertEqual({error, enoent}, file:read_file(Outside)),
     ?assertEqual(<<"by cargo">>, installed(Dir))
   end || Contents <- [[{"../outside", <<"x">>}], [{Outside, <<"x">>}], [{library(), <<"x">>}, {"other", <<"y">>}]]],
  Sum = hash(<<"no archive">>),
  ok = file:write_file(filename:join(Dir, archive()), <<"no archive">>),
  ok = file:write_file(filename:join(Dir, "sums.exs"), sums(Sum)),
  says("no archive", build(Dir, [{"BROD_PRECOMPILED", Dir}])).

forced(Dir) ->
  _ = pack(Dir, [{library(), <<"precompiled">>}]),
  {0, _} = build(Dir, [{"BROD_PRECOMPILED", Dir}]),
  ?assertEqual(<<"precompiled">>, installed(Dir)),
  ?assertEqual({0, "cargo was called\n"}, build(Dir, [{"BROD_PRECOMPILED", Dir}, {"BROD_BUILD", "1"}])),
  ?assertEqual(<<"by cargo">>, installed(Dir)),
  {0, _} = build(Dir, [{"BROD_PRECOMPILED", Dir}]),
  ?assertEqual(<<"precompiled">>, installed(Dir)).

no_cargo(Dir) ->
  ok = file:delete(filename:join([Dir, "bin", "cargo"])),
  {1, Said} = build(Dir, [{"BROD_PRECOMPILED", Dir}, {"PATH", filename:join(Dir, "bin") ++ ":/usr/bin:/bin"}]),
  says("no precompiled library: no checksums", {0, Said}),
  says("cargo is not on the PATH", {0, Said}).

%% As Debian 12 has it.
old_cargo(Dir) ->
  ok = file:write_file(filename:join([Dir, "bin", "cargo"]), "#!/bin/sh\necho 'cargo 1.63.0 (2022-07-16)'\n"),
  {1, Said} = build(Dir, []),
  says("cargo 1.63.0 (2022-07-16) is too old", {0, Said}).

%% With what all need: a folder, and a cargo in it.
in_folder(Test) ->
  Dir = filename:join(filename:basedir(user_cache, "brod_precompiled_tests"),
                      integer_to_list(erlang:unique_integer([positive])) ++ "-" ++ os:getpid()),
  Cargo = filename:join([Dir, "bin", "cargo"]),
  ok = filelib:ensure_dir(Cargo),
  ok = file:write_file(Cargo, "#!/bin/sh\n[ \"$1\" != --version ] || { echo 'cargo 1.85.0'; exit; }\necho cargo was called >&2\n"
                              "to=$CARGO_TARGET_DIR/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}release\nmkdir -p \"$to\"\n"
                              "for name in libbrod_nif.so libbrod_nif.dylib; do [ -e \"$to/$name\" ] || printf 'by cargo' >\"$to/$name\"; done\n"),
  ok = file:change_mode(Cargo, 8#755),
  %% There is nothing to strip.
  Objcopy = filename:join([Dir, "bin", "objcopy"]),
  ok = file:write_file(Objcopy, "#!/bin/sh\nexit 1\n"),
  ok = file:change_mode(Objcopy, 8#755),
  try Test(Dir)
  after
    ok = file:del_dir_r(Dir)
  end.

build(Dir, More) ->
  Script = filename:join([brod_test:scripts(), "build-nif.sh"]),
  Env = [{"PATH", filename:join(Dir, "bin") ++ ":" ++ os:getenv("PATH")}, {"CARGO_TARGET_DIR", filename:join(Dir, "target")},
         {"CARGO_BUILD_TARGET", ?TARGET}, {"BROD_PRECOMPILED_CHECKSUMS", filename:join(Dir, "sums.exs")},
         {"XDG_CACHE_HOME", filename:join(Dir, "cache")}, {"BROD_BUILD", false},
         {"http_proxy", false}, {"HTTP_PROXY", false}],
  Port = open_port({spawn_executable, os:find_executable("bash")},
                   [{args, [Script, priv(Dir)]}, {env, lists:ukeymerge(1, lists:ukeysort(1, More), lists:ukeysort(1, Env))},
                    exit_status, stderr_to_stdout, binary]),
  ended(Port, <<>>).

ended(Port, Said) ->
  receive
    {Port, {data, Data}} -> ended(Port, <<Said/binary, Data/binary>>);
    {Port, {exit_status, Code}} -> {Code, unicode:characters_to_list(Said)}
  after ?LIMIT_MS -> error({still_running, Said})
  end.

says(Text, {0, Said}) -> ?assertNotEqual({nomatch, Said}, {string:find(Said, Text), Said}).

priv(Dir) -> filename:join(Dir, "priv").

installed(Dir) ->
  {ok, Bytes} = file:read_file(filename:join(priv(Dir), "brod_nif.so")),
  Bytes.

version() ->
  _ = application:load(brod),
  {ok, Version} = application:get_key(brod, vsn),
  Version.

library() -> "libbrod_nif-v" ++ version() ++ "-nif-2.16-" ++ ?TARGET ++ ".so".

archive() -> library() ++ ".tar.gz".

%% The archive and its checksum, in the folder.
pack(Dir, Contents) ->
  File = filename:join(Dir, archive()),
  ok = erl_tar:create(File, Contents, [compressed]),
  {ok, Bytes} = file:read_file(File),
  Sum = hash(Bytes),
  ok = file:write_file(filename:join(Dir, "sums.exs"), sums(Sum)),
  Sum.

hash(Bytes) -> string:lowercase(binary:encode_hex(crypto:hash(sha256, Bytes))).

sums(Sum) -> ["%{\n  \"", archive(), "\" => \"sha256:", Sum, "\",\n}\n"].

ok(Body) -> ["HTTP/1.1 200 OK\r\ncontent-length: ", integer_to_list(byte_size(Body)), "\r\n\r\n", Body].

%% Answers each request with what the function says, and closes; ends with the test.
serve(Answer) ->
  {ok, Listen} = gen_tcp:listen(0, [binary, {ip, {127, 0, 0, 1}}, {active, false}, {packet, http}]),
  {ok, Port} = inet:port(Listen),
  Server = spawn_link(fun() -> receive go -> accept(Listen, Answer) end end),
  ok = gen_tcp:controlling_process(Listen, Server),
  Server ! go,
  "http://127.0.0.1:" ++ integer_to_list(Port).

accept(Listen, Answer) ->
  {ok, Socket} = gen_tcp:accept(Listen),
  {ok, {http_request, 'GET', {abs_path, Path}, _}} = gen_tcp:recv(Socket, 0, ?LIMIT_MS),
  ok = head(Socket),
  _ = gen_tcp:send(Socket, Answer(Path)),
  ok = gen_tcp:close(Socket),
  accept(Listen, Answer).

head(Socket) ->
  case gen_tcp:recv(Socket, 0, ?LIMIT_MS) of
    {ok, http_eoh} -> ok;
    {ok, {http_header, _, _, _, _}} -> head(Socket)
  end.
