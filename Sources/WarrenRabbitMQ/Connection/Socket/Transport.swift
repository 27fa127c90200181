import CRabbitMQ
import Warren

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// A connected socket, with TLS around it or without. Never blocks. Belongs to one thread, and closes the socket in the end.
struct Transport: ~Copyable {
  enum Progress: Equatable {
    case bytes(Int)
    /// The kernel has nothing, or takes nothing: poll for `awaits(hasOutput:)`.
    case notNow
    case ended(WireEnd)
  }

  let descriptor: Int32
  private let tls: TLSLink?
  private var plainReceived: UInt64 = 0
  private var firstByte: UInt8 = 0

  init(descriptor: Int32, tls: TLSLink?) {
    self.descriptor = descriptor
    self.tls = tls
  }

  deinit {
    tls?.sayGoodbye()
    closeDescriptor(descriptor)
  }

  /// Bytes that came so far, as they came: a TLS record takes a while to be whole.
  var received: UInt64 { tls?.received ?? plainReceived }

  /// What may be behind an end without a word.
  var hint: String { tls?.hint ?? "" }

  /// True when what came without TLS begins as an alert or a handshake of TLS does (RFC 8446 §5.1).
  var seemsToSpeakTLS: Bool { tls == nil && (21...22).contains(firstByte) }

  mutating func read(into memory: UnsafeMutableRawPointer, atMost count: Int) -> Progress {
    if let tls { return tls.read(into: memory, atMost: count) }
    while true {
      let n = recv(descriptor, memory, count, 0)
      if n > 0 {
        if plainReceived == 0 { firstByte = memory.load(as: UInt8.self) }
        plainReceived += UInt64(n)
        return .bytes(n)
      }
      if n == 0 { return .ended(.closed) }
      if errno == EINTR { continue }
      return errno == EAGAIN || errno == EWOULDBLOCK ? .notNow : .ended(.failed(errno: errno))
    }
  }

  mutating func write(_ memory: UnsafeRawPointer, count: Int) -> Progress {
    if let tls { return tls.write(memory, count: count) }
    return Self.send(memory, count: count, to: descriptor)
  }

  static func send(_ memory: UnsafeRawPointer, count: Int, to descriptor: Int32) -> Progress {
    while true {
      let n = warren_send(descriptor, memory, count)
      if n >= 0 { return .bytes(n) }
      if errno == EINTR { continue }
      return errno == EAGAIN || errno == EWOULDBLOCK ? .notNow : .ended(.failed(errno: errno))
    }
  }

  /// What to poll for. TLS may have to write before it can read, and the other way round.
  func awaits(hasOutput: Bool) -> Int16 {
    if let tls { return tls.awaits(hasOutput: hasOutput) }
    return Int16(POLLIN) | (hasOutput ? Int16(POLLOUT) : 0)
  }
}

/// Why nothing more can be read or written.
enum WireEnd: Error, Equatable {
  case closed
  case failed(errno: Int32)
  /// librabbitmq's status: what came is not AMQP.
  case garbage(status: Int32)
  case tls(TLSFailure)

  var text: String {
    switch self {
    case .closed: "the other side closed it"
    case .failed(let code): String(cString: strerror(code))
    case .garbage(let status): amqp_error_string2(status).map { String(cString: $0) } ?? "error \(status)"
    case .tls(let failure): failure.text
    }
  }
}
