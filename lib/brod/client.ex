defmodule Brod.Client do
  @moduledoc """
  A client: the connections to a Kafka cluster, under a name that everything else asks for.

      children = [
        {Brod.Client, name: :kafka, endpoints: "localhost:9092"},
        MyApp.Orders
      ]

  Options:

    * `:name` - an atom, `:brod_default_client` unless given;
    * `:endpoints` - brokers to ask first: `"host:9092,other:9092"`, or a list of such texts or of
      `{host, port}`;
    * every option of a client in `docs/options.md`, such as `ssl: true` or
      `sasl: {:scram_sha_512, "user", "secret"}`. `:auto_start_producers` is `true` here unless it is given.

  A client that cannot reach any broker is started again after `:restart_delay_seconds`, and takes nobody
  with it: calls answer `{:error, %Brod.Error{reason: :client_down}}` meanwhile. So the process in your
  supervision tree is one that keeps the client, and stops it when it ends.
  """

  use GenServer
  alias Brod.{Error, Options}

  @default_port 9092
  @poll_ms 20

  @type name :: atom()
  @type option ::
          {:name, name()}
          | {:endpoints,
             String.t()
             | [String.t() | {String.t() | charlist() | :inet.ip_address(), :inet.port_number()}]}
          | {atom(), term()}

  @doc "Starts a client, for a supervisor."
  @spec start_link([option()]) :: {:ok, pid()} | {:error, Error.t()}
  def start_link(options) do
    with {:ok, args} <- args(options) do
      case GenServer.start_link(__MODULE__, args) do
        {:ok, pid} -> {:ok, pid}
        {:error, {:shutdown, %Error{} = error}} -> {:error, error}
        {:error, reason} -> {:error, Error.new(reason)}
      end
    end
  end

  @doc "Starts a client that lives until `stop/1`, under brod's own supervisor. `:ok` also if it is running."
  @spec start([option()]) :: :ok | {:error, Error.t()}
  def start(options) do
    with {:ok, {name, endpoints, config}} <- args(options) do
      Error.wrap(start_client(endpoints, name, config))
    end
  end

  @doc "Stops a client with its producers and consumers; `:ok` also if there is none."
  @spec stop(name()) :: :ok
  def stop(name), do: :brod.stop_client(name)

  @doc "A child specification; the id is the client's name, so that a supervisor may have several."
  @spec child_spec([option()]) :: Supervisor.child_spec()
  def child_spec(options) do
    id = {__MODULE__, options |> Options.list() |> Keyword.get(:name, :brod_default_client)}
    %{id: id, start: {__MODULE__, :start_link, [options]}, shutdown: 10_000}
  end

  @doc """
  Waits until the client has reached a broker, at most `timeout` milliseconds. The error says why each endpoint could not be
  used when that was tried last.
  """
  @spec await_connected(name(), pos_integer()) :: :ok | {:error, Error.t()}
  def await_connected(name, timeout \\ 10_000) when is_integer(timeout) do
    await(name, System.monotonic_time(:millisecond) + timeout)
  end

  @doc "The endpoints as a list of `{host, port}`, from any form in which they may be given."
  @spec endpoints(term()) :: {:ok, [{charlist() | String.t(), pos_integer()}]} | {:error, Error.t()}
  def endpoints(text) when is_binary(text) do
    text |> String.split([",", " "], trim: true) |> endpoints()
  end

  def endpoints([_ | _] = list) when length(list) > 0 do
    parsed = Enum.map(list, &endpoint/1)
    if :error in parsed, do: bad_endpoints(list), else: {:ok, parsed}
  end

  def endpoints(other), do: bad_endpoints(other)

  defp bad_endpoints(given), do: {:error, Error.new({:bad_option, :endpoints, given})}

  defp endpoint({nil, _port}), do: :error
  defp endpoint({host, port}) when is_integer(port) and port in 1..65_535, do: {host, port}

  defp endpoint(text) when is_binary(text) do
    case String.valid?(text) && Regex.run(~r/\A(?:\[([^\]]+)\]|([^:\[\]]+))(?::(\d+))?\z/, text) do
      # Of groups at the end that have matched nothing there is nothing.
      [_, six] -> {String.to_charlist(six), @default_port}
      [_, six, host] -> {String.to_charlist(six <> host), @default_port}
      [_, six, host, port] -> endpoint({String.to_charlist(six <> host), String.to_integer(port)})
      _ -> :error
    end
  end

  defp endpoint(_), do: :error

  defp args(options) do
    {name, options} = options |> Options.list() |> Keyword.pop(:name, :brod_default_client)
    {endpoints, options} = Keyword.pop(options, :endpoints)
    config = Keyword.put_new(options, :auto_start_producers, true)

    with :ok <- Options.check(:client, config),
         :ok <- name(name),
         :ok <- Options.present([endpoints: endpoints], [:endpoints]),
         {:ok, endpoints} <- endpoints(endpoints),
         do: {:ok, {name, endpoints, config}}
  end

  defp name(name) when is_atom(name) and name not in [nil, true, false], do: :ok
  defp name(name), do: {:error, Error.new({:bad_name, name})}

  defp not_connected(name, :client_down) do
    if Process.whereis(:brod_sup) && name in :brod_sup.clients(),
      do: {:not_connected, name, :brod_stats.why_down(name)},
      else: :client_down
  end

  # It ended while it was asked.
  defp not_connected(name, {:client_down, [{{_host, _port}, {_, _}} | _] = failures}),
    do: {:not_connected, name, IO.chardata_to_string(:brod_connect_failure.describe(failures))}

  defp not_connected(_name, reason), do: reason

  defp start_client(endpoints, name, config) do
    if Process.whereis(:brod_sup),
      do: :brod.start_client(endpoints, name, config),
      else: {:error, :brod_not_started}
  end

  defp await(name, deadline) do
    case :brod_client.get_metadata_safe(name, []) do
      {:ok, _} ->
        :ok

      {:error, reason} ->
        if System.monotonic_time(:millisecond) >= deadline do
          {:error, Error.new(not_connected(name, reason))}
        else
          Process.sleep(@poll_ms)
          await(name, deadline)
        end
    end
  end

  @impl true
  def init({name, endpoints, config}) do
    Process.flag(:trap_exit, true)

    case start_client(endpoints, name, config) do
      :ok -> {:ok, name}
      # It could not connect at once, and is tried again.
      {:error, :already_present} -> {:ok, name}
      {:error, reason} -> {:stop, {:shutdown, Error.new(reason)}}
    end
  end

  # Who takes this process for the client must not end it.
  @impl true
  def handle_call(:stop, _from, name), do: {:stop, :normal, :ok, name}
  def handle_call(_request, _from, name), do: {:reply, {:error, {:keeper_of, name}}, name}

  @impl true
  def terminate(_reason, name), do: stop(name)
end
