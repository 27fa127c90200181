import Foundation
import Testing
import Warren

/// The bytes of Warren's JSON are part of the major version: consumers in other languages read them, and equal events
/// are compared by them.
@Suite struct EventCodingTests {
  private enum Color: String, Codable, Hashable { case red, green }

  private struct Inner: Codable, Hashable {
    var z: Int
    var a: String
  }

  private struct Everything: Event, Hashable {
    static let eventType: EventType = "test.everything"
    var text: String
    var int: Int64
    var unsigned: UInt64
    var double: Double
    var flag: Bool
    var when: Date
    var data: Data
    var url: URL
    var uuid: UUID
    var color: Color
    var list: [Int]
    var map: [String: Inner]
    var present: String?
    var absent: String?
  }

  private func everything() throws -> Everything {
    Everything(
      text: "a/b \"q\" \\ \n\t é 🐇", int: .min, unsigned: .max, double: 0.1, flag: true,
      when: Date(milliseconds: 1_357_017_300_123), data: Data([0, 255, 254, 62, 63]),
      url: try #require(URL(string: "https://example.com/a/b?c=d")),
      uuid: try #require(UUID(uuidString: "01890A5D-AC96-774B-BCCE-B302099A8057")), color: .red, list: [3, 1, 2],
      map: ["b": Inner(z: 1, a: "x"), "a": Inner(z: 2, a: "y")], present: "here", absent: nil)
  }

  @Test func goldenBytes() throws {
    let (type, body) = try everything().encoded()
    #expect(type == "test.everything")
    #expect(
      body.text == #"""
        {"color":"red","data":"AP/+Pj8=","double":0.1,"flag":true,"int":-9223372036854775808,"list":[3,1,2],"map":{"a":{"a":"y","z":2},"b":{"a":"x","z":1}},"present":"here","text":"a/b \"q\" \\ \n\t é 🐇","unsigned":18446744073709551615,"url":"https://example.com/a/b?c=d","uuid":"01890A5D-AC96-774B-BCCE-B302099A8057","when":"2013-01-01T05:15:00.123Z"}
        """#)
    #expect(try Everything.decoded(type: type, body: body) == everything())
  }

  private struct Bag: Event, Hashable {
    static let eventType: EventType = "test.bag"
    var values: [String: Double]
  }

  /// By their bytes, whatever the language of the machine and whatever order a dictionary has today.
  @Test func keysAreSortedByTheirBytes() throws {
    var bag = Bag(values: [:])
    for key in ["b", "a10", "a2", "A", "_", "é", "Z", "aa", "a", "", "🐇", "a-b", "1"] { bag.values[key] = 1 }
    #expect(
      try bag.encoded().body.text
        == #"{"values":{"":1,"1":1,"A":1,"Z":1,"_":1,"a":1,"a-b":1,"a10":1,"a2":1,"aa":1,"b":1,"é":1,"🐇":1}}"#)
  }

  @Test(arguments: [
    (0.0, "0"), (-0.0, "-0"), (1.0, "1"), (-1.5, "-1.5"), (0.1 + 0.2, "0.30000000000000004"), (1e21, "1e+21"),
    (1e-7, "1e-07"),
    (.leastNonzeroMagnitude, "5e-324"), (1.7976931348623157e308, "1.7976931348623157e+308"),
    (123_456_789.0, "123456789"),
  ])
  func numbers(_ value: Double, _ text: String) throws {
    let bag = Bag(values: ["x": value])
    let (type, body) = try bag.encoded()
    #expect(body.text == #"{"values":{"x":\#(text)}}"#)
    #expect(try Bag.decoded(type: type, body: body) == bag)
  }

  @Test(arguments: [Double.nan, .infinity, -.infinity, .signalingNaN])
  func numbersWithoutJSONAreRefused(_ value: Double) {
    let error = #expect(throws: WarrenError.self) { try Bag(values: ["good": 1, "bad": value]).encoded() }
    #expect(error?.code == .encodingFailed)
    #expect(error?.message == "Bag (test.bag): a value at values.bad has no JSON form")
  }

  private struct Moment: Event, Hashable {
    static let eventType: EventType = "test.moment"
    var at: Date
  }

  @Test func datesAreReadFromOtherLanguagesToo() throws {
    for text in ["2013-01-01T05:15:00Z", "2013-01-01T06:15:00+01:00", "2013-01-01T05:15:00.000000Z"] {
      let moment = try Moment.decoded(type: "test.moment", body: Data(#"{"at":"\#(text)"}"#.utf8))
      #expect(try moment.encoded().body.text == #"{"at":"2013-01-01T05:15:00.000Z"}"#)
    }
  }

  @Test(arguments: [#""2013-02-30T00:00:00Z""#, #""yesterday""#, "1357017300", "null", #""""#, "[]"])
  func whatIsNotADateIsRefused(_ json: String) {
    let error = #expect(throws: WarrenError.self) {
      try Moment.decoded(type: "test.moment", body: Data(#"{"at":\#(json)}"#.utf8))
    }
    #expect(error?.code == .decodingFailed)
    #expect(error?.message.contains("at") == true)
  }

  /// RFC 3339 has the years 0 to 9999. Another date in its place would be a lie that nobody notices.
  @Test(arguments: [Double.nan, .infinity, -.infinity, 1e15, -1e15, 253_402_300_800, -62_167_219_201])
  func datesThatTextCannotSayAreRefused(_ seconds: Double) {
    let error = #expect(throws: WarrenError.self) { try Moment(at: Date(timeIntervalSince1970: seconds)).encoded() }
    #expect(error?.code == .encodingFailed)
    #expect(error?.message == "Moment (test.moment): a value at at has no JSON form")
  }

  /// The error of the bare coding is for everybody to print.
  @Test func theErrorOfAnImpossibleDateCanBePrinted() {
    let error = #expect(throws: EncodingError.self) {
      try Moment.coding.encode(Moment(at: Date(timeIntervalSince1970: .nan)))
    }
    #expect("\(String(describing: error))".contains("outside the years 0 to 9999"))
  }

  @Test func foundationsExtremeDatesAreDates() throws {
    for date in [Date.distantPast, .distantFuture, Date(timeIntervalSinceReferenceDate: 0)] {
      let (type, body) = try Moment(at: date).encoded()
      #expect(try Moment.decoded(type: type, body: body).at == date)
    }
  }

  @Test func anEventWithoutFieldsIsAnEmptyObject() throws {
    struct Ping: Event { static let eventType: EventType = "test.ping" }
    #expect(try Ping().encoded().body.text == "{}")
    _ = try Ping.decoded(type: "test.ping", body: Data(#"{"unknown":[1,{"x":null}]}"#.utf8))
  }

  @Test func aValueThatIsNotAnObjectIsItsOwnBody() throws {
    struct Count: Event, Hashable {
      static let eventType: EventType = "test.count"
      var value: Int
      init(_ value: Int) { self.value = value }
      init(from decoder: any Decoder) throws { value = try decoder.singleValueContainer().decode(Int.self) }
      func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(value)
      }
    }
    #expect(try Count(-7).encoded().body.text == "-7")
    #expect(try Count.decoded(type: "test.count", body: Data(" 42 ".utf8)) == Count(42))
  }

  @Test func equalEventsAreEqualBytesOnEveryTask() async throws {
    let expected = try everything().encoded().body
    try await withThrowingTaskGroup(of: Bool.self) { group in
      for _ in 0..<8 {
        group.addTask {
          for _ in 0..<100 where try everything().encoded().body != expected { return false }
          return true
        }
      }
      for try await isEqual in group { #expect(isEqual) }
    }
  }

  @Test func randomTextsComeBack() throws {
    var random = SeededGenerator()
    for _ in 0..<1000 {
      let event = UserCreated(id: Int.random(in: .min ... .max, using: &random), name: random.hostileText())
      let (type, body) = try event.encoded()
      let back = try UserCreated.decoded(type: type, body: body)
      // By scalars: Swift's == takes two spellings of one letter for the same.
      #expect(back.id == event.id && Array(back.name.unicodeScalars) == Array(event.name.unicodeScalars), random.replay)
      #expect(!body.text.contains("\n"), "a body is one line")
    }
  }

  // MARK: own coders

  private struct Invoice: Event, Hashable {
    static let eventType: EventType = "billing.invoice"
    static let coding: EventCoding<Invoice> = {
      let encoder = JSONEncoder()
      encoder.keyEncodingStrategy = .convertToSnakeCase
      encoder.dateEncodingStrategy = .secondsSince1970
      encoder.outputFormatting = .sortedKeys
      let decoder = JSONDecoder()
      decoder.keyDecodingStrategy = .convertFromSnakeCase
      decoder.dateDecodingStrategy = .secondsSince1970
      return .json(encoder: encoder, decoder: decoder)
    }()
    var invoiceNumber: Int
    var issuedAt: Date
  }

  @Test func anEventTypeMayBringItsOwnCoders() throws {
    let invoice = Invoice(invoiceNumber: 7, issuedAt: Date(timeIntervalSince1970: 1_357_017_300))
    let (type, body) = try invoice.encoded()
    #expect(body.text == #"{"invoice_number":7,"issued_at":1357017300}"#)
    #expect(try Invoice.decoded(type: type, body: body) == invoice)
    let error = #expect(throws: WarrenError.self) { try Invoice.decoded(type: type, body: Data("{}".utf8)) }
    #expect(error?.code == .decodingFailed && error?.message.contains("invoiceNumber") == true)
  }

  private struct Plain: Event, Hashable {
    static let eventType: EventType = "test.plain"
    static let coding = EventCoding<Plain>(
      encode: { Data($0.text.utf8) },
      decode: { body in
        guard let text = String(validating: body, as: UTF8.self) else { throw SampleFailure() }
        return Plain(text: text)
      })
    var text: String
  }

  @Test func aCodingNeedNotBeJSON() throws {
    #expect(try Plain(text: "a,b").encoded().body == Data("a,b".utf8))
    #expect(try Plain.decoded(type: "test.plain", body: Data("a,b".utf8)) == Plain(text: "a,b"))
    let error = #expect(throws: WarrenError.self) { try Plain.decoded(type: "test.plain", body: Data([0xff])) }
    #expect(error?.code == .decodingFailed)
    #expect(error?.message == "test.plain is not a Plain: sample failure")
  }
}
