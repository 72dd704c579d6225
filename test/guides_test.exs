defmodule Brod.GuidesTest do
  @moduledoc """
  The blocks of each guide, in order, are one program that runs as it stands, but for where Kafka is. Elixir's blocks are run, and
  Erlang's of guides that say so.
  """
  use ExUnit.Case, async: false

  # Guides whose blocks are no program of their own say so by having none in Elixir.
  @guides for file <- Path.wildcard(Path.join(__DIR__, "../docs/guides/*.md")),
              File.read!(file) =~ ~r/^```elixir$/m,
              do: file

  # Whose Erlang blocks are one: modules and expressions of the shell.
  @erlang_guides Enum.map(
                   ~w(five-minutes.md migrating-from-erlkaf.md),
                   &Path.join([__DIR__, "../docs/guides", &1])
                 )

  # What these show is the same on any Kafka.
  @on_the_mock ~w(five-minutes.md migrating-from-broadway_kafka.md migrating-from-erlkaf.md migrating-from-kafka_ex.md)

  setup_all do
    {:ok, _} = Application.ensure_all_started(:brod)
    :ok
  end

  test "there are guides", do: assert(@guides != [])

  for {language, guides} <- [elixir: @guides, erlang: @erlang_guides], guide <- guides do
    @external_resource guide
    @tag if(Path.basename(guide) in @on_the_mock, do: :mock, else: :kafka)

    test "#{Path.basename(guide)} runs in #{language}" do
      blocks = blocks(unquote(guide), unquote(language), kafka(unquote(Path.basename(guide))))
      assert {:ok, _} = {:ok, run(unquote(language), blocks, unquote(guide))}
    end
  end

  defp kafka(guide) when guide in @on_the_mock do
    mock = start_supervised!(%{id: :mock, start: {Brod.Mock, :start, [[brokers: 1]]}})
    [{host, port}] = Brod.Mock.endpoints(mock)
    {host, port}
  end

  defp kafka(_guide) do
    [first | _] = String.split(System.fetch_env!("BROD_BOOTSTRAP"), ",")
    [host, port] = String.split(first, ":")
    {host, port}
  end

  defp blocks(guide, language, {host, port}) do
    # Topics of their own, so that it runs more than once on a cluster.
    topics = "guide-#{System.os_time()}-"

    for [_, code] <- Regex.scan(~r/^```#{language}\n(.*?)^```$/ms, File.read!(guide)) do
      code
      |> String.replace("localhost:19092", "#{host}:#{port}")
      |> String.replace(~s("localhost", 19092), ~s("#{host}", #{port}))
      |> String.replace("\"guide-", "\"" <> topics)
    end
  end

  defp run(:elixir, blocks, guide),
    do: blocks |> Enum.join("\n") |> Code.eval_string([], file: guide)

  defp run(:erlang, blocks, _guide) do
    Enum.reduce(blocks, [], fn
      "-module(" <> _ = code, bindings ->
        compiled(code)
        bindings

      code, bindings ->
        {:ok, tokens, _} = :erl_scan.string(String.to_charlist(code))
        Enum.reduce(expressions(tokens), bindings, &evaluated/2)
    end)
  end

  defp evaluated(tokens, bindings) do
    {:ok, expressions} = :erl_parse.parse_exprs(tokens)
    {:value, _, bindings} = :erl_eval.exprs(expressions, bindings)
    bindings
  end

  defp expressions(tokens) do
    tokens
    |> Enum.chunk_while(
      [],
      fn
        {:dot, _} = dot, expression -> {:cont, Enum.reverse([dot | expression]), []}
        token, expression -> {:cont, [token | expression]}
      end,
      fn [] -> {:cont, []} end
    )
  end

  defp compiled(code) do
    [_, name] = Regex.run(~r/\A-module\((\w+)\)/, code)
    folder = Path.join(System.tmp_dir!(), "#{name}-#{System.os_time()}")
    File.mkdir_p!(folder)
    File.write!(Path.join(folder, name <> ".erl"), code)
    file = folder |> Path.join(name) |> String.to_charlist()
    assert {:ok, module, binary} = :compile.file(file, [:binary, :return_errors])
    assert {:module, ^module} = :code.load_binary(module, file, binary)
    File.rm_rf!(folder)
  end
end
