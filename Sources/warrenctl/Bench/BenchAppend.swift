import ArgumentParser
import Foundation
import Warren
import WarrenStore

struct BenchAppend: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "append", abstract: "Appending to streams of ten events, one event a call, with the expected version.",
    discussion: """
      Two measurements, a JSON line each: `append` (--callers tasks, each commit on the disk), and `decide` (the same number of \
      commands on streams of ten events: load, decide, append). `sync_us` is the median time of one fdatasync here and now.
      """)

  @OptionGroup var options: StreamBenchOptions

  @Option(help: "Tasks that each append one event after the other.")
  var callers = 64

  @Flag(help: "Leave out the commands.")
  var appendOnly = false

  func validate() throws {
    if callers < 1 { throw ValidationError("--callers is \(callers): allowed is 1 or more") }
  }

  func run() async throws {
    try await reporting {
      try await options.withStore { log, path in
        let sync = try SyncTime.measure(beside: path)
        try await append(log, sync)
        if !appendOnly { try await decide(log, sync) }
      }
      return .done
    }
  }

  /// Caller after caller takes a stream and fills it.
  private func append(_ log: EventLog, _ sync: Double) async throws {
    let (count, callers) = (options.count, callers)
    let note = try BenchEvent.note(size: options.size, id: 1_000_000)
    let watch = Stopwatch()
    let latencies = try await withThrowingTaskGroup(of: [Double].self) { group in
      for caller in 0..<callers {
        group.addTask {
          var latencies: [Double] = []
          for number in stride(from: caller, to: (count + 9) / 10, by: callers) {
            let stream = try StreamName(category: BenchAccount.category, id: "\(number)")
            for version in 0..<min(10, count - number * 10) {
              let start = ContinuousClock.now
              let event = BenchEvent(id: 1_000_000 + number * 10 + version, note: note)
              try await log.append([event], to: stream, expecting: .version(Int64(version)))
              latencies.append((ContinuousClock.now - start) / .microseconds(1))
            }
          }
          return latencies
        }
      }
      return try await group.reduce(into: []) { $0 += $1 }
    }
    try options.emit("append", count, callers, watch, latencies, sync)
  }

  /// Each command finds a stream of ten events.
  private func decide(_ log: EventLog, _ sync: Double) async throws {
    let streams = options.count / 10
    let (count, callers) = (streams, callers)
    guard count > 0 else { return }
    let note = try BenchEvent.note(size: options.size, id: 1_000_000)
    let watch = Stopwatch()
    let latencies = try await withThrowingTaskGroup(of: [Double].self) { group in
      for caller in 0..<callers {
        group.addTask {
          var latencies: [Double] = []
          for number in stride(from: caller, to: count, by: callers) {
            let start = ContinuousClock.now
            let decision = try await log.run(
              BenchAccount.self, "\(number)", .add(id: 2_000_000 + number, note: note))
            guard decision.version == 11 else {
              throw StoreProblem(text: "a stream has not ten events", status: .badData)
            }
            latencies.append((ContinuousClock.now - start) / .microseconds(1))
          }
          return latencies
        }
      }
      return try await group.reduce(into: []) { $0 += $1 }
    }
    try options.emit("decide", count, callers, watch, latencies, sync)
  }
}

/// A decider over the events of the measurement.
struct BenchAccount: Decider {
  enum Command: Sendable { case add(id: Int, note: String) }
  typealias Event = BenchEvent
  enum Refusal: Error { case full }
  static let category = "bench"

  var total = 0.0
  var entries = 0

  func decide(_ command: Command) throws(Refusal) -> [BenchEvent] {
    guard entries < 1_000_000 else { throw .full }
    switch command {
    case .add(let id, let note): return [BenchEvent(id: id, note: note)]
    }
  }

  mutating func evolve(_ event: BenchEvent) {
    total += event.amount
    entries += 1
  }
}

struct StreamBenchOptions: ParsableArguments {
  @Option(help: "How many events.")
  var count = 60_000

  @Option(help: "The size of an event's body in bytes.")
  var size = 160

  @Option(help: "Make the store in this file; it is removed afterwards. Default: in the temporary folder.")
  var store: String?

  @Flag(help: "Accepted for scripts: the result is always JSON lines.")
  var json = false

  func validate() throws {
    if count < 1 { throw ValidationError("--count is \(count): allowed is 1 or more") }
    if size < 1 || size > 16 << 20 { throw ValidationError("--size is \(size): allowed is 1 to 16777216") }
  }

  func withStore(_ body: (EventLog, String) async throws -> Void) async throws {
    let path = store ?? NSTemporaryDirectory() + "warren-bench-\(ProcessInfo.processInfo.processIdentifier).sqlite"
    if FileManager.default.fileExists(atPath: path) {
      throw StoreProblem(text: "\(path) exists: the measurement wants a new file", status: .configuration)
    }
    defer { for end in ["", "-wal", "-shm", "-relay"] { try? FileManager.default.removeItem(atPath: path + end) } }
    try await body(try Store.open(path, source: BenchOptions.service, mustExist: false), path)
  }

  func emit(
    _ bench: String, _ count: Int, _ callers: Int, _ watch: Stopwatch, _ latencies: [Double] = [], _ sync: Double? = nil
  ) throws {
    let (seconds, cpu) = watch.stop()
    try Measurement(
      bench: bench, queue: nil, count: count, window: nil, callers: callers, size: size, seconds: seconds,
      cpuMicroseconds: cpu, latencies: latencies, syncMicroseconds: sync
    ).emitLine()
  }
}
