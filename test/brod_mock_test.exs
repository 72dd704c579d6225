defmodule Brod.MockTest do
  @moduledoc "What `Brod.*` does, on the Kafka in memory."
  use ExUnit.Case, async: true

  @moduletag :mock
  @limit 30_000

  setup do
    # Under the test's supervisor, which ends it after what uses it.
    mock = start_supervised!({Brod.Mock, topics: %{"t" => 2}})
    name = :"mock-#{System.unique_integer([:positive])}"
    start_supervised!({Brod.Client, name: name, endpoints: Brod.Mock.endpoints(mock)})
    :ok = Brod.Client.await_connected(name, @limit)
    %{mock: mock, client: name}
  end

  test "a transaction whose fun answers nonsense is aborted before that is raised", %{client: c} do
    assert_raise ArgumentError, ~r/has to answer :ok, .* and answered :nonsense/, fn ->
      Brod.Transaction.run(c, "id", fn tx ->
        {:ok, 0} = Brod.Transaction.produce(tx, "t", "never", partition: 0)
        :nonsense
      end)
    end

    # An open transaction would hold readers up here.
    Brod.Producer.produce_sync!(c, "t", "after", partition: 0)
    assert [%{value: "after"}] = Enum.to_list(Brod.stream(c, "t", partitions: [0]))
  end

  defmodule Member do
    @moduledoc false
    use Brod.GroupSubscriber, consumer_config: [begin_offset: :earliest]

    @impl true
    def handle_message(message, test) do
      send(test, {:message, message.offset})
      {:ok, :commit, test}
    end
  end

  defp member(client, group) do
    start_supervised!(
      {Member, client: client, group_id: group, topics: ["t"], init_data: self()},
      id: group
    )
  end

  test "a client tells of its own groups, and not of those of others", %{client: c, mock: mock} do
    other = :"#{c}-other"

    start_supervised!(
      {Brod.Client, name: other, endpoints: Brod.Mock.endpoints(mock), auto_start_producers: true},
      id: other
    )

    for client <- [c, other], do: :ok = Brod.Client.await_connected(client, @limit)
    Brod.Producer.produce_sync!(c, "t", "a", partition: 0)
    member(c, "one")
    assert_receive {:message, 0}, @limit
    member(other, "two")
    assert_receive {:message, 0}, @limit

    assert [{^c, ["one"]}, {^other, ["two"]}] =
             for(
               client <- [c, other],
               {:ok, info} = :brod.info(client),
               do: {client, Enum.map(info.groups, & &1.group)}
             )
  end

  test "a client that reaches no broker says why, and the page does, too" do
    name = :"#{System.unique_integer([:positive])}-nobody"
    start_supervised!({Brod.Client, name: name, endpoints: "127.0.0.1:1"}, id: name)
    assert {:error, error} = failed(name, System.monotonic_time(:millisecond) + @limit)
    assert Exception.message(error) =~ "127.0.0.1:1 nobody listens there: check the port"

    {200, _, json} = :brod_dashboard.handle('/state')
    %{"clients" => clients} = json |> IO.iodata_to_binary() |> :brod_json.decode()

    assert %{"health" => "down", "problems" => [why]} =
             Enum.find(clients, &(&1["client"] == "#{name}"))

    assert why =~ "not connected: 127.0.0.1:1 nobody listens there"
  end

  # Until the first attempt has failed.
  defp failed(name, deadline) do
    case Brod.Client.await_connected(name, 50) do
      {:error, %Brod.Error{reason: {:not_connected, ^name, :undefined}}} = error ->
        if System.monotonic_time(:millisecond) < deadline, do: failed(name, deadline), else: error

      other ->
        other
    end
  end

  test "offsets that a transaction adds are where a group goes on", %{client: c} do
    for value <- ["a", "b", "c"], do: Brod.Producer.produce_sync!(c, "t", value, partition: 0)

    assert :ok =
             Brod.Transaction.run(c, "id", fn tx ->
               Brod.Transaction.add_offsets(tx, "group", %{{"t", 0} => 2})
             end)

    member(c, "group")
    assert_receive {:message, 2}, @limit
    refute_received {:message, _}
  end

  defmodule Plugin do
    @moduledoc false
    def auth(_host, _socket, _version, _transport, _client, _timeout, secret) do
      {:ok, _} = Map.fetch(%{}, secret)
    end
  end

  test "of a plugin for SASL that fails is told where, and not with what" do
    mock = start_supervised!({Brod.Mock, brokers: 1, users: %{"alice" => "secret"}}, id: :users)
    options = [sasl: {:callback, Plugin, "secret"}]

    assert {:failed_to_connect, [{_, {{:sasl_auth_error, text}, _}}]} =
             catch_throw(:brod.get_metadata(Brod.Mock.endpoints(mock), [], options))

    assert text =~ "error badmatch in Elixir.#{inspect(Plugin)}:auth/7, line "
    refute text =~ "secret"
  end
end
