import CRabbitMQ

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// An IPv4 or IPv6 address with its port.
struct SocketAddress: Sendable {
  private var storage: sockaddr_storage
  private let length: socklen_t

  var family: Int32 { Int32(storage.ss_family) }

  /// What a name stands for, in the order in which the system prefers to use it; no more than 16. Blocks.
  static func all(of host: RabbitMQConfiguration.Host) -> Result<[SocketAddress], NameProblem> {
    lookUp(host, flags: 0)
  }

  /// The address that `host` is already, without asking anybody.
  static func literal(_ host: RabbitMQConfiguration.Host) -> SocketAddress? {
    try? lookUp(host, flags: AI_NUMERICHOST).get().first
  }

  private static func lookUp(
    _ host: RabbitMQConfiguration.Host, flags: Int32
  ) -> Result<[SocketAddress], NameProblem> {
    var hints = addrinfo()
    hints.ai_socktype = warren_stream
    hints.ai_flags = flags | AI_NUMERICSERV
    var found: UnsafeMutablePointer<addrinfo>?
    let status = getaddrinfo(host.name, String(host.port), &hints, &found)
    guard status == 0 else { return .failure(NameProblem(text: String(cString: gai_strerror(status)))) }
    defer { freeaddrinfo(found) }
    var addresses: [SocketAddress] = []
    var next = found
    while let info = next?.pointee, addresses.count < 16 {
      if let address = SocketAddress(info) { addresses.append(address) }
      next = info.ai_next
    }
    guard addresses.isEmpty else { return .success(addresses) }
    return .failure(NameProblem(text: "it has no address"))
  }

  private init?(_ info: addrinfo) {
    let size = Int(info.ai_addrlen)
    guard info.ai_family == AF_INET || info.ai_family == AF_INET6, let source = info.ai_addr,
      size <= MemoryLayout<sockaddr_storage>.size
    else { return nil }
    storage = sockaddr_storage()
    length = info.ai_addrlen
    withUnsafeMutableBytes(of: &storage) { $0.copyMemory(from: UnsafeRawBufferPointer(start: source, count: size)) }
  }

  func withPointer<R>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
    withUnsafePointer(to: storage) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
    }
  }

  /// The address without the port: `127.0.0.1` or `::1`.
  var text: String {
    var name = [CChar](repeating: 0, count: 128)
    let status = withPointer { getnameinfo($0, $1, &name, socklen_t(name.count), nil, 0, NI_NUMERICHOST) }
    guard status == 0 else { return "?" }
    return String(decoding: name.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}

/// Why a name has no address, in the system's words.
struct NameProblem: Error {
  var text: String
}
