# Tests tagged :kafka need a real one; scripts/test.sh starts it and says where it is. Those tagged :mock need the one in
# memory, which scripts/build-mock.sh builds.
mock = Application.app_dir(:brod, "priv/brod_mock")

ExUnit.start(
  exclude:
    for(
      {tag, false} <- [kafka: !!System.get_env("BROD_BOOTSTRAP"), mock: File.exists?(mock)],
      do: tag
    )
)

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
