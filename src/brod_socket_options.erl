%% @private The client option `extra_sock_opts': options of `gen_tcp' as the engine is given them.
-module(brod_socket_options).

-export([is_valid/1, unknown/1, engine/1]).

-define(DEFAULTS, #{nodelay => true, keepalive => true, sndbuf => undefined, recbuf => undefined,
                    tos => undefined, ip => undefined, family => any, linger => undefined,
                    bind_to_device => undefined}).
%% Of gen_tcp's options these only concern how Erlang reads a socket.
-define(WITHOUT_EFFECT, [binary, list, mode, packet, packet_size, active, header, buffer, delay_send,
                         high_watermark, low_watermark, high_msgq_watermark, low_msgq_watermark,
                         deliver, exit_on_close, show_econnreset, send_timeout, send_timeout_close,
                         reuseaddr, backlog, inet_backend]).

%% @doc Whether no option has a value that it cannot have.
-spec is_valid(term()) -> boolean().
is_valid(Given) ->
  is_list(Given) andalso length_of(Given) >= 0
    andalso lists:all(fun(Option) -> converted(Option) =/= invalid end, Given).

length_of(List) -> try length(List) catch error:badarg -> -1 end.

%% @doc The options that are ignored although they might matter.
-spec unknown([term()]) -> [term()].
unknown(Given) -> [Option || Option <- Given, converted(Option) =:= unknown].

%% @doc The engine's `socket' options. Of one that is given twice the last value counts, as with
%% `gen_tcp'.
-spec engine([term()]) -> map().
engine(Given) ->
  lists:foldl(fun(Option, Acc) ->
                case converted(Option) of
                  {Key, Value} -> Acc#{Key := Value};
                  _ -> Acc
                end
              end, ?DEFAULTS, Given).

converted(inet) -> {family, inet};
converted(inet6) -> {family, inet6};
converted({Key, Bool}) when Key =:= nodelay; Key =:= keepalive -> if_valid(is_boolean(Bool), Key, Bool);
converted({Key, Bytes}) when Key =:= sndbuf; Key =:= recbuf ->
  if_valid(is_integer(Bytes) andalso Bytes >= 0 andalso Bytes < 1 bsl 31, Key,
           case Bytes of 0 -> undefined; _ -> Bytes end);
converted({tos, Tos}) -> if_valid(is_integer(Tos) andalso Tos >= 0 andalso Tos < 256, tos, Tos);
converted({Key, Address}) when Key =:= ip; Key =:= ifaddr ->
  case address(Address) of
    {error, einval} -> invalid;
    Text -> {ip, unicode:characters_to_binary(Text)}
  end;
converted({linger, {true, Seconds}}) ->
  if_valid(is_integer(Seconds) andalso Seconds >= 0 andalso Seconds < 65536, linger, Seconds * 1000);
converted({linger, {false, _}}) -> {linger, undefined};
converted({linger, _}) -> invalid;
converted({bind_to_device, Name}) -> if_valid(is_binary(Name), bind_to_device, Name);
converted({family, Family}) -> if_valid(lists:member(Family, [inet, inet6]), family, Family);
converted({Key, _}) when is_atom(Key) -> is_without_effect(Key);
converted(Key) -> is_without_effect(Key).

if_valid(true, Key, Value) -> {Key, Value};
if_valid(false, _Key, _Value) -> invalid.

is_without_effect(Key) ->
  case lists:member(Key, ?WITHOUT_EFFECT) of
    true -> without_effect;
    false -> unknown
  end.

address(Address) when is_tuple(Address) ->
  try inet:ntoa(Address) catch error:_ -> {error, einval} end;
address(Address) when is_list(Address) ->
  case inet:parse_address(Address) of
    {ok, _} -> Address;
    {error, einval} -> {error, einval}
  end;
address(_) ->
  {error, einval}.
