%% What becomes of values that nobody would expect, for each option of each level: it is taken, or it is an error that names
%% the option, or another value is used and a line in the log says which. Nothing else fails because of it, and the engine
%% takes what the checks let through.
-module(brod_option_values_tests).
-include_lib("eunit/include/eunit.hrl").

-export([all/0]).

-define(NOWHERE, [{"127.0.0.1", 1}]).
-define(LIMIT_MS, 20000).

%% In a VM of its own, because other tests put a fake in the engine's place.
any_value_of_any_option_is_taken_or_told_test_() ->
  {timeout, 600, fun() ->
    Paths = [filename:dirname(code:which(Module)) || Module <- [brod_options, ?MODULE]],
    Shown = os:cmd("erl -noshell -pa " ++ lists:append(lists:join(" ", Paths)) ++
                   " -eval 'brod_option_values_tests:all(), init:stop().'"),
    ?assertMatch({match, _}, re:run(Shown, "all is well"), Shown)
  end}.

%% @private
all() ->
  ok = logger:set_primary_config(level, notice),
  ok = logger:remove_handler(default),
  {ok, _} = application:ensure_all_started(brod),
  Processes = processes_of_brod(),
  Log = brod_log:start(),
  {ok, Options} = brod_options:client([{client_id, <<"c">>}]),
  {ok, Engine} = brod_nif:client_open([{<<"127.0.0.1">>, 1}], brod_options:engine_config(Options)),
  Cases = [{Level, Key, Value} || {Level, Keys} <- levels(), Key <- Keys, Value <- values()],
  Bad = [{Case, Outcome} || {Level, Key, Value} = Case <- Cases,
                            Outcome <- [outcome(Level, Key, Value, Engine, Log)],
                            not lists:member(Outcome, [taken, refused, replaced])],
  [io:format("~0P~n", [Each, 60]) || Each <- Bad],
  [io:format("ended: ~p~n", [Ended]) || Ended <- Processes -- processes_of_brod()],
  Bad =:= [] andalso Processes -- processes_of_brod() =:= []
    andalso io:format("all is well, ~b values~n", [length(Cases)]).

processes_of_brod() ->
  [{Name, whereis(Name)} || Name <- [brod_sup, brod_kafka_apis]].

%% Those of the table whose values are checked before somebody is asked.
levels() ->
  [{Level, brod_option_table:names(Level)}
   || Level <- [client, connection, producer, consumer, group, transaction, fetch, create_topics, ssl, sasl_oauthbearer,
                sasl_aws_msk_iam]] ++
  [{sasl_login, [mechanism | brod_option_table:names(sasl_login)]},
   {ssl, [session_tickets, verify_fun, partial_chain]}].

values() ->
  [-1, 0, 1, 255, 65536, 1 bsl 31 - 1, 1 bsl 31, 1 bsl 63, 1 bsl 64, -(1 bsl 64), 1 bsl 4000, 0.5, -1.0, 1.0e300,
   infinity, nonsense, true, false, null, '', "text", "", [955], [16#d800], <<"text">>, <<>>, <<255>>, <<1:3>>,
   binary:copy(<<"x">>, 70000), [], [nonsense], [1 | 2], [nonsense | nonsense], [{nonsense, 1} | nonsense], [1 bsl 64], [-1],
   [[[[]]]], [<<"a">>, "b"], #{}, #{nonsense => 1}, #{1 => #{}}, {}, {nonsense}, {nonsense, 1}, {nonsense, "u", "p"},
   {timestamp, 1 bsl 64}, {timestamp, -1}, {timestamp, 1}, [{nonsense, 1}], [{nonsense, 1, 2}], [{1, 2}], [{[], []}],
   [{max_retries, 1 bsl 64}], [{max_retries, nonsense}], [#{}], self(), make_ref(), fun() -> ok end, fun() -> error(no) end,
   fun(_, _) -> ok end].

outcome(Level, Key, Value, Engine, Log) ->
  try start(Level, Key, Value, Engine) of
    {ok, Used} -> taken(Key, Value, Used, Log);
    {error, {bad_option, Name, _}} -> named(Level, Key, Value, Name);
    {error, Other} -> {unclear, Other}
  catch
    Class:Reason:Stack -> {Class, Reason, Stack}
  end.

%% A number in the place of another one is a limit, that of a name is what the name stands for.
taken(_Key, Value, Value, _Log) -> taken;
taken(_Key, Value, Used, _Log) when is_number(Value), is_number(Used) -> taken;
taken(_Key, infinity, Used, _Log) when is_integer(Used) -> taken;
taken(_Key, _Value, not_compared, _Log) -> taken;
taken(Key, Value, Used, Log) ->
  Texts = [io_lib:format(Format, Args) || {Format, Args} <- [{"~p", [Key]}, {"~0P", [Value, 12]}, {"~0p", [Used]}]],
  Lines = lists:foldl(fun(Text, Left) -> [L || L <- Left, string:find(L, Text) =/= nomatch] end, brod_log:all(Log, "used"),
                      Texts),
  case Lines of
    [] -> {replaced_without_a_word, Used};
    _ -> replaced
  end.

%% Which option of which the value is no good; what stands inside of it has a name of its own.
named(_Level, Key, _Value, Key) -> refused;
named(producer, enable_idempotence, true, required_acks) -> refused;
named(_Level, Key, [{Name, _} | _], Name) when Key =:= default_producer_config; Key =:= producer_config -> refused;
named(connection, Key, _Value, {Key, _Inner}) -> refused;
named(client, Key, _Value, {Key, _Inner}) -> refused;
named(ssl, _Key, _Value, {ssl, _Inner}) -> refused;
named(sasl_login, _Key, _Value, sasl) -> refused;
named(Level, _Key, _Value, {sasl, _Inner})
  when Level =:= sasl_login; Level =:= sasl_oauthbearer; Level =:= sasl_aws_msk_iam -> refused;
named(sasl_oauthbearer, ssl, _Value, {ssl, _Inner}) -> refused;
named(_Level, _Key, _Value, Name) -> {names_another, Name}.

%% What users call, or what that does before it needs a broker. What is used is the value, as far as it can be compared.
start(client, Key, Value, _Engine) ->
  case brod_options:client([{client_id, <<"c">>} || Key =/= client_id] ++ [{Key, Value}]) of
    {ok, Options} -> opened(brod_engine:open_checked(?NOWHERE, Options), fun() -> client_started(Key, Value) end);
    Error -> Error
  end;
start(connection, Key, Value, _Engine) ->
  opened(brod_engine:open(?NOWHERE, [{Key, Value}]), fun() -> ok end);
start(producer, Key, Value, Engine) ->
  case brod_producer_options:check([{Key, Value}]) of
    {ok, Options} ->
      ok = brod_producer_options:warn([{Key, Value}], "p"),
      Config = brod_producer_options:engine_config(Options),
      {ok, Producer} = brod_nif:producer_open(Engine, <<"t">>, 0, Config#{telemetry => false}),
      ok = brod_nif:producer_close(Producer, normal, self()),
      used(Key, Value, Options);
    Error -> Error
  end;
start(consumer, Key, Value, Engine) ->
  case brod_consumer_options:new([{Key, Value}]) of
    {ok, Options} ->
      ok = brod_consumer_options:warn_unusable([{Key, Value}]),
      {ok, Consumer} = brod_nif:consumer_open(Engine, <<"t">>, 0, Options),
      Ref = brod_nif:consumer_subscribe(Consumer, self(), 1, Options),
      ok = brod_nif:consumer_close(Consumer),
      receive {brod_reply, Ref, _} -> ok after ?LIMIT_MS -> error(no_reply) end,
      used(Key, Value, Options);
    Error -> Error
  end;
start(group, Key, Value, Engine) ->
  case brod_group_options:new([{Key, Value}]) of
    {ok, Options} ->
      ok = brod_group_options:warn([{Key, Value}]),
      {ok, Group} = brod_nif:group_open(Engine, brod_group_options:engine_config(<<"g">>, false, Options)),
      Ref = brod_nif:group_close(Group, false),
      receive {brod_reply, Ref, _} -> ok after ?LIMIT_MS -> error(no_reply) end,
      used(Key, Value, Options);
    Error -> Error
  end;
start(transaction, Key, Value, Engine) ->
  case brod_transaction_options:check(<<"id">>, [{Key, Value}]) of
    {ok, Options} ->
      {ok, Txn} = brod_nif:txn_open(Engine, brod_transaction_options:engine_config(<<"id">>, Options)),
      ok = brod_nif:txn_close(Txn),
      {ok, not_compared};
    Error -> Error
  end;
start(fetch, Key, Value, Engine) ->
  Context = #{engine => Engine, options => #{request_timeout => 0}, endpoints => ?NOWHERE},
  case brod_calls:fetch_with(Context, <<"t">>, 0, 0, #{max_wait_time => 0, Key => Value}) of
    {error, {bad_option, _, _}} = Error -> Error;
    {error, _} -> {ok, not_compared}
  end;
start(create_topics, Key, Value, _Engine) ->
  case brod:create_topics(?NOWHERE, [], #{Key => Value}) of
    {error, {bad_option, _, _}} = Error -> Error;
    {error, [{{"127.0.0.1", 1}, _}]} -> {ok, not_compared}
  end;
start(ssl, Key, Value, Engine) ->
  start(connection, ssl, [{Key, Value} | [{certfile, "c"} || Key =:= key orelse Key =:= password]], Engine);
start(sasl_login, mechanism, Value, Engine) ->
  start(connection, sasl, #{mechanism => Value, user => "u", password => "p"}, Engine);
start(sasl_login, Key, Value, Engine) ->
  start(connection, sasl, {plain, #{user => "u", password => "p", Key => Value}}, Engine);
start(sasl_oauthbearer, Key, Value, Engine) ->
  Login = #{token_endpoint => "https://127.0.0.1:1/token", client_id => "c", client_secret => "s"},
  start(connection, sasl, {oauthbearer, Login#{Key => Value}}, Engine);
start(sasl_aws_msk_iam, Key, Value, Engine) ->
  Login = #{access_key_id => "a", secret_access_key => "s", region => "r"},
  start(connection, sasl, {aws_msk_iam, Login#{Key => Value}}, Engine).

opened({ok, Context}, Then) ->
  ok = brod_engine:close(Context),
  ok = Then(),
  {ok, not_compared};
%% certificates are read at once
opened({error, [{{"127.0.0.1", 1}, _}]}, _Then) ->
  {ok, not_compared};
opened({error, _} = Error, _Then) ->
  Error.

%% It ends soon, because nobody is there.
client_started(Key, Value) ->
  Client = brod_option_values_client,
  _ = case brod:start_client(?NOWHERE, Client, [{Key, Value}]) of
        ok -> ok;
        {error, [{{"127.0.0.1", 1}, _}]} -> ok
      end,
  brod:stop_client(Client).

used(Key, Value, Options) ->
  case Options of
    #{Key := Used} ->
      case is_alias(Key, Value, Used) of
        true -> {ok, Value};
        false -> {ok, Used}
      end;
    #{} -> {ok, not_compared}
  end.

is_alias(compression, none, no_compression) -> true;
is_alias(begin_offset, -1, latest) -> true;
is_alias(max_retries, infinity, -1) -> true;
is_alias(required_acks, Name, Acks) -> lists:member({Name, Acks}, [{all, -1}, {none, 0}, {leader_only, 1}]);
is_alias(_, _, _) -> false.
