import Testing

@testable import WarrenRabbitMQ

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Two ends of a connection inside this process; the writing end never blocks.
final class SocketPair {
  let writer: Int32
  private var reader: Int32

  init() throws {
    var pair: [Int32] = [-1, -1]
    #if canImport(Darwin)
      let kind = SOCK_STREAM
    #else
      let kind = Int32(SOCK_STREAM.rawValue)
    #endif
    try #require(socketpair(AF_UNIX, kind, 0, &pair) == 0)
    (writer, reader) = (pair[0], pair[1])
    for descriptor in pair { _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK) }
    // The kernel's smallest, so that it is soon full.
    var size: Int32 = 1024
    _ = setsockopt(writer, SOL_SOCKET, SO_SNDBUF, &size, socklen_t(MemoryLayout<Int32>.size))
  }

  deinit {
    closeReader()
    _ = close(writer)
  }

  func closeReader() {
    if reader >= 0 { _ = close(reader) }
    reader = -1
  }

  func read(upTo count: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    let n = bytes.withUnsafeMutableBytes { recv(reader, $0.baseAddress, count, 0) }
    return Array(bytes.prefix(max(0, n)))
  }

  func readAll() -> [UInt8] {
    var all: [UInt8] = []
    while true {
      let part = read(upTo: 4096)
      if part.isEmpty { return all }
      all += part
    }
  }
}

extension OutBuffer {
  mutating func flush(to descriptor: Int32) -> Flush { flush { Transport.send($0, count: $1, to: descriptor) } }
  mutating func append(_ bytes: [UInt8]) { bytes.withUnsafeBytes { append($0) } }
}
