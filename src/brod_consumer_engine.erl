%% @private Where a consumer's engine client comes from: its brod client's, or one of its own.
-module(brod_consumer_engine).

-export([open/4, connect_leader/3]).

-export_type([opened/0]).

-include("brod_int.hrl").

-define(CALL_TIMEOUT_MS, 5000).

%% `client_monitor': of the client that it belongs to, if there is one. `own': the engine client when it is
%% this consumer's own, because it was given endpoints or there is another consumer of the partition.
-type opened() :: #{engine := term(), endpoints := [brod:endpoint()], handle := term(),
                    client_monitor := undefined | reference(),
                    own := undefined | brod_engine:context()}.

%% @doc Opens the consumer of a partition for the calling process, and makes it known to its client.
-spec open(brod:client() | brod:bootstrap(), brod:topic(), brod:partition(), brod_consumer_options:options()) ->
        {ok, opened()} | {error, term()}.
open(Client, Topic, Partition, Options) when is_atom(Client); is_pid(Client) ->
  case brod_client:context_here(Client) of
    {ok, #{engine := Engine, endpoints := Endpoints} = Context} ->
      Monitor = monitor(process, Client),
      Opened = case open_handle(Engine, Topic, Partition, Options) of
                 {error, already_open} ->
                   %% The engine's client has one consumer a partition, and the other one goes on.
                   open_own(Endpoints, brod_engine:open_checked(Endpoints, maps:get(options, Context)),
                            Topic, Partition, Options);
                 {ok, Handle} ->
                   {ok, #{engine => Engine, endpoints => Endpoints, handle => Handle, own => undefined}};
                 {error, _} = Error ->
                   Error
               end,
      case Opened of
        {ok, Known} ->
          _ = forget_killed(Context, Topic, Partition),
          ok = brod_client:register_consumer(Client, Topic, Partition),
          {ok, Known#{client_monitor => Monitor}};
        {error, Reason} ->
          true = demonitor(Monitor, [flush]),
          {error, Reason}
      end;
    {error, Reason} ->
      {error, Reason}
  end;
open({Endpoints, ConnConfig}, Topic, Partition, Options) ->
  case open_own(Endpoints, brod_engine:open(Endpoints, ConnConfig), Topic, Partition, Options) of
    {ok, Known} -> {ok, Known#{client_monitor => undefined}};
    {error, Reason} -> {error, Reason}
  end;
open(Endpoints, Topic, Partition, Options) when is_list(Endpoints) ->
  open({Endpoints, []}, Topic, Partition, Options).

open_own(Endpoints, {ok, #{engine := Engine} = Own}, Topic, Partition, Options) ->
  case open_handle(Engine, Topic, Partition, Options) of
    {ok, Handle} ->
      {ok, #{engine => Engine, endpoints => Endpoints, handle => Handle, own => Own}};
    {error, Reason} ->
      _ = brod_engine:close(Own),
      {error, Reason}
  end;
open_own(_Endpoints, {error, Reason}, _Topic, _Partition, _Options) ->
  {error, Reason}.

open_handle(Engine, Topic, Partition, Options) ->
  case brod_nif:consumer_open(Engine, Topic, Partition, Options) of
    {ok, Handle} ->
      %% Without the application there is no table, and acks take the way through the process.
      ok = brod_handles:put(consumer, Handle),
      {ok, Handle};
    {error, Reason} ->
      {error, Reason}
  end.

%% A consumer that was killed has left its handle in the table. Its successor finds it where the
%% client keeps consumers.
forget_killed(#{table := Table}, Topic, Partition) ->
  try
    Former = ets:lookup_element(Table, {consumer, Topic, Partition}, 2),
    is_process_alive(Former) orelse ets:delete(?BROD_HANDLES, Former)
  catch
    error:_ -> true
  end.

%% @doc A connection to the partition's leader, of the engine client that is the consumer's own; linked to the
%% calling process.
-spec connect_leader(undefined | brod_engine:context(), brod:topic(), brod:partition()) ->
        {ok, pid()} | {error, term()}.
connect_leader(undefined, _Topic, _Partition) ->
  {error, client_down};
connect_leader(#{engine := Engine, endpoints := Endpoints} = Own, Topic, Partition) ->
  case brod_engine:failures(brod_engine:call(Engine, {leader, Topic, Partition},
                                             ?CALL_TIMEOUT_MS), Endpoints) of
    {ok, {_NodeId, Host, Port}} ->
      case brod_connection:start_shared(Own, self(), {Host, Port}) of
        {ok, Connection} ->
          link(Connection),
          {ok, Connection};
        {error, _} = Error ->
          Error
      end;
    {error, _} = Error ->
      Error
  end.
