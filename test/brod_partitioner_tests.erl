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

%% Runs of equal elements, as {Element, Length}.
runs([First | Rest]) ->
  lists:reverse(lists:foldl(fun(E, [{E, N} | Runs]) -> [{E, N + 1} | Runs];
                               (E, Runs) -> [{E, 1} | Runs]
                            end, [{First, 1}], Rest)).

sticky_goes_on_after_16_kib_test() ->
  Value = binary:copy(<<"v">>, 1008),
  Chosen = [brod_partitioner:partition(sticky, <<"sticky-1">>, 1000, undefined, Value)
            || _ <- lists:seq(1, 160)],
  %% of 1024 bytes each, 16 fill a share
  ?assertEqual(lists:duplicate(10, 16), [N || {_, N} <- runs(Chosen)]).

sticky_counts_what_is_in_a_batch_test_() ->
  Value = binary:copy(<<"v">>, 8192),
  [?_assertEqual([1, 1, 1],
                 [N || {_, N} <- runs([brod_partitioner:partition(sticky, Topic, 50, <<>>, Batch)
                                       || _ <- [1, 2, 3]])])
   || {Topic, Batch} <- [ {<<"sticky-2">>, [#{value => Value}, #{value => [Value, "x"]}]}
                        , {<<"sticky-3">>, [{<<"k">>, Value}, {<<"k">>, Value}]}
                        , {<<"sticky-4">>, [{1, <<"k">>, Value}, {1, <<"k">>, Value}]}
                        , {<<"sticky-5">>, {1, binary:copy(Value, 3)}}
                        ]].

sticky_gives_all_partitions_of_all_callers_a_share_test_() -> {timeout, 60, fun shares/0}.

shares() ->
  Self = self(),
  Choose = fun() ->
             [brod_partitioner:partition(sticky, <<"sticky-6">>, 4, <<>>, binary:copy(<<"v">>, 4096))
              || _ <- lists:seq(1, 1000)]
           end,
  Callers = [spawn_link(fun() -> Self ! {self(), Choose()} end) || _ <- lists:seq(1, 8)],
  Chosen = lists:append([receive {Caller, Some} -> Some end || Caller <- Callers]),
  Shares = [length([P || P <- Chosen, P =:= Partition]) || Partition <- [0, 1, 2, 3]],
  ?assertEqual(8000, lists:sum(Shares)),
  %% a quarter each; a sixth is 14 standard deviations away
  [?assert(Share > 1333) || Share <- Shares].

sticky_leaves_a_partition_that_is_gone_test() ->
  _ = [brod_partitioner:partition(sticky, <<"sticky-7">>, 1000, <<>>, <<>>) || _ <- [1, 2, 3]],
  ?assertEqual(0, brod_partitioner:partition(sticky, <<"sticky-7">>, 1, <<>>, <<>>)).

a_bad_fun_raises_test() ->
  ?assertError({badmatch, bad},
               brod_partitioner:partition(fun(_, _, _, _) -> bad end, <<"t">>, 3, <<>>, <<>>)).
