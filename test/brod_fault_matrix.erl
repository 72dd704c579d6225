%% Each fault at each moment, met by each kind of client on a Kafka in memory. Whatever is answered `ok' is there, once and
%% in order; everybody is answered; what is there is consumed; and all goes on afterwards.
-module(brod_fault_matrix).

-export([cases/0, run/2]).
-export([init/2, handle_message/2, handle_message/4]).
-export([get_committed_offsets/2, assign_partitions/3, assignments_received/4, assignments_revoked/1]).

-include_lib("stdlib/include/assert.hrl").
-include("../include/brod.hrl").

-define(LIMIT_MS, 60000).
-define(MESSAGES, 40).
-define(CONNECT, [{connect_timeout, 5000}, {request_timeout, 5000}]).
%% Codes of Kafka that pass.
-define(UNKNOWN_TOPIC, 3).
-define(LEADER_NOT_AVAILABLE, 5).
-define(NOT_LEADER, 6).
-define(REQUEST_TIMED_OUT, 7).
-define(LOADING, 14).
-define(COORDINATOR_NOT_AVAILABLE, 15).
-define(NOT_COORDINATOR, 16).
-define(NOT_ENOUGH_REPLICAS, 19).
-define(NOT_ENOUGH_REPLICAS_AFTER_APPEND, 20).
-define(ILLEGAL_GENERATION, 22).
-define(UNKNOWN_MEMBER, 25).
-define(REBALANCE, 27).
-define(UNKNOWN_LEADER_EPOCH, 75).
-define(CONCURRENT_TRANSACTIONS, 51).
%% Codes after which a transaction can only be aborted, or not even that.
-define(INVALID_PRODUCER_EPOCH, 47).
-define(TRANSACTION_ABORTABLE, 120).
%% The releases before and after KIP-890.
-define(TXN_V1, <<"3.9">>).
-define(TXN_V2, <<"4.1">>).

-type who() :: {producer, brod:producer_config()} | consumer | group_subscriber | group_subscriber_v2 | coordinator | admin
             | {transaction, Release :: binary()}.

%% @doc All of them.
-spec cases() -> [{brod_mock:fault(), who()}].
cases() -> producers() ++ consumers() ++ groups() ++ admins() ++ transactions().

cut() -> [reset_before, reset_after, {delay, 30}, {truncate, 20}].

producers() ->
  Produce = cut() ++ [{delay_answer, 30}, {truncate, 6}] ++
            [{error, Code} || Code <- [?NOT_LEADER, ?LEADER_NOT_AVAILABLE, ?REQUEST_TIMED_OUT, ?NOT_ENOUGH_REPLICAS,
                                       ?NOT_ENOUGH_REPLICAS_AFTER_APPEND]],
  [{#{api => Api, nth => Nth, times => Times, action => Action}, {producer, Kind}}
   || {Api, Actions} <- [{<<"Produce">>, Produce}, {<<"Metadata">>, cut() ++ [{error, ?LEADER_NOT_AVAILABLE}]},
                         {<<"ApiVersions">>, [reset_before, reset_after]}],
      Action <- Actions, Nth <- [1, 2, 5], Times <- [1, 2],
      Kind <- [[], [{enable_idempotence, false}], [{required_acks, 1}]]].

consumers() ->
  Leader = [{error, Code} || Code <- [?NOT_LEADER, ?LEADER_NOT_AVAILABLE, ?UNKNOWN_TOPIC]],
  %% another request's answer, as it seems
  Mistaken = {corrupt, 6},
  Actions = cut() ++ [{delay_answer, 30}, {truncate, 6}, {truncate, 100}, Mistaken] ++ Leader,
  [{#{api => Api, nth => Nth, times => Times, action => Action}, consumer}
   || {Api, Moments} <- [{<<"Fetch">>, [1, 2, 3]}, {<<"ListOffsets">>, [1]}],
      Action <- Actions ++ [{error, ?UNKNOWN_LEADER_EPOCH} || Api =:= <<"Fetch">>], Nth <- Moments, Times <- [1, 2]].

groups() ->
  Apis = [{<<"FindCoordinator">>, [?COORDINATOR_NOT_AVAILABLE]}, {<<"JoinGroup">>, [?LOADING, ?NOT_COORDINATOR, ?UNKNOWN_MEMBER]},
          {<<"SyncGroup">>, [?REBALANCE, ?NOT_COORDINATOR, ?UNKNOWN_MEMBER, ?ILLEGAL_GENERATION]},
          {<<"Heartbeat">>, [?REBALANCE, ?NOT_COORDINATOR, ?UNKNOWN_MEMBER, ?ILLEGAL_GENERATION]},
          {<<"OffsetFetch">>, [?LOADING, ?NOT_COORDINATOR]},
          {<<"OffsetCommit">>, [?LOADING, ?NOT_COORDINATOR, ?REBALANCE]}],
  [{#{api => Api, action => Action}, Who}
   || Who <- [group_subscriber, group_subscriber_v2, coordinator], {Api, Codes} <- Apis,
      Action <- cut() ++ [{error, Code} || Code <- Codes]].

admins() ->
  [{#{api => Api, action => Action}, admin}
   || Api <- [<<"Metadata">>, <<"ListOffsets">>, <<"FindCoordinator">>, <<"OffsetFetch">>, <<"ListGroups">>,
              <<"DescribeGroups">>, <<"CreateTopics">>, <<"DeleteTopics">>],
      Action <- [drop, {truncate, 6}, {error, ?REQUEST_TIMED_OUT} | cut()]].

%% The first call of most APIs is of the transaction that is aborted, the second of the one that is committed.
transactions() ->
  Coordinator = [{error, Code} || Code <- [?LOADING, ?NOT_COORDINATOR, ?CONCURRENT_TRANSACTIONS]],
  Both = [{<<"EndTxn">>, [1, 2], Coordinator ++ [{error, ?INVALID_PRODUCER_EPOCH}]},
          {<<"TxnOffsetCommit">>, [1, 2], [{error, ?LOADING}, {error, ?NOT_COORDINATOR}, {error, ?TRANSACTION_ABORTABLE}]}],
  Apis = [{?TXN_V2, Both ++ [{<<"InitProducerId">>, [1], Coordinator},
                             {<<"Produce">>, [1, 2], [{error, Code} || Code <- [?NOT_LEADER, ?NOT_ENOUGH_REPLICAS_AFTER_APPEND,
                                                                                ?TRANSACTION_ABORTABLE]]}]},
          {?TXN_V1, Both ++ [{<<"AddPartitionsToTxn">>, [1, 2], Coordinator}, {<<"AddOffsetsToTxn">>, [1, 2], Coordinator}]}],
  [{#{api => Api, nth => Nth, action => Action}, {transaction, Release}}
   || {Release, OfRelease} <- Apis, {Api, Moments, Errors} <- OfRelease, Nth <- Moments,
      Action <- cut() ++ [{delay_answer, 30} | Errors]].

%% @doc The cases, shared out among so many clusters that work side by side: those that failed, and why.
-spec run([{brod_mock:fault(), who()}], pos_integer()) -> [{{brod_mock:fault(), who()}, term()}].
run(Cases, Clusters) ->
  Numbered = lists:zip(lists:seq(1, length(Cases)), Cases),
  Workers = [spawn_monitor(fun() -> exit({failed, work([C || {N, C} <- Numbered, N rem Clusters =:= W])}) end)
             || W <- lists:seq(0, Clusters - 1)],
  lists:append([receive
                  {'DOWN', Monitor, process, _, {failed, Failed}} -> Failed;
                  {'DOWN', Monitor, process, _, Reason} -> [{worker, Reason}]
                end || {_, Monitor} <- Workers]).

work(Cases) ->
  process_flag(trap_exit, true),
  {OfV1, Others} = lists:partition(fun({_, Who}) -> Who =:= {transaction, ?TXN_V1} end, Cases),
  work(#{}, Others) ++ work(#{version => ?TXN_V1}, OfV1).

work(Config, Cases) ->
  {ok, Mock} = brod_mock:start(Config),
  Failed = [{Case, Why} || {N, Case} <- lists:zip(lists:seq(1, length(Cases)), Cases),
                           {failed, Why} <- [faulty(Mock, Case, integer_to_binary(N))]],
  ok = brod_mock:stop(Mock),
  Failed.

faulty(Mock, {Fault, Who}, N) ->
  Topic = <<"t", N/binary>>,
  Client = list_to_atom(pid_to_list(self()) ++ binary_to_list(Topic)),
  ok = brod_mock:create_topic(Mock, Topic, 1),
  try
    ok = brod:start_client(brod_mock:endpoints(Mock), Client, [{reconnect_cool_down_seconds, 0} | ?CONNECT]),
    met(Who, Mock, Client, Topic, Fault)
  catch
    Class:Why:Stack -> {failed, {Class, Why, Stack}}
  after
    _ = brod_mock:clear_faults(Mock),
    ok = brod:stop_client(Client),
    flush()
  end.

flush() -> receive _ -> flush() after 0 -> ok end.

%% Calls are made side by side; what is answered ok must be there, once if the producer is idempotent, and in order.
met({producer, Kind}, Mock, Client, Topic, Fault) ->
  %% a client's first request may be the one that fails
  ok = brod:stop_client(Client),
  ok = brod_mock:fault(Mock, Fault),
  ok = brod:start_client(brod_mock:endpoints(Mock), Client, [{reconnect_cool_down_seconds, 0} | ?CONNECT]),
  Options = [{retry_backoff_ms, 20}, {max_retries, 10}, {max_linger_count, 1} | Kind],
  ok = tried(fun() -> brod:start_producer(Client, Topic, Options) end),
  Refs = [begin
            {ok, Ref} = brod:produce(Client, Topic, 0, <<>>, integer_to_binary(N)),
            {N, Ref}
          end || N <- sent()],
  Acked = [N || {N, Ref} <- Refs, brod:sync_produce_request(Ref, ?LIMIT_MS) =:= ok],
  Stored = [binary_to_integer(V) || {_, #kafka_message{value = V}} <- brod_mock:messages(Mock, Topic)],
  ?assertEqual(sent(), Acked),
  case Kind of
    [] -> ?assertEqual(sent(), Stored);
    _ -> ?assertEqual(sent(), once(Stored, []))
  end;
%% Half of the messages are there before, half come while it consumes.
met(consumer, Mock, Client, Topic, Fault) ->
  {Before, After} = lists:split(?MESSAGES div 2, sent()),
  produce(Client, Topic, Before),
  ok = brod_mock:fault(Mock, Fault),
  Options = [{begin_offset, earliest}, {max_wait_time, 100}],
  ok = tried(fun() -> brod:start_consumer(Client, Topic, Options) end),
  {ok, Consumer} = tried(fun() -> brod:subscribe(Client, self(), Topic, 0, Options) end),
  ?assertEqual(Before, received(Consumer, length(Before))),
  produce(Client, Topic, After),
  ?assertEqual(After, received(Consumer, length(After)));
met(coordinator, Mock, Client, Topic, Fault) ->
  Group = <<"g", Topic/binary>>,
  ok = brod_mock:fault(Mock, Fault),
  {ok, Coordinator} = brod_group_coordinator:start_link(Client, Group, [Topic], group_config(), ?MODULE, self()),
  committed(Mock, Coordinator, Group, Topic, awaited_generation()),
  stopped(Coordinator);
met(Who, Mock, Client, Topic, Fault) when Who =:= group_subscriber; Who =:= group_subscriber_v2 ->
  Group = <<"g", Topic/binary>>,
  produce(Client, Topic, sent()),
  ok = brod_mock:fault(Mock, Fault),
  Consumer = [{begin_offset, earliest}, {max_wait_time, 100}],
  {ok, Member} =
    case Who of
      group_subscriber ->
        brod:start_link_group_subscriber(Client, Group, [Topic], group_config(), Consumer, message, ?MODULE, self());
      group_subscriber_v2 ->
        brod:start_link_group_subscriber_v2(
          #{client => Client, group_id => Group, topics => [Topic], cb_module => ?MODULE, init_data => self(),
            message_type => message, consumer_config => Consumer, group_config => group_config()})
    end,
  ?assertEqual(ok, brod_mock:await_caught_up(Mock, Group, Topic, ?LIMIT_MS)),
  met_heartbeat(Mock, Fault),
  ?assert(is_process_alive(Member)),
  %% What was not committed when the member lost its partition comes again.
  Seen = consumed(),
  ?assertEqual(sent(), once(Seen, [])),
  ?assertEqual([], jumps(Seen, 0)),
  stopped(Member);
%% What fails is answered, and works when it is asked again.
met(admin, Mock, Client, Topic, #{api := Api} = Fault) ->
  produce(Client, Topic, [1]),
  Ask = admin(Api, brod_mock:endpoints(Mock), Topic),
  ok = brod_mock:fault(Mock, Fault),
  case Ask() of
    ok -> ok;
    {error, _} -> ok
  end,
  ok = brod_mock:clear_faults(Mock),
  case Ask() of
    ok -> ok;
    {error, Told} when Api =:= <<"CreateTopics">> -> ?assertMatch({match, _}, re:run(Told, "already.exists"));
    {error, unknown_topic_or_partition} when Api =:= <<"DeleteTopics">> -> ok
  end;

%% One is aborted, one is committed, and when the fault is over another one. Readers of what is committed see all of a
%% transaction or nothing, and it once.
met({transaction, _}, Mock, Client, Topic, #{action := Action} = Fault) ->
  ok = brod_mock:fault(Mock, Fault),
  Aborted = transact(Client, Topic, [101, 102], fun brod:abort/1),
  Committed = transact(Client, Topic, [1, 2, 3], fun brod:commit/1),
  ok = brod_mock:clear_faults(Mock),
  Offset = brod_mock:committed(Mock, Topic, Topic, 0),
  Last = transact(Client, Topic, [4], fun brod:commit/1),
  Seen = seen(Client, Topic, 0),
  Told = {Aborted, Committed, Seen},
  ?assertEqual(ok, Last, Told),
  ?assertEqual(4, brod_mock:committed(Mock, Topic, Topic, 0)),
  Ends = lists:member(Action, [{error, ?INVALID_PRODUCER_EPOCH}, {error, ?TRANSACTION_ABORTABLE}]),
  case Committed of
    ok -> ?assertEqual({3, [1, 2, 3, 4]}, {Offset, Seen}, Told);
    {error, _} when Ends -> ?assert(lists:member(Seen, [[4], [1, 2, 3, 4]]), Told)
  end,
  Ends orelse ?assertEqual(ok, Aborted).

admin(Api, Endpoints, Topic) ->
  Connect = [{connect_timeout, 5000}, {request_timeout, 1000}],
  Group = <<"g">>,
  New = #{name => <<"new", Topic/binary>>, num_partitions => 1, replication_factor => 1, assignments => [], configs => []},
  Ask = case Api of
          <<"Metadata">> -> fun() -> brod:get_metadata(Endpoints, [Topic], Connect) end;
          <<"ListOffsets">> -> fun() -> brod:resolve_offset(Endpoints, Topic, 0, latest, Connect) end;
          <<"FindCoordinator">> -> fun() -> brod:fetch_committed_offsets(Endpoints, Connect, Group) end;
          <<"OffsetFetch">> -> fun() -> brod:fetch_committed_offsets(Endpoints, Connect, Group) end;
          <<"ListGroups">> -> fun() -> brod:list_groups(hd(Endpoints), Connect) end;
          <<"DescribeGroups">> -> fun() -> brod:describe_groups(hd(Endpoints), Connect, [Group]) end;
          <<"CreateTopics">> -> fun() -> brod:create_topics(Endpoints, [New], #{timeout => 1000}, Connect) end;
          <<"DeleteTopics">> -> fun() -> brod:delete_topics(Endpoints, [Topic], 1000, Connect) end
        end,
  fun() ->
    case Ask() of
      {ok, _} -> ok;
      Other -> Other
    end
  end.

%% Messages and an offset, the last of them, in a transaction that ends so. What has failed is aborted.
transact(Client, Topic, Numbers, End) ->
  T0 = erlang:monotonic_time(millisecond),
  Result =
    case brod:transaction(Client, Topic, [{transaction_timeout, ?LIMIT_MS}]) of
      {ok, Tx} ->
        Produced = [brod:txn_produce(Tx, Topic, 0, <<>>, integer_to_binary(N)) || N <- Numbers],
        Added = brod:txn_add_offsets(Tx, Topic, #{{Topic, 0} => lists:last(Numbers)}),
        case [Error || {error, _} = Error <- Produced ++ [Added]] of
          [] -> End(Tx);
          [Error | _] ->
            _ = brod:abort(Tx),
            Error
        end;
      Error -> Error
    end,
  ?assert(erlang:monotonic_time(millisecond) - T0 < ?LIMIT_MS),
  Result.

%% By readers of what is committed.
seen(Client, Topic, Offset) ->
  {ok, {Stable, Messages}} = brod:fetch(Client, Topic, 0, Offset, #{isolation_level => read_committed, max_wait_time => 100}),
  Numbers = [binary_to_integer(V) || #kafka_message{value = V} <- Messages],
  case Messages of
    [] -> [];
    _ ->
      Next = (lists:last(Messages))#kafka_message.offset + 1,
      Numbers ++ case Next < Stable of true -> seen(Client, Topic, Next); false -> [] end
  end.

%% One that is scripted for a heartbeat has been met before the verdict.
met_heartbeat(Mock, #{api := <<"Heartbeat">>}) ->
  Met = brod_mock:faults_met(Mock),
  _ = [wait_until(fun() -> brod_mock:faults_met(Mock) > Met end) || Met =:= 0],
  ok;
met_heartbeat(_Mock, _Fault) -> ok.

wait_until(Holds) -> wait_until(Holds, erlang:monotonic_time(millisecond) + ?LIMIT_MS).

wait_until(Holds, Deadline) ->
  case Holds() of
    true -> ok;
    false ->
      ?assert(erlang:monotonic_time(millisecond) < Deadline),
      timer:sleep(5),
      wait_until(Holds, Deadline)
  end.

group_config() ->
  [{offset_commit_interval_seconds, 1}, {heartbeat_rate_seconds, 1}, {session_timeout_seconds, 10},
   {rejoin_delay_seconds, 0}, {max_rejoin_attempts, 10}].

%% Of a commit in the generation that is there: what is refused is tried again, in the next one if need be.
committed(Mock, Coordinator, Group, Topic, Generation) ->
  ok = brod_group_coordinator:ack(Coordinator, Generation, Topic, 0, 6),
  case brod_group_coordinator:commit_offsets(Coordinator) of
    ok -> wait_until(fun() -> brod_mock:committed(Mock, Group, Topic, 0) =:= 7 end);
    {error, _} ->
      Next = receive {generation, Newer} -> Newer after 100 -> Generation end,
      committed(Mock, Coordinator, Group, Topic, Next)
  end.

awaited_generation() ->
  receive {generation, Generation} -> Generation after ?LIMIT_MS -> error(no_assignments) end.

stopped(Pid) ->
  unlink(Pid),
  Monitor = monitor(process, Pid),
  exit(Pid, shutdown),
  receive {'DOWN', Monitor, process, Pid, _} -> ok after ?LIMIT_MS -> error(does_not_stop) end.

sent() -> lists:seq(1, ?MESSAGES).

produce(Client, Topic, Numbers) ->
  ok = brod:start_producer(Client, Topic, []),
  ok = brod:produce_sync(Client, Topic, 0, <<>>, [{<<"k">>, integer_to_binary(N)} || N <- Numbers]).

tried(Fun) -> tried(Fun, 50).

tried(Fun, Tries) ->
  case Fun() of
    {error, _} when Tries > 0 -> tried(Fun, Tries - 1);
    Other -> Other
  end.

received(_Consumer, 0) -> [];
received(Consumer, Left) ->
  receive
    {Consumer, #kafka_message_set{messages = Messages}} ->
      ok = brod:consume_ack(Consumer, (lists:last(Messages))#kafka_message.offset),
      [binary_to_integer(V) || #kafka_message{value = V} <- Messages] ++ received(Consumer, Left - length(Messages));
    {Consumer, #kafka_fetch_error{} = Error} -> error(Error)
  after ?LIMIT_MS -> error({missing, Left})
  end.

consumed() ->
  receive {consumed, Value} -> [binary_to_integer(Value) | consumed()]
  after 0 -> []
  end.

jumps([], _) -> [];
jumps([N | Rest], Most) when N =< Most + 1 -> jumps(Rest, max(Most, N));
jumps([N | Rest], Most) -> [{N, behind, Most} | jumps(Rest, N)].

once([], Seen) -> lists:reverse(Seen);
once([N | Rest], Seen) ->
  case lists:member(N, Seen) of
    true -> once(Rest, Seen);
    false -> once(Rest, [N | Seen])
  end.

%% Callbacks

%% @private of both subscribers
init(Group, Case) when is_binary(Group) -> {ok, Case};
init(#{}, Case) -> {ok, Case}.

%% @private
handle_message(#kafka_message{value = Value}, Case) ->
  Case ! {consumed, Value},
  {ok, commit, Case}.

%% @private
handle_message(_Topic, _Partition, #kafka_message{value = Value}, Case) ->
  Case ! {consumed, Value},
  {ok, ack, Case}.

%% @private
get_committed_offsets(_Case, _Partitions) -> {ok, []}.

%% @private
assign_partitions(_Case, _Members, _Partitions) -> [].

%% @private
assignments_received(Case, _MemberId, Generation, _Assignments) ->
  Case ! {generation, Generation},
  ok.

%% @private
assignments_revoked(_Case) -> ok.
