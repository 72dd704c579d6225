%% @private Which engine handle stands behind a pid: rows `{Pid, Kind, Handle}' in a public table that
%% brod_sup owns. A row goes with its process, however that ends.
-module(brod_handles).
-behaviour(gen_server).

-export([start_link/0, put/2, take_back/0, lookup/2, all/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, code_change/3, format_status/1]).

-include("brod_int.hrl").

-type kind() :: client | consumer | connection | transaction | group_member.

%% @doc Start the process that watches the others.
-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
  gen_server:start_link(?MODULE, [], []).

%% @doc Enter the calling process. Without the application there is no table, and nothing is entered.
-spec put(kind(), Handle :: term()) -> ok.
put(Kind, Handle) ->
  try
    true = ets:insert(?BROD_HANDLES, {self(), Kind, Handle}),
    gen_server:cast(ets:lookup_element(?BROD_HANDLES, watcher, 2), {watch, self()})
  catch
    error:badarg -> ok
  end.

%% @doc Take out the calling process.
-spec take_back() -> ok.
take_back() -> forget(self()).

%% @doc The handle of a process, `false' if it has none of this kind.
-spec lookup(kind(), pid()) -> {ok, term()} | false.
lookup(Kind, Pid) ->
  try ets:lookup(?BROD_HANDLES, Pid) of
    [{_, Kind, Handle}] -> {ok, Handle};
    _ -> false
  catch
    error:badarg -> false
  end.

%% @doc All handles of a kind that fit a pattern, as of `ets:match_object/2'.
-spec all(kind(), Pattern :: term()) -> [Handle :: term()].
all(Kind, Pattern) ->
  try [Handle || {_, _, Handle} <- ets:match_object(?BROD_HANDLES, {'_', Kind, Pattern})]
  catch
    error:badarg -> []
  end.

init([]) ->
  %% In this order: who enters meanwhile either is among those that are known or finds this process.
  true = ets:insert(?BROD_HANDLES, {watcher, self()}),
  Known = ets:select(?BROD_HANDLES, [{{'$1', '_', '_'}, [{is_pid, '$1'}], ['$1']}]),
  {ok, lists:foldl(fun watch/2, #{}, Known)}.

handle_call(Call, _From, Watched) ->
  {reply, {error, {unknown_call, Call}}, Watched}.

handle_cast({watch, Pid}, Watched) -> {noreply, watch(Pid, Watched)};
handle_cast(_Cast, Watched) -> {noreply, Watched}.

handle_info({'DOWN', _, process, Pid, _}, Watched) ->
  ok = forget(Pid),
  {noreply, maps:remove(Pid, Watched)};
handle_info(_Info, Watched) ->
  {noreply, Watched}.

code_change(_OldVsn, State, _Extra) ->
  {ok, State}.

format_status(#{state := Watched} = Status) -> Status#{state := #{processes => map_size(Watched)}};
format_status(Status) -> Status.

%% The table goes with brod_sup, which clients may outlive by a moment when the application is stopped.
forget(Pid) ->
  try ets:delete(?BROD_HANDLES, Pid) of true -> ok
  catch error:badarg -> ok
  end.

watch(Pid, Watched) when is_map_key(Pid, Watched) -> Watched;
watch(Pid, Watched) -> Watched#{Pid => monitor(process, Pid)}.
