defmodule Brod.LivebookTest do
  @moduledoc "The cells of each notebook, in order, run as they stand, but for the one that installs."
  use ExUnit.Case, async: false

  @moduletag :mock
  @notebooks Path.wildcard(Path.join(__DIR__, "../docs/livebook/*.livemd"))

  test "there are notebooks", do: assert(@notebooks != [])

  for notebook <- @notebooks do
    @external_resource notebook

    test "#{Path.basename(notebook)} runs" do
      text = File.read!(unquote(notebook))
      ["# Where brod is" <> _ | cells] = cells(text)
      assert cells != []

      # Cells see what those before them have bound, defined and imported, as in Livebook.
      Enum.reduce(cells, {[], Code.env_for_eval(file: unquote(notebook))}, fn cell, {bound, env} ->
        {_, bound, env} = Code.eval_quoted_with_env(Code.string_to_quoted!(cell), bound, env)
        {bound, env}
      end)
    end
  end

  defp cells(text) do
    for [_, code] <- Regex.scan(~r/^```elixir\n(.*?)^```$/ms, text), do: code
  end
end
