defmodule OrdersPipeline do
  @moduledoc """
  Reads orders with Broadway, whose producer for Kafka, `broadway_kafka`, stands on brod: amounts are counted, what is
  no amount is put aside. The context is who hears of both.
  """
  use Broadway
  alias Broadway.Message

  def start_link(options) do
    Broadway.start_link(__MODULE__,
      name: __MODULE__,
      context: Keyword.fetch!(options, :notify),
      producer: [
        module:
          {BroadwayKafka.Producer,
           hosts: Keyword.fetch!(options, :hosts),
           group_id: "orders-pipeline",
           topics: ["orders"],
           offset_reset_policy: :earliest,
           group_config: [session_timeout_seconds: 30],
           fetch_config: [max_bytes: 1_048_576]},
        concurrency: 1
      ],
      processors: [default: [concurrency: 2]]
    )
  end

  @impl true
  def handle_message(_processor, message, notify) do
    case Integer.parse(message.data) do
      {cents, ""} ->
        send(notify, {:order, message.metadata.key, cents})
        message

      _ ->
        Message.failed(message, "no amount")
    end
  end

  # What failed is acknowledged like the rest, so it has to go somewhere.
  @impl true
  def handle_failed(messages, notify) do
    for message <- messages, do: send(notify, {:put_aside, message.metadata.key, message.data})
    messages
  end
end
