%% A network between clients and one broker that can be damaged: each connection to a port is carried to the broker, byte by
%% byte. Requests and answers fare each for themselves:
%%   pass     as they come
%%   hold     the bytes wait, and arrive when the damage is over, as after a cut that TCP outlives, also those of a
%%            client that has hung up meanwhile
%%   swallow  the bytes are gone; the connection stays, and nothing comes through it any more in that direction
%% A cut ends all connections, and those that are made meanwhile.
-module(chaos_proxy).

-export([start/2, set/2, cut/1, heal/1]).

-define(REQUESTS, 1).
-define(ANSWERS, 2).
-define(IS_CUT, 3).
-define(POLL_MS, 20).

-type mode() :: pass | hold | swallow.
-opaque proxy() :: {pid(), atomics:atomics_ref()}.
-export_type([proxy/0]).

%% @doc Listens on a port of loopback, for a broker on another one.
-spec start(inet:port_number(), inet:port_number()) -> proxy().
start(Port, Broker) ->
  State = atomics:new(3, []),
  {ok, Listener} = gen_tcp:listen(Port, [binary, {active, false}, {reuseaddr, true}, {ip, {127, 0, 0, 1}}, {backlog, 128},
                                         {nodelay, true}, {exit_on_close, false}]),
  Pid = spawn_link(fun() -> receive go -> accept(Listener, Broker, State, #{}) end end),
  ok = gen_tcp:controlling_process(Listener, Pid),
  Pid ! go,
  {Pid, State}.

%% @doc How requests and answers fare from now on.
-spec set(proxy(), #{requests | answers => mode()}) -> ok.
set({_Pid, State}, Modes) ->
  maps:foreach(fun(Direction, Mode) -> atomics:put(State, index(Direction), number(Mode)) end, Modes).

%% @doc Ends all connections.
-spec cut(proxy()) -> ok.
cut({Pid, State}) ->
  ok = atomics:put(State, ?IS_CUT, 1),
  Pid ! cut,
  ok.

-spec heal(proxy()) -> ok.
heal({_Pid, State} = Proxy) ->
  ok = atomics:put(State, ?IS_CUT, 0),
  set(Proxy, #{requests => pass, answers => pass}).

index(requests) -> ?REQUESTS;
index(answers) -> ?ANSWERS.

number(pass) -> 0;
number(hold) -> 1;
number(swallow) -> 2.

accept(Listener, Broker, State, Connections0) ->
  Connections = receive
                  cut -> [exit(Pid, kill) || Pid <- maps:keys(Connections0)], #{};
                  {'DOWN', _, process, Pid, _} -> maps:remove(Pid, Connections0)
                after 0 -> Connections0
                end,
  case gen_tcp:accept(Listener, ?POLL_MS) of
    {ok, Client} ->
      case atomics:get(State, ?IS_CUT) of
        1 -> ok = gen_tcp:close(Client), accept(Listener, Broker, State, Connections);
        0 -> accept(Listener, Broker, State, Connections#{carried(Client, Broker, State) => true})
      end;
    {error, timeout} -> accept(Listener, Broker, State, Connections)
  end.

%% A process owns both ends of a connection, so that they end with it; one more carries each direction.
carried(Client, Broker, State) ->
  {Pid, _} = spawn_monitor(fun() -> receive go -> connection(Client, Broker, State) end end),
  _ = gen_tcp:controlling_process(Client, Pid),
  Pid ! go,
  Pid.

connection(Client, Port, State) ->
  case gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}, {nodelay, true}, {exit_on_close, false}], 5000) of
    {ok, Broker} ->
      Pumps = [spawn_link(fun() -> pump(From, To, State, Index) end)
               || {From, To, Index} <- [{Client, Broker, ?REQUESTS}, {Broker, Client, ?ANSWERS}]],
      process_flag(trap_exit, true),
      [receive {'EXIT', Pump, _} -> ok end || Pump <- Pumps],
      _ = gen_tcp:close(Broker),
      gen_tcp:close(Client);
    {error, _} ->
      gen_tcp:close(Client)
  end.

pump(From, To, State, Index) ->
  case gen_tcp:recv(From, 0) of
    {ok, Bytes} ->
      case mode(State, Index) of
        swallow -> swallow(From);
        pass ->
          case gen_tcp:send(To, Bytes) of
            ok -> pump(From, To, State, Index);
            {error, _} -> gen_tcp:shutdown(From, read_write)
          end
      end;
    {error, _} ->
      _ = mode(State, Index),
      gen_tcp:shutdown(To, write)
  end.

%% What comes later would make no sense to the receiver.
swallow(From) ->
  case gen_tcp:recv(From, 0) of
    {ok, _} -> swallow(From);
    {error, _} -> ok
  end.

%% Waits while bytes are held.
mode(State, Index) ->
  case atomics:get(State, Index) of
    0 -> pass;
    1 -> receive after ?POLL_MS -> mode(State, Index) end;
    2 -> swallow
  end.
