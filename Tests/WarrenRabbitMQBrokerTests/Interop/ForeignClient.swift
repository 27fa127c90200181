import BrokerFixture
import CRabbitMQ
import Foundation
import WarrenRabbitMQ

/// A client that shares no code with Warren: librabbitmq's own calls, one connection, one thread.
final class ForeignClient {
  struct Failed: Error, CustomStringConvertible { var description: String }

  /// A message as librabbitmq reads it. Header values are written as `<type of the field>:<value>`.
  struct Message: Sendable, Equatable {
    var exchange = ""
    var routingKey = ""
    var body = Data()
    var contentType: String?
    var deliveryMode: Int?
    var correlationID: String?
    var expiration: String?
    var messageID: String?
    var timestamp: UInt64?
    var type: String?
    var appID: String?
    var headers: [String: String] = [:]

    var text: String { String(decoding: body, as: UTF8.self) }
  }

  private let state: amqp_connection_state_t

  init() throws {
    let configuration = try TestBroker.plainConfiguration
    guard let state = amqp_new_connection() else { throw Failed(description: "no memory") }
    self.state = state
    guard let socket = amqp_tcp_socket_new(state),
      amqp_socket_open(socket, configuration.hosts[0].name, Int32(configuration.hosts[0].port)) == 0
    else { throw Failed(description: "cannot connect to \(configuration)") }
    var none = amqp_empty_table
    try Self.check(
      warren_login_plain(
        state, configuration.virtualHost, 10, 131_072, 0, &none, configuration.user, configuration.password), "login")
    amqp_channel_open(state, 1)
    try Self.check(amqp_get_rpc_reply(state), "channel.open")
  }

  deinit {
    _ = amqp_connection_close(state, AMQP_REPLY_SUCCESS)
    amqp_destroy_connection(state)
  }

  private static func check(_ reply: amqp_rpc_reply_t, _ what: String) throws {
    guard reply.reply_type == AMQP_RESPONSE_NORMAL else { throw Failed(description: "\(what) failed: \(reply)") }
  }

  /// Publishes as little as the protocol allows, or with the properties given.
  func publish(exchange: String, routingKey: String, _ body: [UInt8], properties: amqp_basic_properties_t? = nil) throws
  {
    var body = body
    var properties = properties
    let status = exchange.withCString { exchange in
      routingKey.withCString { key in
        body.withUnsafeMutableBytes { body in
          let content = amqp_bytes_t(len: body.count, bytes: body.baseAddress)
          func send(_ properties: UnsafePointer<amqp_basic_properties_t>?) -> Int32 {
            amqp_basic_publish(
              state, 1, amqp_cstring_bytes(exchange), amqp_cstring_bytes(key), 0, 0, properties, content)
          }
          guard var given = properties.take() else { return send(nil) }
          return send(&given)
        }
      }
    }
    guard status == 0 else { throw Failed(description: "basic.publish failed: \(status)") }
  }

  /// `basic.get`, acknowledged; nil when the queue is empty.
  func get(_ queue: String) throws -> Message? {
    let reply = queue.withCString { amqp_basic_get(state, 1, amqp_cstring_bytes($0), 1) }
    try Self.check(reply, "basic.get")
    guard reply.reply.id == AMQP_BASIC_GET_OK_METHOD, let decoded = reply.reply.decoded else { return nil }
    let ok = decoded.assumingMemoryBound(to: amqp_basic_get_ok_t.self).pointee
    var message = Message(exchange: Self.text(ok.exchange), routingKey: Self.text(ok.routing_key))
    var read = amqp_message_t()
    try Self.check(amqp_read_message(state, 1, &read, 0), "reading a message")
    defer { amqp_destroy_message(&read) }
    Self.fill(&message, read)
    amqp_maybe_release_buffers(state)
    return message
  }

  /// The next `count` messages of a queue, acknowledged as they are sent.
  func take(_ queue: String, _ count: Int, seconds: Int = 20) throws -> [Message] {
    _ = queue.withCString {
      amqp_basic_consume(state, 1, amqp_cstring_bytes($0), amqp_empty_bytes, 0, 1, 0, amqp_empty_table)
    }
    try Self.check(amqp_get_rpc_reply(state), "basic.consume")
    var messages: [Message] = []
    var timeout = timeval()
    timeout.tv_sec = seconds
    while messages.count < count {
      amqp_maybe_release_buffers(state)
      var envelope = amqp_envelope_t()
      try Self.check(
        amqp_consume_message(state, &envelope, &timeout, 0),
        "reading message \(messages.count + 1) of \(count) from \(queue)")
      defer { amqp_destroy_envelope(&envelope) }
      var message = Message(exchange: Self.text(envelope.exchange), routingKey: Self.text(envelope.routing_key))
      Self.fill(&message, envelope.message)
      messages.append(message)
    }
    return messages
  }

  private static func fill(_ message: inout Message, _ read: amqp_message_t) {
    message.body = Data(UnsafeRawBufferPointer(start: read.body.bytes, count: read.body.len))
    let properties = read.properties
    func has(_ flag: Int32) -> Bool { properties._flags & UInt32(flag) != 0 }
    if has(AMQP_BASIC_CONTENT_TYPE_FLAG) { message.contentType = text(properties.content_type) }
    if has(AMQP_BASIC_DELIVERY_MODE_FLAG) { message.deliveryMode = Int(properties.delivery_mode) }
    if has(AMQP_BASIC_CORRELATION_ID_FLAG) { message.correlationID = text(properties.correlation_id) }
    if has(AMQP_BASIC_EXPIRATION_FLAG) { message.expiration = text(properties.expiration) }
    if has(AMQP_BASIC_MESSAGE_ID_FLAG) { message.messageID = text(properties.message_id) }
    if has(AMQP_BASIC_TIMESTAMP_FLAG) { message.timestamp = properties.timestamp }
    if has(AMQP_BASIC_TYPE_FLAG) { message.type = text(properties.type) }
    if has(AMQP_BASIC_APP_ID_FLAG) { message.appID = text(properties.app_id) }
    if has(AMQP_BASIC_HEADERS_FLAG) { message.headers = headers(properties.headers) }
  }

  private static func headers(_ table: amqp_table_t) -> [String: String] {
    var headers: [String: String] = [:]
    for i in 0..<Int(table.num_entries) { headers[text(table.entries[i].key)] = value(table.entries[i].value) }
    return headers
  }

  private static func value(_ field: amqp_field_value_t) -> String {
    let kind = Character(Unicode.Scalar(field.kind))
    let shown: String =
      switch kind {
      case "S", "x": text(field.value.bytes)
      case "t": "\(field.value.boolean != 0)"
      case "b": "\(field.value.i8)"
      case "s": "\(field.value.i16)"
      case "I": "\(field.value.i32)"
      case "l", "T": "\(field.value.i64)"
      case "d": "\(field.value.f64)"
      case "V": ""
      case "F":
        headers(field.value.table).sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ",")
      case "A":
        (0..<Int(field.value.array.num_entries)).map { value(field.value.array.entries[$0]) }.joined(separator: ",")
      default: "?"
      }
    return "\(kind):\(shown)"
  }

  private static func text(_ bytes: amqp_bytes_t) -> String {
    String(decoding: UnsafeRawBufferPointer(start: bytes.bytes, count: bytes.len), as: UTF8.self)
  }
}

/// Runs `body` with a client of its own, on a thread of its own: its calls block.
func foreign<R: Sendable>(_ body: @escaping @Sendable (ForeignClient) throws -> R) async throws -> R {
  try await onThread { try body(ForeignClient()) }
}
