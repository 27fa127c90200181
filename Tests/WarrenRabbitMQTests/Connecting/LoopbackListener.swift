import CRabbitMQ
import Testing

@testable import WarrenRabbitMQ

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Sockets on loopback that listen, or that look like a host which is switched off: a listener whose backlog is full
/// answers nothing.
final class LoopbackListener {
  let port: Int
  private var descriptors: [Int32] = []

  init(isSilent: Bool = false, host: String = "127.0.0.1", port: Int = 0) throws {
    let address = try #require(SocketAddress.literal(.init(host, port: max(1, port))))
    let listener = socket(address.family, warren_stream, 0)
    descriptors = [listener]
    var reuse: Int32 = 1
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &reuse, socklen_t(MemoryLayout<Int32>.size))
    try #require(address.binding(to: port, listener))
    try #require(listen(listener, isSilent ? 0 : 8) == 0)
    self.port = Self.port(of: listener)
    if isSilent { fill() }
  }

  deinit { for descriptor in descriptors { close(descriptor) } }

  /// Connects until nobody answers any more.
  private func fill() {
    for _ in 0..<16 {
      let client = socket(AF_INET, warren_stream, 0)
      descriptors.append(client)
      _ = fcntl(client, F_SETFL, O_NONBLOCK)
      guard let address = SocketAddress.literal(.init("127.0.0.1", port: port)) else { return }
      _ = address.withPointer { connect(client, $0, $1) }
      var waiting = pollfd(fd: client, events: Int16(POLLOUT), revents: 0)
      if poll(&waiting, 1, 200) == 0 { return }
    }
  }

  private static func port(of descriptor: Int32) -> Int {
    var address = sockaddr_in6()
    var size = socklen_t(MemoryLayout<sockaddr_in6>.size)
    let status = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &size) }
    }
    // The port stands at the same place for both families.
    return status == 0 ? Int(UInt16(bigEndian: address.sin6_port)) : 0
  }
}

extension SocketAddress {
  /// Binds to this address, on a free port when `port` is 0.
  fileprivate func binding(to port: Int, _ descriptor: Int32) -> Bool {
    withPointer { pointer, size in
      var copy = sockaddr_storage()
      withUnsafeMutableBytes(of: &copy) {
        $0.copyMemory(from: UnsafeRawBufferPointer(start: pointer, count: Int(size)))
        $0.storeBytes(of: UInt16(port).bigEndian, toByteOffset: 2, as: UInt16.self)
      }
      return withUnsafePointer(to: &copy) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, size) == 0 }
      }
    }
  }
}
