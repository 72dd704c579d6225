%% @private `brod produce', `brod consume' and `brod offsets'.
-module(brod_cli_messages).

-export([produce/2, consume/2, offsets/2]).
-export([message/3, format/2]).

-include("brod_int.hrl").

-define(CLIENT, brod_cli).
-define(UNSETTLED, 10000).
-define(PRODUCE_LIMIT_MS, 60000).
-define(NEW_TOPIC_MS, 200).
-define(NEW_TOPIC_TRIES, 50).

%% @doc Produce the lines of files or of the standard input.
-spec produce(map(), [string()]) -> ok | {error, term()}.
produce(Options, Files) ->
  Topic = brod_cli_cluster:need_text("topic", Options),
  Headers = brod_cli_cluster:pairs("header", Options),
  Inputs = case Files of [] -> [standard_io]; _ -> [open(File) || File <- Files] end,
  brod_cli_cluster:with_client(Options, fun() ->
    ok = start_producer(Topic, ?NEW_TOPIC_TRIES),
    Send = fun(Line, Refs) -> send(Topic, message(Line, Headers, Options), Options, Refs) end,
    {_, Refs} = lists:foldl(fun(Input, Acc) -> lines(Input, Send, Acc) end, {0, []}, Inputs),
    settle(Refs)
  end).

%% The question creates a topic where brokers do that, and it has no leader at once.
start_producer(Topic, Tries) ->
  case brod:start_producer(?CLIENT, Topic, []) of
    {error, leader_not_available} when Tries > 1 -> timer:sleep(?NEW_TOPIC_MS), start_producer(Topic, Tries - 1);
    Result -> brod_cli_cluster:must(Result, Topic)
  end.

open(File) ->
  case file:open(File, [read, binary, {read_ahead, 65536}]) of
    {ok, Device} -> Device;
    {error, Reason} -> throw({failed, [File, ": ", file:format_error(Reason)]})
  end.

lines(Input, Fun, Acc) ->
  case file:read_line(Input) of
    {ok, Line} -> lines(Input, Fun, Fun(without_end(iolist_to_binary(Line)), Acc));
    eof -> Acc;
    {error, Reason} -> throw({failed, io_lib:format("cannot read: ~0p", [Reason])})
  end.

%% Lines may be any bytes, so no function of texts will do.
without_end(Line) ->
  case {byte_size(Line) - 1, byte_size(Line) - 2} of
    {_, N} when N >= 0, binary_part(Line, N, 2) =:= <<"\r\n">> -> binary_part(Line, 0, N);
    {N, _} when N >= 0, binary_part(Line, N, 1) =:= <<"\n">> -> binary_part(Line, 0, N);
    _ -> Line
  end.

send(Topic, #{key := Key} = Message, Options, {Count, Refs}) ->
  %% The partition that Java's clients take for the key.
  Partition = case Options of #{"partition" := P} -> P; _ -> murmur2 end,
  {ok, Ref} = brod_cli_cluster:must(brod:produce(?CLIENT, Topic, Partition, Key, Message), "not sent"),
  case Count + 1 of
    ?UNSETTLED -> ok = settle([Ref | Refs]), {0, []};
    N -> {N, [Ref | Refs]}
  end.

settle(Refs) ->
  lists:foreach(fun(Ref) ->
                  brod_cli_cluster:must(brod:sync_produce_request(Ref, ?PRODUCE_LIMIT_MS), "not stored")
                end, lists:reverse(Refs)).

%% @doc The message of a line. Headers of the line come behind those of all messages.
-spec message(binary(), [{binary(), binary()}], map()) -> #{key := binary(), value := binary(), headers := list()}.
message(Line, Headers, #{"json-lines" := true}) ->
  try
    Object = brod_json:decode(Line),
    #{key => field(<<"key">>, Object), value => field(<<"value">>, Object), headers => Headers ++ headers(Object)}
  catch
    error:_ -> throw({failed, ["no JSON of key, value and headers: ", Line]})
  end;
message(Line, Headers, #{"key-delimiter" := Delimiter}) ->
  case binary:split(Line, brod_cli_cluster:text(Delimiter)) of
    [Key, Value] -> #{key => Key, value => Value, headers => Headers};
    [Value] -> #{key => <<>>, value => Value, headers => Headers}
  end;
message(Line, Headers, _Options) ->
  #{key => <<>>, value => Line, headers => Headers}.

field(Name, Object) ->
  case maps:get(Name, Object, null) of
    null -> <<>>;
    Text when is_binary(Text) -> brod_cli_output:bytes(Text)
  end.

headers(#{<<"headers">> := Headers}) when is_map(Headers) -> headers(#{<<"headers">> => maps:to_list(Headers)});
headers(#{<<"headers">> := Headers}) ->
  [case Header of
     {Name, Value} -> {brod_cli_output:bytes(Name), brod_cli_output:bytes(Value)};
     [Name, Value] -> {brod_cli_output:bytes(Name), brod_cli_output:bytes(Value)}
   end || Header <- Headers];
headers(_) -> [].

%% @doc Print messages.
-spec consume(map(), [string()]) -> ok | {error, term()}.
consume(Options, _Words) ->
  Topic = brod_cli_cluster:need_text("topic", Options),
  Match = case Options of #{"grep" := Pattern} -> compiled(Pattern); _ -> any end,
  From = maps:get("from", Options, "earliest"),
  Count = maps:get("count", Options, infinity),
  brod_cli_cluster:with_client(Options, fun() ->
    Starts = [{P, brod_cli_cluster:position(Topic, P, From)} || P <- brod_cli_cluster:partitions(Topic, Options)],
    case Options of
      #{"follow" := true} -> follow(Topic, Starts, Match, Count, Options);
      _ -> to_the_end(Topic, Starts, Match, Count, Options)
    end
  end).

compiled(Pattern) ->
  case re:compile(brod_cli_cluster:text(Pattern)) of
    {ok, Compiled} -> Compiled;
    {error, {Text, _}} -> throw({usage, ["--grep: ", Text]})
  end.

%% The end is the one there is now: who goes on producing must not keep it from ending.
to_the_end(Topic, Starts, Match, Count, Options) ->
  Ends = [{P, Offset, brod_cli_cluster:resolve(Topic, P, latest)} || {P, Offset} <- Starts],
  _ = lists:foldl(fun({P, Offset, End}, Left) when Offset < End, Left > 0 ->
                        {_, Rest} = fold(Topic, {P, Offset}, Match, Left, 1000, #{reach_offset => End - 1}, Options),
                        Rest;
                     (_, Left) -> Left
                  end, Count, Ends),
  ok.

follow(_Topic, _Starts, _Match, 0, _Options) -> ok;
follow(Topic, Starts, Match, Left, Options) ->
  WaitMs = max(10, 500 div length(Starts)),
  {Next, Rest} = lists:mapfoldl(fun(Start, 0) -> {Start, 0};
                                   (Start, N) -> fold(Topic, Start, Match, N, WaitMs, #{}, Options)
                                end, Left, Starts),
  follow(Topic, Next, Match, Rest, Options).

%% Prints what fits, `Left' of them at most; where to go on, and how many are left.
fold(Topic, {P, Offset}, Match, Left, WaitMs, Limits, Options) ->
  Show = fun(_Message, 0) -> {error, enough};
            (#kafka_message{value = Value} = Message, N) ->
              case Match =:= any orelse re:run(Value, Match) =/= nomatch of
                true -> ok = brod_cli_output:write(shown(Topic, P, Message, Options)), {ok, less(N)};
                false -> {ok, N}
              end
         end,
  case brod:fold(?CLIENT, Topic, P, Offset, #{max_wait_time => WaitMs}, Left, Show, Limits) of
    {_, At, {fetch_failure, Reason}} ->
      throw({failed, [Topic, io_lib:format(" ~b at ~b: ", [P, At]), brod_cli_output:reason(Reason)]});
    {N, Next, _} -> {{P, Next}, N}
  end.

less(infinity) -> infinity;
less(N) -> N - 1.

shown(Topic, P, #kafka_message{offset = O, key = K, value = V, ts = Ts, headers = H}, #{"json" := true}) ->
  [brod_cli_output:json(#{topic => Topic, partition => P, offset => O, key => K, value => V, time => Ts,
                          headers => [[Name, Value] || {Name, Value} <- H]}), "\n"];
shown(Topic, P, #kafka_message{offset = O, key = K, value = V, ts = Ts}, Options) ->
  format(maps:get("format", Options, "%v\\n"),
         #{$t => Topic, $p => integer_to_binary(P), $o => integer_to_binary(O), $k => K, $v => V,
           $T => case Ts of undefined -> <<"-1">>; _ -> integer_to_binary(Ts) end, $% => <<"%">>}).

%% @doc A format with its fields put in, as bytes.
-spec format(string(), #{char() => binary()}) -> iodata().
format([], _) -> [];
format([$%, C | Rest], Fields) ->
  case Fields of
    #{C := Value} -> [Value | format(Rest, Fields)];
    _ -> [<<"%", C/utf8>> | format(Rest, Fields)]
  end;
format([$\\, $n | Rest], Fields) -> [$\n | format(Rest, Fields)];
format([$\\, $t | Rest], Fields) -> [$\t | format(Rest, Fields)];
format([C | Rest], Fields) -> [<<C/utf8>> | format(Rest, Fields)].

%% @doc Print first and last offsets, or those of a time.
-spec offsets(map(), [string()]) -> ok | {error, term()}.
offsets(Options, _Words) ->
  Topic = brod_cli_cluster:need_text("topic", Options),
  {Columns, Times} = case Options of
                       #{"time" := Time} -> {[offset], [Time]};
                       _ -> {[first, 'end'], [earliest, latest]}
                     end,
  brod_cli_cluster:with_client(Options, fun() ->
    brod_cli_output:rows(Options, [topic, partition | Columns],
                         [[Topic, P | [brod_cli_cluster:resolve(Topic, P, Time) || Time <- Times]]
                          || P <- brod_cli_cluster:partitions(Topic, Options)])
  end).
