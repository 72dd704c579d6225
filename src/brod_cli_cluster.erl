%% @private The way of the command line's commands to a cluster, and what they have in common.
-module(brod_cli_cluster).

-export([target/1, metadata/3, with_client/2, must/2, ask/5, answer/5, ask_controller/4, answer_controller/4, all_done/2]).
-export([controller/2, broker/3, coordinator/3, find_coordinator/3]).
-export([partitions/2, resolve/3, position/3, number/1, pairs/2, need/2, need_text/2, text/1]).

-include("brod_kafka.hrl").

-define(CLIENT, brod_cli).
-define(LIMIT_MS, 30000).

-type config() :: [{atom(), term()}].
-export_type([config/0]).

%% @doc Where the options say that the cluster is, and how to connect. Starts the application, which says nothing: what is
%% wrong is said by the command itself.
-spec target(map()) -> {[brod:endpoint()], config()}.
target(Options) ->
  ok = logger:set_primary_config(level, none),
  ok = brod:start(),
  brod_cli_config:bootstrap(Options).

%% @doc What the cluster says of itself and of topics.
-spec metadata([brod:endpoint()], all | [brod:topic()], config()) -> {ok, map()} | {error, term()}.
metadata(Endpoints, Topics, Config) ->
  try brod:get_metadata(Endpoints, Topics, Config)
  catch throw:{failed_to_connect, Failures} -> {error, Failures}
  end.

%% @doc Call a function while the client `brod_cli' is there.
-spec with_client(map(), fun(() -> Result)) -> Result | {error, term()}.
with_client(Options, Fun) ->
  {Endpoints, Config} = target(Options),
  case metadata(Endpoints, [], Config) of
    {ok, _} ->
      ok = must(brod:start_client(Endpoints, ?CLIENT, Config), "the client does not start"),
      try Fun()
      after
        %% A signal may have ended the application.
        try brod:stop_client(?CLIENT) catch _:_ -> ok end
      end;
    {error, _} = Error -> Error
  end.

%% @doc An error ends the command, with what it is about.
-spec must(ok | {ok, Value} | {error, term()}, iodata()) -> ok | {ok, Value}.
must({error, Reason}, What) -> throw({failed, [What, ": ", brod_cli_output:reason(Reason)]});
must(Done, _What) -> Done.

%% @doc Call an API of one broker, at one of its versions.
-spec ask(brod:endpoint(), config(), atom(), non_neg_integer(), map()) -> {ok, term()} | {error, term()}.
ask(Endpoint, Config, Api, Vsn, Fields) ->
  exchange(Endpoint, Config, brod_kafka_build:make(Api, Vsn, Fields), fun brod_utils:request_sync/3).

%% @doc As {@link ask/5}, with the whole answer, which may have errors inside.
-spec answer(brod:endpoint(), config(), atom(), non_neg_integer(), map()) -> {ok, map()} | {error, term()}.
answer(Endpoint, Config, Api, Vsn, Fields) ->
  case exchange(Endpoint, Config, brod_kafka_build:make(Api, Vsn, Fields), fun brod_kafka_response:exchange/3) of
    {ok, #kpro_rsp{msg = Message}} -> {ok, Message};
    {error, Reason} -> {error, Reason}
  end.

exchange(Endpoint, Config, Request, Exchange) ->
  case brod_connection:start([Endpoint], Config, self()) of
    {ok, Connection} ->
      try Exchange(Connection, Request, ?LIMIT_MS)
      after brod_connection:stop(Connection)
      end;
    {error, Reason} -> {error, Reason}
  end.

%% @doc The same of the controller of the cluster that options name.
-spec ask_controller(map(), atom(), non_neg_integer(), map()) -> {ok, term()} | {error, term()}.
ask_controller(Options, Api, Vsn, Fields) ->
  {Endpoints, Config} = target(Options),
  ask(controller(Endpoints, Config), Config, Api, Vsn, Fields).

%% @doc As {@link ask_controller/4}, with the whole answer.
-spec answer_controller(map(), atom(), non_neg_integer(), map()) -> {ok, map()} | {error, term()}.
answer_controller(Options, Api, Vsn, Fields) ->
  {Endpoints, Config} = target(Options),
  answer(controller(Endpoints, Config), Config, Api, Vsn, Fields).

%% @doc Whether a broker says of each of so many things that they are done; else the first error, with what it says of it.
%% Of what an answer leaves out nobody knows.
-spec all_done([map()], Asked :: non_neg_integer()) -> ok | {error, {atom(), binary() | undefined} | atom() | binary()}.
all_done(Answers, Asked) ->
  case [error_of(Answer) || #{error_code := Code} = Answer <- Answers, Code =/= no_error] of
    [Error | _] -> {error, Error};
    [] when length(Answers) < Asked -> {error, <<"the broker's answer leaves out what was asked for">>};
    [] -> ok
  end.

error_of(#{error_code := Code, error_message := Text}) -> {Code, Text};
error_of(#{error_code := Code}) -> Code.

%% @doc The controller, or any broker if there is none.
-spec controller([brod:endpoint()], config()) -> brod:endpoint().
controller(Endpoints, Config) ->
  case must(metadata(Endpoints, [], Config), "no metadata") of
    {ok, #{controller_id := Id}} when Id >= 0 -> broker(Id, Endpoints, Config);
    {ok, _} -> hd(Endpoints)
  end.

%% @doc The endpoint of a broker.
-spec broker(integer(), [brod:endpoint()], config()) -> brod:endpoint().
broker(Id, Endpoints, Config) ->
  {ok, #{brokers := Brokers}} = must(metadata(Endpoints, [], Config), "no metadata"),
  case [{H, P} || #{node_id := N, host := H, port := P} <- Brokers, N =:= Id] of
    [Endpoint] -> Endpoint;
    [] -> throw({failed, ["no broker ", integer_to_list(Id)]})
  end.

%% @doc The endpoint of a group's coordinator.
-spec coordinator([brod:endpoint()], config(), string()) -> brod:endpoint().
coordinator(Endpoints, Config, Group) ->
  {ok, Endpoint} = must(find_coordinator(Endpoints, Config, Group), "no coordinator"),
  Endpoint.

%% @doc The same, or why it is not told.
-spec find_coordinator([brod:endpoint()], config(), string()) -> {ok, brod:endpoint()} | {error, term()}.
find_coordinator(Endpoints, Config, Group) ->
  Client = brod_cli_coordinator,
  {ok, _} = must(metadata(Endpoints, [], Config), "no metadata"),
  ok = must(brod:start_client(Endpoints, Client, Config), "the client does not start"),
  try brod_client:get_group_coordinator(Client, text(Group)) of
    {ok, {Endpoint, _Config}} -> {ok, Endpoint};
    {error, [{error_code, Code}, {error_msg, <<>>}]} -> {error, Code};
    {error, _} = Error -> Error
  after
    _ = brod:stop_client(Client)
  end.

%% @doc The partition that the options name, or all there are.
-spec partitions(brod:topic(), map()) -> [brod:partition()].
partitions(_Topic, #{"partition" := P}) -> [P];
partitions(Topic, _Options) ->
  {ok, Count} = must(brod:get_partitions_count_safe(?CLIENT, Topic), Topic),
  lists:seq(0, Count - 1).

%% @doc The offset of a time, -1 if nothing came since.
-spec resolve(brod:topic(), brod:partition(), brod:offset_time()) -> integer().
resolve(Topic, P, Time) ->
  {ok, Offset} = must(brod:resolve_offset(?CLIENT, Topic, P, Time), Topic),
  Offset.

%% @doc The offset of a place as people write it.
-spec position(brod:topic(), brod:partition(), string()) -> integer().
position(Topic, P, "earliest") -> resolve(Topic, P, earliest);
position(Topic, P, "latest") -> resolve(Topic, P, latest);
position(Topic, P, [$@ | Time]) ->
  case resolve(Topic, P, number(Time)) of
    -1 -> resolve(Topic, P, latest);
    Offset -> Offset
  end;
position(Topic, P, [$- | _] = Back) -> max(resolve(Topic, P, earliest), resolve(Topic, P, latest) + number(Back));
position(_Topic, _P, Offset) -> number(Offset).

%% @doc A number.
-spec number(string()) -> integer().
number(Text) ->
  try list_to_integer(Text)
  catch error:badarg -> throw({usage, ["no number: ", Text]})
  end.

%% @doc What was given as `key=value'.
-spec pairs(string(), map()) -> [{binary(), binary()}].
pairs(Name, Options) ->
  [case string:split(Text, "=") of
     [K, V] -> {text(K), text(V)};
     _ -> throw({usage, ["--", Name, " wants key=value, not ", Text]})
   end || Text <- maps:get(Name, Options, [])].

%% @doc An option that must be there.
-spec need(string(), map()) -> term().
need(Name, Options) ->
  case Options of
    #{Name := Value} -> Value;
    _ -> throw({missing, Name})
  end.

%% @doc A text that must be there, as bytes.
-spec need_text(string(), map()) -> binary().
need_text(Name, Options) ->
  case need(Name, Options) of
    "" -> throw({usage, ["--", Name, " is empty"]});
    Text -> text(Text)
  end.

%% @doc An argument as bytes.
-spec text(string()) -> binary().
text(Argument) -> <<_/binary>> = unicode:characters_to_binary(Argument).
