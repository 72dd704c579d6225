# Tests tagged :kafka need a real one; scripts/test.sh starts it and says where it is.
ExUnit.start(exclude: if(System.get_env("BROD_BOOTSTRAP"), do: [], else: [:kafka]))

defmodule Brod.TestTopics do
  @moduledoc "Topics on a real Kafka."

  @limit_ms 20_000

  @doc "Creates a topic. When this returns, every broker knows the leaders of its partitions."
  def create(endpoints, topic, partitions) do
    config = %{
      name: topic,
      num_partitions: partitions,
      replication_factor: 1,
      assignments: [],
      configs: []
    }

    :ok = :brod.create_topics(endpoints, [config], %{timeout: @limit_ms})
    deadline = System.monotonic_time(:millisecond) + @limit_ms
    Enum.each(endpoints, &await(&1, topic, partitions, deadline))
  end

  defp await(endpoint, topic, partitions, deadline) do
    if System.monotonic_time(:millisecond) > deadline,
      do: raise("#{topic} unknown to #{inspect(endpoint)}")

    unless known?(:brod.get_metadata([endpoint], [topic]), partitions) do
      Process.sleep(20)
      await(endpoint, topic, partitions, deadline)
    end
  end

  defp known?({:ok, %{topics: [%{partitions: found}]}}, partitions) do
    length(found) == partitions and Enum.all?(found, &(&1.leader_id >= 0))
  end

  defp known?(_result, _partitions), do: false
end
