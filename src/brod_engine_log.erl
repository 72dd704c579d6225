%% @private Logs what the engine says: brokers that are lost and back, metadata that nobody answers for, requests that
%% timed out. The engine tells changes of state; here lines that come again and again are counted instead of logged.
-module(brod_engine_log).
-behaviour(gen_server).

-export([start_link/0]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, code_change/3, format_status/1]).

-include("brod_int.hrl").

%% Of lines alike one is logged in that time.
-define(QUIET_MS, 10000).
-define(MAX_KINDS, 1000).

-type fields() :: [{atom(), binary()}].

-record(state,
  { seen = #{} :: #{Kind :: term() => {Logged :: integer(), Left :: non_neg_integer()}}
  }).

%% @doc Start the process that the engine's lines come to.
-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
  gen_server:start_link(?MODULE, [], []).

init([]) ->
  {ok, #state{}, {continue, open}}.

handle_continue(open, State) ->
  ok = brod_nif:log_open(),
  {noreply, State}.

handle_call(Call, _From, State) ->
  {reply, {error, {unknown_call, Call}}, State}.

handle_cast(_Cast, State) ->
  {noreply, State}.

handle_info({brod_engine_log, Level, Text, Fields}, State) ->
  {noreply, line(Level, Text, Fields, erlang:monotonic_time(millisecond), State)};
handle_info(_Info, State) ->
  {noreply, State}.

code_change(_OldVsn, State, _Extra) ->
  {ok, State}.

format_status(#{state := #state{seen = Seen}} = Status) ->
  Status#{state := #{kinds_of_lines => map_size(Seen)}};
format_status(Status) ->
  Status.

line(Level, Text, Fields, Now, #state{seen = Seen} = State) ->
  Kind = {Text, [Field || {Key, _} = Field <- Fields, Key =:= client orelse Key =:= broker]},
  case Seen of
    #{Kind := {Logged, Left}} when Now - Logged < ?QUIET_MS ->
      State#state{seen = Seen#{Kind := {Logged, Left + 1}}};
    _ ->
      {_, Left} = maps:get(Kind, Seen, {Now, 0}),
      ?LOG(Level, "~ts", [text(Text, Fields, Left)], metadata(Fields)),
      State#state{seen = (recent(Now, Seen))#{Kind => {Now, 0}}}
  end.

recent(_Now, Seen) when map_size(Seen) < ?MAX_KINDS -> Seen;
recent(Now, Seen) -> maps:filter(fun(_, {Logged, _}) -> Now - Logged < ?QUIET_MS end, Seen).

-spec text(binary(), fields(), non_neg_integer()) -> iolist().
text(Text, Fields, Left) ->
  Client = case lists:keyfind(client, 1, Fields) of
             {client, Name} -> ["Client ", Name, ": "];
             false -> "Kafka client: "
           end,
  [Client, Text,
   [[", ", atom_to_binary(Key), " ", Value] || {Key, Value} <- Fields, Key =/= client],
   [[" (and ", brod_logging:count(Left, "line"), " like this one)"] || Left > 0]].

metadata(Fields) ->
  About = [{Key, value(Key, Value)} || {Key, Value} <- Fields,
                                       lists:member(Key, [client, broker, topic, partition, group])],
  maps:from_list([{domain, [brod]} | About]).

value(client, Name) ->
  try binary_to_existing_atom(Name, utf8) catch error:badarg -> Name end;
value(partition, Text) ->
  try binary_to_integer(Text) catch error:badarg -> Text end;
value(_Key, Text) ->
  Text.
