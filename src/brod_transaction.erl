%% @doc A transaction: messages to any partitions, and offsets of a consumer group, that readers with
%% `isolation_level' `read_committed' see all or not at all (KIP-98).
%%
%% ```
%% {ok, Tx} = brod_transaction:new(Client, <<"transactional-id">>, []),
%% {ok, _Offset} = brod_transaction:produce(Tx, Topic, Partition, Key, Value),
%% ok = brod_transaction:add_offsets(Tx, GroupId, #{{Input, Partition} => Offset}),
%% ok = brod_transaction:commit(Tx).
%% '''
%%
%% The process is linked to its caller. It ends, with reason `normal', after {@link commit/1} or {@link
%% abort/1}, whatever they return. When its caller dies, what is open is aborted.
%%
%% To start a transaction fences all others of the same transactional id: they can neither produce nor
%% commit any more (`{error, invalid_producer_epoch}'). One that begins within a second after the last one of its id in
%% the same client asks no coordinator: should another client have taken the id within that second, that one is fenced with
%% the first message that is sent.
%%
%% Any process may use the transaction. Messages do not go through its process: callers hand them to the
%% engine, which sends what comes from all of them together.
-module(brod_transaction).
-behaviour(gen_server).

-export([new/3, start_link/3, stop/1]).
-export([produce/4, produce/5, produce_async/4, produce_async/5, add_offsets/3, commit/1, abort/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2,
         code_change/3, format_status/1]).

-export_type([ batch_input/0, call_ref/0, client/0, client_id/0, group/0, group_id/0, key/0, offset/0
             , offsets_to_commit/0, partition/0, topic/0, transaction/0, transaction_config/0
             , transactional_id/0, txn_ctx/0, value/0 ]).

%% How long a process that ends waits for the abort of what it leaves open.
-define(ABORT_LIMIT_MS, 4000).

-type batch_input() :: brod:batch_input().
-type call_ref() :: brod:call_ref().
-type client() :: brod:client().
-type client_id() :: brod:client_id().
-type group_id() :: brod:group_id().
-type group() :: group_id()
               | #{ group_id := group_id(), generation := integer(), member_id := binary()
                  , group_instance_id => binary() | undefined }.
%% A group, or a group with the member in whose name offsets are committed (KIP-447).
-type key() :: brod:key().
-type offset() :: brod:offset().
-type offsets_to_commit() :: brod:offsets_to_commit()
                           | #{brod:topic_partition() => {offset(), Metadata :: binary()}}
                           | [{brod:topic_partition(), {offset(), Metadata :: binary()}}].
-type partition() :: brod:partition().
-type topic() :: brod:topic().
-type transaction() :: pid().
-type transaction_config() :: brod_option_types:transaction().
-type transactional_id() :: brod:transactional_id().
-type txn_ctx() :: map().
-type value() :: brod:value().
-type known() :: {client(), brod_nif:txn()}.
%% What callers of the same node need: the client for the number of partitions, and the engine's handle.

-record(state,
  { client :: client()
  , id     :: transactional_id()
  , config :: brod_transaction_options:checked()
  , handle :: undefined | brod_nif:txn()
    %% begun, or why not; or who waits for that
  , begun = [] :: ok | {error, term()} | [gen_server:from()]
  , begin_ref :: undefined | reference()
    %% who waits for what
  , calls = #{} :: #{reference() => gen_server:from()}
  , ending :: undefined | {reference(), {commit | abort, gen_server:from()}}
  , has_ended = false :: boolean()
  }).

%% @doc The same as {@link start_link/3}.
-spec new(client(), transactional_id(), transaction_config()) -> {ok, transaction()} | {error, term()}.
new(Client, TxnId, Config) -> start_link(Client, TxnId, Config).

%% @doc Start a transaction. Fences other producers of the transactional id, and ends what they have left
%% open. Options:
%% <ul>
%% <li>`timeout': how long a broker may take for one answer (ms, 1000);</li>
%% <li>`backoff_step': the longest wait between two attempts (ms, 100);</li>
%% <li>`max_retries': attempts after which brod would give up (5). What passes by itself, like a
%% coordinator that moves, is tried for `transaction_timeout' at least;</li>
%% <li>`transaction_timeout': how long the transaction may be open (ms, 60000). The broker aborts one that
%% is older, and commits it no more: `{error, transaction_timed_out}';</li>
%% <li>`producer_config': options as of `brod:start_producer/3' ([]), such as `compression'.</li>
%% </ul>
%% Errors: Kafka's codes, such as `transactional_id_authorization_failed' or
%% `invalid_transaction_timeout'; `client_down'; `{not_supported, Api, Versions}' from a broker without
%% transactions; `{bad_option, Option, Value}'.
-spec start_link(client(), transactional_id(), transaction_config()) ->
        {ok, transaction()} | {error, term()}.
start_link(Client, TxnId, Config) ->
  ok = brod_args:client(Client),
  case brod_transaction_options:check(TxnId, Config) of
    {ok, Options} ->
      ok = brod_options:warn_unknown_once(transaction, Config),
      case brod_client:context_here(Client) of
        {ok, #{engine := Engine}} -> start_begun({Client, Engine, TxnId, Options});
        {error, Reason} -> {error, Reason}
      end;
    {error, Reason} ->
      {error, Reason}
  end.

%% What cannot begin is a result, and not an exit that ends a caller who is linked.
start_begun(Args) ->
  {ok, Pid} = gen_server:start_link(?MODULE, Args, []),
  case gen_server:call(Pid, await_begun, infinity) of
    ok -> {ok, Pid};
    {error, Reason} -> {error, Reason}
  end.

%% @doc Ends the transaction's process. What is open is aborted.
-spec stop(transaction()) -> ok | {error, term()}.
stop(Transaction) -> call(Transaction, terminate).

%% @doc Produce one message and wait for its offset. The partition may be a partitioner, as for
%% `brod:produce/5'.
%%
%% After an error that says that the message was not stored, such as `unknown_topic_or_partition' or
%% `message_too_large', the transaction goes on without it. One in which nobody knows what is stored can
%% only be aborted.
-spec produce(transaction(), topic(), partition() | brod:partitioner(), key(), value()) ->
        {ok, offset()} | {error, term()}.
produce(Transaction, Topic, Partition, Key, Value) ->
  run(Transaction, {produce, Topic, Partition, Key, Value}).

%% @doc Produce a batch, as one. Returns the offset of its first message. A partitioner is asked once, with
%% the key of the first message.
-spec produce(transaction(), topic(), partition() | brod:partitioner(), batch_input()) ->
        {ok, offset()} | {error, term()}.
produce(Transaction, Topic, Partition, Batch) ->
  run(Transaction, {produce, Topic, Partition, Batch}).

%% @doc Produce one message without waiting for it: {@link commit/1} does. In the first milliseconds of a transaction such
%% messages are gathered until the commit. If it is not stored, for whatever
%% reason, the transaction cannot be committed any more. Waits while the partition's buffer is full.
-spec produce_async(transaction(), topic(), partition() | brod:partitioner(), key(), value()) ->
        ok | {error, term()}.
produce_async(Transaction, Topic, Partition, Key, Value) ->
  run(Transaction, {produce_async, Topic, Partition, Key, Value}).

%% @doc As {@link produce_async/5}, with a batch.
-spec produce_async(transaction(), topic(), partition() | brod:partitioner(), batch_input()) ->
        ok | {error, term()}.
produce_async(Transaction, Topic, Partition, Batch) ->
  run(Transaction, {produce_async, Topic, Partition, Batch}).

%% @doc Make offsets part of the transaction: once it is committed they are the group's, as they are given
%% here: where its members go on, one after the last message that is done with. {@link brod_transaction_processor} adds
%% the offset of the last message itself instead, as in brod 4, and has its members begin after that.
%%
%% Where a member of the group on this node has been assigned all these partitions, they are committed in
%% its name and generation, so that one that has lost them meanwhile cannot (KIP-447): that is `{error,
%% illegal_generation}' or the like, and the transaction can only be aborted. A member of another kind can be
%% named in a map with `group_id', `generation', `member_id' and `group_instance_id'; with generation -1 and the member
%% `<<>>' nobody is, as is right where the only member here is of a group of that name in another cluster.
-spec add_offsets(transaction(), group(), offsets_to_commit()) -> ok | {error, term()}.
add_offsets(Transaction, Group, Offsets) ->
  case to_commit(Group, Offsets, Transaction) of
    {ok, GroupId, Member, List} -> call(Transaction, {add_offsets, GroupId, Member, List});
    {error, Reason} -> {error, Reason}
  end.

%% @doc Commit the transaction, after all messages that were produced before. `ok' also for a transaction of
%% nothing. After an error it is not committed, except after `timeout', when nobody knows. The process ends
%% either way.
-spec commit(transaction()) -> ok | {error, term()}.
commit(Transaction) -> call(Transaction, commit).

%% @doc Abort the transaction. The process ends.
-spec abort(transaction()) -> ok | {error, term()}.
abort(Transaction) -> call(Transaction, abort).

%%% What callers do by themselves

%% Most messages are for partitions that the transaction has been given some for: the engine finds it by its process then,
%% and neither a table nor the process is asked.
run(Transaction, Call) when element(1, Call) =:= produce_async ->
  {Topic, Partition, Key, Value} = parts(Call),
  case is_integer(Partition) andalso give_known(Transaction, Topic, Partition, Key, Value) of
    Unknown when Unknown =:= undefined; Unknown =:= dirty; Unknown =:= false -> look_up(Transaction, Call);
    {wait, WaitId} ->
      MRef = monitor(process, Transaction),
      ok = await_room(WaitId, MRef),
      true = demonitor(MRef, [flush]),
      ok;
    Result -> Result
  end;
run(Transaction, Call) ->
  look_up(Transaction, Call).

give_known(Transaction, Topic, Partition, Key, Value) ->
  try brod_nif:txn_produce_known(Transaction, no_ack, Topic, Partition, Key, Value)
  catch
    error:badarg:Stack -> bad_message(Key, Value, Stack)
  end.

await_room(WaitId, MRef) ->
  receive
    {brod_room, WaitId} -> ok;
    {'DOWN', MRef, process, _, _} -> ok
  end.

look_up(Transaction, Call) ->
  case brod_handles:lookup(transaction, Transaction) of
    {ok, Known} -> produce_here(Transaction, Known, Call);
    false -> call(Transaction, Call)
  end.

produce_here(Transaction, Known, Call) ->
  MRef = monitor(process, Transaction),
  try hand_over(Known, Call, MRef) of
    sent ->
      receive
        {brod_reply, MRef, Result} -> Result;
        {'DOWN', MRef, process, _, Reason} -> last_reply(MRef, Transaction, Call, Reason)
      end;
    {wait, WaitId} ->
      await_room(WaitId, MRef);
    Result ->
      Result
  after
    demonitor(MRef, [flush])
  end.

%% The transaction has ended since: what was sent before is answered before.
last_reply(MRef, Transaction, Call, Reason) ->
  receive
    {brod_reply, MRef, Result} -> Result
  after 0 ->
    exit({Reason, {gen_server, call, [Transaction, Call]}})
  end.

%% `sent': the answer comes as a message under the reference.
-spec hand_over(known(), tuple(), reference()) -> sent | ok | {wait, term()} | {error, term()}.
hand_over({Client, Handle}, Call, Ref) ->
  {Topic, Partitioner, Key, Value} = parts(Call),
  ok = brod_args:topic(Topic),
  case partition(Client, Topic, Partitioner, Key, Value) of
    {ok, Partition} ->
      Target = case element(1, Call) of
                 produce -> Ref;
                 produce_async -> no_ack
               end,
      case give(Handle, Target, Topic, Partition, Key, Value) of
        ok when Target =:= no_ack -> ok;
        ok -> sent;
        Other -> Other
      end;
    {error, Reason} ->
      ok = brod_nif:txn_refused(Handle),
      {error, Reason}
  end.

parts({_, Topic, Partition, [First | _] = Batch}) when is_map(First); is_tuple(First) ->
  {Topic, Partition, <<>>, Batch};
parts({_, _Topic, _Partition, Batch}) ->
  brod_args:raise(badarg, "a batch, which is a list of messages", Batch);
parts({_, Topic, Partition, Key, Value}) -> {Topic, Partition, Key, Value}.

give(Handle, Target, Topic, Partition, Key, Value) ->
  try
    case brod_nif:txn_produce(Handle, Target, Topic, Partition, Key, Value) of
      dirty -> brod_nif:txn_produce_dirty(Handle, Target, Topic, Partition, Key, Value);
      Result -> Result
    end
  catch
    error:badarg:Stack -> bad_message(Key, Value, Stack)
  end.

-spec bad_message(key(), value(), erlang:stacktrace()) -> no_return().
bad_message(Key, Value, Stack) ->
  brod_produce_errors:raise(produce, 5, [{4, key, Key}, {5, value, Value}], Stack).

partition(Client, Topic, Partition, _Key, _Value) when is_integer(Partition) ->
  case brod_client:get_partitions_count(Client, Topic) of
    {ok, Count} when Partition >= 0, Partition < Count -> {ok, Partition};
    {ok, _Count} when Partition < 0 -> {error, unknown_topic_or_partition};
    {ok, _Count} -> new_partition(Client, Topic, Partition);
    {error, Reason} -> {error, Reason}
  end;
partition(Client, Topic, Partitioner, Key, Value) ->
  case brod_client:get_partitions_count(Client, Topic) of
    {ok, Count} ->
      %% A fun of the user's may name one that the topic does not have.
      Chosen = brod_partitioner:partition(Partitioner, Topic, Count, key(Key, Value), Value),
      partition(Client, Topic, Chosen, Key, Value);
    {error, Reason} -> {error, Reason}
  end.

%% The topic may have grown since it was counted.
new_partition(Client, Topic, Partition) when Partition < 1 bsl 31 ->
  brod_client_ref:with_context(Client, fun(Context) ->
    case brod_client_lookup:call(Context, {leader, Topic, Partition}) of
      {ok, _Leader} -> {ok, Partition};
      {error, leader_not_available} -> {ok, Partition};
      {error, Reason} -> {error, Reason}
    end
  end);
new_partition(_Client, _Topic, _Partition) ->
  {error, unknown_topic_or_partition}.

key(<<>>, [#{key := Key} | _]) -> Key;
key(<<>>, [{Key, _Value} | _]) -> Key;
key(<<>>, [{_Ts, Key, _Value} | _]) -> Key;
key(<<>>, #{key := Key}) -> Key;
key(Key, _Value) -> Key.

to_commit(Group, Offsets, Transaction) ->
  try
    List = [offset_to_commit(Offset) || Offset <- as_list(Offsets)],
    case {brod_options:is_id(group_id(Group)), Group} of
      {true, #{group_id := GroupId, generation := Generation, member_id := MemberId}}
        when is_integer(Generation), is_binary(MemberId) ->
        {ok, GroupId, {Generation, MemberId, maps:get(group_instance_id, Group, undefined)}, List};
      {true, GroupId} when is_binary(GroupId) ->
        TPs = [{T, P} || {T, P, _, _} <- List],
        {ok, GroupId, brod_group_members:lookup(GroupId, TPs, client(Transaction)), List};
      _ ->
        {error, {bad_group, Group}}
    end
  catch
    throw:bad_offsets -> {error, {bad_offsets, Offsets}}
  end.

client(Transaction) when is_pid(Transaction) ->
  case brod_handles:lookup(transaction, Transaction) of
    {ok, {Client, _Handle}} -> Client;
    false -> undefined
  end;
client(_Other) -> undefined.

group_id(#{group_id := GroupId}) -> GroupId;
group_id(GroupId) -> GroupId.

as_list(Offsets) when is_map(Offsets) -> maps:to_list(Offsets);
as_list(Offsets) when length(Offsets) >= 0 -> Offsets;
as_list(_Offsets) -> throw(bad_offsets).

offset_to_commit({{Topic, Partition}, {Offset, Metadata}})
  when is_binary(Topic), is_integer(Partition), Partition >= 0, Partition < 1 bsl 31,
       is_integer(Offset), Offset >= -1, Offset < 1 bsl 63, is_binary(Metadata) ->
  {Topic, Partition, Offset, Metadata};
offset_to_commit({TopicPartition, Offset}) when is_integer(Offset) ->
  offset_to_commit({TopicPartition, {Offset, <<>>}});
offset_to_commit(_Offset) ->
  throw(bad_offsets).

%% A transaction that has ended, or never was, is an exit as of gen_server:call/2. A process that is something
%% else is not asked: it might never answer.
call(Transaction, Call) ->
  case is_other_process(Transaction) of
    true ->
      {error, {not_a_transaction, Transaction}};
    false ->
      try gen_server:call(Transaction, Call, infinity)
      catch exit:{Reason, {gen_server, call, _}} ->
        exit({Reason, {gen_server, call, [Transaction, Call]}})
      end
  end.

is_other_process(Pid) when is_pid(Pid), node(Pid) =:= node() ->
  case process_info(Pid, dictionary) of
    {dictionary, Dictionary} ->
      proplists:get_value('$initial_call', Dictionary) =/= {?MODULE, init, 1};
    undefined ->
      false
  end;
is_other_process(Pid) when is_pid(Pid) -> false;
is_other_process(_Other) -> true.

%%% gen_server

init({Client, Engine, TxnId, Config}) ->
  process_flag(trap_exit, true),
  ok = brod_logging:about(#{client => brod_logging:client(Client), transactional_id => TxnId}),
  {ok, #state{client = Client, id = TxnId, config = Config}, {continue, {begin_on, Engine}}}.

handle_continue({begin_on, Engine}, #state{client = Client, id = TxnId, config = Config} = State) ->
  case brod_nif:txn_open(Engine, brod_transaction_options:engine_config(TxnId, Config)) of
    {ok, Handle} ->
      ok = brod_handles:put(transaction, {Client, Handle}),
      {noreply, State#state{handle = Handle, begin_ref = brod_nif:txn_begin(Handle)}};
    {error, Reason} ->
      {noreply, begun({error, Reason}, State)}
  end.

handle_call(await_begun, _From, #state{begun = ok} = State) ->
  {reply, ok, State};
handle_call(await_begun, _From, #state{begun = {error, _} = Error} = State) ->
  {stop, normal, Error, State};
handle_call(await_begun, From, #state{begun = Waiting} = State) ->
  {noreply, State#state{begun = [From | Waiting]}};
handle_call(terminate, _From, State) ->
  {stop, normal, ok, State};
handle_call(_Call, _From, #state{ending = {_, _}} = State) ->
  {reply, {error, invalid_txn_state}, State};
handle_call(commit, From, State) ->
  {noreply, State#state{ending = {brod_nif:txn_end(State#state.handle, true), {commit, From}}}};
handle_call(abort, From, State) ->
  {noreply, State#state{ending = {brod_nif:txn_end(State#state.handle, false), {abort, From}}}};
handle_call({add_offsets, GroupId, Member, Offsets}, From, #state{handle = Handle} = State) ->
  %% what its caller has not checked must not end the transaction of all others
  try brod_nif:txn_offsets(Handle, GroupId, Member, Offsets) of
    Ref -> {noreply, State#state{calls = maps:put(Ref, From, State#state.calls)}}
  catch
    error:badarg -> {reply, {error, {bad_group, GroupId}}, State}
  end;
handle_call(Call, From, #state{client = Client, handle = Handle} = State)
  when is_tuple(Call), element(1, Call) =:= produce; is_tuple(Call), element(1, Call) =:= produce_async ->
  %% from another node
  Ref = make_ref(),
  try hand_over({Client, Handle}, Call, Ref) of
    sent -> {noreply, State#state{calls = maps:put(Ref, From, State#state.calls)}};
    {wait, _} -> {reply, ok, State};
    Result -> {reply, Result, State}
  catch
    error:Reason -> {reply, {error, Reason}, State}
  end;
handle_call(Call, _From, State) ->
  {reply, {error, {unsupported_call, Call}}, State}.

handle_cast(_Cast, State) ->
  {noreply, State}.

handle_info({brod_reply, Ref, Result}, #state{begin_ref = Ref} = State) ->
  case {Result, State#state.begun} of
    {{error, _}, [_ | _]} -> {stop, normal, begun(Result, State)};
    _ -> {noreply, begun(Result, State)}
  end;
handle_info({brod_reply, Ref, Result}, #state{ending = {Ref, {How, From}}} = State) ->
  ok = brod_telemetry:happened([transaction, How], #{count => 1}, #{result => Result}),
  gen_server:reply(From, Result),
  {stop, normal, State#state{has_ended = Result =:= ok}};
handle_info({brod_reply, Ref, Result}, #state{calls = Calls} = State) ->
  case maps:take(Ref, Calls) of
    {From, Left} ->
      gen_server:reply(From, Result),
      {noreply, State#state{calls = Left}};
    error ->
      {noreply, State}
  end;
handle_info(_Info, State) ->
  {noreply, State}.

begun(Result, #state{begun = Waiting} = State) ->
  ok = brod_telemetry:happened([transaction, 'begin'], #{count => 1}, #{result => Result}),
  _ = [gen_server:reply(From, Result) || From <- Waiting],
  State#state{begun = Result, begin_ref = undefined}.

terminate(_Reason, #state{handle = undefined}) ->
  ok;
terminate(_Reason, #state{handle = Handle, has_ended = HasEnded, begun = Begun}) ->
  _ = brod_handles:take_back(),
  ok = case HasEnded orelse Begun =/= ok of
         true -> ok;
         false -> abort_open(brod_nif:txn_end(Handle, false))
       end,
  ok = brod_nif:txn_close(Handle),
  brod_crash:empty_mailbox().

abort_open(Ref) ->
  receive
    {brod_reply, Ref, _Result} -> ok
  after ?ABORT_LIMIT_MS ->
    ok
  end.

%% @private
code_change(_OldVsn, State, _Extra) ->
  {ok, State}.

%% @private
format_status(Status) ->
  brod_crash:status(Status, fun(#state{client = Client, id = TxnId} = State) ->
    #{client => Client, transactional_id => TxnId, begun => State#state.begun, calls => map_size(State#state.calls)}
  end).
