%% @private Processes that serve all clients. brod_sup has clients for children and nothing else, so these have a
%% supervisor of their own, linked to it.
-module(brod_helpers_sup).
-behaviour(supervisor).

-export([start_link/0, restart_link/0]).
-export([init/1]).

%% Those of its children that are registered.
-define(NAMED, [brod_kafka_apis, brod_stats_poller]).

%% @doc Start the supervisor.
-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
  case supervisor:start_link(?MODULE, []) of
    {ok, Pid} -> {ok, Pid};
    {error, Reason} -> {error, Reason}
  end.

%% @doc Start the supervisor in place of one that was killed. Its children have not heard of that yet, perhaps, and have their names.
-spec restart_link() -> {ok, pid()} | {error, term()}.
restart_link() ->
  ok = lists:foreach(fun end_left/1, ?NAMED),
  start_link().

end_left(Name) ->
  case whereis(Name) of
    undefined -> ok;
    Left ->
      Ref = monitor(process, Left),
      exit(Left, kill),
      receive {'DOWN', Ref, process, Left, _} -> ok end
  end.

%% @private
init([]) ->
  Child = fun(Module, Restart) ->
            #{id => Module, start => {Module, start_link, []}, restart => Restart}
          end,
  %% Whatever ends them, clients can do without them for a moment.
  {ok, {#{strategy => one_for_one, intensity => 100, period => 10},
        %% `brod_kafka_apis:stop/0' is brod's
        [Child(brod_kafka_apis, transient), Child(brod_engine_log, permanent),
         Child(brod_handles, permanent), Child(brod_stats_poller, permanent)]}}.
