#!/usr/bin/env escript
%% -*- erlang -*-
%% Installs a precompiled library as PRIV_DIR/brod_nif.so, and says why where it cannot.
%%   precompiled.escript FOLDER|URL PRIV_DIR
%% Artifacts are named as rustler_precompiled names them, and so is the file of checksums: checksum-brod_nif.exs in the
%% package, or where BROD_PRECOMPILED_CHECKSUMS says. What has no right checksum is neither unpacked nor kept. docs/adr/0038.
%% Exit codes: 0 installed, 1 not.
-mode(compile).

%% OTP 25, the oldest that brod runs on, has it.
-define(NIF_VERSION, "2.16").
-define(TARGETS, ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "x86_64-unknown-linux-musl",
                  "aarch64-unknown-linux-musl", "x86_64-apple-darwin", "aarch64-apple-darwin"]).
-define(MAX_BYTES, 64 * 1024 * 1024).
-define(CONNECT_MS, 15000).
-define(IDLE_MS, 30000).
-define(LIMIT_MS, 300000).

main([Source, Priv]) ->
  try
    Target = target(),
    Library = lists:concat(["libbrod_nif-v", version(), "-nif-", ?NIF_VERSION, "-", Target, ".so"]),
    Archive = Library ++ ".tar.gz",
    Sum = checksum(Archive),
    case is_installed(Priv, Archive, Sum) of
      true -> ok;
      false ->
        install(Priv, Archive, Sum, unpacked(Library, checked(Archive, Sum, archive(Source, Archive, Sum)))),
        say(["the library is precompiled, for ", Target, ", from ", Source])
    end
  catch
    throw:Why -> say(["no precompiled library: ", Why]), halt(1);
    Class:Reason -> say(io_lib:format("no precompiled library: a fault of its loader, ~s: ~0tp", [Class, Reason])), halt(1)
  end.

say(Text) -> io:put_chars(standard_error, unicode:characters_to_binary(["brod: ", Text, "\n"])).

version() ->
  {ok, [{application, brod, Properties}]} = file:consult(in_package("src/brod.app.src")),
  proplists:get_value(vsn, Properties).

in_package(Name) ->
  filename:join(filename:dirname(filename:dirname(filename:absname(escript:script_name()))), Name).

%% Rust's name of this machine, from Erlang's; or of the one that cargo would build for.
target() ->
  Own = erlang:system_info(system_architecture),
  Target = case os:getenv("CARGO_BUILD_TARGET", "") of "" -> triple(string:lexemes(Own, "-")); Named -> Named end,
  case lists:member(Target, ?TARGETS) of
    true -> Target;
    false -> throw(["none is made for ", case Target of unknown -> Own; _ -> Target end])
  end.

triple([Arch, "apple", "darwin" ++ _]) -> arch(Arch) ++ "-apple-darwin";
triple([Arch | Rest]) ->
  case {lists:member("linux", Rest), lists:last([Arch | Rest])} of
    {true, "gnu"} -> arch(Arch) ++ "-unknown-linux-gnu";
    {true, "musl"} -> arch(Arch) ++ "-unknown-linux-musl";
    _ -> unknown
  end.

arch("amd64") -> "x86_64";
arch("arm64") -> "aarch64";
arch("arm") -> "aarch64";
arch(Arch) -> Arch.

checksum(Archive) ->
  File = os:getenv("BROD_PRECOMPILED_CHECKSUMS", in_package("checksum-brod_nif.exs")),
  case file:read_file(File) of
    {ok, Text} ->
      Pattern = ["\"", re:replace(Archive, "\\.", "\\\\.", [global]), "\"\\s*=>\\s*\"sha256:([0-9a-f]{64})\""],
      case re:run(Text, iolist_to_binary(Pattern), [{capture, all_but_first, binary}]) of
        {match, [Sum]} -> Sum;
        nomatch -> throw([File, " has no checksum of ", Archive])
      end;
    {error, Reason} -> throw(["no checksums, ", File, ": ", file:format_error(Reason)])
  end.

checked(Archive, Sum, Bytes) ->
  case sum(Bytes) of
    Sum -> Bytes;
    Other -> throw([Archive, " has the SHA-256 ", Other, " and not ", Sum, ": it is not what the package was made with"])
  end.

sum(Bytes) -> string:lowercase(binary:encode_hex(crypto:hash(sha256, Bytes))).

%% Where it comes from

archive(Source, Archive, Sum) ->
  case string:split(string:lowercase(Source), "://") of
    [Scheme, _] when Scheme =:= "http"; Scheme =:= "https" -> cached(string:trim(Source, trailing, "/") ++ "/" ++ Archive, Archive, Sum);
    [_, _] -> throw(["no folder and no http URL: ", Source]);
    _ -> read(filename:join(Source, Archive))
  end.

read(File) ->
  case file:read_file(File) of
    {ok, Bytes} -> Bytes;
    {error, Reason} -> throw([File, ": ", file:format_error(Reason)])
  end.

%% What was fetched and is right stays for other projects of this user.
cached(Url, Archive, Sum) ->
  File = filename:join(filename:basedir(user_cache, "brod"), Archive),
  case file:read_file(File) of
    {ok, Bytes} ->
      case sum(Bytes) of
        Sum -> Bytes;
        _ -> fetched(Url, Archive, Sum, File)
      end;
    {error, _} -> fetched(Url, Archive, Sum, File)
  end.

fetched(Url, Archive, Sum, File) ->
  Bytes = checked(Archive, Sum, fetch(Url)),
  _ = filelib:ensure_dir(File),
  try replace(File, Bytes, 8#644) catch throw:_ -> ok end,
  Bytes.

fetch(Url) ->
  [case application:ensure_all_started(App) of
     {ok, _} -> ok;
     {error, _} -> throw(["this Erlang comes without ", atom_to_list(App), ", which is needed to fetch ", Url])
   end || App <- [inets, ssl]],
  [proxy(Scheme, Names) || {Scheme, Names} <- [{proxy, ["http_proxy", "HTTP_PROXY"]}, {https_proxy, ["https_proxy", "HTTPS_PROXY"]}]],
  Http = [{connect_timeout, ?CONNECT_MS}, {timeout, ?LIMIT_MS}, {ssl, tls(string:prefix(string:lowercase(Url), "https"))}],
  case httpc:request(get, {Url, []}, Http, [{sync, false}, {stream, self}, {body_format, binary}]) of
    {ok, Id} -> collect(Id, Url, <<>>, erlang:monotonic_time(millisecond) + ?LIMIT_MS);
    {error, Reason} -> throw([Url, io_lib:format(": ~0tp", [Reason])])
  end.

%% Also for a plain URL, which may lead to another one.
tls(IsTls) ->
  Trusted = try public_key:cacerts_get()
            catch error:_ when IsTls =:= nomatch -> [];
                  error:_ -> throw("this machine has no CA certificates to check the server's with")
            end,
  [{verify, verify_peer}, {cacerts, Trusted}, {depth, 10},
   {customize_hostname_check, [{match_fun, public_key:pkix_verify_hostname_match_fun(https)}]}].

proxy(Scheme, Names) ->
  case [Map || Name <- Names, #{host := _} = Map <- [uri_string:parse(os:getenv(Name, ""))]] of
    [#{host := Host} = Map | _] -> ok = httpc:set_options([{Scheme, {{Host, maps:get(port, Map, 80)}, ["localhost", "127.0.0.1"]}}]);
    [] -> ok
  end.

%% Who answers without end is not waited for, and does not fill the memory.
collect(_Id, Url, Bytes, _Deadline) when byte_size(Bytes) > ?MAX_BYTES -> throw([Url, " is too large"]);
collect(Id, Url, Bytes, Deadline) ->
  receive
    {http, {Id, stream_start, _Headers}} -> collect(Id, Url, Bytes, Deadline);
    {http, {Id, stream, Part}} -> collect(Id, Url, <<Bytes/binary, Part/binary>>, Deadline);
    {http, {Id, stream_end, _Headers}} -> Bytes;
    {http, {Id, {{_, Status, Text}, _Headers, _Body}}} -> throw([Url, io_lib:format(": ~b ~ts", [Status, Text])]);
    {http, {Id, {error, Reason}}} -> throw([Url, io_lib:format(": ~0tp", [Reason])])
  after max(0, min(?IDLE_MS, Deadline - erlang:monotonic_time(millisecond))) -> throw([Url, ": no answer in time"])
  end.

%% Where it goes

%% In memory: no name in the archive becomes a path.
unpacked(Library, Archive) ->
  case erl_tar:extract({binary, Archive}, [compressed, memory]) of
    {ok, [{Library, Bytes}]} -> Bytes;
    {ok, Others} -> throw(io_lib:format("the archive holds ~0tp and not ~ts alone", [[Name || {Name, _} <- Others], Library]));
    {error, Reason} -> throw(["no archive: ", erl_tar:format_error(Reason)])
  end.

is_installed(Priv, Archive, Sum) ->
  file:read_file(marker(Priv)) =:= {ok, mark(Archive, Sum)} andalso filelib:is_regular(filename:join(Priv, "brod_nif.so")).

install(Priv, Archive, Sum, Library) ->
  %% Until all is there, nothing says that it is. The debugger's file is that of another build.
  [_ = file:delete(File) || File <- [marker(Priv), filename:join(Priv, "brod_nif.debug")]],
  replace(filename:join(Priv, "brod_nif.so"), Library, 8#755),
  replace(marker(Priv), mark(Archive, Sum), 8#644).

%% build-nif.sh looks for it, too.
marker(Priv) -> filename:join(Priv, "brod_nif.precompiled").

mark(Archive, Sum) -> iolist_to_binary([Archive, " sha256:", Sum, "\n"]).

%% A running VM may have mapped the old file; and nobody sees half of the new one.
replace(File, Bytes, Mode) ->
  New = File ++ "." ++ os:getpid(),
  case {file:write_file(New, Bytes), file:change_mode(New, Mode), file:rename(New, File)} of
    {ok, ok, ok} -> ok;
    Failed -> _ = file:delete(New), throw([File, io_lib:format(" cannot be written: ~0tp", [Failed])])
  end.
