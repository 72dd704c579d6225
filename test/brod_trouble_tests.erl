-module(brod_trouble_tests).
-include_lib("eunit/include/eunit.hrl").

%% What is due after each of these, in order.
due(Events) ->
  {Due, _} = lists:mapfoldl(fun({Why, Now}, Trouble) -> brod_trouble:failed(Why, Now, Trouble);
                               (passed, Trouble) -> brod_trouble:passed(Trouble)
                            end, brod_trouble:new(), Events),
  Due.

what_lasts_is_told_once_a_minute_with_how_often_it_was_test() ->
  ?assertEqual([{tell, 0}, quiet, quiet, {tell, 2}, quiet, {tell, 5}, quiet],
               due([{timeout, 0}, {timeout, 1}, {timeout, 59999}, {timeout, 60000}, {timeout, 119999}, passed, passed])).

another_reason_is_told_at_once_test() ->
  ?assertEqual([{tell, 0}, {tell, 0}, quiet, quiet, {tell, 4}],
               due([{timeout, 0}, {not_coordinator, 1}, {timeout, 2}, {not_coordinator, 3}, passed])).

what_comes_and_goes_is_told_no_more_often_test() ->
  ?assertEqual([{tell, 0}, {tell, 1}, quiet, quiet, {tell, 1}, {tell, 1}],
               due([{timeout, 0}, passed, {timeout, 10}, passed, {timeout, 60000}, passed])).

nothing_is_told_of_what_never_failed_test() ->
  ?assertEqual([quiet, quiet], due([passed, passed])).
