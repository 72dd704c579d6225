%% @private The root supervisor: one child per client, and the owner of the table of engine handles.
-module(brod_sup).
-behaviour(brod_supervisor3).

-export([start_link/0, start_client/3, stop_client/1, find_client/1, clients/0]).
-export([init/1, post_init/1, ends_all/2, told/1]).

-include("brod_int.hrl").

-define(SUP, ?MODULE).
-define(AGAIN_MS, 1000).

%% @doc Start the supervisor and the clients of the application environment (`clients').
-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
  brod_supervisor3:start_link({local, ?SUP}, ?MODULE, clients).

%% @doc Start a client. Exits with a text if there are no endpoints.
-spec start_client([brod:endpoint()], brod:client_id(), brod:client_config()) ->
        ok | {error, term()}.
start_client(Endpoints, ClientId, Config) ->
  ok = tell_if_not_started(ClientId),
  case brod_supervisor3:start_child(?SUP, client_spec(Endpoints, ClientId, Config)) of
    {ok, _Pid} -> ok;
    {error, Reason} -> {error, Reason}
  end.

%% What follows is an exit with noproc, as in brod, which says little. The line has no domain of brod's: nobody would show it.
tell_if_not_started(ClientId) ->
  case whereis(?SUP) of
    undefined ->
      ?LOG_ERROR("Client ~p cannot start, because the application brod is not started: make it one of your application's "
                 "applications, or call application:ensure_all_started(brod)", [ClientId]);
    _ -> ok
  end.

%% @doc Stop a client, also one that waits for its restart.
-spec stop_client(brod:client_id()) -> ok | {error, not_found}.
stop_client(ClientId) ->
  brod_supervisor3:remove_child(?SUP, ClientId).

%% @doc The pid of a client in a list, `[]' if there is none.
-spec find_client(brod:client_id()) -> [pid()].
find_client(ClientId) ->
  brod_supervisor3:find_child(?SUP, ClientId).

%% @doc The names of all clients, also of those that wait for their restart.
-spec clients() -> [brod:client_id()].
clients() ->
  try [Id || {Id, _, _, _} <- brod_supervisor3:which_children(?SUP)]
  catch exit:{_, _} -> []
  end.

%% @private
init(clients) ->
  %% first, for it exits where they are wrong
  Specs = [client_spec(C) || C <- configured()],
  ?BROD_HANDLES = ets:new(?BROD_HANDLES, [named_table, public, set, {read_concurrency, true},
                                          {write_concurrency, true}]),
  ?BROD_JOURNAL = ets:new(?BROD_JOURNAL, [named_table, public, set, {write_concurrency, true}]),
  case brod_helpers_sup:start_link() of
    {ok, Helpers} ->
      _ = put(brod_helpers_sup, Helpers),
      {ok, {{one_for_one, 0, 1}, Specs}};
    {error, Reason} ->
      exit(Reason)
  end.

%% @private A client that could not connect has said so.
ends_all(clients, [{{_Host, _Port}, _Why} | _]) -> told;
ends_all(clients, _Reason) -> false.

%% @private Clients go on without the helpers, but handles would be kept of processes that are gone, and nothing would be told.
told({'EXIT', Pid, Reason}) ->
  case get(brod_helpers_sup) of
    Pid ->
      ?BROD_LOG_ERROR("The processes that serve all clients have ended, and are started again: ~9999p", [Reason]),
      start_helpers();
    _ -> ok
  end;
told(start_helpers) ->
  start_helpers();
told(_Other) ->
  ok.

%% In a node without room for a process, or where they end at once, clients must not end for it.
start_helpers() ->
  try brod_helpers_sup:restart_link() of
    {ok, Pid} -> _ = put(brod_helpers_sup, Pid), ok;
    {error, _} -> start_helpers_later()
  catch
    error:system_limit -> start_helpers_later()
  end.

start_helpers_later() ->
  _ = erlang:send_after(?AGAIN_MS, self(), start_helpers),
  ok.

%% @private
post_init(_) ->
  ignore.

configured() ->
  case brod_option_table:environment(clients) of
    Clients when is_list(Clients) -> Clients;
    %% such as a map, or nil
    Other -> exit({bad_clients, Other})
  end.

client_spec({ClientId, Config}) when is_atom(ClientId) ->
  client_spec(maps:get(endpoints, brod_options:to_map(Config), []), ClientId, Config);
client_spec({ClientId, _Config}) ->
  exit({bad_client_id, ClientId});
client_spec(Other) ->
  exit({bad_client_id, Other}).

client_spec([], ClientId, _Config) ->
  exit(lists:flatten(io_lib:format("No endpoints found in brod client '~p' config", [ClientId])));
client_spec(Endpoints, ClientId, Config) ->
  %% supervisors print child specifications
  Args = [Endpoints, ClientId, brod_options:hide_secrets(without_delay(Config))],
  {ClientId, {brod_client, start_link, Args}, {permanent, restart_delay(Config)}, 5000, worker,
   [brod_client]}.

%% Options that cannot be used are refused by the client, whose error names them.
restart_delay(Config) ->
  case brod_options:client(Config) of
    {ok, #{restart_delay_seconds := Delay}} -> Delay;
    {error, _} -> 0
  end.

without_delay(Config) when is_map(Config) -> maps:remove(restart_delay_seconds, Config);
without_delay(Config) -> proplists:delete(restart_delay_seconds, Config).
