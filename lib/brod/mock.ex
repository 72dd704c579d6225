defmodule Brod.Mock do
  @moduledoc """
  A Kafka in memory, for tests: real brokers on loopback ports, without a JVM, in milliseconds.

      setup do
        {:ok, mock} = Brod.Mock.start(topics: %{"orders" => 8})
        {:ok, mock: mock}
      end

  Each test has a cluster of its own, so `async: true` is safe; it is linked to the test's process and ends with it.
  Its executable is built by `scripts/build-mock.sh`, see the guide to testing. `:brod_mock` is the same for Erlang.
  """

  @type t :: pid()

  @doc "Starts a cluster, linked to the calling process; for the options see `t::brod_mock.config/0`."
  @spec start(keyword() | map()) :: {:ok, t()} | {:error, term()}
  def start(options \\ []), do: :brod_mock.start(Map.new(options))

  @doc "Ends the cluster, and with it all that it held."
  @spec stop(t()) :: :ok
  defdelegate stop(mock), to: :brod_mock

  @doc "Where its brokers listen, for a client's options."
  @spec endpoints(t()) :: [:brod.endpoint()]
  defdelegate endpoints(mock), to: :brod_mock

  @doc "What a topic holds, with the partition of each message."
  @spec messages(t(), :brod.topic()) :: [{:brod.partition(), :brod.message()}]
  defdelegate messages(mock, topic), to: :brod_mock

  @doc "A new topic."
  @spec create_topic(t(), :brod.topic(), pos_integer()) :: :ok | {:error, binary()}
  defdelegate create_topic(mock, topic, partitions), to: :brod_mock

  @doc "Scripts a fault; see `t::brod_mock.fault/0`."
  @spec fault(t(), keyword() | map()) :: :ok | {:error, binary()}
  def fault(mock, fault), do: :brod_mock.fault(mock, Map.new(fault))

  @doc "No more faults from now on."
  @spec clear_faults(t()) :: :ok | {:error, binary()}
  defdelegate clear_faults(mock), to: :brod_mock

  @doc "Another broker leads a partition."
  @spec move_leader(t(), :brod.topic(), :brod.partition(), integer()) :: :ok | {:error, binary()}
  defdelegate move_leader(mock, topic, partition, broker), to: :brod_mock

  @doc "A broker's port and connections close; other brokers lead its partitions."
  @spec stop_broker(t(), integer()) :: :ok | {:error, binary()}
  defdelegate stop_broker(mock, broker), to: :brod_mock

  @doc "A broker that was stopped is back."
  @spec start_broker(t(), integer()) :: :ok | {:error, binary()}
  defdelegate start_broker(mock, broker), to: :brod_mock
end
