import Foundation
import GRDB
import Logging
import ServiceLifecycle
import Testing
import Warren

@testable import WarrenStore

struct RelayLifeTests {
  @Test func aGracefulShutdownWaitsForOutcomesAndWritesThemDown() async throws {
    let folder = try Folder()
    let log = try folder.log()
    for number in 0..<20 { try await log.record(Happened(number: number), options: .init(key: "k\(number)")) }
    let broker = FakeBroker(delay: .milliseconds(200))
    let relay = log.relay(to: broker)
    let group = ServiceGroup(services: [relay], logger: Logger(label: "tests"))
    let running = Task { try await group.run() }
    try await expectEventually { broker.mostUnderWay > 0 }
    await group.triggerGracefulShutdown()
    try await running.value
    #expect(!relay.isActive)
    let status = try await log.status()
    // What was under way is confirmed and noted; nothing was sent after the shutdown had begun.
    #expect(broker.confirmedCount == 20)
    #expect(status.backlogRows == 0)
    #expect(status.relayProcess == nil)
  }

  @Test func aPublisherThatDoesNotEndIsCancelledAfterTheGracePeriod() async throws {
    let folder = try Folder()
    let log = try folder.log()
    try await log.record(Happened(number: 1))
    var options = Relay.Options()
    options.gracePeriod = .milliseconds(100)
    let broker = FakeBroker(delay: .seconds(600)) { _ in .notPublished("cancelled") }
    let relay = log.relay(to: broker, options: options)
    let running = Task { try await relay.run() }
    try await expectEventually { broker.mostUnderWay > 0 }
    let began = ContinuousClock.now
    running.cancel()
    try await running.value
    #expect(ContinuousClock.now - began < .seconds(10))
    #expect(try await log.status().backlogRows == 1)
  }

  @Test func aFileWithWeakCommitsIsSyncedBeforeAnythingIsSent() async throws {
    let folder = try Folder()
    let weak = try folder.log { $0.durability = .normal }
    #expect(weak.walSync?.path == folder.file + "-wal")
    let strong = try folder.log()
    // No process can know when the last weak commit is on the disk.
    #expect(strong.walSync != nil)
    let broker = FakeBroker()
    try await weak.record(Happened(number: 1))
    try await withRelay(strong, to: broker) { _ in try await expectEventually { broker.confirmedCount == 1 } }
    let missing = WALSync(path: folder.path + "/none")
    try missing.sync()
  }

  @Test func whatNobodyDeliversIsSaidToBeAbandoned() async throws {
    let folder = try Folder()
    let log = try folder.log()
    try await log.record(Happened(number: 1))
    #expect(try await log.status().isAbandoned == false)
    try await log.database.write {
      try $0.execute(sql: "UPDATE warren_outbox SET recorded = recorded - 31000")
    }
    let status = try await log.status()
    #expect(status.isAbandoned)
    #expect((status.oldestAge ?? .zero) >= .seconds(31))
    try await withRelay(log, to: FakeBroker()) { _ in
      try await expectEventually { try await log.status().backlogRows == 0 }
    }
    #expect(try await log.status().isAbandoned == false)
  }
}
