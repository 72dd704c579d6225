defmodule Brod.GuidesTest do
  @moduledoc "The Elixir blocks of each guide, in order, are one program that runs as it stands, but for where Kafka is."
  use ExUnit.Case, async: false

  @moduletag :kafka
  # Guides whose blocks are no program of their own say so by having none in Elixir.
  @guides for file <- Path.wildcard(Path.join(__DIR__, "../docs/guides/*.md")),
              File.read!(file) =~ ~r/^```elixir$/m,
              do: file

  setup_all do
    {:ok, _} = Application.ensure_all_started(:brod)
    :ok
  end

  test "there are guides", do: assert(@guides != [])

  for guide <- @guides do
    @external_resource guide

    test "#{Path.basename(guide)} runs" do
      text = File.read!(unquote(guide))
      blocks = for [_, code] <- Regex.scan(~r/^```elixir\n(.*?)^```$/ms, text), do: code
      [first | _] = String.split(System.fetch_env!("BROD_BOOTSTRAP"), ",")
      # Topics of their own, so that it runs more than once on a cluster.
      topics = "guide-#{System.os_time()}-"

      program =
        blocks
        |> Enum.join("\n")
        |> String.replace("localhost:19092", first)
        |> String.replace("\"guide-", "\"" <> topics)

      assert {:ok, _} = Code.eval_string(program, [], file: unquote(guide)) |> then(&{:ok, &1})
    end
  end
end
