defmodule Brod.Transaction do
  @moduledoc """
  Messages, and offsets of a group, that readers with `:read_committed` (the default here) see all or not at all.

      Brod.Transaction.run(:kafka, "transfers-1", fn transaction ->
        with {:ok, _} <- Brod.Transaction.produce(transaction, "accounts", {"a", "-10"}),
             {:ok, _} <- Brod.Transaction.produce(transaction, "accounts", {"b", "+10"}),
             do: {:ok, :transferred}
      end)

  Each process needs a transactional id of its own: to begin with one ends what another has open with it. A transaction that was
  committed or aborted has ended, and answers `:transaction_ended` as the reason of an error.
  """

  alias Brod.{Error, Options}

  @type t :: pid()

  @doc """
  Runs `fun` with a transaction, and commits when it answers `:ok` or `{:ok, value}`. When it answers
  `{:error, reason}` the transaction is aborted, and so it is when it raises or exits, which goes on. Any other answer is
  an `ArgumentError`, and aborts, too. Options: those of transactions in `docs/options.md`.
  """
  @spec run(
          Brod.Client.name(),
          String.t(),
          (t() -> :ok | {:ok, value} | {:error, term()}),
          keyword()
        ) ::
          :ok | {:ok, value} | {:error, Error.t()}
        when value: term()
  def run(client, id, fun, options \\ []) when is_function(fun, 1) do
    with {:ok, transaction} <- begin(client, id, options) do
      result =
        try do
          fun.(transaction)
        catch
          kind, reason ->
            _ = abort(transaction)
            :erlang.raise(kind, reason, __STACKTRACE__)
        end

      finish(result, transaction)
    end
  end

  defp finish({:error, reason}, transaction) do
    _ = abort(transaction)
    {:error, Error.new(reason)}
  end

  defp finish(:ok, transaction), do: commit(transaction)

  defp finish({:ok, _} = result, transaction) do
    with :ok <- commit(transaction), do: result
  end

  defp finish(other, transaction) do
    _ = abort(transaction)

    raise ArgumentError,
          "the fun of Brod.Transaction.run/4 has to answer :ok, {:ok, value} or {:error, reason}, and answered " <>
            "#{inspect(other, limit: 10)}: the transaction is aborted"
  end

  @doc "Begins a transaction, linked to the caller."
  @spec begin(Brod.Client.name(), String.t(), keyword()) :: {:ok, t()} | {:error, Error.t()}
  def begin(client, id, options \\ []) do
    with :ok <- Options.check(:transaction, options),
         do: Error.wrap(:brod.transaction(client, id, options))
  end

  @doc "Produces a message as `Brod.Producer` describes it, and waits for its offset. Option: `:partition`."
  @spec produce(t(), String.t(), Brod.Producer.message(), keyword()) ::
          {:ok, integer()} | {:error, Error.t()}
  def produce(transaction, topic, message, options \\ []) do
    with :ok <- Options.check_all(:produce, options),
         :ok <- Brod.Producer.check(message) do
      {key, value} = Brod.Producer.input(message)
      partition = Options.get(:produce, options, :partition)
      asked(fn -> :brod.txn_produce(transaction, topic, partition, key, value) end)
    end
  end

  @doc """
  Makes offsets of a group part of the transaction: `%{{topic, partition} => offset}`. They become the group's as they are
  given here, and are where its members go on: one after the last message that is done with.

  `:brod_transaction_processor` does it differently, as in brod 4: it adds the offset of the last message itself, and its
  members begin after that. So a group is either that module's, or its offsets are added here; one that changes from one
  to the other handles a message of each partition twice, or leaves one out.
  """
  @spec add_offsets(t(), String.t(), %{{String.t(), non_neg_integer()} => integer()}) ::
          :ok | {:error, Error.t()}
  def add_offsets(transaction, group, offsets),
    do: asked(fn -> :brod.txn_add_offsets(transaction, group, offsets) end)

  @doc "Commits. After `reason: :timeout` nobody knows whether it is committed."
  @spec commit(t()) :: :ok | {:error, Error.t()}
  def commit(transaction), do: asked(fn -> :brod.commit(transaction) end)

  @doc "Aborts."
  @spec abort(t()) :: :ok | {:error, Error.t()}
  def abort(transaction), do: asked(fn -> :brod.abort(transaction) end)

  # In Erlang a transaction that has ended is an exit, as of any process that is gone.
  defp asked(fun) do
    Error.wrap(fun.())
  catch
    :exit, {reason, {:gen_server, :call, _}} when reason in [:noproc, :normal] ->
      {:error, Error.new(:transaction_ended)}

    :exit, {reason, {:gen_server, :call, _}} ->
      {:error, Error.new({:transaction_down, reason})}
  end
end
