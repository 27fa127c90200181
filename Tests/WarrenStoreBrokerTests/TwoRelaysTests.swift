import BrokerFixture
import Foundation
import GRDB
import Testing
import Warren
import WarrenRabbitMQ
import WarrenStore
import WarrenSupport

/// Relays in processes of their own on one file: killed and frozen.
struct TwoRelaysTests {
  /// A `warrenctl relay` beside this test.
  final class RelayProcess: Sendable {
    private let process: Lock<Process>
    let id: Int32

    init(store: String) throws {
      let process = Process()
      process.executableURL = Bundle.main.executableURL?.deletingLastPathComponent().appending(path: "warrenctl")
      process.arguments = ["relay", "--store", store, "--url", TestBroker.url]
      process.standardError = FileHandle.nullDevice
      try process.run()
      id = process.processIdentifier
      self.process = Lock(process)
    }

    var isRunning: Bool { process.withLock { $0.isRunning } }
    func signal(_ number: Int32) { kill(id, number) }

    deinit {
      signal(SIGCONT)
      signal(SIGKILL)
      process.withLock { $0.waitUntilExit() }
    }
  }

  private func record(_ count: Int, _ type: EventType, _ log: EventLog) async throws {
    let events = (0..<count).map { _ in
      EncodedEvent(metadata: EventMetadata(type: type, source: "tests"), body: Data("{}".utf8))
    }
    _ = try await log.record(encoded: events)
  }

  private func waitForStatus(_ log: EventLog, _ condition: (LogStatus) -> Bool) async throws {
    let came = try await eventually(timeout: .seconds(20)) { condition(try await log.status()) }
    #expect(came)
  }

  private func waitForDepth(_ queue: String, _ depth: Int, _ rabbit: RabbitMQ) async throws {
    let came = try await rabbit.waitForDepth(queue, depth, timeout: .seconds(20))
    #expect(came)
  }

  @Test func theActiveOneIsKilledOrFrozen() async throws {
    let folder = try StoreOverBrokerTests.Folder()
    let log = try folder.log("log")
    try await withTestBroker { rabbit, litter in
      let type = try litter.type("relayed")
      let queue = unique("relayed")
      try await rabbit.topology.ensure([.exchange(of: type)])
      try await rabbit.testQueue(queue, bound: [(EntityNames.exchange(of: type), "#")], litter: litter)
      try await run(log, type, queue, rabbit)
    }
  }

  private func run(_ log: EventLog, _ type: EventType, _ queue: String, _ rabbit: RabbitMQ) async throws {
    let first = try RelayProcess(store: log.database.path)
    let firstID = first.id
    try await waitForStatus(log) { $0.relayProcess == firstID }
    let second = try RelayProcess(store: log.database.path)
    let secondID = second.id
    try await record(20, type, log)
    try await waitForDepth(queue, 20, rabbit)
    // What is confirmed and not written down yet would be sent again.
    try await waitForStatus(log) { $0.backlogRows == 0 }

    // Killed: the other takes over. The lock is looked at ten times a second.
    first.signal(SIGKILL)
    let killedAt = ContinuousClock.now
    try await waitForStatus(log) { $0.relayProcess == secondID }
    print("takeover after \(ContinuousClock.now - killedAt)")
    try await record(20, type, log)
    try await waitForDepth(queue, 40, rabbit)
    try await waitForStatus(log) { $0.backlogRows == 0 }

    // Frozen: it keeps the lock, so nobody else sends; status tells that it does not get on.
    second.signal(SIGSTOP)
    let third = try RelayProcess(store: log.database.path)
    try await record(20, type, log)
    try await waitForStatus(log) {
      $0.relayProcess == secondID && ($0.relaySilence ?? .zero) > .seconds(2) && $0.backlogRows == 20
    }
    #expect(third.isRunning)
    let depth = try await rabbit.depth(queue)
    #expect(depth == 40)
    second.signal(SIGCONT)
    try await waitForDepth(queue, 60, rabbit)
    try await waitForStatus(log) { $0.relayProcess == secondID }
  }
}
