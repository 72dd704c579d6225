%% @doc The command line: `bin/brod' and `mix brod'. `brod help' tells all commands, `brod help COMMAND' the options of
%% one. Exit codes: 0 done, 1 failed, 2 not understood.
-module(brod_cli).

-export([main/1, run/1]).
-export([parse/2]).

%% `natural' is a number from 0 on.
-type spec() :: [{Name :: string(), flag | string | integer | natural | many, Text :: string()}].
-export_type([spec/0]).

%% @doc Run a command and end the node.
-spec main([string()]) -> no_return().
main(Args) -> halt(run(Args)).

%% @doc Run a command; the exit code.
-spec run([string()]) -> 0..2.
run(Args) ->
  %% Messages are bytes, in whatever language this machine speaks.
  Before = io:getopts(),
  _ = io:setopts([binary, {encoding, latin1}]),
  try dispatch([brod_cli_config:argument(Arg) || Arg <- Args]) of
    ok -> 0;
    {error, Reason} -> complain(["failed: ", brod_cli_output:reason(Reason)]), 1
  catch
    throw:{usage, Text} -> complain(Text), 2;
    throw:{failed, Text} -> complain(Text), 1;
    throw:output_closed -> 0;
    Class:Reason:Stack -> complain(io_lib:format("a fault of brod's own, ~s: ~0tp~n~0tp", [Class, Reason, Stack])), 1
  after
    _ = [io:setopts([Option]) || is_list(Before), {encoding, _} = Option <- Before]
  end.

dispatch([]) -> help([]);
dispatch([Help | Of]) when Help =:= "help"; Help =:= "--help"; Help =:= "-h" -> help(Of);
dispatch(["--version" | _]) ->
  _ = application:load(brod),
  {ok, Version} = application:get_key(brod, vsn),
  brod_cli_output:print("brod ~s~n", [Version]);
dispatch(["completion" | Shell]) -> completion(Shell);
dispatch([Name | Args]) ->
  case [Command || {N, _, _, _} = Command <- commands(), N =:= Name] of
    [{_, _, Spec, Fun}] ->
      case lists:member("--help", Args) orelse lists:member("-h", Args) of
        true -> help([Name]);
        false ->
          {Options, Words} = parse(Args, Spec ++ brod_cli_config:options()),
          try Fun(Options, Words)
          catch throw:{missing, Option} -> throw({usage, ["--", Option, " is missing", instead(Name, Option, Words)]})
          end
      end;
    [] -> throw({usage, ["no command ", Name, nearest(Name, [N || {N, _, _, _} <- commands()])]})
  end.

%% What is given without an option's name is often what is missing. Other commands have words of their own.
instead(Command, "topic", [Word | _]) when Command =:= "produce"; Command =:= "consume"; Command =:= "offsets" ->
  [", did you mean brod ", Command, " --topic ", Word, "?"];
instead(Command, _Option, _Words) ->
  [", see brod help ", Command].

-spec commands() -> [{string(), string(), spec(), fun((map(), [string()]) -> ok | {error, term()})}].
commands() -> brod_cli_commands:all().

%% Arguments

%% @private Options and words among arguments.
-spec parse([string()], spec()) -> {Options :: map(), Words :: [string()]}.
parse(Args, Spec) -> parse(Args, Spec, #{}, []).

parse([], _Spec, Options, Words) -> {Options, lists:reverse(Words)};
parse(["--" | Rest], _Spec, Options, Words) -> {Options, lists:reverse(Words) ++ Rest};
parse(["--" ++ Text | Rest], Spec, Options, Words) ->
  {Name, Given} = case string:split(Text, "=") of
                    [N, V] -> {N, {value, V}};
                    [N] -> {N, none}
                  end,
  case lists:keyfind(Name, 1, Spec) of
    {_, flag, _} when Given =:= none -> parse(Rest, Spec, Options#{Name => true}, Words);
    {_, flag, _} -> throw({usage, ["--", Name, " takes no value"]});
    {_, Type, _} ->
      {Value, Left} = case {Given, Rest} of
                        {{value, Value0}, _} -> {Value0, Rest};
                        {none, [Value0 | More]} -> {Value0, More};
                        {none, []} -> throw({usage, ["--", Name, " wants a value"]})
                      end,
      parse(Left, Spec, put(Name, Type, Value, Options), Words);
    false ->
      throw({usage, ["no option --", Name, nearest(Name, [Known || {Known, _, _} <- Spec])]})
  end;
parse(["-" ++ [Letter] | Rest], Spec, Options, Words) ->
  case lists:keyfind(Letter, 1, [{$b, "brokers"}, {$t, "topic"}, {$p, "partition"}, {$g, "group"}, {$n, "count"},
                                 {$f, "follow"}, {$c, "config"}, {$K, "key-delimiter"}]) of
    {_, Name} -> parse(["--" ++ Name | Rest], Spec, Options, Words);
    false -> throw({usage, ["no option -", Letter]})
  end;
parse([Word | Rest], Spec, Options, Words) -> parse(Rest, Spec, Options, [Word | Words]).

put(Name, string, Value, Options) -> Options#{Name => Value};
put(Name, many, Value, Options) -> maps:update_with(Name, fun(L) -> L ++ [Value] end, [Value], Options);
put(Name, Type, Value, Options) ->
  try list_to_integer(Value) of
    Number when Number < 0, Type =:= natural -> throw({usage, ["--", Name, " wants a number from 0 on, not ", Value]});
    Number -> Options#{Name => Number}
  catch
    error:badarg -> throw({usage, ["--", Name, " wants a number, not ", Value]})
  end.

nearest(Name, Known) ->
  case lists:min([{distance(Name, Other), Other} || Other <- Known]) of
    {Edits, Other} when Edits =< 2, Edits < length(Name) -> [", did you mean ", Other, "?"];
    _ -> ", see brod help"
  end.

%% How many letters have to be put in, taken out or changed.
distance(A, B) ->
  lists:last(lists:foldl(fun(C, [Corner | Above]) -> [Corner + 1 | distances(C, B, Corner, Above, Corner + 1)] end,
                         lists:seq(0, length(B)), A)).

distances(_C, [], _Corner, [], _Left) -> [];
distances(C, [D | Ds], Corner, [Above | More], Left) ->
  Same = case C of D -> Corner; _ -> Corner + 1 end,
  Edits = lists:min([Same, Above + 1, Left + 1]),
  [Edits | distances(C, Ds, Above, More, Edits)].

%% Help

help([]) ->
  write(["brod COMMAND [OPTIONS]\n\n",
        [io_lib:format("  ~-10s ~ts~n", [Name, Text]) || {Name, Text, _, _} <- commands()],
        "  completion bash | zsh | fish: a script for the shell\n",
        "\nbrod help COMMAND tells the options of a command.\n\nOptions of all commands:\n",
        options(brod_cli_config:options()),
        "\nExit codes: 0 done, 1 failed, 2 not understood.\n"]);
help([Name | _]) ->
  case lists:keyfind(Name, 1, commands()) of
    {_, Text, Spec, _} -> write(["brod ", Name, ": ", Text, "\n\n", options(Spec)]);
    false -> throw({usage, ["no command ", Name, nearest(Name, [N || {N, _, _, _} <- commands()])]})
  end.

options(Spec) ->
  [io_lib:format("  --~-22s ~ts~n", [[Name, placeholder(Type)], Text]) || {Name, Type, Text} <- Spec].

placeholder(flag) -> "";
placeholder(Type) when Type =:= integer; Type =:= natural -> " N";
placeholder(_) -> " X".

completion(Shell) ->
  case brod_cli_completion:script(lists:append(lists:sublist(Shell, 1))) of
    unknown -> throw({usage, "brod completion bash | zsh | fish"});
    Script -> write(Script)
  end.

write(Text) -> brod_cli_output:write(unicode:characters_to_binary(Text)).

%% Whoever has ended it by a signal knows why.
complain(Text) ->
  case init:get_status() of
    {stopping, _} -> ok;
    _ -> io:put_chars(standard_error, ["brod: ", Text, "\n"])
  end.
