import CWarrenTLS
import Warren

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// OpenSSL's state of one connection, over a socket that never blocks. Belongs to one thread.
final class TLSLink {
  private let ssl: OpaquePointer
  private let wire: UnsafeMutablePointer<warren_tls_wire>
  private let settings: TLSSettings
  private var readAwaits = Int16(POLLIN)
  private var writeAwaits = Int16(POLLOUT)
  /// After a fatal error OpenSSL must not be asked to say goodbye.
  private var isSound = true

  /// As a number, because pointers are not for sharing; nothing changes what it points to.
  private static let bioMethod = UInt(bitPattern: warren_tls_bio_method())

  /// `descriptor` stays the caller's.
  init(_ settings: TLSSettings, descriptor: Int32) throws(TLSFailure) {
    self.settings = settings
    let name = settings.name
    let wire = UnsafeMutablePointer<warren_tls_wire>.allocate(capacity: 1)
    wire.initialize(to: warren_tls_wire())
    wire.pointee.fd = descriptor
    guard let method = OpaquePointer(bitPattern: Self.bioMethod),
      let ssl = warren_tls_new(settings.context, method, wire)
    else {
      wire.deallocate()
      throw TLSFailure(.connectFailed, "no memory for TLS", isRetryable: true)
    }
    self.ssl = ssl
    self.wire = wire
    let isAddress = isAddressLiteral(name)
    let isNamed = isAddress || warren_tls_say_name(ssl, name) == 1
    guard isNamed, !settings.verifies || warren_tls_expect(ssl, name, isAddress) == 1 else {
      throw TLSFailure(.invalidConfiguration, "\"\(name)\" is no host name that a certificate can be checked against")
    }
  }

  deinit {
    SSL_free(ssl)
    wire.deallocate()
  }

  var received: UInt64 { wire.pointee.received }

  func handshake() -> Transport.Progress {
    ERR_clear_error()
    let status = SSL_do_handshake(ssl)
    if status == 1 { return .bytes(0) }
    return progress(of: status, &readAwaits)
  }

  func read(into memory: UnsafeMutableRawPointer, atMost count: Int) -> Transport.Progress {
    ERR_clear_error()
    var taken = 0
    let status = SSL_read_ex(ssl, memory, count, &taken)
    if status == 1 {
      readAwaits = Int16(POLLIN)
      return .bytes(taken)
    }
    return progress(of: status, &readAwaits)
  }

  func write(_ memory: UnsafeRawPointer, count: Int) -> Transport.Progress {
    ERR_clear_error()
    var taken = 0
    let status = SSL_write_ex(ssl, memory, count, &taken)
    if status == 1 {
      writeAwaits = Int16(POLLOUT)
      return .bytes(taken)
    }
    return progress(of: status, &writeAwaits)
  }

  func awaits(hasOutput: Bool) -> Int16 {
    // What comes is always of interest, or a broker that is gone would not be noticed.
    Int16(POLLIN) | readAwaits | (hasOutput ? writeAwaits : 0)
  }

  var awaitsInHandshake: Int16 { readAwaits }

  func sayGoodbye() {
    guard isSound, SSL_is_init_finished(ssl) == 1 else { return }
    ERR_clear_error()
    _ = SSL_shutdown(ssl)
    ERR_clear_error()
  }

  private func progress(of status: Int32, _ awaits: inout Int16) -> Transport.Progress {
    let systemError = errno
    switch SSL_get_error(ssl, status) {
    case SSL_ERROR_WANT_READ:
      awaits = Int16(POLLIN)
      return .notNow
    case SSL_ERROR_WANT_WRITE:
      awaits = Int16(POLLOUT)
      return .notNow
    case SSL_ERROR_ZERO_RETURN:
      return .ended(.closed)
    case SSL_ERROR_SYSCALL:
      isSound = false
      return .ended(wire.pointee.is_at_end || systemError == 0 ? .closed : .failed(errno: systemError))
    default:
      isSound = false
      let reasons = TLSReason.takeAll()
      if wire.pointee.is_at_end, reasons.allSatisfy({ $0.isUnexpectedEnd }) { return .ended(.closed) }
      return .ended(.tls(TLSFailure(reasons, wire: wire.pointee, settings: settings)))
    }
  }

  /// What may be behind an end without a word: that the server has asked for a certificate and there was none to show.
  var hint: String { wire.pointee.certificate_was_requested ? " (it has asked for a client certificate)" : "" }
}

/// OpenSSL's error of one thing that went wrong.
struct TLSReason {
  var library: Int32
  var reason: Int32
  var text: String

  var isUnexpectedEnd: Bool { library == ERR_LIB_SSL && reason == 294 }

  static func takeAll() -> [TLSReason] {
    var all: [TLSReason] = []
    while true {
      let error = ERR_get_error()
      if error == 0 { return all }
      let text = ERR_reason_error_string(error).map { String(cString: $0) } ?? "error \(error)"
      all.append(TLSReason(library: warren_tls_library(error), reason: warren_tls_reason(error), text: text))
    }
  }
}

/// True for an IPv4 or IPv6 address.
func isAddressLiteral(_ name: String) -> Bool {
  var memory = in6_addr()
  return inet_pton(AF_INET, name, &memory) == 1 || inet_pton(AF_INET6, name, &memory) == 1
}
