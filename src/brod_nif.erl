%% @private The engine's functions. The only module that loads the cdylib; docs/boundary.md is the contract.
%% None of them waits for the network: what takes time answers later with a message.
-module(brod_nif).

-export([op/4, op_dirty/4, log_open/0, api_versions/0]).
-export([client_open/2, client_close/1]).
-export([sasl_answer/2, sasl_socket/2]).
-export([dispatcher_open/1, dispatcher_done/2]).
-export([producer_open/4, producer_publish/2, producer_withdraw/1, produce/4, produce_to/6,
         produce_dirty/4, producer_process/1, producer_cancel_wait/2, producer_acks_done/1,
         producer_close/3, producer_info/1]).
-export([consumer_open/4, consumer_subscribe/4, consumer_unsubscribe/1, consumer_ack/2,
         consumer_pause/1, consumer_resume/1, consumer_seek/2, consumer_close/1,
         consumer_info/1]).
-export([client_stats/2]).
-export([connection_open/3, connection_request/5, connection_close/1]).
-export([error_name/1, crc32c/1, compress/2, decompress/3]).
-export([txn_open/2, txn_begin/1, txn_produce/6, txn_produce_known/6, txn_produce_dirty/6,
         txn_refused/1, txn_offsets/4, txn_end/2, txn_close/1]).
-export([group_open/2, group_join/4, group_assign/3, group_commit/4, group_close/2]).

-export_type([client/0, dispatcher/0, producer/0, consumer/0, group/0, connection/0, txn/0, op/0, target/0, begin_offset/0]).

-include("brod_int.hrl").

-on_load(load/0).

-nifs([op/4, op_dirty/4, log_open/0, api_versions/0, client_open/2, client_close/1, client_stats/2, sasl_answer/2, sasl_socket/2,
       producer_open/4, producer_publish/2, producer_withdraw/1, produce/4, produce_to/6, produce_dirty/4,
       dispatcher_open/1, dispatcher_done/2,
       producer_process/1, producer_cancel_wait/2, producer_acks_done/1, producer_close/3,
       producer_info/1,
       consumer_open/4, consumer_subscribe/4, consumer_unsubscribe/1, consumer_ack/2,
       consumer_pause/1, consumer_resume/1, consumer_seek/2, consumer_close/1, consumer_info/1,
       txn_open/2, txn_begin/1, txn_produce/6, txn_produce_known/6, txn_produce_dirty/6, txn_refused/1,
       txn_offsets/4, txn_end/2, txn_close/1,
       group_open/2, group_join/4, group_assign/3, group_commit/4, group_close/2,
       connection_open/3, connection_request/5, connection_close/1, error_name/1, crc32c/1, compress/2, decompress/3]).

-define(NOT_LOADED, erlang:nif_error(not_loaded)).

-type client() :: reference().
-type dispatcher() :: reference().
-type producer() :: reference().
-type consumer() :: reference().
-type group() :: reference().
-type connection() :: reference().
-type txn() :: reference().
-type op() :: atom() | tuple().
%% Who is told the outcome of a produce call.
-type target() :: reference() | {pid(), reference()} | no_ack
                | fun((Partition :: integer(), Offset :: integer()) -> term())
                | fun((Partition :: integer(), Offset :: integer(), ok | {error, term()}) -> term()).
-type outcome() :: {wait | full, Id :: term()} | dirty | {error, closed}.
-type begin_offset() :: integer() | earliest | latest | {timestamp, Ms :: integer()}.

load() ->
  Own = filename:join(priv_dir(), "brod_nif"),
  Library = library(Own),
  case erlang:load_nif(Library, 0) of
    ok when Library =:= Own ->
      persistent_term:put(?MODULE, Library);
    ok ->
      ?BROD_LOG(notice, "The engine that runs here goes on under the new brod_nif: ~ts. The one in ~ts is used once "
                "the node has been restarted, or brod with its modules.", [Library, Own]);
    {error, {_, Why}} = Error ->
      %% For brod:start/2: this module is not there to be asked.
      persistent_term:put({?MODULE, not_loaded}, Why),
      Error
  end.

%% What runs in the library stays there, so a new version of this module goes on with that one, even where it has one
%% of its own (docs/adr/0030-a-node-keeps-its-engine.md).
library(Own) ->
  case erlang:module_loaded(?MODULE) of
    true -> persistent_term:get(?MODULE, Own);
    false -> Own
  end.

%% The second way is for an ebin that lies in no folder called brod or brod-VSN.
priv_dir() ->
  case code:lib_dir(brod) of
    {error, bad_name} ->
      filename:join(folder(filename:dirname(filename:dirname(code:which(?MODULE)))), "priv");
    Dir ->
      filename:join(folder(Dir), "priv")
  end.

%% No library can be loaded out of an escript, which is a file: then it is beside it.
folder(Dir) ->
  case filelib:is_dir(Dir) of
    true -> Dir;
    false -> folder(filename:dirname(Dir))
  end.

%% @doc Start an operation; its result comes to the caller as `{brod_reply, Ref, Result}', at the
%% latest after `TimeoutMs'. Use {@link brod_engine:call/3}. The reference is the caller's, so that the VM knows where in
%% the mailbox the result can be.
-spec op(client(), reference(), op(), TimeoutMs :: non_neg_integer()) -> ok | dirty.
op(_Client, _Ref, _Op, _TimeoutMs) -> ?NOT_LOADED.

%% @doc As {@link op/4}, which says `dirty' of operations with long lists, on a dirty scheduler.
-spec op_dirty(client(), reference(), op(), TimeoutMs :: non_neg_integer()) -> ok.
op_dirty(_Client, _Ref, _Op, _TimeoutMs) -> ?NOT_LOADED.

%% @doc What the engine has to say comes to the caller from now on, as
%% `{brod_engine_log, error | warning | notice, Text :: binary(), [{Key :: atom(), Value :: binary()}]}'.
-spec log_open() -> ok.
log_open() -> ?NOT_LOADED.

%% @doc Kafka's APIs that the engine speaks, each with its oldest and newest version.
-spec api_versions() -> [{atom(), {non_neg_integer(), non_neg_integer()}}].
api_versions() -> ?NOT_LOADED.

%% @doc Make an engine client. It belongs to the caller, and does not connect yet.
-spec client_open([{Host :: binary(), inet:port_number()}], map()) ->
        {ok, client()} | {error, term()}.
client_open(_Endpoints, _Config) -> ?NOT_LOADED.

%% @doc Close an engine client with everything that was opened on it.
-spec client_close(client()) -> ok.
client_close(_Client) -> ?NOT_LOADED.

%% @doc What a client has done so far, on a dirty scheduler: counters of brokers, producers and consumers, and the events
%% after the one with that number. See docs/boundary.md.
-spec client_stats(client(), Since :: non_neg_integer()) -> map().
client_stats(_Client, _Since) -> ?NOT_LOADED.

%% @doc Answer a question that the engine asked a client's SASL provider.
-spec sasl_answer(reference(), {ok, term()} | {error, binary()}) -> ok.
sasl_answer(_Ask, _Answer) -> ?NOT_LOADED.

%% @doc The port from which a plugin's socket is connected to the engine.
-spec sasl_socket(reference(), inet:port_number()) -> ok.
sasl_socket(_Ask, _Port) -> ?NOT_LOADED.

%% @doc Make the caller a dispatcher: acks of producers that are opened from now on come to it.
-spec dispatcher_open(client()) -> {ok, dispatcher()}.
dispatcher_open(_Client) -> ?NOT_LOADED.

%% @doc The message with this number, and all before it, have been passed on.
-spec dispatcher_done(dispatcher(), Number :: pos_integer()) -> ok.
dispatcher_done(_Dispatcher, _Number) -> ?NOT_LOADED.

%% @doc Open the producer of one partition; acks come to the caller.
-spec producer_open(client(), brod:topic(), brod:partition(), map()) ->
        {ok, producer()} | {error, term()}.
producer_open(_Client, _Topic, _Partition, _Config) -> ?NOT_LOADED.

%% @doc Let {@link produce_to/6} find a producer, until its process ends.
-spec producer_publish(producer(), ClientId :: atom()) -> ok.
producer_publish(_Producer, _ClientId) -> ?NOT_LOADED.

%% @doc Let nobody find a producer any more.
-spec producer_withdraw(producer()) -> ok.
producer_withdraw(_Producer) -> ?NOT_LOADED.

%% @doc Give a message, or a batch of messages, to the buffer of the producer that a process has
%% opened. Returns that process, or what is left to do, with the producer. `{wait, Id}': taken, but
%% wait for `{brod_room, Id}' before the next one. `{full, Id}': not taken, as calls with a callback are
%% not then; wait for the same, and call again. `dirty': not taken, use
%% {@link produce_dirty/4}. `undefined': no producer is known there. Raises `badarg' for a key or a
%% value of the wrong type.
-spec produce(pid(), target(), brod:key(), brod:value()) ->
        pid() | {producer(), outcome()} | undefined.
produce(_ProducerPid, _Target, _Key, _Value) -> ?NOT_LOADED.

%% @doc As {@link produce/4}, for the producer that a client has for a partition.
-spec produce_to(ClientId :: atom(), brod:topic(), brod:partition(), target(), brod:key(),
                 brod:value()) -> pid() | {producer(), outcome()} | undefined.
produce_to(_ClientId, _Topic, _Partition, _Target, _Key, _Value) -> ?NOT_LOADED.

%% @doc As {@link produce/4}, on a dirty scheduler, for large input.
-spec produce_dirty(producer(), target(), brod:key(), brod:value()) ->
        pid() | {wait | full, term()} | {error, closed}.
produce_dirty(_Producer, _Target, _Key, _Value) -> ?NOT_LOADED.

%% @doc The process that opened the producer.
-spec producer_process(producer()) -> pid().
producer_process(_Producer) -> ?NOT_LOADED.

%% @doc Do not send `{brod_room, WaitId}' any more.
-spec producer_cancel_wait(producer(), WaitId :: term()) -> ok.
producer_cancel_wait(_Producer, _WaitId) -> ?NOT_LOADED.

%% @doc One message of acks or nacks has been passed on.
-spec producer_acks_done(producer()) -> ok.
producer_acks_done(_Producer) -> ?NOT_LOADED.

%% @doc Take nothing more (on a dirty scheduler, because `Reason' is copied); callers that wait are told `{error, {producer_down, Reason}}'.
-spec producer_close(producer(), Reason :: term(), Heir :: pid()) -> ok.
producer_close(_Producer, _Reason, _Heir) -> ?NOT_LOADED.

%% @doc State of the buffer, for debugging.
-spec producer_info(producer()) -> map().
producer_info(_Producer) -> ?NOT_LOADED.

%% @doc Open the consumer of one partition; it fetches nothing before it is subscribed to.
-spec consumer_open(client(), brod:topic(), brod:partition(), map()) ->
        {ok, consumer()} | {error, term()}.
consumer_open(_Client, _Topic, _Partition, _Config) -> ?NOT_LOADED.

%% @doc Start a new subscription; `{brod_reply, Ref, ok | {error, Reason}}' comes once the begin
%% offset is known. The subscriber is a process of this node; `Number' comes back with errors.
-spec consumer_subscribe(consumer(), pid(), Number :: non_neg_integer(), map()) -> reference().
consumer_subscribe(_Consumer, _Subscriber, _Number, _Config) -> ?NOT_LOADED.

%% @doc End the subscription.
-spec consumer_unsubscribe(consumer()) -> ok.
consumer_unsubscribe(_Consumer) -> ?NOT_LOADED.

%% @doc Everything up to `Offset' is processed: its room may be filled again.
-spec consumer_ack(consumer(), brod:offset()) -> ok.
consumer_ack(_Consumer, _Offset) -> ?NOT_LOADED.

%% @doc Fetch nothing until {@link consumer_resume/1}.
-spec consumer_pause(consumer()) -> ok.
consumer_pause(_Consumer) -> ?NOT_LOADED.

%% @doc Undo {@link consumer_pause/1}.
-spec consumer_resume(consumer()) -> ok.
consumer_resume(_Consumer) -> ?NOT_LOADED.

%% @doc Go on from another offset; `{brod_reply, Ref, ok | {error, Reason}}' comes when it is known.
-spec consumer_seek(consumer(), begin_offset()) -> reference().
consumer_seek(_Consumer, _BeginOffset) -> ?NOT_LOADED.

%% @doc Close the consumer.
-spec consumer_close(consumer()) -> ok.
consumer_close(_Consumer) -> ?NOT_LOADED.

%% @doc Position and prefetch window, for debugging.
-spec consumer_info(consumer()) -> map().
consumer_info(_Consumer) -> ?NOT_LOADED.

%% @doc Open the producer of a transactional id. It asks nobody before {@link txn_begin/1}.
-spec txn_open(client(), map()) -> {ok, txn()} | {error, term()}.
txn_open(_Client, _Config) -> ?NOT_LOADED.

%% @doc Begin a transaction; `{brod_reply, Ref, ok | {error, Reason}}' comes once one is under way.
-spec txn_begin(txn()) -> reference().
txn_begin(_Txn) -> ?NOT_LOADED.

%% @doc Give a message or a batch to the transaction. With a reference as target `{brod_reply, Ref, {ok, Offset} |
%% {error, Reason}}' comes once it is stored; with `no_ack' nothing comes, and what fails fails the commit.
%% `{wait, Id}': taken, but wait for `{brod_room, Id}' before the next one. `dirty': not taken, use {@link
%% txn_produce_dirty/6}. Raises `badarg' for a key or a value of the wrong type.
-spec txn_produce(txn(), reference() | no_ack, brod:topic(), brod:partition(), brod:key(), brod:value()) ->
        ok | {wait, Id :: term()} | dirty | {error, term()}.
txn_produce(_Txn, _Target, _Topic, _Partition, _Key, _Value) -> ?NOT_LOADED.

%% @doc As {@link txn_produce/6}, with the process that has opened the transaction. `undefined', and nothing is taken, where
%% the process has none that takes messages, or has not been given any for this partition yet.
-spec txn_produce_known(pid(), reference() | no_ack, brod:topic(), brod:partition(), brod:key(), brod:value()) ->
        ok | {wait, Id :: term()} | dirty | undefined | {error, term()}.
txn_produce_known(_Process, _Target, _Topic, _Partition, _Key, _Value) -> ?NOT_LOADED.

%% @doc As {@link txn_produce/6}, on a dirty scheduler, for large input.
-spec txn_produce_dirty(txn(), reference() | no_ack, brod:topic(), brod:partition(), brod:key(), brod:value()) ->
        ok | {wait, Id :: term()} | {error, term()}.
txn_produce_dirty(_Txn, _Target, _Topic, _Partition, _Key, _Value) -> ?NOT_LOADED.

%% @doc Something that was to be part of the transaction was refused without asking the engine.
-spec txn_refused(txn()) -> ok.
txn_refused(_Txn) -> ?NOT_LOADED.

%% @doc Make offsets part of the transaction, in the name of a member of the group if there is one;
%% `{brod_reply, Ref, ok | {error, Reason}}' comes.
-spec txn_offsets(txn(), brod:group_id(),
                  undefined | {Generation :: integer(), MemberId :: binary(), InstanceId :: binary() | undefined},
                  [{brod:topic(), brod:partition(), brod:offset(), Metadata :: binary()}]) -> reference().
txn_offsets(_Txn, _GroupId, _Member, _Offsets) -> ?NOT_LOADED.

%% @doc Commit or abort; `{brod_reply, Ref, ok | {error, Reason}}' comes.
-spec txn_end(txn(), Commit :: boolean()) -> reference().
txn_end(_Txn, _Commit) -> ?NOT_LOADED.

%% @doc Close it. What is open is aborted, in the background.
-spec txn_close(txn()) -> ok.
txn_close(_Txn) -> ?NOT_LOADED.

%% @doc Make a member of a group; it sends nothing before {@link group_join/4}. Events come to the
%% caller as `{brod_group, Group, JoinId, Event}'.
-spec group_open(client(), map()) -> {ok, group()} | {error, term()}.
group_open(_Client, _Config) -> ?NOT_LOADED.

%% @doc Join, or give up the present generation and join again. Events carry the `JoinId'.
-spec group_join(group(), JoinId :: integer(), [brod:topic()], UserData :: binary()) -> ok.
group_join(_Group, _JoinId, _Topics, _UserData) -> ?NOT_LOADED.

%% @doc Share out the partitions: the answer to the event `{assign, Members, Partitions}'.
-spec group_assign(group(), JoinId :: integer(),
                   [{MemberId :: binary(), [{brod:topic(), [brod:partition()]}]}]) -> ok.
group_assign(_Group, _JoinId, _Assignments) -> ?NOT_LOADED.

%% @doc Commit offsets, each the next one to consume, for a generation; `{brod_reply, Ref, ok |
%% {partial, [{Topic, Partition, Code}]} | {error, Code}}' comes within the time.
-spec group_commit(group(), Generation :: integer(),
                   [{brod:topic(), brod:partition(), brod:offset(), Metadata :: binary()}],
                   TimeoutMs :: non_neg_integer()) -> reference().
group_commit(_Group, _Generation, _Offsets, _TimeoutMs) -> ?NOT_LOADED.

%% @doc End the member, with `Leave' after leaving the group; `{brod_reply, Ref, ok | {error, Code}}'
%% comes within 5 s.
-spec group_close(group(), Leave :: boolean()) -> reference().
group_close(_Group, _Leave) -> ?NOT_LOADED.

%% @doc Open a connection of its own to one broker; it belongs to the caller. The result comes as `{brod_reply, Ref,
%% {ok, [{ApiKey, Oldest, Newest}]} | {error, Reason}}', with an empty list where the broker is not to be asked.
%% Requests may be sent at once. `{brod_connection_closed, Connection}' is its last message.
-spec connection_open(client(), Host :: binary(), inet:port_number()) -> {connection(), reference()}.
connection_open(_Client, _Host, _Port) -> ?NOT_LOADED.

%% @doc Send the body of a request. The result comes as `{brod_reply, Ref, {ok, Body :: binary()} | {error, Reason}}';
%% an empty body, once it is written, where no response is expected. When the limit is up the connection closes.
-spec connection_request(connection(), {ApiKey :: integer(), Vsn :: integer()}, Body :: binary(),
                         ExpectsResponse :: boolean(), LimitMs :: non_neg_integer()) -> reference() | {error, closed}.
connection_request(_Connection, _Api, _Body, _ExpectsResponse, _LimitMs) -> ?NOT_LOADED.

%% @doc Close a connection.
-spec connection_close(connection()) -> ok.
connection_close(_Connection) -> ?NOT_LOADED.

%% @doc Kafka's error code as brod's users match it; the number for one that is newer than this client.
-spec error_name(integer()) -> atom() | integer().
error_name(_Code) -> ?NOT_LOADED.

%% @doc The checksum that record batches have.
-spec crc32c(binary()) -> non_neg_integer().
crc32c(_Bytes) -> ?NOT_LOADED.

%% @doc Compress as Kafka's clients do. Raises `badarg' for a codec that is none.
-spec compress(atom(), binary()) -> binary().
compress(_Codec, _Bytes) -> ?NOT_LOADED.

%% @doc Decompress into at most `Limit' bytes.
-spec decompress(atom(), binary(), Limit :: non_neg_integer()) -> {ok, binary()} | {error, Text :: binary()}.
decompress(_Codec, _Bytes, _Limit) -> ?NOT_LOADED.
