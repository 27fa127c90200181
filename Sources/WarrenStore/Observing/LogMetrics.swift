import Metrics
import Warren

/// Metrics of a log. Where OpenTelemetry has a name for it (semantic conventions 1.37, "Messaging"), it is that one.
///
/// | label | kind | what |
/// | --- | --- | --- |
/// | `messaging.client.operation.duration` | timer | one call that records in a transaction of its own, by `warren.outcome` |
/// | `warren.log.commit.duration` | timer | one group commit, with its sync of the disk |
/// | `warren.log.commit.members` | recorder | how many callers shared it |
/// | `warren.log.delivery.duration` | timer | from recording to the broker's confirm |
/// | `warren.inbox.events` | counter | what became of a delivery, by queue and `warren.outcome` |
/// | `warren.log.recorded.events`, `.passed.events` | gauge | since the file was made: recorded, and confirmed or held |
/// | `warren.log.backlog.events`, `.backlog.bytes`, `.oldest.age` | gauge | what waits for its first try; seconds |
/// | `warren.log.held.events` | gauge | by `warren.cause` |
/// | `warren.log.scheduled.events`, `warren.log.wal.bytes` | gauge | |
/// | `messaging.process.duration` | timer | one batch of a projection or a subscription, by `warren.outcome` |
/// | `messaging.client.consumed.messages` | counter | the events that a projection or a subscription has taken |
/// | `warren.reader.lag.events`, `.lag.age` | gauge | see ``ReaderLag``; seconds |
/// | `warren.reader.position`, `.head` | gauge | its checkpoint, and the last position of the log |
/// | `warren.reader.stopped` | gauge | 1: it stands before what it cannot take |
/// | `warren.reader.poisoned.events` | gauge | of a projection, by `warren.state` |
///
/// The gauges of the log are set by the process that relays, those of a reader by the one in which it works, every ten seconds.
/// What is about a reader is by `warren.reader.kind` (`projection`, `subscription`), `warren.reader.name` and, of a
/// projection, `warren.reader.version`. A projection inside the appends is never behind and has none of them.
struct LogMetrics: Sendable {
  enum InboxOutcome: String, Sendable, CaseIterable {
    case handled, duplicate, idReused, tooOldToKnow, failed, retry, rejected, ignored
  }
  private static let held = ["unroutable", "congested", "exchange", "refused"]

  /// False without a metrics system: then nobody looks at a clock for it.
  let isOn: Bool
  let factory: any MetricsFactory
  let source: String
  private let recorded: Timer
  private let notRecorded: Timer
  private let commit: Timer
  private let members: Recorder
  private let delivery: Timer
  private let gauges: Gauges

  private struct Gauges: Sendable {
    let recorded, passed, backlog, bytes, age, scheduled, wal: Gauge
    let held: [String: Gauge]
  }

  init(source: ServiceName, factory: any MetricsFactory = MetricsSystem.factory) {
    self.factory = factory
    self.source = source.name
    isOn = !(factory is NOOPMetricsHandler)
    let log = [("warren.source", source.name)]
    func timer(_ outcome: String) -> Timer {
      Timer(
        label: "messaging.client.operation.duration",
        dimensions: log + [
          ("messaging.system", "warren"), ("messaging.operation.type", "create"),
          ("messaging.operation.name", "record"), ("warren.outcome", outcome),
        ], factory: factory)
    }
    recorded = timer("recorded")
    notRecorded = timer("failed")
    commit = Timer(label: "warren.log.commit.duration", dimensions: log, factory: factory)
    members = Recorder(label: "warren.log.commit.members", dimensions: log, aggregate: true, factory: factory)
    delivery = Timer(label: "warren.log.delivery.duration", dimensions: log, factory: factory)
    func gauge(_ name: String, _ more: [(String, String)] = []) -> Gauge {
      Gauge(label: "warren.log.\(name)", dimensions: log + more, factory: factory)
    }
    gauges = Gauges(
      recorded: gauge("recorded.events"), passed: gauge("passed.events"), backlog: gauge("backlog.events"),
      bytes: gauge("backlog.bytes"), age: gauge("oldest.age"), scheduled: gauge("scheduled.events"),
      wal: gauge("wal.bytes"),
      held: Dictionary(uniqueKeysWithValues: Self.held.map { ($0, gauge("held.events", [("warren.cause", $0)])) }))
  }

  /// One call that records.
  func recording<R>(_ body: () async throws -> R) async rethrows -> R {
    guard isOn else { return try await body() }
    let start = ContinuousClock.now
    do {
      let result = try await body()
      recorded.record(duration: .now - start)
      return result
    } catch {
      notRecorded.record(duration: .now - start)
      throw error
    }
  }

  func committed(_ count: Int, since start: ContinuousClock.Instant) {
    commit.record(duration: .now - start)
    members.record(count)
  }

  /// `event` is confirmed.
  func delivered(_ event: EncodedEvent) {
    guard isOn, let recordedAt = event.metadata.recordedAt else { return }
    delivery.recordMilliseconds(max(0, Int64(wallClockMilliseconds()) - recordedAt.milliseconds))
  }

  /// Made when it is needed: nobody knows the queues before.
  func inbox(_ queue: String, _ outcome: InboxOutcome) {
    guard isOn else { return }
    Counter(
      label: "warren.inbox.events",
      dimensions: [
        ("warren.source", source), ("messaging.destination.name", queue), ("warren.outcome", outcome.rawValue),
      ], factory: factory
    ).increment()
  }

  func set(_ status: LogStatus) {
    gauges.recorded.record(status.passedRows + status.backlogRows)
    gauges.passed.record(status.passedRows)
    gauges.backlog.record(status.backlogRows)
    gauges.bytes.record(status.backlogBytes)
    gauges.age.record((status.oldestAge ?? .zero) / .seconds(1))
    gauges.scheduled.record(status.scheduled)
    gauges.wal.record(status.walBytes)
    for (cause, gauge) in gauges.held { gauge.record(status.held[cause] ?? 0) }
  }
}
