%% @doc Transactions, request by request. The functions of `kpro' have their documentation.
-module(kpro_txn_lib).

-export([txn_init_ctx/3, add_partitions_to_txn/3, add_offsets_to_txn/3, txn_offset_commit/5, end_txn/3]).

-include("kpro.hrl").

-define(TIMEOUT_MS, 5000).
-define(TXN_TIMEOUT_MS, 30000).

-type opts() :: #{timeout => timeout(), atom() => term()}.

-spec txn_init_ctx(kpro:connection(), kpro:transactional_id(), opts()) -> {ok, kpro:txn_ctx()} | {error, term()}.
txn_init_ctx(Connection, TransactionalId, Opts) ->
  Req = kpro_req_lib:make(init_producer_id, 0, #{transactional_id => TransactionalId,
                                                 transaction_timeout_ms => maps:get(txn_timeout, Opts, ?TXN_TIMEOUT_MS)}),
  case request(Connection, Req, Opts) of
    {ok, #{error_code := ?no_error, producer_id := Id, producer_epoch := Epoch}} ->
      {ok, #{connection => Connection, transactional_id => TransactionalId, producer_id => Id, producer_epoch => Epoch}};
    {ok, #{error_code := Code}} -> {error, Code};
    {error, Reason} -> {error, Reason}
  end.

-spec end_txn(kpro:txn_ctx(), commit | abort, opts()) -> ok | {error, term()}.
end_txn(#{connection := Connection} = Txn, How, Opts) ->
  checked(request(Connection, kpro_req_lib:end_txn(Txn, How), Opts)).

-spec add_offsets_to_txn(kpro:txn_ctx(), kpro:group_id(), opts()) -> ok | {error, term()}.
add_offsets_to_txn(#{connection := Connection} = Txn, GroupId, Opts) ->
  checked(request(Connection, kpro_req_lib:add_offsets_to_txn(Txn, GroupId), Opts)).

checked({ok, #{error_code := ?no_error}}) -> ok;
checked({ok, #{error_code := Code}}) -> {error, Code};
checked({error, Reason}) -> {error, Reason}.

-spec add_partitions_to_txn(kpro:txn_ctx(), [{kpro:topic(), kpro:partition()}], opts()) -> ok | {error, term()}.
add_partitions_to_txn(#{connection := Connection} = Txn, TopicPartitions, Opts) ->
  case request(Connection, kpro_req_lib:add_partitions_to_txn(Txn, TopicPartitions), Opts) of
    {ok, #{results := Topics}} ->
      Answered = [{{Topic, Partition}, Code}
                  || #{name := Topic, results_by_partition := Partitions} <- Topics,
                     #{partition_index := Partition, partition_error_code := Code} <- Partitions],
      refused([{Topic, Partition, Code} || {{Topic, Partition}, Code} <- not_done(TopicPartitions, Answered)]);
    {error, Reason} -> {error, Reason}
  end.

-spec txn_offset_commit(kpro:connection(), kpro:group_id(), kpro:txn_ctx(), kpro:offsets_to_commit(), opts()) ->
        ok | {error, term()}.
txn_offset_commit(Connection, GroupId, Txn, Offsets, Opts) ->
  Req = kpro_req_lib:txn_offset_commit(GroupId, Txn, Offsets, maps:get(user_data, Opts, <<>>)),
  case request(Connection, Req, Opts) of
    {ok, #{topics := Topics}} ->
      Answered = [{{Topic, Partition}, Code}
                  || #{name := Topic, partitions := Partitions} <- Topics,
                     #{partition_index := Partition, error_code := Code} <- Partitions],
      Asked = case is_map(Offsets) of true -> maps:keys(Offsets); false -> [TP || {TP, _} <- Offsets] end,
      refused(not_done(Asked, Answered));
    {error, Reason} -> {error, Reason}
  end.

%% What was refused, and what the answer says nothing of: that may not be done.
not_done(Asked, Answered) ->
  Missing = lists:usort([{name(Topic), Partition} || {Topic, Partition} <- Asked]) -- [TP || {TP, _} <- Answered],
  [Refused || {_, Code} = Refused <- Answered, Code =/= ?no_error] ++ [{TP, unknown_server_error} || TP <- Missing].

name(Topic) when is_atom(Topic) -> atom_to_binary(Topic);
name(Topic) -> iolist_to_binary(Topic).

refused([]) -> ok;
refused(Errors) -> {error, Errors}.

request(Connection, Req, Opts) ->
  case kpro_connection:request_sync(Connection, Req, maps:get(timeout, Opts, ?TIMEOUT_MS)) of
    {ok, #kpro_rsp{msg = Message}} -> {ok, Message};
    {error, Reason} -> {error, Reason}
  end.
