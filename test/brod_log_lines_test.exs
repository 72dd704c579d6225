defmodule Brod.LogLinesTest do
  @moduledoc false
  use ExUnit.Case, async: false
  import ExUnit.CaptureLog

  # brod depends on no application of Elixir's, so nobody else starts it here.
  setup do
    {:ok, started} = Application.ensure_all_started(:logger)
    on_exit(fn -> Enum.each(started, &Application.stop/1) end)
  end

  test "a term stays on its line of the log" do
    interval = {:every, [{"topic", 1}, {"topic", 2}]}

    log =
      capture_log(fn ->
        :ok = :brod_group_options.warn(offset_commit_interval_seconds: interval)
      end)

    assert log =~ "cannot be #{inspect(interval)}, 5 is used instead"
  end
end
