import Foundation
import Testing

@testable import Warren

/// The quick decoder may only say what Foundation's says.
struct TapeDecoderTests {
  private enum Colour: String, Codable, Hashable { case red, green }
  private enum Shape: Codable, Hashable {
    case point
    case circle(radius: Double)
    case box(Int, Int)
  }
  private struct Inner: Codable, Hashable {
    var z: Int
    var a: String?
  }
  /// Tries one thing and then another, as codings of the user's own do.
  private enum Loose: Codable, Hashable {
    case int(Int)
    case double(Double)
    case text(String)
    case list([Loose])
    case nothing
    init(from decoder: any Decoder) throws {
      let single = try decoder.singleValueContainer()
      if single.decodeNil() {
        self = .nothing
      } else if let value = try? single.decode(Int.self) {
        self = .int(value)
      } else if let value = try? single.decode(Double.self) {
        self = .double(value)
      } else if let value = try? single.decode(String.self) {
        self = .text(value)
      } else {
        self = .list(try single.decode([Loose].self))
      }
    }
    func encode(to encoder: any Encoder) throws {
      var single = encoder.singleValueContainer()
      switch self {
      case .int(let value): try single.encode(value)
      case .double(let value): try single.encode(value)
      case .text(let value): try single.encode(value)
      case .list(let value): try single.encode(value)
      case .nothing: try single.encodeNil()
      }
    }
  }
  private struct Everything: Codable, Hashable {
    var text: String
    var int: Int64
    var small: Int8
    var unsigned: UInt64
    var double: Double
    var float: Float?
    var flag: Bool
    var when: Date
    var data: Data
    var url: URL?
    var uuid: UUID
    var colour: Colour
    var shapes: [Shape]
    var list: [Int?]
    var map: [String: Inner]
    var numbers: [Int: String]
    var present: String?
    var loose: [Loose]
    var amount: Decimal?
  }

  private func random(_ random: inout SeededGenerator) -> Everything {
    func text() -> String {
      let pieces = ["a", "B", "é", "🐇", "\"", "\\", "/", "\n", "\u{1}", "\u{7f}", " ", "0", "name", "\u{2028}", "ﬁ"]
      return (0..<random.int(0...6)).map { _ in random.pick(pieces) }.joined()
    }
    func double() -> Double {
      switch random.int(0...5) {
      case 0: return 0
      case 1: return Double(random.int(-1000...1000)) / 8
      case 2: return Double(random.int(-100_000_000...100_000_000))
      case 3: return random.oneIn(8) ? .leastNonzeroMagnitude : 1e-9
      case 4: return .greatestFiniteMagnitude
      default: return Double(bitPattern: UInt64(random.int(0...Int.max))).isFinite ? 0.1 : 1e22
      }
    }
    func loose(_ depth: Int) -> Loose {
      switch random.int(0...(depth > 2 ? 3 : 4)) {
      case 0: return .int(random.int(-5...5))
      case 1: return .double(double())
      case 2: return .text(text())
      case 3: return .nothing
      default: return .list((0..<random.int(0...3)).map { _ in loose(depth + 1) })
      }
    }
    return Everything(
      text: text(), int: random.pick([0, 1, -1, .min, .max, 123_456_789]), small: Int8(random.int(-128...127)),
      unsigned: random.pick([0, 1, .max]), double: double(), float: random.oneIn(12) ? 1.5 : nil, flag: random.oneIn(2),
      when: Date(milliseconds: Int64(random.int(0...4_000_000_000)) * 1000 + 7), data: Data(text().utf8),
      url: random.oneIn(2) ? URL(string: "https://example.com/a?b=c") : nil, uuid: UUID(),
      colour: random.oneIn(2) ? .red : .green,
      shapes: (0..<random.int(0...3)).map { _ in random.pick([.point, .circle(radius: double()), .box(1, -2)]) },
      list: (0..<random.int(0...4)).map { _ in random.oneIn(3) ? nil : random.int(-9...9) },
      map: Dictionary(
        (0..<random.int(0...4)).map { _ in
          (random.oneIn(8) ? text() : random.pick(["a", "b", "name"]), Inner(z: 1, a: random.oneIn(2) ? text() : nil))
        }
      ) {
        $1
      },
      numbers: [random.int(0...9): "n"], present: random.oneIn(2) ? text() : nil,
      loose: (0..<random.int(0...3)).map { _ in loose(0) }, amount: random.oneIn(12) ? 1.25 : nil)
  }

  /// What stands where Foundation's decoder is asked.
  private func compare<T: Decodable & Equatable>(_ type: T.Type, _ body: Data, _ comment: Comment) -> Bool {
    guard let quick = try? TapeDecoder.decode(type, body) else { return false }
    let slow = try? WarrenJSON.decoder.decode(type, from: body)
    #expect(slow == quick, "\(String(decoding: body, as: UTF8.self).debugDescription), \(comment)")
    return true
  }

  @Test func validBodiesGiveTheSameValues() throws {
    var random = SeededGenerator()
    var quick = 0
    for _ in 0..<600 {
      let value = self.random(&random)
      let body = try WarrenJSON.encoder.encode(value)
      if compare(Everything.self, body, random.replay) { quick += 1 }
      let slow = try WarrenJSON.decoder.decode(Everything.self, from: body)
      #expect(try WarrenJSON.decode(body) == slow, random.replay)
      // Written in another way.
      let pretty = JSONEncoder()
      pretty.outputFormatting = .prettyPrinted
      pretty.dateEncodingStrategy = WarrenJSON.encoder.dateEncodingStrategy
      _ = compare(Everything.self, try pretty.encode(value), random.replay)
    }
    // Else it would be for nothing.
    #expect(quick > 100, random.replay)
  }

  @Test func brokenBodiesAreNeverReadAsSomethingElse() throws {
    var random = SeededGenerator()
    let pieces = [
      "", "0", "1", "-", "-0", "1.0", "1e2", "1E+2", "01", "9223372036854775808", "1e400", "1e-400", "0.1e1", "true",
      "null",
      "\"", "\\", "\\u0041", "\\ud83d\\udc07", "\\ud800", "\\x", "{", "}", "[", "]", ",", ":", " ", "\t", "\n",
      "\u{feff}",
      "é", "\"a\":1,", "\"text\":\"x\",", "//", "NaN", "+1", ".5", "5.",
    ]
    for _ in 0..<3000 {
      var body = Array(try WarrenJSON.encoder.encode(self.random(&random)))
      for _ in 0..<random.int(1...3) {
        let at = random.int(0...body.count)
        switch random.int(0...3) {
        case 0: body.insert(contentsOf: Array(random.pick(pieces).utf8), at: at)
        case 1 where at < body.count: body[at] = UInt8(random.int(0...255))
        case 2 where at < body.count: body.removeSubrange(at..<min(body.count, at + random.int(1...8)))
        default: body = Array(body.prefix(max(0, body.count - random.int(0...20))))
        }
      }
      _ = compare(Everything.self, Data(body), random.replay)
      _ = compare(Loose.self, Data(body), random.replay)
      _ = compare(JSON.self, Data(body), random.replay)
    }
  }

  @Test(arguments: [
    "0", "-0", "1", "-1", "1.0", "1e2", "1.5", "00", "9007199254740993", "123456789012345678", "1234567890123456789",
    "9223372036854775807", "9223372036854775808", "18446744073709551615", "1e308", "1e309", "4.9e-324", "1e-330",
    "0.1", "3.141592653589793238462643383279", "-1.7976931348623157e308", "128", "-129", "256", "-", "1.", ".1", "1e",
    "0e0", "0.0", "-0.0", "1E-2", "2.5e+3",
  ])
  func numbersAreTheSame(_ text: String) {
    let body = Data(text.utf8)
    _ = compare(Int.self, body, "Int")
    _ = compare(Int8.self, body, "Int8")
    _ = compare(UInt8.self, body, "UInt8")
    _ = compare(UInt64.self, body, "UInt64")
    _ = compare(Double.self, body, "Double")
    _ = compare(Float.self, body, "Float")
    _ = compare(Bool.self, body, "Bool")
    _ = compare(String.self, body, "String")
    _ = compare([Double].self, Data("[\(text)]".utf8), "[Double]")
    _ = compare([String: Int].self, Data("{\"a\":\(text)}".utf8), "[String: Int]")
    _ = compare(Loose.self, body, "Loose")
  }

  @Test func repeatedKeysAndSpellingsOfKeysAreLeftToFoundation() {
    for text in [#"{"z":1,"z":2}"#, #"{"z":1,"\u007a":2}"#, #"{"z":1,"é":2}"#] {
      #expect((try? TapeDecoder.decode(Inner.self, Data(text.utf8))) == nil)
    }
    let many = "{" + (0..<200).map { "\"k\($0)\":1" }.joined(separator: ",") + "}"
    #expect((try? TapeDecoder.decode([String: Int].self, Data(many.utf8))) == nil)
    #expect((try? WarrenJSON.decode(Data(many.utf8)) as [String: Int])?.count == 200)
  }

  /// Whoever tries one thing and then another for each element does not pay for all elements before it each time.
  @Test(.timeLimit(.minutes(1))) func manyFailedAttemptsTakeNoLongerThanTheirNumber() throws {
    let texts = Array(repeating: "\"x\"", count: 50_000).joined(separator: ",")
    let body = Data("{\"b\":[\(texts)],\"a\":{\"c\":[[\(texts)],1]}}".utf8)
    struct Nested: Decodable, Equatable {
      var b: [Loose]
      var a: [String: [Loose]]
    }
    let quick = try TapeDecoder.decode(Nested.self, body)
    #expect(quick.b == Array(repeating: .text("x"), count: 50_000))
    #expect(quick.a == ["c": [.list(quick.b), .int(1)]])
  }

  private struct AnyKey: CodingKey {
    var stringValue: String
    var intValue: Int? { nil }
    init(_ name: String) { stringValue = name }
    init(stringValue: String) { self.init(stringValue) }
    init?(intValue: Int) { nil }
  }

  @Test func keysThatOnlyLookTheSameAreLeftToFoundation() throws {
    struct Kelvin: Decodable, Equatable {
      var value: Int?
      init(from decoder: any Decoder) throws {
        value = try decoder.container(keyedBy: AnyKey.self).decodeIfPresent(Int.self, forKey: AnyKey("\u{212a}"))
      }
    }
    let body = Data(#"{"K":5}"#.utf8)
    #expect((try? TapeDecoder.decode(Kelvin.self, body)) == nil)
    #expect(try (WarrenJSON.decode(body) as Kelvin).value == 5)
  }

  @Test func integersOf128BitsAreLeftToFoundation() throws {
    struct Wide: Codable, Equatable {
      var a: Int128
      var b: UInt128?
      var c: [Int128]
    }
    /// Takes what it can get.
    struct Fallback: Decodable, Equatable {
      var value: Int128
      init(from decoder: any Decoder) throws {
        value = (try? decoder.singleValueContainer().decode(Int128.self)) ?? -1
      }
    }
    let wide = Wide(a: .max, b: 7, c: [.min, 0])
    #expect(try WarrenJSON.decode(WarrenJSON.encode(wide)) == wide)
    #expect(try (WarrenJSON.decode(Data("[5]".utf8)) as [Fallback]).map(\.value) == [5])
  }

  /// Where a type asks for its place, the keys are its own.
  @Test func pathsAreLeftToFoundation() throws {
    struct Placed: Decodable, Equatable {
      var place: String
      init(from decoder: any Decoder) throws {
        place = decoder.codingPath.map { "\(type(of: $0)) \($0.stringValue)" }.joined(separator: "/")
      }
    }
    let body = Data(#"{"a":[1,{"b":2}]}"#.utf8)
    let quick = try WarrenJSON.decode(body) as [String: [Placed]]
    #expect(try WarrenJSON.decoder.decode([String: [Placed]].self, from: body) == quick)
  }

  /// Everything that can be tried on a value, and the kind of each failure: types may catch it and go on.
  private struct Attempts: Decodable, Equatable {
    enum Key: String, CodingKey { case a, b, none, empty = "" }
    enum Kind: Int, Decodable { case one = 1 }
    @propertyWrapper struct Wrapped<T: Decodable>: Decodable {
      var wrappedValue: T
      init(from decoder: any Decoder) throws { wrappedValue = try decoder.singleValueContainer().decode(T.self) }
    }
    class Base: Decodable {
      var a: Int?
    }
    struct Pair: Decodable {
      @Wrapped var a: String
      @Wrapped var b: [Int?]
    }
    var log: [String] = []

    private mutating func attempt(_ what: String, _ body: () throws -> Any) {
      func show(_ kind: String, _ context: DecodingError.Context) -> String {
        "\(kind) at \(context.codingPath.map(\.stringValue))"
      }
      do { log.append("\(what): \(try body())") } catch DecodingError.keyNotFound(let key, let context) {
        log.append("\(what): " + show("no \(key.stringValue)", context))
      } catch DecodingError.typeMismatch(let type, let context) {
        log.append("\(what): " + show("not \(type)", context))
      } catch DecodingError.valueNotFound(let type, let context) {
        log.append("\(what): " + show("nil, not \(type)", context))
      } catch {
        log.append("\(what): \(type(of: error))")
      }
    }

    init(from decoder: any Decoder) throws {
      let single = try decoder.singleValueContainer()
      attempt("nil") { single.decodeNil() }
      attempt("Bool") { try single.decode(Bool.self) }
      attempt("String") { try single.decode(String.self) }
      attempt("Int") { try single.decode(Int.self) }
      attempt("UInt8") { try single.decode(UInt8.self) }
      attempt("Double") { try single.decode(Double.self) }
      attempt("Int?") { try single.decode(Int?.self) as Any }
      attempt("[String]") { try single.decode([String].self) }
      attempt("[[Int]]") { try single.decode([[Int]].self) }
      // Which of several bad values is told depends on the order of a dictionary.
      attempt("[String: Int?]") { (try? single.decode([String: Int?].self))?.sorted { $0.key < $1.key } as Any }
      attempt("Base") { try single.decode(Base.self).a as Any }
      attempt("Pair") {
        let pair = try single.decode(Pair.self)
        return "\(pair.a) \(pair.b)"
      }
      if let object = try? decoder.container(keyedBy: Key.self) {
        attempt("keys") { object.allKeys.map(\.stringValue).sorted() }
        for key in [Key.a, .b, .none, .empty] {
          attempt("\(key) contains") { object.contains(key) }
          attempt("\(key) nil") { try object.decodeNil(forKey: key) }
          attempt("\(key) Int") { try object.decode(Int.self, forKey: key) }
          attempt("\(key) Int8, if") { try object.decodeIfPresent(Int8.self, forKey: key) as Any }
          attempt("\(key) Int?, if") { try object.decodeIfPresent(Int?.self, forKey: key) as Any }
          attempt("\(key) String, if") { try object.decodeIfPresent(String.self, forKey: key) as Any }
          attempt("\(key) Kind?") { try object.decode(Kind?.self, forKey: key) as Any }
          attempt("\(key) object") { try object.nestedContainer(keyedBy: Key.self, forKey: key).allKeys.count }
          attempt("\(key) array") { try object.nestedUnkeyedContainer(forKey: key).count as Any }
          attempt("\(key) Attempts") { try object.decode(Attempts.self, forKey: key).log }
        }
      }
      guard var array = try? decoder.unkeyedContainer() else { return }
      while !array.isAtEnd {
        let index = array.currentIndex
        var isRead = false
        func has<T>(_ result: T?) -> T? {
          isRead = isRead || result != nil
          return result
        }
        attempt("\(index) nil") { try array.decodeNil() }
        if array.currentIndex > index { continue }
        attempt("\(index) Int") { has(try array.decode(Int.self)) as Any }
        if !isRead { attempt("\(index) String, if") { has(try array.decodeIfPresent(String.self)) as Any } }
        if !isRead {
          attempt("\(index) array") {
            var inner = try array.nestedUnkeyedContainer()
            isRead = true
            return inner.isAtEnd ? "empty" : "\(try inner.decodeIfPresent(Int.self) as Any), \(inner.currentIndex)"
          }
        }
        if !isRead {
          attempt("\(index) object") { has(try array.nestedContainer(keyedBy: Key.self).allKeys.count) as Any }
        }
        if !isRead { attempt("\(index) Attempts") { has(try array.decode(Attempts.self).log) as Any } }
        guard isRead else { return }
      }
    }
  }

  @Test func whatTypesCatchAndGoOnFromIsTheSame() {
    var random = SeededGenerator()
    func json(_ depth: Int) -> String {
      switch random.int(0...(depth > 3 ? 4 : 8)) {
      case 0: return "null"
      case 1: return random.pick(["true", "false"])
      case 2, 3: return random.pick(["0", "1", "-5", "300", "1.5"])
      case 4: return random.pick(["\"\"", "\"x\"", "\"é\"", "\"\\n\""])
      case 5, 6: return "[" + (0..<random.int(0...4)).map { _ in json(depth + 1) }.joined(separator: ",") + "]"
      default:
        let keys = ["a", "b", "", "z"].shuffled(using: &random).prefix(random.int(0...4))
        return "{" + keys.map { "\"\($0)\":\(json(depth + 1))" }.joined(separator: ",") + "}"
      }
    }
    var quick = 0
    for _ in 0..<2000 where compare(Attempts.self, Data(json(0).utf8), random.replay) { quick += 1 }
    #expect(quick > 200, random.replay)
  }

  /// A body in its keys is the same as the whole that it stands in.
  @Test func bodiesInKeysAreReadAsTheWhole() throws {
    var random = SeededGenerator()
    for _ in 0..<200 {
      let body = try WarrenJSON.encoder.encode(self.random(&random))
      let whole = Data("{\"case\":{\"_0\":".utf8) + body + Data("}}".utf8)
      let quick = try? TapeDecoder.decode([String: [String: Everything]].self, body, in: ["case", "_0"])
      let slow = try? TapeDecoder.decode([String: [String: Everything]].self, whole)
      #expect(quick == slow, random.replay)
    }
    for text in ["", " ", "1},\"x\":{", "1 2", "{}}", "{\"a\":1}}", "\u{0}"] {
      #expect((try? TapeDecoder.decode([String: JSON].self, Data(text.utf8), in: ["case"])) == nil, "\(text)")
    }
  }
}
