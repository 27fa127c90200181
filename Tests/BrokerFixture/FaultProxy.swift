import Foundation
import Warren
import WarrenRabbitMQ
import WarrenSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

#if os(Linux)
  // Linux has it; the C library shows it only to programs that ask for extensions.
  @_silgen_name("accept4") private func accept4(
    _ descriptor: Int32, _ address: UnsafeMutablePointer<sockaddr>?, _ length: UnsafeMutablePointer<socklen_t>?,
    _ flags: Int32
  ) -> Int32
#endif

/// A TCP proxy on loopback between a client and a broker, which fails in chosen ways.
package final class FaultProxy: Sendable {
  /// Which of a client's two connections; what a client of Warren calls itself says it.
  package enum Role: Sendable { case publishing, consuming }

  /// What is done with bytes. `up` is from the client to the broker.
  package struct Behaviour: Sendable {
    /// Bytes are not read: the kernel's buffers fill, and the sender stands. Nobody sees an end.
    package var holdsUp = false
    package var holdsDown = false
    /// Only these connections are held; nil is all.
    package var heldRole: Role?
    /// After so many more bytes in this direction, all connections are reset. The bytes up to there arrive.
    package var cutAfterUp: Int?
    package var cutAfterDown: Int?
    /// New connections are accepted and closed at once.
    package var refuses = false
    /// How much later bytes arrive, in microseconds.
    package var delay: UInt32 = 0
    /// The most bytes in each turn of 10 ms, in each direction.
    package var bytesPerTurn: Int?
    package init() {}
  }

  private struct Pair {
    var client: Int32
    var broker: Int32
    var isFrozen = false
    var role: Role?
  }
  private struct State {
    var behaviour = Behaviour()
    var isClosed = false
    var wantsCut = false
    var cutRole: Role?
    var wantsFreeze = false
    var accepted = 0
    var up = 0
    var down = 0
  }
  private let state = Lock(State())
  private let listener: Int32
  private let target: sockaddr_in
  package let port: Int

  /// Forwards to 127.0.0.1 at `port`.
  package init(to port: Int) throws {
    target = Self.loopback(port)
    (listener, self.port) = try Self.listen()
    Thread.detachNewThread { [self] in run() }
  }

  private static func listen() throws -> (descriptor: Int32, port: Int) {
    let descriptor = socket()
    var address = loopback(0)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isBound = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
        bind(descriptor, pointer, length) == 0 && Glibc.listen(descriptor, 64) == 0
          && getsockname(descriptor, pointer, &length) == 0
      }
    }
    guard isBound else { throw TestBroker.Failed(text: "no port for a proxy: \(String(cString: strerror(errno)))") }
    return (descriptor, Int(UInt16(bigEndian: address.sin_port)))
  }

  /// Kept from programs that this one starts, in one step: a child that inherits an end keeps a cut connection open.
  private static func socket() -> Int32 {
    #if canImport(Darwin)
      kept(Darwin.socket(AF_INET, SOCK_STREAM, 0))
    #elseif canImport(Musl)
      Musl.socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)
    #else
      Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    #endif
  }

  #if canImport(Darwin)
    private static func kept(_ descriptor: Int32) -> Int32 {
      _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
      return descriptor
    }
  #endif

  package func behave(_ change: (inout Behaviour) -> Void) { state.withLock { change(&$0.behaviour) } }
  /// Resets all connections now, or those of a role.
  package func cut(_ role: Role? = nil) { state.withLock { ($0.wantsCut, $0.cutRole) = (true, role) } }
  /// Nothing passes on the connections of now any more, and nobody is told: they are half-open. New ones work.
  package func freeze() { state.withLock { $0.wantsFreeze = true } }
  /// Ends the proxy and its connections.
  package func close() { state.withLock { $0.isClosed = true } }
  package var accepted: Int { state.withLock { $0.accepted } }
  /// Bytes that were forwarded so far.
  package var forwarded: (up: Int, down: Int) { state.withLock { ($0.up, $0.down) } }

  private static func loopback(_ port: Int) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(UInt16(clamping: port).bigEndian)
    address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
    return address
  }

  private func run() {
    var pairs: [Pair] = []
    var buffer = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let (behaviour, isClosed, wantsCut, cutRole, wantsFreeze) = state.withLock { state in
        defer { (state.wantsCut, state.cutRole, state.wantsFreeze) = (false, nil, false) }
        return (state.behaviour, state.isClosed, state.wantsCut, state.cutRole, state.wantsFreeze)
      }
      if wantsFreeze { for index in pairs.indices { pairs[index].isFrozen = true } }
      if isClosed || wantsCut {
        let isMeant = { (pair: Pair) in isClosed || cutRole == nil || pair.role == cutRole }
        for pair in pairs where isMeant(pair) { reset(pair) }
        pairs.removeAll(where: isMeant)
      }
      if isClosed {
        shut(listener)
        return
      }
      var polled = [pollfd(fd: listener, events: Int16(POLLIN), revents: 0)]
      for pair in pairs {
        // A negative descriptor is passed over: an end that nobody is told of would wake the loop again and again.
        let (client, broker) = pair.isFrozen ? (-1, -1) : (pair.client, pair.broker)
        let isHeld = behaviour.heldRole == nil || pair.role == behaviour.heldRole
        polled.append(pollfd(fd: client, events: behaviour.holdsUp && isHeld ? 0 : Int16(POLLIN), revents: 0))
        polled.append(pollfd(fd: broker, events: behaviour.holdsDown && isHeld ? 0 : Int16(POLLIN), revents: 0))
      }
      _ = poll(&polled, nfds_t(polled.count), 5)
      if behaviour.delay > 0 { usleep(behaviour.delay) }
      if polled[0].revents != 0 { accept(&pairs) }
      var gone: [Int] = []
      for index in pairs.indices where polled.count > 2 * index + 2 {
        if polled[2 * index + 1].revents & Int16(POLLIN) != 0 {
          guard let count = forward(pairs[index].client, pairs[index].broker, isUp: true, behaviour, &buffer) else {
            gone.append(index)
            continue
          }
          if pairs[index].role == nil { pairs[index].role = Self.role(in: buffer[..<count]) }
        }
        if polled[2 * index + 2].revents & Int16(POLLIN) != 0,
          forward(pairs[index].broker, pairs[index].client, isUp: false, behaviour, &buffer) == nil
        {
          gone.append(index)
        }
      }
      for index in gone.reversed() { reset(pairs.remove(at: index)) }
      if behaviour.bytesPerTurn != nil { usleep(10_000) }
    }
  }

  private func accept(_ pairs: inout [Pair]) {
    #if canImport(Darwin)
      let client = Self.kept(Darwin.accept(listener, nil, nil))
    #else
      let client = accept4(listener, nil, nil, Int32(SOCK_CLOEXEC.rawValue))
    #endif
    guard client >= 0 else { return }
    // What is wanted by now: the turn may have begun before.
    let refuses = state.withLock { state in
      state.accepted += 1
      return state.behaviour.refuses
    }
    if refuses { return reset(Pair(client: client, broker: -1)) }
    let broker = Self.socket()
    var target = target
    let status = withUnsafePointer(to: &target) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(broker, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard status == 0 else { return reset(Pair(client: client, broker: broker)) }
    for descriptor in [client, broker] {
      var on: Int32 = 1
      setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
    }
    pairs.append(Pair(client: client, broker: broker))
  }

  /// How many bytes; nil when the connection is over.
  private func forward(
    _ from: Int32, _ to: Int32, isUp: Bool, _ behaviour: Behaviour, _ buffer: inout [UInt8]
  ) -> Int? {
    var limit = min(buffer.count, behaviour.bytesPerTurn ?? buffer.count)
    let allowed = state.withLock { isUp ? $0.behaviour.cutAfterUp : $0.behaviour.cutAfterDown }
    if let allowed { limit = min(limit, allowed) }
    let count = limit == 0 ? 0 : recv(from, &buffer, limit, 0)
    if limit > 0, count <= 0 { return nil }
    var sent = 0
    while sent < count {
      let n = buffer.withUnsafeBytes { send(to, $0.baseAddress.map { $0 + sent }, count - sent, Int32(MSG_NOSIGNAL)) }
      if n <= 0 { return nil }
      sent += n
    }
    state.withLock { state in
      if isUp { state.up += count } else { state.down += count }
      guard let allowed else { return }
      let rest = allowed - count
      if isUp { state.behaviour.cutAfterUp = rest } else { state.behaviour.cutAfterDown = rest }
      guard rest == 0 else { return }
      if isUp { state.behaviour.cutAfterUp = nil } else { state.behaviour.cutAfterDown = nil }
      // What was forwarded has to arrive before the end does.
      state.wantsCut = true
    }
    return count
  }

  /// Known from the login on, which is what a client sends first.
  private static func role(in bytes: ArraySlice<UInt8>) -> Role? {
    if bytes.firstRange(of: Array("/publish".utf8)) != nil { return .publishing }
    return bytes.firstRange(of: Array("/consume".utf8)) != nil ? .consuming : nil
  }

  private func reset(_ pair: Pair) {
    // With an orderly end, or the bytes before it could be thrown away by the receiver's kernel.
    for descriptor in [pair.client, pair.broker] where descriptor >= 0 { shut(descriptor) }
  }

  private func shut(_ descriptor: Int32) {
    shutdown(descriptor, Int32(SHUT_RDWR))
    #if canImport(Darwin)
      _ = Darwin.close(descriptor)
    #elseif canImport(Musl)
      _ = Musl.close(descriptor)
    #else
      _ = Glibc.close(descriptor)
    #endif
  }
}
