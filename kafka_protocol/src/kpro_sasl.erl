%% @doc Authentication over a socket of one's own. Connections do not need it: the engine authenticates them.
-module(kpro_sasl).

-export([auth/7]).

-include("kpro.hrl").

%% @doc Authenticate over a passive socket in `{packet, 4}' mode: `undefined', `{plain | scram_sha_256 | scram_sha_512,
%% User, Password}' or `{callback, Module, Opts}'. Raises `{sasl_auth_error, Reason}'.
-spec auth(string(), gen_tcp:socket() | term(), gen_tcp | ssl, kpro:client_id(), timeout(), term(), kpro:vsn()) -> ok.
auth(_Host, _Socket, _Mod, _ClientId, _Timeout, undefined, _Vsn) ->
  ok;
auth(Host, Socket, Mod, ClientId, Timeout, {callback, Module, Opts}, Vsn) ->
  case kpro_auth_backend:auth(Module, Host, Socket, Vsn, Mod, ClientId, Timeout, Opts) of
    {error, Reason} -> failed(Reason);
    _Ok -> ok
  end;
auth(_Host, Socket, Mod, ClientId, Timeout, {Mechanism, User, Password}, Vsn) ->
  Ask = fun(Req) -> kpro_lib:send_and_recv(Req, Socket, Mod, ClientId, Timeout) end,
  case Ask(kpro_req_lib:make(sasl_handshake, min(Vsn, 1), #{mechanism => name(Mechanism)})) of
    #{error_code := ?no_error} -> ok;
    #{error_code := unsupported_sasl_mechanism, mechanisms := Offered} ->
      failed(iolist_to_binary([name(Mechanism), " is not among what the broker offers: ", lists:join(", ", Offered)]));
    #{error_code := Code} -> failed(Code)
  end,
  Exchange = case Vsn of
               0 -> fun(Bytes) -> bare(Bytes, Socket, Mod, Timeout) end;
               _ -> fun(Bytes) -> wrapped(Bytes, Ask) end
             end,
  authenticate(Mechanism, User, secret(Password), Exchange).

name(plain) -> <<"PLAIN">>;
name(scram_sha_256) -> <<"SCRAM-SHA-256">>;
name(scram_sha_512) -> <<"SCRAM-SHA-512">>;
name(Other) -> failed({unknown_sasl_opt, Other}).

%% brod keeps passwords in funs.
secret(Fun) when is_function(Fun, 0) -> Fun();
secret(Password) -> Password.

%% A broker that does not wrap the exchange hangs up on what is wrong.
bare(Bytes, Socket, Mod, Timeout) ->
  try kpro_lib:send_and_recv_raw(Bytes, Socket, Mod, Timeout)
  catch
    error:closed -> failed(bad_credentials);
    error:Reason -> failed(Reason)
  end.

wrapped(Bytes, Ask) ->
  case Ask(kpro_req_lib:make(sasl_authenticate, 0, #{auth_bytes => Bytes})) of
    #{error_code := ?no_error, auth_bytes := Answer} -> Answer;
    #{error_message := Text} -> failed(Text)
  end.

authenticate(plain, User, Password, Exchange) ->
  _ = Exchange(iolist_to_binary([0, User, 0, Password])),
  ok;
authenticate(Mechanism, User, Password, Exchange) ->
  Sha = case Mechanism of scram_sha_256 -> sha256; scram_sha_512 -> sha512 end,
  Scram = kpro_scram:init(Sha, User, Password),
  Parsed = kpro_scram:parse(Scram, Exchange(kpro_scram:first(Scram))),
  kpro_scram:validate(Parsed, Exchange(kpro_scram:final(Parsed))).

-spec failed(term()) -> no_return().
failed(Reason) -> error({sasl_auth_error, Reason}).
