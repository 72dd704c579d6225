%% @private `brod txn': transactions, and the ends that some never come to (KIP-664).
-module(brod_cli_txn).

-export([options/0, run/2]).
-export([marker/3]).

-define(CLIENT, brod_cli).
-define(TRIES, 25).
-define(PAUSE_MS, 200).

%% @doc What the command takes.
-spec options() -> brod_cli:spec().
options() ->
  [{"topic", string, "-t: the topic that a transaction has written to"}, {"partition", natural, "-p: the partition"},
   {"offset", natural, "where the transaction starts there, as txn producers shows it"},
   {"execute", flag, "abort: do it; else only show what it is"}].

%% @doc List, describe, abort.
-spec run(map(), [string()]) -> ok | {error, term()}.
run(Options, ["list"]) ->
  {Endpoints, Config} = brod_cli_cluster:target(Options),
  {ok, #{brokers := Brokers}} = brod_cli_cluster:must(brod_cli_cluster:metadata(Endpoints, [], Config), "no metadata"),
  Fields = #{state_filters => [], producer_id_filters => []},
  Rows = [[Id, Producer, State, Broker]
          || #{node_id := Broker, host := Host, port := Port} <- Brokers,
             #{transactional_id := Id, producer_id := Producer, transaction_state := State}
               <- listed(brod_cli_cluster:ask({Host, Port}, Config, list_transactions, 0, Fields))],
  brod_cli_output:rows(Options, [transactional_id, producer_id, state, coordinator], lists:sort(Rows));
run(Options, ["describe", Id]) ->
  {ok, Described} = brod_cli_cluster:must(describe(Options, Id), Id),
  #{transaction_state := State, producer_id := Producer, producer_epoch := Epoch, transaction_timeout_ms := Timeout,
    transaction_start_time_ms := Start, topics := Topics} = Described,
  brod_cli_output:rows(Options, [transactional_id, state, producer_id, epoch, timeout_ms, since, partitions],
                       [[brod_cli_cluster:text(Id), State, Producer, Epoch, Timeout, since(Start),
                         iolist_to_binary(lists:join(" ", [[T, $-, integer_to_list(P)]
                                                           || #{topic := T, partitions := Ps} <- Topics, P <- Ps]))]]);
run(Options, ["producers"]) ->
  Topic = brod_cli_cluster:need_text("topic", Options),
  Rows = brod_cli_cluster:with_client(Options, fun() -> {ok, producers(Options, Topic)} end),
  {ok, Found} = brod_cli_cluster:must(Rows, Topic),
  brod_cli_output:rows(Options, [partition, producer_id, epoch, last, transaction_from],
                       [[P, Id, Epoch, since(Last), case From of -1 -> <<>>; _ -> From end]
                        || {P, #{producer_id := Id, producer_epoch := Epoch, last_timestamp := Last,
                                 current_txn_start_offset := From}} <- Found]);
run(#{"execute" := true} = Options, ["abort", Id]) ->
  %% An id that nobody has would be made, and nothing ended. Kafka before 3.0 does not tell.
  case describe(Options, Id) of
    {error, transactional_id_not_found = Code} -> throw({failed, [Id, ": ", atom_to_list(Code)]});
    _ -> ok
  end,
  %% Whoever begins anew with the id ends what is open, and whoever had it may write no more.
  brod_cli_cluster:with_client(Options, fun() ->
    {ok, Transaction} = brod_cli_cluster:must(brod:transaction(?CLIENT, brod_cli_cluster:text(Id), []), Id),
    brod:abort(Transaction)
  end);
run(Options, ["abort", Id]) ->
  ok = run(Options, ["describe", Id]),
  brod_cli_output:note("nothing was changed: --execute aborts it, and its producer cannot go on");
run(#{"partition" := P} = Options, ["abort"]) ->
  Topic = brod_cli_cluster:need_text("topic", Options),
  Offset = brod_cli_cluster:need("offset", Options),
  brod_cli_cluster:with_client(Options, fun() ->
    case [Producer || {_, #{current_txn_start_offset := From} = Producer} <- producers(Options, Topic), From =:= Offset] of
      [Producer] ->
        case Options of
          #{"execute" := true} -> write(Options, marker(Topic, P, Producer), Topic, P);
          _ -> brod_cli_output:note(["nothing was changed: --execute ends the transaction of producer ",
                                     integer_to_list(maps:get(producer_id, Producer))])
        end;
      [] -> {error, <<"no transaction is open there from that offset: see brod txn producers">>}
    end
  end);
run(_Options, _Words) -> brod_cli_commands:usage("txn").

listed({ok, #{error_code := no_error, transaction_states := States}}) -> States;
listed({ok, #{error_code := Code}}) -> throw({failed, atom_to_list(Code)});
listed({error, Reason}) -> throw({failed, brod_cli_output:reason(Reason)}).

%% The first question about transactions makes a cluster's topic of them, which takes a moment.
describe(Options, Id) -> describe(Options, Id, ?TRIES).

describe(Options, Id, Tries) ->
  case describe_once(Options, Id) of
    {error, Code} when Tries > 1, Code =:= not_coordinator orelse Code =:= coordinator_load_in_progress ->
      timer:sleep(?PAUSE_MS),
      describe(Options, Id, Tries - 1);
    Result -> Result
  end.

describe_once(Options, Id) ->
  {_, Config} = brod_cli_cluster:target(Options),
  Found = brod_cli_cluster:with_client(Options, fun() -> brod_client_lookup:coordinator(?CLIENT, txn, brod_cli_cluster:text(Id)) end),
  {ok, {Coordinator, _}} = brod_cli_cluster:must(Found, "no coordinator"),
  case brod_cli_cluster:ask(Coordinator, Config, describe_transactions, 0, #{transactional_ids => [brod_cli_cluster:text(Id)]}) of
    {ok, #{transaction_states := [#{error_code := no_error} = State]}} -> {ok, State};
    {ok, #{transaction_states := [#{error_code := Code}]}} -> {error, Code};
    Other -> Other
  end.

%% Who has written to partitions lately, as their leaders know it.
producers(Options, Topic) ->
  [{P, Producer} || P <- brod_cli_cluster:partitions(Topic, Options), Producer <- producers(Options, Topic, P)].

producers(Options, Topic, P) ->
  Fields = #{topics => [#{name => Topic, partition_indexes => [P]}]},
  case ask_leader(Options, Topic, P, describe_producers, 0, Fields) of
    {ok, #{topics := [#{partitions := [#{error_code := no_error, active_producers := Producers}]}]}} -> Producers;
    {ok, #{topics := [#{partitions := [#{error_code := Code, error_message := Text}]}]}} ->
      throw({failed, brod_cli_output:reason({Code, Text})});
    {error, Reason} -> throw({failed, brod_cli_output:reason(Reason)})
  end.

write(Options, Fields, Topic, P) ->
  case ask_leader(Options, Topic, P, write_txn_markers, 1, Fields) of
    {ok, #{markers := [#{topics := [#{partitions := [#{error_code := no_error}]}]}]}} -> ok;
    {ok, #{markers := [#{topics := [#{partitions := [#{error_code := Code}]}]}]}} -> {error, Code};
    {ok, Other} -> {error, Other};
    {error, _} = Error -> Error
  end.

ask_leader(Options, Topic, P, Api, Vsn, Fields) ->
  {Endpoints, Config} = brod_cli_cluster:target(Options),
  {ok, #{topics := Topics}} = brod_cli_cluster:must(brod_cli_cluster:metadata(Endpoints, [Topic], Config), Topic),
  case [Leader || #{partitions := Ps} <- Topics, #{partition_index := I, leader_id := Leader} <- Ps, I =:= P, Leader >= 0] of
    [Leader] -> brod_cli_cluster:ask(brod_cli_cluster:broker(Leader, Endpoints, Config), Config, Api, Vsn, Fields);
    [] -> {error, leader_not_available}
  end.

%% @doc The end that a coordinator would write which knew of the transaction.
-spec marker(brod:topic(), brod:partition(), map()) -> map().
marker(Topic, P, #{producer_id := Id, producer_epoch := Epoch, coordinator_epoch := Coordinator}) ->
  #{markers => [#{producer_id => Id, producer_epoch => Epoch, transaction_result => false,
                  coordinator_epoch => max(0, Coordinator), topics => [#{name => Topic, partition_indexes => [P]}]}]}.

since(Ms) when Ms > 0 -> list_to_binary(calendar:system_time_to_rfc3339(Ms, [{unit, millisecond}, {offset, "Z"}]));
since(_) -> <<>>.
