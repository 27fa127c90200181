import Foundation
import Testing
import Warren

/// From a case to its event type and back.
@Suite struct EventFamilyNamesTests {
  private enum Names: EventFamily, Hashable, CaseIterable {
    static let family: EventType = "names"
    static var eventTypes: [EventType] {
      [
        "names.one", "names.two-words", "names.opened-v2", "names.seen-url", "names.url-seen", "names.user-id-changed",
        "names.http-get", "names.is-ok", "names.url", "names.x", "names.a-bc", "names.has2-fa", "names.snake-case",
        "names.i-os-installed", "names.with-json-body-sent", "names.v2",
      ]
    }
    case one, twoWords, openedV2, seenURL, urlSeen, userIDChanged, httpGet, isOK, url, x, aBC, has2FA, snake_case,
      iOSInstalled
    case withJSONBodySent, v2
  }

  /// The type is the case's coding key in kebab-case, and what can be sent can be read.
  @Test func everyNameOfACaseThatCanBeSentCanBeRead() throws {
    var types: [Names: EventType] = [:]
    for event in Names.allCases {
      do {
        let (type, body) = try event.encoded()
        types[event] = type
        #expect(try Names.decoded(type: type, body: body) == event)
      } catch {
        // A name without a way back must say so before it is sent.
        #expect(error.code == .encodingFailed, "\(event): \(error)")
      }
    }
    #expect(
      types[.twoWords] == "names.two-words" && types[.openedV2] == "names.opened-v2"
        && types[.seenURL] == "names.seen-url")
    #expect(
      types[.urlSeen] == "names.url-seen" && types[.userIDChanged] == "names.user-id-changed" && types[.x] == "names.x")
    #expect(
      types[.httpGet] == "names.http-get" && types[.isOK] == "names.is-ok" && types[.snake_case] == "names.snake-case")
    #expect(types[.withJSONBodySent] == "names.with-json-body-sent" && types[.v2] == "names.v2")
    #expect(types[.iOSInstalled] == "names.i-os-installed")
  }

  private enum Spelled: EventFamily, Hashable {
    static let family: EventType = "spelled"
    static var eventTypes: [EventType] {
      ["spelled.order-placed", "spelled.order-cancelled", "spelled.order-paid", "spelled.sent.v2"]
    }
    enum CodingKeys: String, CodingKey {
      case first = "OrderPlaced"
      case second = "order_cancelled"
      case third = "ORDER_PAID"
      case fourth = "sent.v2"
    }
    case first(id: Int)
    case second
    case third(Int)
    case fourth
  }

  @Test(
    arguments: [
      (Spelled.first(id: 1), "spelled.order-placed", #"{"id":1}"#), (.second, "spelled.order-cancelled", "{}"),
      (.third(5), "spelled.order-paid", "5"), (.fourth, "spelled.sent.v2", "{}"),
    ] as [(Spelled, EventType, String)])
  private func codingKeysNameTheTypes(_ event: Spelled, _ type: EventType, _ json: String) throws {
    let encoded = try event.encoded()
    #expect(encoded.type == type && encoded.body.text == json)
    #expect(try Spelled.decoded(type: type, body: encoded.body) == event)
  }

  private enum Twins: EventFamily, Hashable {
    static let family: EventType = "twins"
    static var eventTypes: [EventType] { ["twins.seen-url"] }
    case seenURL(Int)
    case seenUrl(Int)
  }

  /// The consumer could not tell them apart and would handle one as the other.
  @Test func twoCasesOfOneTypeAreRefused() {
    for event in [Twins.seenURL(1), .seenUrl(1)] {
      let error = warrenError { _ = try event.encoded() }
      #expect(error?.code == .encodingFailed, "\(event)")
      #expect(
        error?.message.contains("seenURL") == true && error?.message.contains("seenUrl") == true,
        "\(String(describing: error))")
    }
    #expect(
      warrenError { _ = try Twins.decoded(type: "twins.seen-url", body: Data("1".utf8)) }?.code == .decodingFailed)
  }
}
