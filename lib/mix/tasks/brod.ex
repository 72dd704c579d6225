defmodule Mix.Tasks.Brod do
  @shortdoc "Kafka's topics, messages, groups and more: mix brod help"
  @moduledoc """
  The command line of brod. `mix brod help` tells its commands, `mix brod help consume` the options of one.
  """
  use Mix.Task

  @impl Mix.Task
  def run(args) do
    Mix.Task.run("loadpaths")
    Mix.Task.run("compile")

    case :brod_cli.run(Enum.map(args, &String.to_charlist/1)) do
      0 -> :ok
      code -> exit({:shutdown, code})
    end
  end
end
