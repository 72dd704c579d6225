defmodule Brod.Producer do
  @moduledoc """
  Writes messages.

  A message is a value, `{key, value}`, or a map with `:value` and, where wanted, `:key`, `:headers` (a list of
  `{name, value}`) and `:ts` (milliseconds); a map with another field is an error. Options of a call:

    * `:partition` - a number, or how one is chosen: `:sticky` (the default: by the key as Kafka's Java client does,
      without key one partition after the other), `:murmur2`, `:hash`, `:random`, or a fun of brod's kind;
    * `:timeout` - milliseconds to wait for an answer, of `produce_sync/4` and `produce_stream/4`.

  The producers of a topic start with its first message where the client has `:auto_start_producers`, as those of
  `Brod.Client` have; `start/3` starts them with options of their own.
  """

  alias Brod.{Error, Options}

  @type message ::
          iodata()
          | {iodata(), iodata()}
          | %{
              required(:value) => iodata() | nil,
              optional(:key) => iodata() | nil,
              optional(:headers) => [{binary(), binary()}],
              optional(:ts) => integer()
            }
  @type ack :: %{partition: non_neg_integer(), offset: integer()}
  @fields [:value, :key, :headers, :ts]
  @opaque call :: {non_neg_integer(), :brod.call_ref()}

  @doc "Starts the producers of a topic, with options of `docs/options.md`; `:ok` also if they are running."
  @spec start(Brod.Client.name(), String.t(), keyword()) :: :ok | {:error, Error.t()}
  def start(client, topic, options \\ []) do
    with :ok <- Options.check_all(:producer, options),
         do: Error.wrap(:brod.start_producer(client, topic, options))
  end

  @doc """
  Produces one message without waiting for the answer, which `await/2` does. Waits while the buffer of the partition is
  full. Only the process that produced may wait; one that does not want to know discards `{:brod_produce_reply, ...}`
  messages, or uses `:brod.produce_no_ack/5`.
  """
  @spec produce(Brod.Client.name(), String.t(), message(), keyword()) ::
          {:ok, call()} | {:error, Error.t()}
  def produce(client, topic, message, options \\ []) do
    with :ok <- Options.check_all(:produce, options),
         do: send_one(client, topic, message, options)
  end

  @doc "The call of `produce/4`, or raises."
  @spec produce!(Brod.Client.name(), String.t(), message(), keyword()) :: call()
  def produce!(client, topic, message, options \\ []) do
    Error.bang!(produce(client, topic, message, options))
  end

  @doc "Waits for the answer to a `produce/4` of the calling process."
  @spec await(call(), timeout()) :: {:ok, ack()} | {:error, Error.t()}
  def await({partition, call}, timeout \\ Options.default(:produce, :timeout))
      when timeout == :infinity or timeout in 0..0xFFFF_FFFF do
    case :brod.sync_produce_request_offset(call, timeout) do
      {:ok, offset} -> {:ok, %{partition: partition, offset: offset}}
      {:error, reason} -> {:error, Error.new(reason)}
    end
  end

  @doc "Produces one message and waits until it is stored as `:required_acks` demands: by all in-sync replicas."
  @spec produce_sync(Brod.Client.name(), String.t(), message(), keyword()) ::
          {:ok, ack()} | {:error, Error.t()}
  def produce_sync(client, topic, message, options \\ []) do
    with {:ok, call} <- produce(client, topic, message, options),
         do: await(call, timeout(options))
  end

  @doc "The result of `produce_sync/4`, or raises."
  @spec produce_sync!(Brod.Client.name(), String.t(), message(), keyword()) :: ack()
  def produce_sync!(client, topic, message, options \\ []) do
    Error.bang!(produce_sync(client, topic, message, options))
  end

  @doc """
  A stream that produces each message of `messages` as it is run, and whose elements are the results, in order:
  `{:ok, ack}` or `{:error, error}`. No more than `:in_flight` (1000) messages are unanswered: when Kafka is
  slower than the source, the source waits.

      File.stream!("events.jsonl")
      |> Brod.Producer.produce_stream(:kafka, "events")
      |> Enum.each(fn {:ok, _} -> :ok end)
  """
  @spec produce_stream(Enumerable.t(), Brod.Client.name(), String.t(), keyword()) :: Enumerable.t()
  def produce_stream(messages, client, topic, options \\ []) do
    Error.bang!(Options.check_all(:produce_stream, options))
    limit = Options.get(:produce_stream, options, :in_flight)
    timeout = timeout(options)

    Stream.transform(
      messages,
      fn -> {:queue.new(), 0} end,
      fn message, {queue, count} ->
        queue = :queue.in(send_one(client, topic, message, options), queue)

        if count < limit do
          {[], {queue, count + 1}}
        else
          {{:value, oldest}, queue} = :queue.out(queue)
          {[result(oldest, timeout)], {queue, count}}
        end
      end,
      fn {queue, _} ->
        {Stream.map(:queue.to_list(queue), &result(&1, timeout)), {:queue.new(), 0}}
      end,
      # Who takes only some of the results has produced all the same, and wants no answers in its mailbox.
      fn {queue, _} -> Enum.each(:queue.to_list(queue), &result(&1, timeout)) end
    )
  end

  defp timeout(options), do: Options.get(:produce, options, :timeout)

  defp result({:ok, call}, timeout), do: await(call, timeout)
  defp result({:error, _} = error, _timeout), do: error

  defp send_one(client, topic, message, options) do
    {key, value} = input(message)

    with :ok <- check(message),
         {:ok, partition} <- partition(client, topic, key, value, options) do
      case :brod.produce(client, topic, partition, key, value) do
        {:ok, call} -> {:ok, {partition, call}}
        {:error, reason} -> {:error, Error.new(reason)}
      end
    end
  end

  defp partition(client, topic, key, value, options) do
    case Options.get(:produce, options, :partition) do
      partition when is_integer(partition) ->
        {:ok, partition}

      partitioner ->
        case :brod.get_partitions_count(client, topic) do
          {:ok, count} -> {:ok, :brod_partitioner.partition(partitioner, topic, count, key, value)}
          {:error, reason} -> {:error, Error.new(reason)}
        end
    end
  end

  # A field that is misspelt would be left out without a word. A struct is somebody's own, such as a `Brod.Message`.
  @doc false
  @spec check(message()) :: :ok | {:error, Error.t()}
  def check(message) when is_map(message) and not is_struct(message) do
    cond do
      not is_map_key(message, :value) -> {:error, Error.new({:missing_field, :value})}
      Enum.count(@fields, &is_map_key(message, &1)) == map_size(message) -> :ok
      true -> {:error, Error.new(unknown_field(message))}
    end
  end

  def check(_message), do: :ok

  defp unknown_field(message) do
    field = message |> Map.drop(@fields) |> Map.keys() |> hd()
    nearest = :brod_option_table.nearest(field, @fields)
    {:unknown_field, field, if(nearest == :undefined, do: nil, else: nearest)}
  end

  @doc false
  @spec input(message()) :: {iodata(), iodata() | map()}
  def input({key, value}), do: {key || "", value || ""}

  def input(%{value: value} = message) do
    key = Map.get(message, :key) || ""

    extra =
      for name <- [:headers, :ts], given = Map.get(message, name), into: %{}, do: {name, given}

    {key, Map.merge(extra, %{key: key, value: value || ""})}
  end

  def input(value), do: {"", value || ""}
end
