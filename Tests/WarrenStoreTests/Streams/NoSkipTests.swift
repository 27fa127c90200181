import Foundation
import Testing
import Warren
import WarrenSupport

@testable import WarrenStore

/// The promise of the log: positions follow the order of the commits, and a reader that has seen one never sees a new event
/// below it.
struct NoSkipTests {
  @Test func aTailingReaderSeesEveryPositionOnceInOrderWhileProcessesWriteAndRollBack() async throws {
    var random = SeededGenerator()
    let folder = try Folder()
    let log = try folder.log()
    let (writers, count) = (4, 300)
    let workers = try (0..<writers).map { try Worker(folder.file, writer: $0, count: count, seed: random.next()) }
    let isDone = Lock(false)
    let tail = Task {
      // Its own question each time, so that what it has not seen would stay unseen.
      var seen: [RecordedEvent] = []
      while true {
        let wasDone = isDone.withLock { $0 }
        let from = LogPosition(rawValue: (seen.last?.position.rawValue ?? 0) + 1)
        let more = try await log.all(.init(from: .position(from)))
        seen += more
        if wasDone, more.isEmpty { return seen }
      }
    }
    // The reader that people use, and passes from the beginning, which are longer than a page in the end.
    let subscribed = Lock<[LogPosition]>([])
    let subscription = Task {
      try await log.subscription("tail") { batch in subscribed.withLock { $0 += batch.map(\.position) } }.run()
    }
    let passes = Task {
      var passes: [[Int64]] = []
      while !isDone.withLock({ $0 }) {
        var pass: [Int64] = []
        for try await page in log.events().pages { pass += page.map(\.position.rawValue) }
        passes.append(pass)
      }
      return passes
    }
    for worker in workers { try await worker.finish() }
    try await expectEventually { subscribed.withLock { $0.count } >= writers * count }
    isDone.withLock { $0 = true }
    subscription.cancel()
    try await subscription.value
    let seen = try await tail.value
    let all = try await log.all()
    #expect(subscribed.withLock { $0 } == all.map(\.position), random.replay)
    for pass in try await passes.value { #expect(pass == Array(1..<Int64(pass.count + 1)), random.replay) }
    #expect(seen.map(\.position) == all.map(\.position), random.replay)
    #expect(seen.count == writers * count)
    // What was rolled back gave its positions back.
    #expect(seen.map(\.position.rawValue) == Array(1...Int64(writers * count)))
    for writer in 0..<writers {
      let mine = seen.filter { $0.stream.name == "worker-\(writer)" }
      #expect(mine.map(\.version) == Array(1...Int64(count)))
      #expect(mine.map(\.number) == Array(1...count))
    }
  }
}

extension NoSkipTests {
  @Test func processesThatAreKilledLeaveWholeAppendsAndNothingElse() async throws {
    var random = SeededGenerator()
    let folder = try Folder()
    let log = try folder.log()
    let (writers, count) = (3, 120)
    var acknowledged = [Int](repeating: 0, count: writers)
    for round in 0..<6 {
      let workers = try (0..<writers).map { writer in
        let place = random.oneIn(2) ? "beforeCommit" : "afterCommit"
        // One of them at a moment that nobody has chosen.
        let environment = writer == round % writers ? [:] : ["WARREN_CRASH_AT": "\(place):\(random.int(1...12))"]
        return try Worker(folder.file, writer: writer, count: count, seed: random.next(), environment: environment)
      }
      let victim = workers[round % writers]
      let enough = random.int(1...20)
      _ = try await eventually {
        !victim.isRunning || victim.lastAcknowledged >= acknowledged[round % writers] + enough
      }
      victim.kill9()
      for (writer, worker) in workers.enumerated() {
        try await worker.wait()
        acknowledged[writer] = max(acknowledged[writer], worker.lastAcknowledged)
      }
      for writer in 0..<writers {
        let events = try await log.all(.init(stream: try StreamName("worker-\(writer)")))
        #expect(events.map(\.number) == Array(1..<events.count + 1), random.replay)
        #expect(events.count >= acknowledged[writer], random.replay)
      }
    }
    for writer in 0..<writers {
      try await Worker(folder.file, writer: writer, count: count, seed: random.next()).finish()
    }
    let all = try await log.all()
    #expect(all.count == writers * count)
    #expect(all.map(\.position) == all.map(\.position).sorted())
    #expect(try await log.verify().problems.isEmpty)
  }
}

extension RecordedEvent {
  fileprivate struct Step: Decodable { var number: Int }
  var number: Int { (try? JSONDecoder().decode(Step.self, from: body).number) ?? -1 }
}

/// A process of `Tests/StoreWorker`.
final class Worker: Sendable {
  struct Failed: Error, CustomStringConvertible { var description: String }
  private let process: Process

  convenience init(_ file: String, writer: Int, count: Int, seed: UInt64, environment: [String: String] = [:]) throws {
    try self.init([file, "\(writer)", "\(count)", "\(seed)"], environment)
  }

  init(_ arguments: [String], _ environment: [String: String] = [:]) throws {
    process = Process()
    process.executableURL = Self.program
    process.arguments = arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    process.standardOutput = output
    let said = output.fileHandleForReading
    // Not by a readability handler: that crashes now and then (see BrokerFixture's whenReadable).
    Thread.detachNewThread { [acknowledged] in
      while true {
        let text = said.availableData
        if text.isEmpty { return }
        // A line is one write, so none comes in two parts.
        let numbers = text.split(separator: 0x0a).compactMap { Int(String(decoding: $0, as: UTF8.self)) }
        acknowledged.withLock { $0 = max($0, numbers.max() ?? 0) }
      }
    }
    try process.run()
  }

  private let output = Pipe()
  private let acknowledged = Lock(0)

  /// The last number that it was told to be appended.
  var lastAcknowledged: Int { acknowledged.withLock { $0 } }

  deinit { if process.isRunning { kill(process.processIdentifier, SIGKILL) } }

  var isRunning: Bool { process.isRunning }

  func kill9() { kill(process.processIdentifier, SIGKILL) }

  /// Until it has ended.
  func wait(timeout: Duration = .seconds(60)) async throws {
    guard try await eventually(timeout: timeout, { !process.isRunning }) else {
      throw Failed(description: "the worker does not end")
    }
  }

  /// Until it has ended with all its work done.
  func finish() async throws {
    try await wait()
    guard process.terminationReason == .exit, process.terminationStatus == 0 else {
      throw Failed(description: "the worker ended with status \(process.terminationStatus)")
    }
  }

  /// Beside the test program.
  private static var program: URL {
    let tests = URL(fileURLWithPath: ProcessInfo.processInfo.arguments[0]).deletingLastPathComponent()
    return tests.appendingPathComponent("StoreWorker")
  }
}
