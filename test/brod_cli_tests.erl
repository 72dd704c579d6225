-module(brod_cli_tests).
-include_lib("eunit/include/eunit.hrl").

-define(SPEC, [{"topic", string, ""}, {"count", integer, ""}, {"partition", natural, ""}, {"set", many, ""}, {"follow", flag, ""}]).

options_and_words_are_told_apart_test() ->
  ?assertEqual({#{"topic" => "t", "count" => 3, "set" => ["a=1", "b=2"], "follow" => true}, ["x", "--y"]},
               brod_cli:parse(["-t", "t", "x", "--count=3", "--set", "a=1", "--set=b=2", "-f", "--", "--y"], ?SPEC)).

what_is_not_understood_is_said_test_() ->
  [?_assertEqual(Says, usage(Args))
   || {Args, Says} <- [{["--topci", "t"], "no option --topci, did you mean topic?"},
                       {["--frobnicate"], "no option --frobnicate, see brod help"},
                       {["-z"], "no option -z"},
                       {["--count", "many"], "--count wants a number, not many"},
                       {["-p", "-1"], "--partition wants a number from 0 on, not -1"},
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
  ?assertEqual({[{"::1", 9092}], []}, brod_cli_config:bootstrap(#{"brokers" => "[::1]"})),
  [?assertThrow({usage, _}, brod_cli_config:bootstrap(#{"brokers" => Brokers}))
   || Brokers <- ["a:b", "a:0", "a:65536", ":9092", "a:", ",", ""]].

whoever_names_a_certificate_gets_tls_test() ->
  ?assertEqual({[{"a", 1}], [{ssl, [{cacertfile, "ca.pem"}]}]},
               brod_cli_config:bootstrap(#{"brokers" => "a:1", "cacert" => "ca.pem"})),
  ?assertEqual({[{"a", 1}], [{ssl, true}]}, brod_cli_config:bootstrap(#{"brokers" => "a:1", "tls" => true})).

a_properties_file_of_java_is_read_test() ->
  File = filename:join(filename:basedir(user_cache, "brod_cli_tests"), "client.properties"),
  ok = filelib:ensure_dir(File),
  ok = file:write_file(File, "# ours\nbootstrap.servers = a:1,\\\n   b:2\nsecurity.protocol=SASL_SSL\n"
                             "sasl.mechanism: SCRAM-SHA-256\n"
                             "sasl.jaas.config=x.ScramLoginModule required username=\"me\" password=\"a\\\\\"b\";\n"),
  try
    ?assertEqual({[{"a", 1}, {"b", 2}], [{ssl, true}, {sasl, {scram_sha_256, <<"me">>, <<"a\"b">>}}]},
                 brod_cli_config:bootstrap(#{"config" => File})),
    ?assertMatch({[{"c", 3}], [_, {sasl, {plain, <<"you">>, <<"secret">>}}]},
                 brod_cli_config:bootstrap(#{"config" => File, "brokers" => "c:3", "sasl" => "plain",
                                             "username" => "you", "password" => "secret"}))
  after
    ok = file:delete(File)
  end.

what_java_allows_in_a_properties_file_is_understood_test_() ->
  File = filename:join(filename:basedir(user_cache, "brod_cli_tests"), "other.properties"),
  ok = filelib:ensure_dir(File),
  [?_assertEqual(Read, begin ok = file:write_file(File, Text), brod_cli_config:properties(File) end)
   || {Text, Read} <- [{<<"# no line goes on \\\na=1\r\n! b=2">>, #{"a" => "1"}},
                       {<<"a=b\\\n  #c\nd">>, #{"a" => "b#c", "d" => ""}},
                       {<<"a = host\\:9092 = x\\\\">>, #{"a" => "host:9092 = x\\"}},
                       {<<"=no name\n\n  a\\ b:c">>, #{"" => "no name", "a b" => "c"}},
                       {<<"a=é→"/utf8>>, #{"a" => "é→"}}, {<<"a=\\u00e9\\t\\q">>, #{"a" => "é\tq"}}, {<<"a=", 233>>, #{"a" => "é"}}]].

credentials_in_either_quotes_test() ->
  File = filename:join(filename:basedir(user_cache, "brod_cli_tests"), "quotes.properties"),
  ok = filelib:ensure_dir(File),
  ok = file:write_file(File, "sasl.mechanism=PLAIN\nsasl.jaas.config=x required username='m\"e' password=\"a'b\";\n"),
  ?assertMatch({_, [{sasl, {plain, <<"m\"e">>, <<"a'b">>}}]}, brod_cli_config:bootstrap(#{"config" => File})).

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
                          {{producer_not_found, <<"ü"/utf8>>, 9}, "ü has no partition 9"},
                          {{producer_down, {not_retriable, {produce_response_error, <<"t">>, 0, -1, message_too_large}}},
                           "t, partition 0: message_too_large"},
                          {{invalid_config, <<"no such key">>}, "invalid_config: no such key"},
                          {{invalid_config, undefined}, "invalid_config"},
                          {{not_supported, describe_acls, undefined}, "the broker knows no describe_acls"},
                          {[{{"h", 1}, {{unsupported_api, <<"Metadata">>}, []}}],
                           "h:1 it knows no Metadata: check the port, it may be one for controllers alone"},
                          {[{{"h", 1}, {econnrefused, []}}],
                           "h:1 nobody listens there: check the port, and that the broker runs"}]].

acls_are_made_of_options_test_() ->
  Read = #{"topic" => "t", "principal" => "User:a", "operation" => ["read", "Describe-Configs"]},
  [?_assertEqual([#{resource_type => 2, resource_name => <<"t">>, resource_pattern_type => 3, principal => <<"User:a">>,
                    host => <<"*">>, operation => Operation, permission_type => 3} || Operation <- [3, 10]],
                 brod_cli_acls:bindings(Read)),
   ?_assertMatch([#{resource_type := 4, resource_name := <<"kafka-cluster">>, resource_pattern_type := 4, permission_type := 2, host := <<"h">>}],
                 brod_cli_acls:bindings(#{"cluster" => true, "prefixed" => true, "deny" => true, "principal" => "User:a",
                                          "host" => "h", "operation" => ["all"]})),
   ?_assertEqual(#{resource_type => 1, resource_name => undefined, resource_pattern_type_filter => 1, principal => undefined,
                   host => undefined, operation => 1, permission_type => 1}, brod_cli_acls:filter(#{})),
   ?_assertMatch(#{resource_type := 3, resource_name := <<"g">>, operation := 3, principal := <<"User:a">>},
                 brod_cli_acls:filter(#{"group" => "g", "operation" => ["read"], "principal" => "User:a"})),
   ?_assertThrow({missing, "principal"}, brod_cli_acls:bindings(maps:remove("principal", Read))),
   ?_assertThrow({usage, _}, brod_cli_acls:bindings(Read#{"operation" => ["fly"]})),
   ?_assertThrow({usage, _}, brod_cli_acls:bindings(Read#{"group" => "g"})),
   ?_assertThrow({usage, _}, brod_cli_acls:run(#{"operation" => ["read"]}, ["delete"]))].

what_an_answer_leaves_out_is_not_done_test_() ->
  Done = #{error_code => no_error, error_message => undefined},
  Refused = #{error_code => invalid_request, error_message => <<"no">>},
  [?_assertEqual(ok, brod_cli_cluster:all_done([Done, Done], 2)),
   ?_assertEqual(ok, brod_cli_cluster:all_done([], 0)),
   ?_assertMatch({error, <<"the broker's answer leaves out", _/binary>>}, brod_cli_cluster:all_done([Done], 2)),
   ?_assertMatch({error, <<"the broker's answer leaves out", _/binary>>}, brod_cli_cluster:all_done([], 1)),
   ?_assertEqual({error, {invalid_request, <<"no">>}}, brod_cli_cluster:all_done([Done, Refused], 3)),
   ?_assertEqual({error, unknown_member_id}, brod_cli_cluster:all_done([Done, #{error_code => unknown_member_id}], 2))].

an_offset_that_is_not_told_is_not_one_that_is_not_there_test() ->
  Partition = fun(P, Offset, Code) -> #{partition_index => P, committed_offset => Offset, error_code => Code, metadata => <<>>} end,
  Of = fun(Partitions) -> brod_cli_groups:offsets([#{name => <<"t">>, partitions => Partitions}]) end,
  Told = [Partition(1, 4, no_error), Partition(0, 7, no_error), Partition(2, -1, no_error)],
  ?assertEqual([{<<"t">>, 0, 7}, {<<"t">>, 1, 4}], Of(Told)),
  {failed, Text} = catch Of([Partition(3, -1, unstable_offset_commit) | Told]),
  ?assertEqual("t, partition 3: unstable_offset_commit", lists:flatten(Text)).

kafka_gets_a_hash_and_no_password_test() ->
  #{name := <<"ann">>, mechanism := 2, iterations := 4096, salt := Salt, salted_password := Hash} = Upsertion =
    brod_cli_users:upsertion("ann", <<"secret">>, brod_cli_users:mechanism("SCRAM-SHA-512"), 4096),
  ?assertEqual({24, 64}, {byte_size(Salt), byte_size(Hash)}),
  ?assertEqual(nomatch, binary:match(term_to_binary(Upsertion), <<"secret">>)),
  ?assertNotEqual(Salt, maps:get(salt, brod_cli_users:upsertion("ann", <<"secret">>, brod_cli_users:mechanism("scram_sha_512"), 4096))),
  ?assertThrow({usage, _}, brod_cli_users:mechanism("plain")).

an_end_of_a_transaction_is_written_for_its_producer_test() ->
  Marker = brod_cli_txn:marker(<<"t">>, 3, #{producer_id => 7, producer_epoch => 2, coordinator_epoch => -1}),
  ?assertEqual(#{markers => [#{producer_id => 7, producer_epoch => 2, transaction_result => false, coordinator_epoch => 0,
                               topics => [#{name => <<"t">>, partition_indexes => [3]}]}]}, Marker),
  ?assertMatch(<<_/binary>>, iolist_to_binary(brod_kafka_codec:encode(write_txn_markers, 1, Marker))).

percentiles_are_of_what_is_there_test_() ->
  [?_assertEqual(Is, brod_cli_bench:percentile(P, Sorted))
   || {Is, P, Sorted} <- [{0, 99, []}, {5, 50, [5]}, {50, 50, lists:seq(1, 100)}, {99, 99, lists:seq(1, 100)}, {2, 50, [1, 2, 3]}]].

the_environment_is_not_about_another_cluster_test() ->
  true = os:putenv("BROD_SASL", "plain"),
  try ?assertEqual({[{"a", 1}], []}, brod_cli_config:bootstrap(#{"brokers" => "a:1"}, no_environment))
  after
    os:unsetenv("BROD_SASL")
  end.

what_an_acl_allows_is_told_test_() ->
  Topic = fun(Operations) -> brod_cli_checks:topic_permissions(#{name => <<"t">>, error_code => no_error, topic_authorized_operations => Operations}) end,
  Said = fun(Findings) -> [{Is, unicode:characters_to_list(io_lib:format(F, Args))} || {Is, F, Args} <- Findings] end,
  [?_assertEqual([], Topic(-16#80000000)),
   ?_assertEqual([{ok, "topic t: this user may read and write"}], Said(Topic(2#110111111000))),
   ?_assertEqual([{ok, "topic t: this user may read, but not write (ACLs)"}], Said(Topic(2#100001000))),
   ?_assertEqual([{bad, "topic t: this user may not read or write (ACLs)"}], Said(Topic(2#100000000))),
   ?_assertMatch([{bad, "topic t: topic_authorization_failed: this user needs Describe" ++ _}],
                 Said(brod_cli_checks:topic_permissions(#{name => <<"t">>, error_code => topic_authorization_failed})))].

a_message_of_the_future_tells_of_a_clock_test_() ->
  Said = fun(Found) -> [unicode:characters_to_list(io_lib:format(F, Args)) || {bad, F, Args} <- brod_cli_checks:clock_findings(Found, 1000000)] end,
  Early = {<<"t">>, 3, 1090000},
  [?_assertEqual([], Said([])),
   ?_assertMatch(["t, partition 3, has a message of 90 s from now: the clock of this machine is slow, or that of a producer" ++ _], Said([Early])),
   ?_assertEqual(["the clock of this machine is slow: brokers have stored offsets 120 s from now"],
                 Said([{<<"__consumer_offsets">>, 7, 1120000}, Early]))].

a_shell_completes_commands_what_they_do_and_their_options_test_() ->
  {timeout, 240, [{Shell, {timeout, 70, ?_assertEqual(["commits", "delete", "--partitions", "zsh", "topics"], completed(Shell))}}
                  || Shell <- ["bash", "zsh", "fish"], is_there(Shell)]}.

%% Those that the shell itself knows: nothing else is offered.
behind_an_option_of_files_come_files_test_() ->
  [{timeout, 70, ?_assertEqual("", os:cmd("bash -c 'eval \"$(cat)\"; COMP_WORDS=(brod meta " ++ Option ++ " \"\") COMP_CWORD=3; _brod;"
                                          " echo -n ${COMPREPLY[*]}' <<'EOF'\n" ++ lists:flatten(brod_cli_completion:script("bash")) ++ "EOF\n"))}
   || is_there("bash"), Option <- ["--config", "-c", "--cacert"]].

%% What a shell makes of the beginnings of command lines: of each the word in which it ends.
completed(Shell) ->
  Base = filename:join(os:getenv("TMPDIR", "/tmp"), "brod-completion-" ++ os:getpid()),
  [Script, Try, Said] = Files = [Base ++ Suffix || Suffix <- [".script", ".try", ".said"]],
  Lines = ["brod comm", "brod topics del", "brod topics create --parti", "brod completion z", "brod help to"],
  ok = file:write_file(Script, brod_cli_completion:script(Shell)),
  ok = file:write_file(Try, tried(Shell, Script, Lines, Said)),
  Out = os:cmd(lists:flatten(["timeout 60 ", Shell, " ", Try])),
  case file:read_file(Said) of
    {ok, Words} ->
      _ = [file:delete(File) || File <- Files],
      string:lexemes(binary_to_list(Words), " \n");
    {error, enoent} -> Out
  end.

tried("bash", Script, Lines, Said) ->
  ["source ", Script, [["\nCOMP_WORDS=(", Line, ") COMP_CWORD=", integer_to_list(length(string:lexemes(Line, " ")) - 1),
                        "\n_brod\necho ${COMPREPLY[*]} >>", Said] || Line <- Lines]];
tried("fish", Script, Lines, Said) ->
  ["source ", Script, [["\ncomplete -C '", Line, "' | cut -f 1 >>", Said] || Line <- Lines]];
%% It completes at a terminal only. There the lines are typed, with a tabulator, and a function brod tells what it was called with.
tried("zsh", Script, Lines, Said) ->
  ["zmodload zsh/zpty\nzpty shell 'TERM=dumb zsh -f -i'\n",
   "zpty -w shell 'brod() { print -r -- $argv[-1] >>", Said, " }; source ", Script, "'\n",
   [["zpty -n -w shell $'", Line, "\\t\\n'\n"] || Line <- Lines],
   "zpty -w shell exit\nwhile zpty -r shell out; do :; done\n"].

is_there(Shell) ->
  case os:find_executable(Shell) of
    false -> ?debugFmt("not tried, for it is not here: the completion for ~s", [Shell]), false;
    _ -> true
  end.

each_command_has_a_help_and_says_what_it_takes_test_() ->
  [{Name, fun() ->
     ?assertNotEqual("", Text),
     ?assert(is_function(Fun, 2)),
     Options = [Option || {Option, _, _} <- Spec ++ brod_cli_config:options()],
     ?assertEqual([], Options -- lists:usort(Options))
   end} || {Name, Text, Spec, Fun} <- brod_cli_commands:all()].
