%% The table of options, and that checks, defaults, page and types agree with it.
-module(brod_option_table_tests).
-include_lib("eunit/include/eunit.hrl").

-define(CHECKED, [{client, fun brod_options:client/1}, {connection, fun brod_options:connection/1},
                  {producer, fun brod_options:producer/1}, {consumer, fun brod_options:consumer/1},
                  {group, fun brod_group_options:new/1},
                  {transaction, fun(Given) -> brod_transaction_options:check(<<"id">>, Given) end}]).

%% Those of TLS and SASL are checked beside others that each needs, and what is used has another form.
-define(SECURED, [{Level, fun(Given) -> secured(Level, Given) end} || Level <- [ssl, sasl, sasl_login, sasl_oauthbearer, sasl_aws_msk_iam]]).

each_option_has_a_text_and_no_name_is_there_twice_test_() ->
  [{atom_to_list(Level),
    fun() ->
      Names = brod_option_table:names(Level),
      ?assertEqual(lists:usort(Names), lists:sort(Names)),
      [?assert(length(Text) > 0 andalso length(brod_option_kinds:text(Kind)) > 0)
       || {_, Kind, _, _, Text} <- brod_option_table:rows(Level)]
    end} || {Level, _, _} <- brod_option_table:levels()].

a_default_is_a_value_that_the_option_may_have_test_() ->
  [{lists:concat([Level, " ", Name]), ?_assertMatch({ok, _}, brod_option_kinds:value(Kind, Default))}
   || {Level, _, _} <- brod_option_table:levels(), {Name, Kind, Default, _, _} <- brod_option_table:rows(Level),
      Default =/= undefined].

%% Whoever checks a level takes what its row says, with the default that its row says.
the_checks_have_the_defaults_of_the_table_test_() ->
  [{atom_to_list(Level),
    fun() ->
      {ok, Checked} = Check([]),
      Defaults = maps:without([producer_config], brod_option_table:defaults(Level)),
      ?assertEqual(Defaults, maps:with(maps:keys(Defaults), Checked))
    end} || {Level, Check} <- ?CHECKED, Level =/= consumer]
  ++ [fun() ->
        {ok, Consumer} = brod_consumer_options:new([]),
        ?assertEqual(maps:without([topic_restart_delay_seconds, partition_restart_delay_seconds],
                                  brod_option_table:defaults(consumer)), Consumer)
      end].

%% One by one, so that a check that forgets an option of the table is found.
each_option_is_checked_as_its_row_says_test_() ->
  [{lists:concat([Level, " ", Name]),
    fun() ->
      [?assertMatch({Value, {ok, _}}, {Value, Check([{Name, Value}])}) || Value <- good(Kind)],
      [?assertMatch({Value, {error, {bad_option, _, _}}}, {Value, Check([{Name, Value}])}) || Value <- bad(Kind)]
    end}
   || {Level, Check} <- ?CHECKED ++ ?SECURED, {Name, Kind, _, _, _} <- brod_option_table:rows(Level)].

%% In Elixir a configuration has nil where nobody has set anything, such as `ssl: Application.get_env(:app, :ssl)'.
nil_is_as_if_nothing_was_given_like_undefined_test_() ->
  [{lists:concat([Level, " ", Name, " ", Unset]), ?_assertEqual(Check([]), Check([{Name, Unset}]))}
   || {Level, Check} <- ?CHECKED, {Name, Kind, _, _, _} <- brod_option_table:rows(Level),
      not is_tuple(Kind) orelse element(1, Kind) =/= any, Unset <- [nil, undefined]]
  ++ [?_assertEqual(7, brod_options:given(key, Config, 7)) || Config <- [[{key, nil}], #{key => undefined}, []]].

secured(ssl, [{Name, _}] = Given) when Name =:= keyfile; Name =:= key; Name =:= password ->
  brod_ssl_options:check([{certfile, "c"} | Given]);
secured(ssl, Given) ->
  brod_ssl_options:check(Given);
secured(sasl, [{mechanism, Mechanism}]) ->
  brod_sasl_options:check((beside(Mechanism))#{mechanism => Mechanism});
secured(sasl_login, [{Name, Value}]) ->
  brod_sasl_options:check({plain, case Name of
                                    file -> #{file => Value};
                                    username -> #{username => Value, password => "p"};
                                    _ -> (beside(plain))#{Name => Value}
                                  end});
secured(sasl_oauthbearer, [{Name, Value}]) ->
  %% one proof of who asks is needed, and one is allowed
  Beside = case lists:member(Name, [client_assertion, client_assertion_file, client_assertion_key_file]) of
             _ when Name =:= token -> #{};
             true -> maps:remove(client_secret, beside(oauthbearer));
             false -> beside(oauthbearer)
           end,
  brod_sasl_options:check({oauthbearer, Beside#{Name => Value}});
secured(sasl_aws_msk_iam, [{Name, Value}]) ->
  brod_sasl_options:check({aws_msk_iam, (beside(aws_msk_iam))#{Name => Value}}).

beside(oauthbearer) -> #{token_endpoint => "https://id.example", client_id => "c", client_secret => "s"};
beside(aws_msk_iam) -> #{access_key_id => "a", secret_access_key => "s"};
beside(_Login) -> #{user => "u", password => "p"}.

%% What is used where nothing is given is what is used where the defaults are.
the_defaults_of_ssl_and_sasl_are_those_of_the_table_test_() ->
  [?_assertEqual(maps:remove(verify_by, element(2, brod_ssl_options:check(true))),
                 maps:remove(verify_by, element(2, brod_ssl_options:check(brod_option_table:defaults(ssl))))),
   ?_assertMatch({ok, #{versions := ['tlsv1.2', 'tlsv1.3'], resumption := true}}, brod_ssl_options:check(true)),
   ?_assertMatch({ok, #{client_credentials := #{urlencode := false, parameters := [], extensions := []}}},
                 brod_sasl_options:check({oauthbearer, beside(oauthbearer)})),
   ?_assertMatch({ok, #{credentials := default}}, brod_sasl_options:check({aws_msk_iam, []}))].

good({or_infinity, Kind, _}) -> [infinity | good(Kind)];
good({later, Kind}) -> [nonsense | good(Kind)];
good({integer, _, Min, Max}) -> [Min, Max];
good({clamped, _, Min, Max}) -> [Min, Max, Min - 1, Max + 1, infinity];
good({number, _, from, Min, Max}) -> [Min, Max, Min + 0.5];
good({number, _, above, Min, Max}) -> [Max, Min + 0.5];
good({one_of, Values}) -> Values;
good({options, _}) -> [[], #{}];
good(boolean) -> [true, false];
good(binary) -> [<<"b">>];
good(acks) -> [-1, 0, 1, all, none];
good(codec) -> [gzip, none];
good({text, _}) -> ["text", <<"text">>, [<<"te">>, "xt"]];
good({either, Kinds}) -> lists:append([good(Kind) || Kind <- Kinds]);
good({list_of, Kind}) -> [good(Kind)];
good(function) -> [fun() -> <<"text">> end];
good(alpn_name) -> [<<"kafka">>];
good(verification) -> [verify_peer, verify_none];
good(pairs) -> [[], #{"name" => <<"value">>}, [{name, "value"}]];
good(_) -> [].

bad({or_infinity, Kind, _}) -> [soon | bad(Kind) -- [infinity]];
bad({integer, _, Min, Max}) -> [Min - 1, Max + 1, 1.5, infinity];
bad({clamped, _, _, _}) -> [1.5, many];
bad({number, _, from, Min, Max}) -> [Min - 1, Max + 1, many];
bad({number, _, above, Min, Max}) -> [Min, Max + 1, many];
bad({one_of, _}) -> [nonsense];
bad({options, _}) -> [nonsense];
bad(boolean) -> [1];
bad(binary) -> ["text"];
bad(acks) -> [2, some];
bad(codec) -> [brotli];
bad(begin_offset) -> [-3, first];
bad(partition_list) -> [all, [a]];
bad(socket_options) -> [[{sndbuf, many}]];
bad({text, _}) -> ["", <<>>, 1, [16#d800], text];
bad({either, _}) -> [1, <<>>, fun(_) -> ok end];
bad({list_of, _}) -> [[], nonsense, [nonsense], [1 | 2]];
bad(function) -> [1, "text", fun(_) -> ok end];
bad(verification) -> [maybe_later, true];
bad(pairs) -> [nonsense, [{1, 2}], ["name"], [{"name", {value}}], [{name, "value"} | nonsense]];
bad(_) -> [].

%% Names, that is; values are looked at above.
tls_has_the_options_of_the_table_test_() ->
  Known = fun(Name) ->
            case brod_ssl_options:check([{Name, nonsense}]) of
              {error, {bad_option, {ssl, Name}, unknown}} -> false;
              _ -> true
            end
          end,
  [{atom_to_list(Name), ?_assert(Known(Name))} || Name <- brod_option_table:names(ssl)] ++ [?_assertNot(Known(verfy))].

sasl_has_the_options_of_the_table_test_() ->
  [{lists:concat([Level, " ", Name]),
    ?_assertNotMatch({error, {bad_option, {sasl, Name}, unknown}}, brod_sasl_options:check({Mechanism, Options#{Name => <<"x">>}}))}
   || {Level, Mechanism, Options} <- [{sasl_login, plain, #{password => <<"p">>}}, {sasl_oauthbearer, oauthbearer, #{}},
                                      {sasl_aws_msk_iam, aws_msk_iam, #{}}],
      Name <- brod_option_table:names(Level), {Level, Name} =/= {sasl_login, file}]
  ++ [?_assertMatch({error, {bad_option, {sasl, scop}, unknown}}, brod_sasl_options:check({oauthbearer, #{scop => <<"x">>}}))].

%% What is read of the environment stands in the table, and the other way round.
the_environment_has_the_options_of_the_table_test() ->
  Read = [list_to_atom(Name)
          || File <- filelib:wildcard(filename:join([code:lib_dir(brod), "src", "*.erl"])), {ok, Text} <- [file:read_file(File)],
             {match, Found} <- [re:run(Text, "(?:get_env\\(brod, |brod_option_table:environment\\()([a-z_]+)", [global, {capture, all_but_first, list}])],
             [Name] <- Found],
  ?assertEqual(lists:sort(brod_option_table:names(application)), lists:usort(Read)).

what_is_wrong_is_said_in_words_test_() ->
  [{Expected, ?_assertEqual(Expected, lists:flatten(brod_options:describe(Reason)))}
   || {Expected, Reason} <-
        [{"the option connect_timeout cannot be 0; it may be: ms > 0, or infinity", {bad_option, connect_timeout, 0}},
         {"the option compression cannot be brotli; it may be: no_compression, gzip, snappy, lz4, zstd",
          {bad_option, compression, brotli}},
         {"ssl has no option verfy; did you mean verify?", {bad_option, {ssl, verfy}, unknown}},
         {"sasl has no mechanism scram_sha256; did you mean scram_sha_256?", {bad_option, sasl, {unknown_mechanism, scram_sha256}}},
         {"the option verify of ssl cannot be used: verify_all; it may be: verify_peer, verify_none",
          {bad_option, {ssl, verify}, verify_all}},
         {"the option token_endpoint of sasl is missing; it may be: URL", {bad_option, {sasl, token_endpoint}, missing}},
         {"the engine does not have the option verify_fun of ssl; see docs/migrating-tls.md",
          {bad_option, {ssl, verify_fun}, not_supported}}]].
