public import GRDB
public import Warren
import WarrenSupport

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

extension Inbox {
  /// A handler for many events at once, for bulk writes: it runs in the transaction, with the deliveries that have come.
  ///
  /// ```swift
  /// log.inbox.onBatch(Measured.self) { batch, db in
  ///   for (measured, _) in batch { try Reading(measured).upsert(db) }
  /// }
  /// ```
  /// Each event has its own context: ``InboxContext/deadLetter(_:)`` and ``InboxContext/ignore(_:)`` decide about it alone, and
  /// what was written for it until then is kept. When the handler throws, its events are handled one by one, so that the
  /// one that is to blame fails alone; those of its key that came behind it begin after its failure is known.
  /// - Parameters:
  ///   - most: the most events at once, 1 to 1000. As many handlers of the subscriber run at once.
  ///   - patience: how long the first of a batch waits for company.
  public func onBatch<E: Event>(
    _ type: E.Type, queue: QueueOptions = .init(), most: Int = 100, patience: Duration = .milliseconds(5),
    handle: @escaping @Sendable (_ batch: [(event: E, context: InboxContext)], _ db: Database) throws -> Void
  ) -> InboxHandler {
    let most = max(1, min(1000, most))
    var queue = queue
    queue.concurrency = queue.concurrency ?? most
    queue.prefetch = queue.prefetch ?? max(200, 2 * most)
    let batch = InboxBatch(keeper, most: most, patience: patience, handle)
    return InboxHandler(log, types: E.readTypes, queue: queue) { delivery in
      do throws(WarrenError) {
        return await batch.add(delivery, try delivery.decoded(E.self))
      } catch {
        return HandlerResult(.deadLetter(.undecodable(error.message)))
      }
    }
  }
}

/// Gathers deliveries until there are enough, or the first has waited long enough.
final class InboxBatch<E: Event>: Sendable {
  typealias Body = @Sendable ([(event: E, context: InboxContext)], Database) throws -> Void
  private struct Waiting: Sendable {
    var item: Item
    var continuation: CheckedContinuation<HandlerResult, Never>
  }
  private let keeper: InboxKeeper
  private let most: Int
  private let patience: Duration
  private let body: Body
  private let waiting = Lock<[Waiting]>([])

  init(_ keeper: InboxKeeper, most: Int, patience: Duration, _ body: @escaping Body) {
    self.keeper = keeper
    self.most = most
    self.patience = patience
    self.body = body
  }

  func add(_ delivery: Delivery, _ event: E) async -> HandlerResult {
    await withCheckedContinuation { continuation in
      let (isFirst, isFull) = waiting.withLock { waiting in
        waiting.append(Waiting(item: Item(delivery: delivery, event: event), continuation: continuation))
        return (waiting.count == 1, waiting.count >= most)
      }
      if isFull {
        Task { await flush() }
      } else if isFirst {
        Task {
          try? await Task.sleep(for: patience)
          await flush()
        }
      }
    }
  }

  var waitingCount: Int { waiting.withLock { $0.count } }

  private func flush() async {
    let batch = waiting.withLock { waiting in
      defer { waiting = [] }
      return waiting
    }
    guard !batch.isEmpty else { return }
    if let results = await together(batch.map(\.item)) {
      for (waiting, result) in zip(batch, results) { waiting.continuation.resume(returning: result) }
      return
    }
    // Each for itself, in one another's group commits, but one of a key at a time: what follows one that fails must not be
    // committed before that is known.
    await withDiscardingTaskGroup { group in
      for lane in Self.lanes(batch) {
        group.addTask {
          for waiting in lane {
            let result = await self.together([waiting.item])?.first
            waiting.continuation.resume(returning: result ?? HandlerResult(.failed(Split())))
          }
        }
      }
    }
  }

  /// By type and key, in order; what has no key stands alone.
  private static func lanes(_ batch: [Waiting]) -> [[Waiting]] {
    var lanes: [[Waiting]] = []
    var places: [Lane: Int] = [:]
    for waiting in batch {
      let delivery = waiting.item.delivery
      let lane = Lane(exchange: delivery.type.name, key: delivery.metadata.key)
      if lane.isOrdered, let place = places[lane] {
        lanes[place].append(waiting)
      } else {
        places[lane] = lanes.count
        lanes.append([waiting])
      }
    }
    return lanes
  }

  private struct Item: Sendable {
    var delivery: Delivery
    var event: E
  }
  /// Several events failed together.
  private struct Split: Error {}

  /// Nil when several events failed together.
  private func together(_ items: [Item]) async -> [HandlerResult]? {
    guard let queue = items.first?.delivery.queue else { return [] }
    let body = body
    let ending = await keeper.commit(queue) { [keeper] db -> [InboxVerdict]? in
      do {
        return try Self.run(items, keeper, body, db)
      } catch is Split {
        throw InboxKeeper.Stopped(result: HandlerResult(.failed(Split())))
      }
    }
    await keeper.pruneSometimes(queue)
    if case .some(.some(let verdicts)) = ending.committed { return verdicts.map { keeper.counted(queue, $0) } }
    if case .failed(is Split) = ending.failed.outcome, items.count > 1 { return nil }
    return items.map { _ in keeper.counted(queue, InboxVerdict(ending.failed)) }
  }

  private static func run(
    _ items: [Item], _ keeper: InboxKeeper, _ body: Body, _ db: Database
  ) throws -> [InboxVerdict] {
    var verdicts: [InboxVerdict?] = []
    var firsts: [InboxKey: Int] = [:]
    var fresh: [(index: Int, key: InboxKey?, scope: HandlerScope, context: InboxContext)] = []
    var repeats: [(index: Int, of: Int)] = []
    for (index, item) in items.enumerated() {
      let key = InboxKey(item.delivery)
      if let key, let first = firsts[key], key.hash == firstHash(items[first]) {
        repeats.append((index, first))
        verdicts.append(nil)
        continue
      }
      let known = try keeper.admit(key, db)
      verdicts.append(known)
      guard known == nil else { continue }
      if let key { firsts[key] = index }
      let scope = HandlerScope(delivery: item.delivery, name: item.delivery.queue)
      fresh.append((index, key, scope, InboxContext(scope.context, isDeduplicated: key != nil)))
    }
    if !fresh.isEmpty {
      Faults.reached(.inHandler)
      do {
        try keeper.timed(items[0].delivery) {
          try body(fresh.map { (items[$0.index].event, $0.context) }, db)
          for one in fresh { try one.context.runCommits(db) }
        }
      } catch {
        if InboxKeeper.isTheStores(error) { throw error }
        if items.count > 1 { throw Split() }
        throw InboxKeeper.Stopped(result: HandlerResult(.failed(error)))
      }
    }
    for one in fresh {
      let result = one.scope.end(.handled)
      if case .handled = result.outcome {
        verdicts[one.index] = InboxVerdict(HandlerResult(.handled, isCommitted: true))
      } else {
        // Not handled, so it must not be remembered as such.
        if let key = one.key { try InboxRecords.remove(key, db) }
        verdicts[one.index] = InboxVerdict(HandlerResult(result.outcome))
      }
    }
    for (index, first) in repeats {
      verdicts[index] = verdicts[first].map { $0.outcome == .handled ? .duplicate : $0 }
    }
    Faults.reached(.beforeHandlerCommit)
    return verdicts.map { $0 ?? .duplicate }
  }

  private static func firstHash(_ item: Item) -> Data? { InboxKey(item.delivery)?.hash }
}
