%% @private `brod doctor': what stands between this machine and a cluster, in words.
-module(brod_cli_doctor).

-export([run/2]).

-define(LIMIT_MS, 3000).

%% @doc Looks at each endpoint, then at each broker that the cluster names. An error if anything is wrong.
-spec run(map(), [string()]) -> ok | {error, term()}.
run(Options, _Words) ->
  {Endpoints, Config} = brod_cli_cluster:target(Options),
  Tell = fun(Findings) -> [tell(Options, Finding) || Finding <- Findings] end,
  Reached = [Tell(reach("bootstrap", Endpoint, Config)) || Endpoint <- Endpoints],
  Cluster = case brod_cli_cluster:metadata(Endpoints, all, Config) of
              {ok, #{brokers := Brokers} = Metadata} ->
                Advertised = [Tell(reach("advertised", {binary_to_list(Host), Port}, Config))
                              || #{host := Host, port := Port} <- Brokers],
                Listeners = Tell(listeners(Endpoints, Brokers)),
                Asked = brod_cli_checks:clock(Metadata, Config, erlang:system_time(millisecond))
                  ++ brod_cli_checks:permissions(Options, Endpoints, Config),
                [Advertised, Listeners, Tell(topics(Metadata)), Tell([{Is, finding(Format, Args)} || {Is, Format, Args} <- Asked])];
              {error, Reason} ->
                Tell([bad("the cluster does not answer: ~ts", [brod_cli_output:reason(Reason)])])
            end,
  case lists:member(bad, lists:flatten([Reached, Cluster])) of
    true -> {error, <<"something is wrong, see above">>};
    false -> _ = Tell([good("all is well", [])]), ok
  end.

reach(Kind, {Host0, Port} = Endpoint, Config) ->
  Host = unicode:characters_to_list(brod_engine:to_binary(Host0)),
  Addresses = [A || Family <- [inet, inet6], {ok, As} <- [inet:getaddrs(Host, Family)], A <- As],
  case Addresses of
    [] -> [bad("~s ~ts: the name does not resolve. Check it, /etc/hosts and the DNS servers", [Kind, Host])];
    _ ->
      case brod_connection:start([Endpoint], [{connect_timeout, ?LIMIT_MS} | Config], self()) of
        {ok, Connection} ->
          Versions = brod_connection:api_versions(Connection),
          ok = brod_connection:stop(Connection),
          [good("~s ~ts:~b (~s): TCP~s~s and versions are fine",
                [Kind, Host, Port, inet:ntoa(hd(Addresses)), [", TLS" || is_on(ssl, Config)],
                 [", SASL" || is_on(sasl, Config)]])
           | versions(Versions)];
        {error, Reason} ->
          [bad("~s ~ts", [Kind, brod_cli_output:reason(Reason)])]
      end
  end.

is_on(Name, Config) -> not lists:member(proplists:get_value(Name, Config, false), [false, undefined]).

versions({ok, #{fetch := {_, Newest}}}) when Newest < 4 ->
  [bad("the broker is older than Kafka 0.11: no headers, no transactions, no idempotence", [])];
versions(_) -> [].

%% The broker's own names are what clients connect to after the first request.
listeners(Endpoints, Brokers) ->
  Local = fun(Host) -> lists:member(Host, ["localhost", "127.0.0.1", "::1"]) end,
  Remote = lists:any(fun({Host, _}) -> not Local(Host) end, Endpoints),
  [bad("broker ~b advertises ~s: from another machine that is the client itself. Set advertised.listeners", [Id, Host])
   || Remote, #{node_id := Id, host := Host} <- Brokers, Local(binary_to_list(Host))].

topics(#{topics := Topics}) ->
  Leaderless = [{N, P} || #{name := N, partitions := Ps} <- Topics, #{partition_index := P, leader_id := -1} <- Ps],
  Shrunk = [N || #{partitions := Ps} <- Topics, #{partition_index := N, replica_nodes := R, isr_nodes := I} <- Ps,
                 length(I) < length(R)],
  Refused = [N || #{name := N, error_code := topic_authorization_failed} <- Topics],
  [bad("~b partitions have no leader, the first: ~0tp", [length(Leaderless), hd(Leaderless)]) || Leaderless =/= []]
    ++ [bad("~b partitions have replicas that lag behind or are gone", [length(Shrunk)]) || Shrunk =/= []]
    ++ [bad("~b topics may not be described by this user (ACLs)", [length(Refused)]) || Refused =/= []]
    ++ [good("~b topics are seen", [length(Topics)])].

good(Format, Args) -> {ok, finding(Format, Args)}.

bad(Format, Args) -> {bad, finding(Format, Args)}.

finding(Format, Args) -> <<_/binary>> = unicode:characters_to_binary(io_lib:format(Format, Args)).

%% Colours for people only.
tell(#{"json" := true}, {Is, Text}) ->
  ok = brod_cli_output:write([brod_cli_output:json(#{ok => Is =:= ok, finding => Text}), "\n"]),
  Is;
tell(_Options, {Is, Text}) ->
  Sign = case Is of ok -> brod_cli_output:colour("ok  ", 32); bad -> brod_cli_output:colour("BAD ", 31) end,
  ok = brod_cli_output:print("~s~ts~n", [Sign, Text]),
  Is.
