defmodule BrodDocsTest do
  # What `h` and `b` show in iex, and `h` and `hcb` in erl (EEP-48).
  use ExUnit.Case, async: true

  test "a function's text is shown" do
    assert {:docs_v1, _, :erlang, _, _, _, docs} = Code.fetch_docs(:brod)

    assert [%{"en" => [_ | _]}] =
             for({{:function, :produce_sync, 5}, _, _, text, _} <- docs, do: text)
  end

  test "each callback of a behaviour is shown with a text" do
    for module <- [
          :brod_group_member,
          :brod_group_subscriber,
          :brod_group_subscriber_v2,
          :brod_topic_subscriber
        ] do
      {:docs_v1, _, :erlang, _, _, _, docs} = Code.fetch_docs(module)
      shown = for {{:callback, name, arity}, _, _, %{"en" => [_ | _]}, _} <- docs, do: {name, arity}
      {:ok, callbacks} = Code.Typespec.fetch_callbacks(module)
      assert Enum.sort(shown) == Enum.sort(for {callback, _} <- callbacks, do: callback)
    end
  end
end
