%% A SASL plugin written as brod_oauth is: one token, `{ok, _}' in the end; auth/6.
-module(brod_plugin_oauth).

-export([auth/6]).

auth(_Host, Socket, gen_tcp, ClientId, _Timeout, #{token := Token}) ->
  Message = ["n,,", 1, "auth=Bearer ", Token(), 1, 1],
  Step = fun(<<>>) -> {Message, fun(<<>>) -> done; (Complaint) -> {[1], fun(_) -> Complaint end} end} end,
  case brod_security:sasl_frames(Socket, ClientId, "OAUTHBEARER", Step) of
    ok -> {ok, #{}};
    {error, Reason} -> {error, Reason}
  end.
