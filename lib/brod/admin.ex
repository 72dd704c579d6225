defmodule Brod.Admin do
  @moduledoc """
  Topics, groups and offsets. Where a client is asked for, it is a `Brod.Client`'s name; its endpoints and options are
  used to ask the brokers.
  """

  alias Brod.{Error, Options}

  @timeout 30_000
  @poll_ms 20

  @doc """
  Creates a topic, and waits until it can be used. Options: `:partitions` and `:replication_factor` (-1, the broker's defaults, unless given),
  `:configs` (a keyword or map, such as `%{"retention.ms" => "60000"}`), `:timeout` (ms, #{@timeout}).
  """
  @spec create_topic(Brod.Client.name(), String.t(), keyword()) :: :ok | {:error, Error.t()}
  def create_topic(client, topic, options \\ []) do
    with :ok <- Options.check_all(:create_topic, options),
         :ok <- names([topic]) do
      configs =
        for {name, value} <- Options.list(option(options, :configs)),
            do: %{name: to_string(name), value: to_string(value)}

      topic = %{
        name: topic,
        num_partitions: option(options, :partitions),
        replication_factor: option(options, :replication_factor),
        assignments: [],
        configs: configs
      }

      timeout = %{timeout: option(options, :timeout)}

      with :ok <- ask(client, &:brod.create_topics(&1, [topic], timeout, &2)),
           do: await_topic(client, topic.name, timeout.timeout)
    end
  end

  @doc "Deletes topics."
  @spec delete_topics(Brod.Client.name(), [String.t()], pos_integer()) :: :ok | {:error, Error.t()}
  def delete_topics(client, topics, timeout \\ @timeout) do
    with :ok <- names(topics),
         do: ask(client, &:brod.delete_topics(&1, topics, timeout, &2))
  end

  @doc "The names of all topics that the user may see, sorted."
  @spec topics(Brod.Client.name()) :: {:ok, [String.t()]} | {:error, Error.t()}
  def topics(client) do
    case :brod_client.get_metadata_safe(client, :all) do
      {:ok, %{topics: topics}} -> {:ok, topics |> Enum.map(& &1.name) |> Enum.sort()}
      {:error, reason} -> {:error, Error.new(reason)}
    end
  end

  @doc "How many partitions a topic has now. Never creates it."
  @spec partitions(Brod.Client.name(), String.t()) :: {:ok, pos_integer()} | {:error, Error.t()}
  def partitions(client, topic) do
    case :brod_client.get_metadata_safe(client, topic) do
      {:ok, %{topics: [%{error_code: :no_error, partitions: partitions}]}} ->
        {:ok, length(partitions)}

      {:ok, %{topics: [%{error_code: code}]}} ->
        {:error, Error.new(code)}

      {:error, reason} ->
        {:error, Error.new(reason)}
    end
  end

  @doc "The offset at `:earliest`, `:latest` or `{:timestamp, ms}`; -1 where no message is as young as that."
  @spec offset(Brod.Client.name(), String.t(), non_neg_integer(), term()) ::
          {:ok, integer()} | {:error, Error.t()}
  def offset(client, topic, partition, {:timestamp, ms}) when ms in 0..0x7FFF_FFFF_FFFF_FFFF,
    do: offset(client, topic, partition, ms)

  def offset(client, topic, partition, time),
    do: Error.wrap(:brod.resolve_offset(client, topic, partition, time))

  @doc "The groups of all brokers, sorted."
  @spec groups(Brod.Client.name()) :: {:ok, [String.t()]} | {:error, Error.t()}
  def groups(client) do
    with {:ok, lists} <- ask(client, &{:ok, :brod.list_all_groups(&1, &2)}) do
      case for {_, {:error, reason}} <- lists, do: reason do
        [] -> {:ok, for({_, groups} <- lists, {:brod_cg, id, _} <- groups, do: id) |> Enum.sort()}
        [reason | _] -> {:error, Error.new(reason)}
      end
    end
  end

  @doc "The offsets that a group has committed, by topic and partition."
  @spec committed(Brod.Client.name(), String.t()) ::
          {:ok, %{{String.t(), non_neg_integer()} => integer()}} | {:error, Error.t()}
  def committed(_client, group) when not is_binary(group),
    do: {:error, Error.new({:bad_group_id, group})}

  def committed(client, group) do
    case :brod.fetch_committed_offsets(client, group) do
      {:ok, topics} ->
        {:ok,
         for topic <- topics, partition <- topic.partitions, into: %{} do
           {{topic.name, partition.partition_index}, partition.committed_offset}
         end}

      {:error, reason} ->
        {:error, Error.new(reason)}
    end
  end

  # Without Enum.find/2, for which nil is nothing: it was the topic "nil" that was deleted.
  defp names([topic | topics]) when is_binary(topic), do: names(topics)
  defp names([topic | _]), do: {:error, Error.new({:bad_topic, topic})}
  defp names([]), do: :ok
  defp names(other), do: {:error, Error.new({:bad_topics, other})}

  # Brokers learn of a topic one after the other. Who asks before that would have the client remember that there is none.
  defp await_topic(client, topic, left) do
    case partitions(client, topic) do
      {:ok, _} ->
        :ok

      {:error, _} when left > 0 ->
        Process.sleep(@poll_ms)
        await_topic(client, topic, left - @poll_ms)

      error ->
        error
    end
  end

  defp option(options, name), do: Options.get(:create_topic, options, name)

  defp ask(client, fun) do
    with {:ok, {endpoints, config}} <- Error.wrap(:brod_client.get_bootstrap(client)),
         do: Error.wrap(Error.catching(fn -> fun.(endpoints, config) end))
  end
end
