import BrokerFixture
import Foundation
import GRDB
import Warren
import WarrenRabbitMQ
import WarrenSupport

/// A publisher, a worker, their stores and ledgers, and their names on the broker: one run after the other is made with them.
final class Session {
  struct Failed: Error, CustomStringConvertible {
    var description: String
  }

  let name: String
  let folder: String
  let target: Target
  let direct: RabbitMQ
  let (publisherLine, workerLine): (Line, Line)
  let (published, handled): (LedgerReader, LedgerReader)
  private(set) var runs = 0
  private(set) var publisher: Child?
  private(set) var worker: Child?
  private var lives = 0
  private var readySince: ContinuousClock.Instant?
  /// How long it has been ready.
  var age: Duration { readySince.map { .now - $0 } ?? .zero }
  /// After the first runs of a process, by its id.
  private var memory: [Int32: (since: Int, kilobytes: Int)] = [:]
  private(set) var effects: DatabaseQueue?

  /// - Parameter direct: a connection that no fault of a process's line hits.
  init(_ target: Target, direct: RabbitMQ) throws {
    name = unique("s")
    self.target = target
    self.direct = direct
    folder = NSTemporaryDirectory() + "warren-matrix-\(name)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    publisherLine = try Line(to: target.hosts)
    workerLine = try Line(to: target.hosts)
    published = LedgerReader(path: "\(folder)/published")
    handled = LedgerReader(path: "\(folder)/handled")
  }

  var lines: [Line] { [publisherLine, workerLine] }
  var type: EventType { get throws { try EventType("matrix.\(name)") } }
  var exchange: String { get throws { EntityNames.exchange(of: try type) } }

  private func owner(_ subscription: String?) throws -> QueueOwner {
    try QueueOwner(service: ServiceName("matrix-\(name)"), subscription: subscription)
  }
  /// Of the inbox, and of the subscription without a store.
  var queues: [String] {
    get throws {
      try [nil, Shared.subscription].map { EntityNames.workQueue(of: try owner($0), type: try type) }
    }
  }
  var deadLetters: [String] {
    get throws {
      try [nil, Shared.subscription].map { EntityNames.deadLetterQueue(of: try owner($0), type: try type) }
    }
  }

  // MARK: Processes

  private func environment(_ line: Line) -> [String: String] {
    ["WARREN_MATRIX_SESSION": name, "WARREN_MATRIX_URL": line.url(user: name, password: name)]
  }

  /// Starts what does not run, and waits until it is ready.
  func start() async throws {
    if lives == 0 { try await target.addUser(name) }
    if worker?.isRunning != true { try startWorker() }
    if await worker?.waitUntilReady(within: .seconds(60)) != true {
      throw Failed(description: "the worker is not ready")
    }
    if publisher?.isRunning != true { try startPublisher() }
    if await publisher?.waitUntilReady(within: .seconds(60)) != true {
      throw Failed(description: "the publisher is not ready")
    }
    if readySince == nil { readySince = .now }
    if effects == nil { effects = try DatabaseQueue(path: "\(folder)/worker.sqlite", configuration: Self.reading) }
  }

  private static var reading: Configuration {
    var configuration = Configuration()
    configuration.readonly = true
    configuration.busyMode = .timeout(5)
    return configuration
  }

  func startPublisher() throws {
    lives += 1
    publisher = try Child(
      ["publisher", "--store", "\(folder)/publisher.sqlite", "--ledger", "\(folder)/published", "--life", "\(lives)"],
      environment: environment(publisherLine), log: "\(folder)/publisher.log")
  }

  func startWorker() throws {
    lives += 1
    worker = try Child(
      ["worker", "--store", "\(folder)/worker.sqlite", "--ledger", "\(folder)/handled"],
      environment: environment(workerLine), log: "\(folder)/worker.log")
  }

  /// A new run begins; its number.
  func begin() -> Int {
    runs += 1
    published.begin(run: runs)
    handled.begin(run: runs)
    return runs
  }

  /// How much memory a process has gained since it had settled, in kB.
  func growth(_ child: Child) -> Int {
    let now = child.holdings.kilobytes
    guard let first = memory[child.processID] else {
      memory[child.processID] = (runs, now)
      return 0
    }
    if runs - first.since < 5 { memory[child.processID]?.kilobytes = max(now, first.kilobytes) }
    return now - (memory[child.processID]?.kilobytes ?? now)
  }

  /// The size of the worker's log, and what it has said since a size.
  /// What the worker and the publisher have said so far.
  var logSizes: [Int] { logs.map(\.count) }
  func log(since sizes: [Int]) -> String {
    zip(logs, sizes).map { String(decoding: $0.dropFirst($1), as: UTF8.self) }.joined()
  }
  private var logs: [Data] {
    ["worker", "publisher"].map { FileManager.default.contents(atPath: "\(folder)/\($0).log") ?? Data() }
  }

  // MARK: The end

  /// Ends the processes and removes what they made on the broker; the files too, unless they are to be looked at.
  func end(keepingFiles: Bool) async {
    for line in lines { line.heal() }
    for child in [publisher, worker] {
      guard let child, child.isRunning else { continue }
      child.signal(SIGKILL)
      _ = await child.end(within: .seconds(10))
    }
    for line in lines { line.close() }
    try? effects?.close()
    if let names = try? queues + deadLetters {
      for queue in names { _ = try? await direct.topology.perform(.deleteQueue(queue)) }
    }
    for subscription in [nil, Shared.subscription] {
      guard let owner = try? owner(subscription) else { continue }
      let rung = EntityNames.retryRung(of: owner, delay: .milliseconds(100))
      _ = try? await direct.topology.perform(.deleteQueue(rung))
      _ = try? await direct.topology.perform(.deleteExchange(rung))
    }
    if let exchange = try? exchange { _ = try? await direct.topology.perform(.deleteExchange(exchange)) }
    try? await target.removeUser(name)
    if !keepingFiles { try? FileManager.default.removeItem(atPath: folder) }
  }
}
