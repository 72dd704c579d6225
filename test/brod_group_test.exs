defmodule Brod.GroupTest do
  @moduledoc false
  # Not async: it restarts the application, with a client from the configuration.
  use ExUnit.Case, async: false

  @moduletag :kafka
  @client :group_test_client
  @limit 30_000

  # As a user of brod writes it.
  defmodule GroupSubscriber do
    @moduledoc false
    @behaviour :brod_group_subscriber_v2

    import Record, only: [defrecord: 2, extract: 2]
    defrecord :kafka_message, extract(:kafka_message, from_lib: "brod/include/brod.hrl")
    defrecord :kafka_message_set, extract(:kafka_message_set, from_lib: "brod/include/brod.hrl")

    def child_spec({client, group, topic, type, test}) do
      config = %{
        client: client,
        group_id: group,
        topics: [topic],
        cb_module: __MODULE__,
        consumer_config: [{:begin_offset, :earliest}],
        init_data: test,
        message_type: type,
        group_config: [
          offset_commit_policy: :commit_to_kafka_v2,
          offset_commit_interval_seconds: 1,
          rejoin_delay_seconds: 1,
          reconnect_cool_down_seconds: 60
        ]
      }

      %{
        id: __MODULE__,
        start: {:brod_group_subscriber_v2, :start_link, [config]},
        type: :worker,
        restart: :permanent,
        shutdown: 5000
      }
    end

    @impl :brod_group_subscriber_v2
    def init(%{group_id: _, topic: _, partition: partition}, test), do: {:ok, {partition, test}}

    @impl :brod_group_subscriber_v2
    def handle_message(kafka_message(value: "poison"), {_, test} = state) do
      send(test, {:poisoned, self()})

      receive do
        :cured -> {:ok, :commit, state}
      end
    end

    def handle_message(kafka_message(offset: offset, value: value), {partition, test} = state) do
      send(test, {:got, partition, offset, value})
      {:ok, :commit, state}
    end

    def handle_message(kafka_message_set(messages: messages), {partition, test} = state) do
      for kafka_message(offset: offset, value: value) <- messages do
        send(test, {:got, partition, offset, value})
      end

      {:ok, :commit, state}
    end
  end

  setup_all do
    endpoints =
      for endpoint <- String.split(System.get_env("BROD_BOOTSTRAP"), ",") do
        [host, port] = String.split(endpoint, ":")
        {host, String.to_integer(port)}
      end

    clients = [{@client, [endpoints: endpoints, auto_start_producers: true]}]
    configure(clients)
    on_exit(fn -> configure([]) end)
    %{endpoints: endpoints}
  end

  defp configure(clients) do
    _ = Application.stop(:brod)
    :ok = Application.put_env(:brod, :clients, clients)
    {:ok, _} = Application.ensure_all_started(:brod)
  end

  setup %{endpoints: endpoints} do
    topic = "elixir-group-#{System.unique_integer([:positive])}-#{System.os_time()}"
    :ok = Brod.TestTopics.create(endpoints, topic, 2)
    %{topic: topic, group: "group-of-#{topic}"}
  end

  for type <- [:message, :message_set] do
    test "a subscriber under a supervisor, #{type}", %{topic: topic, group: group} do
      produce(topic, 0, ["a", "b"])
      produce(topic, 1, ["c"])
      supervised(topic, group, unquote(type))
      assert_receive {:got, 0, 0, "a"}, @limit
      assert_receive {:got, 0, 1, "b"}, @limit
      assert_receive {:got, 1, 0, "c"}, @limit

      # The supervisor's shutdown commits and leaves.
      :ok = stop_supervised(GroupSubscriber)
      assert committed(group) == %{0 => 2, 1 => 1}

      # The next one goes on from there.
      supervised(topic, group, unquote(type))
      produce(topic, 1, ["d"])
      assert_receive {:got, 1, 1, "d"}, @limit
      refute_received {:got, _, _, _}
    end
  end

  test "a worker that dies has its message handled again", %{topic: topic, group: group} do
    produce(topic, 0, ["a", "poison"])
    supervised(topic, group, :message)
    assert_receive {:got, 0, 0, "a"}, @limit
    assert_receive {:poisoned, worker}, @limit
    Process.exit(worker, :kill)
    assert_receive {:poisoned, cured}, @limit
    assert cured != worker
    send(cured, :cured)
    produce(topic, 0, ["b"])
    assert_receive {:got, 0, 2, "b"}, @limit
    refute_received {:got, 0, 0, "a"}
  end

  defp supervised(topic, group, type) do
    start_supervised!({GroupSubscriber, {@client, group, topic, type, self()}})
  end

  defp produce(topic, partition, values) do
    for value <- values, do: :ok = :brod.produce_sync(@client, topic, partition, "", value)
  end

  defp committed(group) do
    {:ok, [%{partitions: partitions}]} = :brod.fetch_committed_offsets(@client, group)
    Map.new(partitions, &{&1.partition_index, &1.committed_offset})
  end
end
