%% The command line as people start it, on the Kafka in memory.
-module(brod_cli_SUITE).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([topics_are_piped/1, a_group_goes_on_where_it_was/1, bench_tells_rates/1, what_a_broker_lacks_is_said/1,
         progress_and_colours_are_for_terminals/1]).
-export([lines_are_produced_and_consumed/1, json_lines_come_back/1, consuming_starts_and_ends_where_told/1,
         follow_waits_for_more/1, topics_live/1, groups_move/1, groups_that_are_not_told_are_missed/1,
         groups_of_other_kinds_are_not_called_dead/1,
         doctor_says_what_is_wrong/1, doctor_goes_on_where_a_group_is_not_for_the_user/1, exit_codes/1]).
-export([arguments_are_utf_8_in_any_locale/1, what_came_before_a_wrong_line_is_stored/1, a_signal_ends_it_without_a_word/1,
         a_group_that_waits_for_a_killed_member_is_waited_for/1,
         a_full_disk_is_told_and_a_reader_that_is_gone_is_not/1]).

-include_lib("eunit/include/eunit.hrl").

-define(LIMIT_MS, 60000).
-define(GROUP_AUTHORIZATION_FAILED, 30).
-define(CLUSTER_AUTHORIZATION_FAILED, 31).

suite() -> [{timetrap, {seconds, 240}}].

all() ->
  [lines_are_produced_and_consumed, json_lines_come_back, consuming_starts_and_ends_where_told, follow_waits_for_more,
   topics_are_piped, a_group_goes_on_where_it_was, bench_tells_rates, what_a_broker_lacks_is_said,
   progress_and_colours_are_for_terminals, topics_live, groups_move, groups_that_are_not_told_are_missed,
   groups_of_other_kinds_are_not_called_dead, a_group_that_waits_for_a_killed_member_is_waited_for,
   doctor_says_what_is_wrong, doctor_goes_on_where_a_group_is_not_for_the_user, exit_codes, arguments_are_utf_8_in_any_locale, what_came_before_a_wrong_line_is_stored,
   a_signal_ends_it_without_a_word, a_full_disk_is_told_and_a_reader_that_is_gone_is_not].

init_per_suite(Config) -> brod_test:init_mock_suite(Config).

end_per_suite(_Config) -> ok.

init_per_testcase(_Case, Config) ->
  %% Of a process of its own: the one here ends before the test starts.
  Self = self(),
  Owner = spawn(fun() ->
                  {ok, Mock} = brod_mock:start(#{brokers => 1, auto_create_topics => false, topics => #{<<"t">> => 2}}),
                  Self ! {brokers, self(), brod_mock:endpoints(Mock)},
                  receive stop -> ok end
                end),
  receive
    {brokers, Owner, [{Host, Port}]} -> [{owner, Owner}, {brokers, Host ++ ":" ++ integer_to_list(Port)} | Config]
  after ?LIMIT_MS -> error(not_started)
  end.

end_per_testcase(_Case, Config) ->
  proplists:get_value(owner, Config) ! stop,
  ok.

lines_are_produced_and_consumed(Config) ->
  {0, <<>>, <<>>} = brod(Config, ["produce", "-t", "t", "-p", "1", "-K", ":", "--header", "h=é"], <<"a:1\r\nb:é:2\nlast"/utf8>>),
  ?assertEqual({0, <<"1 0 a=1;1 1 b=é:2;1 2 =last;"/utf8>>, <<>>},
               brod(Config, ["consume", "-t", "t", "--format", "%p %o %k=%v;"])),
  {0, Json, <<>>} = brod(Config, ["consume", "-t", "t", "--json", "-n", "1"]),
  ?assertMatch(#{<<"topic">> := <<"t">>, <<"partition">> := 1, <<"offset">> := 0, <<"key">> := <<"a">>,
                 <<"value">> := <<"1">>, <<"headers">> := [[<<"h">>, <<"é"/utf8>>]]}, brod_json:decode(Json)).

json_lines_come_back(Config) ->
  Bytes = <<0, 255, "\n\"é", 128>>,
  Line = [brod_cli_output:json(#{key => <<"k">>, value => Bytes, headers => [[<<"a">>, <<"1">>], [<<"a">>, <<"2">>]]}), "\n"],
  {0, <<>>, <<>>} = brod(Config, ["produce", "-t", "t", "-p", "0", "--json-lines"], Line),
  ?assertEqual({0, Bytes, <<>>}, brod(Config, ["consume", "-t", "t", "--format", "%v"])),
  {0, Json, <<>>} = brod(Config, ["consume", "-t", "t", "--json"]),
  {0, <<>>, <<>>} = brod(Config, ["produce", "-t", "t", "-p", "0", "--json-lines"], Json),
  {0, Again, <<>>} = brod(Config, ["consume", "-t", "t", "--json", "--from", "1"]),
  Copied = fun(Text) -> maps:with([<<"key">>, <<"value">>, <<"headers">>], brod_json:decode(Text)) end,
  ?assertEqual(Copied(Json), Copied(Again)).

consuming_starts_and_ends_where_told(Config) ->
  {0, <<>>, <<>>} = brod(Config, ["produce", "-t", "t", "-p", "0"], <<"a\nb\nc\nd\n">>),
  Consume = fun(Args) -> brod(Config, ["consume", "-t", "t", "-p", "0" | Args]) end,
  ?assertEqual({0, <<"c\nd\n">>, <<>>}, Consume(["--from", "2"])),
  ?assertEqual({0, <<"d\n">>, <<>>}, Consume(["--from", "-1"])),
  ?assertEqual({0, <<"a\nb\n">>, <<>>}, Consume(["--from", "@1", "--count", "2"])),
  ?assertEqual({0, <<>>, <<>>}, Consume(["--from", "@99999999999999"])),
  ?assertEqual({0, <<"b\nc\n">>, <<>>}, Consume(["--grep", "[bc]"])),
  {0, Offsets, <<>>} = brod(Config, ["offsets", "-t", "t", "-p", "0", "--json"]),
  ?assertEqual(#{<<"topic">> => <<"t">>, <<"partition">> => 0, <<"first">> => 0, <<"end">> => 4}, brod_json:decode(Offsets)).

follow_waits_for_more(Config) ->
  {0, <<>>, <<>>} = brod(Config, ["produce", "-t", "t"], <<"before\n">>),
  Port = start(Config, ["consume", "-t", "t", "--follow", "-n", "2"], "/dev/null", "/dev/null"),
  receive {Port, {data, Before}} -> ?assertEqual(<<"before\n">>, Before) after ?LIMIT_MS -> error(nothing_came) end,
  {0, <<>>, <<>>} = brod(Config, ["produce", "-t", "t"], <<"later\n">>),
  ?assertEqual({0, <<"later\n">>}, ended(Port, <<>>)).

topics_are_piped(Config) ->
  {0, <<>>, <<>>} = brod(Config, ["topics", "create", "copy", "--partitions", "2"]),
  {0, <<>>, <<>>} = brod(Config, ["produce", "-t", "t", "-p", "1", "-K", ":", "--header", "h=1"], <<"a:1\nb:2\nc:3\n">>),
  ?assertEqual({0, <<>>, <<>>}, brod(Config, ["pipe", "-t", "t", "--to-topic", "copy", "--same-partition", "--grep", "[13]"])),
  Fields = fun(Topic) ->
             {0, Lines, <<>>} = brod(Config, ["consume", "-t", Topic, "-p", "1", "--json"]),
             [maps:with([<<"key">>, <<"value">>, <<"headers">>, <<"time">>], brod_json:decode(Line))
              || Line <- binary:split(Lines, <<"\n">>, [global, trim])]
           end,
  [First, _, Third] = Fields("t"),
  ?assertEqual([First, Third], Fields("copy")),
  %% To another cluster, which the environment does not mean.
  {ok, Other} = brod_mock:start(#{brokers => 1, topics => #{<<"t">> => 1}}),
  [{Host, Port}] = brod_mock:endpoints(Other),
  Brokers = Host ++ ":" ++ integer_to_list(Port),
  ?assertEqual({0, <<>>, <<>>}, brod(Config, ["pipe", "-t", "t", "--to-topic", "t", "--to-brokers", Brokers, "-n", "2"])),
  ?assertEqual([<<"1">>, <<"2">>], [element(4, M) || M <- brod_mock:messages(Other, <<"t">>, 0)]),
  ok = brod_mock:stop(Other),
  ?assertMatch({2, <<>>, <<"brod: a topic that goes into itself", _/binary>>}, brod(Config, ["pipe", "-t", "t", "--to-topic", "t"])).

a_group_goes_on_where_it_was(Config) ->
  {0, <<>>, <<>>} = brod(Config, ["produce", "-t", "t", "-p", "0"], <<"a\nb\nc\n">>),
  Consume = fun(Args) -> brod(Config, ["consume", "-t", "t", "-g", "g" | Args]) end,
  ?assertEqual({0, <<"a\nb\n">>, <<>>}, Consume(["-n", "2"])),
  {0, Lag, <<>>} = brod(Config, ["groups", "lag", "g", "--json"]),
  [Of0, Of1] = [brod_json:decode(Line) || Line <- binary:split(string:trim(Lag), <<"\n">>, [global])],
  ?assertMatch(#{<<"committed">> := 2, <<"lag">> := 1}, Of0),
  ?assertMatch(#{<<"committed">> := null, <<"lag">> := null}, Of1),
  ?assertEqual({0, <<"c\n">>, <<>>}, Consume(["-n", "1"])),
  ?assertEqual({0, <<>>, <<>>}, Consume(["--idle", "1"])),
  ?assertMatch({2, <<>>, <<"brod: a group goes on where it was: no --from\n">>}, Consume(["--from", "earliest"])).

%% A list that is not whole looks like one that is.
groups_that_are_not_told_are_missed(Config) ->
  {ok, Mock} = brod_mock:start(#{brokers => 2}),
  [{Host, Port}, {_, Other}] = brod_mock:endpoints(Mock),
  List = ["groups", "list", "--brokers", Host ++ ":" ++ integer_to_list(Port)],
  ?assertMatch({0, _, <<>>}, brod(Config, List)),
  ok = brod_mock:fault(Mock, #{api => <<"ListGroups">>, broker => 2, action => {error, ?CLUSTER_AUTHORIZATION_FAILED}}),
  Says = iolist_to_binary(["brod: failed: the groups of ", Host, ":", integer_to_list(Other),
                           " are missing: cluster_authorization_failed\n"]),
  ?assertMatch({1, _, Says}, brod(Config, List)),
  ok = brod_mock:stop(Mock).

%% DescribeGroups knows of classic groups alone: brokers answer that another one is dead, whoever is in it.
groups_of_other_kinds_are_not_called_dead(Config) ->
  {ok, Mock} = brod_mock:start(#{brokers => 1, topics => #{<<"t">> => 1}}),
  [{Host, Port}] = brod_mock:endpoints(Mock),
  Describe = fun(Group) ->
               brod(Config, ["groups", "describe", Group, "--brokers", Host ++ ":" ++ integer_to_list(Port)])
             end,
  ok = joins_as_of_kip_848({Host, Port}, <<"g">>, <<"t">>),
  ?assertMatch({1, <<>>, <<"brod: failed: g is a share group, or one whose partitions the brokers deal out", _/binary>>},
               Describe("g")),
  ?assertMatch({0, <<"none is Dead", _/binary>>, <<>>}, Describe("none")),
  ok = brod_mock:stop(Mock).

%% ConsumerGroupHeartbeat 0, which nothing here sends, by hand.
joins_as_of_kip_848({Host, Port}, Group, Topic) ->
  {ok, Socket} = gen_tcp:connect(Host, Port, [binary, {packet, 4}, {active, false}]),
  Text = fun(T) -> [byte_size(T) + 1, T] end,
  Header = <<68:16, 0:16, 1:32, -1:16, 0>>,
  Body = [Text(Group), Text(<<>>), <<0:32>>, 0, 0, <<30000:32>>, [2, Text(Topic)], 0, 1, 0],
  ok = gen_tcp:send(Socket, [Header, Body]),
  {ok, <<1:32, 0, _Throttle:32, ErrorCode:16, _/binary>>} = gen_tcp:recv(Socket, 0, ?LIMIT_MS),
  ?assertEqual(0, ErrorCode),
  gen_tcp:close(Socket).

%% Ctrl-C kills: nobody leaves the group, which waits until the session has timed out.
a_group_that_waits_for_a_killed_member_is_waited_for(Config) ->
  {0, <<>>, <<>>} = brod(Config, ["produce", "-t", "t", "-p", "0"], <<"a\n">>),
  Port = start(Config, ["consume", "-t", "t", "-g", "g", "-f"], "/dev/null", "/dev/null"),
  receive {Port, {data, <<"a\n">>}} -> ok after ?LIMIT_MS -> error(not_shown) end,
  {os_pid, Pid} = erlang:port_info(Port, os_pid),
  _ = os:cmd("kill -KILL " ++ integer_to_list(Pid)),
  _ = ended(Port, <<>>),
  {0, <<>>, <<>>} = brod(Config, ["produce", "-t", "t", "-p", "0"], <<"b\n">>),
  {0, Shown, <<>>} = brod(Config, ["consume", "-t", "t", "-g", "g", "--idle", "1"]),
  %% The first one may not have come to commit.
  ?assert(lists:member(Shown, [<<"b\n">>, <<"a\nb\n">>])).

bench_tells_rates(Config) ->
  {0, Produced, <<>>} = brod(Config, ["bench", "produce", "-t", "t", "-n", "1000", "--size", "10", "--compression", "lz4", "--json"]),
  ?assertMatch(#{<<"messages">> := 1000, <<"messages_per_second">> := PerS, <<"latency_ms_p99">> := P99} when PerS > 0 andalso is_float(P99), brod_json:decode(Produced)),
  {0, Consumed, <<>>} = brod(Config, ["bench", "consume", "-t", "t", "--json"]),
  ?assertMatch(#{<<"messages">> := 1000}, brod_json:decode(Consumed)),
  ?assertMatch({2, <<>>, <<"brod: no compression zip", _/binary>>}, brod(Config, ["bench", "produce", "-t", "t", "--compression", "zip"])).

%% The Kafka in memory has no ACLs, no users, and does not list transactions.
what_a_broker_lacks_is_said(Config) ->
  [?assertEqual({1, <<>>, <<"brod: failed: the broker knows no ", Api/binary, "\n">>}, brod(Config, Args))
   || {Api, Args} <- [{<<"describe_acls">>, ["acls", "list"]},
                      {<<"create_acls">>, ["acls", "create", "-t", "t", "--principal", "User:a", "--operation", "read"]}]],
  [?assertEqual({1, <<>>, <<"brod: the broker knows no ", Api/binary, "\n">>}, brod(Config, Args))
   || {Api, Args} <- [{<<"describe_user_scram_credentials">>, ["users", "list"]}, {<<"list_transactions">>, ["txn", "list"]},
                      {<<"describe_producers">>, ["txn", "producers", "-t", "t"]}]],
  ?assertEqual({0, <<>>, <<>>}, brod(Config, ["txn", "abort", "some-id", "--execute"])).

%% `script' runs a command on a terminal of its own.
progress_and_colours_are_for_terminals(Config) ->
  Dir = proplists:get_value(priv_dir, Config),
  Brod = fun(Args) -> lists:flatten(["escript ", filename:join([brod_test:scripts(), "..", "bin", "brod"]), " ", Args]) end,
  On = fun(Args) ->
         Port = open_port({spawn_executable, os:find_executable("script")},
                          [{args, ["-qec", Brod(Args), filename:join(Dir, "typescript")]}, {env, [{"TERM", "xterm"} | env(Config)]}, exit_status, binary]),
         ended(Port, <<>>)
       end,
  {0, Fine} = On("doctor"),
  ?assertMatch({_, _}, binary:match(Fine, <<"\e[32mok  \e[0m">>)),
  {0, Bench} = On("bench produce -t t -n 2000"),
  ?assertMatch({_, _}, binary:match(Bench, <<"[##############################] 2000 of 2000 messages">>)),
  {0, Plain, <<>>} = brod(Config, ["doctor"]),
  ?assertEqual(nomatch, binary:match(Plain, <<"\e">>)).

topics_live(Config) ->
  Topics = fun(Args) -> brod(Config, ["topics" | Args]) end,
  Set = fun(Args) ->
          {0, Lines, <<>>} = brod(Config, ["configs", "describe", "topic", "new", "--json" | Args]),
          [Value || Line <- binary:split(Lines, <<"\n">>, [global, trim]),
                    #{<<"name">> := <<"retention.ms">>, <<"value">> := Value} <- [brod_json:decode(Line)]]
        end,
  ?assertEqual({0, <<>>, <<>>}, Topics(["create", "new", "--partitions", "2", "--set", "retention.ms=1000"])),
  ?assertEqual([<<"1000">>], Set([])),
  ?assertEqual({0, <<>>, <<>>}, Topics(["alter", "new", "--set", "retention.ms=2000"])),
  ?assertEqual([<<"2000">>], Set([])),
  ?assertEqual({0, <<>>, <<>>}, Topics(["partitions", "new", "--partitions", "3"])),
  ?assertEqual({0, <<"TOPIC  PARTITIONS\nnew    3\nt      2\n">>, <<>>}, Topics(["list"])),
  ?assertEqual({1, <<>>, <<"brod: failed: Topic 't' already exists.\n">>}, Topics(["create", "t"])),
  ?assertEqual({0, <<>>, <<>>}, Topics(["delete", "new"])),
  ?assertEqual({1, <<>>, <<"brod: no topic new\n">>}, Topics(["describe", "new"])).

groups_move(Config) ->
  {0, <<>>, <<>>} = brod(Config, ["produce", "-t", "t", "-p", "0"], <<"a\nb\nc\n">>),
  Reset = ["groups", "reset", "g", "-t", "t", "-p", "0", "--to"],
  {0, _, <<"nothing was changed: --execute does it\n">>} = brod(Config, Reset ++ ["1"]),
  ?assertEqual({0, <<>>, <<>>}, brod(Config, ["commits", "-g", "g", "--json"])),
  {0, _, <<>>} = brod(Config, Reset ++ ["1", "--execute"]),
  {0, _, <<>>} = brod(Config, Reset ++ ["+1", "--execute"]),
  {0, Lag, <<>>} = brod(Config, ["commits", "g", "--json"]),
  ?assertEqual(#{<<"group">> => <<"g">>, <<"topic">> => <<"t">>, <<"partition">> => 0, <<"committed">> => 2, <<"end">> => 3,
                 <<"lag">> => 1}, brod_json:decode(Lag)),
  %% The partition without a commit is there, too.
  ?assertEqual({0, <<"GROUP  TOPIC  PARTITION  COMMITTED  END  LAG\n"
                     "g      t      0          2          3    1\n"
                     "g      t      1          none       0    none\n">>, <<>>}, brod(Config, ["groups", "lag", "g"])),
  {0, <<"g is Empty, 0 members", _/binary>>, <<>>} = brod(Config, ["groups", "describe", "g"]),
  {0, Described, <<>>} = brod(Config, ["groups", "describe", "g", "--json"]),
  ?assertMatch(#{<<"group">> := <<"g">>, <<"state">> := <<"Empty">>, <<"members">> := []}, brod_json:decode(Described)),
  ?assertEqual({0, <<>>, <<>>}, brod(Config, ["groups", "delete", "g"])),
  ?assertEqual({0, <<>>, <<>>}, brod(Config, ["groups", "list", "--json"])).

doctor_says_what_is_wrong(Config) ->
  {0, Fine, <<>>} = brod(Config, ["doctor", "-t", "t", "-g", "g"]),
  [?assertMatch({_, _}, binary:match(Fine, Said))
   || Said <- [<<"ok  all is well">>, <<"ok  topic t: this user may read and write\n">>, <<"ok  group g: this user may read\n">>]],
  InAnHour = erlang:system_time(millisecond) + 3600000,
  {Endpoints, []} = brod_cli_config:bootstrap(#{"brokers" => proplists:get_value(brokers, Config)}, no_environment),
  ok = brod:start_client(Endpoints, ?MODULE, []),
  ok = brod:start_producer(?MODULE, <<"t">>, []),
  ok = brod:produce_sync(?MODULE, <<"t">>, 1, <<>>, #{ts => InAnHour, value => <<"early">>}),
  ok = brod:stop_client(?MODULE),
  {1, Clock, _} = brod(Config, ["doctor", "-t", "nope"]),
  ?assertMatch({_, _}, binary:match(Clock, <<"BAD topic nope: unknown_topic_or_partition: it does not exist, or">>)),
  ?assertMatch({match, _}, re:run(Clock, "BAD t, partition 1, has a message of 3[0-9]{3} s from now: the clock of this machine")),
  {1, Wrong, _} = brod(Config, ["doctor", "-b", "localhost:1"]),
  ?assertMatch({_, _}, binary:match(Wrong, <<"BAD bootstrap localhost:1 nobody listens there">>)),
  {1, Json, _} = brod(Config, ["doctor", "-b", "localhost:1", "--json"]),
  ?assertMatch(#{<<"ok">> := false, <<"finding">> := <<"bootstrap localhost:1 nobody listens there", _/binary>>},
               brod_json:decode(hd(binary:split(Json, <<"\n">>)))).

doctor_goes_on_where_a_group_is_not_for_the_user(Config) ->
  {ok, Mock} = brod_mock:start(#{brokers => 1}),
  [{Host, Port}] = brod_mock:endpoints(Mock),
  ok = brod_mock:fault(Mock, #{api => <<"FindCoordinator">>, action => {error, ?GROUP_AUTHORIZATION_FAILED}}),
  {1, Says, _} = brod(Config, ["doctor", "-g", "g", "--brokers", Host ++ ":" ++ integer_to_list(Port)]),
  [?assertMatch({_, _}, binary:match(Says, Said))
   || Said <- [<<"topics are seen">>, <<"BAD group g: group_authorization_failed: this user needs Read and Describe (ACLs)\n">>]],
  ok = brod_mock:stop(Mock).

exit_codes(Config) ->
  ?assertEqual({2, <<>>, <<"brod: no command conume, did you mean consume?\n">>}, brod(Config, ["conume"])),
  ?assertEqual({2, <<>>, <<"brod: --topic is missing, see brod help consume\n">>}, brod(Config, ["consume"])),
  ?assertEqual({2, <<>>, <<"brod: --topic is missing, did you mean brod consume --topic orders?\n">>}, brod(Config, ["consume", "orders"])),
  ?assertEqual({1, <<>>, <<"brod: nope: unknown_topic_or_partition\n">>}, brod(Config, ["consume", "-t", "nope"])),
  ?assertEqual({1, <<>>, <<"brod: failed: localhost:1 nobody listens there: check the port, and that the broker runs\n">>},
               brod(Config, ["meta", "-b", "localhost:1"])),
  [?assertEqual({2, <<>>, Said}, brod(Config, Args))
   || {Args, Said} <- [{["consume", "-t", ""], <<"brod: --topic is empty\n">>},
                       {["consume", "-t", "t", "-g", ""], <<"brod: --group is empty\n">>},
                       {["consume", "-t", "t", "-p", "-1"], <<"brod: --partition wants a number from 0 on, not -1\n">>},
                       {["produce", "-t", "t", "-K", ""], <<"brod: --key-delimiter is empty\n">>},
                       {["meta", "-b", ":9092"], <<"brod: no host in :9092\n">>}]],
  ?assertEqual({1, <<>>, <<"brod: not sent: t has no partition 9\n">>}, brod(Config, ["produce", "-t", "t", "-p", "9"], <<"a\n">>)),
  ?assertMatch({0, <<"GROUP", _/binary>>, <<"the group g has committed nothing, if there is one\n">>},
               brod(Config, ["groups", "lag", "g"])),
  ?assertMatch({0, <<"brod consume: ", _/binary>>, <<>>}, brod(Config, ["consume", "-h"])),
  ?assertMatch({0, <<"brod COMMAND", _/binary>>, <<>>}, brod(Config, ["help"])).

%% Cron and many containers say nothing of UTF-8.
arguments_are_utf_8_in_any_locale(Config0) ->
  Config = [{env, [{"LC_ALL", "C"}]} | Config0],
  File = filename:join(proplists:get_value(priv_dir, Config), "é→"),
  ok = file:write_file(File, <<"grün\n"/utf8>>),
  {0, <<>>, <<>>} = brod(Config, ["produce", "-t", "t", "-p", "0", "--header", "é=→", File]),
  ?assertEqual({0, <<"ü grün;"/utf8>>, <<>>}, brod(Config, ["consume", "-t", "t", "--grep", "ü", "--format", "ü %v;"])),
  {0, Json, <<>>} = brod(Config, ["consume", "-t", "t", "--json"]),
  ?assertMatch(#{<<"headers">> := [[<<"é"/utf8>>, <<"→"/utf8>>]]}, brod_json:decode(Json)),
  {0, _, <<>>} = brod(Config, ["consume", "-t", "t", "-g", "é", "--idle", "1"]),
  ?assertMatch({0, <<"{\"committed\":1,\"end\":1,\"group\":\"é\""/utf8, _/binary>>, <<>>},
               brod(Config0, ["groups", "lag", "é", "--json"])).

what_came_before_a_wrong_line_is_stored(Config) ->
  Lines = <<"{\"value\": \"a\"}\n{\"value\": \"b\"}\nno json\n{\"value\": \"c\"}\n">>,
  ?assertEqual({1, <<>>, <<"brod: no JSON of key, value and headers: no json; what came before it is stored\n">>},
               brod(Config, ["produce", "-t", "t", "-p", "0", "--json-lines"], Lines)),
  ?assertEqual({0, <<"a\nb\n">>, <<>>}, brod(Config, ["consume", "-t", "t"])).

a_signal_ends_it_without_a_word(Config) ->
  {0, <<>>, <<>>} = brod(Config, ["produce", "-t", "t", "-p", "0"], <<"a\n">>),
  Err = filename:join(proplists:get_value(priv_dir, Config), "signal"),
  Port = start(Config, ["consume", "-t", "t", "-f"], "/dev/null", Err),
  %% It has shown something, so it runs.
  receive {Port, {data, <<"a\n">>}} -> ok after ?LIMIT_MS -> error(not_shown) end,
  {os_pid, Pid} = erlang:port_info(Port, os_pid),
  _ = os:cmd("kill -TERM " ++ integer_to_list(Pid)),
  _ = ended(Port, <<>>),
  ?assertEqual({ok, <<>>}, file:read_file(Err)).

%% More than pipes and buffers take.
a_full_disk_is_told_and_a_reader_that_is_gone_is_not(Config) ->
  Lines = [[binary:copy(<<"x">>, 1000), "\n"] || _ <- lists:seq(1, 2000)],
  {0, <<>>, <<>>} = brod(Config, ["produce", "-t", "t", "-p", "0"], Lines),
  Consume = fun(Out) ->
              Script = "escript \"$BROD\" consume -t t " ++ Out,
              Env = [{"BROD", filename:join([brod_test:scripts(), "..", "bin", "brod"])} | env(Config)],
              ended(open_port({spawn_executable, "/bin/bash"},
                              [{args, ["-c", "set -o pipefail; " ++ Script]}, {env, Env}, exit_status, stderr_to_stdout, binary]), <<>>)
            end,
  ?assertEqual({1, <<"brod: the output cannot be written: is the disk full?\n">>}, Consume(">/dev/full")),
  ?assertEqual({0, <<>>}, Consume("| head -n 1 >/dev/null")).

%% Exit code, output, and what stands on the standard error.
brod(Config, Args) -> brod(Config, Args, <<>>).

brod(Config, Args, Input) ->
  Dir = proplists:get_value(priv_dir, Config),
  [In, Err] = [filename:join(Dir, Name) || Name <- ["in", "err"]],
  ok = file:write_file(In, Input),
  {Code, Out} = ended(start(Config, Args, In, Err), <<>>),
  {ok, Errors} = file:read_file(Err),
  {Code, Out, Errors}.

%% A port cannot close the standard input alone, so it is a file.
start(Config, Args, In, Err) ->
  Script = filename:join([brod_test:scripts(), "..", "bin", "brod"]),
  open_port({spawn_executable, "/bin/sh"},
            [{args, ["-c", "exec escript \"$@\" <\"$IN\" 2>\"$ERR\"", "sh", Script | Args]},
             {env, [{"IN", In}, {"ERR", Err} | env(Config)]}, exit_status, binary]).

env(Config) ->
  [{"BROD_EBIN", filename:dirname(code:which(brod_cli))}, {"BROD_BROKERS", proplists:get_value(brokers, Config)}
   | proplists:get_value(env, Config, [])].

ended(Port, Out) ->
  receive
    {Port, {data, Data}} -> ended(Port, <<Out/binary, Data/binary>>);
    {Port, {exit_status, Code}} -> {Code, Out}
  after ?LIMIT_MS -> error({still_running, Out})
  end.
