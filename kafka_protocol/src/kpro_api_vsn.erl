%% @doc Ranges of versions.
-module(kpro_api_vsn).

-export([range/1, kafka_09_range/1, intersect/1, intersect/2]).

-export_type([range/0]).

-type range() :: kpro:vsn_range().

%% What Kafka 0.9 speaks, which cannot be asked.
-define(KAFKA_0_9, #{produce => {0, 1}, fetch => {0, 1}, list_offsets => {0, 0}, metadata => {0, 0},
                     offset_commit => {0, 2}, offset_fetch => {0, 1}, find_coordinator => {0, 0}, join_group => {0, 0},
                     heartbeat => {0, 0}, leave_group => {0, 0}, sync_group => {0, 0}, describe_groups => {0, 0},
                     list_groups => {0, 0}}).

%% @doc The versions of an API in which requests can be made; `false' for one that there is not.
-spec range(kpro:api()) -> range() | false.
range(Api) -> brod_kafka_schema:vsn_range(Api).

%% @doc What Kafka 0.9 speaks of an API; `false' if nothing.
-spec kafka_09_range(kpro:api()) -> range() | false.
kafka_09_range(Api) -> maps:get(Api, ?KAFKA_0_9, false).

%% @doc What brokers' versions have in common with ours; of Kafka 0.9 where the broker was not asked.
-spec intersect(undefined | kpro:vsn_ranges()) -> kpro:vsn_ranges().
intersect(undefined) ->
  maps:map(fun(_Api, {Min, _Max}) -> {Min, Min} end, ?KAFKA_0_9);
intersect(Versions) ->
  maps:from_list([{Api, Range} || {Api, Theirs} <- maps:to_list(Versions), {_, _} = Range <- [intersect(Api, Theirs)]]).

%% @doc As {@link intersect/1}, of one API; `false' if nothing.
-spec intersect(kpro:api(), range()) -> range() | false.
intersect(Api, {TheirMin, TheirMax}) ->
  case range(Api) of
    {Min, Max} when TheirMin =< Max, TheirMax >= Min -> {max(Min, TheirMin), min(Max, TheirMax)};
    _ -> false
  end.
