import Warren
import WarrenRabbitMQ

/// A door that handlers wait at until a test opens it.
final class Gate: Sendable {
  private let isOpen = Watched(false)

  func open() { isOpen.update { $0 = true } }

  /// Waits for the door; throws when the task is cancelled first.
  func pass() async throws {
    if await isOpen.wait(until: { $0 }) == nil { throw CancellationError() }
  }

  /// Waits for the door, as a handler does that knows nothing of cancellation.
  func passWhateverHappens() async {
    await Task { [isOpen] in _ = await isOpen.wait { $0 } }.value
  }
}

/// How many are inside, and how many there ever were at once.
final class Level: Sendable {
  struct Count: Sendable {
    var inside = 0
    var highest = 0
    var entered = 0
    var left = 0
  }
  private let count = Watched(Count())

  func enter() {
    count.update {
      $0.inside += 1
      $0.entered += 1
      $0.highest = max($0.highest, $0.inside)
    }
  }

  func leave() {
    count.update {
      $0.inside -= 1
      $0.left += 1
    }
  }

  var now: Count { count.value }

  /// Nil when it did not come to that within `timeout`.
  func wait(timeout: Duration = .seconds(20), until condition: @escaping @Sendable (Count) -> Bool) async -> Count? {
    await count.wait(timeout: timeout, until: condition)
  }
}

/// A failure with a text of the test's choice.
struct Refusal: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}

/// What a task ended with, when it has ended within `timeout`; nil when it goes on.
func end<R: Sendable>(of task: Task<R, any Error>, within timeout: Duration) async -> Result<R, any Error>? {
  let ended = Watched<Result<R, any Error>?>(nil)
  let watcher = Task {
    let result = await task.result
    ended.update { $0 = result }
  }
  defer { watcher.cancel() }
  return await ended.wait(timeout: timeout) { $0 != nil } ?? nil
}
