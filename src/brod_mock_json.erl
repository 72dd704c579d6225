%% @private The JSON that {@link brod_mock} speaks with its executable; OTP has had a module for it only since 27.
-module(brod_mock_json).

-export([encode/1, decode/1]).

-type json() :: #{binary() => json()} | [json()] | binary() | number() | boolean() | null.

%% @doc Of maps, lists, binaries, atoms and integers.
-spec encode(term()) -> iodata().
encode(Map) when is_map(Map) ->
  [${, lists:join($,, [[string(key(K)), $:, encode(V)] || {K, V} <- maps:to_list(Map)]), $}];
encode(List) when is_list(List) ->
  [$[, lists:join($,, [encode(V) || V <- List]), $]];
encode(Integer) when is_integer(Integer) ->
  integer_to_binary(Integer);
encode(Atom) when Atom =:= true; Atom =:= false; Atom =:= null ->
  atom_to_binary(Atom);
encode(Text) ->
  string(key(Text)).

key(Atom) when is_atom(Atom) -> atom_to_binary(Atom);
key(Text) when is_binary(Text) -> Text.

string(Text) ->
  [$", [escape(C) || <<C>> <= Text], $"].

escape($") -> <<"\\\"">>;
escape($\\) -> <<"\\\\">>;
escape(C) when C < 32 -> io_lib:format("\\u~4.16.0b", [C]);
escape(C) -> C.

-spec decode(binary()) -> json().
decode(Text) ->
  {Value, Rest} = value(skip(Text)),
  <<>> = skip(Rest),
  Value.

value(<<"null", Rest/binary>>) -> {null, Rest};
value(<<"true", Rest/binary>>) -> {true, Rest};
value(<<"false", Rest/binary>>) -> {false, Rest};
value(<<$", Rest/binary>>) -> text(Rest, []);
value(<<$[, Rest/binary>>) -> list(skip(Rest), []);
value(<<${, Rest/binary>>) -> object(skip(Rest), #{});
value(Text) ->
  {match, [{0, Length}]} = re:run(Text, "^-?[0-9]+", []),
  <<Digits:Length/binary, Rest/binary>> = Text,
  {binary_to_integer(Digits), Rest}.

list(<<$], Rest/binary>>, Acc) -> {lists:reverse(Acc), Rest};
list(<<$,, Rest/binary>>, Acc) -> list(skip(Rest), Acc);
list(Text, Acc) ->
  {Value, Rest} = value(Text),
  list(skip(Rest), [Value | Acc]).

object(<<$}, Rest/binary>>, Acc) -> {Acc, Rest};
object(<<$,, Rest/binary>>, Acc) -> object(skip(Rest), Acc);
object(<<$", Text/binary>>, Acc) ->
  {Key, Rest} = text(Text, []),
  <<$:, Behind/binary>> = skip(Rest),
  {Value, End} = value(skip(Behind)),
  object(skip(End), Acc#{Key => Value}).

text(<<$", Rest/binary>>, Acc) -> {iolist_to_binary(lists:reverse(Acc)), Rest};
text(<<"\\u", Hex:4/binary, Rest/binary>>, Acc) ->
  text(Rest, [<<(binary_to_integer(Hex, 16))/utf8>> | Acc]);
text(<<$\\, C, Rest/binary>>, Acc) -> text(Rest, [unescape(C) | Acc]);
text(<<C, Rest/binary>>, Acc) -> text(Rest, [C | Acc]).

unescape($n) -> $\n;
unescape($t) -> $\t;
unescape($r) -> $\r;
unescape($b) -> $\b;
unescape($f) -> $\f;
unescape(C) -> C.

skip(<<C, Rest/binary>>) when C =:= $\s; C =:= $\n; C =:= $\t; C =:= $\r -> skip(Rest);
skip(Text) -> Text.
