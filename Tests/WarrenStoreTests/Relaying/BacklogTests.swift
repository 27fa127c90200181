import Foundation
import GRDB
import Testing
import Warren

@testable import WarrenStore

struct BacklogTests {
  @Test func aLongBacklogIsDrainedWithoutBeingHeldInMemory() async throws {
    // The long form: WARREN_TEST_BACKLOG=1000000.
    let count = ProcessInfo.processInfo.environment["WARREN_TEST_BACKLOG"].flatMap { Int($0) } ?? 50_000
    let folder = try Folder()
    let log = try folder.log()
    for start in stride(from: 0, to: count, by: 1000) {
      _ = try await log.record(encoded: (start..<start + 1000).map { EncodedEvent($0, key: "k\($0 % 500)") })
    }
    let before = residentKilobytes()
    let broker = CountingBroker()
    let relay = log.relay(to: broker)
    let running = Task { try await relay.run() }
    #expect(try await eventually(timeout: .seconds(600)) { broker.count >= count })
    running.cancel()
    try await running.value
    #expect(broker.count == count)
    #expect(broker.isInOrder)
    #expect(broker.mostUnderWay <= 1000)
    // 50,000 of these in memory are more than 40 MB.
    #expect(residentKilobytes() - before < 40_000)
    #expect(try await log.count("warren_outbox") == 0)
  }

  private func residentKilobytes() -> Int {
    let status = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)) ?? ""
    return (status.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) * 4
  }
}
