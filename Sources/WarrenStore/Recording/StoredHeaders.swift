import Warren

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Headers as JSON text: texts and truth values as themselves, everything else as an object with one letter for its kind.
enum StoredHeaders {
  static func text(_ headers: [String: HeaderValue]) throws -> String? {
    guard !headers.isEmpty else { return nil }
    return String(decoding: try JSONEncoder().encode(headers.mapValues(Stored.init)), as: UTF8.self)
  }

  static func headers(_ text: String?) throws -> [String: HeaderValue] {
    guard let text else { return [:] }
    let json = Data(text.utf8)
    try Nesting.check(json)
    return try JSONDecoder().decode([String: Stored].self, from: json).mapValues(\.value)
  }

  private struct Stored: Codable {
    var value: HeaderValue
    init(_ value: HeaderValue) { self.value = value }

    private enum Kind: String, CodingKey { case i, d, b, t, a, m, n }

    init(from decoder: any Decoder) throws {
      if let single = try? decoder.singleValueContainer() {
        if let text = try? single.decode(String.self) {
          value = .string(text)
          return
        }
        if let flag = try? single.decode(Bool.self) {
          value = .bool(flag)
          return
        }
      }
      let tagged = try decoder.container(keyedBy: Kind.self)
      switch tagged.allKeys.first {
      case .i: value = .int(try tagged.decode(Int64.self, forKey: .i))
      case .d: value = .double(Double(bitPattern: try tagged.decode(UInt64.self, forKey: .d)))
      case .b: value = .bytes(Array(try tagged.decode(Data.self, forKey: .b)))
      case .t: value = .timestamp(Date(milliseconds: try tagged.decode(Int64.self, forKey: .t)))
      case .a: value = .array(try tagged.decode([Stored].self, forKey: .a).map(\.value))
      case .m: value = .table(try tagged.decode([String: Stored].self, forKey: .m).mapValues(\.value))
      case .n: value = .null
      case nil:
        throw DecodingError.dataCorrupted(.init(codingPath: decoder.codingPath, debugDescription: "no header value"))
      }
    }

    func encode(to encoder: any Encoder) throws {
      switch value {
      case .string(let text):
        var single = encoder.singleValueContainer()
        try single.encode(text)
      case .bool(let flag):
        var single = encoder.singleValueContainer()
        try single.encode(flag)
      default:
        var tagged = encoder.container(keyedBy: Kind.self)
        switch value {
        case .int(let number): try tagged.encode(number, forKey: .i)
        // Its bits, because JSON has neither infinities nor NaN.
        case .double(let number): try tagged.encode(number.bitPattern, forKey: .d)
        case .bytes(let bytes): try tagged.encode(Data(bytes), forKey: .b)
        case .timestamp(let date): try tagged.encode(date.milliseconds, forKey: .t)
        case .array(let values): try tagged.encode(values.map(Stored.init), forKey: .a)
        case .table(let entries): try tagged.encode(entries.mapValues(Stored.init), forKey: .m)
        case .null, .string, .bool: try tagged.encode(true, forKey: .n)
        }
      }
    }
  }
}
