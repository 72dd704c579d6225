%% @doc Metrics of all clients of this node in Prometheus' text format.
%%
%% {@link scrape/0} is all that a handler of any web server needs:
%%
%% ```
%% get("/metrics", _Request) ->
%%   {200, [{"content-type", brod_prometheus:content_type()}], brod_prometheus:scrape()}.
%% '''
%%
%% {@link start/1} is a handler on a port of its own, for a node that has no web server.
%% `docs/grafana-dashboard.json' is a dashboard for these metrics.
-module(brod_prometheus).

-export([scrape/0, content_type/0, start/1, stop/1]).

%% @doc All metrics, as of now. Reads counters only; brokers are not asked.
-spec scrape() -> iodata().
scrape() ->
  Stats = [{Id, Stats} || {Id, Pid} <- brod_stats:clients(), {ok, Stats} <- [safe_stats(Pid)]],
  Brokers = [{[{client, Id}, {broker, brod_stats:name(B)}], B} || {Id, #{brokers := Bs}} <- Stats, B <- Bs],
  Apis = [{Labels ++ [{api, Api}], A} || {Labels, #{apis := As}} <- Brokers, #{api := Api} = A <- As],
  Producers = parts(producers, Stats),
  Consumers = parts(consumers, Stats),
  Bounds = case Stats of [{_, #{bounds_us := B}} | _] -> B; [] -> [] end,
  [ each(Brokers, connections, gauge, "broker_connections", "Open connections to a broker")
  , each(Brokers, connects, counter, "broker_connects_total", "Connections made to a broker")
  , each(Brokers, connect_failures, counter, "broker_connect_failures_total", "Connections that could not be made")
  , each(Brokers, disconnects, counter, "broker_disconnects_total", "Connections that were lost")
  , each(Brokers, closes, counter, "broker_closes_total", "Connections that the client closed, such as idle ones")
  , each(Brokers, authentication_failures, counter, "broker_authentication_failures_total", "Credentials refused by a broker")
  , each(Brokers, bytes_sent, counter, "broker_sent_bytes_total", "Bytes sent to a broker")
  , each(Brokers, bytes_received, counter, "broker_received_bytes_total", "Bytes received from a broker")
  , each(Brokers, throttles, counter, "broker_throttles_total", "Answers that asked for a pause")
  , histogram(Apis, Bounds)
  , each(Producers, batches_sent, counter, "producer_batches_sent_total", "Batches sent, retries counted again")
  , each(Producers, batches_acked, counter, "producer_batches_acked_total", "Batches that brokers have stored")
  , each(Producers, batches_failed, counter, "producer_batches_failed_total", "Batches whose callers were told an error")
  , each(Producers, batches_retried, counter, "producer_batches_retried_total", "Batches that were to be sent again")
  , each(Producers, records_sent, counter, "producer_records_sent_total", "Messages sent, retries counted again")
  , each(Producers, bytes_sent, counter, "producer_sent_bytes_total", "Bytes of batches sent")
  , each(Producers, buffered_calls, gauge, "producer_buffered_calls", "Calls that wait to be sent")
  , each(Producers, in_flight_batches, gauge, "producer_in_flight_batches", "Batches sent and not answered")
  , each(Producers, waiting_callers, gauge, "producer_waiting_callers", "Callers held up by a full buffer")
  , each(Consumers, lag, gauge, "consumer_lag", "Messages between what is acked and the partition's end")
  , each(Consumers, position, gauge, "consumer_position", "The offset that is fetched next")
  , each(Consumers, records, counter, "consumer_records_total", "Messages delivered to subscribers")
  , each(Consumers, bytes, counter, "consumer_delivered_bytes_total", "Bytes of keys and values delivered")
  , each(Consumers, bytes_fetched, counter, "consumer_fetched_bytes_total", "Bytes of batches fetched")
  , each(Consumers, fetches, counter, "consumer_fetches_total", "Answers to fetches")
  , each(Consumers, pauses, counter, "consumer_pauses_total", "Times fetching stopped at a full window or was paused")
  , each(Consumers, errors, counter, "consumer_errors_total", "Errors that stopped a consumer")
  , each(Consumers, pending_count, gauge, "consumer_pending_messages", "Messages delivered and not acked")
  , events([Id || {Id, _} <- Stats])
  ].

%% @doc The content type of {@link scrape/0}.
-spec content_type() -> string().
content_type() -> "text/plain; version=0.0.4; charset=utf-8".

%% @doc Serve `/metrics' on a port, on the loopback interface unless `ip' says otherwise. Port 0 is any free one. Answers
%% with the port. The server is linked to nothing and ends with {@link stop/1}.
-spec start(#{port => inet:port_number(), ip => inet:ip_address()}) ->
        {ok, pid(), inet:port_number()} | {error, term()}.
start(Options) ->
  brod_http:start(Options, fun("/metrics") -> {200, content_type(), scrape()};
                              (_Path) -> not_found
                           end).

%% @doc Stop what {@link start/1} has started.
-spec stop(pid()) -> ok.
stop(Server) -> brod_http:stop(Server).

safe_stats(Pid) ->
  try brod_stats:stats(Pid) catch exit:Reason -> {error, Reason} end.

parts(Kind, Stats) ->
  [{[{client, Id}, {topic, Topic}, {partition, Partition}], Part}
   || {Id, Of} <- Stats, #{topic := Topic, partition := Partition} = Part <- maps:get(Kind, Of)].

each(All, Key, Type, Name, Help) ->
  metric(Type, Name, Help, [{"", Labels, Value} || {Labels, #{Key := Value}} <- All, is_integer(Value)]).

histogram(Apis, Bounds) ->
  Rows = [bucket_rows(Labels, Buckets, Bounds, Sum)
          || {Labels, #{latency_buckets := Buckets, latency_sum_us := Sum}} <- Apis],
  metric(histogram, "request_duration_seconds", "From a request to the whole of its response", lists:append(Rows)).

bucket_rows(Labels, Buckets, Bounds, Sum) ->
  {Rows, Count} = lists:mapfoldl(fun({Bound, N}, Before) ->
                                   {{"_bucket", Labels ++ [{le, Bound}], Before + N}, Before + N}
                                 end, 0, lists:zip([seconds(B) || B <- Bounds] ++ ["+Inf"], Buckets)),
  Rows ++ [{"_sum", Labels, {float, Sum / 1000000}}, {"_count", Labels, Count}].

seconds(Us) -> float_to_list(Us / 1000000, [{decimals, 6}, compact]).

%% Groups, transactions, defects: the names are those of the telemetry events. What alerts ask for is there before it has happened:
%% a row that begins with 1 has not increased.
events(Clients) ->
  Counters = brod_telemetry:counters(),
  Groups = lists:usort([Labels || {[group, _], Labels, _} <- Counters]),
  Zeros = [{{[client, What], #{client => Id}}, 0} || Id <- Clients, What <- [authentication_failed, connect_failed, engine_defect]]
    ++ [{{Name, Labels}, 0} || [brod | [group, _] = Name] <- brod_telemetry:events(), Labels <- Groups],
  All = maps:merge(maps:from_list(Zeros), maps:from_list([{{Name, Labels}, Count} || {Name, Labels, Count} <- Counters])),
  ByName = maps:fold(fun({Name, Labels}, Count, Acc) ->
                       maps:update_with(Name, fun(L) -> [{Labels, Count} | L] end, [{Labels, Count}], Acc)
                     end, #{}, All),
  [metric(counter, [lists:join("_", [atom_to_list(A) || A <- Name]), "_total"], "Events of that name",
          [{"", lists:sort(maps:to_list(Labels)), Count} || {Labels, Count} <- Counted])
   || {Name, Counted} <- lists:sort(maps:to_list(ByName))].

metric(_Type, _Name, _Help, []) -> [];
metric(Type, Name, Help, Rows) ->
  ["# HELP brod_", Name, " ", Help, ".\n# TYPE brod_", Name, " ", atom_to_list(Type), "\n",
   [["brod_", Name, Suffix, labels(Labels), " ", number(Value), "\n"] || {Suffix, Labels, Value} <- Rows]].

number({float, Value}) -> float_to_list(Value, [{decimals, 6}, compact]);
number(Value) -> integer_to_list(Value).

labels(Labels) ->
  ["{", lists:join(",", [[atom_to_list(K), "=\"", escape(V), "\""] || {K, V} <- Labels]), "}"].

escape(V) when is_atom(V) -> escape(atom_to_binary(V));
escape(V) when is_integer(V) -> integer_to_list(V);
escape(V) when is_list(V) -> escape(list_to_binary(V));
escape(V) ->
  lists:foldl(fun({From, To}, Acc) -> binary:replace(Acc, From, To, [global]) end, V,
              [{<<"\\">>, <<"\\\\">>}, {<<"\"">>, <<"\\\"">>}, {<<"\n">>, <<"\\n">>}]).
