import Warren

/// The properties of class `basic` (AMQP 0-9-1 §1.8.1), all fourteen, so that a copy of a message loses none.
struct MessageProperties: Equatable, Sendable {
  var contentType: String?
  var contentEncoding: String?
  var headers: [String: HeaderValue] = [:]
  var deliveryMode: UInt8?
  var priority: UInt8?
  var correlationID: String?
  var replyTo: String?
  var expiration: String?
  var messageID: String?
  /// Seconds since 1970.
  var timestamp: UInt64?
  var type: String?
  var userID: String?
  var appID: String?
  var clusterID: String?
}

extension MessageProperties {
  /// The bits of the flags in front of the values, in the order of the values.
  enum Flag {
    static let contentType: UInt16 = 1 << 15
    static let contentEncoding: UInt16 = 1 << 14
    static let headers: UInt16 = 1 << 13
    static let deliveryMode: UInt16 = 1 << 12
    static let priority: UInt16 = 1 << 11
    static let correlationID: UInt16 = 1 << 10
    static let replyTo: UInt16 = 1 << 9
    static let expiration: UInt16 = 1 << 8
    static let messageID: UInt16 = 1 << 7
    static let timestamp: UInt16 = 1 << 6
    static let type: UInt16 = 1 << 5
    static let userID: UInt16 = 1 << 4
    static let appID: UInt16 = 1 << 3
    static let clusterID: UInt16 = 1 << 2
  }

  /// - Throws: ``FieldReader/Malformed`` when the bytes are no property list.
  init(reading bytes: [UInt8]) throws(FieldReader.Malformed) {
    var reader = FieldReader(bytes)
    try self.init(from: &reader)
  }

  /// The properties when nothing of them is lost by reading and writing them; nil when something is, or they are no property
  /// list.
  static func exact(_ bytes: [UInt8]) -> MessageProperties? {
    var reader = FieldReader(bytes)
    guard let properties = try? MessageProperties(from: &reader), reader.isExact else { return nil }
    return properties
  }

  private init(from reader: inout FieldReader) throws(FieldReader.Malformed) {
    let flags = UInt16(try reader.number(2))
    // The last bit would announce further flags, of which class basic has none.
    guard flags & 1 == 0 else { throw FieldReader.Malformed(text: "the property flags have a continuation") }
    if flags & Flag.contentType != 0 { contentType = try reader.shortString() }
    if flags & Flag.contentEncoding != 0 { contentEncoding = try reader.shortString() }
    if flags & Flag.headers != 0 { headers = try reader.table() }
    if flags & Flag.deliveryMode != 0 { deliveryMode = UInt8(try reader.number(1)) }
    if flags & Flag.priority != 0 { priority = UInt8(try reader.number(1)) }
    if flags & Flag.correlationID != 0 { correlationID = try reader.shortString() }
    if flags & Flag.replyTo != 0 { replyTo = try reader.shortString() }
    if flags & Flag.expiration != 0 { expiration = try reader.shortString() }
    if flags & Flag.messageID != 0 { messageID = try reader.shortString() }
    if flags & Flag.timestamp != 0 { timestamp = try reader.number(8) }
    if flags & Flag.type != 0 { type = try reader.shortString() }
    if flags & Flag.userID != 0 { userID = try reader.shortString() }
    if flags & Flag.appID != 0 { appID = try reader.shortString() }
    if flags & Flag.clusterID != 0 { clusterID = try reader.shortString() }
  }

  /// Why these bytes cannot be read as properties; nil when they can. Keeps nothing, so it can be asked for every message.
  static func problem(in bytes: [UInt8]) -> String? {
    do {
      var reader = FieldReader(bytes)
      let flags = UInt16(try reader.number(2))
      guard flags & 1 == 0 else { return "the property flags have a continuation" }
      for (flag, kind) in layout where flags & flag != 0 {
        switch kind {
        case .shortString: try reader.skipShortString()
        case .table: try reader.skipTable()
        case .octets(let count): try reader.skip(count)
        }
      }
      return nil
    } catch {
      return error.text
    }
  }

  /// What these properties say about the body, when that is not what Warren itself writes. Asked for every message, so the usual
  /// answer costs nothing.
  static func foreignContent(in bytes: [UInt8]) -> ForeignContent? {
    guard bytes.count >= 2 else { return nil }
    let flags = UInt16(bytes[0]) << 8 | UInt16(bytes[1])
    if flags & (Flag.contentType | Flag.contentEncoding) == 0 { return nil }
    if flags & Flag.contentEncoding == 0, bytes[2...].starts(with: usualContentType) { return nil }
    var reader = FieldReader(bytes)
    _ = try? reader.number(2)
    var content = ForeignContent(type: nil, encoding: nil)
    if flags & Flag.contentType != 0 { content.type = try? reader.shortString() }
    if flags & Flag.contentEncoding != 0 { content.encoding = try? reader.shortString() }
    return content
  }

  private static let usualContentType = [16] + Array("application/json".utf8)

  enum Kind {
    case shortString, table
    case octets(Int)
  }
  static let layout: [(UInt16, Kind)] = [
    (Flag.contentType, .shortString), (Flag.contentEncoding, .shortString), (Flag.headers, .table),
    (Flag.deliveryMode, .octets(1)), (Flag.priority, .octets(1)), (Flag.correlationID, .shortString),
    (Flag.replyTo, .shortString), (Flag.expiration, .shortString), (Flag.messageID, .shortString),
    (Flag.timestamp, .octets(8)), (Flag.type, .shortString), (Flag.userID, .shortString), (Flag.appID, .shortString),
    (Flag.clusterID, .shortString),
  ]

  /// Which of the short strings is too long for the protocol (AMQP 0-9-1 §4.2.5.3).
  var tooLong: (name: String, bytes: Int)? {
    func check(_ name: String, _ value: String?) -> (name: String, bytes: Int)? {
      guard let count = value?.utf8.count, count > 255 else { return nil }
      return (name, count)
    }
    return check("message-id", messageID) ?? check("correlation-id", correlationID) ?? check("type", type)
      ?? check("app-id", appID) ?? check("content-type", contentType) ?? check("content-encoding", contentEncoding)
      ?? check("reply-to", replyTo) ?? check("expiration", expiration) ?? check("user-id", userID)
      ?? check("cluster-id", clusterID)
  }

  /// Writes flags and values. Returns where the number of the header `warren-seq` stands, which comes first among the
  /// headers so that a returned message gives it back without a search; `first` writes further headers before `headers`.
  func write(to writer: inout FieldWriter, first: (inout FieldWriter) -> Void = { _ in }) -> Int {
    var flags = Flag.headers
    if contentType != nil { flags |= Flag.contentType }
    if contentEncoding != nil { flags |= Flag.contentEncoding }
    if deliveryMode != nil { flags |= Flag.deliveryMode }
    if priority != nil { flags |= Flag.priority }
    if correlationID != nil { flags |= Flag.correlationID }
    if replyTo != nil { flags |= Flag.replyTo }
    if expiration != nil { flags |= Flag.expiration }
    if messageID != nil { flags |= Flag.messageID }
    if timestamp != nil { flags |= Flag.timestamp }
    if type != nil { flags |= Flag.type }
    if userID != nil { flags |= Flag.userID }
    if appID != nil { flags |= Flag.appID }
    if clusterID != nil { flags |= Flag.clusterID }
    writer.u16(flags)
    if let contentType { writer.shortString(contentType) }
    if let contentEncoding { writer.shortString(contentEncoding) }
    var sequence = 0
    writer.counted { writer in
      writer.shortString(Headers.sequence)
      writer.u8(UInt8(ascii: "l"))
      sequence = writer.count
      writer.u64(0)
      first(&writer)
      if !headers.isEmpty {
        // A message that is published again as it came has the number of its first publish.
        var headers = headers
        headers[Headers.sequence] = nil
        writer.entries(headers)
      }
    }
    if let deliveryMode { writer.u8(deliveryMode) }
    if let priority { writer.u8(priority) }
    if let correlationID { writer.shortString(correlationID) }
    if let replyTo { writer.shortString(replyTo) }
    if let expiration { writer.shortString(expiration) }
    if let messageID { writer.shortString(messageID) }
    if let timestamp { writer.u64(timestamp) }
    if let type { writer.shortString(type) }
    if let userID { writer.shortString(userID) }
    if let appID { writer.shortString(appID) }
    if let clusterID { writer.shortString(clusterID) }
    return sequence
  }
}
