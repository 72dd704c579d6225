defmodule PackageTest do
  @moduledoc "The package as hex would make it, by rebar3's functions of hex: `make package`."
  use ExUnit.Case, async: true

  @root Path.expand("..", __DIR__)
  @version Mix.Project.config()[:version]

  setup_all do
    folder = Path.join(System.tmp_dir!(), "brod-package-#{System.pid()}")
    on_exit(fn -> File.rm_rf!(folder) end)
    script = Path.join(@root, "scripts/package.escript")
    {said, 0} = System.cmd("escript", [script, folder, "--unpack"], stderr_to_stdout: true)
    [tarball, unpacked] = String.split(said, "\n", trim: true)
    {:ok, tarball: tarball, unpacked: unpacked}
  end

  test "the package is small, and says what it is", %{tarball: tarball, unpacked: unpacked} do
    assert Path.basename(tarball) == "brod-#{@version}.tar"
    # hex takes 16 MB.
    assert File.stat!(tarball).size < 2_000_000
    {:ok, metadata} = :file.consult(Path.join(unpacked, "hex_metadata.config"))
    about = Map.new(metadata)
    assert about["name"] == "brod"
    assert about["version"] == @version
    assert about["licenses"] == ["Apache-2.0"]
    assert about["build_tools"] == ["rebar3", "mix"]
  end

  test "of its folders it has what git has, and nothing that building left", %{unpacked: unpacked} do
    folders = ~w(bin docs/guides docs/livebook include lib native scripts src)
    of_git = ~w(ls-files --cached --others --exclude-standard --) ++ folders
    {known, 0} = System.cmd("git", of_git, cd: @root)
    packed = for folder <- folders, file <- files(unpacked, folder), do: file
    tracked = known |> String.split("\n", trim: true) |> Enum.filter(&in_tree?/1)
    assert packed -- tracked == []
    assert tracked -- packed == []
  end

  test "cargo has all that it needs", %{unpacked: unpacked} do
    wanted = ~w(metadata --format-version 1 --no-deps --offline --locked)
    {said, 0} = System.cmd("cargo", wanted, cd: unpacked, stderr_to_stdout: true)
    for crate <- ~w(brod_protocol brod_engine brod_nif brod_mock), do: assert(said =~ crate)
  end

  test "mix packs the same" do
    package = Mix.Project.config()[:package]
    {:ok, [{:application, :brod, about}]} = :file.consult(Path.join(@root, "src/brod.app.src"))
    assert Enum.map(about[:files], &to_string/1) -- package[:files] == []
    assert package[:licenses] == ["Apache-2.0"]
    # hex refuses a package that names what is not there.
    for file <- package[:files], do: assert(Path.wildcard(Path.join(@root, file)) != [], file)
  end

  defp in_tree?(file), do: File.regular?(Path.join(@root, file))

  defp files(root, folder) do
    for path <- Path.wildcard(Path.join([root, folder, "**"]), match_dot: true),
        File.regular?(path),
        do: Path.relative_to(path, root)
  end
end
