#if DEBUG
  import Foundation
  import GRDB
  import WarrenSupport

  @testable import Warren
  @testable import WarrenRabbitMQ
  @testable import WarrenStore

  extension Reader {
    /// Headers as a store keeps them.
    static let headers = Reader(
      name: "headers",
      samples: [
        #"{"a":"text","b":true,"c":{"i":-5},"d":{"d":4609434218613702656},"e":{"b":"AAEC"},"f":{"t":1700000000000}}"#,
        #"{"a":{"a":["x",{"i":1},{"n":true}]},"m":{"m":{"k":{"m":{}}}}}"#, "{}",
        #"{"a":"# + String(repeating: #"{"a":["#, count: 40) + String(repeating: "]}", count: 40) + "}",
      ].map { Array($0.utf8) }
    ) { input in
      guard let headers = try? StoredHeaders.headers(String(decoding: input, as: UTF8.self)) else { return }
      guard headers == headers, let text = try? StoredHeaders.text(headers) else { return }
      // Dates outside any calendar become the last that there is, once.
      let kept = try StoredHeaders.headers(text)
      let again = try StoredHeaders.text(kept)
      try expect(try StoredHeaders.headers(again) == kept, "other headers after a round trip")
      try expect(kept.keys == headers.keys, "a header is lost")
    }

    /// Messages that wait in a store.
    static let parked = Reader(
      name: "parked",
      samples: [
        Array(
          ParkedMessage.encode(exchange: "events.a.b", routingKey: "k", properties: [0, 0], body: Data("{}".utf8))),
        Array(ParkedMessage.encode(exchange: "", routingKey: "", properties: [], body: Data())),
      ]
    ) { input in
      guard let message = ParkedMessage.decode(Data(input)) else { return }
      let again = ParkedMessage.encode(
        exchange: message.exchange, routingKey: message.routingKey, properties: message.properties, body: message.body)
      let back = ParkedMessage.decode(again)
      try expect(back?.body == message.body && back?.properties == message.properties, "another message")
    }

    private static let database = Lock<DatabaseQueue?>(nil)

    /// Rows of a file that somebody else has written into: any value of any type in any column.
    static let rows = Reader(
      name: "rows",
      samples: [
        Array("1\n\u{1}events.a.b\n\u{1}a.b\n\u{1}id\n1\n\u{1}src\n1700000000000\n1700000000000\n\u{1}key".utf8),
        Array(repeating: 0x0a, count: 25), Array("9223372036854775807\n-9223372036854775808\n1e308\n\u{2}\u{ff}".utf8),
      ]
    ) { input in
      let queue = try database.withLock { database in
        if let database { return database }
        let made = try DatabaseQueue()
        database = made
        return made
      }
      // Lines are columns: a text behind 1, a blob behind 2, null behind 3, else a number.
      let columns = RecordedEvent.columns.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
      var lines = input.split(separator: 0x0a, omittingEmptySubsequences: false).map(Array.init)
      while lines.count < columns.count { lines.append([3]) }
      let values: [DatabaseValue] = lines.prefix(columns.count).enumerated().map { index, line in
        switch line.first {
        case 1: return String(decoding: line.dropFirst(), as: UTF8.self).databaseValue
        case 2: return Data(line.dropFirst()).databaseValue
        case 3, nil:
          // What a row cannot do without, so that reading comes to the others.
          return index == 2 ? "a.b".databaseValue : index == 3 ? "id".databaseValue : .null
        default:
          let text = String(decoding: line, as: UTF8.self)
          return Int64(text)?.databaseValue ?? Double(text)?.databaseValue ?? text.databaseValue
        }
      }
      try queue.write { db in
        let names = columns.joined(separator: ", ")
        try db.execute(sql: "CREATE TABLE IF NOT EXISTS foreign_rows (\(names))")
        try db.execute(sql: "DELETE FROM foreign_rows")
        let places = columns.map { _ in "?" }.joined(separator: ", ")
        try db.execute(sql: "INSERT INTO foreign_rows VALUES (\(places))", arguments: StatementArguments(values))
        let statement = try RawStatement("SELECT \(names) FROM foreign_rows", db)
        defer { statement.reset() }
        guard try statement.step() else { throw Wrong("no row") }
        // In one piece of memory they say the same.
        if let event = try? EventRow.event(statement, isChecked: true) {
          let recorded = try RecordedEvent(statement)
          try expect(recorded.metadata == event.metadata, "other metadata in the event of a stream")
          try expect(recorded.body == event.body && recorded.bodySize == event.body.count, "another body")
        } else {
          try expect((try? RecordedEvent(statement)) == nil, "a row is refused, and not as the event of a stream")
        }
        guard let event = try? EventRow.event(statement) else { return }
        _ = try? PublishHead(event, exchange: "events.a.b")
        _ = event.metadata.time?.rfc3339
        _ = event.expiry.map { "\($0)" }
      }
    }
  }
#endif
