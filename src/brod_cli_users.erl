%% @private `brod users': names and passwords of SASL/SCRAM, which Kafka keeps itself (KIP-554).
-module(brod_cli_users).

-export([options/0, run/2]).
-export([upsertion/4, mechanism/1]).

-define(ITERATIONS, 8192).
-define(SALT_BYTES, 24).
-define(MECHANISMS, [{1, scram_sha_256, sha256, 32}, {2, scram_sha_512, sha512, 64}]).

%% @doc What the command takes.
-spec options() -> brod_cli:spec().
options() ->
  [{"mechanism", string, "scram_sha_256 or scram_sha_512 (set: scram_sha_512; delete: all that the user has)"},
   {"iterations", natural, "of the hash (8192)"},
   {"new-password", string, "as BROD_NEW_PASSWORD, which others do not see; else the first line of the standard input"}].

%% @doc List, set and delete.
-spec run(map(), [string()]) -> ok | {error, term()}.
run(Options, ["list" | Names]) ->
  brod_cli_output:rows(Options, [user, mechanism, iterations],
                       lists:sort([[User, mechanism_name(M), I] || {User, M, I} <- known(Options, Names)]));
run(Options, ["set", Name]) ->
  Mechanism = mechanism(maps:get("mechanism", Options, "scram_sha_512")),
  Iterations = maps:get("iterations", Options, ?ITERATIONS),
  Iterations >= 4096 andalso Iterations =< 16384 orelse throw({usage, "--iterations: Kafka takes 4096 to 16384"}),
  Upsertion = upsertion(Name, new_password(Options), Mechanism, Iterations),
  alter(Options, #{deletions => [], upsertions => [Upsertion]});
run(Options, ["delete", Name]) ->
  Numbers = case Options of
              #{"mechanism" := Text} -> [element(1, mechanism(Text))];
              _ -> [M || {_User, M, _} <- known(Options, [Name])]
            end,
  Numbers =/= [] orelse throw({failed, ["no user ", Name]}),
  %% Kafka takes one change of a user at a time.
  Delete = fun(Number) -> alter(Options, #{deletions => [#{name => brod_cli_cluster:text(Name), mechanism => Number}], upsertions => []}) end,
  lists:foldl(fun(Number, ok) -> Delete(Number); (_, Error) -> Error end, ok, Numbers);
run(_Options, _Words) -> brod_cli_commands:usage("users").

known(Options, Names) ->
  Fields = #{users => [#{name => brod_cli_cluster:text(Name)} || Name <- Names]},
  case ask(Options, describe_user_scram_credentials, Fields) of
    {ok, #{error_code := no_error, results := Results}} ->
      [{User, M, I} || #{user := User, credential_infos := Infos} <- Results, #{mechanism := M, iterations := I} <- Infos];
    {ok, #{error_code := Code, error_message := Text}} -> throw({failed, brod_cli_output:reason({Code, Text})});
    {error, Reason} -> throw({failed, brod_cli_output:reason(Reason)})
  end.

alter(Options, Fields) ->
  case ask(Options, alter_user_scram_credentials, Fields) of
    {ok, #{results := Results}} -> brod_cli_cluster:all_done(Results, 1);
    Other -> Other
  end.

ask(Options, Api, Fields) -> brod_cli_cluster:ask_controller(Options, Api, 0, Fields).

%% @doc What Kafka keeps of a password: it never sees the password itself.
-spec upsertion(string(), binary(), tuple(), pos_integer()) -> map().
upsertion(Name, Password, {Number, _, Hash, Length}, Iterations) ->
  Salt = crypto:strong_rand_bytes(?SALT_BYTES),
  #{name => brod_cli_cluster:text(Name), mechanism => Number, iterations => Iterations, salt => Salt,
    salted_password => crypto:pbkdf2_hmac(Hash, Password, Salt, Iterations, Length)}.

%% @doc A mechanism of that name.
-spec mechanism(string()) -> tuple().
mechanism(Text) ->
  Wanted = string:lowercase(lists:flatten(string:replace(Text, "-", "_", all))),
  case [M || {_, Name, _, _} = M <- ?MECHANISMS, atom_to_list(Name) =:= Wanted] of
    [Mechanism] -> Mechanism;
    [] -> throw({usage, ["no mechanism ", Text, ": scram_sha_256, scram_sha_512"]})
  end.

mechanism_name(Number) ->
  case lists:keyfind(Number, 1, ?MECHANISMS) of {_, Name, _, _} -> Name; false -> Number end.

new_password(#{"new-password" := Password}) -> brod_cli_cluster:text(Password);
new_password(_Options) ->
  case os:getenv("BROD_NEW_PASSWORD", "") of
    "" ->
      case file:read_line(standard_io) of
        {ok, Line} -> first_line(iolist_to_binary(Line));
        _ -> throw({usage, "users set wants a password: BROD_NEW_PASSWORD, or a line of the standard input"})
      end;
    Password -> brod_cli_cluster:text(Password)
  end.

first_line(Line) ->
  case re:replace(Line, "[\r\n]+$", "", [{return, binary}]) of
    <<>> -> throw({usage, "the password is empty"});
    Password -> Password
  end.
