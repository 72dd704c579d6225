defmodule Brod.ReadmeTest do
  @moduledoc "The code blocks of README.md run as they stand, but for where Kafka is."
  # Not async: the blocks start clients under names of their own.
  use ExUnit.Case, async: false
  import ExUnit.CaptureIO

  @moduletag :kafka
  @limit 30_000

  setup_all do
    {:ok, _} = Application.ensure_all_started(:brod)
    readme = File.read!(Path.join(__DIR__, "../README.md"))

    blocks =
      for [_, language, code] <- Regex.scan(~r/^```(\w*)\n(.*?)^```$/ms, readme) do
        {language, here(code)}
      end

    # They create them and go on at once, when a broker that is asked next may not know of it yet.
    for topic <- ["greetings", "greetings-from-elixir"], do: create_unless_there(topic)
    %{blocks: blocks}
  end

  defp create_unless_there(topic) do
    {:ok, %{topics: topics}} = :brod.get_metadata([endpoint()], :all)

    unless Enum.any?(topics, &(&1.name == topic)),
      do: Brod.TestTopics.create([endpoint()], topic, 8)
  end

  test "every block is in a language that is run here, or is a command line", %{blocks: blocks} do
    assert Enum.uniq(for {language, _} <- blocks, do: language) -- ["sh", "erlang", "elixir"] == []
  end

  test "the Erlang modules produce, consume and run in a group", %{blocks: blocks} do
    Process.flag(:trap_exit, true)
    modules = for {"erlang", "-module" <> _ = code} <- blocks, do: compile(code)
    assert modules == [:greetings, :greeting_group]

    output_until(~r/greetings 0 \d+: hello again/, fn ->
      assert :ok == apply(:greetings, :run, [])
      :ok = :brod.start_client([endpoint()], :my_client)
      child = apply(:greeting_group, :child_spec, [["greetings"]])
      {:ok, _} = Supervisor.start_link([child], strategy: :one_for_one)
    end)

    :ok = :brod.stop_client(:my_client)
  end

  test "the Elixir programs do the same", %{blocks: blocks} do
    # Their supervisors are linked to this process, and give up once the clients are stopped.
    Process.flag(:trap_exit, true)
    programs = for {"elixir", code} <- blocks, code =~ ~r/\A(import Brod|defmodule)/, do: code

    output_until(~r/greetings-from-elixir \d \d+: hello/, fn ->
      Code.eval_string(Enum.join(programs, "\n"))
    end)

    for client <- [:elixir_client, :group_client], do: :ok = :brod.stop_client(client)
  end

  test "the configurations start a client", %{blocks: blocks} do
    [mix] = for {"elixir", "import Config" <> _ = code} <- blocks, do: code
    [sys, secure] = for {"erlang", "%% sys.config" <> _ = code} <- blocks, do: code
    assert [secure_client: options] = from_sys(secure)
    assert {:ok, _} = :brod_options.client(options)

    for clients <- [from_mix(mix), from_sys(sys)] do
      :ok = Application.stop(:brod)
      Application.put_env(:brod, :clients, clients)
      :ok = Application.start(:brod)
      await(fn -> match?({:ok, _}, :brod_client.get_metadata(:my_client, :undefined)) end)
    end
  after
    Application.delete_env(:brod, :clients)
    :ok = Application.stop(:brod)
    :ok = Application.start(:brod)
  end

  test "the dependencies are written as their tools read them", %{blocks: blocks} do
    [rebar] = for {"erlang", "%% rebar.config" <> _ = code} <- blocks, do: code
    assert {:deps, [{:brod, {:git, _, {:branch, _}}}]} = erlang_term(rebar)
    [mix] = for {"elixir", "# mix.exs" <> _ = code} <- blocks, do: code
    assert {:ok, {:defp, _, [{:deps, _, _} | _]}} = Code.string_to_quoted(mix)
  end

  # Where the Kafka of this run is, instead of where `make kafka-up` starts one.
  defp here(code) do
    {_, port} = endpoint()
    code |> String.replace("19092", "#{port}")
  end

  defp endpoint do
    [first | _] = String.split(System.get_env("BROD_BOOTSTRAP"), ",")
    [host, port] = String.split(first, ":")
    {host, String.to_integer(port)}
  end

  defp compile(code) do
    folder = Path.join(System.tmp_dir!(), "brod-readme-#{System.unique_integer([:positive])}")
    [_, name] = Regex.run(~r/-module\((\w+)\)/, code)
    file = Path.join(folder, name <> ".erl")
    File.mkdir_p!(folder)
    File.write!(file, code)
    options = [:binary, :return, :warnings_as_errors]
    {:ok, module, beam, []} = :compile.file(String.to_charlist(file), options)
    File.rm_rf!(folder)
    {:module, ^module} = :code.load_binary(module, 'README.md', beam)
    module
  end

  defp from_mix(code) do
    file = Path.join(System.tmp_dir!(), "brod-readme-#{System.unique_integer([:positive])}.exs")
    File.write!(file, code)
    [brod: [clients: clients]] = Config.Reader.read!(file)
    File.rm!(file)
    clients
  end

  defp from_sys(code) do
    [brod: [clients: clients]] = erlang_term(code)
    clients
  end

  defp erlang_term(code) do
    {:ok, tokens, _} = :erl_scan.string(String.to_charlist(code))
    {:ok, term} = :erl_parse.parse_term(tokens)
    term
  end

  # Runs the function, and waits until what it has started has printed the text.
  defp output_until(text, run) do
    capture_io(fn ->
      run.()
      printed = fn -> Process.group_leader() |> StringIO.contents() |> elem(1) end
      await(fn -> printed.() =~ text end, printed)
    end)
  end

  defp await(done?, seen \\ fn -> nil end, deadline \\ System.monotonic_time(:millisecond) + @limit) do
    cond do
      done?.() ->
        :ok

      System.monotonic_time(:millisecond) > deadline ->
        flunk("not within #{@limit} ms: #{inspect(seen.())}")

      true ->
        Process.sleep(20)
        await(done?, seen, deadline)
    end
  end
end
