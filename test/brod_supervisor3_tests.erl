-module(brod_supervisor3_tests).
-behaviour(brod_supervisor3).
-include_lib("eunit/include/eunit.hrl").

-export([init/1, post_init/1, ends_all/2, start_child/1, asking_child/1]).

-define(LIMIT_MS, 20000).

init({post, _}) -> post_init;
init(Init) -> Init.

post_init({post, Init}) -> Init.

ends_all(_Init, all) -> {all, "all stop"};
ends_all(_Init, _Reason) -> false.

%% Tells the test of every start, then waits for an exit reason.
start_child({Test, Name}) ->
  Pid = spawn_link(fun() -> receive {exit, Reason} -> exit(Reason) end end),
  Test ! {started, Name, Pid},
  {ok, Pid}.

asking_child(Asks) ->
  ok = proc_lib:init_ack({ok, self()}),
  Asks().

spec(Name, Restart) ->
  {Name, {?MODULE, start_child, [{self(), Name}]}, Restart, 1000, worker, [?MODULE]}.

%% EUnit runs the tests of a module in one process: nothing of the last one may be left.
flush() ->
  receive _ -> flush() after 0 -> ok end.

start(Flags, Specs) ->
  ok = flush(),
  process_flag(trap_exit, true),
  {ok, Sup} = brod_supervisor3:start_link(?MODULE, {ok, {Flags, Specs}}),
  Sup.

started(Name) ->
  receive {started, Name, Pid} -> Pid after ?LIMIT_MS -> error({not_started, Name}) end.

stop(Sup) ->
  unlink(Sup),
  MRef = monitor(process, Sup),
  exit(Sup, shutdown),
  receive {'DOWN', MRef, process, Sup, _} -> ok after ?LIMIT_MS -> error(still_up) end.

down(Pid) ->
  MRef = monitor(process, Pid),
  receive {'DOWN', MRef, process, Pid, Reason} -> Reason after ?LIMIT_MS -> error(still_up) end.

%% The supervisor hears of it by a signal of its own, before or after others.
gone(Sup, Name, Pid) ->
  _ = down(Pid),
  gone_until(erlang:monotonic_time(millisecond) + ?LIMIT_MS, Sup, Name, Pid).

gone_until(Deadline, Sup, Name, Pid) ->
  case brod_supervisor3:find_child(Sup, Name) of
    [Pid] ->
      erlang:monotonic_time(millisecond) < Deadline orelse error({still_known, Name}),
      erlang:yield(),
      gone_until(Deadline, Sup, Name, Pid);
    _ -> ok
  end.

supervisor_test_() ->
  [{atom_to_list(Name), {timeout, 30, Test}} ||
    {Name, Test} <- [{permanent_child_is_restarted, fun permanent_child_is_restarted/0},
                     {an_error_that_ends_a_child_again_and_again_is_told_once, fun an_error_that_ends_a_child_again_and_again_is_told_once/0},
                     {what_ends_all_children_is_told_in_one_line, fun what_ends_all_children_is_told_in_one_line/0},
                     {children_know_whose_they_are, fun children_know_whose_they_are/0},
                     {too_many_restarts_stop_the_supervisor, fun too_many_restarts_stop_the_supervisor/0},
                     {delayed_restart, fun delayed_restart/0},
                     {child_that_waits_for_its_restart, fun child_that_waits_for_its_restart/0},
                     {waiting_child_can_be_started_at_once, fun waiting_child_can_be_started_at_once/0},
                     {waiting_child_can_be_terminated, fun waiting_child_can_be_terminated/0},
                     {transient_child_may_end, fun transient_child_may_end/0},
                     {intrinsic_child_takes_the_supervisor_along, fun intrinsic_child_takes_the_supervisor_along/0},
                     {temporary_child_is_forgotten, fun temporary_child_is_forgotten/0},
                     {rest_for_one_restarts_the_later_ones, fun rest_for_one_restarts_the_later_ones/0},
                     {one_for_all_restarts_all, fun one_for_all_restarts_all/0},
                     {post_init_starts_children_later, fun post_init_starts_children_later/0},
                     {start_child_errors, fun start_child_errors/0}]].

permanent_child_is_restarted() ->
  Sup = start({one_for_one, 1, 10}, [spec(a, permanent)]),
  A1 = started(a),
  A1 ! {exit, normal},
  A2 = started(a),
  ?assertEqual([{a, A2, worker, [?MODULE]}], supervisor:which_children(Sup)),
  ?assertEqual([{specs, 1}, {active, 1}, {supervisors, 0}, {workers, 1}],
               supervisor:count_children(Sup)),
  stop(Sup),
  ?assertNot(is_process_alive(A2)).

%% The child has told the error itself. Other reasons are told each time.
an_error_that_ends_a_child_again_and_again_is_told_once() ->
  Log = brod_log:start(),
  Sup = start({one_for_one, 10, 10}, [spec(a, permanent)]),
  [begin started(a) ! {exit, Reason} end
   || Reason <- [{restart, x}, {restart, x}, {restart, y}, boom, {restart, x}, boom]],
  _ = started(a),
  ?assertMatch([_], brod_log:all(Log, "child a stopped: {restart,x}")),
  ?assertMatch([_], brod_log:all(Log, "child a stopped: {restart,y}")),
  ?assertMatch([_, _], brod_log:all(Log, "child a stopped: boom")),
  ok = brod_log:stop(Log),
  stop(Sup).

what_ends_all_children_is_told_in_one_line() ->
  Log = brod_log:start(),
  Sup = start({one_for_one, 10, 10}, [spec(a, permanent), spec(b, permanent)]),
  [started(Name) ! {exit, all} || _ <- [1, 2], Name <- [a, b]],
  _ = {started(a), started(b)},
  ?assertMatch([_], brod_log:all(Log, "all stop")),
  ?assertEqual([], brod_log:all(Log, "child")),
  ok = brod_log:stop(Log),
  stop(Sup).

children_know_whose_they_are() ->
  Test = self(),
  Asks = fun() -> Test ! {is_child, brod_supervisor3:is_child()} end,
  Answer = fun() -> receive {is_child, Is} -> Is after ?LIMIT_MS -> error(no_answer) end end,
  Sup = start({one_for_one, 0, 1}, [{a, {proc_lib, start_link, [?MODULE, asking_child, [Asks]]}, temporary, 1000, worker, [?MODULE]}]),
  ?assert(Answer()),
  stop(Sup),
  {ok, _} = proc_lib:start_link(?MODULE, asking_child, [Asks]),
  ?assertNot(Answer()).

too_many_restarts_stop_the_supervisor() ->
  Sup = start({one_for_one, 0, 10}, [spec(a, permanent)]),
  MRef = monitor(process, Sup),
  started(a) ! {exit, boom},
  receive {'DOWN', MRef, process, Sup, Reason} -> ?assertEqual(shutdown, Reason)
  after ?LIMIT_MS -> error(still_up)
  end.

delayed_restart() ->
  Sup = start({one_for_one, 0, 1}, [spec(a, {permanent, 0.2})]),
  T0 = erlang:monotonic_time(millisecond),
  started(a) ! {exit, boom},
  A2 = started(a),
  ?assert(erlang:monotonic_time(millisecond) - T0 >= 200),
  ?assertEqual([A2], brod_supervisor3:find_child(Sup, a)),
  stop(Sup).

child_that_waits_for_its_restart() ->
  Sup = start({one_for_one, 0, 1}, [spec(a, {permanent, 100})]),
  A = started(a),
  A ! {exit, boom},
  gone(Sup, a, A),
  ?assertEqual([], brod_supervisor3:find_child(Sup, a)),
  ?assertEqual([{a, restarting, worker, [?MODULE]}], supervisor:which_children(Sup)),
  ?assertEqual({error, already_present}, brod_supervisor3:start_child(Sup, spec(a, permanent))),
  ?assertEqual({error, restarting}, brod_supervisor3:delete_child(Sup, a)),
  stop(Sup).

waiting_child_can_be_started_at_once() ->
  Sup = start({one_for_one, 0, 1}, [spec(a, {permanent, 100})]),
  A = started(a),
  A ! {exit, boom},
  gone(Sup, a, A),
  ?assertEqual(ok, brod_supervisor3:try_again_restart(Sup, a, boom)),
  A2 = started(a),
  %% one that runs is left alone
  ?assertEqual(ok, brod_supervisor3:try_again_restart(Sup, a, boom)),
  ?assertEqual([A2], brod_supervisor3:find_child(Sup, a)),
  stop(Sup).

waiting_child_can_be_terminated() ->
  Delay = 1,
  Sup = start({one_for_one, 0, 1}, [spec(a, {permanent, Delay})]),
  A = started(a),
  A ! {exit, boom},
  gone(Sup, a, A),
  ?assertEqual(ok, brod_supervisor3:terminate_child(Sup, a)),
  ?assertEqual(ok, brod_supervisor3:delete_child(Sup, a)),
  receive {started, a, _} -> error(restarted) after 1000 * Delay + 200 -> ok end,
  stop(Sup).

transient_child_may_end() ->
  Sup = start({one_for_one, 1, 10}, [spec(a, transient)]),
  A = started(a),
  A ! {exit, {shutdown, done}},
  gone(Sup, a, A),
  ?assertEqual([{a, undefined, worker, [?MODULE]}], supervisor:which_children(Sup)),
  ?assertMatch({ok, _}, brod_supervisor3:restart_child(Sup, a)),
  stop(Sup).

intrinsic_child_takes_the_supervisor_along() ->
  Sup = start({one_for_one, 1, 10}, [spec(a, intrinsic), spec(b, permanent)]),
  MRef = monitor(process, Sup),
  started(a) ! {exit, normal},
  receive {'DOWN', MRef, process, Sup, Reason} -> ?assertEqual(shutdown, Reason)
  after ?LIMIT_MS -> error(still_up)
  end,
  ?assertEqual(noproc, down(started(b))).

temporary_child_is_forgotten() ->
  Sup = start({one_for_one, 1, 10}, [spec(a, temporary)]),
  A = started(a),
  A ! {exit, boom},
  gone(Sup, a, A),
  ?assertEqual([], supervisor:which_children(Sup)),
  stop(Sup).

rest_for_one_restarts_the_later_ones() ->
  Sup = start({rest_for_one, 1, 10}, [spec(N, permanent) || N <- [a, b, c]]),
  A = started(a), B = started(b), C = started(c),
  B ! {exit, boom},
  B2 = started(b), C2 = started(c),
  ?assertNot(is_process_alive(C)),
  ?assertEqual([{c, C2}, {b, B2}, {a, A}],
               [{N, P} || {N, P, _, _} <- brod_supervisor3:which_children(Sup)]),
  stop(Sup).

one_for_all_restarts_all() ->
  Sup = start({one_for_all, 1, 10}, [spec(N, permanent) || N <- [a, b]]),
  A = started(a), B = started(b),
  A ! {exit, boom},
  A2 = started(a), B2 = started(b),
  ?assert(A2 =/= A andalso B2 =/= B),
  stop(Sup).

post_init_starts_children_later() ->
  {ok, Sup} = brod_supervisor3:start_link(?MODULE, {post, {ok, {{one_for_one, 0, 1},
                                                                [spec(a, permanent)]}}}),
  ?assertMatch([{a, _, worker, _}], brod_supervisor3:which_children(Sup)),
  stop(Sup).

start_child_errors() ->
  Sup = start({one_for_one, 0, 1}, []),
  {ok, A} = brod_supervisor3:start_child(Sup, spec(a, {permanent, 10})),
  ?assertEqual({error, {already_started, A}},
               brod_supervisor3:start_child(Sup, spec(a, permanent))),
  Failing = {f, {erlang, hd, [[{error, no}]]}, {permanent, 10}, 5000, worker, [m]},
  ?assertEqual({error, {no, {child, undefined, f, {erlang, hd, [[{error, no}]]}, {permanent, 10},
                             5000, worker, [m]}}},
               brod_supervisor3:start_child(Sup, Failing)),
  ?assertMatch({error, {invalid_restart_type, _}},
               brod_supervisor3:start_child(Sup, spec(b, sometimes))),
  ?assertEqual({error, running}, brod_supervisor3:delete_child(Sup, a)),
  ?assertEqual({error, not_found}, brod_supervisor3:terminate_child(Sup, nobody)),
  ?assertEqual({ok, spec(a, {permanent, 10})}, brod_supervisor3:get_childspec(Sup, a)),
  stop(Sup).
