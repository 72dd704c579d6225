%% @private What group members are given by users, checked in the process of who gave it: a wrong
%% value is an error there, with a text (`error_info', EEP-54), and reaches no process that others
%% share.
-module(brod_group_args).

-export([start/3, member/3, keys/2, callbacks/2, topics/1, offset/3, offsets/1, assignments/1]).

%% What is committed is the offset after this one.
-define(MAX_OFFSET, 16#7ffffffffffffffe).

%% @doc `ok', or an error `{bad_client, _}', `{bad_group_id, _}', `{bad_topics, _}', `{bad_topic, _}'.
-spec start(term(), term(), term()) -> ok.
start(Client, GroupId, Topics) ->
  check(fun() -> brod_utils:assert_client(Client) end, "the name or the pid of a client"),
  check(fun() -> brod_utils:assert_group_id(GroupId) end, "a binary that is not empty"),
  topics(Topics).

%% @doc As {@link start/3} of a coordinator, which may have no topics for a while.
-spec member(term(), term(), term()) -> ok.
member(Client, GroupId, []) -> start(Client, GroupId, [<<"none">>]);
member(Client, GroupId, Topics) -> start(Client, GroupId, Topics).

%% @doc `ok', or an error `{bad_topics, _}' or `{bad_topic, _}'.
-spec topics(term()) -> ok.
topics(Topics) ->
  check(fun() -> brod_utils:assert_topics(Topics) end,
        "a list of binaries, each the name of a topic, such as [<<\"orders\">>]").

check(Assert, Expected) ->
  try Assert()
  catch error:{Bad, Value} when is_atom(Bad) -> brod_args:raise({Bad, Value}, Expected, Value)
  end.

%% @doc Whether a map of options has the keys that it has to have.
-spec keys(term(), [atom()]) -> ok.
keys(Config, Keys) when is_map(Config) ->
  case [Key || Key <- Keys, not is_map_key(Key, Config)] of
    [] -> ok;
    [Missing | _] ->
      Text = io_lib:format("expected a map with the keys ~ts, got one with ~ts",
                           [names(Keys), names(lists:sort(maps:keys(Config)))]),
      brod_args:raise({missing_option, Missing}, Text)
  end;
keys(Config, Keys) ->
  brod_args:raise({bad_config, Config}, ["a map with the keys ", names(Keys)], Config).

%% @doc Whether a module has the callbacks that will be called: else an error `undef', as the call
%% would raise it.
-spec callbacks(term(), [{atom(), arity()}]) -> ok.
callbacks(Module, Callbacks) when is_atom(Module) ->
  _ = code:ensure_loaded(Module),
  case [FA || {F, A} = FA <- Callbacks, not erlang:function_exported(Module, F, A)] of
    [] ->
      ok;
    [{Function, Arity} | _] ->
      Expected = io_lib:format("a callback module that exports ~ts/~b", [Function, Arity]),
      Info = brod_args:info(brod_args:expected(Expected, Module)),
      erlang:raise(error, undef, [{Module, Function, Arity, Info}])
  end;
callbacks(Module, _Callbacks) ->
  brod_args:raise({bad_callback_module, Module}, "the name of a module", Module).

%% @doc Whether messages of this place can be acknowledged: else an error `{bad_topic, _}',
%% `{bad_partition, _}' or `{bad_offset, _}'.
-spec offset(term(), term(), term()) -> ok.
offset(Topic, Partition, Offset) ->
  is_name(Topic) orelse brod_args:raise({bad_topic, Topic}, "a binary, the name of a topic", Topic),
  (is_integer(Partition) andalso Partition >= 0 andalso Partition < 1 bsl 31)
    orelse brod_args:raise({bad_partition, Partition}, "the number of a partition", Partition),
  %% -1: nothing is done with, offset 0 is committed.
  (is_integer(Offset) andalso Offset >= -1 andalso Offset =< ?MAX_OFFSET)
    orelse brod_args:raise({bad_offset, Offset}, "the offset of a message", Offset),
  ok.

%% @doc As {@link offset/3} of each; `{bad_offsets, _}' for what is no such list.
-spec offsets(term()) -> ok.
offsets(Offsets) ->
  Check = fun({{Topic, Partition}, Offset}) -> offset(Topic, Partition, Offset);
             (Other) -> brod_args:raise({bad_offsets, Other}, "{{Topic, Partition}, Offset}", Other)
          end,
  try length(Offsets) of
    _ -> lists:foreach(Check, Offsets)
  catch
    error:badarg -> brod_args:raise({bad_offsets, Offsets}, "a list of {{Topic, Partition}, Offset}", Offsets)
  end.

%% @doc Whether this is what a leader may share out: else an error `{bad_assignments, _}'.
-spec assignments(term()) -> ok.
assignments(Given) ->
  Number = fun(P) -> is_integer(P) andalso P >= 0 andalso P < 1 bsl 31 end,
  Topic = fun({T, Ps}) -> is_name(T) andalso is_list_of(Number, Ps);
             (_) -> false
          end,
  Member = fun({M, Ts}) -> is_name(M) andalso is_list_of(Topic, Ts);
              (_) -> false
           end,
  is_list_of(Member, Given)
    orelse brod_args:raise({bad_assignments, Given}, "a list of {MemberId, [{Topic, [Partition]}]}", Given),
  ok.

%% What is no UTF-8 cannot be said to a broker.
is_name(Name) -> is_binary(Name) andalso brod_options:is_text(Name).

is_list_of(Check, [Head | Tail]) -> Check(Head) andalso is_list_of(Check, Tail);
is_list_of(_Check, Tail) -> Tail =:= [].

names([]) -> "none";
names(Keys) -> lists:join(", ", [io_lib:format("~0P", [Key, 8]) || Key <- Keys]).
