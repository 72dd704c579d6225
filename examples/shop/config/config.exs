import Config

config :shop, kafka: [endpoints: System.get_env("KAFKA", "localhost:9092")]

# Whatever `use Brod.GroupSubscriber` has can be set here, too.
config :shop, Shop.OrderHandler, group_id: "shop"
