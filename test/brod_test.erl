%% What the suites that talk to a real Kafka share: where it is, topics and clients of their own,
%% waiting with a limit, and other programs that read and write the same topics.
-module(brod_test).

-export([init_suite/1, init_mock_suite/1, init_suite_of_three/1, bootstrap/0, dead_endpoints/0, with_mock/2, with_mock/3]).
-export([unique/1, unique_name/1]).
-export([start_client/0, start_client/1, stop_client/1]).
-export([create_topic/1, create_topic/2, replicated_topic/1, create_again/2, topic_spec/2, await_topic/2, add_partitions/2, limit_producers/2]).
-export([producer/2, producer/3, produce_all/4, fetch_all/3, values/1, numbers/2]).
-export([wait_until/2, flush/0, outcome/1, last_term/1, distributed/1]).
-export([java/2, java_start/2, kcat/2, kcat_start/2, kcat_kill/1, servers/0]).
-export([brokers/2, whole/0, with_kafka/2, scripts/0]).

-include_lib("eunit/include/eunit.hrl").
-include("../include/brod.hrl").

-define(STEP_MS, 20).
-define(TOPIC_LIMIT_MS, 20000).
-define(PROGRAM_LIMIT_MS, 240000).
-define(EPMD_LIMIT_MS, 20000).

%% @doc For init_per_suite: starts the application afresh; skips where no Kafka is named.
init_suite(Config) ->
  case os:getenv("BROD_BOOTSTRAP") of
    false ->
      {skip, "BROD_BOOTSTRAP names no Kafka (scripts/test.sh starts one)"};
    _ ->
      _ = application:stop(brod),
      ok = brod:start(),
      Config
  end.

%% @doc For init_per_suite of what needs no Kafka but the one in memory.
init_mock_suite(Config) ->
  {ok, _} = application:ensure_all_started(brod),
  Priv = code:priv_dir(brod),
  case filelib:is_regular(filename:join(Priv, "brod_mock")) of
    true -> Config;
    false -> {skip, "scripts/build-mock.sh " ++ Priv ++ " builds it"}
  end.

%% @doc The same with no options of the client's.
with_mock(Config, Fun) -> with_mock(Config, [], Fun).

%% @doc Calls `Fun' with a Kafka in memory and the name of a client of it, and stops both.
with_mock(Config, Options, Fun) ->
  {ok, Mock} = brod_mock:start(Config),
  Client = list_to_atom("mock" ++ pid_to_list(Mock)),
  ok = brod:start_client(brod_mock:endpoints(Mock), Client, [{reconnect_cool_down_seconds, 0} | Options]),
  try
    Fun(Mock, Client)
  after
    ok = brod:stop_client(Client),
    ok = brod_mock:stop(Mock)
  end.

%% @doc The same as init_suite/1, for what can be seen with three brokers only.
init_suite_of_three(Config) ->
  case init_suite(Config) of
    {skip, _} = Skip -> Skip;
    _ ->
      case length(bootstrap()) of
        3 -> Config;
        _ -> {skip, "needs three brokers"}
      end
  end.

%% @doc Every broker as `{Host, Port}'.
bootstrap() ->
  [begin
     [Host, Port] = string:split(Endpoint, ":", trailing),
     {Host, list_to_integer(Port)}
   end || Endpoint <- string:lexemes(os:getenv("BROD_BOOTSTRAP"), ",")].

%% @doc Where nobody listens.
dead_endpoints() -> [{"127.0.0.1", 1}].

%% @doc A binary that no other run has used, for topics and groups.
unique(Prefix) ->
  iolist_to_binary(io_lib:format("~s-~.36B-~b", [Prefix, os:system_time(microsecond),
                                                 erlang:unique_integer([positive])])).

%% @doc A new client id, an atom that needs no quotes.
unique_name(Prefix) ->
  binary_to_atom(binary:replace(string:lowercase(unique(Prefix)), <<"-">>, <<"_">>, [global]),
                 utf8).

start_client() -> start_client([]).

%% @doc A client under brod's supervisor, connected.
start_client(Options) ->
  Client = unique_name("client"),
  ok = brod:start_client(bootstrap(), Client, Options),
  {ok, _} = brod_client:get_metadata(Client, all),
  Client.

stop_client(Client) -> brod:stop_client(Client).

%% @doc A topic of `Partitions' partitions, each on one broker; usable when this returns.
create_topic(Partitions) -> create_topic(Partitions, #{}).

%% @doc `Options': keys of a topic for brod:create_topics/3, and `configs' as a plain map.
create_topic(Partitions, Options) ->
  Topic = unique("t"),
  Spec = maps:merge(topic_spec(Topic, Partitions), maps:without([configs], Options)),
  Configs = [#{name => K, value => V} || {K, V} <- maps:to_list(maps:get(configs, Options, #{}))],
  %% A broker whose controller changes sends the request to the next one, too, after the first has done it. Nobody else
  %% has this name.
  Exists = <<"Topic '", Topic/binary, "' already exists.">>,
  case brod:create_topics(bootstrap(), [Spec#{configs => Configs}], #{timeout => ?TOPIC_LIMIT_MS}) of
    ok -> ok;
    {error, Exists} -> ok
  end,
  await_topic(Topic, Partitions),
  Topic.

%% @doc A topic that outlives any one of three brokers, with all that was acked.
replicated_topic(Partitions) ->
  create_topic(Partitions, #{replication_factor => 3, configs => #{"min.insync.replicas" => "2"}}).

%% @doc Makes a topic anew that is being deleted, which takes a broker its time.
create_again(Topic, Partitions) ->
  Create = fun() ->
             ok =:= brod:create_topics(bootstrap(), [topic_spec(Topic, Partitions)],
                                       #{timeout => ?TOPIC_LIMIT_MS})
           end,
  true = wait_until(Create, ?TOPIC_LIMIT_MS),
  true = await_topic(Topic, Partitions),
  ok.

topic_spec(Topic, Partitions) ->
  #{name => Topic, num_partitions => Partitions, replication_factor => 1, assignments => [],
    configs => []}.

%% @doc Waits until every broker knows the topic with so many partitions and their leaders, and these lead them.
await_topic(Topic, Partitions) ->
  Known = fun(Broker) -> one_of_each_leader(Broker, Topic, Partitions) =/= [] end,
  wait_until(fun() -> lists:all(Known, bootstrap()) end, ?TOPIC_LIMIT_MS),
  %% A broker tells of a partition before it leads it, and takes on all that it leads of a topic at once.
  Leads = fun(Partition) -> is_led(brod:resolve_offset(bootstrap(), Topic, Partition, latest)) end,
  wait_until(fun() -> lists:all(Leads, one_of_each_leader(hd(bootstrap()), Topic, Partitions)) end, ?TOPIC_LIMIT_MS).

is_led({ok, _Offset}) -> true;
is_led({error, _Reason}) -> false.

%% For each leader one of its partitions; [] where there are not as many partitions, or one has no leader.
one_of_each_leader(Broker, Topic, Partitions) ->
  case catch brod:get_metadata([Broker], [Topic]) of
    {ok, #{topics := [#{partitions := Found}]}} when length(Found) =:= Partitions ->
      ByLeader = maps:from_list([{Leader, Index} || #{leader_id := Leader, partition_index := Index} <- Found]),
      case ByLeader of
        #{-1 := _} -> [];
        _ -> maps:values(ByLeader)
      end;
    _ -> []
  end.

%% @doc brod has no call for this; Kafka's own tool does it.
add_partitions(Topic, Count) ->
  {Output, 0} = java("org.apache.kafka.tools.TopicCommand",
                     ["--bootstrap-server", servers(), "--alter", "--topic", Topic,
                      "--partitions", integer_to_list(Count)]),
  await_topic(Topic, Count),
  Output.

%% @doc Gives the producers of a client a quota, in bytes a second.
limit_producers(Client, Rate) ->
  Args = ["--bootstrap-server", servers(), "--alter", "--entity-type", "clients", "--entity-name", atom_to_list(Client),
          "--add-config", io_lib:format("producer_byte_rate=~b", [Rate])],
  %% In Kafka 4.4 it is somewhere else than in 4.1.
  true = lists:any(fun(Class) -> {_, Code} = java(Class, Args), Code =:= 0 end,
                   ["kafka.admin.ConfigCommand", "org.apache.kafka.tools.ConfigCommand"]),
  ok.

producer(Client, Topic) -> producer(Client, Topic, []).

producer(Client, Topic, Options) ->
  ok = brod:start_producer(Client, Topic, Options),
  ok.

%% @doc Produces values without keys, one call each, and waits for all acks.
produce_all(Client, Topic, Partition, Values) ->
  Refs = [begin
            {ok, Ref} = brod:produce(Client, Topic, Partition, <<>>, V),
            Ref
          end || V <- Values],
  lists:foreach(fun(Ref) -> ok = brod:sync_produce_request(Ref, 30000) end, Refs).

%% @doc All messages that a partition has now.
fetch_all(Target, Topic, Partition) ->
  {ok, End} = brod:resolve_offset(Target, Topic, Partition, latest),
  Collect = fun(Message, Acc) -> {ok, [Message | Acc]} end,
  case End of
    0 -> [];
    _ ->
      {Messages, _Next, Reason} =
        brod:fold(Target, Topic, Partition, 0, #{max_bytes => 4194304}, [], Collect,
                  #{reach_offset => End - 1}),
      true = lists:member(Reason, [reached_target_offset, reached_end_of_partition]),
      lists:reverse(Messages)
  end.

values(Messages) -> [V || #kafka_message{value = V} <- Messages].

numbers(From, To) -> [integer_to_binary(N) || N <- lists:seq(From, To)].

%% @doc Waits until the fun returns something else than `false', and returns that.
wait_until(Fun, LimitMs) ->
  wait_until(Fun, LimitMs, erlang:monotonic_time(millisecond) + LimitMs).

wait_until(Fun, LimitMs, Deadline) ->
  case Fun() of
    false ->
      erlang:monotonic_time(millisecond) < Deadline orelse error({not_within_ms, LimitMs}),
      receive after ?STEP_MS -> ok end,
      wait_until(Fun, LimitMs, Deadline);
    Result ->
      Result
  end.

%% @doc Runs `Fun' on a node that others can reach, which this one is made if it is none yet; `{skip, Why}' where
%% it cannot be made one.
distributed(Fun) ->
  _ = os:cmd("epmd -daemon"),
  %% It is started when it listens, not when the command returns.
  Listens = fun() -> element(1, erl_epmd:names()) =:= ok end,
  try wait_until(Listens, ?EPMD_LIMIT_MS) of
    true -> made_distributed(Fun)
  catch
    error:{not_within_ms, _} -> {skip, "epmd does not listen"}
  end.

made_distributed(Fun) ->
  case net_kernel:start([unique_name("ct"), shortnames]) of
    {ok, _} -> try Fun() after net_kernel:stop() end;
    {error, {already_started, _}} -> Fun();
    {error, Reason} -> {skip, lists:flatten(io_lib:format("distribution cannot start here: ~0p", [Reason]))}
  end.

%% @doc Everything in the mailbox.
flush() ->
  receive Message -> [Message | flush()]
  after 0 -> []
  end.

%% @doc How a call ended, as contract tables write it: `{ret, Value}' or `{Class, Reason}'.
outcome(Fun) ->
  try {ret, Fun()}
  catch Class:Reason -> {Class, Reason}
  end.

%% Other programs

%% @doc Runs a class of Kafka's own tools: `{Output, ExitStatus}'.
java(Class, Args) -> run("java", java_args(Class, Args), <<>>).

%% @doc One that goes on running.
java_start(Class, Args) -> open("java", java_args(Class, Args)).

java_args(Class, Args) ->
  Jars = filename:join([cache_dir(), "brod-kafka", kafka_version(), "*"]),
  ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", Jars, Class | Args].

cache_dir() ->
  case os:getenv("XDG_CACHE_HOME") of
    false -> filename:join(os:getenv("HOME"), ".cache");
    Dir -> Dir
  end.

kafka_version() ->
  case os:getenv("KAFKA_VERSION") of
    false ->
      {ok, Text} = file:read_file(filename:join(scripts(), "kafka-env.sh")),
      {match, [Version]} = re:run(Text, "KAFKA_VERSION:-([0-9.]+)", [{capture, all_but_first, list}]),
      Version;
    Version -> Version
  end.

%% @doc Runs kcat on the cluster, with `Input' on its standard input: `{Output, ExitStatus}'.
kcat(Args, Input) -> run("kcat", ["-q", "-b", servers() | Args], Input).

%% @doc A kcat that goes on running, fed with `Input', which stays open. kcat reads in blocks: short
%% input stays unread.
kcat_start(Args, Input) ->
  Port = open("kcat", ["-q", "-b", servers() | Args]),
  true = port_command(Port, Input),
  Port.

kcat_kill(Port) ->
  {os_pid, Pid} = erlang:port_info(Port, os_pid),
  "" = os:cmd(io_lib:format("kill -KILL ~b", [Pid])),
  _ = collect(Port, []),
  ok.

servers() ->
  lists:flatten(lists:join(",", [io_lib:format("~s:~b", [H, P]) || {H, P} <- bootstrap()])).

%% A port cannot close standard input alone, so a shell feeds it from a file.
run(Program, Args, Input) ->
  File = filename:join(filename:basedir(user_cache, "brod-test"), unique("input")),
  ok = filelib:ensure_dir(File),
  ok = file:write_file(File, Input),
  try
    collect(open("sh", ["-c", "exec \"$@\" <\"$0\"", File, Program | Args]), [])
  after
    file:delete(File)
  end.

open(Program, Args) ->
  Path = os:find_executable(Program),
  open_port({spawn_executable, Path},
            [{args, Args}, binary, exit_status, stderr_to_stdout, use_stdio, hide]).

collect(Port, Acc) ->
  receive
    {Port, {data, Data}} -> collect(Port, [Acc, Data]);
    {Port, {exit_status, Status}} -> {iolist_to_binary(Acc), Status}
  after ?PROGRAM_LIMIT_MS ->
    error({program_runs_too_long, iolist_to_binary(Acc)})
  end.

%% Faults

%% @doc `kill', `stop', `start', `pause' or `resume' for brokers, at the same time: after an outage
%% of all of them none comes up alone.
brokers(Action, Numbers) ->
  ?assertEqual([], [Failed || {_, {_, Status}} = Failed <- act(Action, Numbers), Status =/= 0]),
  ok.

act(Action, Numbers) ->
  Script = filename:join(scripts(), "kafka-broker.sh"),
  Self = self(),
  Pids = [spawn_link(fun() ->
                       Self ! {self(),
                               run(Script, [atom_to_list(Action), integer_to_list(N)], <<>>)}
                     end) || N <- Numbers],
  [receive {Pid, Result} -> {N, Result} end || {Pid, N} <- lists:zip(Pids, Numbers)].

%% @doc Runs `Fun' with the endpoint of a Kafka of one broker, which is started with these settings.
with_kafka(Settings, Fun) ->
  {_, Port} = hd(bootstrap()),
  Base = integer_to_list(Port + 60),
  Dir = filename:join([cache_dir(), "brod-kafka", "cluster-" ++ Base]),
  Script = fun(Name) ->
             {_, 0} = run("env", ["KAFKA_PORT_BASE=" ++ Base, "KAFKA_DIR=" ++ Dir, "KAFKA_BROKERS=1"] ++ Settings ++
                                 [filename:join(scripts(), Name)], <<>>)
           end,
  try
    _ = Script("kafka-up.sh"),
    Fun({"127.0.0.1", Port + 60})
  after Script("kafka-down.sh")
  end.

%% @doc Brings back every broker, whatever was done to it, and waits until they are one cluster with
%% all replicas in step.
whole() ->
  Numbers = lists:seq(1, length(bootstrap())),
  %% these fail for brokers that need no help
  _ = act(resume, Numbers),
  _ = act(start, Numbers),
  wait_until(fun() -> lists:all(fun in_step/1, bootstrap()) end, 60000).

in_step(Broker) ->
  case catch brod:get_metadata([Broker], all) of
    {ok, #{brokers := Brokers, topics := Topics}} ->
      length(Brokers) =:= length(bootstrap()) andalso
        lists:all(fun(#{leader_id := Leader, isr_nodes := Isr, replica_nodes := Replicas}) ->
                    Leader >= 0 andalso length(Isr) =:= length(Replicas)
                  end, [P || #{partitions := Ps} <- Topics, P <- Ps]);
    _ -> false
  end.

scripts() ->
  case os:getenv("BROD_SCRIPTS") of
    false -> filename:join([code:lib_dir(brod), "..", "..", "..", "..", "scripts"]);
    Dir -> Dir
  end.

%% @doc The term in the last line of what another VM has printed.
last_term(Shown) ->
  try
    {ok, Tokens, _} = erl_scan:string(lists:last(string:split(Shown, "\n", trailing))),
    {ok, Term} = erl_parse:parse_term(Tokens),
    Term
  catch error:_ -> {not_a_term, Shown}
  end.
