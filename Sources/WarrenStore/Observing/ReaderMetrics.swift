import Metrics
import Warren
import WarrenSupport

/// Metrics of one reader of the log, a projection behind the appends or a subscription: of the process in which it works. See
/// ``LogMetrics``.
struct ReaderMetrics: Sendable {
  enum Kind: String, Sendable { case projection, subscription }

  private let dimensions: [(String, String)]
  private let factory: any MetricsFactory
  private let handled, failed: Timer
  private let consumed: Counter

  /// Nil without a metrics system: then nobody looks at a clock for it, nor into the file.
  init?(_ metrics: LogMetrics, _ kind: Kind, name: String, version: Int? = nil) {
    guard metrics.isOn else { return nil }
    factory = metrics.factory
    var dimensions = [
      ("warren.source", metrics.source), ("warren.reader.kind", kind.rawValue), ("warren.reader.name", name),
    ]
    if let version { dimensions.append(("warren.reader.version", "\(version)")) }
    self.dimensions = dimensions
    let operation =
      dimensions + [
        ("messaging.system", "warren"), ("messaging.operation.type", "process"),
        ("messaging.operation.name", kind == .projection ? "project" : "subscribe"),
      ]
    func timer(_ outcome: String) -> Timer {
      Timer(
        label: "messaging.process.duration", dimensions: operation + [("warren.outcome", outcome)],
        factory: metrics.factory)
    }
    handled = timer("handled")
    failed = timer("failed")
    consumed = Counter(label: "messaging.client.consumed.messages", dimensions: operation, factory: factory)
  }

  /// One batch; `body` returns how many events it has taken.
  static func batch(_ metrics: ReaderMetrics?, _ body: () async throws -> Int) async rethrows {
    guard let metrics else {
      _ = try await body()
      return
    }
    let start = ContinuousClock.now
    do {
      let count = try await body()
      guard count > 0 else { return }
      metrics.handled.record(duration: .now - start)
      metrics.consumed.increment(by: count)
    } catch {
      // The end of the process is nobody's failure.
      if !(error is CancellationError) { metrics.failed.record(duration: .now - start) }
      throw error
    }
  }

  // MARK: Gauges

  private struct Gauges {
    let position, head, events, age, stopped: Gauge
    let poisoned: [PoisonedEvents.State: Gauge]

    func remove() {
      for gauge in [position, head, events, age, stopped] + Array(poisoned.values) { gauge.destroy() }
    }
  }

  private func gauges(_ kind: [PoisonedEvents.State]) -> Gauges {
    func gauge(_ name: String, _ more: [(String, String)] = []) -> Gauge {
      Gauge(label: "warren.reader.\(name)", dimensions: dimensions + more, factory: factory)
    }
    return Gauges(
      position: gauge("position"), head: gauge("head"), events: gauge("lag.events"), age: gauge("lag.age"),
      stopped: gauge("stopped"),
      poisoned: Dictionary(
        uniqueKeysWithValues: kind.map { ($0, gauge("poisoned.events", [("warren.state", $0.rawValue)])) }))
  }

  /// Sets the gauges until the task is cancelled, from a task of its own: a handler that hangs must show. Takes them away when
  /// the reader works here no longer, so that nobody sees an old lag for ever.
  static func watch(
    _ metrics: ReaderMetrics?, _ log: EventLog, _ reader: String, states: [PoisonedEvents.State] = [],
    isStopped: @escaping @Sendable () -> Bool
  ) -> Task<Void, Never>? {
    guard let metrics else { return nil }
    return Task {
      var gauges: Gauges?
      while !Task.isCancelled {
        let look = try? await log.reading { db in
          (try ReaderStand.read(reader, db), try PoisonedEvents.counts(reader, db))
        }
        if let look, let stand = look.0 {
          let set = gauges ?? metrics.gauges(states)
          gauges = set
          set.position.record(stand.position)
          set.head.record(stand.head)
          set.events.record(stand.lag.events)
          set.age.record(stand.lag.age / .seconds(1))
          set.stopped.record(isStopped() ? 1 : 0)
          for (state, gauge) in set.poisoned { gauge.record(look.1[state.rawValue] ?? 0) }
        } else {
          // A newer version is in use, or the file cannot be read: then nobody knows how far it is behind.
          gauges?.remove()
          gauges = nil
        }
        try? await Task.sleep(for: log.options.readerLook)
      }
      gauges?.remove()
    }
  }
}
