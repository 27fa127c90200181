import Foundation
import Testing
import Warren
import WarrenSupport

@testable import WarrenStore

/// Random commands of many callers at once, compared with a plain fold in memory.
struct DeciderModelTests {
  private struct Done: Sendable {
    var account: String
    var decision: Decision<Account>
  }

  @Test func whatTheStoreSaysIsWhatAFoldInMemorySays() async throws {
    var random = SeededGenerator()
    let folder = try Folder()
    let log = try folder.log()
    let accounts = ["1", "2", "3", "4"]
    let callers = (0..<8).map { _ in random.next() }
    let done = try await withThrowingTaskGroup(of: [Done].self) { group in
      for seed in callers {
        group.addTask { try await Self.caller(log, accounts, seed) }
      }
      return try await group.reduce(into: []) { $0 += $1 }
    }
    // Else it would be for nothing.
    #expect(done.count > 50, random.replay)
    for account in accounts {
      var model = Account()
      var version: Int64 = 0
      let mine = done.filter { $0.account == account && !$0.decision.events.isEmpty }
        .sorted { $0.decision.version < $1.decision.version }
      var states: [Int64: Account] = [0: model]
      for one in mine {
        // Each event once, none between: what was decided was decided on exactly this state.
        version += Int64(one.decision.events.count)
        #expect(one.decision.version == version, random.replay)
        model.evolve(one.decision.events)
        #expect(one.decision.state == model, random.replay)
        #expect(model.cents >= 0)
        states[version] = model
      }
      let stream = try StreamName("account-\(account)")
      let events = try await log.all(.init(stream: stream))
      #expect(try events.map { try $0.decoded(as: AccountEvent.self) } == mine.flatMap(\.decision.events))
      // With and without snapshots, now and at every version.
      for version in stride(from: Int64(0), through: version, by: 3) {
        for uses in [true, false] {
          let folded = try await log.reading {
            try StreamFold.fold(Account.self, stream, at: .version(version), useSnapshots: uses, $0)
          }
          #expect(folded.version == version)
          if let state = states[version] { #expect(folded.state == state, random.replay) }
        }
      }
    }
    #expect(try await log.verify().problems.isEmpty)
  }

  private static func caller(_ log: EventLog, _ accounts: [String], _ seed: UInt64) async throws -> [Done] {
    var random = SplitMix64(seed)
    var done: [Done] = []
    for number in 0..<50 {
      let account = accounts[random.int(0..<accounts.count)]
      let command: Account.Command =
        switch random.int(0..<10) {
        case 0: .open(owner: "owner")
        case 1: .nothing
        case 2..<6: .deposit(cents: random.int(1..<100))
        default: .withdraw(cents: random.int(1..<100))
        }
      // A third comes again, as after a lost answer.
      let request = random.int(0..<3) == 0 ? "\(seed)-\(number)" : nil
      do {
        let decision = try await log.run(Account.self, account, command, request: request, attempts: 1000)
        done.append(Done(account: account, decision: decision))
        guard let request else { continue }
        let again = try await log.run(Account.self, account, command, request: request, attempts: 1000)
        #expect(again.appended.isRepeat && again.version == decision.version && again.position == decision.position)
      } catch is Account.Refusal {}
    }
    return done
  }
}

struct SplitMix64: RandomNumberGenerator {
  private var state: UInt64
  init(_ seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }

  mutating func int(_ range: Range<Int>) -> Int { .random(in: range, using: &self) }
}
