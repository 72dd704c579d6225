defmodule Brod.ElixirTest do
  @moduledoc false
  use ExUnit.Case, async: true
  import Brod.Records

  @moduletag :kafka

  setup do
    endpoints =
      for endpoint <- String.split(System.fetch_env!("BROD_BOOTSTRAP"), ",") do
        [host, port] = String.split(endpoint, ":")
        {host, String.to_integer(port)}
      end

    topic = "elixir-#{System.unique_integer([:positive])}-#{System.os_time()}"
    {:ok, _} = Application.ensure_all_started(:brod)
    :ok = Brod.TestTopics.create(endpoints, topic, 2)
    client = String.to_atom(topic)
    :ok = :brod.start_client(endpoints, client)
    on_exit(fn -> :brod.stop_client(client) end)
    %{client: client, topic: topic}
  end

  test "what is produced is consumed", %{client: client, topic: topic} do
    :ok = :brod.start_producer(client, topic, [])
    message = %{key: "k", value: "v", headers: [{"h", "1"}]}
    assert {:ok, offset} = :brod.produce_sync_offset(client, topic, 1, "", message)

    :ok = :brod.start_consumer(client, topic, begin_offset: :earliest)
    {:ok, consumer} = :brod.subscribe(client, self(), topic, 1, [])
    assert_receive {^consumer, kafka_message_set(topic: ^topic, messages: [received])}, 10_000

    assert kafka_message(offset: ^offset, key: "k", value: "v", headers: [{"h", "1"}]) = received
  end

  defmodule Collector do
    @moduledoc false
    @behaviour :brod_topic_subscriber

    @impl true
    def init(_topic, test), do: {:ok, [], test}

    @impl true
    def handle_message(partition, message, test) do
      send(test, {:got, partition, kafka_message(message, :value)})
      {:ok, :ack, test}
    end
  end

  test "a topic subscriber written in Elixir", %{client: client, topic: topic} do
    :ok = :brod.start_producer(client, topic, [])

    for partition <- 0..1,
        do: :ok = :brod.produce_sync(client, topic, partition, "", "#{partition}")

    {:ok, subscriber} =
      :brod.start_link_topic_subscriber(%{
        client: client,
        topic: topic,
        cb_module: Collector,
        init_data: self(),
        message_type: :message,
        consumer_config: [begin_offset: :earliest]
      })

    assert_receive {:got, 0, "0"}, 10_000
    assert_receive {:got, 1, "1"}, 10_000
    :ok = :brod_topic_subscriber.stop(subscriber)
  end
end
