import GRDB
import WarrenSupport

/// Tells whoever waits for new entries that there may be some. Level-triggered: a call that comes while nobody waits is not lost.
final class WakeUp: Sendable {
  private let listeners = Lock<[Int: @Sendable () -> Void]>([:])
  private let nextID = Lock(0)

  func listen(_ listener: @escaping @Sendable () -> Void) -> Int {
    let id = nextID.withLock { id in
      id += 1
      return id
    }
    listeners.withLock { $0[id] = listener }
    return id
  }

  func forget(_ id: Int) { listeners.withLock { _ = $0.removeValue(forKey: id) } }

  func call() {
    for listener in listeners.withLock({ Array($0.values) }) { listener() }
  }
}

/// Hears the commits of the writing connection, whoever made them.
final class CommitObserver: TransactionObserver, Sendable {
  private let wakeUp: WakeUp
  init(_ wakeUp: WakeUp) { self.wakeUp = wakeUp }

  func observes(eventsOfKind eventKind: DatabaseEventKind) -> Bool { false }
  func databaseDidChange() {}
  func databaseDidChange(with event: DatabaseEvent) {}
  func databaseDidCommit(_ db: Database) { wakeUp.call() }
  func databaseDidRollback(_ db: Database) {}
}
