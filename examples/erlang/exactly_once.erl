%% @doc Reads amounts in cents, writes them in euros: whatever fails, a reader with the isolation level `read_committed',
%% which is the default, sees each of them once. A child of a supervisor:
%%
%% ```
%% supervisor:start_child(my_sup, exactly_once:child_spec(my_client)).
%% '''
-module(exactly_once).

-include_lib("brod/include/brod.hrl").

-export([child_spec/1, start_link/1]).

child_spec(Client) -> #{id => ?MODULE, start => {?MODULE, start_link, [Client]}}.

start_link(Client) ->
  brod_transaction_processor:do(fun convert/2, Client,
                                #{group_id => <<"euros">>, topics => [<<"cents">>],
                                  consumer_config => [{begin_offset, earliest}]}).

%% What is produced here and the offset of what was read are committed together, or, when this raises, not at all: then the
%% process ends, its supervisor starts it again, and it reads the same messages.
convert(Transaction, #kafka_message_set{partition = Partition, messages = Messages}) ->
  Euros = [#{key => Key, value => euros(binary_to_integer(Cents))} || #kafka_message{key = Key, value = Cents} <- Messages],
  {ok, _Offset} = brod:txn_produce(Transaction, <<"euros">>, Partition, Euros),
  ok.

euros(Cents) -> iolist_to_binary(io_lib:format("~b.~2..0b", [Cents div 100, Cents rem 100])).
