-module(brod_cli_tests).
-include_lib("eunit/include/eunit.hrl").

-define(SPEC, [{"topic", string, ""}, {"count", integer, ""}, {"set", many, ""}, {"follow", flag, ""}]).

options_and_words_are_told_apart_test() ->
  ?assertEqual({#{"topic" => "t", "count" => 3, "set" => ["a=1", "b=2"], "follow" => true}, ["x", "--y"]},
               brod_cli:parse(["-t", "t", "x", "--count=3", "--set", "a=1", "--set=b=2", "-f", "--", "--y"], ?SPEC)).

what_is_not_understood_is_said_test_() ->
  [?_assertEqual(Says, usage(Args))
   || {Args, Says} <- [{["--topci", "t"], "no option --topci, did you mean topic?"},
                       {["--frobnicate"], "no option --frobnicate, see brod help"},
                       {["-z"], "no option -z"},
                       {["--count", "many"], "--count wants a number, not many"},
                       {["--topic"], "--topic wants a value"},
                       {["--follow=1"], "--follow takes no value"}]].

usage(Args) ->
  try brod_cli:parse(Args, ?SPEC) of
    Parsed -> Parsed
  catch
    throw:{usage, Text} -> lists:flatten(Text)
  end.

brokers_have_a_default_port_test() ->
  ?assertEqual({[{"a", 9092}, {"b", 1}, {"::1", 2}], []}, brod_cli_config:bootstrap(#{"brokers" => "a, b:1,[::1]:2"})),
  ?assertThrow({usage, _}, brod_cli_config:bootstrap(#{"brokers" => "a:b"})).

whoever_names_a_certificate_gets_tls_test() ->
  ?assertEqual({[{"a", 1}], [{ssl, [{cacertfile, "ca.pem"}]}]},
               brod_cli_config:bootstrap(#{"brokers" => "a:1", "cacert" => "ca.pem"})),
  ?assertEqual({[{"a", 1}], [{ssl, true}]}, brod_cli_config:bootstrap(#{"brokers" => "a:1", "tls" => true})).

a_properties_file_of_java_is_read_test() ->
  File = filename:join(filename:basedir(user_cache, "brod_cli_tests"), "client.properties"),
  ok = filelib:ensure_dir(File),
  ok = file:write_file(File, "# ours\nbootstrap.servers = a:1,\\\n   b:2\nsecurity.protocol=SASL_SSL\n"
                             "sasl.mechanism: SCRAM-SHA-256\n"
                             "sasl.jaas.config=x.ScramLoginModule required username=\"me\" password=\"a\\\"b\";\n"),
  try
    ?assertEqual({[{"a", 1}, {"b", 2}], [{ssl, true}, {sasl, {scram_sha_256, <<"me">>, <<"a\"b">>}}]},
                 brod_cli_config:bootstrap(#{"config" => File})),
    ?assertMatch({[{"c", 3}], [_, {sasl, {plain, <<"you">>, <<"secret">>}}]},
                 brod_cli_config:bootstrap(#{"config" => File, "brokers" => "c:3", "sasl" => "plain",
                                             "username" => "you", "password" => "secret"}))
  after
    ok = file:delete(File)
  end.

sasl_without_a_password_is_said_test() ->
  ?assertThrow({usage, _}, brod_cli_config:bootstrap(#{"sasl" => "plain", "username" => "me"})),
  ?assertThrow({usage, _}, brod_cli_config:bootstrap(#{"sasl" => "gssapi", "username" => "me", "password" => "x"})).

a_line_is_a_message_test_() ->
  Headers = [{<<"h">>, <<"all">>}],
  Json = <<"{\"key\": \"k\", \"value\": \"v \\u00e9\\ud83d\\ude00\", \"n\": -1.5e3, \"headers\": {\"x\": \"y\"}}">>,
  [?_assertEqual(#{key => <<>>, value => <<"a:b">>, headers => Headers}, brod_cli_messages:message(<<"a:b">>, Headers, #{})),
   ?_assertEqual(#{key => <<"a">>, value => <<"b::c">>, headers => []},
                 brod_cli_messages:message(<<"a::b::c">>, [], #{"key-delimiter" => "::"})),
   ?_assertEqual(#{key => <<>>, value => <<"abc">>, headers => []},
                 brod_cli_messages:message(<<"abc">>, [], #{"key-delimiter" => ":"})),
   ?_assertEqual(#{key => <<"k">>, value => <<"v é😀"/utf8>>, headers => Headers ++ [{<<"x">>, <<"y">>}]},
                 brod_cli_messages:message(Json, Headers, #{"json-lines" => true})),
   ?_assertThrow({failed, _}, brod_cli_messages:message(<<"{\"value\": 1}">>, [], #{"json-lines" => true})),
   ?_assertThrow({failed, _}, brod_cli_messages:message(<<"{\"value\"">>, [], #{"json-lines" => true}))].

any_bytes_come_back_from_json_test() ->
  [?assertEqual(Bytes, brod_cli_output:bytes(brod_json:decode(iolist_to_binary(brod_cli_output:json(Bytes)))))
   || Bytes <- [<<>>, <<"é\n\t\"\\"/utf8>>, <<255, 0>>, <<"base64:">>, <<"base64:eA==">>, <<0:80>>]].

values_without_a_json_of_their_own_are_text_test() ->
  ?assertEqual(<<"{\"a\":null,\"b\":[1,true,\"x\"],\"c\":\"{a,1}\"}">>,
               iolist_to_binary(brod_cli_output:json(#{a => undefined, b => [1, true, x], c => {a, 1}}))).

a_format_is_filled_in_test() ->
  ?assertEqual(<<"é v"/utf8, 255, " %z\t100%\n">>,
               iolist_to_binary(brod_cli_messages:format("é v%v %z\\t100%%\\n", #{$v => <<255>>, $% => <<"%">>}))).

a_reason_is_said_in_words_test_() ->
  [?_assertEqual(Words, unicode:characters_to_list(brod_cli_output:reason(Reason)))
   || {Reason, Words} <- [{not_leader, "not_leader"},
                          {{invalid_config, <<"no such key">>}, "invalid_config: no such key"},
                          {{invalid_config, undefined}, "invalid_config"},
                          {{not_supported, describe_acls, undefined}, "the broker knows no describe_acls"},
                          {[{{"h", 1}, {econnrefused, []}}],
                           "h:1 nobody listens there: check the port, and that the broker runs"}]].
