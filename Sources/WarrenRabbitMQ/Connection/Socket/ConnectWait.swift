import CRabbitMQ

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// How a connection thread waits while it has no connection yet: for sockets and for other threads, up to a deadline, and
/// no longer once it is told to close.
struct ConnectWait {
  let mailbox: Mailbox
  let clock: EngineClock

  /// Returns when a descriptor is ready, the mailbox was woken, or for no reason; false when `deadline` has passed.
  /// - Throws: ``RabbitMQError`` with code ``RabbitMQError/Code/connectionClosed`` when the thread is told to close.
  func wait(
    for descriptors: inout [pollfd], until deadline: Nanoseconds
  ) throws(RabbitMQError) -> Bool {
    let now = clock.now()
    if now >= deadline { return false }
    guard mailbox.fallAsleepConnecting() else { throw Self.closed }
    // A second at the most, for the process in which no descriptor could be had to wake this thread.
    let ms = Int32(min((deadline - now) / 1_000_000 + 1, 1000))
    var all = descriptors
    all.append(pollfd(fd: mailbox.descriptor, events: Int16(POLLIN), revents: 0))
    let ready = poll(&all, nfds_t(all.count), ms)
    let wakeup = all.removeLast()
    mailbox.wokeUp(drain: ready > 0 && wakeup.revents != 0)
    descriptors = all
    if mailbox.goodbye != nil { throw Self.closed }
    return true
  }

  func wait(until deadline: Nanoseconds) throws(RabbitMQError) -> Bool {
    var none: [pollfd] = []
    return try wait(for: &none, until: deadline)
  }

  private static let closed = RabbitMQError(
    .connectionClosed, "the connection was closed from our side while it was being opened", isRetryable: true)
}
