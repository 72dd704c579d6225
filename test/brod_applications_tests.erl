%% A release has the applications that brod's .app names, and no others on account of brod.
-module(brod_applications_tests).

-include_lib("eunit/include/eunit.hrl").

%% Called only where it is there.
-define(OPTIONAL, [telemetry]).
%% The command that makes Kafka's users derives keys from passwords.
-define(EXCEPT, [{brod_cli_users, crypto}]).

what_is_called_is_in_the_applications_that_are_named_test() ->
  _ = application:load(brod),
  {ok, All} = application:get_key(brod, modules),
  %% Those in Elixir are for projects that have it.
  Own = [Module || Module <- All, not lists:prefix("Elixir.", atom_to_list(Module))],
  {ok, Named} = application:get_key(brod, applications),
  There = lists:append([Own, ?OPTIONAL | [modules(App) || App <- Named]]),
  Called = [{Module, Other} || Module <- Own, Other <- called(Module), not lists:member(Other, There),
                               code:which(Other) =/= preloaded],
  ?assertEqual(?EXCEPT, Called).

%% Without it a release whose appup says `{update, Module, {advanced, _}}' cannot be installed.
processes_are_upgraded_by_releases_test() ->
  _ = application:load(brod),
  Servers = [Module || Module <- modules(brod), Module =/= brod_mock, lists:member(gen_server, behaviours(Module))],
  ?assertEqual([], [Module || Module <- Servers, not erlang:function_exported(Module, code_change, 3)]).

behaviours(Module) ->
  lists:append([List || {behaviour, List} <- Module:module_info(attributes)]).

modules(App) ->
  {ok, Modules} = application:get_key(App, modules),
  Modules.

called(Module) ->
  {ok, {Module, [{imports, Imports}]}} = beam_lib:chunks(code:which(Module), [imports]),
  lists:usort([Other || {Other, _, _} <- Imports]).
