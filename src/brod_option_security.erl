%% @private The part of the table of options (brod_option_table) that is about TLS and SASL. What options mean beside each
%% other is checked by brod_ssl_options and brod_sasl_options, and so is what must say which part of a value is wrong.
-module(brod_option_security).

-export([rows/1, mechanisms/0]).

-define(MAX, 16#7fffffff).

%% @doc SASL's mechanisms, as the first part of the option `sasl'.
-spec mechanisms() -> [atom()].
mechanisms() -> [callback | named_mechanisms()].

%% A plugin has no options that we know, so it cannot be given as a map.
named_mechanisms() -> [plain, scram_sha_256, scram_sha_512, oauthbearer, aws_msk_iam].

%% @doc The options of a level, in the order of the page.
-spec rows(ssl | sasl | sasl_login | sasl_oauthbearer | sasl_aws_msk_iam) -> [brod_option_table:row()].
rows(ssl) ->
  File = {text, "name of a PEM file"},
  [ {verify, verification, verify_peer, 4, "Whether brokers' certificates are checked. brod 4 does not by default."}
  , {cacertfile, File, undefined, 4, "Whom to trust; the system's roots unless it is given. Read again when it changes."}
  , {cacerts, {own, "list of DER", "[binary() | tuple()]"}, undefined, 4, "The same as terms, such as `public_key:cacerts_get()`."}
  , {certfile, File, undefined, 4, "The client's own certificate, for mTLS, with its chain."}
  , {keyfile, File, undefined, 4, "Its key: PKCS#1, PKCS#8 or SEC1; RSA, ECDSA P-256 and P-384, Ed25519."}
  , {password, secret(), undefined, 4, "Of an encrypted key."}
  , {cert, {own, "DER, or a list of DER", "binary() | [binary()]"}, undefined, 4, "As `certfile`."}
  , {key, {own, "{Type, DER}, or a fun", "{atom(), binary()} | fun(() -> term())"}, undefined, 4, "As `keyfile`."}
  , {certs_keys, {own, "list of maps", "[map() | [{atom(), term()}]]"}, undefined, 4, "Several pairs of certificate and key."}
  , {server_name_indication, {either, [{one_of, [disable]}, {text, "text"}]}, undefined, 4, "Another name to ask for and to check than the broker's; disable: none."}
  , {versions, {list_of, {one_of, ['tlsv1.2', 'tlsv1.3']}}, ['tlsv1.2', 'tlsv1.3'], 4, "Which versions are offered."}
  , {ciphers, {own, "list of names", "binary() | [char() | unicode:chardata() | tuple() | map()]"}, undefined, 4,
     "Cipher suites, by the names of OpenSSL or IANA, or as maps of ssl. All that there are unless given."}
  , {depth, {integer, none, 0, 255}, undefined, 4, "How long a chain of certificates may be. No limit unless given."}
  , {alpn_advertised_protocols, {list_of, alpn_name}, undefined, 4, "ALPN."}
  , {reuse_sessions, {one_of, [true, false, save]}, true, 4, "Whether sessions are resumed."}
  , {session_tickets, {one_of, [disabled, auto]}, auto, 4, "The same, for TLS 1.3."}
  , {customize_hostname_check, {own, "[{match_fun, F}]", "[{match_fun, fun((term(), term()) -> term())}] | #{match_fun => fun((term(), term()) -> term())}"}, undefined, 4,
     "The match fun for https, which is what is done anyway."}
  | [{Name, {one_of, [Value]}, undefined, 4, "Taken, because it is so anyway; another value is an error."}
     || {Name, Value} <- [{secure_renegotiate, true}, {client_renegotiation, false}, {middlebox_comp_mode, true}, {crl_check, false},
                          {fallback, false}, {keep_secrets, false}, {protocol, tls}, {ocsp_stapling, false}, {stapling, no_staple},
                          {handshake, full}]]
    ++ [{Name, {any, "any"}, undefined, 4, "Taken and not used."}
        || Name <- [log_level, log_alert, hibernate_after, handshake_timeout, ssl_imp, max_handshake_size, receiver_spawn_opts,
                 sender_spawn_opts]]
  ];
rows(sasl) ->
  [ {mechanism, {one_of, named_mechanisms()}, undefined, 5, "Which mechanism it is; the others are those of its table below."}
  ];
rows(sasl_login) ->
  [ {username, {text, "text"}, undefined, 4, "Who logs in."}
  , {user, {text, "text"}, undefined, 5, "The same."}
  , {password, secret(), undefined, 4, "A fun is called for each connection."}
  , {file, {text, "name of a file"}, undefined, 4, "In place of these: user and password on two lines, read for each connection."}
  ];
rows(sasl_oauthbearer) ->
  Text = {text, "text"},
  [ {token, function, undefined, 5, "Returns `{ok, #{token, lifetime_ms, extensions}}`; in place of all others."}
  , {token_endpoint, {text, "URL"}, undefined, 5, "Where tokens are asked for with client credentials."}
  , {client_id, Text, undefined, 5, "Who asks."}
  , {client_secret, secret(), undefined, 5, "His secret; or one of the assertions."}
  , {urlencode, boolean, false, 5, "Whether id and secret are encoded before they are put into the header (RFC 6749)."}
  , {client_assertion, secret(), undefined, 5, "A signed JSON web token in place of the secret."}
  , {client_assertion_file, {text, "name of a file"}, undefined, 5, "A file that holds one."}
  , {client_assertion_key_file, {text, "name of a PEM file"}, undefined, 5, "The key to sign one with."}
  , {client_assertion_key_id, Text, undefined, 5, "The key's id, in the header of that token."}
  , {client_assertion_audience, Text, undefined, 5, "Its audience: the endpoint unless given."}
  , {scope, Text, undefined, 5, "What is asked for."}
  , {parameters, pairs, [], 5, "More parameters of the request."}
  , {extensions, pairs, [], 5, "SASL extensions (KIP-342)."}
  , {ssl, {own, "true, or TLS options", "true | ssl()"}, undefined, 5, "TLS to the endpoint: certificates are verified against the system's roots unless it is given."}
  , {timeout, {integer, ms, 1, ?MAX}, undefined, 5, "Limit of the request: a quarter of `connect_timeout` unless given."}
  ];
rows(sasl_aws_msk_iam) ->
  Text = {text, "text"},
  Sources = [default, environment, profile, container, web_identity, instance],
  [ {credentials, {either, [{one_of, Sources}, function]}, default, 5, "Where credentials come from; default: the usual places, one "
     "after the other."}
  , {access_key_id, Text, undefined, 5, "Or the credentials themselves."}
  , {secret_access_key, secret(), undefined, 5, "With `access_key_id`."}
  , {session_token, secret(), undefined, 5, "Of temporary credentials."}
  , {profile, Text, undefined, 5, "Name of a profile in AWS's files."}
  , {region, Text, undefined, 5, "Taken from the broker's name unless given."}
  , {role_arn, Text, undefined, 5, "A role to assume, with web identity."}
  , {token_file, {text, "name of a file"}, undefined, 5, "Its token."}
  , {user_agent, Text, undefined, 5, "What the broker's log shows."}
  ].

%% An empty one is a secret, too.
secret() -> {own, "text, or a fun that returns it", "unicode:chardata() | fun(() -> term())"}.
