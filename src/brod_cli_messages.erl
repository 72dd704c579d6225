%% @private `brod produce', `brod consume' and `brod offsets'.
-module(brod_cli_messages).

-export([produce/2, consume/2, offsets/2]).
-export([start_producer/2, start_producer/3, each/4, collect/3, settle/1]).
-export_type([calls/0]).
-export([message/3, format/2]).

-include("brod_int.hrl").

-define(CLIENT, brod_cli).
-define(UNSETTLED, 10000).
-define(PRODUCE_LIMIT_MS, 60000).
-define(NEW_TOPIC_MS, 200).
-define(NEW_TOPIC_TRIES, 50).
-define(IDLE_S, 5).

%% Those that wait for an answer, and how many they are.
-type calls() :: {non_neg_integer(), [brod:call_ref()]}.

%% @doc Produce the lines of files or of the standard input.
-spec produce(map(), [string()]) -> ok | {error, term()}.
produce(Options, Files) ->
  Topic = brod_cli_cluster:need_text("topic", Options),
  Headers = brod_cli_cluster:pairs("header", Options),
  maps:get("key-delimiter", Options, ":") =/= "" orelse throw({usage, "--key-delimiter is empty"}),
  Inputs = case Files of [] -> [standard_io]; _ -> [open(File) || File <- Files] end,
  brod_cli_cluster:with_client(Options, fun() ->
    ok = start_producer(?CLIENT, Topic),
    Send = fun(Line, {Acc, Bar}) ->
             Message = try message(Line, Headers, Options)
                       catch throw:{failed, Text} ->
                         %% What came before it is not lost.
                         ok = settle(Acc),
                         throw({failed, [Text, "; what came before it is stored"]})
                       end,
             {send(Topic, Message, Options, Acc), brod_cli_output:step(Bar, 1)}
           end,
    Start = {{0, []}, brod_cli_output:progress("messages", unknown)},
    {Calls, Bar} = lists:foldl(fun(Input, Acc) -> lines(Input, Send, Acc) end, Start, Inputs),
    ok = settle(Calls),
    brod_cli_output:finish(Bar)
  end).

%% @doc Start producers with brod's own options.
-spec start_producer(brod:client(), brod:topic()) -> ok.
start_producer(Client, Topic) -> start_producer(Client, Topic, []).

%% @doc Start producers of a topic, which may be new: the question creates it where brokers do that, and it has no leader
%% at once.
-spec start_producer(brod:client(), brod:topic(), brod:producer_config()) -> ok.
start_producer(Client, Topic, Config) -> start_producer(Client, Topic, Config, ?NEW_TOPIC_TRIES).

start_producer(Client, Topic, Config, Tries) ->
  case brod:start_producer(Client, Topic, Config) of
    {error, leader_not_available} when Tries > 1 ->
      timer:sleep(?NEW_TOPIC_MS),
      start_producer(Client, Topic, Config, Tries - 1);
    Result -> brod_cli_cluster:must(Result, Topic)
  end.

open(File) ->
  case file:open(brod_cli_cluster:text(File), [read, binary, {read_ahead, 65536}]) of
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

send(Topic, #{key := Key} = Message, Options, Calls) ->
  %% The partition that Java's clients take for the key.
  Partition = case Options of #{"partition" := P} -> P; _ -> murmur2 end,
  collect(brod:produce(?CLIENT, Topic, Partition, Key, Message), ?UNSETTLED, Calls).

%% @doc One more call of `brod:produce/5' among those that are not answered yet. When they are so many, they are waited for.
-spec collect({ok, brod:call_ref()} | {error, term()}, pos_integer(), calls()) -> calls().
collect(Sent, Most, {Count, Refs}) ->
  {ok, Ref} = brod_cli_cluster:must(Sent, "not sent"),
  case Count + 1 of
    Most -> ok = settle({Most, [Ref | Refs]}), {0, []};
    N -> {N, [Ref | Refs]}
  end.

%% @doc Wait for them.
-spec settle(calls()) -> ok.
settle({_Count, Refs}) ->
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
consume(#{"group" := _} = Options, _Words) ->
  Topic = brod_cli_cluster:need_text("topic", Options),
  Group = brod_cli_cluster:need_text("group", Options),
  [throw({usage, ["a group goes on where it was: no --", Name]}) || Name <- ["from", "partition"], is_map_key(Name, Options)],
  Match = match(Options),
  Idle = case Options of #{"follow" := true} -> infinity; _ -> 1000 * maps:get("idle", Options, ?IDLE_S) end,
  Show = fun(P, Message) ->
           case fits(Message, Match) of
             true -> ok = brod_cli_output:write(shown(Topic, P, Message, Options)), shown;
             false -> passed
           end
         end,
  brod_cli_cluster:with_client(Options, fun() ->
    brod_cli_group:consume(Topic, Group, maps:get("count", Options, infinity), Idle, Show)
  end);
consume(Options, _Words) ->
  Topic = brod_cli_cluster:need_text("topic", Options),
  brod_cli_cluster:with_client(Options, fun() ->
    none = each(Options, fun(P, Message, none) -> brod_cli_output:write(shown(Topic, P, Message, Options)), none end,
                none, fun(none) -> none end),
    ok
  end).

%% @doc Call a function with the messages that options name, one after the other, and another one whenever there may be none
%% for a while, and in the end. Needs the client.
-spec each(map(), fun((brod:partition(), brod:message(), Acc) -> Acc), Acc, fun((Acc) -> Acc)) -> Acc.
each(Options, Fun, Acc, Pause) ->
  Topic = brod_cli_cluster:need_text("topic", Options),
  Match = match(Options),
  From = maps:get("from", Options, "earliest"),
  Count = maps:get("count", Options, infinity),
  Starts = [{P, brod_cli_cluster:position(Topic, P, From)} || P <- brod_cli_cluster:partitions(Topic, Options)],
  Each = fun(P, Message, {Left, Now}) ->
           case fits(Message, Match) of
             true -> {less(Left), Fun(P, Message, Now)};
             false -> {Left, Now}
           end
         end,
  case Options of
    #{"follow" := true} -> follow(Topic, Starts, Each, {Count, Acc}, Pause);
    _ -> to_the_end(Topic, Starts, Each, {Count, Acc}, Pause)
  end.

match(#{"grep" := Pattern}) -> compiled(Pattern);
match(_Options) -> any.

fits(_Message, any) -> true;
fits(#kafka_message{value = Value}, Match) -> re:run(Value, Match) =/= nomatch.

compiled(Pattern) ->
  case re:compile(brod_cli_cluster:text(Pattern)) of
    {ok, Compiled} -> Compiled;
    {error, {Text, _}} -> throw({usage, ["--grep: ", Text]})
  end.

%% The end is the one there is now: who goes on producing must not keep it from ending.
to_the_end(Topic, Starts, Each, Begin, Pause) ->
  Ends = [{P, Offset, brod_cli_cluster:resolve(Topic, P, latest)} || {P, Offset} <- Starts],
  {_, Acc} = lists:foldl(fun({P, Offset, End}, {Left, _} = Now) when Offset < End, Left > 0 ->
                               {_, Next} = fold(Topic, {P, Offset}, Each, Now, 1000, #{reach_offset => End - 1}),
                               Next;
                            (_, Now) -> Now
                         end, Begin, Ends),
  Pause(Acc).

follow(_Topic, _Starts, _Each, {0, Acc}, Pause) -> Pause(Acc);
follow(Topic, Starts, Each, Begin, Pause) ->
  WaitMs = max(10, 500 div length(Starts)),
  {Next, {Left, Acc}} = lists:mapfoldl(fun(Start, {0, _} = Now) -> {Start, Now};
                                          (Start, Now) -> fold(Topic, Start, Each, Now, WaitMs, #{})
                                       end, Begin, Starts),
  follow(Topic, Next, Each, {Left, Pause(Acc)}, Pause).

%% As many messages as are left at most; where to go on, and what has become of it.
fold(Topic, {P, Offset}, Each, Begin, WaitMs, Limits) ->
  Show = fun(_Message, {0, _}) -> {error, enough};
            (Message, Now) -> {ok, Each(P, Message, Now)}
         end,
  case brod:fold(?CLIENT, Topic, P, Offset, #{max_wait_time => WaitMs}, Begin, Show, Limits) of
    {_, At, {Failed, Reason}} when Failed =:= fetch_failure; Failed =:= error ->
      throw({failed, [Topic, io_lib:format(" ~b at ~b: ", [P, At]), brod_cli_output:reason(Reason)]});
    {Now, Next, _} -> {{P, Next}, Now}
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
