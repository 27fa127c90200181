import Warren

/// The properties of a message as their bytes, of which single headers are taken out or put in. Everything else stays as it
/// is, byte for byte, also what ``MessageProperties`` cannot read: tables nested deeper than it looks, kinds it does not know
/// further inside, text that is no UTF-8.
struct RawProperties {
  private struct Entry {
    var key: String
    /// Its key, kind and value.
    var bytes: ArraySlice<UInt8>
    var value: ArraySlice<UInt8>
  }
  private struct Part {
    var flag: UInt16
    var bytes: ArraySlice<UInt8>
  }
  /// All properties but the headers, in the order of the protocol.
  private var parts: [Part] = []
  private var entries: [Entry] = []

  /// - Throws: ``FieldReader/Malformed`` when the bytes are no property list, or its headers no table.
  init(_ bytes: [UInt8]) throws(FieldReader.Malformed) {
    var reader = FieldReader(bytes)
    let flags = UInt16(try reader.number(2))
    guard flags & 1 == 0 else { throw FieldReader.Malformed(text: "the property flags have a continuation") }
    for (flag, kind) in MessageProperties.layout where flags & flag != 0 {
      let start = reader.position
      switch kind {
      case .shortString: try reader.skipShortString()
      case .octets(let count): try reader.skip(count)
      case .table:
        let end = Int(try reader.number(4)) + reader.position
        while reader.position < end {
          let start = reader.position
          let key = try reader.shortString()
          let value = reader.position
          try reader.skipFieldWhole()
          entries.append(
            Entry(key: key, bytes: bytes[start..<reader.position], value: bytes[value..<reader.position]))
        }
        guard reader.position == end else {
          throw FieldReader.Malformed(text: "a header reaches beyond the end of the table")
        }
        continue
      }
      parts.append(Part(flag: flag, bytes: bytes[start..<reader.position]))
    }
  }

  /// The first header of that name; nil when there is none, or when it cannot be read.
  func header(_ name: String) -> HeaderValue? {
    entries.lazy.filter { $0.key == name }.first.flatMap { Self.read($0.value) }
  }

  private static func read(_ bytes: ArraySlice<UInt8>) -> HeaderValue? {
    var reader = FieldReader(Array(bytes))
    return try? reader.field(depth: 1)
  }

  func has(_ name: String) -> Bool { entries.contains { $0.key == name } }

  /// What can be read; headers that cannot are left out and named.
  var readable: (properties: MessageProperties, leftOut: [String]) {
    var writer = FieldWriter(capacity: 128)
    writer.u16(parts.reduce(0) { $0 | $1.flag })
    for part in parts { writer.raw(part.bytes) }
    var properties = (try? MessageProperties(reading: writer.bytes)) ?? MessageProperties()
    var leftOut: [String] = []
    for entry in entries {
      if let value = Self.read(entry.value) {
        properties.headers[entry.key] = value
      } else {
        leftOut.append(entry.key)
      }
    }
    return (properties, leftOut)
  }

  mutating func removeHeaders(where isUnwanted: (String) -> Bool) { entries.removeAll { isUnwanted($0.key) } }

  mutating func remove(_ flag: UInt16) { parts.removeAll { $0.flag == flag } }

  mutating func set(_ name: String, _ value: HeaderValue) {
    removeHeaders { $0 == name }
    var writer = FieldWriter(capacity: 64)
    writer.shortString(name)
    let at = writer.count
    writer.field(value)
    entries.append(Entry(key: name, bytes: writer.bytes[...], value: writer.bytes[at...]))
  }

  /// Writes flags and values, `warren-seq` first among the headers, and returns where its number stands.
  func write(to writer: inout FieldWriter) -> Int {
    writer.u16(parts.reduce(MessageProperties.Flag.headers) { $0 | $1.flag })
    for part in parts where part.flag > MessageProperties.Flag.headers { writer.raw(part.bytes) }
    var sequence = 0
    writer.counted { writer in
      writer.shortString(Headers.sequence)
      writer.u8(UInt8(ascii: "l"))
      sequence = writer.count
      writer.u64(0)
      for entry in entries where entry.key != Headers.sequence { writer.raw(entry.bytes) }
    }
    for part in parts where part.flag < MessageProperties.Flag.headers { writer.raw(part.bytes) }
    return sequence
  }
}
