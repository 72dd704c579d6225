#!/usr/bin/env escript
%% Writes docs/options.md from brod_option_docs and the checks' own defaults.
%%   generate-options.escript EBIN           writes it
%%   generate-options.escript EBIN --check   fails where it is not what would be written
-mode(compile).

main([Ebin | Rest]) ->
  true = code:add_patha(Ebin),
  File = filename:join([filename:dirname(escript:script_name()), "..", "docs", "options.md"]),
  Page = unicode:characters_to_binary([head(), [level(L, Where) || {L, Where} <- brod_option_docs:levels()]]),
  case {Rest, file:read_file(File)} of
    {["--check"], {ok, Page}} -> ok;
    {["--check"], _} -> io:format("docs/options.md is stale: scripts/generate-options.escript EBIN writes it~n"), halt(1);
    {[], _} -> ok = file:write_file(File, Page)
  end.

head() ->
  "# Options\n\n"
  "Made from `src/brod_option_docs.erl` by `scripts/generate-options.escript`. Options are given as a proplist, a keyword list\n"
  "or a map. A value that cannot be is an error; an unknown name is a warning with the nearest one from Erlang's functions, and an\n"
  "error from those of `Brod.*`. In the column *whose*, *brod* means as in brod 4, *ours* that brod 4 does not have it.\n".

level(Level, Where) ->
  ["\n## ", string:titlecase(atom_to_list(Level)), "\n\n", Where, "\n\n| option | may be | default | whose | what it does |\n|---|---|---|---|---|\n",
   [row(Level, Row) || Row <- brod_option_docs:rows(Level)]].

row(Level, {Name, Range, Whose, Text}) ->
  io_lib:format("| `~s` | ~ts | ~ts | ~s | ~ts |~n", [Name, Range, default(brod_option_docs:default(Level, Name)), Whose, Text]).

default({ok, Map}) when is_map(Map) -> "see Producer";
default({ok, Default}) -> io_lib:format("`~0tp`", [Default]);
default(none) -> "".
