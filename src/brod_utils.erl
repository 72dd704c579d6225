%% @doc Calls to a cluster that need no client (their work is in brod_calls), and small helpers of other modules.
-module(brod_utils).

-export([get_metadata/1, get_metadata/2, get_metadata/3]).
-export([create_topics/3, create_topics/4, delete_topics/3, delete_topics/4]).
-export([resolve_offset/4, resolve_offset/5, resolve_offset/6]).
-export([fetch/4, fetch/5, fold/8]).
-export([fetch_committed_offsets/3, fetch_committed_offsets/4]).
-export([list_groups/2, list_all_groups/2, describe_groups/3]).
-export([connect_leader/4, connect_group_coordinator/3]).
-export([make_part_fun/1, make_batch_input/2, init_sasl_opt/1]).
-export([assert_client/1, assert_group_id/1, assert_topic/1, assert_topics/1]).
-export([request_sync/2, request_sync/3, parse_rsp/1, make_fetch_fun/4, fetch_one_batch/4, flatten_batches/3,
         get_stable_offset/1, kpro_connection_options/1, pmap/3, stats/1, bytes/1]).
-export([is_normal_reason/1, is_pid_alive/1, optional_callback/4, group_per_key/1,
         group_per_key/2, log/3, epoch_ms/0, os_time_utc_str/0]).

-include("brod_int.hrl").
-include("brod_kafka.hrl").

-type endpoints() :: [brod:endpoint()].

%% Metadata and topics

%% @doc Metadata of all topics.
-spec get_metadata(endpoints()) -> {ok, map()} | {error, term()}.
get_metadata(Hosts) -> get_metadata(Hosts, all).

%% @doc Metadata of some topics, or of `all'; an empty list means all too.
-spec get_metadata(endpoints(), all | [brod:topic()]) -> {ok, map()} | {error, term()}.
get_metadata(Hosts, Topics) -> get_metadata(Hosts, Topics, []).

%% @doc As {@link get_metadata/2}, with options to connect. Throws `{failed_to_connect, Failures}'.
%% The error of a topic that was asked for by name is returned as `{error, Code}'.
-spec get_metadata(endpoints(), all | [brod:topic()], brod:conn_config()) ->
        {ok, map()} | {error, term()}.
get_metadata(Hosts, Topics, ConnConfig) -> brod_calls:get_metadata(Hosts, Topics, ConnConfig).

%% @doc Create topics without options to connect.
-spec create_topics(endpoints(), [brod:topic_config()], map()) -> ok | {error, term()}.
create_topics(Hosts, Topics, Opts) -> create_topics(Hosts, Topics, Opts, []).

%% @doc Create topics. `Opts': `timeout' in ms, and `validate_only'. An error is Kafka's text or
%% code for the first topic that failed, or the list of endpoints that cannot be reached. Raises
%% `{missing_key, Key, Map}' where a topic lacks its `name', or a config or an assignment a key.
-spec create_topics(endpoints(), [brod:topic_config()], map(), brod:conn_config()) -> ok | {error, term()}.
create_topics(Hosts, Topics, Opts, ConnConfig) ->
  brod_calls:create_topics(Hosts, Topics, Opts, ConnConfig).

%% @doc Delete topics without options to connect.
-spec delete_topics(endpoints(), [brod:topic()], timeout()) -> ok | {error, term()}.
delete_topics(Hosts, Topics, Timeout) -> delete_topics(Hosts, Topics, Timeout, []).

%% @doc Delete topics; `Timeout' in ms.
-spec delete_topics(endpoints(), [brod:topic()], timeout(), brod:conn_config()) ->
        ok | {error, term()}.
delete_topics(Hosts, Topics, Timeout, ConnConfig) ->
  brod_calls:delete_topics(Hosts, Topics, Timeout, ConnConfig).

%% Offsets and messages

%% @doc {@link resolve_offset/5} without options.
-spec resolve_offset(brod_engine:target(), brod:topic(), brod:partition(), brod:offset_time()) ->
        {ok, brod:offset()} | {error, term()}.
resolve_offset(Target, Topic, Partition, Time) ->
  resolve_offset(Target, Topic, Partition, Time, #{}).

%% @doc The offset at a time: `latest' or -1, `earliest' or -2, or ms since 1970 (`{ok, -1}' if no
%% message is that late). The fifth argument: `#{timeout => Ms}' for a client or a connection,
%% options to connect for endpoints.
-spec resolve_offset(brod_engine:target(), brod:topic(), brod:partition(), brod:offset_time(),
                     brod:conn_config() | #{timeout => pos_integer()}) ->
        {ok, brod:offset()} | {error, term()}.
resolve_offset(Hosts, Topic, Partition, Time, ConnConfig) when is_list(Hosts) ->
  resolve_offset(Hosts, Topic, Partition, Time, ConnConfig, #{});
resolve_offset(Target, Topic, Partition, Time, Opts) ->
  brod_calls:resolve_offset(Target, Topic, Partition, Time, Opts).

%% @doc As {@link resolve_offset/5}, with both.
-spec resolve_offset(endpoints(), brod:topic(), brod:partition(), brod:offset_time(),
                     brod:conn_config(), #{timeout => pos_integer()}) ->
        {ok, brod:offset()} | {error, term()}.
resolve_offset(Hosts, Topic, Partition, Time, ConnConfig, Opts) ->
  resolve_offset({Hosts, ConnConfig}, Topic, Partition, Time, Opts).

%% @doc {@link fetch/5} with default options.
-spec fetch(brod_engine:target(), brod:topic(), brod:partition(), brod:offset()) ->
        {ok, {brod:offset(), [brod:message()]}} | {error, term()}.
fetch(Target, Topic, Partition, Offset) ->
  fetch(Target, Topic, Partition, Offset, #{}).

%% @doc See `brod:fetch/5'.
-spec fetch(brod_engine:target(), brod:topic(), brod:partition(), brod:offset(),
            brod:fetch_opts()) ->
        {ok, {brod:offset(), [brod:message()]}} | {error, term()}.
fetch(Target, Topic, Partition, Offset, Opts) ->
  brod_calls:fetch(Target, Topic, Partition, Offset, Opts).

%% @doc See `brod:fold/8'.
-spec fold(brod_engine:target(), brod:topic(), brod:partition(), brod:offset(), brod:fetch_opts(),
           Acc, brod:fold_fun(Acc), brod:fold_limits()) -> brod:fold_result()
        when Acc :: brod:fold_acc().
fold(Target, Topic, Partition, Offset, Opts, Acc, Fun, Limits) ->
  brod_fold:fold(Target, Topic, Partition, Offset, Opts, Acc, Fun, Limits).

%% Groups

%% @doc Offsets that a group has committed: of all topics (`[]'), or of given partitions.
-spec fetch_committed_offsets(brod_engine:target(), brod:group_id(),
                              [{brod:topic(), [brod:partition()]}]) ->
        {ok, [map()]} | {error, term()}.
fetch_committed_offsets(Target, GroupId, TopicPartitions) ->
  brod_calls:fetch_committed_offsets(Target, GroupId, TopicPartitions).

%% @doc As {@link fetch_committed_offsets/3}, without a client.
-spec fetch_committed_offsets(endpoints(), brod:conn_config(), brod:group_id(),
                              [{brod:topic(), [brod:partition()]}]) ->
        {ok, [map()]} | {error, term()}.
fetch_committed_offsets(Hosts, ConnConfig, GroupId, TopicPartitions) ->
  fetch_committed_offsets({Hosts, ConnConfig}, GroupId, TopicPartitions).

%% @doc Groups that a broker coordinates. Throws `{failed_to_connect, Failures}'.
-spec list_groups(brod:endpoint(), brod:conn_config()) -> {ok, [brod:cg()]} | {error, term()}.
list_groups(Endpoint, ConnConfig) -> brod_calls:list_groups(Endpoint, ConnConfig).

%% @doc Groups of all brokers, with the broker's own error where it failed.
%% Throws `{failed_to_connect, Failures}'.
-spec list_all_groups(endpoints(), brod:conn_config()) ->
        [{brod:endpoint(), [brod:cg()] | {error, term()}}].
list_all_groups(Endpoints, ConnConfig) -> brod_calls:list_all_groups(Endpoints, ConnConfig).

%% @doc State and members of groups, asked at the coordinator of each; any broker will do as `Endpoint'.
%% Throws `{failed_to_connect, Failures}'.
-spec describe_groups(brod:endpoint(), brod:conn_config(), [brod:group_id()]) ->
        {ok, [map()]} | {error, term()}.
describe_groups(Endpoint, ConnConfig, GroupIds) ->
  brod_calls:describe_groups(Endpoint, ConnConfig, GroupIds).

%% Connections

%% @doc See `brod:connect_leader/4'.
-spec connect_leader(endpoints(), brod:topic(), brod:partition(), brod:conn_config()) ->
        {ok, brod:connection()} | {error, term()}.
connect_leader(Hosts, Topic, Partition, ConnConfig) ->
  brod_calls:connect(Hosts, {leader, Topic, Partition}, ConnConfig).

%% @doc See `brod:connect_group_coordinator/3'.
-spec connect_group_coordinator(endpoints(), brod:conn_config(), brod:group_id()) ->
        {ok, brod:connection()} | {error, term()}.
connect_group_coordinator(Hosts, ConnConfig, GroupId) ->
  brod_calls:connect(Hosts, {coordinator, group, GroupId}, ConnConfig).

%% Requests of users' own

%% @doc {@link request_sync/3} without a limit; the option `request_timeout' of the connection is one.
-spec request_sync(brod:connection(), #kpro_req{}) -> ok | {ok, term()} | {error, term()}.
request_sync(Connection, Req) -> request_sync(Connection, Req, infinity).

%% @doc Send a request that `brod_kafka_request' or kafka_protocol has made, and wait for its response, as {@link
%% parse_rsp/1} reads it. `{error, {connection_down, Reason}}' when the connection ends meanwhile.
-spec request_sync(brod:connection(), #kpro_req{}, timeout()) -> ok | {ok, term()} | {error, term()}.
request_sync(Connection, Req, Timeout) -> brod_kafka_response:request_sync(Connection, Req, Timeout).

%% @doc What a response comes to: `ok' where it holds nothing but the word that all went well; `{error, Code | Text}'
%% where the broker refused; else `{ok, Result}': the base offset of a produce request, `#{session_id, header,
%% batches}' of a fetch, the partition of list_offsets, the groups of list_groups and describe_groups, and the whole
%% message of others, whose errors are inside.
-spec parse_rsp(#kpro_rsp{}) -> ok | {ok, term()} | {error, term()}.
parse_rsp(Rsp) -> brod_kafka_response:parse(Rsp).

%% @doc A fun that fetches from an offset by requests of its own, over the connection that is given. `max_bytes' is
%% exceeded where one batch is larger.
-spec make_fetch_fun(brod:connection(), brod:topic(), brod:partition(), brod:fetch_opts()) ->
        fun((brod:offset()) -> {ok, {brod:offset(), [brod:message()]}} | {error, term()}).
make_fetch_fun(Connection, Topic, Partition, Opts) ->
  brod_kafka_response:fetch_fun(Connection, Topic, Partition, Opts).

%% @doc Fetch with requests that `ReqFun' makes from an offset and a number of bytes: `{StableOffset, NextOffset,
%% Messages}', without messages only when the stable offset is reached.
-spec fetch_one_batch(brod:connection(), brod_kafka_response:req_fun(), brod:offset(), non_neg_integer()) ->
        brod_kafka_response:fetched().
fetch_one_batch(Connection, ReqFun, Offset, MaxBytes) ->
  brod_kafka_response:fetch_one_batch(Connection, ReqFun, Offset, MaxBytes).

%% @doc The messages of batches from `Offset' on, as {@link parse_rsp/1} gives them with their header, and the offset to
%% fetch next. Messages of aborted transactions are left out.
-spec flatten_batches(brod:offset(), map() | undefined, [brod_kafka_batch:batch()]) ->
        {brod:offset(), [brod:message()]}.
flatten_batches(Offset, Header, Batches) -> brod_kafka_batch:flatten(Offset, Header, Batches).

%% @doc Up to where messages may be read, from the header of a partition in a fetch response.
-spec get_stable_offset(map() | [{atom(), term()}]) -> brod:offset().
get_stable_offset(Header) -> brod_kafka_response:stable_offset(Header).

%% @doc The options of kafka_protocol's functions that connect: `#{timeout => Ms}'.
-spec kpro_connection_options(brod:conn_config()) -> #{timeout := timeout()}.
kpro_connection_options(ConnConfig) ->
  #{timeout => brod_options:given(connect_timeout, ConnConfig, ?BROD_DEFAULT_TIMEOUT)}.

%% A worker gives its result as its exit reason: nothing of it can come late.
-dialyzer({nowarn_function, pmap/3}).

%% @doc Map a list with a process an element, in order. Throws `timeout' when not all are done after `Timeout' ms, and
%% raises what a process failed with.
-spec pmap(fun((A) -> B), [A], timeout()) -> [B].
pmap(Fun, List, Timeout) ->
  Workers = [spawn_monitor(fun() -> exit({done, Fun(Element)}) end) || Element <- List],
  Until = case Timeout of
            infinity -> infinity;
            _ -> erlang:monotonic_time(millisecond) + Timeout
          end,
  pmap_results(Workers, Until, []).

pmap_results([], _Until, Results) -> lists:reverse(Results);
pmap_results([{Pid, MRef} | Rest] = Workers, Until, Results) ->
  Left = case Until of
           infinity -> infinity;
           _ -> max(0, Until - erlang:monotonic_time(millisecond))
         end,
  receive
    {'DOWN', MRef, process, Pid, {done, Result}} -> pmap_results(Rest, Until, [Result | Results]);
    {'DOWN', MRef, process, Pid, Reason} -> stop_workers(Rest), error(Reason)
  after Left ->
    stop_workers(Workers),
    throw(timeout)
  end.

stop_workers(Workers) ->
  lists:foreach(fun({Pid, MRef}) -> demonitor(MRef, [flush]), exit(Pid, kill) end, Workers).

%% Messages

%% @doc How many messages there are, and how many bytes as {@link bytes/1} counts them.
-spec stats([map()]) -> {Count :: non_neg_integer(), Bytes :: non_neg_integer()}.
stats(Messages) -> {length(Messages), bytes(Messages)}.

%% @doc Bytes of keys, values and headers, and 8 a message for its time.
-spec bytes([map()]) -> non_neg_integer().
bytes(Messages) ->
  lists:sum([iolist_size(Key) + iolist_size(Value) + 8
             + lists:sum([iolist_size(K) + iolist_size(V) || {K, V} <- maps:get(headers, Message, [])])
             || #{key := Key, value := Value} = Message <- Messages]).

%% @doc The fun behind a partitioner.
-spec make_part_fun(brod:partitioner()) -> brod:partition_fun().
make_part_fun(Partitioner) -> brod_partitioner:partition_fun(Partitioner).

%% @doc All ways to give a value in one form: a list of maps with `ts', `key' and `value', all of it
%% binaries. Maps in a list of them have a `ts' only where one was given; what was given as a map, or
%% alone, has `headers'. Raises `badarg' for anything else.
-spec make_batch_input(brod:key(), brod:value()) -> [map()].
make_batch_input(Key, {Ts, Value}) when is_integer(Ts) ->
  [message(#{ts => Ts, key => Key, value => Value})];
make_batch_input(Key, Map) when is_map(Map) ->
  [message(maps:merge(#{ts => epoch_ms(), key => Key}, Map))];
make_batch_input(_Key, [First | _] = Batch) when is_map(First); is_tuple(First) ->
  lists:flatmap(fun element_of_batch/1, Batch);
make_batch_input(Key, Value) ->
  [message(#{ts => epoch_ms(), key => Key, value => Value})].

message(Map) ->
  Headers = lists:map(fun({Name, Value}) -> {data(Name), data(Value)};
                         (_) -> error(badarg)
                      end, maps:get(headers, Map, [])),
  Map#{key => data(maps:get(key, Map, <<>>)), value => data(maps:get(value, Map, <<>>)), headers => Headers}.

%% The key given beside a batch only picks the partition.
element_of_batch(Map) when is_map(Map) -> [message(Map)];
element_of_batch({Key, Value}) -> nested(epoch_ms(), Key, Value);
element_of_batch({Ts, Key, Value}) when is_integer(Ts) -> nested(Ts, Key, Value);
element_of_batch(_) -> error(badarg).

%% The key of a nested list is that of its elements.
nested(_Ts, _Key, [First | _] = Batch) when is_map(First); is_tuple(First) ->
  lists:flatmap(fun element_of_batch/1, Batch);
nested(Ts, Key, Value) -> [#{ts => Ts, key => data(Key), value => data(Value)}].

data(undefined) -> <<>>;
data(Data) -> iolist_to_binary(Data).

%% @doc Hide the secret of a `sasl' option in a fun, so that it shows in no log; read it from the
%% file if a file is given (user on the first line, password on the second).
-spec init_sasl_opt(list()) -> list().
init_sasl_opt(Config) ->
  case proplists:get_value(sasl, Config) of
    {Mechanism, User, Secret} when Mechanism =/= callback ->
      lists:keystore(sasl, 1, Config, {sasl, {Mechanism, User, fun() -> Secret end}});
    {Mechanism, File} ->
      {User, Secret} = read_sasl_file(File),
      lists:keystore(sasl, 1, Config, {sasl, {Mechanism, User, fun() -> Secret end}});
    _ ->
      Config
  end.

read_sasl_file(File) ->
  {ok, Text} = file:read_file(File),
  case binary:split(Text, [<<"\r\n">>, <<"\n">>], [global, trim_all]) of
    [User, Secret | _] -> {User, Secret};
    _ -> exit({bad_sasl_file, File})
  end.

%% Checks and small helpers

%% @doc `ok', or an error `{bad_client, Client}'.
-spec assert_client(term()) -> ok.
assert_client(Client) -> ok_if(is_atom(Client) orelse is_pid(Client), {bad_client, Client}).

%% @doc `ok', or an error `{bad_group_id, GroupId}'.
-spec assert_group_id(term()) -> ok.
assert_group_id(GroupId) ->
  ok_if(brod_options:is_id(GroupId), {bad_group_id, GroupId}).

%% @doc `ok', or an error `{bad_topic, Topic}'.
-spec assert_topic(term()) -> ok.
assert_topic(Topic) -> ok_if(is_name(Topic), {bad_topic, Topic}).

%% @doc `ok', or an error `{bad_topics, Topics}' or `{bad_topic, Topic}'.
-spec assert_topics(term()) -> ok.
assert_topics(Topics) ->
  ok_if(is_list(Topics) andalso Topics =/= [] andalso brod_options:is_config(Topics), {bad_topics, Topics}),
  lists:foreach(fun assert_topic/1, Topics).

%% What is no UTF-8 cannot be said to a broker.
is_name(Name) -> is_binary(Name) andalso Name =/= <<>> andalso brod_options:is_text(Name).

ok_if(true, _) -> ok;
ok_if(false, Reason) -> error(Reason).

%% @doc Whether an exit reason is an orderly end.
-spec is_normal_reason(term()) -> boolean().
is_normal_reason(Reason) ->
  Reason =:= normal orelse Reason =:= shutdown
    orelse (is_tuple(Reason) andalso tuple_size(Reason) =:= 2
              andalso element(1, Reason) =:= shutdown).

%% @doc Whether a process lives, on whatever node; `false' for what is no pid.
-spec is_pid_alive(pid() | term()) -> boolean().
is_pid_alive(Pid) when not is_pid(Pid) ->
  false;
is_pid_alive(Pid) when node(Pid) =:= node() ->
  is_process_alive(Pid);
is_pid_alive(Pid) ->
  try erpc:call(node(Pid), erlang, is_process_alive, [Pid], timer:seconds(5))
  catch error:{erpc, _} -> false
  end.

%% @doc Call a callback if the module has it, else return `Default'.
-spec optional_callback(module(), atom(), [term()], Default :: term()) -> term().
optional_callback(Module, Function, Args, Default) ->
  _ = code:ensure_loaded(Module),
  case erlang:function_exported(Module, Function, length(Args)) of
    true -> apply(Module, Function, Args);
    false -> Default
  end.

%% @doc `[{K, V}]' as `[{K, [V]}]', keys sorted, values in their order.
-spec group_per_key([{Key, Value}]) -> [{Key, [Value]}].
group_per_key(Pairs) ->
  Groups = lists:foldr(fun({K, V}, Acc) ->
                         maps:update_with(K, fun(Vs) -> [V | Vs] end, [V], Acc)
                       end, #{}, Pairs),
  lists:keysort(1, maps:to_list(Groups)).

%% @doc As {@link group_per_key/1} on the pairs that `MapFun' makes.
-spec group_per_key(fun((term()) -> {Key, Value}), [term()]) -> [{Key, [Value]}].
group_per_key(MapFun, List) -> group_per_key(lists:map(MapFun, List)).

%% @doc Log a formatted message.
-spec log(logger:level(), string(), [term()]) -> ok.
log(Level, Fmt, Args) -> logger:log(Level, Fmt, Args, ?BROD_LOG_DOMAIN).

%% @doc Milliseconds since 1970.
-spec epoch_ms() -> non_neg_integer().
epoch_ms() -> os:system_time(millisecond).

%% @doc The time in UTC as `"2024-01-31:23:59:59.123456"'.
-spec os_time_utc_str() -> string().
os_time_utc_str() ->
  {_, _, Micro} = Now = os:timestamp(),
  {{Y, Mo, D}, {H, Mi, S}} = calendar:now_to_universal_time(Now),
  lists:flatten(io_lib:format("~4.4.0w-~2.2.0w-~2.2.0w:~2.2.0w:~2.2.0w:~2.2.0w.~6.6.0w",
                              [Y, Mo, D, H, Mi, S, Micro])).
