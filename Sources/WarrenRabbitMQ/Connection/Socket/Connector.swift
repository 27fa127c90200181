import CRabbitMQ
import Warren

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Connects to the addresses of one host, one after the other, without waiting for a silent one before the next is tried
/// (RFC 8305 §5). Each address has a deadline of its own.
struct Connector {
  private struct Attempt {
    var address: SocketAddress
    var descriptor: Int32
    var deadline: Nanoseconds
  }
  private static let headStart: Nanoseconds = 250_000_000

  private let wait: ConnectWait
  private let timeout: Duration
  private var waiting: [SocketAddress]
  private var attempts: [Attempt] = []
  /// What went wrong, by address.
  private(set) var problems: [String] = []

  init(_ addresses: [SocketAddress], timeout: Duration, wait: ConnectWait) {
    waiting = addresses
    self.timeout = timeout
    self.wait = wait
  }

  /// The next connected socket, which belongs to the caller; nil when no address is left.
  mutating func next() throws(RabbitMQError) -> Int32? {
    defer { abandonAttempts() }
    var nextStart: Nanoseconds = 0
    while true {
      let now = wait.clock.now()
      if !waiting.isEmpty, attempts.isEmpty || now >= nextStart {
        if let connected = begin(waiting.removeFirst(), now: now) { return connected }
        nextStart = now + Self.headStart
        continue
      }
      guard let deadline = attempts.map(\.deadline).min() else { return nil }
      var descriptors = attempts.map { pollfd(fd: $0.descriptor, events: Int16(POLLOUT), revents: 0) }
      _ = try wait.wait(for: &descriptors, until: waiting.isEmpty ? deadline : min(deadline, nextStart))
      if let connected = judge(descriptors, now: wait.clock.now(), nextStart: &nextStart) { return connected }
    }
  }

  private mutating func begin(_ address: SocketAddress, now: Nanoseconds) -> Int32? {
    let descriptor = warren_tcp_socket(address.family)
    guard descriptor >= 0 else {
      note(address, errno)
      return nil
    }
    let status = address.withPointer { connect(descriptor, $0, $1) }
    if status == 0 { return descriptor }
    if errno == EINPROGRESS || errno == EINTR {
      attempts.append(Attempt(address: address, descriptor: descriptor, deadline: now + timeout.nanoseconds))
    } else {
      note(address, errno)
      closeDescriptor(descriptor)
    }
    return nil
  }

  private mutating func judge(_ descriptors: [pollfd], now: Nanoseconds, nextStart: inout Nanoseconds) -> Int32? {
    for index in attempts.indices.reversed() {
      let attempt = attempts[index]
      if descriptors[index].revents != 0 {
        attempts.remove(at: index)
        let problem = socketError(attempt.descriptor)
        if problem == 0 { return attempt.descriptor }
        note(attempt.address, problem)
        closeDescriptor(attempt.descriptor)
        nextStart = now
      } else if now >= attempt.deadline {
        attempts.remove(at: index)
        problems.append("\(attempt.address.text): no answer within \(timeout)")
        closeDescriptor(attempt.descriptor)
      }
    }
    return nil
  }

  /// One was faster, or all is over. Those that were still open may be tried again when the faster one turns out bad.
  private mutating func abandonAttempts() {
    for attempt in attempts { closeDescriptor(attempt.descriptor) }
    waiting += attempts.map(\.address)
    attempts = []
  }

  private mutating func note(_ address: SocketAddress, _ code: Int32) {
    problems.append("\(address.text): \(String(cString: strerror(code)))")
  }

  private func socketError(_ descriptor: Int32) -> Int32 {
    var code: Int32 = 0
    var size = socklen_t(MemoryLayout<Int32>.size)
    return getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &size) == 0 ? code : errno
  }
}
