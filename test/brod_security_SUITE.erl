%% TLS and SASL on a real Kafka, as users meet them: every way to connect with everything that a client
%% does, changes under load, and what a client that cannot connect says.
%% BROD_REAUTH_SECONDS: how long the loads of sessions that end run (15).
-module(brod_security_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include("../include/brod.hrl").

-compile([export_all, nowarn_export_all]).

-define(config(Key, Config), proplists:get_value(Key, Config)).
-define(LIMIT_MS, 30000).
-define(CONNECT_MS, 5000).
-define(SECRETS, ["alice-secret", "bob-secret", "wrong-secret", "carol-first", "carol-second"]).
-define(FAILED(Reason), {'EXIT', {failed, [{_, {Reason, Stack}} | _]}} when is_list(Stack)).

all() -> [{group, ways}, {group, plugins}, {group, load}, {group, faults}].

groups() ->
  [{ways, [],
    [tls, tls_map, mtls, plain, plain_fun, plain_file, scram_256, scram_512, scram_password_as_typed, oauthbearer,
     sasl_over_tls, oauthbearer_signed, client_credentials, a_token_endpoint_refuses, bound_to_a_device,
     tls_options_of_erlang, without_client,
     what_the_client_was_given_comes_back_without_secrets]},
   {plugins, [],
    [plugin_of_rounds, plugin_of_rounds_over_tls, plugin_of_one_token, plugin_is_given_what_brod_gives,
     plugin_refuses, plugin_does_not_exist, plugin_fails, plugin_hangs, the_relay_takes_no_stranger]},
   {load, [],
    [sessions_end, password_is_changed, certificate_is_rotated, many_connections_at_once]},
   {faults, [],
    [wrong_password, wrong_scram_password, mechanism_is_not_offered, plaintext_to_tls,
     tls_to_plaintext, sasl_to_plaintext, plaintext_to_sasl, sasl_to_tls, foreign_ca, wrong_host_name,
     expired_certificate, self_signed_certificate, downgrade, alert_of_the_server, record_that_is_cut_off,
     records_in_pieces, renegotiation, close_of_the_server, silence_after_the_handshake,
     client_certificate_is_missing, file_is_missing, credentials_file_is_missing,
     a_proxy_that_closes, a_server_that_stalls, a_token_cannot_be_had, unusable_options]}].

init_per_suite(Config) ->
  case os:getenv("BROD_BOOTSTRAP_REAUTH") of
    false -> {skip, "BROD_BOOTSTRAP_REAUTH names no Kafka (scripts/test.sh starts one)"};
    _ ->
      {ok, _} = application:ensure_all_started(ssl),
      brod_test:init_suite([{watch, brod_security:watch(?SECRETS)} | Config])
  end.

end_per_suite(Config) ->
  ok = brod_security:unwatch(?config(watch, Config)),
  application:stop(brod).

init_per_testcase(_Case, Config) -> Config.

%% Nothing that was logged in the test, and nothing that is kept, shows a secret.
end_per_testcase(_Case, Config) ->
  ok = brod_security:check(?config(watch, Config)),
  [ok = brod:stop_client(Client) || {Client, _, _, _} <- brod_supervisor3:which_children(brod_sup)],
  ok.

%%% Every way to connect does everything

tls(_) -> main_job(tls, [{ssl, brod_security:ca()}]).

tls_map(_) ->
  main_job(tls, [{ssl, #{cacertfile => list_to_binary(brod_security:tls_file("ca.pem")),
                         versions => ['tlsv1.2']}}]).

mtls(_) -> main_job(mtls, [{ssl, brod_security:ca() ++ brod_security:client_certificate()}]).

plain(_) -> main_job(sasl, [{sasl, {plain, "alice", "alice-secret"}}]).

plain_fun(_) -> main_job(sasl, [{sasl, {plain, <<"alice">>, fun() -> <<"alice-secret">> end}}]).

plain_file(Config) ->
  File = filename:join(?config(priv_dir, Config), "login"),
  ok = file:write_file(File, "alice\nalice-secret\n"),
  main_job(sasl, [{sasl, {plain, File}}]).

scram_256(_) -> main_job(sasl, [{sasl, {scram_sha_256, "alice", "alice-secret"}}]).

%% As Kafka has it: SASLprep would write a ligature and a no-break space otherwise.
scram_password_as_typed(_) ->
  Password = "pen\x{fb01}\x{a0}x",
  ok = brod_security:set_password("dora", Password),
  allow_all("dora"),
  Sasl = {sasl, {scram_sha_512, "dora", unicode:characters_to_binary(Password)}},
  {ok, _} = brod:get_metadata(brod_security:endpoints(sasl), [], [Sasl]).

scram_512(_) ->
  main_job(sasl, [{sasl, #{mechanism => scram_sha_512, username => <<"alice">>,
                           password => <<"alice-secret">>}}]).

oauthbearer(_) -> main_job(sasl, [{sasl, {oauthbearer, #{token => token("alice")}}}]).

sasl_over_tls(_) ->
  main_job(sasl_tls, [{ssl, brod_security:ca()}, {sasl, {scram_sha_512, "alice", "alice-secret"}}]).

oauthbearer_signed(_) ->
  Signed = iolist_to_binary(brod_security:signed_token("alice", 600)),
  Token = fun() -> {ok, #{token => Signed, lifetime_ms => 600000}} end,
  main_job(sasl_tls, [{ssl, brod_security:ca()}, {sasl, {oauthbearer, #{token => Token}}}]).

%% The token endpoint is asked over plain HTTP here, which is allowed on this machine only.
client_credentials(_) ->
  {{"127.0.0.1", Port}, Stop} = token_endpoint(),
  Endpoint = "http://127.0.0.1:" ++ integer_to_list(Port) ++ "/token",
  main_job(sasl_tls, [{ssl, brod_security:ca()},
                      {sasl, {oauthbearer, #{token_endpoint => Endpoint, client_id => "alice",
                                             client_secret => "alice-secret", scope => "kafka"}}}]),
  Stop().

a_token_endpoint_refuses(_) ->
  {{"127.0.0.1", Port}, Stop} = token_endpoint(),
  Endpoint = "http://127.0.0.1:" ++ integer_to_list(Port) ++ "/token",
  {'EXIT', {failed, [{_, {{sasl_auth_error, Text}, _}} | _]}} =
    failure(sasl_tls, [{ssl, brod_security:ca()},
                       {sasl, {oauthbearer, #{token_endpoint => Endpoint, client_id => "alice",
                                              client_secret => "wrong-secret"}}}]),
  ?assertNotEqual({nomatch, Text}, {string:find(Text, "invalid_client"), Text}),
  Stop().

%% Answers who says the secret in the way that RFC 6749 has it.
token_endpoint() ->
  tcp_server(fun(Socket) ->
    {Headers, Body} = http_request(Socket, <<>>),
    Right = <<"Basic ", (base64:encode("alice:alice-secret"))/binary>>,
    {Status, Answer} =
      case {lists:keyfind(<<"authorization">>, 1, Headers), binary:match(Body, <<"grant_type=client_credentials">>)} of
        {{_, Right}, {_, _}} ->
          {"200 OK", ["{\"access_token\":\"", brod_security:signed_token("alice", 600),
                      "\",\"token_type\":\"Bearer\",\"expires_in\":600}"]};
        _ ->
          {"401 Unauthorized", "{\"error\":\"invalid_client\"}"}
      end,
    ok = gen_tcp:send(Socket, ["HTTP/1.1 ", Status, "\r\ncontent-type: application/json\r\nconnection: close\r\n"
                               "content-length: ", integer_to_list(iolist_size(Answer)), "\r\n\r\n", Answer]),
    gen_tcp:close(Socket)
  end).

http_request(Socket, Read) ->
  case binary:split(Read, <<"\r\n\r\n">>) of
    [Head, Body] ->
      [_Method | Lines] = binary:split(Head, <<"\r\n">>, [global]),
      Headers = [{string:lowercase(Name), string:trim(Value)}
                 || Line <- Lines, [Name, Value] <- [binary:split(Line, <<":">>)]],
      {_, Length} = lists:keyfind(<<"content-length">>, 1, Headers),
      case binary_to_integer(Length) - byte_size(Body) of
        0 -> {Headers, Body};
        _ -> {ok, More} = gen_tcp:recv(Socket, 0, ?LIMIT_MS), http_request(Socket, <<Read/binary, More/binary>>)
      end;
    _ ->
      {ok, More} = gen_tcp:recv(Socket, 0, ?LIMIT_MS), http_request(Socket, <<Read/binary, More/binary>>)
  end.

%% Linux has it, for whom it trusts with it.
bound_to_a_device(_) ->
  Connect = fun(Device) ->
              failure(plain, [{extra_sock_opts, [{bind_to_device, Device}]}])
            end,
  case {os:type(), Connect(<<"lo">>)} of
    {{unix, linux}, {ok, _}} ->
      ?assertMatch(?FAILED(enodev), Connect(<<"nodevice">>)),
      says(plain, [{extra_sock_opts, [{bind_to_device, <<"nodevice">>}]}], "extra_sock_opts"),
      %% an address that is nobody's here
      ?assertMatch(?FAILED(eaddrnotavail), failure(plain, [{extra_sock_opts, [{ip, {192, 0, 2, 1}}]}]));
    {{unix, linux}, Refused} ->
      ?assertMatch(?FAILED(eperm), Refused),
      {comment, "this user may not bind to devices"};
    {_, Elsewhere} ->
      ?assertMatch(?FAILED(_), Elsewhere)
  end.

%% Certificates and keys as programs have them that read files themselves.
tls_options_of_erlang(_) ->
  [Ca] = ders("ca.pem"),
  [Cert] = ders("client.pem"),
  [{Type, Key, not_encrypted} | _] = [E || E <- entries("client.key"), element(1, E) =/= 'EcpkParameters'],
  Identity = #{cert => Cert, key => {Type, Key}},
  Match = public_key:pkix_verify_hostname_match_fun(https),
  Ssl = [{cacerts, [Ca]}, {certs_keys, [Identity]}, {verify, verify_peer}, {depth, 3},
         {customize_hostname_check, [{match_fun, Match}]}, {versions, ['tlsv1.3', 'tlsv1.2']},
         {server_name_indication, "localhost"}, {reuse_sessions, true}, {secure_renegotiate, true}],
  ?assertMatch({ok, _}, brod:get_metadata(brod_security:endpoints(mtls), [], [{ssl, Ssl}])).

%% What takes endpoints takes the options to connect as well, as a list and as a map.
without_client(_) ->
  Endpoints = [Endpoint | _] = brod_security:endpoints(sasl_tls),
  List = [{ssl, brod_security:ca()}, {sasl, {plain, "alice", "alice-secret"}}],
  Topic = brod_test:create_topic(1),
  Group = brod_test:unique("g"),
  [begin
     ?assertMatch({ok, #{topics := [_]}}, brod:get_metadata(Endpoints, [Topic], Options)),
     ?assertEqual({ok, 0}, brod:resolve_offset(Endpoints, Topic, 0, latest, Options)),
     ?assertEqual({ok, {0, []}}, brod:fetch({Endpoints, Options}, Topic, 0, 0)),
     ?assertMatch({[], _, _}, brod:fold({Endpoints, Options}, Topic, 0, 0, #{max_wait_time => 10}, [],
                                        fun(M, Acc) -> {ok, [M | Acc]} end, #{})),
     ?assertMatch({ok, _}, brod:list_groups(Endpoint, Options)),
     ?assertMatch([_ | _], brod:list_all_groups(Endpoints, Options)),
     ?assertMatch({ok, [_]}, brod:describe_groups(Endpoint, Options, [Group])),
     ?assertMatch({ok, _}, brod:fetch_committed_offsets(Endpoints, Options, Group)),
     {ok, Leader} = brod:connect_leader(Endpoints, Topic, 0, Options),
     ?assertEqual({ok, {0, []}}, brod:fetch(Leader, Topic, 0, 0)),
     {ok, Coordinator} = brod:connect_group_coordinator(Endpoints, Options, Group),
     [ok = brod_connection:stop(Pid) || Pid <- [Leader, Coordinator]]
   end || Options <- [List, maps:from_list(List)]].

what_the_client_was_given_comes_back_without_secrets(_) ->
  Endpoints = brod_security:endpoints(sasl),
  Client = client(Endpoints, [{sasl, {plain, "alice", "alice-secret"}}]),
  {ok, {Endpoints, #{sasl := {plain, "alice", Password}} = Config}} = brod_client:get_bootstrap(Client),
  ?assertEqual(<<"alice-secret">>, Password()),
  ?assertMatch({ok, _}, brod:get_metadata(Endpoints, [], Config)),
  %% a crash is reported with the whole state
  Log = brod_log:start(),
  MRef = monitor(process, Client),
  ok = sys:terminate(Client, {crashed, on_purpose}),
  receive {'DOWN', MRef, _, _, _} -> ok end,
  brod_test:wait_until(fun() -> brod_log:has(Log, "on_purpose") end, ?LIMIT_MS),
  brod_log:stop(Log).

%%% Plugins

plugin_of_rounds(_) -> main_job(sasl, [{sasl, rounds("alice-secret")}]).

plugin_of_rounds_over_tls(_) ->
  main_job(sasl_tls, [{ssl, brod_security:ca()}, {sasl, rounds("alice-secret")}]).

plugin_of_one_token(_) ->
  Token = fun() -> brod_security:unsecured_token("alice", 600) end,
  main_job(sasl, [{sasl, {callback, brod_plugin_oauth, #{token => Token}}}]).

plugin_is_given_what_brod_gives(_) ->
  [Endpoint | _] = brod_security:endpoints(sasl),
  {callback, Module, Opts} = rounds("alice-secret"),
  {ok, _} = brod:get_metadata([Endpoint], [], [{sasl, {callback, Module, Opts#{tell => self()}}},
                                               {connect_timeout, 4000}]),
  receive
    {plugin, Given} ->
      ?assertMatch({"127.0.0.1", gen_tcp, 1, <<"kpro-client">>, 4000,
                    [{active, false}, {mode, binary}, {packet, 4}]}, Given)
  after ?LIMIT_MS -> error(not_called)
  end.

plugin_refuses(_) ->
  ?assertMatch(?FAILED({sasl_auth_error, <<"Authentication failed", _/binary>>}),
               failure(sasl, [{sasl, rounds("wrong-secret")}])).

plugin_does_not_exist(_) ->
  ?assertMatch(?FAILED(undef), failure(sasl, [{sasl, {callback, no_such_module, []}}])).

%% Whatever a plugin fails with may hold a secret, so only its kind is told, and where it was.
plugin_fails(_) ->
  Token = fun() -> error({no_token, "alice-secret"}) end,
  ?assertMatch(?FAILED({sasl_auth_error, <<"the fun failed: error no_token in brod_security_SUITE:-plugin_fails/1-fun-0-/0, line ", _/binary>>}),
               failure(sasl, [{sasl, {callback, brod_plugin_oauth, #{token => Token}}}])).

plugin_hangs(_) ->
  Hangs = fun() -> receive never -> ok end end,
  {Ms, Result} = timed(fun() ->
    failure(sasl, [{sasl, {callback, brod_plugin_oauth, #{token => Hangs}}}, {connect_timeout, 1000}])
  end),
  ?assertMatch(?FAILED(_), Result),
  ?assert(Ms < ?CONNECT_MS * length(brod_security:endpoints(sasl))).

%% The relay's port is open to every process of the machine, and takes only the plugin's.
the_relay_takes_no_stranger(_) ->
  Self = self(),
  Token = fun() ->
            Self ! {relay, self(), relay_port()},
            receive go_on -> brod_security:unsecured_token("alice", 600) end
          end,
  Options = [{sasl, {callback, brod_plugin_oauth, #{token => Token}}}],
  [Endpoint | _] = brod_security:endpoints(sasl),
  Caller = spawn_link(fun() -> Self ! {self(), brod:get_metadata([Endpoint], [], Options)} end),
  receive
    {relay, Plugin, Port} ->
      %% either nobody listens any more, or the connection ends without a byte
      case gen_tcp:connect("127.0.0.1", Port, [binary, {active, false}], ?LIMIT_MS) of
        {ok, Stranger} -> ?assertMatch({error, _}, gen_tcp:recv(Stranger, 0, 2000));
        {error, Refused} -> ?assert(lists:member(Refused, [econnrefused, econnreset]))
      end,
      Plugin ! go_on
  after ?LIMIT_MS -> error(not_asked)
  end,
  receive {Caller, Result} -> ?assertMatch({ok, _}, Result)
  after ?LIMIT_MS -> error(no_result)
  end.

%% In the plugin's process, whose only socket it is.
relay_port() ->
  {links, Links} = process_info(self(), links),
  [Socket] = [Port || Port <- Links, is_port(Port)],
  {ok, {{127, 0, 0, 1}, Port}} = inet:peername(Socket),
  Port.

%%% Under load

%% Every 5 s a session ends: the clients authenticate anew, on the connections that they have.
sessions_end(_) ->
  Seconds = list_to_integer(os:getenv("BROD_REAUTH_SECONDS", "15")),
  Log = brod_log:start(),
  in_parallel(fun(Sasl) ->
    brod_load:run(client(brod_security:endpoints(reauth), [{sasl, Sasl}]), fun() -> wait((Seconds + 5) * 1000) end)
  end, [{plain, "alice", "alice-secret"}, {scram_sha_256, "alice", "alice-secret"},
        {oauthbearer, #{token => token("alice")}}, rounds("alice-secret")],
  fun() ->
    %% each client asks, produces and fetches on connections of their own
    Open = fun() -> length(connections(reauth)) >= 12 orelse not filelib:is_file("/proc/net/tcp") end,
    brod_test:wait_until(Open, ?LIMIT_MS),
    Before = connections(reauth),
    wait(Seconds * 1000),
    ?assertEqual([], Before -- connections(reauth))
  end),
  ?assertNot(brod_log:has(Log, "cannot connect")),
  brod_log:stop(Log).

in_parallel(Fun, Inputs, Meanwhile) ->
  Running = [spawn_monitor(fun() -> Fun(Input) end) || Input <- Inputs],
  Meanwhile(),
  [receive {'DOWN', MRef, process, Pid, Reason} -> ?assertEqual(normal, Reason)
   after ?LIMIT_MS * 3 -> error(still_running)
   end || {Pid, MRef} <- Running].

%% The ports here of connections to the brokers' listeners, where the system tells (Linux).
connections(Kind) ->
  Ports = [Port || {_, Port} <- brod_security:endpoints(Kind)],
  Lines = case file:read_file("/proc/net/tcp") of
            {ok, Text} -> tl(string:lexemes(Text, "\n"));
            {error, _} -> []
          end,
  [Local || Line <- Lines,
            [_, From, To, <<"01">> | _] <- [string:lexemes(Line, " ")],
            [<<_:8/binary, ":", Local/binary>>] <- [[From]],
            [<<_:8/binary, ":", Remote/binary>>] <- [[To]],
            lists:member(binary_to_integer(Remote, 16), Ports)].

%% SCRAM: new connections take the new password, those that are open go on.
password_is_changed(Config) ->
  File = filename:join(?config(priv_dir, Config), "carol"),
  Change = fun(Password) ->
             ok = brod_security:set_password("carol", Password),
             ok = file:write_file(File, ["carol\n", Password, "\n"])
           end,
  Change("carol-first"),
  allow_all("carol"),
  in_parallel(fun(Sasl) ->
    brod_load:run(client(brod_security:endpoints(reauth), [{sasl, Sasl}]), fun() -> wait(11000) end)
  end, [{scram_sha_512, File}, {scram_sha_256, "carol", fun() -> second_line(File) end}],
  fun() -> wait(3000), Change("carol-second") end).

second_line(File) ->
  {ok, Text} = file:read_file(File),
  [_, Password | _] = binary:split(Text, <<"\n">>, [global]),
  Password.

%% Files are read again: a certificate that is renewed needs no restart, a broken one does no harm.
certificate_is_rotated(Config) ->
  [CertFile, KeyFile] = [filename:join(?config(priv_dir, Config), F) || F <- ["c.pem", "k.pem"]],
  Copy = fun() ->
           {ok, _} = file:copy(brod_security:tls_file("client.pem"), CertFile),
           {ok, _} = file:copy(brod_security:tls_file("client.key"), KeyFile)
         end,
  Copy(),
  Ssl = brod_security:ca() ++ [{certfile, CertFile}, {keyfile, KeyFile}],
  Client = client(brod_security:endpoints(mtls), [{ssl, Ssl}]),
  Log = brod_log:start(),
  brod_load:run(Client, fun() ->
         ok = file:write_file(CertFile, "broken"),
         %% connections of their own
         {ok, {Endpoints, _}} = brod_client:get_bootstrap(Client),
         [?assertMatch({ok, _}, brod_client:get_metadata(Client, all)) || _ <- Endpoints],
         wait(1500),
         Copy(),
         wait(1500)
       end),
  brod_log:stop(Log).

%% TLS and SCRAM are not on the schedulers: whatever a connection takes beyond one in plaintext, normal schedulers work
%% no longer for it. That is counted in CPU time of their threads, which a busy machine does not change; one PBKDF2 (2 ms)
%% a connection would show.
many_connections_at_once(_) ->
  Scram = {sasl, {scram_sha_512, "alice", "alice-secret"}},
  Plain = {sasl, {plain, "alice", "alice-secret"}},
  Count = 200,
  Costs = [{What, connections_at_once(Count, Kind, Options)}
           || {What, Kind, Options} <- [{plaintext, plain, []}, {tls, tls, [{ssl, brod_security:ca()}]},
                                        {tls_and_plain, sasl_tls, [{ssl, brod_security:ca()}, Plain]},
                                        {tls_and_scram, sasl_tls, [{ssl, brod_security:ca()}, Scram]}]],
  ct:pal("~b connections at once:~n~p", [Count, Costs]),
  [{plaintext, #{scheduler_ms_each := Base}} | Others] = Costs,
  ?assert(Base > 0 orelse not filelib:is_dir("/proc/self/task")),
  [?assert(OnSchedulers < 2 * Base + 0.5, Costs) || {_, #{scheduler_ms_each := OnSchedulers}} <- Others].

connections_at_once(Count, Kind, Options) ->
  Endpoints = brod_security:endpoints(Kind),
  Connect = fun(_) -> {ok, _} = brod:get_metadata(Endpoints, [], [{connect_timeout, ?LIMIT_MS} | Options]) end,
  Connect(first),
  {OnSchedulers, Cpu} = {scheduler_seconds(), cpu_seconds()},
  in_parallel(Connect, lists:seq(1, Count), fun() -> ok end),
  #{cpu_ms_each => 1000 * (cpu_seconds() - Cpu) / Count,
    scheduler_ms_each => 1000 * (scheduler_seconds() - OnSchedulers) / Count}.

%% CPU time of the normal schedulers' threads, where the system tells (Linux).
scheduler_seconds() ->
  %% 1_scheduler up to OTP 25, erts_sched_1 afterwards
  Tasks = [Task || Task <- filelib:wildcard("/proc/self/task/*"), {ok, Name} <- [file:read_file(Task ++ "/comm")],
                   re:run(Name, "^(erts_sched_[0-9]+|[0-9]+_scheduler)$") =/= nomatch],
  lists:sum([binary_to_integer(hd(string:lexemes(Text, " "))) / 1.0e9
             || Task <- Tasks, {ok, Text} <- [file:read_file(Task ++ "/schedstat")]]).

%% Of the whole VM, where the system tells (Linux).
cpu_seconds() ->
  case file:read_file("/proc/self/stat") of
    {ok, Text} ->
      [_, Rest] = string:split(Text, ") ", trailing),
      [User, System] = lists:sublist(string:lexemes(Rest, " "), 12, 2),
      (binary_to_integer(User) + binary_to_integer(System)) / 100;
    {error, _} -> 0.0
  end.

%% The time of a load, not the wait for something.
wait(Ms) -> receive after Ms -> ok end.

%%% What a client says that cannot connect

wrong_password(_) ->
  Text = <<"Authentication failed: Invalid username or password">>,
  ?assertMatch(?FAILED({sasl_auth_error, Text}), failure(sasl, [{sasl, {plain, "alice", "wrong-secret"}}])),
  says(sasl, [{sasl, {plain, "alice", "wrong-secret"}}], "check user and password").

wrong_scram_password(_) ->
  ?assertMatch(?FAILED({sasl_auth_error, <<"Authentication failed during authentication due to invalid "
                                           "credentials with SASL mechanism SCRAM-SHA-256">>}),
               failure(sasl, [{sasl, {scram_sha_256, "alice", "wrong-secret"}}])),
  says(sasl, [{sasl, {scram_sha_256, "alice", "wrong-secret"}}], "check user and password").

%% AWS's mechanism is one that Apache Kafka does not have.
mechanism_is_not_offered(_) ->
  Aws = [{sasl, {aws_msk_iam, #{access_key_id => "A", secret_access_key => "wrong-secret",
                                region => "eu-west-1"}}}],
  ?assertMatch(?FAILED({sasl_auth_error, unsupported_sasl_mechanism}), failure(sasl, Aws)),
  says(sasl, Aws, "does not offer the mechanism").

plaintext_to_tls(_) ->
  ?assertMatch(?FAILED({{kpro_req, _, api_versions, 0, false, []}, closed}), failure(tls, [])),
  says(tls, [], "this port may ask for TLS").

tls_to_plaintext(_) ->
  ?assertMatch(?FAILED({failed_to_upgrade_to_ssl, closed}), failure(plain, [{ssl, brod_security:ca()}])),
  says(plain, [{ssl, brod_security:ca()}], "it may be a plaintext listener").

sasl_to_plaintext(_) ->
  Options = [{sasl, {plain, "alice", "alice-secret"}}],
  ?assertMatch(?FAILED({sasl_auth_error, illegal_sasl_state}), failure(plain, Options)),
  says(plain, Options, "this port does not authenticate").

plaintext_to_sasl(_) ->
  HungUp = fun(Closed) -> {error, {connection_down, {shutdown, Closed}}} end,
  [Endpoint | _] = Endpoints = brod_security:endpoints(sasl),
  ?assertEqual(HungUp(tcp_closed), brod:get_metadata(Endpoints, [], [])),
  ?assertEqual(HungUp(tcp_closed), brod:list_groups(Endpoint, #{})),
  ?assertEqual(HungUp(tcp_closed), brod:describe_groups(Endpoint, [{ssl, false}], [<<"g">>])),
  ?assertEqual(HungUp(ssl_closed), brod:get_metadata(brod_security:endpoints(sasl_tls), [], [{ssl, brod_security:ca()}])),
  says(sasl, [], "options ssl and sasl").

sasl_to_tls(_) ->
  ?assertMatch(?FAILED({{kpro_req, _, api_versions, 0, false, []}, closed}),
               failure(sasl_tls, [{sasl, {plain, "alice", "alice-secret"}}])),
  says(sasl_tls, [{sasl, {plain, "alice", "alice-secret"}}], "this port may ask for TLS").

foreign_ca(Config) ->
  File = foreign_ca_file(Config),
  ?assertMatch(?FAILED({failed_to_upgrade_to_ssl, {tls_alert, {unknown_ca, [_ | _]}}}),
               failure(tls, [{ssl, [{cacertfile, File}]}])),
  says(tls, [{ssl, [{cacertfile, File}]}], "check cacertfile"),
  ?assertMatch(?FAILED({failed_to_upgrade_to_ssl, {tls_alert, {unknown_ca, _}}}), failure(tls, [{ssl, true}])),
  ok = application:set_env(brod, ssl_default_verify, verify_none),
  try ?assertMatch({ok, _}, failure(tls, [{ssl, true}]))
  after application:unset_env(brod, ssl_default_verify)
  end,
  ?assertMatch({ok, _}, failure(tls, [{ssl, [{verify, verify_none}]}])).

wrong_host_name(_) ->
  Options = [{ssl, brod_security:ca() ++ [{server_name_indication, "other.example"}]}],
  {'EXIT', {failed, [{_, {{failed_to_upgrade_to_ssl, {tls_alert, {handshake_failure, Text}}}, _}} | _]}} =
    failure(tls, Options),
  ?assertNotEqual(nomatch, string:find(Text, "{bad_cert,hostname_check_failed}")),
  says(tls, Options, "check the host name"),
  Unchecked = [{ssl, brod_security:ca() ++ [{server_name_indication, disable}]}],
  ?assertMatch({ok, _}, failure(tls, Unchecked)).

expired_certificate(_) ->
  {Endpoint, Ca, Stop} = tls_server([{validity, {{2020, 1, 1}, {2021, 1, 1}}}]),
  Options = [{ssl, [{cacerts, Ca}]}],
  ?assertMatch(?FAILED({failed_to_upgrade_to_ssl, {tls_alert, {certificate_expired, _}}}),
               failure([Endpoint], Options)),
  says([Endpoint], Options, "check the broker's certificate, and the clock"),
  Stop().

self_signed_certificate(_) ->
  #{cert := Der, key := Key} = public_key:pkix_test_root_cert("self-signed", [{key, {namedCurve, secp256r1}}, {digest, sha256}]),
  Identity = [{cert, Der}, {key, {'ECPrivateKey', public_key:der_encode('ECPrivateKey', Key)}}],
  {Endpoint, Stop} = tls_server_with(Identity),
  Options = [{ssl, brod_security:ca()}],
  ?assertMatch(?FAILED({failed_to_upgrade_to_ssl, {tls_alert, {unknown_ca, _}}}), failure([Endpoint], Options)),
  says([Endpoint], Options, "check cacertfile"),
  Stop().

%% A server that speaks an older TLS only.
downgrade(_) ->
  #{server_config := Server, client_config := Client} = public_key:pkix_test_data(chains([])),
  Options = [{ssl, [{cacerts, proplists:get_value(cacerts, Client)}, {versions, ['tlsv1.3']}]}],
  {Endpoint, Stop} = tls_server_with([{versions, ['tlsv1.2']} | Server]),
  ?assertMatch(?FAILED({failed_to_upgrade_to_ssl, {tls_alert, {protocol_version, _}}}), failure([Endpoint], Options)),
  says([Endpoint], Options, "check the option versions"),
  Stop().

alert_of_the_server(_) ->
  {Endpoint, Stop} = tcp_server(fun(Socket) ->
    {ok, _Hello} = gen_tcp:recv(Socket, 0, ?LIMIT_MS),
    ok = gen_tcp:send(Socket, <<21, 3, 3, 2:16, 2, 40>>),
    gen_tcp:close(Socket)
  end),
  Options = [{ssl, brod_security:ca()}],
  ?assertMatch(?FAILED({failed_to_upgrade_to_ssl, {tls_alert, {handshake_failure, _}}}), failure([Endpoint], Options)),
  says([Endpoint], Options, "versions and ciphers"),
  Stop().

record_that_is_cut_off(_) ->
  {Endpoint, Stop} = tcp_server(fun(Socket) ->
    {ok, _Hello} = gen_tcp:recv(Socket, 0, ?LIMIT_MS),
    ok = gen_tcp:send(Socket, <<22, 3, 3, 1000:16, 2, 0, 0, 90, 3, 3>>),
    gen_tcp:close(Socket)
  end),
  Options = [{ssl, brod_security:ca()}],
  ?assertMatch(?FAILED({failed_to_upgrade_to_ssl, closed}), failure([Endpoint], Options)),
  says([Endpoint], Options, "check that this port speaks TLS"),
  Stop().

%% What TCP makes of a record is nothing that a client may notice.
records_in_pieces(_) ->
  [{Host, Port} | _] = brod_security:endpoints(tls),
  {Endpoint, Stop} = tcp_server(fun(Socket) ->
    {ok, Broker} = gen_tcp:connect(Host, Port, [binary, {active, true}, {nodelay, true}]),
    ok = inet:setopts(Socket, [{active, true}, {nodelay, true}]),
    relay(Socket, Broker)
  end),
  Connected = failure([Endpoint], [{ssl, brod_security:ca()}]),
  ?assertMatch({ok, #{brokers := [_ | _]}}, Connected),
  Stop().

%% In pieces of a few bytes.
relay(One, Other) ->
  receive
    {tcp, One, Bytes} -> in_pieces(Other, Bytes), relay(One, Other);
    {tcp, Other, Bytes} -> in_pieces(One, Bytes), relay(One, Other);
    {tcp_closed, _} -> [gen_tcp:close(Socket) || Socket <- [One, Other]]
  end.

in_pieces(Socket, <<Piece:7/binary, Rest/binary>>) ->
  _ = gen_tcp:send(Socket, Piece),
  in_pieces(Socket, Rest);
in_pieces(Socket, Rest) ->
  gen_tcp:send(Socket, Rest).

%% A server of TLS 1.2 asks the client to begin anew. The client says no and goes on (RFC 5246, section 7.2.2); a
%% server that does not take no for an answer is left.
renegotiation(_) ->
  [{Host, Port} | _] = brod_security:endpoints(plain),
  Self = self(),
  Asking = fun(Times) ->
             tls_server([], [{versions, ['tlsv1.2']}], fun(Socket) ->
               {ok, Broker} = gen_tcp:connect(Host, Port, [binary, {active, true}]),
               Self ! {asked, [ssl:renegotiate(Socket) || _ <- lists:seq(1, Times)]},
               ok = ssl:setopts(Socket, [{active, true}, {mode, binary}]),
               relay_tls(Socket, Broker)
             end)
           end,
  Options = [{ssl, [{verify, verify_none}]}],
  {Once, _, StopOnce} = Asking(1),
  ?assertMatch({ok, #{brokers := [_ | _]}}, failure([Once], Options)),
  receive {asked, Answers} -> ?assertMatch([{error, _}], Answers) after ?LIMIT_MS -> error(not_asked) end,
  StopOnce(),
  {Often, _, StopOften} = Asking(1000),
  ?assertMatch(?FAILED({{kpro_req, _, api_versions, 0, false, []},
                        {tls_error, "TLS broke: peer misbehaved: TooManyRenegotiationRequests"}}),
               failure([Often], Options)),
  says([Often], Options, "check"),
  StopOften().

relay_tls(Tls, Broker) ->
  receive
    {tcp, Broker, Bytes} -> _ = ssl:send(Tls, Bytes), relay_tls(Tls, Broker);
    {ssl, Tls, Bytes} -> _ = gen_tcp:send(Broker, Bytes), relay_tls(Tls, Broker);
    {Closed, _} when Closed =:= tcp_closed; Closed =:= ssl_closed -> gen_tcp:close(Broker), ssl:close(Tls);
    {ssl_error, Tls, _} -> gen_tcp:close(Broker)
  end.

close_of_the_server(_) ->
  {Endpoint, _Ca, Stop} = tls_server([], fun ssl:close/1),
  ?assertMatch(?FAILED({{kpro_req, _, api_versions, 0, false, []}, closed}), failure([Endpoint], [{ssl, [{verify, verify_none}]}])),
  says([Endpoint], [{ssl, [{verify, verify_none}]}], "check the options ssl and sasl"),
  Stop().

silence_after_the_handshake(_) ->
  {Endpoint, _Ca, Stop} = tls_server([], fun(_Socket) -> receive never -> ok end end),
  Options = [{ssl, [{verify, verify_none}]}, {connect_timeout, 2000}],
  {Ms, Result} = timed(fun() -> failure([Endpoint], Options) end),
  ?assertMatch(?FAILED(timeout), Result),
  ?assert(Ms < ?CONNECT_MS),
  says([Endpoint], Options, "no answer in time"),
  Stop().

client_certificate_is_missing(_) ->
  Options = [{ssl, brod_security:ca()}],
  ?assertMatch(?FAILED({{kpro_req, _, api_versions, 0, false, []}, {tls_alert, {_, [_ | _]}}}),
               failure(mtls, Options)),
  says(mtls, Options, "check the client's certificate").

file_is_missing(_) ->
  Options = [{ssl, [{cacertfile, "/no/such.pem"}]}],
  ?assertMatch(?FAILED({failed_to_upgrade_to_ssl, {options, {cacertfile, "/no/such.pem", {error, enoent}}}}),
               failure(tls, Options)),
  says(tls, Options, "check the file").

credentials_file_is_missing(_) ->
  Options = [{sasl, {plain, "/no/such.txt"}}],
  ?assertMatch(?FAILED(#{file := "/no/such.txt", reason := enoent}), failure(sasl, Options)),
  says(sasl, Options, "user and password on two lines").

a_proxy_that_closes(_) ->
  {Endpoint, Stop} = tcp_server(fun(Socket) -> gen_tcp:close(Socket) end),
  ?assertMatch(?FAILED({failed_to_upgrade_to_ssl, closed}), failure([Endpoint], [{ssl, true}])),
  ?assertMatch(?FAILED({{kpro_req, _, api_versions, 0, false, []}, closed}),
               failure([Endpoint], [{sasl, {plain, "alice", "alice-secret"}}])),
  says([Endpoint], [{ssl, true}], "check that this port speaks TLS"),
  says([Endpoint], [{sasl, {plain, "alice", "alice-secret"}}], "check the options ssl and sasl"),
  Stop().

a_server_that_stalls(_) ->
  {Endpoint, Stop} = tcp_server(fun(_Socket) -> receive never -> ok end end),
  Options = [{ssl, true}, {connect_timeout, 1000}],
  {Ms, Result} = timed(fun() -> failure([Endpoint], Options) end),
  ?assertMatch(?FAILED({failed_to_upgrade_to_ssl, timeout}), Result),
  ?assert(Ms < ?CONNECT_MS),
  says([Endpoint], Options, "the handshake did not end in time"),
  Stop().

a_token_cannot_be_had(_) ->
  Says = fun(Token) ->
           case failure(sasl, [{sasl, {oauthbearer, #{token => Token}}}, {connect_timeout, 2000}]) of
             ?FAILED({sasl_auth_error, <<"OAUTHBEARER: no credentials: ", Why/binary>>}) -> Why
           end
         end,
  ?assertEqual(<<"the token that the fun gave is an error">>, Says(fun() -> {error, {no, "alice-secret"}} end)),
  ?assertEqual(<<"the token that the fun gave is an error: gone">>, Says(fun() -> {error, gone} end)),
  ?assertMatch(<<"the fun failed: exit in brod_security_SUITE:", _/binary>>, Says(fun() -> exit("alice-secret") end)),
  ?assertMatch(<<"the fun failed: error badarg in brod_security_SUITE:", _/binary>>, Says(fun() -> error(badarg) end)),
  ?assertEqual(<<"the token that the fun gave has an unknown form">>, Says(fun() -> 42 end)),
  ?assertMatch(<<"the fun did not return within ", _/binary>>, Says(fun() -> receive never -> ok end end)).

unusable_options(_) ->
  [?assertEqual({error, {bad_option, Option, Why}}, Start(Options))
   || {Option, Why, Options} <-
        [{{ssl, verify_fun}, not_supported, [{ssl, [{verify_fun, {fun() -> ok end, []}}]}]},
         {{ssl, verfy}, unknown, [{ssl, [{verfy, verify_none}]}]},
         {sasl, {unknown_mechanism, nonsense}, [{sasl, {nonsense, "alice", "alice-secret"}}]},
         {{sasl, password}, not_text, [{sasl, {plain, "alice", {"alice-secret"}}}]}],
      Start <- [fun(O) -> brod:start_client(brod_security:endpoints(sasl), unusable, O) end,
                fun(O) -> brod:get_metadata(brod_security:endpoints(sasl), [], O) end]].

%%% helpers

main_job(Kind, Options) ->
  Endpoints = brod_security:endpoints(Kind),
  Topic = brod_test:unique("sec"),
  ok = brod:create_topics(Endpoints, [brod_test:topic_spec(Topic, 1)], #{timeout => ?LIMIT_MS}, Options),
  ok = await_topic(Topic),
  Client = client(Endpoints, Options),
  ok = brod:start_producer(Client, Topic, []),
  ?assertEqual({ok, 0}, brod:produce_sync_offset(Client, Topic, 0, <<"k">>, <<"1">>)),
  ?assertEqual({ok, 1}, brod:produce_sync_offset(Client, Topic, 0, <<"k">>, <<"2">>)),
  ?assertMatch({ok, {2, [#kafka_message{value = <<"1">>}, #kafka_message{value = <<"2">>}]}},
               brod:fetch({Endpoints, Options}, Topic, 0, 0)),
  ok = brod:start_consumer(Client, Topic, [{begin_offset, earliest}]),
  {ok, _} = brod:subscribe(Client, self(), Topic, 0, []),
  receive {_, #kafka_message_set{messages = [#kafka_message{value = <<"1">>} | _]}} -> ok
  after ?LIMIT_MS -> error(nothing_consumed)
  end,
  ok = brod:unsubscribe(Client, Topic, 0),
  Group = brod_test:unique("g"),
  Member = brod_group_probe:v2(a, client(Endpoints, Options), Group, [Topic]),
  _ = brod_group_probe:collect([<<"1">>, <<"2">>], ?LIMIT_MS),
  ok = brod_group_subscriber_v2:stop(Member),
  ?assertMatch({ok, [#{partitions := [#{committed_offset := 2}]}]},
               brod:fetch_committed_offsets(Client, Group)),
  ?assertEqual(ok, brod:delete_topics(Endpoints, [Topic], 10000, Options)),
  ok = brod:stop_client(Client).

await_topic(Topic) ->
  brod_test:await_topic(Topic, 1),
  ok.

client(Endpoints, Options) ->
  Client = brod_test:unique_name("secure"),
  ok = brod:start_client(Endpoints, Client, Options),
  {ok, _} = brod_client:get_metadata(Client, all),
  Client.

rounds(Password) -> {callback, brod_plugin_rounds, #{user => "alice", password => Password}}.

token(User) ->
  fun() -> {ok, #{token => brod_security:unsecured_token(User, 600), extensions => #{traceId => "1"}}} end.

allow_all(User) ->
  case os:getenv("BROD_ACL") of
    "1" ->
      ok = brod_security:allow(User, topic, "*", [all]),
      ok = brod_security:allow(User, group, "*", [all]),
      ok = brod_security:allow(User, cluster, "kafka-cluster", [all]);
    _ -> ok
  end.

%% How a call without a client ends; it may take the time to connect for each endpoint.
failure(Kind, Options) when is_atom(Kind) -> failure(brod_security:endpoints(Kind), Options);
failure(Endpoints, Options) ->
  {Ms, Result} = timed(fun() ->
    try brod:get_metadata(Endpoints, [], Options)
    catch throw:{failed_to_connect, Failures} -> {'EXIT', {failed, Failures}}
    end
  end),
  ?assert(Ms < (length(Endpoints) + 1) * ?CONNECT_MS),
  Result.

%% A client that cannot connect writes one line, which has the endpoint and `Advice', and ends.
says(Kind, Options, Advice) when is_atom(Kind) -> says(brod_security:endpoints(Kind), Options, Advice);
says([{Host, Port} | _] = Endpoints, Options, Advice) ->
  Old = process_flag(trap_exit, true),
  Log = brod_log:start(),
  Name = brod_test:unique_name("refused"),
  {ok, Pid} = brod:start_link_client(Endpoints, Name, Options),
  receive {'EXIT', Pid, [{{Host, Port}, {_, Stack}} | _]} when is_list(Stack) -> ok
  after ?LIMIT_MS -> error(still_running)
  end,
  Lines = [Line || Line <- brod_log:lines(Log), string:find(Line, atom_to_list(Name)) =/= nomatch,
                   string:find(Line, "cannot connect") =/= nomatch],
  brod_log:stop(Log),
  true = process_flag(trap_exit, Old),
  ?assertMatch([_], Lines),
  [?assertNotEqual({nomatch, Lines}, {string:find(hd(Lines), Text), Lines})
   || Text <- [Host ++ ":" ++ integer_to_list(Port), Advice]].

timed(Fun) ->
  Begin = erlang:monotonic_time(millisecond),
  Result = Fun(),
  {erlang:monotonic_time(millisecond) - Begin, Result}.

entries(File) ->
  {ok, Pem} = file:read_file(brod_security:tls_file(File)),
  public_key:pem_decode(Pem).

ders(File) -> [Der || {'Certificate', Der, not_encrypted} <- entries(File)].

foreign_ca_file(Config) ->
  #{client_config := Client} = public_key:pkix_test_data(chains([])),
  File = filename:join(?config(priv_dir, Config), "foreign.pem"),
  Entries = [{'Certificate', Der, not_encrypted} || Der <- proplists:get_value(cacerts, Client)],
  ok = file:write_file(File, public_key:pem_encode(Entries)),
  File.

chains(Peer) ->
  Key = [{key, {namedCurve, secp256r1}}, {digest, sha256}],
  #{server_chain => #{root => Key, intermediates => [], peer => Peer ++ Key},
    client_chain => #{root => Key, intermediates => [], peer => Key}}.

%% A TLS server with a certificate of its own, and the roots that it leads to.
tls_server(Peer) -> tls_server(Peer, fun(_Socket) -> receive never -> ok end end).

tls_server(Peer, Fun) -> tls_server(Peer, [], Fun).

tls_server(Peer, Options, Fun) ->
  #{server_config := Server, client_config := Client} = public_key:pkix_test_data(chains(Peer)),
  {Endpoint, Stop} = tls_server_with(Options ++ Server, Fun),
  {Endpoint, proplists:get_value(cacerts, Client), Stop}.

tls_server_with(Server) -> tls_server_with(Server, fun(_Socket) -> receive never -> ok end end).

%% `Fun' gets connections whose handshake was a success.
tls_server_with(Server, Fun) ->
  {ok, Listen} = ssl:listen(0, [{ip, {127, 0, 0, 1}}, {reuseaddr, true} | Server]),
  {ok, {_, Port}} = ssl:sockname(Listen),
  Pid = spawn(fun Accept() ->
    case ssl:transport_accept(Listen) of
      {ok, Socket} ->
        Handler = spawn_link(fun() ->
          receive go -> ok end,
          case ssl:handshake(Socket, ?LIMIT_MS) of
            {ok, Established} -> Fun(Established);
            {error, _} -> ok
          end
        end),
        ok = ssl:controlling_process(Socket, Handler),
        Handler ! go,
        Accept();
      {error, _} -> ok
    end
  end),
  {{"127.0.0.1", Port}, fun() -> ssl:close(Listen), exit(Pid, kill) end}.

tcp_server(Fun) ->
  {ok, Listen} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}, binary, {active, false}]),
  {ok, Port} = inet:port(Listen),
  Pid = spawn(fun Accept() ->
    {ok, Socket} = gen_tcp:accept(Listen),
    Handler = spawn(fun() -> receive go -> Fun(Socket) end end),
    ok = gen_tcp:controlling_process(Socket, Handler),
    Handler ! go,
    Accept()
  end),
  ok = gen_tcp:controlling_process(Listen, Pid),
  {{"127.0.0.1", Port}, fun() -> exit(Pid, kill) end}.
