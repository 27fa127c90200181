import BrokerFixture
import Foundation
import Testing
import Warren
import WarrenRabbitMQ

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Processes that die between a failed handler and the acknowledgement of its event.
@Suite(.serialized) struct RetryCrashTests {
  private struct Note: Event {
    static let eventType: EventType = "worker.note"
    var number: Int
  }

  /// A first worker, which dies as `dies` says, and then one that does its work, and handles the event so often.
  private func expectHandlings(
    _ expected: ClosedRange<Int>, _ environment: [String: String], dies: (Worker, String) async throws -> Void
  ) async throws {
    let file = FileManager.default.temporaryDirectory.appendingPathComponent(unique("ledger")).path
    defer { unlink(file) }
    try await withTestBroker { rabbit, litter in
      let service = unique("worker")
      let owner = try QueueOwner(service: ServiceName(service))
      try litter.service(service, Note.eventType)
      litter.exchange(EntityNames.exchange(of: Note.eventType))
      let rung = EntityNames.retryRung(of: owner, delay: .milliseconds(100))
      litter.queue(rung)
      litter.exchange(rung)
      try await rabbit.topology.redeclare(TopologyEntity.subscription(owner, Note.eventType, .init()))
      let first = try Worker(service: service, file: file, environment: environment)
      try #require(await first.isReady.wait(timeout: .seconds(20)) { $0 } != nil)
      try await Publisher(rabbit, source: "tests").publish(Note(number: 7))
      try await dies(first, file)
      #expect(await first.end(within: .seconds(20)) == SIGKILL)
      let before = Self.lines(file)
      let second = try Worker(service: service, file: file, environment: ["WARREN_WORKER": "fails"])
      #expect(try await eventually(timeout: .seconds(20)) { Self.lines(file) - before >= expected.lowerBound })
      // What is on its way a second time comes too.
      #expect(try await rabbit.waitForDepth(rung, 0))
      #expect(try await rabbit.waitForDepth(EntityNames.workQueue(of: owner, type: Note.eventType), 0))
      kill(second.processID, SIGTERM)
      #expect(await second.end(within: .seconds(20)) == 0)
      // What may come may also be under way.
      if expected.count == 1 {
        #expect(try await rabbit.depth(EntityNames.workQueue(of: owner, type: Note.eventType)) == 0)
      }
      #expect(try await rabbit.depth(EntityNames.deadLetterQueue(of: owner, type: Note.eventType)) == 0)
      #expect(expected.contains(Self.lines(file) - before))
    }
  }

  private static func lines(_ file: String) -> Int {
    ((try? String(contentsOfFile: file, encoding: .utf8)) ?? "").split(separator: "\n").count
  }

  @Test func beforeOrWhileHandling() async throws {
    try await expectHandlings(1...1, ["WARREN_WORKER": "stands"]) { worker, file in
      let isHandling = try await eventually { Self.lines(file) == 1 }
      #expect(isHandling)
      kill(worker.processID, SIGKILL)
    }
  }

  /// The retry copy is on the broker, and so is the original: a duplicate, and never a loss.
  @Test(arguments: ["beforeConfirm:1", "beforeAck:1"]) func afterTheRetryCopy(place: String) async throws {
    try await expectHandlings(2...2, ["WARREN_WORKER": "fails", "WARREN_CRASH_AT": place]) { _, _ in }
  }

  /// The acknowledgement is out: only the copy is left, unless the end of the process has overtaken it.
  @Test func afterTheAcknowledgement() async throws {
    try await expectHandlings(1...2, ["WARREN_WORKER": "fails", "WARREN_CRASH_AT": "afterAck:1"]) { _, _ in }
  }
}
