import BrokerFixture
import Foundation
import Testing
import Warren
import WarrenRabbitMQ

/// Debian's amqp-tools: clients that were not written here, in both directions.
struct AMQPToolsTests {
  struct Failed: Error, CustomStringConvertible { var description: String }

  /// Runs one of the tools against the test broker and returns what it printed.
  private func run(_ tool: String, _ arguments: String..., input: String? = nil) async throws -> String {
    let command = [tool, "--url=\(TestBroker.plainURL)"] + arguments
    let result = try await onThread { try TestBroker.run(command, input: input.map { Data($0.utf8) }) }
    if result.status == 127 { throw Failed(description: "\(tool) is not installed: apt-get install amqp-tools") }
    guard result.status == 0 else { throw Failed(description: "\(tool) \(arguments): status \(result.status)") }
    return result.output
  }

  @Test func plainJSONFromElsewhereIsAnEvent() async throws {
    struct Parcel: Event, Equatable {
      static let eventType: EventType = "interop.parcel"
      var number: Int
      var to: String
    }
    struct Got: Sendable {
      var parcel: Parcel
      var metadata: EventMetadata
      var routingKey: String
    }
    try await withTestBroker { rabbit, litter in
      let service = unique()
      try litter.service(service, Parcel.eventType)
      let got = Collected<Got>()
      // A key of its own, because the exchange has a fixed name.
      let key = unique("key")
      let subscriber = Subscriber(rabbit, service: try ServiceName(service)) {
        On(Parcel.self, queue: .init(patterns: [key])) { parcel, context in
          got.add(Got(parcel: parcel, metadata: context.metadata, routingKey: context.delivery.routingKey))
        }
      }
      try await withSubscriber(subscriber) {
        let exchange = EntityNames.exchange(of: Parcel.eventType)
        // Nothing but a body; then with whitespace, other order and an unknown field, a content type and headers.
        _ = try await run("amqp-publish", "-e", exchange, "-r", key, "-b", "{\"number\":1,\"to\":\"Köln\"}")
        let first = try #require(await got.wait(for: 1))[0]
        #expect(first.parcel == Parcel(number: 1, to: "Köln"))
        #expect(first.routingKey == key)
        #expect(first.metadata.id == nil)
        #expect(first.metadata.type == Parcel.eventType)
        #expect(first.metadata.declaredType == nil)
        #expect(first.metadata.source == nil)
        #expect(first.metadata.time == nil)
        #expect(first.metadata.correlationID == nil)
        #expect(first.metadata.headers.isEmpty)

        _ = try await run(
          "amqp-publish", "-e", exchange, "-r", key, "-p", "-C", "application/json", "-H", "tenant: blue", "-H", "n: 5",
          input: " { \"to\" : \"Bern\", \"more\": [1, null], \"number\": 2 }\n")
        let second = try #require(await got.wait(for: 2))[1]
        #expect(second.parcel == Parcel(number: 2, to: "Bern"))
        #expect(second.metadata.contentType == "application/json")
        #expect(second.metadata.headers == ["tenant": "blue", "n": "5"])
        #expect(second.metadata.id == nil)
      }
    }
  }

  @Test func ourBodiesAreBareJSONToOthers() async throws {
    try await withTestBroker { rabbit, litter in
      let type = try litter.type()
      let queue = try await rabbit.sink(type, litter)
      let publisher = Publisher(rabbit, source: "tests")
      try await publisher.publish(contentsOf: (1...4).map { Numbered(type, $0, text: "a/b \"c\" 😀") })
      #expect(try await run("amqp-get", "-q", queue) == #"{"number":1,"text":"a/b \"c\" 😀"}"#)
      #expect(try await run("amqp-get", "-q", queue) == #"{"number":2,"text":"a/b \"c\" 😀"}"#)
      let consumed = try await run("amqp-consume", "-q", queue, "-c", "2", "cat")
      #expect(consumed == #"{"number":3,"text":"a/b \"c\" 😀"}{"number":4,"text":"a/b \"c\" 😀"}"#)
      #expect(try await rabbit.waitForDepth(queue, 0))
    }
  }

  @Test func whatTheyPutBackAndForthIsUnchanged() async throws {
    try await withTestBroker { rabbit, litter in
      let type = try litter.type()
      let queue = try await rabbit.sink(type, litter)
      let body = String(repeating: "0123456789abcdef", count: 20_000)
      // Larger than two frames.
      _ = try await run("amqp-publish", "-e", EntityNames.exchange(of: type), "-r", "any", input: body)
      #expect(try await rabbit.waitForDepth(queue, 1))
      #expect(try await run("amqp-get", "-q", queue) == body)
    }
  }
}
