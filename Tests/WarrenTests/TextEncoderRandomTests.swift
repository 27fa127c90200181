import Foundation
import Testing

@testable import Warren

/// Values of all shapes, of which it is known beforehand whether they take the quick way.
struct TextEncoderRandomTests {
  private struct Key: CodingKey {
    var stringValue: String
    var intValue: Int?
    init(_ key: String) { stringValue = key }
    init?(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }

  private struct Leaf: Codable {
    var z: String
    var aa: Double?
    var a: Int
    var when: Date?
    var b: Bool
  }

  private enum Case: Codable {
    case none
    case one(Leaf)
    case two(x: [Leaf], String?)
  }

  private indirect enum Tree: Encodable {
    case null
    case bool(Bool)
    case int(Int)
    case small(Int8)
    case unsigned(UInt64)
    case double(Double)
    case float(Float)
    case text(String)
    case date(Date)
    case data(Data)
    case uuid(UUID)
    case leaf(Leaf)
    case choice(Case)
    case texts([String])
    case numbers([Int: Double])
    case list([Tree?])
    case map([String: Tree])
    /// In an order of their own, perhaps with a key twice.
    case members([(String, Tree)])
    /// Written into containers of this value's own.
    case nested([(String, Tree)])
    case flat(Leaf, [(String, Tree)])
    case nothing

    func encode(to encoder: any Encoder) throws {
      func put(_ encode: (inout any SingleValueEncodingContainer) throws -> Void) rethrows {
        var container = encoder.singleValueContainer()
        try encode(&container)
      }
      switch self {
      case .null: try put { try $0.encodeNil() }
      case .bool(let value): try put { try $0.encode(value) }
      case .int(let value): try put { try $0.encode(value) }
      case .small(let value): try put { try $0.encode(value) }
      case .unsigned(let value): try put { try $0.encode(value) }
      case .double(let value): try put { try $0.encode(value) }
      case .float(let value): try put { try $0.encode(value) }
      case .text(let value): try put { try $0.encode(value) }
      case .date(let value): try put { try $0.encode(value) }
      case .data(let value): try put { try $0.encode(value) }
      case .uuid(let value): try value.encode(to: encoder)
      case .leaf(let value): try value.encode(to: encoder)
      case .choice(let value): try put { try $0.encode(value) }
      case .texts(let value): try put { try $0.encode(value) }
      case .numbers(let value): try value.encode(to: encoder)
      case .list(let value): try put { try $0.encode(value) }
      case .map(let value): try put { try $0.encode(value) }
      case .members(let members):
        var container = encoder.container(keyedBy: Key.self)
        for (key, value) in members { try value.put(into: &container, Key(key)) }
      case .nested(let members):
        var list = encoder.unkeyedContainer()
        var object = list.nestedContainer(keyedBy: Key.self)
        for (key, value) in members {
          var inner = object.nestedUnkeyedContainer(forKey: Key(key))
          try value.put(into: &inner)
        }
        for (_, value) in members { try value.put(into: &list) }
        _ = list.nestedUnkeyedContainer()
      case .flat(let leaf, let members):
        try Tree.members(members).encode(to: encoder)
        try leaf.encode(to: encoder)
      case .nothing: break
      }
    }

    private func put(into container: inout KeyedEncodingContainer<Key>, _ key: Key) throws {
      switch self {
      case .null: try container.encodeNil(forKey: key)
      case .bool(let value): try container.encode(value, forKey: key)
      case .int(let value): try container.encode(value, forKey: key)
      case .small(let value): try container.encode(value, forKey: key)
      case .unsigned(let value): try container.encode(value, forKey: key)
      case .double(let value): try container.encode(value, forKey: key)
      case .float(let value): try container.encode(value, forKey: key)
      case .text(let value): try container.encode(value, forKey: key)
      default: try container.encode(self, forKey: key)
      }
    }

    private func put(into container: inout any UnkeyedEncodingContainer) throws {
      switch self {
      case .null: try container.encodeNil()
      case .bool(let value): try container.encode(value)
      case .int(let value): try container.encode(value)
      case .small(let value): try container.encode(value)
      case .unsigned(let value): try container.encode(value)
      case .double(let value): try container.encode(value)
      case .float(let value): try container.encode(value)
      case .text(let value): try container.encode(value)
      case .texts(let value): try container.encode(contentsOf: value)
      default: try container.encode(self)
      }
    }

    /// Whether every object within has keys that need no second look.
    var isPlain: Bool {
      switch self {
      case .list(let value): value.allSatisfy { $0?.isPlain ?? true }
      case .map(let value): value.allSatisfy { Self.isPlain($0.key) && $0.value.isPlain }
      case .members(let members), .nested(let members): Self.arePlain(members, and: [])
      case .flat(let leaf, let members):
        Self.arePlain(
          members, and: ["z", "a", "b"] + (leaf.aa == nil ? [] : ["aa"]) + (leaf.when == nil ? [] : ["when"]))
      default: true
      }
    }

    private static func isPlain(_ key: String) -> Bool {
      key.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0 != "\"" && $0 != "\\" && $0.value < 0x300 }
    }

    private static func arePlain(_ members: [(String, Tree)], and others: [String]) -> Bool {
      let keys = members.map(\.0) + others
      return Set(keys).count == keys.count && keys.allSatisfy(isPlain) && members.allSatisfy(\.1.isPlain)
    }
  }

  private struct Maker {
    var random: SeededGenerator
    /// Keys of all kinds; else of those that events have.
    var isHostile: Bool

    mutating func scalars() -> String {
      let ranges: [ClosedRange<Int>] = [
        0...0x1f, 0x20...0x7e, 0x20...0x7e, 0x7f...0x2ff, 0x300...0x36f, 0x370...0xd7ff, 0xe000...0xffff,
        0x1f300...0x1f9ff, 0x2026...0x202f, 0x10000...0x10ffff,
      ]
      var text = String.UnicodeScalarView()
      for _ in 0..<random.int(0...12) {
        if let scalar = Unicode.Scalar(UInt32(random.int(random.pick(ranges)))) { text.append(scalar) }
      }
      return String(text)
    }

    mutating func text() -> String {
      switch random.int(0...3) {
      case 0: random.hostileText()
      case 1: scalars()
      case 2: random.text(of: "abc /-_ü", length: 0...40)
      default: scalars() + random.text(of: "xyz\"", length: 0...20) + scalars()
      }
    }

    mutating func key() -> String {
      if isHostile, random.oneIn(3) { return text() }
      return random.text(of: "abAB_01é~/ ", length: 0...5)
    }

    mutating func double() -> Double {
      switch random.int(0...3) {
      case 0: return Double(random.int(-1000...1000))
      case 1: return Double(random.int(-100_000_000...100_000_000)) / 100
      default:
        let value = Double(bitPattern: random.next())
        return value.isFinite ? value : -0.0
      }
    }

    mutating func leaf() -> Leaf {
      Leaf(
        z: text(), aa: random.oneIn(2) ? double() : nil, a: random.int(Int.min...Int.max),
        when: random.oneIn(2) ? date() : nil, b: random.oneIn(2))
    }

    mutating func date() -> Date { Date(milliseconds: Int64(random.int(-62_167_219_200_000...253_402_300_799_999))) }

    mutating func list<T>(_ most: Int, _ make: (inout Self) -> T) -> [T] {
      var list: [T] = []
      for _ in 0..<random.int(0...most) { list.append(make(&self)) }
      return list
    }

    mutating func members(_ depth: Int, areUnique: Bool) -> [(String, Tree)] {
      let members = list(6) { ($0.key(), $0.tree(depth + 1)) }
      guard areUnique || random.oneIn(2) else { return members }
      // Not sorted, and not in the order in which they were made.
      return Array(Dictionary(members) { $1 })
    }

    mutating func tree(_ depth: Int) -> Tree {
      switch random.int(0...(depth > 4 ? 14 : 24)) {
      case 0: .null
      case 1: .bool(random.oneIn(2))
      case 2: .int(random.int(-1000...1000))
      case 3: .small(Int8(random.int(-128...127)))
      case 4: .unsigned(random.next())
      case 5: .double(double())
      case 6: .float(Float(random.int(-1_000_000...1_000_000)) / 64)
      case 7: .text(text())
      case 8: .date(date())
      case 9: .data(Data(list(20) { UInt8($0.random.int(0...255)) }))
      case 10: .uuid(UUID(uuidString: "E621E1F8-C36C-495A-93FC-0C247A3E6E5F") ?? UUID())
      case 11: .leaf(leaf())
      case 12:
        .choice(
          random.oneIn(3)
            ? .none : random.oneIn(2) ? .one(leaf()) : .two(x: list(3) { $0.leaf() }, random.oneIn(2) ? nil : text()))
      case 13: .texts(list(4) { $0.text() })
      case 14: .numbers(Dictionary(list(4) { ($0.random.int(-20...2000), $0.double()) }) { $1 })
      case 15, 16: .list(list(5) { $0.random.oneIn(5) ? nil : $0.tree(depth + 1) })
      case 17, 18: .map(Dictionary(members(depth, areUnique: true)) { $1 })
      case 19, 20, 21: .members(members(depth, areUnique: false))
      case 22: .nested(members(depth, areUnique: true))
      case 23: .flat(leaf(), members(depth, areUnique: false))
      default: .nothing
      }
    }
  }

  @Test(arguments: [false, true])
  func theBytesAreFoundations(isHostile: Bool) throws {
    var maker = Maker(random: SeededGenerator(isHostile ? "hostile" : "usual"), isHostile: isHostile)
    var (quick, bytes) = (0, 0)
    for number in 0..<4000 {
      let value = [maker.tree(0), maker.tree(0)]
      let slow = try WarrenJSON.encoder.encode(value)
      let body = TextEncoder.encode(value)
      let isPlain = value.allSatisfy(\.isPlain)
      if body != (isPlain ? slow : nil) {
        let text = body.map { String(decoding: $0, as: UTF8.self).debugDescription } ?? "doubt"
        Issue.record("value \(number): \(text), not \(String(decoding: slow, as: UTF8.self).debugDescription)")
        Issue.record(maker.random.replay)
        return
      }
      #expect(try WarrenJSON.encode(value) == slow, maker.random.replay)
      if isPlain { quick += 1 }
      bytes += slow.count
    }
    // Else it would be for nothing.
    #expect(quick > (isHostile ? 1000 : 2500), maker.random.replay)
    #expect(quick < 4000, maker.random.replay)
    #expect(bytes > 400_000, maker.random.replay)
  }
}
