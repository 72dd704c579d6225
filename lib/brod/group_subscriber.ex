defmodule Brod.GroupSubscriber do
  @moduledoc """
  A member of a consumer group, with a process for each partition it is assigned.

      defmodule MyApp.Orders do
        use Brod.GroupSubscriber, client: :kafka, group_id: "orders", topics: ["orders"]

        @impl true
        def handle_message(message, state) do
          IO.puts(message.value)
          {:ok, :commit, state}
        end
      end

      children = [{Brod.Client, name: :kafka, endpoints: "localhost:9092"}, MyApp.Orders]

  Options are those of `:brod_group_subscriber_v2.start_link/1` (`:client`, `:group_id`, `:topics`, `:init_data`,
  `:message_type`, `:consumer_config`, `:group_config`). They come from `use`, over them from the configuration
  where `use` has an `:otp_app` (`config :my_app, MyApp.Orders, client: :other`), and over that from who starts it.
  An option that does not exist is an error that names the nearest one.

  With `message_type: :message_set` a module has `handle_batch/2` instead of `handle_message/2`.
  """

  alias Brod.{Error, Message, Options}
  import Brod.Records

  @behaviour :brod_group_subscriber_v2
  @required [:client, :group_id, :topics]

  @type result(state) :: {:ok, :commit, state} | {:ok, :ack, state} | {:ok, state}

  @doc "Called in the process of a partition when it starts. Unless it is there, the state is `:init_data`."
  @callback init(:brod_group_subscriber_v2.init_info(), term()) :: {:ok, state :: term()}

  @doc """
  Called for each message. `:commit`: it is done with, and its offset is committed; `:ack`: it is only done with;
  neither: the funs of the `init/2` info tell later.
  """
  @callback handle_message(Message.t(), state :: term()) :: result(term())

  @doc "Called for each set of messages, with `message_type: :message_set`. The result is about all of them."
  @callback handle_batch([Message.t(), ...], state :: term()) :: result(term())

  @doc "Called for any other message that the process of a partition gets."
  @callback handle_info(term(), state :: term()) :: {:noreply, state :: term()}

  @doc "Called when the process of a partition ends."
  @callback terminate(reason :: term(), state :: term()) :: term()

  @optional_callbacks handle_message: 2, handle_batch: 2, handle_info: 2, terminate: 2

  @doc false
  defmacro __using__(options) do
    quote location: :keep do
      @behaviour Brod.GroupSubscriber

      @doc "Starts the member, linked to the caller."
      def start_link(options \\ []) do
        Brod.GroupSubscriber.start_link(
          __MODULE__,
          Brod.Options.merged(__MODULE__, unquote(options), options)
        )
      end

      @doc "A child of a supervisor."
      def child_spec(options) do
        %{id: __MODULE__, start: {__MODULE__, :start_link, [options]}, shutdown: 10_000}
      end

      @impl Brod.GroupSubscriber
      def init(_info, init_data), do: {:ok, init_data}

      defoverridable child_spec: 1, init: 2
    end
  end

  @doc "Starts a member whose callbacks are those of `module`, linked to the caller."
  @spec start_link(module(), keyword()) :: {:ok, pid()} | {:error, Error.t()}
  def start_link(module, options) do
    with {:ok, config} <-
           Options.subscriber(:group_subscriber, __MODULE__, module, options, @required),
         do: Error.wrap(:brod_group_subscriber_v2.start_link(config))
  end

  @doc "Stops the member: it commits, leaves the group, and this waits for that."
  @spec stop(pid()) :: :ok
  defdelegate stop(pid), to: :brod_group_subscriber_v2

  @impl true
  @doc false
  def init(%{topic: topic, partition: partition} = info, {module, init_data}) do
    {:ok, state} = module.init(info, init_data)
    {:ok, {module, topic, partition, state}}
  end

  @impl true
  @doc false
  def handle_message(kafka_message_set() = set, {module, _, _, state} = all) do
    set |> Message.from_set() |> module.handle_batch(state) |> keep(all)
  end

  def handle_message(record, {module, topic, partition, state} = all) do
    record |> Message.from_record(topic, partition) |> module.handle_message(state) |> keep(all)
  end

  @impl true
  @doc false
  def handle_info(message, {module, _, _, state} = all) do
    if function_exported?(module, :handle_info, 2),
      do: message |> module.handle_info(state) |> keep(all),
      else: {:noreply, all}
  end

  @impl true
  @doc false
  def terminate(reason, {module, _, _, state}) do
    if function_exported?(module, :terminate, 2), do: module.terminate(reason, state)
  end

  defp keep({:ok, done, state}, all) when done in [:ack, :commit],
    do: {:ok, done, put_elem(all, 3, state)}

  defp keep({tag, state}, all) when tag in [:ok, :noreply], do: {tag, put_elem(all, 3, state)}

  defp keep(other, all),
    do:
      raise(
        ArgumentError,
        "a callback of #{inspect(elem(all, 0))} has to answer {:ok, :commit, state}, {:ok, :ack, state} or {:ok, state}, " <>
          "and answered #{inspect(other, limit: 10)}"
      )
end
