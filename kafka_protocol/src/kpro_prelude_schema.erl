%% @doc What stands in fields of the group protocol that consumers fill, in version 0 of their protocol.
-module(kpro_prelude_schema).

-export([get/2]).

-spec get(atom(), kpro:vsn()) -> kpro:struct_schema().
get(Name, 0) when Name =:= cg_protocol_metadata; Name =:= cg_member_metadata ->
  [{version, int16}, {topics, {array, string}}, {user_data, bytes}];
get(Name, 0) when Name =:= cg_member_assignment; Name =:= cg_memeber_assignment ->
  [{version, int16}, {topic_partitions, {array, [{topic, string}, {partitions, {array, int32}}]}}, {user_data, bytes}];
get(Name, Vsn) ->
  error({unknown_type, {Name, Vsn}}).
