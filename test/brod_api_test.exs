defmodule Brod.ApiTest do
  @moduledoc false
  use ExUnit.Case, async: true

  @moduletag :kafka
  @limit 30_000

  setup do
    id = "api-#{System.unique_integer([:positive])}-#{System.os_time()}"
    client = String.to_atom(id)
    start_supervised!({Brod.Client, name: client, endpoints: System.fetch_env!("BROD_BOOTSTRAP")})
    :ok = Brod.Client.await_connected(client, @limit)
    :ok = Brod.Admin.create_topic(client, id, partitions: 2, replication_factor: 1)
    assert Brod.Admin.partitions(client, id) == {:ok, 2}
    %{client: client, topic: id}
  end

  test "what is produced is streamed back, each partition in order", %{client: c, topic: topic} do
    assert {:ok, %{partition: 1, offset: 0}} =
             Brod.Producer.produce_sync(c, topic, %{key: "k", value: "a", headers: [{"h", "1"}]},
               partition: 1
             )

    assert %{partition: 1, offset: 1} =
             Brod.Producer.produce_sync!(c, topic, {"k", "b"}, partition: 1)

    {:ok, call} = Brod.Producer.produce(c, topic, "c", partition: 0)
    assert {:ok, %{partition: 0, offset: 0}} = Brod.Producer.await(call)

    messages = Enum.to_list(Brod.stream(c, topic))

    assert Enum.sort(for m <- messages, do: {m.partition, m.offset, m.value}) == [
             {0, 0, "c"},
             {1, 0, "a"},
             {1, 1, "b"}
           ]

    assert %Brod.Message{key: "k", topic: ^topic} = first = Enum.find(messages, &(&1.value == "a"))
    assert Brod.Message.header(first, "h") == "1"
    assert [%{value: "b"}] = Enum.to_list(Brod.stream(c, topic, partitions: [1], from: 1))
    assert [] = Enum.to_list(Brod.stream(c, topic, from: :latest))
  end

  test "a stream that follows gets what comes later", %{client: c, topic: topic} do
    follower = Task.async(fn -> c |> Brod.stream(topic, follow: true) |> Enum.take(2) end)
    Brod.Producer.produce_sync!(c, topic, "a", partition: 0)
    Brod.Producer.produce_sync!(c, topic, "b", partition: 1)
    assert ["a", "b"] = follower |> Task.await(@limit) |> Enum.map(& &1.value) |> Enum.sort()
  end

  test "a stream of messages is produced no faster than it is answered", %{client: c, topic: topic} do
    test = self()
    source = Stream.each(1..50, &send(test, {:asked_for, &1})) |> Stream.map(&"#{&1}")
    results = source |> Brod.Producer.produce_stream(c, topic, partition: 0, in_flight: 5)
    assert [{:ok, %{offset: 0}}] = Enum.take(results, 1)
    # Six: one is answered, five are on their way.
    assert_received {:asked_for, 6}
    refute_received {:asked_for, 7}
    assert length(Enum.to_list(results)) == 50
    assert Enum.count(Brod.stream(c, topic)) == 56
    refute_received {:brod_produce_reply, _, _, _}
  end

  test "a process that subscribes gets sets, and acknowledges", %{client: c, topic: topic} do
    Brod.Producer.produce_sync!(c, topic, "a", partition: 0)
    :ok = Brod.Consumer.start(c, topic)
    {:ok, consumer} = Brod.Consumer.subscribe(c, topic, 0, begin_offset: :earliest)
    assert_receive {^consumer, set}, @limit
    assert {:ok, [%Brod.Message{value: "a", offset: offset}]} = Brod.Consumer.messages(set)
    assert :ok = Brod.Consumer.ack(consumer, offset)
    test = self()

    spawn_link(fn ->
      send(test, {:second, Brod.Consumer.subscribe(c, topic, 0)})
    end)

    assert_receive {:second, {:error, %Brod.Error{reason: {:already_subscribed_by, _}}}}, @limit
  end

  test "a transaction is seen when it is committed, and never when it is aborted", %{
    client: c,
    topic: topic
  } do
    assert {:ok, :done} =
             Brod.Transaction.run(c, topic, fn tx ->
               {:ok, _} = Brod.Transaction.produce(tx, topic, "yes", partition: 0)
               :ok = Brod.Transaction.add_offsets(tx, topic, %{{topic, 1} => 4})
               {:ok, :done}
             end)

    assert {:error, %Brod.Error{reason: :no}} =
             Brod.Transaction.run(c, topic, fn tx ->
               {:ok, _} = Brod.Transaction.produce(tx, topic, "no", partition: 0)
               {:error, :no}
             end)

    assert_raise RuntimeError, fn ->
      Brod.Transaction.run(c, topic, fn tx ->
        {:ok, _} = Brod.Transaction.produce(tx, topic, "never", partition: 0)
        raise "oh"
      end)
    end

    assert ["yes"] = c |> Brod.stream(topic) |> Enum.map(& &1.value)
    assert {:ok, %{{^topic, 1} => 4}} = Brod.Admin.committed(c, topic)
    assert {:ok, topics} = Brod.Admin.topics(c)
    assert topic in topics
  end

  defmodule Prices do
    @moduledoc false
    use Brod.TopicSubscriber, consumer_config: [begin_offset: :earliest]

    @impl true
    def handle_message(message, test) do
      send(test, {:price, message.value})
      {:ok, :ack, test}
    end

    @impl true
    def handle_info(message, test) do
      send(test, {:info, message})
      {:noreply, test}
    end
  end

  test "a topic subscriber of a few lines", %{client: c, topic: topic} do
    Brod.Producer.produce_sync!(c, topic, "a", partition: 0)
    pid = start_supervised!({Prices, client: c, topic: topic, init_data: self()})
    assert_receive {:price, "a"}, @limit
    send(pid, :hello)
    assert_receive {:info, :hello}, @limit
  end

  defmodule Orders do
    @moduledoc false
    use Brod.GroupSubscriber, otp_app: :brod_api_test, consumer_config: [begin_offset: :earliest]

    @impl true
    def handle_message(message, test) do
      send(test, {:order, message.partition, message.value})
      {:ok, :commit, test}
    end
  end

  defmodule Batches do
    @moduledoc false
    use Brod.GroupSubscriber, message_type: :message_set, consumer_config: [begin_offset: :earliest]

    @impl true
    def handle_batch(messages, test) do
      send(test, {:batch, Enum.map(messages, & &1.value)})
      {:ok, :commit, test}
    end
  end

  test "a member of a group, configured by its application, commits when it is stopped", context do
    %{client: c, topic: topic} = context
    Application.put_env(:brod_api_test, Orders, client: c, group_id: topic, topics: [topic])
    Brod.Producer.produce_sync!(c, topic, "a", partition: 0)
    Brod.Producer.produce_sync!(c, topic, "b", partition: 1)
    start_supervised!({Orders, init_data: self()})
    assert_receive {:order, 0, "a"}, @limit
    assert_receive {:order, 1, "b"}, @limit
    :ok = stop_supervised(Orders)
    assert {:ok, %{{^topic, 0} => 1, {^topic, 1} => 1}} = Brod.Admin.committed(c, topic)
    assert {:ok, groups} = Brod.Admin.groups(c)
    assert topic in groups

    start_supervised!(
      {Batches, client: c, group_id: topic <> "-2", topics: [topic], init_data: self()}
    )

    assert_receive {:batch, ["a"]}, @limit
  end

  defmodule Plain do
    @moduledoc false
    @behaviour :brod_group_subscriber_v2
    require Brod.Records

    @impl true
    def init(_info, test), do: {:ok, test}

    @impl true
    def handle_message(message, test) do
      send(test, {:plain, Brod.Records.kafka_message(message, :value)})
      {:ok, :commit, test}
    end
  end

  test "Erlang's starters are children of a supervisor by their name", %{client: c, topic: topic} do
    Brod.Producer.produce_sync!(c, topic, "a", partition: 0)

    config = %{
      client: c,
      group_id: topic,
      topics: [topic],
      cb_module: Plain,
      init_data: self(),
      message_type: :message,
      consumer_config: [begin_offset: :earliest]
    }

    start_supervised!({:brod_group_subscriber_v2, config})
    assert_receive {:plain, "a"}, @limit
    {:ok, {endpoints, _}} = :brod_client.get_bootstrap(c)
    other = :"#{topic}-other"
    start_supervised!({:brod_client, {endpoints, other, []}})
    assert :ok = Brod.Client.await_connected(other, @limit)
    start_supervised!({:brod_producer, {other, topic, 0, []}})
    assert {:ok, _} = Brod.Producer.produce_sync(other, topic, "b", partition: 0)
    start_supervised!({:brod_consumer, {other, topic, 0, []}})
  end
end

defmodule Brod.ApiMistakesTest do
  @moduledoc "What the modules say to mistakes; no Kafka is needed to make them."
  use ExUnit.Case, async: true

  defmodule Deaf do
    @moduledoc false
  end

  test "a misspelt option is an error that names the nearest one" do
    for {result, text} <- [
          {Brod.Client.start(endpoints: "localhost", conect_timeout: 1),
           "Did you mean :connect_timeout?"},
          {Brod.Client.start(endpoints: "localhost", default_producer_config: [max_retry: 1]),
           ":max_retry is no option of producer. Did you mean :max_retries?"},
          {Brod.Producer.start(:none, "t", compresion: :gzip), "Did you mean :compression?"},
          {Brod.Consumer.start(:none, "t", begin_ofset: 1), "Did you mean :begin_offset?"},
          {Brod.Producer.produce(:none, "t", "v", partiton: 1), "Did you mean :partition?"},
          {Brod.Transaction.begin(:none, "t", timeuot: 1), "Did you mean :timeout?"},
          {Brod.Admin.create_topic(:none, "t", partition: 3), "Did you mean :partitions?"},
          {Brod.GroupSubscriber.start_link(Deaf, client: :c, group_id: "g", topic: "t"),
           "Did you mean :topics?"},
          {Brod.GroupSubscriber.start_link(Deaf,
             client: :c,
             group_id: "g",
             topics: ["t"],
             group_config: [sesion_timeout_seconds: 1]
           ), "Did you mean :session_timeout_seconds?"}
        ] do
      assert {:error, %Brod.Error{reason: {:unknown_option, _, _, _}} = error} = result
      assert Exception.message(error) =~ text
    end

    assert_raise Brod.Error, ~r/Did you mean :partitions/, fn ->
      Brod.stream(:none, "t", partition: 1)
    end
  end

  test "what is missing, or cannot be, is named" do
    for {result, text} <- [
          {Brod.Client.start(name: :none), "the option :endpoints is missing"},
          {Brod.Client.start(endpoints: "host:port"), "the option :endpoints cannot be"},
          {Brod.Client.start(endpoints: "localhost", connect_timeout: 0),
           "the option :connect_timeout cannot be 0"},
          {Brod.Producer.produce(:no_such_client, "t", "v"), "no client of that name is running"},
          {Brod.Admin.create_topic(:none, "t", configs: ["retention.ms"]),
           "the option :configs cannot be"},
          {Brod.Admin.committed(:none, :group), "the name of a group cannot be :group"},
          {Brod.GroupSubscriber.start_link(Deaf, client: :c, group_id: "g", topics: ["t"]),
           "Deaf does not export handle_message/2"}
        ] do
      assert {:error, %Brod.Error{} = error} = result
      assert Exception.message(error) =~ text
    end
  end

  test "each option of the table is known, and found where it is misspelt" do
    for {level, _, _} <- :brod_option_table.levels(),
        level not in [:application, :create_topics, :cg_commits],
        name <- :brod_option_table.names(level) do
      assert Brod.Options.known(level, [{name, nil}], :brod_options.known(level)) == :ok

      assert {:error, %Brod.Error{reason: {:unknown_option, ^level, _, ^name}}} =
               Brod.Options.check(level, [{:"#{name}x", 1}])
    end
  end

  test "what contradicts itself is told before anything starts" do
    assert {:error, %Brod.Error{} = error} =
             Brod.Producer.start(:none, "t", enable_idempotence: true, required_acks: :none)

    assert Exception.message(error) =~ "required_acks: :none contradicts enable_idempotence: true"
  end

  test "endpoints may be written in several ways" do
    assert Brod.Client.endpoints("a:1,b") == {:ok, [{'a', 1}, {'b', 9092}]}
    assert Brod.Client.endpoints(["[::1]:1", {"b", 2}]) == {:ok, [{'::1', 1}, {"b", 2}]}
    assert Brod.Client.endpoints("[::1]") == {:ok, [{'::1', 9092}]}
  end
end
