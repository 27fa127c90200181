import BrokerFixture
import Foundation
import Testing
import Warren
import WarrenRabbitMQ
import WarrenSupport

/// A publish inside a handler leaves when the handler has succeeded, with an id that a second run gives it again.
struct PublishInHandlerTests {
  private struct Refused: Error {}

  /// A service that handles events of one type and publishes others, and a queue that shows what it published.
  private func withService(
    _ handle:
      @escaping @Sendable (_ publisher: Publisher, _ out: EventType, Delivery, HandlerContext) async throws -> Void,
    _ body: (_ rabbit: RabbitMQ, _ input: EventType, _ output: String, _ service: ServiceName, _ make: () -> Subscriber)
      async throws
      -> Void
  ) async throws {
    try await withTestBroker { rabbit, litter in
      let input = try litter.type("in")
      let output = try litter.type("out")
      let name = unique()
      try litter.service(name, input)
      let service = try ServiceName(name)
      let queue = try await rabbit.sink(output, litter)
      let publisher = Publisher(rabbit, source: service)
      try await body(rabbit, input, queue, service) {
        Subscriber(rabbit, service: service) {
          OnRaw(input) { delivery, context in try await handle(publisher, output, delivery, context) }.retry(.never)
        }
      }
    }
  }

  @Test func theyLeaveOnlyWhenTheHandlerSucceeded() async throws {
    let ended = Collected<String>()
    try await withService { publisher, out, delivery, context in
      let what = String(decoding: delivery.body, as: UTF8.self)
      let receipt = try await publisher.publish(Numbered(out, 1, text: what))
      guard case .collected = receipt else { throw Refused() }
      try await publisher.publish(contentsOf: [Numbered(out, 2, text: what), Numbered(out, 3, text: what)])
      ended.add(what)
      switch what {
      case "throws": throw Refused()
      case "ignores": context.ignore("not for us")
      case "refuses": context.deadLetter("not good")
      default: break
      }
    } _: { rabbit, input, output, service, make in
      try await withSubscriber(make()) {
        let publisher = Publisher(rabbit, source: "tests")
        let events = ["throws", "ignores", "refuses", "succeeds"].map { EncodedEvent(input, $0.utf8) }
        #expect(await publisher.publish(encoded: events).allSatisfy { $0.isConfirmed })
        #expect(await ended.wait(for: 4) != nil)
        let owner = try QueueOwner(service: service)
        #expect(try await rabbit.waitForDepth(EntityNames.deadLetterQueue(of: owner, type: input), 2))
        #expect(try await rabbit.waitForDepth(output, 3))
        let got = try await foreign { try $0.take(output, 3) }
        #expect(got.map(\.text) == (1...3).map { "{\"number\":\($0),\"text\":\"succeeds\"}" })
        let cause = try #require(events[3].metadata.id)
        let name = EntityNames.workQueue(of: owner, type: input)
        let delivery = Delivery(type: input, body: events[3].body, queue: name) { events[3].metadata }
        let output = try EventType(try #require(got.first?.type))
        let ids = (0..<3).map {
          EventID.derived(from: cause, of: delivery, handler: name, type: output, ordinal: $0).text
        }
        #expect(got.map(\.messageID) == ids)
        for message in got {
          #expect(message.headers["warren-causation-id"] == "S:\(cause)")
          #expect(message.correlationID == cause.text)
          #expect(message.appID == service.name)
        }
      }
    }
  }

  @Test func aRedeliveryPublishesTheSameEvents() async throws {
    let receipts = Collected<[Receipt]>()
    let redelivered = Collected<Bool>()
    try await withService { publisher, out, delivery, _ in
      let chosen = try EventID("chosen")
      var mine = [try await publisher.publish(Numbered(out, 1))]
      mine.append(try await publisher.publish(Numbered(out, 2), options: .init(id: chosen)))
      mine += try await publisher.publish(contentsOf: [Numbered(out, 3)])
      redelivered.add(delivery.isRedelivered)
      receipts.add(mine)
      // The first time the service is stopped here.
      if !delivery.isRedelivered { try await Task.sleep(for: .seconds(60)) }
    } _: { rabbit, input, output, _, make in
      let first = make()
      try await withSubscriber(first) {
        try await Publisher(rabbit, source: "tests").publish(Numbered(input, 7))
        #expect(await receipts.wait(for: 1) != nil)
      }
      #expect(try await rabbit.depth(output) == 0)
      try await withSubscriber(make()) {
        let all = try #require(await receipts.wait(for: 2))
        #expect(redelivered.all == [false, true])
        #expect(all[0] == all[1])
        #expect(all[0][1] == .collected(try EventID("chosen")))
        let got = try await foreign { try $0.take(output, 3) }
        #expect(got.map(\.messageID) == all[1].map(\.id.text))
      }
      #expect(try await rabbit.depth(output) == 0)
    }
  }

  @Test func childTasksPublishForTheirHandler() async throws {
    let receipts = Collected<[Receipt]>()
    let fails = Lock(true)
    try await withService { publisher, out, _, _ in
      async let one = publisher.publish(Numbered(out, 0))
      let others = try await withThrowingTaskGroup(of: Receipt.self) { group in
        for number in 1..<5 { group.addTask { try await publisher.publish(Numbered(out, number)) } }
        return try await group.reduce(into: []) { $0.append($1) }
      }
      receipts.add(try await [one] + others)
      if fails.withLock({ $0 }) { throw Refused() }
    } _: { rabbit, input, output, _, make in
      try await withSubscriber(make()) {
        let publisher = Publisher(rabbit, source: "tests")
        try await publisher.publish(Numbered(input, 1))
        let failed = try #require(await receipts.wait(for: 1))
        #expect(failed[0].allSatisfy { if case .collected = $0 { true } else { false } })
        fails.withLock { $0 = false }
        try await publisher.publish(Numbered(input, 2))
        #expect(try await rabbit.waitForDepth(output, 5))
        let got = try await foreign { try $0.take(output, 5) }
        let succeeded = try #require(await receipts.wait(for: 2))[1]
        #expect(Set(got.compactMap(\.messageID)) == Set(succeeded.map(\.id.text)))
        #expect(Set(got.map(\.text)).count == 5)
      }
    }
  }

  @Test func aTaskThatOutlivesTheHandlerPublishesByItself() async throws {
    let handled = Watched(false)
    let late = Collected<Receipt>()
    try await withService { publisher, out, _, _ in
      Task {
        _ = await handled.wait(timeout: .seconds(10)) { $0 }
        late.add(try await publisher.publish(Numbered(out, 2)))
      }
      try await publisher.publish(Numbered(out, 1))
    } _: { rabbit, input, output, _, make in
      try await withSubscriber(make()) {
        try await Publisher(rabbit, source: "tests").publish(Numbered(input, 1))
        // The handler's own event is there, so the handler has ended.
        #expect(try await rabbit.waitForDepth(output, 1))
        handled.update { $0 = true }
        let receipts = try #require(await late.wait(for: 1))
        #expect(receipts == [.confirmed(receipts[0].id)])
        #expect(try await rabbit.depth(output) == 2)
      }
    }
  }
}
