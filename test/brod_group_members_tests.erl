-module(brod_group_members_tests).

-include_lib("eunit/include/eunit.hrl").

-define(GROUP, <<"group">>).

members_test_() ->
  {setup, fun() -> {ok, Apps} = application:ensure_all_started(brod), Apps end,
   fun(Apps) -> [application:stop(App) || App <- lists:reverse(Apps)] end,
   [fun the_member_with_all_partitions_is_found/0,
    fun a_process_that_has_lost_its_partitions_speaks_for_itself/0]}.

the_member_with_all_partitions_is_found() ->
  First = coordinator(self(), {3, <<"a">>, undefined}, [{<<"t">>, 0}, {<<"t">>, 1}]),
  Second = coordinator(First, {3, <<"b">>, <<"static">>}, [{<<"t">>, 2}]),
  ?assertEqual({3, <<"a">>, undefined}, brod_group_members:lookup(?GROUP, [{<<"t">>, 1}])),
  ?assertEqual({3, <<"b">>, <<"static">>}, brod_group_members:lookup(?GROUP, [{<<"t">>, 2}])),
  ?assertEqual(undefined, brod_group_members:lookup(?GROUP, [{<<"t">>, 1}, {<<"t">>, 2}])),
  ?assertEqual(undefined, brod_group_members:lookup(<<"other">>, [{<<"t">>, 1}])),
  ?assertMatch([_, _], brod_group_members:of_client(client)),
  ?assertEqual([], brod_group_members:of_client(other_client)),
  stop([First, Second]),
  ?assertEqual(undefined, brod_group_members:lookup(?GROUP, [{<<"t">>, 1}])).

%% Otherwise a zombie would commit in the name of the one that has its partitions now.
a_process_that_has_lost_its_partitions_speaks_for_itself() ->
  Old = coordinator(self(), {3, <<"a">>, undefined}, [{<<"t">>, 0}]),
  New = coordinator(Old, {4, <<"b">>, undefined}, [{<<"t">>, 0}]),
  Self = self(),
  Lookup = fun() -> Self ! {self(), brod_group_members:lookup(?GROUP, [{<<"t">>, 0}])} end,
  ?assertEqual({3, <<"a">>, undefined}, brod_group_members:lookup(?GROUP, [{<<"t">>, 0}])),
  ?assertEqual({3, <<"a">>, undefined}, result(proc_lib:spawn(Lookup))),
  ?assertEqual({4, <<"b">>, undefined}, result(spawn(Lookup))),
  stop([Old, New]).

coordinator(MemberPid, Member, Partitions) ->
  Self = self(),
  Pid = spawn(fun() ->
                [] = brod_group_members:assigned(),
                ok = brod_group_members:enter(client, ?GROUP, MemberPid, Member, Partitions),
                Partitions = brod_group_members:assigned(),
                Self ! {self(), entered},
                receive stop -> ok end
              end),
  receive {Pid, entered} -> Pid after 20000 -> error(not_entered) end.

result(Pid) ->
  receive {Pid, Result} -> Result after 20000 -> error(no_result) end.

stop(Pids) ->
  [Pid ! stop || Pid <- Pids],
  Gone = fun Wait(0) -> error(still_there);
             Wait(N) ->
               case brod_handles:all(group_member, '_') of
                 [] -> ok;
                 _ -> receive after 10 -> Wait(N - 1) end
               end
         end,
  Gone(500).
