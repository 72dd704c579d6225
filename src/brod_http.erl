%% @private A very small HTTP server for {@link brod_prometheus} and {@link brod_dashboard}: GET, one answer a
%% connection, a bounded head. Not for the open network.
-module(brod_http).

-export([start/2, stop/1]).

-export_type([handler/0]).

%% A path without its query; the answer's status, content type and body.
-type handler() :: fun((Path :: string()) -> {200..599, ContentType :: string(), iodata()} | not_found).

-define(LIMIT_MS, 5000).
-define(MAX_HEADERS, 100).

%% @doc Start a server: `port' (0: any free one), `ip' (loopback). The answer has the port.
-spec start(#{port => inet:port_number(), ip => inet:ip_address()}, handler()) ->
        {ok, pid(), inet:port_number()} | {error, term()}.
start(Options, Handler) ->
  Ip = maps:get(ip, Options, {127, 0, 0, 1}),
  Family = case tuple_size(Ip) of 8 -> [inet6]; 4 -> [] end,
  Local = is_loopback(Ip),
  Caller = self(),
  {Pid, Monitor} =
    spawn_monitor(fun() ->
      Listen = [binary, {ip, Ip}, {active, false}, {packet, http}, {reuseaddr, true}, {backlog, 64} | Family],
      case gen_tcp:listen(maps:get(port, Options, 0), Listen) of
        {ok, Socket} ->
          {ok, Port} = inet:port(Socket),
          Caller ! {self(), {ok, Port}},
          accept(Socket, {Handler, Local});
        {error, Reason} ->
          Caller ! {self(), {error, Reason}}
      end
    end),
  receive
    {Pid, {ok, Port}} -> demonitor(Monitor, [flush]), {ok, Pid, Port};
    {Pid, {error, Reason}} -> demonitor(Monitor, [flush]), {error, Reason};
    {'DOWN', Monitor, process, Pid, Reason} -> {error, Reason}
  end.

%% @doc Stop a server.
-spec stop(pid()) -> ok.
stop(Pid) ->
  Monitor = monitor(process, Pid),
  exit(Pid, kill),
  receive {'DOWN', Monitor, process, Pid, _} -> ok end.

is_loopback({127, _, _, _}) -> true;
is_loopback({0, 0, 0, 0, 0, 0, 0, 1}) -> true;
is_loopback(_) -> false.

accept(Listen, Serve) ->
  case gen_tcp:accept(Listen) of
    {ok, Socket} ->
      case brod_spawn:start(fun() -> receive go -> serve(Socket, Serve) after ?LIMIT_MS -> ok end end) of
        {ok, Pid} ->
          _ = gen_tcp:controlling_process(Socket, Pid),
          Pid ! go;
        {error, system_limit} ->
          gen_tcp:close(Socket)
      end,
      accept(Listen, Serve);
    {error, closed} -> ok;
    {error, _} -> timer:sleep(100), accept(Listen, Serve)
  end.

serve(Socket, {Handler, Local}) ->
  Answer = case gen_tcp:recv(Socket, 0, ?LIMIT_MS) of
             {ok, {http_request, Method, {abs_path, Path}, _}} ->
               case headers(Socket, ?MAX_HEADERS, undefined) of
                 {ok, Host} -> answer(Method, Path, Handler, not Local orelse is_local_name(Host));
                 error -> {400, "text/plain", "bad request\n"}
               end;
             {ok, _} -> {400, "text/plain", "bad request\n"};
             {error, _} -> nothing
           end,
  ok = send(Socket, Answer),
  gen_tcp:close(Socket).

answer(_Method, _Path, _Handler, false) -> {403, "text/plain", "not by this name\n"};
answer('GET', Path, Handler, true) ->
  try Handler(hd(string:split(Path, "?"))) of
    not_found -> {404, "text/plain", "not found\n"};
    Answer -> Answer
  catch
    _:_ -> {500, "text/plain", "failed\n"}
  end;
answer(_Method, _Path, _Handler, true) -> {405, "text/plain", "GET only\n"}.

headers(_Socket, 0, _Host) -> error;
headers(Socket, Left, Host) ->
  case gen_tcp:recv(Socket, 0, ?LIMIT_MS) of
    {ok, {http_header, _, 'Host', _, Value}} -> headers(Socket, Left - 1, Value);
    {ok, {http_header, _, _, _, _}} -> headers(Socket, Left - 1, Host);
    {ok, http_eoh} -> {ok, Host};
    _ -> error
  end.

%% A page of another site must not read this one by a name of its own that leads here.
is_local_name(undefined) -> true;
is_local_name("[::1]" ++ _) -> true;
is_local_name(Host) -> lists:member(hd(string:split(Host, ":")), ["localhost", "127.0.0.1"]).

send(_Socket, nothing) -> ok;
send(Socket, {Status, Type, Body}) ->
  _ = inet:setopts(Socket, [{send_timeout, ?LIMIT_MS}, {packet, raw}]),
  _ = gen_tcp:send(Socket, ["HTTP/1.1 ", integer_to_list(Status), " ", reason(Status), "\r\ncontent-type: ", Type,
                            "\r\ncontent-length: ", integer_to_list(iolist_size(Body)),
                            "\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\nconnection: close\r\n\r\n", Body]),
  ok.

reason(200) -> "OK";
reason(404) -> "Not Found";
reason(_) -> "Error".
