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

/// Hears the commits and rollbacks of the writing connection, whoever made them.
final class CommitObserver: TransactionObserver, Sendable {
  struct Ends: Sendable, Equatable {
    var commits = 0
    var rollbacks = 0
  }
  private let wakeUp: WakeUp
  private let counts = Lock(Ends())
  init(_ wakeUp: WakeUp) { self.wakeUp = wakeUp }

  /// How many transactions have ended.
  var ends: Ends { counts.withLock { $0 } }

  func observes(eventsOfKind eventKind: DatabaseEventKind) -> Bool { false }
  func databaseDidChange() {}
  func databaseDidChange(with event: DatabaseEvent) {}
  func databaseDidRollback(_ db: Database) { counts.withLock { $0.rollbacks += 1 } }
  func databaseDidCommit(_ db: Database) {
    counts.withLock { $0.commits += 1 }
    wakeUp.call()
  }
}
