import CRabbitMQ
import Warren

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// One open connection: its socket, and librabbitmq's state, which only decodes what came over it. Belongs to one thread
/// from its making to its end.
///
/// The library does no input and output of its own: its calls wait without a limit (alanxz/rabbitmq-c#519, #780), resolve
/// and connect with one deadline for all addresses, and write a frame where one of ours may stand half sent.
struct Session: ~Copyable {
  private static let capacity = 128 << 10

  let state: amqp_connection_state_t
  var transport: Transport
  /// The same socket under a number of its own: what another thread may shut down without hitting a stranger.
  let emergencyDescriptor: Int32
  var info: ConnectionInfo
  var channelMax = 0

  private let input: UnsafeMutableRawPointer
  private var start = 0
  private var end = 0
  private var noticed: UInt64 = 0

  /// `transport` is ready for AMQP's first byte.
  init?(_ transport: consuming Transport, host: RabbitMQConfiguration.Host) {
    guard let state = amqp_new_connection() else { return nil }
    self.state = state
    emergencyDescriptor = fcntl(transport.descriptor, F_DUPFD_CLOEXEC, 0)
    self.transport = transport
    info = ConnectionInfo(host: host.name, port: host.port, serverVersion: "", frameMax: 0, heartbeat: .zero)
    input = .allocate(byteCount: Self.capacity, alignment: 16)
  }

  deinit {
    if emergencyDescriptor >= 0 { close(emergencyDescriptor) }
    input.deallocate()
    amqp_destroy_connection(state)
  }

  var descriptor: Int32 { transport.descriptor }

  /// The next frame that has arrived and is no heartbeat; false when there is none. Never waits. What it points into
  /// belongs to the frame's channel until the next `releaseBuffers` there.
  mutating func readFrame(_ frame: inout warren_frame) throws(WireEnd) -> Bool {
    while true {
      while start < end {
        let bytes = (input + start).assumingMemoryBound(to: UInt8.self)
        let taken = warren_decode_frame(state, bytes, end - start, &frame)
        guard taken > 0 else { throw .garbage(status: taken) }
        start += Int(taken)
        if frame.type != 0, Int32(frame.type) != AMQP_FRAME_HEARTBEAT { return true }
      }
      switch transport.read(into: input, atMost: Self.capacity) {
      case .bytes(let count): (start, end) = (0, count)
      case .notNow: return false
      case .ended(let end): throw end
      }
    }
  }

  /// As `readFrame`, of a connection that was open.
  mutating func nextFrame(_ frame: inout warren_frame) throws(RabbitMQError) -> Bool {
    do throws(WireEnd) {
      return try readFrame(&frame)
    } catch {
      throw RabbitMQError(
        .connectionLost, "the connection to the broker was lost: \(error.text)", isRetryable: true)
    }
  }

  /// Sends what the kernel takes now.
  mutating func send(_ out: inout OutBuffer) -> OutBuffer.Flush {
    out.flush { transport.write($0, count: $1) }
  }

  /// Sends half of what waits and keeps it all, for the crash program: the process ends then.
  mutating func sendHalf(_ out: borrowing OutBuffer) { out.peek { _ = transport.write($0, count: $1 / 2) } }

  /// What to poll the descriptor for.
  func awaits(hasOutput: Bool) -> Int16 { transport.awaits(hasOutput: hasOutput) }

  /// True when anything has come since it was last asked.
  mutating func hasReceived() -> Bool {
    defer { noticed = transport.received }
    return noticed != transport.received
  }

  /// Gives the memory of finished frames of one channel back to be used again.
  func releaseBuffers(channel: UInt16) { amqp_maybe_release_buffers_on_channel(state, channel) }

  /// Connects to one host and logs in. Blocks: the search for the host's addresses, the connection to each of them, and
  /// TLS with the login each have the connect timeout, and none goes on when the mailbox says goodbye.
  static func open(
    host: RabbitMQConfiguration.Host, configuration: RabbitMQConfiguration, name: String, wait: ConnectWait,
    lookups: NameLookups = .shared
  ) throws(RabbitMQError) -> Session {
    let place = host.name.contains(":") ? "[\(host.name)]:\(host.port)" : "\(host.name):\(host.port)"
    let timeout = configuration.connectTimeout
    var settings: TLSSettings?
    if let tls = configuration.tls {
      do throws(TLSFailure) { settings = try TLSSettings(tls, host: host) } catch { throw error.error(at: place) }
    }
    let addresses = try lookups.addresses(of: host, timeout: timeout, wait: wait)
    var connector = Connector(addresses, timeout: timeout, wait: wait)
    var failure: RabbitMQError?
    while let descriptor = try connector.next() {
      do throws(RabbitMQError) {
        let deadline = wait.clock.now() + timeout.nanoseconds
        let transport = try Transport.open(
          descriptor, settings, place: place, deadline: deadline, timeout: timeout, wait: wait)
        guard var session = Session(transport, host: host) else {
          throw RabbitMQError(.connectFailed, "\(place): no memory for a connection", isRetryable: true)
        }
        try session.logIn(
          Login(configuration: configuration, name: name, place: place, deadline: deadline, wait: wait))
        return session
      } catch {
        // What answered and refused says the same at the host's other addresses.
        if !error.isRetryable || error.code == .connectionClosed { throw error }
        failure = error
      }
    }
    if let failure { throw failure }
    throw RabbitMQError(
      .connectFailed,
      "cannot connect to \(place): \(connector.problems.joined(separator: "; ")). Is the broker running, and is this its AMQP port?",
      isRetryable: true)
  }

  static func text(_ status: Int32) -> String {
    amqp_error_string2(status).map { String(cString: $0) } ?? "error \(status)"
  }
}

extension timeval {
  init(_ duration: Duration) {
    let ns = duration.nanoseconds
    self.init(tv_sec: Int(ns / 1_000_000_000), tv_usec: .init(ns % 1_000_000_000 / 1000))
  }
}

/// `close(2)`, where a method of that name hides it.
func closeDescriptor(_ descriptor: Int32) { _ = close(descriptor) }
