%% @doc The client's part of SCRAM (RFC 5802), without channel binding.
-module(kpro_scram).

-export([init/3, first/1, parse/2, final/1, validate/2]).

-export_type([scram/0]).

-opaque scram() :: #{atom() => term()}.

-define(NO_CHANNEL_BINDING, <<"n,,">>).
%% A server may not have the client work for ever.
-define(MAX_ITERATIONS, 1000000).

%% @doc Start.
-spec init(sha256 | sha512, iodata(), iodata()) -> scram().
init(Sha, User, Password) ->
  #{sha => Sha, user => escaped(iolist_to_binary(User)), password => iolist_to_binary(Password),
    nonce => base64:encode(crypto:strong_rand_bytes(24))}.

escaped(User) -> binary:replace(binary:replace(User, <<"=">>, <<"=3D">>, [global]), <<",">>, <<"=2C">>, [global]).

%% @doc The client's first message.
-spec first(scram()) -> iodata().
first(Scram) -> [?NO_CHANNEL_BINDING, first_bare(Scram)].

first_bare(#{user := User, nonce := Nonce}) -> [<<"n=">>, User, <<",r=">>, Nonce].

%% @doc The server's first message. Raises `{bad_scram, Message}'.
-spec parse(scram(), binary()) -> scram().
parse(#{nonce := Nonce} = Scram, Message) ->
  Size = byte_size(Nonce),
  case attributes(Message) of
    #{<<"r">> := <<Nonce:Size/binary, _, _/binary>> = Common, <<"s">> := Salt, <<"i">> := Count} ->
      Iterations = binary_to_integer(Count),
      Iterations > 0 andalso Iterations =< ?MAX_ITERATIONS orelse error({bad_scram, Message}),
      Scram#{server_first => Message, common => Common, salt => base64:decode(Salt), iterations => Iterations};
    _ ->
      error({bad_scram, Message})
  end.

%% @doc The client's final message, with its proof.
-spec final(scram()) -> iodata().
final(#{sha := Sha} = Scram) ->
  ClientKey = mac(Sha, salted(Scram), <<"Client Key">>),
  Signature = mac(Sha, crypto:hash(Sha, ClientKey), auth_message(Scram)),
  [without_proof(Scram), <<",p=">>, base64:encode(crypto:exor(ClientKey, Signature))].

%% @doc Whether the server knows the password, too. Raises `{bad_scram, Message}'.
-spec validate(scram(), binary()) -> ok.
validate(#{sha := Sha} = Scram, Message) ->
  ServerKey = mac(Sha, salted(Scram), <<"Server Key">>),
  Expected = base64:encode(mac(Sha, ServerKey, auth_message(Scram))),
  case attributes(Message) of
    #{<<"v">> := Expected} -> ok;
    _ -> error({bad_scram, Message})
  end.

without_proof(#{common := Common}) -> [<<"c=">>, base64:encode(?NO_CHANNEL_BINDING), <<",r=">>, Common].

auth_message(#{server_first := ServerFirst} = Scram) ->
  [first_bare(Scram), $,, ServerFirst, $,, without_proof(Scram)].

salted(#{sha := Sha, password := Password, salt := Salt, iterations := Iterations}) ->
  Length = case Sha of sha256 -> 32; sha512 -> 64 end,
  crypto:pbkdf2_hmac(Sha, Password, Salt, Iterations, Length).

mac(Sha, Key, Data) -> crypto:mac(hmac, Sha, Key, Data).

attributes(Message) ->
  maps:from_list([{Name, Value} || <<Name:1/binary, "=", Value/binary>> <- binary:split(Message, <<",">>, [global])]).
