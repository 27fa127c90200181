import Warren
import WarrenSupport

/// Where the reply to one request arrives. Exists before the request is sent, settles once, and ends by its deadline
/// whatever the connection thread is doing.
package final class RequestSlot: Sendable {
  private struct State {
    var result: Result<Reply, RabbitMQError>?
    var waiter: CheckedContinuation<Result<Reply, RabbitMQError>, Never>?
    var timer: TimerEntry?
  }
  private let state = Lock(State())
  package let timeout: Duration

  package init(timeout: Duration) {
    self.timeout = timeout
  }

  package func settle(_ result: Result<Reply, RabbitMQError>) {
    let (waiter, timer) = state.withLock {
      state -> (CheckedContinuation<Result<Reply, RabbitMQError>, Never>?, TimerEntry?) in
      guard state.result == nil else { return (nil, nil) }
      state.result = result
      defer { (state.waiter, state.timer) = (nil, nil) }
      return (state.waiter, state.timer)
    }
    timer?.cancel()
    waiter?.resume(returning: result)
  }

  /// Waits for the reply. Cancelling the task or passing the deadline ends the wait, not the request.
  package func reply(to what: @autoclosure () -> String) async throws(RabbitMQError) -> Reply {
    let description = what()
    let timer = Timers.shared.schedule(after: timeout) { [weak self, timeout] in
      self?.settle(.failure(.init(.timedOut, "\(description) was not answered within \(timeout)", isRetryable: true)))
    }
    let result = await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let early = state.withLock { state -> Result<Reply, RabbitMQError>? in
          if let result = state.result { return result }
          state.waiter = continuation
          state.timer = timer
          return nil
        }
        if let early {
          timer.cancel()
          continuation.resume(returning: early)
        }
      }
    } onCancel: {
      settle(.failure(.init(.cancelled, "\(description): the task was cancelled while it waited", isRetryable: true)))
    }
    return try result.get()
  }
}
