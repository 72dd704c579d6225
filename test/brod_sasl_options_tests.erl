-module(brod_sasl_options_tests).
-include_lib("eunit/include/eunit.hrl").

-define(SECRET, "hunter2-secret").

bad(Option, Why, Given) ->
  ?_assertEqual({error, {bad_option, Option, Why}}, brod_sasl_options:check(Given)).

checked(Given) ->
  {ok, Checked} = brod_sasl_options:check(Given),
  Checked.

engine(Given) ->
  {ok, Config} = brod_sasl_options:engine(checked(Given), self()),
  Config.

no_sasl_test_() ->
  [?_assertEqual({ok, undefined}, brod_sasl_options:check(Off)) || Off <- [undefined, false]].

user_and_password_test_() ->
  [fun() ->
     #{mechanism := M, user := <<"alice">>, password := Password} = checked(Given),
     ?assertEqual(<<"pw">>, iolist_to_binary(Password()))
   end
   || M <- [plain, scram_sha_256, scram_sha_512],
      Given <- [{M, "alice", "pw"}, {M, <<"alice">>, <<"pw">>}, {M, "alice", fun() -> "pw" end},
                {M, #{username => "alice", password => <<"pw">>}},
                #{mechanism => M, username => <<"alice">>, password => "pw"},
                [{mechanism, M}, {user, "alice"}, {password, "pw"}]]].

a_file_with_user_and_password_test_() ->
  [?_assertEqual(#{mechanism => plain, file => <<"/login">>}, checked(Given))
   || Given <- [{plain, "/login"}, {plain, <<"/login">>}, #{mechanism => plain, file => "/login"}]].

wrong_shapes_are_named_test_() ->
  [bad(sasl, {unknown_mechanism, gssapi}, {gssapi, "u", "p"}),
   bad(sasl, {unknown_mechanism, nonsense}, {nonsense, "file"}),
   bad(sasl, not_options, plain), bad(sasl, not_options, "plain"), bad(sasl, not_options, {plain}),
   bad(sasl, {not_options_of, plain}, {plain, "u", "p", "x"}),
   bad(sasl, {not_options_of, oauthbearer}, {oauthbearer, "u", "p"}),
   bad({sasl, user}, not_text, {plain, 1, "p"}),
   bad({sasl, user}, missing, #{mechanism => plain, password => "p"}),
   bad({sasl, password}, not_text, {plain, "u", 42}),
   bad({sasl, password}, missing, #{mechanism => plain, username => "u"}),
   bad({sasl, passwd}, unknown, #{mechanism => plain, username => "u", password => "p",
                                  passwd => "p"}),
   bad(sasl, callback_module_is_no_atom, {callback, "m", []})].

oauthbearer_test_() ->
  Token = fun() -> {ok, <<"t">>} end,
  Client = #{token_endpoint => "https://id.example/token", client_id => "c", client_secret => ?SECRET,
             extensions => #{logicalCluster => "lkc"}},
  Signing = #{token_endpoint => "https://id.example/token", client_id => "c",
              client_assertion_key_file => "k.pem", client_assertion_key_id => "1"},
  [?_assertMatch(#{mechanism := oauthbearer, token := Token}, checked(Given))
   || Given <- [{oauthbearer, #{token => Token}}, {oauthbearer, Token},
                {oauthbearer, [{token, Token}]}]]
  ++ [?_assertMatch(#{client_credentials := #{token_endpoint := <<"https://id.example/token">>,
                                              client_id := <<"c">>,
                                              extensions := [{<<"logicalCluster">>, <<"lkc">>}]}},
                    checked({oauthbearer, Client})),
      ?_assertMatch(#{client_credentials := #{client_secret := <<?SECRET>>}, provider := _},
                    engine({oauthbearer, Client})),
      ?_assertMatch(#{client_credentials := #{client_assertion_key_file := <<"k.pem">>,
                                              client_assertion_key_id := <<"1">>}},
                    checked({oauthbearer, Signing})),
      bad({sasl, client_id}, missing, {oauthbearer, maps:remove(client_id, Signing)}),
      bad({sasl, client_secret}, one_of_secret_and_assertion,
          {oauthbearer, Signing#{client_assertion_file => "a.jwt"}}),
      bad({sasl, token}, not_a_fun_of_arity_0, {oauthbearer, #{token => "t"}}),
      bad({sasl, token_endpoint}, missing, {oauthbearer, #{client_id => "c"}}),
      bad({sasl, client_secret}, one_of_secret_and_assertion,
          {oauthbearer, maps:remove(client_secret, Client)}),
      bad({sasl, client_id}, missing, {oauthbearer, maps:remove(client_id, Client)}),
      bad({ssl, verfy}, unknown, {oauthbearer, Client#{ssl => [{verfy, verify_peer}]}})].

aws_msk_iam_test_() ->
  Keys = #{access_key_id => "AKIA", secret_access_key => ?SECRET, region => "eu-west-1"},
  [?_assertEqual(#{mechanism => aws_msk_iam, credentials => default}, checked({aws_msk_iam, Empty})) || Empty <- [[], #{}]]
  ++ [?_assertMatch(#{access_key_id := <<"AKIA">>, secret_access_key := <<?SECRET>>,
                      region := <<"eu-west-1">>},
                    engine({aws_msk_iam, Keys})),
      ?_assertMatch(#{credentials := instance}, checked({aws_msk_iam, #{credentials => instance}})),
      bad({sasl, secret_access_key}, only_with_access_key_id,
          {aws_msk_iam, #{access_key_id => "AKIA"}}),
      bad({sasl, acces_key_id}, unknown, {aws_msk_iam, #{acces_key_id => "AKIA"}})].

plugin_test() ->
  #{mechanism := callback, module := some_plugin, options := Options} =
    checked({callback, some_plugin, [{token, "t"}]}),
  ?assertEqual([{token, "t"}], Options()),
  ?assertEqual({callback, some_plugin, opts},
               brod_sasl_options:public(brod_sasl_options:hide({callback, some_plugin, opts}))).

secrets_are_seen_nowhere_test_() ->
  [fun() ->
     Hidden = brod_sasl_options:hide(Given),
     Shown = [Hidden, checked(Given), checked(Hidden)],
     Text = lists:flatten(io_lib:format("~p ~w", [Shown, Shown])),
     ?assertEqual(nomatch, string:find(Text, ?SECRET)),
     ?assertEqual(nomatch, string:find(Text, lists:flatten(io_lib:format("~w", [?SECRET]))))
   end
   || Given <- [{plain, "u", ?SECRET}, {scram_sha_512, <<"u">>, <<?SECRET>>},
                #{mechanism => plain, username => "u", password => ?SECRET},
                {oauthbearer, #{token_endpoint => "https://h", client_id => "c",
                                client_secret => ?SECRET}},
                {aws_msk_iam, [{access_key_id, "a"}, {secret_access_key, ?SECRET},
                               {session_token, ?SECRET}]},
                {callback, some_plugin, #{secret => ?SECRET}}]]
  ++ [?_assertEqual({error, {bad_option, {sasl, password}, not_text}},
                    brod_sasl_options:check({plain, "u", {secret, ?SECRET}}))].
