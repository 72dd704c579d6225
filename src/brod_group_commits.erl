%% @private The commits of a group member: what is acknowledged, what of it is on its way to Kafka,
%% and who waits for that. The engine sees to the order. Part of the coordinator's state.
%%
%% Whoever waits for a commit is a term of the coordinator's own; functions that may end a wait
%% return those that have waited, with the outcome.
-module(brod_group_commits).

-export([new/1, begin_generation/3, end_generation/1, generation/1, ack/3, track/4, ack_all/2]).
-export([commit/2, reply/3, farewell/2, summary/1, is_lost/1]).

-export_type([commits/0, waiter/0, waited/0]).

-include("brod_int.hrl").

-define(TIMEOUT_MS, 5000).

-type waiter() :: gen_server:from() | rejoin.
-type waited() :: [{waiter(), ok | {error, term()}}].

%% A commit that is under way, and who waits for it and all before it.
-record(commit, {ref :: reference(),
                 generation :: brod:group_generation_id(),
                 offsets :: #{brod_group_acks:tp() => brod:offset()},
                 waiting :: [waiter()]}).

-record(commits, {policy :: commit_to_kafka_v2 | consumer_managed,
                  handle :: term(),
                  %% undefined between generations
                  generation :: undefined | brod:group_generation_id(),
                  acks = brod_group_acks:new() :: brod_group_acks:acks(),
                  %% the newest first; answered in the order they were sent in
                  under_way = [] :: [#commit{}]}).

-opaque commits() :: #commits{}.

-spec new(commit_to_kafka_v2 | consumer_managed) -> commits().
new(Policy) -> #commits{policy = Policy}.

%% @doc Acks count for this generation from now on.
-spec begin_generation(term(), brod:group_generation_id(), commits()) -> commits().
begin_generation(Handle, Generation, Commits) ->
  Commits#commits{handle = Handle, generation = Generation, acks = brod_group_acks:new()}.

%% @doc What was not committed is forgotten: it belongs to another member by now.
-spec end_generation(commits()) -> commits().
end_generation(Commits) ->
  Commits#commits{handle = undefined, generation = undefined, acks = brod_group_acks:new()}.

-spec generation(commits()) -> undefined | brod:group_generation_id().
generation(#commits{generation = Generation}) -> Generation.

%% @doc Notes an ack, unless it is of another generation.
-spec ack(brod:group_generation_id(), {brod_group_acks:tp(), brod:offset()}, commits()) ->
        commits().
ack(Generation, Ack, #commits{generation = Generation} = Commits) -> ack_all([Ack], Commits);
ack(_Generation, _Ack, Commits) -> Commits.

-spec track(brod:group_generation_id(), brod_group_acks:tp(), brod_group_acks:tracker(),
            commits()) -> commits().
track(Generation, TP, Tracker, #commits{generation = Generation, acks = Acks} = Commits) ->
  Commits#commits{acks = brod_group_acks:track(TP, Tracker, Acks)};
track(_Generation, _TP, _Tracker, Commits) -> Commits.

-spec ack_all([{brod_group_acks:tp(), brod:offset()}], commits()) -> commits().
ack_all(New, #commits{acks = Acks} = Commits) ->
  Ack = fun({TP, Offset}, Acc) -> brod_group_acks:ack(TP, Offset, Acc) end,
  Commits#commits{acks = lists:foldl(Ack, Acks, New)}.

%% @doc Commits what was acknowledged since the last time; `Waiting' are told when that is done, and
%% all that was to be committed before.
-spec commit([waiter()], commits()) -> {waited(), commits()}.
commit(Waiting, #commits{generation = Generation, under_way = UnderWay} = Commits) ->
  case {take(Commits), UnderWay} of
    {{nothing, Rest}, []} ->
      {[{Waiter, ok} || Waiter <- Waiting], Rest};
    {{nothing, Rest}, [Newest | Older]} ->
      Joined = Newest#commit{waiting = Waiting ++ Newest#commit.waiting},
      {[], Rest#commits{under_way = [Joined | Older]}};
    {{nowhere, Rest}, _} ->
      {[{Waiter, {error, not_a_member}} || Waiter <- Waiting], Rest};
    {{Offsets, Rest}, _} ->
      Commit = #commit{ref = send(Offsets, Commits), generation = Generation, offsets = Offsets,
                       waiting = Waiting},
      {[], Rest#commits{under_way = [Commit | UnderWay]}}
  end.

%% @doc Takes an answer of the engine; `unknown' when it is not to a commit.
-spec reply(reference(), term(), commits()) -> {waited(), commits()} | unknown.
reply(Ref, Result, #commits{under_way = UnderWay} = Commits) ->
  case lists:keytake(Ref, #commit.ref, UnderWay) of
    {value, Commit, Others} -> done(Result, Commit, Commits#commits{under_way = Others});
    false -> unknown
  end.

%% @doc What may be shown of the commits.
-spec summary(commits()) -> map().
summary(#commits{generation = Generation, under_way = UnderWay, acks = Acks}) ->
  #{generation => Generation, under_way => length(UnderWay), acks => brod_group_acks:summary(Acks)}.

done(Result, #commit{offsets = Offsets, generation = Generation} = Commit, Commits) ->
  {Outcome, Failed} = outcome(Result, Offsets),
  ok = brod_telemetry:committed(map_size(Offsets), map_size(Failed), Outcome),
  Again = to_be_tried_again(Result, Failed),
  ok = tell(Result, map_size(Failed), Generation =:= Commits#commits.generation, map_size(Again) > 0),
  Waited = [{Waiter, Outcome} || Waiter <- Commit#commit.waiting],
  {Waited, give_back(Again, Generation, Commits)}.

%% Whoever acks a partition that is not the member's may have made it up: refused once, it would be refused for as long as the
%% generation lasts, and each commit with it.
to_be_tried_again({partial, _}, Failed) -> maps:with(brod_group_members:assigned(), Failed);
to_be_tried_again(_Result, Failed) -> Failed.

tell(Result, Failed, IsCurrent, IsTriedAgain) ->
  case why(Result) of
    ok -> line(brod_trouble:passes(?MODULE), ok, Failed, nothing);
    Why -> line(brod_trouble:fails(?MODULE, Why), Why, Failed, what_follows(IsCurrent andalso not is_lost(Why), IsTriedAgain))
  end.

what_follows(true, true) -> "the next commit takes them along";
what_follows(true, false) -> "they were not assigned to this member";
what_follows(false, _) -> "the partitions were dealt out anew meanwhile, so the last messages may be handled again".

line(quiet, _Why, _Failed, _Follows) ->
  ok;
line({tell, Failures}, ok, _Failed, _Follows) ->
  ?BROD_LOG(notice, "group coordinator ~p: offsets are committed again; ~ts had failed", [self(), brod_logging:count(Failures, "commit")]);
line({tell, Untold}, Why, Failed, Follows) ->
  ?BROD_LOG_WARNING("group coordinator ~p: offsets of ~ts could not be committed: ~ts; ~ts~ts",
                    [self(), brod_logging:count(Failed, "partition"), words(Why), Follows, brod_trouble:before(Untold, "commit")]).

%% @doc Whether a broker's answer to a commit, or to one of a transaction, means that the member's generation is over: it may tell of
%% that by such an answer first.
-spec is_lost(term()) -> boolean().
is_lost([_ | _] = Codes) -> lists:any(fun is_lost/1, Codes);
is_lost(Code) -> lists:member(Code, [illegal_generation, unknown_member_id, fenced_instance_id]).

why(ok) -> ok;
why({error, Reason}) -> Reason;
why({partial, []}) -> ok;
why({partial, Refused}) -> lists:usort([Code || {_, _, Code} <- Refused]).

words(timeout) -> io_lib:format("no answer within ~b ms", [?TIMEOUT_MS]);
words([Code]) -> words(Code);
words(Reason) -> io_lib:format("~0P", [Reason, 12]).

%% Offsets that a later commit goes beyond are none of ours any more.
give_back(Failed, Generation, #commits{generation = Generation, acks = Acks} = Commits) ->
  Later = lists:append([maps:keys(Offsets) || #commit{offsets = Offsets} <- Commits#commits.under_way]),
  Commits#commits{acks = brod_group_acks:give_back(maps:without(Later, Failed), Acks)};
give_back(_Failed, _Generation, Commits) ->
  Commits.

outcome(ok, _Offsets) -> {ok, #{}};
outcome({error, _} = Error, Offsets) -> {Error, Offsets};
outcome({partial, Refused}, Offsets) ->
  {{error, Refused}, maps:with([{T, P} || {T, P, _Code} <- Refused], Offsets)}.

%% @doc The last words: what is in the trackers, and commits that are still under way. Waits for the
%% answers, each at most `TimeoutMs'.
-spec farewell(non_neg_integer(), commits()) -> ok.
farewell(TimeoutMs, Commits) ->
  {_, Last} = commit([], Commits),
  await(TimeoutMs, Last).

await(_TimeoutMs, #commits{under_way = []}) ->
  ok;
await(TimeoutMs, #commits{under_way = UnderWay} = Commits) ->
  #commit{ref = Ref} = lists:last(UnderWay),
  receive
    {brod_reply, Ref, Result} ->
      {Waited, Now} = reply(Ref, Result, Commits),
      _ = [gen_server:reply(From, Outcome) || {From, Outcome} <- Waited, From =/= rejoin],
      await(TimeoutMs, Now)
  after TimeoutMs ->
    ?BROD_LOG_WARNING("group coordinator ~p: the last commit was not answered", [self()])
  end.

take(#commits{acks = Acks, policy = Policy, handle = Handle} = Commits) ->
  {Offsets, Rest} = brod_group_acks:take(Acks),
  Taken = Commits#commits{acks = Rest},
  if
    map_size(Offsets) =:= 0; Policy =:= consumer_managed -> {nothing, Taken};
    Handle =:= undefined -> {nowhere, Taken};
    true -> {Offsets, Taken}
  end.

send(Offsets, #commits{handle = Handle, generation = Generation}) ->
  Metadata = iolist_to_binary(io_lib:format("+1/~p/~p", [node(), self()])),
  OnWire = [{T, P, Offset + 1, Metadata} || {{T, P}, Offset} <- maps:to_list(Offsets)],
  brod_nif:group_commit(Handle, Generation, OnWire, ?TIMEOUT_MS).
