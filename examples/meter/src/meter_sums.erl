%% @doc Sums by meter.
-module(meter_sums).
-behaviour(gen_server).

-export([start_link/0, add/1, sum/1]).
-export([init/1, handle_call/3, handle_cast/2]).

start_link() -> gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc Returns when all is added: what is committed after that is not lost, as long as this process lives.
add(Readings) -> gen_server:call(?MODULE, {add, Readings}).

sum(Meter) -> gen_server:call(?MODULE, {sum, Meter}).

init([]) -> {ok, #{}}.

handle_call({add, Readings}, _From, Sums) ->
  Add = fun({Meter, Reading}, Acc) -> maps:update_with(Meter, fun(Sum) -> Sum + Reading end, Reading, Acc) end,
  {reply, ok, lists:foldl(Add, Sums, Readings)};
handle_call({sum, Meter}, _From, Sums) ->
  {reply, maps:get(Meter, Sums, 0), Sums}.

handle_cast(_, Sums) -> {noreply, Sums}.
