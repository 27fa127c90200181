/// Does `work` on a task of its own and waits for it no longer than `timeout`; nil waits as long as it takes. A caller that
/// gives up, by its deadline or because it is cancelled, ends its wait and not the work: others may wait for the same, and
/// a request that has been sent has to be answered.
func patiently<R: Sendable>(
  within timeout: Duration?, for what: String, _ work: @escaping @Sendable () async throws(RabbitMQError) -> R
) async throws(RabbitMQError) -> R {
  let result = Watched<Result<R, RabbitMQError>?>(nil)
  Task {
    let ended: Result<R, RabbitMQError>
    do throws(RabbitMQError) { ended = .success(try await work()) } catch { ended = .failure(error) }
    result.update { $0 = ended }
  }
  if let ended = await result.wait(timeout: timeout, until: { $0 != nil }) ?? nil { return try ended.get() }
  if Task.isCancelled {
    throw RabbitMQError(.cancelled, "\(what): the task was cancelled while it waited", isRetryable: true)
  }
  throw RabbitMQError(.timedOut, "\(what) did not end in time", isRetryable: true)
}
