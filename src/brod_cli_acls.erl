%% @private `brod acls'.
-module(brod_cli_acls).

-export([options/0, run/2]).
-export([bindings/1, filter/1]).

-define(KINDS, [any, topic, group, cluster, transactional_id, delegation_token, user]).
-define(PATTERNS, [any, match, literal, prefixed]).
-define(OPERATIONS, [any, all, read, write, create, delete, alter, describe, cluster_action, describe_configs,
                     alter_configs, idempotent_write]).
-define(PERMISSIONS, [any, deny, allow]).
-define(CLUSTER, "kafka-cluster").
-define(VSN, 1).

%% @doc What the command takes.
-spec options() -> brod_cli:spec().
options() ->
  [{"topic", string, "-t: of this topic"}, {"group", string, "-g: of this group"},
   {"transactional-id", string, "of this transactional id"}, {"cluster", flag, "of the cluster itself"},
   {"prefixed", flag, "the name is a prefix of many"},
   {"principal", string, "who, as in User:ann"}, {"host", string, "from where (create: *)"},
   {"operation", many, "read, write, describe, ... or all"}, {"deny", flag, "forbid; else allow"},
   {"execute", flag, "delete: do it; else only show what fits"}].

%% @doc List, create and delete.
-spec run(map(), [string()]) -> ok | {error, term()}.
run(Options, ["list"]) ->
  case ask(Options, describe_acls, filter(Options)) of
    {ok, #{error_code := no_error, resources := Resources}} ->
      rows(Options, [Acl#{resource_type => K, resource_name => N, resource_pattern_type => T}
                     || #{resource_type := K, resource_name := N, resource_pattern_type := T, acls := Acls} <- Resources,
                        Acl <- Acls]);
    {ok, #{error_code := Code, error_message := Text}} -> {error, {Code, Text}};
    Other -> Other
  end;
run(Options, ["create"]) ->
  Bindings = bindings(Options),
  case brod_cli_cluster:answer_controller(Options, create_acls, ?VSN, #{creations => Bindings}) of
    {ok, #{creation_responses := Answers}} -> brod_cli_cluster:all_done(Answers, length(Bindings));
    Other -> Other
  end;
run(Options, ["delete"]) ->
  Filter = filter(Options),
  [] =/= named(Options) orelse is_map_key("principal", Options)
    orelse throw({usage, "acls delete wants a resource or --principal: it would take all there are"}),
  case Options of
    #{"execute" := true} ->
      case ask(Options, delete_acls, #{filters => [Filter]}) of
        {ok, #{filter_responses := [#{error_code := no_error, matching_acls := Deleted}]}} ->
          ok = rows(Options, Deleted),
          brod_cli_cluster:all_done(Deleted, 0);
        {ok, #{filter_responses := Answers}} -> brod_cli_cluster:all_done(Answers, 1);
        Other -> Other
      end;
    _ ->
      ok = case run(Options, ["list"]) of ok -> ok; {error, Reason} -> throw({failed, brod_cli_output:reason(Reason)}) end,
      brod_cli_output:note("nothing was changed: --execute deletes these")
  end;
run(_Options, _Words) -> brod_cli_commands:usage("acls").

ask(Options, Api, Fields) -> brod_cli_cluster:ask_controller(Options, Api, ?VSN, Fields).

rows(Options, Acls) ->
  brod_cli_output:rows(Options, [kind, name, pattern, principal, host, operation, permission],
                       lists:sort([[nth(K, ?KINDS), N, nth(T, ?PATTERNS), Who, Host, nth(O, ?OPERATIONS), nth(Is, ?PERMISSIONS)]
                                   || #{resource_type := K, resource_name := N, resource_pattern_type := T, principal := Who,
                                        host := Host, operation := O, permission_type := Is} <- Acls])).

%% @doc The ACLs that options name, to be created.
-spec bindings(map()) -> [map()].
bindings(Options) ->
  {Kind, Name} = case named(Options) of
                   [One] -> One;
                   _ -> throw({usage, "acls create wants one of --topic, --group, --transactional-id and --cluster"})
                 end,
  Operations = case maps:get("operation", Options, []) of
                 [] -> throw({missing, "operation"});
                 Given -> Given
               end,
  [#{resource_type => number(Kind, ?KINDS), resource_name => Name, resource_pattern_type => pattern(Options, literal),
     principal => brod_cli_cluster:need_text("principal", Options),
     host => brod_cli_cluster:text(maps:get("host", Options, "*")), operation => operation(Operation),
     permission_type => case Options of #{"deny" := true} -> number(deny, ?PERMISSIONS); _ -> number(allow, ?PERMISSIONS) end}
   || Operation <- Operations].

%% @doc What options say of ACLs, of which all that fit are meant.
-spec filter(map()) -> map().
filter(Options) ->
  {Kind, Name} = case named(Options) of
                   [] -> {any, undefined};
                   [One] -> One;
                   _ -> throw({usage, "one of --topic, --group, --transactional-id and --cluster at a time"})
                 end,
  #{resource_type => number(Kind, ?KINDS), resource_name => Name, resource_pattern_type_filter => pattern(Options, any),
    principal => optional("principal", Options), host => optional("host", Options),
    operation => case maps:get("operation", Options, []) of
                   [] -> number(any, ?OPERATIONS);
                   [Operation] -> operation(Operation);
                   _ -> throw({usage, "one --operation at a time"})
                 end,
    permission_type => case Options of #{"deny" := true} -> number(deny, ?PERMISSIONS); _ -> number(any, ?PERMISSIONS) end}.

named(Options) ->
  [{Kind, case Name of true -> <<?CLUSTER>>; _ -> brod_cli_cluster:text(Name) end}
   || {Key, Kind} <- [{"topic", topic}, {"group", group}, {"transactional-id", transactional_id}, {"cluster", cluster}],
      #{Key := Name} <- [Options]].

pattern(#{"prefixed" := true}, _Else) -> number(prefixed, ?PATTERNS);
pattern(_Options, Else) -> number(Else, ?PATTERNS).

optional(Name, Options) ->
  case Options of #{Name := Value} -> brod_cli_cluster:text(Value); _ -> undefined end.

operation(Text) ->
  case [O || O <- ?OPERATIONS, atom_to_list(O) =:= string:lowercase(lists:flatten(string:replace(Text, "-", "_", all)))] of
    [Operation] -> number(Operation, ?OPERATIONS);
    [] -> throw({usage, ["no operation ", Text, ": ", lists:join(", ", [atom_to_list(O) || O <- tl(?OPERATIONS)])]})
  end.

%% In Kafka they are counted from 1, and what is not known yet is 0.
number(Name, Names) -> length(lists:takewhile(fun(N) -> N =/= Name end, Names)) + 1.

nth(N, Names) when N >= 1, N =< length(Names) -> lists:nth(N, Names);
nth(N, _Names) -> N.
