#!/usr/bin/env escript
%% Prints the module brod_kafka_schema, made from Kafka's message schemas; see generate-schema.sh.
%%   generate-schema.escript DIRECTORY
-mode(compile).

main([Dir]) ->
  ok = io:setopts([{encoding, unicode}]),
  Names = filename:join(filename:dirname(escript:script_name()), "schema-names.eterm"),
  {ok, Apis} = file:consult(Names),
  Loaded = [api(Dir, Api) || Api <- Apis],
  io:put_chars(module(Loaded));
main(_) ->
  io:format("usage: generate-schema.escript DIRECTORY~n"),
  halt(2).

api(Dir, {Api, Name, Newest, ReqChanges, RspChanges}) ->
  Req = read(Dir, Name ++ "Request"),
  Rsp = read(Dir, Name ++ "Response"),
  #{<<"apiKey">> := Key, <<"validVersions">> := Valid} = Req,
  {Oldest, Last} = versions(Valid),
  Newest =< Last orelse error({no_such_version, Api, Newest}),
  Flexible = case versions(maps:get(<<"flexibleVersions">>, Req, <<"none">>)) of
               {First, _} when First =< Newest -> First;
               _ -> none
             end,
  #{name => Api, key => Key, range => {Oldest, Newest}, flexible => Flexible,
    req => by_version(Req, ReqChanges, Oldest, Newest), rsp => by_version(Rsp, RspChanges, Oldest, Newest)}.

%% Versions

versions(<<"none">>) -> none;
versions(Text) ->
  case binary:split(Text, [<<"-">>, <<"+">>], [global, trim]) of
    [One] ->
      First = binary_to_integer(One),
      case binary:last(Text) of
        $+ -> {First, infinity};
        _ -> {First, First}
      end;
    [First, Last] ->
      {binary_to_integer(First), binary_to_integer(Last)}
  end.

within(_Version, none) -> false;
within(Version, {First, Last}) -> Version >= First andalso Version =< Last;
within(Version, Text) -> within(Version, versions(Text)).

%% Neighbours that are alike are one entry.
by_version(Message, Changes, Oldest, Newest) ->
  All = [{V, V, message(Message, V, Changes)} || V <- lists:seq(Oldest, Newest)],
  lists:reverse(lists:foldl(fun({V, V, Schema}, [{First, _, Schema} | Rest]) -> [{First, V, Schema} | Rest];
                               (Entry, Merged) -> [Entry | Merged]
                            end, [], All)).

%% Structures

message(#{<<"fields">> := Fields} = Message, Version, Changes) ->
  Common = maps:from_list([{Name, Inner} || #{<<"name">> := Name, <<"fields">> := Inner}
                                              <- maps:get(<<"commonStructs">>, Message, [])]),
  Flexible = within(Version, maps:get(<<"flexibleVersions">>, Message, <<"none">>)),
  fields(Fields, #{version => Version, flexible => Flexible, common => Common, changes => Changes}, []).

fields(Fields, #{version := Version, flexible := Flexible, changes := Changes} = How, Path) ->
  There = [Field || Field <- Fields, within(Version, maps:get(<<"versions">>, Field)),
                    not within(Version, maps:get(<<"taggedVersions">>, Field, <<"none">>))],
  Named = [field(Field, How, Path) || Field <- There],
  Nested = lists:foldl(fun nest/2, Named, [Nest || {At, {nest, _, _} = Nest} <- Changes, At =:= Path]),
  Nested ++ [{tagged_fields, tagged_fields} || Flexible].

nest({nest, Name, Inner}, Fields) ->
  {In, Out} = lists:partition(fun({Field, _}) -> lists:member(Field, Inner) end, Fields),
  case hd(Fields) of
    {First, _} -> case lists:member(First, Inner) of
                    true -> [{Name, In} | Out];
                    false -> Out ++ [{Name, In}]
                  end
  end.

field(#{<<"name">> := Name, <<"type">> := Type} = Field, #{changes := Changes} = How, Path) ->
  Here = Path ++ [snake_case(Name)],
  Renamed = [New || {At, New} <- Changes, At =:= Here, is_atom(New), New =/= unwrap],
  Unwraps = lists:member({Here, unwrap}, Changes),
  New = case Renamed of
          [One] -> One;
          [] -> lists:last(Here)
        end,
  {New, type(Type, Field, How, Here, Unwraps)}.

type(<<"[]", Element/binary>>, Field, #{flexible := Flexible} = How, Path, Unwraps) ->
  Inner = case type(Element, maps:remove(<<"nullableVersions">>, Field), How, Path, false) of
            [{_, Only}] when Unwraps -> Only;
            Other -> Other
          end,
  {case Flexible of true -> compact_array; false -> array end, Inner};
type(<<"bool">>, _, _, _, _) -> boolean;
type(Number, _, _, _, _) when Number =:= <<"int8">>; Number =:= <<"int16">>; Number =:= <<"int32">>;
                              Number =:= <<"int64">> -> binary_to_atom(Number);
type(Text, Field, #{version := Version, flexible := Flexible}, _, _)
  when Text =:= <<"string">>; Text =:= <<"bytes">>; Text =:= <<"records">> ->
  Nullable = Text =/= <<"records">> andalso within(Version, maps:get(<<"nullableVersions">>, Field, <<"none">>)),
  binary_to_atom(iolist_to_binary([["compact_" || Flexible], ["nullable_" || Nullable], Text]));
type(Structure, Field, #{common := Common} = How, Path, _) ->
  case Field of
    #{<<"fields">> := Inner} -> fields(Inner, How, Path);
    _ -> fields(maps:get(Structure, Common), How, Path)
  end.

snake_case(Name) ->
  Words = re:replace(Name, "([a-z0-9])([A-Z])", "\\1_\\2", [global, {return, list}]),
  list_to_atom(string:lowercase(Words)).

%% The module

module(Apis) ->
  ["%% Generated by scripts/generate-schema.sh from Kafka's message schemas: do not edit.\n"
   "%% @private Fields of requests and responses, by API and version, under the names that brod's users know.\n"
   "-module(brod_kafka_schema).\n\n"
   "-export([all_apis/0, vsn_range/1, min_flexible_vsn/1, api_key/1, req/2, rsp/2]).\n\n"
   "-type name() :: atom().\n"
   "-type vsn() :: non_neg_integer().\n"
   "-type schema() :: atom() | {array | compact_array, schema()} | [{name(), schema()}].\n\n"
   "-spec all_apis() -> [name()].\nall_apis() ->\n  ", io_lib:format("~100p", [[N || #{name := N} <- Apis]]), ".\n\n"
   "-spec vsn_range(name()) -> {vsn(), vsn()} | false.\n",
   [io_lib:format("vsn_range(~p) -> ~p;~n", [N, Range]) || #{name := N, range := Range} <- Apis],
   "vsn_range(_) -> false.\n\n"
   "-spec min_flexible_vsn(name()) -> vsn().\n",
   [io_lib:format("min_flexible_vsn(~p) -> ~p;~n", [N, F]) || #{name := N, flexible := F} <- Apis, F =/= none],
   "min_flexible_vsn(_) -> 9999.\n\n"
   "-spec api_key(name()) -> non_neg_integer(); (integer()) -> name().\n",
   [io_lib:format("api_key(~p) -> ~p;~napi_key(~p) -> ~p;~n", [N, K, K, N]) || #{name := N, key := K} <- Apis],
   "api_key(Api) -> error({not_supported, Api}).\n\n"
   "-spec req(name(), vsn()) -> schema().\n",
   clauses(req, Apis),
   "-spec rsp(name(), vsn()) -> schema().\n",
   clauses(rsp, Apis)].

clauses(Kind, Apis) ->
  [[[head(Kind, Name, First, Last), io_lib:format("  ~100p;~n", [Schema])]
    || #{name := Name} = Api <- Apis, {First, Last, Schema} <- maps:get(Kind, Api)],
   io_lib:format("~p(Api, Vsn) -> error({unknown_vsn, [{api, Api}, {vsn, Vsn}, {known_vsn_range, vsn_range(Api)}]}).~n~n", [Kind])].

head(Kind, Name, V, V) -> io_lib:format("~p(~p, ~b) ->~n", [Kind, Name, V]);
head(Kind, Name, First, Last) -> io_lib:format("~p(~p, V) when V >= ~b, V =< ~b ->~n", [Kind, Name, First, Last]).

%% JSON, with comments

read(Dir, Name) ->
  {ok, Text} = file:read_file(filename:join(Dir, Name ++ ".json")),
  Lines = [Line || Line <- binary:split(Text, <<"\n">>, [global]), re:run(Line, "^\\s*//") =:= nomatch],
  {Value, _} = json(skip(iolist_to_binary(lists:join($\n, Lines)))),
  Value.

json(<<"{", Rest/binary>>) -> object(skip(Rest), #{});
json(<<"[", Rest/binary>>) -> list(skip(Rest), []);
json(<<"\"", Rest/binary>>) -> string(Rest, <<>>);
json(<<"true", Rest/binary>>) -> {true, Rest};
json(<<"false", Rest/binary>>) -> {false, Rest};
json(<<"null", Rest/binary>>) -> {null, Rest};
json(Text) ->
  {match, [{0, Length}]} = re:run(Text, "^-?[0-9]+"),
  <<Number:Length/binary, Rest/binary>> = Text,
  {binary_to_integer(Number), Rest}.

object(<<"}", Rest/binary>>, Object) -> {Object, Rest};
object(<<",", Rest/binary>>, Object) -> object(skip(Rest), Object);
object(<<"\"", Rest/binary>>, Object) ->
  {Key, AfterKey} = string(Rest, <<>>),
  <<":", AfterColon/binary>> = skip(AfterKey),
  {Value, AfterValue} = json(skip(AfterColon)),
  object(skip(AfterValue), Object#{Key => Value}).

list(<<"]", Rest/binary>>, Values) -> {lists:reverse(Values), Rest};
list(<<",", Rest/binary>>, Values) -> list(skip(Rest), Values);
list(Text, Values) ->
  {Value, Rest} = json(Text),
  list(skip(Rest), [Value | Values]).

string(<<"\"", Rest/binary>>, Text) -> {Text, Rest};
string(<<"\\", C, Rest/binary>>, Text) -> string(Rest, <<Text/binary, C>>);
string(<<C, Rest/binary>>, Text) -> string(Rest, <<Text/binary, C>>).

skip(Text) ->
  {match, [{0, Length}]} = re:run(Text, "^\\s*(//[^\\n]*\\n\\s*)*"),
  binary_part(Text, Length, byte_size(Text) - Length).
