import Foundation
import Testing
import Warren

@Suite struct EventFamilyTests {
  struct Deposit: Codable, Hashable, Sendable {
    var amount: Int
    var note: String?
  }

  struct Options: Codable, Hashable, Sendable {
    var a: Int?
    var b: String?
  }

  indirect enum Shape: Codable, Hashable, Sendable {
    case dot
    case circle(radius: Double)
    case group([Shape])
    case named(String, Shape)
  }

  enum Account: EventFamily, Hashable {
    static let family: EventType = "account"
    static var eventTypes: [EventType] {
      [
        "account.opened", "account.money-deposited", "account.closed", "account.renamed", "account.tagged",
        "account.drawn",
        "account.limit-changed", "account.noted", "account.configured", "account.scored", "account.mixed",
        "account.paired",
      ]
    }
    case opened(owner: String, at: Date)
    case moneyDeposited(Deposit)
    case closed
    case renamed(String)
    case tagged([String: Int])
    case drawn(Shape)
    case limitChanged(from: Int?, to: Int?)
    case noted(String?)
    case configured(Options?)
    case scored([Double])
    case mixed(Options, note: String?)
    case paired(Int, Options?)
  }

  private static let golden: [(Account, EventType, String)] = [
    (
      .opened(owner: "Ada", at: Date(milliseconds: 0)), "account.opened",
      #"{"at":"1970-01-01T00:00:00.000Z","owner":"Ada"}"#
    ),
    (.moneyDeposited(Deposit(amount: 5, note: nil)), "account.money-deposited", #"{"amount":5}"#),
    (
      .moneyDeposited(Deposit(amount: 5, note: "a,{b}\"")), "account.money-deposited", #"{"amount":5,"note":"a,{b}\""}"#
    ),
    (.closed, "account.closed", "{}"),
    (.renamed("Ada"), "account.renamed", #""Ada""#),
    (.renamed(""), "account.renamed", #""""#),
    (.renamed(#"},"x":{"#), "account.renamed", #""},\"x\":{""#),
    (.tagged([:]), "account.tagged", "{}"),
    (.tagged(["b": 1, "a": 2]), "account.tagged", #"{"a":2,"b":1}"#),
    (.tagged(["_0": 1]), "account.tagged", #"{"_0":1}"#),
    (.drawn(.dot), "account.drawn", #"{"dot":{}}"#),
    (.drawn(.circle(radius: 1.5)), "account.drawn", #"{"circle":{"radius":1.5}}"#),
    (
      .drawn(.group([.dot, .named("a", .dot)])), "account.drawn",
      #"{"group":{"_0":[{"dot":{}},{"named":{"_0":"a","_1":{"dot":{}}}}]}}"#
    ),
    (.limitChanged(from: nil, to: nil), "account.limit-changed", "{}"),
    (.limitChanged(from: 1, to: nil), "account.limit-changed", #"{"from":1}"#),
    (.limitChanged(from: nil, to: 2), "account.limit-changed", #"{"to":2}"#),
    (.noted("x"), "account.noted", #""x""#),
    (.noted(nil), "account.noted", "null"),
    (.configured(Options(a: 1, b: nil)), "account.configured", #"{"a":1}"#),
    (.configured(Options()), "account.configured", "{}"),
    (.configured(nil), "account.configured", "null"),
    (.scored([1, 2.5]), "account.scored", "[1,2.5]"),
    (.scored([]), "account.scored", "[]"),
    (.mixed(Options(a: 1), note: "x"), "account.mixed", #"{"_0":{"a":1},"note":"x"}"#),
    (.mixed(Options(a: 1), note: nil), "account.mixed", #"{"_0":{"a":1}}"#),
    (.paired(1, Options(b: "z")), "account.paired", #"{"_0":1,"_1":{"b":"z"}}"#),
    (.paired(1, nil), "account.paired", #"{"_0":1}"#),
  ]

  @Test(arguments: golden) func goldenBodies(_ event: Account, _ type: EventType, _ json: String) throws {
    let (encodedType, body) = try event.encoded()
    #expect(encodedType == type)
    #expect(body.text == json)
    #expect(try Account.decoded(type: type, body: body) == event)
  }

  /// Another program writes white space, another order and fields that we do not know.
  @Test func bodiesOfOtherProgramsAreRead() throws {
    func read(_ type: EventType, _ json: String) throws -> Account {
      try Account.decoded(type: type, body: Data(json.utf8))
    }
    #expect(
      try read("account.opened", " {\n\t\"owner\" : \"Ada\", \"x\":[{}], \"at\": \"1970-01-01T01:00:00+01:00\" } \n")
        == .opened(owner: "Ada", at: Date(milliseconds: 0)))
    #expect(try read("account.closed", #"{"reason":"none"}"#) == .closed)
    #expect(try read("account.limit-changed", #"{"from":null,"to":3}"#) == .limitChanged(from: nil, to: 3))
    #expect(try read("account.configured", #"{"a":null}"#) == .configured(Options()))
    #expect(try read("account.money-deposited", #"{"amount":1,"_0":2}"#) == .moneyDeposited(Deposit(amount: 1)))
    #expect(try read("account.renamed", "\"A\\u0064a\"") == .renamed("Ada"))
  }

  /// Two wire forms of one event would be two different events to everybody who compares bytes.
  @Test func onlyOneFormIsRead() {
    for (type, json) in [
      ("account.money-deposited", #"{"_0":{"amount":1}}"#), ("account.noted", "{}"),
      ("account.noted", #"{"text":"x"}"#),
      ("account.noted", #"{"_0":"x"}"#), ("account.renamed", #"{"renamed":{"_0":"x"}}"#),
      ("account.scored", #"{"_0":[1]}"#),
    ] as [(EventType, String)] {
      let error = warrenError { _ = try Account.decoded(type: type, body: Data(json.utf8)) }
      #expect(error?.code == .decodingFailed, "\(type) \(json)")
    }
  }

  @Test func randomValuesComeBack() throws {
    var random = SeededGenerator()
    func options(_ random: inout SeededGenerator) -> Options {
      Options(a: random.oneIn(2) ? random.int(-9...9) : nil, b: random.oneIn(2) ? random.hostileText() : nil)
    }
    func shape(_ random: inout SeededGenerator, _ depth: Int) -> Shape {
      switch random.int(0...(depth > 4 ? 1 : 3)) {
      case 0: .dot
      case 1: .circle(radius: Double(random.int(-1000...1000)) / 8)
      case 2: .group((0..<random.int(0...3)).map { _ in shape(&random, depth + 1) })
      default: .named(random.hostileText(), shape(&random, depth + 1))
      }
    }
    func event(_ random: inout SeededGenerator) -> Account {
      switch random.int(0...11) {
      case 0:
        .opened(owner: random.hostileText(), at: Date(milliseconds: Int64(random.int(-1_000_000...1_000_000_000))))
      case 1: .moneyDeposited(Deposit(amount: random.int(0...9), note: random.oneIn(2) ? random.hostileText() : nil))
      case 2: .closed
      case 3: .renamed(random.hostileText())
      case 4:
        .tagged(Dictionary((0..<random.int(0...3)).map { _ in (random.hostileText(), 1) }, uniquingKeysWith: { $1 }))
      case 5: .drawn(shape(&random, 0))
      case 6: .limitChanged(from: random.oneIn(2) ? 1 : nil, to: random.oneIn(2) ? 2 : nil)
      case 7: .noted(random.oneIn(2) ? random.hostileText() : nil)
      case 8: .configured(random.oneIn(3) ? nil : options(&random))
      case 9: .scored((0..<random.int(0...3)).map { _ in Double(random.int(0...9)) })
      case 10: .mixed(options(&random), note: random.oneIn(2) ? random.hostileText() : nil)
      default: .paired(random.int(0...9), random.oneIn(2) ? options(&random) : nil)
      }
    }
    var seen: [Data: Account] = [:]
    for _ in 0..<3000 {
      let event = event(&random)
      let (type, body) = try event.encoded()
      #expect(try Account.decoded(type: type, body: body) == event, random.replay)
      // Equal bytes of one type are equal events.
      if let other = seen.updateValue(event, forKey: Data(type.name.utf8) + body), other != event {
        Issue.record("\(other) and \(event) have the same body \(body.text) (\(random.replay))")
      }
    }
  }

  // MARK: what cannot be a family

  private enum Unlisted: EventFamily {
    static let family: EventType = "shop"
    static var eventTypes: [EventType] { ["shop.opened"] }
    case opened
    case moneyRefunded(amount: Int)
  }

  @Test func aCaseThatIsNotListedNamesTheLineToAdd() throws {
    _ = try Unlisted.opened.encoded()
    let error = warrenError { _ = try Unlisted.moneyRefunded(amount: 5).encoded() }
    #expect(error?.code == .encodingFailed)
    #expect(
      error?.message
        == #"Unlisted does not list the type of its case 'moneyRefunded': add "shop.money-refunded" to eventTypes"#)
  }

  private enum Unlisting: EventFamily {
    static let family: EventType = "bare"
    case opened
  }

  @Test func aFamilyThatListsNothingIsToldWhatToAdd() {
    let error = warrenError { _ = try Unlisting.opened.encoded() }
    #expect(error?.message.contains(#"add "bare.opened" to eventTypes"#) == true)
  }

  private enum Raw: String, EventFamily {
    static let family: EventType = "raw"
    static var eventTypes: [EventType] { ["raw.red"] }
    case red
  }

  private struct NotAnEnum: EventFamily {
    static let family: EventType = "not"
    static var eventTypes: [EventType] { ["not.opened"] }
    var opened: Int
  }

  @Test func whatIsNotAnEnumWithTheCompilersCodingIsRefusedWhenItIsSent() {
    for error in [warrenError { _ = try Raw.red.encoded() }, warrenError { _ = try NotAnEnum(opened: 1).encoded() }] {
      #expect(error?.code == .encodingFailed)
      #expect(error?.message.contains("enum with the compiler's own Codable") == true, "\(String(describing: error))")
    }
  }

  private enum BadName: EventFamily {
    static let family: EventType = "bad"
    static var eventTypes: [EventType] { [] }
    case größe
  }

  private enum BadFamily: EventFamily {
    static let family: EventType = "dead"
    static var eventTypes: [EventType] { ["dead.opened"] }
    case opened
  }

  @Test func namesThatCannotBeTypesAreRefused() {
    let name = warrenError { _ = try BadName.größe.encoded() }
    #expect(name?.code == .encodingFailed && name?.message.contains("größe") == true)
    let family = warrenError { _ = try BadFamily.opened.encoded() }
    #expect(family?.code == .encodingFailed && family?.message.contains("reserved") == true)
  }

  @Test func aNumberWithoutJSONIsRefused() {
    let error = warrenError { _ = try Account.scored([1, .nan]).encoded() }
    #expect(error?.code == .encodingFailed)
    #expect(error?.message.contains("has no JSON form") == true)
  }

  // MARK: own coders

  private enum Foreign: EventFamily, Hashable {
    static let family: EventType = "foreign"
    static var eventTypes: [EventType] { ["foreign.order-placed", "foreign.user-id-changed", "foreign.gone"] }
    static let coding: EventCoding<Foreign> = {
      let encoder = JSONEncoder()
      encoder.keyEncodingStrategy = .convertToSnakeCase
      encoder.dateEncodingStrategy = .secondsSince1970
      encoder.outputFormatting = .sortedKeys
      let decoder = JSONDecoder()
      decoder.keyDecodingStrategy = .convertFromSnakeCase
      decoder.dateDecodingStrategy = .secondsSince1970
      return .json(encoder: encoder, decoder: decoder)
    }()
    struct Order: Codable, Hashable { var orderNumber: Int }
    case orderPlaced(Order)
    case userIDChanged(oldValue: Int, changedAt: Date)
    case gone
  }

  @Test(
    arguments: [
      (Foreign.orderPlaced(.init(orderNumber: 7)), "foreign.order-placed", #"{"order_number":7}"#),
      (
        .userIDChanged(oldValue: 1, changedAt: Date(timeIntervalSince1970: 60)), "foreign.user-id-changed",
        #"{"changed_at":60,"old_value":1}"#
      ),
      (.gone, "foreign.gone", "{}"),
    ] as [(Foreign, EventType, String)])
  private func familiesMayBringTheirOwnCoders(_ event: Foreign, _ type: EventType, _ json: String) throws {
    let encoded = try event.encoded()
    #expect(encoded.type == type && encoded.body.text == json)
    #expect(try Foreign.decoded(type: type, body: encoded.body) == event)
  }

  @Test func aFamilyHasItsFamilysNameAsEventType() {
    #expect(Account.eventType == "account")
    #expect(Account.eventTypes.allSatisfy { $0.name.hasPrefix("account.") })
  }
}
