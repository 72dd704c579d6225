%% @doc Telemetry events. `telemetry' is no dependency: events are emitted where it is on the path.
-module(brod_metrics).

-export([produce_request_sent/3, produce_dropped/3, is_enabled/0]).

%% @doc Whether there is anybody to tell: the `telemetry' application is loaded, or can be.
-spec is_enabled() -> boolean().
is_enabled() ->
  erlang:function_exported(telemetry, execute, 3) orelse can_load().

%% Asked by every producer that starts; looking through the code path takes milliseconds.
can_load() ->
  case persistent_term:get(?MODULE, undefined) of
    undefined ->
      Loaded = code:ensure_loaded(telemetry) =:= {module, telemetry},
      ok = persistent_term:put(?MODULE, Loaded),
      Loaded andalso erlang:function_exported(telemetry, execute, 3);
    _Tried ->
      false
  end.

%% @doc Event `[brod, produce_request_sent]': `Measurements' is `#{count, bytes}', bytes counted as
%% key, value, headers and 8 per message, before compression. Again for each retry. Nothing happens where nobody is to be told.
-spec produce_request_sent(brod:topic(), brod:partition(),
                           #{count := non_neg_integer(), bytes := non_neg_integer()}) -> ok.
produce_request_sent(Topic, Partition, Measurements) ->
  execute(produce_request_sent, Measurements, #{topic => Topic, partition => Partition}).

%% @doc Event `[brod, produce_dropped]': so many calls of `produce_no_ack' were dropped, because more than
%% `buffer_bytes' are buffered. Nothing happens where nobody is to be told.
-spec produce_dropped(brod:topic(), brod:partition(), #{count := pos_integer()}) -> ok.
produce_dropped(Topic, Partition, Measurements) ->
  #{client := Client} = maps:merge(#{client => undefined}, process_metadata()),
  execute(produce_dropped, Measurements, #{client => Client, topic => Topic, partition => Partition}).

%% by apply/3, because the module may not exist
execute(Event, Measurements, Metadata) ->
  case is_enabled() of
    true -> apply(telemetry, execute, [[brod, Event], Measurements, Metadata]);
    false -> ok
  end.

process_metadata() ->
  case logger:get_process_metadata() of
    #{} = Metadata -> Metadata;
    undefined -> #{}
  end.
