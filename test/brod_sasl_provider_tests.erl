%% What the engine is answered when it asks for passwords, tokens and credentials. The engine is the test.
-module(brod_sasl_provider_tests).
-include_lib("eunit/include/eunit.hrl").

-define(LIMIT_MS, 20000).
-define(SECRET, "hunter2-secret").

all_test_() ->
  {foreach,
   fun() -> ok = brod_fake_nif:load([]) end,
   fun(_) -> ok = brod_fake_nif:unload() end,
   [{Name, Test} || {Name, Test} <-
      [{"user and password", fun logins/0},
       {"tokens in every form", fun tokens/0},
       {"a JSON web token says how long it is good", fun json_web_token/0},
       {"credentials for AWS", fun credentials/0},
       {"what fails says no secret", fun failures/0},
       {"who takes too long is ended, and others are answered meanwhile", fun too_long/0},
       {"a provider ends with its owner", fun ends_with_its_owner/0},
       {"who holds a provider is answered after its owner has ended", fun outlives_its_owner/0}]]}.

logins() ->
  [?assertEqual({ok, {<<"alice">>, <<"pässword"/utf8>>}}, ask(login, {plain, "alice", Password}))
   || Password <- ["pässword", <<"pässword"/utf8>>, fun() -> "pässword" end,
                   fun() -> fun() -> "pässword" end end]].

tokens() ->
  [?assertMatch({ok, {<<"t">>, Lifetime, Extensions}}, token(fun() -> Given end))
   || {Given, Lifetime, Extensions} <-
        [{"t", 300000, []}, {<<"t">>, 300000, []}, {{ok, <<"t">>}, 300000, []},
         {#{token => "t", lifetime_ms => 7}, 7, []},
         {{ok, #{token => "t", lifetime_ms => 7, extensions => #{a => "b"}}}, 7, [{<<"a">>, <<"b">>}]},
         {#{token => "t", lifetime_ms => 7, extensions => [{<<"a">>, <<"b">>}]}, 7,
          [{<<"a">>, <<"b">>}]},
         {#{token => "t", expires_at => 1}, 0, []}]],
  {ok, {_, InMs, _}} = token(fun() -> {ok, "t", os:system_time(millisecond) + 60000} end),
  ?assert(InMs > 50000 andalso InMs =< 60000).

json_web_token() ->
  Jwt = iolist_to_binary(brod_security:unsecured_token("alice", 100)),
  {ok, {Jwt, LifetimeMs, []}} = token(fun() -> Jwt end),
  ?assert(LifetimeMs > 90000 andalso LifetimeMs =< 100000).

credentials() ->
  Fun = fun(More) -> fun() -> More#{access_key_id => "A", secret_access_key => ?SECRET} end end,
  Aws = fun(More) -> ask(credentials, {aws_msk_iam, #{credentials => Fun(More)}}) end,
  ?assertEqual({ok, {<<"A">>, <<?SECRET>>, undefined, undefined}}, Aws(#{})),
  ?assertEqual({ok, {<<"A">>, <<?SECRET>>, <<"s">>, 5}}, Aws(#{session_token => "s", lifetime_ms => 5})).

failures() ->
  [begin
     {error, Why} = token(Fun),
     ?assert(is_binary(Why)),
     ?assertEqual(nomatch, string:find(Why, ?SECRET))
   end || Fun <- [fun() -> error({badmatch, ?SECRET}) end, fun() -> throw(?SECRET) end,
                  fun() -> exit({?SECRET, x}) end, fun() -> {error, ?SECRET} end,
                  fun() -> {error, {denied, ?SECRET}} end, fun() -> {?SECRET, x} end,
                  fun() -> #{token => {?SECRET}} end, fun() -> #{token => [16#110000]} end]],
  ?assertEqual({error, <<"the token that the fun gave is an error: denied">>},
               token(fun() -> {error, denied} end)).

too_long() ->
  Self = self(),
  Provider = provider({oauthbearer, #{token => fun() -> Self ! {asked, self()}, receive T -> T end end}}),
  Slow = make_ref(),
  Provider ! {brod_sasl, {self(), Slow}, token, 50},
  Pid = receive {asked, P} -> P end,
  MRef = monitor(process, Pid),
  Quick = make_ref(),
  Provider ! {brod_sasl, {self(), Quick}, token, ?LIMIT_MS},
  receive {asked, Other} -> Other ! "t" end,
  receive {Quick, Answer} -> ?assertMatch({ok, {<<"t">>, _, _}}, Answer) after ?LIMIT_MS -> error(none) end,
  receive {'DOWN', MRef, process, Pid, Reason} -> ?assertEqual(killed, Reason)
  after ?LIMIT_MS -> error(still_running)
  end.

ends_with_its_owner() ->
  Self = self(),
  Owner = spawn(fun() -> Self ! {provider, provider({plain, "a", "b"})}, receive stop -> ok end end),
  Provider = receive {provider, P} -> P end,
  MRef = monitor(process, Provider),
  Owner ! stop,
  receive {'DOWN', MRef, process, Provider, Reason} -> ?assertEqual(shutdown, Reason)
  after ?LIMIT_MS -> error(still_running)
  end.

outlives_its_owner() ->
  Test = self(),
  Live = fun() -> receive stop -> ok end end,
  Owner = spawn(fun() -> Test ! {provider, provider({plain, "alice", ?SECRET})}, Live() end),
  Provider = receive {provider, Pid} -> Pid end,
  Holder = spawn(fun() -> ok = brod_sasl_provider:hold(Provider), Test ! held, Live() end),
  receive held -> ok end,
  EndOfProvider = monitor(process, Provider),
  Owner ! stop,
  brod_test:wait_until(fun() -> process_info(Provider, monitors) =:= {monitors, [{process, Holder}]} end, ?LIMIT_MS),
  ?assertEqual({ok, {<<"alice">>, <<?SECRET>>}}, ask_provider(login, Provider)),
  Holder ! stop,
  receive {'DOWN', EndOfProvider, process, _, Reason} -> ?assertEqual(shutdown, Reason) end.

token(Fun) -> ask(token, {oauthbearer, #{token => Fun}}).

ask(Question, Sasl) -> ask_provider(Question, provider(Sasl)).

ask_provider(Question, Provider) ->
  Ref = make_ref(),
  Provider ! {brod_sasl, {self(), Ref}, Question, ?LIMIT_MS},
  receive {Ref, Answer} -> Answer after ?LIMIT_MS -> error(no_answer) end.

provider(Sasl) ->
  {ok, Options} = brod_options:connection([{sasl, Sasl}]),
  brod_sasl_provider:start(Options).
