%% @private What to say of a trouble that lasts: its first failure, one a minute while it goes on, and that it is over. Nothing
%% but counting: who fails logs.
-module(brod_trouble).

-export([fails/2, passes/1, before/2]).
-export([new/0, failed/3, passed/1]).

-export_type([trouble/0]).

-define(QUIET_MS, 60000).

-record(trouble,
        { told = #{} :: #{Why :: term() => {ToldAt :: integer(), Untold :: non_neg_integer()}}
        , failures = 0 :: non_neg_integer()
          %% so that somebody waits to hear of its end
        , is_told = false :: boolean()
        }).

-opaque trouble() :: #trouble{}.

%% @doc As {@link failed/3}, of something that the calling process does. It is kept beside the state of that process and not in it, as logger
%% keeps what lines are about: whether a line is due is no matter of what the process is for.
-spec fails(What :: term(), Why :: term()) -> {tell, non_neg_integer()} | quiet.
fails(What, Why) -> keep(What, failed(Why, erlang:monotonic_time(millisecond), kept(What))).

%% @doc As {@link passed/1}, of something that the calling process does.
-spec passes(What :: term()) -> {tell, pos_integer()} | quiet.
passes(What) -> keep(What, passed(kept(What))).

%% @doc What a line ends with that is due after so many of `What', such as "commit", were not told.
-spec before(Untold :: non_neg_integer(), What :: string()) -> iolist().
before(0, _What) -> [];
before(Untold, What) -> [" (and ", brod_logging:count(Untold, What), " before, since this was logged)"].

kept(What) ->
  case get({?MODULE, What}) of
    undefined -> new();
    Trouble -> Trouble
  end.

keep(What, {Due, Trouble}) ->
  _ = case Trouble =:= new() of
        true -> erase({?MODULE, What});
        false -> put({?MODULE, What}, Trouble)
      end,
  Due.

-spec new() -> trouble().
new() -> #trouble{}.

%% @doc It has failed again. `{tell, N}': a line is due, and N failures for this reason were not told since the last one. There
%% should be few reasons: each has its own minute.
-spec failed(Why :: term(), Now :: integer(), trouble()) -> {{tell, non_neg_integer()} | quiet, trouble()}.
failed(Why, Now, #trouble{told = Told, failures = Failures} = Trouble) ->
  More = Trouble#trouble{failures = Failures + 1},
  case Told of
    #{Why := {At, Untold}} when Now - At < ?QUIET_MS -> {quiet, More#trouble{told = Told#{Why := {At, Untold + 1}}}};
    #{Why := {_, Untold}} -> {{tell, Untold}, told(Why, Now, More)};
    #{} -> {{tell, 0}, told(Why, Now, More)}
  end.

told(Why, Now, #trouble{told = Told} = Trouble) ->
  Trouble#trouble{told = Told#{Why => {Now, 0}}, is_told = true}.

%% @doc It works. `{tell, N}': the trouble was told and is over, after N failures. When it was told is kept, so that what comes and goes
%% is told no more often than what stays.
-spec passed(trouble()) -> {{tell, pos_integer()} | quiet, trouble()}.
passed(#trouble{is_told = true, failures = Failures} = Trouble) ->
  {{tell, Failures}, Trouble#trouble{is_told = false, failures = 0}};
passed(Trouble) ->
  {quiet, Trouble#trouble{failures = 0}}.
