%% The demo's consumer group: members that handle every message exactly once as long as nothing fails, in
%% order, also while partitions move from one member to another.
-module(demo_group).
-behaviour(brod_group_subscriber_v2).

-include_lib("brod/include/brod.hrl").

-export([consume/5]).
-export([init/2, handle_message/2]).

%% @doc Reads the topic with two members; the second joins when half of a partition is handled. Each
%% partition has `Each' messages, whose numbers `Number(Partition, Message)' gives. Exits if not all of
%% them were handled, in order, or if in the end not all of it is committed. No wait is longer than
%% `LimitMs'.
consume(Client, Topic, Partitions, {Each, Number}, LimitMs) ->
  Group = <<"demo-group-", Topic/binary>>,
  Handled = counters:new(length(Partitions), []),
  Data = #{parent => self(), handled => Handled, each => Each, number => Number},
  Await = fun(Event) ->
              receive {Event, Worker} -> Worker
              after LimitMs -> exit({not_within_ms, LimitMs, Event})
              end
          end,
  First = start_member(Client, Group, Topic, Data),
  FirstWorker = Await(half),
  Second = start_member(Client, Group, Topic, Data),
  ok = await_rebalance(First, erlang:monotonic_time(millisecond) + LimitMs),
  %% The first member lets go of a partition only when the message in work is handled and committed.
  FirstWorker ! go,
  [Await(half) ! go || _ <- tl(Partitions)],
  [Await(all) || _ <- Partitions],
  [ok = brod_group_subscriber_v2:stop(Pid) || Pid <- [First, Second]],
  {ok, [#{partitions := Committed}]} = brod:fetch_committed_offsets(Client, Group),
  Ends = [{P, Each} || P <- Partitions],
  Ends = lists:sort([{P, Offset} || #{partition_index := P, committed_offset := Offset} <- Committed]),
  [Each = counters:get(Handled, P + 1) || P <- Partitions],
  ok.

await_rebalance(Member, Deadline) ->
  case brod_group_subscriber_v2:health_check(Member, 5000) of
    rebalancing -> ok;
    _ ->
      erlang:monotonic_time(millisecond) < Deadline orelse exit(no_rebalance),
      await_rebalance(Member, Deadline)
  end.

start_member(Client, Group, Topic, Data) ->
  {ok, Pid} = brod:start_link_group_subscriber_v2(
                #{client => Client, group_id => Group, topics => [Topic], cb_module => ?MODULE,
                  init_data => Data, message_type => message,
                  consumer_config => [{begin_offset, earliest}, {prefetch_bytes, 1048576}]}),
  Pid.

%% @private One process for each partition.
init(#{partition := Partition}, Data) -> {ok, Data#{partition => Partition}}.

%% @private
handle_message(Message, #{partition := P, handled := Handled, each := Each, number := Number} = Data) ->
  #{parent := Parent} = Data,
  Got = Number(P, Message),
  Expected = counters:get(Handled, P + 1),
  Got =:= Expected orelse exit({wrong_message, [{partition, P}, {got, Got}, {expected, Expected}]}),
  ok = counters:add(Handled, P + 1, 1),
  Got =:= Each - 1 andalso (Parent ! {all, self()}),
  case Got =:= Each div 2 of
    true -> Parent ! {half, self()}, receive go -> ok end;
    false -> ok
  end,
  {ok, commit, Data}.
