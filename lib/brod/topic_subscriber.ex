defmodule Brod.TopicSubscriber do
  @moduledoc """
  Reads all or some partitions of a topic, without a group, in one process.

      defmodule MyApp.Prices do
        use Brod.TopicSubscriber, client: :kafka, topic: "prices", consumer_config: [begin_offset: :earliest]

        @impl true
        def handle_message(message, state), do: {:ok, :ack, Map.put(state || %{}, message.key, message.value)}
      end

  Options are those of `:brod_topic_subscriber.start_link/1` (`:client`, `:topic`, `:partitions`, `:init_data`,
  `:message_type`, `:consumer_config`), and come from where those of `Brod.GroupSubscriber` come from.
  With `message_type: :message_set` a module has `handle_batch/2` instead of `handle_message/2`.
  """

  alias Brod.{Error, Message, Options}
  import Brod.Records

  @behaviour :brod_topic_subscriber
  @required [:client, :topic]

  @type result(state) :: {:ok, :ack, state} | {:ok, state}

  @doc """
  Called once. The offsets are those of the last messages that were handled; partitions that are not among them begin
  at the `:begin_offset` of the consumer options. Unless it is there: no offsets, and `:init_data` as the state.
  """
  @callback init(topic :: String.t(), init_data :: term()) ::
              {:ok, :brod_topic_subscriber.committed_offsets(), state :: term()}

  @doc "Called for each message. Without `:ack` it counts as being worked on until `ack/3`."
  @callback handle_message(Message.t(), state :: term()) :: result(term())

  @doc "Called for each set of messages, with `message_type: :message_set`."
  @callback handle_batch([Message.t(), ...], state :: term()) :: result(term())

  @doc "Called for any other message that the process gets."
  @callback handle_info(term(), state :: term()) :: {:noreply, state :: term()}

  @doc "Called when the process ends."
  @callback terminate(reason :: term(), state :: term()) :: term()

  @optional_callbacks handle_message: 2, handle_batch: 2, handle_info: 2, terminate: 2

  @doc false
  defmacro __using__(options) do
    quote location: :keep do
      @behaviour Brod.TopicSubscriber

      @doc "Starts the subscriber, linked to the caller."
      def start_link(options \\ []) do
        Brod.TopicSubscriber.start_link(
          __MODULE__,
          Brod.Options.merged(__MODULE__, unquote(options), options)
        )
      end

      @doc "A child of a supervisor."
      def child_spec(options) do
        %{id: __MODULE__, start: {__MODULE__, :start_link, [options]}}
      end

      @impl Brod.TopicSubscriber
      def init(_topic, init_data), do: {:ok, [], init_data}

      defoverridable child_spec: 1, init: 2
    end
  end

  @doc "Starts a subscriber whose callbacks are those of `module`, linked to the caller."
  @spec start_link(module(), keyword()) :: {:ok, pid()} | {:error, Error.t()}
  def start_link(module, options) do
    with {:ok, config} <-
           Options.subscriber(:topic_subscriber, __MODULE__, module, options, @required),
         do: Error.wrap(:brod_topic_subscriber.start_link(config))
  end

  @doc "Acknowledges the messages of a partition up to this offset."
  @spec ack(pid(), non_neg_integer(), integer()) :: :ok
  defdelegate ack(pid, partition, offset), to: :brod_topic_subscriber

  @doc "Stops the subscriber after the message that it is at."
  @spec stop(pid()) :: :ok
  defdelegate stop(pid), to: :brod_topic_subscriber

  @impl true
  @doc false
  def init(topic, {module, init_data}) do
    {:ok, offsets, state} = module.init(topic, init_data)
    {:ok, offsets, {module, topic, state}}
  end

  @impl true
  @doc false
  def handle_message(_partition, kafka_message_set() = set, {module, _, state} = all) do
    set |> Message.from_set() |> module.handle_batch(state) |> keep(all)
  end

  def handle_message(partition, record, {module, topic, state} = all) do
    record |> Message.from_record(topic, partition) |> module.handle_message(state) |> keep(all)
  end

  @impl true
  @doc false
  def handle_info(message, {module, _, state} = all) do
    if function_exported?(module, :handle_info, 2),
      do: message |> module.handle_info(state) |> keep(all),
      else: {:noreply, all}
  end

  @impl true
  @doc false
  def terminate(reason, {module, _, state}) do
    if function_exported?(module, :terminate, 2), do: module.terminate(reason, state)
  end

  defp keep({:ok, :ack = done, state}, all), do: {:ok, done, put_elem(all, 2, state)}
  defp keep({tag, state}, all) when tag in [:ok, :noreply], do: {tag, put_elem(all, 2, state)}

  defp keep(other, all),
    do:
      raise(
        ArgumentError,
        "a callback of #{inspect(elem(all, 0))} has to answer {:ok, :ack, state} or {:ok, state}, " <>
          "and answered #{inspect(other, limit: 10)}"
      )
end
