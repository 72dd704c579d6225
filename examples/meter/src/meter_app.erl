%% @doc The application and its supervisor.
-module(meter_app).
-behaviour(application).
-behaviour(supervisor).

-export([start/2, stop/1, init/1]).

start(_Type, _Args) -> supervisor:start_link({local, meter_sup}, ?MODULE, []).

stop(_State) -> ok.

init([]) ->
  {ok, Group} = application:get_env(meter, group_id),
  {ok, Topic} = application:get_env(meter, topic),
  Reader = #{client => meter_client, group_id => Group, topics => [Topic], cb_module => meter_reader,
             message_type => message_set, consumer_config => [{begin_offset, earliest}]},
  {ok, {#{strategy => rest_for_one},
        [#{id => sums, start => {meter_sums, start_link, []}},
         #{id => reader, start => {brod_group_subscriber_v2, start_link, [Reader]}, shutdown => 10000}]}}.
