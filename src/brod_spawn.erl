%% @private Processes for work that others wait for, in a node that may have as many as it may have. Who serves many must not end for one
%% that cannot be served.
-module(brod_spawn).

-export([start/1, start/2]).

%% @equiv start(Fun, [])
-spec start(fun(() -> term())) -> {ok, pid()} | {error, system_limit}.
start(Fun) -> start(Fun, []).

%% @doc Start a process, if the node has room for one.
-spec start(fun(() -> term()), [link]) -> {ok, pid()} | {error, system_limit}.
start(Fun, Options) ->
  try {ok, spawn_opt(Fun, Options)}
  catch error:system_limit -> {error, system_limit}
  end.
