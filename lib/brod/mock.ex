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

  @doc """
  A child of a supervisor, or of `start_supervised!/1`: `{Brod.Mock, topics: %{"orders" => 8}}`. It ends with the
  supervisor, and is not started again: what it held would be gone.
  """
  @spec child_spec(keyword() | map()) :: Supervisor.child_spec()
  def child_spec(options) do
    %{id: __MODULE__, start: {__MODULE__, :start, [options]}, restart: :temporary}
  end

  @doc "Ends the cluster, and with it all that it held."
  @spec stop(t()) :: :ok
  defdelegate stop(mock), to: :brod_mock

  @doc "Where its brokers listen, for a client's options."
  @spec endpoints(t()) :: [:brod.endpoint()]
  defdelegate endpoints(mock), to: :brod_mock

  @doc "The authority of the brokers' certificate as PEM, where it was started with `tls: %{}`."
  @spec ca_pem(t()) :: :undefined | binary()
  defdelegate ca_pem(mock), to: :brod_mock

  @doc "What a topic holds, with the partition of each message, as consumers get it: for them null is empty."
  @spec messages(t(), :brod.topic()) :: [{:brod.partition(), :brod.message()}]
  defdelegate messages(mock, topic), to: :brod_mock

  @doc "The same as maps, with null (`:undefined`) kept apart from what is empty; see `t::brod_mock.stored/0`."
  @spec records(t(), :brod.topic()) :: [:brod_mock.stored()]
  defdelegate records(mock, topic), to: :brod_mock

  @doc "State, generation and how many members a group has."
  @spec group(t(), :brod.group_id()) :: :undefined | map()
  defdelegate group(mock, group), to: :brod_mock

  @doc "The offset that a group has committed."
  @spec committed(t(), :brod.group_id(), :brod.topic(), :brod.partition()) ::
          :undefined | :brod.offset()
  defdelegate committed(mock, group, topic, partition), to: :brod_mock

  @doc "Waits until a group is stable and has this many members."
  @spec await_stable(t(), :brod.group_id(), pos_integer(), timeout()) :: :ok | {:error, :timeout}
  def await_stable(mock, group, members \\ 1, timeout_ms \\ 5000),
    do: :brod_mock.await_stable(mock, group, members, timeout_ms)

  @doc """
  Waits until a group has committed all that a topic holds. Members commit every five seconds, unless
  `:offset_commit_interval_seconds` of their `:group_config` is another: tests are faster with less.
  """
  @spec await_caught_up(t(), :brod.group_id(), :brod.topic(), timeout()) ::
          :ok | {:error, :timeout}
  def await_caught_up(mock, group, topic, timeout_ms \\ 15_000),
    do: :brod_mock.await_caught_up(mock, group, topic, timeout_ms)

  @doc "State, producer id and epoch of a transactional id."
  @spec transaction(t(), binary()) :: :undefined | map()
  defdelegate transaction(mock, id), to: :brod_mock

  @doc "What made the mock close connections, such as a request that it could not decode."
  @spec complaints(t()) :: [binary()]
  defdelegate complaints(mock), to: :brod_mock

  @doc "A new topic."
  @spec create_topic(t(), :brod.topic(), pos_integer()) :: :ok | {:error, binary()}
  defdelegate create_topic(mock, topic, partitions), to: :brod_mock

  @doc "Scripts a fault; see `t::brod_mock.fault/0`."
  @spec fault(t(), keyword() | map()) :: :ok | {:error, binary()}
  def fault(mock, fault), do: :brod_mock.fault(mock, Map.new(fault))

  @doc "No more faults from now on."
  @spec clear_faults(t()) :: :ok | {:error, binary()}
  defdelegate clear_faults(mock), to: :brod_mock

  @doc "How many calls have met a fault so far."
  @spec faults_met(t()) :: non_neg_integer()
  defdelegate faults_met(mock), to: :brod_mock

  @doc "What a client may produce and fetch (`:produce`, `:fetch`), in bytes a second."
  @spec quota(t(), binary(), keyword() | map()) :: :ok | {:error, binary()}
  def quota(mock, client_id, quota), do: :brod_mock.quota(mock, client_id, Map.new(quota))

  @doc "By how many ms a broker's clock is fast."
  @spec skew(t(), integer(), integer()) :: :ok | {:error, binary()}
  defdelegate skew(mock, broker, ms), to: :brod_mock

  @doc "The last messages of a partition were never there."
  @spec lose(t(), :brod.topic(), :brod.partition(), non_neg_integer()) :: :ok | {:error, binary()}
  defdelegate lose(mock, topic, partition, messages), to: :brod_mock

  @doc "Of each key only the newest message is left."
  @spec compact(t(), :brod.topic(), :brod.partition()) :: :ok | {:error, binary()}
  defdelegate compact(mock, topic, partition), to: :brod_mock

  @doc "The high watermark is told with this added."
  @spec lie(t(), :brod.topic(), :brod.partition(), integer()) :: :ok | {:error, binary()}
  defdelegate lie(mock, topic, partition, by), to: :brod_mock

  @doc "Appends a control batch: 0 aborts, 1 commits, other kinds are for nobody."
  @spec control_batch(t(), :brod.topic(), :brod.partition(), integer()) ::
          :ok | {:error, binary()}
  defdelegate control_batch(mock, topic, partition, kind), to: :brod_mock

  @doc "Another broker coordinates a group or a transactional id."
  @spec move_coordinator(t(), binary(), integer()) :: :ok | {:error, binary()}
  defdelegate move_coordinator(mock, key, broker), to: :brod_mock

  @doc "Another broker leads a partition."
  @spec move_leader(t(), :brod.topic(), :brod.partition(), integer()) :: :ok | {:error, binary()}
  defdelegate move_leader(mock, topic, partition, broker), to: :brod_mock

  @doc "A broker's port and connections close; other brokers lead its partitions, which lose their last messages, so many."
  @spec stop_broker(t(), integer(), non_neg_integer()) :: :ok | {:error, binary()}
  def stop_broker(mock, broker, lose \\ 0), do: :brod_mock.stop_broker(mock, broker, lose)

  @doc "A broker that was stopped is back."
  @spec start_broker(t(), integer()) :: :ok | {:error, binary()}
  defdelegate start_broker(mock, broker), to: :brod_mock
end
