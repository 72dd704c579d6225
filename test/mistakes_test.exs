defmodule Brod.MistakesTest do
  @moduledoc """
  Typical mistakes of newcomers, and what they are shown: results, exceptions in the words of both languages, and lines of the
  log. All of it is compared with test/mistakes.golden, so that it can be read, and a change of it be seen:

      BROD_GOLDEN=write mix test test/mistakes_test.exs
  """
  use ExUnit.Case, async: false

  @moduletag :mock
  @golden Path.join(__DIR__, "mistakes.golden")

  defmodule Log do
    @moduledoc false
    # A logger handler that keeps the texts of brod's lines, at warning and above.
    def log(%{level: level, meta: %{mfa: {module, _, _}}} = event, %{config: %{to: to}})
        when module == :brod_sup do
      keep(level, event, to)
    end

    def log(%{level: level, meta: %{domain: [:brod | _]}} = event, %{config: %{to: to}}),
      do: keep(level, event, to)

    def log(_event, _config), do: :ok

    defp keep(level, event, to) do
      text = :logger_formatter.format(event, %{single_line: true, template: [:msg]})
      send(to, {:logged, "[#{level}] #{text}"})
    end
  end

  defmodule Deaf do
    @moduledoc false
    use Brod.GroupSubscriber
  end

  defmodule Ok do
    @moduledoc false
    use Brod.GroupSubscriber, consumer_config: [begin_offset: :earliest]
    @impl true
    def handle_message(_message, _state), do: :ok
  end

  # The source of each is shown as it stands here.
  defmacrop mistake(title, options \\ [], do: block) do
    quote do
      {unquote(title), unquote(Macro.to_string(block)), unquote(options),
       fn var!(mock) ->
         _ = var!(mock)
         unquote(block)
       end}
    end
  end

  defp mistakes do
    [
      mistake "The application is not started", stop: true do
        Brod.Client.start(name: :kafka, endpoints: "localhost:9092")
      end,
      mistake "The same in Erlang", stop: true do
        :brod.start_client([{"localhost", 9092}], :kafka, [])
      end,
      mistake "A misspelt option of a client" do
        Brod.Client.start(endpoints: "localhost:9092", conect_timeout: 5000)
      end,
      mistake "The same in Erlang, which goes on" do
        :brod.start_client(mock, :mistake, conect_timeout: 5000)
      end,
      mistake "A value that an option cannot have" do
        Brod.Client.start(endpoints: "localhost:9092", connect_timeout: "5s")
      end,
      mistake "The same in Erlang" do
        :brod.start_client([{"localhost", 9092}], :kafka, connect_timeout: "5s")
      end,
      mistake "No endpoints" do
        Brod.Client.start(name: :kafka)
      end,
      mistake "The same in Erlang" do
        :brod.start_client([], :kafka, [])
      end,
      mistake "Endpoints without a port number" do
        Brod.Client.start(name: :kafka, endpoints: "kafka:port")
      end,
      mistake "A name that is a text" do
        Brod.Client.start(name: "kafka", endpoints: "localhost:9092")
      end,
      mistake "The same, asked for" do
        Brod.Client.await_connected("kafka")
      end,
      mistake "Nobody listens there", log: 1 do
        Brod.Client.start(name: :mistake, endpoints: "127.0.0.1:1")
      end,
      mistake "To wait for it", log: 1 do
        :ok = Brod.Client.start(name: :mistake, endpoints: "127.0.0.1:1", restart_delay_seconds: 60)

        Brod.Client.await_connected(:mistake, 5_000)
      end,
      mistake "A misspelt option of TLS" do
        Brod.Client.start(endpoints: "localhost:9093", ssl: [cacert_file: "ca.pem"])
      end,
      mistake "A file that does not exist", log: 1 do
        Brod.Client.start(name: :mistake, endpoints: mock, ssl: [cacertfile: "no-such-file.pem"])
      end,
      mistake "TLS where the broker has none", log: 1 do
        Brod.Client.start(name: :mistake, endpoints: mock, ssl: true, connect_timeout: 500)
      end,
      mistake "A mechanism that does not exist" do
        Brod.Client.start(endpoints: "localhost:9093", sasl: {:scram_sha256, "alice", "secret"})
      end,
      mistake "A wrong password", users: true, log: 1 do
        Brod.Client.start(name: :mistake, endpoints: mock, sasl: {:plain, "alice", "sceret"})
      end,
      mistake "No password where one is asked for", users: true, log: 1 do
        Brod.Client.start(name: :mistake, endpoints: mock)
      end,
      mistake "No client of that name" do
        Brod.Producer.produce_sync(:kafka, "t", "value")
      end,
      mistake "The same in Erlang" do
        :brod.produce_sync(:kafka, "t", 0, "key", "value")
      end,
      mistake "A topic that does not exist", client: true do
        Brod.Producer.produce_sync(:mistake, "no-such-topic", "value")
      end,
      mistake "The same in Erlang", client: true do
        :brod.produce_sync(:mistake, "no-such-topic", 0, "key", "value")
      end,
      mistake "A partition that does not exist", client: true do
        Brod.Producer.produce_sync(:mistake, "t", "value", partition: 9)
      end,
      mistake "A topic that is no binary, in Erlang", client: true do
        :brod.produce_sync(:mistake, ~c"t", 0, "key", "value")
      end,
      mistake "Producers that nobody has started, in Erlang" do
        :ok = :brod.start_client(mock, :mistake, [])
        :brod.produce_sync(:mistake, "t", 0, "key", "value")
      end,
      mistake "A message that is too large", client: true do
        Brod.Producer.produce_sync(:mistake, "t", :binary.copy("x", 3_000_000), partition: 0)
      end,
      mistake "A field that a message does not have", client: true do
        Brod.Producer.produce_sync(:mistake, "t", %{value: "v", header: [{"h", "1"}]})
      end,
      mistake "A message without a value", client: true do
        Brod.Producer.produce_sync(:mistake, "t", %{key: "k"})
      end,
      mistake "A message of JSON", client: true do
        Brod.Producer.produce_sync(:mistake, "t", %{"value" => "v"})
      end,
      mistake "A limit that is no number", client: true do
        Brod.Producer.produce_sync(:mistake, "t", "value", timeout: "5s")
      end,
      mistake "The name of a topic with a space", client: true do
        Brod.Admin.partitions(:mistake, "my orders")
      end,
      mistake "One topic in place of a list", client: true do
        Brod.Admin.delete_topics(:mistake, "t")
      end,
      mistake "A topic that is a charlist", client: true do
        Brod.Admin.create_topic(:mistake, ~c"orders")
      end,
      mistake "Idempotence without the answer of all replicas" do
        Brod.Producer.start(:kafka, "t", enable_idempotence: true, required_acks: 0)
      end,
      mistake "The same in Erlang", client: true do
        :brod.start_producer(:mistake, "t", enable_idempotence: true, required_acks: 0)
      end,
      mistake "Consumers that nobody has started", client: true do
        Brod.Consumer.subscribe(:mistake, "t", 0)
      end,
      mistake "A second subscriber of a partition", client: true do
        :ok = Brod.Consumer.start(:mistake, "t")
        {:ok, _} = Brod.Consumer.subscribe(:mistake, "t", 0)

        Task.await(Task.async(fn -> Brod.Consumer.subscribe(:mistake, "t", 0) end))
      end,
      mistake "An offset that is not there", client: true do
        Brod.Consumer.fetch(:mistake, "t", 0, 12_345)
      end,
      mistake "A member of a group that handles no messages", client: true do
        Deaf.start_link(client: :mistake, group_id: "g", topics: ["t"])
      end,
      mistake "topic in place of topics", client: true do
        Ok.start_link(client: :mistake, group_id: "g", topic: "t")
      end,
      mistake "The same in Erlang", client: true, exits: true do
        :brod_group_subscriber_v2.start_link(%{
          client: :mistake,
          group_id: "g",
          topic: "t",
          cb_module: Ok
        })
      end,
      mistake "Heartbeats that are too seldom", client: true, exits: true do
        {:ok, _} =
          Ok.start_link(
            client: :mistake,
            group_id: "g",
            topics: ["t"],
            group_config: [session_timeout_seconds: 10, heartbeat_rate_seconds: 5]
          )
      end,
      mistake "A session that the broker does not allow",
        client: true,
        exits: true,
        await: "gives up" do
        {:ok, _} =
          Ok.start_link(
            client: :mistake,
            group_id: "g",
            topics: ["t"],
            group_config: [
              session_timeout_seconds: 0.05,
              heartbeat_rate_seconds: 0.01,
              max_rejoin_attempts: 1,
              rejoin_delay_seconds: 0
            ]
          )
      end,
      mistake "A callback that answers just :ok", client: true, exits: true, await: "stops" do
        Brod.Producer.produce_sync!(:mistake, "t", "value", partition: 0)
        {:ok, _} = Ok.start_link(client: :mistake, group_id: "g", topics: ["t"])
      end,
      mistake "A transaction whose fun answers something else", client: true do
        Brod.Transaction.run(:mistake, "id", fn _tx -> :done end)
      end
    ]
  end

  test "what newcomers are shown is as it was read and found clear" do
    shown = Enum.map_join(mistakes(), "\n", &run/1)

    if System.get_env("BROD_GOLDEN") == "write" do
      File.write!(@golden, shown)
    else
      # Paragraph by paragraph, so that a difference is seen.
      assert String.split(shown, "\n\n") == String.split(File.read!(@golden), "\n\n")
    end
  end

  defp run({title, source, options, fun}) do
    config = [topics: %{"t" => 1}, brokers: 1, auto_create_topics: false]
    users = if options[:users], do: [users: %{"alice" => "secret"}], else: []
    {:ok, mock} = Brod.Mock.start(config ++ users)
    endpoints = Brod.Mock.endpoints(mock)
    if options[:stop], do: Application.stop(:brod)

    if options[:client] do
      :ok = Brod.Client.start(name: :mistake, endpoints: endpoints)
      :ok = Brod.Client.await_connected(:mistake)
    end

    test = self()
    :ok = :logger.set_handler_config(:default, :level, :none)
    :ok = :logger.add_handler(:mistakes, Log, %{config: %{to: test}, level: :warning})

    shown =
      try do
        # It stays until it is told to end, so that nothing is logged about its end.
        {pid, monitor} =
          spawn_monitor(fn ->
            send(test, {:shown, attempt(fun, endpoints, options)})
            receive do: (:end -> :ok)
          end)

        shown =
          receive do
            {:shown, shown} -> shown
            {:DOWN, ^monitor, :process, ^pid, reason} -> "exit: " <> erlang(reason)
          after
            60_000 -> flunk("#{title} does not end")
          end

        lines = for line <- logged(options[:log] || 0), do: "    log: " <> line
        send(pid, :end)
        ["## " <> title, indent(source), indent("=> " <> shown)] ++ lines
      after
        if options[:stop],
          do: {:ok, _} = Application.ensure_all_started(:brod),
          else: Brod.Client.stop(:mistake)

        Brod.Mock.stop(mock)
        :ok = :logger.remove_handler(:mistakes)
        _ = logged(0)
        :ok = :logger.set_handler_config(:default, :level, :all)
      end

    normalised(Enum.join(shown, "\n")) <> "\n"
  end

  defp attempt(fun, endpoints, options) do
    if options[:exits], do: Process.flag(:trap_exit, true)

    try do
      fun.(endpoints) |> shown()
    catch
      kind, reason -> raised(kind, reason, __STACKTRACE__)
    else
      shown -> shown <> later(options)
    end
  end

  # What comes as an exit of what was started.
  defp later(options) do
    if options[:await] do
      receive do
        {:EXIT, _, reason} -> "\nexit: " <> erlang(reason)
      after
        30_000 -> "\nno exit"
      end
    else
      ""
    end
  end

  defp shown({:error, %Brod.Error{} = error}) do
    "{:error, %Brod.Error{reason: #{inspect(error.reason, limit: 8)}}}\n" <>
      Exception.message(error)
  end

  defp shown(other), do: erlang(other)

  defp raised(kind, reason, stack) do
    elixir = Exception.format_banner(kind, reason, stack)
    options = %{stack_trim_fun: fn _, _, _ -> false end}

    erlang =
      :erl_error.format_exception(kind, reason, Enum.take(stack, 1), options)
      |> to_string()
      |> String.split("\n")
      |> Enum.reject(&(&1 =~ "in call from" or &1 =~ "called as"))
      |> Enum.join("\n")

    "#{elixir}\nin Erlang: #{erlang}"
  end

  defp erlang(term), do: "~0tp" |> :io_lib.format([term]) |> to_string()

  # All lines so far, and at least so many: a client goes on connecting after its start has returned.
  defp logged(at_least) do
    receive do
      {:logged, line} -> [line | logged(at_least - 1)]
    after
      if(at_least > 0, do: 30_000, else: 0) -> []
    end
  end

  defp indent(text), do: text |> String.split("\n") |> Enum.map_join("\n", &("    " <> &1))

  defp normalised(text) do
    text
    |> String.replace(~r/(?:[^\s"(]*\/)?src\/(\w+\.erl)/, "\\1")
    |> String.replace(~r/\{line,\d+\}/, "{line,N}")
    |> String.replace(~r/line \d+/, "line N")
    |> String.replace(~r/,\{(?:gen_server|proc_lib),\w+,\d,\[\{file,"[^"]*"\},\{line,N\}\]\}/, "")
    |> String.replace(~r/(#PID)?<\d+\.\d+\.\d+>/, "PID")
    |> String.replace(~r/#?Ref(erence)?<[\d.]+>/, "REF")
    |> String.replace(~r/127\.0\.0\.1:\d{4,5}\b/, "127.0.0.1:PORT")
    |> String.replace(~r/(\{"127\.0\.0\.1"|<<"127\.0\.0\.1">>),\s*\d{4,5}/, "\\1,PORT")
  end
end
