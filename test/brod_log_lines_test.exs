defmodule Brod.LogLinesTest do
  @moduledoc false
  use ExUnit.Case, async: true
  import ExUnit.CaptureLog

  test "a term stays on its line of the log" do
    interval = {:every, [{"topic", 1}, {"topic", 2}]}

    log =
      capture_log(fn ->
        :ok = :brod_group_options.warn(offset_commit_interval_seconds: interval)
      end)

    assert log =~ "cannot be #{inspect(interval)}, 5 is used instead"
  end
end
