#if DEBUG
  import Foundation
  import WarrenSupport

  @testable import Warren
  @testable import WarrenRabbitMQ

  extension Reader {
    /// Names, ids, times, traces, content types: short texts out of headers and command lines.
    static let text = Reader(
      name: "text",
      samples: [
        "user.created", "shop.order.placed.v2", "events.user.created", "01a2153a-76a2-7107-aa0d-fb7b3f153f81", "mailer",
        "2026-11-26T00:38:52.093Z", "2024-02-29T23:59:59+01:00",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "application/vnd.api+json; charset=\"utf-8\"", "gzip", "a=1,b=2",
      ].map { Array($0.utf8) }
    ) { bytes in
      let text = String(decoding: bytes, as: UTF8.self)
      if let type = try? EventType(text) {
        let exchange = EntityNames.exchange(of: type)
        try expect(EntityNames.type(ofExchange: exchange) == type, "\(type) is lost in the name of its exchange")
        if let owner = try? QueueOwner(service: ServiceName("svc")) {
          try expect(
            EntityNames.workQueue(of: owner, type: type) != EntityNames.deadLetterQueue(of: owner, type: type),
            "\(type)")
        }
      }
      _ = EntityNames.type(ofExchange: text)
      _ = try? ServiceName(text)
      if let id = try? EventID(text) { try expect(id.text.utf8.count <= 255, "a long id") }
      if let date = Date(rfc3339: text) {
        try expect(Date(rfc3339: date.rfc3339) == date, "\(date.rfc3339) is not read as it was written")
      }
      _ = TraceContext(traceparent: text, tracestate: text, baggage: text)
      _ = ForeignContent(type: text, encoding: text).problem(takesJSON: true)
      for limit in [3, 40, 512] {
        let shown = text.shown(limit)
        try expect(shown.utf8.count <= limit + 3, "shown is too long")
        try expect(shown.unicodeScalars.allSatisfy(\.isHarmless), "shown is not harmless")
        let cut = text.cut(toBytes: limit)
        try expect(cut.utf8.count <= limit, "cut to \(limit), \(cut.utf8.count) are left")
      }
      _ = BrokerDifference(text)
    }

    static let url = Reader(
      name: "url",
      samples: [
        "amqp://guest:guest@localhost",
        "amqps://a%40b:s%3Acret@rabbit.example:5671/vhost%2F1?heartbeat=10&frame_max=131072",
        "amqp://h1,h2:5673,[::1]:5674/%2f?connection_timeout=5&channel_max=100&auth_mechanism=external",
        "amqps://u:p@h/?cacertfile=/x.pem&certfile=/c&keyfile=/k&verify=verify_none&server_name_indication=n",
      ].map { Array($0.utf8) }
    ) { bytes in
      let text = String(decoding: bytes, as: UTF8.self)
      guard let configuration = try? RabbitMQConfiguration(url: text) else { return }
      _ = try? configuration.validate()
      let shown = configuration.redactedURL
      // Passwords that are also a part of something else would be found there.
      if configuration.password.utf8.count > 8, !text.contains("guest") {
        let others = configuration.hosts.map(\.name).joined() + configuration.user + configuration.virtualHost
        if !others.contains(configuration.password) {
          try expect(!shown.contains(configuration.password), "the password is shown")
        }
      }
    }
  }
#endif
