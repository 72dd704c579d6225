%% @private What a failed connection means to whoever has to mend it, in one line.
-module(brod_connect_failure).

-export([describe/1, why/1, words/1]).

%% A file is not read for reasons that are not its own.
-define(NOT_THE_FILE(Reason), (Reason =:= etimedout orelse Reason =:= emfile orelse Reason =:= enfile orelse Reason =:= eagain)).

%% @doc Endpoints with why each could not be reached, and what to check, as text for a log line.
-spec describe([{brod:endpoint(), {Reason :: term(), Stack :: list()}}]) -> iodata().
describe(Failures) ->
  lists:join("; ", [[brod_engine:to_binary(Host), $:, integer_to_list(Port), $\s, cause(Reason)]
                    || {{Host, Port}, {Reason, _Stack}} <- Failures]).

%% @doc Why one endpoint could not be reached, and what to check.
-spec why(term()) -> binary().
why(Reason) -> unicode:characters_to_binary(cause(Reason)).

%% @doc What the engine tells of an error: if it is about endpoints, as of a group's coordinator, in words.
-spec words(term()) -> iodata().
words([{_Host, _Port, _Reason} | _] = Failures) ->
  describe([{{Host, Port}, {Reason, []}} || {Host, Port, Reason} <- Failures]);
words(Reason) -> io_lib:format("~0p", [Reason]).

cause(econnrefused) -> "nobody listens there: check the port, and that the broker runs";
cause(nxdomain) -> "the host name does not resolve: check the name, and the DNS servers";
cause(Reason) when Reason =:= timeout; Reason =:= etimedout ->
  "no answer in time: check the address, that no firewall is between, and that the broker does not hang";
cause(Reason) when Reason =:= ehostunreach; Reason =:= enetunreach; Reason =:= enetdown ->
  io_lib:format("no way there (~s): check the address, the network, and the option extra_sock_opts", [Reason]);
cause(Reason) when Reason =:= eaddrnotavail; Reason =:= enodev; Reason =:= eperm; Reason =:= einval ->
  io_lib:format("no socket for it (~s): check the option extra_sock_opts", [Reason]);
cause(Reason) when Reason =:= emfile; Reason =:= enfile ->
  io_lib:format("no descriptor was left (~s): check ulimit -n, and what this node has open", [Reason]);
cause(eagain) ->
  "the system gave no thread to look up names or read files on (eagain): check ulimit -u, the limit of processes of "
  "this container, and what runs there";
cause(closed) ->
  "it closed the connection: check that it is a Kafka broker, that the options ssl and sasl are what "
  "this port asks for, and its log";
cause({failed_to_upgrade_to_ssl, Reason}) -> ["no TLS: ", tls(Reason)];
cause({Request, Reason}) when is_tuple(Request), element(1, Request) =:= kpro_req ->
  first_request(Reason);
cause({sasl_auth_error, Reason}) -> ["SASL: ", sasl(Reason)];
cause(#{file := File, reason := Reason}) when ?NOT_THE_FILE(Reason) ->
  io_lib:format("the file ~ts of the option sasl was not read: ~ts", [File, not_read(Reason)]);
cause(#{file := File, reason := Reason}) ->
  io_lib:format("the file ~ts of the option sasl cannot be used (~0p): check that it is there and has "
                "user and password on two lines", [File, Reason]);
%% A plugin was content with what the broker did not take for authentication.
cause(illegal_sasl_state) ->
  "it does not take the connection for authenticated: check the option sasl, and what its plugin sends";
cause(undef) -> "the plugin of the option sasl does not exist: check module and code path";
cause({unsupported_api, Api}) ->
  io_lib:format("it knows no ~s: check the port, it may be one for controllers alone", [Api]);
cause({not_kafka, Text}) -> io_lib:format("no Kafka broker (~ts): check the port", [Text]);
cause(<<"cannot start the engine's threads", _/binary>> = Text) ->
  [Text, ": check ulimit -n and ulimit -u, and what this node has open"];
cause(Reason) -> io_lib:format("~0p: check the address and the broker's log", [Reason]).

tls({tls_alert, {unknown_ca, Text}}) ->
  [Text, ": check cacertfile or cacerts"];
tls({tls_alert, {certificate_expired, Text}}) ->
  [Text, ": check the broker's certificate, and the clock here"];
tls({tls_alert, {handshake_failure, Text}}) ->
  [flat(Text), ": check the host name, server_name_indication, versions and ciphers"];
tls({tls_alert, {protocol_version, Text}}) ->
  [flat(Text), ": check the option versions, and which the broker has"];
tls({tls_alert, {unexpected_message, _Text}}) -> not_tls();
tls({tls_alert, {_Alert, Text}}) -> [flat(Text), ": check the broker's certificate and log"];
tls(closed) -> ["it closed the connection: ", not_tls()];
tls(timeout) -> ["the handshake did not end in time: ", not_tls()];
tls({options, {Option, File, {error, Reason}}}) when ?NOT_THE_FILE(Reason) ->
  io_lib:format("~s ~ts was not read: ~ts", [Option, File, not_read(Reason)]);
tls({options, {Option, File, {error, Reason}}}) ->
  io_lib:format("~s ~ts cannot be used (~0tp): check the file and its permissions",
                [Option, File, Reason]);
tls({options, {Option, Text}}) ->
  io_lib:format("~s cannot be used (~ts): check the option", [Option, Text]);
tls(Reason) -> io_lib:format("~0p: check the option ssl", [Reason]).

not_read(etimedout) ->
  "it did not come in time (etimedout): check the disk or the server of files that it is on, and that it is no FIFO that nobody "
  "writes to";
not_read(Reason) -> cause(Reason).

not_tls() -> "check that this port speaks TLS; it may be a plaintext listener".

first_request({tls_alert, {_Alert, Text}}) ->
  [flat(Text), " at the first request: check the client's certificate (certfile, keyfile), which this "
   "port may ask for"];
first_request(closed) ->
  "it closed the connection at the first request: check the options ssl and sasl, this port may ask "
  "for TLS or for another way to authenticate; or it takes no more connections (max.connections.per.ip)";
first_request(Reason) -> cause(Reason).

sasl(illegal_sasl_state) ->
  "this port does not authenticate: check the option sasl, and the port";
sasl(unsupported_sasl_mechanism) ->
  "this port does not offer the mechanism: check the option sasl, and the port";
sasl(Text) when is_binary(Text) ->
  %% The broker was not asked yet.
  case binary:match(Text, <<": no credentials: ">>) of
    nomatch -> [Text, ": check user and password, or the token"];
    _ -> [Text, ": check the option sasl, and whoever gives the credentials"]
  end;
sasl(Reason) -> io_lib:format("~0tp: check the option sasl", [Reason]).

%% texts of TLS have lines in them
flat(Text) -> [case Char of $\n -> $,; _ -> Char end || Char <- Text].
