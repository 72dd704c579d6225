%% @private The engine sends to processes of this node only: a forwarder passes what it sends on to a
%% subscriber on another one. It belongs to one subscription: what is on its way when that ends goes no
%% further.
-module(brod_consumer_forwarder).

-export([receiver/1, stop/1, forward/1]).

%% @doc Whom the engine sends to, and the forwarder if there has to be one; that is linked to the caller.
-spec receiver(pid()) -> {pid(), undefined | pid()}.
receiver(Pid) when node(Pid) =:= node() ->
  {Pid, undefined};
receiver(Pid) ->
  Forwarder = spawn_link(fun() -> forward(Pid) end),
  {Forwarder, Forwarder}.

%% @private While it waits it is in no version of this module: old ones can be purged.
-spec forward(pid()) -> no_return().
forward(Pid) ->
  receive Message -> Pid ! Message, ?MODULE:forward(Pid)
  after 0 -> erlang:hibernate(?MODULE, forward, [Pid])
  end.

%% @doc Ends a forwarder.
-spec stop(undefined | pid()) -> ok.
stop(undefined) -> ok;
stop(Forwarder) ->
  true = unlink(Forwarder),
  true = exit(Forwarder, kill),
  ok.
