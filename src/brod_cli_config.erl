%% @private Where the command line connects to, and how: flags, then the environment, then a properties file as Java's
%% clients have it.
-module(brod_cli_config).

-export([options/0, bootstrap/1, bootstrap/2, properties/1, argument/1]).

%% @doc Options of all commands.
-spec options() -> brod_cli:spec().
options() ->
  [{"brokers", string, "-b: host:port,... (BROD_BROKERS, else localhost:9092)"},
   {"config", string, "-c: a properties file as of Java's clients (BROD_CONFIG)"},
   {"tls", flag, "TLS (BROD_TLS=1)"},
   {"cacert", string, "whom to trust, a PEM file (BROD_CACERT)"},
   {"cert", string, "the client's certificate, a PEM file (BROD_CERT)"},
   {"key", string, "its key, a PEM file (BROD_KEY)"},
   {"insecure", flag, "believe any certificate"},
   {"sasl", string, "plain, scram_sha_256 or scram_sha_512 (BROD_SASL)"},
   {"username", string, "for SASL (BROD_USERNAME)"},
   {"password", string, "for SASL; other users of this machine may see it, so rather BROD_PASSWORD"},
   {"json", flag, "a line of JSON for each row"},
   {"help", flag, "the options of a command"}].

%% @doc Endpoints and connection options.
-spec bootstrap(map()) -> {[brod:endpoint()], [{atom(), term()}]}.
bootstrap(Options) -> bootstrap(Options, environment).

%% @doc The same, with or without what the environment says.
-spec bootstrap(map(), environment | no_environment) -> {[brod:endpoint()], [{atom(), term()}]}.
bootstrap(Given, no_environment) -> bootstrap(Given#{no_environment => true}, environment);
bootstrap(Options, environment) ->
  File = case value("config", Options) of undefined -> #{}; Name -> properties(Name) end,
  Get = fun(Name, Property) ->
          case value(Name, Options) of undefined -> maps:get(Property, File, undefined); V -> V end
        end,
  Brokers = case Get("brokers", "bootstrap.servers") of undefined -> "localhost:9092"; B -> B end,
  Protocol = string:uppercase(maps:get("security.protocol", File, "PLAINTEXT")),
  {endpoints(Brokers), tls(Options, Get, Protocol) ++ sasl(Get, File)}.

value(Name, Options) ->
  case Options of
    #{Name := true} -> "1";
    #{Name := Value} -> Value;
    #{no_environment := true} -> undefined;
    _ -> case os:getenv("BROD_" ++ string:uppercase(Name), "") of "" -> undefined; Value -> argument(Value) end
  end.

%% @doc What came from outside as characters. As a rule it is UTF-8, of which Erlang takes each byte for a character where the
%% locale does not say so, as under cron (LC_ALL=C).
-spec argument(string() | {error, string(), binary()}) -> string().
argument({error, _, _}) -> throw({usage, "an argument is no UTF-8"});
argument(Given) ->
  case file:native_name_encoding() of
    utf8 -> Given;
    latin1 -> case unicode:characters_to_list(list_to_binary(Given)) of [_ | _] = Text -> Text; _ -> Given end
  end.

endpoints(Brokers) ->
  case [endpoint(string:trim(E)) || E <- string:lexemes(Brokers, ",")] of
    [] -> throw({usage, "no brokers: host:port,..."});
    Endpoints -> Endpoints
  end.

endpoint(Text) ->
  {Host, Port} = case {string:split(Text, ":", trailing), lists:suffix("]", Text)} of
                   {[Before, After], false} -> {Before, port(After, Text)};
                   _ -> {Text, 9092}
                 end,
  case string:trim(Host, both, "[]") of
    "" -> throw({usage, ["no host in ", Text]});
    Bare -> {Bare, Port}
  end.

port(Port, Text) ->
  try list_to_integer(Port) of
    N when N > 0, N < 65536 -> N;
    _ -> throw({usage, [Port, " is no port, in ", Text]})
  catch
    error:badarg -> throw({usage, ["no port in ", Text]})
  end.

tls(Options, Get, Protocol) ->
  Files = [{cacertfile, Get("cacert", "ssl.truststore.location")}, {certfile, Get("cert", "ssl.keystore.location")},
           {keyfile, Get("key", "ssl.keystore.location")}],
  Given = [{Key, File} || {Key, File} <- Files, File =/= undefined],
  Insecure = [{verify, verify_none} || maps:is_key("insecure", Options)],
  %% Who names a certificate must not speak in plain text.
  Named = [Name || Name <- ["cacert", "cert", "key"], value(Name, Options) =/= undefined],
  Wanted = value("tls", Options) =/= undefined orelse Named =/= [] orelse Protocol =:= "SSL" orelse Protocol =:= "SASL_SSL",
  case {Wanted orelse Insecure =/= [], Given ++ Insecure} of
    {false, _} -> [];
    {true, []} -> [{ssl, true}];
    {true, Tls} -> [{ssl, Tls}]
  end.

sasl(Get, File) ->
  case Get("sasl", "sasl.mechanism") of
    undefined -> [];
    Name ->
      Mechanism = case string:replace(string:lowercase(Name), "-", "_", all) of
                    M -> case lists:flatten(M) of
                           "plain" -> plain;
                           "scram_sha_256" -> scram_sha_256;
                           "scram_sha_512" -> scram_sha_512;
                           _ -> throw({usage, ["no SASL mechanism ", Name, " here: plain, scram_sha_256, scram_sha_512"]})
                         end
                  end,
      Jaas = maps:get("sasl.jaas.config", File, ""),
      [{sasl, {Mechanism, credential(Get("username", ""), "username", Jaas),
               credential(Get("password", ""), "password", Jaas)}}]
  end.

credential(undefined, Name, Jaas) ->
  %% In either kind of quotes, as in Java.
  Quoted = "=(?|\"((?:[^\"\\\\]|\\\\.)*)\"|'((?:[^'\\\\]|\\\\.)*)')",
  case re:run(Jaas, Name ++ Quoted, [{capture, all_but_first, binary}, unicode]) of
    {match, [Value]} -> re:replace(Value, "\\\\(.)", "\\1", [global, unicode, {return, binary}]);
    nomatch -> throw({usage, ["SASL wants a ", Name, ": --", Name, " or BROD_", string:uppercase(Name)]})
  end;
credential(Value, _Name, _Jaas) -> unicode:characters_to_binary(Value).

%% @doc A properties file as Java reads it: comments, `=' or `:', a backslash before what is to be taken as it is, and lines
%% that go on behind one.
-spec properties(file:name_all()) -> #{string() => string()}.
properties(Name) ->
  case file:read_file(unicode:characters_to_binary(Name)) of
    {ok, Bytes} ->
      Lines = binary:split(Bytes, [<<"\r\n">>, <<"\n">>, <<"\r">>], [global]),
      maps:from_list([property(Line) || Line <- whole([characters(Line) || Line <- Lines])]);
    {error, Reason} ->
      throw({usage, [Name, ": ", file:format_error(Reason)]})
  end.

%% UTF-8; older programs of Java's wrote Latin-1.
characters(Bytes) ->
  case unicode:characters_to_list(Bytes) of
    Text when is_list(Text) -> Text;
    _ -> binary_to_list(Bytes)
  end.

%% Lines with those that they go on in, which a comment does not.
whole([]) -> [];
whole([Line | Lines]) ->
  case string:trim(Line, leading) of
    [First | _] = Text when First =/= $#, First =/= $! -> go_on(Text, Lines);
    _ -> whole(Lines)
  end.

go_on(Text, Lines) ->
  case {length(lists:takewhile(fun(C) -> C =:= $\\ end, lists:reverse(Text))) rem 2, Lines} of
    {1, [Next | Rest]} -> go_on(lists:droplast(Text) ++ string:trim(Next, leading), Rest);
    _ -> [string:trim(Text) | whole(Lines)]
  end.

property(Line) ->
  {match, [Key, Value]} = re:run(Line, "^((?:[^=:\\s\\\\]|\\\\.)*)\\s*[=:]?\\s*(.*)$", [{capture, all_but_first, list}, unicode]),
  {unescaped(Key), unescaped(Value)}.

unescaped([$\\, $u, A, B, C, D | Rest]) ->
  try list_to_integer([A, B, C, D], 16) of
    Code -> [Code | unescaped(Rest)]
  catch
    error:badarg -> throw({usage, ["no character: \\u", [A, B, C, D]]})
  end;
unescaped([$\\, $t | Rest]) -> [$\t | unescaped(Rest)];
unescaped([$\\, $n | Rest]) -> [$\n | unescaped(Rest)];
unescaped([$\\, $r | Rest]) -> [$\r | unescaped(Rest)];
unescaped([$\\, $f | Rest]) -> [$\f | unescaped(Rest)];
unescaped([$\\, C | Rest]) -> [C | unescaped(Rest)];
unescaped([C | Rest]) -> [C | unescaped(Rest)];
unescaped([]) -> [].
