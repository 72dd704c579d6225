%% @private Options of transactions, and what they mean to the engine.
-module(brod_transaction_options).

-export([check/2, engine_config/2]).

-export_type([checked/0]).

-define(MAX_MS, 16#7fffffff).
%% Doubling for more attempts than these would be longer than anybody waits.
-define(MAX_DOUBLINGS, 20).
%% A busy broker may take so long for one answer.
-define(LEAST_ATTEMPT_MS, 3000).
-define(RETRY_MS, 10).

-type checked() :: #{timeout := pos_integer(), backoff_step := non_neg_integer(),
                     max_retries := non_neg_integer(), transaction_timeout := pos_integer(),
                     producer_config := map()}.

%% @doc Check a transactional id and the options for it. The result has every key.
-spec check(term(), term()) -> {ok, checked()} | {error, {bad_option, term(), term()}}.
check(TxnId, Config) ->
  case brod_options:is_id(TxnId) andalso brod_option_table:check(transaction, Config) of
    false -> {error, {bad_option, transactional_id, TxnId}};
    {ok, #{producer_config := Producer} = Options, []} -> checked_producer(Producer, Options);
    {error, Reason} -> {error, Reason}
  end.

%% What is not given is right for a transaction: what fails is retried as long as the transaction may last, and
%% soon, because partitions that come at the same time keep each other from being added (KIP-890).
checked_producer(Producer, #{backoff_step := Backoff, transaction_timeout := Limit} = Options) ->
  Defaults = #{partition_onwire_limit => 5, max_retries => -1, retry_backoff_ms => min(Backoff, ?RETRY_MS),
               delivery_timeout_ms => Limit},
  case brod_producer_options:check(maps:merge(Defaults, brod_options:to_map(Producer))) of
    {ok, Checked} -> {ok, Options#{producer_config := Checked}};
    {error, Reason} -> {error, Reason}
  end.

%% @doc Checked options as the engine wants them. What may pass by itself is tried for as long as the
%% transaction may last, or as brod's retries with their waits would take, whichever is longer.
-spec engine_config(brod:transactional_id(), checked()) -> map().
engine_config(TxnId, #{timeout := Timeout, backoff_step := Backoff, max_retries := Retries,
                       transaction_timeout := Limit, producer_config := Producer}) ->
  Waits = Backoff * ((1 bsl min(Retries, ?MAX_DOUBLINGS)) - 1),
  #{ transactional_id => TxnId
   , transaction_timeout => Limit
   , attempt_timeout => max(Timeout, ?LEAST_ATTEMPT_MS)
   , step_timeout => min(?MAX_MS, max(Limit, Retries * Timeout + Waits))
   , backoff => Backoff
   , producer => (brod_producer_options:engine_config(Producer))#{telemetry => false}
   }.
