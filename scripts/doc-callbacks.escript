#!/usr/bin/env escript
%% Adds to documentation chunks (EEP-48) what edoc leaves out: the callbacks of behaviours, each with the
%% comment before it. `b brod_topic_subscriber.init` in iex and `hcb(brod_topic_subscriber, init)` in erl show them.
%%   doc-callbacks.escript CHUNKS_DIR SOURCE...
main([Dir | Sources]) -> lists:foreach(fun(Source) -> add(Dir, Source) end, Sources).

add(Dir, Source) ->
  Chunk = filename:join(Dir, filename:basename(Source, ".erl") ++ ".chunk"),
  case {callbacks(Source), file:read_file(Chunk)} of
    {[_ | _] = Callbacks, {ok, Bytes}} ->
      Docs = binary_to_term(Bytes),
      Others = [Doc || Doc <- element(7, Docs), element(1, element(1, Doc)) =/= callback],
      ok = file:write_file(Chunk, term_to_binary(setelement(7, Docs, Others ++ Callbacks), [compressed]));
    _ ->
      ok
  end.

callbacks(Source) ->
  {ok, Forms} = epp:parse_file(Source, [{includes, ["include"]}]),
  Comments = [{Line + length(Text), Text} || {Line, _, _, Text} <- erl_comment_scan:file(Source)],
  [callback(Form, Comments) || {attribute, _, callback, _} = Form <- Forms].

callback({attribute, Anno, callback, {{Name, Arity}, _}} = Form, Comments) ->
  Doc = case lists:keyfind(erl_anno:line(Anno), 1, Comments) of
          {_, Text} -> #{<<"en">> => [{p, [], words(Text)}]};
          false -> none
        end,
  Signature = unicode:characters_to_binary(io_lib:format("~ts/~b", [Name, Arity])),
  {{callback, Name, Arity}, Anno, [Signature], Doc, #{signature => [Form]}}.

%% What edoc marks as code stands between ` and '.
words(Lines) ->
  Text = lists:join($\s, [string:trim(Line, leading, "% ") || Line <- Lines]),
  marked(re:split(Text, "`([^']*)'", [unicode])).

marked([Plain]) -> [Plain];
marked([Plain, Code | Rest]) -> [Plain, {code, [], [Code]} | marked(Rest)].
