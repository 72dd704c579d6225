defmodule Shop.MixProject do
  use Mix.Project

  def project do
    [app: :shop, version: "1.0.0", elixir: "~> 1.14", deps: [{:brod, path: "../.."}]]
  end

  def application do
    [mod: {Shop.Application, []}, extra_applications: [:logger]]
  end
end
