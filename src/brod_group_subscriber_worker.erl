%% @private The worker of {@link brod_group_subscriber_v2} for one partition: a topic subscriber
%% with one partition, whose callbacks are those of the user's module.
-module(brod_group_subscriber_worker).
-behaviour(brod_topic_subscriber).

-export([init/2, handle_message/3, handle_info/2, terminate/2, hooks/0]).
-export([handle_former/3, goes_back/1]).

-include("brod_int.hrl").

-export_type([start_options/0]).

-type start_options() ::
        #{group_id := brod:group_id(),
          partition := brod:partition(),
          begin_offset := undefined | brod_subscriptions:begin_offset(),
          cb_module := module(),
          cb_config := term(),
          tracker := brod_group_acks:tracker()}.

-record(st, {cb_module, cb_state, tracker}).

init(Topic, #{group_id := GroupId, partition := Partition, begin_offset := BeginOffset,
              cb_module := CbModule, cb_config := CbConfig, tracker := Tracker}) ->
  Info = #{group_id => GroupId,
           topic => Topic,
           partition => Partition,
           commit_fun => brod_closures:commit(Tracker, self(), Partition),
           ack_fun => brod_closures:ack(self(), Partition)},
  {ok, CbState} = CbModule:init(Info, CbConfig),
  Begin = [{Partition, {begin_offset, BeginOffset}} || BeginOffset =/= undefined],
  {ok, Begin, #st{cb_module = CbModule, cb_state = CbState, tracker = Tracker}}.

handle_message(_Partition, Message, #st{cb_module = CbModule, cb_state = CbState} = St) ->
  case CbModule:handle_message(Message, CbState) of
    {ok, commit, NewCbState} ->
      ok = brod_group_acks:put(St#st.tracker, last_offset(Message)),
      {ok, ack, St#st{cb_state = NewCbState}};
    {ok, ack, NewCbState} ->
      {ok, ack, St#st{cb_state = NewCbState}};
    {ok, NewCbState} ->
      {ok, St#st{cb_state = NewCbState}};
    Other ->
      brod_args:raise({bad_answer, {CbModule, handle_message, 2}, Other},
                      "{ok, commit, State}, {ok, ack, State} or {ok, State} of " ++ atom_to_list(CbModule) ++ ":handle_message/2", Other)
  end.

%% @doc What a worker does beside the callbacks of a topic subscriber. That a client was stopped its group subscriber tells, once for
%% all workers: they end quietly.
-spec hooks() -> brod_topic_subscriber:hooks().
hooks() ->
  #{handle_former => fun ?MODULE:handle_former/3, goes_back => fun ?MODULE:goes_back/1, client_down => {shutdown, client_down}}.

%% @private A message of a log that is another one by now: it is not committed.
-spec handle_former(brod:partition(), brod:message() | brod:message_set(), #st{}) -> brod_topic_subscriber:cb_ret().
handle_former(Partition, Message, #st{tracker = Tracker} = St) ->
  Handled = handle_message(Partition, Message, St#st{tracker = brod_group_acks:tracker()}),
  setelement(tuple_size(Handled), Handled, (element(tuple_size(Handled), Handled))#st{tracker = Tracker}).

%% @private What was acknowledged of the former log is not committed either.
-spec goes_back(#st{}) -> ok.
goes_back(#st{tracker = Tracker}) -> brod_group_acks:forget(Tracker).

handle_info({_Consumer, #kafka_fetch_error{error_code = offset_out_of_range}} = Info, #st{tracker = Tracker} = St) ->
  %% Before the callback, which may commit where it goes on.
  ok = brod_group_acks:forget(Tracker),
  told(Info, St);
handle_info(Info, St) ->
  told(Info, St).

told(Info, #st{cb_module = CbModule, cb_state = CbState} = St) ->
  {noreply, NewCbState} =
    brod_utils:optional_callback(CbModule, handle_info, [Info, CbState], {noreply, CbState}),
  {noreply, St#st{cb_state = NewCbState}}.

terminate(Reason, #st{cb_module = CbModule, cb_state = CbState}) ->
  brod_utils:optional_callback(CbModule, terminate, [Reason, CbState], ok).

last_offset(#kafka_message{offset = Offset}) -> Offset;
last_offset(#kafka_message_set{messages = Messages}) ->
  #kafka_message{offset = Offset} = lists:last(Messages),
  Offset.
