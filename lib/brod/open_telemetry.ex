defmodule Brod.OpenTelemetry do
  @moduledoc """
  Carries the OpenTelemetry context of a trace with a message, in its headers: `traceparent`, `tracestate` and whatever else the
  configured propagators write (W3C Trace Context and Baggage, unless configured otherwise).

      # Where a message is produced: the span that is current goes along.
      Brod.Producer.produce(:kafka, "orders", Brod.OpenTelemetry.inject({"key", "value"}))

      # Where it is handled: spans that are started in there are children of that one.
      def handle_message(message, state) do
        Brod.OpenTelemetry.with_context(message, fn ->
          OpenTelemetry.Tracer.with_span "orders process", %{kind: :consumer} do
            work(message)
          end
        end)

        {:ok, :commit, state}
      end

  It uses the application `opentelemetry_api` where that is there, and is no dependency on it: without it messages stay as they
  are, and the fun is just run. It starts no spans: what is worth one is yours to say.
  """

  @propagator :otel_propagator_text_map
  @context :otel_ctx

  @type headers :: [{binary(), binary()}]

  @doc """
  The message with the current context in its headers, as `Brod.Producer` and `Brod.Transaction` take it. What it has of those
  headers already is replaced.
  """
  @spec inject(Brod.Producer.message()) :: Brod.Producer.message()
  def inject(message) do
    case here?() && apply(@propagator, :inject, [[]]) do
      [_ | _] = injected ->
        {key, value} = Brod.Producer.input(message)
        message = if is_map(value), do: value, else: %{value: value, key: key}
        names = for {name, _} <- injected, do: name

        kept =
          for {name, _} = header <- Map.get(message, :headers, []), name not in names, do: header

        Map.put(message, :headers, kept ++ injected)

      _ ->
        message
    end
  end

  @doc """
  Runs `fun` with the context that a message has brought, and has the context of before again after it, whatever happens.
  Takes a `Brod.Message` or headers.
  """
  @spec with_context(Brod.Message.t() | headers(), (() -> result)) :: result when result: term()
  def with_context(%Brod.Message{headers: headers}, fun), do: with_context(headers, fun)

  def with_context(headers, fun) when is_list(headers) do
    if here?() do
      before = apply(@context, :get_current, [])
      token = apply(@context, :attach, [apply(@propagator, :extract_to, [before, headers])])

      try do
        fun.()
      after
        apply(@context, :detach, [token])
      end
    else
      fun.()
    end
  end

  defp here?, do: Code.ensure_loaded?(@propagator) and Code.ensure_loaded?(@context)
end
