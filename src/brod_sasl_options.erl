%% @private The client option `sasl', checked. Passwords, tokens and keys are held in funs: whatever prints the
%% options shows no secret. An error names what is wrong, never a value.
-module(brod_sasl_options).

-export([check/1, hide/1, public/1, engine/2]).

-export_type([error/0, checked/0]).

-type error() :: {bad_option, sasl | {sasl, Option :: term()}, Why :: term()}.
-type secret() :: fun(() -> iodata()).
-type checked() ::
        #{mechanism := plain | scram_sha_256 | scram_sha_512, user := binary(),
          password := secret()}
      | #{mechanism := plain | scram_sha_256 | scram_sha_512, file := binary()}
      | #{mechanism := oauthbearer, token := fun(() -> term())}
      | #{mechanism := oauthbearer, client_credentials := map()}
      | #{mechanism := aws_msk_iam, atom() => term()}
      | #{mechanism := callback, module := module(), options := fun(() -> term())}.

-define(IS_LOGIN(M), (M =:= plain orelse M =:= scram_sha_256 orelse M =:= scram_sha_512)).
-define(IS_TEXT(T), (is_list(T) orelse is_binary(T))).

%% Options that hold secrets, wherever they stand.
-define(SECRETS, [password, client_secret, secret_access_key, session_token,
                  client_assertion]).

%% @doc Check the value of the option `sasl'. `undefined': no SASL.
-spec check(term()) -> {ok, undefined | checked()} | {error, error()}.
check(undefined) -> {ok, undefined};
check(false) -> {ok, undefined};
check(Given) ->
  try {ok, checked(public(hide(Given)))}
  catch throw:{bad, Option, Why} -> {error, {bad_option, Option, Why}}
  end.

%% @doc The option as given, with its secrets in funs, so that it can be stored, shown, and given to
%% {@link check/1} again. What is secret of a plugin's options is not known, so all of it is hidden.
-spec hide(term()) -> term().
hide({callback, _Module, _Opts} = Given) -> brod_closures:value(Given);
hide({Mechanism, User, Secret}) -> {Mechanism, User, secret(Secret)};
hide({Mechanism, Opts}) when is_map(Opts) -> {Mechanism, hide_all(Opts)};
hide({Mechanism, [{_, _} | _] = Opts}) -> {Mechanism, hide(Opts)};
hide(Opts) when is_map(Opts) -> hide_all(Opts);
hide([{_, _} | _] = Opts) ->
  case brod_options:is_config(Opts) of
    true -> hide_all(brod_options:to_map(Opts));
    false -> not_options
  end;
hide(Given) -> Given.

%% @doc What {@link hide/1} made as users know it: a plugin and its options are visible again.
-spec public(term()) -> term().
public(Fun) when is_function(Fun, 0) ->
  try Fun() catch _:_ -> fun_failed end;
public(Hidden) -> Hidden.

%% @doc Checked options in the form of docs/boundary.md. What the engine is to ask for stays out.
-spec engine(checked(), Provider :: pid()) -> {ok, map()} | {error, error()}.
engine(Checked, Provider) ->
  Plain = maps:without([password, token, module, options], Checked),
  try {ok, (maps:map(fun revealed/2, Plain))#{provider => Provider}}
  catch throw:{bad, Option, Why} -> {error, {bad_option, Option, Why}}
  end.

revealed(client_credentials, Opts) ->
  maps:map(fun revealed/2, maps:remove(client_assertion, Opts));
revealed(credentials, Fun) when is_function(Fun) ->
  ask;
revealed(ssl, Checked) ->
  brod_ssl_options:engine(Checked);
revealed(Name, Secret) when is_function(Secret, 0) ->
  %% a user's fun may raise what it likes, with the secret in it
  Value = try Secret() catch _:_ -> bad({sasl, Name}, fun_failed) end,
  try unicode:characters_to_binary(Value) of
    Text when is_binary(Text) -> Text;
    _ -> bad({sasl, Name}, not_text)
  catch error:badarg -> bad({sasl, Name}, not_text)
  end;
revealed(_Name, Value) ->
  Value.

hide_all(Opts) ->
  maps:map(fun(Name, Value) ->
             case lists:member(Name, ?SECRETS) of
               true -> secret(Value);
               _ when is_map(Value) -> hide_all(Value);
               _ -> Value
             end
           end, Opts).

%% What cannot be a secret is not kept: check/1 finds the atom and says so.
secret(Fun) when is_function(Fun, 0) -> Fun;
secret(Text) when ?IS_TEXT(Text) ->
  try unicode:characters_to_binary(Text) of
    Secret when is_binary(Secret) -> brod_closures:value(Secret);
    _ -> not_text
  catch error:badarg -> not_text
  end;
secret(undefined) -> undefined;
secret(_) -> not_text.

checked({callback, Module, Opts}) when is_atom(Module) ->
  #{mechanism => callback, module => Module, options => brod_closures:value(Opts)};
checked({callback, _, _}) ->
  bad(sasl, callback_module_is_no_atom);
checked({Mechanism, User, Password}) when ?IS_LOGIN(Mechanism) ->
  #{mechanism => Mechanism, user => text(sasl_login, user, User), password => password(Password)};
checked({Mechanism, File}) when ?IS_LOGIN(Mechanism), ?IS_TEXT(File) ->
  #{mechanism => Mechanism, file => text(sasl_login, file, File)};
checked({Mechanism, Opts}) when ?IS_LOGIN(Mechanism), is_map(Opts) ->
  login(Mechanism, Opts);
checked({oauthbearer, Fun}) when is_function(Fun, 0) ->
  #{mechanism => oauthbearer, token => Fun};
checked({oauthbearer, Opts}) when is_map(Opts) ->
  oauthbearer(Opts);
checked({aws_msk_iam, []}) ->
  aws_msk_iam(#{});
checked({aws_msk_iam, Opts}) when is_map(Opts) ->
  aws_msk_iam(Opts);
checked(#{mechanism := Mechanism} = Opts) when ?IS_LOGIN(Mechanism) ->
  login(Mechanism, maps:remove(mechanism, Opts));
checked(#{mechanism := Mechanism} = Opts) when is_atom(Mechanism) ->
  checked({Mechanism, maps:remove(mechanism, Opts)});
checked(Given) when is_tuple(Given), tuple_size(Given) > 1, is_atom(element(1, Given)) ->
  Mechanism = element(1, Given),
  bad(sasl, case lists:member(Mechanism, brod_option_security:mechanisms()) of
              true -> {not_options_of, Mechanism};
              false -> {unknown_mechanism, Mechanism}
            end);
checked(_) ->
  bad(sasl, not_options).

login(Mechanism, #{file := File} = Opts) ->
  only([file], Opts),
  #{mechanism => Mechanism, file => text(sasl_login, file, File)};
login(Mechanism, #{password := Password} = Opts) ->
  only([user, username, password], Opts),
  User = maps:get(user, Opts, maps:get(username, Opts, undefined)),
  #{mechanism => Mechanism, user => text(sasl_login, user, User), password => password(Password)};
login(_Mechanism, _Opts) ->
  bad({sasl, password}, missing).

oauthbearer(#{token := Fun} = Opts) ->
  only([token], Opts),
  #{mechanism => oauthbearer, token => value(sasl_oauthbearer, token, Fun, not_a_fun_of_arity_0)};
oauthbearer(Opts) ->
  only(brod_option_table:names(sasl_oauthbearer) -- [token], Opts),
  Given = given(Opts),
  _ = text(sasl_oauthbearer, token_endpoint, maps:get(token_endpoint, Given, undefined)),
  Proofs = maps:with([client_secret, client_assertion, client_assertion_file,
                      client_assertion_key_file], Given),
  maps:size(Proofs) =:= 1 orelse bad({sasl, client_secret}, one_of_secret_and_assertion),
  Named = is_map_key(client_secret, Given) orelse is_map_key(client_assertion_key_file, Given),
  is_map_key(client_id, Given) orelse not Named orelse bad({sasl, client_id}, missing),
  All = maps:merge(brod_option_table:defaults(sasl_oauthbearer), Given),
  #{mechanism => oauthbearer, client_credentials => maps:map(fun oauth_option/2, All)}.

oauth_option(Name, Value) when Name =:= client_secret; Name =:= client_assertion ->
  password(Value);
oauth_option(Name, Value) when Name =:= extensions; Name =:= parameters ->
  pairs(Name, Value);
oauth_option(ssl, Value) ->
  case brod_ssl_options:check(Value) of
    {ok, undefined} -> bad({sasl, ssl}, Value);
    {ok, Checked} -> Checked;
    {error, {bad_option, Option, Why}} -> bad(Option, Why)
  end;
oauth_option(Name, Value) when Name =:= timeout; Name =:= urlencode ->
  value(sasl_oauthbearer, Name, Value, Value);
oauth_option(Name, Value) ->
  text(sasl_oauthbearer, Name, Value).

aws_msk_iam(Opts) ->
  only(brod_option_table:names(sasl_aws_msk_iam), Opts),
  Given = given(Opts),
  maps:is_key(access_key_id, Given) =:= maps:is_key(secret_access_key, Given)
    orelse bad({sasl, secret_access_key}, only_with_access_key_id),
  Checked = maps:map(fun aws_option/2, maps:merge(brod_option_table:defaults(sasl_aws_msk_iam), Given)),
  Checked#{mechanism => aws_msk_iam}.

aws_option(credentials, Source) ->
  value(sasl_aws_msk_iam, credentials, Source, unknown_source);
aws_option(Name, Value) when Name =:= secret_access_key; Name =:= session_token ->
  password(Value);
aws_option(Name, Value) ->
  text(sasl_aws_msk_iam, Name, Value).

password(Fun) when is_function(Fun, 0) -> Fun;
password(_) -> bad({sasl, password}, not_text).

pairs(Name, Given) ->
  brod_options:is_config(Given) orelse bad({sasl, Name}, not_options),
  Pairs = maps:to_list(brod_options:to_map(Given)),
  [{part(Name, key(K)), part(Name, V)} || {K, V} <- Pairs].

%% Of a pair, neither of which is an option.
part(Name, Text) ->
  case brod_option_kinds:value({text, "text"}, Text) of
    {ok, Part} -> Part;
    error -> bad({sasl, Name}, not_text)
  end.

key(Key) when is_atom(Key) -> atom_to_binary(Key, utf8);
key(Key) -> Key.

given(Opts) -> maps:filter(fun(_, Value) -> Value =/= undefined end, Opts).

only(Known, Opts) ->
  case maps:keys(Opts) -- Known of
    [] -> ok;
    [Unknown | _] -> bad({sasl, Unknown}, unknown)
  end.

text(_Level, Name, undefined) -> bad({sasl, Name}, missing);
text(Level, Name, Given) -> value(Level, Name, Given, not_text).

value(Level, Name, Given, Why) ->
  case brod_option_table:value(Level, Name, Given) of
    {ok, Value} -> Value;
    error -> bad({sasl, Name}, Why)
  end.

-spec bad(term(), term()) -> no_return().
bad(Option, Why) -> throw({bad, Option, Why}).
