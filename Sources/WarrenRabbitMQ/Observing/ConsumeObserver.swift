import Metrics
import Tracing
import Warren

/// Metrics and spans of handling, with OpenTelemetry's messaging names (semantic conventions 1.37, "Messaging").
struct ConsumeObserver: Sendable {
  enum Outcome: CaseIterable { case handled, ignored, deadLetter, retried }

  private let queue: String
  private let counters: [Counter]

  init(queue: String) {
    self.queue = queue
    counters = Outcome.allCases.map { outcome in
      Counter(
        label: "messaging.client.consumed.messages",
        dimensions: [
          ("messaging.system", "rabbitmq"), ("messaging.destination.name", queue), ("warren.outcome", "\(outcome)"),
        ])
    }
  }

  func count(_ outcome: Outcome) {
    switch outcome {
    case .handled: counters[0].increment()
    case .ignored: counters[1].increment()
    case .deadLetter: counters[2].increment()
    case .retried: counters[3].increment()
    }
  }

  /// Runs a handler in a span that follows the one in which the event was published. Costs nothing without a tracer.
  func processing(_ delivery: Delivery, _ body: (Delivery) async -> HandlerResult) async -> HandlerResult {
    guard InstrumentationSystem.mayTrace else { return await body(delivery) }
    let context = (delivery.metadata.trace ?? TraceContext()).serviceContext()
    return await withSpan("process \(delivery.type)", context: context, ofKind: .consumer) { span in
      span.attributes["messaging.system"] = "rabbitmq"
      span.attributes["messaging.operation.type"] = "process"
      span.attributes["messaging.operation.name"] = "process"
      span.attributes["messaging.destination.name"] = queue
      span.attributes["messaging.message.body.size"] = delivery.body.count
      if let id = delivery.metadata.id { span.attributes["messaging.message.id"] = id.text }
      let result = await body(delivery)
      if case .failed(let error) = result.outcome { span.recordError(error) }
      return result
    }
  }
}
