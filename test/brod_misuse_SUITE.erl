%% Every public function with arguments that are wrong, on the Kafka in memory: who calls gets an error that says so, and no
%% process that others use ends because of it.
-module(brod_misuse_SUITE).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([wrong_arguments_hurt_their_caller_only/1, what_a_killed_dispatcher_had_is_told/1, undefined_counts_as_not_given/1,
         a_client_that_is_stopped_meanwhile_is_down/1, what_was_in_the_mailbox_is_not_in_the_log/1, a_client_of_another_node_answers_or_says_where_it_is/1,
         options_that_are_none_are_told_so/1, host_names_come_back_as_they_were_given/1, addresses_are_hosts_too/1,
         a_connection_ends_with_those_that_it_is_linked_to/1]).
-export([init/2, handle_message/2, handle_message/3, handle_message/4]).
-export([get_committed_offsets/2, assign_partitions/3, assignments_received/4, assignments_revoked/1]).

-include_lib("eunit/include/eunit.hrl").
-include("../include/brod.hrl").

%% Of a machine that has much else to do: the largest arguments take half a second of CPU.
-define(CALL_LIMIT_MS, 120000).
-define(LIMIT_MS, 60000).
-define(WORKERS, 16).
-define(T, <<"t">>).
-define(CONNECT, [{connect_timeout, 2000}, {request_timeout, 2000}]).

suite() -> [{timetrap, {minutes, 10}}].

all() ->
  [wrong_arguments_hurt_their_caller_only, what_a_killed_dispatcher_had_is_told, undefined_counts_as_not_given,
   a_client_that_is_stopped_meanwhile_is_down, what_was_in_the_mailbox_is_not_in_the_log, a_client_of_another_node_answers_or_says_where_it_is,
   options_that_are_none_are_told_so, host_names_come_back_as_they_were_given, addresses_are_hosts_too,
   a_connection_ends_with_those_that_it_is_linked_to].

init_per_suite(Config) ->
  case brod_test:init_mock_suite(Config) of
    {skip, _} = Skip -> Skip;
    _ ->
      ok = application:set_env(brod, produce_room_timeout, 1000),
      ok = application:set_env(brod, produce_reply_timeout, 1000),
      Config
  end.

end_per_suite(_Config) ->
  ok = application:unset_env(brod, produce_room_timeout),
  ok = application:unset_env(brod, produce_reply_timeout).

wrong_arguments_hurt_their_caller_only(_Config) ->
  process_flag(trap_exit, true),
  {ok, Mock} = brod_mock:start(#{topics => #{?T => 2, <<"other">> => 1}}),
  {ok, Elsewhere} = brod_mock:start(#{topics => #{<<"elsewhere">> => 1}}),
  Client = brod_misuse_client,
  ok = brod:start_client(brod_mock:endpoints(Mock), Client, [{get_metadata_timeout_seconds, 2} | ?CONNECT]),
  ok = brod:start_client(brod_mock:endpoints(Elsewhere), brod_misuse_foreign, ?CONNECT),
  Shared = shared(Mock, Client),
  Calls = calls(Client, brod_mock:endpoints(Mock), Shared),
  %% each function is there, so that a new one is not forgotten
  ?assertEqual([], [FA || {F, _} = FA <- brod:module_info(exports), F =/= module_info,
                          not lists:member(FA, not_tried()), not has(FA, Calls)]),
  Misuses = [{M, F, Misused, Name} || {M, F, Args} <- Calls, {Misused, Name} <- misused(F, Args, Shared)],
  ct:pal("~b misuses of ~b functions", [length(Misuses), length(Calls)]),
  %% thousands of lines are to be expected, which are not what this is about
  #{level := Level} = logger:get_primary_config(),
  ok = logger:set_primary_config(level, none),
  Bad = [{M, F, Name, Outcome} || {{M, F, _Args, Name}, Outcome} <- made(Misuses), not is_fair(Outcome)],
  ok = logger:set_primary_config(level, Level),
  [ct:pal("~0P", [Each, 50]) || Each <- lists:sublist(Bad, 300)],
  Ended = [{Name, receive {'EXIT', Pid, Why} -> Why after 0 -> unknown end}
           || {Name, Pid} <- maps:to_list(Shared), not is_process_alive(Pid)],
  ?assertEqual({[], []}, {[{M, F, Name} || {M, F, Name, _} <- Bad], Ended}),
  %% and all of it goes on
  ok = brod:produce_sync(Client, ?T, 0, <<>>, <<"after all">>),
  #{group_subscriber := Group} = Shared,
  ?assertEqual(healthy, brod_test:wait_until(fun() -> healthy(Group) end, ?LIMIT_MS)),
  [unlink(Pid) || Pid <- maps:values(Shared)],
  [brod:stop_client(Each) || {Each, _, _, _} <- supervisor:which_children(brod_sup), is_atom(Each), Each =/= brod_helpers_sup],
  ok = brod_mock:stop(Mock),
  ok = brod_mock:stop(Elsewhere).

healthy(Group) ->
  case brod_group_subscriber_v2:health_check(Group, ?CALL_LIMIT_MS) of
    healthy -> healthy;
    _ -> false
  end.

%% The processes that others use.
shared(Mock, Client) ->
  ok = brod:start_producer(Client, ?T, []),
  ok = brod:start_consumer(Client, ?T, []),
  {ok, Producer} = brod:get_producer(Client, ?T, 0),
  {ok, Topic} = brod:start_link_topic_subscriber(#{client => Client, topic => ?T, cb_module => ?MODULE, init_data => topic}),
  {ok, Group} = brod:start_link_group_subscriber_v2(#{client => Client, group_id => <<"g2">>, topics => [<<"other">>],
                                                      cb_module => ?MODULE, init_data => v2}),
  {ok, Old} = brod:start_link_group_subscriber(Client, <<"g1">>, [?T], [], [], ?MODULE, v1),
  {ok, Consumer} = brod_test:wait_until(fun() ->
    case brod:get_consumer(Client, ?T, 0) of {ok, _} = Found -> Found; {error, _} -> false end
  end, ?LIMIT_MS),
  {ok, Coordinator} = brod_group_coordinator:start_link(Client, <<"g3">>, [?T], [], ?MODULE, self()),
  {ok, Txn} = brod:transaction(Client, <<"txn">>, []),
  healthy = brod_test:wait_until(fun() -> healthy(Group) end, ?LIMIT_MS),
  {ok, #{producers_sup := Producers, consumers_sup := Consumers}} = brod_client:context(Client),
  #{mock => Mock, client => whereis(Client), foreign => whereis(brod_misuse_foreign), producer => Producer,
    consumer => Consumer, topic_subscriber => Topic, group_subscriber => Group, old_group_subscriber => Old,
    coordinator => Coordinator, transaction => Txn, producers_sup => Producers, consumers_sup => Consumers,
    brod_sup => whereis(brod_sup), apis => whereis(brod_kafka_apis)}.

%% Those that concern the application, and what ends the client that all others use.
not_tried() -> [{start, 0}, {stop, 0}, {start, 2}, {stop, 1}].

has({F, A}, Calls) -> lists:any(fun({M, Function, Args}) -> M =:= brod andalso F =:= Function andalso length(Args) =:= A end, Calls).

%% Callbacks that were in its mailbox, behind acks of others, are gone: that is an error in the log, with their number.
what_a_killed_dispatcher_had_is_told(_Config) ->
  {ok, Mock} = brod_mock:start(#{topics => #{?T => 1}}),
  Client = brod_misuse_dispatched,
  ok = brod:start_client(brod_mock:endpoints(Mock), Client, ?CONNECT),
  ok = brod:start_producer(Client, ?T, [{max_linger_ms, 60000}, {max_linger_count, 5}]),
  {monitors, Monitors} = process_info(whereis(Client), monitors),
  [_ | _] = Dispatchers = [Pid || {process, Pid} <- Monitors,
                                  proc_lib:translate_initial_call(Pid) =:= {brod_dispatcher, init, 1}],
  [erlang:suspend_process(Dispatcher) || Dispatcher <- Dispatchers],
  Waiting = fun() -> lists:sum([element(2, process_info(D, message_queue_len)) || D <- Dispatchers]) end,
  Ack = fun(_, _) -> ok end,
  [{ok, _} = brod:produce(Client, ?T, 0, <<>>, <<"v">>) || _ <- lists:seq(1, 5)],
  true = brod_test:wait_until(fun() -> Waiting() =:= 1 end, ?LIMIT_MS),
  [ok = brod:produce_cb(Client, ?T, 0, <<>>, <<"v">>, Ack) || _ <- lists:seq(1, 5)],
  true = brod_test:wait_until(fun() -> Waiting() =:= 2 end, ?LIMIT_MS),
  Log = brod_log:start(),
  [exit(Dispatcher, kill) || Dispatcher <- Dispatchers],
  Said = fun() -> [L || L <- brod_log:all(Log, "a dispatcher ended with messages of acks"), string:find(L, "messages 2") =/= nomatch,
                        string:find(L, atom_to_list(Client)) =/= nomatch] end,
  [_] = brod_test:wait_until(fun() -> case Said() of [] -> false; Lines -> Lines end end, ?LIMIT_MS),
  ok = brod_log:stop(Log),
  ok = brod:stop_client(Client),
  ok = brod_mock:stop(Mock).

%% Who asks the cluster through a client while somebody stops it.
a_client_that_is_stopped_meanwhile_is_down(_Config) ->
  Client = brod_misuse_stopped,
  Calls = [{<<"Metadata">>, fun() -> brod:get_partitions_count(Client, ?T) end},
           {<<"Metadata">>, fun() -> brod:start_consumer(Client, ?T, []) end},
           {<<"Fetch">>, fun() -> brod:fetch(Client, ?T, 0, 0) end},
           {<<"FindCoordinator">>, fun() -> brod_client:get_group_coordinator(Client, <<"g">>) end}],
  [begin
     {ok, Mock} = brod_mock:start(#{topics => #{?T => 1}}),
     ok = brod:start_client(brod_mock:endpoints(Mock), Client),
     %% it is connected, and has not counted the partitions yet
     {ok, 0} = brod:resolve_offset(Client, ?T, 0),
     ok = brod_mock:fault(Mock, #{api => Api, action => {delay_answer, ?LIMIT_MS}}),
     {Caller, Monitor} = spawn_monitor(fun() -> exit({told, Call()}) end),
     true = brod_test:wait_until(fun() -> brod_mock:faults_met(Mock) > 0 end, ?LIMIT_MS),
     ok = brod:stop_client(Client),
     receive {'DOWN', Monitor, process, Caller, Told} -> ?assertEqual({told, {error, client_down}}, Told)
     after ?LIMIT_MS -> error(not_told)
     end,
     ok = brod_mock:stop(Mock)
   end || {Api, Call} <- Calls].

%% Configurations are often written with what may not be there: `[{partitions, Env}]', a last offset out of a table.
undefined_counts_as_not_given(_Config) ->
  {ok, Mock} = brod_mock:start(#{topics => #{?T => 1}}),
  Tried = [{Start, Option, brod_test:outcome(fun() -> start_with(Start, Option, Mock) end)}
           || Start <- [start_producer, start_consumer],
              Option <- [topic_restart_delay_seconds, partition_restart_delay_seconds, partitions],
              {Start, Option} =/= {start_producer, partitions}],
  ?assertEqual([], [Each || {_, _, Outcome} = Each <- Tried, Outcome =/= {ret, ok}]),
  Client = brod_misuse_committed,
  ok = brod:start_client(brod_mock:endpoints(Mock), Client, ?CONNECT),
  ok = brod:start_producer(Client, ?T, []),
  ok = brod:produce_sync(Client, ?T, 0, <<>>, <<"first">>),
  Self = self(),
  Tell = fun(0, #kafka_message{value = Value}, St) -> Self ! {handled, Value}, {ok, ack, St} end,
  {ok, Subscriber} = brod_topic_subscriber:start_link(Client, ?T, all, [{begin_offset, earliest}], [{0, undefined}], message,
                                                      Tell, none),
  receive {handled, Value} -> ?assertEqual(<<"first">>, Value) after ?LIMIT_MS -> error(nothing_handled) end,
  ok = brod_topic_subscriber:stop(Subscriber),
  ok = brod:stop_client(Client),
  ok = brod_mock:stop(Mock).

start_with(Start, Option, Mock) ->
  Client = brod_test:unique_name("undefined"),
  ok = brod:start_client(brod_mock:endpoints(Mock), Client, ?CONNECT),
  Result = brod:Start(Client, ?T, [{Option, undefined}]),
  ok = brod:stop_client(Client),
  Result.

%% Each function with arguments that are right, in part: as far as a call of it with them would not disturb the others.
calls(C, Hosts, #{producer := Producer, consumer := Consumer, topic_subscriber := Topic, group_subscriber := Group,
                  old_group_subscriber := Old, coordinator := Coordinator, transaction := Txn}) ->
  Host = hd(Hosts),
  Ref = #brod_call_ref{caller = self(), callee = dead(), ref = make_ref()},
  Ack = fun(_, _) -> ok end,
  Fold = fun(_, Acc) -> {ok, Acc} end,
  Spec = #{name => <<"new">>, num_partitions => 1, replication_factor => 1, assignments => [], configs => []},
  Batch = [#{key => <<"k">>, value => <<"v">>}],
  Fetch = #{max_wait_time => 10},
  V2 = #{client => C, group_id => <<"g">>, topics => [?T], cb_module => ?MODULE, init_data => v2, group_config => [],
         consumer_config => [], message_type => message},
  T = #{client => C, topic => ?T, cb_module => ?MODULE, init_data => topic, partitions => all, consumer_config => [],
        message_type => message},
  Do = #{group_id => <<"g">>, topics => [?T], group_config => [{offset_commit_policy, consumer_managed}], consumer_config => [],
         transaction_config => [], tx_id => <<"x">>},
  [{brod, F, Args} || {F, Args} <-
    [{start_client, [Hosts]}, {start_client, [Hosts, x]}, {start_client, [Hosts, x, ?CONNECT]},
     {start_link_client, [Hosts]}, {start_link_client, [Hosts, x]}, {start_link_client, [Hosts, x, ?CONNECT]},
     {stop_client, [x]}, {info, [C]}, {stats, [C]}, {health, [C]},
     {start_producer, [C, ?T, []]}, {get_producer, [C, ?T, 0]},
     {produce, [Producer, <<"v">>]}, {produce, [Producer, <<"k">>, <<"v">>]}, {produce, [C, ?T, 0, <<"k">>, <<"v">>]},
     {produce_cb, [Producer, <<"k">>, <<"v">>, Ack]}, {produce_cb, [C, ?T, 0, <<"k">>, <<"v">>, Ack]},
     {produce_no_ack, [C, ?T, 0, <<"k">>, <<"v">>]},
     {produce_sync, [Producer, <<"v">>]}, {produce_sync, [Producer, <<"k">>, <<"v">>]},
     {produce_sync, [C, ?T, 0, <<"k">>, <<"v">>]}, {produce_sync_offset, [C, ?T, 0, <<"k">>, <<"v">>]},
     {sync_produce_request, [Ref]}, {sync_produce_request, [Ref, 1]},
     {sync_produce_request_offset, [Ref]}, {sync_produce_request_offset, [Ref, 1]},
     {start_consumer, [C, ?T, []]}, {get_consumer, [C, ?T, 0]},
     {subscribe, [Consumer, self(), []]}, {subscribe, [C, self(), ?T, 0, []]},
     {unsubscribe, [Consumer]}, {unsubscribe, [Consumer, self()]}, {unsubscribe, [C, ?T, 0]}, {unsubscribe, [C, ?T, 0, self()]},
     {consume_ack, [Consumer, 0]}, {consume_ack, [C, ?T, 0, 0]}, {pause, [C, ?T, 1]}, {resume, [C, ?T, 0]},
     {seek, [C, ?T, 0, latest]}, {lag, [C, ?T]},
     {start_link_topic_subscriber, [T]}, {start_link_topic_subscriber, [C, ?T, [], ?MODULE, topic]},
     {start_link_topic_subscriber, [C, ?T, all, [], ?MODULE, topic]},
     {start_link_topic_subscriber, [C, ?T, all, [], message, ?MODULE, topic]},
     {start_link_group_subscriber, [C, <<"g">>, [?T], [], [], ?MODULE, v1]},
     {start_link_group_subscriber, [C, <<"g">>, [?T], [], [], message, ?MODULE, v1]},
     {start_link_group_subscriber_v2, [V2]},
     {create_topics, [Hosts, [Spec], #{timeout => 1000}]}, {create_topics, [Hosts, [Spec], #{timeout => 1000}, ?CONNECT]},
     {delete_topics, [Hosts, [<<"none">>], 1000]}, {delete_topics, [Hosts, [<<"none">>], 1000, ?CONNECT]},
     {get_metadata, [Hosts]}, {get_metadata, [Hosts, all]}, {get_metadata, [Hosts, all, ?CONNECT]},
     {get_partitions_count, [C, ?T]}, {get_partitions_count_safe, [C, ?T]},
     {resolve_offset, [C, ?T, 0]}, {resolve_offset, [C, ?T, 0, latest]}, {resolve_offset, [Hosts, ?T, 0, latest, ?CONNECT]},
     {resolve_offset, [Hosts, ?T, 0, latest, ?CONNECT, #{timeout => 1000}]},
     {fetch, [C, ?T, 0, 0]}, {fetch, [C, ?T, 0, 0, Fetch]}, {fetch, [Hosts, ?T, 0, 0, 10, 1, 1000]},
     {fetch, [Hosts, ?T, 0, 0, 10, 1, 1000, ?CONNECT]}, {fold, [C, ?T, 0, 0, Fetch, acc, Fold, #{message_count => 1}]},
     {transaction, [C, unique, []]}, {txn_do, [fun(_, _) -> ok end, C, Do]},
     {txn_produce, [Txn, ?T, 0, Batch]}, {txn_produce, [Txn, ?T, 0, <<"k">>, <<"v">>]},
     {txn_produce_async, [Txn, ?T, 0, Batch]}, {txn_produce_async, [Txn, ?T, 0, <<"k">>, <<"v">>]},
     {txn_add_offsets, [Txn, <<"g">>, #{{?T, 0} => 1}]}, {commit, [Txn]}, {abort, [Txn]},
     {connect_leader, [Hosts, ?T, 0, ?CONNECT]}, {connect_group_coordinator, [Hosts, ?CONNECT, <<"g">>]},
     {list_groups, [Host, ?CONNECT]}, {list_all_groups, [Hosts, ?CONNECT]}, {describe_groups, [Host, ?CONNECT, [<<"g">>]]},
     {fetch_committed_offsets, [C, <<"g">>]}, {fetch_committed_offsets, [Hosts, ?CONNECT, <<"g">>]}]] ++
  %% what subscribers call
  [{brod_topic_subscriber, ack, [Topic, 0, 0]},
   {brod_group_subscriber, ack, [Old, ?T, 0, 0]}, {brod_group_subscriber, ack, [Old, ?T, 0, 0, true]},
   {brod_group_subscriber, commit, [Old]}, {brod_group_subscriber, commit, [Old, ?T, 0, 0]},
   {brod_group_subscriber_v2, ack, [Group, ?T, 0, 0]}, {brod_group_subscriber_v2, commit, [Group, ?T, 0, 0]},
   {brod_group_coordinator, ack, [Coordinator, 1, ?T, 0, 0]}, {brod_group_coordinator, commit_offsets, [Coordinator, []]},
   {brod_group_coordinator, update_topics, [Coordinator, []]}].

%% One argument wrong at a time; of maps one key, too.
misused(F, Args, Shared) ->
  [{replaced(N, Value, Args), {N, Name}} || N <- lists:seq(1, length(Args)), {Name, Value} <- values(F, Shared)] ++
  [{replaced(N, Map#{Key := Value}, Args), {N, Key, Name}}
   || {N, Map} <- lists:zip(lists:seq(1, length(Args)), Args), is_map(Map), Key <- maps:keys(Map), {Name, Value} <- values(F, #{})].

replaced(N, Value, Args) -> lists:sublist(Args, N - 1) ++ [Value | lists:nthtail(N, Args)].

%% What would be right is none of it.
values(stop_client, _Shared) -> lists:keydelete(brod_misuse_foreign, 1, wrong());
values(F, Shared) when F =:= commit; F =:= abort -> wrong() ++ maps:to_list(maps:remove(transaction, Shared));
values(_F, Shared) -> wrong() ++ maps:to_list(Shared).

wrong() ->
  [{V, V} || V <- [-1, 1 bsl 31, 1 bsl 63, 1 bsl 64, 0.5, nonsense, undefined, nil, brod_misuse_foreign, "text", [955], <<255>>,
                   <<1:3>>, <<>>, [], [1 | 2], [nonsense | nonsense], [{nonsense, 1} | nonsense], [[[]]], [undefined], [{}],
                   #{}, #{nonsense => 1}, [#{}], {}, {nonsense, 1}, {[], []}, [{[], 1}]]] ++
  [{huge_name, binary:copy(<<"x">>, 33000)}, {long_list, lists:seq(1, 20000)}, {dead, dead()}, {reference, make_ref()},
   {arity_0, fun() -> error(mine) end}, {arity_2, fun(_, _) -> error(mine) end}, {arity_4, fun(_, _, _, _) -> error(mine) end}].

dead() ->
  {Pid, Monitor} = spawn_monitor(fun() -> ok end),
  receive {'DOWN', Monitor, process, Pid, _} -> Pid end.

made(Misuses) ->
  Numbered = lists:zip(lists:seq(1, length(Misuses)), Misuses),
  Parts = [spawn_monitor(fun() -> exit({made, [{Misuse, made_one(Misuse)} || {N, Misuse} <- Numbered, worker(N, Misuse) =:= W]}) end)
           || W <- lists:seq(0, ?WORKERS - 1)],
  lists:append([receive {'DOWN', Monitor, process, _, {made, Outcomes}} -> Outcomes end || {_, Monitor} <- Parts]).

%% Transactions of one id wait for each other.
worker(N, {_, F, _, _}) ->
  case lists:member(F, [transaction, txn_do, txn_produce, txn_produce_async, txn_add_offsets, commit, abort]) of
    true -> 0;
    false -> N rem ?WORKERS
  end.

%% In a process of its own: what it starts ends with it.
made_one({M, F, Args0, _Name}) ->
  Args = [case Arg of unique -> brod_test:unique("txn"); _ -> Arg end || Arg <- Args0],
  {Pid, Monitor} = spawn_monitor(fun() ->
    process_flag(trap_exit, true),
    Outcome = try apply(M, F, Args) of
                {error, Reason} -> {error_tuple, Reason};
                _ -> returned
              catch
                Class:Reason:Stack -> {Class, Reason, Stack}
              end,
    process_flag(trap_exit, false),
    exit({outcome, Outcome})
  end),
  receive {'DOWN', Monitor, process, Pid, {outcome, Outcome}} -> Outcome;
          {'DOWN', Monitor, process, Pid, Reason} -> {ended, Reason}
  after ?CALL_LIMIT_MS ->
    Where = process_info(Pid, [current_stacktrace]),
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, _} -> {hangs, Where} end
  end.

%% A caller's own fun may raise in it.
is_fair(returned) -> true;
is_fair({error_tuple, Reason}) -> not is_of_a_crash(Reason);
is_fair({throw, {failed_to_connect, _}, _}) -> true;
is_fair({error, Reason, Stack}) -> is_of_an_argument(Reason, Stack);
is_fair({exit, Text, _}) when is_list(Text) -> true;
is_fair({exit, {Reason, {gen_server, call, _}}, _}) -> lists:member(Reason, [noproc, normal, shutdown]);
is_fair({exit, noproc, _}) -> true;
is_fair(_) -> false.

is_of_an_argument(mine, _) -> true;
is_of_an_argument(badarg, _) -> true;
is_of_an_argument(undef, _) -> true;
%% as brod has it
is_of_an_argument(bad_message_count, _) -> true;
is_of_an_argument({badmap, _}, _) -> true;
is_of_an_argument({badfun, _}, _) -> true;
is_of_an_argument({badarity, _}, _) -> true;
is_of_an_argument({timeout_value, _}, _) -> true;
is_of_an_argument(timeout_value, _) -> true;
%% the last two where the process that is called is none
is_of_an_argument(function_clause, [{Module, _, _, _} | _]) ->
  lists:prefix("brod", atom_to_list(Module)) orelse lists:member(Module, [gen_server, gen]);
is_of_an_argument(Reason, _) when is_tuple(Reason), is_atom(element(1, Reason)) ->
  Tag = atom_to_list(element(1, Reason)),
  lists:prefix("bad_", Tag) orelse lists:prefix("missing_", Tag);
is_of_an_argument(_, _) -> false.

%% A process that could not be started because of what it was given says so by its reason.
is_of_a_crash({Reason, [{_, _, _, _} | _] = Stack}) -> not is_of_an_argument(Reason, Stack);
is_of_a_crash(nif_panicked) -> true;
is_of_a_crash(_) -> false.

%% Whatever ends a process that messages of users come to, the report does not show them.
what_was_in_the_mailbox_is_not_in_the_log(_Config) ->
  process_flag(trap_exit, true),
  brod_test:with_mock(#{topics => #{?T => 1}}, fun(_Mock, Client) ->
    ok = brod:start_producer(Client, ?T, []),
    Secret = <<"a secret of a user">>,
    Produced = fun(_) -> ok = brod:produce_sync(Client, ?T, 0, <<>>, Secret) end,
    Consumer = [{begin_offset, earliest}],
    {ok, Topic} = brod_topic_subscriber:start_link(Client, ?T, [0], Consumer, ?MODULE, trap_exit),
    await_subscribed(Client, Topic),
    ends_before_it_gets_to(Topic, Produced, Secret),
    {ok, Group} = brod_group_subscriber:start_link(Client, <<"g">>, [?T], [], Consumer, ?MODULE, state),
    await_subscribed(Client, Group),
    ends_before_it_gets_to(Group, Produced, Secret),
    Message = #{key => <<>>, value => Secret},
    {ok, Producer} = brod_producer:start_link(Client, ?T, 0, []),
    CallRef = #brod_call_ref{caller = self(), callee = Producer, ref = make_ref()},
    ends_before_it_gets_to(Producer, fun(Pid) -> Pid ! {produce, CallRef, [Message], undefined} end, Secret),
    {ok, Transaction} = brod:transaction(Client, <<"id">>, []),
    ends_before_it_gets_to(Transaction, fun(Pid) -> gen_server:send_request(Pid, {produce, ?T, 0, [Message]}) end, Secret)
  end).

%% As one of brod 4, which does not trap exits. What happened to its owner is not told once more, with what the connection had got.
a_connection_ends_with_those_that_it_is_linked_to(_Config) ->
  brod_test:with_mock(#{topics => #{?T => 1}}, fun(Mock, _Client) ->
    Log = brod_log:start(),
    Test = self(),
    Connect = fun() ->
      {ok, Connection} = brod_connection:start_link(brod_mock:endpoints(Mock), []),
      Test ! {connected, Connection},
      receive Reason -> exit(Reason) end
    end,
    Ends = fun(Tell, Expected) ->
      Owner = spawn(Connect),
      Connection = receive {connected, Pid} -> Pid after ?LIMIT_MS -> error(not_connected) end,
      Monitor = monitor(process, Connection),
      Tell(Owner, Connection),
      ?assertEqual(Expected, receive {'DOWN', Monitor, process, _, Why} -> Why after ?LIMIT_MS -> lives end)
    end,
    Ends(fun(Owner, _) -> Owner ! boom end, boom),
    Ends(fun(Owner, _) -> exit(Owner, kill) end, killed),
    Ends(fun(Owner, _) -> Owner ! normal end, normal),
    Ends(fun(_, Connection) -> exit(Connection, {shutdown, elsewhere}) end, {shutdown, elsewhere}),
    %% somebody who is not the owner
    Ends(fun(Owner, Connection) ->
           {_, Gone} = spawn_monitor(fun() -> link(Connection) end),
           receive {'DOWN', Gone, process, _, normal} -> ok end,
           ?assertMatch({ok, _}, brod_connection:api_versions(Connection)),
           Owner ! {shutdown, done}
         end, {shutdown, done}),
    Lines = [Line || Line <- brod_log:lines(Log), string:find(Line, "brod_connection") =/= nomatch],
    ok = brod_log:stop(Log),
    ?assertEqual([], Lines)
  end).

await_subscribed(Client, Pid) ->
  brod_test:wait_until(fun() ->
    case brod:get_consumer(Client, ?T, 0) of
      {ok, Consumer} ->
        case brod_consumer:info(Consumer) of
          #{subscriber := Pid, active := true} -> true;
          _ -> false
        end;
      {error, _} -> false
    end
  end, ?LIMIT_MS).

ends_before_it_gets_to(Pid, Send, Secret) ->
  Log = brod_log:start(),
  ok = sys:suspend(Pid),
  _ = Send(Pid),
  brod_test:wait_until(fun() -> process_info(Pid, message_queue_len) =/= {message_queue_len, 0} end, ?LIMIT_MS),
  exit(Pid, boom),
  %% who does not end for this process alone, as a child of it would
  _ = catch sys:resume(Pid),
  receive {'EXIT', Pid, boom} -> ok after ?LIMIT_MS -> error({does_not_end, Pid}) end,
  brod_test:wait_until(fun() -> brod_log:has(Log, "crasher") end, ?LIMIT_MS),
  ?assertEqual([], brod_log:all(Log, Secret)),
  ok = brod_log:stop(Log).

%% By its pid, as what comes with a message of that node.
a_client_of_another_node_answers_or_says_where_it_is(_Config) ->
  brod_test:distributed(fun() ->
    brod_test:with_mock(#{topics => #{?T => 2}}, fun(_Mock, Client) ->
      Args = lists:append([["-pa", Dir] || Dir <- code:get_path(), filelib:is_dir(Dir)]),
      {ok, Peer, Node} = peer:start_link(#{name => brod_test:unique_name("peer"), args => Args}),
      try asked_from(Node, whereis(Client)) after ok = peer:stop(Peer) end
    end)
  end).

asked_from(Node, Client) ->
  Ask = fun(M, F, A) -> erpc:call(Node, M, F, [Client | A], ?CALL_LIMIT_MS) end,
  ?assertEqual({ok, 2}, Ask(brod, get_partitions_count, [?T])),
  ?assertMatch({ok, #{topics := [#{name := ?T}]}}, Ask(brod_client, get_metadata, [?T])),
  ?assertEqual(ok, Ask(brod, start_producer, [?T, []])),
  ?assertEqual(ok, Ask(brod, produce_sync, [?T, 0, <<"k">>, <<"v">>])),
  ?assertMatch({ok, {1, [#kafka_message{value = <<"v">>}]}}, Ask(brod, fetch, [?T, 0, 0])),
  ?assertEqual({ok, 1}, Ask(brod, resolve_offset, [?T, 0, latest])),
  ?assertMatch({ok, #{producers := [_, _]}}, Ask(brod, stats, [])),
  ?assertEqual({ok, []}, Ask(brod, health, [])),
  {ok, {[{Host, Port} | _], _}} = Ask(brod_client, get_bootstrap, []),
  {ok, Leader} = Ask(brod_client, get_leader_connection, [?T, 0]),
  {ok, Connection} = Ask(brod_client, get_connection, [Host, Port]),
  [begin
     ?assertEqual(node(), node(Pid)),
     ?assertEqual({ok, 1}, erpc:call(Node, brod, resolve_offset, [Pid, ?T, 0, latest], ?CALL_LIMIT_MS)),
     ?assertMatch({ok, #{produce := {_, _}}}, erpc:call(Node, brod_connection, api_versions, [Pid], ?CALL_LIMIT_MS))
   end || Pid <- [Leader, Connection]],
  %% What the engine has belongs to processes of its own node.
  Down = {error, {client_down, {runs_on, node()}}},
  ?assertEqual(Down, Ask(brod, transaction, [<<"id">>, []])),
  ?assertEqual(Down, erpc:call(Node, gen_server, start, [brod_producer, {Client, ?T, 0, []}, []], ?CALL_LIMIT_MS)).

%% Elixir's nil, for example.
options_that_are_none_are_told_so(_Config) ->
  Log = brod_log:start(),
  [begin
     ?assertEqual({error, {bad_option, client, Options}}, brod:start_client([{"127.0.0.1", 1}], brod_no_options, Options)),
     ?assert(brod_log:has(Log, lists:flatten(io_lib:format("options are a list or a map, not ~0p", [Options]))))
   end || Options <- [nil, 5, [{a, b} | c]]],
  ok = brod_log:stop(Log),
  Latin1 = [{<<"b", 16#fc, "cher">>, 9092}],
  ?assertEqual({error, {bad_option, endpoints, Latin1}}, brod:start_client(Latin1, brod_no_options, [])).

host_names_come_back_as_they_were_given(_Config) ->
  Name = [$b, 16#fc, $c, 16#151 | ".invalid"],
  [?assertThrow({failed_to_connect, [{{Host, 9092}, {_, []}}]},
                brod:get_metadata([{Host, 9092}], [?T], [{connect_timeout, 1000}]))
   || Host <- [Name, unicode:characters_to_binary(Name), list_to_atom(Name)]].

addresses_are_hosts_too(_Config) ->
  {ok, Mock} = brod_mock:start(#{topics => #{?T => 1}}),
  [{_, Port} | _] = brod_mock:endpoints(Mock),
  Endpoint = {{127, 0, 0, 1}, Port},
  Client = brod_misuse_addresses,
  ok = brod:start_client([Endpoint], Client, ?CONNECT),
  ?assertEqual({ok, 1}, brod:get_partitions_count(Client, ?T)),
  ?assertMatch({ok, {[Endpoint], _}}, brod_client:get_bootstrap(Client)),
  {200, _, Page} = brod_dashboard:handle("/state"),
  ?assertMatch({match, _}, re:run(Page, "\"endpoints\":\\[\"127.0.0.1:")),
  ?assertMatch({ok, _}, brod_client:get_connection(Client, {127, 0, 0, 1}, Port)),
  ok = brod:stop_client(Client),
  ok = brod_mock:stop(Mock),
  %% One that the mock has left may be another program's by now.
  [?assertThrow({failed_to_connect, [{{Address, 1}, {_, []}}]}, brod:get_metadata([{Address, 1}], [?T], ?CONNECT))
   || Address <- [{127, 0, 0, 1}, {0, 0, 0, 0, 0, 0, 0, 1}]],
  [?assertEqual({error, {bad_option, endpoints, [{Host, Port}]}}, brod:start_client([{Host, Port}], Client))
   || Host <- [{127, 0, 0}, {127, 0, 0, 256}, {}]].

%% callbacks of the subscribers

%% A worker of a group of the second version is told what it is for.
init(#{group_id := _}, _) -> {ok, state};
init(_, Arg) ->
  Arg =:= trap_exit andalso process_flag(trap_exit, true),
  case get('$initial_call') of
    {brod_topic_subscriber, init, 1} -> {ok, [], state};
    _ -> {ok, state}
  end.

handle_message(_Message, State) -> {ok, ack, State}.

handle_message(_Partition, _Message, State) -> {ok, ack, State}.

handle_message(_Topic, _Partition, _Message, State) -> {ok, ack, State}.

%% callbacks of the member behind the coordinator

get_committed_offsets(_, _) -> {ok, []}.

assign_partitions(_, Members, _) -> [{Member, []} || {Member, _} <- Members].

assignments_received(_, _, _, _) -> ok.

assignments_revoked(_) -> ok.
