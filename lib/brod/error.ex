defmodule Brod.Error do
  @moduledoc """
  What went wrong, and what to do about it.

    * `reason` - the term that the Erlang functions answer, for code that decides by it;
    * `message` - the same as a sentence;
    * `hint` - what usually helps, or `nil` where nothing more is known.

  Functions of the `Brod` modules answer `{:error, %Brod.Error{}}`; those that end with `!` raise it.
  """

  @enforce_keys [:reason, :message]
  defexception [:reason, :message, :hint]

  @type t :: %__MODULE__{reason: term(), message: String.t(), hint: String.t() | nil}

  @doc "An error of this reason, with what is known about it."
  @spec new(term()) :: t()
  def new(%__MODULE__{} = error), do: error

  def new(reason) do
    {message, hint} = explain(reason)
    %__MODULE__{reason: reason, message: message, hint: hint}
  end

  @impl true
  def exception(%__MODULE__{} = error), do: error
  def exception(options) when is_list(options), do: new(Keyword.fetch!(options, :reason))

  @impl true
  def message(%__MODULE__{message: message, hint: nil}), do: message
  def message(%__MODULE__{message: message, hint: hint}), do: message <> ". " <> hint

  @doc false
  @spec wrap(:ok | {:ok, value} | {:error, term()}) :: :ok | {:ok, value} | {:error, t()}
        when value: term()
  def wrap(:ok), do: :ok
  def wrap({:ok, value}), do: {:ok, value}
  def wrap({:error, reason}), do: {:error, new(reason)}

  @doc false
  @spec bang!(:ok | {:ok, value} | {:error, t()}) :: :ok | value when value: term()
  def bang!(:ok), do: :ok
  def bang!({:ok, value}), do: value
  def bang!({:error, error}), do: raise(error)

  @doc false
  # Of an option of this kind, where options of other kinds may have its name.
  @spec option(atom(), {:bad_option, term(), term()}) :: t()
  def option(kind, reason) do
    {:may_be, text} = :brod_option_table.right(kind, reason)
    %{new(reason) | hint: "It may be: #{text}."}
  end

  # Functions of brod that ask brokers directly throw when none can be reached.
  @doc false
  @spec catching((() -> result)) :: result | {:error, term()} when result: term()
  def catching(fun) do
    fun.()
  catch
    :throw, {:failed_to_connect, _} = reason -> {:error, reason}
  end

  defp explain({:unknown_option, kind, key, nearest}) do
    {"#{inspect(key)} is no option of #{kind}", nearest && "Did you mean #{inspect(nearest)}?"}
  end

  defp explain({:missing_option, key}) do
    {"the option #{inspect(key)} is missing", "It has no default: give it, or configure it."}
  end

  defp explain({:bad_option, _, _} = reason) do
    hint =
      case :brod_option_table.right(reason) do
        {:meant, name} -> "Did you mean #{inspect(name)}?"
        {:may_be, text} -> "It may be: #{text}."
        {:see, where} -> "See #{where}."
      end

    {wrong(reason), hint}
  end

  defp explain({:bad_name, name}) do
    {"the name of a client cannot be #{inspect(name, limit: 8)}", "It is an atom, such as :kafka."}
  end

  defp explain({:keeper_of, name}) do
    {"the process that Brod.Client.start_link/1 answers keeps the client, and is not it",
     "The client is asked for by its name, #{inspect(name)}."}
  end

  defp explain({:bad_topic, topic}) do
    {"the name of a topic cannot be #{inspect(topic, limit: 8)}",
     "It is a binary, such as \"orders\"."}
  end

  defp explain({:bad_topics, topics}) do
    {"topics cannot be #{inspect(topics, limit: 8)}",
     "They are a list of names, such as [\"orders\"]."}
  end

  defp explain({:bad_group_id, group}) do
    {"the name of a group cannot be #{inspect(group, limit: 8)}",
     "It is a binary, such as \"billing\"."}
  end

  defp explain({:missing_field, field}) do
    {"a message needs #{inspect(field)}", "Where there is none it is nil."}
  end

  defp explain({:unknown_field, field, nearest}) do
    {"a message has no #{inspect(field)}",
     if(nearest,
       do: "Did you mean #{inspect(nearest)}?",
       else: "It has :value, and may have :key, :headers and :ts."
     )}
  end

  defp explain({:contradiction, [:enable_idempotence, :required_acks], acks}) do
    {"required_acks: #{inspect(acks)} contradicts enable_idempotence: true",
     "An idempotent producer needs the answer of all replicas: leave required_acks out, or set enable_idempotence: :auto."}
  end

  defp explain({:bad_callback_module, module, expected}) do
    {"#{inspect(module)} does not export #{expected}", "A subscriber has to handle messages."}
  end

  defp explain(:brod_not_started) do
    {"the application :brod is not started",
     "Have it among your dependencies in mix.exs, or call Application.ensure_all_started(:brod)."}
  end

  defp explain({:not_connected, name, :undefined}) do
    {"the client #{inspect(name)} has not reached a broker in time",
     "Nothing has failed so far: it may need longer."}
  end

  defp explain({:not_connected, name, why}) do
    {"the client #{inspect(name)} has not reached a broker: #{why}",
     "It tries again after restart_delay_seconds."}
  end

  defp explain(:client_down) do
    {"no client of that name is running, or it has not reached a broker yet",
     "Start Brod.Client before whatever uses it, and look at the log for why it cannot connect."}
  end

  defp explain({:client_down, why}) do
    {"the client is not running: #{inspect(why, limit: 8)}",
     "The log says why it ended. Check the endpoints, TLS and SASL of its options."}
  end

  defp explain(
         {:producer_down, {:not_retriable, {:produce_response_error, topic, partition, _, code}}}
       ) do
    {text, hint} = explain(code)

    {"the broker has refused the message for partition #{inspect(partition)} of #{inspect(topic)}: #{text}",
     hint}
  end

  defp explain({:producer_down, why}) do
    {"the message is not confirmed: #{why(why)}",
     "It may or may not be stored. Produce it again if a duplicate does less harm than a loss."}
  end

  defp explain({:producer_not_found, topic}) do
    {"the topic #{inspect(topic)} has no producer",
     "Call Brod.Producer.start/3 first, or start the client with auto_start_producers: true."}
  end

  defp explain({:producer_not_found, topic, partition}) do
    {"partition #{inspect(partition)} of #{inspect(topic)} has no producer",
     "Check that the topic has that many partitions: Brod.Admin.partitions/2 tells."}
  end

  defp explain({:consumer_not_found, topic}) do
    {"the topic #{inspect(topic)} has no consumer", "Call Brod.Consumer.start/3 first."}
  end

  defp explain({:consumer_not_found, topic, partition}) do
    {"partition #{inspect(partition)} of #{inspect(topic)} has no consumer",
     "Check that the topic has that many partitions: Brod.Admin.partitions/2 tells."}
  end

  defp explain({:already_subscribed_by, pid}) do
    {"#{inspect(pid)} reads this partition already",
     "In one client a partition has one subscriber: use a client of its own for the second one."}
  end

  defp explain({:failed_to_connect, failures}) do
    {"no broker could be reached: " <> Enum.map_join(failures, "; ", &failure/1),
     "Check host and port, and whether TLS or SASL is expected there."}
  end

  defp explain(:timeout) do
    {"there was no answer in time",
     "The broker may be busy or gone, or the buffer full. Whether the request took effect is not known."}
  end

  defp explain(:unknown_topic_or_partition) do
    {"the broker does not know this topic or partition",
     "Check its name, or create it with Brod.Admin.create_topic/3."}
  end

  defp explain(:invalid_topic_exception) do
    {"a topic cannot have this name",
     "It has letters, digits, dots, _ and -, and 249 of them at most."}
  end

  defp explain(:topic_already_exists), do: {"the topic exists already", nil}

  defp explain(:topic_authorization_failed) do
    {"the broker does not allow this user to use the topic",
     "Give the user the ACL that is missing: Read, Write or Create, and Describe."}
  end

  defp explain(:group_authorization_failed) do
    {"the broker does not allow this user to use the group",
     "Give the user the ACL Read on the group."}
  end

  defp explain(:transactional_id_authorization_failed) do
    {"the broker does not allow this user to use the transactional id",
     "Give the user the ACLs Write and Describe on the transactional id."}
  end

  defp explain(:message_too_large) do
    {"the message is larger than the topic allows",
     "Raise max.message.bytes of the topic, compress, or send less at once."}
  end

  defp explain(:not_enough_replicas) do
    {"fewer replicas are in sync than the topic demands",
     "Look for brokers that are down; min.insync.replicas of the topic says how many it takes."}
  end

  defp explain(:offset_out_of_range) do
    {"there is nothing at this offset",
     "It was deleted by retention, or is not written yet. offset_reset_policy says where to go on."}
  end

  defp explain(:invalid_producer_epoch) do
    {"another producer with the same transactional id has begun",
     "Give each process a transactional id of its own."}
  end

  defp explain(:transaction_timed_out) do
    {"the transaction was open for longer than transaction_timeout, and is aborted",
     "Do less in one transaction, or raise the option."}
  end

  defp explain(:transaction_ended) do
    {"the transaction has ended",
     "It was committed or aborted before, or its process is gone: begin another one."}
  end

  defp explain({:transaction_down, why}) do
    {"the transaction's process has ended meanwhile: #{why(why)}",
     "It may or may not be committed. The broker aborts what is open after transaction_timeout."}
  end

  defp explain({:missing_ref, _}), do: {"the call is not known any more", nil}
  defp explain(:no_subscriber), do: {"nobody reads this partition", "Subscribe first."}

  defp explain(text) when is_binary(text), do: {text, nil}

  defp explain(reason) when is_atom(reason) do
    {"Kafka or the client says #{reason}", nil}
  end

  defp explain(reason), do: {inspect(reason, limit: 20, printable_limit: 500), nil}

  defp wrong({:bad_option, {of, name}, :unknown}), do: "#{inspect(name)} is no option of #{of}"

  defp wrong({:bad_option, {of, name}, :missing}),
    do: "the option #{inspect(name)} of #{of} is missing"

  defp wrong({:bad_option, {of, name}, :not_supported}),
    do: "the engine does not have the option #{inspect(name)} of #{of}"

  defp wrong({:bad_option, {of, name}, why}),
    do: "the option #{inspect(name)} of #{of} cannot be used: #{inspect(why, limit: 8)}"

  defp wrong({:bad_option, :sasl, {:unknown_mechanism, name}}),
    do: "#{inspect(name)} is no mechanism of sasl"

  defp wrong({:bad_option, :sasl, why}),
    do: "the option :sasl cannot be used: #{inspect(why, limit: 8)}"

  defp wrong({:bad_option, key, value}),
    do: "the option #{inspect(key)} cannot be #{inspect(value, limit: 8)}"

  defp why(reason) when is_atom(reason), do: reason |> explain() |> elem(0)
  defp why(reason), do: inspect(reason, limit: 12)

  defp failure({{host, port}, {reason, stack}}) when is_list(stack) do
    "#{host}:#{port} #{inspect(reason, limit: 6)}"
  end

  defp failure({{host, port}, reason}), do: "#{host}:#{port} #{inspect(reason, limit: 6)}"
  defp failure(other), do: inspect(other, limit: 8)
end
