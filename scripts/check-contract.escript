#!/usr/bin/env escript
%% Compares brod with scripts/contract-exports.txt, which says what brod 4 has and what is left out for a reason: fails
%% where something is missing that has no reason there, and where something is there that has one.
%%   check-contract.escript EBIN INCLUDE
-mode(compile).

main([Ebin, Include]) ->
  true = code:add_patha(Ebin),
  List = filename:join(filename:dirname(escript:script_name()), "contract-exports.txt"),
  {ok, Text} = file:read_file(List),
  Entries = [entry(Line) || <<C, _/binary>> = Line <- binary:split(Text, <<"\n">>, [global]), C =/= $#],
  Files = maps:from_list([{File, header(Include, File)} || File <- ["brod.hrl", "brod_int.hrl"]]),
  Wrong = [Line || {What, Why} <- Entries, Line <- check(What, is_there(What, Ebin, Files), Why)],
  [io:format("~ts~n", [Line]) || Line <- Wrong],
  io:format("contract: ~b exports, types, callbacks, behaviours, records and options, ~b wrong~n",
            [length(Entries), length(Wrong)]),
  halt(min(length(Wrong), 1));
main(_) ->
  io:format("usage: check-contract.escript EBIN INCLUDE~n"),
  halt(2).

entry(Line) ->
  {What, Why} = case binary:split(Line, <<" -- ">>) of
                  [W] -> {W, none};
                  [W, Reason] -> {W, Reason}
                end,
  {string:lexemes(binary_to_list(What), " "), Why}.

check(What, IsThere, Why) ->
  Text = lists:join(" ", What),
  case {IsThere, Why} of
    {true, none} -> [];
    {false, none} -> [["of brod 4 is missing, or is another: ", Text]];
    {true, _} -> [["is there: take its reason out of contract-exports.txt: ", Text]];
    {false, _} -> []
  end.

is_there(["type", Module, Type], Ebin, _) ->
  lists:member(name(Type), attributes(export_type, Module, Ebin));
is_there(["callback", Module, Name, Kind], Ebin, _) ->
  Optional = lists:append([Names || {optional_callbacks, Names} <- code_attributes(Module, Ebin)]),
  lists:member(name(Name), callbacks(Module, Ebin)) andalso
    (Kind =:= "optional") =:= lists:member(name(Name), Optional);
is_there(["behaviour", Module, Behaviour], Ebin, _) ->
  lists:member(list_to_atom(Behaviour), lists:append([Names || {behaviour, Names} <- code_attributes(Module, Ebin)]));
is_there(["record", File, Name, Fields], _, Files) ->
  {Records, _} = maps:get(File, Files),
  maps:get(list_to_atom(Name), Records, none) =:= [list_to_atom(F) || F <- string:lexemes(Fields, ",")];
is_there(["macro", File, Name], _, Files) ->
  {_, Macros} = maps:get(File, Files),
  lists:member(Name, Macros);
is_there(["option", Kind, Name], _, _) ->
  lists:member(list_to_atom(Name), known(Kind));
is_there(["option", Kind, Name, Default], _, _) ->
  {ok, Tokens, _} = erl_scan:string(Default ++ "."),
  {ok, Term} = erl_parse:parse_term(Tokens),
  maps:find(list_to_atom(Name), defaults(Kind)) =:= {ok, Term};
is_there([Module, Function], Ebin, _) ->
  Exports = case beam_lib:chunks(beam(Module, Ebin), [exports]) of
              {ok, {_, [{exports, Found}]}} -> Found;
              {error, beam_lib, _NoFile} -> []
            end,
  lists:member(name(Function), Exports ++ callbacks(Module, Ebin)).

name(Text) ->
  [Name, Arity] = string:lexemes(Text, "/"),
  {list_to_atom(Name), list_to_integer(Arity)}.

beam(Module, Ebin) -> filename:join(Ebin, Module ++ ".beam").

attributes(Attribute, Module, Ebin) ->
  case beam_lib:chunks(beam(Module, Ebin), [abstract_code]) of
    {ok, {_, [{abstract_code, {_, Forms}}]}} ->
      lists:append([Value || {attribute, _, A, Value} <- Forms, A =:= Attribute]);
    {error, beam_lib, _NoFile} -> []
  end.

code_attributes(Module, Ebin) ->
  case beam_lib:chunks(beam(Module, Ebin), [attributes]) of
    {ok, {_, [{attributes, Attributes}]}} -> Attributes ++ [{optional_callbacks, optional(Module, Ebin)}];
    {error, beam_lib, _NoFile} -> []
  end.

optional(Module, Ebin) -> attributes(optional_callbacks, Module, Ebin).

callbacks(Module, Ebin) ->
  case beam_lib:chunks(beam(Module, Ebin), [abstract_code]) of
    {ok, {_, [{abstract_code, {_, Forms}}]}} -> [Name || {attribute, _, callback, {Name, _}} <- Forms];
    {error, beam_lib, _NoFile} -> []
  end.

%% The records and macros that a header itself defines.
header(Include, File) ->
  Path = filename:join(Include, File),
  {ok, Forms} = epp:parse_file(Path, [{includes, [Include]}]),
  Records = maps:from_list([{Name, [field(F) || F <- Fields]} || {attribute, _, record, {Name, Fields}} <- Forms]),
  {ok, Text} = file:read_file(Path),
  Macros = case re:run(Text, "^-define\\(\\s*([A-Za-z_0-9]+)", [global, multiline, {capture, [1], list}]) of
             {match, Found} -> lists:append(Found);
             nomatch -> []
           end,
  {Records, Macros}.

field({typed_record_field, Field, _}) -> field(Field);
field({record_field, _, {atom, _, Name}}) -> Name;
field({record_field, _, {atom, _, Name}, _}) -> Name.

known("group") -> maps:keys(defaults("group"));
known(Kind) -> brod_options:known(list_to_atom(Kind)).

defaults("client") -> ok(brod_options:client([]));
defaults("producer") -> ok(brod_options:producer([]));
defaults("consumer") -> ok(brod_consumer_options:new([]));
defaults("group") -> ok(brod_group_options:new([])).

ok({ok, Map}) -> Map.
