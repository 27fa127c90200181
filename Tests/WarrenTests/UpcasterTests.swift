import Foundation
import Testing
import Warren

struct UpcasterTests {
  struct User: Event, Equatable {
    static let eventType: EventType = "user.created"
    static let schemaVersion = 3
    static var upcasters: Upcasters {
      [
        .renamed("user.registered", to: "user.created") { $0["origin"] = "registration" },
        .body(of: "user.registered", from: 1) { $0.rename("mail", to: "email") },
        .body(of: "user.created", from: 2) { json in
          guard let age = json["age"]?.string.flatMap(Int64.init) else { throw Missing(what: "age") }
          json["age"] = .int(age)
        },
        .body(of: "user.created", from: 1) { $0.rename("fullName", to: "name") },
      ]
    }
    var name: String
    var age: Int
    var origin: String?
    var email: String?
  }
  struct Missing: Error { var what: String }
  struct Circle: Event {
    static let eventType: EventType = "circle.a"
    static var upcasters: Upcasters {
      [.renamed("circle.a", to: "circle.b"), .renamed("circle.b", to: "circle.a")]
    }
  }
  enum Order: EventFamily, Equatable {
    static let family: EventType = "order"
    static var eventTypes: [EventType] { ["order.placed", "order.paid"] }
    static var upcasters: Upcasters {
      [.renamed("order.billed", to: "order.paid") { $0.rename("amount", to: "cents") }]
    }
    case placed(id: Int)
    case paid(cents: Int)
  }

  private func read<E: Event>(_ type: E.Type, _ name: EventType, _ version: Int64?, _ body: String) throws -> E {
    var metadata = EventMetadata(type: name)
    if let version { metadata.headers["warren-schema"] = .int(version) }
    return try E.read(type: name, body: Data(body.utf8), metadata: metadata)
  }

  @Test func aBodyGoesThroughAllStepsFromItsVersionOn() throws {
    let now = User(name: "Bo", age: 41)
    #expect(try read(User.self, "user.created", nil, #"{"fullName":"Bo","age":"41"}"#) == now)
    #expect(try read(User.self, "user.created", 1, #"{"fullName":"Bo","age":"41"}"#) == now)
    #expect(try read(User.self, "user.created", 2, #"{"name":"Bo","age":"41"}"#) == now)
    #expect(try read(User.self, "user.created", 3, #"{"name":"Bo","age":41}"#) == now)
    // A newer one than the code knows is tried as it is.
    #expect(try read(User.self, "user.created", 4, #"{"name":"Bo","age":41,"new":1}"#) == now)
  }

  @Test func aRenamedTypeBeginsWithVersionOne() throws {
    let user = try read(User.self, "user.registered", nil, #"{"fullName":"Bo","age":"41","mail":"bo@x"}"#)
    #expect(user == User(name: "Bo", age: 41, origin: "registration", email: "bo@x"))
    #expect(User.readTypes == ["user.created", "user.registered"])
    #expect(On(User.self) { _, _ in }.eventTypes == ["user.created", "user.registered"])
  }

  @Test func aFamilyHasThemToo() throws {
    #expect(try read(Order.self, "order.billed", nil, #"{"amount":7}"#) == .paid(cents: 7))
    #expect(try read(Order.self, "order.paid", nil, #"{"cents":7}"#) == .paid(cents: 7))
    #expect(Order.readTypes == ["order.placed", "order.paid", "order.billed"])
  }

  @Test func whatGoesWrongIsSaid() throws {
    for (version, body) in [(Int64(2), #"{"name":"Bo"}"#), (1, "nonsense"), (3, "{}")] {
      let error = #expect(throws: WarrenError.self) { try read(User.self, "user.created", version, body) }
      #expect(error?.code == .decodingFailed)
    }
    let circle = #expect(throws: WarrenError.self) { try read(Circle.self, "circle.a", nil, "{}") }
    #expect(circle?.message.contains("circle") == true)
  }

  @Test func aHandlerGetsOldMessagesAsTheNewValue() async throws {
    let came = Came()
    let handler = On(User.self) { user, _ in await came.add(user) }
    let delivery = Delivery(type: "user.registered", body: Data(#"{"fullName":"Bo","age":"41"}"#.utf8)) {
      EventMetadata(type: "user.registered")
    }
    guard case .handled = await handler.handle(delivery).outcome else {
      Issue.record("was not handled")
      return
    }
    #expect(await came.users.first?.name == "Bo")
    let broken = Delivery(type: "user.created", body: Data("{}".utf8)) { EventMetadata(type: "user.created") }
    guard case .deadLetter(let reason) = await handler.handle(broken).outcome else {
      Issue.record("was handled")
      return
    }
    #expect(reason.cause == "undecodable")
  }

  actor Came {
    var users: [User] = []
    func add(_ user: User) { users.append(user) }
  }

  @Test func theVersionTravelsInAHeader() throws {
    let old = try EncodedEvent(Missed(), options: .init(), source: "tests")
    #expect(old.metadata.headers["warren-schema"] == nil)
    let new = try EncodedEvent(User(name: "Bo", age: 41), options: .init(), source: "tests")
    #expect(new.metadata.headers["warren-schema"] == 3)
  }
  struct Missed: Event { static let eventType: EventType = "missed" }

  @Test func jsonKeepsWhatItDoesNotUnderstand() throws {
    let text = #"{"a":[1,-9223372036854775808,0.1,12345678901234567890.5,1e200,true,null,"é"],"b":{}}"#
    let json = try JSONDecoder().decode(JSON.self, from: Data(text.utf8))
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    let back = try JSONDecoder().decode(JSON.self, from: try encoder.encode(json))
    #expect(back == json)
    #expect(String(decoding: try encoder.encode(json), as: UTF8.self).contains("12345678901234567890.5"))
    var value: JSON = ["x": 1]
    value.rename("y", to: "z")
    value.rename("x", to: "y")
    value["list"] = [1, "a", nil, true]
    #expect(value == ["y": 1, "list": [1, "a", nil, true]])
    #expect(value["y"]?.int == 1 && value["q"] == nil)
  }
}
