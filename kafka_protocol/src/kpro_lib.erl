%% @doc Small helpers.
-module(kpro_lib).

-export([find/2, find/3, keyfind/3, update_map/4, now_ts/0, get_ts_type/2, produce_api_vsn_to_magic_vsn/1]).
-export([encode/2, decode/2, decode_corr_id/1, copy_bytes/2]).
-export([get_req_schema/2, get_rsp_schema/2, get_prelude_schema/2]).
-export([send_and_recv/5, send_and_recv_raw/4, parse_endpoints/2]).
-export([ok_pipe/1, ok_pipe/2, with_timeout/2]).

-include("kpro.hrl").

%% Structures

%% @doc A field. Raises `{no_such_field, Name}', or `{not_struct, Term}'.
-spec find(kpro:field_name(), kpro:struct()) -> kpro:field_value().
find(Name, Struct) -> brod_kafka_codec:find(Name, Struct).

%% @doc A field, or the default.
-spec find(kpro:field_name(), kpro:struct(), kpro:field_value()) -> kpro:field_value().
find(Name, Struct, Default) -> brod_kafka_codec:find(Name, Struct, Default).

%% @doc The first structure whose field has that value, else `false'.
-spec keyfind(kpro:field_name(), kpro:field_value(), [kpro:struct()]) -> false | kpro:struct().
keyfind(Name, Value, Structs) ->
  case lists:search(fun(Struct) -> find(Name, Struct) =:= Value end, Structs) of
    {value, Struct} -> Struct;
    false -> false
  end.

%% @doc As `maps:update_with/4'.
-spec update_map(term(), fun((term()) -> term()), term(), map()) -> map().
update_map(Key, Fun, Init, Map) -> maps:update_with(Key, Fun, Init, Map).

%% @doc Milliseconds since 1970.
-spec now_ts() -> kpro:msg_ts().
now_ts() -> os:system_time(millisecond).

%% @doc What a message's attributes say of its time.
-spec get_ts_type(kpro:magic(), non_neg_integer()) -> kpro:timestamp_type().
get_ts_type(0, _Attributes) -> undefined;
get_ts_type(_Magic, Attributes) when Attributes band 8 =:= 0 -> create;
get_ts_type(_Magic, _Attributes) -> append.

%% @doc The magic of batches in a produce request.
-spec produce_api_vsn_to_magic_vsn(kpro:vsn()) -> kpro:magic().
produce_api_vsn_to_magic_vsn(0) -> 0;
produce_api_vsn_to_magic_vsn(Vsn) when Vsn < 3 -> 1;
produce_api_vsn_to_magic_vsn(_Vsn) -> 2.

%% Bytes

%% @doc A value of a simple type.
-spec encode(kpro:primitive_type(), kpro:primitive()) -> iodata().
encode(Type, Value) -> brod_kafka_codec:encode_type(Type, Value).

%% @doc A value of a simple type, and what follows it.
-spec decode(kpro:primitive_type(), binary()) -> {kpro:primitive(), binary()}.
decode(Type, Bytes) -> brod_kafka_codec:decode_type(Type, Bytes).

%% @doc The correlation id of a response, and what follows it.
-spec decode_corr_id(binary()) -> {kpro:corr_id(), binary()}.
decode_corr_id(<<CorrId:32, Rest/binary>>) -> {CorrId, Rest}.

%% @doc The first bytes, copied, and the rest; -1 of them are none.
-spec copy_bytes(-1 | kpro:count(), binary()) -> {binary(), binary()}.
copy_bytes(-1, Bytes) -> {<<>>, Bytes};
copy_bytes(Size, Bytes) ->
  <<First:Size/binary, Rest/binary>> = Bytes,
  {binary:copy(First), Rest}.

%% @doc See {@link kpro_schema:req/2}.
-spec get_req_schema(kpro:api(), kpro:vsn()) -> kpro:struct_schema().
get_req_schema(Api, Vsn) -> kpro_schema:req(Api, Vsn).

%% @doc See {@link kpro_schema:rsp/2}.
-spec get_rsp_schema(kpro:api(), kpro:vsn()) -> kpro:struct_schema().
get_rsp_schema(Api, Vsn) -> kpro_schema:rsp(Api, Vsn).

%% @doc See {@link kpro_prelude_schema:get/2}.
-spec get_prelude_schema(atom(), kpro:vsn()) -> kpro:struct_schema().
get_prelude_schema(Name, Vsn) -> kpro_prelude_schema:get(Name, Vsn).

%% Sockets

%% @doc Send a request over a passive socket in `{packet, 4}' mode, and wait for the response. Raises `{Request,
%% Reason}' when that fails.
-spec send_and_recv(kpro:req(), gen_tcp:socket() | term(), gen_tcp | ssl, kpro:client_id(), timeout()) -> kpro:struct().
send_and_recv(#kpro_req{api = Api, vsn = Vsn} = Req, Socket, Mod, ClientId, Timeout) ->
  CorrId = rand:uniform(1 bsl 30),
  try
    Answer = send_and_recv_raw(kpro_req_lib:encode(ClientId, CorrId, Req), Socket, Mod, Timeout),
    {CorrId, Rest} = decode_corr_id(Answer),
    #kpro_rsp{msg = Message} = kpro_rsp_lib:decode(Api, Vsn, Rest, false),
    Message
  catch
    error:Reason:Stack -> erlang:raise(error, {Req, Reason}, Stack)
  end.

%% @doc Send bytes over a passive socket in `{packet, 4}' mode, and wait for bytes. Raises why that fails.
-spec send_and_recv_raw(iodata(), gen_tcp:socket() | term(), gen_tcp | ssl, timeout()) -> binary().
send_and_recv_raw(Bytes, Socket, Mod, Timeout) ->
  ok = ok(passive(Mod, Socket)),
  ok = ok(Mod:send(Socket, Bytes)),
  {ok, Answer} = ok(Mod:recv(Socket, 0, Timeout)),
  Answer.

passive(ssl, Socket) -> ssl:setopts(Socket, [{active, false}]);
passive(gen_tcp, Socket) ->
  case inet:setopts(Socket, [{active, false}]) of
    %% so it calls a socket that is closed
    {error, einval} -> {error, closed};
    Result -> Result
  end.

ok({error, Reason}) -> error(Reason);
ok(Result) -> Result.

%% @doc Endpoints from text such as `"localhost:9092,ssl://host:9093"': those of a protocol, or those without one.
%% Without a port it is 9092. An IPv6 address with one is in brackets.
-spec parse_endpoints(kpro:protocol() | undefined, string()) -> [kpro:endpoint()].
parse_endpoints(Protocol, Text) ->
  [Endpoint || Part <- string:lexemes(string:lowercase(Text), ",\n "), {P, Endpoint} <- [endpoint(Part)], P =:= Protocol].

endpoint("plaintext://" ++ Rest) -> {plaintext, host_port(Rest)};
endpoint("ssl://" ++ Rest) -> {ssl, host_port(Rest)};
endpoint("sasl_plaintext://" ++ Rest) -> {sasl_plaintext, host_port(Rest)};
endpoint("sasl_ssl://" ++ Rest) -> {sasl_ssl, host_port(Rest)};
endpoint(Rest) -> {undefined, host_port(Rest)}.

host_port("[" ++ Text) ->
  case string:split(Text, "]") of
    [Host, ":" ++ Port] -> {Host, list_to_integer(Port)};
    [Host, ""] -> {Host, 9092}
  end;
host_port(Text) ->
  case string:split(Text, ":", all) of
    [Host, Port] -> {Host, list_to_integer(Port)};
    _HostOrIpv6 -> {Text, 9092}
  end.

%% Steps

%% @doc {@link ok_pipe/2} without a limit.
-spec ok_pipe([fun()]) -> ok | {ok, term()} | {error, term()}.
ok_pipe(Funs) -> ok_pipe(Funs, infinity).

%% @doc Call funs in turn, each with what the one before returned as `{ok, Result}' (without arguments after `ok'), until
%% one returns `{error, Reason}'; within a time, see {@link with_timeout/2}.
-spec ok_pipe([fun()], timeout()) -> ok | {ok, term()} | {error, term()}.
ok_pipe([First | Funs], Timeout) -> with_timeout(fun() -> pipe(Funs, First()) end, Timeout).

pipe([], Result) -> Result;
pipe([Fun | Funs], ok) -> pipe(Funs, Fun());
pipe([Fun | Funs], {ok, Result}) -> pipe(Funs, Fun(Result));
pipe(_Funs, {error, Reason}) -> {error, Reason}.

%% @doc Call a fun, for at most so many ms, then `{error, timeout}'. With a limit it runs in a process of its own, whose
%% links the caller gets, and whose exception.
-spec with_timeout(fun(() -> Result), timeout()) -> Result | {error, timeout}.
with_timeout(Fun, infinity) ->
  Fun();
with_timeout(Fun, Timeout) ->
  Caller = self(),
  Tag = make_ref(),
  {Agent, MRef} = spawn_monitor(fun() -> agent(Fun, Caller, Tag) end),
  receive
    {Tag, Outcome, Links} ->
      lists:foreach(fun link/1, Links),
      Agent ! Tag,
      demonitor(MRef, [flush]),
      case Outcome of
        {ok, Result} -> Result;
        {Class, Reason, Stack} -> erlang:raise(Class, Reason, Stack)
      end;
    {'DOWN', MRef, process, _, Reason} ->
      exit(Reason)
  after Timeout ->
    demonitor(MRef, [flush]),
    exit(Agent, kill),
    {error, timeout}
  end.

agent(Fun, Caller, Tag) ->
  Outcome = try {ok, Fun()} catch Class:Reason:Stack -> {Class, Reason, Stack} end,
  {links, Links} = process_info(self(), links),
  Caller ! {Tag, Outcome, Links},
  receive Tag -> lists:foreach(fun unlink/1, Links) end.
