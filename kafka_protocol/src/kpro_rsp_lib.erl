%% @doc Responses.
-module(kpro_rsp_lib).

-export([decode/4, dec_struct/4]).

-include("kpro.hrl").

%% @doc A response from what follows its correlation id. Raises `{not_a_response, Info}'.
-spec decode(kpro:api(), kpro:vsn(), binary(), false | reference()) -> kpro:rsp().
decode(Api, Vsn, Bytes, Ref) ->
  %% the header of ApiVersions is never flexible: a client reads it before it knows what the broker speaks
  Body = case Vsn >= kpro_schema:min_flexible_vsn(Api) andalso Api =/= api_versions of
           true -> element(2, kpro_lib:decode(tagged_fields, Bytes));
           false -> Bytes
         end,
  #kpro_rsp{ref = Ref, api = Api, vsn = Vsn, msg = brod_kafka_codec:decode(Api, Vsn, Body)}.

%% @doc Fields from bytes, added to those that there are.
-spec dec_struct(kpro:struct_schema(), map(), kpro:stack(), binary()) -> {map(), binary()}.
dec_struct(Schema, Fields, Stack, Bytes) ->
  {Struct, Rest} = brod_kafka_codec:decode_struct(Schema, Stack, Bytes),
  {maps:merge(Fields, Struct), Rest}.
