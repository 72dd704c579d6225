%% @private How brod's log lines are seen (docs/adr/0020-log-lines.md): all carry the domain `[brod]', and what
%% they are about as metadata.
-module(brod_logging).

-export([show/1, hide/1, about/1, client/1, count/2]).

-define(FILTER, brod).

%% @doc Have a handler show brod's lines. OTP's default handler stops what has another domain than its own.
%% A handler that shows what no filter stops needs nothing.
-spec show(logger:handler_id()) -> ok.
show(HandlerId) ->
  case logger:get_handler_config(HandlerId) of
    {ok, #{filter_default := stop}} ->
      Filter = {fun logger_filters:domain/2, {log, sub, [brod]}},
      %% one that is there already is as good
      _ = logger:add_handler_filter(HandlerId, ?FILTER, Filter),
      ok;
    _ ->
      ok
  end.

%% @doc Undo {@link show/1}.
-spec hide(logger:handler_id()) -> ok.
hide(HandlerId) ->
  _ = logger:remove_handler_filter(HandlerId, ?FILTER),
  ok.

%% @doc What all lines of the calling process are about: `client', `topic', `partition', `group', `broker'.
-spec about(logger:metadata()) -> ok.
about(Metadata) ->
  logger:update_process_metadata(Metadata).

%% @doc A client, by whatever it is known, as lines name it: not with the endpoints and options of one that has none.
-spec client(term()) -> atom() | pid() | undefined.
client(Client) when is_atom(Client) -> Client;
client(Client) when is_pid(Client) ->
  case brod_client_ref:name(Client) of
    undefined -> Client;
    Name -> Name
  end;
client(_Endpoints) -> undefined.

%% @doc So many of `What', which is a word in the singular that takes an s in the plural: "1 line", "2 lines".
-spec count(non_neg_integer(), string()) -> iolist().
count(1, What) -> ["1 ", What];
count(N, What) -> [integer_to_list(N), $ , What, $s].
