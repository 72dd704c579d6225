%% A group of two members that reads the strict topic, and what it has seen.
-module(chaos_group).
-behaviour(brod_group_subscriber_v2).

-export([new/0, start/2, stop/1, stalled/3]).
-export([init/2, handle_message/2]).

-include_lib("brod/include/brod.hrl").

%% @doc A table of {{Partition, Caller}, Count}, and of when a partition was read last.
-spec new() -> ets:table().
new() -> ets:new(?MODULE, [public, {write_concurrency, true}]).

%% @doc A member, linked to the caller.
-spec start(brod:client(), {brod:topic(), ets:table(), Counted :: fun(() -> ok)}) -> {ok, pid()}.
start(Client, {Topic, _, _} = Data) ->
  brod:start_link_group_subscriber_v2(
    #{client => Client, group_id => Topic, topics => [Topic], cb_module => ?MODULE, init_data => Data,
      message_type => message, consumer_config => [{begin_offset, earliest}, {offset_reset_policy, reset_to_earliest}],
      group_config => [{offset_commit_interval_seconds, 2}]}).

-spec stop(pid()) -> ok.
stop(Member) ->
  unlink(Member),
  ok = brod_group_subscriber_v2:stop(Member).

%% @doc Partitions of which the group has read nothing for so long.
-spec stalled(ets:table(), pos_integer(), Ms :: pos_integer()) -> [brod:partition()].
stalled(Table, Partitions, Ms) ->
  Since = now_ms() - Ms,
  [P || P <- lists:seq(0, Partitions - 1), [{_, At}] <- [ets:lookup(Table, {read, P})], At < Since].

%% @private
init(#{partition := Partition}, {_Topic, Table, Counted}) ->
  {ok, {Partition, Table, Counted, #{}}}.

%% @private
handle_message(#kafka_message{offset = Offset, value = <<_:32, Caller:16, N:64, _/binary>>}, {Partition, Table, Counted, Expected0}) ->
  Key = {Partition, Caller},
  Seen = case ets:lookup(Table, Key) of [{_, Count}] -> Count; [] -> 0 end,
  case chaos_oracle:at_least_once(Caller, N, Seen, Expected0) of
    {ok, Expected} ->
      true = ets:insert(Table, {{read, Partition}, now_ms()}),
      case N >= Seen of
        true -> ets:insert(Table, {Key, N + 1}), Counted();
        false -> ok
      end,
      {ok, commit, {Partition, Table, Counted, Expected}};
    {error, Reason} ->
      chaos:failed({group, {partition, Partition}, {offset, Offset}, Reason})
  end.

now_ms() -> erlang:monotonic_time(millisecond).
