import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// What cannot work is an error of `run()`, before any broker is asked: nothing listens where these would connect to.
struct ConfigurationErrorTests {
  private struct Ping: Event {
    static let eventType: EventType = "ping"
  }
  private struct BadName: Event {
    static let eventType: EventType = "Ping Pong"
  }
  private struct NoTypes: Event {
    static let eventType: EventType = "none"
    static var eventTypes: [EventType] { [] }
  }

  struct Case: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var service: ServiceName = "mailer"
    var subscription: String?
    var options = Subscriber.Options()
    var handlers: [any DeliveryHandler] = [On(Ping.self) { _, _ in }]
    var code = WarrenError.Code.invalidConfiguration
    var expected: [String]

    init(
      _ name: String, service: ServiceName = "mailer", subscription: String? = nil,
      handlers: [any DeliveryHandler]? = nil, code: WarrenError.Code = .invalidConfiguration, expected: [String],
      change: (inout Subscriber.Options) -> Void = { _ in }
    ) {
      testDescription = name
      self.service = service
      self.subscription = subscription
      if let handlers { self.handlers = handlers }
      self.code = code
      self.expected = expected
      change(&options)
    }
  }

  private static func ping(_ queue: QueueOptions) -> [any DeliveryHandler] { [On(Ping.self, queue: queue) { _, _ in }] }

  static let cases: [Case] = [
    Case("no handler", handlers: [], expected: ["no handler", "no queue"]),
    Case("only a catch-all", handlers: [Otherwise { _, _ in }], expected: ["no handler", "no queue"]),
    Case(
      "two handlers for one type", handlers: [On(Ping.self) { _, _ in }, OnRaw("pong", "ping") { _, _ in }],
      expected: ["two handlers", "ping", "subscription"]),
    Case(
      "two catch-alls", handlers: [On(Ping.self) { _, _ in }, Otherwise { _, _ in }, Otherwise { _, _ in }],
      expected: ["more than one Otherwise"]),
    Case(
      "a raw handler without types", handlers: [On(Ping.self) { _, _ in }, OnRaw([]) { _, _ in }],
      expected: ["no event type", "Otherwise"]),
    Case(
      "a family without types", handlers: [On(Ping.self) { _, _ in }, On(NoTypes.self) { _, _ in }],
      expected: ["no event type", "Otherwise"]),
    Case(
      "a bad service name", service: "Mail_er", code: .invalidName, expected: ["service name", "Mail_er", "'M'", "a-z"]),
    Case("an empty service name", service: "", code: .invalidName, expected: ["service name", "is empty"]),
    Case(
      "a bad subscription name", subscription: "a.b", code: .invalidName,
      expected: ["subscription name", "a.b", "'.'", "a-z"]),
    Case(
      "an empty subscription name", subscription: "", code: .invalidName, expected: ["subscription name", "is empty"]),
    Case(
      "a bad event type", handlers: [On(BadName.self) { _, _ in }], code: .invalidName,
      expected: ["event type", "Ping Pong", "'P'", "a-z"]),
    Case("prefetch 0", expected: ["prefetch", "mailer.ping", "0", "1 to 65535"]) { $0.prefetch = 0 },
    Case("prefetch -1", expected: ["prefetch", "-1", "1 to 65535"]) { $0.prefetch = -1 },
    Case("prefetch 65536", expected: ["prefetch", "65536", "1 to 65535"]) { $0.prefetch = 65_536 },
    Case("concurrency 0", expected: ["concurrency", "0", "1 to the prefetch"]) { $0.concurrency = 0 },
    Case(
      "a queue's prefetch 0", handlers: ping(.init(prefetch: 0)), expected: ["prefetch", "mailer.ping", "1 to 65535"]),
    Case(
      "a queue's concurrency above its prefetch", handlers: ping(.init(prefetch: 2, concurrency: 3)),
      expected: ["concurrency", "mailer.ping", "3", "1 to the prefetch, 2"]),
    Case(
      "a queue's concurrency above the prefetch", handlers: ping(.init(concurrency: 201)),
      expected: ["concurrency", "201", "1 to the prefetch, 200"]),
    Case("no pattern", handlers: ping(.init(patterns: [])), expected: ["patterns", "mailer.ping", "at least one"]),
    Case(
      "a long pattern", handlers: ping(.init(patterns: [String(repeating: "a", count: 256)])),
      expected: ["pattern", "256 bytes", "255"]),
    Case("a negative grace period", expected: ["gracePeriod", "0 s to 30 min"]) { $0.gracePeriod = .seconds(-1) },
    Case("a long grace period", expected: ["gracePeriod", "0 s to 30 min"]) { $0.gracePeriod = .seconds(1801) },
    Case("maximumBodySize 0", expected: ["maximumBodySize", "1 byte to 512 MiB"]) { $0.maximumBodySize = 0 },
  ]

  @Test(arguments: cases) func whatCannotWorkIsSaidAtTheStart(_ example: Case) async throws {
    let rabbit = try RabbitMQ(url: "amqp://127.0.0.1:1")
    let subscriber = Subscriber(
      rabbit, service: example.service, subscription: example.subscription, options: example.options
    ) {
      example.handlers
    }
    let error = await #expect(throws: WarrenError.self) { try await subscriber.run() }
    #expect(error?.code == example.code)
    for text in example.expected {
      #expect(error?.message.contains(text) == true, "\(error?.message ?? "") lacks \(text)")
    }
    // Who waits for it hears the same.
    let waiting = await #expect(throws: RabbitMQError.self) { try await subscriber.waitUntilReady() }
    #expect(waiting?.message.contains(error?.message ?? "-") == true)
    #expect(waiting?.isRetryable == false)
  }

  @Test func runMayBeCalledOnce() async throws {
    try await withTestService(freshType("twice")) { service in
      let type = freshType("twice")
      service.litter.exchange(EntityNames.exchange(of: type))
      service.litter.queue(try service.workQueue(type))
      service.litter.queue(try service.deadLetters(type))
      let got = Collected<String>()
      let subscriber = service.subscriber { OnRaw(type) { delivery, _ in got.add(delivery.queue) } }
      try await whileConsuming(subscriber) {
        let error = await #expect(throws: WarrenError.self) { try await subscriber.run() }
        #expect(error?.code == .invalidConfiguration)
        #expect(error?.message.contains("run() was called twice") == true)
        // The first goes on.
        try await service.put("x", into: service.workQueue(type))
        #expect(await got.wait(for: 1) != nil)
      }
      // Nor a second time after its end.
      await #expect(throws: WarrenError.self) { try await subscriber.run() }
    }
  }
}
