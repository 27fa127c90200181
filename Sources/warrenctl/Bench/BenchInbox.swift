import ArgumentParser
import Foundation
import GRDB
import Logging
import Synchronization
import Warren
import WarrenRabbitMQ
import WarrenStore

struct BenchInbox: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inbox", abstract: "Handling a full queue through the inbox, one row written per event.")

  @OptionGroup var options: BenchOptions

  @Option(help: "The prefetch.")
  var window = 500

  @Option(help: "The most handlers at once.")
  var callers = 64

  @Option(help: "Make the store in this file; it is removed afterwards. Default: in the temporary folder.")
  var store: String?

  func run() async throws {
    try await reporting {
      let path = store ?? NSTemporaryDirectory() + "warren-bench-\(ProcessInfo.processInfo.processIdentifier).sqlite"
      if FileManager.default.fileExists(atPath: path) {
        throw StoreProblem(text: "\(path) exists: the measurement wants a new file", status: .configuration)
      }
      defer { for end in ["", "-wal", "-shm", "-relay"] { try? FileManager.default.removeItem(atPath: path + end) } }
      let log = try Store.open(path, source: BenchOptions.service, mustExist: false)
      let sync = try SyncTime.measure(beside: path)
      try await log.transact { try $0.execute(sql: "CREATE TABLE handled (id INTEGER, customer TEXT)") }
      try await withRabbitMQ(try options.broker.configuration(named: "bench")) { rabbit in
        try await options.withQueue(rabbit, singleActiveConsumer: true) {
          try await Publisher(rabbit, source: BenchOptions.service).publish(contentsOf: try options.events())
          try await handle(rabbit, log, sync)
        }
      }
      return .done
    }
  }

  private func handle(_ rabbit: RabbitMQ, _ log: EventLog, _ sync: Double) async throws {
    let count = options.count
    let handled = Atomic<Int>(0)
    let isDone = Watched(false)
    var subscriberOptions = Subscriber.Options()
    subscriberOptions.prefetch = window
    subscriberOptions.concurrency = min(callers, window)
    let queue = options.handlerOptions
    let counting: Middleware<Delivery> = { delivery, next in
      try await next(delivery)
      if handled.add(1, ordering: .relaxed).newValue == count { isDone.update { $0 = true } }
    }
    subscriberOptions.middleware = [counting]
    let subscriber = Subscriber(rabbit, service: BenchOptions.service, options: subscriberOptions) {
      log.inbox.on(BenchEvent.self, queue: queue) { event, db, _ in
        try db.cachedStatement(sql: "INSERT INTO handled VALUES (?, ?)").execute(arguments: [event.id, event.customer])
      }
    }
    let watch = Stopwatch()
    let running = Task { try await subscriber.run() }
    _ = await isDone.wait(timeout: .seconds(300)) { $0 }
    let (seconds, cpu) = watch.stop()
    subscriber.stop()
    try await running.value
    try Measurement(
      bench: "inbox", queue: options.queue, count: handled.load(ordering: .relaxed), window: window, callers: callers,
      size: options.size, seconds: seconds, cpuMicroseconds: cpu, syncMicroseconds: sync
    ).emitLine()
  }
}
