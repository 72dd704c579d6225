%% @doc The behaviour of modules that authenticate (`{callback, Module, Opts}' as the option `sasl').
-module(kpro_auth_backend).

-export([auth/8]).

-callback auth(Host :: string(), Socket :: gen_tcp:socket() | term(), Mod :: gen_tcp | ssl, ClientId :: binary(),
               Timeout :: pos_integer(), Opts :: term()) -> ok | {error, Reason :: term()}.

-callback auth(Host :: string(), Socket :: gen_tcp:socket() | term(), HandshakeVsn :: non_neg_integer(),
               Mod :: gen_tcp | ssl, ClientId :: binary(), Timeout :: pos_integer(), Opts :: term()) ->
  ok | {error, Reason :: term()}.

-optional_callbacks([auth/6]).

%% @doc Have a module authenticate: by its `auth/7', or by `auth/6' where it has no other.
-spec auth(module(), string(), gen_tcp:socket() | term(), non_neg_integer(), gen_tcp | ssl, binary(), pos_integer(),
           term()) -> ok | {error, term()}.
auth(Module, Host, Socket, HandshakeVsn, Mod, ClientId, Timeout, Opts) ->
  _ = code:ensure_loaded(Module),
  case erlang:function_exported(Module, auth, 7) of
    true -> Module:auth(Host, Socket, HandshakeVsn, Mod, ClientId, Timeout, Opts);
    false -> Module:auth(Host, Socket, Mod, ClientId, Timeout, Opts)
  end.
