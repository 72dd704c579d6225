#!/usr/bin/env escript
%% Fails where a function or callback of brod 4 is missing that scripts/contract-exports.txt does not excuse, and where
%% one is there that it does.
%%   check-contract.escript EBIN
main([Ebin]) ->
  true = code:add_patha(Ebin),
  List = filename:join(filename:dirname(escript:script_name()), "contract-exports.txt"),
  {ok, Text} = file:read_file(List),
  Entries = [entry(Line) || <<C, _/binary>> = Line <- binary:split(Text, <<"\n">>, [global]), C =/= $#],
  Modules = lists:usort([Module || {Module, _, _} <- Entries]),
  There = maps:from_list([{Module, there(Ebin, Module)} || Module <- Modules]),
  Wrong = lists:append([check(Entry, There) || Entry <- Entries]),
  [io:format("~ts~n", [Line]) || Line <- Wrong],
  io:format("contract: ~b functions and callbacks of ~b modules, ~b wrong~n",
            [length(Entries), length(Modules), length(Wrong)]),
  halt(min(length(Wrong), 1));
main(_) ->
  io:format("usage: check-contract.escript EBIN~n"),
  halt(2).

entry(Line) ->
  {What, Why} = case binary:split(Line, <<" -- ">>) of
                  [W] -> {W, none};
                  [W, Reason] -> {W, Reason}
                end,
  [Module, Function, Arity] = binary:split(What, [<<" ">>, <<"/">>], [global]),
  {binary_to_atom(Module), {binary_to_atom(Function), binary_to_integer(Arity)}, Why}.

there(Ebin, Module) ->
  case beam_lib:chunks(filename:join(Ebin, atom_to_list(Module) ++ ".beam"), [exports]) of
    {ok, {Module, [{exports, Exports}]}} ->
      case lists:member({behaviour_info, 1}, Exports) of
        true -> Exports ++ Module:behaviour_info(callbacks);
        false -> Exports
      end;
    {error, beam_lib, _NoFile} ->
      []
  end.

check({Module, {Name, Arity} = Function, Why}, There) ->
  case {lists:member(Function, maps:get(Module, There)), Why} of
    {false, none} -> [io_lib:format("~s:~s/~b of brod 4 is missing", [Module, Name, Arity])];
    {true, Reason} when is_binary(Reason) ->
      [io_lib:format("~s:~s/~b is there: take its excuse out of contract-exports.txt", [Module, Name, Arity])];
    _ -> []
  end.
