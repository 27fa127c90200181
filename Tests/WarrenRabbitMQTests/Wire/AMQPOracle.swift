import CRabbitMQ
import Foundation
import Warren

@testable import WarrenRabbitMQ

/// What librabbitmq makes of the same bytes.
enum AMQPOracle {
  struct Failed: Error, Equatable { var status: Int32 }

  /// A value of a field table with the type that it has on the wire: more of them than `HeaderValue` tells apart.
  indirect enum Field: Equatable {
    case bool(Bool), i8(Int8), u8(UInt8), i16(Int16), u16(UInt16), i32(Int32), u32(UInt32), i64(Int64), u64(UInt64)
    case f32(Float), f64(Double), decimal(UInt8, UInt32), timestamp(UInt64)
    case utf8([UInt8]), bytes([UInt8])
    case array([Field]), table([Entry])
    case void
  }
  struct Entry: Equatable {
    var key: String
    var value: Field
  }

  /// All properties, as librabbitmq gives them.
  struct Properties: Equatable {
    var texts: [Flag: String] = [:]
    var headers: [Entry]?
    var deliveryMode: UInt8?
    var priority: UInt8?
    var timestamp: UInt64?
  }
  enum Flag: UInt32, CaseIterable {
    case contentType = 15, contentEncoding = 14, correlationID = 10, replyTo = 9, expiration = 8, messageID = 7, type =
      5
    case userID = 4, appID = 3, clusterID = 2
    var bit: UInt32 { 1 << rawValue }
  }
  private static let headersBit: UInt32 = 1 << 13
  private static let deliveryModeBit: UInt32 = 1 << 12
  private static let priorityBit: UInt32 = 1 << 11
  private static let timestampBit: UInt32 = 1 << 6

  // MARK: Reading

  static func decode(_ bytes: [UInt8]) throws -> Properties {
    var pool = amqp_pool_t()
    init_amqp_pool(&pool, 4096)
    defer { empty_amqp_pool(&pool) }
    var copy = bytes
    return try copy.withUnsafeMutableBytes { buffer in
      var decoded: UnsafeMutableRawPointer?
      let status = amqp_decode_properties(
        UInt16(AMQP_BASIC_CLASS), &pool, amqp_bytes_t(len: buffer.count, bytes: buffer.baseAddress), &decoded)
      guard status == 0, let decoded else { throw Failed(status: status) }
      return properties(decoded.assumingMemoryBound(to: amqp_basic_properties_t.self).pointee)
    }
  }

  /// A method out of its frame, with the type that the caller expects.
  static func decodeMethod<M, R>(_ id: UInt32, _ arguments: [UInt8], as: M.Type, _ body: (M) -> R) throws -> R {
    var pool = amqp_pool_t()
    init_amqp_pool(&pool, 4096)
    defer { empty_amqp_pool(&pool) }
    var copy = arguments
    return try copy.withUnsafeMutableBytes { buffer in
      var decoded: UnsafeMutableRawPointer?
      let status = amqp_decode_method(id, &pool, amqp_bytes_t(len: buffer.count, bytes: buffer.baseAddress), &decoded)
      guard status == 0, let decoded else { throw Failed(status: status) }
      return body(decoded.assumingMemoryBound(to: M.self).pointee)
    }
  }

  private static func properties(_ p: amqp_basic_properties_t) -> Properties {
    var result = Properties()
    func text(_ flag: Flag, _ bytes: amqp_bytes_t) {
      if p._flags & flag.bit != 0 { result.texts[flag] = String(bytes) }
    }
    text(.contentType, p.content_type)
    text(.contentEncoding, p.content_encoding)
    text(.correlationID, p.correlation_id)
    text(.replyTo, p.reply_to)
    text(.expiration, p.expiration)
    text(.messageID, p.message_id)
    text(.type, p.type)
    text(.userID, p.user_id)
    text(.appID, p.app_id)
    text(.clusterID, p.cluster_id)
    if p._flags & headersBit != 0 { result.headers = entries(p.headers) }
    if p._flags & deliveryModeBit != 0 { result.deliveryMode = p.delivery_mode }
    if p._flags & priorityBit != 0 { result.priority = p.priority }
    if p._flags & timestampBit != 0 { result.timestamp = p.timestamp }
    return result
  }

  static func entries(_ table: amqp_table_t) -> [Entry] {
    (0..<Int(table.num_entries)).map { i in
      Entry(key: String(table.entries[i].key), value: field(table.entries[i].value))
    }
  }

  private static func bytes(_ b: amqp_bytes_t) -> [UInt8] {
    Array(UnsafeRawBufferPointer(start: b.bytes, count: b.len))
  }

  private static func field(_ v: amqp_field_value_t) -> Field {
    switch Unicode.Scalar(v.kind) {
    case "t": .bool(v.value.boolean != 0)
    case "b": .i8(v.value.i8)
    case "B": .u8(v.value.u8)
    case "s": .i16(v.value.i16)
    case "u": .u16(v.value.u16)
    case "I": .i32(v.value.i32)
    case "i": .u32(v.value.u32)
    case "l": .i64(v.value.i64)
    case "L": .u64(v.value.u64)
    case "f": .f32(v.value.f32)
    case "d": .f64(v.value.f64)
    case "D": .decimal(v.value.decimal.decimals, v.value.decimal.value)
    case "T": .timestamp(v.value.u64)
    case "S": .utf8(bytes(v.value.bytes))
    case "x": .bytes(bytes(v.value.bytes))
    case "A": .array((0..<Int(v.value.array.num_entries)).map { field(v.value.array.entries[$0]) })
    case "F": .table(entries(v.value.table))
    default: .void
    }
  }

  // MARK: Writing

  static func encode(_ properties: Properties) throws -> [UInt8] {
    let memory = Memory()
    var p = amqp_basic_properties_t()
    func set(_ flag: Flag, _ to: WritableKeyPath<amqp_basic_properties_t, amqp_bytes_t>) {
      guard let text = properties.texts[flag] else { return }
      p._flags |= flag.bit
      p[keyPath: to] = memory.bytes(Array(text.utf8))
    }
    set(.contentType, \.content_type)
    set(.contentEncoding, \.content_encoding)
    set(.correlationID, \.correlation_id)
    set(.replyTo, \.reply_to)
    set(.expiration, \.expiration)
    set(.messageID, \.message_id)
    set(.type, \.type)
    set(.userID, \.user_id)
    set(.appID, \.app_id)
    set(.clusterID, \.cluster_id)
    if let headers = properties.headers {
      p._flags |= headersBit
      p.headers = memory.table(headers)
    }
    if let mode = properties.deliveryMode { (p._flags, p.delivery_mode) = (p._flags | deliveryModeBit, mode) }
    if let priority = properties.priority { (p._flags, p.priority) = (p._flags | priorityBit, priority) }
    if let timestamp = properties.timestamp { (p._flags, p.timestamp) = (p._flags | timestampBit, timestamp) }
    var out = [UInt8](repeating: 0, count: 1 << 20)
    let written = out.withUnsafeMutableBytes { buffer in
      withExtendedLifetime(memory) {
        amqp_encode_properties(
          UInt16(AMQP_BASIC_CLASS), &p, amqp_bytes_t(len: buffer.count, bytes: buffer.baseAddress))
      }
    }
    guard written >= 0 else { throw Failed(status: written) }
    return Array(out.prefix(Int(written)))
  }

  /// Owns what the structs of C point to.
  private final class Memory {
    private var pool = amqp_pool_t()
    init() { init_amqp_pool(&pool, 65536) }
    deinit { empty_amqp_pool(&pool) }

    func bytes(_ source: [UInt8]) -> amqp_bytes_t {
      let memory = amqp_pool_alloc(&pool, max(1, source.count))
      source.withUnsafeBytes {
        if let base = $0.baseAddress { memory?.copyMemory(from: base, byteCount: source.count) }
      }
      return amqp_bytes_t(len: source.count, bytes: memory)
    }

    func table(_ entries: [Entry]) -> amqp_table_t {
      let size = MemoryLayout<amqp_table_entry_t>.stride
      let memory = amqp_pool_alloc(&pool, max(1, entries.count) * size)?
        .bindMemory(to: amqp_table_entry_t.self, capacity: max(1, entries.count))
      for (i, entry) in entries.enumerated() {
        memory?[i] = amqp_table_entry_t(key: bytes(Array(entry.key.utf8)), value: field(entry.value))
      }
      return amqp_table_t(num_entries: Int32(entries.count), entries: memory)
    }

    private func field(_ field: Field) -> amqp_field_value_t {
      var v = amqp_field_value_t()
      func kind(_ letter: Unicode.Scalar) { v.kind = UInt8(ascii: letter) }
      switch field {
      case .bool(let x): (v.kind, v.value.boolean) = (UInt8(ascii: "t"), x ? 1 : 0)
      case .i8(let x): (v.kind, v.value.i8) = (UInt8(ascii: "b"), x)
      case .u8(let x): (v.kind, v.value.u8) = (UInt8(ascii: "B"), x)
      case .i16(let x): (v.kind, v.value.i16) = (UInt8(ascii: "s"), x)
      case .u16(let x): (v.kind, v.value.u16) = (UInt8(ascii: "u"), x)
      case .i32(let x): (v.kind, v.value.i32) = (UInt8(ascii: "I"), x)
      case .u32(let x): (v.kind, v.value.u32) = (UInt8(ascii: "i"), x)
      case .i64(let x): (v.kind, v.value.i64) = (UInt8(ascii: "l"), x)
      case .u64(let x): (v.kind, v.value.u64) = (UInt8(ascii: "L"), x)
      case .f32(let x): (v.kind, v.value.f32) = (UInt8(ascii: "f"), x)
      case .f64(let x): (v.kind, v.value.f64) = (UInt8(ascii: "d"), x)
      case .decimal(let scale, let x):
        v.kind = UInt8(ascii: "D")
        v.value.decimal = amqp_decimal_t(decimals: scale, value: x)
      case .timestamp(let x): (v.kind, v.value.u64) = (UInt8(ascii: "T"), x)
      case .utf8(let x): (v.kind, v.value.bytes) = (UInt8(ascii: "S"), bytes(x))
      case .bytes(let x): (v.kind, v.value.bytes) = (UInt8(ascii: "x"), bytes(x))
      case .table(let x): (v.kind, v.value.table) = (UInt8(ascii: "F"), table(x))
      case .array(let x):
        let size = MemoryLayout<amqp_field_value_t>.stride
        let memory = amqp_pool_alloc(&pool, max(1, x.count) * size)?
          .bindMemory(to: amqp_field_value_t.self, capacity: max(1, x.count))
        for (i, value) in x.enumerated() { memory?[i] = self.field(value) }
        v.kind = UInt8(ascii: "A")
        v.value.array = amqp_array_t(num_entries: Int32(x.count), entries: memory)
      case .void: v.kind = UInt8(ascii: "V")
      }
      return v
    }
  }
}

extension AMQPOracle.Field {
  /// What Warren makes of it.
  var headerValue: HeaderValue {
    switch self {
    case .bool(let x): .bool(x)
    case .i8(let x): .int(Int64(x))
    case .u8(let x): .int(Int64(x))
    case .i16(let x): .int(Int64(x))
    case .u16(let x): .int(Int64(x))
    case .i32(let x): .int(Int64(x))
    case .u32(let x): .int(Int64(x))
    case .i64(let x): .int(x)
    case .u64(let x): .int(Int64(bitPattern: x))
    case .f32(let x): .double(Double(x))
    case .f64(let x): .double(x)
    case .decimal(let scale, let x): .double(Double(Int32(bitPattern: x)) / pow(10, Double(scale)))
    case .timestamp(let x): .timestamp(Date(timeIntervalSince1970: Double(Int64(bitPattern: x))))
    case .utf8(let x): .string(String(decoding: x, as: UTF8.self))
    case .bytes(let x): .bytes(x)
    case .array(let x): .array(x.map(\.headerValue))
    case .table(let x): .table(x.headerValues)
    case .void: .null
    }
  }
}

extension [AMQPOracle.Entry] {
  var headerValues: [String: HeaderValue] {
    Dictionary(map { ($0.key, $0.value.headerValue) }, uniquingKeysWith: { $1 })
  }
}

extension MessageProperties {
  /// The same properties as librabbitmq names them.
  init(_ properties: AMQPOracle.Properties) {
    self.init(
      contentType: properties.texts[.contentType], contentEncoding: properties.texts[.contentEncoding],
      headers: properties.headers?.headerValues ?? [:], deliveryMode: properties.deliveryMode,
      priority: properties.priority, correlationID: properties.texts[.correlationID],
      replyTo: properties.texts[.replyTo], expiration: properties.texts[.expiration],
      messageID: properties.texts[.messageID], timestamp: properties.timestamp, type: properties.texts[.type],
      userID: properties.texts[.userID], appID: properties.texts[.appID], clusterID: properties.texts[.clusterID])
  }

  /// As the bytes of a content header, without the frame.
  var encoded: (bytes: [UInt8], sequenceAt: Int) {
    var writer = FieldWriter(capacity: 64)
    let at = write(to: &writer)
    return (writer.bytes, at)
  }
}
