defmodule Brod do
  @moduledoc """
  A Kafka client.

    * `Brod.Client` - connections to a cluster, in your supervision tree;
    * `Brod.Producer` - writes messages;
    * `Brod.GroupSubscriber` - a member of a consumer group; `Brod.TopicSubscriber` - reads without a group;
    * `Brod.Consumer`, `stream/3` - reads by hand;
    * `Brod.Transaction` - writes messages and offsets so that readers see all or nothing;
    * `Brod.Admin` - topics, groups, offsets.

  They answer `{:ok, value}`, `:ok` or `{:error, %Brod.Error{}}`, and an option that does not exist is such an error. An argument of
  a type that it cannot have is an exception.
  They stand on the Erlang modules (`:brod` and others), which may be used beside them.
  """

  alias Brod.{Admin, Consumer, Error, Options}

  @doc """
  A stream of the messages (`Brod.Message`) that a topic has when it is run. It ends at the end of the topic as that was
  at the start, and is read lazily: no more than one fetch ahead of whoever takes from it. Each partition is in order.

      Brod.stream(:kafka, "prices", from: {:timestamp, yesterday}) |> Enum.count()

  Options:

    * `:partitions` - numbers, or `:all` (the default);
    * `:from` - `:earliest` (the default), `:latest`, an offset, or `{:timestamp, ms}`;
    * `:follow` - `true`: waits at the end for what comes, and never ends by itself;
    * those of `Brod.Consumer.fetch/5`.

  What fails is raised as a `Brod.Error`.
  """
  @spec stream(Brod.Client.name(), String.t(), keyword()) :: Enumerable.t()
  def stream(client, topic, options \\ []) do
    {own, fetch} = options |> Options.list() |> Keyword.split([:partitions, :from, :follow])

    names = :brod_options.known(:stream) ++ :brod_options.known(:fetch)
    Error.bang!(Options.known(:stream, options, names))
    Error.bang!(Options.check_all(:stream, own))
    follow? = Options.get(:stream, own, :follow)

    Stream.resource(
      fn -> positions(client, topic, own, follow?) end,
      &next(&1, client, topic, fetch, follow?),
      fn _ -> :ok end
    )
  end

  # {partition, offset, end}; the end of what is followed is never reached.
  defp positions(client, topic, own, follow?) do
    from = Options.get(:stream, own, :from)

    for partition <- partitions(client, topic, Options.get(:stream, own, :partitions)) do
      last = Error.bang!(Admin.offset(client, topic, partition, :latest))

      {partition, first(client, topic, partition, from, last),
       if(follow?, do: :infinity, else: last)}
    end
  end

  defp partitions(_client, _topic, partitions) when is_list(partitions), do: partitions

  defp partitions(client, topic, :all) do
    Enum.to_list(0..(Error.bang!(Admin.partitions(client, topic)) - 1))
  end

  defp first(_client, _topic, _partition, offset, _last) when is_integer(offset), do: offset
  defp first(_client, _topic, _partition, :latest, last), do: last

  defp first(client, topic, partition, from, last) do
    case Error.bang!(Admin.offset(client, topic, partition, from)) do
      # Nothing is as young as this.
      -1 -> last
      offset -> offset
    end
  end

  defp next([], _client, _topic, _fetch, _follow?), do: {:halt, []}

  defp next([{_, offset, last} | rest], _client, _topic, _fetch, _follow?) when offset >= last,
    do: {[], rest}

  defp next([{partition, offset, last} | rest], client, topic, fetch, follow?) do
    # One that waits at its end must not keep the others waiting.
    fetch = if follow? and rest != [], do: Keyword.put_new(fetch, :max_wait_time, 100), else: fetch
    {_, messages} = Error.bang!(Consumer.fetch(client, topic, partition, offset, fetch))

    case Enum.filter(messages, &(&1.offset < last)) do
      [] when follow? -> {[], rest ++ [{partition, offset, last}]}
      # The end, or an open transaction, which hides what comes after it.
      [] -> {[], rest}
      taken -> {taken, rest ++ [{partition, List.last(messages).offset + 1, last}]}
    end
  end
end
