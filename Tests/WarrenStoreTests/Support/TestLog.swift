import Foundation
import GRDB
import Testing
import Warren
import WarrenSupport

@testable import WarrenStore

struct Happened: Event, Hashable {
  static let eventType: EventType = "thing.happened"
  var number: Int
}

/// A folder that is gone when the test ends.
final class Folder: Sendable {
  let path: String

  init() throws {
    path = NSTemporaryDirectory() + "warren-store-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  var file: String { path + "/log.sqlite" }

  func log(_ change: (inout EventLog.Options) -> Void = { _ in }) throws -> EventLog {
    var options = EventLog.Options()
    change(&options)
    return try EventLog(path: file, source: "tests", options: options)
  }

  /// A connection that the log knows nothing of, as another program has one.
  func stranger() throws -> DatabaseQueue {
    let queue = try DatabaseQueue(path: file)
    try queue.writeWithoutTransaction { try $0.execute(sql: "PRAGMA busy_timeout = 5000") }
    return queue
  }
}

extension EventLog {
  func outboxNumbers() async throws -> [Int] {
    try await database.read { db in
      try Data.fetchAll(db, sql: "SELECT body FROM warren_outbox ORDER BY position").map {
        try JSONDecoder().decode(Happened.self, from: $0).number
      }
    }
  }

  func count(_ table: String) async throws -> Int {
    try await database.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM \(table)") ?? -1 }
  }
}

/// The error of an expression, when it is of this kind.
func thrown<E: Error>(_ type: E.Type, _ body: () async throws -> Void) async -> E? {
  do {
    try await body()
    return nil
  } catch {
    return error as? E
  }
}

/// Asks until the answer is yes. For what has nothing to wait on.
func eventually(timeout: Duration = .seconds(20), _ condition: () async throws -> Bool) async throws -> Bool {
  let end = ContinuousClock.now + timeout
  while ContinuousClock.now < end {
    if try await condition() { return true }
    try await Task.sleep(for: .milliseconds(5))
  }
  return try await condition()
}

/// Keeps a writing connection busy until told otherwise, so that what is handed over meanwhile makes one group.
///
/// On a thread of its own, because a wait on one of the few threads that tasks and queues share could wait for itself.
final class HeldWriter: Sendable {
  private let gate = DispatchSemaphore(value: 0)
  private let isHeld = Lock(false)

  init(_ database: any DatabaseWriter, inTransaction: Bool = false) async throws {
    let (gate, isHeld) = (gate, isHeld)
    Thread.detachNewThread {
      try? database.writeWithoutTransaction { db in
        if inTransaction { try db.execute(sql: "BEGIN IMMEDIATE") }
        isHeld.withLock { $0 = true }
        gate.wait()
        if inTransaction { try db.execute(sql: "ROLLBACK") }
      }
    }
    try await expectEventually { isHeld.withLock { $0 } }
  }

  func letGo() { gate.signal() }
}

/// Waits for a condition, and fails the test when it does not come.
func expectEventually(
  timeout: Duration = .seconds(20), _ comment: Comment? = nil, sourceLocation: SourceLocation = #_sourceLocation,
  _ condition: () async throws -> Bool
) async throws {
  let came = try await eventually(timeout: timeout, condition)
  #expect(came, comment ?? "it did not come within \(timeout)", sourceLocation: sourceLocation)
}
