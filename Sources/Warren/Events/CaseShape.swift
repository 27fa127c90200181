import WarrenSupport

/// How the compiler's own `Codable` of an enum codes one case: the case's coding key, and whether its payload is one
/// unlabelled value (`_0` alone).
///
/// Neither the JSON nor the value tells: `{"_0":…}` is also what two values look like when the second is nil. So the
/// enum is asked instead, with a decoder that only watches which keys it wants.
struct CaseShape: Sendable {
  var key: String
  var isBare: Bool

  /// What an enum answers about the cases whose coding key has one kebab-case.
  enum Answer {
    case none
    case one(CaseShape)
    /// Cases that nobody could tell apart.
    case several(keys: [String])
  }

  static func of<T: Decodable>(_ type: T.Type, kebab: String) -> Answer {
    let id = ObjectIdentifier(type)
    if let shape = knownShapes.withLock({ $0[id]?[kebab] }) { return .one(shape) }
    let log = ProbeLog(kebab: kebab)
    _ = try? T(from: ProbeDecoder(log: log))
    guard let key = log.keys.first else { return .none }
    guard log.keys.count == 1 else { return .several(keys: log.keys) }
    let shape = CaseShape(key: key, isBare: log.isBare)
    knownShapes.withLock { $0[id, default: [:]][kebab] = shape }
    return .one(shape)
  }
}

/// Asking costs more than coding a small event. Grows only with the cases that there are.
private let knownShapes = Lock<[ObjectIdentifier: [String: CaseShape]]>([:])

private final class ProbeLog {
  let kebab: String
  var keys: [String] = []
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
    var found: [Key] = []
    log.keys = []
    for candidate in keyCandidates(log.kebab) where !log.keys.contains(candidate) {
      if let key = Key(stringValue: candidate), kebabCase(candidate) == log.kebab {
        log.keys.append(candidate)
        found.append(key)
      }
    }
    return found
  }
  func contains(_ key: Key) -> Bool { log.keys.contains(key.stringValue) }
  func decodeNil(forKey key: Key) throws -> Bool { throw ProbeDone() }
  func decode<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T { throw ProbeDone() }
  func nestedContainer<Nested: CodingKey>(
    keyedBy type: Nested.Type, forKey key: Key
  ) throws -> KeyedDecodingContainer<Nested> {
    // An enum of one case needs no memory: these coding keys are `_0` and nothing else.
    log.isBare = Nested(stringValue: "_0") != nil && MemoryLayout<Nested>.size == 0
    throw ProbeDone()
  }
  func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer { throw ProbeDone() }
  func superDecoder() throws -> any Decoder { throw ProbeDone() }
  func superDecoder(forKey key: Key) throws -> any Decoder { throw ProbeDone() }
}

/// The coding keys whose kebab-case could be `kebab`: as written, with `_`, with `_` in capitals, and in camel case, where
/// each word may be an abbreviation in capitals.
private func keyCandidates(_ kebab: String) -> [String] {
  let words = kebab.split(separator: "-", omittingEmptySubsequences: false).map(String.init)
  let snake = words.joined(separator: "_")
  func capitalised(_ word: String) -> String { word.prefix(1).uppercased() + word.dropFirst() }
  // Types come from outside too, and each word doubles the candidates.
  let mayAbbreviate = words.count <= 8
  var camel = [""]
  for (i, word) in words.enumerated() {
    var forms = i == 0 ? [word, capitalised(word)] : [capitalised(word)]
    if mayAbbreviate { forms.append(word.uppercased()) }
    camel = camel.flatMap { head in forms.map { head + $0 } }
  }
  return camel + [kebab, snake, snake.uppercased()]
}
