/// How the compiler's own `Codable` of an enum reads one case: the case's coding key, and whether its payload is one
/// unlabelled value (`_0` alone).
///
/// A JSON body does not tell: `{"case":{"_0":…}}` and `{"case":{…}}` are both readable when everything is optional. So
/// the enum is asked instead, with a decoder that only watches which keys it wants.
struct CaseShape {
  var key: String
  var isBare: Bool

  static func probe<T: Decodable>(_ type: T.Type, kebab: String) -> CaseShape? {
    let log = ProbeLog(kebab: kebab)
    _ = try? T(from: ProbeDecoder(log: log))
    return log.key.map { CaseShape(key: $0, isBare: log.isBare) }
  }
}

private final class ProbeLog {
  let kebab: String
  var key: String?
  var isBare = false
  init(kebab: String) { self.kebab = kebab }
}

private struct ProbeDone: Error {}

private struct ProbeDecoder: Decoder {
  let log: ProbeLog
  var codingPath: [any CodingKey] { [] }
  var userInfo: [CodingUserInfoKey: Any] { [:] }

  func container<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
    KeyedDecodingContainer(CaseContainer<Key>(log: log))
  }
  func unkeyedContainer() throws -> any UnkeyedDecodingContainer { throw ProbeDone() }
  func singleValueContainer() throws -> any SingleValueDecodingContainer { throw ProbeDone() }
}

/// The outer container, with the one key whose kebab-case is asked for.
private struct CaseContainer<Key: CodingKey>: KeyedDecodingContainerProtocol {
  let log: ProbeLog
  var codingPath: [any CodingKey] { [] }

  var allKeys: [Key] {
    for candidate in camelCandidates(log.kebab) {
      if let key = Key(stringValue: candidate), kebabCase(candidate) == log.kebab {
        log.key = candidate
        return [key]
      }
    }
    return []
  }
  func contains(_ key: Key) -> Bool { key.stringValue == log.key }
  func decodeNil(forKey key: Key) throws -> Bool { throw ProbeDone() }
  func decode<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T { throw ProbeDone() }
  func nestedContainer<Nested: CodingKey>(
    keyedBy type: Nested.Type, forKey key: Key
  ) throws -> KeyedDecodingContainer<Nested> {
    log.isBare = Nested(stringValue: "_0") != nil && Nested(stringValue: "_1") == nil
    return KeyedDecodingContainer(PayloadContainer<Nested>(log: log))
  }
  func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer { throw ProbeDone() }
  func superDecoder() throws -> any Decoder { throw ProbeDone() }
  func superDecoder(forKey key: Key) throws -> any Decoder { throw ProbeDone() }
}

/// The payload's container: says "null" to optionals, so that a label behind an unlabelled optional is seen too, and
/// stops at the first value that must be there.
private struct PayloadContainer<Key: CodingKey>: KeyedDecodingContainerProtocol {
  let log: ProbeLog
  var codingPath: [any CodingKey] { [] }
  var allKeys: [Key] { [] }

  private func note(_ key: Key) { if key.stringValue != "_0" { log.isBare = false } }

  func contains(_ key: Key) -> Bool {
    note(key)
    return false
  }
  func decodeNil(forKey key: Key) throws -> Bool {
    note(key)
    return true
  }
  func decode<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T {
    note(key)
    throw ProbeDone()
  }
  func nestedContainer<Nested: CodingKey>(
    keyedBy type: Nested.Type, forKey key: Key
  ) throws -> KeyedDecodingContainer<Nested> { throw ProbeDone() }
  func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer { throw ProbeDone() }
  func superDecoder() throws -> any Decoder { throw ProbeDone() }
  func superDecoder(forKey key: Key) throws -> any Decoder { throw ProbeDone() }
}

/// The coding keys whose kebab-case could be `kebab`: as written, with `_`, and in camel case with and without a
/// final abbreviation in capitals.
private func camelCandidates(_ kebab: String) -> [String] {
  let words = kebab.split(separator: "-", omittingEmptySubsequences: false).map(String.init)
  guard let first = words.first else { return [] }
  let camel = first + words.dropFirst().map { $0.prefix(1).uppercased() + $0.dropFirst() }.joined()
  var candidates = [camel, kebab, words.joined(separator: "_")]
  if words.count > 1, let last = words.last {
    let head = first + words.dropFirst().dropLast().map { $0.prefix(1).uppercased() + $0.dropFirst() }.joined()
    candidates.append(head + last.uppercased())
  }
  return candidates
}
