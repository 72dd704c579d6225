%% @private What is wrong with the arguments of a produce call, as a text for who made it (`error_info', EEP-54).
%% The texts name types and short values, no payloads.
-module(brod_produce_errors).

-export([raise/4, check_topic/4, check_partitioner/4, format_error/2]).

-type argument() :: {Position :: pos_integer(), topic | partitioner | key | value, term()}.

-define(SHORT, 60).

%% @doc Raise `badarg' for a call of `brod:Function/Arity', in which one of these arguments is wrong.
-spec raise(atom(), arity(), [argument()], erlang:stacktrace()) -> no_return().
raise(Function, Arity, Arguments, Stack) ->
  Texts = maps:from_list([{Position, Text} || {Position, Kind, Value} <- Arguments,
                                              Text <- wrong(Kind, Value)]),
  Info = [{error_info, #{module => ?MODULE, cause => Texts}}],
  erlang:raise(error, badarg, [{brod, Function, Arity, Info} | rest(Stack)]).

%% Not the NIF's own entry: it has the payload as arguments.
rest([{brod_nif, _, _, _} | Stack]) -> Stack;
rest(Stack) -> Stack.

%% @doc A topic that is no binary is nobody's.
-spec check_topic(atom(), arity(), pos_integer(), term()) -> ok.
check_topic(_Function, _Arity, _Position, Topic) when is_binary(Topic) -> ok;
check_topic(Function, Arity, Position, Topic) ->
  raise(Function, Arity, [{Position, topic, Topic}], stack()).

%% @doc A partitioner is one that there is, or a fun.
-spec check_partitioner(atom(), arity(), pos_integer(), term()) -> ok.
check_partitioner(Function, Arity, Position, Partitioner) ->
  case wrong(partitioner, Partitioner) of
    [] -> ok;
    _ -> raise(Function, Arity, [{Position, partitioner, Partitioner}], stack())
  end.

stack() ->
  {current_stacktrace, [_, _, _ | Stack]} = process_info(self(), current_stacktrace),
  Stack.

%% @private
-spec format_error(term(), erlang:stacktrace()) -> #{pos_integer() => unicode:chardata()}.
format_error(_Reason, [{_Module, _Function, _Arguments, Info} | _]) ->
  maps:get(cause, proplists:get_value(error_info, Info, #{}), #{}).

wrong(topic, Topic) when is_binary(Topic) -> [];
wrong(topic, Topic) -> text("expected the topic as a binary", Topic);
wrong(partitioner, P) when P =:= random; P =:= hash; P =:= murmur2; P =:= sticky -> [];
wrong(partitioner, P) when is_integer(P); is_function(P, 4) -> [];
wrong(partitioner, P) ->
  text("expected a partition's number, random, hash, murmur2, sticky or a fun of arity 4", P);
wrong(key, Key) ->
  case is_data(Key) of
    true -> [];
    false -> text("expected a key: iodata or undefined", Key)
  end;
wrong(value, {Ts, Value}) -> first(ts(Ts), data(Value));
wrong(value, Value) when is_map(Value) -> message(Value);
wrong(value, [First | _] = Batch) when is_tuple(First); is_map(First) -> batch(Batch, 1);
wrong(value, Value) ->
  case is_data(Value) of
    true -> [];
    false -> text("expected a value: iodata, undefined, {Timestamp, Value}, a map with value, or a list "
                  "of {Key, Value}, {Timestamp, Key, Value} and such maps", Value)
  end.

%% Batches may be nested as deep as memory goes: only the outermost is counted, and nothing is said before
%% the end is reached.
batch([], _N) -> [];
batch([Message | Rest], N) ->
  case message(Message) of
    [] -> batch(Rest, N + 1);
    [Text] when N > 0 ->
      [unicode:characters_to_binary(io_lib:format("message ~p of the batch: ~ts", [N, Text]))];
    [Text] -> [Text]
  end;
batch(Tail, _N) -> text("expected a batch that is a proper list; its tail is wrong", Tail).

message(#{value := Value} = Message) ->
  case [Text || {Field, V} <- [{key, maps:get(key, Message, undefined)}, {value, Value}],
                not is_data(V), Text <- text(io_lib:format("expected iodata or undefined as ~p", [Field]), V)] of
    [] -> first(headers(maps:get(headers, Message, [])), ts(maps:get(ts, Message, 0)));
    [Text | _] -> [Text]
  end;
message(Message) when is_map(Message) ->
  case Message =/= #{} andalso maps:without([key, ts, headers], Message) =:= #{} of
    true -> message(Message#{value => undefined});
    false -> text("expected a map with the key value", Message)
  end;
message({Key, Value}) -> pair(Key, Value);
message({Ts, Key, Value}) -> first(ts(Ts), pair(Key, Value));
message(Message) -> text("expected {Key, Value}, {Timestamp, Key, Value} or a map", Message).

%% The key of a nested batch is not used.
pair(_Key, [First | _] = Batch) when is_tuple(First); is_map(First) -> batch(Batch, -(1 bsl 59));
pair(Key, Value) -> first(wrong(key, Key), data(Value)).

data(Value) ->
  case is_data(Value) of
    true -> [];
    false -> text("expected a value: iodata or undefined", Value)
  end.

first([], Others) -> Others;
first(Texts, _Others) -> Texts.

ts(Ts) when is_integer(Ts), Ts >= -(1 bsl 63), Ts < 1 bsl 63 -> [];
ts(Ts) -> text("expected the timestamp in milliseconds as an integer of 64 bits", Ts).

headers(Headers) ->
  IsHeader = fun({Name, Value}) -> Name =/= undefined andalso is_data(Name) andalso is_data(Value);
                (_) -> false
             end,
  try lists:all(IsHeader, Headers) of
    true -> [];
    false -> text("expected headers as a list of {Name, Value}, both iodata", Headers)
  catch
    error:_ -> text("expected headers as a list of {Name, Value}, both iodata", Headers)
  end.

is_data(undefined) -> true;
is_data(Data) ->
  try iolist_size(Data) of
    _ -> true
  catch
    error:badarg -> false
  end.

text(Expected, Got) ->
  [unicode:characters_to_binary([Expected, "; got ", what(Got)])].

what(Atom) when is_atom(Atom) -> io_lib:format("the atom ~p", [Atom]);
what(Number) when is_integer(Number), abs(Number) < 1 bsl 64 -> io_lib:format("the integer ~p", [Number]);
what(Number) when is_number(Number) -> "a number";
what(Binary) when is_binary(Binary) -> "a binary";
what(Bits) when is_bitstring(Bits) -> "a bitstring that is no binary";
what(Map) when is_map(Map) ->
  io_lib:format("a map with the keys ~ts",
                [string:slice(io_lib:format("~0p", [lists:sublist(lists:sort(maps:keys(Map)), 10)]), 0, ?SHORT)]);
what(Tuple) when is_tuple(Tuple) -> io_lib:format("a tuple of ~p elements", [tuple_size(Tuple)]);
what(Fun) when is_function(Fun) -> "a fun";
what(Pid) when is_pid(Pid) -> "a pid";
what([]) -> "an empty list";
what(List) when is_list(List) ->
  try length(List) < 250 andalso io_lib:printable_unicode_list(List) of
    true -> io_lib:format("the string (a list of characters) ~tp", [List]);
    false -> "a list"
  catch
    error:badarg -> "an improper list"
  end;
what(_Term) -> "something else".
