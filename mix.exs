defmodule Mix.Tasks.Compile.BrodNif do
  @moduledoc false
  # The engine's cdylib, built by cargo before the Erlang sources; cargo itself knows what changed.
  use Mix.Task.Compiler

  @impl true
  def run(_args) do
    script = Path.join(__DIR__, "scripts/build-nif.sh")
    priv = Path.join(Mix.Project.app_path(), "priv")

    # The standard output is that of a task, such as `mix brod`.
    options = [stderr_to_stdout: true, into: IO.stream(:stderr, :line), env: env()]

    case System.cmd("bash", [script, priv], options) do
      {_, 0} ->
        {:ok, []}

      {_, status} ->
        Mix.raise("brod: building the engine with cargo failed (exit status #{status})")
    end
  end

  @impl true
  def clean do
    for name <- ["brod_nif.so", "brod_nif.debug", "brod_nif.precompiled"] do
      File.rm(Path.join([Mix.Project.app_path(), "priv", name]))
    end

    :ok
  end

  # `config :brod, precompiled: FOLDER_OR_URL` says where a precompiled library may be; the environment goes first.
  defp env do
    for {key, name} <- [
          precompiled: "BROD_PRECOMPILED",
          precompiled_checksums: "BROD_PRECOMPILED_CHECKSUMS"
        ],
        value = Application.get_env(:brod, key),
        System.get_env(name) == nil,
        do: {name, value}
  end
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
      source_url: System.get_env("BROD_SOURCE_URL"),
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

  defp package do
    [
      licenses: strings(:licenses),
      links: links(),
      files: strings(:files) ++ Enum.filter(strings(:include_files), &File.exists?/1)
    ]
  end

  defp strings(key), do: Enum.map(app_src(key), &to_string/1)

  # Nobody but who publishes it knows where this repository is then: BROD_SOURCE_URL says it.
  defp links do
    for url <- List.wrap(System.get_env("BROD_SOURCE_URL")),
        into: Map.new(app_src(:links)),
        do: {"Source", url}
  end

  # For ExDoc, where somebody has it: `make docs`. Nothing depends on it.
  defp docs do
    guides = Path.wildcard("docs/guides/*.md") ++ Path.wildcard("docs/livebook/*.livemd")
    reference = ["docs/options.md", "docs/migrating-tls.md", "ARCHITECTURE.md"]

    [
      main: "readme",
      output: "_build/docs",
      assets: %{"docs/images" => "images"},
      extras: ["README.md"] ++ guides ++ reference ++ ["CHANGELOG.md", "LICENSE"],
      groups_for_extras: [Guides: guides, Reference: reference],
      groups_for_modules: [
        "Elixir": ~r/^Brod/,
        "Erlang: clients and producers": ~r/^:?brod(_client|_producer|_utils)?$/,
        "Erlang: consumers": ~r/^:?brod_(consumer|topic_subscriber)/,
        "Erlang: groups": ~r/^:?brod_(group_|cg_commits)/,
        "Erlang: transactions": ~r/^:?brod_transaction/,
        "Erlang: requests of your own": ~r/^:?brod_kafka_/,
        "Erlang: running and testing": ~r/^:?brod_/
      ],
      # What brod 4 shows of itself, and so must we, has types that are nobody's business.
      skip_undefined_reference_warnings_on: [
        "src/brod_client.erl",
        "src/brod_kafka_request.erl",
        "src/brod_transaction.erl",
        "src/brod_utils.erl"
      ]
    ]
  end

  defp app_src(key) do
    {:ok, [{:application, :brod, properties}]} = :file.consult(@app_src)
    Keyword.fetch!(properties, key)
  end
end
