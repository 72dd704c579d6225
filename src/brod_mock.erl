%% @doc A Kafka in memory, for tests: real brokers on loopback ports, without a JVM, in milliseconds.
%%
%% ```
%% {ok, Mock} = brod_mock:start(#{brokers => 3, topics => #{<<"t">> => 8}}),
%% ok = brod:start_client(brod_mock:endpoints(Mock), client),
%% '''
%%
%% Its executable is built by `scripts/build-mock.sh priv' in brod's directory (needs cargo), and is a port of the VM:
%% it ends when {@link stop/1} is called, when the process that started it ends, and with the VM. That process is
%% linked to it: a crash of the mock is an exit signal.
-module(brod_mock).
-behaviour(gen_server).

-export([start/0, start/1, stop/1, endpoints/1, messages/2, messages/3, create_topic/3]).
-export([fault/2, clear_faults/1, faults_met/1, move_leader/4, stop_broker/2, start_broker/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-export_type([mock/0, config/0, fault/0]).

-include("brod.hrl").

-type mock() :: pid().
-type config() :: #{brokers => pos_integer(),
                    ports => [inet:port_number()],
                    topics => #{brod:topic() => pos_integer()},
                    version => binary(),
                    auto_create_topics => boolean(),
                    default_partitions => pos_integer(),
                    retention_bytes => non_neg_integer()}.
%% `version' is the release of Kafka that the brokers look like: `<<"0.11">>', `<<"1.1">>', `<<"2.8">>', `<<"3.9">>' or
%% `<<"4.1">>', the default.

-type fault() :: #{action := drop | reset_before | reset_after
                           | {delay | delay_answer | error | truncate | corrupt, integer()},
                   api => binary(),
                   broker => integer(),
                   topic => brod:topic(),
                   partition => brod:partition(),
                   nth => pos_integer(),
                   times => pos_integer()}.
%% What happens to calls of an API (Kafka's name of it, as in `<<"Produce">>') on a broker, from the `nth' on, `times' of
%% them. `{error, Code}' takes a topic and a partition too; `delay' is in ms.

-define(TIMEOUT, 30000).

%% @equiv start(#{})
-spec start() -> {ok, mock()} | {error, term()}.
start() ->
  start(#{}).

%% @doc Starts a cluster, linked to the calling process.
-spec start(config()) -> {ok, mock()} | {error, term()}.
start(Config) ->
  case executable() of
    {ok, Path} -> gen_server:start_link(?MODULE, {Path, Config, self()}, []);
    {error, _} = Error -> Error
  end.

-spec stop(mock()) -> ok.
stop(Mock) ->
  gen_server:stop(Mock).

%% @doc For `brod:start_client/2'.
-spec endpoints(mock()) -> [brod:endpoint()].
endpoints(Mock) ->
  {ok, Brokers} = call(Mock, #{do => endpoints}),
  [{binary_to_list(Host), Port} || #{<<"host">> := Host, <<"port">> := Port} <- Brokers].

%% @doc What a topic holds, in the order of partitions and offsets; those of aborted transactions too.
-spec messages(mock(), brod:topic()) -> [{brod:partition(), brod:message()}].
messages(Mock, Topic) ->
  {ok, Messages} = call(Mock, #{do => messages, topic => Topic}),
  [{Partition, message(Message)} || #{<<"partition">> := Partition} = Message <- Messages].

%% @doc What one partition holds.
-spec messages(mock(), brod:topic(), brod:partition()) -> [brod:message()].
messages(Mock, Topic, Partition) ->
  [Message || {P, Message} <- messages(Mock, Topic), P =:= Partition].

-spec create_topic(mock(), brod:topic(), pos_integer()) -> ok | {error, binary()}.
create_topic(Mock, Topic, Partitions) ->
  done(call(Mock, #{do => create_topic, topic => Topic, partitions => Partitions})).

%% @doc Scripts a fault.
-spec fault(mock(), fault()) -> ok | {error, binary()}.
fault(Mock, #{action := Action} = Fault) ->
  Json = case Action of
           {What, N} -> #{What => N};
           What -> What
         end,
  done(call(Mock, #{do => fault, fault => Fault#{action := Json}})).

%% @doc No more faults from now on.
-spec clear_faults(mock()) -> ok | {error, binary()}.
clear_faults(Mock) ->
  done(call(Mock, #{do => clear_faults})).

%% @doc How many calls have met a fault so far.
-spec faults_met(mock()) -> non_neg_integer().
faults_met(Mock) ->
  {ok, N} = call(Mock, #{do => faults_met}),
  N.

-spec move_leader(mock(), brod:topic(), brod:partition(), integer()) -> ok | {error, binary()}.
move_leader(Mock, Topic, Partition, Broker) ->
  done(call(Mock, #{do => move_leader, topic => Topic, partition => Partition, broker => Broker})).

%% @doc A broker's port and connections close; other brokers lead its partitions.
-spec stop_broker(mock(), integer()) -> ok | {error, binary()}.
stop_broker(Mock, Broker) ->
  done(call(Mock, #{do => stop_broker, broker => Broker})).

-spec start_broker(mock(), integer()) -> ok | {error, binary()}.
start_broker(Mock, Broker) ->
  done(call(Mock, #{do => start_broker, broker => Broker})).

done({ok, _}) -> ok;
done({error, _} = Error) -> Error.

call(Mock, Command) ->
  gen_server:call(Mock, Command, ?TIMEOUT).

message(#{<<"offset">> := Offset, <<"ts">> := Ts, <<"key">> := Key, <<"value">> := Value}) ->
  #kafka_message{offset = Offset, key = bytes(Key), value = bytes(Value), ts_type = create, ts = Ts, headers = []}.

bytes(null) -> <<>>;
bytes(Base64) -> base64:decode(Base64).

executable() ->
  Path = filename:join(code:priv_dir(brod), "brod_mock"),
  case filelib:is_regular(Path) of
    true -> {ok, Path};
    false -> {error, {not_built, Path, "build it by scripts/build-mock.sh " ++ filename:dirname(Path)}}
  end.

%% @private
init({Path, Config, Owner}) ->
  Args = [iolist_to_binary(brod_json:encode(Config)), <<"port">>],
  Port = open_port({spawn_executable, Path}, [{args, Args}, {packet, 4}, binary, exit_status]),
  _ = monitor(process, Owner),
  %% Answers once its brokers listen.
  case ask(Port, #{do => endpoints}) of
    {ok, _} -> {ok, Port};
    {error, Reason} -> {stop, Reason}
  end.

%% @private
handle_call(Command, _From, Port) ->
  case ask(Port, Command) of
    {error, {exited, _} = Reason} -> {stop, Reason, {error, Reason}, Port};
    Answer -> {reply, Answer, Port}
  end.

%% @private
handle_cast(_, Port) ->
  {noreply, Port}.

%% @private
handle_info({Port, {exit_status, Status}}, Port) ->
  {stop, {exited, Status}, Port};
handle_info({'DOWN', _, process, _, _}, Port) ->
  {stop, normal, Port};
handle_info(_, Port) ->
  {noreply, Port}.

ask(Port, Command) ->
  true = port_command(Port, brod_json:encode(Command)),
  receive
    {Port, {data, Data}} ->
      case brod_json:decode(Data) of
        #{<<"ok">> := Value} -> {ok, Value};
        #{<<"error">> := Why} -> {error, Why}
      end;
    {Port, {exit_status, Status}} ->
      {error, {exited, Status}}
  end.
