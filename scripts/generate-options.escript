#!/usr/bin/env escript
%% Writes what comes from the table of options, brod_option_table: docs/options.md and the types of specs,
%% src/brod_option_types.erl.
%%   generate-options.escript EBIN           writes them
%%   generate-options.escript EBIN --check   fails where they are not what would be written
-mode(compile).

main([Ebin | Rest]) ->
  true = code:add_patha(Ebin),
  Root = filename:join(filename:dirname(escript:script_name()), ".."),
  Written = [write(filename:join(Root, File), unicode:characters_to_binary(Text), Rest)
             || {File, Text} <- [{"docs/options.md", page()}, {"src/brod_option_types.erl", types()}]],
  lists:all(fun(Ok) -> Ok end, Written) orelse halt(1).

write(File, Text, ["--check"]) ->
  case file:read_file(File) of
    {ok, Text} -> true;
    _ -> io:format("~ts is stale: scripts/generate-options.escript EBIN writes it~n", [File]), false
  end;
write(File, Text, []) ->
  ok =:= file:write_file(File, Text).

page() ->
  ["# Options\n\n"
   "Made from `src/brod_option_table.erl` by `scripts/generate-options.escript`. Options are given as a proplist, a keyword list\n"
   "or a map. `undefined` is as if nothing was given, and so is Elixir's `nil` but inside `ssl` and `sasl`. A value that cannot be is\n"
   "an error, but where the table says *else the default* (with a warning) or *else the nearest* (of numbers, and without a word), as\n"
   "in brod. An unknown name is a warning with the nearest one from Erlang's functions, and an error from those of `Brod.*`. Numbers go\n"
   "up to what 32 bits hold. The column *since* tells which version has the option first: 4 means that brod 4 has it, too.\n",
   [section(Level) || Level <- brod_option_table:levels()]].

section({Level, Title, Where}) ->
  ["\n## ", Title, "\n\n", Where, "\n",
   [["\n| option | may be | default | since | what it does |\n|---|---|---|---|---|\n", [row(Row) || Row <- Rows]]
    || Rows <- [brod_option_table:rows(Level)], Rows =/= []]].

row({Name, Kind, Default, Since, Text}) ->
  io_lib:format("| `~s` | ~ts | ~ts | ~p | ~ts |~n", [Name, may_be(Kind), default(Default), Since, Text]).

may_be({later, _} = Kind) -> [brod_option_kinds:text(Kind), "; else the default"];
may_be({clamped, _, _, _} = Kind) -> [brod_option_kinds:text(Kind), "; else the nearest"];
may_be(Kind) -> brod_option_kinds:text(Kind).

default(undefined) -> "";
default(Default) -> io_lib:format("`~0tp`", [Default]).

types() ->
  Levels = [client, producer, consumer, group, transaction, ssl, sasl_login, sasl_oauthbearer, sasl_aws_msk_iam],
  ["%% @doc Options as types, so that dialyzer finds a name that is misspelt: docs/options.md says what each is for. Made from\n"
   "%% brod_option_table by scripts/generate-options.escript; what is written here by hand is lost.\n"
   "-module(brod_option_types).\n\n"
   "-export_type([", lists:join(", ", [[atom_to_list(Level), "/0"] || Level <- [sasl | Levels]]), "]).\n",
   [type(Level) || Level <- Levels], sasl()].

%% The ways to write the option `sasl'; as a map or a list it may be any mechanism's.
sasl() ->
  [{mechanism, Kind, _, _, _}] = brod_option_table:rows(sasl),
  Login = brod_option_kinds:type({one_of, [plain, scram_sha_256, scram_sha_512]}),
  ["\n-type sasl() ::\n        ",
   lists:join("\n      | ",
     [["{", Login, ", User :: unicode:chardata(), Password :: unicode:chardata() | fun(() -> term())}"],
      ["{", Login, ", File :: unicode:chardata()}"],
      ["{", Login, ", sasl_login()}"],
      "{oauthbearer, sasl_oauthbearer() | fun(() -> term())}",
      "{aws_msk_iam, sasl_aws_msk_iam()}",
      "{callback, module(), term()}",
      ["#{mechanism := ", brod_option_kinds:type(Kind), ", atom() => term()}"],
      "[{atom(), term()}, ...]"]),
   ".\n"].

type(Level) ->
  Rows = brod_option_table:rows(Level),
  Name = atom_to_list(Level),
  Flags = [atom_to_list(Option) || {Option, Kind, _, _, _} <- Rows, is_flag(Kind)],
  ["\n-type ", Name, "() ::\n        [",
   lists:join("\n         | ", [["{", atom_to_list(Option), ", ", unset(Level), brod_option_kinds:type(Kind), "}"]
                                || {Option, Kind, _, _, _} <- Rows] ++ Flags),
   "]\n      | #{",
   lists:join(",\n          ", [[atom_to_list(Option), " => ", unset(Level), brod_option_kinds:type(Kind)] || {Option, Kind, _, _, _} <- Rows]),
   "}.\n"].

%% Of security nothing is left out because a variable of the environment is not there: there nil is an error.
unset(Level) when Level =:= client; Level =:= producer; Level =:= consumer; Level =:= group; Level =:= transaction ->
  "undefined | nil | ";
unset(_) ->
  "undefined | ".

%% An atom alone stands for `{Atom, true}'.
is_flag(boolean) -> true;
is_flag(ssl) -> true;
is_flag({any, _}) -> true;
is_flag({one_of, Values}) -> lists:member(true, Values);
is_flag(_) -> false.
