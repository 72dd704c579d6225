defmodule Shop.OrderHandler do
  @moduledoc "Reads orders as a member of a group: of several nodes each has some of the partitions."
  use Brod.GroupSubscriber,
    otp_app: :shop,
    client: :kafka,
    topics: ["orders"],
    consumer_config: [begin_offset: :earliest]

  @impl true
  def handle_message(order, state) do
    Shop.Orders.broadcast(order.key, order.value)
    {:ok, :commit, state}
  end
end
