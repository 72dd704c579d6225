%% What a client needs, tried on one version of Kafka: prints a row of a table, and ends with status 1 if
%% something that this version has does not work.
-module(compat).

-export([main/0]).
-export([init/2, handle_message/2]).

-include_lib("brod/include/brod.hrl").

-define(MESSAGES, 500).
-define(LIMIT_MS, 30000).

main() ->
  [Version, Bootstrap] = init:get_plain_arguments(),
  logger:set_primary_config(level, error),
  {ok, _} = application:ensure_all_started(brod),
  Kafka = [list_to_integer(Part) || Part <- string:lexemes(Version, ".")],
  [Host, Port] = string:split(Bootstrap, ":", trailing),
  Endpoints = [{Host, list_to_integer(Port)}],
  %% Older brokers hang up on the question.
  Options = [{query_api_versions, Kafka >= [0, 10]}],
  ok = brod:start_client(Endpoints, ?MODULE, Options),
  Topic = <<"compat">>,
  ok = make(Topic, Kafka >= [0, 10, 1], Endpoints, Options),
  Written = [value(Codec, N) || {Codec, Since} <- codecs(), Kafka >= Since, N <- lists:seq(1, ?MESSAGES)],
  Cells = [{Name, cell(Kafka >= Since, fun() -> check(Name, Endpoints, Options, {Topic, Written}) end)}
           || {Name, Since} <- codecs() ++ others()] ++
         [{headers, cell(true, fun() -> headers(Endpoints, Options, Kafka >= [0, 10, 1], Kafka >= [0, 11]) end)},
          {large, cell(true, fun() -> large(Endpoints, Options, Kafka >= [0, 10, 1]) end)},
          {no_transactions, cell(Kafka < [0, 11], fun no_transactions/0)}],
  Columns = lists:sublist(Cells, length(codecs() ++ others())),
  io:format("| ~s | ~s |~n", [Version, lists:join(" | ", [text(Cell) || {_, Cell} <- Columns])]),
  [io:format(standard_error, "~s, ~p: ~0p~n", [Version, Name, Why]) || {Name, {failed, Why}} <- Cells],
  halt(case [failed || {_, {failed, _}} <- Cells] of [] -> 0; _ -> 1 end).

%% Where topics cannot be created they come to be by being asked for.
make(Topic, CanCreate, Endpoints, Options) ->
  CanCreate andalso (ok = brod:create_topics(Endpoints, [spec(Topic, 3)], #{timeout => ?LIMIT_MS}, Options)),
  Exists = fun() -> brod:get_metadata(Endpoints, [Topic], Options) end,
  Led = fun({ok, #{topics := [#{error_code := no_error, partitions := [_ | _] = Partitions}]}}) ->
             lists:all(fun(#{error_code := Code}) -> Code =:= no_error end, Partitions);
           (_) -> false
        end,
  await(Exists, Led, ?LIMIT_MS div 100).

await(Ask, IsGood, Left) ->
  Answer = Ask(),
  case IsGood(Answer) of
    true -> ok;
    false when Left > 0 -> receive after 100 -> await(Ask, IsGood, Left - 1) end;
    false -> {error, Answer}
  end.

spec(Topic, Partitions) ->
  #{name => Topic, num_partitions => Partitions, replication_factor => 1, assignments => [], configs => []}.

%% What is tried, in the order of the table's columns, and since which Kafka it is there: producing with each codec
%% first.
codecs() ->
  [ {none, [0]}
  , {gzip, [0]}
  , {snappy, [0]}
  , {lz4, [0]}
  , {zstd, [2, 1]}
  ].

others() ->
  [ {consume, [0]}
  , {group, [0, 9]}
  , {admin, [0, 10, 1]}
  , {transactions, [0, 11]}
  ].

cell(false, _) -> missing;
cell(true, Check) ->
  {Pid, Monitor} = spawn_monitor(fun() -> exit({checked, Check()}) end),
  receive
    {'DOWN', Monitor, _, _, {checked, ok}} -> ok;
    {'DOWN', Monitor, _, _, Why} -> {failed, Why}
  after 2 * ?LIMIT_MS ->
    Where = process_info(Pid, current_stacktrace),
    exit(Pid, kill),
    {failed, {timeout, Where}}
  end.

text(ok) -> "yes";
text(missing) -> "-";
text({failed, _}) -> "**no**".

check(consume, _, _, {Topic, Written}) ->
  %% All that the producing checks wrote, in order.
  Written = [Value || #kafka_message{value = Value} <- read(Topic, 0, [])],
  {ok, 0} = brod:resolve_offset(?MODULE, Topic, 0, earliest),
  ok;
check(group, _, _, {Topic, _}) ->
  Id = <<"compat-group">>,
  Config = #{ client => ?MODULE, group_id => Id, topics => [Topic], cb_module => ?MODULE
            , init_data => self(), message_type => message
            , consumer_config => [{begin_offset, earliest}]
            , group_config => [{offset_commit_interval_seconds, 1}] },
  {ok, Subscriber} = brod:start_link_group_subscriber_v2(Config),
  {ok, End} = brod:resolve_offset(?MODULE, Topic, 0, latest),
  ok = consumed(End - 1),
  ok = brod_group_subscriber_v2:stop(Subscriber),
  await(fun() -> brod:fetch_committed_offsets(?MODULE, Id) end,
        fun({ok, [#{partitions := Partitions}]}) ->
             [End] =:= [O || #{partition_index := 0, committed_offset := O} <- Partitions];
           (_) -> false
        end, 50);
check(admin, Endpoints, Options, _) ->
  Topic = <<"compat-admin">>,
  ok = brod:create_topics(Endpoints, [spec(Topic, 2)], #{timeout => ?LIMIT_MS}, Options),
  {error, _} = brod:create_topics(Endpoints, [spec(Topic, 2)], #{timeout => ?LIMIT_MS}, Options),
  ok = brod:delete_topics(Endpoints, [Topic], ?LIMIT_MS, Options),
  {ok, _} = brod:get_metadata(Endpoints, [<<"compat">>], Options),
  ok;
check(transactions, _, _, {Topic, _}) ->
  {ok, Before} = brod:resolve_offset(?MODULE, Topic, 0, latest),
  {ok, Tx} = brod:transaction(?MODULE, <<"compat-txn">>, []),
  {ok, _} = brod:txn_produce(Tx, Topic, 0, <<"key">>, <<"committed">>),
  ok = brod:commit(Tx),
  {ok, {_, [#kafka_message{value = <<"committed">>} | _]}} =
    brod:fetch(?MODULE, Topic, 0, Before, #{isolation_level => read_committed, max_wait_time => 5000}),
  ok;
check(Codec, _, _, {Topic, _}) ->
  ok = brod:start_producer(?MODULE, Topic, [{compression, Codec}, {max_retries, 10}]),
  Batch = [{<<"key">>, value(Codec, N)} || N <- lists:seq(1, ?MESSAGES)],
  {ok, Offset} = brod:produce_sync_offset(?MODULE, Topic, 0, <<>>, Batch),
  true = is_integer(Offset),
  ok = brod_client:stop_producer(?MODULE, Topic).

%% Where messages have no headers, one that has some is refused alone: others of the same batch are stored, and the producer goes on.
headers(Endpoints, Options, CanCreate, CanHave) ->
  Topic = <<"compat-headers">>,
  ok = make(Topic, CanCreate, Endpoints, Options),
  ok = brod:start_producer(?MODULE, Topic, [{max_retries, 10}, {max_linger_ms, 1000}, {max_linger_count, 3}]),
  {ok, Producer} = brod:get_producer(?MODULE, Topic, 0),
  Calls = [<<"1">>, #{value => <<"2">>, headers => [{<<"h">>, <<"v">>}]}, <<"3">>],
  Refs = [Ref || Value <- Calls, {ok, Ref} <- [brod:produce(?MODULE, Topic, 0, <<>>, Value)]],
  Refused = {error, {producer_down, {not_retriable, {produce_response_error, Topic, 0, -1, unsupported_for_message_format}}}},
  Expected = case CanHave of
               true -> [ok, ok, ok];
               false -> [ok, Refused, ok]
             end,
  Expected = [brod:sync_produce_request(Ref, ?LIMIT_MS) || Ref <- Refs],
  {ok, Producer} = brod:get_producer(?MODULE, Topic, 0),
  ok.

%% A message that is larger than what a fetch asks for, which brokers before KIP-74 return cut off.
large(Endpoints, Options, CanCreate) ->
  Topic = <<"compat-large">>,
  ok = make(Topic, CanCreate, Endpoints, Options),
  Value = binary:copy(<<"large">>, 20000),
  ok = brod:start_producer(?MODULE, Topic, [{max_retries, 10}]),
  {ok, 0} = brod:produce_sync_offset(?MODULE, Topic, 0, <<>>, Value),
  {ok, {1, [#kafka_message{value = Value}]}} =
    brod:fetch(?MODULE, Topic, 0, 0, #{max_wait_time => 1000, max_bytes => 1000}),
  ok = brod:start_consumer(?MODULE, Topic, [{max_bytes, 5}, {begin_offset, earliest}]),
  {ok, Consumer} = brod:subscribe(?MODULE, self(), Topic, 0, []),
  receive
    {Consumer, #kafka_message_set{messages = [#kafka_message{value = Value}]}} -> ok
  after ?LIMIT_MS ->
    {error, not_delivered}
  end.

%% A broker without transactions says so.
no_transactions() ->
  {error, {not_supported, _Api, _Versions}} = brod:transaction(?MODULE, <<"compat-txn">>, []),
  ok.

value(Codec, N) ->
  iolist_to_binary([atom_to_list(Codec), "-", integer_to_list(N), "-", lists:duplicate(50, $x)]).

%% Everything from an offset to the end of partition 0.
read(Topic, Offset, Sets) ->
  case brod:fetch(?MODULE, Topic, 0, Offset, #{max_wait_time => 1000, max_bytes => 20000}) of
    {ok, {End, []}} when Offset >= End -> lists:append(lists:reverse(Sets));
    {ok, {_, [_ | _] = Messages}} ->
      #kafka_message{offset = Last} = lists:last(Messages),
      read(Topic, Last + 1, [Messages | Sets])
  end.

consumed(Last) ->
  receive
    {consumed, 0, Last} -> ok;
    {consumed, _, _} -> consumed(Last)
  after ?LIMIT_MS -> {error, {not_consumed, Last}}
  end.

%% brod_group_subscriber_v2

init(#{partition := Partition}, Owner) -> {ok, {Partition, Owner}}.

handle_message(#kafka_message{offset = Offset}, {Partition, Owner} = State) ->
  Owner ! {consumed, Partition, Offset},
  {ok, commit, State}.
