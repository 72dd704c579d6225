%% @doc Telemetry: the events that brod emits where the application `telemetry' is there. It is no dependency;
%% without it nothing is emitted and nothing is measured for it.
%%
%% The engine counts once a request, a batch or a delivery, never once a message. What is marked *sampled* below is
%% told by a process that reads those counters every `telemetry_interval_ms' milliseconds (environment of the application
%% brod, 5000; 0: never), once for each thing that has changed, with the difference since the last time. The rest is
%% told when it happens, or, for what the engine notices, at the next sample. Times are in microseconds unless the name
%% says otherwise. A handler that raises is detached by `telemetry' as always.
%%
%% Metadata of all events but brod's own `produce_request_sent': `client', the client's id. What happens in a process that has
%% no client's name has `undefined'.
%%
%% <h3>Connections</h3>
%% <dl>
%% <dt>`[brod, client, connect]'</dt><dd>A connection can be used. `#{duration}'; `#{broker}', as `<<"host:port">>'.</dd>
%% <dt>`[brod, client, connect_failed]'</dt><dd>No connection could be made; of each endpoint where a client ends for that.
%% `#{count}'; `#{broker, reason}', a text.</dd>
%% <dt>`[brod, client, disconnect]'</dt><dd>A connection has ended. `#{count}'; `#{broker, reason, expected}'. Those
%% that the client itself closes because it does not need them any more, such as idle ones, are `expected'.</dd>
%% <dt>`[brod, client, authenticate]'</dt><dd>The broker has accepted the credentials, also when a session was renewed.
%% `#{count}'; `#{broker, mechanism}'.</dd>
%% <dt>`[brod, client, authentication_failed]'</dt><dd>`#{count}'; `#{broker, reason}'.</dd>
%% <dt>`[brod, client, throttle]'</dt><dd>A broker has asked for a pause. `#{duration_ms}'; `#{broker}'.</dd>
%% <dt>`[brod, client, rebootstrap]'</dt><dd>The client went back to the endpoints that it was started with.
%% `#{count}'; no more metadata.</dd>
%% <dt>`[brod, client, engine_defect]'</dt><dd>A task of the engine has failed and the client starts anew: please report
%% it. `#{count}'; `#{task}'.</dd>
%% <dt>`[brod, request]' (sampled)</dt><dd>Requests of one API to one broker. `#{count, bytes_sent, bytes_received,
%% duration}', the duration of all together; `#{broker, api, latency}', where `latency' is `[{UpperBound | infinity,
%% Count}]'.</dd>
%% </dl>
%% <h3>Producing</h3>
%% <dl>
%% <dt>`[brod, produce, batches]' (sampled)</dt><dd>Of one partition. `#{sent, acked, failed, retried}' in batches,
%% `#{records, bytes}' of those sent; `#{topic, partition}'.</dd>
%% <dt>`[brod, produce, buffer]' (sampled)</dt><dd>How full a partition's buffer is, as long as it is not empty, and once
%% when it is again. `#{buffered_calls, in_flight_batches, waiting_callers}'; `#{topic, partition}'.</dd>
%% <dt>`[brod, produce_request_sent]'</dt><dd>brod's own event. `#{count, bytes}'; `#{topic, partition}'.</dd>
%% <dt>`[brod, produce_dropped]'</dt><dd>Calls of `produce_no_ack' that were dropped. `#{count}'; `#{topic,
%% partition}'.</dd>
%% </dl>
%% <h3>Consuming</h3>
%% <dl>
%% <dt>`[brod, consume, fetched]' (sampled)</dt><dd>Of one partition. `#{fetches, bytes, pauses, errors}'; `#{topic,
%% partition}'. A pause is a window that was full, or a consumer that was told to pause.</dd>
%% <dt>`[brod, consume, delivered]' (sampled)</dt><dd>`#{records, bytes}'; `#{topic, partition}'.</dd>
%% <dt>`[brod, consume, lag]' (sampled)</dt><dd>Told each time, changed or not. `#{lag, position, high_watermark,
%% pending_count}', without `position' where nobody reads the partition; `#{topic, partition}'.</dd>
%% </dl>
%% <h3>Groups</h3>
%% Metadata of all: `#{group}'.
%% <dl>
%% <dt>`[brod, group, join]'</dt><dd>A member joins, or joins again. `#{topics}', how many.</dd>
%% <dt>`[brod, group, assigned]'</dt><dd>`#{partitions, generation}'; `#{member_id, leader}'.</dd>
%% <dt>`[brod, group, revoked]'</dt><dd>The generation ends. `#{count}'; `#{reason}'.</dd>
%% <dt>`[brod, group, heartbeat_failed]'</dt><dd>No heartbeat got through, or one was refused with more than a rebalance.
%% `#{count}'; `#{reason}'.</dd>
%% <dt>`[brod, group, retrying]'</dt><dd>A join did not go through. `#{attempt}'; `#{reason}'.</dd>
%% <dt>`[brod, group, commit]'</dt><dd>A commit is answered. `#{partitions, failed}'; `#{result}'.</dd>
%% </dl>
%% <h3>Transactions</h3>
%% Metadata of all: `#{transactional_id, result}'.
%% <dl>
%% <dt>`[brod, transaction, begin]', `[brod, transaction, commit]', `[brod, transaction, abort]'</dt>
%% <dd>`#{count}'.</dd>
%% </dl>
-module(brod_telemetry).

-export([events/0, is_enabled/0, execute/3, happened/3, committed/3, recent/1, counters/0, forget_gone/2]).

-include("brod_int.hrl").

-type gone() :: #{Labels :: map() => {Sum :: pos_integer(), Since :: integer()}}.

-export_type([gone/0]).

-define(KEPT, 200).
%% Counters outlive their client and their group so long: a client that failed comes again, and the last numbers are yet to be read.
-define(GONE_MS, 600000).

%% @doc All events, for `telemetry:attach_many/4'.
-spec events() -> [[atom(), ...]].
events() ->
  [[brod | Name] ||
    Name <- [[client, connect], [client, connect_failed], [client, disconnect], [client, authenticate],
             [client, authentication_failed], [client, throttle], [client, rebootstrap], [client, engine_defect],
             [request], [produce, batches], [produce, buffer], [produce_request_sent], [produce_dropped],
             [consume, fetched], [consume, delivered], [consume, lag],
             [group, join], [group, assigned], [group, revoked], [group, heartbeat_failed], [group, retrying],
             [group, commit], [transaction, 'begin'], [transaction, commit], [transaction, abort]]].

%% @private Whether there is anybody to tell.
-spec is_enabled() -> boolean().
is_enabled() -> brod_metrics:is_enabled().

%% @private Emits an event, where there is anybody to tell.
-spec execute([atom(), ...], map(), map()) -> ok.
execute(Name, Measurements, Metadata) ->
  case is_enabled() of
    %% by apply/3, because the module may not exist
    true -> apply(telemetry, execute, [[brod | Name], Measurements, Metadata]);
    false -> ok
  end.

%% @private As {@link execute/3}, for what happens seldom: it is also counted, and remembered for a while. What it is
%% about is completed by what the calling process' log lines are about.
-spec happened([atom(), ...], map(), map()) -> ok.
happened(Name, Measurements, Metadata0) ->
  About = case logger:get_process_metadata() of
            #{} = Process -> maps:with([client, group, transactional_id], Process);
            undefined -> #{}
          end,
  Metadata = maps:merge(maps:merge(#{client => undefined}, About), Metadata0),
  _ = try
    Labels = maps:with([client, group], Metadata),
    _ = ets:update_counter(?BROD_JOURNAL, {counter, Name, Labels}, 1, {x, 0}),
    is_news(Name, Metadata) andalso remember({Name, Measurements, Metadata})
  catch
    %% the application does not run
    error:badarg -> true
  end,
  execute(Name, Measurements, Metadata).

%% What goes well all the time is none.
is_news([group, commit], #{result := ok}) -> false;
is_news([transaction, _], #{result := ok}) -> false;
is_news(_Name, _Metadata) -> true.

remember({Name, Measurements, Metadata}) ->
  Number = ets:update_counter(?BROD_JOURNAL, last, 1, {last, 0}),
  Row = {{event, Number}, erlang:system_time(millisecond), Name, Measurements, Metadata},
  true = ets:insert(?BROD_JOURNAL, Row),
  ets:delete(?BROD_JOURNAL, {event, Number - ?KEPT}).

%% @private A group's commit is answered. It is counted, and remembered where it failed.
-spec committed(non_neg_integer(), non_neg_integer(), ok | {error, term()}) -> ok.
committed(Partitions, Failed, Result) ->
  happened([group, commit], #{partitions => Partitions, failed => Failed}, #{result => Result}).

%% @private The last events that happened, of one client or of all, the oldest first.
-spec recent(all | brod:client_id()) -> [#{at_ms := integer(), event := [atom()], measurements := map(), metadata := map()}].
recent(Client) ->
  Rows = try ets:match_object(?BROD_JOURNAL, {{event, '_'}, '_', '_', '_', '_'}) catch error:badarg -> [] end,
  [#{at_ms => At, event => Name, measurements => Measurements, metadata => Metadata}
   || {_, At, Name, Measurements, #{client := Of} = Metadata} <- lists:sort(Rows), Client =:= all orelse Of =:= Client].

%% @private How often what is told by {@link happened/3} has happened.
-spec counters() -> [{Name :: [atom()], Labels :: map(), pos_integer()}].
counters() ->
  Rows = try ets:match_object(?BROD_JOURNAL, {{counter, '_', '_'}, '_'}) catch error:badarg -> [] end,
  [{Name, Labels, Count} || {{counter, Name, Labels}, Count} <- Rows].

%% @private Counters of clients and groups that ended long ago are dropped: names of groups may be made up for each start of a
%% program. Takes and returns what is known to be gone, with its counters' sum, and since when (in ms) that is so; to be called
%% from time to time.
-spec forget_gone(gone(), integer()) -> gone().
forget_gone(Known, Now) ->
  Groups = maps:from_list([{Group, []} || Group <- brod_group_members:groups()]),
  Sums = lists:foldl(fun({_, Labels, Count}, Sums) -> Sums#{Labels => Count + maps:get(Labels, Sums, 0)} end, #{}, counters()),
  Gone = maps:filter(fun(Labels, _) -> is_gone(Labels, Groups) end, Sums),
  maps:filter(fun(Labels, {_, Since}) -> Now - Since < ?GONE_MS orelse forget(Labels) end,
              maps:map(fun(Labels, Sum) -> since(maps:get(Labels, Known, none), Sum, Now) end, Gone)).

%% A member that is in no generation yet, however long it tries, is not in the list of members. But it counts.
since({Sum, Since}, Sum, _Now) -> {Sum, Since};
since(_, Sum, Now) -> {Sum, Now}.

is_gone(#{client := Client, group := Group}, Groups) ->
  not is_map_key({Client, Group}, Groups) orelse is_gone(Client);
is_gone(#{client := Client}, _Groups) ->
  is_gone(Client).

is_gone(undefined) -> false;
is_gone(Client) when is_atom(Client) -> whereis(Client) =:= undefined;
is_gone(Client) when is_pid(Client), node(Client) =:= node() -> not is_process_alive(Client);
is_gone(_) -> false.

%% Nothing of it stays: false.
forget(Labels) ->
  _ = try ets:match_delete(?BROD_JOURNAL, {{counter, '_', Labels}, '_'})
      catch error:badarg -> true
      end,
  false.
