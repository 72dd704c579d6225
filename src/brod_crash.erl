%% @private What is shown of a process that crashed: enough to find the fault, never the messages that
%% it had in its hands, which may be large, and nobody's business but their reader's.
-module(brod_crash).

-export([short/1, text/1, short_stack/1, empty_mailbox/0, status/2, subscriber_status/2, shared/1, shared_line/3, quietly/1]).

-include("brod_int.hrl").

%% Reasons up to this size are left as they are.
-define(REASON_BYTES, 2048).
-define(BINARY_BYTES, 64).
-define(ELEMENTS, 8).
-define(DEPTH, 5).

%% @doc What `format_status/1' of a process returns: `Show' says what is seen of the state, and of a
%% message only its tag is.
-spec status(gen_server:format_status(), fun((State :: term()) -> map())) -> gen_server:format_status().
status(Status, Show) ->
  replaced(Status, #{state => Show, message => fun tag/1, log => fun no_events/1}).

%% @doc As {@link status/2}, for a process that runs callbacks of users: a set of messages that it was at is named, and so is a reason
%% that has such messages in it.
-spec subscriber_status(gen_server:format_status(), fun((State :: term()) -> map())) -> gen_server:format_status().
subscriber_status(Status, Show) ->
  replaced(Status, #{state => Show, message => fun short_message/1, reason => fun short/1, log => fun no_events/1}).

replaced(Status, By) ->
  maps:map(fun(Key, Value) ->
               case By of
                 #{Key := Replace} -> Replace(Value);
                 #{} -> Value
               end
           end, Status).

tag(Message) when is_tuple(Message), tuple_size(Message) > 0 -> element(1, Message);
tag(Message) -> Message.

no_events(_Log) -> [].

%% @doc A reason as it is, or, when it is large, what it looks like: its binaries and lists cut.
-spec short(term()) -> term().
short(Reason) ->
  case erlang:external_size(Reason) > ?REASON_BYTES of
    true -> cut(Reason, ?DEPTH);
    false -> Reason
  end.

%% @doc An exit reason in a line: what was wrong and where. The report of the crash has the rest.
-spec text(term()) -> unicode:chardata().
text({#{'__exception__' := true, message := Message}, [_ | _]}) when is_binary(Message) ->
  Message;
text({Reason, [{M, F, ArityOrArgs, Info} | _]}) when is_atom(M), is_atom(F), is_list(Info) ->
  case proplists:get_value(error_info, Info) of
    #{cause := Cause} when is_list(Cause); is_binary(Cause) -> io_lib:format("~0P: ~ts", [Reason, 20, Cause]);
    _ ->
      Arity = case ArityOrArgs of Args when is_list(Args) -> length(Args); _ -> ArityOrArgs end,
      io_lib:format("~0P in ~p:~p/~p", [Reason, 20, M, F, Arity])
  end;
text(Reason) ->
  io_lib:format("~0P", [Reason, 30]).

cut(_Term, 0) -> '...';
cut(<<First:?BINARY_BYTES/binary, _, _/binary>>, _) -> <<First/binary, "...">>;
cut([_ | _] = List, Depth) -> cut_list(List, ?ELEMENTS, Depth);
cut(Map, Depth) when is_map(Map) ->
  maps:from_list(cut_list(maps:to_list(Map), ?ELEMENTS, Depth) -- ['...']);
cut(Tuple, Depth) when is_tuple(Tuple) ->
  list_to_tuple(cut_list(tuple_to_list(Tuple), ?ELEMENTS, Depth));
cut(Fun, _) when is_function(Fun) -> 'fun';
cut(Bits, _) when is_bitstring(Bits), not is_binary(Bits) -> bits;
cut(Int, _) when is_integer(Int), abs(Int) > 1 bsl 128 -> large_integer;
cut(Term, _) -> Term.

cut_list([], _N, _Depth) -> [];
cut_list(_List, 0, _Depth) -> ['...'];
cut_list([Head | Tail], N, Depth) -> [cut(Head, Depth - 1) | cut_list(Tail, N - 1, Depth)];
cut_list(Improper, _N, Depth) -> cut(Improper, Depth - 1).

%% @doc A stacktrace without the arguments of its calls.
-spec short_stack(erlang:stacktrace()) -> erlang:stacktrace().
short_stack(Stack) -> [short_call(Call) || Call <- Stack].

short_call({M, F, Args, Info}) when is_list(Args) -> {M, F, length(Args), Info};
short_call({Fun, Args, Info}) when is_list(Args) -> {Fun, length(Args), Info};
short_call(Call) -> Call.

%% The message that a process was at.
short_message({Pid, #kafka_message_set{topic = Topic, partition = Partition, messages = Messages}}) ->
  {Pid, {kafka_message_set, Topic, Partition, length(Messages)}};
short_message(Message) -> short(Message).

%% @doc What has ended a producer or a consumer, and ends those of the other partitions of its topic alike, if it is of that kind: a permission is
%% missing, the topic is gone, too few replicas are in sync, brokers are away.
-spec shared(Reason :: term()) -> atom() | {GivenUp :: atom(), Why :: atom()}.
shared({restart, Code}) -> shared(Code);
shared({not_retriable, Why}) -> shared(code(Why));
shared({GivenUp, Why}) when GivenUp =:= reached_max_retries; GivenUp =:= delivery_timeout -> {GivenUp, code(Why)};
shared(Code) when Code =:= topic_authorization_failed; Code =:= cluster_authorization_failed -> Code;
shared(_Reason) -> none.

code({produce_response_error, _Topic, _Partition, _Offset, Code}) -> Code;
code(Code) when is_atom(Code) -> Code;
code(_Why) -> other.

%% @doc What is said of all of them then, once for each such reason; see the callback `ends_all' of `brod_supervisor3'. Where that may be one
%% partition's own after all, it names the first one.
-spec shared_line(Workers :: string(), brod:topic(), Reason :: term()) -> {Why :: term(), unicode:chardata()} | false.
shared_line(Workers, Topic, Reason) ->
  case shared(Reason) of
    none -> false;
    Code when is_atom(Code) -> {Code, io_lib:format("~s of ~ts stop: ~s", [Workers, Topic, Code])};
    Why -> {Why, io_lib:format("~s of ~ts stop: ~ts", [Workers, Topic, text(Reason)])}
  end.

%% @doc Ends the calling process for a reason that a line in the log has told. Those who are linked to it or watch it see that reason; the
%% reports of gen_server and proc_lib, which have its whole state, are left out: they would come for each partition, and again with
%% each restart. `terminate/2' is not called.
-spec quietly(Reason :: term()) -> no_return().
quietly(Reason) ->
  process_flag(trap_exit, false),
  exit(self(), Reason),
  receive after infinity -> ok end.

%% @doc The last that a process does in `terminate/2', whatever ends it: a crash report shows all that is in the mailbox, and that
%% may be messages of users. Nobody waits in vain: who has called sees the process go.
-spec empty_mailbox() -> ok.
empty_mailbox() ->
  receive _ -> empty_mailbox()
  after 0 -> ok
  end.
