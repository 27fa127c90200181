#if DEBUG
  import Foundation

  @testable import Warren

  /// Bodies are read as each of these.
  private struct Order: Event, Equatable {
    static let eventType: EventType = "fuzz.order"
    struct Line: Codable, Equatable {
      var article: String
      var count: Int
      var price: Double?
      var note: Data?
    }
    var id: UInt64
    var placed: Date
    var lines: [Line]
    var tags: [String: String]?
    var isPaid = false
  }

  private enum Account: EventFamily, Equatable {
    static let family: EventType = "fuzz.account"
    static var eventTypes: [EventType] {
      ["fuzz.account.opened", "fuzz.account.closed", "fuzz.account.renamed", "fuzz.account.moved"]
    }
    case opened(owner: String, balance: Int)
    case closed
    case renamed(String)
    case moved(Order.Line)
  }

  private struct Renamed: Event, Equatable {
    static let eventType: EventType = "fuzz.renamed"
    static let schemaVersion = 3
    static var upcasters: Upcasters {
      [
        .body(of: "fuzz.renamed", from: 1) { $0.rename("fullName", to: "name") },
        .body(of: "fuzz.renamed", from: 2) { $0.rename("name", to: "title") },
        .renamed("fuzz.old", to: "fuzz.renamed"),
      ]
    }
    var title: String
  }

  extension Reader {
    static let bodies = Reader(
      name: "bodies",
      samples: [
        #"{"id":1,"placed":"2026-11-26T00:38:52.093Z","lines":[{"article":"a","count":2,"price":1.5,"note":"AAEC"}],"isPaid":true}"#,
        #"{"id":18446744073709551615,"placed":"2026-11-26T00:38:52Z","lines":[],"tags":{"a":"b"},"isPaid":false}"#,
        #"{"owner":"a","balance":-5}"#, "{}", #""text""#, #"{"article":"x","count":1}"#, #"{"fullName":"John Doe"}"#,
        #"{"title":"\ud83d\ude00"}"#, String(repeating: "[", count: 600) + String(repeating: "]", count: 600),
        String(repeating: #"{"a":"#, count: 300) + "1" + String(repeating: "}", count: 300),
      ].map { Array($0.utf8) }
    ) { input in
      let body = Data(input)
      try check(Order.self, "fuzz.order", body)
      for type in Account.eventTypes { try check(Account.self, type, body) }
      for version in [1, 2, 3, 7, Int.max] {
        for type: EventType in ["fuzz.renamed", "fuzz.old"] {
          var metadata = EventMetadata(type: type)
          metadata.headers[EventHeaders.schemaVersion] = .int(Int64(version))
          do throws(WarrenError) {
            _ = try Renamed.read(type: type, body: body, metadata: metadata)
          } catch {
            try expect(error.code == .decodingFailed, "\(error)")
          }
        }
      }
    }

    /// A value, or the error that says what is wrong; a value is the same after a round trip.
    private static func check<E: Event & Equatable>(_ type: E.Type, _ name: EventType, _ body: Data) throws {
      let value: E
      do throws(WarrenError) {
        value = try E.decoded(type: name, body: body)
      } catch {
        try expect(error.code == .decodingFailed, "\(error)")
        try expect(error.message.unicodeScalars.allSatisfy(\.isHarmless), "an error that is not harmless: \(error)")
        return
      }
      let (again, bytes): (EventType, Data)
      do {
        (again, bytes) = try value.encoded()
      } catch {
        // Dates and numbers that can be read and not written have their own error.
        return
      }
      try expect(again == name, "\(name) is written as \(again)")
      try expect(try E.decoded(type: name, body: bytes) == value, "another value after a round trip")
      try expect(try E.decoded(type: name, body: bytes).encoded().body == bytes, "equal values, other bytes")
    }
  }
#endif
