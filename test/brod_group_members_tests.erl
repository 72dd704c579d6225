-module(brod_group_members_tests).

-include_lib("eunit/include/eunit.hrl").

-define(GROUP, <<"group">>).

members_test_() ->
  {setup, fun() -> {ok, Apps} = application:ensure_all_started(brod), Apps end,
   fun(Apps) -> [application:stop(App) || App <- lists:reverse(Apps)] end,
   [fun the_member_with_all_partitions_is_found/0,
    fun a_process_that_has_lost_its_partitions_speaks_for_itself/0,
    fun a_group_of_another_cluster_is_another_one/0]}.

the_member_with_all_partitions_is_found() ->
  First = coordinator(self(), {3, <<"a">>, undefined}, [{<<"t">>, 0}, {<<"t">>, 1}]),
  Second = coordinator(First, {3, <<"b">>, <<"static">>}, [{<<"t">>, 2}]),
  ?assertEqual({3, <<"a">>, undefined}, brod_group_members:lookup(?GROUP, [{<<"t">>, 1}], client)),
  ?assertEqual({3, <<"b">>, <<"static">>}, brod_group_members:lookup(?GROUP, [{<<"t">>, 2}], client)),
  ?assertEqual(undefined, brod_group_members:lookup(?GROUP, [{<<"t">>, 1}, {<<"t">>, 2}], client)),
  ?assertEqual(undefined, brod_group_members:lookup(<<"other">>, [{<<"t">>, 1}], client)),
  ?assertMatch([_, _], brod_group_members:of_client(client)),
  ?assertEqual([], brod_group_members:of_client(other_client)),
  stop([First, Second]),
  ?assertEqual(undefined, brod_group_members:lookup(?GROUP, [{<<"t">>, 1}], client)).

%% Otherwise a zombie would commit in the name of the one that has its partitions now.
a_process_that_has_lost_its_partitions_speaks_for_itself() ->
  Old = coordinator(self(), {3, <<"a">>, undefined}, [{<<"t">>, 0}]),
  New = coordinator(Old, {4, <<"b">>, undefined}, [{<<"t">>, 0}]),
  Self = self(),
  Lookup = fun() -> Self ! {self(), brod_group_members:lookup(?GROUP, [{<<"t">>, 0}], client)} end,
  ?assertEqual({3, <<"a">>, undefined}, brod_group_members:lookup(?GROUP, [{<<"t">>, 0}], client)),
  ?assertEqual({3, <<"a">>, undefined}, result(proc_lib:spawn(Lookup))),
  ?assertEqual({4, <<"b">>, undefined}, result(spawn(Lookup))),
  stop([Old, New]).

%% Its members are on another client. One of the same cluster may be, too, and is found where there is no other.
a_group_of_another_cluster_is_another_one() ->
  Here = coordinator(spawn(fun() -> ok end), {3, <<"a">>, undefined}, [{<<"t">>, 0}]),
  There = coordinator(other_client, Here, {4, <<"b">>, undefined}, [{<<"t">>, 0}]),
  Lookup = fun(Client) -> brod_group_members:lookup(?GROUP, [{<<"t">>, 0}], Client) end,
  ?assertEqual([{3, <<"a">>, undefined}, {4, <<"b">>, undefined}, {4, <<"b">>, undefined}],
               [Lookup(Client) || Client <- [client, other_client, undefined]]),
  stop([Here]),
  ?assertEqual({4, <<"b">>, undefined}, Lookup(client)),
  stop([There]).

coordinator(MemberPid, Member, Partitions) -> coordinator(client, MemberPid, Member, Partitions).

coordinator(Client, MemberPid, Member, Partitions) ->
  Self = self(),
  Pid = spawn(fun() ->
                [] = brod_group_members:assigned(),
                ok = brod_group_members:enter(Client, ?GROUP, MemberPid, Member, Partitions),
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
               case [Pid || Pid <- Pids, brod_handles:lookup(group_member, Pid) =/= false] of
                 [] -> ok;
                 _ -> receive after 10 -> Wait(N - 1) end
               end
         end,
  Gone(500).
