%% @private Answers the engine's questions about SASL: user and password, tokens, credentials, and runs the
%% authentication of plugins. One process a client that has the option `sasl'; it goes when the
%% client's owner goes, but for members of groups, which outlive their client (ADR 16): a connection
%% that is made to commit and to leave asks, too.
%%
%% Funs and modules of the user run in a process of their own, for a limited time: what they do does
%% not stop anybody. Their results go to the engine and are kept nowhere; of their failures only the
%% kind is told, since the details may hold what is secret.
-module(brod_sasl_provider).
-behaviour(gen_server).

-export([start/1, stop/1, hold/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3, format_status/1]).

-export_type([question/0]).

-define(UNKNOWN_LIFETIME_MS, 300000).
%% The longest time that those who hold a provider keep it after its client: a member may have a client anew, and go on.
-define(HELD_MS, 60000).

-type question() :: login | token | credentials | assertion
                  | {auth, #{ host := binary()
                            , port := inet:port_number()
                            , handshake_version := integer()
                            , client_id := binary()
                            }}.

%% @doc Start a provider for the calling process, by its checked options. `undefined' if they have
%% no `sasl'.
-spec start(map()) -> undefined | pid().
start(#{sasl := #{} = Sasl} = Options) ->
  {ok, Pid} = gen_server:start(?MODULE, {self(), Sasl, maps:get(connect_timeout, Options)}, []),
  Pid;
start(_Options) ->
  undefined.

%% @doc Stop a provider.
-spec stop(undefined | pid()) -> ok.
stop(undefined) -> ok;
stop(Pid) -> gen_server:cast(Pid, stop).

%% @doc Keep a provider for as long as the calling process lives, and at least as long as its client does.
-spec hold(undefined | pid()) -> ok.
hold(undefined) -> ok;
hold(Pid) -> gen_server:cast(Pid, {hold, self()}).

init({Owner, Sasl, TimeoutMs}) ->
  process_flag(trap_exit, true),
  {ok, #{owner => monitor(process, Owner), holders => #{}, sasl => Sasl, timeout => TimeoutMs}}.

handle_call(Call, _From, State) ->
  {reply, {error, {unknown_call, Call}}, State}.

handle_cast(stop, State) ->
  orphaned(State);
handle_cast({hold, Pid}, #{holders := Holders} = State) ->
  {noreply, State#{holders := Holders#{monitor(process, Pid) => Pid}}};
handle_cast(_Cast, State) ->
  {noreply, State}.

%% The engine waits no longer than the limit, so nobody else need.
handle_info({brod_sasl, Ask, Question, LimitMs}, #{sasl := Sasl, timeout := TimeoutMs} = State) ->
  _ = case brod_spawn:start(fun() -> give(Ask, answer(Question, Sasl, TimeoutMs, Ask)) end, [link]) of
        {ok, Pid} -> erlang:send_after(LimitMs, self(), {too_long, Pid});
        {error, system_limit} -> give(Ask, {error, <<"the VM has as many processes as it may have (+P)">>})
      end,
  {noreply, State};
handle_info({too_long, Pid}, State) ->
  exit(Pid, kill),
  {noreply, State};
handle_info({'DOWN', MRef, process, _, _}, #{owner := MRef} = State) ->
  orphaned(State);
handle_info({'DOWN', MRef, process, _, _}, #{owner := Owner, holders := Holders} = State) ->
  Left = State#{holders := maps:remove(MRef, Holders)},
  case Owner of
    gone -> orphaned(Left);
    _ -> {noreply, Left}
  end;
handle_info(held_for_long, State) ->
  {stop, shutdown, State};
handle_info(_Info, State) ->
  {noreply, State}.

terminate(_Reason, _State) ->
  ok.

orphaned(#{holders := Holders} = State) when map_size(Holders) =:= 0 ->
  {stop, shutdown, State};
orphaned(#{owner := gone} = State) ->
  {noreply, State};
orphaned(State) ->
  _ = erlang:send_after(?HELD_MS, self(), held_for_long),
  {noreply, State#{owner := gone}}.

code_change(_OldVsn, State, _Extra) ->
  {ok, State}.

%% @private What is secret, and the funs that give it, are not shown.
format_status(Status) ->
  brod_crash:status(Status, fun(#{sasl := #{mechanism := Mechanism}}) -> #{mechanism => Mechanism} end).

%% An answer that the engine refuses counts as none. The error would carry it into a report.
give(Ask, Answer) ->
  try brod_nif:sasl_answer(Ask, Answer)
  catch error:badarg -> ok
  end.

%% Runs in a process of its own.
answer(Question, Sasl, TimeoutMs, Ask) ->
  try answer_to(Question, Sasl, TimeoutMs, Ask)
  catch
    throw:{unfit, What} -> {error, What};
    Class:Reason:Stack -> {error, failed(Class, Reason, Stack)}
  end.

answer_to(login, #{user := User, password := Password}, _TimeoutMs, _Ask) ->
  {ok, {User, text(password, value(Password))}};
answer_to(token, #{token := Fun}, _TimeoutMs, _Ask) ->
  token(Fun());
answer_to(credentials, #{credentials := Fun}, _TimeoutMs, _Ask) ->
  credentials(Fun());
answer_to(assertion, #{client_credentials := #{client_assertion := Assertion}}, _TimeoutMs, _Ask) ->
  {ok, text(assertion, value(Assertion))};
answer_to({auth, Peer}, #{module := Module, options := Options}, TimeoutMs, Ask) ->
  plugin(Peer, Module, Options(), TimeoutMs, Ask).

%% brod wraps what may be a fun already.
value(Fun) when is_function(Fun, 0) -> value(Fun());
value(Value) -> Value.

text(What, Text) when is_list(Text); is_binary(Text) ->
  try unicode:characters_to_binary(Text) of
    Binary when is_binary(Binary) -> Binary;
    _ -> unfit(What, "is no text")
  catch error:badarg -> unfit(What, "is no text")
  end;
text(What, _) ->
  unfit(What, "is no text").

token({ok, Token}) -> token(Token);
token({ok, Token, ExpiresAtMs}) -> token(#{token => Token, expires_at_ms => ExpiresAtMs});
token({error, Reason}) -> unfit(token, refused(Reason));
token(#{token := Token} = Map) ->
  Extensions = maps:to_list(brod_options:to_map(maps:get(extensions, Map, #{}))),
  {ok, { text(token, Token)
       , token_lifetime(Map)
       , [{text(extension, name(K)), text(extension, V)} || {K, V} <- Extensions]
       }};
token(Token) when is_list(Token); is_binary(Token) -> token(#{token => Token});
token(_) -> unfit(token, "has an unknown form").

%% A JSON web token says itself until when it is good. Of others it is not known; a broker refuses them
%% when it is over.
token_lifetime(#{token := Token} = Map) ->
  case lifetime(Map) of
    undefined ->
      case expiry(string:split(Token, ".", all)) of
        undefined -> ?UNKNOWN_LIFETIME_MS;
        At -> lifetime(#{expires_at => At})
      end;
    Ms -> Ms
  end.

expiry([_Header, Claims, _Signature]) ->
  Padded = pad(iolist_to_binary(string:replace(string:replace(Claims, "-", "+", all), "_", "/", all))),
  try re:run(base64:decode(Padded), "\"exp\"\\s*:\\s*([0-9]+)", [{capture, all_but_first, list}]) of
    {match, [At]} -> list_to_integer(At);
    nomatch -> undefined
  catch error:_ -> undefined
  end;
expiry(_) ->
  undefined.

pad(Text) -> <<Text/binary, (binary:copy(<<"=">>, -byte_size(Text) band 3))/binary>>.

%% In ms from now; `undefined': whatever the token says itself.
lifetime(#{lifetime_ms := Ms}) when is_integer(Ms) -> max(0, Ms);
lifetime(#{expires_at_ms := At}) when is_integer(At) ->
  max(0, At - os:system_time(millisecond));
lifetime(#{expires_at := At}) when is_integer(At) ->
  max(0, At * 1000 - os:system_time(millisecond));
lifetime(_) -> undefined.

name(Name) when is_atom(Name) -> atom_to_binary(Name, utf8);
name(Name) -> Name.

credentials({ok, Credentials}) -> credentials(Credentials);
credentials({error, Reason}) -> unfit(credentials, refused(Reason));
credentials(#{access_key_id := Id, secret_access_key := Secret} = Map) ->
  Session = case maps:get(session_token, Map, undefined) of
              undefined -> undefined;
              Token -> text(session_token, Token)
            end,
  {ok, {text(access_key_id, Id), text(secret_access_key, Secret), Session, lifetime(Map)}};
credentials(_) ->
  unfit(credentials, "have an unknown form").

-spec unfit(atom(), iodata()) -> no_return().
unfit(What, Why) ->
  throw({unfit, iolist_to_binary(io_lib:format("the ~s that the fun gave ~s", [What, Why]))}).

refused(Reason) when is_atom(Reason) -> io_lib:format("is an error: ~s", [Reason]);
refused(_) -> "is an error".

%% What failed and where, without what it failed with.
failed(Class, Reason, Stack) ->
  unicode:characters_to_binary(io_lib:format("the fun failed: ~s~ts~ts", [Class, kind(Reason), where(Stack)])).

where([{Module, Function, Args, Place} | Callers]) when is_list(Args) ->
  where([{Module, Function, length(Args), Place} | Callers]);
where([{Module, Function, Arity, Place} | _]) ->
  Line = [[", line ", integer_to_list(N)] || {line, N} <- Place],
  io_lib:format(" in ~ts:~ts/~b~s", [Module, Function, Arity, Line]);
where(_Stack) ->
  "".

kind(Reason) when is_atom(Reason) -> [" ", atom_to_binary(Reason, utf8)];
kind(Reason) when is_tuple(Reason), tuple_size(Reason) > 0 -> kind(element(1, Reason));
kind(_) -> "".

%% Plugins

%% The plugin talks to a socket on loopback, whose other end is the engine's connection. The engine
%% takes the socket whose port it is told here, and no other.
plugin(#{host := Host, port := Port, handshake_version := Version, client_id := ClientId},
       Module, Options, TimeoutMs, Ask) ->
  SockOpts = [binary, {packet, 4}, {active, false}, {nodelay, true}],
  case gen_tcp:connect({127, 0, 0, 1}, Port, SockOpts, TimeoutMs) of
    {ok, Socket} ->
      try
        {ok, {_, Own}} = inet:sockname(Socket),
        ok = brod_nif:sasl_socket(Ask, Own),
        run_plugin(Module, unicode:characters_to_list(Host), Socket, Version, ClientId, TimeoutMs,
                   Options)
      after
        gen_tcp:close(Socket)
      end;
    {error, Reason} ->
      plugin_error(Reason)
  end.

run_plugin(Module, Host, Socket, Version, ClientId, TimeoutMs, Options) ->
  _ = code:ensure_loaded(Module),
  Auth = case erlang:function_exported(Module, auth, 7) of
           true ->
             fun() -> Module:auth(Host, Socket, Version, gen_tcp, ClientId, TimeoutMs, Options) end;
           false ->
             fun() -> Module:auth(Host, Socket, gen_tcp, ClientId, TimeoutMs, Options) end
         end,
  try Auth() of
    ok -> {ok, undefined};
    {ok, _ServerInfo} -> {ok, undefined};
    {error, Reason} -> plugin_error({sasl_auth_error, Reason});
    _Other -> plugin_error({sasl_auth_error, bad_return_value})
  catch
    error:undef -> plugin_error(undef);
    Class:Reason:Stack -> plugin_error({sasl_auth_error, failed(Class, Reason, Stack)})
  end.

plugin_error(Reason) -> {error, term_to_binary(Reason)}.
