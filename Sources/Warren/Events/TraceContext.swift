package import Instrumentation

/// W3C Trace Context and Baggage, as they travel in the headers of an event.
public struct TraceContext: Hashable, Sendable {
  /// `traceparent` of W3C Trace Context.
  public var traceparent: String?
  /// `tracestate` of W3C Trace Context.
  public var tracestate: String?
  /// `baggage` of W3C Baggage.
  public var baggage: String?

  /// Makes a context from header values; nil for what is absent.
  public init(traceparent: String? = nil, tracestate: String? = nil, baggage: String? = nil) {
    self.traceparent = traceparent
    self.tracestate = tracestate
    self.baggage = baggage
  }

  /// True when there is nothing to carry.
  public var isEmpty: Bool { traceparent == nil && tracestate == nil && baggage == nil }

  /// What the instrument that the program has bootstrapped wants to send along from the current task.
  package static func current() -> TraceContext? {
    guard let context = ServiceContext.current else { return nil }
    var carrier = TraceContext()
    InstrumentationSystem.instrument.inject(context, into: &carrier, using: Fields())
    return carrier.isEmpty ? nil : carrier
  }

  /// The service context of the current task with what arrived merged into it.
  package func serviceContext() -> ServiceContext {
    var context = ServiceContext.current ?? .topLevel
    InstrumentationSystem.instrument.extract(self, into: &context, using: Fields())
    return context
  }

  private struct Fields: Injector, Extractor {
    func inject(_ value: String, forKey key: String, into carrier: inout TraceContext) {
      switch key.lowercased() {
      case "traceparent": carrier.traceparent = value
      case "tracestate": carrier.tracestate = value
      case "baggage": carrier.baggage = value
      default: break
      }
    }

    func extract(key: String, from carrier: TraceContext) -> String? {
      switch key.lowercased() {
      case "traceparent": carrier.traceparent
      case "tracestate": carrier.tracestate
      case "baggage": carrier.baggage
      default: nil
      }
    }
  }
}
