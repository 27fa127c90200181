import CRabbitMQ
import Warren

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// librabbitmq's state of one open connection. Belongs to one thread from its making to its end.
///
/// After login the library only decodes: its heartbeats are switched off (in 0.11 to 0.13 they can hang a publish for
/// ever, alanxz/rabbitmq-c#780, and a frame that it writes by itself could fall into the middle of one of ours).
struct Session: ~Copyable {
  private let state: amqp_connection_state_t
  let descriptor: Int32
  /// The same socket under a number of its own: what another thread may shut down without hitting a stranger.
  let emergencyDescriptor: Int32
  let info: ConnectionInfo
  let channelMax: Int

  deinit {
    if emergencyDescriptor >= 0 { close(emergencyDescriptor) }
    amqp_destroy_connection(state)
  }

  /// The next frame that has arrived; nil when there is none. Never waits.
  func nextFrame(_ frame: inout warren_frame) throws(RabbitMQError) -> Bool {
    let status = warren_next_frame(state, &frame)
    if status == 0 { return true }
    if status == AMQP_STATUS_TIMEOUT.rawValue { return false }
    throw RabbitMQError(
      .connectionLost, "the connection to the broker was lost: \(Self.text(status))", isRetryable: true)
  }

  /// Gives the memory of finished frames of one channel back to be used again.
  func releaseBuffers(channel: UInt16) { amqp_maybe_release_buffers_on_channel(state, channel) }

  /// Connects to one host and logs in. Blocks, up to the connect timeout for each of the two.
  static func open(
    host: RabbitMQConfiguration.Host, configuration: RabbitMQConfiguration, name: String
  ) throws(RabbitMQError) -> Session {
    let place = "\(host.name):\(host.port)"
    guard let state = amqp_new_connection() else {
      throw RabbitMQError(.connectFailed, "\(place): no memory for a connection", isRetryable: true)
    }
    var isMine = true
    defer { if isMine { amqp_destroy_connection(state) } }
    guard let socket = amqp_tcp_socket_new(state) else {
      throw RabbitMQError(.connectFailed, "\(place): no memory for a socket", isRetryable: true)
    }
    var timeout = timeval(configuration.connectTimeout)
    let opened = amqp_socket_open_noblock(socket, host.name, Int32(host.port), &timeout)
    guard opened == 0 else {
      throw RabbitMQError(
        .connectFailed,
        "cannot connect to \(place): \(text(opened)). Is the broker running, and is this its AMQP port?",
        isRetryable: true)
    }
    amqp_set_handshake_timeout(state, &timeout)
    try login(state, place: place, configuration: configuration, name: name)

    let channelMax = Int(amqp_get_channel_max(state))
    let frameMax = Int(amqp_get_frame_max(state))
    let heartbeat = Int(amqp_get_heartbeat(state))
    // The library aborts the process when it is tuned while a frame is half read.
    guard amqp_release_buffers_ok(state) != 0,
      amqp_tune_connection(state, Int32(channelMax), Int32(frameMax), 0) == 0
    else {
      throw RabbitMQError(.connectFailed, "\(place): the library did not take the settings", isRetryable: true)
    }
    let descriptor = amqp_get_sockfd(state)
    isMine = false
    return Session(
      state: state, descriptor: descriptor, emergencyDescriptor: fcntl(descriptor, F_DUPFD_CLOEXEC, 0),
      info: ConnectionInfo(
        host: host.name, port: host.port, serverVersion: serverVersion(state), frameMax: frameMax,
        heartbeat: .seconds(heartbeat)),
      channelMax: channelMax == 0 ? 65_535 : channelMax)
  }

  private init(
    state: amqp_connection_state_t, descriptor: Int32, emergencyDescriptor: Int32, info: ConnectionInfo, channelMax: Int
  ) {
    self.state = state
    self.descriptor = descriptor
    self.emergencyDescriptor = emergencyDescriptor
    self.info = info
    self.channelMax = channelMax
  }

  private static func login(
    _ state: amqp_connection_state_t, place: String, configuration: RabbitMQConfiguration, name: String
  ) throws(RabbitMQError) {
    // librabbitmq announces only two capabilities by itself. Without the others a deleted queue leaves a silent consumer
    // and an alarm is never heard of.
    let capabilities: [String: HeaderValue] = [
      "authentication_failure_close": true, "basic.nack": true, "connection.blocked": true,
      "consumer_cancel_notify": true, "exchange_exchange_bindings": true, "per_consumer_qos": true,
      "publisher_confirms": true,
    ]
    let properties = FieldTable([
      "capabilities": .table(capabilities), "connection_name": .string(name), "product": "Warren",
      "platform": "Swift",
    ])
    var table = properties.table
    let reply = withExtendedLifetime(properties) {
      warren_login_plain(
        state, configuration.virtualHost, Int32(configuration.channelMax), Int32(configuration.frameMax),
        Int32(configuration.heartbeat.components.seconds), &table, configuration.user, configuration.password)
    }
    switch reply.reply_type {
    case AMQP_RESPONSE_NORMAL: return
    case AMQP_RESPONSE_SERVER_EXCEPTION:
      guard reply.reply.id == Method.connectionClose, let decoded = reply.reply.decoded else {
        throw RabbitMQError(.loginRefused, "\(place): the broker ended the login")
      }
      let close = decoded.assumingMemoryBound(to: amqp_connection_close_t.self).pointee
      let text = String(close.reply_text)
      if close.reply_code == 403 {
        throw RabbitMQError(
          .loginRefused, "\(place) refuses the user \"\(configuration.user)\": \(text). Check user and password",
          replyCode: 403)
      }
      throw RabbitMQError(
        .vhostRefused,
        "\(place) refuses the virtual host \"\(configuration.virtualHost)\": \(text). Check that it exists and that the user has permissions there",
        replyCode: Int(close.reply_code))
    default:
      throw RabbitMQError(
        .connectFailed,
        "\(place) accepted the connection but not the login: \(text(reply.library_error)). Is this an AMQP 0-9-1 port without TLS?",
        isRetryable: true)
    }
  }

  private static func serverVersion(_ state: amqp_connection_state_t) -> String {
    guard let table = amqp_get_server_properties(state)?.pointee, let entries = table.entries else { return "" }
    for i in 0..<Int(table.num_entries) where String(entries[i].key) == "version" {
      return String(entries[i].value.value.bytes)
    }
    return ""
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
