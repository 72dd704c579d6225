%% @private Requests and responses as maps, by the schemas of brod_kafka_schema: for what users build and read
%% themselves. What the engine itself says to brokers does not come by here (docs/adr/0032-requests-of-users.md).
-module(brod_kafka_codec).

-export([encode/3, decode/3, encode_struct/3, decode_struct/3, encode_type/2, decode_type/2, error_code/1]).
-export([find/2, find/3]).

-export_type([field/0, struct/0]).

-type field() :: atom().
-type struct() :: #{field() => term()} | [{field(), term()}].
%% Fields from the innermost one out, and the API last.
-type stack() :: [field() | {Api :: atom(), Vsn :: term()}].

-define(NULL, undefined).
-define(IS_ARRAY(Kind), (Kind =:= array orelse Kind =:= compact_array)).

%% What stands in fields that a group's members fill as they like: Kafka's consumer protocol.
-define(SUBSCRIPTION, [{version, int16}, {topics, {array, string}}, {user_data, bytes}]).
-define(ASSIGNMENT, [{version, int16}, {topic_partitions, {array, [{topic, string}, {partitions, {array, int32}}]}},
                     {user_data, bytes}]).

%% @doc The body of a request. Raises `{unknown_api, Api}', `{unknown_vsn, Info}', `{field_missing, Info}', or
%% `{Reason, Stack, Fields}' where a value does not fit its field.
-spec encode(atom(), non_neg_integer(), struct()) -> iodata().
encode(Api, Vsn, Fields) ->
  ok = check(Api, Vsn),
  encode_struct(brod_kafka_schema:req(Api, Vsn), [{Api, Vsn}], Fields).

%% @doc A response from its body. Raises `{not_a_response, Info}' where the bytes are none.
-spec decode(atom(), non_neg_integer(), binary()) -> map().
decode(Api, Vsn, Body) ->
  ok = check(Api, Vsn),
  try decode_struct(brod_kafka_schema:rsp(Api, Vsn), [{Api, Vsn}], Body) of
    {Message, _Rest} -> Message
  catch
    error:Reason when Reason =:= badarg; Reason =:= function_clause; element(1, Reason) =:= badmatch ->
      error({not_a_response, [{api, Api}, {vsn, Vsn}, {bytes, byte_size(Body)}]})
  end.

check(Api, Vsn) ->
  case is_atom(Api) andalso brod_kafka_schema:vsn_range(Api) of
    {Min, Max} when is_integer(Vsn), Vsn >= Min, Vsn =< Max -> ok;
    {_, _} = Range -> error({unknown_vsn, [{api, Api}, {vsn, Vsn}, {known_vsn_range, Range}]});
    false -> error({unknown_api, Api})
  end.

%% Encoding

%% @doc Fields as they stand on the wire.
-spec encode_struct([{field(), term()}], stack(), struct()) -> iodata().
encode_struct(Schema, Stack, Fields) ->
  try encode_field(Schema, Fields, Stack)
  catch throw:{not_encodable, Reason, At} -> error({Reason, At, Fields})
  end.

encode_field({Kind, _Element}, ?NULL, _Stack) when ?IS_ARRAY(Kind) ->
  array_length(Kind, -1);
encode_field({Kind, Element}, Values, Stack) when ?IS_ARRAY(Kind), is_list(Values) ->
  [array_length(Kind, length(Values)) | [encode_field(Element, V, Stack) || V <- Values]];
encode_field({Kind, _Element}, _Value, Stack) when ?IS_ARRAY(Kind) ->
  throw({not_encodable, not_array, Stack});
encode_field(Fields, Struct, Stack) when is_list(Fields) ->
  [encode_field(Type, to_wire([Name | Stack], value(Name, Struct, Stack)), [Name | Stack])
   || {Name, Type} <- Fields];
encode_field(Type, Value, Stack) ->
  try encode_type(Type, Value)
  catch error:Reason -> throw({not_encodable, Reason, Stack})
  end.

value(tagged_fields, _Struct, _Stack) ->
  [];
value(Name, Struct, Stack) ->
  try find(Name, Struct)
  catch error:{no_such_field, _} ->
    error({field_missing, [{stack, lists:reverse([Name | Stack])}, {input, Struct}]})
  end.

to_wire([isolation_level | _], read_uncommitted) -> 0;
to_wire([isolation_level | _], read_committed) -> 1;
to_wire([key_type | _], group) -> 0;
to_wire([key_type | _], txn) -> 1;
to_wire([metadata, protocols | _] = Stack, Struct) -> embedded(?SUBSCRIPTION, Struct, Stack);
to_wire([assignment, assignments | _] = Stack, Struct) -> embedded(?ASSIGNMENT, Struct, Stack);
to_wire(_Stack, Value) -> Value.

embedded(Fields, Struct, Stack) when is_map(Struct); is_tuple(hd(Struct)) ->
  iolist_to_binary(encode_field(Fields, Struct, Stack));
embedded(_Fields, Bytes, _Stack) ->
  Bytes.

array_length(array, N) -> <<N:32>>;
array_length(compact_array, N) -> unsigned(N + 1).

%% @doc A value of a simple type.
-spec encode_type(atom(), term()) -> iodata().
encode_type(boolean, true) -> <<1>>;
encode_type(boolean, false) -> <<0>>;
encode_type(int8, N) -> integer(N, 8);
encode_type(int16, N) -> integer(N, 16);
encode_type(int32, N) -> integer(N, 32);
encode_type(int64, N) -> integer(N, 64);
encode_type(varint, N) when is_integer(N) -> unsigned(((N bsl 1) bxor (N bsr 63)) band 16#ffffffffffffffff);
encode_type(unsigned_varint, N) when is_integer(N), N >= 0 -> unsigned(N);
encode_type(nullable_string, ?NULL) -> <<-1:16>>;
encode_type(Type, Value) when Type =:= string; Type =:= nullable_string ->
  Text = text(Value),
  byte_size(Text) =< 16#7fff orelse error({too_long, byte_size(Text)}),
  [<<(byte_size(Text)):16>>, Text];
encode_type(compact_nullable_string, ?NULL) -> <<0>>;
encode_type(Type, Value) when Type =:= compact_string; Type =:= compact_nullable_string ->
  Text = text(Value),
  [unsigned(byte_size(Text) + 1), Text];
encode_type(Type, ?NULL) when Type =:= bytes; Type =:= nullable_bytes; Type =:= records -> <<-1:32>>;
encode_type(Type, Bytes) when Type =:= bytes; Type =:= nullable_bytes; Type =:= records ->
  [<<(iolist_size(Bytes)):32>>, Bytes];
encode_type(Type, ?NULL) when Type =:= compact_bytes; Type =:= compact_nullable_bytes; Type =:= compact_records -> <<0>>;
encode_type(Type, Bytes) when Type =:= compact_bytes; Type =:= compact_nullable_bytes; Type =:= compact_records ->
  [unsigned(iolist_size(Bytes) + 1), Bytes];
encode_type(tagged_fields, _) -> <<0>>.

integer(N, Bits) when is_integer(N), N >= -(1 bsl (Bits - 1)), N < 1 bsl (Bits - 1) -> <<N:Bits>>.

text(?NULL) -> <<>>;
text(Atom) when is_atom(Atom) -> atom_to_binary(Atom, utf8);
text(Text) -> iolist_to_binary(Text).

unsigned(N) when N < 128 -> <<N>>;
unsigned(N) -> <<1:1, N:7, (unsigned(N bsr 7))/binary>>.

%% Decoding

%% @doc Fields from bytes, with what is left of them.
-spec decode_struct([{field(), term()}], stack(), binary()) -> {map(), binary()}.
decode_struct(Fields, Stack, Bytes) ->
  lists:foldl(fun({Name, Type}, {Struct, Bin}) ->
                {Value, Rest} = decode_field(Type, [Name | Stack], Bin),
                {Struct#{Name => from_wire([Name | Stack], Value)}, Rest}
              end, {#{}, Bytes}, Fields).

decode_field({array, Element}, Stack, <<Length:32/signed, Rest/binary>>) ->
  elements(Length, Element, Stack, Rest, []);
decode_field({compact_array, Element}, Stack, Bytes) ->
  {Length, Rest} = decode_type(unsigned_varint, Bytes),
  elements(Length - 1, Element, Stack, Rest, []);
decode_field(Fields, Stack, Bytes) when is_list(Fields) ->
  decode_struct(Fields, Stack, Bytes);
decode_field(Fun, _Stack, Bytes) when is_function(Fun, 1) ->
  Fun(Bytes);
decode_field(Type, _Stack, Bytes) ->
  decode_type(Type, Bytes).

elements(-1, _Element, _Stack, Bytes, []) -> {?NULL, Bytes};
elements(0, _Element, _Stack, Bytes, Acc) -> {lists:reverse(Acc), Bytes};
elements(Left, Element, Stack, Bytes, Acc) when Left > 0 ->
  {Value, Rest} = decode_field(Element, Stack, Bytes),
  elements(Left - 1, Element, Stack, Rest, [Value | Acc]).

from_wire([api_key | _], Key) ->
  try brod_kafka_schema:api_key(Key)
  catch error:{not_supported, _} -> Key
  end;
from_wire([Name | _], Code) when Name =:= error_code; Name =:= partition_error_code -> error_code(Code);
from_wire([metadata, members | _] = Stack, Bytes) -> embedded_in(?SUBSCRIPTION, Stack, Bytes);
from_wire([member_metadata | _] = Stack, Bytes) -> embedded_in(?SUBSCRIPTION, Stack, Bytes);
from_wire([assignment, {sync_group, _}] = Stack, Bytes) -> embedded_in(?ASSIGNMENT, Stack, Bytes);
from_wire([member_assignment | _] = Stack, Bytes) -> embedded_in(?ASSIGNMENT, Stack, Bytes);
from_wire([isolation_level | _], 0) -> read_uncommitted;
from_wire([isolation_level | _], 1) -> read_committed;
from_wire(_Stack, Value) -> Value.

%% Members of groups that are no consumers speak protocols of their own; theirs stay bytes.
embedded_in(_Fields, _Stack, <<>>) ->
  ?NULL;
embedded_in(Fields, Stack, Bytes) ->
  try decode_struct(Fields, Stack, Bytes) of
    {Struct, _Rest} -> Struct
  catch
    error:_ -> Bytes
  end.

%% @doc A value of a simple type, with what is left of the bytes. Bytes and texts that are null are empty.
-spec decode_type(atom(), binary()) -> {term(), binary()}.
decode_type(boolean, <<N, Rest/binary>>) -> {N =/= 0, Rest};
decode_type(int8, <<N:8/signed, Rest/binary>>) -> {N, Rest};
decode_type(int16, <<N:16/signed, Rest/binary>>) -> {N, Rest};
decode_type(int32, <<N:32/signed, Rest/binary>>) -> {N, Rest};
decode_type(int64, <<N:64/signed, Rest/binary>>) -> {N, Rest};
decode_type(varint, Bytes) ->
  {N, Rest} = varint(Bytes, 0, 0),
  {(N bsr 1) bxor -(N band 1), Rest};
decode_type(unsigned_varint, Bytes) -> varint(Bytes, 0, 0);
decode_type(Type, <<Length:16/signed, Rest/binary>>) when Type =:= string; Type =:= nullable_string ->
  take(Length, Rest);
decode_type(Type, <<Length:32/signed, Rest/binary>>) when Type =:= bytes; Type =:= nullable_bytes; Type =:= records ->
  take(Length, Rest);
decode_type(Type, Bytes) when Type =:= compact_string; Type =:= compact_nullable_string; Type =:= compact_bytes;
                              Type =:= compact_nullable_bytes; Type =:= compact_records ->
  {Length, Rest} = varint(Bytes, 0, 0),
  take(Length - 1, Rest);
decode_type(tagged_fields, Bytes) ->
  {Count, Rest} = varint(Bytes, 0, 0),
  skip_tagged(Count, Rest).

skip_tagged(0, Bytes) -> {#{}, Bytes};
skip_tagged(Left, Bytes) ->
  {_Tag, Rest1} = varint(Bytes, 0, 0),
  {Size, Rest2} = varint(Rest1, 0, 0),
  {_, Rest3} = take(Size, Rest2),
  skip_tagged(Left - 1, Rest3).

varint(<<1:1, Bits:7, Rest/binary>>, Shift, N) when Shift < 63 -> varint(Rest, Shift + 7, N bor (Bits bsl Shift));
varint(<<0:1, Bits:7, Rest/binary>>, Shift, N) -> {N bor (Bits bsl Shift), Rest}.

%% Copied: a name out of a response is not to keep all of it in memory.
take(-1, Bytes) -> {<<>>, Bytes};
take(Length, Bytes) ->
  <<Value:Length/binary, Rest/binary>> = Bytes,
  {binary:copy(Value), Rest}.

%% @doc An error code as brod's users match it; a number that is newer than this client stays one.
-spec error_code(integer()) -> atom() | integer().
error_code(0) -> no_error;
error_code(Code) -> brod_nif:error_name(Code).

%% Fields

%% @doc A field of a map or a list of pairs. Raises `{no_such_field, Name}', or `{not_struct, Term}'.
-spec find(field(), struct()) -> term().
find(Name, Struct) when is_map(Struct) ->
  case Struct of
    #{Name := Value} -> Value;
    _ -> error({no_such_field, Name})
  end;
find(Name, Struct) when is_list(Struct) ->
  case lists:keyfind(Name, 1, Struct) of
    {_, Value} -> Value;
    false -> error({no_such_field, Name})
  end;
find(_Name, Other) ->
  error({not_struct, Other}).

%% @doc As {@link find/2}, with a default.
-spec find(field(), struct(), Default) -> term() | Default.
find(Name, Struct, Default) ->
  try find(Name, Struct)
  catch error:{no_such_field, _} -> Default
  end.
