import Foundation
import GRDB
import Testing
import Warren

@testable import WarrenStore

/// With the tests that disturb their neighbours: it keeps all processors busy.
struct BacklogFaultTests {
  @Test func aLongBacklogIsDrainedWithoutBeingHeldInMemory() async throws {
    // The long form, alone: WARREN_TEST_BACKLOG=1000000 swift test --filter BacklogFaultTests
    let long = ProcessInfo.processInfo.environment["WARREN_TEST_BACKLOG"].flatMap { Int($0) }
    let count = long ?? 50_000
    let folder = try Folder()
    let log = try folder.log()
    for start in stride(from: 0, to: count, by: 1000) {
      _ = try await log.record(encoded: (start..<start + 1000).map { EncodedEvent($0, key: "k\($0 % 500)") })
    }
    let before = residentKilobytes()
    let broker = CountingBroker()
    let relay = log.relay(to: broker)
    let began = ContinuousClock.now
    let running = Task { try await relay.run() }
    try await expectEventually(timeout: .seconds(600)) { broker.count >= count / 2 }
    let half = ContinuousClock.now - began
    try await expectEventually(timeout: .seconds(600)) { broker.count >= count }
    let whole = ContinuousClock.now - began
    running.cancel()
    try await running.value
    #expect(broker.count == count)
    #expect(broker.isInOrder)
    #expect(broker.mostUnderWay <= 1000)
    // The look-ahead, and the page that fills it.
    #expect(relay.mostInMemory <= RelayMachine.lookAhead.entries + 2 * RelayFile.pageRows)
    #expect(try await log.count("warren_outbox") == 0)
    if long != nil {
      let grown = residentKilobytes() - before
      print("\(count) events: first half in \(half), second in \(whole - half), \(grown) KB more resident")
      #expect(grown < 60_000)
      #expect(whole - half < half * 2)
    }
  }

  private func residentKilobytes() -> Int {
    let status = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)) ?? ""
    return (status.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) * 4
  }
}
