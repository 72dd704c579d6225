%% @private Metadata of topics for a client's callers, and what the client learns from it.
-module(brod_metadata).

-export([fetch/3, partitions_count/4]).

%% A topic that the broker is about to create is asked for again soon.
-define(AUTO_CREATE_TTL_MS, 1000).

%% @doc Metadata of all topics (`all' or `undefined'), of one topic, or of several. With
%% `AutoCreate' a topic that does not exist may be created, if the client's options allow it. Partitions that
%% topics have gained have their processes when this returns.
-spec fetch(brod_client:context(), all | undefined | brod:topic() | [brod:topic()],
            AutoCreate :: boolean()) -> {ok, map()} | {error, term()}.
fetch(Context, undefined, AutoCreate) ->
  fetch(Context, all, AutoCreate);
fetch(Context, Topics, AutoCreate) ->
  ok = case is_list(Topics) of
         true -> brod_args:topics(Topics);
         false -> Topics =:= all orelse brod_args:topic(Topics), ok
       end,
  fetch(Context, Topics, AutoCreate, fun(Grow) -> Grow() end).

fetch(Context, Topic, AutoCreate, Run) when is_binary(Topic) ->
  fetch(Context, [Topic], AutoCreate, Run);
fetch(#{options := Options, client := ClientPid} = Context, Topics, AutoCreate, Run) ->
  #{allow_topic_auto_creation := Allowed, unknown_topic_cache_ttl := Ttl} = Options,
  Creates = AutoCreate andalso Allowed andalso Topics =/= all,
  case brod_client_lookup:call(Context, {metadata, Topics, Creates}) of
    {ok, Metadata} ->
      TtlMs = case Creates of
                true -> min(Ttl, ?AUTO_CREATE_TTL_MS);
                false -> Ttl
              end,
      case brod_client_ref:call(ClientPid, {store_counts, brod_topic_cache:counts(Metadata), TtlMs}) of
        {ok, Grown} -> Run(fun() -> brod_client_workers:grow(Context, Grown) end);
        %% the answer counts, also if the client goes down meanwhile
        {error, _} -> ok
      end,
      {ok, Metadata};
    {error, Reason} ->
      {error, Reason}
  end.

%% @doc Number of a topic's partitions, asked of the cluster. `Run' is given what starts processes for
%% partitions that are new.
-spec partitions_count(brod_client:context(), brod:topic(), AutoCreate :: boolean(),
                       Run :: fun((fun(() -> ok)) -> term())) ->
        {ok, pos_integer()} | {error, term()}.
partitions_count(Context, Topic, AutoCreate, Run) ->
  case fetch(Context, Topic, AutoCreate, Run) of
    {ok, Metadata} ->
      case lists:keyfind(Topic, 1, brod_topic_cache:counts(Metadata)) of
        {Topic, Result} -> Result;
        false -> {error, unknown_topic_or_partition}
      end;
    {error, Reason} ->
      {error, Reason}
  end.
