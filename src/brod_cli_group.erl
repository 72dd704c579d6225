%% @private `brod consume --group': messages as a member of a consumer group, which commits those that were shown.
-module(brod_cli_group).
-behaviour(brod_group_subscriber_v2).

-export([consume/5]).
-export([init/2, handle_message/2, handle_info/2]).

-define(CLIENT, brod_cli).
%% What a group may wait for a member that is gone: Java's clients have five minutes.
-define(JOIN_MS, 360000).
-define(CHECK_MS, 5000).

%% @doc Call a function for messages of a topic, `Count' times with `shown' at most, or until none has come for so
%% long, the time apart that the group deals out its partitions. It answers whether it has `shown' a message or `passed' it over.
-spec consume(brod:topic(), binary(), pos_integer() | infinity, timeout(),
              fun((brod:partition(), brod:message()) -> shown | passed)) -> ok | {error, term()}.
consume(Topic, Group, Count, IdleMs, Fun) ->
  Ref = make_ref(),
  Config = #{client => ?CLIENT, group_id => Group, topics => [Topic], cb_module => ?MODULE, init_data => {self(), Ref},
             message_type => message, consumer_config => [{begin_offset, earliest}],
             %% Ctrl-C kills, and the next one waits for the session's end.
             group_config => [{session_timeout_seconds, 10}, {heartbeat_rate_seconds, 3}]},
  Trapped = process_flag(trap_exit, true),
  try brod:start_link_group_subscriber_v2(Config) of
    {ok, Member} ->
      Result = loop({Ref, Member, IdleMs}, Count, now_ms(), Fun),
      %% It commits, and leaves the group.
      _ = [[Worker ! {Ref, enough} || Worker <- maps:values(brod_group_subscriber_v2:get_workers(Member))] || Result =:= ok],
      ok = brod_group_subscriber_v2:stop(Member),
      Result;
    {error, _} = Error -> Error
  after
    process_flag(trap_exit, Trapped)
  end.

%% `Since' is when it had its partitions for the last time, or began.
loop(_Source, 0, _Since, _Fun) -> ok;
loop({Ref, Member, IdleMs} = Source, Left, Since, Fun) ->
  receive
    {'EXIT', Member, Reason} -> {error, Reason};
    {Ref, assigned} -> loop(Source, Left, now_ms(), Fun);
    {Ref, Worker, P, Message} ->
      Shown = Fun(P, Message),
      Worker ! {Ref, done},
      loop(Source, case {Shown, Left} of {shown, N} when is_integer(N) -> N - 1; _ -> Left end, now_ms(), Fun)
  after IdleMs ->
    %% A member that was killed holds the others up until its session has timed out.
    case brod_group_subscriber_v2:health_check(Member, ?CHECK_MS) of
      rebalancing ->
        case now_ms() - Since < ?JOIN_MS of
          true -> loop(Source, Left, Since, Fun);
          false -> {error, <<"the group deals out no partitions: see brod groups describe">>}
        end;
      _ -> ok
    end
  end.

now_ms() -> erlang:monotonic_time(millisecond).

%% @private
init(#{partition := P}, {Owner, Ref}) ->
  Owner ! {Ref, assigned},
  {ok, {Owner, Ref, P, monitor(process, Owner)}}.

%% @private What is not shown is not committed.
handle_message(_Message, enough) -> {ok, enough};
handle_message(Message, {Owner, Ref, P, Monitor} = State) ->
  Owner ! {Ref, self(), P, Message},
  receive
    {Ref, done} -> {ok, commit, State};
    {Ref, enough} -> {ok, enough};
    {'DOWN', Monitor, process, Owner, _} -> {ok, enough}
  end.

%% @private A worker that waits for its first messages.
handle_info({Ref, enough}, {_Owner, Ref, _P, _Monitor}) -> {noreply, enough};
handle_info(_, State) -> {noreply, State}.
