%% @private `brod consume --group': messages as a member of a consumer group, which commits those that were shown.
-module(brod_cli_group).
-behaviour(brod_group_subscriber_v2).

-export([consume/5]).
-export([init/2, handle_message/2, handle_info/2]).

-define(CLIENT, brod_cli).

%% @doc Call a function for messages of a topic, `Count' times with `shown' at most, or until none has come for so
%% long. It answers whether it has `shown' a message or `passed' it over.
-spec consume(brod:topic(), binary(), pos_integer() | infinity, timeout(),
              fun((brod:partition(), brod:message()) -> shown | passed)) -> ok | {error, term()}.
consume(Topic, Group, Count, IdleMs, Fun) ->
  Ref = make_ref(),
  Config = #{client => ?CLIENT, group_id => Group, topics => [Topic], cb_module => ?MODULE, init_data => {self(), Ref},
             message_type => message, consumer_config => [{begin_offset, earliest}]},
  Trapped = process_flag(trap_exit, true),
  try brod:start_link_group_subscriber_v2(Config) of
    {ok, Member} ->
      Result = loop({Ref, Member}, Count, IdleMs, Fun),
      %% It commits, and leaves the group.
      _ = [[Worker ! {Ref, enough} || Worker <- maps:values(brod_group_subscriber_v2:get_workers(Member))] || Result =:= ok],
      ok = brod_group_subscriber_v2:stop(Member),
      Result;
    {error, _} = Error -> Error
  after
    process_flag(trap_exit, Trapped)
  end.

loop(_Source, 0, _IdleMs, _Fun) -> ok;
loop({Ref, Member} = Source, Left, IdleMs, Fun) ->
  receive
    {'EXIT', Member, Reason} -> {error, Reason};
    {Ref, Worker, P, Message} ->
      Shown = Fun(P, Message),
      Worker ! {Ref, done},
      loop(Source, case {Shown, Left} of {shown, N} when is_integer(N) -> N - 1; _ -> Left end, IdleMs, Fun)
  after IdleMs -> ok
  end.

%% @private
init(#{partition := P}, {Owner, Ref}) -> {ok, {Owner, Ref, P, monitor(process, Owner)}}.

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
