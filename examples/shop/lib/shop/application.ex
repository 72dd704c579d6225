defmodule Shop.Application do
  @moduledoc "Where a Phoenix application has its endpoint, its repo and its PubSub, this one has what Kafka needs."
  use Application

  @impl true
  def start(_type, _args) do
    children = [
      {Registry, keys: :duplicate, name: Shop.PubSub},
      {Brod.Client, [name: :kafka] ++ Application.fetch_env!(:shop, :kafka)},
      Shop.OrderHandler
    ]

    # Children end in the opposite order: the handler commits and leaves the group before its client goes.
    Supervisor.start_link(children, strategy: :rest_for_one, name: Shop.Supervisor)
  end
end
