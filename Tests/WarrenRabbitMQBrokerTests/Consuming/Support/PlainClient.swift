import BrokerFixture
import CRabbitMQ
import Foundation
import Warren

@testable import WarrenRabbitMQ

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// A client over librabbitmq's own calls, for messages that Warren would never write. Blocks; used by one task.
final class PlainClient {
  struct Failed: Error, CustomStringConvertible { var description: String }

  private let state: amqp_connection_state_t

  init() throws {
    let configuration = try TestBroker.plainConfiguration
    guard let state = amqp_new_connection() else { throw Failed(description: "no connection") }
    self.state = state
    guard let socket = amqp_tcp_socket_new(state), let host = configuration.hosts.first,
      amqp_socket_open(socket, host.name, Int32(host.port)) == 0
    else { throw Failed(description: "cannot connect") }
    var properties = amqp_table_t(num_entries: 0, entries: nil)
    let login = warren_login_plain(
      state, configuration.virtualHost, 0, 131_072, 0, &properties, configuration.user, configuration.password)
    guard login.reply_type == AMQP_RESPONSE_NORMAL else { throw Failed(description: "cannot log in") }
    amqp_channel_open(state, 1)
    try check("channel.open")
    amqp_confirm_select(state, 1)
    try check("confirm.select")
  }

  deinit {
    amqp_connection_close(state, AMQP_REPLY_SUCCESS)
    amqp_destroy_connection(state)
  }

  private func check(_ what: String) throws {
    let reply = amqp_get_rpc_reply(state)
    guard reply.reply_type != AMQP_RESPONSE_NORMAL else { return }
    throw Failed(description: "\(what): \(Self.text(reply.reply.id, reply.reply.decoded))")
  }

  private static func text(_ method: UInt32, _ decoded: UnsafeMutableRawPointer?) -> String {
    guard let decoded else { return "the connection is gone" }
    switch method {
    case 10 << 16 | 50:
      let close = decoded.assumingMemoryBound(to: amqp_connection_close_t.self).pointee
      return "connection closed, \(close.reply_code): \(String(close.reply_text))"
    case 20 << 16 | 40:
      let close = decoded.assumingMemoryBound(to: amqp_channel_close_t.self).pointee
      return "channel closed, \(close.reply_code): \(String(close.reply_text))"
    default: return "method \(method)"
    }
  }

  /// Publishes through `amqp_basic_publish` and returns when the broker has confirmed it.
  func publish(
    _ body: [UInt8], routingKey: String, exchange: String = "", headers: [String: HeaderValue] = [:],
    change: (inout amqp_basic_properties_t) -> Void = { _ in }
  ) throws {
    let table = FieldTable(headers)
    var properties = amqp_basic_properties_t()
    properties._flags = UInt32(AMQP_BASIC_DELIVERY_MODE_FLAG) | UInt32(AMQP_BASIC_HEADERS_FLAG)
    properties.delivery_mode = 2
    properties.headers = table.table
    change(&properties)
    var body = body
    let status = withExtendedLifetime(table) {
      exchange.withCString { exchange in
        routingKey.withCString { key in
          body.withUnsafeMutableBytes { bytes in
            amqp_basic_publish(
              state, 1, amqp_cstring_bytes(exchange), amqp_cstring_bytes(key), 1, 0, &properties,
              amqp_bytes_t(len: bytes.count, bytes: bytes.baseAddress))
          }
        }
      }
    }
    guard status == 0 else { throw Failed(description: Session.text(status)) }
    try awaitConfirm()
  }

  /// Publishes frames made byte by byte: `properties` are the flags and what follows them.
  func publish(rawProperties properties: [UInt8], body: [UInt8], routingKey: String) throws {
    var frames = FieldWriter(capacity: 1024 + body.count)
    frames.u8(1)
    frames.u16(1)
    frames.u32(UInt32(4 + 2 + 1 + 1 + routingKey.utf8.count + 1))
    frames.u32(60 << 16 | 40)
    frames.u16(0)
    frames.shortString("")
    frames.shortString(routingKey)
    frames.u8(1)
    frames.u8(0xce)
    frames.u8(2)
    frames.u16(1)
    frames.u32(UInt32(2 + 2 + 8 + properties.count))
    frames.u16(60)
    frames.u16(0)
    frames.u64(UInt64(body.count))
    frames.raw(properties)
    frames.u8(0xce)
    if !body.isEmpty {
      frames.u8(3)
      frames.u16(1)
      frames.u32(UInt32(body.count))
      frames.raw(body)
      frames.u8(0xce)
    }
    try send(frames.bytes)
    try awaitConfirm()
  }

  private func send(_ bytes: [UInt8]) throws {
    let descriptor = amqp_get_sockfd(state)
    var sent = 0
    while sent < bytes.count {
      let count = bytes.withUnsafeBytes {
        warren_send(descriptor, $0.baseAddress.map { $0 + sent }, bytes.count - sent)
      }
      if count > 0 {
        sent += count
      } else if errno == EAGAIN {
        var ready = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        poll(&ready, 1, 5000)
      } else {
        throw Failed(description: "send: \(errno)")
      }
    }
  }

  private func awaitConfirm() throws {
    while true {
      var frame = amqp_frame_t()
      var timeout = timeval(.seconds(10))
      let status = amqp_simple_wait_frame_noblock(state, &frame, &timeout)
      guard status == 0 else { throw Failed(description: Session.text(status)) }
      guard Int32(frame.frame_type) == AMQP_FRAME_METHOD else { continue }
      let method = frame.payload.method
      switch method.id {
      case 60 << 16 | 80: return amqp_maybe_release_buffers(state)
      case 60 << 16 | 50, 60 << 16 | 120: throw Failed(description: "returned or nacked")
      default: throw Failed(description: Self.text(method.id, method.decoded))
      }
    }
  }
}

/// A field table as bytes, with whatever stands in them.
struct RawTable {
  private(set) var entries: [UInt8] = []

  /// One entry: a key, the letter of the kind and the value's bytes.
  mutating func add(_ key: [UInt8], _ kind: Character, _ value: [UInt8]) {
    entries.append(UInt8(key.count))
    entries += key
    entries.append(kind.asciiValue ?? 0)
    entries += value
  }

  mutating func add(_ key: String, _ kind: Character, _ value: [UInt8]) { add(Array(key.utf8), kind, value) }

  /// The length and the entries.
  var bytes: [UInt8] { RawTable.counted(entries) }

  /// The bytes of properties that hold only this table and the delivery mode 2.
  var properties: [UInt8] { [0x30, 0x00] + bytes + [2] }

  static func counted(_ bytes: [UInt8]) -> [UInt8] {
    let count = UInt32(bytes.count)
    return [UInt8(count >> 24), UInt8(count >> 16 & 0xff), UInt8(count >> 8 & 0xff), UInt8(count & 0xff)] + bytes
  }

  /// Tables inside each other, `depth` of them, the outermost counted.
  static func nested(_ depth: Int) -> RawTable {
    var inner: [UInt8] = []
    for _ in 1..<max(depth, 1) { inner = [1, UInt8(ascii: "k"), UInt8(ascii: "F")] + counted(inner) }
    return RawTable(entries: inner)
  }

  init() {}
  private init(entries: [UInt8]) { self.entries = entries }
}
