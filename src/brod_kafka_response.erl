%% @private Requests that are sent and waited for, and what their responses come to. The documentation is that of the
%% functions of `brod_utils'.
-module(brod_kafka_response).

-export([request_sync/3, exchange/3, parse/1]).
-export([fetch_fun/4, fetch_one_batch/4, stable_offset/1]).

-include("brod_kafka.hrl").

-type fetched() :: {ok, {Stable :: brod:offset(), Next :: brod:offset(), [brod:message()]}} | {error, term()}.
-type req_fun() :: fun((brod:offset(), MaxBytes :: non_neg_integer()) -> #kpro_req{}).

-export_type([fetched/0, req_fun/0]).

%% @doc Send a request and wait for its response, as {@link parse/1} reads it; `ok' for one that has none.
-spec request_sync(brod:connection(), #kpro_req{}, timeout()) -> ok | {ok, term()} | {error, term()}.
request_sync(Connection, Req, Timeout) ->
  case exchange(Connection, Req, Timeout) of
    {ok, Rsp} -> parse(Rsp);
    Other -> Other
  end.

%% @doc Send a request and wait for its response; `ok' for one that has none.
-spec exchange(brod:connection(), #kpro_req{}, timeout()) -> ok | {ok, #kpro_rsp{}} | {error, term()}.
exchange(Connection, #kpro_req{ref = Ref, no_ack = NoAck} = Req, Timeout) ->
  MRef = monitor(process, Connection),
  Connection ! {{self(), MRef}, {send, Req}},
  Result = receive
             {MRef, ok} when NoAck -> ok;
             {MRef, ok} -> response(Connection, Ref, MRef, Timeout);
             {MRef, {error, Reason}} -> {error, Reason};
             {'DOWN', MRef, process, _, Reason} -> {error, {connection_down, Reason}}
           after Timeout ->
             {error, timeout}
           end,
  demonitor(MRef, [flush]),
  Result.

response(Connection, Ref, MRef, Timeout) ->
  receive
    {msg, Connection, #kpro_rsp{ref = Ref} = Rsp} -> {ok, Rsp};
    {'DOWN', MRef, process, _, Reason} -> {error, {connection_down, Reason}}
  after Timeout ->
    {error, timeout}
  end.

%% @doc A response of one topic or partition in short: `ok', `{ok, Result}' or `{error, Code | Text}'.
-spec parse(#kpro_rsp{}) -> ok | {ok, term()} | {error, term()}.
parse(#kpro_rsp{api = Api, msg = Message}) ->
  try result(Api, Message) of
    ok -> ok;
    Result -> {ok, Result}
  catch
    throw:{refused, Reason} -> {error, Reason}
  end.

result(produce, Message) ->
  Partition = partition(Message),
  ok = check(Partition),
  find(base_offset, Partition);
result(fetch, Message) ->
  ok = check(Message),
  {Header, Batches} = case find(responses, Message) of
                        [] -> {undefined, []};
                        _ ->
                          #{partition_header := H, record_set := Records} = partition(Message),
                          ok = check(H),
                          {H, brod_kafka_batch:decode(Records)}
                      end,
  #{session_id => find(session_id, Message, 0), header => Header, batches => Batches};
result(list_offsets, Message) ->
  case partition(Message) of
    #{offsets := []} = Partition -> Partition#{offset => -1};
    #{offsets := [Offset | _]} = Partition -> Partition#{offset => Offset};
    Partition -> Partition
  end;
result(metadata, Message) -> ok = check_all(topics, Message), Message;
result(describe_groups, Message) -> ok = check_all(groups, Message), find(groups, Message);
result(list_groups, Message) -> ok = check(Message), find(groups, Message);
result(create_topics, Message) -> check_all(topics, Message);
result(delete_topics, Message) -> check_all(responses, Message);
result(create_partitions, Message) -> check_all(topic_errors, Message);
result(create_acls, Message) -> check_all(creation_responses, Message);
%% From version 3 on the members have codes of their own.
result(leave_group, Message) -> ok = check(Message), lists:foreach(fun check/1, find(members, Message, []));
result(end_txn, Message) -> check(Message);
result(Api, Message) when Api =:= find_coordinator; Api =:= join_group; Api =:= heartbeat; Api =:= sync_group;
                          Api =:= init_producer_id; Api =:= describe_acls ->
  ok = check(Message),
  Message;
%% The others carry errors of several things, which the caller tells apart.
result(_Api, Message) ->
  Message.

partition(Message) ->
  [Topic] = find(responses, Message),
  [Partition] = find(partition_responses, Topic),
  Partition.

check_all(Field, Message) -> lists:foreach(fun check/1, find(Field, Message)).

check(Struct) ->
  case find(error_code, Struct, no_error) of
    no_error -> ok;
    Code ->
      case find(error_message, Struct, <<>>) of
        <<>> -> throw({refused, Code});
        Text -> throw({refused, Text})
      end
  end.

find(Field, Struct) -> brod_kafka_codec:find(Field, Struct).
find(Field, Struct, Default) -> brod_kafka_codec:find(Field, Struct, Default).

%% Fetching

%% @doc A fun that fetches from an offset, with a broker that is asked for more where one batch is larger than
%% `max_bytes'.
-spec fetch_fun(brod:connection(), brod:topic(), brod:partition(), brod:fetch_opts()) ->
        fun((brod:offset()) -> {ok, {brod:offset(), [brod:message()]}} | {error, term()}).
fetch_fun(Connection, Topic, Partition, Opts) ->
  MaxBytes = maps:get(max_bytes, Opts, 1048576),
  Request = fun(Offset, Bytes) ->
              brod_kafka_request:fetch(Connection, Topic, Partition, Offset, maps:get(max_wait_time, Opts, 1000),
                                       maps:get(min_bytes, Opts, 1), Bytes,
                                       maps:get(isolation_level, Opts, read_committed))
            end,
  fun(Offset) ->
    case fetch_one_batch(Connection, Request, Offset, MaxBytes) of
      {ok, {Stable, _Next, Messages}} -> {ok, {Stable, Messages}};
      Error -> Error
    end
  end.

%% @doc Fetch until there are messages, or the stable offset is reached.
-spec fetch_one_batch(brod:connection(), req_fun(), brod:offset(), non_neg_integer()) -> fetched().
fetch_one_batch(Connection, Request, Offset, MaxBytes) ->
  case request_sync(Connection, Request(Offset, MaxBytes), infinity) of
    {ok, #{batches := {incomplete_batch, Size}}} ->
      fetch_one_batch(Connection, Request, Offset, Size);
    {ok, #{header := undefined}} ->
      {ok, {Offset, Offset, []}};
    {ok, #{header := Header, batches := Batches}} ->
      Stable = stable_offset(Header),
      case brod_kafka_batch:flatten(Offset, Header, Batches) of
        {Next, []} when Offset < Stable ->
          %% where all messages are gone, nothing tells how far
          fetch_one_batch(Connection, Request, max(Next, Offset + 1), MaxBytes);
        {Next, Messages} ->
          {ok, {Stable, Next, Messages}}
      end;
    {error, Reason} ->
      {error, Reason}
  end.

%% @doc Up to where messages may be read; the high watermark where the broker is too old to know.
-spec stable_offset(brod_kafka_codec:struct()) -> brod:offset().
stable_offset(Header) ->
  HighWatermark = find(high_watermark, Header),
  case find(last_stable_offset, Header, HighWatermark) of
    -1 -> HighWatermark;
    Stable -> min(Stable, HighWatermark)
  end.
