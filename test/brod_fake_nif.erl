%% An engine in Erlang, for tests of the modules around it: load/1 makes this module brod_nif.
%% Port 1 refuses connections. Topics and their partition counts are given to load/1 and
%% set_topic/2. The value says what becomes of a message: `<<"wait">>' finds the buffer full until
%% room/1, `<<"hold">>' is never acknowledged, `<<"nack">>' is refused, others are acknowledged.
%% A test that plays the engine itself gives the answers with answer/2, and is told of operations and
%% of the calls of consumers and of group members after watch/1.
-module(brod_fake_nif).

-export([load/1, unload/0, set_topic/2, room/1, hide/1, hold_open/2, hold_publish/2, is_closed/1]).
-export([dispatchers/0, forward/3, metadata_requests/0, last_op/0]).
-export([watch/1, answer/2, take_consumers/1, endpoints/1]).
-export([consumer_open/4, consumer_info/1, consumer_close/1, consumer_subscribe/4,
         consumer_unsubscribe/1, consumer_seek/2, consumer_ack/2]).
-export([group_open/2, group_join/4, group_assign/3, group_commit/4, group_close/2]).
-export([sasl_answer/2]).
-export([dispatcher_open/1, dispatcher_done/2]).
-export([connection_open/3, connection_request/5, connection_close/1, error_name/1]).
-export([op_dirty/4, log_open/0, api_versions/0]).
-export([op/4, client_open/2, client_close/1, producer_open/4, producer_publish/2,
         producer_withdraw/1, produce/4, produce_to/6, produce_dirty/4, producer_process/1,
         producer_cancel_wait/2, producer_acks_done/1, producer_close/3, producer_info/1]).

-define(TABLE, brod_fake_nif_table).

load(Topics) ->
  ?TABLE = ets:new(?TABLE, [named_table, public]),
  lists:foreach(fun({Topic, Count}) -> set_topic(Topic, Count) end, Topics),
  Code = compiled(),
  _ = code:purge(brod_nif),
  {module, brod_nif} = code:load_binary(brod_nif, "brod_fake_nif", Code),
  ok.

%% Once, as tests have little time and there are many of them.
compiled() ->
  case persistent_term:get(?MODULE, undefined) of
    undefined ->
      {?MODULE, Beam, _} = code:get_object_code(?MODULE),
      {ok, {_, [{abstract_code, {_, Forms}}]}} = beam_lib:chunks(Beam, [abstract_code]),
      Renamed = [case F of {attribute, L, module, _} -> {attribute, L, module, brod_nif}; _ -> F end
                 || F <- Forms],
      {ok, brod_nif, Code} = compile:forms(Renamed),
      ok = persistent_term:put(?MODULE, Code),
      Code;
    Code -> Code
  end.

unload() ->
  true = ets:delete(?TABLE),
  _ = code:purge(brod_nif),
  true = code:delete(brod_nif),
  ok.

set_topic(Topic, Count) -> true = ets:insert(?TABLE, {{topic, Topic}, Count}), ok.

room(WaitId) ->
  [{_, Owner, Caller}] = ets:lookup(?TABLE, {wait, WaitId}),
  Owner ! {brod_room, [Caller, WaitId]},
  ok.

%% @doc Tell a process of operations, `{op, Op, Timeout}', and of the calls of consumers:
%% `{open_consumer, Topic, Partition}', `{subscribe, Pid, Handle, Receiver, Number, Options}', `{seek, To}', `{ack, Handle, Offset}';
%% and of group members, whose handle is `{group, Pid}': `{open_group, Config}', `{join, JoinId, Topics, UserData}',
%% `{assign, JoinId, Shares}', `{Ref, {commit, Generation, Offsets}}' and `{Ref, {close, Leave}}', which the test answers.
watch(Pid) -> true = ets:insert(?TABLE, {watcher, Pid}), ok.

tell(What) ->
  case ets:lookup(?TABLE, watcher) of
    [{_, Pid}] -> Pid ! What, ok;
    [] -> ok
  end.

%% @doc What `op', `consumer_subscribe', `consumer_seek' or `consumer_info' answers from now on.
answer(Call, Answer) -> true = ets:insert(?TABLE, {{answer, Call}, Answer}), ok.

answer_of(Call, Default) ->
  case ets:lookup(?TABLE, {answer, Call}) of
    [{_, Answer}] -> Answer;
    [] -> Default()
  end.

reply(Result) ->
  Ref = make_ref(),
  self() ! {brod_reply, Ref, Result},
  Ref.

%% @doc Have the consumers of a client taken by somebody else.
take_consumers(Client) -> true = ets:insert(?TABLE, {{taken, Client}}), ok.

%% @doc The endpoints that an open client was given.
endpoints(Client) -> ets:lookup_element(?TABLE, {client, Client}, 2).

client_open([{<<"no-threads">>, _}], _Config) ->
  {error, <<"cannot start the engine's threads: Too many open files (os error 24)">>};
client_open(Endpoints, _Config) ->
  Client = make_ref(),
  true = ets:insert(?TABLE, {{client, Client}, Endpoints}),
  {ok, Client}.

client_close(Client) ->
  true = ets:delete(?TABLE, {client, Client}),
  ok.

%% @doc How often metadata were asked for.
metadata_requests() -> ets:lookup_element(?TABLE, metadata_requests, 2).

%% @doc The operation that was asked for last.
last_op() -> ets:lookup_element(?TABLE, last_op, 2).

op(Client, Ref, Op, Timeout) ->
  ok = tell({op, Op, Timeout}),
  ok = count(Op),
  true = ets:insert(?TABLE, {last_op, Op}),
  self() ! {brod_reply, Ref, answer_of(op, fun() -> result_of(Client, Op) end)},
  ok.

result_of(Client, Op) ->
  case ets:lookup(?TABLE, {client, Client}) of
    [{_, Endpoints}] -> result(Op, Endpoints);
    [] -> {error, closed}
  end.

count({metadata, _, _}) ->
  _ = ets:update_counter(?TABLE, metadata_requests, 1, {metadata_requests, 0}),
  ok;
count(_) ->
  ok.

result(connect, Endpoints) ->
  case [{binary_to_list(H), 1, econnrefused} || {H, 1} <- Endpoints] of
    [] -> ok;
    Failures -> {error, Failures}
  end;
result({metadata, all, _}, Endpoints) ->
  result({metadata, [T || {{topic, T}, _} <- ets:tab2list(?TABLE)], false}, Endpoints);
result({metadata, Topics, _}, _) ->
  {ok, #{brokers => [], cluster_id => <<"c">>, controller_id => 1,
         topics => [topic(T) || T <- Topics]}};
result({leader, _Topic, _Partition}, [{Host, Port} | _]) -> {ok, {1, Host, Port}};
result({coordinator, group, <<"none">>}, _) -> {error, group_authorization_failed};
result({coordinator, _, _}, [{Host, Port} | _]) -> {ok, {1, Host, Port}};
result({fetch, _, _, Offset, _}, _) ->
  {ok, {5, [{kafka_message, O, <<>>, <<>>, create, 0, []} || O <- lists:seq(Offset, 4)], Offset}};
result({list_offsets, _, _, Time}, _) -> {ok, Time};
result({create_topics, _, _}, _) -> ok;
result({describe_groups, Groups}, _) -> {ok, [#{group_id => G} || G <- Groups]};
result(list_groups, _) -> {ok, [{<<"g">>, <<"consumer">>}]}.

topic(Topic) ->
  case ets:lookup(?TABLE, {topic, Topic}) of
    [{_, Count}] when is_integer(Count) ->
      #{name => Topic, error_code => no_error,
        partitions => [#{partition_index => P} || P <- lists:seq(0, Count - 1)]};
    _ ->
      #{name => Topic, error_code => unknown_topic_or_partition, partitions => []}
  end.

dispatcher_open(_Client) ->
  true = ets:insert(?TABLE, {{dispatcher, self()}}),
  {ok, make_ref()}.

%% @doc The processes that have become dispatchers.
dispatchers() -> [Pid || {{dispatcher, Pid}} <- ets:tab2list(?TABLE)].

%% @doc Have a producer's messages go through a dispatcher: `brod_handed_over' comes behind them.
forward(Dispatcher, Producer, Message) ->
  true = ets:insert(?TABLE, {{forwards, Producer}, Dispatcher}),
  Dispatcher ! {brod_forward, 1, Producer, Message},
  ok.

dispatcher_done(_Dispatcher, _Number) -> ok.

producer_process(Handle) ->
  [{_, Owner, _}] = ets:lookup(?TABLE, {producer, Handle}),
  Owner.

%% @doc The next producer of the partition is opened only when `Ref' has come back: its process sends
%% the caller `{opens, Pid, Ref}', and waits for `Ref'.
hold_open(Partition, Ref) ->
  true = ets:insert(?TABLE, {{hold_open, Partition}, {self(), Ref}}),
  ok.

%% @doc So it is when the client makes the producer known: `{publishes, Pid, Ref}'.
hold_publish(Partition, Ref) ->
  true = ets:insert(?TABLE, {{hold_publish, Partition}, {self(), Ref}}),
  ok.

held(Hold, Partition, What) ->
  case ets:take(?TABLE, {Hold, Partition}) of
    [{_, {Holder, Ref}}] -> Holder ! {What, self(), Ref}, receive Ref -> ok end;
    [] -> ok
  end.

producer_open(_Client, Topic, Partition, _Config) ->
  ok = held(hold_open, Partition, opens),
  Handle = make_ref(),
  true = ets:insert(?TABLE, [{{producer, Handle}, self(), open}, {{at, Handle}, Topic, Partition},
                             {{process, self()}, Handle}]),
  {ok, Handle}.

producer_publish(Handle, ClientId) ->
  [{_, Topic, Partition}] = ets:lookup(?TABLE, {at, Handle}),
  ok = held(hold_publish, Partition, publishes),
  true = ets:insert(?TABLE, {{place, ClientId, Topic, Partition}, Handle}),
  ok.

producer_withdraw(Handle) ->
  true = ets:match_delete(?TABLE, {'_', Handle}),
  ok.

%% @doc Whether the producer that a process has opened is closed.
is_closed(Pid) -> [] =/= ets:match(?TABLE, {{producer, '_'}, Pid, closed}).

%% @doc Forget that a process has opened a producer.
hide(Pid) ->
  true = ets:delete(?TABLE, {process, Pid}),
  ok.

produce(Pid, Target, Key, Value) -> found({process, Pid}, Target, Key, Value).

produce_to(ClientId, Topic, Partition, Target, Key, Value) ->
  found({place, ClientId, Topic, Partition}, Target, Key, Value).

found(Where, Target, Key, Value) ->
  case ets:lookup(?TABLE, Where) of
    [] ->
      undefined;
    [{_, Handle}] ->
      case try_produce(Handle, Target, Key, Value) of
        Pid when is_pid(Pid) -> Pid;
        Outcome -> {Handle, Outcome}
      end
  end.

try_produce(_Handle, _Target, _Key, <<"dirty">>) -> dirty;
try_produce(Handle, Target, Key, Value) -> produce_dirty(Handle, Target, Key, Value).

produce_dirty(Handle, Target, Key, Value) ->
  _ = try brod_utils:make_batch_input(Key, Value)
      catch error:_ -> error(badarg)
      end,
  case ets:lookup(?TABLE, {producer, Handle}) of
    [{_, Owner, open}] -> taken(Owner, target(Target), only(Value));
    [{_, _, closed}] -> {error, closed}
  end.

%% As it comes from another node.
only([#{value := Value}]) -> Value;
only(Value) -> Value.

target(Ref) when is_reference(Ref) -> [self(), Ref, 0];
target(Fun) when is_function(Fun) -> [Fun, make_ref(), 0];
target(no_ack) -> [].

taken(Owner, Target, <<"wait">>) ->
  WaitId = erlang:unique_integer([positive]),
  true = ets:insert(?TABLE, {{wait, WaitId}, Owner, self()}),
  true = ets:insert(?TABLE, {last_wait, WaitId}),
  case Target of
    [Fun | _] when is_function(Fun) -> {full, WaitId};
    _ -> {wait, WaitId}
  end;
taken(Owner, _Target, <<"hold">>) -> Owner;
taken(Owner, Target, <<"nack">>) -> Owner ! {brod_nacks, refused, Target}, Owner;
taken(Owner, Target, _Value) -> Owner ! {brod_acks, 7, Target}, Owner.

producer_cancel_wait(_Handle, WaitId) ->
  true = ets:delete(?TABLE, {wait, WaitId}),
  ok.

producer_acks_done(_Handle) -> ok.

producer_info(_Handle) -> #{buffered_calls => 0}.

%% The engine, too, says whose a closed producer was.
producer_close(Handle, _Reason, _Heir) ->
  true = ets:update_element(?TABLE, {producer, Handle}, {3, closed}),
  case ets:lookup(?TABLE, {forwards, self()}) of
    [{_, Dispatcher}] -> Dispatcher ! {brod_forward, 2, self(), brod_handed_over};
    [] -> self() ! brod_handed_over
  end,
  ok.

consumer_open(Client, Topic, Partition, _Config) ->
  ok = tell({open_consumer, Topic, Partition}),
  case ets:member(?TABLE, {taken, Client}) of
    true -> {error, already_open};
    false -> {ok, make_ref()}
  end.

consumer_info(_Consumer) ->
  answer_of(consumer_info, fun() -> #{next_offset => undefined, lag => undefined} end).

consumer_subscribe(Consumer, Receiver, Number, Options) ->
  ok = tell({subscribe, self(), Consumer, Receiver, Number, Options}),
  reply(answer_of(consumer_subscribe, fun() -> ok end)).

consumer_unsubscribe(_Consumer) -> ok.

consumer_seek(_Consumer, To) ->
  ok = tell({seek, To}),
  reply(answer_of(consumer_seek, fun() -> ok end)).

consumer_ack(Consumer, Offset) when Offset < 1 bsl 63 -> tell({ack, Consumer, Offset}).

consumer_close(_Consumer) -> ok.

group_open(_Client, Config) ->
  ok = tell({open_group, Config}),
  {ok, {group, self()}}.

group_join({group, _}, JoinId, Topics, UserData) -> tell({join, JoinId, Topics, UserData}).

group_assign({group, _}, JoinId, Shares) -> tell({assign, JoinId, Shares}).

group_commit({group, _}, Generation, Offsets, _Timeout) -> asked({commit, Generation, Offsets}).

group_close({group, _}, Leave) -> asked({close, Leave}).

asked(What) ->
  Ref = make_ref(),
  ok = tell({Ref, What}),
  Ref.

%% The question was asked by a process, not by the engine.
sasl_answer({Pid, Ref}, Answer) -> Pid ! {Ref, Answer}, ok.

op_dirty(Client, Ref, Op, Timeout) -> op(Client, Ref, Op, Timeout).

log_open() -> ok.

api_versions() -> [{produce, {3, 9}}, {fetch, {4, 12}}].

%% A broker that speaks some versions of Fetch and Metadata; what it answers is for the test to say.
connection_open(_Client, _Host, _Port) ->
  {make_ref(), reply(answer_of(connection_open, fun() -> {ok, [{1, 4, 12}, {3, 0, 13}]} end))}.

connection_request(Connection, Api, Body, ExpectsResponse, _Limit) ->
  ok = tell({connection_request, Connection, Api, Body, ExpectsResponse}),
  answer_of(connection_request, fun() -> reply(answer_of(response, fun() -> {error, closed} end)) end).

connection_close(Connection) -> tell({connection_close, Connection}).

error_name(3) -> unknown_topic_or_partition;
error_name(Code) -> Code.
