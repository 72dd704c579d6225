defmodule Mix.Tasks.Compile.BrodNif do
  @moduledoc false
  # The engine's cdylib, built by cargo before the Erlang sources; cargo itself knows what changed.
  use Mix.Task.Compiler

  @impl true
  def run(_args) do
    script = Path.join(__DIR__, "scripts/build-nif.sh")
    priv = Path.join(Mix.Project.app_path(), "priv")

    case System.cmd("bash", [script, priv], stderr_to_stdout: true, into: IO.stream(:stdio, :line)) do
      {_, 0} ->
        {:ok, []}

      {_, status} ->
        Mix.raise("brod: building the engine with cargo failed (exit status #{status})")
    end
  end

  @impl true
  def clean, do: File.rm(Path.join(Mix.Project.app_path(), "priv/brod_nif.so"))
end

defmodule Mix.Tasks.Compile.BrodDocs do
  @moduledoc false
  # The documentation of the Erlang modules as `h` reads it.
  use Mix.Task.Compiler

  @impl true
  def run(_args) do
    script = Path.join(__DIR__, "scripts/doc-chunks.sh")
    {_, 0} = System.cmd("bash", [script, Mix.Project.app_path()], into: IO.stream(:stdio, :line))
    {:ok, []}
  end
end

defmodule Brod.MixProject do
  use Mix.Project

  # The one description of the application that rebar3 and mix share.
  @app_src Path.join(__DIR__, "src/brod.app.src")
  @external_resource @app_src

  def project do
    [
      app: :brod,
      version: to_string(app_src(:vsn)),
      elixir: "~> 1.14",
      description: to_string(app_src(:description)),
      compilers: [:brod_nif | Mix.compilers()] ++ [:brod_docs],
      erlc_options: [:debug_info],
      test_paths: ["test"],
      package: package(),
      docs: docs(),
      deps: []
    ]
  end

  def application do
    [
      mod: app_src(:mod),
      registered: app_src(:registered),
      env: app_src(:env),
      extra_applications: app_src(:applications) -- [:kernel, :stdlib]
    ]
  end

  # What is needed to build it where it is used; no more.
  defp package do
    [
      licenses: app_src(:licenses),
      links: Map.new(app_src(:links)),
      files:
        ~w(lib bin src include native scripts docs/options.md docs/migrating-tls.md docs/guides) ++
          ~w(Cargo.toml Cargo.lock mix.exs rebar.config rebar.config.script rebar.lock) ++
          ~w(README.md CHANGELOG.md LICENSE)
    ]
  end

  # For ExDoc, where somebody has it.
  defp docs do
    [
      main: "readme",
      extras:
        ["README.md", "CHANGELOG.md", "docs/options.md", "docs/migrating-tls.md"] ++
          Path.wildcard("docs/guides/*.md")
    ]
  end

  defp app_src(key) do
    {:ok, [{:application, :brod, properties}]} = :file.consult(@app_src)
    Keyword.fetch!(properties, key)
  end
end
