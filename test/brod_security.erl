%% What the suites on TLS, SASL and permissions share: the listeners of the cluster, users and
%% permissions, and a watch for secrets in whatever is logged or kept.
-module(brod_security).

-export([endpoints/1, tls_file/1, ca/0, client_certificate/0]).
-export([set_password/2, allow/4, withdraw/1]).
-export([watch/1, check/1, unwatch/1]).
-export([unsecured_token/2, signed_token/2]).
-export([sasl_frames/4, frame/5]).
-export([log/2]).

-include_lib("eunit/include/eunit.hrl").

-define(LIMIT_MS, 20000).

%% @doc `tls', `mtls', `sasl', `sasl_tls' or `reauth': every broker's listener of that kind.
endpoints(Kind) ->
  Name = case Kind of
           plain -> "BROD_BOOTSTRAP";
           _ -> "BROD_BOOTSTRAP_" ++ string:uppercase(atom_to_list(Kind))
         end,
  [begin
     [Host, Port] = string:split(Endpoint, ":", trailing),
     {Host, list_to_integer(Port)}
   end || Endpoint <- string:lexemes(os:getenv(Name), ",")].

tls_file(Name) -> filename:join(os:getenv("BROD_TLS_DIR"), Name).

ca() -> [{cacertfile, tls_file("ca.pem")}].

client_certificate() -> [{certfile, tls_file("client.pem")}, {keyfile, tls_file("client.key")}].

%% Users and permissions. brod has no calls for these, so the requests are written here.

%% @doc Create a SCRAM user, or change its password.
set_password(User, Password) ->
  %% Kafka takes one change of a user a request
  [set_password(User, unicode:characters_to_binary(Password), Scram)
   || Scram <- [{1, sha256, 32}, {2, sha512, 64}]],
  ok.

set_password(User, Password, {Mechanism, Hash, Length}) ->
  Salt = crypto:strong_rand_bytes(16),
  Salted = crypto:pbkdf2_hmac(Hash, Password, Salt, 4096, Length),
  Upsert = [compact(User), Mechanism, <<4096:32>>, compact(Salt), compact(Salted), 0],
  Size = length(User),
  <<_Throttle:32, 2, _, _:Size/binary, 0:16, _/binary>> = ask(51, 0, [1, 2, Upsert, 0], flexible).

%% @doc Permit `User' an operation on a topic, a group, a transactional id or the cluster.
allow(User, Type, Name, Operations) ->
  Acls = [[resource(Type), text(Name), 3, text(["User:", User]), text("*"), operation(Operation), 3]
          || Operation <- Operations],
  <<_Throttle:32, Count:32, Results/binary>> = ask(30, 1, [<<(length(Acls)):32>>, Acls], plain),
  Count = length(Acls),
  <<>> = lists:foldl(fun(_, <<0:16, _NoMessage:16, Rest/binary>>) -> Rest end, Results, Acls),
  lists:foreach(fun(Operation) ->
    Filter = [resource(Type), text(Name), 3, text(["User:", User]), text("*"), operation(Operation), 3],
    await_acls(Filter, fun(Found) -> Found > 0 end)
  end, Operations).

%% @doc Withdraw all that `User' was permitted.
withdraw(User) ->
  Filter = [1, <<-1:16>>, 1, text(["User:", User]), <<-1:16>>, 1, 1],
  <<_Throttle:32, 1:32, 0:16, _/binary>> = ask(31, 1, [<<1:32>>, Filter], plain),
  await_acls(Filter, fun(Found) -> Found =:= 0 end).

%% Brokers learn of permissions from a log, each by itself.
await_acls(Filter, Expected) ->
  brod_test:wait_until(fun() ->
    lists:all(fun(Broker) ->
      <<_Throttle:32, 0:16, _NoMessage:16, Found:32, _/binary>> = ask(Broker, 29, 1, Filter, plain),
      Expected(Found)
    end, endpoints(plain))
  end, ?LIMIT_MS),
  ok.

resource(topic) -> 2;
resource(group) -> 3;
resource(cluster) -> 4;
resource(transactional_id) -> 5.

operation(Name) ->
  {Name, Code} = lists:keyfind(Name, 1, [{all, 2}, {read, 3}, {write, 4}, {create, 5}, {delete, 6},
                                         {alter, 7}, {describe, 8}, {idempotent_write, 12}]),
  Code.

ask(Key, Version, Body, Kind) -> ask(hd(endpoints(plain)), Key, Version, Body, Kind).

ask({Host, Port}, Key, Version, Body, Kind) ->
  {ok, Socket} = gen_tcp:connect(Host, Port, [binary, {active, false}, {packet, 4}], ?LIMIT_MS),
  try
    Tags = case Kind of flexible -> <<0>>; plain -> <<>> end,
    ok = gen_tcp:send(Socket, [<<Key:16, Version:16, 1:32>>, text("brod-test"), Tags, Body]),
    {ok, <<1:32, Answer/binary>>} = gen_tcp:recv(Socket, 0, ?LIMIT_MS),
    binary:part(Answer, byte_size(Tags), byte_size(Answer) - byte_size(Tags))
  after
    gen_tcp:close(Socket)
  end.

text(Text) ->
  Bytes = iolist_to_binary(Text),
  [<<(byte_size(Bytes)):16>>, Bytes].

compact(Text) ->
  Bytes = iolist_to_binary(Text),
  [byte_size(Bytes) + 1, Bytes].

%% Tokens

%% @doc A token that nobody has signed, as the listeners without TLS take it.
unsecured_token(Subject, LifetimeSeconds) ->
  [encode("{\"alg\":\"none\"}"), ".", encode(claims(Subject, LifetimeSeconds)), "."].

%% @doc A token signed with the key that the listeners with TLS know.
signed_token(Subject, LifetimeSeconds) ->
  Head = [encode("{\"alg\":\"RS256\",\"kid\":\"test\",\"typ\":\"JWT\"}"), ".",
          encode(claims(Subject, LifetimeSeconds))],
  {ok, Pem} = file:read_file(tls_file("jwt.key")),
  [Entry | _] = public_key:pem_decode(Pem),
  Key = public_key:pem_entry_decode(Entry),
  [Head, ".", encode(public_key:sign(iolist_to_binary(Head), sha256, Key))].

claims(Subject, LifetimeSeconds) ->
  Now = os:system_time(second),
  io_lib:format("{\"sub\":\"~s\",\"iss\":\"brod-tests\",\"aud\":\"kafka\",\"iat\":~b,\"exp\":~b}",
                [Subject, Now, Now + LifetimeSeconds]).

encode(Text) ->
  Encoded = base64:encode(iolist_to_binary(Text)),
  << <<(case C of $+ -> $-; $/ -> $_; _ -> C end)>> || <<C>> <= Encoded, C =/= $= >>.

%% Frames as plugins send them, by a socket in `{packet, 4}' mode.

%% @doc SaslHandshake, then one SaslAuthenticate a step. A step is a fun that gets the broker's token
%% and returns `{Token, NextStep}' or `done'.
sasl_frames(Socket, ClientId, Mechanism, Step) ->
  <<Code:16/signed, _/binary>> = frame(Socket, ClientId, 17, 1, text(Mechanism)),
  case Code of
    0 -> rounds(Socket, ClientId, Step, <<>>);
    _ -> {error, {handshake_refused, Code}}
  end.

rounds(Socket, ClientId, Step, Challenge) ->
  case Step(Challenge) of
    done -> ok;
    {Token, Next} ->
      Bytes = iolist_to_binary(Token),
      case frame(Socket, ClientId, 36, 1, [<<(byte_size(Bytes)):32>>, Bytes]) of
        %% no message, or an empty one
        <<0:16, NoMessage:16, Size:32, Answer:Size/binary, _Lifetime:64>>
          when NoMessage =:= 0; NoMessage =:= 16#ffff ->
          rounds(Socket, ClientId, Next, Answer);
        <<_Code:16, Size:16, Message:Size/binary, _/binary>> ->
          {error, Message}
      end
  end.

frame(Socket, ClientId, Key, Version, Body) ->
  Id = erlang:unique_integer([positive]) rem 1000000,
  ok = gen_tcp:send(Socket, [<<Key:16, Version:16, Id:32>>, text(ClientId), Body]),
  {ok, <<Id:32, Answer/binary>>} = gen_tcp:recv(Socket, 0, ?LIMIT_MS),
  Answer.

%% The watch

%% @doc Begins to look for secrets in everything that is logged, by whatever process.
watch(Secrets) ->
  [true = is_in(Secret, #{state => {x, Kind(Secret)}})
   || Secret <- Secrets, Kind <- [fun list_to_binary/1, fun(S) -> S end, fun(S) -> [S, 0] end]],
  Self = self(),
  %% the process that begins a suite does not live as long as the suite
  Owner = spawn(fun() ->
    Self ! {self(), ets:new(?MODULE, [public, ordered_set])},
    receive stop -> ok end
  end),
  Table = receive {Owner, T} -> T end,
  #{level := Level} = logger:get_primary_config(),
  ok = logger:set_primary_config(level, info),
  ok = logger:add_handler(?MODULE, ?MODULE, #{config => #{table => Table}, level => all}),
  {{Table, Owner}, Level, Secrets}.

%% @doc Fails if a secret was logged, or can be seen in the state of a process of brod's or in a table.
check({{Table, _Owner}, _Level, Secrets}) ->
  Dumps = [{process, P, dump(P)} || P <- processes()]
    ++ [{table, T, catch ets:tab2list(T)} || T <- ets:all(), T =/= Table, is_brods(T)],
  Logged = [{logged, Event} || {_, Event} <- ets:tab2list(Table)],
  ?assertEqual([], [{Secret, What} || What <- Dumps ++ Logged, Secret <- Secrets,
                                      is_in(Secret, What)]).

unwatch({{_Table, Owner}, Level, _Secrets}) ->
  ok = logger:set_primary_config(level, Level),
  ok = logger:remove_handler(?MODULE),
  Owner ! stop,
  ok.

is_brods(Table) ->
  case ets:info(Table, owner) of
    Owner when is_pid(Owner) -> is_brods_process(Owner);
    _ -> false
  end.

dump(Pid) ->
  case is_brods_process(Pid) of
    true ->
      [catch sys:get_status(Pid, 2000), catch sys:get_state(Pid, 2000),
       process_info(Pid, [dictionary, messages, initial_call, current_stacktrace])];
    false -> []
  end.

is_brods_process(Pid) ->
  case proc_lib:translate_initial_call(Pid) of
    {Module, init, _} -> lists:prefix("brod_", atom_to_list(Module)) andalso
                           not lists:suffix("_SUITE", atom_to_list(Module));
    _ -> false
  end.

%% As text, and as the list of its characters. It would find what it looks for.
is_in(Secret, Term) ->
  Codes = lists:flatten(lists:join(",", [integer_to_list(C) || C <- Secret])),
  Text = lists:flatten(io_lib:format("~tp", [Term])),
  Plain = lists:flatten(io_lib:format("~w", [Term])),
  string:find(Text, Secret) =/= nomatch orelse string:find(Plain, Codes) =/= nomatch.

%% @private logger handler
log(Event, #{config := #{table := Table}}) ->
  Line = unicode:characters_to_list(logger_formatter:format(Event, #{single_line => true,
                                                                     depth => unlimited,
                                                                     chars_limit => unlimited})),
  ets:insert(Table, {erlang:unique_integer([monotonic]), Line}).
