import GRDB
import WarrenSupport

/// The body of a member, as a task of its caller that runs on the writer's thread, each time when it is told to.
///
/// A closure that is merely handed to the writer would lose the caller's task-locals (trace, tenant, the handler that is
/// running), and there is no way to copy those but to make a task. This one prefers an executor that keeps the job until
/// somebody with a database runs it; it may be run again, for members whose transaction was lost.
final class Turn: TaskExecutor {
  private struct State {
    var job: UnownedJob?
    var db: Database?
    var isOver = false
    var next: CheckedContinuation<Void, Never>?
    var result: (any Error)??
  }
  private let state = Lock(State())

  /// `body` gets the database of each turn. It stores its own result; what it throws is the turn's error.
  func begin(_ body: @escaping @Sendable (Database) throws -> Void) {
    Task(executorPreference: self) {
      while let db = self.state.withLock({ $0.db }) {
        do {
          try body(db)
          self.state.withLock { $0.result = .some(nil) }
        } catch {
          self.state.withLock { $0.result = error }
        }
        await withCheckedContinuation { next in self.state.withLock { $0.next = next } }
      }
    }
  }

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    let isOver = state.withLock { state in
      state.job = job
      return state.isOver
    }
    if isOver { runJob() }
  }

  /// Runs the body with `db`, on this thread. Not for several threads at once.
  func run(_ db: Database) throws {
    let next = state.withLock { state in
      state.db = db
      state.result = nil
      defer { state.next = nil }
      return state.next
    }
    next?.resume()
    runJob()
    let result = state.withLock { state in
      state.db = nil
      return state.result
    }
    switch result {
    case .some(.some(let error)): throw error
    case .some(.none): return
    case .none: throw StoreError(.database, "the body of the transaction did not run")
    }
  }

  /// Lets the task end. Without it the task would stay for ever.
  func end() {
    let next = state.withLock { state in
      state.isOver = true
      defer { state.next = nil }
      return state.next
    }
    // A task that has never run has a job and no continuation.
    if let next { next.resume() } else { runJob() }
  }

  private func runJob() {
    let job = state.withLock { state in
      defer { state.job = nil }
      return state.job
    }
    job?.runSynchronously(on: asUnownedTaskExecutor())
  }
}
