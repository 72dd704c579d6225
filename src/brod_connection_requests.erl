%% @private What users ask a connection themselves, as kafka_protocol's functions do: requests that they have built, in
%% the records and messages of kafka_protocol 4. A socket of the engine's is opened with the first of them
%% (docs/adr/0032-requests-of-users.md).
-module(brod_connection_requests).

-export([new/2, ask/3, info/2, close/1]).
-export([await/3]).

-export_type([state/0, from/0]).

-type from() :: {pid(), reference() | noreply}.
%% `#kpro_req{}' of kafka_protocol, which may be there or not.
-type request() :: {kpro_req, reference(), atom(), non_neg_integer(), NoAck :: boolean(), term()}.
-type range() :: {non_neg_integer(), non_neg_integer()}.

-define(MAX_PRODUCE_OF_KAFKA_4_0, 12).

-record(requests,
  { context            :: brod_engine:context()
  , endpoint           :: brod:endpoint()
  , handle             :: undefined | brod_nif:connection()
    %% of the handle while it is being opened
  , opening            :: undefined | reference()
    %% what waits for that, the last first
  , queue = []         :: [{from(), {send, request()} | get_api_vsns}]
    %% undefined where the broker is not to be asked
  , versions           :: undefined | #{atom() => range()}
  , sent = #{}         :: #{reference() => {pid(), reference(), atom(), non_neg_integer()} | no_ack}
  }).

-opaque state() :: #requests{}.
-type outcome() :: {ok, state()} | {stop, Reason :: term(), state()}.

%% @doc Nothing was asked yet.
-spec new(brod_engine:context(), brod:endpoint()) -> state().
new(Context, Endpoint) -> #requests{context = Context, endpoint = Endpoint}.

%% @doc A request came. Whoever asks gets `{Tag, ok | {ok, Answer} | {error, Reason}}', and for a request that was
%% sent `{msg, self(), #kpro_rsp{}}' later; or the connection ends, for a reason.
-spec ask(from(), {send, request()} | get_api_vsns, state()) -> outcome().
ask(From, What, #requests{handle = Handle, opening = Opening, queue = Queue} = State)
  when Handle =:= undefined; Opening =/= undefined ->
  {ok, open(State#requests{queue = [{From, What} | Queue]})};
ask(From, get_api_vsns, #requests{versions = Versions} = State) ->
  ok = answer(From, {ok, Versions}),
  {ok, State};
ask(From, {send, {kpro_req, Ref, Api, Vsn, NoAck, Message}}, State) ->
  case is_spoken(Api, Vsn, State#requests.versions) andalso body(Api, Vsn, Message) of
    {ok, Body} ->
      send(From, {Ref, Api, Vsn, NoAck =:= true}, Body, State);
    Refusal ->
      Reason = case Refusal of
                 false -> {not_supported, Api, maps:get(Api, State#requests.versions, undefined)};
                 {error, Why} -> Why
               end,
      refuse(From, Reason, State)
  end.

%% Nobody can be told of what was cast, but by the end of the connection.
refuse({_, noreply}, Reason, State) -> {stop, {shutdown, Reason}, State};
refuse(From, Reason, State) -> ok = answer(From, {error, Reason}), {ok, State}.

open(#requests{opening = Ref} = State) when Ref =/= undefined -> State;
open(#requests{context = #{engine := Engine}, endpoint = {Host, Port}} = State) ->
  {Handle, Ref} = brod_nif:connection_open(Engine, brod_engine:to_binary(Host), Port),
  State#requests{handle = Handle, opening = Ref}.

is_spoken(_Api, _Vsn, undefined) -> true;
is_spoken(Api, Vsn, Versions) ->
  case Versions of
    #{Api := {Min, Max}} -> Vsn >= Min andalso Vsn =< Max;
    _ -> false
  end.

%% kafka_protocol gives encoded messages, or structures that the connection encodes.
body(Api, Vsn, Message) ->
  IsStruct = is_map(Message) orelse (is_list(Message) andalso Message =/= [] andalso is_tuple(hd(Message))),
  try
    {ok, iolist_to_binary(case IsStruct of
                            true -> brod_kafka_codec:encode(Api, Vsn, Message);
                            false -> Message
                          end)}
  catch
    error:Reason -> {error, Reason}
  end.

send({Caller, _} = From, {Ref, Api, Vsn, NoAck}, Body, #requests{handle = Handle, sent = Sent} = State) ->
  #{options := #{request_timeout := Limit}} = State#requests.context,
  Key = brod_kafka_schema:api_key(Api),
  case brod_nif:connection_request(Handle, {Key, Vsn}, Body, not NoAck, Limit) of
    {error, closed} ->
      {stop, {shutdown, tcp_closed}, State};
    Id ->
      ok = answer(From, ok),
      Entry = case NoAck of true -> no_ack; false -> {Caller, Ref, Api, Vsn} end,
      {ok, State#requests{sent = Sent#{Id => Entry}}}
  end.

%% @doc A message that the engine may have sent; `ignored' if it is about something else.
-spec info(term(), state()) -> outcome() | ignored.
info({brod_reply, Ref, {ok, Versions}}, #requests{opening = Ref, queue = Queue} = State) ->
  replay(lists:reverse(Queue), State#requests{opening = undefined, queue = [], versions = by_name(Versions)});
info({brod_reply, Ref, {error, Reason}}, #requests{opening = Ref} = State) ->
  {stop, {shutdown, Reason}, State};
info({brod_reply, Id, Result}, #requests{sent = Sent} = State) when is_map_key(Id, Sent) ->
  {Entry, Left} = maps:take(Id, Sent),
  answered(Entry, Result, State#requests{sent = Left});
%% A broker closes what is idle. Where something was under way, its own answer says so.
info({brod_connection_closed, Handle}, #requests{handle = Handle, opening = undefined} = State) ->
  {ok, State#requests{handle = undefined}};
info({brod_connection_closed, _Former}, State) ->
  {ok, State};
info(_Other, _State) ->
  ignored.

replay([], State) -> {ok, State};
replay([{From, What} | Rest], State) ->
  case ask(From, What, State) of
    {ok, Next} -> replay(Rest, Next);
    Stop -> Stop
  end.

answered(_Entry, {error, closed}, State) -> {stop, {shutdown, tcp_closed}, State};
answered(_Entry, {error, Reason}, State) -> {stop, {shutdown, Reason}, State};
answered(no_ack, {ok, _}, State) -> {ok, State};
answered({Caller, Ref, Api, Vsn}, {ok, Body}, State) ->
  try brod_kafka_codec:decode(Api, Vsn, Body) of
    Message ->
      Caller ! {msg, self(), {kpro_rsp, Ref, Api, Vsn, Message}},
      {ok, State}
  catch
    error:Reason -> {stop, {shutdown, Reason}, State}
  end.

%% APIs that are between brokers have no name here.
by_name([]) -> undefined;
by_name(Versions) ->
  lists:foldl(fun({Key, Min, Max}, Acc) ->
                try
                  Api = brod_kafka_schema:api_key(Key),
                  Acc#{Api => {oldest(Api, Min, Max), Max}}
                catch error:{not_supported, _} -> Acc
                end
              end, #{}, Versions).

%% Kafka 4 claims Produce from version 0 on, because some clients look for that, and hangs up on what is older than 3.
oldest(produce, Min, Max) when Max >= ?MAX_PRODUCE_OF_KAFKA_4_0 -> max(Min, 3);
oldest(_Api, Min, _Max) -> Min.

answer({_Pid, noreply}, _Answer) -> ok;
answer({Pid, Tag}, Answer) -> Pid ! {Tag, Answer}, ok.

%% @doc Close the socket, if there is one.
-spec close(state()) -> ok.
close(#requests{handle = undefined}) -> ok;
close(#requests{handle = Handle}) -> brod_nif:connection_close(Handle).

%% @doc Ask a connection, ours or one of kafka_protocol's own, and wait.
-spec await(pid(), term(), timeout()) -> ok | {ok, term()} | {error, term()}.
await(Connection, Request, Timeout) ->
  MRef = monitor(process, Connection),
  Connection ! {{self(), MRef}, Request},
  receive
    {MRef, Answer} -> demonitor(MRef, [flush]), Answer;
    {'DOWN', MRef, process, _, Reason} -> {error, {connection_down, Reason}}
  after Timeout ->
    demonitor(MRef, [flush]),
    {error, timeout}
  end.
