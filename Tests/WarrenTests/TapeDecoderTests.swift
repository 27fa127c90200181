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
}
