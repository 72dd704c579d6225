%% @private Processes that serve all clients. brod_sup has clients for children and nothing else, so these have a
%% supervisor of their own, linked to it.
-module(brod_helpers_sup).
-behaviour(supervisor).

-export([start_link/0]).
-export([init/1]).

%% @doc Start the supervisor.
-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
  case supervisor:start_link(?MODULE, []) of
    {ok, Pid} -> {ok, Pid};
    {error, Reason} -> {error, Reason}
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
