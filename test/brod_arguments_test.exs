defmodule Brod.ArgumentsTest do
  @moduledoc "What cannot be asked for is an error in words: no crash deep inside, no wait, and no silence."
  use ExUnit.Case, async: true

  @moduletag :mock
  @limit 30_000

  defmodule Deaf do
    @moduledoc false
    use Brod.GroupSubscriber
    @impl true
    def handle_message(_message, state), do: {:ok, :commit, state}
  end

  defmodule Reader do
    @moduledoc false
    use Brod.TopicSubscriber
    @impl true
    def handle_message(_message, state), do: {:ok, :ack, state}
  end

  setup do
    mock =
      start_supervised!({Brod.Mock, topics: %{"t" => 2, "nil" => 1}, auto_create_topics: false})

    name = :"arguments-#{System.unique_integer([:positive])}"
    start_supervised!({Brod.Client, name: name, endpoints: Brod.Mock.endpoints(mock)})
    :ok = Brod.Client.await_connected(name, @limit)
    %{mock: mock, client: name}
  end

  defp reason({:error, %Brod.Error{reason: reason} = error}) do
    assert Exception.message(error) != ""
    reason
  end

  test "nil is no topic's name, and deletes none", %{client: c} do
    assert reason(Brod.Admin.delete_topics(c, [nil])) == {:bad_topic, nil}
    assert reason(Brod.Admin.delete_topics(c, ["t" | "nil"])) == {:bad_topics, "nil"}
    assert {:ok, ["nil", "t"]} = Brod.Admin.topics(c)
  end

  test "options may be a map, and nil is no option", %{client: c, mock: mock} do
    assert {:ok, %{partition: 1}} = Brod.Producer.produce_sync(c, "t", "v", %{partition: 1})
    assert {:ok, _} = Brod.Producer.produce_sync(c, "t", "v", partition: nil, timeout: nil)
    assert [{:ok, _}] = Enum.to_list(Brod.Producer.produce_stream(["v"], c, "t", in_flight: nil))

    assert Enum.count(Brod.stream(c, "t", %{from: :earliest})) == 3
    assert Enum.count(Brod.stream(c, "t", partitions: nil, from: nil, follow: nil)) == 3
    assert :ok = Brod.Admin.create_topic(c, "new", %{partitions: 1, replication_factor: nil})

    assert {:ok, _} =
             Brod.Transaction.run(
               c,
               "map",
               &Brod.Transaction.produce(&1, "t", "v", %{partition: 0})
             )

    other = :"#{c}-map"
    assert :ok = Brod.Client.start(%{name: other, endpoints: Brod.Mock.endpoints(mock)})
    assert :ok = Brod.Client.stop(other)
    assert %{id: {Brod.Client, ^other}} = Brod.Client.child_spec(%{name: other})
  end

  test "options that are none are told so", %{client: c} do
    for fun <- [
          &Brod.Client.start/1,
          &Brod.Client.start_link/1,
          &Brod.Client.child_spec/1,
          &Brod.stream(c, "t", &1),
          &Brod.Producer.produce(c, "t", "v", &1),
          &Brod.Producer.produce_stream(["v"], c, "t", &1),
          &Brod.Admin.create_topic(c, "new", &1),
          &Brod.GroupSubscriber.start_link(Deaf, &1)
        ],
        options <- [1, "x", {:a, 1}, [{:name, :x} | :y]] do
      error = assert_raise ErlangError, fn -> fun.(options) end
      assert error.original == {:bad_options, options}
    end
  end

  test "endpoints that are none", %{client: c} do
    for endpoints <- [[<<255>>], [{nil, 9092}], [{"h", 1} | :x], ["h:1" | "h:2"], 'h:1'] do
      assert reason(Brod.Client.start(name: :"#{c}-none", endpoints: endpoints)) ==
               {:bad_option, :endpoints, endpoints}
    end

    assert {:error, {:bad_option, :endpoints, _}} =
             :brod.start_client([{:undefined, 9092}], :"#{c}-none", [])
  end

  test "the process that keeps a client is not the client, and goes on", %{mock: mock, client: c} do
    name = :"#{c}-kept"
    {:ok, keeper} = Brod.Client.start_link(name: name, endpoints: Brod.Mock.endpoints(mock))
    assert reason(Brod.Producer.produce_sync(keeper, "t", "v")) == {:keeper_of, name}
    assert {:error, {:keeper_of, ^name}} = :brod.get_partitions_count(keeper, "t")
    assert :ok = Brod.Client.await_connected(name, @limit)
    # Who stops it stops the client.
    assert :ok = Brod.Client.stop(keeper)
    assert reason(Brod.Producer.produce_sync(name, "t", "v")) == :client_down
    refute Process.alive?(keeper)
  end

  test "what is no client's name", %{client: c} do
    for bad <- ["#{c}", 1, %{}],
        do: assert(catch_error(Brod.Client.stop(bad)) == {:bad_client, bad})
  end

  test "a value that a consumer would be warned of is an error, also if it runs already", %{
    client: c
  } do
    :ok = Brod.Consumer.start(c, "t")

    for fun <- [&Brod.Consumer.start(c, "t", &1), &Brod.Consumer.subscribe(c, "t", 0, &1)],
        {name, value} <- [isolation_level: :x, offset_reset_policy: :x, begin_offset: "x"] do
      assert reason(fun.([{name, value}])) == {:bad_option, name, value}
    end

    # A limit beyond which nothing is.
    assert :ok = Brod.Consumer.start(c, "t", max_wait_time: -1)

    assert reason(Brod.Consumer.subscribe(c, "t", %Brod.Error{reason: 1, message: ""})) |> elem(0) ==
             :consumer_not_found
  end

  test "to seek to nil is an error, not to start over", %{client: c} do
    :ok = Brod.Consumer.start(c, "t")
    {:ok, _} = Brod.Consumer.subscribe(c, "t", 0)

    for none <- [nil, :undefined],
        do:
          assert(reason(Brod.Consumer.seek(c, "t", 0, none)) == {:bad_option, :begin_offset, none})
  end

  test "a subscriber is not started with what ends it at once", %{client: c} do
    good = [client: c, group_id: "g", topics: ["t"]]

    for {name, value} <- [consumer_config: 1, group_config: :x] do
      assert reason(Brod.GroupSubscriber.start_link(Deaf, [{name, value} | good])) ==
               {:bad_option, name, value}
    end

    assert reason(
             Brod.GroupSubscriber.start_link(Deaf, [{:consumer_config, [begin_offset: "x"]} | good])
           ) ==
             {:bad_option, :begin_offset, "x"}

    for none <- ["Deaf", 1, {Deaf, 1}, NoSuchModule] do
      assert {:bad_callback_module, ^none, _} = reason(Brod.GroupSubscriber.start_link(none, good))
    end

    {:ok, member} = Brod.GroupSubscriber.start_link(Deaf, [{:consumer_config, nil} | good])
    assert :ok = Brod.GroupSubscriber.stop(member)
  end

  test "what has a name is stopped by it", %{client: c} do
    {:ok, reader} = Brod.TopicSubscriber.start_link(Reader, client: c, topic: "t")
    Process.register(reader, :"#{c}-reader")
    assert :ok = Brod.TopicSubscriber.stop(:"#{c}-reader")
    refute Process.alive?(reader)
    assert :ok = Brod.TopicSubscriber.stop(:"#{c}-reader")
  end

  test "a transaction that has ended is an error", %{client: c} do
    alias Brod.Transaction

    for own <- [fn tx -> :ok = Transaction.abort(tx) end, fn tx -> :ok = Transaction.commit(tx) end] do
      assert reason(Transaction.run(c, "ended", own)) == :transaction_ended
    end

    assert reason(
             Transaction.run(c, "ended", fn tx ->
               :ok = Transaction.abort(tx)
               {:error, :mine}
             end)
           ) == :mine

    # The user's own exception is the one that goes on.
    assert_raise RuntimeError, "mine", fn ->
      Transaction.run(c, "ended", fn tx ->
        :ok = Transaction.commit(tx)
        raise "mine"
      end)
    end

    {:ok, tx} = Transaction.begin(c, "ended")
    :ok = Transaction.abort(tx)
    assert reason(Transaction.produce(tx, "t", "v")) == :transaction_ended
    assert reason(Transaction.add_offsets(tx, "g", %{{"t", 0} => 1})) == :transaction_ended
  end

  test "a fun that names a partition that is none is told at once", %{client: c} do
    for none <- [2, -1, 1_000_000_000_000_000_000_000] do
      {us, result} =
        :timer.tc(fn -> in_transaction(c, partition: fn _, _, _, _ -> {:ok, none} end) end)

      assert reason(result) == :unknown_topic_or_partition
      assert us < 30_000_000
    end
  end

  test "offsets that are no list", %{client: c} do
    improper = [{{"t", 0}, 1} | 1]
    add = &Brod.Transaction.add_offsets(&1, "g", improper)
    assert reason(Brod.Transaction.run(c, "improper", add)) == {:bad_offsets, improper}
  end

  test "what a broker cannot be asked is told in words", %{client: c} do
    for fun <- [
          fn -> Brod.Admin.committed(c, <<255>>) end,
          fn -> Brod.Admin.delete_topics(c, [<<255>>]) end,
          fn -> Brod.Consumer.start(c, <<255>>) end
        ] do
      text =
        try do
          fun.()
        rescue
          error -> Exception.format_banner(:error, error, __STACKTRACE__)
        end

      assert text =~ "expected "
    end

    for time <- [{:timestamp, -1}, {:timestamp, Bitwise.bsl(1, 70)}, Bitwise.bsl(1, 70)],
        do: assert(catch_error(Brod.Admin.offset(c, "t", 0, time)) == {:bad_time, time})
  end

  defp in_transaction(client, options),
    do: Brod.Transaction.run(client, "fun", &Brod.Transaction.produce(&1, "t", "v", options))
end
