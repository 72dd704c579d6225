%% Transactions on a real Kafka, the new way (KIP-890) and the old one.
-module(brod_transaction_SUITE).

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_group/2,
         end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-export([committed_messages_are_seen_together/1, aborted_messages_are_not_seen/1,
         what_contract_md_says/1, a_transaction_of_nothing_ends_well/1,
         the_command_line_aborts_what_there_is/1,
         messages_of_many_processes_are_sent_together/1, what_nobody_waits_for_fails_the_commit/1,
         offsets_are_committed_with_the_messages/1, a_member_that_lost_its_generation_commits_nothing/1,
         the_later_one_of_an_id_fences_the_earlier/1, the_death_of_the_owner_aborts/1,
         a_killed_transaction_is_aborted/1, a_transaction_that_is_open_for_too_long_says_so/1,
         partitions_are_chosen_at_produce_time/1, many_transactions_at_once/1, one_after_the_other/1,
         misuse_is_told_in_clear_terms/1, without_a_client/1, a_node_elsewhere_produces/1,
         who_may_not_use_the_id_is_told/1, a_processor_works_on_every_message_once/1]).

-include_lib("stdlib/include/assert.hrl").
-include("../include/brod.hrl").

-define(config(Key, Config), proplists:get_value(Key, Config)).
-define(LIMIT_MS, 30000).

suite() -> [{timetrap, {seconds, 120}}].

all() -> [{group, v2}, {group, v1}].

groups() ->
  Both = [committed_messages_are_seen_together, aborted_messages_are_not_seen, what_contract_md_says,
          a_transaction_of_nothing_ends_well, the_command_line_aborts_what_there_is, messages_of_many_processes_are_sent_together,
          what_nobody_waits_for_fails_the_commit, offsets_are_committed_with_the_messages,
          a_member_that_lost_its_generation_commits_nothing,
          the_later_one_of_an_id_fences_the_earlier, the_death_of_the_owner_aborts,
          a_killed_transaction_is_aborted, a_transaction_that_is_open_for_too_long_says_so,
          partitions_are_chosen_at_produce_time, many_transactions_at_once, one_after_the_other,
          a_processor_works_on_every_message_once],
  [{v2, [], Both ++ [misuse_is_told_in_clear_terms, without_a_client, a_node_elsewhere_produces,
                     who_may_not_use_the_id_is_told]},
   {v1, [], Both}].

init_per_suite(Config) -> brod_test:init_suite(Config).

end_per_suite(_Config) -> ok.

init_per_group(v2, Config) -> Config;
init_per_group(v1, Config) ->
  ok = level(1),
  Config.

end_per_group(v2, _Config) -> ok;
end_per_group(v1, _Config) -> level(2).

%% How the cluster does transactions: all brokers know it when this returns.
level(Level) ->
  Action = case Level of
             1 -> "downgrade";
             2 -> "upgrade"
           end,
  [{Host, Port} | _] = brod_test:bootstrap(),
  Server = lists:flatten(io_lib:format("~s:~b", [Host, Port])),
  Run = fun(Args) -> brod_test:java("org.apache.kafka.tools.FeatureCommand",
                                    ["--bootstrap-server", Server | Args]) end,
  {_, 0} = Run([Action, "--feature", "transaction.version=" ++ integer_to_list(Level)]),
  ok.

init_per_testcase(_Case, Config) ->
  process_flag(trap_exit, true),
  [{client, brod_test:start_client()}, {topic, brod_test:create_topic(2)}, {id, brod_test:unique("txn")}
   | Config].

end_per_testcase(_Case, Config) -> brod_test:stop_client(?config(client, Config)).

%% Why the process of a transaction ended.
ended(Tx) ->
  receive {'EXIT', Tx, Reason} -> Reason after ?LIMIT_MS -> still_there end.

committed_messages_are_seen_together(Config) ->
  {Client, Topic, Tx} = begun(Config),
  ?assertEqual({ok, 0}, brod:txn_produce(Tx, Topic, 0, <<"k">>, <<"1">>)),
  ?assertEqual({ok, 1}, brod:txn_produce(Tx, Topic, 0, [#{key => <<"k">>, value => <<"2">>},
                                                       #{value => <<"3">>, headers => [{<<"h">>, <<"v">>}]}])),
  ?assertEqual({ok, 0}, brod:txn_produce(Tx, Topic, 1, <<>>, <<"4">>)),
  ?assertEqual({ok, {0, []}}, brod:fetch(Client, Topic, 0, 0)),
  ?assertMatch({ok, {_, [_ | _]}}, brod:fetch(Client, Topic, 0, 0, #{isolation_level => read_uncommitted})),
  ?assertEqual(ok, brod:commit(Tx)),
  ?assertEqual(normal, ended(Tx)),
  ?assertEqual([<<"1">>, <<"2">>, <<"3">>], committed(Client, Topic, 0, 3)),
  ?assertEqual([<<"4">>], committed(Client, Topic, 1, 1)).

aborted_messages_are_not_seen(Config) ->
  {Client, Topic, Tx} = begun(Config),
  {ok, 0} = brod:txn_produce(Tx, Topic, 0, <<>>, <<"1">>),
  ok = brod:txn_produce_async(Tx, Topic, 1, <<>>, <<"2">>),
  ?assertEqual(ok, brod:abort(Tx)),
  ?assertEqual(normal, ended(Tx)),
  Next = next(Config),
  {ok, _} = brod:txn_produce(Next, Topic, 0, <<>>, <<"3">>),
  {ok, _} = brod:txn_produce(Next, Topic, 1, <<>>, <<"4">>),
  ok = brod:commit(Next),
  ?assertEqual([<<"3">>], committed(Client, Topic, 0, 1)),
  ?assertEqual([<<"4">>], committed(Client, Topic, 1, 1)).

what_contract_md_says(Config) ->
  {_Client, Topic, Tx} = begun(Config),
  ?assertEqual({ok, 0}, brod:txn_produce(Tx, Topic, 0, <<"k">>, <<"v">>)),
  Missing = brod_test:unique("missing"),
  ?assertEqual({error, unknown_topic_or_partition}, brod:txn_produce(Tx, Missing, 0, <<"k">>, <<"v">>)),
  ?assertEqual(ok, brod:commit(Tx)),
  ?assertNot(is_process_alive(Tx)),
  ?assertExit({noproc, {gen_server, call, [Tx, {produce, Topic, 1, <<"k">>, <<"v">>}]}},
              brod:txn_produce(Tx, Topic, 1, <<"k">>, <<"v">>)),
  ?assertExit({noproc, {gen_server, call, [Tx, commit]}}, brod:commit(Tx)),
  BadPartition = next(Config),
  ?assertEqual({error, unknown_topic_or_partition}, brod:txn_produce(BadPartition, Topic, 99, <<>>, <<"v">>)),
  ?assertEqual({error, unknown_topic_or_partition}, brod:txn_produce(BadPartition, Topic, -1, <<>>, <<"v">>)),
  ?assertEqual({error, invalid_txn_state}, brod:commit(BadPartition)).

a_transaction_of_nothing_ends_well(Config) ->
  {_Client, _Topic, Tx} = begun(Config),
  ?assertEqual(ok, brod:commit(Tx)),
  ?assertEqual(ok, brod:abort(next(Config))),
  ?assertEqual(ok, brod_transaction:stop(next(Config))).

%% A mistyped id is not taken for one that was aborted.
the_command_line_aborts_what_there_is(Config) ->
  {_Client, Topic, Tx} = begun(Config),
  {ok, _} = brod:txn_produce(Tx, Topic, 0, <<>>, <<"v">>),
  Brokers = lists:flatten(lists:join(",", [H ++ ":" ++ integer_to_list(P) || {H, P} <- brod_test:bootstrap()])),
  Abort = fun(Id) -> brod_cli_txn:run(#{"brokers" => Brokers, "execute" => true}, ["abort", binary_to_list(Id)]) end,
  Id = ?config(id, Config),
  ?assertThrow({failed, [_, ": ", "transactional_id_not_found"]}, Abort(<<Id/binary, "-mistyped">>)),
  ?assertEqual(ok, Abort(Id)),
  ?assertMatch({error, _}, brod:commit(Tx)).

messages_of_many_processes_are_sent_together(Config) ->
  {Client, Topic, Tx} = begun(Config),
  Self = self(),
  Write = fun(N) ->
            {ok, Offset} = brod:txn_produce(Tx, Topic, N rem 2, <<>>, integer_to_binary(N)),
            Self ! {offset, N, Offset}
          end,
  _ = [spawn_link(fun() -> Write(N) end) || N <- lists:seq(1, 200)],
  Offsets = [receive {offset, N, Offset} -> {N, Offset} after ?LIMIT_MS -> error({no_offset, N}) end
             || N <- lists:seq(1, 200)],
  ok = brod:commit(Tx),
  [?assertEqual(lists:sort([{Offset, integer_to_binary(N)} || {N, Offset} <- Offsets, N rem 2 =:= P]),
                [{Offset, Value} || #kafka_message{offset = Offset, value = Value}
                                      <- messages(Client, Topic, P, 100)])
   || P <- [0, 1]].

what_nobody_waits_for_fails_the_commit(Config) ->
  Client = ?config(client, Config),
  Topic = brod_test:create_topic(1, #{configs => #{"max.message.bytes" => "1000"}}),
  Large = binary:copy(<<"x">>, 5000),
  Tx = next(Config),
  ok = brod:txn_produce_async(Tx, Topic, 0, <<>>, Large),
  ?assertEqual({error, message_too_large}, brod:commit(Tx)),
  %% who has heard of it decides
  Told = next(Config),
  ?assertEqual({error, message_too_large}, brod:txn_produce(Told, Topic, 0, <<>>, Large)),
  {ok, _} = brod:txn_produce(Told, Topic, 0, <<>>, <<"small">>),
  ?assertEqual(ok, brod:commit(Told)),
  Many = next(Config),
  _ = [ok = brod:txn_produce_async(Many, Topic, 0, <<>>, integer_to_binary(N)) || N <- lists:seq(1, 5000)],
  ?assertEqual(ok, brod:commit(Many)),
  ?assertEqual([<<"small">> | brod_test:numbers(1, 5000)], committed(Client, Topic, 0, 5001)).

offsets_are_committed_with_the_messages(Config) ->
  {Client, Topic, Tx} = begun(Config),
  Group = brod_test:unique("group"),
  {ok, _} = brod:txn_produce(Tx, Topic, 0, <<>>, <<"v">>),
  ?assertEqual(ok, brod:txn_add_offsets(Tx, Group, #{{Topic, 0} => 5, {Topic, 1} => 6})),
  ok = brod:abort(Tx),
  ?assertEqual([], offsets(Client, Group)),
  Next = next(Config),
  ?assertEqual(ok, brod:txn_add_offsets(Next, Group, [{{Topic, 0}, 7}, {{Topic, 1}, {8, <<"words">>}}])),
  ?assertEqual(ok, brod:commit(Next)),
  ok = brod_test:wait_until(fun() -> offsets(Client, Group) =:= [{0, 7, <<>>}, {1, 8, <<"words">>}]
                                       andalso ok end, ?LIMIT_MS).

%% KIP-447: whoever reads the partitions by now has committed other offsets.
a_member_that_lost_its_generation_commits_nothing(Config) ->
  {Client, Topic, Tx} = begun(Config),
  Group = brod_test:unique("group"),
  Member = brod_group_probe:v2(a, Client, Group, [Topic]),
  Partitions = [{Topic, 0}, {Topic, 1}],
  {Generation, MemberId, undefined} =
    brod_test:wait_until(fun() ->
                           case brod_group_members:lookup(Group, Partitions, undefined) of
                             undefined -> false;
                             Found -> Found
                           end
                         end, ?LIMIT_MS),
  %% found by the partitions, or named
  ?assertEqual(ok, brod:txn_add_offsets(Tx, Group, #{{Topic, 0} => 1})),
  Named = #{group_id => Group, generation => Generation, member_id => MemberId},
  ?assertEqual(ok, brod_transaction:add_offsets(Tx, Named, #{{Topic, 1} => 2})),
  ?assertEqual(ok, brod:commit(Tx)),
  Late = next(Config),
  {ok, _} = brod:txn_produce(Late, Topic, 0, <<>>, <<"late">>),
  ?assertEqual({error, illegal_generation},
               brod_transaction:add_offsets(Late, Named#{generation := Generation - 1}, #{{Topic, 0} => 3})),
  ?assertEqual({error, illegal_generation}, brod:commit(Late)),
  Foreign = next(Config),
  ?assertEqual({error, unknown_member_id},
               brod_transaction:add_offsets(Foreign, Named#{member_id := <<"other">>}, #{{Topic, 0} => 3})),
  ok = brod:abort(Foreign),
  ok = brod_test:wait_until(fun() -> offsets(Client, Group) =:= [{0, 1, <<>>}, {1, 2, <<>>}] andalso ok end,
                            ?LIMIT_MS),
  Last = next(Config),
  {ok, _} = brod:txn_produce(Last, Topic, 0, <<>>, <<"last">>),
  ok = brod:commit(Last),
  ?assertEqual([<<"last">>], committed(Client, Topic, 0, 1)),
  ok = brod_group_subscriber_v2:stop(Member).

the_later_one_of_an_id_fences_the_earlier(Config) ->
  {Client, Topic, Earlier} = begun(Config),
  {ok, 0} = brod:txn_produce(Earlier, Topic, 0, <<>>, <<"1">>),
  Later = next(Config),
  ?assertEqual({ok, 2}, brod:txn_produce(Later, Topic, 0, <<>>, <<"2">>)),
  ?assertEqual({error, invalid_producer_epoch}, brod:txn_produce(Earlier, Topic, 0, <<>>, <<"3">>)),
  ?assertEqual({error, invalid_producer_epoch}, brod:commit(Earlier)),
  ?assertEqual(ok, brod:commit(Later)),
  Third = next(Config),
  {ok, _} = brod:txn_produce(Third, Topic, 0, <<>>, <<"4">>),
  Fourth = next(Config),
  ?assertEqual({error, invalid_producer_epoch}, brod:commit(Third)),
  ok = brod:abort(Fourth),
  ?assertEqual([<<"2">>], committed(Client, Topic, 0, 1)).

the_death_of_the_owner_aborts(Config) ->
  {Client, Topic} = {?config(client, Config), ?config(topic, Config)},
  Self = self(),
  Owner = spawn(fun() ->
                  Tx = next(Config),
                  {ok, 0} = brod:txn_produce(Tx, Topic, 0, <<>>, <<"lost">>),
                  Self ! {tx, Tx},
                  receive never -> ok end
                end),
  Tx = receive {tx, Pid} -> Pid after ?LIMIT_MS -> error(not_started) end,
  MRef = monitor(process, Tx),
  exit(Owner, kill),
  ?assertEqual(killed, receive {'DOWN', MRef, _, _, Reason} -> Reason after ?LIMIT_MS -> still_there end),
  %% nothing is open any more: what comes behind is seen at once
  ok = brod:start_producer(Client, Topic, []),
  ok = brod:produce_sync(Client, Topic, 0, <<>>, <<"seen">>),
  ?assertEqual([<<"seen">>], committed(Client, Topic, 0, 1)).

a_killed_transaction_is_aborted(Config) ->
  {Client, Topic, Tx} = begun(Config),
  {ok, 0} = brod:txn_produce(Tx, Topic, 0, <<>>, <<"lost">>),
  exit(Tx, kill),
  ok = brod:start_producer(Client, Topic, []),
  ok = brod:produce_sync(Client, Topic, 0, <<>>, <<"seen">>),
  ?assertEqual([<<"seen">>], committed(Client, Topic, 0, 1)).

a_transaction_that_is_open_for_too_long_says_so(Config) ->
  {Client, Topic, Id} = {?config(client, Config), ?config(topic, Config), ?config(id, Config)},
  {ok, Tx} = brod:transaction(Client, Id, [{transaction_timeout, 4000}]),
  {ok, 0} = brod:txn_produce(Tx, Topic, 0, <<>>, <<"old">>),
  %% the coordinator has put an end to it
  true = brod_test:wait_until(fun() -> {ok, {Stable, _}} = brod:fetch(Client, Topic, 0, 0), Stable > 0 end,
                              ?LIMIT_MS),
  %% whoever produces first hears of it
  ?assertEqual({error, transaction_timed_out}, brod:txn_produce(Tx, Topic, 0, <<>>, <<"late">>)),
  ?assertEqual({error, transaction_timed_out}, brod:commit(Tx)),
  Next = next(Config),
  {ok, _} = brod:txn_produce(Next, Topic, 0, <<>>, <<"new">>),
  ok = brod:commit(Next),
  ?assertEqual([<<"new">>], committed(Client, Topic, 0, 1)).

partitions_are_chosen_at_produce_time(Config) ->
  {Client, Topic, Tx} = begun(Config),
  Second = fun(_Topic, 2, <<"key">>, _Value) -> {ok, 1} end,
  {ok, 0} = brod:txn_produce(Tx, Topic, Second, <<"key">>, <<"1">>),
  {ok, 1} = brod:txn_produce(Tx, Topic, Second, [#{key => <<"key">>, value => <<"2">>}]),
  {ok, _} = brod:txn_produce(Tx, Topic, hash, <<"key">>, <<"3">>),
  ok = brod:commit(Tx),
  Hashed = erlang:phash2(<<"key">>) rem 2,
  Expected = #{1 => [<<"1">>, <<"2">>], 0 => []},
  Full = maps:update_with(Hashed, fun(Values) -> Values ++ [<<"3">>] end, Expected),
  [?assertEqual(Values, committed(Client, Topic, P, length(Values))) || {P, Values} <- maps:to_list(Full)].

%% Each has its own id; some are aborted.
many_transactions_at_once(Config) ->
  {Client, Topic} = {?config(client, Config), ?config(topic, Config)},
  Run = fun(N) ->
          {ok, Tx} = brod:transaction(Client, brod_test:unique("many"), []),
          Value = integer_to_binary(N),
          {ok, _} = brod:txn_produce(Tx, Topic, 0, <<>>, Value),
          {ok, _} = brod:txn_produce(Tx, Topic, 1, <<>>, Value),
          ok = case N rem 3 of
                 0 -> brod:abort(Tx);
                 _ -> brod:commit(Tx)
               end
        end,
  Pids = [spawn_monitor(fun() -> Run(N) end) || N <- lists:seq(1, 60)],
  [receive {'DOWN', MRef, _, Pid, Reason} -> ?assertEqual(normal, Reason) after ?LIMIT_MS -> error(slow) end
   || {Pid, MRef} <- Pids],
  Expected = lists:sort([integer_to_binary(N) || N <- lists:seq(1, 60), N rem 3 =/= 0]),
  [?assertEqual(Expected, lists:sort(committed(Client, Topic, P, 40))) || P <- [0, 1]].

one_after_the_other(Config) ->
  {Client, Topic} = {?config(client, Config), ?config(topic, Config)},
  [begin
     Tx = next(Config),
     {ok, _} = brod:txn_produce(Tx, Topic, 0, <<>>, integer_to_binary(N)),
     ok = brod:commit(Tx)
   end || N <- lists:seq(1, 30)],
  ?assertEqual(brod_test:numbers(1, 30), committed(Client, Topic, 0, 30)).

misuse_is_told_in_clear_terms(Config) ->
  {Client, Topic, Tx} = begun(Config),
  ?assertEqual({error, {bad_option, transactional_id, <<>>}}, brod:transaction(Client, <<>>, [])),
  ?assertEqual({error, {bad_option, transactional_id, "id"}}, brod:transaction(Client, "id", [])),
  ?assertEqual({error, {bad_option, timeout, soon}}, brod:transaction(Client, <<"id">>, [{timeout, soon}])),
  ?assertEqual({error, {bad_option, compression, x}},
               brod:transaction(Client, <<"id">>, #{producer_config => [{compression, x}]})),
  ?assertEqual({error, invalid_transaction_timeout},
               brod:transaction(Client, <<"id">>, [{transaction_timeout, 16#7fffffff}])),
  %% pids of other processes
  ?assertEqual({error, {not_a_transaction, self()}}, brod:txn_produce(self(), Topic, 0, <<>>, <<"v">>)),
  ClientPid = whereis(Client),
  ?assertEqual({error, {not_a_transaction, ClientPid}}, brod:commit(ClientPid)),
  ?assertEqual({error, {not_a_transaction, not_a_pid}}, brod:abort(not_a_pid)),
  %% values and offsets that are none
  ?assertError(badarg, brod:txn_produce(Tx, Topic, 0, <<>>, not_a_value)),
  ?assertError(badarg, brod:txn_produce(Tx, Topic, 0, [])),
  ?assertError({bad_topic, topic}, brod:txn_produce(Tx, topic, 0, <<>>, <<"v">>)),
  ?assertEqual({error, {bad_offsets, [oops]}}, brod:txn_add_offsets(Tx, <<"g">>, [oops])),
  ?assertEqual({error, {bad_group, group}}, brod:txn_add_offsets(Tx, group, #{})),
  ?assertEqual({error, {unsupported_call, what}}, gen_server:call(Tx, what)),
  %% another process may use it, and end it
  Other = spawn_monitor(fun() ->
                          {ok, 0} = brod:txn_produce(Tx, Topic, 0, <<>>, <<"v">>),
                          exit(brod:commit(Tx))
                        end),
  {Pid, MRef} = Other,
  ?assertEqual(ok, receive {'DOWN', MRef, _, Pid, Reason} -> Reason after ?LIMIT_MS -> slow end),
  ?assertEqual([<<"v">>], committed(Client, Topic, 0, 1)).

without_a_client(_Config) ->
  ?assertEqual({error, client_down}, brod:transaction(no_such_client, <<"id">>, [])),
  Client = brod_test:start_client(),
  Topic = brod_test:create_topic(1),
  {ok, Tx} = brod:transaction(Client, brod_test:unique("txn"), []),
  {ok, 0} = brod:txn_produce(Tx, Topic, 0, <<>>, <<"v">>),
  ok = brod_test:stop_client(Client),
  ?assertEqual({error, client_down}, brod:commit(Tx)).

%% Its calls go through the transaction's process.
a_node_elsewhere_produces(Config) ->
  {Client, Topic, Tx} = begun(Config),
  ?assertEqual({ok, 0}, gen_server:call(Tx, {produce, Topic, 0, <<>>, <<"1">>})),
  ?assertEqual({ok, 1}, gen_server:call(Tx, {produce, Topic, 0, [#{value => <<"2">>}]})),
  ?assertEqual({error, unknown_topic_or_partition}, gen_server:call(Tx, {produce, Topic, 9, <<>>, <<"3">>})),
  ?assertEqual(ok, brod:commit(Tx)),
  ?assertEqual([<<"1">>, <<"2">>], committed(Client, Topic, 0, 2)).

who_may_not_use_the_id_is_told(Config) ->
  case os:getenv("BROD_ACL") of
    "1" ->
      ok = brod_security:withdraw("bob"),
      Bob = brod_test:unique_name("bob"),
      ok = brod:start_client(brod_security:endpoints(sasl), Bob,
                             [{sasl, {scram_sha_256, "bob", "bob-secret"}}]),
      {Topic, Id} = {?config(topic, Config), ?config(id, Config)},
      ?assertEqual({error, transactional_id_authorization_failed}, brod:transaction(Bob, Id, [])),
      ok = brod_security:allow("bob", transactional_id, Id, [write]),
      {ok, Tx} = brod_test:wait_until(fun() ->
                                        case brod:transaction(Bob, Id, []) of
                                          {ok, _} = Begun -> Begun;
                                          {error, _} -> false
                                        end
                                      end, ?LIMIT_MS),
      ?assertEqual({error, topic_authorization_failed}, brod:txn_produce(Tx, Topic, 0, <<>>, <<"v">>)),
      ?assertMatch({error, group_authorization_failed}, brod:txn_add_offsets(Tx, <<"g">>, #{{Topic, 0} => 1})),
      _ = brod:abort(Tx),
      ok = brod:stop_client(Bob);
    _ ->
      {skip, "the Kafka checks no permissions"}
  end.

%% It fails now and then; what it had written is aborted.
a_processor_works_on_every_message_once(Config) ->
  {Client, Topic} = {?config(client, Config), ?config(topic, Config)},
  Output = brod_test:create_topic(2),
  ok = brod:start_producer(Client, Topic, []),
  [ok = brod_test:produce_all(Client, Topic, P, brod_test:numbers(1, 50)) || P <- [0, 1]],
  Group = brod_test:unique("processor"),
  Fails = atomics:new(1, []),
  Process = fun(Tx, #kafka_message_set{partition = P, messages = Messages}) ->
              Batch = [#{key => K, value => <<"done ", V/binary>>}
                       || #kafka_message{key = K, value = V} <- Messages],
              {ok, _} = brod:txn_produce(Tx, Output, P, Batch),
              case atomics:add_get(Fails, 1, 1) of
                N when N =< 3 -> {error, no_luck};
                _ -> ok
              end
            end,
  Options = #{group_id => Group, topics => [Topic], consumer_config => [{begin_offset, earliest}, {max_bytes, 300}],
              group_config => [{offset_commit_policy, consumer_managed}, {session_timeout_seconds, 6}]},
  Start = fun Again() ->
            {ok, Pid} = brod:txn_do(Process, Client, Options),
            receive
              {'EXIT', Pid, normal} -> ok;
              {'EXIT', Pid, _} -> Again();
              stop -> gen_server:stop(Pid)
            end
          end,
  Runner = spawn_link(fun() -> process_flag(trap_exit, true), Start() end),
  Expected = [<<"done ", V/binary>> || V <- brod_test:numbers(1, 50)],
  [?assertEqual(Expected, committed(Client, Output, P, 50)) || P <- [0, 1]],
  Runner ! stop,
  receive {'EXIT', Runner, normal} -> ok after ?LIMIT_MS -> error(still_running) end,
  [?assertEqual(Expected, brod_test:values(brod_test:fetch_all(Client, Output, P))) || P <- [0, 1]].

%%% helpers

begun(Config) -> {?config(client, Config), ?config(topic, Config), next(Config)}.

next(Config) ->
  {ok, Tx} = brod:transaction(?config(client, Config), ?config(id, Config), []),
  Tx.

committed(Client, Topic, Partition, Count) ->
  brod_test:values(messages(Client, Topic, Partition, Count)).

%% What a reader of committed messages sees, once there are so many. Markers are written after the answer
%% to a commit.
messages(Client, Topic, Partition, Count) ->
  brod_test:wait_until(fun() ->
                         case brod_test:fetch_all(Client, Topic, Partition) of
                           Messages when length(Messages) >= Count -> Messages;
                           _ -> false
                         end
                       end, ?LIMIT_MS).

offsets(Client, Group) ->
  {ok, Topics} = brod:fetch_committed_offsets(Client, Group),
  lists:sort([{P, Offset, Metadata}
              || #{partitions := Partitions} <- Topics,
                 #{partition_index := P, committed_offset := Offset, metadata := Metadata} <- Partitions,
                 Offset >= 0]).
