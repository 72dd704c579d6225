%% @private Checks of arguments that would fail somewhere deep below. The error's reason is a term that can be matched,
%% its text (error_info, EEP 54) says what was expected and what came.
-module(brod_args).

-export([client/1, topic/1, topics/1, partition/1, offset/1, timeout/1]).
-export([raise/3, raise/2, expected/2, info/1, format_error/2]).

%% @doc A client's name or pid; else `{bad_client, Client}'.
-spec client(term()) -> ok.
client(Client) when is_pid(Client) -> ok;
client(Client) when is_atom(Client) -> ok;
client(Client) -> raise({bad_client, Client}, "a client's name (an atom) or pid", Client).

%% @doc A topic's name; else `{bad_topic, Topic}'.
-spec topic(term()) -> ok.
topic(Topic) when is_binary(Topic) -> ok;
topic([_ | _] = Topic) -> raise({bad_topic, Topic}, "a topic's name as a binary, such as <<\"topic\">>", Topic);
topic(Topic) -> raise({bad_topic, Topic}, "a topic's name (a binary)", Topic).

%% @doc A list of names of topics, or `all'; else `{bad_topics, Topics}' or `{bad_topic, Topic}'.
-spec topics(term()) -> ok.
topics(all) -> ok;
topics(Topics) ->
  try length(Topics) of
    _ -> lists:foreach(fun topic/1, Topics)
  catch
    error:badarg -> raise({bad_topics, Topics}, "a list of topics, or all", Topics)
  end.

%% @doc A partition's number; else `{bad_partition, Partition}'.
-spec partition(term()) -> ok.
partition(Partition) when is_integer(Partition), Partition >= 0, Partition < 1 bsl 31 -> ok;
partition(Partition) -> raise({bad_partition, Partition}, "a partition's number (0, 1, ...)", Partition).

%% @doc An offset; else `{bad_offset, Offset}'.
-spec offset(term()) -> ok.
offset(Offset) when is_integer(Offset), Offset >= -(1 bsl 63), Offset < 1 bsl 63 -> ok;
offset(Offset) -> raise({bad_offset, Offset}, "an offset (an integer)", Offset).

%% @doc A limit in ms; else `{bad_timeout, Timeout}'.
-spec timeout(term()) -> ok.
timeout(Timeout) when is_integer(Timeout), Timeout >= 0, Timeout < 1 bsl 31 -> ok;
timeout(Timeout) -> raise({bad_timeout, Timeout}, "a number of ms", Timeout).

%% @doc An error about an argument: of reason `Reason', with a text of what was expected and what came.
-spec raise(Reason :: term(), Expected :: iodata(), Came :: term()) -> no_return().
raise(Reason, Expected, Came) -> raise(Reason, expected(Expected, Came)).

%% @doc As {@link raise/3}, with the whole text.
-spec raise(Reason :: term(), Text :: unicode:chardata()) -> no_return().
raise(Reason, Text) -> erlang:error(Reason, none, info(Text)).

%% @doc The text of {@link raise/3}.
-spec expected(iodata(), term()) -> unicode:chardata().
expected(Expected, Came) -> io_lib:format("expected ~ts, got ~0P", [Expected, Came, 12]).

%% @doc Options of an error that carry a text, as `erlang:error/3' and frames of a stacktrace have them.
-spec info(unicode:chardata()) -> [{error_info, map()}].
info(Text) -> [{error_info, #{module => ?MODULE, cause => lists:flatten(Text)}}].

%% @doc The text, for the shell and for crash reports. Elixir takes nothing but a binary: with anything else the report
%% of a crash crashes itself.
-spec format_error(term(), erlang:stacktrace()) -> #{general => binary()}.
format_error(_Reason, [{_M, _F, _As, Info} | _]) ->
  case proplists:get_value(error_info, Info) of
    #{cause := Text} -> #{general => <<_/binary>> = unicode:characters_to_binary(Text)};
    _ -> #{}
  end.
