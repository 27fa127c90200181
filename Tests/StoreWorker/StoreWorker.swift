import Foundation
import GRDB
import Warren
import WarrenStore

/// A process that appends to a store and that tests kill: `StoreWorker FILE WRITER COUNT SEED`, for ``CounterWork``
/// `StoreWorker FILE counters COUNT SEED`, and for ``RebuildWork`` `StoreWorker FILE totals VERSION SEED`.
///
/// Each event of a writer has a number, in order. Some appends are in slow transactions of a connection of their own, some
/// are rolled back and done again, some go through the committer, several at once. Prints the number of each event that the log
/// has said to be appended.
@main
struct StoreWorker {
  struct Step: Event {
    static let eventType: EventType = "worker.step"
    var writer: Int
    var number: Int
  }
  private struct TakenBack: Error {}

  static func main() async throws {
    let arguments = CommandLine.arguments
    guard arguments.count == 5, let count = Int(arguments[3]), let seed = UInt64(arguments[4]) else { exit(64) }
    if arguments[2] == "counters" { return try await CounterWork.run(arguments[1], count: count, seed: seed) }
    if arguments[2] == "totals" { return try await RebuildWork.run(arguments[1], version: count) }
    guard let writer = Int(arguments[2]) else { exit(64) }
    var random = SplitMix(seed: seed)
    let log = try EventLog(path: arguments[1], source: "worker")
    let stream = try StreamName(category: "worker", id: "\(writer)")
    var number = Int(try await log.version(of: stream))
    while number < count {
      let size = min(count - number, Int.random(in: 1...5, using: &random))
      let steps = (number..<number + size).map { Step(writer: writer, number: $0 + 1) }
      let expected = ExpectedVersion.version(Int64(number))
      let pause = UInt32.random(in: 0...3000, using: &random)
      switch Int.random(in: 0..<10, using: &random) {
      case 0, 1:
        // A long transaction, taken back: its positions must come again.
        do {
          try await log.database.write { db in
            try log.append(steps, to: stream, expecting: expected, in: db)
            usleep(pause)
            throw TakenBack()
          }
        } catch is TakenBack {
          continue
        }
      case 2, 3:
        try await log.database.write { db in
          try log.append(steps, to: stream, expecting: expected, in: db)
          usleep(pause)
        }
      case 4:
        do {
          try await log.transact { db in
            try log.append(steps, to: stream, expecting: expected, in: db)
            throw TakenBack()
          }
        } catch is TakenBack {
          continue
        }
      default:
        // What its neighbours in the group do must not matter.
        async let loser: Void = { _ = try? await log.append(steps, to: stream, expecting: .version(-1)) }()
        try await log.append(steps, to: stream, expecting: expected)
        await loser
      }
      number += size
      print(number)
      fflush(nil)
    }
  }
}

/// SplitMix64 (Steele, Lea and Flood): the same seed gives the same run of choices.
struct SplitMix: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
