-module(brod_topic_cache_tests).
-include_lib("eunit/include/eunit.hrl").

-define(TTL_MS, 60000).

what_is_known_of_topics_that_are_gone_is_forgotten_test() ->
  Table = ets:new(cache, [set]),
  Unknown = {error, unknown_topic_or_partition},
  [] = brod_topic_cache:store(Table, <<"there">>, {ok, 3}, ?TTL_MS),
  [] = brod_topic_cache:store(Table, <<"deleted">>, {ok, 3}, ?TTL_MS),
  [] = brod_topic_cache:store(Table, <<"deleted">>, Unknown, ?TTL_MS),
  [] = brod_topic_cache:store(Table, <<"misspelt">>, Unknown, 0),
  %% a broker that lags behind does not know it, but there is somebody who reads it
  [] = brod_topic_cache:store(Table, <<"read">>, {ok, 3}, ?TTL_MS),
  true = ets:insert(Table, {{consumer, <<"read">>, 0}, self()}),
  [] = brod_topic_cache:store(Table, <<"read">>, Unknown, ?TTL_MS),
  ok = brod_topic_cache:forget_gone(Table),
  ?assertEqual([<<"read">>, <<"there">>], lists:sort(brod_topic_cache:known_topics(Table))),
  ?assertEqual({ok, 3}, brod_topic_cache:lookup(Table, <<"there">>)),
  ?assertEqual(Unknown, brod_topic_cache:lookup(Table, <<"deleted">>)),
  ?assertEqual([], ets:lookup(Table, {topics, <<"misspelt">>})).

%% Applications stand in for a client with a table of brod 4's rows, and do not care for the time.
rows_of_somebody_elses_table_test() ->
  Table = ets:new(cache, [set]),
  true = ets:insert(Table, {{topics, <<"t">>}, 3, erlang:monotonic_time()}),
  ?assertEqual({ok, 3}, brod_topic_cache:lookup(Table, <<"t">>)).
