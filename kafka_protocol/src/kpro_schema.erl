%% @doc Kafka's APIs, their versions, and the fields of their messages.
-module(kpro_schema).

-export([all_apis/0, vsn_range/1, min_flexible_vsn/1, api_key/1, req/2, rsp/2, ec/1]).

%% @doc Names of all APIs.
-spec all_apis() -> [kpro:api()].
all_apis() -> brod_kafka_schema:all_apis().

%% @doc The oldest and the newest version of an API; `false' for one that there is not.
-spec vsn_range(kpro:api()) -> kpro:vsn_range() | false.
vsn_range(Api) -> brod_kafka_schema:vsn_range(Api).

%% @doc From which version on messages have tagged fields (KIP-482); 9999 where none has.
-spec min_flexible_vsn(kpro:api()) -> kpro:vsn().
min_flexible_vsn(Api) -> brod_kafka_schema:min_flexible_vsn(Api).

%% @doc An API's number, or its name. Raises `{not_supported, Api}'.
-spec api_key(kpro:api() | integer()) -> integer() | kpro:api().
api_key(Api) -> brod_kafka_schema:api_key(Api).

%% @doc Fields of a request.
-spec req(kpro:api(), kpro:vsn()) -> kpro:struct_schema().
req(Api, Vsn) -> brod_kafka_schema:req(Api, Vsn).

%% @doc Fields of a response.
-spec rsp(kpro:api(), kpro:vsn()) -> kpro:struct_schema().
rsp(Api, Vsn) -> brod_kafka_schema:rsp(Api, Vsn).

%% @doc An error code's name; the number for one that is newer than this.
-spec ec(integer()) -> kpro:error_code().
ec(Code) -> brod_kafka_codec:error_code(Code).
