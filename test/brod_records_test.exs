defmodule Brod.RecordsTest do
  use ExUnit.Case, async: true
  import Brod.Records

  test "a record made in Elixir has the shape that Erlang matches" do
    assert kafka_message(offset: 1, key: "k", value: "v", ts_type: :create, ts: 2) ==
             {:kafka_message, 1, "k", "v", :create, 2, []}
  end

  test "fields are read by name" do
    set = {:kafka_message_set, "t", 3, 9, []}
    assert kafka_message_set(topic: "t", partition: 3, high_wm_offset: 9) = set
    assert kafka_message_set(set, :messages) == []
  end
end
