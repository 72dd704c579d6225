#!/usr/bin/env escript
%% -*- erlang -*-
%% Sees that dialyzer finds options that users misspell: each function of test/fixtures/typos.erl has one, and each must
%% have a warning.
%%   check-typos.escript EBIN PLT
-mode(compile).

main([Ebin, Plt]) ->
  Root = filename:join(filename:dirname(escript:script_name()), ".."),
  Source = filename:join([Root, "test", "fixtures", "typos.erl"]),
  %% The modules whose types the calls are held against.
  Used = [filename:join(Ebin, Name ++ ".beam")
          || Name <- ["brod", "brod_client", "brod_producer", "brod_option_types", "brod_topic_subscriber", "brod_group_subscriber_v2",
                      "brod_transaction"]],
  {ok, typos, Beam} = compile:file(Source, [debug_info, binary]),
  Compiled = filename:join(filename:dirname(Plt), "typos.beam"),
  ok = file:write_file(Compiled, Beam),
  Warnings = try dialyzer:run([{files, [Compiled | Used]}, {init_plt, Plt}, {check_plt, false}])
             after file:delete(Compiled)
             end,
  Warned = [line(Location) || {_, {File, Location}, _} <- Warnings, filename:basename(File) =:= "typos.erl"],
  {ok, Forms} = epp:parse_file(Source, []),
  Missed = [Name || {function, Location, Name, _, _} <- Forms, not lists:member(line(Location), Warned)],
  Missed =:= [] orelse io:format("dialyzer does not find what is misspelt in ~p of test/fixtures/typos.erl~n", [Missed]),
  halt(case Missed of [] -> 0; _ -> 1 end).

line({Line, _Column}) -> Line;
line(Line) when is_integer(Line) -> Line.
