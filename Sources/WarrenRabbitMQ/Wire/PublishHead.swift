import Warren

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// The frames of a publish that come before its body: the method `basic.publish` and the content header
/// (AMQP 0-9-1 §4.2.3), written on the caller's task. Only the channel and the delivery tag are left open.
package struct PublishHead: Sendable {
  package let bytes: [UInt8]
  let headerFrameOffset: Int
  let sequenceOffset: Int

  /// The most bytes that properties may have. They must fit into one frame, which brokers allow to be no larger than
  /// 128 KiB by default; the connection checks against what was really agreed on.
  static let largestHeader = 64 << 10

  /// Behind the header frame: the end, or the one frame of a small body.
  let bodyFrameOffset: Int

  /// The size of the header frame as it counts against the largest frame.
  var headerFrameSize: Int { bodyFrameOffset - headerFrameOffset }
  var hasBody: Bool { bodyFrameOffset < bytes.count }

  /// A body of so many bytes goes into one frame whatever was agreed on: no frame may be limited to less than 4096 bytes
  /// (AMQP 0-9-1 §4.2.3, frame-min-size).
  static let largestBody = 4096 - 8

  /// The frames of a message with these properties.
  /// - Throws: ``WarrenError`` with code ``WarrenError/Code/invalidMetadata``: a short string of more than 255 bytes or
  ///   properties that are too large would break the connection, not the call.
  init(exchange: String, routingKey: String, properties: MessageProperties, bodySize: Int) throws(WarrenError) {
    try self.init(exchange, routingKey, properties, bodySize) { _ in }
  }

  /// The frames of an event. Its own headers are written directly: putting them into a dictionary first costs as much as
  /// coding a small body.
  ///
  /// - Parameter takesBody: a small body stands behind them, as its frame: one piece of memory instead of three that change
  ///   threads.
  init(_ event: EncodedEvent, exchange: String, takesBody: Bool = false) throws(WarrenError) {
    let routingKey = event.routingKey ?? event.metadata.type.name
    if event.isPlain {
      let body = takesBody && !event.body.isEmpty && event.body.count <= Self.largestBody ? event.body : nil
      try self.init(exchange, routingKey, event.body.count, body) { (writer) throws(WarrenError) in
        try event.writePlainProperties(to: &writer)
      }
      try checkSize()
    } else {
      try self.init(exchange, routingKey, MessageProperties(event), event.body.count) {
        event.metadata.writeHeaders(to: &$0, hasOwnID: event.hasOwnID)
      }
    }
  }

  private init(
    _ exchange: String, _ routingKey: String, _ properties: MessageProperties, _ bodySize: Int,
    _ writeHeaders: (inout FieldWriter) -> Void
  ) throws(WarrenError) {
    if let (name, count) = properties.tooLong { throw Self.tooLong(name, count) }
    if !properties.headers.isEmpty { try Self.checkKeys(properties.headers, depth: 0) }
    try self.init(exchange, routingKey, bodySize) { properties.write(to: &$0, first: writeHeaders) }
    try checkSize()
  }

  private func checkSize() throws(WarrenError) {
    if headerFrameSize > Self.largestHeader {
      throw WarrenError(
        .invalidMetadata, "the headers and properties have \(headerFrameSize) bytes; allowed are \(Self.largestHeader)")
    }
  }

  /// The frames of a message that was published before and goes through the default exchange to a queue, its properties as they
  /// are. They may be as large as a frame.
  init(queue: String, properties: RawProperties, bodySize: Int) throws(WarrenError) {
    try self.init("", queue, bodySize) { properties.write(to: &$0) }
  }

  /// `writeProperties` returns where the number of `warren-seq` stands.
  private init(
    _ exchange: String, _ routingKey: String, _ bodySize: Int, _ body: Data? = nil,
    _ writeProperties: (inout FieldWriter) throws(WarrenError) -> Int
  ) throws(WarrenError) {
    if routingKey.utf8.count > 255 { throw Self.tooLong("routing key", routingKey.utf8.count) }
    if exchange.utf8.count > 255 { throw Self.tooLong("exchange", exchange.utf8.count) }

    var writer = FieldWriter(capacity: 640)
    writer.u8(1)
    writer.u16(0)
    writer.u32(UInt32(4 + 2 + 1 + exchange.utf8.count + 1 + routingKey.utf8.count + 1))
    writer.u32(Method.basicPublish)
    writer.u16(0)
    writer.shortString(exchange)
    writer.shortString(routingKey)
    // Always mandatory: an event that reaches no queue comes back.
    writer.u8(1)
    writer.u8(0xce)

    headerFrameOffset = writer.count
    writer.u8(2)
    writer.u16(0)
    let sizeAt = writer.count
    writer.u32(0)
    writer.u16(60)
    writer.u16(0)
    writer.u64(UInt64(bodySize))
    sequenceOffset = try writeProperties(&writer)
    writer.patch(UInt32(writer.count - sizeAt - 4), at: sizeAt)
    writer.u8(0xce)
    bodyFrameOffset = writer.count
    if let body {
      writer.u8(3)
      writer.u16(0)
      writer.u32(UInt32(body.count))
      writer.raw(body)
      writer.u8(0xce)
    }
    bytes = writer.bytes
  }

  static func tooLong(_ name: String, _ count: Int) -> WarrenError {
    WarrenError(.invalidMetadata, "the \(name) has \(count) bytes; AMQP allows 255")
  }

  private static func checkKeys(_ table: [String: HeaderValue], depth: Int) throws(WarrenError) {
    for (key, value) in table {
      guard (1...255).contains(key.utf8.count) else {
        throw WarrenError(.invalidMetadata, "a header's key has \(key.utf8.count) bytes; allowed are 1 to 255")
      }
      try check(value, of: key, depth: depth)
    }
  }

  private static func check(_ value: HeaderValue, of key: String, depth: Int) throws(WarrenError) {
    guard depth + 1 < FieldReader.deepest else {
      throw WarrenError(.invalidMetadata, "the header \"\(key)\" is nested more than \(FieldReader.deepest) deep")
    }
    switch value {
    case .table(let inner): try checkKeys(inner, depth: depth + 1)
    case .array(let values): for value in values { try check(value, of: key, depth: depth + 1) }
    // RabbitMQ cannot read these, and closes the connection with everything on it (seen with 3.10.8); written again after the
    // loss it would be closed again.
    case .double(let number) where !number.isFinite:
      throw WarrenError(.invalidMetadata, "the header \"\(key.shown(64))\" is \(number): allowed are finite numbers")
    case .string, .int, .double, .bool, .bytes, .timestamp, .null: break
    }
  }

  /// The delivery tag in the properties of a returned message.
  static func sequence(in properties: [UInt8]) -> UInt64? {
    // Not the whole of the properties: a dead letter that goes back may have headers that cannot be read.
    guard case .int(let number)? = (try? RawProperties(properties))?.header(Headers.sequence) else { return nil }
    return UInt64(bitPattern: number)
  }
}
