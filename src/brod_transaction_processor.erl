%% @doc Reads from topics, has a function process what it reads, and writes what comes of that, each set of
%% messages in a transaction with its offsets: whatever fails, a reader with `isolation_level'
%% `read_committed' sees the outcome of every message once.
%%
%% ```
%% brod_transaction_processor:do(
%%   fun(Transaction, #kafka_message_set{partition = Partition, messages = Messages}) ->
%%     Batch = [#{key => Key, value => work(Value)}
%%              || #kafka_message{key = Key, value = Value} <- Messages],
%%     {ok, _Offset} = brod:txn_produce(Transaction, <<"output">>, Partition, Batch),
%%     ok
%%   end, Client, #{group_id => <<"group">>, topics => [<<"input">>]}).
%% '''
-module(brod_transaction_processor).
-behaviour(brod_group_subscriber).

-export([do/3]).
-export([init/2, handle_message/4, get_committed_offsets/3]).

-export_type([do_options/0, process_function/0]).

-include("brod_int.hrl").

-define(RANDOM_BYTES, 8).
%% Between two looks at offsets that an open transaction may change.
-define(UNSTABLE_WAIT_MS, 100).
%% After so many of them it is told what is waited for: most transactions end before.
-define(WAITS_UNTIL_TOLD, 20).

-type process_function() :: fun((brod:transaction(), brod:message_set()) -> ok | {error, term()}).
-type do_options() :: #{ group_id := brod:group_id()
                       , topics := [brod:topic()]
                       , group_config => brod:group_config()
                       , consumer_config => brod:consumer_config()
                       , transaction_config => brod:transaction_config()
                       , tx_id => brod:transactional_id()
                       }.

%% @doc Start a group subscriber, linked to the caller, that calls `ProcessFun' for each set of messages, with
%% a transaction that it may produce to. When that returns `ok', the offsets are added and the transaction is
%% committed. When it returns anything else or raises, or when the commit fails, the transaction is aborted and
%% the process ends with an error; once its supervisor has started it again, it begins where the last transaction that
%% was committed ended. So it does, without ending, where the group has given the partitions to others meanwhile, as after an
%% outage that was longer than the member's session: the transaction is aborted, and the group joined again.
%%
%% Options: `group_id' and `topics'; `group_config' (`[{offset_commit_policy, consumer_managed}]'; whoever sets it
%% must keep that), `consumer_config' ([]), `transaction_config' ([]; see {@link brod_transaction:start_link/3}),
%% `tx_id', the transactional id (a random one). With a `tx_id' all partitions share the transactional id, and no two
%% members may have the same; without one each partition has its own.
-spec do(process_function(), brod:client(), do_options()) -> {ok, pid()} | {error, term()}.
do(ProcessFun, Client, Opts) when is_function(ProcessFun, 2) ->
  ok = brod_group_args:keys(Opts, [group_id, topics]),
  #{group_id := GroupId, topics := Topics} = Opts,
  GroupConfig = maps:get(group_config, Opts, [{offset_commit_policy, consumer_managed}]),
  ConsumerConfig = maps:get(consumer_config, Opts, []),
  InitArg = (maps:with([tx_id, transaction_config], Opts))#{client => Client,
                                                            process_function => ProcessFun},
  brod:start_link_group_subscriber(Client, GroupId, Topics, GroupConfig, ConsumerConfig, message_set,
                                   ?MODULE, InitArg).

%% @private
init(GroupId, #{client := _, process_function := _} = Arg) ->
  TxnId = case Arg of
            #{tx_id := Given} -> Given;
            _ -> {a_partition, random_id()}
          end,
  {ok, maps:merge(#{transaction_config => []}, Arg#{tx_id => TxnId, group_id => GroupId})}.

%% It has to be nobody else's, and is no secret: a release need not have crypto for it.
random_id() ->
  iolist_to_binary([atom_to_list(?MODULE), "-txn-", base64:encode(rand:bytes(?RANDOM_BYTES))]).

%% @private
handle_message(Topic, Partition, #kafka_message_set{messages = Messages} = Set, State) ->
  #{client := Client, process_function := ProcessFun, transaction_config := Config,
    group_id := GroupId} = State,
  {ok, Tx} = brod:transaction(Client, transactional_id(Topic, Partition, State), Config),
  ok = ProcessFun(Tx, Set),
  #kafka_message{offset = Last} = lists:last(Messages),
  Added = brod:txn_add_offsets(Tx, GroupId, #{{Topic, Partition} => Last}),
  case has_lost(Added) of
    false ->
      ok = Added,
      ok = brod:commit(Tx),
      {ok, ack_no_commit, State};
    true ->
      {error, Lost} = Added,
      Aborted = brod:abort(Tx),
      ?BROD_LOG_WARNING("group ~ts: its member here has lost ~ts ~b (~ts), so the transaction of the offsets up to ~b is aborted (~9999p); "
                        "the group is joined again", [GroupId, Topic, Partition, Lost, Last, Aborted]),
      {lost, Lost, State}
  end.

%% The group goes on without this member, or is about to.
has_lost({error, Code}) -> Code =:= rebalance_in_progress orelse brod_group_commits:is_lost(Code);
has_lost(ok) -> false.

transactional_id(Topic, Partition, #{tx_id := {a_partition, Id}}) ->
  <<Id/binary, "-", Topic/binary, "-", (integer_to_binary(Partition))/binary>>;
transactional_id(_Topic, _Partition, #{tx_id := Id}) ->
  Id.

%% @private What a transaction commits is the offset of the last message that it is done with. One that a member
%% before has left open is waited for: it may still be committed (KIP-447).
get_committed_offsets(GroupId, TopicPartitions, #{client := Client} = State) ->
  Wanted = maps:to_list(maps:groups_from_list(fun({T, _}) -> T end, fun({_, P}) -> P end, TopicPartitions)),
  {ok, [Committed || {_, Offset} = Committed <- committed(Client, {stable_offset_fetch, GroupId, Wanted}, 0),
                     Offset >= 0], State}.

committed(Client, {stable_offset_fetch, GroupId, _} = Fetch, Waits) ->
  Answer = brod_client_ref:with_context(Client, fun(Context) -> brod_client_lookup:call(Context, Fetch) end),
  Topics = case Answer of
             {ok, Answered} -> Answered;
             {error, Reason} -> error({offsets_not_fetched, GroupId, Reason})
           end,
  Found = [{{Topic, Partition}, Offset, Code}
           || #{name := Topic, partitions := Partitions} <- Topics,
              #{partition_index := Partition, committed_offset := Offset, error_code := Code} <- Partitions],
  case lists:usort([Code || {_, _, Code} <- Found, Code =/= no_error]) of
    [] -> [{TP, Offset} || {TP, Offset, _} <- Found];
    [unstable_offset_commit | _] ->
      Unstable = [TP || {TP, _, unstable_offset_commit} <- Found],
      Waits =:= ?WAITS_UNTIL_TOLD andalso tell_of_wait(Fetch, Unstable),
      receive after ?UNSTABLE_WAIT_MS -> committed(Client, Fetch, Waits + 1) end;
    [Code | _] ->
      error({offsets_not_fetched, GroupId, Code})
  end.

tell_of_wait({stable_offset_fetch, GroupId, _}, [{Topic, Partition} | _] = Unstable) ->
  ?BROD_LOG_WARNING("group ~ts: where to begin in ~b partitions, as ~ts ~b, is not known before a transaction ends that is still open "
                    "there; if its producer is gone, after that one's transaction_timeout",
                    [GroupId, length(Unstable), Topic, Partition]).
