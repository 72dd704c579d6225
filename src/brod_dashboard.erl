%% @doc A page that shows what the clients of this node do, while it happens: brokers, topics, throughput, lag by group and
%% partition, rebalances, the last errors. For developers, and for operators who look at one node.
%%
%% It is off until it is started:
%%
%% ```
%% {ok, Server, Port} = brod_dashboard:start(#{port => 4040}).
%% '''
%%
%% or, in a supervisor, as `{brod_dashboard, #{port => 4040}}'. The page is `http://localhost:4040/'. It asks for `/state' once a
%% second, which reads counters and asks no broker; while nobody looks, nothing is done.
%%
%% It listens on the loopback interface unless `ip' says otherwise, and asks for no password: who reaches it sees names
%% of topics and groups, offsets and error texts, though no messages and no credentials.
-module(brod_dashboard).

-export([start/1, start_link/1, stop/1, child_spec/1]).
%% for tests
-export([handle/1, client/2]).

%% Of a client the page shows so many partitions, those with the most lag first: what is more is counted.
-define(PARTITIONS, 200).
-define(EVENTS, 100).

%% @doc Serve the page on a port, on the loopback interface unless `ip' says otherwise. Port 0 is any free one. Answers
%% with the port. The server is linked to nothing and ends with {@link stop/1}.
-spec start(#{port => inet:port_number(), ip => inet:ip_address()}) ->
        {ok, pid(), inet:port_number()} | {error, term()}.
start(Options) -> brod_http:start(Options, fun handle/1).

%% @doc As {@link start/1}, linked to the caller.
-spec start_link(#{port => inet:port_number(), ip => inet:ip_address()}) -> {ok, pid()} | {error, term()}.
start_link(Options) ->
  case start(Options) of
    {ok, Server, _Port} -> true = link(Server), {ok, Server};
    {error, Reason} -> {error, Reason}
  end.

%% @doc A child of a supervisor: `{brod_dashboard, Options}', with the options of {@link start/1}.
-spec child_spec(#{port => inet:port_number(), ip => inet:ip_address()}) -> supervisor:child_spec().
child_spec(Options) ->
  #{id => ?MODULE, start => {?MODULE, start_link, [Options]}, shutdown => brutal_kill}.

%% @doc Stop what {@link start/1} has started.
-spec stop(pid()) -> ok.
stop(Server) -> brod_http:stop(Server).

%% @private
-spec handle(string()) -> {200, string(), iodata()} | not_found.
handle("/") -> {200, "text/html; charset=utf-8", brod_dashboard_page:html()};
handle("/state") -> {200, "application/json", brod_json:encode(state())};
handle(_Path) -> not_found.

state() ->
  #{ at_ms => erlang:system_time(millisecond)
   , node => atom_to_binary(node())
   , clients => [Client || {Id, Pid} <- brod_stats:clients(), Client <- client_now(Id, Pid)]
             ++ [not_connected(Id, brod_stats:why_down(Id)) || Id <- brod_stats:not_connected()]
   }.

not_connected(Id, Why) ->
  Known = client(#{client => Id, version => undefined, endpoints => [], brokers => [], groups => [], errors => [],
                   events => brod_telemetry:recent(Id)},
                 #{closed => true, brokers => [], producers => [], consumers => [], events => []}),
  Known#{problems => [case Why of undefined -> <<"not connected">>; _ -> <<"not connected: ", Why/binary>> end]}.

client_now(Id, Pid) ->
  try {brod_stats:stats(Pid), brod_client:get_bootstrap(Pid)} of
    {{ok, Stats}, {ok, {Endpoints, _}}} -> [client(brod_stats:info(Id, Endpoints, Stats), Stats)];
    _ -> []
  catch
    exit:_ -> []
  end.

%% @private What the page is told of a client.
-spec client(Info :: map(), Stats :: map()) -> map().
client(#{client := Id, brokers := Brokers, groups := Groups, errors := Errors, events := Events} = Info,
       #{producers := Producers, consumers := Consumers} = Stats) ->
  {Health, Problems} = brod_stats:health_of(Id, Stats),
  Lags = lists:sort(fun(A, B) -> lag(A) >= lag(B) end, Consumers),
  #{ client => text(Id)
   , version => null(maps:get(version, Info))
   , health => atom_to_binary(Health)
   , problems => [text(Problem) || Problem <- Problems]
   , endpoints => [text(brod_engine:to_binary(Host), Port) || {Host, Port} <- maps:get(endpoints, Info)]
   , brokers => [broker(Broker) || Broker <- Brokers]
   , topics => topics(Producers, Consumers)
   , totals => #{ records_sent => sum(records_sent, Producers), bytes_sent => sum(bytes_sent, Producers)
                , records => sum(records, Consumers), bytes => sum(bytes, Consumers), lag => sum(lag, Consumers)
                , buffered => sum(buffered_calls, Producers)}
   , partitions => [partition(C, Groups) || C <- lists:sublist(Lags, ?PARTITIONS)]
   , partitions_more => max(0, length(Lags) - ?PARTITIONS)
   , groups => [group(Group, Consumers) || Group <- Groups]
   , errors => [maps:map(fun(_, V) -> text(V) end, Error) || Error <- lists:sublist(lists:reverse(Errors), ?EVENTS)]
   , events => [event(Event) || Event <- last(?EVENTS, Events)]
   }.

broker(Broker) ->
  maps:fold(fun(Key, Value, Acc) when is_integer(Value) -> Acc#{Key => Value};
               (Key, undefined, Acc) -> Acc#{Key => null};
               (state, State, Acc) -> Acc#{state => atom_to_binary(State)};
               (_, _, Acc) -> Acc
            end, #{name => text(brod_stats:name(Broker))}, maps:without([port], Broker)).

topics(Producers, Consumers) ->
  Sent = maps:groups_from_list(fun(P) -> map_get(topic, P) end, Producers),
  Read = maps:groups_from_list(fun(C) -> map_get(topic, C) end, Consumers),
  [begin
     {Ps, Cs} = {maps:get(Topic, Sent, []), maps:get(Topic, Read, [])},
     #{ topic => text(Topic), producers => length(Ps), consumers => length(Cs)
      , records_sent => sum(records_sent, Ps), bytes_sent => sum(bytes_sent, Ps)
      , failed => sum(batches_failed, Ps), retried => sum(batches_retried, Ps)
      , buffered => sum(buffered_calls, Ps), waiting => sum(waiting_callers, Ps)
      , records => sum(records, Cs), bytes => sum(bytes, Cs), lag => sum(lag, Cs), errors => sum(errors, Cs)
      }
   end || Topic <- lists:usort(maps:keys(Sent) ++ maps:keys(Read))].

partition(#{topic := Topic, partition := Partition} = Consumer, Groups) ->
  #{ topic => text(Topic), partition => Partition
   , groups => [text(Group) || #{group := Group, partitions := Ps} <- Groups, lists:member({Topic, Partition}, Ps)]
   , lag => null(maps:get(lag, Consumer, undefined))
   , position => null(maps:get(position, Consumer, undefined))
   , pending => null(maps:get(pending_count, Consumer, undefined))
   , state => reading(Consumer)
   }.

%% An error has stopped it, or its subscriber has left.
reading(#{stopped := true}) -> <<"stopped">>;
reading(#{active := false}) -> <<"nobody reads it">>;
reading(#{paused := true}) -> <<"paused">>;
reading(_) -> <<>>.

group(#{group := Group, generation := Generation, member_id := MemberId, partitions := Partitions}, Consumers) ->
  Own = [C || #{topic := T, partition := P} = C <- Consumers, lists:member({T, P}, Partitions)],
  #{ group => text(Group), generation => Generation, member_id => text(MemberId), partitions => length(Partitions)
   , topics => [text(T) || T <- lists:usort([T || {T, _} <- Partitions])]
   , lag => sum(lag, Own)
   }.

event(#{at_ms := At, event := Name, measurements := Measurements, metadata := Metadata}) ->
  #{ at_ms => At
   , event => iolist_to_binary(lists:join(<<".">>, [atom_to_binary(A) || A <- Name]))
   , group => null(case Metadata of #{group := Group} -> text(Group); _ -> undefined end)
   , about => about(maps:merge(Measurements, maps:without([client, group, count], Metadata)))
   }.

about(Details) ->
  iolist_to_binary(lists:join(<<", ">>, [[atom_to_binary(K), <<" ">>, text(V)]
                                         || {K, V} <- lists:sort(maps:to_list(maps:remove(count, Details)))])).

last(N, List) -> lists:nthtail(max(0, length(List) - N), List).

lag(#{lag := Lag}) when is_integer(Lag) -> Lag;
lag(_) -> -1.

sum(Key, Maps) -> lists:sum([Value || #{Key := Value} <- Maps, is_integer(Value)]).

null(undefined) -> null;
null(Value) -> Value.

text(Host, Port) -> <<Host/binary, $:, (integer_to_binary(Port))/binary>>.

%% Any term as text that is valid in JSON, whatever bytes are in it.
text(Text) when is_binary(Text) ->
  case unicode:characters_to_binary(Text) of
    Utf8 when is_binary(Utf8) -> Utf8;
    _ -> unicode:characters_to_binary(Text, latin1)
  end;
text(Atom) when is_atom(Atom) -> atom_to_binary(Atom);
text(Term) -> unicode:characters_to_binary(io_lib:format("~0tP", [Term, 20])).
