import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// What a handler publishes leaves when it has succeeded, before its event is acknowledged, and not at all otherwise.
@Suite(.serialized) struct CollectedPublishTests {
  private struct Order: Event {
    static let eventType = freshType("order")
    var number: Int
  }
  private struct Invoice: Event, Equatable {
    static let eventType = freshType("invoice")
    var order: Int
    var line: Int
  }
  private struct Unheard: Event {
    static let eventType = freshType("unheard")
    var order: Int
  }

  /// A service for orders, and a queue in which the invoices stand.
  private func withOrders(
    _ types: EventType..., invoices arguments: [String: HeaderValue] = ["x-queue-type": "quorum"],
    body: (TestService, _ invoices: String) async throws -> Void
  ) async throws {
    try await withTestService(Order.eventType, Invoice.eventType, Unheard.eventType) { service in
      let exchange = EntityNames.exchange(of: Invoice.eventType)
      try await service.rabbit.topology.ensure([.exchange(name: exchange)])
      let invoices = unique("invoices")
      try await service.rabbit.testQueue(
        invoices, arguments: arguments, bound: [(exchange, "#")], litter: service.litter)
      try await body(service, invoices)
    }
  }

  @Test func theyLeaveInOrderWithTheirCauseAndWithIdsThatARepeatHasToo() async throws {
    try await withOrders { service, invoices in
      let receipts = Collected<[Receipt]>()
      let subscriber = service.subscriber {
        On(Order.self) { order, _ in
          var made = [try await service.publisher.publish(Invoice(order: order.number, line: 0))]
          // Of a child task as well.
          async let second = service.publisher.publish(Invoice(order: order.number, line: 1))
          made.append(try await second)
          made += try await service.publisher.publish(
            contentsOf: [2, 3].map { Invoice(order: order.number, line: $0) })
          receipts.add(made)
        }
      }
      try await whileConsuming(subscriber) {
        let id = try EventID("order-1")
        for _ in 0..<2 {
          try await service.publisher.publish(Order(number: 1), options: .init(id: id, correlationID: "c1"))
        }
        let found = try await service.rabbit.look(at: invoices, count: 8)
        let expected = (0..<4).map { #"{"line":\#($0),"order":1}"# }
        #expect(found.map(\.text).sorted() == (expected + expected).sorted())
        // Two handlers may have run at once: each run's own order is what is kept.
        let ids = found.compactMap { $0.properties?.messageID }
        #expect(Set(ids).count == 4)
        for id in Set(ids) { #expect(ids.count(where: { $0 == id }) == 2) }
        #expect(found.allSatisfy { $0.properties?.correlationID == "c1" })
        #expect(found.allSatisfy { $0.header("warren-causation-id") == "order-1" })
        for made in try #require(await receipts.wait(for: 2)) {
          #expect(made.map(\.id.text) == receipts.all[0].map(\.id.text))
          for receipt in made { #expect(receipt == .collected(receipt.id)) }
        }
        #expect(Set(receipts.all[0].map(\.id.text)) == Set(ids))
      }
      #expect(try await service.rabbit.depth(service.workQueue(Order.eventType)) == 0)
    }
  }

  @Test func theyStayWhereTheHandlerDidNotSucceed() async throws {
    try await withOrders { service, invoices in
      let subscriber = service.subscriber {
        On(Order.self) { order, context in
          try await service.publisher.publish(Invoice(order: order.number, line: 0))
          switch order.number {
          case 1: throw Refusal("no")
          case 2: context.deadLetter("no")
          case 3: context.ignore("no")
          default: break
          }
        }
      }
      try await whileConsuming(subscriber) {
        for number in 1...4 { try await service.publisher.publish(Order(number: number)) }
        let found = try await service.rabbit.look(at: invoices)
        #expect(found[0].text == #"{"line":0,"order":4}"#)
        #expect(try await service.rabbit.waitForDepth(service.deadLetters(Order.eventType), 2))
      }
      #expect(try await service.rabbit.depth(invoices) == 1)
      #expect(try await service.rabbit.depth(service.workQueue(Order.eventType)) == 0)
    }
  }

  /// The queue of the invoices is full: as long as the invoice cannot leave, the order is not acknowledged.
  @Test func theyLeaveBeforeTheAcknowledgement() async throws {
    let full: [String: HeaderValue] = ["x-queue-type": "classic", "x-max-length": 1, "x-overflow": "reject-publish"]
    try await withOrders(invoices: full) { service, invoices in
      try await service.put("in the way", into: invoices)
      let caught = LogCatcher()
      let begun = Collected<Bool>()
      let first = service.subscriber(logger: caught.logger) {
        $0.gracePeriod = .zero
      } handlers: {
        On(Order.self) { order, context in
          begun.add(context.delivery.isRedelivered)
          try await service.publisher.publish(Invoice(order: order.number, line: 0))
        }
      }
      try await withSubscriber(first) {
        try await service.publisher.publish(Order(number: 1))
        #expect(await caught.wait(for: "is not confirmed yet"))
      }
      let queue = try service.workQueue(Order.eventType)
      #expect(try await service.rabbit.waitForDepth(queue, 1))
      #expect(begun.all == [false])

      // Again, and now there is room while it tries.
      let second = LogCatcher()
      let subscriber = service.subscriber(logger: second.logger) {
        On(Order.self) { order, context in
          begun.add(context.delivery.isRedelivered)
          try await service.publisher.publish(Invoice(order: order.number, line: 0))
        }
      }
      try await whileConsuming(subscriber) {
        #expect(await second.wait(for: "is not confirmed yet"))
        let inTheWay = try await service.rabbit.take(from: invoices)
        #expect(inTheWay[0].text == "in the way")
        let invoice = try await service.rabbit.take(from: invoices)
        #expect(invoice[0].text == #"{"line":0,"order":1}"#)
      }
      #expect(begun.all == [false, true])
      #expect(try await service.rabbit.depth(queue) == 0)
      #expect(try await service.rabbit.depth(invoices) == 0)
      #expect(try await service.rabbit.depth(service.deadLetters(Order.eventType)) == 0)
    }
  }

  @Test func oneThatCannotBePublishedSendsTheEventToTheDeadLetters() async throws {
    try await withOrders { service, invoices in
      let subscriber = service.subscriber {
        On(Order.self) { order, _ in
          try await service.publisher.publish(Invoice(order: order.number, line: 0))
          try await service.publisher.publish(Unheard(order: order.number))
          try await service.publisher.publish(Invoice(order: order.number, line: 1))
        }
      }
      try await whileConsuming(subscriber) {
        let id = try await service.publisher.publish(Order(number: 1)).id
        let dead = try await service.rabbit.look(at: service.deadLetters(Order.eventType))[0]
        #expect(dead.cause == "publishFailed")
        #expect(dead.header("warren-last-error")?.contains("\(Unheard.eventType)") == true)
        #expect(dead.properties?.messageID == id.text)
        #expect(dead.text == #"{"number":1}"#)
        #expect(try await service.rabbit.look(at: invoices)[0].text == #"{"line":0,"order":1}"#)
      }
      #expect(try await service.rabbit.depth(service.workQueue(Order.eventType)) == 0)
    }
  }

  @Test func aTaskThatOutlivesItsHandlerPublishesByItself() async throws {
    try await withOrders { service, invoices in
      let gate = Gate()
      let receipts = Collected<Receipt>()
      let handled = Collected<Int>()
      let subscriber = service.subscriber {
        On(Order.self) { order, _ in
          Task {
            try await gate.pass()
            receipts.add(try await service.publisher.publish(Invoice(order: order.number, line: 9)))
          }
          handled.add(order.number)
        }
      }
      try await whileConsuming(subscriber) {
        try await service.publisher.publish(Order(number: 1))
        #expect(await handled.wait(for: 1) == [1])
        #expect(try await service.rabbit.waitForDepth(service.workQueue(Order.eventType), 0))
      }
      // The subscriber has ended, so the handler has as well.
      gate.open()
      let receipt = try #require(await receipts.wait(for: 1)?.first)
      #expect(receipt == .confirmed(receipt.id))
      #expect(try await service.rabbit.look(at: invoices)[0].properties?.messageID == receipt.id.text)
    }
  }

  /// Anybody may write a handler with publishers of its own; they need not be classes, and may answer too little.
  @Test(arguments: [0, 1, 2]) func aPublisherOfAnotherKindIsAskedUntilAllIsConfirmed(answersAtFirst: Int) async throws {
    struct Recording: EncodedPublisher {
      let got = Collected<[EventType]>()
      let answersAtFirst: Int
      func publish(encoded events: [EncodedEvent]) async -> [PublishOutcome] {
        got.add(events.map(\.metadata.type))
        let confirmed = events.map { _ in PublishOutcome.confirmed }
        return got.all.count == 1 ? Array(confirmed.prefix(answersAtFirst)) : confirmed
      }
    }
    struct Collecting: DeliveryHandler {
      let publisher: Recording
      var eventTypes: [EventType] { [Order.eventType] }
      var queueOptions: QueueOptions { .init() }
      func handle(_ delivery: Delivery) async -> HandlerResult {
        let events = [Invoice.eventType, Unheard.eventType].map {
          CollectedEvent(event: EncodedEvent(metadata: EventMetadata(type: $0), body: Data()), publisher: publisher)
        }
        return HandlerResult(.handled, collected: events)
      }
    }
    try await withTestService(Order.eventType) { service in
      let publisher = Recording(answersAtFirst: answersAtFirst)
      let subscriber = service.subscriber { Collecting(publisher: publisher) }
      let queue = try service.workQueue(Order.eventType)
      try await withSubscriber(subscriber) {
        try await service.publisher.publish(Order(number: 1))
        #expect(try await eventually { publisher.got.all.flatMap(\.self).last == Unheard.eventType })
        #expect(publisher.got.all.flatMap(\.self).contains(Invoice.eventType))
        try await subscriber.pause()
      }
      #expect(try await service.rabbit.waitForDepth(queue, 0))
    }
  }
}
