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

-export([start/0, start/1, stop/1, endpoints/1, ca_pem/1, messages/2, messages/3, records/2, create_topic/3]).
-export([group/2, committed/4, lag/3, await_stable/3, await_stable/4, await_caught_up/4, transaction/2, complaints/1]).
-export([fault/2, clear_faults/1, faults_met/1, quota/3, skew/3, want_metrics/2, pushed_metrics/1]).
-export([move_leader/4, move_coordinator/3, stop_broker/2, stop_broker/3, start_broker/2]).
-export([lose/4, compact/3, lie/4, control_batch/4]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-export_type([mock/0, config/0, fault/0, stored/0]).

-include("brod.hrl").

-type mock() :: pid().
-type config() :: #{brokers => pos_integer(),
                    ports => [inet:port_number()],
                    topics => #{brod:topic() => pos_integer()},
                    version => binary(),
                    users => #{binary() => binary()},
                    tls => #{cert_file => binary(), key_file => binary(), client_ca_file => binary()},
                    seed => non_neg_integer(),
                    client_metrics => #{names => [binary()], interval_ms => pos_integer(), delta => boolean(), codecs => [0..4]},
                    control_port => inet:port_number(),
                    auto_create_topics => boolean(),
                    default_partitions => pos_integer(),
                    retention_bytes => non_neg_integer()}.
%% `version' is the release of Kafka that the brokers look like: `<<"0.11">>', `<<"1.1">>', `<<"2.8">>', `<<"3.9">>' or
%% `<<"4.1">>', the default. Where there are `users', with their passwords, clients must log in by SASL. With `tls' the
%% brokers speak TLS alone, by a certificate that the mock makes if no files are named: {@link ca_pem/1}. `seed' is what
%% jitter is drawn from. With `client_metrics' the brokers ask clients for metrics (KIP-714), of all names every 100 ms if
%% nothing else is said: {@link pushed_metrics/1}.

-type fault() :: #{action := drop | reset_before | reset_after
                           | {delay | delay_answer | jitter | throttle | error | truncate | corrupt | damage,
                              integer()},
                   api => binary(),
                   broker => integer(),
                   topic => brod:topic(),
                   partition => brod:partition(),
                   nth => pos_integer(),
                   times => pos_integer()}.
%% What happens to calls of an API (Kafka's name of it, as in `<<"Produce">>') on a broker, from the `nth' on, `times' of
%% them. `{error, Code}' takes a topic and a partition too; `delay', `jitter' and `throttle' are in ms. `{damage, N}'
%% damages one in N of the answers at random: bits, lengths and the correlation id, or it is cut off.

-type stored() :: #{partition := brod:partition(), offset := brod:offset(), ts := integer(),
                    key := undefined | binary(), value := undefined | binary(),
                    headers := [{binary(), undefined | binary()}]}.
%% A message as the broker keeps it: null is `undefined'.

-define(TIMEOUT, 30000).
-define(STEP_MS, 5).

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

%% @doc Stop the cluster, with all that it holds.
-spec stop(mock()) -> ok.
stop(Mock) ->
  gen_server:stop(Mock).

%% @doc For `brod:start_client/2'.
-spec endpoints(mock()) -> [brod:endpoint()].
endpoints(Mock) ->
  {ok, Brokers} = call(Mock, #{do => endpoints}),
  [{binary_to_list(Host), Port} || #{<<"host">> := Host, <<"port">> := Port} <- Brokers].

%% @doc The authority of the brokers' certificate as PEM; `undefined' without TLS, or where the certificate is the user's.
-spec ca_pem(mock()) -> undefined | binary().
ca_pem(Mock) ->
  {ok, Pem} = call(Mock, #{do => ca}),
  undefined_for_null(Pem).

%% @doc What a topic holds, in the order of partitions and offsets, as consumers get it: for them null is empty. Those of
%% aborted transactions too.
-spec messages(mock(), brod:topic()) -> [{brod:partition(), brod:message()}].
messages(Mock, Topic) ->
  {ok, Messages} = call(Mock, #{do => messages, topic => Topic}),
  [{Partition, message(Message)} || #{<<"partition">> := Partition} = Message <- Messages].

%% @doc What one partition holds.
-spec messages(mock(), brod:topic(), brod:partition()) -> [brod:message()].
messages(Mock, Topic, Partition) ->
  [Message || {P, Message} <- messages(Mock, Topic), P =:= Partition].

%% @doc The same with null kept apart from what is empty, as tests of tombstones want it.
-spec records(mock(), brod:topic()) -> [stored()].
records(Mock, Topic) ->
  {ok, Messages} = call(Mock, #{do => messages, topic => Topic}),
  [#{partition => Partition, offset => Offset, ts => Ts, key => nullable(Key), value => nullable(Value),
     headers => [{base64:decode(Name), nullable(V)} || [Name, V] <- Headers]}
   || #{<<"partition">> := Partition, <<"offset">> := Offset, <<"ts">> := Ts, <<"key">> := Key,
        <<"value">> := Value, <<"headers">> := Headers} <- Messages].

%% @doc Create a topic with so many partitions.
-spec create_topic(mock(), brod:topic(), pos_integer()) -> ok | {error, binary()}.
create_topic(Mock, Topic, Partitions) ->
  done(call(Mock, #{do => create_topic, topic => Topic, partitions => Partitions})).

%% @doc State (as Kafka names it: `<<"Stable">>'), generation and how many members; `undefined' without such a group.
-spec group(mock(), brod:group_id()) ->
        undefined | #{state := binary(), generation := integer(), members := non_neg_integer()}.
group(Mock, Group) ->
  case call(Mock, #{do => group, group => Group}) of
    {ok, null} -> undefined;
    {ok, #{<<"state">> := State, <<"generation">> := Generation, <<"members">> := Members}} ->
      #{state => State, generation => Generation, members => Members}
  end.

%% @doc The offset that a group has committed.
-spec committed(mock(), brod:group_id(), brod:topic(), brod:partition()) -> undefined | brod:offset().
committed(Mock, Group, Topic, Partition) ->
  {ok, Offset} = call(Mock, #{do => committed, group => Group, topic => Topic, partition => Partition}),
  undefined_for_null(Offset).

%% @doc How many offsets of a topic a group has not committed, of all partitions.
-spec lag(mock(), brod:group_id(), brod:topic()) -> undefined | non_neg_integer().
lag(Mock, Group, Topic) ->
  {ok, Lag} = call(Mock, #{do => lag, group => Group, topic => Topic}),
  undefined_for_null(Lag).

%% @equiv await_stable(Mock, Group, 1, TimeoutMs)
-spec await_stable(mock(), brod:group_id(), timeout()) -> ok | {error, timeout}.
await_stable(Mock, Group, TimeoutMs) ->
  await_stable(Mock, Group, 1, TimeoutMs).

%% @doc Waits until a group is stable and has this many members.
-spec await_stable(mock(), brod:group_id(), pos_integer(), timeout()) -> ok | {error, timeout}.
await_stable(Mock, Group, Members, TimeoutMs) ->
  await(TimeoutMs, fun() ->
    case group(Mock, Group) of
      #{state := <<"Stable">>, members := Members} -> true;
      _ -> false
    end
  end).

%% @doc Waits until a group has committed all that a topic holds.
-spec await_caught_up(mock(), brod:group_id(), brod:topic(), timeout()) -> ok | {error, timeout}.
await_caught_up(Mock, Group, Topic, TimeoutMs) ->
  await(TimeoutMs, fun() -> lag(Mock, Group, Topic) =:= 0 end).

%% @doc State (as Kafka names it: `<<"Ongoing">>'), producer id and epoch of a transactional id.
-spec transaction(mock(), binary()) ->
        undefined | #{state := binary(), producer_id := integer(), epoch := integer()}.
transaction(Mock, Id) ->
  case call(Mock, #{do => transaction, id => Id}) of
    {ok, null} -> undefined;
    {ok, #{<<"state">> := State, <<"producer_id">> := ProducerId, <<"epoch">> := Epoch}} ->
      #{state => State, producer_id => ProducerId, epoch => Epoch}
  end.

%% @doc What made the mock close connections, such as a request that it could not decode; the last hundred.
-spec complaints(mock()) -> [binary()].
complaints(Mock) ->
  {ok, All} = call(Mock, #{do => complaints}),
  All.

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

%% @doc What a client, by its client id, may produce and fetch in bytes a second; 0 is no limit.
-spec quota(mock(), binary(), #{produce => non_neg_integer(), fetch => non_neg_integer()}) -> ok | {error, binary()}.
quota(Mock, ClientId, Quota) ->
  done(call(Mock, Quota#{do => quota, client => ClientId})).

%% @doc By how many ms a broker's clock is fast; a negative number is slow. It shows in timestamps that brokers write
%% (`message.timestamp.type=LogAppendTime') and in what they think of tokens.
-spec skew(mock(), integer(), integer()) -> ok | {error, binary()}.
skew(Mock, Broker, Ms) ->
  done(call(Mock, #{do => skew, broker => Broker, ms => Ms})).

%% @doc Brokers ask clients for other metrics from now on, those whose names begin so. Only with `client_metrics'.
-spec want_metrics(mock(), [binary()]) -> ok | {error, binary()}.
want_metrics(Mock, Names) ->
  done(call(Mock, #{do => want_metrics, names => Names})).

%% @doc What clients have pushed, the last thousand pushes. The values of a metric have the attributes beside them, such as
%% the broker's id.
-spec pushed_metrics(mock()) ->
        [#{client := binary(), instance := binary(), terminating := boolean(),
           metrics := #{Name :: binary() => [{number(), #{binary() => binary()}}]}}].
pushed_metrics(Mock) ->
  {ok, Pushes} = call(Mock, #{do => pushed_metrics}),
  [#{client => Client, instance => Instance, terminating => Terminating,
     metrics => maps:from_list([{Name, [{Value, Attributes} || #{<<"value">> := Value, <<"attributes">> := Attributes} <- Points]}
                                || #{<<"name">> := Name, <<"points">> := Points} <- Metrics])}
   || #{<<"client">> := Client, <<"instance">> := Instance, <<"terminating">> := Terminating, <<"metrics">> := Metrics} <- Pushes].

%% @doc Have another broker lead a partition.
-spec move_leader(mock(), brod:topic(), brod:partition(), integer()) -> ok | {error, binary()}.
move_leader(Mock, Topic, Partition, Broker) ->
  done(call(Mock, #{do => move_leader, topic => Topic, partition => Partition, broker => Broker})).

%% @doc Another broker coordinates a group or a transactional id.
-spec move_coordinator(mock(), binary(), integer()) -> ok | {error, binary()}.
move_coordinator(Mock, GroupOrTransactionalId, Broker) ->
  done(call(Mock, #{do => move_coordinator, key => GroupOrTransactionalId, broker => Broker})).

%% @doc A broker's port and connections close; other brokers lead its partitions.
-spec stop_broker(mock(), integer()) -> ok | {error, binary()}.
stop_broker(Mock, Broker) ->
  stop_broker(Mock, Broker, 0).

%% @doc The same with an unclean election: the new leaders lack the last messages of each partition, so many or the whole
%% batches that they are in.
-spec stop_broker(mock(), integer(), non_neg_integer()) -> ok | {error, binary()}.
stop_broker(Mock, Broker, Lose) ->
  done(call(Mock, #{do => stop_broker, broker => Broker, lose => Lose})).

%% @doc Start a broker that was stopped, on its port of before.
-spec start_broker(mock(), integer()) -> ok | {error, binary()}.
start_broker(Mock, Broker) ->
  done(call(Mock, #{do => start_broker, broker => Broker})).

%% @doc The last messages of a partition were never there, so many or the whole batches that they are in.
-spec lose(mock(), brod:topic(), brod:partition(), non_neg_integer()) -> ok | {error, binary()}.
lose(Mock, Topic, Partition, Messages) ->
  done(call(Mock, #{do => lose, topic => Topic, partition => Partition, messages => Messages})).

%% @doc Of each key only the newest message is left, and none without a key: there are holes between offsets.
-spec compact(mock(), brod:topic(), brod:partition()) -> ok | {error, binary()}.
compact(Mock, Topic, Partition) ->
  done(call(Mock, #{do => compact, topic => Topic, partition => Partition})).

%% @doc The high watermark is told with this added; 0 is the truth.
-spec lie(mock(), brod:topic(), brod:partition(), integer()) -> ok | {error, binary()}.
lie(Mock, Topic, Partition, By) ->
  done(call(Mock, #{do => lie, topic => Topic, partition => Partition, by => By})).

%% @doc Appends a control batch: 0 aborts, 1 commits, other kinds are for nobody.
-spec control_batch(mock(), brod:topic(), brod:partition(), integer()) -> ok | {error, binary()}.
control_batch(Mock, Topic, Partition, Kind) ->
  done(call(Mock, #{do => control_batch, topic => Topic, partition => Partition, kind => Kind})).

await(infinity, Holds) ->
  await_until(infinity, Holds);
await(TimeoutMs, Holds) ->
  await_until(erlang:monotonic_time(millisecond) + TimeoutMs, Holds).

%% An atom is greater than any time.
await_until(Deadline, Holds) ->
  case Holds() of
    true -> ok;
    false ->
      case erlang:monotonic_time(millisecond) > Deadline of
        true -> {error, timeout};
        false ->
          timer:sleep(?STEP_MS),
          await_until(Deadline, Holds)
      end
  end.

done({ok, _}) -> ok;
done({error, _} = Error) -> Error.

call(Mock, Command) ->
  gen_server:call(Mock, Command, ?TIMEOUT).

message(#{<<"offset">> := Offset, <<"ts">> := Ts, <<"key">> := Key, <<"value">> := Value,
          <<"headers">> := Headers, <<"append_time">> := ByBroker}) ->
  #kafka_message{offset = Offset, key = bytes(Key), value = bytes(Value), ts = Ts,
                 ts_type = case ByBroker of true -> append; false -> create end,
                 headers = [{base64:decode(Name), bytes(V)} || [Name, V] <- Headers]}.

bytes(null) -> <<>>;
bytes(Base64) -> base64:decode(Base64).

nullable(null) -> undefined;
nullable(Base64) -> base64:decode(Base64).

undefined_for_null(null) -> undefined;
undefined_for_null(Value) -> Value.

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
handle_call(Command, _From, Port) when not is_map(Command) ->
  {reply, {error, {unknown_call, Command}}, Port};
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

%% The program may end at any time, also while it is written to: then the port ends who is linked to it, and nobody
%% knows the status.
ask(Port, Command) ->
  _ = process_flag(trap_exit, true),
  Encoded = brod_json:encode(Command),
  _ = try port_command(Port, Encoded) catch error:badarg -> ended end,
  Answer = answer(Port),
  _ = process_flag(trap_exit, false),
  Answer.

answer(Port) ->
  receive
    {Port, {data, Data}} ->
      case brod_json:decode(Data) of
        #{<<"ok">> := Value} -> {ok, Value};
        #{<<"error">> := Why} -> {error, Why}
      end;
    {Port, {exit_status, Status}} ->
      {error, {exited, Status}};
    {'EXIT', Port, Reason} ->
      {error, {exited, Reason}}
  end.
