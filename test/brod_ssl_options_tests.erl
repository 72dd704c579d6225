-module(brod_ssl_options_tests).
-include_lib("eunit/include/eunit.hrl").

-define(SECRET, "hunter2-secret").

checked(Options) ->
  {ok, Checked} = brod_ssl_options:check(Options),
  Checked.

engine(Options) -> brod_ssl_options:engine(checked(Options)).

bad(Option, Why, Options) ->
  ?_assertEqual({error, {bad_option, {ssl, Option}, Why}}, brod_ssl_options:check(Options)).

no_tls_test_() ->
  [?_assertEqual({ok, undefined}, brod_ssl_options:check(Off)) || Off <- [false, undefined]].

true_verifies_against_the_roots_of_the_system_test() ->
  ?assertMatch(#{verify := verify_peer, verify_by := default, roots := system, identities := []},
               checked(true)),
  ?assertEqual(engine(true), engine([])),
  ?assertEqual(engine(true), engine(#{verify => verify_peer})).

the_application_says_what_the_default_is_test_() ->
  {setup,
   fun() -> application:set_env(brod, ssl_default_verify, verify_none) end,
   fun(_) -> application:unset_env(brod, ssl_default_verify) end,
   [?_assertMatch(#{verify := verify_none, verify_by := application}, checked(true)),
    ?_assertMatch(#{verify := verify_peer, verify_by := option}, checked([{verify, verify_peer}])),
    fun() ->
      ok = application:set_env(brod, ssl_default_verify, 'maybe'),
      ?assertEqual({error, {bad_option, ssl_default_verify, 'maybe'}}, brod_ssl_options:check(true))
    end]}.

list_and_map_mean_the_same_test() ->
  Options = [{cacertfile, "/ca.pem"}, {certfile, <<"/c.pem">>}, {keyfile, "/k.pem"}, {depth, 2}],
  ?assertEqual(checked(Options), checked(maps:from_list(Options))).

verify_test_() ->
  [?_assertMatch(#{verify := verify_none, verify_by := option}, checked([{verify, verify_none}])),
   bad(verify, often, [{verify, often}])].

cacertfile_test_() ->
  [?_assertMatch(#{roots := {file, <<"/ca.pem">>}}, engine([{cacertfile, File}]))
   || File <- ["/ca.pem", <<"/ca.pem">>]]
  ++ [?_assertMatch(#{roots := {file, <<"/ä.pem"/utf8>>}}, engine([{cacertfile, "/ä.pem"}])),
      ?_assertMatch(#{roots := system}, engine([{cacertfile, undefined}])),
      bad(cacertfile, [], [{cacertfile, ""}]), bad(cacertfile, 1, [{cacertfile, 1}])].

cacerts_test_() ->
  %% the second is what public_key:cacerts_get/0 gives
  [?_assertMatch(#{roots := {der, [<<"a">>, <<"b">>]}}, engine([{cacerts, Certs}, {cacertfile, "f"}]))
   || Certs <- [[<<"a">>, <<"b">>], [{cert, <<"a">>, otp_cert}, {cert, <<"b">>, otp_cert}]]]
  ++ [bad(cacerts, not_der, [{cacerts, ["a"]}]), bad(cacerts, not_a_list, [{cacerts, []}])].

certificate_and_key_test_() ->
  Der = {'ECPrivateKey', <<"der">>},
  [?_assertEqual([#{cert => Cert, key => Key}], maps:get(identities, engine(Options)))
   || {Cert, Key, Options} <-
        [{{file, <<"c">>}, {file, <<"k">>}, [{certfile, "c"}, {keyfile, "k"}]},
         {{file, <<"c">>}, {file, <<"c">>}, [{certfile, "c"}]},
         {{der, [<<"d">>]}, {der, Der}, [{cert, <<"d">>}, {key, Der}]},
         {{der, [<<"d">>, <<"e">>]}, {file, <<"k">>}, [{cert, [<<"d">>, <<"e">>]}, {keyfile, "k"}]},
         {{file, <<"c">>}, {der, Der}, [{certfile, "c"}, {key, fun() -> Der end}]}]]
  ++ [?_assertMatch({ok, _}, brod_ssl_options:check([{certfile, "c"}, {key, {Type, <<"d">>}}]))
      || Type <- ['RSAPrivateKey', 'ECPrivateKey', 'PrivateKeyInfo']]
  ++ [bad(key, not_der, [{certfile, "c"}, {key, {'DSAPrivateKey', <<"d">>}}]),
      bad(key, not_supported, [{certfile, "c"}, {key, #{engine => e, key_id => k}}]),
      bad(keyfile, missing, [{cert, <<"d">>}]),
      bad(certfile, no_certificate, [{keyfile, "k"}]),
      bad(cert, not_der, [{cert, "d"}, {keyfile, "k"}])].

certs_keys_test_() ->
  Two = [#{certfile => "a", keyfile => "b"}, [{certfile, "c"}, {password, "p"}]],
  [?_assertEqual([#{cert => {file, <<"a">>}, key => {file, <<"b">>}},
                  #{cert => {file, <<"c">>}, key => {file, <<"c">>}, password => <<"p">>}],
                 maps:get(identities, engine([{certs_keys, Two}]))),
   bad(certs_keys, beside_cert_or_key, [{certs_keys, Two}, {certfile, "x"}]),
   bad(certs_keys, {unknown, nonsense}, [{certs_keys, [#{nonsense => 1}]}]),
   bad(certs_keys, no_certificate, [{certs_keys, [#{keyfile => "b"}]}])].

password_test_() ->
  [?_assertMatch(#{identities := [#{password := <<"pässword"/utf8>>}]},
                 engine([{certfile, "c"}, {password, Password}]))
   || Password <- ["pässword", <<"pässword"/utf8>>, fun() -> "pässword" end]]
  ++ [bad(password, not_text, [{certfile, "c"}, {password, 1}])].

server_name_indication_test_() ->
  [?_assertMatch(#{server_name := <<"kafka.example">>}, engine([{server_name_indication, Name}]))
   || Name <- ["kafka.example", <<"kafka.example">>]]
  ++ [?_assertMatch(#{server_name := disable}, engine([{server_name_indication, disable}])),
      bad(server_name_indication, 1, [{server_name_indication, 1}])].

versions_test_() ->
  [?_assertMatch(#{versions := ['tlsv1.2', 'tlsv1.3']}, engine([{versions, ['tlsv1.2', 'tlsv1.3']}])),
   bad(versions, {not_supported, 'tlsv1.1'}, [{versions, ['tlsv1.2', 'tlsv1.1']}]),
   bad(versions, not_a_list, [{versions, []}])].

ciphers_test_() ->
  Names = [<<"TLS_AES_256_GCM_SHA384">>, <<"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256">>],
  [?_assertMatch(#{ciphers := Names}, engine([{ciphers, Ciphers}]))
   || Ciphers <-
        [["TLS_AES_256_GCM_SHA384", "ECDHE-RSA-AES128-GCM-SHA256"],
         [<<"TLS_AES_256_GCM_SHA384">>, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
         "TLS_AES_256_GCM_SHA384:ECDHE-RSA-AES128-GCM-SHA256",
         [#{key_exchange => any, cipher => aes_256_gcm, mac => aead, prf => sha384},
          #{key_exchange => ecdhe_rsa, cipher => aes_128_gcm, mac => aead, prf => sha256}],
         [{any, aes_256_gcm, aead, sha384}, {ecdhe_rsa, aes_128_gcm, aead, sha256}]]]
  ++ [fun() ->
        Checked = checked([{ciphers, ["AES256-SHA", "TLS_AES_128_GCM_SHA256"]}]),
        ?assertMatch(#{ciphers := [<<"TLS_AES_128_GCM_SHA256">>]}, Checked),
        {_, Line} = brod_ssl_options:describe(Checked),
        ?assertNotEqual(nomatch, string:find(lists:flatten(Line), "AES256-SHA"))
      end,
      bad(ciphers, none_available, [{ciphers, ["AES256-SHA"]}])].

what_ssl_gives_as_its_ciphers_is_taken_test() ->
  Default = ssl:cipher_suites(default, 'tlsv1.3'),
  ?assertMatch(#{ciphers := [<<"TLS_AES_256_GCM_SHA384">> | _]}, engine([{ciphers, Default}])).

depth_test_() ->
  [?_assertMatch(#{depth := 0}, engine([{depth, 0}])), bad(depth, -1, [{depth, -1}]),
   bad(depth, 256, [{depth, 256}])].

alpn_test_() ->
  [?_assertMatch(#{alpn := [<<"kafka">>]}, engine([{alpn_advertised_protocols, [<<"kafka">>]}])),
   bad(alpn_advertised_protocols, ["kafka"], [{alpn_advertised_protocols, ["kafka"]}])].

reuse_sessions_test_() ->
  [?_assertMatch(#{resumption := Resumption}, engine([{reuse_sessions, Reuse}]))
   || {Reuse, Resumption} <- [{true, true}, {save, true}, {false, false}]]
  ++ [bad(reuse_sessions, 1, [{reuse_sessions, 1}])].

the_host_name_check_for_https_is_the_engine_s_test_() ->
  Match = public_key:pkix_verify_hostname_match_fun(https),
  [?_assertEqual(engine(true), engine([{customize_hostname_check, [{match_fun, Match}]}])),
   ?_assertEqual(engine(true), engine([{customize_hostname_check, #{match_fun => Match}}])),
   bad(customize_hostname_check, {not_supported, match_fun},
       [{customize_hostname_check, [{match_fun, fun(_, _) -> true end}]}]),
   bad(customize_hostname_check, {not_supported, fqdn_fun},
       [{customize_hostname_check, [{fqdn_fun, fun(_) -> "h" end}]}])].

what_cannot_be_honoured_is_named_test_() ->
  [bad(Option, not_supported, [{Option, Value}])
   || {Option, Value} <- [{verify_fun, {fun() -> ok end, []}}, {partial_chain, fun(_) -> ok end},
                          {crl_check, true}, {signature_algs, []}, {protocol, dtls},
                          {psk_identity, "p"}, {session_tickets, manual}]]
  ++ [bad(verfy, unknown, [{verfy, verify_peer}]), bad(verfy, unknown, #{verfy => verify_peer}),
      bad(handshake, not_supported, [{handshake, hello}]), bad(fail_if_no_peer_cert, unknown, [{fail_if_no_peer_cert, true}])].

what_goes_without_saying_is_taken_test_() ->
  [?_assertEqual(engine(true), engine([{Option, Value}]))
   || {Option, Value} <- [{secure_renegotiate, true}, {log_level, error}, {crl_check, false},
                          {hibernate_after, 5000}, {verify_fun, undefined}, {handshake, full},
                          {max_handshake_size, 1000000}, {receiver_spawn_opts, [{fullsweep_after, 10}]},
                          {sender_spawn_opts, []}]].

%% The example in brod 4's documentation has it, which ssl passes over.
version_is_taken_for_versions_test_() ->
  [?_assertEqual(engine([{versions, ['tlsv1.3']}]), engine([{version, ['tlsv1.3']}])),
   ?_assertEqual(engine([{versions, ['tlsv1.3']}]), engine(#{version => ['tlsv1.2'], versions => ['tlsv1.3']})),
   bad(versions, {not_supported, 'tlsv1.1'}, [{version, ['tlsv1.2', 'tlsv1.1']}])].

what_is_no_list_of_options_is_refused_test_() ->
  [?_assertEqual({error, {bad_option, ssl, not_options}}, brod_ssl_options:check(Given))
   || Given <- [yes, "text", 1, [{1, 2}]]].

secrets_are_seen_nowhere_but_by_the_engine_test() ->
  Options = [{certfile, "c"}, {password, ?SECRET},
             {key, {'ECPrivateKey', list_to_binary(?SECRET)}}],
  Several = [{certs_keys, [maps:from_list(Options)]}],
  Shown = [brod_ssl_options:hide(Options), brod_ssl_options:hide(maps:from_list(Options)),
           brod_ssl_options:hide(Several), checked(Options), checked(Several)],
  Text = lists:flatten(io_lib:format("~p ~w", [Shown, Shown])),
  ?assertEqual(nomatch, string:find(Text, ?SECRET)),
  ?assertEqual(nomatch, string:find(Text, lists:flatten(io_lib:format("~w", [?SECRET])))),
  ?assertEqual(engine(Options), engine(brod_ssl_options:hide(Options))),
  ?assertEqual(engine(Several), engine(brod_ssl_options:hide(Several))),
  ?assertMatch(#{identities := [#{password := <<?SECRET>>}]}, engine(Options)).

the_log_says_how_brokers_are_verified_test_() ->
  [?_assertMatch({Level, {match, _}},
                 begin
                   {L, Line} = brod_ssl_options:describe(checked(Options)),
                   {L, re:run(Line, Words)}
                 end)
   || {Level, Words, Options} <-
        [{notice, "system's roots.*default", true},
         {info, "system's roots", [{verify, verify_peer}]},
         {info, "without verification", [{verify, verify_none}]},
         {notice, "\"/ca.pem\"", [{cacertfile, "/ca.pem"}]},
         {notice, "host names are not checked", [{server_name_indication, disable}]},
         {notice, "1 given root", [{cacerts, [<<"d">>]}]}]].
