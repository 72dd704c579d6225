# The main job of a Kafka client, checked: produce with callbacks and with waits, consume through a topic
# subscriber, a raw subscription and a consumer group; every message must arrive exactly once and in order.
#
#   BROD_BOOTSTRAP=127.0.0.1:9092 mix run examples/elixir/demo.exs
#
# Settings, from the environment: BROD_BOOTSTRAP (host:port,...), DEMO_MESSAGES (1000000),
# DEMO_AT_QUARTER: a shell command to run once a quarter of the messages is produced, such as one that
# kills a broker.

defmodule Demo.Sequence do
  @moduledoc "Messages that carry their partition and their number there."
  import Brod.Records

  @size 100

  def value(partition, number), do: <<partition::32, number::64, 0::size((@size - 12) * 8)>>

  @doc "What each partition must deliver next, before anything was delivered."
  def first(partitions), do: Map.new(partitions, &{&1, 0})

  @doc "Exits unless the message is the next one of its partition."
  def check(partition, kafka_message(offset: offset, value: value), next) do
    <<^partition::32, number::64, _::binary>> = value

    case next do
      %{^partition => ^number} ->
        %{next | partition => number + 1}

      %{^partition => expected} ->
        exit(
          {:wrong_message, partition: partition, offset: offset, got: number, expected: expected}
        )
    end
  end
end

defmodule Demo.Subscriber do
  @moduledoc false
  @behaviour :brod_topic_subscriber

  # Nothing is committed anywhere, so begin where the consumer's config says.
  @impl true
  def init(_topic, {parent, total, next}), do: {:ok, [], {parent, total, next}}

  @impl true
  def handle_message(partition, message, {parent, left, next}) do
    if left == 1, do: send(parent, {self(), :all_received})
    {:ok, :ack, {parent, left - 1, Demo.Sequence.check(partition, message, next)}}
  end
end

defmodule Demo.GroupMember do
  @moduledoc "A member of a consumer group, with a process for each partition."
  @behaviour :brod_group_subscriber_v2
  import Brod.Records

  # The counters outlive the process, when its partition moves to another member.
  @impl true
  def init(%{partition: partition}, data), do: {:ok, Map.put(data, :partition, partition)}

  @impl true
  def handle_message(kafka_message(value: value), %{partition: partition} = data) do
    %{handled: handled, each: each, parent: parent} = data
    <<^partition::32, number::64, _::binary>> = value
    expected = :counters.get(handled, partition + 1)
    if number != expected, do: exit({:wrong_message, partition, got: number, expected: expected})
    :ok = :counters.add(handled, partition + 1, 1)
    if number == each - 1, do: send(parent, {:all, self()})
    if number == div(each, 2), do: wait(parent)
    {:ok, :commit, data}
  end

  defp wait(parent) do
    send(parent, {:half, self()})

    receive do
      :go -> :ok
    end
  end
end

defmodule Demo do
  @moduledoc false
  import Brod.Records
  alias Demo.Sequence

  @client :demo_client
  @partitions 0..7
  # How many unacknowledged messages a writer keeps when it waits for replies.
  @window 1000
  # Nothing that the demo waits for may take longer than this many milliseconds.
  @limit 120_000
  @consumer_config [begin_offset: :earliest, prefetch_bytes: 1_048_576]

  def main do
    run()
  catch
    {:failed, step, why} ->
      IO.puts(:stderr, "demo (elixir): step '#{step}' failed: #{inspect(why)}")
      System.halt(1)
  end

  defp run do
    endpoints = endpoints(System.get_env("BROD_BOOTSTRAP", "127.0.0.1:9092"))
    count = Enum.count(@partitions)
    each = div(String.to_integer(System.get_env("DEMO_MESSAGES", "1000000")), count)
    half = div(each, 2)
    topic = "demo-elixir-#{System.os_time(:millisecond)}"
    {:ok, _} = Application.ensure_all_started(:brod)

    step("create the topic", fn -> create_topic(endpoints, topic) end)

    step("start client and producers", fn ->
      :ok = :brod.start_client(endpoints, @client)
      config = [max_retries: -1, retry_backoff_ms: 100, partition_buffer_limit: 1024]
      :ok = :brod.start_producer(@client, topic, config)
    end)

    measure("produce, callbacks", half * count, fn ->
      each_partition(&with_callbacks(topic, &1, half))
    end)

    measure("produce, waits", (each - half) * count, fn ->
      each_partition(&with_waits(topic, &1, half, each, :queue.new(), 0))
    end)

    step("nothing twice, nothing lost", fn ->
      for partition <- @partitions do
        {^partition, {:ok, ^each}} =
          {partition, :brod.resolve_offset(endpoints, topic, partition, :latest)}
      end
    end)

    measure("consume, topic subscriber", each * count, fn ->
      topic_subscriber(topic, each * count)
    end)

    :ok = :brod.stop_client(@client)
    :ok = :brod.start_client(endpoints, @client)
    measure("consume, subscribe", each * count, fn -> subscribe(topic, each * count) end)
    measure("consume, group", each * count, fn -> group(topic, each) end)
    step("delete the topic", fn -> :ok = :brod.delete_topics(endpoints, [topic], 10_000) end)
    :ok = :brod.stop_client(@client)
  end

  defp create_topic(endpoints, topic) do
    config = %{
      name: topic,
      num_partitions: Enum.count(@partitions),
      replication_factor: 3,
      assignments: [],
      configs: []
    }

    :ok = :brod.create_topics(endpoints, [config], %{timeout: 10_000})
    wait_for_leaders(endpoints, topic, System.monotonic_time(:millisecond) + 30_000)
  end

  # A topic exists before all its partitions have a leader.
  defp wait_for_leaders(endpoints, topic, deadline) do
    {:ok, %{topics: [%{error_code: code} = meta]}} = :brod.get_metadata(endpoints, [topic])
    led = Enum.count(Map.get(meta, :partitions, []), &(&1.error_code == :no_error))

    cond do
      led == Enum.count(@partitions) -> :ok
      System.monotonic_time(:millisecond) > deadline -> throw({:no_leaders, code, led})
      true -> wait_for_leaders(endpoints, topic, deadline)
    end
  end

  # One writer a partition, so that the order of its messages is known.
  defp each_partition(write) do
    writers = for partition <- @partitions, do: spawn_monitor(fn -> write.(partition) end)

    for {pid, monitor} <- writers do
      receive do
        {:DOWN, ^monitor, :process, ^pid, reason} -> :normal = reason
      end
    end
  end

  defp with_callbacks(topic, partition, count) do
    acked = :counters.new(1, [])
    parent = self()
    ack = fn _partition, _offset -> :counters.add(acked, 1, 1) end
    last = fn _partition, _offset -> send(parent, :last_acked) end

    for number <- 0..(count - 2) do
      at_quarter(partition, number, div(count, 2))
      value = Sequence.value(partition, number)
      :ok = :brod.produce_cb(@client, topic, partition, "", value, ack)
    end

    value = Sequence.value(partition, count - 1)
    :ok = :brod.produce_cb(@client, topic, partition, "", value, last)

    receive do
      :last_acked -> :ok
    after
      @limit -> exit({:no_ack_within_ms, @limit})
    end

    expected = count - 1
    ^expected = :counters.get(acked, 1)
  end

  defp with_waits(_topic, _partition, to, to, _refs, 0), do: :ok

  defp with_waits(topic, partition, number, to, refs, waiting)
       when number == to or waiting >= @window do
    {{:value, ref}, refs} = :queue.out(refs)

    receive do
      brod_produce_reply(call_ref: ^ref, result: result) -> :brod_produce_req_acked = result
    after
      @limit -> exit({:no_reply_within_ms, @limit})
    end

    with_waits(topic, partition, number, to, refs, waiting - 1)
  end

  defp with_waits(topic, partition, number, to, refs, waiting) do
    value = Sequence.value(partition, number)
    {:ok, ref} = :brod.produce(@client, topic, partition, "", value)
    with_waits(topic, partition, number + 1, to, :queue.in(ref, refs), waiting + 1)
  end

  # The callback half is half of the messages, so its middle is a quarter of them all.
  defp at_quarter(0, quarter, quarter) do
    if command = System.get_env("DEMO_AT_QUARTER") do
      IO.puts("demo (elixir): #{command}")
      spawn(fn -> IO.write(:os.cmd(String.to_charlist(command))) end)
    end
  end

  defp at_quarter(_partition, _number, _quarter), do: :ok

  defp topic_subscriber(topic, total) do
    {:ok, pid} =
      :brod.start_link_topic_subscriber(%{
        client: @client,
        topic: topic,
        cb_module: Demo.Subscriber,
        message_type: :message,
        init_data: {self(), total, Sequence.first(@partitions)},
        consumer_config: @consumer_config
      })

    monitor = Process.monitor(pid)
    Process.unlink(pid)

    receive do
      {^pid, :all_received} -> :ok = :brod_topic_subscriber.stop(pid)
      {:DOWN, ^monitor, :process, ^pid, reason} -> exit(reason)
    after
      @limit -> exit({:not_all_received_within_ms, @limit})
    end
  end

  defp subscribe(topic, total) do
    :ok = :brod.start_consumer(@client, topic, @consumer_config)
    for p <- @partitions, do: {:ok, _pid} = :brod.subscribe(@client, self(), topic, p, [])
    receive_sets(total, Sequence.first(@partitions))
    for p <- @partitions, do: :ok = :brod.unsubscribe(@client, topic, p)
  end

  defp receive_sets(0, _next), do: :ok

  defp receive_sets(left, next) do
    receive do
      {consumer, kafka_message_set(partition: partition, messages: messages)} ->
        next = Enum.reduce(messages, next, &Sequence.check(partition, &1, &2))
        :ok = :brod.consume_ack(consumer, kafka_message(List.last(messages), :offset))
        receive_sets(left - length(messages), next)

      {_consumer, kafka_fetch_error() = error} ->
        exit(error)
    after
      @limit -> exit({:not_all_received_within_ms, @limit, left: left})
    end
  end

  # The second member joins when half of a partition is handled, and takes over half of the partitions.
  defp group(topic, each) do
    group = "demo-group-" <> topic
    handled = :counters.new(Enum.count(@partitions), [])
    data = %{parent: self(), handled: handled, each: each}
    first = start_member(group, topic, data)
    worker = await(:half)
    second = start_member(group, topic, data)
    await_rebalance(first, System.monotonic_time(:millisecond) + @limit)

    # The first member lets go of a partition only when the message in work is handled and committed.
    send(worker, :go)
    for _ <- 2..Enum.count(@partitions), do: send(await(:half), :go)
    for _ <- @partitions, do: await(:all)
    for pid <- [first, second], do: :ok = :brod_group_subscriber_v2.stop(pid)

    {:ok, [%{partitions: committed}]} = :brod.fetch_committed_offsets(@client, group)
    ends = for partition <- @partitions, do: {partition, each}
    ^ends = Enum.sort(for p <- committed, do: {p.partition_index, p.committed_offset})
    for partition <- @partitions, do: ^each = :counters.get(handled, partition + 1)
  end

  defp start_member(group, topic, data) do
    {:ok, pid} =
      :brod.start_link_group_subscriber_v2(%{
        client: @client,
        group_id: group,
        topics: [topic],
        cb_module: Demo.GroupMember,
        init_data: data,
        message_type: :message,
        consumer_config: @consumer_config
      })

    pid
  end

  defp await_rebalance(member, deadline) do
    cond do
      :brod_group_subscriber_v2.health_check(member, 5000) == :rebalancing -> :ok
      System.monotonic_time(:millisecond) > deadline -> exit(:no_rebalance)
      true -> await_rebalance(member, deadline)
    end
  end

  defp await(event) do
    receive do
      {^event, worker} -> worker
    after
      @limit -> exit({:not_within_ms, @limit, event})
    end
  end

  # Runs the function in a process of its own: whatever goes wrong in it names the step.
  defp step(name, fun) do
    {pid, monitor} = spawn_monitor(fn -> fun.() end)

    receive do
      {:DOWN, ^monitor, :process, ^pid, :normal} -> IO.puts("demo (elixir): #{name}: ok")
      {:DOWN, ^monitor, :process, ^pid, reason} -> throw({:failed, name, reason})
    end
  end

  defp measure(name, messages, fun) do
    cpu = cpu_seconds()
    started = System.monotonic_time(:microsecond)
    step(name, fun)
    seconds = (System.monotonic_time(:microsecond) - started) / 1_000_000
    cpu = :erlang.float_to_binary(cpu_seconds() - cpu, decimals: 2)
    rate = round(messages / seconds)
    IO.puts("demo (elixir): #{name}: #{messages} messages, #{rate} msgs/s, #{cpu} CPU s")
  end

  # CPU time of this whole VM, its native threads included (Linux; 0 elsewhere).
  defp cpu_seconds do
    case File.read("/proc/self/stat") do
      {:ok, stat} ->
        [_, fields] = String.split(stat, ") ", parts: 2)
        [user, system] = fields |> String.split() |> Enum.slice(11, 2)
        (String.to_integer(user) + String.to_integer(system)) / 100

      {:error, _} ->
        0.0
    end
  end

  defp endpoints(text) do
    for endpoint <- String.split(text, ",", trim: true) do
      [host, port] = String.split(endpoint, ":")
      {host, String.to_integer(port)}
    end
  end
end

Demo.main()
