defmodule Brod.Consumer do
  @moduledoc """
  Reads partitions, message set by message set, in a process of your own. `Brod.TopicSubscriber` and
  `Brod.GroupSubscriber` do this for you; `Brod.stream/3` reads what is there.

      :ok = Brod.Consumer.start(:kafka, "prices")
      {:ok, consumer} = Brod.Consumer.subscribe(:kafka, "prices", 0, begin_offset: :earliest)

      receive do
        {^consumer, set} ->
          {:ok, messages} = Brod.Consumer.messages(set)
          Brod.Consumer.ack(consumer, List.last(messages).offset)
      end
  """

  alias Brod.{Error, Message, Options}
  import Brod.Records

  @doc "Starts the consumers of a topic, with options of `docs/options.md`; `:ok` also if they are running."
  @spec start(Brod.Client.name(), String.t(), keyword()) :: :ok | {:error, Error.t()}
  def start(client, topic, options \\ []) do
    with :ok <- Options.check_all(:consumer, options),
         do: Error.wrap(:brod.start_consumer(client, topic, options))
  end

  @doc "Has the messages of a partition sent to the calling process, as `{consumer, set}`: see `messages/1`."
  @spec subscribe(Brod.Client.name(), String.t(), non_neg_integer(), keyword()) ::
          {:ok, pid()} | {:error, Error.t()}
  def subscribe(client, topic, partition, options \\ []) do
    with :ok <- Options.check_all(:consumer, options),
         do: Error.wrap(:brod.subscribe(client, self(), topic, partition, options))
  end

  @doc "The messages of a set that a subscriber has got, or the error that it has got instead."
  @spec messages(tuple()) :: {:ok, [Message.t()]} | {:error, Error.t()}
  def messages(kafka_message_set() = set), do: {:ok, Message.from_set(set)}

  def messages(kafka_fetch_error(error_code: code)), do: {:error, Error.new(code)}

  @doc "All messages up to `offset` are worked on: more may be fetched."
  @spec ack(pid(), integer()) :: :ok | {:error, Error.t()}
  def ack(consumer, offset) when is_pid(consumer),
    do: Error.wrap(:brod.consume_ack(consumer, offset))

  @doc "Ends the calling process's subscription."
  @spec unsubscribe(pid()) :: :ok | {:error, Error.t()}
  def unsubscribe(consumer), do: Error.wrap(:brod.unsubscribe(consumer))

  @doc "Stops fetching a partition until `resume/3`."
  @spec pause(Brod.Client.name(), String.t(), non_neg_integer()) :: :ok | {:error, Error.t()}
  def pause(client, topic, partition), do: Error.wrap(:brod.pause(client, topic, partition))

  @doc "Goes on after `pause/3`."
  @spec resume(Brod.Client.name(), String.t(), non_neg_integer()) :: :ok | {:error, Error.t()}
  def resume(client, topic, partition), do: Error.wrap(:brod.resume(client, topic, partition))

  @doc "Has the subscriber go on at an offset, `:earliest`, `:latest` or `{:timestamp, ms}`."
  @spec seek(Brod.Client.name(), String.t(), non_neg_integer(), term()) ::
          :ok | {:error, Error.t()}
  def seek(client, topic, partition, where),
    do: Error.wrap(:brod.seek(client, topic, partition, where))

  @doc "How many messages each subscribed partition is behind; `:undefined` before the first fetch."
  @spec lag(Brod.Client.name(), String.t()) ::
          {:ok, %{non_neg_integer() => non_neg_integer() | :undefined}} | {:error, Error.t()}
  def lag(client, topic), do: Error.wrap(:brod.lag(client, topic))

  @doc """
  Fetches what stands at an offset, at once. Answers the end that readers may see, and messages: none at that end.
  Options: those of `:brod.fetch/5`.
  """
  @spec fetch(Brod.Client.name(), String.t(), non_neg_integer(), integer(), keyword()) ::
          {:ok, {integer(), [Message.t()]}} | {:error, Error.t()}
  def fetch(client, topic, partition, offset, options \\ []) do
    with :ok <- Options.check_all(:fetch, options) do
      case Error.catching(fn -> :brod.fetch(client, topic, partition, offset, Map.new(options)) end) do
        {:ok, {stable, messages}} ->
          {:ok, {stable, Enum.map(messages, &Message.from_record(&1, topic, partition, stable))}}

        {:error, reason} ->
          {:error, Error.new(reason)}
      end
    end
  end
end
