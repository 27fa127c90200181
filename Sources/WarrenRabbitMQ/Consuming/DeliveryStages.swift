/// What the processing of a delivery tells its reader about how far it is.
final class DeliveryStages: Sendable {
  /// Nil where nobody looks at it.
  private let reader: QueueReader?
  private let worker: Int
  private let run: UInt64
  let key: String?
  /// It was delivered alone and has ended the process too often: it is not to be handled.
  let isCrashLoop: Bool
  /// It comes from a store.
  let isParked: Bool
  /// Its handler has taken longer than it may: only what follows from that is to be done.
  let overdue: Overdue?

  init(
    reader: QueueReader? = nil, worker: Int = 0, run: UInt64 = 0, key: String? = nil, isCrashLoop: Bool = false,
    isParked: Bool = false, overdue: Overdue? = nil
  ) {
    self.reader = reader
    self.worker = worker
    self.run = run
    self.key = key
    self.isCrashLoop = isCrashLoop
    self.isParked = isParked
    self.overdue = overdue
  }

  enum Overdue: Sendable {
    /// It was cancelled and has ended.
    case ended
    /// It was cancelled and is at work nevertheless.
    case abandoned
  }

  /// A handler begins, which may take so long.
  func handles(within limit: Duration) { reader?.set(deadline: .now + limit, worker, run) }

  /// No handler runs: what follows may take as long as it needs.
  func rests() { reader?.set(deadline: nil, worker, run) }

  /// The delivery waits until it is tried again, and its key with it. False when too many deliveries wait like that: the
  /// reading ends, and the delivery goes back.
  func waitsInPlace() -> Bool { reader?.waitsInPlace(key) ?? true }

  /// It does not wait any more.
  func goesOn() { reader?.goesOn(key) }

  /// Ends the reading, because order cannot be kept otherwise.
  func givesUp() { reader?.giveUpOrder() }

  /// No further handler is started until this is called with nil: what a failed event needs on the broker is refused.
  func isHeldUp(by error: RabbitMQError?) { reader?.hold(run, error) }
}
