%% @doc Reads sets of messages, each partition in a process of its own.
-module(meter_reader).
-behaviour(brod_group_subscriber_v2).

-include_lib("brod/include/brod.hrl").

-export([init/2, handle_message/2]).
-export([report/2]).

%% @doc What a meter sends: the number of its meter as the key, so that its readings stay in order.
report(Meter, Reading) ->
  {ok, Topic} = application:get_env(meter, topic),
  brod:produce_sync(meter_client, Topic, hash, Meter, integer_to_binary(Reading)).

init(_Info, _InitData) -> {ok, nothing}.

handle_message(#kafka_message_set{messages = Messages}, State) ->
  ok = meter_sums:add([{Meter, binary_to_integer(Reading)} || #kafka_message{key = Meter, value = Reading} <- Messages]),
  {ok, commit, State}.
