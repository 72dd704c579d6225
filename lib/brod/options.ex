defmodule Brod.Options do
  @moduledoc false
  # What the `Brod` modules do with options before brod sees them: what brod would only warn of is an error here.

  alias Brod.Error

  @type kind :: atom()

  @doc "`:ok`, or the first option that is not known of these, also of those inside others."
  @spec check(kind(), keyword() | map()) :: :ok | {:error, Error.t()}
  def check(kind, options) do
    with :ok <- known(kind, options, :brod_options.known(kind)),
         :ok <- nested(kind, options, &check/2),
         do: contradiction(kind, options)
  end

  @doc "As `check/2`, and of their values: for those that no Erlang function checks."
  @spec check_all(kind(), keyword() | map()) :: :ok | {:error, Error.t()}
  def check_all(kind, options) do
    with :ok <- check(kind, options) do
      case :brod_option_table.check_given(kind, options) do
        {:ok, _, replaced} -> usable(kind, replaced, options)
        {:error, reason} -> {:error, Error.option(kind, reason)}
      end
    end
  end

  # What nobody can use, and brod leaves out with a warning. A number beyond a limit means the limit, as in brod.
  defp usable(kind, replaced, options) do
    case Enum.find(replaced, fn {name, value, _} -> unusable?(kind, name, value) end) do
      nil -> nested(kind, options, &check_all/2)
      {name, value, _} -> {:error, Error.option(kind, {:bad_option, name, value})}
    end
  end

  defp unusable?(kind, name, value) do
    {_, of, _, _, _} = kind |> :brod_option_table.rows() |> List.keyfind(name, 0)
    :brod_option_kinds.value(of, value) == :error
  end

  @doc "Options as a list, which a map becomes. Anything else is an error in words."
  @spec list(term()) :: keyword()
  def list(options), do: options |> :brod_options.to_map() |> Map.to_list()

  @doc "An option, or its default: where it is not given, and where it is `nil`."
  @spec get(kind(), keyword() | map(), atom()) :: term()
  def get(kind, options, name), do: :brod_options.given_at(kind, name, options)

  @doc "The default of an option."
  @spec default(kind(), atom()) :: term()
  def default(kind, name) do
    {:ok, default} = :brod_option_table.default(kind, name)
    default
  end

  @doc "`:ok`, or which of these options is missing."
  @spec present(keyword() | map(), [atom()]) :: :ok | {:error, Error.t()}
  def present(options, keys) do
    given = :brod_options.to_map(options)

    case Enum.find(keys, &(Map.get(given, &1) == nil)) do
      nil -> :ok
      key -> {:error, Error.new({:missing_option, key})}
    end
  end

  @doc """
  What a subscriber of brod is started with: `adapter`, whose callbacks call those of `module`. Or what is wrong with
  the options.
  """
  @spec subscriber(kind(), module(), module(), keyword(), [atom()]) ::
          {:ok, map()} | {:error, Error.t()}
  def subscriber(kind, adapter, module, options, required) do
    with :ok <- known(kind, options, :brod_options.known(kind) -- [:cb_module]),
         :ok <- nested(kind, options, &check_all/2),
         :ok <- present(options, required),
         given = for({name, value} <- list(options), value != nil, into: %{}, do: {name, value}),
         :ok <- handler(module, Map.get(given, :message_type, :message)) do
      {:ok,
       given
       |> Map.put_new(:message_type, :message)
       |> Map.merge(%{cb_module: adapter, init_data: {module, given[:init_data]}})}
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

    if is_atom(module) and Code.ensure_loaded?(module) and function_exported?(module, name, 2),
      do: :ok,
      else: {:error, Error.new({:bad_callback_module, module, "#{name}/2"})}
  end

  defp handler(_module, type), do: {:error, Error.new({:bad_option, :message_type, type})}

  @doc "`:ok`, or the first option that is none of these names."
  @spec known(kind(), keyword() | map(), [atom()]) :: :ok | {:error, Error.t()}
  def known(kind, options, names) do
    case :brod_options.unknown(options, names) do
      [] -> :ok
      [{key, nearest} | _] -> {:error, Error.new({:unknown_option, kind, key, nearest(nearest)})}
    end
  end

  # Options that hold options of another kind.
  defp nested(kind, options, check) do
    given = :brod_options.to_map(options)

    Enum.find_value(:brod_option_table.rows(kind), :ok, fn
      {key, {:options, inner_kind}, _, _, _} ->
        case given do
          %{^key => inner} when is_list(inner) or is_map(inner) ->
            failed(check.(inner_kind, inner))

          %{^key => inner} when inner != nil ->
            {:error, Error.option(kind, {:bad_option, key, inner})}

          _ ->
            nil
        end

      _ ->
        nil
    end)
  end

  # What cannot be together, which brod tells of one option alone.
  defp contradiction(:producer, options) do
    case :brod_options.to_map(options) do
      %{enable_idempotence: true, required_acks: acks} when acks not in [-1, :all, :all_isr, nil] ->
        {:error, Error.new({:contradiction, [:enable_idempotence, :required_acks], acks})}

      _ ->
        :ok
    end
  end

  defp contradiction(_kind, _options), do: :ok

  defp failed(:ok), do: nil
  defp failed(error), do: error

  defp nearest(:undefined), do: nil
  defp nearest(name), do: name
end
