defmodule KafkaProtocol.MixProject do
  use Mix.Project

  # As rebar.config says: brod itself is a dependency of whoever uses this.
  def project do
    [
      app: :kafka_protocol,
      version: "4.3.6",
      elixir: "~> 1.14",
      description: "The functions of kafka_protocol 4, on brod's engine",
      erlc_options: [:debug_info],
      deps: []
    ]
  end

  def application, do: [extra_applications: [:crypto, :brod]]
end
