%% What is logged while a test runs.
-module(brod_log).

-export([start/0, stop/1, has/2, all/2, lines/1]).
-export([log/2]).

%% @doc Begins to keep what is logged, by whatever process, at level notice and above.
start() ->
  Id = list_to_atom("brod_log_" ++ integer_to_list(erlang:unique_integer([positive]))),
  Table = ets:new(?MODULE, [public, ordered_set]),
  ok = logger:add_handler(Id, ?MODULE, #{config => #{table => Table}, level => notice}),
  {Id, Table}.

stop({Id, Table}) ->
  ok = logger:remove_handler(Id),
  true = ets:delete(Table),
  ok.

%% @doc Whether a line with this text in it was logged.
has(Log, Text) -> all(Log, Text) =/= [].

%% @doc The lines with this text in them.
all({_Id, Table}, Text0) ->
  Text = unicode:characters_to_list(Text0),
  [Line || {_, Line} <- ets:tab2list(Table), string:find(Line, Text) =/= nomatch].

%% @doc Everything that was logged so far.
lines({_Id, Table}) -> [Line || {_, Line} <- ets:tab2list(Table)].

%% @private logger handler
log(Event, #{config := #{table := Table}}) ->
  Line = unicode:characters_to_list(logger_formatter:format(Event, #{single_line => true})),
  %% Who has found the handler before stop/1 may come to the table after it.
  try ets:insert(Table, {erlang:unique_integer([monotonic]), Line})
  catch error:badarg -> true
  end.
