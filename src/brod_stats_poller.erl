%% @private Reads the engine's counters from time to time and tells what has changed as telemetry events, and drops
%% what is kept of clients and groups that are gone; see brod_telemetry.
-module(brod_stats_poller).
-behaviour(gen_server).

-export([start_link/0, poll/0, differences/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, code_change/3, format_status/1]).

-define(SWEEP_MS, 60000).

-record(state, {seen = #{} :: #{pid() => map()},
                %% see brod_telemetry:forget_gone/2
                gone = #{} :: brod_telemetry:gone()}).

%% @doc Start the process.
-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
  gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc Tell what has changed now. For tests.
-spec poll() -> ok.
poll() -> gen_server:call(?MODULE, poll).

init([]) ->
  ok = schedule(),
  _ = erlang:send_after(?SWEEP_MS, self(), sweep),
  {ok, #state{}}.

handle_call(Call, From, {state, _Seen} = Old) -> handle_call(Call, From, upgraded(Old));
handle_call(poll, _From, State) -> {reply, ok, poll(State)};
handle_call(Call, _From, State) -> {reply, {error, {unknown_call, Call}}, State}.

handle_cast(_Cast, State) -> {noreply, State}.

handle_info(Info, {state, _Seen} = Old) ->
  handle_info(Info, upgraded(Old));
handle_info(poll, State) ->
  ok = schedule(),
  case brod_telemetry:is_enabled() of
    true -> {noreply, poll(State)};
    false -> {noreply, State#state{seen = #{}}}
  end;
handle_info(sweep, #state{gone = Gone} = State) ->
  _ = erlang:send_after(?SWEEP_MS, self(), sweep),
  {noreply, State#state{gone = brod_telemetry:forget_gone(Gone, erlang:monotonic_time(millisecond))}};
handle_info(_Info, State) ->
  {noreply, State}.

code_change(_OldVsn, {state, _Seen} = Old, _Extra) -> {ok, upgraded(Old)};
code_change(_OldVsn, State, _Extra) -> {ok, State}.

%% Of a process that began before clients that are gone were dropped. It gets here by code_change/3, or with its first message
%% where modules are just loaded anew.
upgraded({state, Seen}) ->
  self() ! sweep,
  #state{seen = Seen}.

format_status(#{state := #state{seen = Seen}} = Status) -> Status#{state := #{clients => map_size(Seen)}};
format_status(Status) -> Status.

schedule() ->
  case brod_option_table:environment(telemetry_interval_ms) of
    Ms when is_integer(Ms), Ms > 0 ->
      _ = erlang:send_after(Ms, self(), poll),
      ok;
    _ ->
      ok
  end.

poll(#state{seen = Seen} = State) ->
  State#state{seen = maps:from_list([poll(Client, maps:get(Pid, Seen, #{})) || {_, Pid} = Client <- brod_stats:clients()])}.

poll({Id, Pid}, Before) ->
  try brod_stats:stats(Pid, maps:get(last_event, Before, 0)) of
    {ok, Stats} ->
      Events = differences(Before, Stats),
      lists:foreach(fun({Name, Measurements, Metadata}) ->
                      brod_telemetry:execute(Name, Measurements, Metadata#{client => Id})
                    end, Events),
      {Pid, remember(Before, Stats)};
    {error, _} ->
      {Pid, Before}
  catch
    exit:_ -> {Pid, Before}
  end.

%% What the next sample is compared with.
remember(Before, #{events := Events, brokers := Brokers, producers := Producers, consumers := Consumers}) ->
  #{ last_event => lists:max([maps:get(last_event, Before, 0) | [Number || {Number, _, _, _} <- Events]])
   , apis => maps:from_list([{{brod_stats:name(Broker), Api}, Counted} || #{apis := Apis} = Broker <- Brokers,
                                                               #{api := Api} = Counted <- Apis])
   , producers => by_place(Producers)
   , consumers => by_place(Consumers)
   }.

by_place(Parts) -> maps:from_list([{{T, P}, Part} || #{topic := T, partition := P} = Part <- Parts]).

%% @doc The events that follow from two samples, of which the first is one as this process remembers it.
-spec differences(map(), map()) -> [{[atom(), ...], map(), map()}].
differences(Before, #{brokers := Brokers, producers := Producers, consumers := Consumers, events := Events,
                      bounds_us := Bounds}) ->
  [event(Event) || Event <- Events]
    ++ lists:append([requests(Broker, maps:get(apis, Before, #{}), Bounds) || Broker <- Brokers])
    ++ lists:append([produced(P, earlier(P, producers, Before)) || P <- Producers])
    ++ lists:append([consumed(C, earlier(C, consumers, Before)) || C <- Consumers]).

earlier(#{topic := Topic, partition := Partition}, Kind, Before) ->
  maps:get({Topic, Partition}, maps:get(Kind, Before, #{}), #{}).

event({_, Broker, connected, Us}) -> {[client, connect], #{duration => Us}, #{broker => Broker}};
event({_, Broker, connect_failed, Why}) -> {[client, connect_failed], #{count => 1}, #{broker => Broker, reason => Why}};
event({_, Broker, disconnected, Why}) ->
  {[client, disconnect], #{count => 1}, #{broker => Broker, reason => Why, expected => false}};
event({_, Broker, closed, Why}) ->
  {[client, disconnect], #{count => 1}, #{broker => Broker, reason => Why, expected => true}};
event({_, Broker, authenticated, Mechanism}) ->
  {[client, authenticate], #{count => 1}, #{broker => Broker, mechanism => Mechanism}};
event({_, Broker, authentication_failed, Why}) ->
  {[client, authentication_failed], #{count => 1}, #{broker => Broker, reason => Why}};
event({_, Broker, throttled, Ms}) -> {[client, throttle], #{duration_ms => Ms}, #{broker => Broker}};
event({_, _, rebootstrapped, _}) -> {[client, rebootstrap], #{count => 1}, #{}}.

requests(#{apis := Apis} = Broker, Before, Bounds) ->
  Name = brod_stats:name(Broker),
  lists:append([request(Name, Counted, maps:get({Name, Api}, Before, #{}), Bounds) || #{api := Api} = Counted <- Apis]).

request(Broker, #{api := Api, latency_buckets := Buckets} = Now, Before, Bounds) ->
  Latency = case Before of
              #{latency_buckets := Earlier} -> lists:zipwith(fun(A, B) -> A - B end, Buckets, Earlier);
              _ -> Buckets
            end,
  case lists:sum(Latency) of
    0 -> [];
    Count ->
      [{[request],
        #{count => Count, bytes_sent => grown(bytes_sent, Now, Before),
          bytes_received => grown(bytes_received, Now, Before), duration => grown(latency_sum_us, Now, Before)},
        #{broker => Broker, api => Api, latency => lists:zip(Bounds ++ [infinity], Latency)}}]
  end.

produced(Now, Before) ->
  Counts = #{sent => grown(batches_sent, Now, Before), acked => grown(batches_acked, Now, Before),
             failed => grown(batches_failed, Now, Before), retried => grown(batches_retried, Now, Before),
             records => grown(records_sent, Now, Before), bytes => grown(bytes_sent, Now, Before)},
  Buffer = maps:with([buffered_calls, in_flight_batches, waiting_callers], Now),
  [{[produce, batches], Counts, place(Now)} || any(Counts)]
    ++ [{[produce, buffer], Buffer, place(Now)} || any(Buffer) orelse any(maps:with(maps:keys(Buffer), Before))].

consumed(Now, Before) ->
  Fetched = #{fetches => grown(fetches, Now, Before), bytes => grown(bytes_fetched, Now, Before),
              pauses => grown(pauses, Now, Before), errors => grown(errors, Now, Before)},
  Delivered = #{records => grown(records, Now, Before), bytes => grown(bytes, Now, Before)},
  [{[consume, fetched], Fetched, place(Now)} || any(Fetched)]
    ++ [{[consume, delivered], Delivered, place(Now)} || any(Delivered)]
    ++ [{[consume, lag], integers([lag, position, high_watermark, pending_count], Now), place(Now)}
        || is_integer(maps:get(lag, Now))].

%% Of a partition that nobody reads there is no position, and handlers take measurements for numbers.
integers(Keys, Part) -> maps:filter(fun(_, Value) -> is_integer(Value) end, maps:with(Keys, Part)).

place(Part) -> maps:with([topic, partition], Part).

any(Counts) -> lists:any(fun(Count) -> Count > 0 end, maps:values(Counts)).

%% Of one that was opened anew there is nothing to subtract.
grown(Key, Now, Before) ->
  case {maps:get(Key, Now), maps:get(Key, Before, 0)} of
    {More, Less} when More >= Less -> More - Less;
    {More, _} -> More
  end.
