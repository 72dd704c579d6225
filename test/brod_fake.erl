%% Stands in for modules of the application in unit tests: each function is a fun of the test.
-module(brod_fake).
-export([load/2, unload/1]).

%% Replaces `Module' by one with these functions.
load(Module, Funs) ->
  persistent_term:put({?MODULE, Module}, Funs),
  Forms = [{attribute, 1, module, Module},
           {attribute, 1, export, maps:keys(Funs)}
           | [function(Module, Function) || Function <- maps:keys(Funs)]],
  {ok, Module, Binary} = compile:forms(Forms, []),
  _ = code:purge(Module),
  {module, Module} = code:load_binary(Module, "fake", Binary),
  ok.

%% The real module, if there is one, is loaded with the next call to it.
unload(Module) ->
  _ = code:purge(Module),
  _ = code:delete(Module),
  _ = code:purge(Module),
  persistent_term:erase({?MODULE, Module}),
  ok.

%% name(A1, ...) -> apply(maps:get({name, Arity}, persistent_term:get({brod_fake, Module})), [A1, ...]).
function(Module, {Name, Arity}) ->
  Args = [{var, 1, list_to_atom("A" ++ integer_to_list(I))} || I <- lists:seq(1, Arity)],
  Key = erl_parse:abstract({?MODULE, Module}, 1),
  Funs = call(persistent_term, get, [Key]),
  Fun = call(maps, get, [erl_parse:abstract({Name, Arity}, 1), Funs]),
  ArgList = lists:foldr(fun(Arg, Acc) -> {cons, 1, Arg, Acc} end, {nil, 1}, Args),
  {function, 1, Name, Arity, [{clause, 1, Args, [], [call(erlang, apply, [Fun, ArgList])]}]}.

call(Module, Function, Args) ->
  {call, 1, {remote, 1, {atom, 1, Module}, {atom, 1, Function}}, Args}.
