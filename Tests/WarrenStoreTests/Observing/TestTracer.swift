import InMemoryTracing
import Tracing

/// Keeps spans in memory, and puts their context into `traceparent`, as tracers in service do.
struct TestTracer: Tracer {
  typealias Span = InMemorySpan
  private let memory = InMemoryTracer()

  var finishedSpans: [FinishedInMemorySpan] { memory.finishedSpans }

  func startSpan<Instant: TracerInstant>(
    _ operationName: String, context: @autoclosure () -> ServiceContext, ofKind kind: SpanKind,
    at instant: @autoclosure () -> Instant, function: String, file fileID: String, line: UInt
  ) -> InMemorySpan {
    memory.startSpan(
      operationName, context: context(), ofKind: kind, at: instant(), function: function, file: fileID, line: line)
  }

  func forceFlush() {}

  func inject<Carrier, Inject: Injector>(
    _ context: ServiceContext, into carrier: inout Carrier, using injector: Inject
  ) where Carrier == Inject.Carrier {
    guard let span = context.inMemorySpanContext else { return }
    injector.inject("\(span.traceID)/\(span.spanID)", forKey: "traceparent", into: &carrier)
  }

  func extract<Carrier, Extract: Extractor>(
    _ carrier: Carrier, into context: inout ServiceContext, using extractor: Extract
  ) where Carrier == Extract.Carrier {
    let parts = extractor.extract(key: "traceparent", from: carrier)?.split(separator: "/") ?? []
    guard parts.count == 2 else { return }
    context.inMemorySpanContext = InMemorySpanContext(
      traceID: String(parts[0]), spanID: String(parts[1]), parentSpanID: nil)
  }
}
