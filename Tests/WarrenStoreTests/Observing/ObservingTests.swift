import Foundation
import GRDB
import InMemoryTracing
import MetricsTestKit
import Testing
import Tracing
import Warren
import WarrenSupport

@testable import WarrenStore

struct ObservingTests {
  private let source = [("warren.source", "tests")]

  private func delivery(_ number: Int, id: String, isOurs: Bool = true) throws -> Delivery {
    let id = try EventID(id)
    return Delivery(
      type: Happened.eventType, body: Data(#"{"number":\#(number)}"#.utf8), queue: "q", hasOwnID: { isOurs }
    ) {
      EventMetadata(id: id, type: Happened.eventType, source: "shop")
    }
  }

  @Test func recordingAndRelayingAreMeasured() async throws {
    let folder = try Folder()
    let metrics = TestMetrics()
    let log = try folder.log { options in
      options.metrics = metrics
      options.maximumBodySize = 20
    }
    for number in 0..<5 { try await log.record(Happened(number: number), options: .init(key: "k")) }
    _ = await thrown(StoreError.self) { try await log.record(Happened(number: 1_234_567_890_123)) }
    let operation = { (outcome: String) in
      source + [
        ("messaging.system", "warren"), ("messaging.operation.type", "create"), ("messaging.operation.name", "record"),
        ("warren.outcome", outcome),
      ]
    }
    let duration = "messaging.client.operation.duration"
    #expect(try metrics.expectTimer(duration, operation("recorded")).values.count == 5)
    #expect(try metrics.expectTimer(duration, operation("failed")).values.count == 1)
    // Counted behind the commit, when its callers know already.
    try await expectEventually {
      let members = try metrics.expectRecorder("warren.log.commit.members", source).values
      let commits = try metrics.expectTimer("warren.log.commit.duration", source).values
      return members.reduce(0, +) == 5 && commits.count == members.count
    }

    let broker = FakeBroker { $0.number == 3 ? .unroutable("nobody") : .confirmed }
    try await withRelay(log, to: broker) { _ in
      try await expectEventually { try await log.status().backlogRows == 0 }
    }
    // 4 is behind 3.
    #expect(try metrics.expectTimer("warren.log.delivery.duration", source).values.count == 3)
    // Its first look is behind its first work.
    try await withRelay(log, to: broker) { _ in
      try await expectEventually {
        try metrics.expectGauge("warren.log.held.events", source + [("warren.cause", "unroutable")]).lastValue == 2
      }
    }
    for (name, value) in [
      ("recorded.events", 5.0), ("passed.events", 5), ("backlog.events", 0), ("backlog.bytes", 0), ("oldest.age", 0),
      ("scheduled.events", 0),
    ] {
      #expect(try metrics.expectGauge("warren.log.\(name)", source).lastValue == value, "\(name)")
    }
    #expect((try metrics.expectGauge("warren.log.wal.bytes", source).lastValue ?? 0) > 0)
  }

  @Test func whatBecomesOfDeliveriesIsCounted() async throws {
    let folder = try Folder()
    let metrics = TestMetrics()
    let log = try folder.log { $0.metrics = metrics }
    struct Refused: Error {}
    let handlers = [
      log.inbox.on(Happened.self) { event, _, context in
        if event.number == 13 { throw Refused() }
        if event.number == 14 { context.deadLetter("no good") }
      },
      log.inbox.on(Happened.self) { event, context in
        if event.number == 13 { throw Refused() }
        if event.number == 14 { context.deadLetter("no good") }
      },
      log.inbox.onBatch(Happened.self, patience: .zero) { batch, _ in
        for (event, context) in batch {
          if event.number == 13 { throw Refused() }
          if event.number == 14 { context.deadLetter("no good") }
        }
      },
    ]
    for (form, handler) in handlers.enumerated() {
      for (number, id, isOurs) in [(1, "a", false), (1, "a", false), (2, "a", false), (13, "b", true), (14, "c", true)]
      {
        _ = await handler.handle(try delivery(number, id: "\(form)\(id)", isOurs: isOurs))
      }
    }
    for outcome in ["handled", "duplicate", "idReused", "failed", "rejected"] {
      let counter = try metrics.expectCounter(
        "warren.inbox.events", source + [("messaging.destination.name", "q"), ("warren.outcome", outcome)])
      #expect(counter.totalValue == 3, "\(outcome)")
    }
  }

  @Test func theRelaysSpanLinksToTheOnesInWhichTheEventsWereRecorded() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let tracer = TestTracer()
    let broker = FakeBroker()
    try await withTracer(tracer) {
      try await log.record(Happened(number: 1))
      try await log.transact { db in
        try log.record(Happened(number: 2), in: db)
        try log.schedule(Happened(number: 3), notBefore: Date(), in: db)
      }
      try await withRelay(log, to: broker) { _ in try await expectEventually { broker.confirmedCount == 3 } }
    }
    let spans = tracer.finishedSpans
    let created = spans.filter { $0.operationName == "create thing.happened" }
    #expect(created.count == 3)
    for span in created {
      #expect(span.kind == .producer)
      #expect(span.attributes.get("messaging.operation.type") == "create")
      #expect(span.attributes.get("messaging.destination.name") == "events.thing.happened")
    }
    // What travels with the event is the context of its own span.
    #expect(
      Set(broker.came.compactMap(\.metadata.trace?.traceparent)) == Set(created.map { "\($0.traceID)/\($0.spanID)" }))
    let sent = spans.filter { $0.operationName == "send events" }
    #expect(sent.allSatisfy { $0.kind == .client && $0.attributes.get("messaging.operation.type") == "send" })
    let linked = sent.flatMap { $0.links.compactMap(\.context.inMemorySpanContext?.spanID) }
    #expect(Set(linked) == Set(created.map(\.spanID)) && linked.count == 3)
  }

  @Test func aLogThatNobodyRelaysSaysSo() async throws {
    let folder = try Folder()
    let lines = LogLines()
    var options = EventLog.Options()
    options.abandonmentLook = .zero
    let log = try EventLog(path: folder.file, source: "tests", options: options, logger: lines.logger)
    try await log.record(Happened(number: 1))
    try await log.database.write { try $0.execute(sql: "UPDATE warren_outbox SET recorded = recorded - 31000") }
    #expect(try await log.status().reasons.contains { $0.contains("nobody relays") })
    try await expectEventually {
      try await log.transact { _ in }
      return lines.all.contains { $0.contains("nobody relays") }
    }
  }

  @Test func aSlowHandlerInTheTransactionIsNamedOnceAMinute() async throws {
    let folder = try Folder()
    let lines = LogLines()
    let log = try EventLog(path: folder.file, source: "tests", logger: lines.logger)
    func named() -> Int { lines.all.count { $0.contains("inside the transaction") } }
    let outside = log.inbox.on(Happened.self) { _, _ in try await Task.sleep(for: .milliseconds(150)) }
    _ = await outside.handle(try delivery(1, id: "a"))
    #expect(named() == 0)
    let forms = [
      log.inbox.on(Happened.self) { _, _, _ in Thread.sleep(forTimeInterval: 0.15) },
      log.inbox.on(Happened.self) { _, context in context.onCommit { _ in Thread.sleep(forTimeInterval: 0.15) } },
      log.inbox.onBatch(Happened.self, patience: .zero) { _, _ in Thread.sleep(forTimeInterval: 0.15) },
    ]
    for (form, handler) in forms.enumerated() {
      for number in 0..<2 { _ = await handler.handle(try delivery(number, id: "\(form)-\(number)")) }
      #expect(named() == form + 1)
    }
  }

  /// What cannot be interrupted ends the process's liveness, and that can be asked while nobody can write.
  @Test func aBodyThatComputesWithoutAnEndTurnsLivenessOff() async throws {
    let folder = try Folder()
    let log = try folder.log { $0.longestTransaction = .milliseconds(50) }
    let gate = DispatchSemaphore(value: 0)
    let handler = log.inbox.on(Happened.self) { _, _, _ in gate.wait() }
    let handling = Task { await handler.handle(try delivery(1, id: "a")) }
    #expect(log.isLive)
    try await expectEventually { !log.isLive }
    #expect(try await log.status().reasons.contains { $0.contains("computing inside the transaction") })
    gate.signal()
    _ = try await handling.value
    #expect(log.isLive)
  }

  @Test func aHandlersSQLThatDoesNotEndIsInterruptedAndOthersGoOn() async throws {
    let folder = try Folder()
    let log = try folder.log { $0.longestTransaction = .milliseconds(300) }
    let handler = log.inbox.on(Happened.self) { event, db, _ in
      guard event.number == 13 else { return }
      try db.execute(sql: "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n")
    }
    async let endless = handler.handle(try delivery(13, id: "endless"))
    async let other = handler.handle(try delivery(1, id: "other"))
    guard case .failed = try await endless.outcome else {
      Issue.record("it was not interrupted")
      return
    }
    guard case .handled = try await other.outcome else {
      Issue.record("its neighbour was hurt")
      return
    }
    #expect(try await log.count("warren_inbox") == 1)
  }
}
