%% @private Lets a fun be the callback of a topic subscriber.
-module(brod_topic_subscriber_cb_fun).
-behaviour(brod_topic_subscriber).

-export([init/2, handle_message/3]).

-include("brod_int.hrl").

init(_Topic, #cbm_init_data{committed_offsets = Offsets, cb_fun = Fun, cb_data = Data}) ->
  {ok, Offsets, {Fun, Data}}.

handle_message(Partition, Message, {Fun, Data}) ->
  case Fun(Partition, Message, Data) of
    {ok, ack, NewData} -> {ok, ack, {Fun, NewData}};
    {ok, NewData} -> {ok, {Fun, NewData}}
  end.
