import CRabbitMQ
import Warren

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// What a login needs to know.
struct Login {
  var configuration: RabbitMQConfiguration
  /// What the connection is called in the broker's lists.
  var name: String
  var place: String
  var deadline: Nanoseconds
  var wait: ConnectWait
}

/// AMQP's opening: start, tune, open (0-9-1 §2.2.4).
extension Session {
  private enum Step { case start, tune, open }

  mutating func logIn(_ login: Login) throws(RabbitMQError) {
    var out = OutBuffer(capacity: 16 << 10)
    MethodEncoder.appendProtocolHeader(to: &out)
    try start(login, &out)
    try tune(login, &out)
    _ = try answer(to: &out, Method.connectionOpenOK, .open, login)
    releaseBuffers(channel: 0)
  }

  private mutating func start(_ login: Login, _ out: inout OutBuffer) throws(RabbitMQError) {
    let decoded = try answer(to: &out, Method.connectionStart, .start, login)
    let start = decoded.assumingMemoryBound(to: amqp_connection_start_t.self).pointee
    info.serverVersion = Self.version(start.server_properties)
    let mechanisms = String(start.mechanisms)
    releaseBuffers(channel: 0)
    let configuration = login.configuration
    let mechanism = configuration.authentication.mechanism
    guard mechanisms.split(separator: " ").contains(where: { $0 == mechanism }) else {
      let hint =
        configuration.authentication == .clientCertificate
        ? ": enable its plugin rabbitmq_auth_mechanism_ssl and add EXTERNAL to auth_mechanisms" : ""
      throw RabbitMQError(
        .loginRefused, "\(login.place) offers the login \(mechanisms.shown(100)) but not \(mechanism)\(hint)")
    }
    let before = out.count
    let properties = Self.clientProperties(name: login.name)
    withExtendedLifetime(properties) {
      MethodEncoder.appendConnectionStartOK(
        properties: properties.table, mechanism: mechanism, response: configuration.saslResponse, to: &out)
    }
    if out.count == before {
      throw RabbitMQError(.invalidConfiguration, "user, password and connection name are too long for a login")
    }
  }

  private mutating func tune(_ login: Login, _ out: inout OutBuffer) throws(RabbitMQError) {
    let decoded = try answer(to: &out, Method.connectionTune, .tune, login)
    let offer = decoded.assumingMemoryBound(to: amqp_connection_tune_t.self).pointee
    releaseBuffers(channel: 0)
    // 0 is "no limit" for the first two and "none" for heartbeats, which we want all the same.
    func agreed(_ ours: Int, _ theirs: Int) -> Int { theirs == 0 ? ours : min(ours, theirs) }
    channelMax = agreed(login.configuration.channelMax, Int(offer.channel_max))
    info.frameMax = agreed(login.configuration.frameMax, Int(offer.frame_max))
    let heartbeat = agreed(Int(login.configuration.heartbeat.components.seconds), Int(offer.heartbeat))
    info.heartbeat = .seconds(heartbeat)
    // The library aborts the process when it is tuned while a frame is half read, and would send heartbeats of its own.
    guard info.frameMax >= 4096, amqp_release_buffers_ok(state) != 0,
      amqp_tune_connection(state, Int32(channelMax), Int32(info.frameMax), 0) == 0
    else {
      throw RabbitMQError(
        .connectFailed, "\(login.place): frames of \(info.frameMax) bytes cannot be agreed on", isRetryable: true)
    }
    MethodEncoder.appendConnectionTuneOK(
      channelMax: UInt16(clamping: channelMax), frameMax: UInt32(info.frameMax), heartbeat: UInt16(clamping: heartbeat),
      to: &out)
    MethodEncoder.appendConnectionOpen(virtualHost: login.configuration.virtualHost, to: &out)
  }

  /// Sends what is in `out` and returns the method that follows, which has to be `expected`.
  private mutating func answer(
    to out: inout OutBuffer, _ expected: UInt32, _ step: Step, _ login: Login
  ) throws(RabbitMQError) -> UnsafeMutableRawPointer {
    var frame = warren_frame()
    while true {
      var unsent: WireEnd?
      if case .failed(let end) = send(&out) { unsent = end }
      // Also when nothing can be sent any more: what the broker said before it hung up is the reason.
      do throws(WireEnd) {
        if try readFrame(&frame) { break }
        if let unsent { throw unsent }
      } catch {
        throw failed(error, step, login)
      }
      var descriptors = [pollfd(fd: descriptor, events: awaits(hasOutput: out.count > 0), revents: 0)]
      guard try login.wait.wait(for: &descriptors, until: login.deadline) else {
        throw Self.failed("it did not answer within \(login.configuration.connectTimeout)", login)
      }
    }
    if let decoded = frame.decoded, frame.channel == 0, Int32(frame.type) == AMQP_FRAME_METHOD {
      if frame.method == expected { return decoded }
      if frame.method == Method.connectionClose {
        throw refused(decoded.assumingMemoryBound(to: amqp_connection_close_t.self).pointee, step, login)
      }
    }
    // librabbitmq's frame type for a protocol header, which is the answer to a version that the peer does not speak.
    throw Self.failed(
      frame.type == UInt8(ascii: "A") ? "it speaks another version of AMQP" : "what it says is no answer to a login",
      login)
  }

  private func failed(_ end: WireEnd, _ step: Step, _ login: Login) -> RabbitMQError {
    // From TLS 1.3 on the broker looks at our certificate when the handshake is over for us.
    if case .tls(let failure) = end { return failure.error(at: login.place) }
    if transport.seemsToSpeakTLS { return Self.failed("it speaks TLS: write amqps://, or set tls", login) }
    if case .start = step { return Self.failed(end.text + transport.hint, login) }
    return Self.failed(end.text, login)
  }

  private static func failed(_ text: String, _ login: Login) -> RabbitMQError {
    let kind = login.configuration.tls == nil ? "without TLS" : "with TLS"
    return RabbitMQError(
      .connectFailed,
      "\(login.place) accepted the connection but not the login: \(text). Is this an AMQP 0-9-1 port \(kind)?",
      isRetryable: true)
  }

  private func refused(_ close: amqp_connection_close_t, _ step: Step, _ login: Login) -> RabbitMQError {
    let text = String(close.reply_text).shown(500)
    let code = Int(close.reply_code)
    let (place, configuration) = (login.place, login.configuration)
    switch (step, code) {
    case (.tune, 403):
      let who =
        configuration.authentication == .clientCertificate
        ? "the user of the client certificate: \(text). Check that the broker knows the certificate's name as a user"
        : "the user \"\(configuration.user)\": \(text). Check user and password"
      return RabbitMQError(.loginRefused, "\(place) refuses \(who)", replyCode: code)
    case (.open, 402...404), (.open, 530):
      return RabbitMQError(
        .vhostRefused,
        "\(place) refuses the virtual host \"\(configuration.virtualHost)\": \(text). Check that it exists and that the user has permissions there",
        // A limit on connections is reached now and not for ever.
        isRetryable: text.contains("limit"), replyCode: code)
    default:
      return RabbitMQError(
        .connectFailed, "\(place) ended the login: \(text)", isRetryable: true, replyCode: code)
    }
  }

  /// librabbitmq announces only two capabilities by itself. Without the others a deleted queue leaves a silent consumer
  /// and an alarm is never heard of.
  private static func clientProperties(name: String) -> FieldTable {
    let capabilities: [String: HeaderValue] = [
      "authentication_failure_close": true, "basic.nack": true, "connection.blocked": true,
      "consumer_cancel_notify": true, "exchange_exchange_bindings": true, "per_consumer_qos": true,
      "publisher_confirms": true,
    ]
    return FieldTable([
      "capabilities": .table(capabilities), "connection_name": .string(name), "product": "Warren",
      "platform": "Swift",
    ])
  }

  private static func version(_ properties: amqp_table_t) -> String {
    guard let entries = properties.entries else { return "" }
    for i in 0..<Int(properties.num_entries)
    where String(entries[i].key) == "version" && entries[i].value.kind == UInt8(ascii: "S") {
      return String(entries[i].value.value.bytes).shown(40)
    }
    return ""
  }
}

extension RabbitMQConfiguration {
  /// RFC 4616 §2 for a password. For a certificate the broker does not look at it.
  fileprivate var saslResponse: [UInt8] {
    switch authentication {
    case .password: [0] + Array(user.utf8) + [0] + Array(password.utf8)
    case .clientCertificate: []
    }
  }
}
