%% @private The client option `ssl': what users of Erlang's ssl write, checked and put into the form that the
%% engine takes. What cannot be honoured is an error that names the option; nothing is dropped in
%% silence. Values of `key' and `password' are held in funs and appear in no error.
-module(brod_ssl_options).

-export([check/1, hide/1, engine/1, describe/1]).

-export_type([error/0, checked/0]).

-type error() :: {bad_option, ssl | {ssl, Option :: term()}, Why :: term()}.
-type file_or_der(Der) :: {file, binary()} | {der, Der}.
-type identity() :: #{ cert := file_or_der([binary()])
                     , key := file_or_der(secret({Type :: atom(), binary()}))
                     , password => secret(binary())
                     }.
-type secret(Value) :: fun(() -> Value).
%% `verify_by' and `unavailable_ciphers' are for the log.
-type checked() ::
        #{ verify := verify_peer | verify_none
         , verify_by := option | application | default
         , roots := system | file_or_der([binary()])
         , identities := [identity()]
         , server_name => disable | binary()
         , versions => ['tlsv1.2' | 'tlsv1.3']
         , ciphers => [binary()]
         , unavailable_ciphers => [term()]
         , depth => non_neg_integer()
         , alpn => [binary()]
         , resumption => boolean()
         }.

%% Known to Erlang's ssl, but not to be had here; dropping them would weaken or change what is checked.
%% Those of which some values can be had stand in the table.
-define(NOT_SUPPORTED,
        [verify_fun, partial_chain, crl_cache, signature_algs, signature_algs_cert,
         eccs, supported_groups, psk_identity, user_lookup_fun, srp_identity,
         ocsp_responder_certs, ocsp_nonce, cert_policy_opts,
         cb_info, next_protocols_advertised, client_preferred_next_protocols, max_fragment_length,
         early_data, use_ticket, certificate_authorities, use_srtp, key_update_at, dh, dhfile,
         reuse_session, padding_check, beast_mitigation]).

%% @doc Check the value of the option `ssl'. `undefined': no TLS.
-spec check(term()) -> {ok, undefined | checked()} | {error, error()}.
check(false) -> {ok, undefined};
check(undefined) -> {ok, undefined};
check(true) -> check([]);
check(Given) ->
  try {ok, checked(to_map(Given))}
  catch throw:{bad, Option, Why} -> {error, {bad_option, Option, Why}}
  end.

%% @doc The option as given, with its secrets in funs, so that it can be stored, shown, and given to
%% {@link check/1} again. What check/1 refuses stays as it is, but for its secrets.
-spec hide(term()) -> term().
hide([Option | Rest]) -> [hide_option(Option) | hide(Rest)];
hide(Given) when is_map(Given) -> maps:from_list([hide_option(O) || O <- maps:to_list(Given)]);
hide(Given) -> Given.

hide_option({Name, Value}) when (Name =:= key orelse Name =:= password), Value =/= undefined ->
  {Name, secret(Value)};
hide_option({certs_keys, List}) ->
  {certs_keys, hide_each(List)};
hide_option(Option) ->
  Option.

hide_each([Each | Rest]) -> [hide(Each) | hide_each(Rest)];
hide_each(Other) -> Other.

%% @doc Checked options in the form of docs/boundary.md: secrets as plain values.
-spec engine(checked()) -> map().
engine(#{identities := Identities} = Checked) ->
  Options = maps:without([verify_by, unavailable_ciphers], Checked),
  Options#{identities := [revealed(Identity) || Identity <- Identities]}.

revealed(#{key := Key} = Identity) ->
  Plain = Identity#{key := case Key of {der, Secret} -> {der, Secret()}; File -> File end},
  case Plain of
    #{password := Password} -> Plain#{password := Password()};
    _ -> Plain
  end.

%% @doc One sentence on how brokers are verified, with the level that it deserves: what the user has
%% not asked for himself should be seen.
-spec describe(checked()) -> {notice | info, iodata()}.
describe(#{verify := Verify, verify_by := By, roots := Roots} = Checked) ->
  Level = case By of option -> info; _ -> notice end,
  {Level, [verification(Verify, Roots, Checked), by(By), unavailable(Checked)]}.

verification(verify_none, _Roots, _) ->
  "TLS without verification: whoever answers at a broker's address is believed";
verification(verify_peer, Roots, Checked) ->
  ["TLS, brokers' certificates are verified against ",
   case Roots of
     system -> "the system's roots";
     {file, File} -> [$", File, $"];
     {der, Certs} -> io_lib:format("~b given roots", [length(Certs)])
   end,
   case Checked of
     #{server_name := disable} -> ", host names are not checked";
     _ -> ""
   end].

by(option) -> "";
by(application) -> " (ssl_default_verify of the application brod)";
by(default) -> " (the default; {verify, verify_none} turns it off)".

unavailable(#{unavailable_ciphers := [_ | _] = Ciphers}) ->
  io_lib:format("; cipher suites that are not available: ~0p", [Ciphers]);
unavailable(_) ->
  "".

%% checks

to_map(Given) ->
  is_options(Given) orelse throw({bad, ssl, not_options}),
  brod_options:to_map(Given).

is_options(Given) ->
  IsOption = fun({Name, _}) -> is_atom(Name); (Name) -> is_atom(Name) end,
  brod_options:is_config(Given) andalso (is_map(Given) orelse lists:all(IsOption, Given)).

checked(Map) ->
  Given = versions(maps:filter(fun(_, Value) -> Value =/= undefined end, Map)),
  {Verify, By} = verify(Given),
  Base = #{verify => Verify, verify_by => By, roots => roots(Given),
           identities => identities(Given)},
  All = maps:merge(brod_option_table:defaults(ssl), Given),
  lists:foldl(fun option/2, Base, lists:keysort(1, maps:to_list(All))).

%% `version' is how the example in brod 4's documentation spells it.
versions(#{version := Version} = Given) ->
  maps:merge(#{versions => Version}, maps:remove(version, Given));
versions(Given) ->
  Given.

verify(#{verify := Verify}) ->
  {value(verify, Verify), option};
verify(_) ->
  case application:get_env(brod, ssl_default_verify) of
    undefined ->
      {ok, Verify} = brod_option_table:default(ssl, verify),
      {Verify, default};
    {ok, Given} ->
      case brod_option_table:value(application, ssl_default_verify, Given) of
        {ok, Verify} -> {Verify, application};
        error -> throw({bad, ssl_default_verify, Given})
      end
  end.

%% As in ssl, certificates given directly count, and the file does not.
roots(#{cacerts := Certs}) -> {der, [root(Cert) || Cert <- non_empty(cacerts, Certs)]};
roots(#{cacertfile := File}) -> {file, value(cacertfile, File)};
roots(_) -> system.

%% What public_key:cacerts_get/0 gives is a record `cert' around it.
root(Der) when is_binary(Der) -> Der;
root({cert, Der, _Decoded}) when is_binary(Der) -> Der;
root(_) -> bad(cacerts, not_der).

identities(#{certs_keys := List} = Given) ->
  maps:size(maps:with([cert, certfile, key, keyfile, password], Given)) =:= 0
    orelse bad(certs_keys, beside_cert_or_key),
  [identity(certs_keys, Each) || Each <- non_empty(certs_keys, List)];
identities(Given) ->
  case maps:with([cert, certfile, key, keyfile, password], Given) of
    Empty when map_size(Empty) =:= 0 -> [];
    Identity -> [identity(certfile, Identity)]
  end.

identity(Option, Given) when is_map(Given) ->
  case maps:keys(Given) -- [cert, certfile, key, keyfile, password] of
    [] -> ok;
    [Unknown | _] -> bad(Option, {unknown, Unknown})
  end,
  {Cert, Key} = {cert(Given), key(Given)},
  Cert =/= none orelse bad(Option, no_certificate),
  Identity = #{cert => Cert,
               %% a file may hold both
               key => case {Key, Cert} of
                        {none, {file, File}} -> {file, File};
                        {none, _} -> bad(keyfile, missing);
                        _ -> Key
                      end},
  case Given of
    #{password := Password} -> Identity#{password => password(Password)};
    _ -> Identity
  end;
identity(Option, List) ->
  is_options(List) orelse bad(Option, not_options),
  identity(Option, brod_options:to_map(List)).

cert(#{cert := Der}) when is_binary(Der) -> {der, [Der]};
cert(#{cert := [_ | _] = Chain}) ->
  brod_options:is_config(Chain) andalso lists:all(fun is_binary/1, Chain) orelse bad(cert, not_der),
  {der, Chain};
cert(#{cert := _}) -> bad(cert, not_der);
cert(#{certfile := File}) -> {file, value(certfile, File)};
cert(_) -> none.

key(#{key := Key}) ->
  Secret = secret(Key),
  case revealed(key, Secret) of
    {Type, Der} when is_binary(Der), (Type =:= 'RSAPrivateKey' orelse Type =:= 'ECPrivateKey'
                                      orelse Type =:= 'PrivateKeyInfo') ->
      {der, Secret};
    #{} -> bad(key, not_supported);
    _ -> bad(key, not_der)
  end;
key(#{keyfile := File}) -> {file, value(keyfile, File)};
key(_) -> none.

password(Given) ->
  Secret = revealed(password, secret(Given)),
  try unicode:characters_to_binary(Secret) of
    Password when is_binary(Password) -> brod_closures:value(Password);
    _ -> bad(password, not_text)
  catch error:badarg -> bad(password, not_text)
  end.

secret(Fun) when is_function(Fun, 0) -> Fun;
secret(Value) -> brod_closures:value(Value).

%% A user's fun may raise what it likes, with the secret in it.
revealed(Name, Secret) ->
  try Secret()
  catch _:_ -> bad(Name, fun_failed)
  end.

%% The rest, one by one.

option({server_name_indication, Name}, Acc) ->
  Acc#{server_name => value(server_name_indication, Name)};
option({versions, Versions}, Acc) ->
  Acc#{versions => [version(V) || V <- non_empty(versions, Versions)]};
option({ciphers, Given}, Acc) ->
  ciphers(Given, Acc);
option({depth, Depth}, Acc) ->
  Acc#{depth => value(depth, Depth)};
option({alpn_advertised_protocols, Protocols}, Acc) ->
  Acc#{alpn => value(alpn_advertised_protocols, non_empty(alpn_advertised_protocols, Protocols))};
option({reuse_sessions, Reuse}, Acc) ->
  Acc#{resumption => value(reuse_sessions, Reuse) =/= false};
option({session_tickets, disabled}, Acc) ->
  Acc#{resumption => false};
option({customize_hostname_check, Checks}, Acc) ->
  lists:foreach(fun hostname_check/1, options(customize_hostname_check, Checks)),
  Acc;
option({Name, Value}, Acc) ->
  Known = lists:member(Name, brod_option_table:names(ssl)),
  is_seen_to(Name) orelse Known andalso brod_option_table:value(ssl, Name, Value) =/= error
    orelse bad(Name, case Known orelse lists:member(Name, ?NOT_SUPPORTED) of true -> not_supported; false -> unknown end),
  Acc.

is_seen_to(Name) ->
  lists:member(Name, [verify, cacerts, cacertfile, cert, certfile, key, keyfile, password,
                      certs_keys]).

version(Version) ->
  case brod_option_table:value(ssl, versions, [Version]) of
    {ok, [Taken]} -> Taken;
    error -> bad(versions, {not_supported, Version})
  end.

%% The engine matches names as browsers do (a wildcard stands for one label), which is what the match
%% fun for https asks for. Funs of other origin cannot be honoured.
hostname_check({match_fun, Fun}) when is_function(Fun, 2) ->
  {module, Module} = erlang:fun_info(Fun, module),
  {name, Name} = erlang:fun_info(Fun, name),
  Module =:= public_key
    andalso lists:prefix("-pkix_verify_hostname_match_fun", atom_to_list(Name))
    orelse bad(customize_hostname_check, {not_supported, match_fun});
hostname_check({Name, _}) ->
  bad(customize_hostname_check, {not_supported, Name}).

options(_Name, Map) when is_map(Map) -> maps:to_list(Map);
options(Name, List) ->
  is_options(List) orelse bad(Name, not_options),
  maps:to_list(brod_options:to_map(List)).

%% Cipher suites: {IANA's name, OpenSSL's name, key exchange, cipher, prf}; `any' is TLS 1.3.
suites() ->
  [ {"TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384", any, aes_256_gcm, sha384}
  , {"TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256", any, aes_128_gcm, sha256}
  , {"TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256", any, chacha20_poly1305,
     sha256}
  , {"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384", ecdhe_ecdsa,
     aes_256_gcm, sha384}
  , {"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256", ecdhe_ecdsa,
     aes_128_gcm, sha256}
  , {"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305",
     ecdhe_ecdsa, chacha20_poly1305, sha256}
  , {"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384", ecdhe_rsa,
     aes_256_gcm, sha384}
  , {"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256", ecdhe_rsa,
     aes_128_gcm, sha256}
  , {"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305", ecdhe_rsa,
     chacha20_poly1305, sha256}
  ].

%% A list may name suites for other TLS libraries; those left must be enough to connect with.
ciphers(Given, Acc) ->
  Known = [{suite(Cipher), Cipher} || Cipher <- cipher_list(Given)],
  case [list_to_binary(Suite) || {Suite, _} <- Known, Suite =/= none] of
    [] -> bad(ciphers, none_available);
    Suites -> Acc#{ciphers => Suites, unavailable_ciphers => [C || {none, C} <- Known]}
  end.

cipher_list(Names) when is_binary(Names) -> cipher_list(binary_to_list(Names));
cipher_list([Char | _] = Names) when is_integer(Char) ->
  brod_options:is_text(Names) orelse bad(ciphers, not_text),
  string:lexemes(Names, ":");
cipher_list(List) -> non_empty(ciphers, List).

suite(Name) when is_binary(Name) -> suite(binary_to_list(Name));
suite(#{key_exchange := Exchange, cipher := Cipher, prf := Prf}) -> suite_of(Exchange, Cipher, Prf);
suite({Exchange, Cipher, _Mac, Prf}) -> suite_of(Exchange, Cipher, Prf);
suite(Name) ->
  first([Iana || {Iana, OpenSsl, _, _, _} <- suites(), Name =:= Iana orelse Name =:= OpenSsl]).

suite_of(Exchange, Cipher, Prf) ->
  first([Iana || {Iana, _, E, C, P} <- suites(), E =:= Exchange, C =:= Cipher, P =:= Prf]).

first([Suite]) -> Suite;
first([]) -> none.

non_empty(Name, [_ | _] = List) ->
  brod_options:is_config(List) orelse bad(Name, not_a_list),
  List;
non_empty(Name, _) ->
  bad(Name, not_a_list).

value(Name, Given) ->
  case brod_option_table:value(ssl, Name, Given) of
    {ok, Value} -> Value;
    error -> bad(Name, Given)
  end.

-spec bad(atom(), term()) -> no_return().
bad(Name, Why) -> throw({bad, {ssl, Name}, Why}).
