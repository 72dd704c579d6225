%% Transactions, and topics that are made again, on the Kafka in memory: coordinators that refuse, move, hang and
%% disappear in the middle, in both protocols of transactions. Whatever happens, what was committed is seen once, and
%% nothing else is seen.
-module(brod_mock_txn_SUITE).

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_group/2, end_per_group/2]).
-export([passing_faults_harm_no_transaction/1, fenced_is_fenced_at_every_step/1, an_abortable_error_can_be_aborted/1,
         the_coordinator_moves_in_the_middle/1, the_coordinators_broker_stops_in_the_middle/1,
         what_waits_for_a_former_coordinator_is_asked_again/1,
         an_end_that_nobody_answers_is_a_timeout/1, the_owner_dies_while_the_end_is_under_way/1,
         a_zombie_is_fenced/1, messages_of_every_form_are_in_order/1, a_fold_ends_behind_the_end_of_a_transaction/1,
         what_a_processor_leaves_open_holds_up_none_that_follows/1,
         a_processor_says_that_it_waits_for_a_transaction/1, a_processor_outlives_its_membership/1, a_processor_is_told_that_its_membership_is_lost/1, one_after_the_other_asks_for_a_producer_id_once/1,
         who_was_fenced_since_the_last_one_has_the_id_all_the_same/1,
         who_has_written_or_waited_since_the_last_one_is_fenced/1, a_pause_asks_again/1,
         a_topic_is_made_again_under_its_producer_and_consumer/1, fetch_sessions_that_are_lost_begin_anew/1]).

-include_lib("eunit/include/eunit.hrl").
-include("../include/brod.hrl").

-define(LIMIT_MS, 30000).
-define(T, <<"t">>).
-define(ID, <<"id">>).
-define(GROUP, <<"g">>).
%% A producer id is of use for so long after the end of its last transaction.
-define(KEPT_MS, 1000).
%% Kafka's codes
-define(COORDINATOR_LOAD_IN_PROGRESS, 14).
-define(COORDINATOR_NOT_AVAILABLE, 15).
-define(NOT_COORDINATOR, 16).
-define(INVALID_PRODUCER_EPOCH, 47).
-define(ILLEGAL_GENERATION, 22).
-define(UNKNOWN_MEMBER_ID, 25).
-define(REBALANCE_IN_PROGRESS, 27).
-define(CONCURRENT_TRANSACTIONS, 51).
-define(FENCED_INSTANCE_ID, 82).
-define(PRODUCER_FENCED, 90).
-define(FETCH_SESSION_ID_NOT_FOUND, 70).
-define(UNKNOWN_TOPIC_ID, 100).
-define(INCONSISTENT_TOPIC_ID, 103).
-define(FETCH_SESSION_TOPIC_ID_ERROR, 106).
-define(TRANSACTION_ABORTABLE, 120).

suite() -> [{timetrap, {minutes, 3}}].

all() -> [{group, v2}, {group, v1}, {group, topics}].

groups() ->
  Both = [passing_faults_harm_no_transaction, fenced_is_fenced_at_every_step, an_abortable_error_can_be_aborted,
          the_coordinator_moves_in_the_middle, the_coordinators_broker_stops_in_the_middle,
          what_waits_for_a_former_coordinator_is_asked_again,
          an_end_that_nobody_answers_is_a_timeout, the_owner_dies_while_the_end_is_under_way, a_zombie_is_fenced,
          what_a_processor_leaves_open_holds_up_none_that_follows, a_processor_says_that_it_waits_for_a_transaction,
          a_processor_outlives_its_membership, a_processor_is_told_that_its_membership_is_lost, messages_of_every_form_are_in_order,
          a_fold_ends_behind_the_end_of_a_transaction],
  [{v2, [parallel], Both ++ [one_after_the_other_asks_for_a_producer_id_once,
                             who_was_fenced_since_the_last_one_has_the_id_all_the_same,
                             who_has_written_or_waited_since_the_last_one_is_fenced, a_pause_asks_again]},
   {v1, [parallel], Both},
   {topics, [parallel], [a_topic_is_made_again_under_its_producer_and_consumer, fetch_sessions_that_are_lost_begin_anew]}].

init_per_suite(Config) -> brod_test:init_mock_suite(Config).

end_per_suite(_Config) -> ok.

%% The releases before and after KIP-890.
init_per_group(v1, Config) -> [{version, <<"3.9">>} | Config];
init_per_group(_Group, Config) -> [{version, <<"4.1">>} | Config].

end_per_group(_Group, _Config) -> ok.

%%% What passes

passing_faults_harm_no_transaction(Config) ->
  Faults = [{error, ?NOT_COORDINATOR}, {error, ?COORDINATOR_NOT_AVAILABLE}, {error, ?COORDINATOR_LOAD_IN_PROGRESS},
            {error, ?CONCURRENT_TRANSACTIONS}, reset_before, reset_after, {delay, 30}, {delay_answer, 30}, {truncate, 6}],
  Apis = [<<"FindCoordinator">>, <<"InitProducerId">>, <<"TxnOffsetCommit">>, <<"EndTxn">>] ++
         [Api || version(Config) =:= <<"3.9">>, Api <- [<<"AddPartitionsToTxn">>, <<"AddOffsetsToTxn">>]],
  Cases = [{Api, Fault, Times} || Api <- Apis, Fault <- Faults, Times <- [1, 3]] ++
          [{<<"Produce">>, Fault, Times} || Fault <- [{error, ?CONCURRENT_TRANSACTIONS}, reset_before, reset_after], Times <- [1, 3]],
  with_mock(Config, fun(Mock, Client) ->
    [begin
       Told = {N, Api, Fault, Times},
       ok = brod_mock:fault(Mock, #{api => Api, action => Fault, times => Times}),
       %% one that is new to the client, so that its coordinators are looked for
       Tx = begun(Client, integer_to_binary(N)),
       {ok, _} = brod:txn_produce(Tx, ?T, N rem 2, <<>>, integer_to_binary(N)),
       ?assertEqual(ok, brod:txn_add_offsets(Tx, integer_to_binary(N), #{{?T, 0} => N}), Told),
       ?assertEqual(ok, brod:commit(Tx), Told),
       ok = brod_mock:clear_faults(Mock),
       ?assertEqual({N, N}, {committed_offset(Mock, integer_to_binary(N)), N}, Told)
     end || {N, {Api, Fault, Times}} <- lists:zip(lists:seq(1, length(Cases)), Cases)],
    ?assertEqual(lists:seq(1, length(Cases)), lists:sort([binary_to_integer(V) || P <- [0, 1], V <- seen(Client, P)]))
  end).

%%% What does not

fenced_is_fenced_at_every_step(Config) ->
  Steps = [<<"InitProducerId">>, <<"Produce">>, <<"TxnOffsetCommit">>, <<"EndTxn">>] ++
          [Api || version(Config) =:= <<"3.9">>, Api <- [<<"AddPartitionsToTxn">>, <<"AddOffsetsToTxn">>]],
  with_mock(Config, fun(Mock, Client) ->
    [begin
       Id = iolist_to_binary([Api, $-, integer_to_list(Code)]),
       ok = brod_mock:fault(Mock, #{api => Api, action => {error, Code}, times => 1000}),
       ?assertEqual({error, invalid_producer_epoch}, run(Client, Id), Id),
       ok = brod_mock:clear_faults(Mock),
       ?assertEqual(ok, run(Client, Id), Id)
     end || Api <- Steps, Code <- [?INVALID_PRODUCER_EPOCH, ?PRODUCER_FENCED]],
    %% Of each two, the second.
    ?assertEqual(2 * length(Steps), length(seen(Client, 0)))
  end).

an_abortable_error_can_be_aborted(Config) ->
  with_mock(Config, fun(Mock, Client) ->
    [begin
       ok = brod_mock:fault(Mock, #{api => Api, action => {error, ?TRANSACTION_ABORTABLE}}),
       Tx = begun(Client, ?ID),
       Steps = [fun() -> produced(brod:txn_produce(Tx, ?T, 0, <<>>, <<"never">>)) end,
                fun() -> brod:txn_add_offsets(Tx, ?GROUP, #{{?T, 0} => 1}) end],
       ?assertEqual({error, transaction_abortable}, first_error(Steps), Api),
       ?assertEqual(ok, brod:abort(Tx), Api)
     end || Api <- [<<"Produce">>, <<"TxnOffsetCommit">>]],
    ok = run(Client, ?ID),
    ?assertEqual([<<"v">>], seen(Client, 0))
  end).

the_coordinator_moves_in_the_middle(Config) ->
  with_mock(Config, fun(Mock, Client) ->
    [begin
       Tx = begun(Client, ?ID),
       {ok, _} = brod:txn_produce(Tx, ?T, 0, <<>>, integer_to_binary(2 * N)),
       {ok, _} = command(Mock, #{do => move_coordinator, key => ?ID, broker => 1 + N rem 3}),
       {ok, _} = brod:txn_produce(Tx, ?T, 1, <<>>, integer_to_binary(2 * N + 1)),
       {ok, _} = command(Mock, #{do => move_coordinator, key => ?GROUP, broker => 1 + N rem 3}),
       ok = brod:txn_add_offsets(Tx, ?GROUP, #{{?T, 0} => N}),
       {ok, _} = command(Mock, #{do => move_coordinator, key => ?ID, broker => 1 + (N + 1) rem 3}),
       ?assertEqual(ok, brod:commit(Tx)),
       ?assertEqual(N, committed_offset(Mock, ?GROUP))
     end || N <- lists:seq(1, 4)],
    ?assertEqual([<<"2">>, <<"4">>, <<"6">>, <<"8">>], seen(Client, 0)),
    ?assertEqual([<<"3">>, <<"5">>, <<"7">>, <<"9">>], seen(Client, 1))
  end).

the_coordinators_broker_stops_in_the_middle(Config) ->
  with_mock(Config, fun(Mock, Client) ->
    {ok, _} = command(Mock, #{do => move_coordinator, key => ?ID, broker => 2}),
    Tx = begun(Client, ?ID),
    {ok, _} = brod:txn_produce(Tx, ?T, 0, <<>>, <<"1">>),
    ok = brod_mock:stop_broker(Mock, 2),
    {ok, _} = brod:txn_produce(Tx, ?T, 0, <<>>, <<"2">>),
    ?assertEqual(ok, brod:commit(Tx)),
    ?assertEqual([<<"1">>, <<"2">>], seen(Client, 0)),
    ok = brod_mock:start_broker(Mock, 2),
    ok = run(Client, ?ID),
    ?assertEqual([<<"1">>, <<"2">>, <<"v">>], seen(Client, 0))
  end).

%% The leader works, but asks the coordinator before it stores anything, and that hangs. So does the group's coordinator.
what_waits_for_a_former_coordinator_is_asked_again(Config) ->
  with_mock(Config, fun(Mock, Client) ->
    ok = brod_mock:move_coordinator(Mock, ?ID, 1),
    [begin
       {ok, Tx} = brod:transaction(Client, ?ID, [{producer_config, [{ack_timeout, 10 * ?LIMIT_MS}]}]),
       Steps = [{<<"Produce">>, fun() -> brod:txn_produce(Tx, ?T, 0, <<>>, integer_to_binary(N)) end},
                {<<"TxnOffsetCommit">>, fun() -> brod:txn_add_offsets(Tx, ?GROUP, #{{?T, 0} => N}) end}],
       [begin
          Met = brod_mock:faults_met(Mock),
          ok = brod_mock:fault(Mock, #{api => Api, action => {delay, 10 * ?LIMIT_MS}}),
          Self = self(),
          Caller = spawn_link(fun() -> Self ! {self(), Step()} end),
          true = brod_test:wait_until(fun() -> brod_mock:faults_met(Mock) > Met end, ?LIMIT_MS),
          %% so that the time of an attempt is over before that of its last question
          ok = brod_mock:fault(Mock, #{api => <<"FindCoordinator">>, action => {delay, 20}, times => 1000}),
          ok = brod_mock:move_coordinator(Mock, ?ID, Next),
          receive {Caller, Result} -> ?assertNotMatch({error, _}, Result) after ?LIMIT_MS -> error({waits, Api}) end,
          ok = brod_mock:clear_faults(Mock)
        end || {{Api, Step}, Next} <- lists:zip(Steps, Moves)],
       ?assertEqual(ok, brod:commit(Tx)),
       ?assertEqual(N, committed_offset(Mock, ?GROUP))
     end || {N, Moves} <- [{1, [2, 3]}, {2, [1, 2]}]],
    ?assertEqual([<<"1">>, <<"2">>], seen(Client, 0))
  end).

an_end_that_nobody_answers_is_a_timeout(Config) ->
  with_mock(Config, fun(Mock, Client) ->
    Options = [{transaction_timeout, 5000}, {max_retries, 0}],
    {ok, Tx} = brod:transaction(Client, ?ID, Options),
    {ok, _} = brod:txn_produce(Tx, ?T, 0, <<>>, <<"lost">>),
    ok = brod_mock:fault(Mock, #{api => <<"EndTxn">>, action => drop, times => 1000}),
    ?assertEqual({error, timeout}, brod:commit(Tx)),
    ok = brod_mock:clear_faults(Mock),
    %% what was left open was put an end to
    ok = run(Client, ?ID),
    ?assertEqual([<<"v">>], seen(Client, 0))
  end).

%% The answer to the end comes late; it was applied before. Or it is applied late.
the_owner_dies_while_the_end_is_under_way(Config) ->
  [with_mock(Config, fun(Mock, Client) ->
     Self = self(),
     ok = brod_mock:fault(Mock, #{api => <<"EndTxn">>, action => {Action, 300}}),
     {Owner, Monitor} = spawn_monitor(fun() ->
       Tx = begun(Client, ?ID),
       {ok, _} = brod:txn_produce(Tx, ?T, 0, <<>>, <<"1">>),
       Self ! {ending, self()},
       exit({committed, brod:commit(Tx)})
     end),
     receive {ending, Owner} -> ok after ?LIMIT_MS -> error(not_begun) end,
     brod_test:wait_until(fun() -> brod_mock:faults_met(Mock) =:= 1 end, ?LIMIT_MS),
     exit(Owner, kill),
     receive {'DOWN', Monitor, process, Owner, Why} -> ?assertEqual(killed, Why) end,
     Ended = brod_test:wait_until(fun() ->
       case command(Mock, #{do => transaction, id => ?ID}) of
         {ok, #{<<"state">> := <<"Ongoing">>}} -> false;
         {ok, #{<<"state">> := State}} -> State
       end
     end, ?LIMIT_MS),
     %% All of it, or nothing; and the next one of the id is not disturbed.
     Expected = case Ended of <<"CompleteCommit">> -> [<<"1">>]; _ -> [] end,
     ?assertEqual(Expected, seen(Client, 0)),
     ok = run(Client, ?ID),
     ?assertEqual(Expected ++ [<<"v">>], seen(Client, 0))
   end) || Action <- [delay_answer, delay]],
  ok.

a_zombie_is_fenced(Config) ->
  with_mock(Config, fun(Mock, Client) ->
    with_client(Mock, fun(Other) ->
      Zombie = begun(Client, ?ID),
      {ok, 0} = brod:txn_produce(Zombie, ?T, 0, <<>>, <<"zombie">>),
      Tx = begun(Other, ?ID),
      {ok, _} = brod:txn_produce(Tx, ?T, 0, <<>>, <<"1">>),
      ?assertMatch({error, invalid_producer_epoch}, brod:txn_produce(Zombie, ?T, 0, <<>>, <<"zombie">>)),
      ?assertMatch({error, invalid_producer_epoch}, brod:commit(Zombie)),
      ok = brod:commit(Tx),
      ?assertEqual([<<"1">>], seen(Client, 0))
    end)
  end).

%% A broker says that there is another producer, and there is none. The transaction might be open for an hour, and its
%% offsets keep the next one from knowing where to begin.
what_a_processor_leaves_open_holds_up_none_that_follows(Config) ->
  Apis = [<<"TxnOffsetCommit">>, <<"EndTxn">>],
  _ = process_flag(trap_exit, true),
  with_mock(Config, fun(Mock, Client) ->
    ok = brod_mock:create_topic(Mock, <<"in">>, 1),
    ok = brod:start_producer(Client, <<"in">>, []),
    _ = lists:foldl(fun(Api, Before) ->
      ok = brod:produce_sync(Client, <<"in">>, 0, <<>>, Api),
      ok = brod_mock:fault(Mock, #{api => Api, action => {error, ?INVALID_PRODUCER_EPOCH}}),
      Fails = processor(Client),
      receive {'EXIT', Fails, _} -> ok after ?LIMIT_MS -> error({goes_on, Api}) end,
      Follows = processor(Client),
      Expected = Before ++ [Api],
      ?assert(brod_test:wait_until(fun() -> seen(Client, 0) =:= Expected end, 2 * ?LIMIT_MS)),
      ok = brod_group_subscriber:stop(Follows),
      Expected
    end, [], Apis)
  end).

%% The member before has vanished with an open transaction, and nobody knows yet whether its offsets count.
a_processor_says_that_it_waits_for_a_transaction(Config) ->
  with_mock(Config, fun(Mock, Client) ->
    ok = brod_mock:create_topic(Mock, <<"in">>, 1),
    ok = brod:start_producer(Client, <<"in">>, []),
    [ok = brod:produce_sync(Client, <<"in">>, 0, <<>>, V) || V <- [<<"1">>, <<"2">>]],
    Open = begun(Client, ?ID),
    %% in the name of no member: those of this name here are of other clusters
    ok = brod_transaction:add_offsets(Open, #{group_id => ?GROUP, generation => -1, member_id => <<>>}, #{{<<"in">>, 0} => 0}),
    Log = brod_log:start(),
    Processor = processor(Client),
    Text = "as in 0, is not known before a transaction ends",
    ?assert(brod_test:wait_until(fun() -> brod_log:has(Log, Text) end, ?LIMIT_MS)),
    ok = brod:commit(Open),
    ?assert(brod_test:wait_until(fun() -> seen(Client, 0) =:= [<<"2">>] end, ?LIMIT_MS)),
    ok = brod_log:stop(Log),
    ok = brod_group_subscriber:stop(Processor)
  end).

%% An outage in the middle of a transaction that is longer than the session. What was read since the first message is
%% queued behind it, and must not be worked on before that.
a_processor_outlives_its_membership(Config) ->
  with_mock(Config, fun(Mock, Client) ->
    ok = brod_mock:create_topic(Mock, <<"in">>, 2),
    ok = brod:start_producer(Client, <<"in">>, []),
    Self = self(),
    Processor = processor(Client, fun(_) -> Self ! {works, self()}, receive goes_on -> ok end end,
                          [{session_timeout_seconds, 1}, {heartbeat_rate_seconds, 0.2}]),
    [ok = brod:produce_sync(Client, <<"in">>, P, <<>>, <<"1">>) || P <- [0, 1]],
    works(Processor),
    [ok = brod:produce_sync(Client, <<"in">>, P, <<>>, V) || P <- [0, 1], V <- [<<"2">>, <<"3">>]],
    ok = brod_mock:fault(Mock, #{api => <<"Heartbeat">>, action => drop, times => 1000}),
    ?assert(brod_test:wait_until(fun() -> maps:get(members, brod_mock:group(Mock, ?GROUP)) =:= 0 end, ?LIMIT_MS)),
    ok = brod_mock:clear_faults(Mock),
    Log = brod_log:start(),
    Processor ! goes_on,
    All = lists:sort([V || V <- [<<"1">>, <<"2">>, <<"3">>], _ <- [0, 1]]),
    ?assert(brod_test:wait_until(fun() -> release(Processor), length(seen(Client, 0)) >= length(All) end, ?LIMIT_MS)),
    ?assertEqual(All, lists:sort(seen(Client, 0))),
    ?assert(brod_log:has(Log, "(unknown_member_id), so the transaction of the offsets up to 0 is aborted (ok)")),
    ok = brod_log:stop(Log),
    ?assertEqual([2, 2], [brod_mock:committed(Mock, ?GROUP, <<"in">>, P) || P <- [0, 1]]),
    unlink(Processor),
    ok = brod_group_subscriber:stop(Processor)
  end).

%% A broker says so once, and heartbeats know nothing of it: what is queued behind would be accepted.
a_processor_is_told_that_its_membership_is_lost(Config) ->
  with_mock(Config, fun(Mock, Client) ->
    ok = brod_mock:create_topic(Mock, <<"in">>, 1),
    ok = brod:start_producer(Client, <<"in">>, []),
    Self = self(),
    Processor = processor(Client, fun(_) -> Self ! {works, self()}, receive goes_on -> ok end end, []),
    Input = fun(What, Code) -> ok = brod:produce_sync(Client, <<"in">>, 0, <<>>, value(What, Code)) end,
    _ = lists:foldl(fun(Code, Before) ->
      ok = Input(first, Code),
      works(Processor),
      ok = Input(second, Code),
      true = brod_test:wait_until(fun() -> {messages, N} = process_info(Processor, messages), has_set(N) end, ?LIMIT_MS),
      ok = brod_mock:fault(Mock, #{api => <<"TxnOffsetCommit">>, action => {error, Code}}),
      Processor ! goes_on,
      Expected = Before ++ [value(first, Code), value(second, Code)],
      ?assert(brod_test:wait_until(fun() ->
        release(Processor),
        lists:suffix([value(second, Code)], seen(Client, 0))
      end, ?LIMIT_MS)),
      ?assertEqual(Expected, seen(Client, 0)),
      Expected
    end, [], [?ILLEGAL_GENERATION, ?UNKNOWN_MEMBER_ID, ?REBALANCE_IN_PROGRESS, ?FENCED_INSTANCE_ID]),
    ok = brod_group_subscriber:stop(Processor)
  end).

has_set(Messages) -> lists:any(fun({_, #kafka_message_set{}}) -> true; (_) -> false end, Messages).

works(Processor) -> receive {works, Processor} -> ok after ?LIMIT_MS -> error(idle) end.

release(Processor) ->
  receive {works, Processor} -> Processor ! goes_on
  after 0 -> ok
  end.

processor(Client) -> processor(Client, fun(_) -> ok end, []).

processor(Client, Before, GroupConfig) ->
  {ok, Pid} = brod_transaction_processor:do(
                fun(Tx, #kafka_message_set{messages = Messages}) ->
                  [{ok, _} = brod:txn_produce(Tx, ?T, 0, <<>>, V) || #kafka_message{value = V} <- Messages],
                  _ = Before(Messages),
                  ok
                end, Client,
                #{group_id => ?GROUP, topics => [<<"in">>], consumer_config => [{begin_offset, earliest}],
                  group_config => [{offset_commit_policy, consumer_managed} | GroupConfig],
                  transaction_config => [{transaction_timeout, 900000}]}),
  Pid.

%%% What is handed over without waiting

%% The first message of a partition goes another way than those after it, and what is large another one again.
messages_of_every_form_are_in_order(Config) ->
  Write = fun(Tx, P, N) ->
    Value = value(P, N),
    ok = case N rem 5 of
           0 -> brod:txn_produce_async(Tx, ?T, P, [{<<>>, Value}]);
           1 -> brod:txn_produce_async(Tx, ?T, P, [#{value => Value}]);
           2 -> brod:txn_produce_async(Tx, ?T, fun(_, _, _, _) -> {ok, P} end, <<>>, Value);
           3 when N rem 3 =:= 0 -> brod:txn_produce_async(Tx, ?T, P, binary:copy(<<"k">>, 100000), Value);
           _ -> brod:txn_produce_async(Tx, ?T, P, <<>>, Value)
         end
  end,
  with_mock(Config, fun(_Mock, Client) ->
    Dropped = begun(Client, ?ID),
    _ = [Write(Dropped, P, N) || N <- lists:seq(1, 20), P <- [0, 1]],
    MRef = monitor(process, Dropped),
    ok = brod:abort(Dropped),
    %% The answer comes before the process is gone. Who comes too late:
    ok = receive {'DOWN', MRef, _, _, normal} -> ok after ?LIMIT_MS -> slow end,
    _ = [?assertExit({noproc, _}, brod:txn_produce_async(Dropped, ?T, P, <<>>, <<"late">>)) || P <- [0, 1, not_a_partition]],
    Tx = begun(Client, ?ID),
    ?assertError(badarg, brod:txn_produce_async(Tx, ?T, 0, <<>>, not_a_value)),
    Writers = [spawn_monitor(fun() -> [Write(Tx, P, N) || N <- lists:seq(1, 600)], exit(done) end) || P <- [0, 1]],
    _ = [?assertEqual(done, receive {'DOWN', Ref, _, Pid, Why} -> Why after ?LIMIT_MS -> slow end) || {Pid, Ref} <- Writers],
    ?assertError(badarg, brod:txn_produce_async(Tx, ?T, 0, <<>>, not_a_value)),
    ?assertError({bad_topic, topic}, brod:txn_produce_async(Tx, topic, 0, <<>>, <<"v">>)),
    ok = brod:commit(Tx),
    [?assertEqual([value(P, N) || N <- lists:seq(1, 600)], seen(Client, P)) || P <- [0, 1]]
  end).

%% Where a fold has ended is the end of the partition as resolve_offset/3 tells it, and nothing of a transaction that is
%% open is passed over.
a_fold_ends_behind_the_end_of_a_transaction(Config) ->
  with_mock(Config, fun(Mock, Client) ->
    Fold = fun(From) -> brod:fold(Client, ?T, 0, From, #{max_wait_time => 10}, [], fun(#kafka_message{value = V}, Vs) -> {ok, [V | Vs]} end, #{}) end,
    Latest = fun() -> {ok, End} = brod:resolve_offset(brod_mock:endpoints(Mock), ?T, 0, latest), End end,
    Ended = fun(How) ->
              Tx = begun(Client, ?ID),
              {ok, Offset} = brod:txn_produce(Tx, ?T, 0, <<>>, [{<<>>, <<"1">>}, {<<>>, <<"2">>}]),
              ?assertEqual({[], Offset, reached_end_of_partition}, Fold(Offset)),
              ok = brod:How(Tx),
              Offset
            end,
    ?assertEqual({[<<"2">>, <<"1">>], 3, reached_end_of_partition}, Fold(Ended(commit))),
    ?assertEqual(3, Latest()),
    ?assertEqual({[], 6, reached_end_of_partition}, Fold(Ended(abort))),
    ?assertEqual(6, Latest())
  end).

%%% Producer ids that are kept

one_after_the_other_asks_for_a_producer_id_once(Config) ->
  with_mock(Config, fun(Mock, Client) ->
    Id = in_time(fun(Id) ->
      ok = brod_mock:clear_faults(Mock),
      Ended = now_ms(),
      ok = run(Client, Id),
      %% Whoever asks now is told so.
      ok = brod_mock:fault(Mock, #{api => <<"InitProducerId">>, action => {error, ?PRODUCER_FENCED}, times => 1000}),
      chain(Client, Id, lists:seq(1, 6), Ended)
    end),
    %% Another timeout is told to the coordinator by nothing else.
    ?assertEqual({error, invalid_producer_epoch}, brod:transaction(Client, Id, [{transaction_timeout, 30000}])),
    OfId = fun(P) -> [N || V <- seen(Client, P), [I, N] <- [binary:split(V, <<":">>)], I =:= Id] end,
    ?assertEqual([<<"2">>, <<"4">>], OfId(0)),
    ?assertEqual([<<"1">>, <<"5">>], OfId(1))
  end).

%% Every third one is aborted.
chain(_Client, _Id, [], _Ended) -> done;
chain(Client, Id, [N | Rest], Ended) ->
  case {brod:transaction(Client, Id, []), now_ms() - Ended} of
    {{ok, Tx}, _} ->
      {ok, _} = brod:txn_produce(Tx, ?T, N rem 2, <<>>, <<Id/binary, $:, (integer_to_binary(N))/binary>>),
      Ending = now_ms(),
      ok = case N rem 3 of
             0 -> brod:abort(Tx);
             _ -> brod:commit(Tx)
           end,
      chain(Client, Id, Rest, Ending);
    {{error, invalid_producer_epoch}, Pause} when Pause >= ?KEPT_MS ->
      late
  end.

%% The next transaction is the newest, whatever it begins with.
who_was_fenced_since_the_last_one_has_the_id_all_the_same(Config) ->
  Offsets = fun(Tx) -> brod:txn_add_offsets(Tx, ?GROUP, #{{?T, 0} => 1}) end,
  Produce = fun(Tx) -> produced(brod:txn_produce(Tx, ?T, 0, <<>>, <<"mine">>)) end,
  Async = fun(Tx) -> [ok, ok] = [brod:txn_produce_async(Tx, ?T, P, <<>>, <<"mine">>) || P <- [0, 1]], ok end,
  Orders = [[Produce], [Produce, Offsets], [Offsets, Produce], [Async], [Async, Offsets], [Offsets]],
  with_mock(Config, fun(Mock, Client) ->
    with_client(Mock, fun(Other) ->
      [in_time(fun(Attempt) ->
         Id = iolist_to_binary([integer_to_list(N), Round, Attempt]),
         Began = now_ms(),
         ok = run(Client, Id),
         ok = run(Other, Id),
         %% Of two that are open, the one that began later.
         Open = case Round of <<"open">> -> begun(Other, Id); _ -> none end,
         _ = [{ok, _} = brod:txn_produce(Open, ?T, 0, <<>>, <<"fenced">>) || is_pid(Open)],
         {ok, Tx} = brod:transaction(Client, Id, []),
         case {first_error([fun() -> Step(Tx) end || Step <- Order] ++ [fun() -> brod:commit(Tx) end]), now_ms() - Began} of
           {ok, _} ->
             [?assertEqual({error, invalid_producer_epoch}, brod:commit(Open)) || is_pid(Open)],
             done;
           {{error, invalid_producer_epoch}, Pause} when Pause >= ?KEPT_MS ->
             late
         end
       end) || {N, Order} <- lists:zip(lists:seq(1, length(Orders)), Orders), Round <- [<<"ended">>, <<"open">>]],
      Mine = fun(P) -> length([V || V <- seen(Client, P), V =:= <<"mine">>]) end,
      ?assertEqual({2 * 5, 2 * 2}, {Mine(0), Mine(1)})
    end)
  end).

%% Whoever takes the id after a transaction has begun fences it, even if it had nothing to ask when it began.
who_has_written_or_waited_since_the_last_one_is_fenced(Config) ->
  with_mock(Config, fun(Mock, Client) ->
    with_client(Mock, fun(Other) ->
      Meets = fun(Id, Before) ->
        ok = run(Client, Id),
        Zombie = begun(Client, Id),
        ok = Before(Zombie),
        ok = run(Other, Id),
        ?assertEqual({error, invalid_producer_epoch}, brod:txn_produce(Zombie, ?T, 0, <<>>, <<"zombie">>)),
        ?assertEqual({error, invalid_producer_epoch}, brod:commit(Zombie))
      end,
      Meets(<<"wrote">>, fun(Zombie) -> produced(brod:txn_produce(Zombie, ?T, 1, <<>>, <<"zombie">>)) end),
      Meets(<<"offsets">>, fun(Zombie) -> brod:txn_add_offsets(Zombie, ?GROUP, #{{?T, 0} => 7}) end),
      Meets(<<"waited">>, fun(_Zombie) ->
        Begun = now_ms(),
        true = brod_test:wait_until(fun() -> now_ms() > Begun + ?KEPT_MS end, ?LIMIT_MS),
        ok
      end),
      ?assertEqual([], [V || P <- [0, 1], V <- seen(Client, P), V =/= <<"v">>]),
      ?assertEqual(1, committed_offset(Mock, ?GROUP))
    end)
  end).

%% Who comes back after a while fences whoever had the id meanwhile, as in brod.
a_pause_asks_again(Config) ->
  with_mock(Config, fun(Mock, Client) ->
    with_client(Mock, fun(Other) ->
      ok = run(Client, ?ID),
      Meanwhile = begun(Other, ?ID),
      {ok, _} = brod:txn_produce(Meanwhile, ?T, 0, <<>>, <<"fenced">>),
      Begun = now_ms(),
      brod_test:wait_until(fun() -> now_ms() > Begun + ?KEPT_MS end, ?LIMIT_MS),
      ?assertEqual(ok, run(Client, ?ID)),
      ?assertEqual({error, invalid_producer_epoch}, brod:commit(Meanwhile)),
      ?assertEqual([<<"v">>, <<"v">>], seen(Client, 0))
    end)
  end).

%%% Topics that are named by ids

a_topic_is_made_again_under_its_producer_and_consumer(_Config) ->
  [with_mock([{version, Version}], fun(Mock, Client) ->
     ok = brod:start_producer(Client, ?T, [{retry_backoff_ms, 20}, {max_retries, -1}]),
     [{ok, N} = brod:produce_sync_offset(Client, ?T, 0, <<>>, value(old, N)) || N <- [0, 1, 2]],
     ok = brod:start_consumer(Client, ?T, [{begin_offset, earliest}, {offset_reset_policy, reset_to_earliest}]),
     {ok, Consumer} = brod:subscribe(Client, self(), ?T, 0, []),
     ?assertEqual([value(old, N) || N <- [0, 1, 2]], received(Consumer, 3), Version),
     ok = brod:delete_topics(brod_mock:endpoints(Mock), [?T], 5000),
     ok = brod_mock:create_topic(Mock, ?T, 2),
     %% As many as before, so that no position is out of range, and then some.
     [{ok, N} = brod:produce_sync_offset(Client, ?T, 0, <<>>, value(new, N)) || N <- [0, 1, 2, 3]],
     ?assertEqual([value(new, N) || N <- [0, 1, 2, 3]], received(Consumer, 4), Version),
     [{ok, N} = brod:produce_sync_offset(Client, ?T, 1, <<>>, <<"v">>) || N <- [0, 1]]
   end) || Version <- [<<"3.9">>, <<"4.1">>]],
  ok.

fetch_sessions_that_are_lost_begin_anew(Config) ->
  with_mock(Config, fun(Mock, Client) ->
    ok = brod:start_producer(Client, ?T, []),
    ok = brod:start_consumer(Client, ?T, [{begin_offset, earliest}]),
    Consumers = [begin {ok, Pid} = brod:subscribe(Client, self(), ?T, P, []), {P, Pid} end || P <- [0, 1]],
    [begin
       ok = brod_mock:fault(Mock, #{api => <<"Fetch">>, action => {error, Code}, times => 2}),
       [begin
          ok = brod:produce_sync(Client, ?T, P, <<>>, value(Code, P)),
          ?assertEqual([value(Code, P)], received(Pid, 1))
        end || {P, Pid} <- Consumers],
       ok = brod_mock:clear_faults(Mock)
     end || Code <- [?FETCH_SESSION_ID_NOT_FOUND, ?FETCH_SESSION_TOPIC_ID_ERROR, ?UNKNOWN_TOPIC_ID, ?INCONSISTENT_TOPIC_ID]],
    [?assertEqual(4, length(brod_mock:messages(Mock, ?T, P))) || P <- [0, 1]]
  end).

%%% helpers

%% A producer id is kept for a second, which a busy machine may take between two calls: then it is tried again, with
%% another transactional id.
in_time(Try) -> in_time(Try, 1).

in_time(Try, Attempt) when Attempt =< 50 ->
  Id = integer_to_binary(Attempt),
  case Try(Id) of
    done -> Id;
    late -> in_time(Try, Attempt + 1)
  end.

now_ms() -> erlang:monotonic_time(millisecond).

version(Config) -> proplists:get_value(version, Config).

with_mock(Config, Fun) ->
  {ok, Mock} = brod_mock:start(#{version => version(Config), topics => #{?T => 2}}),
  try
    with_client(Mock, fun(Client) -> Fun(Mock, Client) end)
  after
    ok = brod_mock:stop(Mock)
  end.

with_client(Mock, Fun) ->
  Client = brod_test:unique_name(mock_txn),
  ok = brod:start_client(brod_mock:endpoints(Mock), Client, [{reconnect_cool_down_seconds, 0}]),
  try
    Fun(Client)
  after
    ok = brod:stop_client(Client)
  end.

begun(Client, Id) ->
  {ok, Tx} = brod:transaction(Client, Id, []),
  Tx.

%% A transaction of all that there is; its first error.
run(Client, Id) ->
  case brod:transaction(Client, Id, []) of
    {ok, Tx} ->
      Steps = [fun() -> produced(brod:txn_produce(Tx, ?T, 0, <<>>, <<"v">>)) end,
               fun() -> brod:txn_add_offsets(Tx, ?GROUP, #{{?T, 0} => 1}) end,
               fun() -> brod:commit(Tx) end],
      first_error(Steps);
    Error ->
      Error
  end.

first_error([]) -> ok;
first_error([Step | Steps]) ->
  case Step() of
    ok -> first_error(Steps);
    Error -> Error
  end.

produced({ok, Offset}) when Offset >= 0 -> ok;
produced(Other) -> Other.

%% What a reader of committed messages sees.
seen(Client, Partition) -> seen(Client, Partition, 0).

seen(Client, Partition, Offset) ->
  {ok, {Stable, Messages}} = brod:fetch(Client, ?T, Partition, Offset, #{isolation_level => read_committed, max_wait_time => 100}),
  Values = [V || #kafka_message{value = V} <- Messages],
  case Messages of
    [] -> [];
    _ ->
      Next = (lists:last(Messages))#kafka_message.offset + 1,
      Values ++ case Next < Stable of true -> seen(Client, Partition, Next); false -> [] end
  end.

committed_offset(Mock, Group) ->
  {ok, Offset} = command(Mock, #{do => committed, group => Group, topic => ?T, partition => 0}),
  Offset.

command(Mock, Command) -> gen_server:call(Mock, Command, ?LIMIT_MS).

value(What, N) -> iolist_to_binary(io_lib:format("~p ~b", [What, N])).

received(_Consumer, 0) -> [];
received(Consumer, Left) ->
  receive
    {Consumer, #kafka_message_set{messages = Messages}} ->
      ok = brod:consume_ack(Consumer, (lists:last(Messages))#kafka_message.offset),
      [V || #kafka_message{value = V} <- Messages] ++ received(Consumer, Left - length(Messages))
  after ?LIMIT_MS -> error({missing, Left})
  end.
