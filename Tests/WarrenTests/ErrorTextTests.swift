import Foundation
import Testing
import Warren

/// Errors go to logs and into headers of dead letters. They name the place, never what was found there.
@Suite struct ErrorTextTests {
  private static let secret = "SECRET"

  private struct Address: Codable, Hashable {
    var city: String
    var since: Date
    var kind: Kind
    enum Kind: String, Codable { case home, work }
  }

  private struct Person: Event {
    static let eventType: EventType = "person.moved"
    var id: Int
    var small: Int8
    var flag: Bool
    var addresses: [Address]
    var photo: Data
    var site: URL
    var uuid: UUID
  }

  private enum PersonEvent: EventFamily {
    static let family: EventType = "person"
    static var eventTypes: [EventType] { ["person.moved", "person.renamed", "person.wrapped", "person.died"] }
    case moved(to: Address, id: Int)
    case renamed(Int)
    case wrapped(Address)
    case died
  }

  private static var valid: [String: Any] {
    [
      "id": 1, "small": 2, "flag": true, "photo": "AAAA", "site": "https://example.com",
      "uuid": "01890A5D-AC96-774B-BCCE-B302099A8057",
      "addresses": [["city": "Bern", "since": "1970-01-01T00:00:00.000Z", "kind": "home"]],
      "to": ["city": "Bern", "since": "1970-01-01T00:00:00.000Z", "kind": "home"], "city": "Bern",
      "since": "1970-01-01T00:00:00.000Z", "kind": "home",
    ]
  }

  /// Puts a secret, in many shapes, where something else belongs.
  private func damaged(_ value: Any, _ random: inout SeededGenerator) -> Any {
    let secrets: [Any] = [
      Self.secret, "x \(Self.secret)", [Self.secret], ["k": Self.secret], [[Self.secret]], NSNull(), -987_654_321_987,
      98765.4321, true,
    ]
    if random.oneIn(3) { return random.pick(secrets) }
    if var object = value as? [String: Any], let key = object.keys.sorted().randomElement(using: &random) {
      object[key] = random.oneIn(5) ? nil : damaged(object[key] ?? NSNull(), &random)
      return object
    }
    if let list = value as? [Any], let first = list.first { return [damaged(first, &random)] }
    return random.pick(secrets)
  }

  private static let marks = [secret, "987654321", "98765", "Bern"]

  @Test func decodingErrorsNeverShowWhatTheBodyHolds() async throws {
    var random = SeededGenerator()
    var refusals: Set<String> = []
    for _ in 0..<1500 {
      var value = Self.valid
      value = damaged(value, &random) as? [String: Any] ?? value
      for key in value.keys.sorted() where random.oneIn(6) { value[key] = damaged(value[key] ?? NSNull(), &random) }
      let whole: Any = random.oneIn(10) ? Self.secret : value
      var body = try JSONSerialization.data(withJSONObject: whole, options: .fragmentsAllowed)
      if random.oneIn(10) { body = body.dropLast(random.int(1...3)) }
      if random.oneIn(10) { body.append(contentsOf: Self.secret.utf8) }
      var texts: [String] = []
      if let error = warrenError({ _ = try Person.decoded(type: "person.moved", body: body) }) {
        texts += [error.message, "\(error)", String(reflecting: error.code)]
      }
      for type in PersonEvent.eventTypes {
        if let error = warrenError({ _ = try PersonEvent.decoded(type: type, body: body) }) {
          texts.append(error.message)
        }
      }
      let result = await On(Person.self) { _, _ in }.handle(delivery(body.text, type: "person.moved"))
      texts.append(result.words)
      for text in texts {
        refusals.insert(text)
        if let mark = Self.marks.first(where: text.contains) { Issue.record("\(mark) in: \(text) (\(random.replay))") }
        if !text.isOneHarmlessLine { Issue.record("\(text.debugDescription) (\(random.replay))") }
      }
    }
    #expect(refusals.count > 20, "too few different errors to show anything")
  }

  private struct Score: Event {
    static let eventType: EventType = "test.score"
    var secretScores: [Double]
    var label: String
  }

  @Test func encodingErrorsNeverShowTheEvent() {
    let error = warrenError { _ = try Score(secretScores: [1.25, -.infinity], label: Self.secret).encoded() }
    #expect(error?.message == "Score (test.score): a value at secretScores.[1] has no JSON form")
  }

  @Test(arguments: [
    (#"{"id":1}"#, #"user.created is not a UserCreated: key "name" is missing at the top level"#),
    (#"{"id":"1","name":""}"#, "user.created is not a UserCreated: expected Int at id"),
    (#"{"id":null,"name":""}"#, "user.created is not a UserCreated: null where Int is expected at id"),
    (#"{"id":1,"name":"#, "user.created is not a UserCreated: not valid JSON, or a number in it does not fit"),
    ("", "user.created is not a UserCreated: not valid JSON, or a number in it does not fit"),
  ])
  func theyNameThePlace(_ json: String, _ message: String) {
    let error = warrenError { _ = try UserCreated.decoded(type: "user.created", body: Data(json.utf8)) }
    #expect(error?.message == message)
    #expect(error?.code == .decodingFailed)
  }

  /// The keys around the payload are not in the body, so they are not in the place.
  @Test(
    arguments: [
      ("person.moved", #"{"id":1,"to":{}}"#, #"key "city" is missing at to"#),
      ("person.moved", "{}", #"key "to" is missing at the top level"#),
      ("person.renamed", #""x""#, "expected Int at the top level"),
      ("person.renamed", "{", "not valid JSON, or a number in it does not fit"),
      ("person.wrapped", #"{"city":1}"#, "expected String at city"),
      ("person.renamed", "1.5", "not valid JSON, or a number in it does not fit"),
    ] as [(EventType, String, String)])
  func theyNameThePlaceInAFamilysBody(_ type: EventType, _ json: String, _ place: String) {
    let error = warrenError { _ = try PersonEvent.decoded(type: type, body: Data(json.utf8)) }
    #expect(error?.message == "\(type) is not a PersonEvent: \(place)")
  }

  private struct Map: Event {
    static let eventType: EventType = "test.map"
    var values: [String: [String: Int]]
  }

  /// Keys are written by strangers too: they must not break a log, or fill it.
  @Test func keysOfStrangersAreShortenedAndMadeHarmless() throws {
    let keys = [
      "\n2026-01-01 error: forged", "\u{1b}[2J", String(repeating: "k", count: 1_000_000), "\u{202e}abc", "\0",
    ]
    for key in keys {
      let bad = try JSONSerialization.data(withJSONObject: ["values": [key: [key: "not a number"]]])
      let error = try #require(warrenError { _ = try Map.decoded(type: "test.map", body: bad) })
      #expect(error.message.hasPrefix("test.map is not a Map: expected Int at values."))
      #expect(error.message.isOneHarmlessLine)
      #expect(error.message.utf8.count < 500)
    }
  }

  private indirect enum Tree: Codable { case node([Tree]), leaf(Int) }

  private struct Forest: Event {
    static let eventType: EventType = "test.forest"
    var tree: Tree
  }

  @Test func aDeepPlaceIsShortened() throws {
    var json = #"{"leaf":{"_0":"x"}}"#
    for _ in 0..<40 { json = #"{"node":{"_0":[\#(json)]}}"# }
    let error = try #require(
      warrenError { _ = try Forest.decoded(type: "test.forest", body: Data(#"{"tree":\#(json)}"#.utf8)) })
    #expect(error.message.hasPrefix("test.forest is not a Forest: expected Int at tree.node."))
    #expect(error.message.hasSuffix("leaf._0"))
    #expect(error.message.utf8.count < 500)
  }
}
