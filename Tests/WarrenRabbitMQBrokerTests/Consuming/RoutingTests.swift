import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// Which handler gets which event.
@Suite(.serialized) struct RoutingTests {
  @Test func eachTypeOfAServiceGoesToItsOwnHandler() async throws {
    struct Opened: Event, Equatable {
      static let eventType = freshType("opened")
      var owner: String
    }
    struct Closed: Event, Equatable {
      static let eventType = freshType("closed")
      var reason: Int
    }
    let raw = freshType("raw")
    try await withTestService(Opened.eventType, Closed.eventType, raw) { service in
      let opened = Collected<Opened>()
      let closed = Collected<Closed>()
      let bodies = Collected<String>()
      let subscriber = service.subscriber {
        On(Opened.self) { event, _ in opened.add(event) }
        On(Closed.self) { event, _ in closed.add(event) }
        OnRaw(raw) { delivery, _ in bodies.add(String(decoding: delivery.body, as: UTF8.self)) }
      }
      try await whileConsuming(subscriber) {
        try await service.publisher.publish(Opened(owner: "Ada"))
        try await service.publisher.publish(Closed(reason: 3))
        try await service.put(Data("not even JSON".utf8), exchange: EntityNames.exchange(of: raw), routingKey: "any")
        #expect(await opened.wait(for: 1) == [Opened(owner: "Ada")])
        #expect(await closed.wait(for: 1) == [Closed(reason: 3)])
        #expect(await bodies.wait(for: 1) == ["not even JSON"])
      }
      for type in [Opened.eventType, Closed.eventType, raw] {
        #expect(try await service.rabbit.waitForDepth(service.workQueue(type), 0))
        #expect(try await service.rabbit.depth(service.deadLetters(type)) == 0)
      }
    }
  }

  @Test func aFamilyReadsAQueueForEachOfItsTypes() async throws {
    enum Account: EventFamily, Equatable {
      static let family = freshType("account")
      static var eventTypes: [EventType] {
        [subtype(family, "opened"), subtype(family, "money-deposited"), subtype(family, "closed")]
      }
      case opened(owner: String)
      case moneyDeposited(Int)
      case closed
    }
    let types = Account.eventTypes
    try await withTestService(types[0], types[1], types[2]) { service in
      let got = Collected<Account>()
      let arrived = Collected<EventType>()
      let subscriber = service.subscriber {
        On(Account.self) { event, context in
          arrived.add(context.delivery.type)
          got.add(event)
        }
      }
      try await whileConsuming(subscriber) {
        for type in types { #expect(try await service.rabbit.consumers(of: service.workQueue(type)) == 1) }
        let published: [Account] = [.opened(owner: "Ada"), .moneyDeposited(7), .closed]
        for event in published { try await service.publisher.publish(event) }
        let events = try #require(await got.wait(for: 3))
        #expect(published.allSatisfy(events.contains))
        #expect(Set(arrived.all) == Set(types))
      }
    }
  }

  @Test func anUnknownTypeGoesToTheDeadLetters() async throws {
    struct Known: Event {
      static let eventType = freshType("known")
      var number: Int
    }
    try await withTestService(Known.eventType) { service in
      let handled = Collected<Int>()
      let subscriber = service.subscriber { On(Known.self) { event, _ in handled.add(event.number) } }
      try await whileConsuming(subscriber) {
        let queue = try service.workQueue(Known.eventType)
        try await service.put(#"{"number":1}"#, into: queue) { $0.type = "somebody.elses" }
        let dead = try await service.rabbit.look(at: service.deadLetters(Known.eventType))
        #expect(dead[0].cause == "unknownType")
        #expect(dead[0].header("warren-last-error")?.contains("somebody.elses") == true)
        #expect(dead[0].text == #"{"number":1}"#)
        #expect(dead[0].properties?.type == "somebody.elses")
        #expect(handled.all.isEmpty)
        // Without a type of its own it is what the queue is for.
        try await service.put(#"{"number":2}"#, into: queue)
        #expect(await handled.wait(for: 1) == [2])
      }
    }
  }

  @Test func theCatchAllTakesWhatNoOtherHandlerTakes() async throws {
    struct Known: Event {
      static let eventType = freshType("known")
      var number: Int
    }
    try await withTestService(Known.eventType) { service in
      let handled = Collected<Int>()
      let others = Collected<String>()
      let subscriber = service.subscriber {
        On(Known.self) { event, _ in handled.add(event.number) }
        Otherwise { delivery, _ in others.add("\(delivery.type) \(String(decoding: delivery.body, as: UTF8.self))") }
      }
      try await whileConsuming(subscriber) {
        let queue = try service.workQueue(Known.eventType)
        try await service.put("?", into: queue) { $0.type = "somebody.elses" }
        try await service.put(#"{"number":2}"#, into: queue)
        #expect(await others.wait(for: 1) == ["somebody.elses ?"])
        #expect(await handled.wait(for: 1) == [2])
      }
      #expect(try await service.rabbit.waitForDepth(service.workQueue(Known.eventType), 0))
      #expect(try await service.rabbit.depth(service.deadLetters(Known.eventType)) == 0)
    }
  }

  /// Two exchanges, one queue, somebody else's binding: the exchange that a message came through says what it is, whatever
  /// its properties say.
  @Test func theExchangeDecidesTheType() async throws {
    struct One: Event {
      static let eventType = freshType("one")
      var number: Int
    }
    struct Two: Event {
      static let eventType = freshType("two")
      var number: Int
    }
    try await withTestService(One.eventType, Two.eventType) { service in
      let ones = Collected<Int>()
      let twos = Collected<Int>()
      let subscriber = service.subscriber {
        On(One.self) { event, _ in ones.add(event.number) }
        On(Two.self) { event, _ in twos.add(event.number) }
      }
      try await whileConsuming(subscriber) {
        let exchange = EntityNames.exchange(of: Two.eventType)
        try await service.rabbit.topology.perform(
          .bind(queue: service.workQueue(One.eventType), exchange: exchange, key: "stray"))
        try await service.rabbit.topology.perform(
          .unbind(queue: service.workQueue(Two.eventType), exchange: exchange, key: "#"))
        try await service.put(Data(#"{"number":22}"#.utf8), exchange: exchange, routingKey: "stray") {
          $0.type = One.eventType.name
        }
        #expect(await twos.wait(for: 1) == [22])
        #expect(ones.all.isEmpty)
      }
    }
  }

  @Test func routingPatternsChooseWhatAQueueGets() async throws {
    struct Order: Event {
      static let eventType = freshType("order")
      var key: String
    }
    try await withTestService(Order.eventType) { service in
      let got = Collected<String>()
      let subscriber = service.subscriber {
        On(Order.self, queue: .init(patterns: ["eu.*", "*.urgent.#"], concurrency: 1)) { order, context in
          got.add(order.key)
          if context.delivery.routingKey != order.key { got.add("routing key \(context.delivery.routingKey)") }
        }
      }
      var options = Publisher.Options()
      options.unroutable = .accept
      let publisher = Publisher(service.rabbit, source: "tests", options: options)
      try await whileConsuming(subscriber) {
        let keys = [
          "eu.de", "eu.de.berlin", "us.urgent", "us.urgent.now.please", "us.calm", "eu", "urgent", "eu.urgent",
          "eu.end",
        ]
        for key in keys { try await publisher.publish(Order(key: key), options: .init(routingKey: key)) }
        let expected = ["eu.de", "us.urgent", "us.urgent.now.please", "eu.urgent", "eu.end"]
        #expect(await got.wait(for: expected.count) == expected)
      }
    }
  }

  @Test func aNamedSubscriptionGetsItsOwnCopyOfEachEvent() async throws {
    struct Ping: Event {
      static let eventType = freshType("ping")
      var number: Int
    }
    try await withTestService(Ping.eventType) { service in
      let audit = try service.sibling(Ping.eventType, subscription: "audit")
      let own = Collected<Int>()
      let audited = Collected<Int>()
      let subscriber = service.subscriber { On(Ping.self) { event, _ in own.add(event.number) } }
      let auditor = audit.subscriber(subscription: "audit") {
        On(Ping.self) { event, _ in
          audited.add(event.number)
          throw Refusal("audit does not like it")
        }
      }
      try await whileConsuming(subscriber) {
        try await whileConsuming(auditor) {
          try await service.publisher.publish(contentsOf: (1...20).map { Ping(number: $0) })
          #expect(await own.wait(for: 20)?.sorted() == Array(1...20))
          #expect(await audited.wait(for: 20)?.sorted() == Array(1...20))
          let deadLetters = try service.deadLetters(Ping.eventType, subscription: "audit")
          #expect(deadLetters == "\(service.name)_audit.dead.\(Ping.eventType)")
          #expect(try await service.rabbit.waitForDepth(deadLetters, 20))
          #expect(try await service.rabbit.depth(service.deadLetters(Ping.eventType)) == 0)
        }
      }
    }
  }

  @Test func instancesOfOneServiceShareItsEvents() async throws {
    struct Ping: Event {
      static let eventType = freshType("ping")
      var number: Int
    }
    try await withTestService(Ping.eventType) { service in
      try await withSecondBroker { secondBroker in
        let got = [Collected<Int>(), Collected<Int>()]
        let gate = Gate()
        func instance(_ index: Int, on rabbit: RabbitMQ) -> Subscriber {
          service.subscriber(on: rabbit) {
            $0.prefetch = 1
          } handlers: {
            On(Ping.self) { event, _ in
              got[index].add(event.number)
              try await gate.pass()
            }
          }
        }
        try await whileConsuming(instance(0, on: service.rabbit)) {
          try await whileConsuming(instance(1, on: secondBroker)) {
            try await service.publisher.publish(contentsOf: (1...50).map { Ping(number: $0) })
            // Each holds one and may take no second.
            #expect(await got[0].wait(for: 1) != nil)
            #expect(await got[1].wait(for: 1) != nil)
            gate.open()
            #expect(try await eventually { got[0].all.count + got[1].all.count >= 50 })
            #expect(try await service.rabbit.waitForDepth(service.workQueue(Ping.eventType), 0))
          }
        }
        #expect((got[0].all + got[1].all).sorted() == Array(1...50))
      }
    }
  }

  @Test func everyServiceGetsEveryEvent() async throws {
    struct Ping: Event {
      static let eventType = freshType("ping")
      var number: Int
    }
    try await withTestService(Ping.eventType) { service in
      let other = try service.sibling(Ping.eventType)
      let first = Collected<Int>()
      let second = Collected<Int>()
      try await whileConsuming(service.subscriber { On(Ping.self) { event, _ in first.add(event.number) } }) {
        try await whileConsuming(other.subscriber { On(Ping.self) { event, _ in second.add(event.number) } }) {
          try await service.publisher.publish(contentsOf: (1...30).map { Ping(number: $0) })
          #expect(await first.wait(for: 30)?.sorted() == Array(1...30))
          #expect(await second.wait(for: 30)?.sorted() == Array(1...30))
        }
      }
    }
  }

  @Test(arguments: QueueKind.allCases) func bothKindsOfQueuesWork(kind: QueueKind) async throws {
    let type = freshType("kind")
    try await withTestService(type) { service in
      let got = Collected<String>()
      let subscriber = service.subscriber {
        OnRaw(type, queue: .init(singleActiveConsumer: true, kind: kind)) { delivery, _ in
          let body = String(decoding: delivery.body, as: UTF8.self)
          got.add(body)
          if body == "bad" { throw Refusal("bad") }
        }
      }
      try await whileConsuming(subscriber) {
        for body in ["good", "bad", ""] {
          try await service.put(Data(body.utf8), exchange: EntityNames.exchange(of: type), routingKey: "any")
        }
        #expect(await got.wait(for: 3)?.sorted() == ["", "bad", "good"])
        #expect(try await service.rabbit.look(at: service.deadLetters(type))[0].text == "bad")
      }
      #expect(try await service.rabbit.waitForDepth(service.workQueue(type), 0))
    }
  }
}
