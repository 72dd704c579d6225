%% The engine's functions, called with anything from many processes at once, while what they are called on is closed by
%% others: each returns or raises badarg, none takes long on a normal scheduler, and the VM lives.
-module(brod_nif_misuse_tests).
-include_lib("eunit/include/eunit.hrl").

-export([storm/0]).

-define(PROCESSES, 8).
-define(CALLS, "5000").
-define(LONG_US, 5000).

any_call_from_many_processes_returns_or_is_a_bad_argument_test_() ->
  {timeout, 600, fun() ->
    %% in a VM of its own, because other tests put a fake in the engine's place
    Paths = [filename:dirname(code:which(Module)) || Module <- [brod_options, ?MODULE]],
    Shown = os:cmd("erl -noshell -pa " ++ lists:append(lists:join(" ", Paths)) ++ " -eval 'brod_nif_misuse_tests:storm(), init:stop().'"),
    ?assertMatch({match, _}, re:run(Shown, "all is well"), Shown)
  end}.

%% @private
storm() ->
  ok = logger:set_primary_config(level, none),
  %% the same calls each time, so that a change is what makes this fail; another seed finds more
  Seed = list_to_integer(os:getenv("BROD_SEED", "1")),
  Table = ets:new(handles, [public, ordered_set]),
  Functions = [FA || {F, _} = FA <- brod_nif:module_info(exports), F =/= module_info],
  Workers = [spawn_monitor(fun() -> exit({done, work(Seed + N, Table, Functions)}) end) || N <- lists:seq(1, ?PROCESSES)],
  Bad = lists:append([receive {'DOWN', Monitor, process, _, {done, Found}} -> Found;
                              {'DOWN', Monitor, process, _, Reason} -> [Reason]
                      end || {_, Monitor} <- Workers]),
  [io:format("~0P~n", [Each, 40]) || Each <- lists:sublist(Bad, 20)],
  io:format("seed ~b, ~b functions~n", [Seed, length(Functions)]),
  Bad =:= [] andalso io:format("all is well~n").

work(Seed, Table, Functions) ->
  _ = rand:seed(exsss, Seed),
  Own = handles(),
  _ = put(own, maps:from_list(lists:zip([client, dispatcher, producer, consumer, group, txn, connection], Own))),
  _ = [keep(Table, Handle) || Handle <- Own],
  Calls = list_to_integer(os:getenv("BROD_CALLS", ?CALLS)),
  lists:append([call(Table, lists:nth(rand:uniform(length(Functions)), Functions)) || _ <- lists:seq(1, Calls)]).

call(Table, {F, Arity}) ->
  flush(),
  Args = arguments(F, Arity, Table),
  case outcome(F, Args) of
    {_, {bad, What}} -> [{F, Args, What}];
    {Us, Returned} ->
      keep_handle(Table, Returned),
      case Us < ?LONG_US orelse is_dirty(F) orelse is_quick(F, Args, 10) of
        true -> [];
        false -> [{F, Args, takes, Us}]
      end
  end.

outcome(F, Args) ->
  timer:tc(fun() ->
    try apply(brod_nif, F, Args)
    catch
      error:badarg -> badarg;
      Class:Reason -> {bad, {Class, Reason}}
    end
  end).

%% A process that had to wait for a processor says nothing of the function.
is_quick(_F, _Args, 0) -> false;
is_quick(F, Args, Tries) ->
  {Us, _} = outcome(F, Args),
  Us < ?LONG_US orelse is_quick(F, Args, Tries - 1).

is_dirty(F) ->
  lists:member(F, [op_dirty, client_open, client_stats, produce_dirty, producer_close, producer_open, txn_produce_dirty,
                   group_join, group_open, group_assign, compress, decompress, crc32c, connection_request]).

flush() -> receive _ -> flush() after 0 -> ok end.

keep_handle(Table, {ok, Handle}) when is_reference(Handle) -> keep(Table, Handle);
keep_handle(Table, {Handle, Ref}) when is_reference(Handle), is_reference(Ref) -> keep(Table, Handle);
keep_handle(_Table, _) -> ok.

%% A few of them: older ones go, open or not.
keep(Table, Handle) ->
  true = ets:insert(Table, {rand:uniform(64), Handle}),
  ok.

%% Half of the calls have what would be right but for one argument, so that they come further.
arguments(F, Arity, Table) ->
  Right = [Args || {Function, Args} <- right(), Function =:= F, length(Args) =:= Arity],
  case rand:uniform(2) =:= 1 andalso Right =/= [] of
    true ->
      Wrong = rand:uniform(Arity + 1),
      [case N of
         Wrong -> argument(Table);
         _ when is_atom(Arg) -> own(Arg, Arg);
         _ -> Arg
       end || {N, Arg} <- lists:zip(lists:seq(1, Arity), lists:nth(rand:uniform(length(Right)), Right))];
    false ->
      [argument(Table) || _ <- lists:seq(1, Arity)]
  end.

%% The process's own, which others may have closed.
own(Kind, Else) ->
  case get(own) of
    #{Kind := Handle} -> Handle;
    #{} -> Else
  end.

right() ->
  [{op, [client, make_ref(), {metadata, all, false}, 0]}, {op, [client, make_ref(), {list_offsets, <<"t">>, 0, -1}, 0]}, {op, [client, make_ref(), list_groups, 0]},
   {op_dirty, [client, make_ref(), {leader, <<"t">>, 0}, 0]}, {client_open, [[{<<"127.0.0.1">>, 1}], nonsense]}, {client_stats, [client, 0]},
   {dispatcher_open, [client]}, {dispatcher_done, [dispatcher, 1]},
   {producer_open, [client, <<"t">>, 1, producer_config()]}, {producer_publish, [producer, some_client]},
   {produce, [self(), make_ref(), <<"k">>, <<"v">>]}, {produce, [self(), no_ack, <<"k">>, [#{value => <<"v">>}]]},
   {produce_to, [some_client, <<"t">>, 0, no_ack, <<"k">>, <<"v">>]}, {produce_dirty, [producer, no_ack, <<"k">>, <<"v">>]},
   {producer_cancel_wait, [producer, 1]}, {producer_close, [producer, normal, self()]},
   {consumer_open, [client, <<"t">>, 1, consumer_config()]}, {consumer_subscribe, [consumer, self(), 1, consumer_config()]},
   {consumer_ack, [consumer, 1]}, {consumer_seek, [consumer, latest]},
   {txn_open, [client, txn_config()]}, {txn_produce, [txn, no_ack, <<"t">>, 0, <<"k">>, <<"v">>]},
   {txn_produce_known, [self(), no_ack, <<"t">>, 0, <<"k">>, <<"v">>]}, {txn_produce_dirty, [txn, no_ack, <<"t">>, 0, <<"k">>, <<"v">>]},
   {txn_offsets, [txn, <<"g">>, undefined, [{<<"t">>, 0, 1, <<>>}]]}, {txn_end, [txn, true]},
   {group_open, [client, group_config()]}, {group_join, [group, 1, [<<"t">>], <<>>]},
   {group_assign, [group, 1, [{<<"m">>, [{<<"t">>, [0]}]}]]}, {group_commit, [group, 1, [{<<"t">>, 0, 1, <<>>}], 0]},
   {group_close, [group, false]}, {connection_open, [client, <<"127.0.0.1">>, 1]},
   {connection_request, [connection, 3, <<0:64>>, true, 0]}, {compress, [gzip, <<"text">>]}, {decompress, [gzip, <<"text">>, 100]},
   {error_name, [3]}, {crc32c, [<<"text">>]}].

argument(Table) ->
  case {rand:uniform(3), ets:next(Table, rand:uniform(64) - 1)} of
    {1, Key} when is_integer(Key) ->
      case ets:lookup(Table, Key) of
        [{_, Handle}] -> Handle;
        [] -> none
      end;
    _ ->
      Values = values(),
      element(rand:uniform(tuple_size(Values)), Values)
  end.

handles() ->
  {ok, Options} = brod_options:client([{client_id, <<"c">>}]),
  {ok, Client} = brod_nif:client_open([{<<"127.0.0.1">>, 1}], brod_options:engine_config(Options)),
  {ok, Dispatcher} = brod_nif:dispatcher_open(Client),
  {ok, Producer} = brod_nif:producer_open(Client, <<"t">>, 0, producer_config()),
  {ok, Consumer} = brod_nif:consumer_open(Client, <<"t">>, 0, consumer_config()),
  {ok, Group} = brod_nif:group_open(Client, group_config()),
  {ok, Txn} = brod_nif:txn_open(Client, txn_config()),
  {Connection, _} = brod_nif:connection_open(Client, <<"127.0.0.1">>, 1),
  [Client, Dispatcher, Producer, Consumer, Group, Txn, Connection].

producer_config() ->
  {ok, Options} = brod_producer_options:check([]),
  (brod_producer_options:engine_config(Options))#{telemetry => false}.

consumer_config() ->
  {ok, Options} = brod_consumer_options:new([]),
  Options.

group_config() ->
  {ok, Options} = brod_group_options:new([]),
  brod_group_options:engine_config(<<"g">>, false, Options).

txn_config() ->
  {ok, Options} = brod_transaction_options:check(<<"id">>, []),
  brod_transaction_options:engine_config(<<"id">>, Options).

%% Made once.
values() ->
  case get(values) of
    undefined ->
      Made = made(),
      _ = put(values, Made),
      Made;
    Values -> Values
  end.

made() ->
  Dead = element(1, spawn_monitor(fun() -> ok end)),
  {-1, 0, 1, 9092, 65536, 1 bsl 31, 1 bsl 63, 1 bsl 64, -(1 bsl 64), 0.5, 1.0e300, infinity, nonsense, undefined, true, no_ack, all,
   latest, produce, list_groups, connect, gzip, zstd, "text", [955], <<"text">>, <<"t">>, <<>>, <<255>>, <<1:3>>,
   binary:copy(<<"x">>, 40000), [], [1 | 2], [<<"a">> | <<"b">>], [<<"a">>, <<"b">>], [{<<"t">>, 0, 1, <<>>}], [{<<"t">>, [0, 1]}],
   [{<<"m">>, [{<<"t">>, [0]}]}], lists:seq(1, 3000), [[[[]]]], #{}, #{nonsense => 1}, [#{value => <<"v">>}],
   #{key => <<"k">>, value => <<"v">>}, {}, {metadata, all, false}, {metadata, [<<"t">>], nonsense}, {leader, <<"t">>, 0},
   {list_offsets, <<"t">>, 0, 1 bsl 64}, {coordinator, group, <<255>>}, {delete_topics, [<<"t">> | <<"u">>], 1},
   {fetch, <<"t">>, 0, 0, #{}}, {1, <<"m">>, undefined}, {ok, 1}, {error, <<"no">>}, {timestamp, 1 bsl 64}, [{<<"127.0.0.1">>, 1}],
   self(), Dead, make_ref(), fun(_, _) -> ok end, fun(_, _, _) -> ok end, fun() -> error(no) end,
   producer_config(), consumer_config(), group_config(), txn_config()}.
