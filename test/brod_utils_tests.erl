-module(brod_utils_tests).
-include_lib("eunit/include/eunit.hrl").
-include("../src/brod_kafka.hrl").

%% `now' stands for the time of the call.
batch_input_test_() ->
  [?_assertEqual(Expected, [timeless(Message) || Message <- brod_utils:make_batch_input("dk", Value)])
   || {Value, Expected} <-
        [ {<<"a">>, [alone(<<"dk">>, <<"a">>, now)]}
        , {["b", <<"c">>], [alone(<<"dk">>, <<"bc">>, now)]}
        , {{12, <<"d">>}, [alone(<<"dk">>, <<"d">>, 12)]}
        , {undefined, [alone(<<"dk">>, <<>>, now)]}
        , {[], [alone(<<"dk">>, <<>>, now)]}
        , {#{key => <<"k">>}, [alone(<<"k">>, <<>>, now)]}
        , {#{value => "v", headers => [{"h", ["x", $y]}, {<<"i">>, undefined}]},
           [(alone(<<"dk">>, <<"v">>, now))#{headers := [{<<"h">>, <<"xy">>}, {<<"i">>, <<>>}]}]}
        , {[{<<"k">>, "v"}, {5, undefined, <<"w">>}],
           [#{key => <<"k">>, value => <<"v">>, ts => now}, #{key => <<>>, value => <<"w">>, ts => 5}]}
        , {[#{key => "k", value => "v", ts => 1}, #{value => <<"w">>, headers => [{"h", "x"}]}],
           [alone(<<"k">>, <<"v">>, 1), #{key => <<>>, value => <<"w">>, headers => [{<<"h">>, <<"x">>}]}]}
        , {[{<<"n">>, [{<<"n1">>, <<"v">>}, {4, <<>>, [{3, <<"n2">>, <<"v">>}]}]}],
           [#{key => <<"n1">>, value => <<"v">>, ts => now}, #{key => <<"n2">>, value => <<"v">>, ts => 3}]}
        ]].

alone(Key, Value, Ts) -> #{key => Key, value => Value, ts => Ts, headers => []}.

timeless(#{ts := Ts} = Message) ->
  case abs(Ts - brod_utils:epoch_ms()) < 60000 of
    true -> Message#{ts := now};
    false -> Message
  end;
timeless(Message) ->
  Message.

bad_batch_input_test_() ->
  [?_assertError(badarg, brod_utils:make_batch_input(<<>>, Value))
   || Value <- [atom, 1, [{a}], [#{value => <<>>}, <<"x">>], #{value => <<>>, headers => [h]}]].

sasl_secret_is_hidden_test() ->
  [{sasl, {plain, "u", Secret}}] = brod_utils:init_sasl_opt([{sasl, {plain, "u", "p"}}]),
  ?assertEqual("p", Secret()),
  ?assertEqual([{sasl, {callback, m, o}}], brod_utils:init_sasl_opt([{sasl, {callback, m, o}}])),
  ?assertEqual([], brod_utils:init_sasl_opt([])).

assertions_test() ->
  ?assertEqual(ok, brod_utils:assert_client(self())),
  ?assertError({bad_client, <<"x">>}, brod_utils:assert_client(<<"x">>)),
  ?assertError({bad_topic, "x"}, brod_utils:assert_topics([<<"t">>, "x"])),
  ?assertError({bad_group_id, <<>>}, brod_utils:assert_group_id(<<>>)).

%% A broker that was told more would close the connection, whatever is asked.
ids_are_no_longer_than_brokers_read_test() ->
  [Longest, TooLong] = [binary:copy(<<"x">>, Size) || Size <- [32767, 32768]],
  ?assertEqual(ok, brod_utils:assert_group_id(Longest)),
  ?assertError({bad_group_id, TooLong}, brod_utils:assert_group_id(TooLong)),
  ?assertMatch({ok, _}, brod_transaction_options:check(Longest, [])),
  ?assertEqual({error, {bad_option, transactional_id, TooLong}}, brod_transaction_options:check(TooLong, [])),
  ?assertEqual({error, {bad_group, TooLong}}, brod_transaction:add_offsets(self(), TooLong, #{})).

what_is_no_pid_is_not_alive_test() ->
  ?assertEqual([true, false, false], [brod_utils:is_pid_alive(P) || P <- [self(), undefined, {down, "", normal}]]).

a_member_that_could_not_leave_is_told_test() ->
  Left = fun(Vsn, Fields) ->
           brod_utils:parse_rsp(#kpro_rsp{api = leave_group, vsn = Vsn, msg = Fields#{error_code => no_error}})
         end,
  Member = fun(Code) -> #{member_id => <<"m">>, group_instance_id => <<"i">>, error_code => Code} end,
  ?assertEqual(ok, Left(0, #{})),
  ?assertEqual(ok, Left(3, #{members => [Member(no_error)]})),
  ?assertEqual({error, unknown_member_id}, Left(3, #{members => [Member(no_error), Member(unknown_member_id)]})).

group_per_key_test() ->
  ?assertEqual([{a, [1, 3]}, {b, [2]}],
               brod_utils:group_per_key([{a, 1}, {b, 2}, {a, 3}])).

optional_callback_test() ->
  ?assertEqual(3, brod_utils:optional_callback(lists, sum, [[1, 2]], no)),
  ?assertEqual(no, brod_utils:optional_callback(lists, no_such, [1], no)).

utc_string_test() ->
  ?assertMatch({match, _}, re:run(brod_utils:os_time_utc_str(),
                                  "^\\d{4}-\\d\\d-\\d\\d:\\d\\d:\\d\\d:\\d\\d\\.\\d{6}$")).

clients_of_the_environment_are_checked_test_() ->
  [?_test(begin
            process_flag(trap_exit, true),
            application:set_env(brod, clients, Clients),
            Result = brod_sup:start_link(),
            application:unset_env(brod, clients),
            ?assertEqual({error, Reason}, Result)
          end)
   || {Clients, Reason} <-
        [{[{<<"x">>, [{endpoints, [{"h", 1}]}]}], {bad_client_id, <<"x">>}},
         {nil, {bad_clients, nil}},
         {#{x => []}, {bad_clients, #{x => []}}},
         {[{x, []}], "No endpoints found in brod client 'x' config"}]].

pmap_is_in_order_and_has_a_limit_test() ->
  ?assertEqual([2, 4, 6], brod_utils:pmap(fun(N) -> 2 * N end, [1, 2, 3], infinity)),
  ?assertEqual([], brod_utils:pmap(fun(N) -> N end, [], 0)),
  Waits = fun(Pid) -> Pid ! {self(), waits}, receive never -> ok end end,
  ?assertEqual(timeout, catch brod_utils:pmap(Waits, [self(), self()], 100)),
  [receive
     {Worker, waits} ->
       MRef = monitor(process, Worker),
       receive {'DOWN', MRef, _, _, _} -> ok after 20000 -> error(alive) end
   after 20000 -> error(not_started)
   end || _ <- [1, 2]],
  ?assertError({oops, _}, brod_utils:pmap(fun(_) -> error(oops) end, [1], infinity)).

messages_are_counted_test() ->
  Messages = [#{key => <<"k">>, value => <<"vv">>, headers => [{<<"h">>, <<"xyz">>}]}, #{key => <<>>, value => <<>>}],
  ?assertEqual({2, 15 + 8}, brod_utils:stats(Messages)),
  ?assertEqual(#{timeout => 700}, brod_utils:kpro_connection_options([{connect_timeout, 700}])),
  ?assertEqual(#{timeout => 5000}, brod_utils:kpro_connection_options(#{})).

stable_offsets_test() ->
  ?assertEqual([3, 5, 5, 4], [brod_utils:get_stable_offset(H)
                              || H <- [#{high_watermark => 5, last_stable_offset => 3}, [{high_watermark, 5}],
                                       #{high_watermark => 5, last_stable_offset => -1},
                                       #{high_watermark => 4, last_stable_offset => 5}]]).
