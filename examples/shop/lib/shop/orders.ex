defmodule Shop.Orders do
  @moduledoc "What a controller or a LiveView calls."

  @topic "orders"

  @doc "Returns when all in-sync replicas have the order. Orders of a customer keep their order."
  def place(customer, order) do
    with {:ok, _} <- Brod.Producer.produce_sync(:kafka, @topic, {customer, order}), do: :ok
  end

  @doc "The caller gets `{:order, customer, order}` for each order from now on."
  def subscribe do
    {:ok, _} = Registry.register(Shop.PubSub, @topic, [])
    :ok
  end

  @doc false
  def broadcast(customer, order) do
    Registry.dispatch(Shop.PubSub, @topic, fn subscribers ->
      for {pid, _} <- subscribers, do: send(pid, {:order, customer, order})
    end)
  end
end
