#if canImport(FoundationEssentials)
  public import FoundationEssentials
#else
  public import Foundation
#endif

/// Several event types in one enum: each case is a type of its own.
///
/// ```swift
/// enum AccountEvent: EventFamily {
///   static let family: EventType = "account"
///   static var eventTypes: [EventType] { ["account.opened", "account.money-deposited"] }
///   case opened(owner: String)
///   case moneyDeposited(Deposit)
/// }
/// ```
///
/// The type of a case is `<family>.<case>` with the case's coding key in kebab-case. Its body is the case's payload:
/// an object of its labelled values; the value itself where there is a single unlabelled one (`null` for nil); `{}` where
/// there is none. Unlabelled values beside others are called `_0`, `_1` and so on.
/// The compiler cannot list the cases with payloads, so ``Event/eventTypes`` does: a case that is missing there
/// cannot be encoded, and the error names the line to add.
public protocol EventFamily: Event {
  /// The common first part of the types' names.
  static var family: EventType { get }
}

extension EventFamily {
  /// The name that the types have in common.
  public static var eventType: EventType { family }

  /// The body is cut out of the JSON that the compiler's own coding makes of an enum, `{"case":{…}}`, and put back
  /// there to be read: the payload is never coded in a second way.
  public func encoded() throws(WarrenError) -> (type: EventType, body: Data) {
    let whole: Data
    do {
      whole = try Self.coding.body(of: self)
    } catch {
      throw WarrenError(.encodingFailed, "\(Self.self): \(explain(error))")
    }
    guard let enclosed = EnclosedPayload(whole) else { throw Self.notAFamily }
    let type = try Self.type(ofCase: enclosed.key)
    guard Self.eventTypes.contains(type) else {
      throw WarrenError(
        .encodingFailed,
        "\(Self.self) does not list the type of its case '\(enclosed.key)': add \"\(type)\" to eventTypes")
    }
    switch CaseShape.of(Self.self, kebab: Self.lastPart(of: type)) {
    case .one(let shape) where shape.isBare: return (type, try Self.bare(enclosed.payload, ofCase: enclosed.key))
    case .one: return (type, enclosed.payload)
    case .none: throw Self.notAFamily
    case .several(let keys): throw WarrenError(.encodingFailed, Self.ambiguous(type, keys))
    }
  }

  /// The value of a type with this body.
  public static func decoded(type: EventType, body: Data) throws(WarrenError) -> Self {
    guard type.name.hasPrefix(family.name + ".") else {
      throw WarrenError(.decodingFailed, "\(type) is not of the family \(family) (\(Self.self))")
    }
    let shape: CaseShape
    switch CaseShape.of(Self.self, kebab: lastPart(of: type)) {
    case .one(let found): shape = found
    case .none: throw WarrenError(.decodingFailed, "\(Self.self) has no case for \(type)")
    case .several(let keys): throw WarrenError(.decodingFailed, Self.ambiguous(type, keys))
    }
    if coding.isWarrenJSON {
      let keys = shape.isBare ? [shape.key, "_0"] : [shape.key]
      do { return try TapeDecoder.decode(Self.self, body, in: keys) } catch {}
    }
    do {
      // A body such as `1},"x":{` would otherwise be valid only together with what is put around it.
      if !JSONTape.reads(body) {
        try Nesting.check(body)
        _ = try WarrenJSON.decoder.decode(AnyJSON.self, from: body)
      }
      var whole = Data((shape.isBare ? "{\"\(shape.key)\":{\"_0\":" : "{\"\(shape.key)\":").utf8)
      // The decoder ignores a byte order mark where it is allowed to, at the very beginning.
      whole.append(body.starts(with: [0xef, 0xbb, 0xbf]) ? body.dropFirst(3) : body)
      whole.append(contentsOf: shape.isBare ? [0x7d, 0x7d] : [0x7d])
      return try coding.value(in: whole)
    } catch {
      let text = explain(error, wrappers: shape.isBare ? 2 : 1)
      throw WarrenError(.decodingFailed, "\(type) is not a \(Self.self): \(text)")
    }
  }

  /// What stands behind the family's name.
  private static func lastPart(of type: EventType) -> String {
    String(type.name.utf8.dropFirst(family.name.utf8.count + 1)) ?? ""
  }

  /// The single unlabelled value by itself. The compiler leaves out the key of a nil.
  private static func bare(_ payload: Data, ofCase key: String) throws(WarrenError) -> Data {
    if payload == Data("{}".utf8) { return Data("null".utf8) }
    guard let inner = EnclosedPayload(payload), inner.key == "_0" else {
      throw WarrenError(
        .encodingFailed, "\(Self.self): its coding renames the key '_0' of the case '\(key)': leave it as it is")
    }
    return inner.payload
  }

  private static var notAFamily: WarrenError {
    WarrenError(
      .encodingFailed,
      "\(Self.self) is a family but does not encode as {\"case\":{…}}: use an enum with the compiler's own Codable, "
        + "a compact encoder, and coding keys in camel case or snake case")
  }

  private static func ambiguous(_ type: EventType, _ keys: [String]) -> String {
    "\(Self.self) has several cases for \(type): \(keys.joined(separator: ", ")). Give them coding keys that differ"
  }

  private static func type(ofCase key: String) throws(WarrenError) -> EventType {
    let name = "\(family.name).\(kebabCase(key))"
    if let problem = NameRules.problem(withType: name) {
      throw WarrenError(
        .encodingFailed, "\(Self.self): the case '\(key)' gives the event type \"\(name)\", which \(problem)")
    }
    return try EventType(name)
  }
}

/// `moneyDeposited` → `money-deposited`, `openedV2` → `opened-v2`, `urlSeen` → `url-seen`, `seenURL` → `seen-url`.
func kebabCase(_ name: String) -> String {
  var out = ""
  var previous: Character?
  let characters = Array(name)
  for (i, c) in characters.enumerated() {
    if c == "_" {
      out.append("-")
    } else if c.isUppercase {
      let nextIsLower = i + 1 < characters.count && characters[i + 1].isLowercase
      if let previous, previous != "_", !previous.isUppercase || nextIsLower { out.append("-") }
      out += c.lowercased()
    } else {
      out.append(c)
    }
    previous = c
  }
  return out
}

/// `{"key":payload}` with exactly one key that needs no escapes, as a compact encoder writes it.
private struct EnclosedPayload {
  let key: String
  let payload: Data

  init?(_ json: Data) {
    let bytes = Array(json)
    guard bytes.count >= 6, bytes[0] == 0x7b, bytes[1] == 0x22, bytes[bytes.count - 1] == 0x7d,
      let quote = bytes.dropFirst(2).firstIndex(where: { $0 == 0x22 || $0 == 0x5c }), bytes[quote] == 0x22,
      quote + 1 < bytes.count, bytes[quote + 1] == 0x3a
    else { return nil }
    var depth = 0
    var inString = false
    var escaped = false
    for byte in bytes[(quote + 2)..<(bytes.count - 1)] {
      if escaped {
        escaped = false
      } else if inString {
        if byte == 0x5c { escaped = true } else if byte == 0x22 { inString = false }
      } else if byte == 0x22 {
        inString = true
      } else if byte == 0x7b || byte == 0x5b {
        depth += 1
      } else if byte == 0x7d || byte == 0x5d {
        depth -= 1
      } else if byte == 0x2c, depth == 0 {
        return nil
      }
    }
    key = String(decoding: bytes[2..<quote], as: UTF8.self)
    payload = Data(bytes[(quote + 2)..<(bytes.count - 1)])
  }
}

private struct AnyJSON: Decodable {
  init(from decoder: any Decoder) throws { _ = try decoder.singleValueContainer() }
}
