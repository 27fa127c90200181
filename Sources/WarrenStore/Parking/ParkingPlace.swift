import GRDB
import Logging
import Warren
import WarrenSupport

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Where deliveries of a log's inbox handlers wait that failed: in the file, for exactly as long as they are to wait, and those
/// of one key in their order. A queue's deliveries are handed out by one process at a time.
final class ParkingPlace: DeliveryParking {
  /// The most that are handed out at once.
  private static let width = 64
  private let log: EventLog
  private let changes = Sleeper()

  init(_ log: EventLog) { self.log = log }

  func isSame(as other: any DeliveryParking) -> Bool { (other as? ParkingPlace)?.log === log }

  // MARK: Parking

  func park(_ delivery: ParkedDelivery) async throws {
    try await log.transact { db in try ParkedRows.insert(delivery, due: delivery.due.milliseconds, db) }
    changes.wake()
  }

  func parkBehind(_ delivery: ParkedDelivery) async throws -> Bool {
    guard let key = delivery.key else { return false }
    // Most keys are free, and looking does not wait for the writer.
    let queue = delivery.queue
    let isBlocked = try await log.read(doing: "looking for parked events") { db in
      try ParkedRows.isBlocked(queue: queue, key: key, db)
    }
    guard isBlocked else { return false }
    return try await log.transact { db in
      guard try ParkedRows.isBlocked(queue: queue, key: key, db) else { return false }
      try ParkedRows.insert(delivery, due: nil, db)
      return true
    }
  }

  // MARK: Handing out

  func run(queue: String, _ handle: @escaping @Sendable (ParkedDelivery) async -> ParkedEnd) async {
    var hash = StableHash()
    hash.combine(queue)
    guard let turn = await ReaderTurn.take(log, suffix: "-parked-\(String(hash.value, radix: 36))") else { return }
    defer { turn.release() }
    let underWay = Lock<Set<Int64>>([])
    await withTaskGroup(of: Void.self) { group in
      while !Task.isCancelled {
        let seen = changes.generation
        let busy = underWay.withLock { $0 }
        let found = await look(queue, besides: busy)
        for row in found.due {
          underWay.withLock { _ = $0.insert(row.position) }
          group.addTask {
            let end = await handle(row.delivery)
            await self.end(row, end)
            underWay.withLock { _ = $0.remove(row.position) }
            self.changes.wake()
          }
        }
        guard found.due.isEmpty || busy.count + found.due.count >= Self.width else { continue }
        await changes.sleep(unlessChangedSince: seen, atMost: found.rest)
      }
    }
  }

  private struct Found {
    var due: [ParkedRows.Row] = []
    /// Until the next one is due, or somebody else may have put one there.
    var rest = Duration.seconds(10)
  }

  private func look(_ queue: String, besides underWay: Set<Int64>) async -> Found {
    let now = Int64(wallClockMilliseconds())
    do {
      return try await log.read(doing: "looking for parked events") { db in
        var found = Found()
        found.due = try ParkedRows.due(queue: queue, now: now, limit: Self.width, db)
          .filter { !underWay.contains($0.position) }
        if let next = try ParkedRows.nextDue(queue: queue, after: now, db) {
          found.rest = min(found.rest, .milliseconds(max(1, next - now)))
        }
        return found
      }
    } catch {
      if !Task.isCancelled {
        log.logger.info("parked events cannot be read", metadata: ["queue": "\(queue)", "error": "\(error)"])
      }
      return Found(rest: .seconds(1))
    }
  }

  /// Writes down what came of a delivery, for as long as the file does not take it.
  private func end(_ row: ParkedRows.Row, _ end: ParkedEnd) async {
    var pause = Duration.milliseconds(100)
    while true {
      do {
        switch end {
        case .leave:
          // Not at once again, when it could not even be begun.
          try await log.transact { db in
            try ParkedRows.postpone(row, until: Int64(wallClockMilliseconds()) + 1000, db)
          }
        case .done: try await log.transact { db in try ParkedRows.remove(row, db) }
        case .again(let next): try await log.transact { db in try ParkedRows.replace(row, with: next, db) }
        }
        return
      } catch {
        log.logger.info(
          "what came of a parked event cannot be written yet",
          metadata: ["queue": "\(row.delivery.queue)", "error": "\(error)"])
        // It is handed out again by the next one, and known to the inbox then.
        if Task.isCancelled { return }
        try? await Task.sleep(for: pause)
        pause = min(pause * 2, .seconds(5))
      }
    }
  }
}

extension EventLog {
  /// How many events of inbox handlers wait in the file: until they are tried again, or behind one of their key.
  public func parkedCount(queue: String? = nil) async throws(StoreError) -> Int {
    try await read(doing: "counting parked events") { db in try ParkedRows.count(queue: queue, db) }
  }
}
