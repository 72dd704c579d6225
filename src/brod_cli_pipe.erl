%% @private `brod pipe': messages of a topic to another, also of another cluster.
-module(brod_cli_pipe).

-export([options/0, run/2]).

-include("brod_int.hrl").

-define(CLIENT, brod_cli).
-define(TARGET, brod_cli_target).
-define(UNSETTLED, 1000).

%% @doc What the command takes beside the options of consume.
-spec options() -> brod_cli:spec().
options() ->
  [{"to-topic", string, "where they go"},
   {"to-brokers", string, "another cluster, host:port,..."},
   {"to-config", string, "how to connect to that, a properties file as of Java's clients"},
   {"same-partition", flag, "keep the partition; else by the key"}].

%% @doc Keys, values, headers and times stay as they are.
-spec run(map(), [string()]) -> ok | {error, term()}.
run(Options, _Words) ->
  From = brod_cli_cluster:need_text("topic", Options),
  To = brod_cli_cluster:need_text("to-topic", Options),
  Elsewhere = maps:from_list([{Name, Value} || {Given, Name} <- [{"to-brokers", "brokers"}, {"to-config", "config"}],
                                               #{Given := Value} <- [Options]]),
  From =/= To orelse map_size(Elsewhere) > 0 orelse throw({usage, "a topic that goes into itself never ends"}),
  brod_cli_cluster:with_client(Options, fun() ->
    Target = target(Elsewhere),
    try
      ok = brod_cli_messages:start_producer(Target, To),
      Send = fun(P, Message, Acc) -> send(Target, To, P, Message, Options, Acc) end,
      {_, Bar} = brod_cli_messages:each(Options, Send, {{0, []}, brod_cli_output:progress("messages", unknown)},
                                        fun({Calls, Seen}) -> ok = brod_cli_messages:settle(Calls), {{0, []}, Seen} end),
      brod_cli_output:finish(Bar)
    after
      Target =:= ?CLIENT orelse brod:stop_client(Target)
    end
  end).

target(Elsewhere) when map_size(Elsewhere) =:= 0 -> ?CLIENT;
target(Elsewhere) ->
  %% The environment is about the cluster that is read.
  {Endpoints, Config} = brod_cli_config:bootstrap(Elsewhere, no_environment),
  {ok, _} = brod_cli_cluster:must(brod_cli_cluster:metadata(Endpoints, [], Config), "the other cluster"),
  ok = brod_cli_cluster:must(brod:start_client(Endpoints, ?TARGET, Config), "the other cluster"),
  ?TARGET.

send(Target, To, P, #kafka_message{key = Key, value = Value, headers = Headers, ts = Ts}, Options, {Calls, Bar}) ->
  Time = case Ts of undefined -> #{}; _ -> #{ts => Ts} end,
  Partition = case Options of #{"same-partition" := true} -> P; _ -> murmur2 end,
  Sent = brod:produce(Target, To, Partition, Key, Time#{key => Key, value => Value, headers => Headers}),
  {brod_cli_messages:collect(Sent, ?UNSETTLED, Calls), brod_cli_output:step(Bar, 1)}.
