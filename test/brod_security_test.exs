defmodule Brod.SecurityTest do
  @moduledoc false
  # Clients over TLS and SASL, configured as applications are: by a config.exs, by a sys.config.
  use ExUnit.Case, async: false
  import ExUnit.CaptureLog

  @moduletag :kafka

  unless System.get_env("BROD_BOOTSTRAP_SASL_TLS") do
    @moduletag skip: "no Kafka with TLS"
  end

  # brod depends on no application of Elixir's, so nobody else starts it here.
  setup_all do
    {:ok, started} = Application.ensure_all_started(:logger)
    on_exit(fn -> Enum.each(started, &Application.stop/1) end)
  end

  setup do
    on_exit(fn ->
      Application.stop(:brod)
      Application.delete_env(:brod, :clients)
      Application.delete_env(:brod, :ssl_default_verify)
      {:ok, _} = Application.ensure_all_started(:brod)
    end)

    Application.stop(:brod)
    :ok
  end

  @tag :tmp_dir
  test "a config.exs", %{tmp_dir: dir} do
    file = Path.join(dir, "config.exs")

    File.write!(file, """
    import Config

    config :brod,
      clients: [
        from_config_exs: [
          endpoints: #{inspect(endpoints("BROD_BOOTSTRAP_SASL_TLS"))},
          ssl: [cacertfile: #{inspect(tls_file("ca.pem"))}, versions: [:"tlsv1.3"]],
          sasl: {:scram_sha_512, "alice", "alice-secret"}
        ],
        with_maps: %{
          endpoints: #{inspect(endpoints("BROD_BOOTSTRAP_SASL_TLS"))},
          ssl: %{cacertfile: #{inspect(tls_file("ca.pem"))}},
          sasl: %{mechanism: :plain, username: "alice", password: fn -> "alice-secret" end}
        }
      ]
    """)

    start(Config.Reader.read!(file))
    assert {:ok, _} = :brod_client.get_metadata(:from_config_exs, [])
    assert {:ok, _} = :brod_client.get_metadata(:with_maps, [])
    refute inspect(:sys.get_state(:from_config_exs), limit: :infinity) =~ "alice-secret"
  end

  defmodule Subscriber do
    @moduledoc false
    @behaviour :brod_group_subscriber_v2
    import Record, only: [defrecord: 2, extract: 2]
    defrecord :kafka_message, extract(:kafka_message, from_lib: "brod/include/brod.hrl")

    @impl :brod_group_subscriber_v2
    def init(_info, test), do: {:ok, test}

    @impl :brod_group_subscriber_v2
    def handle_message(kafka_message(value: value), test) do
      send(test, {:got, value})
      {:ok, :commit, test}
    end
  end

  @tag :tmp_dir
  test "a group of a client of config.exs, over TLS and SASL", %{tmp_dir: dir} do
    file = Path.join(dir, "runtime.exs")

    File.write!(file, """
    import Config

    config :brod,
      clients: [
        secure_group: [
          endpoints: #{inspect(endpoints("BROD_BOOTSTRAP_SASL_TLS"))},
          auto_start_producers: true,
          ssl: [cacertfile: #{inspect(tls_file("ca.pem"))}],
          sasl: {:scram_sha_256, "alice", "alice-secret"}
        ]
      ]
    """)

    start(Config.Reader.read!(file))
    topic = "secure-group-#{System.unique_integer([:positive])}-#{System.os_time()}"
    :ok = Brod.TestTopics.create(endpoints("BROD_BOOTSTRAP"), topic, 2)
    for n <- 0..1, do: :ok = :brod.produce_sync(:secure_group, topic, n, "", "value #{n}")

    config = %{
      client: :secure_group,
      group_id: "group-of-#{topic}",
      topics: [topic],
      cb_module: Subscriber,
      consumer_config: [begin_offset: :earliest],
      message_type: :message,
      init_data: self()
    }

    {:ok, member} = :brod.start_link_group_subscriber_v2(config)
    assert_receive {:got, "value 0"}, 30_000
    assert_receive {:got, "value 1"}, 30_000
    :ok = :brod_group_subscriber_v2.stop(member)

    {:ok, [%{partitions: committed}]} =
      :brod.fetch_committed_offsets(:secure_group, config.group_id)

    assert Enum.sort(for p <- committed, do: {p.partition_index, p.committed_offset}) ==
             [{0, 1}, {1, 1}]
  end

  @tag :tmp_dir
  test "a sys.config", %{tmp_dir: dir} do
    file = Path.join(dir, "sys.config")

    File.write!(file, """
    [{brod,
      [{clients,
        [{from_sys_config,
          [ {endpoints, #{terms(endpoints("BROD_BOOTSTRAP_MTLS"))}}
          , {ssl, [ {cacertfile, "#{tls_file("ca.pem")}"}
                  , {certfile, "#{tls_file("client.pem")}"}
                  , {keyfile, "#{tls_file("client.key")}"}
                  , {verify, verify_peer}
                  ]}
          ]}]}]}].
    """)

    {:ok, [config]} = :file.consult(file)
    start(config)
    assert {:ok, _} = :brod_client.get_metadata(:from_sys_config, [])
  end

  test "ssl_default_verify turns verification off for those who do not ask for it" do
    client = [endpoints: endpoints("BROD_BOOTSTRAP_TLS"), ssl: true]

    log =
      capture_log(fn ->
        start(brod: [clients: [anybody: client], ssl_default_verify: :verify_none])
        assert {:ok, _} = :brod_client.get_metadata(:anybody, [])
      end)

    assert log =~ "without verification"
  end

  test "a client that cannot connect says why, without a secret" do
    log =
      capture_log(fn ->
        {:ok, _} = Application.ensure_all_started(:brod)
        options = [sasl: {:plain, "alice", "not-the-secret"}]
        :ok = :brod.start_client(endpoints("BROD_BOOTSTRAP_SASL"), :refused, options)
        assert {:error, {:client_down, _}} = :brod.get_partitions_count(:refused, "t")
        :ok = :brod.stop_client(:refused)
      end)

    assert log =~ "check user and password"
    refute log =~ "not-the-secret"
  end

  defp start(config) do
    Application.put_all_env(config)
    {:ok, _} = Application.ensure_all_started(:brod)
  end

  defp endpoints(variable) do
    for endpoint <- String.split(System.fetch_env!(variable), ",") do
      [host, port] = String.split(endpoint, ":")
      {host, String.to_integer(port)}
    end
  end

  defp tls_file(name), do: Path.join(System.fetch_env!("BROD_TLS_DIR"), name)

  defp terms(endpoints) do
    charlists = for {host, port} <- endpoints, do: {String.to_charlist(host), port}
    List.to_string(:io_lib.format("~p", [charlists]))
  end
end
