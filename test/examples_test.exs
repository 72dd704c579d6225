defmodule Brod.ExamplesTest do
  @moduledoc "The examples as they stand, on the Kafka in memory."
  # Not async: they start clients under names of their own, and brod itself anew.
  use ExUnit.Case, async: false
  import Brod.Records

  @moduletag :mock
  @limit 20_000
  @examples Path.join(__DIR__, "../examples")

  setup do
    {:ok, _} = Application.ensure_all_started(:brod)
    :ok
  end

  defp mock(topics) do
    {:ok, mock} = Brod.Mock.start(brokers: 1, auto_create_topics: false, topics: topics)
    [{host, port}] = Brod.Mock.endpoints(mock)
    {mock, "#{host}:#{port}"}
  end

  defp elixir(files), do: for(file <- files, do: Code.compile_file(file, @examples))

  defp erlang(file) do
    options = [:binary, :return, :warnings_as_errors]
    path = @examples |> Path.join(file) |> String.to_charlist()
    {:ok, module, beam, _warnings} = :compile.file(path, options)
    {:module, ^module} = :code.load_binary(module, path, beam)
  end

  test "shop: an order that is placed reaches who has subscribed" do
    {_, endpoints} = mock(%{"orders" => 2})

    [shop: config] = Config.Reader.read!(Path.join(@examples, "shop/config/config.exs"))

    for {key, value} <- config, do: Application.put_env(:shop, key, value)
    Application.put_env(:shop, :kafka, endpoints: endpoints)

    elixir([
      "shop/lib/shop/orders.ex",
      "shop/lib/shop/order_handler.ex",
      "shop/lib/shop/application.ex"
    ])

    {:ok, tree} = apply(Shop.Application, :start, [:normal, []])
    :ok = apply(Shop.Orders, :subscribe, [])
    :ok = apply(Shop.Orders, :place, ["ann", "3 pears"])
    assert_receive {:order, "ann", "3 pears"}, @limit
    # Who subscribes is linked to the registry.
    :ok = Registry.unregister(Shop.PubSub, "orders")
    :ok = Supervisor.stop(tree)
    # The tree has taken the client along.
    assert {:error, _} = :brod_client.get_metadata_safe(:kafka, [])
  end

  test "retries: a payment that fails is tried again, and put aside after three attempts" do
    {mock, endpoints} = mock(%{"payments" => 1, "payments-retry" => 1, "payments-dead" => 1})
    elixir(["retries/lib/payments.ex"])
    test = self()
    {:ok, attempts} = Agent.start_link(fn -> %{} end)

    pay = fn value ->
      n =
        Agent.get_and_update(
          attempts,
          &{Map.get(&1, value, 0), Map.update(&1, value, 1, fn n -> n + 1 end)}
        )

      send(test, {:attempt, value, n + 1})
      if value == "good" or (value == "late" and n == 1), do: :ok, else: {:error, :no_money}
    end

    children = [
      {Brod.Client, name: :kafka, endpoints: endpoints},
      {Payments, init_data: {pay, 10}}
    ]

    {:ok, tree} = Supervisor.start_link(children, strategy: :rest_for_one)

    for value <- ["bad", "late", "good"],
        do: {:ok, _} = Brod.Producer.produce_sync(:kafka, "payments", {"k", value})

    for {value, n} <- [{"good", 1}, {"late", 2}, {"bad", 3}],
        do: assert_receive({:attempt, ^value, ^n}, @limit)

    await(fn -> length(Brod.Mock.messages(mock, "payments-dead")) == 1 end)
    [dead] = Brod.stream(:kafka, "payments-dead", from: :earliest) |> Enum.take(1)
    assert %Brod.Message{key: "k", value: "bad"} = dead
    assert Brod.Message.header(dead, "attempt") == "3"
    assert Brod.Message.header(dead, "reason") == ":no_money"
    assert Brod.Message.header(dead, "from") =~ ~r/^payments-retry 0 \d+$/
    :ok = Supervisor.stop(tree)
    assert Agent.get(attempts, & &1) == %{"good" => 1, "late" => 2, "bad" => 3}
  end

  test "meter: a release's application sums up what comes, with its client of sys.config" do
    {mock, _} = mock(%{"readings" => 3})
    {:ok, [config]} = :file.consult(Path.join(@examples, "meter/config/sys.config"))
    {:ok, [app]} = :file.consult(Path.join(@examples, "meter/src/meter.app.src"))
    for module <- ["app", "reader", "sums"], do: erlang("meter/src/meter_#{module}.erl")

    [{:meter_client, options}] = config[:brod][:clients]
    options = List.keystore(options, :endpoints, 0, {:endpoints, Brod.Mock.endpoints(mock)})
    :ok = Application.stop(:brod)
    Application.put_env(:brod, :clients, meter_client: options)
    :ok = Application.start(:brod)
    :ok = :application.load(app)
    for {key, value} <- config[:meter], do: Application.put_env(:meter, key, value)
    {:ok, _} = Application.ensure_all_started(:meter)

    for {meter, reading} <- [{"a", 3}, {"b", 5}, {"a", 4}],
        do: :ok = apply(:meter_reader, :report, [meter, reading])

    await(fn -> {apply(:meter_sums, :sum, ["a"]), apply(:meter_sums, :sum, ["b"])} == {7, 5} end)
  after
    Application.stop(:meter)
    Application.delete_env(:brod, :clients)
    :ok = Application.stop(:brod)
    :ok = Application.start(:brod)
  end

  # Broadway itself stands on hex: what stands in for it calls brod as broadway_kafka does.
  test "pipeline: orders come through Broadway, what fails is put aside, and both are committed" do
    {mock, _} = mock(%{"orders" => 2})
    Code.compile_file("fixtures/broadway_stand_in.exs", __DIR__)
    elixir(["pipeline/lib/orders_pipeline.ex"])
    start = &apply(OrdersPipeline, :start_link, [[hosts: Brod.Mock.endpoints(mock), notify: &1]])

    {:ok, pipeline} = start.(self())
    {:ok, client} = Brod.Client.start_link(name: :pipeline, endpoints: Brod.Mock.endpoints(mock))
    produce = &({:ok, _} = Brod.Producer.produce_sync(:pipeline, "orders", &1, partition: &2))
    produce.({"ann", "350"}, 0)
    produce.({"bob", "much"}, 1)
    assert_receive {:order, "ann", 350}, @limit
    assert_receive {:put_aside, "bob", "much"}, @limit
    await(fn -> :brod_mock.lag(mock, "orders-pipeline", "orders") == 0 end)
    :ok = GenServer.stop(pipeline)

    # The next one goes on behind them.
    {:ok, pipeline} = start.(self())
    produce.({"cy", "12"}, 0)
    assert_receive {:order, "cy", 12}, @limit
    refute_received {:order, "ann", _}
    refute_received {:put_aside, _, _}
    :ok = GenServer.stop(pipeline)
    :ok = GenServer.stop(client)
  end

  test "exactly_once: a process that fails and starts again writes each amount once" do
    {mock, endpoints} = mock(%{"cents" => 1, "euros" => 1})
    erlang("erlang/exactly_once.erl")
    {:ok, client} = Brod.Client.start_link(name: :euro_client, endpoints: endpoints)
    produce = &({:ok, _} = Brod.Producer.produce_sync(:euro_client, "cents", &1))
    for cents <- ["1", "99"], do: produce.({"k", cents})

    # Nothing of the first transaction can be stored.
    fault = [api: "Produce", topic: "euros", partition: 0, action: {:error, 10}, times: 1]
    :ok = Brod.Mock.fault(mock, fault)

    {:ok, tree} =
      Supervisor.start_link([apply(:exactly_once, :child_spec, [:euro_client])],
        strategy: :one_for_one,
        max_restarts: 10
      )

    produce.({"k", "12345"})

    read = fn ->
      {:ok, {_, messages}} = :brod.fetch(:euro_client, "euros", 0, 0, %{max_wait_time: 100})
      for message <- messages, do: kafka_message(message, :value)
    end

    await(fn -> List.last(read.()) == "123.45" end)
    assert read.() == ["0.01", "0.99", "123.45"]
    assert :brod_mock.faults_met(mock) == 1
    :ok = Supervisor.stop(tree)
    :ok = GenServer.stop(client)
  end

  defp await(done?, deadline \\ System.monotonic_time(:millisecond) + @limit) do
    cond do
      done?.() ->
        :ok

      System.monotonic_time(:millisecond) > deadline ->
        flunk("not within #{@limit} ms")

      true ->
        Process.sleep(20)
        await(done?, deadline)
    end
  end
end
