import BrokerFixture
import Foundation
import Warren
import WarrenRabbitMQ
import WarrenSupport

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// A relay on loopback in front of the test broker that reads along: which publishes and confirms pass, in the order in
/// which they passed. It can also hold back what the broker says, or cut its connections.
final class Tap: Sendable {
  /// What is worth noting of what passes. Numbers are channels.
  enum Event: Sendable, Equatable {
    case publish(channel: Int)
    case ack(channel: Int, tag: UInt64, multiple: Bool)
    case nack(channel: Int, tag: UInt64, multiple: Bool)
    case returned(channel: Int)
    case channelClosed(channel: Int)
    /// Asked for from our side.
    case closing(channel: Int)
  }

  private struct State {
    var events: [Event] = []
    var descriptors: [Int32] = []
    var isHeld = false
    var isCut = false
    var connections = 0
  }
  private let state = Lock(State())
  private let publishCount = Watched(0)
  private let held = NSCondition()
  private let listening: Int32
  private let target: RabbitMQConfiguration.Host
  let port: Int

  init(to target: RabbitMQConfiguration.Host) throws {
    self.target = target
    (listening, port) = try LoopbackServer.listen()
    let listening = listening
    LoopbackServer.onThread { [weak self] in
      while true {
        let client = accept(listening, nil, nil)
        if client < 0 { break }
        guard let self else {
          close(client)
          break
        }
        relay(client)
      }
      close(listening)
    }
  }

  /// Everything that passed so far.
  var events: [Event] { state.withLock { $0.events } }
  /// How many connections there ever were.
  var connections: Int { state.withLock { $0.connections } }
  var publishes: Int { publishCount.value }

  /// Waits until so many publishes have passed; false when they have not within ten seconds.
  func waitForPublishes(_ count: Int) async -> Bool {
    await publishCount.wait(timeout: .seconds(10)) { $0 >= count } != nil
  }

  /// From now on nothing of what the broker says passes.
  func hold() { state.withLock { $0.isHeld = true } }

  func release() {
    held.lock()
    state.withLock { $0.isHeld = false }
    held.broadcast()
    held.unlock()
  }

  /// Ends all connections. What is held back is lost.
  func cut() {
    state.withLock { $0.isCut = true }
    release()
    // Inside the lock, because the number of a closed descriptor soon belongs to somebody else.
    state.withLock { state in for descriptor in state.descriptors { shutdown(descriptor, Int32(SHUT_RDWR)) } }
  }

  func end() {
    shutdown(listening, Int32(SHUT_RDWR))
    cut()
  }

  private func relay(_ client: Int32) {
    let broker = LoopbackServer.connect(to: target)
    guard broker >= 0 else {
      close(client)
      return
    }
    state.withLock { state in
      state.descriptors += [client, broker]
      state.connections += 1
    }
    let open = Lock(2)
    for (from, to, isFromBroker) in [(client, broker, false), (broker, client, true)] {
      LoopbackServer.onThread { [self] in
        pump(from, to, isFromBroker)
        shutdown(from, Int32(SHUT_RDWR))
        shutdown(to, Int32(SHUT_RDWR))
        let isLast = open.withLock { open in
          open -= 1
          return open == 0
        }
        guard isLast else { return }
        state.withLock { state in state.descriptors.removeAll { $0 == client || $0 == broker } }
        close(client)
        close(broker)
      }
    }
  }

  private func pump(_ from: Int32, _ to: Int32, _ isFromBroker: Bool) {
    var reader = FrameReader(skipping: isFromBroker ? 0 : 8)
    var buffer = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = read(from, &buffer, buffer.count)
      if count <= 0 { return }
      if isFromBroker {
        held.lock()
        while state.withLock({ $0.isHeld }) { held.wait() }
        held.unlock()
        if state.withLock({ $0.isCut }) { return }
      }
      // Noted before it goes on: what follows from it then comes later in the list.
      let events = reader.read(buffer[..<count]).compactMap { Self.event($0, isFromBroker) }
      state.withLock { $0.events += events }
      let publishes = events.count { if case .publish = $0 { true } else { false } }
      if publishes > 0 { publishCount.update { $0 += publishes } }
      var sent = 0
      while sent < count {
        let n = buffer.withUnsafeBytes { send(to, $0.baseAddress.map { $0 + sent }, count - sent, Int32(MSG_NOSIGNAL)) }
        if n <= 0 { return }
        sent += n
      }
    }
  }

  private static func event(_ frame: FrameReader.Frame, _ isFromBroker: Bool) -> Event? {
    guard frame.type == 1, frame.start.count >= 4 else { return nil }
    let id = (Int(frame.start[0]) << 8 | Int(frame.start[1]), Int(frame.start[2]) << 8 | Int(frame.start[3]))
    func confirm() -> (UInt64, Bool) {
      (frame.start[4..<12].reduce(0) { $0 << 8 | UInt64($1) }, frame.start[12] & 1 != 0)
    }
    switch (id, isFromBroker) {
    case ((60, 40), false): return .publish(channel: frame.channel)
    case ((60, 80), true):
      let (tag, multiple) = confirm()
      return .ack(channel: frame.channel, tag: tag, multiple: multiple)
    case ((60, 120), true):
      let (tag, multiple) = confirm()
      return .nack(channel: frame.channel, tag: tag, multiple: multiple)
    case ((60, 50), true): return .returned(channel: frame.channel)
    case ((20, 40), true): return .channelClosed(channel: frame.channel)
    case ((20, 40), false): return .closing(channel: frame.channel)
    default: return nil
    }
  }
}

/// Cuts a byte stream into AMQP frames (0-9-1 §4.2.3) and keeps the beginning of each payload.
private struct FrameReader {
  struct Frame {
    var type: UInt8
    var channel: Int
    var start: [UInt8]
  }
  private var skip: Int
  private var header: [UInt8] = []
  private var start: [UInt8] = []
  /// What is still missing of the payload and the byte that ends the frame.
  private var missing = 0

  init(skipping count: Int) { skip = count }

  mutating func read(_ bytes: ArraySlice<UInt8>) -> [Frame] {
    var frames: [Frame] = []
    var rest = bytes
    let skipped = min(skip, rest.count)
    rest = rest.dropFirst(skipped)
    skip -= skipped
    while !rest.isEmpty {
      if header.count < 7 {
        let part = rest.prefix(7 - header.count)
        header += part
        rest = rest.dropFirst(part.count)
        guard header.count == 7 else { break }
        missing = header[3..<7].reduce(0) { $0 << 8 | Int($1) } + 1
      }
      let part = rest.prefix(missing)
      start += part.prefix(max(0, 16 - start.count))
      missing -= part.count
      rest = rest.dropFirst(part.count)
      if missing == 0 {
        frames.append(Frame(type: header[0], channel: Int(header[1]) << 8 | Int(header[2]), start: start))
        header = []
        start = []
      }
    }
    return frames
  }
}

/// Runs `body` with a tap in front of the test broker.
func withTap<R: Sendable>(
  isolation: isolated (any Actor)? = #isolation, _ body: (Tap) async throws -> R
) async throws -> R {
  let tap = try Tap(to: TestBroker.plainConfiguration.hosts[0])
  defer { tap.end() }
  return try await body(tap)
}

extension RabbitMQConfiguration {
  /// Without TLS, or there would be nothing to read.
  mutating func go(through tap: Tap) {
    hosts = [Host("127.0.0.1", port: tap.port)]
    tls = nil
  }
}
