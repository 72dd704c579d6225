-module(brod_logging_tests).
-include_lib("eunit/include/eunit.hrl").

-export([log/2]).

%% In a VM of its own, whose handler is as OTP has set it up.
a_plain_release_shows_brod_s_lines_test_() -> {timeout, 60, fun plain_release/0}.

plain_release() ->
  Ebin = filename:dirname(code:which(brod_logging)),
  Lines = fun(Before) ->
            os:cmd("erl -noshell -pa " ++ Ebin ++ " -eval '" ++ Before ++
                   "brod_utils:log(warning, \"seen ~p\", [here]), "
                   "logger:notice(\"of the user\"), init:stop().'")
          end,
  Shown = Lines("brod_logging:show(default), brod_logging:show(default), "),
  ?assertMatch({match, _}, re:run(Shown, "seen here")),
  ?assertMatch({match, _}, re:run(Shown, "of the user")),
  ?assertEqual(nomatch, re:run(Lines("brod_logging:show(default), brod_logging:hide(default), "),
                               "seen here")).

lines_say_what_they_are_about_test() ->
  Pid = spawn_monitor(fun() ->
          ok = brod_logging:about(#{client => c, topic => <<"t">>}),
          exit(logger:get_process_metadata())
        end),
  receive {'DOWN', _, process, P, Metadata} when {P, element(2, Pid)} =:= Pid ->
    ?assertEqual(#{client => c, topic => <<"t">>}, Metadata)
  end.

%% Lines of brod's processes, and of its engine.
lines_have_the_domain_brod_and_what_they_are_about_as_metadata_test_() -> {timeout, 60, fun lines_with_metadata/0}.

lines_with_metadata() ->
  #{level := Level} = logger:get_primary_config(),
  ok = logger:set_primary_config(level, notice),
  ok = logger:add_handler(?MODULE, ?MODULE, #{config => self()}),
  ok = brod_fake_nif:load([]),
  {ok, Engine} = brod_engine_log:start_link(),
  try
    _ = spawn_link(fun() ->
                     ok = brod_logging:about(#{client => c, topic => <<"t">>, partition => 3}),
                     brod_utils:log(warning, "of a process", [])
                   end),
    ?assertMatch(#{domain := [brod], client := c, topic := <<"t">>, partition := 3}, logged("of a process")),
    Engine ! {brod_engine_log, warning, <<"of the engine">>,
              [{client, <<"undefined">>}, {broker, <<"h:1">>}, {topic, <<"t">>}, {partition, <<"3">>}]},
    ?assertMatch(#{domain := [brod], client := undefined, broker := <<"h:1">>, topic := <<"t">>, partition := 3},
                 logged("of the engine"))
  after
    unlink(Engine),
    exit(Engine, kill),
    brod_fake_nif:unload(),
    ok = logger:remove_handler(?MODULE),
    ok = logger:set_primary_config(level, Level)
  end.

logged(Text) ->
  receive
    {logged, Line, Metadata} ->
      case string:find(Line, Text) of
        nomatch -> logged(Text);
        _ -> Metadata
      end
  after 20000 -> error({not_logged, Text})
  end.

%% logger handler
log(#{meta := Metadata} = Event, #{config := Test}) ->
  Test ! {logged, unicode:characters_to_list(logger_formatter:format(Event, #{})), Metadata}.

the_engine_s_lines_are_logged_once_and_counted_test_() -> {timeout, 60, fun lines_of_the_engine/0}.

lines_of_the_engine() ->
  ok = brod_fake_nif:load([]),
  Log = brod_log:start(),
  {ok, Pid} = brod_engine_log:start_link(),
  Lost = fun(Broker) ->
           Pid ! {brod_engine_log, warning, <<"broker lost">>,
                  [{client, <<"c1">>}, {broker, Broker}, {error, <<"connection refused">>}]}
         end,
  [Lost(<<"h:1">>) || _ <- lists:seq(1, 50)],
  Lost(<<"h:2">>),
  %% an answer shows that all lines before were taken
  {error, {unknown_call, sync}} = gen_server:call(Pid, sync),
  Count = length(brod_log:all(Log, "broker lost")),
  Has = brod_log:has(Log, "Client c1: broker lost, broker h:1, error connection refused"),
  {status, _, _, Status} = sys:get_status(Pid),
  unlink(Pid),
  exit(Pid, kill),
  brod_log:stop(Log),
  brod_fake_nif:unload(),
  ?assertEqual(2, Count),
  ?assert(Has),
  ?assert(string:find(io_lib:format("~p", [Status]), "kinds_of_lines => 2") =/= nomatch).

one_is_in_the_singular_test() ->
  ?assertEqual(["0 lines", "1 line", "2 lines"], [lists:flatten(brod_logging:count(N, "line")) || N <- [0, 1, 2]]).
