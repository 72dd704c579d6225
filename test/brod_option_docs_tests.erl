-module(brod_option_docs_tests).
-include_lib("eunit/include/eunit.hrl").

%% Names that Elixir's and Erlang's checks know, and those of the page, are the same.
each_option_has_a_row_test_() ->
  [{atom_to_list(Level),
    ?_assertEqual(lists:sort(brod_options:known(Level)), lists:sort([Name || {Name, _, _, _} <- brod_option_docs:rows(Level)]))}
   || {Level, _} <- brod_option_docs:levels()].

a_default_is_the_one_that_is_used_test() ->
  ?assertEqual({ok, 512}, brod_option_docs:default(producer, partition_buffer_limit)),
  ?assertEqual({ok, latest}, brod_option_docs:default(consumer, begin_offset)),
  ?assertEqual(none, brod_option_docs:default(client, ssl)).
