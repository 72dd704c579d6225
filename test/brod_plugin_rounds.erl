%% A SASL plugin written as brod_gssapi is: auth/7, several rounds of length-prefixed frames on the
%% socket that it is given. The mechanism is SCRAM-SHA-256. `Opts': user, password, and whom to tell.
-module(brod_plugin_rounds).

-export([auth/7]).

auth(Host, Socket, HandshakeVersion, Mod, ClientId, Timeout, #{user := User, password := Password} = Opts) ->
  {ok, Modes} = inet:getopts(Socket, [active, mode, packet]),
  _ = maps:get(tell, Opts, self()) ! {plugin, {Host, Mod, HandshakeVersion, ClientId, Timeout, Modes}},
  %% plugins switch what they need, and back
  ok = inet:setopts(Socket, [{active, false}]),
  case brod_security:sasl_frames(Socket, ClientId, "SCRAM-SHA-256", first(User, Password)) of
    ok -> ok = inet:setopts(Socket, [{active, false}]), ok;
    {error, Reason} -> {error, Reason}
  end.

first(User, Password) ->
  fun(<<>>) ->
    Nonce = base64:encode(crypto:strong_rand_bytes(18)),
    Bare = iolist_to_binary(["n=", User, ",r=", Nonce]),
    {["n,,", Bare], final(Bare, Password)}
  end.

final(Bare, Password) ->
  fun(ServerFirst) ->
    [<<"r=", Nonce/binary>>, <<"s=", Salt/binary>>, <<"i=", Count/binary>> | _] =
      binary:split(ServerFirst, <<",">>, [global]),
    Salted = crypto:pbkdf2_hmac(sha256, iolist_to_binary(Password), base64:decode(Salt),
                                binary_to_integer(Count), 32),
    ClientKey = crypto:mac(hmac, sha256, Salted, <<"Client Key">>),
    Final = <<"c=biws,r=", Nonce/binary>>,
    Message = <<Bare/binary, ",", ServerFirst/binary, ",", Final/binary>>,
    Signature = crypto:mac(hmac, sha256, crypto:hash(sha256, ClientKey), Message),
    Proof = base64:encode(crypto:exor(ClientKey, Signature)),
    {[Final, ",p=", Proof], fun(<<"v=", _/binary>>) -> done end}
  end.
