%% @private The commands of the command line, each a function of its options and words.
-module(brod_cli_commands).

-export([all/0, usage/1, actions/1]).

-define(LIMIT_MS, 30000).
-define(TOPIC, 2).

%% @doc Name, text, options and function of each.
-spec all() -> [{string(), string(), brod_cli:spec(), fun((map(), [string()]) -> ok | {error, term()})}].
all() ->
  Topic = {"topic", string, "-t: the topic"},
  Partition = {"partition", natural, "-p: the partition (all, or by key)"},
  Group = {"group", string, "-g: the group"},
  From = [{"from", string, "earliest (default), latest, an offset, -N from the end, or a time in ms @N"},
          {"count", natural, "-n: end after so many"}, {"follow", flag, "-f: wait for more"},
          {"grep", string, "only values that fit a regular expression"}],
  [{"meta", "brokers, topics and partitions", [Topic], fun meta/2},
   {"topics", "list | create NAME | delete NAME... | describe NAME | partitions NAME --partitions N | alter NAME --set K=V",
    [{"partitions", integer, "how many (1)"}, {"replication", integer, "replicas of each (1)"},
     {"set", many, "a configuration, key=value"}], fun topics/2},
   {"produce", "a message a line from stdin, or from files",
    [Topic, Partition, {"key-delimiter", string, "-K: what stands between key and value"},
     {"header", many, "name=value, for all messages"},
     {"json-lines", flag, "lines are {key, value, headers} as consume --json prints them"}], fun brod_cli_messages:produce/2},
   {"consume", "messages of a topic, to its present end",
    [Topic, Partition | From] ++
    [{"group", string, "-g: as a member of this group, which commits what was shown"},
     {"idle", natural, "with a group: end when nothing has come for so many seconds (5)"},
     {"format", string, "%t topic, %p partition, %o offset, %k key, %v value, %T time, \\n, \\t"}],
    fun brod_cli_messages:consume/2},
   {"pipe", "messages of a topic to another, also of another cluster",
    [Topic, Partition | From] ++ brod_cli_pipe:options(), fun brod_cli_pipe:run/2},
   {"offsets", "first and last offsets, or those of a time",
    [Topic, Partition, {"time", integer, "ms since 1970"}], fun brod_cli_messages:offsets/2},
   {"groups", "list | describe GROUP | lag GROUP | reset GROUP --topic T --to WHERE [--execute] | delete GROUP",
    [Topic, Partition, {"to", string, "earliest, latest, an offset, @MS, +N or -N"},
     {"execute", flag, "do it; else only show it"}],
    fun brod_cli_groups:groups/2},
   {"commits", "what a group has committed", [Group], fun brod_cli_groups:commits/2},
   {"configs", "describe | set topic NAME or broker ID [--set K=V]", [{"set", many, "key=value"}], fun configs/2},
   {"acls", "list | create | delete [--execute], with a resource, --principal and --operation", brod_cli_acls:options(),
    fun brod_cli_acls:run/2},
   {"users", "list [NAME...] | set NAME | delete NAME: users of SASL/SCRAM", brod_cli_users:options(), fun brod_cli_users:run/2},
   {"txn", "list | describe ID | producers --topic T | abort ID [--execute] | abort --topic T --partition P --offset O [--execute]",
    brod_cli_txn:options(), fun brod_cli_txn:run/2},
   {"bench", "produce | consume: how fast a topic is written or read from here", brod_cli_bench:options(), fun brod_cli_bench:run/2},
   {"doctor", "looks for what is wrong with the way to a cluster, and says it in words",
    [{"topic", string, "-t: also whether this topic may be read and written"},
     {"group", string, "-g: also whether this group may be used"}], fun brod_cli_doctor:run/2}].

%% @doc The words that may come after a command's name: of its text, in which they stand.
-spec actions(Text :: string()) -> [string()].
actions(Text) ->
  case string:split(Text, " | ", all) of
    [_] -> [];
    Parts -> lists:usort([hd(string:lexemes(Part, " ,:")) || Part <- Parts])
  end.

%% Commands

meta(Options, _Words) ->
  {Endpoints, Config} = brod_cli_cluster:target(Options),
  %% A topic asked for by name would be created by some brokers.
  case brod_cli_cluster:metadata(Endpoints, all, Config) of
    {ok, #{brokers := Brokers, topics := All} = Metadata} ->
      Topics = wanted(Options, lists:sort([{Name, T} || #{name := Name} = T <- All])),
      Json = maps:is_key("json", Options),
      Json orelse rows(Options, [broker, host, port, rack, controller],
                       [[Id, Host, Port, maps:get(rack, B, <<>>), Id =:= maps:get(controller_id, Metadata, -1)]
                        || #{node_id := Id, host := Host, port := Port} = B <- Brokers]),
      Json orelse brod_cli_output:print("~n", []),
      rows(Options, [topic, partition, leader, replicas, isr, error],
           lists:sort([[Name, I, L, R, Isr, E]
                       || {Name, #{partitions := Ps}} <- Topics,
                          #{partition_index := I, leader_id := L, replica_nodes := R, isr_nodes := Isr,
                            error_code := E} <- Ps]));
    {error, _} = Error -> Error
  end.

wanted(#{"topic" := Topic}, Topics) ->
  Name = brod_cli_cluster:text(Topic),
  case lists:keyfind(Name, 1, Topics) of
    false -> throw({failed, ["no topic ", Name]});
    Found -> [Found]
  end;
wanted(_Options, Topics) -> Topics.

topics(Options, Words) ->
  {Endpoints, Config} = brod_cli_cluster:target(Options),
  case Words of
    ["list" | _] ->
      case brod_cli_cluster:metadata(Endpoints, all, Config) of
        {ok, #{topics := All}} ->
          rows(Options, [topic, partitions],
               lists:sort([[Name, length(Ps)] || #{name := Name, partitions := Ps} <- All]));
        Error -> Error
      end;
    ["create", Name] ->
      Topic = #{name => brod_cli_cluster:text(Name), num_partitions => maps:get("partitions", Options, 1),
                replication_factor => maps:get("replication", Options, 1), assignments => [],
                configs => [#{name => K, value => V} || {K, V} <- brod_cli_cluster:pairs("set", Options)]},
      brod:create_topics(Endpoints, [Topic], #{timeout => ?LIMIT_MS}, Config);
    ["delete" | [_ | _] = Names] ->
      brod:delete_topics(Endpoints, [brod_cli_cluster:text(Name) || Name <- Names], ?LIMIT_MS, Config);
    ["describe", Name] ->
      case meta(Options#{"topic" => Name}, []) of
        ok -> configs(Options, ["describe", "topic", Name]);
        Error -> Error
      end;
    ["alter", Name] -> configs(Options, ["set", "topic", Name]);
    ["partitions", Name] ->
      Fields = #{topic_partitions => [#{topic => brod_cli_cluster:text(Name),
                                        new_partitions => #{count => brod_cli_cluster:need("partitions", Options), assignment => undefined}}],
                 timeout => ?LIMIT_MS, validate_only => false},
      case brod_cli_cluster:answer(brod_cli_cluster:controller(Endpoints, Config), Config, create_partitions, 1, Fields) of
        {ok, #{topic_errors := Answers}} -> brod_cli_cluster:all_done(Answers, 1);
        Other -> Other
      end;
    _ -> usage("topics")
  end.

configs(Options, [What, Kind, Name]) when What =:= "describe"; What =:= "set" ->
  {Endpoints, Config} = brod_cli_cluster:target(Options),
  {Type, Broker} = case Kind of
                     "topic" -> {?TOPIC, brod_cli_cluster:controller(Endpoints, Config)};
                     "broker" -> {4, brod_cli_cluster:broker(brod_cli_cluster:number(Name), Endpoints, Config)};
                     _ -> usage("configs")
                   end,
  Resource = #{resource_type => Type, resource_name => brod_cli_cluster:text(Name)},
  case What of
    "describe" ->
      Fields = #{resources => [Resource#{config_names => undefined}], include_synonyms => false},
      case brod_cli_cluster:ask(Broker, Config, describe_configs, 1, Fields) of
        {ok, #{resources := [#{error_code := no_error, config_entries := Entries}]}} ->
          rows(Options, [name, value, source],
               [[N, case V of null -> <<>>; undefined -> <<>>; _ -> V end, source(S)]
                || #{config_name := N, config_value := V, config_source := S} <- Entries]);
        {ok, #{resources := Answers}} -> brod_cli_cluster:all_done(Answers, 1);
        Other -> Other
      end;
    "set" ->
      Changes = [#{name => K, config_operation => case V of <<>> -> 1; _ -> 0 end, value => V} || {K, V} <- brod_cli_cluster:pairs("set", Options)],
      Changes =/= [] orelse throw({usage, "--set key=value; key= goes back to the default"}),
      Fields = #{resources => [Resource#{configs => Changes}], validate_only => false},
      case brod_cli_cluster:ask(Broker, Config, incremental_alter_configs, 0, Fields) of
        {ok, #{responses := Answers}} -> brod_cli_cluster:all_done(Answers, 1);
        Other -> Other
      end
  end;
configs(_Options, _Words) -> usage("configs").

source(1) -> topic;
source(2) -> broker;
source(3) -> all_brokers;
source(4) -> file;
source(5) -> default;
source(_) -> unknown.

rows(Options, Columns, Rows) -> brod_cli_output:rows(Options, Columns, Rows).

%% @doc What a command could not make sense of.
-spec usage(string()) -> no_return().
usage(Command) ->
  {_, Text, _, _} = lists:keyfind(Command, 1, all()),
  throw({usage, [Command, ": ", Text]}).
