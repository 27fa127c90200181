import ArgumentParser
import Foundation
import GRDB
import Warren
import WarrenRabbitMQ
import WarrenStore

struct BenchOutbox: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "outbox", abstract: "Recording into a store, and draining it into a queue.",
    discussion: """
      A JSON line each: `outbox.record` (events recorded by --callers tasks, each commit on the disk), `outbox.direct` (the \
      same events given to a publisher without a log, confirmed, twice), between the two `outbox.drain` (through the relay, over \
      --keys keys; `ratio` is its rate to the mean of the direct ones), and with --rate `outbox.latency` (from the call of \
      record to the confirm, at that rate). `sync_us` is the median time of one fdatasync here and now.
      """)

  @OptionGroup var options: BenchOptions

  @Option(help: "Tasks that each record one event after the other.")
  var callers = 64

  @Option(help: "How many keys the events have; 0: none.")
  var keys = 1000

  @Option(help: "Events per second of the latency measurement; 0: leave it out.")
  var rate = 0

  @Option(help: "Make the store in this file; it is removed afterwards. Default: in the temporary folder.")
  var store: String?

  @Flag(help: "Record in a transaction that also writes a row of the service's own.")
  var transact = false

  @Flag(help: "Only record; no broker is needed.")
  var recordOnly = false

  func validate() throws {
    if callers < 1 { throw ValidationError("--callers is \(callers): allowed is 1 or more") }
    if keys < 0 { throw ValidationError("--keys is \(keys): allowed is 0 or more") }
  }

  func run() async throws {
    try await reporting {
      let path = store ?? NSTemporaryDirectory() + "warren-bench-\(ProcessInfo.processInfo.processIdentifier).sqlite"
      if FileManager.default.fileExists(atPath: path) {
        throw StoreProblem(text: "\(path) exists: the measurement wants a new file", status: .configuration)
      }
      defer { for end in ["", "-wal", "-shm", "-relay"] { try? FileManager.default.removeItem(atPath: path + end) } }
      let log = try Store.open(path, source: BenchOptions.service, mustExist: false)
      let sync = try SyncTime.measure(beside: path)
      if transact { try await log.transact { try $0.execute(sql: "CREATE TABLE own (id INTEGER)") } }
      try await record(log, sync)
      guard !recordOnly else { return .done }
      try await withRabbitMQ(try options.broker.configuration(named: "bench")) { rabbit in
        try await options.withQueue(rabbit) {
          let relay = log.relay(to: rabbit)
          let before = try await direct(rabbit)
          let drained = try await drain(log, relay, sync)
          let after = try await direct(rabbit)
          try drained((before + after) / 2).emitLine()
          if rate > 0 { try await latency(log, relay, sync) }
        }
      }
      return .done
    }
  }

  private func publishOptions(_ id: Int) -> PublishOptions {
    keys == 0 ? PublishOptions() : PublishOptions(key: "key-\(id % keys)")
  }

  private func record(_ log: EventLog, _ sync: Double) async throws {
    let (count, callers, transact) = (options.count, callers, transact)
    let note = try BenchEvent.note(size: options.size, id: 1_000_000)
    let watch = Stopwatch()
    let latencies = try await withThrowingTaskGroup(of: [Double].self) { group in
      for caller in 0..<callers {
        group.addTask {
          var latencies: [Double] = []
          for id in stride(from: caller, to: count, by: callers) {
            let start = ContinuousClock.now
            let event = BenchEvent(id: 1_000_000 + id, note: note)
            let options = publishOptions(id)
            if transact {
              try await log.transact { db in
                try db.cachedStatement(sql: "INSERT INTO own VALUES (?)").execute(arguments: [id])
                try log.record(event, options: options, in: db)
              }
            } else {
              try await log.record(event, options: options)
            }
            latencies.append((ContinuousClock.now - start) / .microseconds(1))
          }
          return latencies
        }
      }
      return try await group.reduce(into: []) { $0 += $1 }
    }
    let (seconds, cpu) = watch.stop()
    try Measurement(
      bench: transact ? "outbox.transact" : "outbox.record", queue: options.queue, count: count, window: 0,
      callers: callers, size: options.size,
      seconds: seconds, cpuMicroseconds: cpu, latencies: latencies, syncMicroseconds: sync
    ).emitLine()
  }

  /// The yardstick of draining: the same events, each confirmed, without a log.
  private func direct(_ rabbit: RabbitMQ) async throws -> Double {
    let publisher = Publisher(rabbit, source: BenchOptions.service)
    let watch = Stopwatch()
    try await publisher.publish(contentsOf: try options.events()) { publishOptions($0.id - 1_000_000) }
    let (seconds, cpu) = watch.stop()
    let measurement = Measurement(
      bench: "outbox.direct", queue: options.queue, count: options.count, window: 1000, callers: keys,
      size: options.size, seconds: seconds, cpuMicroseconds: cpu)
    try measurement.emitLine()
    return measurement.rate
  }

  /// Needs the direct rate to be a whole line.
  private func drain(_ log: EventLog, _ relay: Relay, _ sync: Double) async throws -> (Double) -> Measurement {
    let watch = Stopwatch()
    let running = Task { try await relay.run() }
    try await untilDrained(log)
    let (seconds, cpu) = watch.stop()
    running.cancel()
    try await running.value
    let measurement = Measurement(
      bench: "outbox.drain", queue: options.queue, count: options.count, window: 1000, callers: keys,
      size: options.size, seconds: seconds, cpuMicroseconds: cpu, syncMicroseconds: sync)
    return { direct in
      var measurement = measurement
      measurement.ratio = measurement.rate / direct
      return measurement
    }
  }

  private func untilDrained(_ log: EventLog) async throws {
    while true {
      let status = try await log.status()
      if status.checkpoint == status.head { return }
      try await Task.sleep(for: .milliseconds(10))
    }
  }

  private func latency(_ log: EventLog, _ relay: Relay, _ sync: Double) async throws {
    let running = Task { try await relay.run() }
    let count = min(options.count, rate * 20)
    let note = try BenchEvent.note(size: options.size, id: 1_000_000)
    let watch = Stopwatch()
    let start = ContinuousClock.now
    let latencies = try await withThrowingTaskGroup(of: Double.self) { group in
      for id in 0..<count {
        try await Task.sleep(until: start + .seconds(1) / rate * id, tolerance: .zero)
        group.addTask {
          let start = ContinuousClock.now
          let receipt = try await log.record(BenchEvent(id: id, note: note), options: publishOptions(id))
          if let position = receipt.position {
            _ = try await log.waitUntilPublished([position], timeout: .seconds(30))
          }
          return (ContinuousClock.now - start) / .microseconds(1)
        }
      }
      return try await group.reduce(into: []) { $0.append($1) }
    }
    let (seconds, cpu) = watch.stop()
    running.cancel()
    try await running.value
    try Measurement(
      bench: "outbox.latency", queue: options.queue, count: count, window: 1000, callers: keys, size: options.size,
      seconds: seconds, cpuMicroseconds: cpu, latencies: latencies, syncMicroseconds: sync
    ).emitLine()
  }
}
