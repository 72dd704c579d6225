%% Who watches the processes that have a handle of the engine.
-module(brod_handles_tests).
-include_lib("eunit/include/eunit.hrl").

the_table_may_be_gone_before_a_process_test() ->
  _ = application:stop(brod),
  undefined = ets:info(brod_handles),
  Down = {'DOWN', make_ref(), process, self(), shutdown},
  ?assertEqual({noreply, #{}}, brod_handles:handle_info(Down, #{self() => make_ref()})).
