#!/usr/bin/env escript
%% -*- erlang -*-
%% Looks whether all links within a site lead somewhere: files are there, and have what stands behind `#'.
%%   check-links.escript DIR
-mode(compile).

main([Dir]) ->
  Pages = maps:from_list([{filename:absname(Page), page(Page)} || Page <- filelib:wildcard(filename:join(Dir, "**/*.html"))]),
  Dead = [{Page, Link} || {Page, {Links, _}} <- maps:to_list(Pages), Link <- Links, not leads(Page, Link, Pages)],
  [io:format("~ts: ~ts leads nowhere~n", [filename:basename(Page), Link]) || {Page, Link} <- lists:sort(Dead)],
  io:format("links: ~b pages, ~b links, ~b dead~n",
            [map_size(Pages), lists:sum([length(Links) || {Links, _} <- maps:values(Pages)]), length(Dead)]),
  halt(case {map_size(Pages), Dead} of {N, []} when N > 0 -> 0; _ -> 1 end).

page(File) ->
  {ok, Html} = file:read_file(File),
  {lists:usort(values("(?:href|src)", Html)), lists:usort(values("(?:id|name)", Html))}.

values(Name, Html) ->
  case re:run(Html, "<[a-z][^>]*?\\s" ++ Name ++ "=\"([^\"]*)\"", [global, {capture, all_but_first, binary}]) of
    {match, Found} -> [plain(Value) || [Value] <- Found];
    nomatch -> []
  end.

plain(Text) ->
  lists:foldl(fun({Entity, Char}, Acc) -> binary:replace(Acc, Entity, Char, [global]) end, Text,
              [{<<"&quot;">>, <<"\"">>}, {<<"&#39;">>, <<"'">>}, {<<"&lt;">>, <<"<">>}, {<<"&gt;">>, <<">">>}, {<<"&amp;">>, <<"&">>}]).

%% Other sites are not asked.
leads(Page, Link, Pages) ->
  case uri_string:parse(Link) of
    #{scheme := _} -> true;
    #{host := _} -> true;
    #{path := Path} = Uri ->
      File = case uri_string:percent_decode(Path) of
               <<>> -> Page;
               Name -> unslashed(filename:absname(unicode:characters_to_list(Name), filename:dirname(Page)))
             end,
      case Uri of
        #{fragment := Id} when Id =/= <<>>, is_map_key(File, Pages) ->
          {_, Ids} = map_get(File, Pages),
          lists:member(uri_string:percent_decode(Id), Ids) orelse lists:member(Id, Ids);
        _ -> filelib:is_regular(File)
      end;
    {error, _, _} -> false
  end.

%% `a/../b' is b.
unslashed(Path) ->
  Parts = lists:foldl(fun("..", [_ | Up]) -> Up; (".", Acc) -> Acc; (Part, Acc) -> [Part | Acc] end, [], filename:split(Path)),
  filename:join(lists:reverse(Parts)).
