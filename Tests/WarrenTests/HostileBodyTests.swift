import Foundation
import Testing
import Warren

/// Bodies that strangers may send. Each is a typed error or a value, never a trap, a hang or a half-read value.
@Suite struct HostileBodyTests {
  enum Account: EventFamily, Hashable {
    static let family: EventType = "account"
    static var eventTypes: [EventType] { ["account.opened", "account.closed", "account.renamed"] }
    case opened(owner: String)
    case closed
    case renamed(String)
  }

  static let user: EventType = "user.created"

  private func refused(_ body: Data, _ comment: Comment) {
    for type: EventType in ["account.opened", "account.closed", "account.renamed"] {
      let error = warrenError { _ = try Account.decoded(type: type, body: body) }
      #expect(error?.code == .decodingFailed, "\(type): \(comment)")
    }
    let error = warrenError { _ = try UserCreated.decoded(type: Self.user, body: body) }
    #expect(error?.code == .decodingFailed, comment)
  }

  // Not as arguments of the test: the runner prints those as they are.
  @Test func textThatIsNotJSON() {
    for text in [
      "", " ", "\n", "{", "}", "{}{}", "[", "]", "nul", "tru", "nulll", "'a'", "\"", "\"a", "a", ":", ",", "{\"a\"}",
      "{\"a\":}",
      "{,}", "{\"a\" 1}", "[1,]", "// c\n{}", "/**/{}", "{a:1}", "{} x", "{}\0", "\0{}", "{}{", "{}}", "{}]", "{},{}",
      "\"a\" \"b\"", "\u{feff}", "<user/>",
    ] { refused(Data(text.utf8), "\(text.debugDescription)") }
  }

  /// Valid only together with what a family puts around its payload.
  @Test(arguments: [
    #"1},"x":{"#, #"{"owner":"a"}},"closed":{"#, #"{"owner":"a"},"x":1"#, #""a"},"_1":{"b":1"#, #""a"}},"x":{"y":{"#,
    #"{"owner":"a""#,
    #""a","_1":"b""#, "\"a\"}}", "{\"owner\":\"a\"}}", "1}}{", "{}},{", #"{"owner":"a"}}"#,
  ])
  func injections(_ text: String) { refused(Data(text.utf8), "\(text)") }

  @Test func bytesThatAreNotText() {
    refused(Data([0xff, 0xfe]), "a byte order mark alone")
    refused(Data([0x80]), "a continuation byte")
    refused(Data([0x00]), "a zero byte")
    refused(Data(repeating: 0, count: 1000), "zero bytes")
    refused(Data([0xef, 0xbb, 0xbf]), "a byte order mark of UTF-8 alone")
    refused(Data((0...255).map { UInt8($0) }), "all bytes")
  }

  @Test(
    arguments: [[0xff], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe2, 0x82], [0x80]] as [[UInt8]])
  func textWithInvalidUTF8IsRefusedAndNotRepaired(_ bytes: [UInt8]) {
    func body(_ before: String, _ after: String) -> Data { Data(before.utf8) + bytes + Data(after.utf8) }
    let opened = warrenError { _ = try Account.decoded(type: "account.opened", body: body(#"{"owner":"a"#, #""}"#)) }
    #expect(opened?.code == .decodingFailed)
    let renamed = warrenError { _ = try Account.decoded(type: "account.renamed", body: body("\"a", "\"")) }
    #expect(renamed?.code == .decodingFailed)
    let user = warrenError { _ = try UserCreated.decoded(type: Self.user, body: body(#"{"id":1,"name":"a"#, #""}"#)) }
    #expect(user?.code == .decodingFailed)
  }

  @Test(arguments: [#""\ud800""#, #""\udc00\ud800""#, #""\u12""#, #""\x41""#, "\"a\nb\"", "\"\u{1}\"", #""\"#])
  func textWithInvalidEscapesIsRefused(_ json: String) {
    let renamed = warrenError { _ = try Account.decoded(type: "account.renamed", body: Data(json.utf8)) }
    #expect(renamed?.code == .decodingFailed)
    let user = warrenError {
      _ = try UserCreated.decoded(type: Self.user, body: Data(#"{"id":1,"name":\#(json)}"#.utf8))
    }
    #expect(user?.code == .decodingFailed)
  }

  /// Handlers run on threads with small stacks.
  @Test(arguments: ["[", "{\"a\":", "[{\"a\":["])
  func nestingOfHundredThousandLevelsIsRefused(_ opening: String) {
    let deep = String(repeating: opening, count: 100_000)
    refused(Data(deep.utf8), "unclosed")
    let closing = String(opening.reversed().compactMap { $0 == "[" ? "]" : $0 == "{" ? "}" : nil })
    refused(Data((deep + "1" + String(repeating: closing, count: 100_000)).utf8), "closed")
    let inside = #"{"owner":"a","x":\#(deep)1\#(String(repeating: closing, count: 100_000))}"#
    refused(Data(inside.utf8), "in a key that nobody reads")
  }

  @Test func duplicateKeysHaveOneMeaningEverywhere() throws {
    let user = try UserCreated.decoded(type: Self.user, body: Data(#"{"id":1,"name":"a","name":"b"}"#.utf8))
    let account = try Account.decoded(type: "account.opened", body: Data(#"{"owner":"a","owner":"b"}"#.utf8))
    #expect(account == .opened(owner: user.name))
  }

  @Test(arguments: ["1", "\"a\"", "null", "true", "[]", "[1]", "[{\"owner\":\"a\"}]", "1.5e3", "{}"])
  func jsonOfAnotherKindIsRefusedWhereAnObjectWithFieldsIsExpected(_ json: String) {
    let opened = warrenError { _ = try Account.decoded(type: "account.opened", body: Data(json.utf8)) }
    #expect(opened?.code == .decodingFailed)
    let user = warrenError { _ = try UserCreated.decoded(type: Self.user, body: Data(json.utf8)) }
    #expect(user?.code == .decodingFailed)
  }

  @Test(arguments: ["1", "\"a\"", "null", "true", "[]"])
  func aCaseWithoutPayloadWantsAnObject(_ json: String) {
    let error = warrenError { _ = try Account.decoded(type: "account.closed", body: Data(json.utf8)) }
    #expect(error?.code == .decodingFailed)
  }

  @Test(arguments: ["1", "null", "true", "[]", "{}", "[\"a\"]", #"{"_0":"a"}"#, #"{"name":"a"}"#])
  func aCaseWithOneTextWantsThatText(_ json: String) {
    let error = warrenError { _ = try Account.decoded(type: "account.renamed", body: Data(json.utf8)) }
    #expect(error?.code == .decodingFailed)
  }

  /// A byte order mark is not JSON (RFC 8259 §8.1), but readers may ignore it.
  @Test func aByteOrderMarkMeansTheSameForStructsAndFamilies() {
    let mark = Data([0xef, 0xbb, 0xbf])
    let user = try? UserCreated.decoded(type: Self.user, body: mark + Data(#"{"id":1,"name":"a"}"#.utf8))
    let opened = try? Account.decoded(type: "account.opened", body: mark + Data(#"{"owner":"a"}"#.utf8))
    #expect((user == nil) == (opened == nil))
    if let user { #expect(user == UserCreated(id: 1, name: "a")) }
    if let opened { #expect(opened == .opened(owner: "a")) }
  }

  @Test(arguments: [String.Encoding.utf16BigEndian, .utf16LittleEndian, .utf32BigEndian, .utf32LittleEndian, .utf16])
  func otherEncodingsAreReadRightOrRefused(_ encoding: String.Encoding) throws {
    let body = try #require(#"{"owner":"é"}"#.data(using: encoding))
    if let value = try? Account.decoded(type: "account.opened", body: body) { #expect(value == .opened(owner: "é")) }
    let user = try #require(#"{"id":1,"name":"é"}"#.data(using: encoding))
    if let value = try? UserCreated.decoded(type: Self.user, body: user) {
      #expect(value == UserCreated(id: 1, name: "é"))
    }
  }

  @Test(arguments: [
    "1e400", "99999999999999999999999", "1.5", "-9223372036854775809", "01", "+1", ".5", "1.", "0x1", "NaN", "--1",
    "1e", "\"1\"",
  ])
  func numbersThatDoNotFitAreRefused(_ json: String) {
    let error = warrenError {
      _ = try UserCreated.decoded(type: Self.user, body: Data(#"{"id":\#(json),"name":""}"#.utf8))
    }
    #expect(error?.code == .decodingFailed)
  }

  @Test func aTypeOfAnotherFamilyOrAnUnknownCaseIsRefused() {
    for type: EventType in [
      "account", "account.unknown", "accounts.opened", "other.opened", "account.opened.x", "account.Opened",
      "account._0",
      "account.opened-", "account.-opened", "account.o-p-e-n-e-d",
    ] {
      let error = warrenError { _ = try Account.decoded(type: type, body: Data(#"{"owner":"a"}"#.utf8)) }
      #expect(error?.code == .decodingFailed, "\(type)")
    }
  }

  @Test(.timeLimit(.minutes(1))) func aTypeOfManyWordsIsRefusedAtOnce() throws {
    for words in [9, 16, 24, 60] {
      let type = try EventType("account." + Array(repeating: "a", count: words).joined(separator: "-"))
      for _ in 0..<10 {
        #expect(warrenError { _ = try Account.decoded(type: type, body: Data("{}".utf8)) }?.code == .decodingFailed)
      }
    }
  }

  private struct Opened: Decodable { var owner: String }

  /// What a payload says when it stands alone, read without the family.
  private func alone(_ type: EventType, _ body: Data) -> Account? {
    let decoder = JSONDecoder()
    switch type {
    case "account.opened": return (try? decoder.decode(Opened.self, from: body)).map { .opened(owner: $0.owner) }
    case "account.closed": return (try? decoder.decode([String: Ignored].self, from: body)).map { _ in .closed }
    default: return (try? decoder.decode(String.self, from: body)).map { .renamed($0) }
    }
  }
  private struct Ignored: Decodable { init(from decoder: any Decoder) {} }

  /// Random damage: a family reads a body exactly as the payload alone would be read, so nothing that is put around it
  /// can complete it; and what it has read can be written and read again.
  @Test func damagedBodiesAreRefusedOrMeanSomething() throws {
    var random = SeededGenerator()
    let seeds: [(EventType, String)] = [
      ("account.opened", #"{"owner":"Grace \"H\" \u00e9"}"#), ("account.closed", "{}"), ("account.renamed", #""Ada""#),
      ("account.opened", #"{"owner":"a","x":[1,{"y":null}]}"#),
    ]
    let pieces = [
      "{", "}", "[", "]", ",", ":", "\"", "\\", "1", "null", "_0", "\"owner\":", "},\"x\":{", " ", "\u{0}", "é",
    ]
    var accepted = 0
    for _ in 0..<8000 {
      let (type, text) = random.pick(seeds)
      var bytes = Array(text.utf8)
      for _ in 0..<random.int(1...3) {
        let at = random.int(0...bytes.count)
        switch random.int(0...3) {
        case 0: bytes.insert(contentsOf: random.pick(pieces).utf8, at: at)
        case 1 where at < bytes.count: bytes[at] = UInt8(random.int(0...255))
        case 2 where at < bytes.count: bytes.removeSubrange(at..<min(bytes.count, at + random.int(1...4)))
        default: bytes.append(contentsOf: random.pick(pieces).utf8)
        }
      }
      let body = Data(bytes)
      let expected = alone(type, body)
      do {
        let value = try Account.decoded(type: type, body: body)
        accepted += 1
        if value != expected {
          Issue.record(
            "\(body.text.debugDescription) was read as \(value) and not as \(String(describing: expected)) (\(random.replay))"
          )
        }
        let again = try value.encoded()
        if try again.type != type || Account.decoded(type: type, body: again.body) != value {
          Issue.record("\(body.text.debugDescription) became \(value), which does not come back (\(random.replay))")
        }
      } catch {
        #expect((error as? WarrenError)?.code == .decodingFailed, random.replay)
        // Zero bytes make Foundation read a body that stands alone as UTF-16, which JSON between programs must not be.
        if let expected, !bytes.contains(0) {
          Issue.record("\(body.text.debugDescription) was refused and is \(expected): \(error) (\(random.replay))")
        }
      }
    }
    #expect(accepted > 100, "the generator makes too few valid bodies to show anything")
  }
}

/// How deep a body may be nested, and that finding out costs nothing.
struct NestingTests {
  private static func nested(_ depth: Int, _ opening: String, _ closing: String) -> Data {
    Data((String(repeating: opening, count: depth) + "1" + String(repeating: closing, count: depth)).utf8)
  }

  private struct Tree: Event {
    static let eventType: EventType = "tree"
    var a: [String: Tree]?
  }

  @Test(arguments: [("[", "]"), (#"{"a":"#, "}"), (#"[{"a":"#, "}]")])
  func upTo128LevelsAreRead(opening: String, closing: String) throws {
    let levels = opening.count { $0 == "[" || $0 == "{" }
    try Nesting.check(Self.nested(128 / levels, opening, closing))
    let error = warrenError { try Nesting.check(Self.nested(128 / levels + 1, opening, closing)) }
    #expect(error?.message == "it is nested more than 128 deep")
  }

  @Test func bracketsInTextsDoNotCount() throws {
    let text = String(repeating: #"[{\"\\\\["#, count: 300)
    try Nesting.check(Data(#"{"a":"\#(text)","b":["\\"]}"#.utf8))
    let wide = String(repeating: "[{}],", count: 10_000)
    try Nesting.check(Data("[\(wide)1]".utf8))
  }

  @Test func aRecursiveTypeIsReadInTimeOrRefused() {
    for depth in [60, 64, 100, 256, 400, 100_000] {
      let body = Self.nested(depth, #"{"a":{"x":"#, "}}")
      let start = ContinuousClock.now
      let error = warrenError { _ = try Tree.decoded(type: "tree", body: body) }
      #expect(error?.code == .decodingFailed)
      if depth > 64 { #expect(error?.message.contains("nested more than 128 deep") == true) }
      // Far beyond what it takes: without the bound it would be minutes.
      #expect(ContinuousClock.now - start < .seconds(5), "\(depth)")
    }
  }
}
