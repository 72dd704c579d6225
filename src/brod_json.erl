%% @private JSON, as {@link brod_mock} speaks it with its executable and the command line with people; OTP has had a
%% module for it only since 27.
-module(brod_json).

-export([encode/1, decode/1]).

-type json() :: #{binary() => json()} | [json()] | binary() | number() | boolean() | null.

%% @doc Of maps, lists, binaries, atoms and numbers. Keys are sorted, for since OTP 26 maps have no order.
-spec encode(term()) -> iodata().
encode(Map) when is_map(Map) ->
  [${, lists:join($,, [[string(key(K)), $:, encode(V)] || {K, V} <- lists:sort(maps:to_list(Map))]), $}];
encode(List) when is_list(List) ->
  [$[, lists:join($,, [encode(V) || V <- List]), $]];
encode(Integer) when is_integer(Integer) ->
  integer_to_binary(Integer);
encode(Float) when is_float(Float) ->
  float_to_binary(Float, [short]);
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
  {match, [{0, Length}]} = re:run(Text, "^-?[0-9]+(\\.[0-9]+([eE][-+]?[0-9]+)?)?", [{capture, first}]),
  <<Digits:Length/binary, Rest/binary>> = Text,
  {try binary_to_integer(Digits) catch error:badarg -> binary_to_float(Digits) end, Rest}.

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
  case {binary_to_integer(Hex, 16), Rest} of
    {High, <<"\\u", Hex2:4/binary, Rest2/binary>>} when High >= 16#D800, High < 16#DC00 ->
      %% Two halves of a character beyond 16 bits.
      <<Char/utf16>> = <<High:16, (binary_to_integer(Hex2, 16)):16>>,
      text(Rest2, [<<Char/utf8>> | Acc]);
    {Char, _} -> text(Rest, [<<Char/utf8>> | Acc])
  end;
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
