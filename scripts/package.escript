#!/usr/bin/env escript
%% The package as hex would have it, brod-VERSION.tar, without hex: from what src/brod.app.src says, by the functions of hex
%% that rebar3 brings along. Publishes nothing.
%%   package.escript FOLDER             FOLDER/brod-VERSION.tar
%%   package.escript FOLDER --unpack    the same, and what is in it in FOLDER/brod
-mode(compile).

main([Folder]) -> io:format("~ts~n", [element(1, package(Folder))]);
main([Folder, "--unpack"]) ->
  {Path, Tarball} = package(Folder),
  To = filename:join(Folder, "brod"),
  _ = file:del_dir_r(To),
  case r3_hex_tarball:unpack(Tarball, To) of
    {ok, _} -> io:format("~ts~n~ts~n", [Path, To]);
    {error, Reason} -> fail("hex does not unpack it: ~ts", [r3_hex_tarball:format_error(Reason)])
  end;
main(_) -> fail("usage: package.escript FOLDER [--unpack]", []).

package(Folder) ->
  load_hex(),
  Root = filename:dirname(filename:dirname(filename:absname(escript:script_name()))),
  {ok, [{application, brod, About}]} = file:consult(filename:join(Root, "src/brod.app.src")),
  Files = files(proplists:get_value(files, About) ++ proplists:get_value(include_files, About), Root),
  case r3_hex_tarball:create(metadata(About), Files) of
    {ok, #{tarball := Tarball}} ->
      Path = filename:join(Folder, "brod-" ++ proplists:get_value(vsn, About) ++ ".tar"),
      ok = filelib:ensure_dir(Path),
      ok = file:write_file(Path, Tarball),
      {Path, Tarball};
    {error, Reason} ->
      fail("hex takes no such package: ~ts", [r3_hex_tarball:format_error(Reason)])
  end.

metadata(About) ->
  Value = fun(Key) -> proplists:get_value(Key, About) end,
  Text = fun(Key) -> unicode:characters_to_binary(Value(Key)) end,
  Texts = fun(Key) -> [unicode:characters_to_binary(Each) || Each <- Value(Key)] end,
  Links = [{unicode:characters_to_binary(Name), unicode:characters_to_binary(Url)} || {Name, Url} <- Value(links)],
  #{<<"name">> => <<"brod">>, <<"app">> => <<"brod">>, <<"version">> => Text(vsn), <<"description">> => Text(description),
    <<"licenses">> => Texts(licenses), <<"links">> => maps:from_list(Links), <<"requirements">> => #{}, <<"build_tools">> => Texts(build_tools)}.

%% Those of the list and all below its folders, as hex sees them: {name in the package, path}.
files(Patterns, Root) ->
  Named = [Name || Pattern <- Patterns, Name <- filelib:wildcard(Pattern, Root)],
  All = [Name || Above <- Named, Name <- [Above | filelib:wildcard(Above ++ "/**", Root)],
                 filelib:is_regular(filename:join(Root, Name))],
  [{Name, filename:join(Root, Name)} || Name <- lists:usort(All)].

%% rebar3 is an archive of modules.
load_hex() ->
  Is = fun(File) -> lists:prefix("r3_", filename:basename(element(2, File))) end,
  try
    {ok, Sections} = escript:extract(os:find_executable("rebar3"), []),
    {ok, Modules} = zip:unzip(proplists:get_value(archive, Sections), [memory, {file_filter, Is}]),
    [{module, _} = code:load_binary(list_to_atom(filename:basename(Name, ".beam")), Name, Code)
     || {Name, Code} <- Modules, filename:extension(Name) =:= ".beam"],
    true = erlang:function_exported(r3_hex_tarball, create, 2)
  catch
    _:_ -> fail("hex's functions are not found: is rebar3 on the PATH, and an escript?", [])
  end.

-spec fail(string(), [term()]) -> no_return().
fail(Format, Arguments) ->
  io:format(standard_error, "package: " ++ Format ++ "~n", Arguments),
  halt(1).
