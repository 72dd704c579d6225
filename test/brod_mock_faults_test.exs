defmodule Brod.MockFaultsTest do
  @moduledoc "What `Brod.Mock` shows of a cluster, and does to it."
  use ExUnit.Case, async: true
  import Brod.Records

  @moduletag :mock

  setup context do
    {:ok, mock} = Brod.Mock.start(Map.merge(%{topics: %{"t" => 2}}, context[:cluster] || %{}))
    client = :"#{context.module}.#{context.line}"
    ssl = if Map.get(context[:cluster] || %{}, :tls), do: [ssl: [cacerts: cacerts(mock)]], else: []
    :ok = :brod.start_client(Brod.Mock.endpoints(mock), client, ssl)
    :ok = :brod.start_producer(client, "t", [])
    on_exit(fn -> :brod.stop_client(client) end)
    {:ok, mock: mock, client: client}
  end

  defp cacerts(mock) do
    for {:Certificate, der, :not_encrypted} <- :public_key.pem_decode(Brod.Mock.ca_pem(mock)),
        do: der
  end

  test "what was produced is there, with headers, and null is not the same as empty", context do
    %{mock: mock, client: client} = context
    value = %{key: "k", value: "v", headers: [{"h", "1"}]}
    :ok = :brod.produce_sync(client, "t", 0, "", value)
    :ok = :brod.produce_sync(client, "t", 1, "", %{key: "gone", value: :undefined})
    assert [{0, message}, {1, _}] = Brod.Mock.messages(mock, "t")
    assert kafka_message(key: "k", value: "v", headers: [{"h", "1"}]) = message
    assert [_, %{key: "gone", value: :undefined, headers: []}] = Brod.Mock.records(mock, "t")
  end

  @tag cluster: %{tls: %{}}
  test "brokers speak TLS by a certificate that is made for them", %{mock: mock, client: client} do
    :ok = :brod.produce_sync(client, "t", 0, "k", "v")
    assert [{0, kafka_message(value: "v")}] = Brod.Mock.messages(mock, "t")
  end

  test "a fault is met as often as it is scripted", %{mock: mock, client: client} do
    :ok = Brod.Mock.fault(mock, api: "Produce", times: 2, action: :reset_after)
    :ok = :brod.produce_sync(client, "t", 0, "", "once")
    assert [{0, kafka_message(value: "once")}] = Brod.Mock.messages(mock, "t")
    assert Brod.Mock.faults_met(mock) == 2
  end

  defmodule Group do
    @moduledoc false
    @behaviour :brod_group_subscriber_v2
    @impl true
    def init(_info, state), do: {:ok, state}
    @impl true
    def handle_message(_message, state), do: {:ok, :commit, state}
  end

  test "one waits until a group is stable, and until it has caught up", context do
    %{mock: mock, client: client} = context
    for n <- 1..10, do: :ok = :brod.produce_sync(client, "t", rem(n, 2), "", "#{n}")
    assert {:error, :timeout} = Brod.Mock.await_stable(mock, "g", 1, 0)

    {:ok, member} =
      :brod.start_link_group_subscriber_v2(%{
        client: client,
        group_id: "g",
        topics: ["t"],
        cb_module: Group,
        init_data: [],
        message_type: :message,
        consumer_config: [begin_offset: :earliest],
        group_config: [offset_commit_interval_seconds: 1]
      })

    assert :ok = Brod.Mock.await_stable(mock, "g", 1, 30_000)
    assert %{state: "Stable", members: 1} = Brod.Mock.group(mock, "g")
    assert :ok = Brod.Mock.await_caught_up(mock, "g", "t", 30_000)
    assert Brod.Mock.committed(mock, "g", "t", 0) == 5
    :ok = :brod_group_subscriber_v2.stop(member)
  end

  test "a broker that cannot be asked for its groups is told as others that fail are", %{mock: mock} do
    [first, broker | _] = Brod.Mock.endpoints(mock)
    :ok = Brod.Mock.fault(mock, api: "ApiVersions", broker: 2, times: 100, action: :reset_before)
    lists = :brod.list_all_groups([first], [])
    assert {_, {:error, [{^broker, {reason, []}}]}} = List.keyfind(lists, broker, 0)
    assert {{:kpro_req, _, :api_versions, 0, false, []}, :closed} = reason
  end
end
