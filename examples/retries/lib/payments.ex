defmodule Payments do
  @moduledoc """
  Handles payments. One that fails goes to the topic `payments-retry`, and is tried again from there, later;
  after the last attempt it goes to `payments-dead`, where people look at it. So one bad message holds up nobody.

      children = [
        {Brod.Client, name: :kafka, endpoints: "localhost:9092"},
        {Payments, init_data: &MyApp.Bank.pay/1}
      ]

  Once the fault is mended, dead payments are brought back in a shell:

      brod pipe -t payments-dead --to-topic payments

  A payment that is retried comes after younger ones of its key. Where their order matters, do not put it aside:
  raise, and the partition waits.
  """
  use Brod.GroupSubscriber,
    client: :kafka,
    group_id: "payments",
    topics: ["payments", "payments-retry"],
    consumer_config: [begin_offset: :earliest]

  require Logger
  alias Brod.{Message, Producer}

  @attempts 3
  @delay_ms 1_000

  @impl true
  def init(_info, pay) when is_function(pay, 1), do: {:ok, %{pay: pay, delay_ms: @delay_ms}}
  def init(_info, {pay, delay_ms}), do: {:ok, %{pay: pay, delay_ms: delay_ms}}

  @impl true
  def handle_message(payment, state) do
    wait_until(Message.header(payment, "not-before"))

    case state.pay.(payment.value) do
      :ok -> :ok
      {:error, reason} -> put_aside(payment, reason, state.delay_ms)
    end

    # Only now: had the node died before, the payment would come again.
    {:ok, :commit, state}
  end

  # Blocks the process of one partition of the retry topic, in which those behind are due later.
  defp wait_until(nil), do: :ok

  defp wait_until(due) do
    Process.sleep(max(0, String.to_integer(due) - System.system_time(:millisecond)))
  end

  # Raises if it cannot be stored: then nothing is committed, and the payment comes again.
  defp put_aside(payment, reason, delay_ms) do
    attempt = 1 + String.to_integer(Message.header(payment, "attempt") || "0")

    headers = [
      {"attempt", "#{attempt}"},
      {"reason", inspect(reason)},
      {"from", "#{payment.topic} #{payment.partition} #{payment.offset}"}
    ]

    {topic, headers} =
      if attempt < @attempts do
        due = System.system_time(:millisecond) + delay_ms * attempt
        {"payments-retry", [{"not-before", "#{due}"} | headers]}
      else
        Logger.error("a payment failed #{attempt} times: #{inspect(reason)}")
        {"payments-dead", headers}
      end

    message = %{key: payment.key, value: payment.value, headers: headers}
    Producer.produce_sync!(:kafka, topic, message)
  end
end
