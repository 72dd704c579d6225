%% @doc What brokers write into the topic `__consumer_offsets'.
-module(kpro_consumer_group).

-export([decode/2]).

-export_type([decoded/0]).

-type fields() :: [{atom(), term()}].
-type decoded() :: {offset | group, Key :: fields(), Value :: fields()}.

%% @doc A message's key and value. Keys of offsets: `version', `group_id', `topic', `partition'; of groups: `version',
%% `group_id'. Values of offsets: `version', `offset', `metadata', and times by version (`leader_epoch' in 3 and later);
%% of groups: `version', `protocol_type', `generation_id', `protocol', `leader', `members'. What was deleted has an
%% empty value. Raises `{unknown_key_version, Version}' for what is neither.
-spec decode(binary(), undefined | binary()) -> decoded().
decode(<<Version:16, _/binary>> = Key, Value) when Version =:= 0; Version =:= 1 ->
  {offset, fields([{version, int16}, {group_id, string}, {topic, string}, {partition, int32}], Key), offset(Value)};
decode(<<2:16, _/binary>> = Key, Value) ->
  {group, fields([{version, int16}, {group_id, string}], Key), group(Value)};
decode(<<Version:16, _/binary>>, _Value) ->
  error({unknown_key_version, Version}).

offset(Value) when Value =:= undefined; Value =:= <<>> -> [];
offset(<<0:16, _/binary>> = Value) ->
  fields([{version, int16}, {offset, int64}, {metadata, string}, {timestamp, int64}], Value);
offset(<<1:16, _/binary>> = Value) ->
  fields([{version, int16}, {offset, int64}, {metadata, string}, {commit_time, int64}, {expire_time, int64}], Value);
offset(<<2:16, _/binary>> = Value) ->
  fields([{version, int16}, {offset, int64}, {metadata, string}, {commit_time, int64}], Value);
offset(<<3:16, _/binary>> = Value) ->
  fields([{version, int16}, {offset, int64}, {leader_epoch, int32}, {metadata, string}, {commit_time, int64}], Value);
offset(<<_:16, _/binary>> = Value) ->
  fields([{version, int16}, {offset, int64}, {leader_epoch, int32}, {metadata, compact_string}, {commit_time, int64}], Value).

group(Value) when Value =:= undefined; Value =:= <<>> -> [];
group(<<Version:16, _/binary>> = Value) when Version =< 3 ->
  Head = [{version, int16}, {protocol_type, string}, {generation_id, int32}, {protocol, string}, {leader, string}],
  Since = [{current_state_timestamp, int64} || Version >= 2],
  fields(Head ++ Since ++ [{members, {array, member(Version, string, bytes)}}], Value);
group(<<Version:16, _/binary>> = Value) ->
  Head = [{version, int16}, {protocol_type, compact_string}, {generation_id, int32}, {protocol, compact_string},
          {leader, compact_string}, {current_state_timestamp, int64}],
  fields(Head ++ [{members, {compact_array, member(Version, compact_string, compact_bytes) ++ [{tagged_fields, tagged_fields}]}}],
         Value).

member(Version, Text, Bytes) ->
  [{member_id, Text}] ++ [{group_instance_id, Text} || Version >= 3] ++ [{client_id, Text}, {client_host, Text}]
    ++ [{rebalance_timeout, int32} || Version >= 1] ++ [{session_timeout, int32}]
    ++ [{subscription, {embedded, Bytes, subscription}}, {assignment, {embedded, Bytes, assignment}}].

fields(Schema, Bytes) ->
  {Fields, _Rest} = read(Schema, Bytes),
  Fields.

%% Pairs in the order of the wire.
read(Schema, Bytes) when is_list(Schema) ->
  {Reversed, Rest} = lists:foldl(fun({Name, Type}, {Acc, Bin}) ->
                                   {Value, Left} = read(Type, Bin),
                                   {[{Name, Value} || Name =/= tagged_fields] ++ Acc, Left}
                                 end, {[], Bytes}, Schema),
  {lists:reverse(Reversed), Rest};
read({array, Element}, <<Count:32/signed, Rest/binary>>) -> elements(Count, Element, Rest, []);
read({compact_array, Element}, Bytes) ->
  {Count, Rest} = kpro_lib:decode(unsigned_varint, Bytes),
  elements(Count - 1, Element, Rest, []);
read({embedded, Type, What}, Bytes) ->
  case kpro_lib:decode(Type, Bytes) of
    {<<>>, Rest} -> {undefined, Rest};
    {Inner, Rest} -> {embedded(What, Inner), Rest}
  end;
read(Type, Bytes) -> kpro_lib:decode(Type, Bytes).

elements(Count, _Element, Bytes, Acc) when Count =< 0 -> {lists:reverse(Acc), Bytes};
elements(Count, Element, Bytes, Acc) ->
  {Value, Rest} = read(Element, Bytes),
  elements(Count - 1, Element, Rest, [Value | Acc]).

%% Members that are no consumers have a protocol of their own; theirs stays bytes.
embedded(What, Bytes) ->
  try fields(inner(What), Bytes) of
    [Version, {topic_partitions, Topics}, UserData] ->
      [Version, {topic_partitions, [{Topic, Partitions} || [{topic, Topic}, {partitions, Partitions}] <- Topics]}, UserData];
    Fields -> Fields
  catch
    error:_ -> Bytes
  end.

inner(subscription) -> kpro_prelude_schema:get(cg_protocol_metadata, 0);
inner(assignment) -> kpro_prelude_schema:get(cg_member_assignment, 0).
