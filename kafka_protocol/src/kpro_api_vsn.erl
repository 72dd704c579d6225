%% @doc Ranges of versions.
-module(kpro_api_vsn).

-export([range/1, kafka_09_range/1, intersect/1, intersect/2]).

-export_type([range/0]).

-type range() :: kpro:vsn_range().

%% What Kafka 0.9 is taken to speak, which cannot be asked.
-define(KAFKA_0_9, #{produce => {0, 0}, fetch => {0, 0}, list_offsets => {0, 0}, metadata => {0, 0},
                     offset_commit => {2, 2}, offset_fetch => {1, 1}, find_coordinator => {0, 0}, join_group => {0, 0},
                     heartbeat => {0, 0}, leave_group => {0, 0}, sync_group => {0, 0}, describe_groups => {0, 0},
                     list_groups => {0, 0}}).

%% @doc The versions of an API in which requests can be made; `false' for one that there is not.
-spec range(kpro:api()) -> range() | false.
%% The oldest ones keep offsets in ZooKeeper.
range(offset_commit) -> {2, 8};
range(offset_fetch) -> {1, 2};
range(Api) -> brod_kafka_schema:vsn_range(Api).

%% @doc What Kafka 0.9 speaks of an API; `false' if nothing.
-spec kafka_09_range(kpro:api()) -> range() | false.
kafka_09_range(Api) -> maps:get(Api, ?KAFKA_0_9, false).

%% @doc What brokers' versions have in common with ours, without the APIs where that is nothing; of Kafka 0.9 where the
%% broker was not asked.
-spec intersect(undefined | kpro:vsn_ranges()) -> kpro:vsn_ranges().
intersect(undefined) ->
  maps:map(fun(_Api, {Min, _Max}) -> {Min, Min} end, ?KAFKA_0_9);
intersect(Versions) ->
  maps:from_list([{Api, Range} || {Api, Theirs} <- maps:to_list(Versions),
                                  {Min, Max} = Range <- [common(Api, range(Api), Theirs)], Min =< Max]).

%% @doc As {@link intersect/1}, of one API; `false' if there is no such API. Raises a map with `reason',
%% `incompatible_version_ranges', where they have nothing in common.
-spec intersect(kpro:api(), range()) -> false | range().
intersect(Api, Theirs) ->
  Ours = range(Api),
  case common(Api, Ours, Theirs) of
    {Min, Max} when Min > Max ->
      error(#{reason => incompatible_version_ranges, api => Api, supported => Ours, received => Theirs});
    Range ->
      Range
  end.

common(_Api, false, _Theirs) -> false;
common(Api, {Min, Max}, {TheirMin, TheirMax}) -> {max(Min, oldest(Api, TheirMin, TheirMax)), min(Max, TheirMax)}.

%% Newer brokers claim older versions than they speak.
oldest(produce, Min, Max) when Max >= 8 -> max(Min, 3);
oldest(fetch, Min, Max) when Max >= 11 -> max(Min, 4);
oldest(_Api, Min, _Max) -> Min.
