import Foundation
import Warren
import WarrenRabbitMQ
import WarrenSupport

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// Sockets for tests, on 127.0.0.1 only.
enum LoopbackServer {
  struct Failed: Error { var text: String }

  /// A listening socket on a free port; with a backlog of 0 it only keeps the port.
  static func listen(backlog: Int32 = 16) throws -> (descriptor: Int32, port: Int) {
    #if canImport(Glibc)
      let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    #else
      let descriptor = socket(AF_INET, SOCK_STREAM, 0)
    #endif
    var address = loopback(port: 0)
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let status = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        guard bind(descriptor, address, size) == 0 else { return false }
        #if canImport(Glibc)
          guard backlog == 0 || Glibc.listen(descriptor, backlog) == 0 else { return false }
        #else
          guard backlog == 0 || Darwin.listen(descriptor, backlog) == 0 else { return false }
        #endif
        return getsockname(descriptor, address, &size) == 0
      }
    }
    guard status else {
      close(descriptor)
      throw Failed(text: "no listening socket: \(String(cString: strerror(errno)))")
    }
    return (descriptor, Int(UInt16(bigEndian: address.sin_port)))
  }

  /// A port on which nobody listens. It is taken until the process ends, so that no other test can listen there.
  static func deadPort() throws -> Int { try listen(backlog: 0).port }

  /// Runs `body` with the port of a server that says `greeting` to each client, once it has heard eight bytes, and nothing
  /// else. With nil it only listens, with nothing to say it hangs up.
  static func withServer<R: Sendable>(
    saying greeting: [UInt8]?, isolation: isolated (any Actor)? = #isolation, _ body: (Int) async throws -> R
  ) async throws -> R {
    let (descriptor, port) = try listen()
    let clients = Lock<[Int32]>([])
    onThread {
      while true {
        let client = accept(descriptor, nil, nil)
        if client < 0 { break }
        clients.withLock { $0.append(client) }
        guard let greeting else { continue }
        var hello = [UInt8](repeating: 0, count: 8)
        _ = recv(client, &hello, hello.count, Int32(MSG_WAITALL))
        _ = send(client, greeting, greeting.count, Int32(MSG_NOSIGNAL))
        if greeting.isEmpty { shutdown(client, Int32(SHUT_RDWR)) }
      }
      clients.withLock { clients in
        for client in clients { close(client) }
        clients = []
      }
      close(descriptor)
    }
    defer {
      // Inside the lock, because the number of a closed descriptor soon belongs to somebody else.
      clients.withLock { clients in for client in clients { shutdown(client, Int32(SHUT_RDWR)) } }
      shutdown(descriptor, Int32(SHUT_RDWR))
    }
    return try await body(port)
  }

  /// -1 when it cannot connect.
  static func connect(to host: RabbitMQConfiguration.Host) -> Int32 {
    var hints = addrinfo()
    #if canImport(Glibc)
      hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    #else
      hints.ai_socktype = SOCK_STREAM
    #endif
    var found: UnsafeMutablePointer<addrinfo>?
    guard getaddrinfo(host.name, String(host.port), &hints, &found) == 0, let first = found else { return -1 }
    defer { freeaddrinfo(first) }
    var next: UnsafeMutablePointer<addrinfo>? = first
    while let info = next?.pointee {
      let descriptor = socket(info.ai_family, info.ai_socktype, info.ai_protocol)
      #if canImport(Glibc)
        if Glibc.connect(descriptor, info.ai_addr, info.ai_addrlen) == 0 { return descriptor }
      #else
        if Darwin.connect(descriptor, info.ai_addr, info.ai_addrlen) == 0 { return descriptor }
      #endif
      close(descriptor)
      next = info.ai_next
    }
    return -1
  }

  static func onThread(_ body: @escaping @Sendable () -> Void) {
    let thread = Thread(block: body)
    thread.stackSize = 256 << 10
    thread.start()
  }

  private static func loopback(port: UInt16) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return address
  }
}

/// Runs something that blocks on a thread of its own.
func onThread<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
  try await withCheckedThrowingContinuation { continuation in
    LoopbackServer.onThread { continuation.resume(with: Result(catching: body)) }
  }
}
