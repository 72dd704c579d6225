defmodule Brod.Message do
  @moduledoc """
  A message as it was read.

    * `topic`, `partition`, `offset` - where it stands;
    * `key`, `value` - binaries; an empty key means that there is none, an empty value may be a tombstone;
    * `headers` - a list of `{name, value}`;
    * `ts` - milliseconds since 1970, or `nil`; `ts_type` - `:create` (of whoever wrote it), `:append`
      (of the broker) or `nil`;
    * `high_watermark` - the end of the partition when the message was fetched, where that is known.

  `Brod.Records` has the same as the records that the Erlang modules use.
  """

  import Brod.Records

  @enforce_keys [:topic, :partition, :offset]
  defstruct [
    :topic,
    :partition,
    :offset,
    :ts,
    :ts_type,
    :high_watermark,
    key: "",
    value: "",
    headers: []
  ]

  @type t :: %__MODULE__{
          topic: String.t(),
          partition: non_neg_integer(),
          offset: integer(),
          key: binary(),
          value: binary(),
          headers: [{binary(), binary()}],
          ts: integer() | nil,
          ts_type: :create | :append | nil,
          high_watermark: integer() | nil
        }

  @doc "The struct of a `#kafka_message{}` record."
  @spec from_record(tuple(), String.t(), non_neg_integer(), integer() | nil) :: t()
  def from_record(record, topic, partition, high_watermark \\ nil) do
    kafka_message(offset: o, key: k, value: v, ts_type: type, ts: ts, headers: headers) = record

    %__MODULE__{
      topic: topic,
      partition: partition,
      offset: o,
      key: k,
      value: v,
      headers: headers,
      ts: known(ts),
      ts_type: known(type),
      high_watermark: high_watermark
    }
  end

  @doc "The structs of all messages of a `#kafka_message_set{}` record."
  @spec from_set(tuple()) :: [t()]
  def from_set(kafka_message_set(messages: messages) = set) when is_list(messages) do
    kafka_message_set(topic: topic, partition: partition, high_wm_offset: high) = set
    Enum.map(messages, &from_record(&1, topic, partition, high))
  end

  @doc "The value of the first header of this name, or `nil`."
  @spec header(t(), binary()) :: binary() | nil
  def header(%__MODULE__{headers: headers}, name) do
    case List.keyfind(headers, name, 0) do
      {_, value} -> value
      nil -> nil
    end
  end

  defp known(:undefined), do: nil
  defp known(value), do: value
end
