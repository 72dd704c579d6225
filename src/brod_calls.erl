%% @private Calls to a cluster that need no client: each finds or makes an engine client for its length. Their
%% documentation is that of the functions of `brod' and `brod_utils'.
-module(brod_calls).

-export([get_metadata/3, create_topics/4, delete_topics/4]).
-export([resolve_offset/5, fetch/5, fetch_with/5]).
-export([fetch_committed_offsets/3, list_groups/2, list_all_groups/2, describe_groups/3]).
-export([connect/3]).

-include("brod_int.hrl").

%% What the way to the broker may take on top of the time that the broker is given.
-define(ON_TOP_MS, 10000).

-type endpoints() :: [brod:endpoint()].

%% Metadata and topics

-spec get_metadata(endpoints(), all | [brod:topic()], brod:conn_config()) -> {ok, map()} | {error, term()}.
get_metadata(Hosts, [], ConnConfig) ->
  get_metadata(Hosts, all, ConnConfig);
get_metadata(Hosts, Topics, ConnConfig) ->
  ok = brod_args:topics(Topics),
  Asked = brod_engine:with_target({Hosts, ConnConfig}, fun(Context) ->
    %% Who looks up a name does not mean to create it: there is no `allow_topic_auto_creation' to forbid it here.
    call(Context, {metadata, Topics, false})
  end),
  case throw_if_unreachable(hung_up(Asked, ConnConfig)) of
    {ok, #{topics := Found}} when Topics =/= all ->
      case [Code || #{error_code := Code} <- Found, ?IS_ERROR(Code)] of
        [] -> Asked;
        [Code | _] -> {error, Code}
      end;
    Result ->
      Result
  end.

-spec create_topics(endpoints(), [brod:topic_config()], map(), brod:conn_config()) -> ok | {error, term()}.
create_topics(Hosts, Topics, Opts, ConnConfig) ->
  case brod_option_table:check(create_topics, Opts) of
    {ok, #{timeout := Timeout} = Checked, []} ->
      ok = brod_options:warn_unknown_once(create_topics, Opts),
      brod_engine:with_target({Hosts, ConnConfig}, fun(Context) ->
        call(Context, {create_topics, [topic_config(struct(T)) || T <- Topics], Checked}, Timeout + ?ON_TOP_MS)
      end);
    {error, Reason} ->
      {error, Reason}
  end.

topic_config(Topic) ->
  #{name => text(needed(name, Topic)),
    num_partitions => maps:get(num_partitions, Topic, -1),
    replication_factor => maps:get(replication_factor, Topic, -1),
    assignments => [#{partition_index => needed(partition_index, A), broker_ids => needed(broker_ids, A)}
                    || A <- lists:map(fun struct/1, maps:get(assignments, Topic, []))],
    configs => [#{name => text(needed(name, C)), value => text(needed(value, C))}
                || C <- configs(maps:get(configs, Topic, []))]}.

%% Kafka's form is a list of maps; names with their values are taken too.
configs(Configs) when is_map(Configs) -> configs(maps:to_list(Configs));
configs(Configs) -> [case C of {Name, Value} -> #{name => Name, value => Value}; _ -> struct(C) end || C <- Configs].

%% As in brod, a topic, a config and an assignment may each be a map or a list of pairs.
struct(Pairs) when is_list(Pairs) -> maps:from_list(Pairs);
struct(Map) -> Map.

needed(Key, Map) ->
  case Map of
    #{Key := Value} -> Value;
    _ -> error({missing_key, Key, Map})
  end.

text(undefined) -> undefined;
text(Atom) when is_atom(Atom) -> atom_to_binary(Atom, utf8);
text(Integer) when is_integer(Integer) -> integer_to_binary(Integer);
text(Text) -> unicode:characters_to_binary(Text).

-spec delete_topics(endpoints(), [brod:topic()], timeout(), brod:conn_config()) -> ok | {error, term()}.
delete_topics(Hosts, Topics, Timeout, ConnConfig) ->
  ok = brod_args:timeout(Timeout),
  Op = {delete_topics, [text(T) || T <- Topics], Timeout},
  brod_engine:with_target({Hosts, ConnConfig}, fun(Context) ->
    call(Context, Op, Timeout + ?ON_TOP_MS)
  end).

%% Offsets and messages

-spec resolve_offset(brod_engine:target(), brod:topic(), brod:partition(), brod:offset_time(),
                     brod:conn_config() | #{timeout => pos_integer()}) ->
        {ok, brod:offset()} | {error, term()}.
resolve_offset(Target, Topic, Partition, Time, Opts) ->
  ok = brod_args:topic(Topic),
  ok = brod_args:partition(Partition),
  brod_engine:with_target(Target, fun(#{options := #{request_timeout := Default}} = Context) ->
    Timeout = maps:get(timeout, brod_options:to_map(Opts), Default),
    ok = brod_args:timeout(Timeout),
    call(Context, {list_offsets, Topic, Partition, offset_time(Time)}, Timeout)
  end).

offset_time(latest) -> -1;
offset_time(earliest) -> -2;
offset_time(Time) when is_integer(Time), Time >= -(1 bsl 63), Time < 1 bsl 63 -> Time;
offset_time(Time) -> brod_args:raise({bad_time, Time}, "latest, earliest, or ms since 1970", Time).

-spec fetch(brod_engine:target(), brod:topic(), brod:partition(), brod:offset(), brod:fetch_opts()) ->
        {ok, {brod:offset(), [brod:message()]}} | {error, term()}.
fetch(Target, Topic, Partition, Offset, Opts) ->
  ok = brod_args:topic(Topic),
  ok = brod_args:partition(Partition),
  ok = brod_args:offset(Offset),
  brod_engine:with_target(Target, fun(Context) ->
    case fetch_with(Context, Topic, Partition, Offset, Opts) of
      {ok, {StableOffset, Messages, _Next}} -> {ok, {StableOffset, Messages}};
      {error, _} = Error -> Error
    end
  end).

%% @doc One fetch with an engine client that the caller has; also where to go on if there are no messages.
-spec fetch_with(brod_engine:context(), brod:topic(), brod:partition(), brod:offset(), brod:fetch_opts()) ->
        {ok, {brod:offset(), [brod:message()], Next :: brod:offset()}} | {error, term()}.
fetch_with(#{options := #{request_timeout := Timeout}} = Context, Topic, Partition, Offset, Opts) ->
  case brod_option_table:check(fetch, Opts) of
    {ok, #{max_wait_time := MaxWait} = FetchOpts, []} ->
      ok = brod_options:warn_unknown_once(fetch, Opts),
      call(Context, {fetch, Topic, Partition, Offset, FetchOpts}, Timeout + MaxWait);
    {error, Reason} ->
      {error, Reason}
  end.

%% Groups

-spec fetch_committed_offsets(brod_engine:target(), brod:group_id(), [{brod:topic(), [brod:partition()]}]) ->
        {ok, [map()]} | {error, term()}.
fetch_committed_offsets(Target, GroupId, TopicPartitions) ->
  Wanted = case TopicPartitions of [] -> all; _ -> TopicPartitions end,
  brod_engine:with_target(Target, fun(Context) ->
    call(Context, {offset_fetch, GroupId, Wanted})
  end).

-spec list_groups(brod:endpoint(), brod:conn_config()) -> {ok, [brod:cg()]} | {error, term()}.
list_groups(Endpoint, ConnConfig) ->
  Result = brod_engine:with_target({[Endpoint], ConnConfig}, fun(Context) ->
    call(Context, list_groups)
  end),
  case throw_if_unreachable(hung_up(Result, ConnConfig)) of
    {ok, Groups} -> {ok, groups(Groups)};
    {error, Reason} -> {error, Reason}
  end.

-spec list_all_groups(endpoints(), brod:conn_config()) ->
        [{brod:endpoint(), [brod:cg()] | {error, term()}}].
list_all_groups(Endpoints, ConnConfig) ->
  Result = brod_engine:with_target({Endpoints, ConnConfig}, fun(Context) ->
    call(Context, list_all_groups)
  end),
  case throw_if_unreachable(Result) of
    {ok, Brokers} -> [{{brod_engine:host(Host), Port}, groups(Groups)} || {{Host, Port}, Groups} <- Brokers];
    {error, Reason} -> throw({failed_to_connect, Reason})
  end.

groups({error, _} = Error) -> brod_engine:failures(Error, []);
groups(Groups) -> [#brod_cg{id = Id, protocol_type = Type} || {Id, Type} <- Groups].

-spec describe_groups(brod:endpoint(), brod:conn_config(), [brod:group_id()]) ->
        {ok, [map()]} | {error, term()}.
describe_groups(Endpoint, ConnConfig, GroupIds) ->
  Result = brod_engine:with_target({[Endpoint], ConnConfig}, fun(Context) ->
    call(Context, {describe_groups, GroupIds})
  end),
  throw_if_unreachable(hung_up(Result, ConnConfig)).

%% Connections

%% @doc A connection, linked to the caller as brod_connection:start_link/2 says, to the broker that `Op' finds.
-spec connect(endpoints(), brod_nif:op(), brod:conn_config()) -> {ok, brod:connection()} | {error, term()}.
connect(Hosts, Op, ConnConfig) ->
  Found = brod_engine:with_target({Hosts, ConnConfig}, fun(Context) -> call(Context, Op) end),
  case Found of
    {ok, {_NodeId, Host, Port}} -> brod_connection:start_link([{Host, Port}], ConnConfig);
    {error, Reason} -> {error, Reason}
  end.

call(#{options := #{request_timeout := Timeout}} = Context, Op) ->
  call(Context, Op, Timeout).

call(#{engine := Engine}, Op, Timeout) ->
  brod_engine:call(Engine, Op, Timeout).

%% A broker that takes the connection and hangs up on what is asked, as on who comes without SASL, was reached: in brod it is the request that fails.
hung_up({error, Failures} = Error, ConnConfig) ->
  case brod_engine:is_failures(Failures) andalso lists:usort([Why || {_Endpoint, {Why, _Stack}} <- Failures]) of
    [closed] -> {error, {connection_down, {shutdown, closed(ConnConfig)}}};
    _ -> Error
  end;
hung_up(Result, _ConnConfig) ->
  Result.

closed(ConnConfig) when is_map(ConnConfig) -> closed(maps:to_list(ConnConfig));
closed(ConnConfig) ->
  case lists:member(proplists:get_value(ssl, ConnConfig), [undefined, nil, false]) of
    true -> tcp_closed;
    false -> ssl_closed
  end.

throw_if_unreachable({error, Reason} = Error) ->
  case brod_engine:is_failures(Reason) of
    true -> throw({failed_to_connect, Reason});
    false -> Error
  end;
throw_if_unreachable(Result) ->
  Result.
