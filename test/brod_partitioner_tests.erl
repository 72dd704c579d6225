-module(brod_partitioner_tests).
-include_lib("eunit/include/eunit.hrl").

%% Hashes that Java's Utils.murmur2 gives.
murmur2_test_() ->
  [?_assertEqual(Hash, brod_partitioner:murmur2(Key))
   || {Key, Hash} <- [{<<"21">>, -973932308},
                      {<<"foobar">>, -790332482},
                      {<<"a-little-bit-long-string">>, -985981536},
                      {<<"a-little-bit-longer-string">>, -1486304829},
                      {<<"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8">>, -58897971},
                      {<<"abc">>, 479470107}]].

murmur2_partition_is_java_s_test() ->
  ?assertEqual((-790332482 band 16#7fffffff) rem 12,
               brod_partitioner:partition(murmur2, <<"t">>, 12, ["foo", <<"bar">>], <<>>)).

hash_is_phash2_of_the_key_as_given_test() ->
  ?assertEqual(erlang:phash2("k") rem 7, brod_partitioner:partition(hash, <<"t">>, 7, "k", <<>>)).

without_key_every_partition_is_used_test_() ->
  [?_assertEqual([0, 1, 2],
                 lists:usort([brod_partitioner:partition(P, <<"t">>, 3, Key, <<>>)
                              || _ <- lists:seq(1, 1000)]))
   || P <- [random, murmur2], Key <- [<<>>, undefined]].

sticky_stays_for_a_while_test() ->
  Chosen = [brod_partitioner:partition(sticky, <<"t">>, 1000, <<>>, <<>>)
            || _ <- lists:seq(1, 100)],
  %% two, if the time slot ends meanwhile
  ?assert(length(lists:usort(Chosen)) =< 2).

a_bad_fun_raises_test() ->
  ?assertError({badmatch, bad},
               brod_partitioner:partition(fun(_, _, _, _) -> bad end, <<"t">>, 3, <<>>, <<>>)).
