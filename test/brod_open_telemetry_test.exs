defmodule Brod.OpenTelemetryTest do
  @moduledoc "The modules of opentelemetry_api are made here as far as they are called."
  use ExUnit.Case, async: false

  @compile {:no_warn_undefined, :otel_ctx}

  import Brod.OpenTelemetry

  test "without the library messages stay as they are, and funs are run" do
    refute Code.ensure_loaded?(:otel_ctx)
    assert inject({"k", "v"}) == {"k", "v"}
    assert with_context([{"traceparent", "00-1-2-01"}], fn -> :done end) == :done
  end

  describe "with the library" do
    setup do
      [{ctx, _}] =
        Code.compile_string("""
        defmodule :otel_ctx do
          def get_current, do: Process.get(:otel, %{})
          def attach(context), do: Process.put(:otel, context) || %{}
          def detach(token), do: Process.put(:otel, token)
        end
        """)

      [{map, _}] =
        Code.compile_string("""
        defmodule :otel_propagator_text_map do
          def inject(carrier) do
            case :otel_ctx.get_current() do
              %{span: span} -> [{"traceparent", span} | carrier]
              _ -> carrier
            end
          end

          def extract_to(context, carrier) do
            case List.keyfind(carrier, "traceparent", 0) do
              {_, span} -> Map.put(context, :span, span)
              nil -> context
            end
          end
        end
        """)

      on_exit(fn ->
        for module <- [ctx, map] do
          :code.purge(module)
          :code.delete(module)
        end
      end)
    end

    test "what is current goes with each kind of message, in place of what it had" do
      assert inject("v") == "v"
      :otel_ctx.attach(%{span: "00-a-b-01"})
      expected = [{"traceparent", "00-a-b-01"}]
      assert %{value: "v", headers: ^expected} = inject("v")
      assert %{key: "k", value: "v", headers: ^expected} = inject({"k", "v"})

      assert %{ts: 1, headers: [{"h", "1"}, {"traceparent", "00-a-b-01"}]} =
               inject(%{value: "v", ts: 1, headers: [{"h", "1"}, {"traceparent", "old"}]})
    end

    test "a handler sees the context of the message, and what was before when it is done" do
      :otel_ctx.attach(%{span: "own"})

      message = %Brod.Message{
        topic: "t",
        partition: 0,
        offset: 1,
        headers: [{"traceparent", "00-a-b-01"}]
      }

      assert with_context(message, fn -> :otel_ctx.get_current().span end) == "00-a-b-01"
      assert :otel_ctx.get_current() == %{span: "own"}
      assert catch_throw(with_context(message, fn -> throw(:out) end)) == :out
      assert :otel_ctx.get_current() == %{span: "own"}
      assert with_context([], fn -> :otel_ctx.get_current().span end) == "own"
    end
  end
end
