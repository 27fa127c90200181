import ArgumentParser
import Foundation
import GRDB
import ServiceLifecycle
import UnixSignals
import Warren
import WarrenRabbitMQ
import WarrenStore

/// Records events, relays them, and is killed. After SIGTERM it records nothing more and ends when all is delivered.
struct Writer: AsyncParsableCommand {
  @Option var store: String
  @Option var ledger: String
  @Option var seed: UInt64

  private struct TakenBack: Error {}

  func run() async throws {
    let signals = await UnixSignalsSequence(trapping: .sigterm)
    let log = try EventLog(path: store, source: "crash-writer")
    try await log.database.write {
      try $0.execute(sql: "CREATE TABLE IF NOT EXISTS done (key INTEGER, number INTEGER)")
    }
    var next = [Int](repeating: 1, count: Shared.keys)
    if let entries = try? Ledger.read(ledger) {
      for entry in entries.keys { next[entry.key] = max(next[entry.key], entry.number + 1) }
    }
    let rabbit = try RabbitMQ(url: Shared.url)
    let relay = log.relay(to: rabbit)
    let connecting = Task { try await rabbit.run() }
    let relaying = Task { try await relay.run() }
    let isEnding = Watched(false)
    let book = Ledger(path: ledger)
    let seed = seed
    try await withThrowingTaskGroup(of: Void.self) { group in
      for key in 0..<Shared.keys {
        let first = next[key]
        group.addTask {
          var random = SplitMix(seed: seed &+ UInt64(key))
          var number = first
          while !isEnding.value {
            try await Self.record(key, number, log, book, &random)
            number += 1
            try await Task.sleep(for: .microseconds(Int.random(in: 200...4000, using: &random)))
          }
        }
      }
      group.addTask {
        for await _ in signals { break }
        isEnding.update { $0 = true }
      }
      try await group.waitForAll()
    }
    while true {
      let status = try await log.status()
      if status.checkpoint == status.head, status.held.isEmpty { break }
      try await Task.sleep(for: .milliseconds(20))
    }
    relaying.cancel()
    try await relaying.value
    connecting.cancel()
    _ = await connecting.result
  }

  private static func record(
    _ key: Int, _ number: Int, _ log: EventLog, _ book: Ledger, _ random: inout SplitMix
  ) async throws {
    let event = CrashEvent(key: key, number: number)
    let options = PublishOptions(key: "\(key)")
    book.note(.tried, key, number)
    switch Int.random(in: 0..<10, using: &random) {
    case 0, 1:
      do {
        try await log.transact { db in
          try db.execute(sql: "INSERT INTO done VALUES (?, ?)", arguments: [key, number])
          try log.record(event, options: options, in: db)
          throw TakenBack()
        }
      } catch is TakenBack {
        book.note(.takenBack, key, number)
      }
    case 2, 3:
      try await log.database.write { db in
        try db.execute(sql: "INSERT INTO done VALUES (?, ?)", arguments: [key, number])
        try log.record(event, options: options, in: db)
      }
      book.note(.recorded, key, number)
    default:
      try await log.transact { db in
        try db.execute(sql: "INSERT INTO done VALUES (?, ?)", arguments: [key, number])
        try log.record(event, options: options, in: db)
      }
      book.note(.recorded, key, number)
    }
  }
}

/// SplitMix64 (Steele, Lea and Flood): the same seed gives the same run of choices.
struct SplitMix: RandomNumberGenerator, Sendable {
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
