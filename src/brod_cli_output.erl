%% @private What commands print: lines of columns, or a line of JSON each with `--json'.
-module(brod_cli_output).

-export([rows/3, print/2, write/1, note/1, colour/2, progress/2, step/2, finish/1, json/1, bytes/1, reason/1]).

-export_type([bar/0]).

-include_lib("kernel/include/file.hrl").

-define(BAR_MS, 200).
-define(BAR_WIDTH, 30).

-opaque bar() :: none | {string(), pos_integer() | unknown, non_neg_integer(), Start :: integer(), Shown :: integer()}.

%% @doc Print rows, each a list of values for the columns.
-spec rows(map(), [atom()], [[term()]]) -> ok.
rows(#{"json" := true}, Columns, Rows) ->
  lists:foreach(fun(Row) -> write([json(maps:from_list(lists:zip(Columns, Row))), "\n"]) end, Rows);
rows(_Options, Columns, Rows) ->
  Texts = [[string:uppercase(atom_to_list(C)) || C <- Columns] | [[text(V) || V <- Row] || Row <- Rows]],
  Widths = [lists:max([string:length(lists:nth(N, Line)) || Line <- Texts]) || N <- lists:seq(1, length(Columns))],
  lists:foreach(fun(Line) -> print("~ts~n", [string:trim(line(Line, Widths), trailing)]) end, Texts).

line(Line, Widths) ->
  lists:append([unicode:characters_to_list([string:pad(Text, Width), "  "]) || {Text, Width} <- lists:zip(Line, Widths)]).

text(V) when is_binary(V) -> unicode:characters_to_list(readable(V));
text(V) when is_atom(V) -> atom_to_list(V);
text(V) when is_integer(V) -> integer_to_list(V);
text(V) when is_float(V) -> float_to_list(V, [{decimals, 2}]);
text([]) -> "";
text(V) when is_list(V), is_integer(hd(V)) -> lists:flatten(lists:join(",", [integer_to_list(I) || I <- V]));
text(V) -> lists:flatten(io_lib:format("~0tp", [V])).

%% @doc Print text.
-spec print(io:format(), [term()]) -> ok.
print(Format, Args) -> write(unicode:characters_to_binary(io_lib:format(Format, Args))).

%% @doc Print bytes as they are. Nobody reads any more, as behind `| head'? Then the command ends. Into a file that takes no
%% more it fails.
-spec write(iodata()) -> ok.
write(Bytes) ->
  case file:write(standard_io, Bytes) of
    ok -> ok;
    {error, _} ->
      case is_reader_gone() of
        true -> throw(output_closed);
        false -> throw({failed, "the output cannot be written: is the disk full?"})
      end
  end.

%% Erlang does not tell what was wrong with the output; Linux tells what it is.
is_reader_gone() ->
  case file:read_file_info("/proc/self/fd/1") of
    {ok, #file_info{type = regular}} -> false;
    {ok, #file_info{type = device}} -> is_terminal(1);
    _ -> true
  end.

%% @doc Something for people, on the standard error.
-spec note(iodata()) -> ok.
note(Text) -> io:put_chars(standard_error, [Text, "\n"]).

%% @doc A text in a colour of ANSI's, where people see it.
-spec colour(string(), 30..37) -> string().
colour(Text, Colour) ->
  case is_terminal(1) andalso os:getenv("NO_COLOR", "") =:= "" andalso os:getenv("TERM", "dumb") =/= "dumb" of
    true -> lists:flatten(io_lib:format("\e[~bm~s\e[0m", [Colour, Text]));
    false -> Text
  end.

%% Erlang does not tell where it has no shell; Linux does.
is_terminal(Fd) ->
  case file:read_link("/proc/self/fd/" ++ integer_to_list(Fd)) of
    {ok, "/dev/pts/" ++ _} -> true;
    {ok, "/dev/tty" ++ _} -> true;
    {ok, "/dev/console"} -> true;
    _ -> false
  end.

%% @doc How far long work is, on the standard error where that is a terminal and the output is none: else the two would
%% mix, or fill a log.
-spec progress(string(), pos_integer() | unknown) -> bar().
progress(What, Total) ->
  case is_terminal(2) andalso (Total =/= unknown orelse not is_terminal(0)) of
    true -> Now = now_ms(), {What, Total, 0, Now, Now};
    false -> none
  end.

%% @doc So many more are done.
-spec step(bar(), non_neg_integer()) -> bar().
step(none, _More) -> none;
step({What, Total, Done, Start, Shown}, More) ->
  Now = now_ms(),
  case Now - Shown >= ?BAR_MS of
    true -> bar(What, Total, Done + More, Now - Start), {What, Total, Done + More, Start, Now};
    false -> {What, Total, Done + More, Start, Shown}
  end.

%% @doc All is done.
-spec finish(bar()) -> ok.
finish(none) -> ok;
finish({What, Total, Done, Start, _}) ->
  bar(What, Total, Done, now_ms() - Start),
  io:put_chars(standard_error, "\n").

bar(What, Total, Done, Ms) ->
  Rate = Done * 1000 div max(1, Ms),
  Line = case Total of
           unknown -> io_lib:format("~b ~s, ~b/s", [Done, What, Rate]);
           _ ->
             Full = min(?BAR_WIDTH, ?BAR_WIDTH * Done div max(1, Total)),
             io_lib:format("[~s~s] ~b of ~b ~s, ~b/s", [lists:duplicate(Full, $#), lists:duplicate(?BAR_WIDTH - Full, $.),
                                                         Done, Total, What, Rate])
         end,
  io:put_chars(standard_error, ["\r\e[K", Line]).

now_ms() -> erlang:monotonic_time(millisecond).

%% @doc A term as JSON. A text that is no UTF-8 becomes `base64:...', and one that starts so, too: {@link bytes/1} gives
%% back what it was.
-spec json(term()) -> iodata().
json(Term) -> brod_json:encode(plain(Term)).

plain(Map) when is_map(Map) -> maps:map(fun(_, V) -> plain(V) end, Map);
plain(List) when is_list(List) -> [plain(V) || V <- List];
plain(undefined) -> null;
plain(V) when is_atom(V); is_number(V) -> V;
plain(<<"base64:", _/binary>> = Bytes) -> base64(Bytes);
plain(Bytes) when is_binary(Bytes) -> readable(Bytes);
plain(Other) -> unicode:characters_to_binary(io_lib:format("~0tp", [Other])).

readable(Bytes) ->
  case unicode:characters_to_binary(Bytes) of
    Bytes -> Bytes;
    _ -> base64(Bytes)
  end.

base64(Bytes) -> <<"base64:", (base64:encode(Bytes))/binary>>.

%% @doc What {@link json/1} made a text of.
-spec bytes(binary()) -> binary().
bytes(<<"base64:", Text/binary>>) -> base64:decode(Text);
bytes(Text) -> Text.

%% @doc Why something failed, in words as far as there are some.
-spec reason(term()) -> iodata().
reason([{{_Host, _Port}, {_Reason, _Stack}} | _] = Failures) -> brod_connect_failure:describe(Failures);
reason({connection_down, {shutdown, Closed}}) when Closed =:= tcp_closed; Closed =:= ssl_closed ->
  ["a broker was reached, but ", brod_connect_failure:why(closed)];
reason(Reason) when is_binary(Reason) -> Reason;
reason({producer_not_found, Topic, Partition}) -> io_lib:format("~ts has no partition ~b", [Topic, Partition]);
reason({producer_down, {not_retriable, {produce_response_error, Topic, Partition, _, Code}}}) ->
  [io_lib:format("~ts, partition ~b: ", [Topic, Partition]), reason(Code)];
reason(invalid_topic_exception) ->
  "invalid_topic_exception: the name of a topic has letters, digits, dots, _ and -, and 249 of them at most";
reason({not_supported, Api, _Version}) -> io_lib:format("the broker knows no ~s", [Api]);
reason({Code, Text}) when is_atom(Code), is_binary(Text), Text =/= <<>> -> io_lib:format("~s: ~ts", [Code, Text]);
reason({Code, Text}) when is_atom(Code), Text =:= <<>> orelse Text =:= undefined -> atom_to_list(Code);
reason(Reason) -> io_lib:format("~0tp", [Reason]).
