import Metrics
import Tracing
import Warren

/// Metrics and spans of publishing, with OpenTelemetry's messaging names (semantic conventions 1.37, "Messaging").
struct PublishObserver: Sendable {
  private static let label = "messaging.client.sent.messages"
  private let confirmed = Counter(label: label, dimensions: dimensions("confirmed"))
  private let unroutable = Counter(label: label, dimensions: dimensions("unroutable"))
  private let refused = Counter(label: label, dimensions: dimensions("refused"))
  private let congested = Counter(label: label, dimensions: dimensions("congested"))
  private let notPublished = Counter(label: label, dimensions: dimensions("notPublished"))
  private let unknown = Counter(label: label, dimensions: dimensions("unknown"))

  private static func dimensions(_ outcome: String) -> [(String, String)] {
    [("messaging.system", "rabbitmq"), ("messaging.operation.type", "send"), ("warren.outcome", outcome)]
  }

  func count(_ outcome: PublishOutcome) {
    switch outcome {
    case .confirmed: confirmed.increment()
    case .unroutable: unroutable.increment()
    case .refused: refused.increment()
    case .congested: congested.increment()
    case .notPublished: notPublished.increment()
    case .unknown: unknown.increment()
    }
  }

  /// Runs one publish in a span of its own, whose context travels with the event. Costs nothing without a tracer.
  func publishing(
    _ event: EncodedEvent, _ body: (EncodedEvent) async throws -> Receipt
  ) async throws -> Receipt {
    guard InstrumentationSystem.mayTrace else { return try await counting(event, body) }
    return try await withSpan("send \(event.metadata.type)", ofKind: .producer) { span in
      span.attributes["messaging.system"] = "rabbitmq"
      span.attributes["messaging.operation.type"] = "send"
      span.attributes["messaging.operation.name"] = "publish"
      span.attributes["messaging.destination.name"] = EntityNames.exchange(of: event.metadata.type)
      span.attributes["messaging.message.body.size"] = event.body.count
      if let id = event.metadata.id { span.attributes["messaging.message.id"] = id.text }
      var event = event
      event.metadata.trace = TraceContext.current()
      return try await counting(event, body)
    }
  }

  private func counting(
    _ event: EncodedEvent, _ body: (EncodedEvent) async throws -> Receipt
  ) async throws -> Receipt {
    do {
      let receipt = try await body(event)
      confirmed.increment()
      return receipt
    } catch {
      if let error = error as? PublishError {
        switch error.code {
        case .unroutable: unroutable.increment()
        case .refused: refused.increment()
        case .congested: congested.increment()
        case .notPublished: notPublished.increment()
        default: unknown.increment()
        }
      }
      throw error
    }
  }
}
