import ArgumentParser
import Foundation
import Warren
import WarrenStore

struct BenchReplay: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "replay", abstract: "Reading a log of streams with ten events each.",
    discussion: """
      Three measurements, a JSON line each: `replay.raw` (the events as they are stored), `replay` (each decoded to its Swift \
      value), `replay.state` (each stream's state from its events; a rate of events). One task, one after the other.
      """)

  @OptionGroup var options: StreamBenchOptions

  @Flag(help: "Leave the store where --store says, for another program to read.")
  var keep = false

  func run() async throws {
    try await reporting {
      if keep, let store = options.store {
        let log = try Store.open(store, source: BenchOptions.service, mustExist: false)
        try await fill(log)
        return .done
      }
      try await options.withStore { log, _ in
        try await fill(log)
        try await read(log)
      }
      return .done
    }
  }

  private func fill(_ log: EventLog) async throws {
    let note = try BenchEvent.note(size: options.size, id: 1_000_000)
    // A hundred streams a commit, in the order in which streams grow: each gets one event after the other.
    for start in stride(from: 0, to: (options.count + 9) / 10, by: 100) {
      let streams = start..<min(start + 100, (options.count + 9) / 10)
      for version in 0..<10 {
        let appends = try streams.filter { $0 * 10 + version < options.count }.map { number in
          StreamAppend(
            [BenchEvent(id: 1_000_000 + number * 10 + version, note: note)],
            to: try StreamName(category: BenchAccount.category, id: "\(number)"), expecting: .version(Int64(version)))
        }
        if !appends.isEmpty { try await log.append(appends) }
      }
    }
  }

  private func read(_ log: EventLog) async throws {
    var watch = Stopwatch()
    var count = 0
    for try await page in log.events().pages { count += page.count }
    try options.emit("replay.raw", count, 1, watch)

    watch = Stopwatch()
    count = 0
    var total = 0.0
    for try await page in log.events().pages {
      for event in page {
        total += try event.decoded(as: BenchEvent.self).amount
        count += 1
      }
    }
    try options.emit("replay", count, 1, watch)
    guard count == options.count, total > 0 else {
      throw StoreProblem(text: "\(count) of \(options.count) events were read", status: .badData)
    }

    watch = Stopwatch()
    count = 0
    for number in 0..<((options.count + 9) / 10) {
      count += Int(try await log.state(BenchAccount.self, "\(number)").version)
    }
    try options.emit("replay.state", count, 1, watch)
  }
}
