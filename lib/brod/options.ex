defmodule Brod.Options do
  @moduledoc false
  # What the `Brod` modules do with options before brod sees them: what brod would only warn of is an error here.

  alias Brod.Error

  # Options that hold options of another kind.
  @nested [
    consumer_config: :consumer,
    group_config: :group,
    producer_config: :producer,
    default_producer_config: :producer,
    transaction_config: :transaction
  ]

  @type kind :: atom()

  @doc "`:ok`, or the first option that is not known of these, also of those inside others."
  @spec check(kind(), keyword() | map(), [atom()]) :: :ok | {:error, Error.t()}
  def check(kind, options, extra \\ []) do
    with :ok <- names(kind, options, extra), do: nested(options)
  end

  @doc "As `check/3`, of a subscriber or another starter whose options are these alone."
  @spec check_only(kind(), keyword() | map(), [atom()]) :: :ok | {:error, Error.t()}
  def check_only(kind, options, known) do
    with :ok <- unknown(kind, options, known), do: nested(options)
  end

  @doc "`:ok`, or which of these options is missing."
  @spec present(keyword() | map(), [atom()]) :: :ok | {:error, Error.t()}
  def present(options, keys) do
    given = Map.new(options)

    case Enum.find(keys, &(Map.get(given, &1) == nil)) do
      nil -> :ok
      key -> {:error, Error.new({:missing_option, key})}
    end
  end

  @doc "The options of `:brod.fetch/5`."
  @spec fetch() :: [atom()]
  def fetch do
    [:max_wait_time, :min_bytes, :max_bytes, :max_batch_bytes, :max_memory, :isolation_level]
  end

  @doc """
  What a subscriber of brod is started with: `adapter`, whose callbacks call those of `module`. Or what is wrong with
  the options.
  """
  @spec subscriber(kind(), module(), module(), keyword(), required: [atom()], known: [atom()]) ::
          {:ok, map()} | {:error, Error.t()}
  def subscriber(kind, adapter, module, options, required: required, known: known) do
    with :ok <- check_only(kind, options, known),
         :ok <- present(options, required),
         :ok <- handler(module, Keyword.get(options, :message_type, :message)) do
      {:ok,
       options
       |> Map.new()
       |> Map.put_new(:message_type, :message)
       |> Map.merge(%{cb_module: adapter, init_data: {module, options[:init_data]}})}
    end
  end

  @doc "Options of a module: those of the application environment, over those of `use`, under those given."
  @spec merged(module(), keyword(), keyword()) :: keyword()
  def merged(module, of_use, given) do
    {otp_app, of_use} = Keyword.pop(of_use, :otp_app)
    configured = if otp_app, do: Application.get_env(otp_app, module, []), else: []
    of_use |> Keyword.merge(configured) |> Keyword.merge(given)
  end

  # Whether a subscriber's module has the callback that its messages go to.
  defp handler(module, type) when type in [:message, :message_set] do
    name = if type == :message, do: :handle_message, else: :handle_batch

    if Code.ensure_loaded?(module) and function_exported?(module, name, 2),
      do: :ok,
      else: {:error, Error.new({:bad_callback_module, module, "#{name}/2"})}
  end

  defp handler(_module, type), do: {:error, Error.new({:bad_option, :message_type, type})}

  defp names(kind, options, extra) do
    unknown(kind, options, extra ++ :brod_options.known(kind))
  end

  defp unknown(kind, options, known) do
    case :brod_options.unknown(options, known) do
      [] -> :ok
      [{key, nearest} | _] -> {:error, Error.new({:unknown_option, kind, key, nearest(nearest)})}
    end
  end

  defp nested(options) do
    given = :brod_options.to_map(options)

    Enum.find_value(@nested, :ok, fn {key, kind} ->
      case given do
        %{^key => inner} when is_list(inner) or is_map(inner) -> failed(names(kind, inner, []))
        _ -> nil
      end
    end)
  end

  defp failed(:ok), do: nil
  defp failed(error), do: error

  defp nearest(:undefined), do: nil
  defp nearest(name), do: name
end
