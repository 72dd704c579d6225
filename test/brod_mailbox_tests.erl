%% A call must not look through all that is in its caller's mailbox. Whether it does is decided when it is compiled: the place in the
%% mailbox is marked where the call's reference is made, and the receive begins there.
-module(brod_mailbox_tests).

-include_lib("eunit/include/eunit.hrl").

answers_are_looked_for_behind_what_was_there_before_test_() ->
  [Engine, Calls] = [instructions(Module) || Module <- [brod_engine, brod_producer_calls]],
  [?_assert(has(recv_marker_use, Function, In)) || {In, Function} <- [{Engine, {call, 3}}, {Calls, {await_ack, 3}}, {Calls, {await_watched, 3}}]]
  ++ [?_assert(has(recv_marker_reserve, Function, Calls)) || Function <- [{produce_sync, 4}, {produce_sync_to, 6}]].

%% A mark takes the lock of the mailbox, which replies to former calls are just put into.
calls_that_wait_for_nothing_mark_nothing_test_() ->
  Calls = instructions(brod_producer_calls),
  [?_assertNot(has(recv_marker_reserve, Function, Calls))
   || Function <- [{produce, 3}, {give, 4}, {produce_to, 5}, {give_to, 6}, {call_ref, 4}]].

has(Name, Function, Functions) ->
  lists:any(fun(Instruction) -> is_tuple(Instruction) andalso element(1, Instruction) =:= Name end, maps:get(Function, Functions)).

instructions(Module) ->
  Lib = code:lib_dir(brod),
  Source = filename:join([Lib, "src", atom_to_list(Module) ++ ".erl"]),
  {ok, Module, {Module, _, _, Functions, _}} = compile:file(Source, [to_asm, binary, {i, filename:join(Lib, "include")}]),
  maps:from_list([{{Name, Arity}, Instructions} || {function, Name, Arity, _, Instructions} <- Functions]).
