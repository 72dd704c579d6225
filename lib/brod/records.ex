defmodule Brod.Records do
  @moduledoc """
  brod's records as Elixir macros: `import Brod.Records`, then

      def handle_message(partition, kafka_message(offset: offset, value: value), state)

  Each macro is made from `include/brod.hrl`, so fields and defaults are those that Erlang sees.
  """

  require Record

  @hrl Path.expand("../../include/brod.hrl", __DIR__)
  @external_resource @hrl

  for {name, fields} <- Record.extract_all(from: @hrl) do
    Record.defrecord(name, fields)
  end
end
