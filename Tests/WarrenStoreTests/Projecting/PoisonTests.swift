import Foundation
import GRDB
import Testing
import Warren
import WarrenSupport

@testable import WarrenStore

struct PoisonTests {
  @Test func stopStandsBeforeTheEventVisiblyAndGoesOnWhenItCan() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let balances = Balances()
    balances.poison.withLock { $0 = 13 }
    try await withProjector(log, balances) { projector in
      try await log.wait(for: balances, reached: LogPosition(rawValue: 0), timeout: .seconds(30))
      _ = try await log.deposit(1, 2, 13, 4, to: "a")
      try await expectEventually { projector.status == .stopped }
      #expect(try await log.balances() == ["a 3 2 2"])
      let status = try #require(try await log.projections().first)
      #expect(status.problem?.contains("position 3") == true)
      let error = await thrown(StoreError.self) {
        try await log.wait(for: balances, reached: LogPosition(rawValue: 4), timeout: .milliseconds(50))
      }
      #expect(error?.message.contains("Bad") == true)
      balances.poison.withLock { $0 = 0 }
      try await log.wait(for: balances, reached: LogPosition(rawValue: 4), timeout: .seconds(20))
      #expect(try await log.balances() == ["a 20 4 4"])
      try await expectEventually { try await log.projections().first?.problem == nil }
    }
  }

  @Test func skipLeavesItOutAndNotesIt() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let balances = Balances()
    balances.poison.withLock { $0 = 13 }
    try await withProjector(log, balances, poison: .skip) { _ in
      let last = try await log.deposit(1, 13, 4, to: "a")
      try await log.wait(for: balances, reached: last)
      #expect(try await log.balances() == ["a 5 2 3"])
      let poisoned = try await log.poisoned(in: "balances")
      #expect(poisoned.map(\.state) == ["skipped"])
      #expect(poisoned.first?.position.rawValue == 2)
      #expect(try await log.projections().first?.poisoned == ["skipped": 1])
    }
  }

  @Test func holdSetsAsideWhatFollowsInTheStreamAndOthersGoOn() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let balances = Balances()
    balances.poison.withLock { $0 = 13 }
    try await withProjector(log, balances, poison: .hold) { _ in
      try await log.wait(for: balances, reached: LogPosition(rawValue: 0), timeout: .seconds(30))
      _ = try await log.deposit(1, 13, 4, to: "a")
      let last = try await log.deposit(7, to: "b")
      try await log.wait(for: balances, reached: last)
      #expect(try await log.balances() == ["a 1 1 1", "b 7 1 1"])
      #expect(try await log.poisoned(in: "balances").map(\.state) == ["held", "behind"])
      // Later ones too.
      try await log.wait(for: balances, reached: try await log.deposit(5, to: "a"))
      #expect(try await log.poisoned(in: "balances").map(\.state) == ["held", "behind", "behind"])
      // Tried again in vain, all stays as it was.
      #expect(try await log.retryPoisoned(in: "balances") == 3)
      try await expectEventually {
        try await log.poisoned(in: "balances").map(\.state) == ["held", "behind", "behind"]
      }
      #expect(try await log.balances() == ["a 1 1 1", "b 7 1 1"])
      balances.poison.withLock { $0 = 0 }
      try await log.retryPoisoned(in: "balances")
      try await expectEventually { try await log.poisoned(in: "balances").isEmpty }
      #expect(try await log.balances() == ["a 23 4 4", "b 7 1 1"])
      // The stream flows again.
      try await log.wait(for: balances, reached: try await log.deposit(1, to: "a"))
      #expect(try await log.balances().first == "a 24 5 5")
    }
  }

  @Test func whatCameBehindDuringTheRetryIsTriedToo() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let balances = Balances()
    balances.poison.withLock { $0 = 13 }
    let session = ProjectionSession(
      runner: ProjectionRunner(projection: balances, log: log, handling: .hold), kind: .async)
    _ = try await session.begin()
    while try await session.step() != .idle {}
    _ = try await log.deposit(13, to: "a")
    while try await session.step() != .idle {}
    _ = try await log.deposit(1, to: "a")
    // It has looked at the second event when somebody lets the first be tried again.
    let held = try await HeldWriter(log.database)
    async let retried = log.retryPoisoned(in: "balances")
    try await expectEventually { log.committer.waitingCount == 1 }
    async let step = session.step()
    try await expectEventually { log.committer.waitingCount == 2 }
    balances.poison.withLock { $0 = 0 }
    held.letGo()
    _ = try await (retried, step)
    #expect(try await log.poisoned(in: "balances").map(\.state) == ["retry", "behind"])
    while try await session.step() != .idle {}
    #expect(try await log.poisoned(in: "balances").isEmpty)
    #expect(try await log.balances() == ["a 14 2 2"])
  }

  @Test func insideAppendsWhatIsHeldIsTriedWhenItIsAddedAgain() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let balances = Balances()
    balances.poison.withLock { $0 = 13 }
    try await log.add(inline: balances, onPoison: .hold)
    _ = try await log.deposit(1, 13, 4, to: "a")
    balances.poison.withLock { $0 = 0 }
    #expect(try await log.retryPoisoned(in: "balances") == 2)
    // Not out of order.
    _ = try await log.deposit(5, to: "a")
    #expect(try await log.balances() == ["a 1 1 1"])
    try await log.add(inline: balances, onPoison: .hold)
    #expect(try await log.poisoned(in: "balances").isEmpty)
    #expect(try await log.balances() == ["a 23 4 4"])
    _ = try await log.deposit(1, to: "a")
    #expect(try await log.balances() == ["a 24 5 5"])
  }

  @Test(arguments: [PoisonHandling.skip, .hold])
  func insideAppendsThePoisonIsNotedAndTheAppendSucceeds(_ handling: PoisonHandling) async throws {
    let folder = try Folder()
    let log = try folder.log()
    let balances = Balances()
    balances.poison.withLock { $0 = 13 }
    try await log.add(inline: balances, onPoison: handling)
    _ = try await log.deposit(1, 13, 4, to: "a")
    _ = try await log.deposit(2, to: "b")
    #expect(try await log.version(of: "a") == 3)
    #expect(try await log.balances() == [handling == .skip ? "a 5 2 3" : "a 1 1 1", "b 2 1 1"])
    #expect(
      try await log.poisoned(in: "balances").map(\.state) == (handling == .skip ? ["skipped"] : ["held", "behind"]))
  }

  @Test func anEventThatCannotBeDecodedIsPoisonToo() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let broken = EncodedEvent(metadata: EventMetadata(type: "account.deposited"), body: Data("{}".utf8))
    let last = try await log.append([StreamAppend(encoded: [broken, EncodedEvent(1)], to: "a")])
    try await withProjector(log, Balances(), poison: .skip) { _ in
      try await log.wait(for: Balances(), reached: last.position)
    }
    let poisoned = try #require(try await log.poisoned(in: "balances").first)
    #expect(poisoned.text.contains("cents"))
  }
}
