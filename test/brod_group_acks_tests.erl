%% What of the acks of a group's members is to be committed.
-module(brod_group_acks_tests).

-include_lib("eunit/include/eunit.hrl").

-define(TP, {<<"t">>, 0}).

tracked() ->
  Tracker = brod_group_acks:tracker(),
  {Tracker, brod_group_acks:track(?TP, Tracker, brod_group_acks:new())}.

taken(Acks) -> element(1, brod_group_acks:take(Acks)).

acks_are_taken_once_test() ->
  {Tracker, Acks} = tracked(),
  ok = brod_group_acks:put(Tracker, 9),
  {Taken, Rest} = brod_group_acks:take(Acks),
  ?assertEqual(#{?TP => 9}, Taken),
  ?assertEqual(#{}, taken(Rest)).

acks_of_a_log_that_is_gone_are_forgotten_test() ->
  {Tracker, Acks} = tracked(),
  ok = brod_group_acks:put(Tracker, 9),
  ok = brod_group_acks:forget(Tracker),
  {Taken, Rest} = brod_group_acks:take(Acks),
  ?assertEqual(#{}, Taken),
  ok = brod_group_acks:put(Tracker, 0),
  ?assertEqual(#{?TP => 0}, taken(Rest)).

%% As long as the topic is not there, commits are refused.
refused_commits_of_a_log_that_is_gone_are_forgotten_test() ->
  {Tracker, Acks} = tracked(),
  ok = brod_group_acks:put(Tracker, 9),
  {Refused, Rest} = brod_group_acks:take(Acks),
  ok = brod_group_acks:forget(Tracker),
  ?assertEqual(#{}, taken(brod_group_acks:give_back(Refused, Rest))),
  ok = brod_group_acks:put(Tracker, 0),
  ?assertEqual(#{?TP => 0}, taken(brod_group_acks:give_back(Refused, Rest))).

what_is_acknowledged_by_name_counts_again_test() ->
  {Tracker, Acks} = tracked(),
  ok = brod_group_acks:forget(Tracker),
  ?assertEqual(#{?TP => 3}, taken(brod_group_acks:ack(?TP, 3, Acks))).
