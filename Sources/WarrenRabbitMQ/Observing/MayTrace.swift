import Tracing

extension InstrumentationSystem {
  /// False when nobody listens to spans. Looking for the tracer among the instruments costs as much as handling a small event,
  /// and mostly there is no instrument at all.
  static var mayTrace: Bool { !(instrument is NoOpInstrument) && !(tracer is NoOpTracer) }
}
