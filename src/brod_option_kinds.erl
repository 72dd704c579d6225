%% @private What the value of an option may be: one term, of which the check, the words of the page and the types of
%% specs are made.
-module(brod_option_kinds).

-export([value/2, text/1, type/1]).

-export_type([kind/0]).

%% `{any, Words}': nobody here checks it. `{own, Words, Type}': whose option it is checks it, because more than a value decides or
%% the error says which part of it is wrong. `{text, Words}': text that is not empty, as a binary. `{later, Kind}': what cannot be matters only later, if ever, and
%% the default is used instead. `{clamped, ...}': as in brod, where no number is too small or too large. A number goes up to
%% `Max', which is not told where it is the most that 32 bits of milliseconds or 63 bits hold.
-type kind() ::
        {any, Words :: string()} | {own, Words :: string(), Type :: string()} | {text, Words :: string()}
      | {either, [kind(), ...]} | {list_of, kind()} | {later, kind()} | {or_infinity, kind(), Means :: term()} | {one_of, [atom()]}
      | {integer, unit(), Min :: integer(), Max :: integer()} | {clamped, unit(), Min :: integer(), Max :: integer()}
      | {number, unit(), above | from, Min :: number(), Max :: number()}
      | boolean | binary | name | topics | partitions | partition_list | partition_or_partitioner | pairs | {options, Level :: atom()}
      | acks | codec | linger | begin_offset | from_offset | retention | commit_interval | protocol_name | instance_id
      | verification | socket_options | function | alpn_name | ssl | sasl.
-type unit() :: ms | seconds | bytes | messages | none.

-define(MAX_INT32, 16#7fffffff).
-define(MAX_INT64, 16#7fffffffffffffff).
-define(MAX_SECONDS, 2147483).
%% More often would only keep the coordinator of the group busy.
-define(MIN_COMMIT_INTERVAL, 0.1).

%% @doc The value in the one form that is used inside; or what is used in place of it, which the log tells; or that it cannot
%% be.
-spec value(kind(), term()) -> {ok, term()} | {instead, term()} | error.
value({any, _Words}, V) -> {ok, V};
value({own, _Words, _Type}, V) -> {ok, V};
value({text, _Words}, V) -> text_value(V);
value({either, [Kind | Kinds]}, V) -> case value(Kind, V) of error -> value({either, Kinds}, V); Taken -> Taken end;
value({list_of, Kind}, [_ | _] = V) -> valid(is_list_of(fun(Each) -> value(Kind, Each) =/= error end, V), V);
value({later, Kind}, V) -> value(Kind, V);
value({or_infinity, _Kind, Means}, infinity) -> {ok, Means};
value({or_infinity, Kind, _Means}, V) -> value(Kind, V);
value({one_of, Values}, V) -> valid(lists:member(V, Values), V);
value({integer, _Unit, Min, Max}, V) -> valid(is_integer(V) andalso V >= Min andalso V =< Max, V);
value({clamped, _Unit, _Min, Max}, infinity) -> {ok, Max};
value({clamped, _Unit, Min, Max}, V) when is_integer(V) -> {ok, max(Min, min(V, Max))};
value({number, _Unit, above, Min, Max}, V) -> valid(is_number(V) andalso V > Min andalso V =< Max, V);
value({number, _Unit, from, Min, Max}, V) -> valid(is_number(V) andalso V >= Min andalso V =< Max, V);
value(boolean, V) -> valid(is_boolean(V), V);
value(binary, V) -> valid(is_binary(V) andalso brod_options:is_text(V), V);
value(name, V) -> valid(brod_options:is_text(V), V);
value(topics, V) -> valid(is_list_of(fun is_binary/1, V), V);
value(partitions, all) -> {ok, all};
value(partitions, V) -> value(partition_list, V);
value(partition_list, V) -> valid(is_list_of(fun is_partition/1, V), V);
value(partition_or_partitioner, V) when V =:= sticky; V =:= murmur2; V =:= hash; V =:= random -> {ok, V};
value(partition_or_partitioner, V) -> valid(is_partition(V) orelse is_function(V, 4), V);
value(pairs, V) when is_map(V) -> valid(is_list_of(fun is_pair/1, maps:to_list(V)), V);
value(pairs, V) -> valid(is_list_of(fun is_pair/1, V), V);
value({options, _Level}, V) -> valid(brod_options:is_config(V), V);
value(acks, V) when V =:= all; V =:= all_isr -> {ok, -1};
value(acks, none) -> {ok, 0};
value(acks, leader_only) -> {ok, 1};
value(acks, V) -> valid(is_integer(V) andalso V >= -1 andalso V =< 1, V);
value(codec, none) -> {ok, no_compression};
value(codec, V) -> valid(lists:member(V, codecs()), V);
%% in brod any time that has passed does not linger
value(linger, V) when is_integer(V), V < 0 -> {ok, 0};
value(linger, infinity) -> {ok, infinity};
value(linger, V) -> value({integer, ms, 0, ?MAX_INT32}, V);
value(begin_offset, -1) -> {ok, latest};
value(begin_offset, -2) -> {ok, earliest};
value(begin_offset, V) -> value(from_offset, V);
value(from_offset, V) when V =:= latest; V =:= earliest -> {ok, V};
value(from_offset, {timestamp, Ms} = V) -> valid(is_offset(Ms), V);
value(from_offset, V) -> valid(is_offset(V), V);
value(retention, V) -> valid(V =:= -1 orelse (is_number(V) andalso V >= 0 andalso V < 1 bsl 50), V);
value(commit_interval, V) when is_number(V), V >= 0, V < ?MIN_COMMIT_INTERVAL -> {instead, ?MIN_COMMIT_INTERVAL};
value(commit_interval, infinity) -> {ok, infinity};
value(commit_interval, V) -> value({number, seconds, above, 0, ?MAX_SECONDS}, V);
value(protocol_name, V) -> valid(brod_options:is_text(V), V);
value(instance_id, null) -> {ok, null};
value(instance_id, V) -> value(binary, V);
value(verification, V) -> valid(V =:= verify_peer orelse V =:= verify_none, V);
value(function, V) -> valid(is_function(V, 0), V);
value(alpn_name, V) -> valid(is_binary(V) andalso byte_size(V) > 0 andalso byte_size(V) < 256, V);
%% brod_ssl_options and brod_sasl_options look into them
value(ssl, V) -> {ok, V};
value(sasl, V) -> {ok, V};
value(socket_options, V) -> valid(brod_socket_options:is_valid(V), V);
value(_Kind, _V) -> error.

valid(true, V) -> {ok, V};
valid(false, _V) -> error.

text_value(V) when is_list(V); is_binary(V) ->
  try unicode:characters_to_binary(V) of
    Text when is_binary(Text), Text =/= <<>> -> {ok, Text};
    _ -> error
  catch error:badarg -> error
  end;
text_value(_V) ->
  error.

is_pair({Name, Value}) -> brod_options:is_text(Name) andalso (is_number(Value) orelse brod_options:is_text(Value));
is_pair(_) -> false.

is_list_of(Is, [Head | Tail]) -> Is(Head) andalso is_list_of(Is, Tail);
is_list_of(_Is, Tail) -> Tail =:= [].

is_partition(P) -> is_integer(P) andalso P >= 0 andalso P =< ?MAX_INT32.

is_offset(Offset) -> is_integer(Offset) andalso Offset >= 0 andalso Offset =< ?MAX_INT64.

codecs() -> [no_compression, gzip, snappy, lz4, zstd].

%% @doc In words, for the page and for errors.
-spec text(kind()) -> string().
text({any, Words}) -> Words;
text({own, Words, _Type}) -> Words;
text({text, Words}) -> Words;
text({either, Kinds}) -> lists:flatten(lists:join(", or ", [text(Kind) || Kind <- Kinds]));
text({list_of, Kind}) -> "list of " ++ text(Kind);
text({later, Kind}) -> text(Kind);
text({or_infinity, Kind, _Means}) -> text(Kind) ++ ", or infinity";
text({one_of, Values}) -> lists:flatten(lists:join(", ", [io_lib:format("~p", [V]) || V <- Values]));
text({clamped, Unit, Min, Max}) -> text({integer, Unit, Min, Max});
text({number, Unit, above, Min, _Max}) -> unit(Unit, "number") ++ " > " ++ number(Min);
text({number, Unit, from, Min, _Max}) -> unit(Unit, "number") ++ " >= " ++ number(Min);
text({integer, Unit, 1, Max}) when Max >= ?MAX_SECONDS -> unit(Unit, "integer") ++ " > 0";
text({integer, Unit, Min, Max}) when Max >= ?MAX_SECONDS, Min > -(1 bsl 31) -> unit(Unit, "integer") ++ " >= " ++ number(Min);
text({integer, Unit, Min, Max}) when Max >= ?MAX_SECONDS, Min =:= -(1 bsl 31) -> unit(Unit, "integer");
text({integer, Unit, Min, Max}) -> unit(Unit, "integer") ++ " from " ++ number(Min) ++ " to " ++ number(Max);
text(boolean) -> "true, false";
text(binary) -> "binary";
text(name) -> "text or atom";
text(topics) -> "list of binaries";
text(partitions) -> "all, or a list of numbers";
text(partition_list) -> "list of numbers";
text(partition_or_partitioner) -> "a number, sticky, murmur2, hash, random, or a fun";
text(pairs) -> "name and value pairs";
text({options, Level}) -> atom_to_list(Level) ++ " options";
text(acks) -> "-1 (all), 0 (none), 1 (leader_only)";
text(codec) -> text({one_of, codecs()});
text(linger) -> "ms >= 0, or infinity";
text(begin_offset) -> "an offset, earliest, latest, or {timestamp, Ms}";
text(from_offset) -> text(begin_offset);
text(retention) -> "seconds >= 0, or -1";
text(commit_interval) -> "seconds >= 0.1, or infinity";
text(protocol_name) -> "text or atom";
text(instance_id) -> "binary";
text(verification) -> "verify_peer, verify_none";
text(socket_options) -> "options of gen_tcp";
text(function) -> "a fun";
text(alpn_name) -> "binaries";
text(ssl) -> "true, false, or TLS options";
text(sasl) -> "{Mechanism, User, Password}, {Mechanism, Options}, ...".

unit(none, Word) -> Word;
unit(Unit, _Word) -> atom_to_list(Unit).

number(N) -> lists:flatten(io_lib:format("~p", [N])).

%% @doc As a type of a spec. It is no narrower than what is taken, so that no caller who was right becomes wrong.
-spec type(kind()) -> string().
type({own, _Words, Type}) -> Type;
type({text, _Words}) -> "unicode:chardata()";
type({either, Kinds}) -> lists:flatten(lists:join(" | ", [type(Kind) || Kind <- Kinds]));
type({list_of, Kind}) -> "[" ++ type(Kind) ++ "]";
type({later, Kind}) -> type(Kind);
type({or_infinity, Kind, _Means}) -> type(Kind) ++ " | infinity";
type({one_of, Values}) -> lists:flatten(lists:join(" | ", [io_lib:format("~p", [V]) || V <- Values]));
type({clamped, _, _, _}) -> "integer() | infinity";
type({number, _, _, _, _}) -> "number()";
type({integer, _, 0, _}) -> "non_neg_integer()";
type({integer, _, 1, _}) -> "pos_integer()";
type({integer, _, _, _}) -> "integer()";
type(boolean) -> "boolean()";
type(binary) -> "binary()";
type(name) -> "atom() | binary() | string()";
type(topics) -> "[binary()]";
type(partitions) -> "all | [non_neg_integer()]";
type(partition_list) -> "[non_neg_integer()]";
type({options, Level}) -> type_of_options(Level);
type(acks) -> "-1..1 | all | all_isr | none | leader_only";
type(codec) -> type({one_of, codecs()}) ++ " | none";
type(linger) -> "integer() | infinity";
type(begin_offset) -> "integer() | earliest | latest | {timestamp, non_neg_integer()}";
type(retention) -> "number()";
type(commit_interval) -> "number() | infinity";
type(protocol_name) -> "atom() | binary() | string()";
type(instance_id) -> "null | binary()";
type(verification) -> "verify_peer | verify_none";
type(socket_options) -> "[term()]";
type(function) -> "fun(() -> term())";
type(alpn_name) -> "binary()";
type(pairs) -> "[{atom() | unicode:chardata(), unicode:chardata()}] | #{atom() | unicode:chardata() => unicode:chardata()}";
type(ssl) -> "boolean() | ssl()";
type(sasl) -> "false | sasl()";
type(_) -> "term()".

type_of_options(producer) -> "producer()";
type_of_options(consumer) -> "consumer()";
type_of_options(group) -> "group()";
type_of_options(_Level) -> "term()".
