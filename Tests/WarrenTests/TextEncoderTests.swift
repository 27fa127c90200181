import Foundation
import Testing

@testable import Warren

/// The quick encoder may only say what Foundation's says, and has to say it for what events nearly always are.
struct TextEncoderTests {
  /// Compares with Foundation's encoder, and looks which way was taken.
  private func check(
    _ value: some Encodable, isQuick: Bool = true, _ comment: Comment? = nil,
    at location: SourceLocation = #_sourceLocation
  ) {
    let slow = Result { try String(decoding: WarrenJSON.encoder.encode(value), as: UTF8.self) }
    guard case .success(let expected) = slow else {
      Issue.record("Foundation refuses this: \(slow)", sourceLocation: location)
      return
    }
    let quick = TextEncoder.encode(value).map { String(decoding: $0, as: UTF8.self) }
    // Bytes, because to `String` two spellings may be equal.
    #expect(quick.map { Array($0.utf8) } == (isQuick ? Array(expected.utf8) : nil), comment, sourceLocation: location)
    let both = try? Array(WarrenJSON.encode(value))
    #expect(both == Array(expected.utf8), comment, sourceLocation: location)
  }

  // MARK: Common shapes

  private enum Colour: String, Codable { case red, green }
  private enum Level: Int, Codable { case low = 1, high }
  private struct Sku: RawRepresentable, Codable { var rawValue: String }
  private enum Shape: Codable {
    case point
    case circle(radius: Double)
    case box(Int, Int)
    indirect case both(first: Shape, Shape)
  }
  @propertyWrapper private struct Clamped: Codable {
    var wrappedValue: Int
    init(wrappedValue: Int) { self.wrappedValue = wrappedValue }
    init(from decoder: any Decoder) throws { wrappedValue = try decoder.singleValueContainer().decode(Int.self) }
    func encode(to encoder: any Encoder) throws {
      var container = encoder.singleValueContainer()
      try container.encode(wrappedValue)
    }
  }
  private struct Line: Codable {
    var sku: Sku
    var quantity: UInt16
    var price: Double?
  }
  private struct Order: Codable {
    var zone = "north/west \"7\""
    var id: Int64 = 4711
    var amount = 129.95
    var rate: Float = 0.1
    var paid = true
    var placedAt = Date(milliseconds: 1_750_000_000_123)
    var paidAt: Date?
    var colour = Colour.green
    var level: Level? = .high
    var shapes: [Shape] = [.point, .circle(radius: 2.5), .box(1, -2), .both(first: .point, .box(0, 0))]
    var lines = [Line(sku: Sku(rawValue: "b"), quantity: 2, price: 1), Line(sku: Sku(rawValue: "a"), quantity: 1)]
    var tags: Set<String> = ["one"]
    var counts = ["b": 1, "a": 2, "aa": 3, "B": 4, "": 5]
    var byYear = [2024: "x", 2025: "y", -1: "z", 10: "w"]
    var holes: [Int?] = [1, nil, 3]
    var url = URL(string: "https://example.com/a?b=c&d=ü")
    var data = Data([0, 1, 250, 255, 63, 62])
    var uuid = UUID()
    @Clamped var clamped = 5
    var matrix = [[1.0, 2.5], []]
    var empty: [String: Int] = [:]
    var nothing: Empty? = Empty()
  }
  private struct Empty: Codable {}

  @Test func commonShapesTakeTheQuickWay() {
    check(Order())
    check([Order(), Order(id: -1, paidAt: Date(milliseconds: -1), level: nil, url: nil)])
    check(["order": Order()])
    check(Shape.point)
    check(Shape.both(first: .circle(radius: 1), .both(first: .point, .box(1, 2))))
    check(Empty())
  }

  @Test func fragments() {
    check("text")
    check("")
    check(true)
    check(5)
    check(1.5)
    check(Float(1.5))
    check(Int?.none)
    check(Int?.some(1))
    check(Int??.some(.none))
    check([Int]())
    check([String: Int]())
    check(Colour.red)
    check(Level.low)
    check(Date(milliseconds: 0))
    check(Date?.some(Date(milliseconds: 0)))
    check(Data())
    check(Data?.some(Data([1])))
    check(UUID())
    check(URL(string: "a/b"))
    check(URL(string: "b", relativeTo: URL(string: "https://example.com/a/")))
    check(JSON.object(["b": .array([.null, .bool(true), .int(1), .double(2.5)]), "a": .string("é")]))
    check(1...3)
    check(ContiguousArray([1, 2]))
    check(1...)
    check([[UInt8]()])
  }

  @Test func dates() {
    for milliseconds: Int64 in [
      -62_167_219_200_000, 253_402_300_799_999, 0, -1, 1, 951_782_400_000, 1_750_000_000_999,
    ] {
      check([Date(milliseconds: milliseconds)])
      check(["at": Date(milliseconds: milliseconds)])
    }
    check(Date(timeIntervalSince1970: 0.0005))
    check(Date(timeIntervalSince1970: 1_750_000_000.1239))
  }

  @Test func integers() {
    struct All: Encodable {
      var a = [Int8.min, .max]
      var b = [Int16.min, .max]
      var c = [Int32.min, .max]
      var d = [Int64.min, .max, 0, -1, 9, 10, 99, 100, -10]
      var e = [Int.min, .max]
      var f = [UInt8.max]
      var g = [UInt16.max]
      var h = [UInt32.max]
      var i = [UInt64.max, 0, 10_000_000_000_000_000_000]
      var j = [UInt.max]
      var k = Int8.min
      var l = Int16.min
      var m = Int32.min
      var n = Int64.min
      var o = Int.min
      var p = UInt8.max
      var q = UInt16.max
      var r = UInt32.max
      var s = UInt64.max
      var t = UInt.max
    }
    check(All())
    check([Int128.max], isQuick: false)
    check([UInt128.max], isQuick: false)
    check(["a": Int128.min], isQuick: false)
    check(Int128(1), isQuick: false)
  }

  @Test func floatingPoint() {
    var random = SeededGenerator()
    var doubles: [Double] = [
      0, -0.0, 1, -1, 0.1, -0.1, 100, 1e15, 1e16, 1e17, 1e20, 1e22, 1e23, 1e-4, 1e-5, .pi, 123_456_789_012,
      0x1p52, 0x1p53, 0x1p53 - 1, 0x1p53 + 2, 0x1p54, -0x1p53, 0x1p63, -0x1p63, 0x1p64, .leastNonzeroMagnitude,
      .leastNormalMagnitude, .greatestFiniteMagnitude, 2.5, 4503599627370497.5,
    ]
    var floats: [Float] = [
      0, -0.0, 1, -1, 0.1, 16_777_216, 16_777_218, 33_554_432, 1e7, 1e8, 1e20, 1e-4, 1e-5, .pi,
      .leastNonzeroMagnitude, .greatestFiniteMagnitude,
    ]
    for _ in 0..<5000 {
      let double = Double(bitPattern: random.next())
      if double.isFinite { doubles.append(double) }
      doubles.append(Double(random.int(-1_000_000...1_000_000)) / 100)
      let float = Float(bitPattern: UInt32(truncatingIfNeeded: random.next()))
      if float.isFinite { floats.append(float) }
    }
    check(doubles, random.replay)
    check(floats, random.replay)
    check(doubles.map { ["a": $0] }, random.replay)
    check(floats.map { ["a": $0] }, random.replay)
  }

  @Test func everyByteAtEveryPlaceOfAText() {
    var texts: [String] = []
    for scalar in (UInt32(0)...0x100).compactMap(Unicode.Scalar.init) {
      for before in 0...9 {
        let text = String(repeating: "x", count: before) + String(Character(scalar))
        texts += [text, text + "yyyyyyyyyy"]
      }
    }
    texts += [
      "\u{2028}\u{2029}", "e\u{301}", "🐇👩‍👩‍👧", "\r\n", "\u{feff}", "\u{10ffff}", "//", "日本語日本語", "\"\"\"\"\"\"\"\"\"\"",
    ]
    check(texts)
    check(String(repeating: "long \n", count: 10_000))
    for text in texts where !text.isEmpty { check(Sku(rawValue: text)) }
  }

  // MARK: Keys

  /// A list of members in an order of its own, which may have a key twice.
  private struct Members: Encodable {
    var members: [(String, Int)]
    init(_ members: [(String, Int)]) { self.members = members }
    init(_ keys: String...) { members = keys.enumerated().map { ($1, $0) } }
    func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: Key.self)
      for (key, value) in members { try container.encode(value, forKey: Key(key)) }
    }
  }
  private struct Key: CodingKey {
    var stringValue: String
    var intValue: Int?
    init(_ key: String) { stringValue = key }
    init?(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }

  @Test func keysAreInTheOrderOfTheirBytes() {
    check(Members("b", "a"))
    check(Members("a", "b", "ab", "", "B", "_", "a0", "a1", "a10", "a2", "~", "/"))
    check(Members("größe", "grosse", "groß", "Ärger", "zebra", "\u{2ff}", "\u{7f}", "ü"))
    check(Members((0..<300).map { ("key\($0 * 7919 % 300)", $0) }))
    check(Members((0..<300).map { ("key\(1000 + $0)", $0) }))
    check([Members("b", "a"), Members("d", "c", "b"), Members()])
  }

  @Test func keysThatNeedASecondLook() {
    for key in ["\"", "\\", "\n", "\u{1}", "e\u{301}", "\u{212a}", "日本", "🐇", "\u{37e}", "\u{300}"] {
      check(Members(key), isQuick: false)
      check([key: 1], isQuick: false)
      check(Members("b", key, "a"), isQuick: false)
    }
    check(Members("é", "e\u{301}"), isQuick: false)
    check(Members("K", "\u{212a}"), isQuick: false)
  }

  @Test func aKeyTwiceIsLeftToFoundation() {
    check(Members("a", "a"), isQuick: false)
    check(Members("b", "a", "b"), isQuick: false)
    check(Members("a", "b", "a", "c"), isQuick: false)
    check([Members("a", "a")], isQuick: false)
  }

  private enum Plan: String, Codable, Hashable { case free }
  private enum Unit: String, Codable, Hashable, CodingKeyRepresentable { case kg, g }

  @Test func dictionariesOfOtherKeys() {
    check([Plan.free: 1])
    check([Unit.kg: 1, .g: 2])
    check([UUID(): 1])
    check([1.5: 1])
    check([true: [1: [Plan.free: "x"]]])
  }

  // MARK: Codings by hand

  /// A coding as somebody writes it.
  private struct Custom: Encodable {
    let body: (any Encoder) throws -> Void
    init(_ body: @escaping (any Encoder) throws -> Void) { self.body = body }
    func encode(to encoder: any Encoder) throws { try body(encoder) }
  }

  /// At the top, and within others.
  private func checkEverywhere(
    isQuick: Bool = true, at location: SourceLocation = #_sourceLocation, _ body: @escaping (any Encoder) throws -> Void
  ) {
    let custom = Custom(body)
    check(custom, isQuick: isQuick, at: location)
    check([custom, custom], isQuick: isQuick, at: location)
    check(["b": [custom], "a": []], isQuick: isQuick, at: location)
    check(Optional(custom), isQuick: isQuick, at: location)
    let around = Custom { encoder in
      var container = encoder.container(keyedBy: Key.self)
      try container.encode(1, forKey: Key("y"))
      try container.encode(custom, forKey: Key("x"))
      try container.encode(2, forKey: Key("w"))
    }
    check(around, isQuick: isQuick, at: location)
  }

  @Test func nestedContainers() {
    checkEverywhere { encoder in
      var container = encoder.container(keyedBy: Key.self)
      var list = container.nestedUnkeyedContainer(forKey: Key("list"))
      try list.encode(1)
      try list.encodeNil()
      var inner = list.nestedContainer(keyedBy: Key.self)
      try inner.encode("x", forKey: Key("z"))
      try inner.encodeNil(forKey: Key("y"))
      var deep = list.nestedUnkeyedContainer()
      try deep.encode(contentsOf: [true, false])
      #expect(list.count == 4)
      try list.encode(2.5)
      var object = container.nestedContainer(keyedBy: Key.self, forKey: Key("a"))
      try object.encode(Date(milliseconds: 5), forKey: Key("b"))
      try object.encode([1], forKey: Key("a"))
      try container.encode(Float(1), forKey: Key("c"))
      _ = container.nestedUnkeyedContainer(forKey: Key("b"))
    }
    checkEverywhere { encoder in
      var list = encoder.unkeyedContainer()
      _ = list.nestedContainer(keyedBy: Key.self)
      _ = list.nestedUnkeyedContainer()
      try list.encode(["a": 1])
      _ = list.nestedUnkeyedContainer()
    }
  }

  @Test func containersAskedForTwice() {
    checkEverywhere { encoder in
      var first = encoder.container(keyedBy: Key.self)
      try first.encode(1, forKey: Key("b"))
      var nested = first.nestedUnkeyedContainer(forKey: Key("n"))
      try nested.encode(1)
      var second = encoder.container(keyedBy: Key.self)
      try second.encode(2, forKey: Key("a"))
      try first.encode(3, forKey: Key("c"))
    }
    checkEverywhere { encoder in
      var first = encoder.unkeyedContainer()
      try first.encode(1)
      var second = encoder.unkeyedContainer()
      try second.encode(2)
      try first.encode(3)
      #expect(first.count == 3)
      #expect(second.count == 3)
    }
    // One value's members among another's.
    checkEverywhere { encoder in
      try Line(sku: Sku(rawValue: "a"), quantity: 1).encode(to: encoder)
      var container = encoder.container(keyedBy: Key.self)
      try container.encode(1, forKey: Key("first"))
      try Members("x", "b").encode(to: encoder)
    }
  }

  @Test func containersWrittenToAroundEachOtherAreLeftToFoundation() {
    checkEverywhere(isQuick: false) { encoder in
      var container = encoder.container(keyedBy: Key.self)
      var list = container.nestedUnkeyedContainer(forKey: Key("list"))
      try container.encode(1, forKey: Key("a"))
      try list.encode(2)
    }
    checkEverywhere(isQuick: false) { encoder in
      var list = encoder.unkeyedContainer()
      var first = list.nestedUnkeyedContainer()
      var second = list.nestedUnkeyedContainer()
      try second.encode(2)
      try first.encode(1)
    }
    checkEverywhere(isQuick: false) { encoder in
      var list = encoder.unkeyedContainer()
      let first = list.nestedUnkeyedContainer()
      try list.encode(1)
      var second = list.nestedUnkeyedContainer()
      for _ in 0..<(first.count + 2) { try second.encode(3) }
    }
    // The outer one from within.
    checkEverywhere(isQuick: false) { encoder in
      var container = encoder.container(keyedBy: Key.self)
      let copy = container
      let inner = Custom { encoder in
        var inner = encoder.container(keyedBy: Key.self)
        try inner.encode(1, forKey: Key("b"))
        var copy = copy
        try copy.encode(2, forKey: Key("z"))
        try inner.encode(3, forKey: Key("a"))
      }
      try container.encode(inner, forKey: Key("inner"))
    }
    checkEverywhere(isQuick: false) { encoder in
      var container = encoder.container(keyedBy: Key.self)
      let copy = container
      let inner = Custom { encoder in
        _ = encoder.container(keyedBy: Key.self)
        var copy = copy
        try copy.encode(2, forKey: Key("z"))
      }
      try container.encode(inner, forKey: Key("inner"))
      try container.encode(3, forKey: Key("a"))
    }
  }

  private final class Kept {
    var encoder: (any Encoder)?
    var list: (any UnkeyedEncodingContainer)?
    var object: KeyedEncodingContainer<Key>?
  }

  @Test func whatIsKeptWritesIntoNothing() throws {
    let kept = Kept()
    let keeping = Custom { encoder in
      kept.encoder = encoder
      var container = encoder.container(keyedBy: Key.self)
      kept.list = container.nestedUnkeyedContainer(forKey: Key("list"))
      try kept.list?.encode(1)
      kept.object = container
    }
    let writing = Custom { encoder in
      try kept.list?.encode(2)
      var container = encoder.singleValueContainer()
      try container.encode("written")
    }
    check(keeping)
    check([keeping, writing], isQuick: false)
    // And beyond the end of the call.
    for late in 0...2 {
      let body = TextEncoder.encode(keeping)
      #expect(kept.encoder?.userInfo.isEmpty == true)
      #expect(throws: (any Error).self) {
        switch late {
        case 0: try kept.list?.encode(2)
        case 1: try kept.object?.encode(2, forKey: Key("late"))
        default:
          var container = kept.encoder?.container(keyedBy: Key.self)
          try container?.encode(2, forKey: Key("late"))
        }
      }
      #expect(body == Data(#"{"list":[1]}"#.utf8))
    }
    check(keeping)
  }

  @Test func singleValues() {
    checkEverywhere { encoder in
      var single = encoder.singleValueContainer()
      try single.encode(Members("b", "a"))
    }
    checkEverywhere { encoder in
      var single = encoder.singleValueContainer()
      try single.encode(Optional([Optional(1.5), nil]))
    }
    checkEverywhere { encoder in
      var single = encoder.singleValueContainer()
      try single.encode(Date(milliseconds: 1))
    }
    checkEverywhere { encoder in
      _ = encoder.singleValueContainer()
      var container = encoder.container(keyedBy: Key.self)
      try container.encode(1, forKey: Key("a"))
    }
    checkEverywhere { encoder in
      var single = encoder.singleValueContainer()
      try single.encode(Custom { _ in })
    }
    // Foundation makes the one object of the two.
    checkEverywhere(isQuick: false) { encoder in
      var single = encoder.singleValueContainer()
      try single.encode(Members("b", "a"))
      var container = encoder.container(keyedBy: Key.self)
      try container.encode(1, forKey: Key("c"))
    }
    // Foundation has forgotten the object by then.
    let kept = Kept()
    checkEverywhere(isQuick: false) { encoder in
      var single = encoder.singleValueContainer()
      try single.encode(Custom { kept.object = $0.container(keyedBy: Key.self) })
      try kept.object?.encode(1, forKey: Key("late"))
    }
  }

  /// Foundation ends the process.
  @Test(
    arguments: [
      { encoder in
        var single = encoder.singleValueContainer()
        try single.encode(1)
        try single.encode(2)
      },
      { encoder in
        var single = encoder.singleValueContainer()
        try single.encode("x")
        _ = encoder.container(keyedBy: Key.self)
      },
      { encoder in
        _ = encoder.unkeyedContainer()
        _ = encoder.container(keyedBy: Key.self)
      },
      { encoder in
        var container = encoder.container(keyedBy: Key.self)
        try container.encode(1, forKey: Key("a"))
        var single = encoder.singleValueContainer()
        try single.encode([1])
      },
      { encoder in
        var single = encoder.singleValueContainer()
        try single.encode([1])
        try single.encodeNil()
      },
    ] as [@Sendable (any Encoder) throws -> Void])
  func twoValuesAreInDoubt(_ body: @escaping @Sendable (any Encoder) throws -> Void) {
    #expect(TextEncoder.encode(Custom(body)) == nil)
    #expect(TextEncoder.encode([Custom(body)]) == nil)
    #expect(TextEncoder.encode(["a": Custom { try? body($0) }]) == nil)
  }

  @Test func aValueThatEncodesNothing() {
    let nothing = Custom { _ in }
    check([nothing])
    check(["a": nothing])
    #expect(TextEncoder.encode(nothing) == nil)
    compareErrors(nothing)
  }

  private class Animal: Encodable {
    let name = "Rex"
    enum Keys: CodingKey { case name }
    func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: Keys.self)
      try container.encode(name, forKey: .name)
    }
  }
  private final class Dog: Animal {
    let asksForSuper: Bool
    enum DogKeys: CodingKey { case breed }
    init(asksForSuper: Bool) { self.asksForSuper = asksForSuper }
    override func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: DogKeys.self)
      try container.encode("poodle", forKey: .breed)
      try super.encode(to: asksForSuper ? container.superEncoder() : encoder)
    }
  }

  @Test func classesWithASuperclass() {
    check(Dog(asksForSuper: false))
    check([Dog(asksForSuper: true)], isQuick: false)
    checkEverywhere(isQuick: false) { encoder in
      var container = encoder.container(keyedBy: Key.self)
      try 5.encode(to: container.superEncoder(forKey: Key("five")))
      try container.encode(4, forKey: Key("four"))
    }
    checkEverywhere(isQuick: false) { encoder in
      var list = encoder.unkeyedContainer()
      try Animal().encode(to: list.superEncoder())
      while list.count < 3 { try? list.encode("x") }
    }
    checkEverywhere { encoder in
      var container = encoder.container(keyedBy: Key.self)
      try container.encodeConditional(Animal(), forKey: Key("a"))
      try container.encodeIfPresent(Int?.none, forKey: Key("b"))
      try container.encodeIfPresent(Optional("x"), forKey: Key("c"))
    }
  }

  @Test func whoAsksForThePathIsLeftToFoundation() {
    checkEverywhere(isQuick: false) { encoder in
      var container = encoder.singleValueContainer()
      try container.encode(encoder.codingPath.map(\.stringValue).joined(separator: "."))
    }
    // A path is never shorter than Foundation's, for those who take its end for granted.
    let asking = Custom { encoder in
      let path = encoder.codingPath
      #expect(path.last?.stringValue == "Index 1" || path.last?.intValue == 1)
      #expect(path.first?.stringValue == "a")
      #expect(path.count == 3)
      var container = encoder.singleValueContainer()
      try container.encode(path.count)
    }
    check(["a": ["b": [passing(nil), passing(asking)]]], isQuick: false)
    let atSuper = Custom { encoder in
      var container = encoder.container(keyedBy: Key.self)
      #expect(!container.superEncoder().codingPath.isEmpty)
      try container.encode(1, forKey: Key("a"))
    }
    check(atSuper, isQuick: false)
    checkEverywhere { encoder in
      var container = encoder.singleValueContainer()
      try container.encode(encoder.userInfo.count)
    }
  }
  private func passing(_ inner: Custom?) -> Custom {
    Custom { encoder in
      var container = encoder.singleValueContainer()
      if let inner { try container.encode(inner) } else { try container.encode(0) }
    }
  }

  // MARK: Errors

  private struct Refusal: Error {}

  @Test func anErrorThatIsCaughtIsLeftToFoundation() {
    let partly = Custom { encoder in
      var container = encoder.container(keyedBy: Key.self)
      try container.encode(1, forKey: Key("partly"))
      throw Refusal()
    }
    checkEverywhere(isQuick: false) { encoder in
      var container = encoder.container(keyedBy: Key.self)
      do {
        try container.encode(partly, forKey: Key("a"))
      } catch is Refusal {
        try container.encode("instead", forKey: Key("a"))
      }
    }
    checkEverywhere(isQuick: false) { encoder in
      var list = encoder.unkeyedContainer()
      try? list.encode(partly)
      try list.encode(1)
    }
    checkEverywhere(isQuick: false) { encoder in
      var list = encoder.unkeyedContainer()
      try? list.encode(Double.nan)
      try? list.encode([Double.nan])
      try? list.encode(Date(timeIntervalSince1970: .infinity))
      try list.encode(1)
    }
    // What it has written itself stays.
    checkEverywhere { encoder in
      var container = encoder.container(keyedBy: Key.self)
      try container.encode(1, forKey: Key("b"))
      try? partly.encode(to: encoder)
      try container.encode(1, forKey: Key("a"))
    }
  }

  private func compareErrors(_ value: some Encodable, at location: SourceLocation = #_sourceLocation) {
    #expect(TextEncoder.encode(value) == nil, sourceLocation: location)
    func thrown(_ body: () throws -> Data) -> String? {
      do {
        return "no error, but \(try body())"
      } catch EncodingError.invalidValue(let value, let context) {
        let path = context.codingPath.map(\.stringValue)
        return "\(type(of: value)) at \(path): \(context.debugDescription)"
      } catch is Refusal {
        return "refused"
      } catch {
        return nil
      }
    }
    let slow = thrown { try WarrenJSON.encoder.encode(value) }
    #expect(slow != nil, sourceLocation: location)
    #expect(slow?.hasPrefix("no error") == false, sourceLocation: location)
    #expect(thrown { try WarrenJSON.encode(value) } == slow, sourceLocation: location)
  }

  @Test func errorsAreFoundations() {
    for value in [Double.nan, .infinity, -.infinity] {
      compareErrors(value)
      compareErrors([value])
      compareErrors(["a": [1, value]])
      compareErrors(Float(value))
      compareErrors([Float(value)])
      compareErrors(["a": Float(value)])
      compareErrors(Shape.circle(radius: value))
    }
    for seconds in [-62_167_219_201, 253_402_300_800, .nan, .infinity] {
      compareErrors(Date(timeIntervalSince1970: seconds))
      compareErrors(Order(placedAt: Date(timeIntervalSince1970: seconds)))
    }
    compareErrors(["a": Custom { _ in throw Refusal() }])
    compareErrors(Custom { _ in throw Refusal() })
  }

  @Test func decimalsAreLeftToFoundation() {
    check(Decimal(1.25), isQuick: false)
    check([Decimal(1)], isQuick: false)
    check(["a": Optional(Decimal(1))], isQuick: false)
    check(JSON.decimal(1.5), isQuick: false)
  }

  // MARK: Depth

  private indirect enum Nest: Encodable {
    case end
    case list(Nest)
    case object(Nest)
    case single(Nest)
    case nested(Int)
    func encode(to encoder: any Encoder) throws {
      switch self {
      case .end: break
      case .list(let inner):
        var container = encoder.unkeyedContainer()
        try container.encode(inner)
      case .object(let inner):
        var container = encoder.container(keyedBy: Key.self)
        try container.encode(inner, forKey: Key("a"))
      case .single(let inner):
        var container = encoder.singleValueContainer()
        try container.encode(inner)
      case .nested(let count):
        var container = encoder.unkeyedContainer()
        for _ in 0..<count { container = container.nestedUnkeyedContainer() }
      }
    }
    static func deep(_ count: Int, _ around: (Nest) -> Nest) -> Nest {
      (0..<count).reduce(.end) { inner, _ in around(inner) }
    }
  }

  @Test func depth() {
    for around in [Nest.list, Nest.object, Nest.single] {
      check([Nest.deep(90, around)])
      check([Nest.deep(150, around)], isQuick: false)
      check([Nest.deep(400, around)], isQuick: false)
    }
    compareErrors(Nest.deep(600, Nest.list))
    compareErrors(Nest.deep(600, Nest.object))
    check([Nest.nested(90)])
    check([Nest.nested(300)], isQuick: false)
    compareErrors(Nest.nested(1000))
  }
}
