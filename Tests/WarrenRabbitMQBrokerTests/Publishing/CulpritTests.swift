import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// The broker closes the channel for one bad publish and throws away what comes behind it. Only the bad one ends as
/// refused; its neighbours are written again and arrive.
struct CulpritTests {
  @Test func aMissingExchangeInTheMiddleOfAWindowEndsOnlyItsOwnEvents() async throws {
    try await withTestBroker { direct, litter in
      let good = try litter.type("good")
      let gone = try litter.type("gone")
      let queue = try await direct.sink(good, litter)
      let lost = try await direct.sink(gone, litter)
      try await withTap { tap in
        try await withTestBroker({
          $0.go(through: tap)
          // It may not declare the exchange again.
          $0.topology = .assume
        }) { rabbit, _ in
          let publisher = Publisher(rabbit, source: "tests")
          #expect(await publisher.publish(encoded: [.init(gone, [1])]) == [.confirmed])
          try await direct.topology.perform(.deleteExchange(EntityNames.exchange(of: gone)))

          let events = (0..<300).map { EncodedEvent($0 == 100 || $0 == 200 ? gone : good, "\($0)".utf8) }
          let outcomes = await publisher.publish(encoded: events)
          for (number, outcome) in outcomes.enumerated() {
            if number == 100 || number == 200 {
              #expect(outcome.kind == "refused")
              #expect(outcome.text.contains("no exchange 'events.\(gone)'"), "\(outcome)")
            } else {
              #expect(outcome == .confirmed, "\(number)")
            }
          }
          #expect(tap.events.contains { if case .channelClosed = $0 { true } else { false } })
          try await expectAll(events.filter { $0.metadata.type == good }, in: queue, of: direct)
          #expect(try await direct.depth(lost) == 1)
        }
      }
    }
  }

  /// Where Warren owns the exchange it comes back, and every event with it: those of its type are unroutable now, because the
  /// bindings went with the old one. But the broker closes the channel for one of them, and says nothing about those before:
  /// they may have been routed by the old exchange.
  @Test func aDeletedExchangeIsDeclaredAgain() async throws {
    try await withTestBroker { rabbit, litter in
      let good = try litter.type("good")
      let gone = try litter.type("gone")
      let queue = try await rabbit.sink(good, litter)
      let lost = try await rabbit.sink(gone, litter)
      let publisher = Publisher(rabbit, source: "tests")
      #expect(await publisher.publish(encoded: [.init(gone, [1])]) == [.confirmed])
      try await rabbit.topology.perform(.deleteExchange(EntityNames.exchange(of: gone)))

      let events = (0..<300).map { EncodedEvent($0 % 100 == 50 ? gone : good, "\($0)".utf8) }
      let outcomes = await publisher.publish(encoded: events)
      for (number, outcome) in outcomes.enumerated() {
        guard number % 100 == 50 else {
          #expect(outcome == .confirmed, "\(number)")
          continue
        }
        // How many of them were on the wire when the channel was closed is a matter of time; the last one never arrived.
        let isSure = outcome.kind == "unroutable"
        #expect(isSure || number < 250 && outcome.kind == "unknown", "\(number): \(outcome)")
        #expect(outcome.text.contains("no queue is bound"), "\(number): \(outcome)")
      }
      try await expectAll(events.filter { $0.metadata.type == good }, in: queue, of: rabbit)
      // One alone is the one that the channel was closed for.
      try await rabbit.topology.perform(.deleteExchange(EntityNames.exchange(of: gone)))
      #expect(await publisher.publish(encoded: [.init(gone, [2])]).map(\.kind) == ["unroutable"])
      try await rabbit.topology.perform(.bind(queue: lost, exchange: EntityNames.exchange(of: gone), key: "#"))
      #expect(await publisher.publish(encoded: [.init(gone, [3])]) == [.confirmed])
      #expect(try await rabbit.depth(lost) == 2)
    }
  }

  @Test func aMissingExchangeAmongConcurrentCallsEndsOnlyItsOwnCall() async throws {
    try await withTestBroker { direct, litter in
      let good = try litter.type("good")
      let gone = try litter.type("gone")
      let queue = try await direct.sink(good, litter)
      _ = try await direct.sink(gone, litter)
      try await withTestBroker({ $0.topology = .assume }) { rabbit, _ in
        let publisher = Publisher(rabbit, source: "tests")
        try await publisher.publish(Numbered(gone, 0))
        try await direct.topology.perform(.deleteExchange(EntityNames.exchange(of: gone)))

        let receipts = try await withThrowingTaskGroup(of: Receipt?.self) { group in
          for number in 0..<200 {
            group.addTask {
              if number != 50 { return try await publisher.publish(Numbered(good, number)) }
              let thrown = await error(PublishError.self) { try await publisher.publish(Numbered(gone, number)) }
              #expect(thrown?.code == .refused)
              #expect(thrown?.isRetryable == false)
              #expect(thrown?.mayHaveBeenPublished == false)
              return nil
            }
          }
          return try await group.reduce(into: [Receipt]()) { if let receipt = $1 { $0.append(receipt) } }
        }
        #expect(receipts.count == 199)
        let depth = try await rabbit.depth(queue)
        let got = try await foreign { try $0.take(queue, depth) }
        #expect(Set(got.compactMap(\.messageID)) == Set(receipts.map(\.id.text)))
      }
    }
  }

  /// The text of the refusal names no exchange, so the events that were under way are tried one at a time.
  @Test func aCulpritThatTheBrokerDoesNotNameIsFound() async throws {
    try await withTestBroker { rabbit, litter in
      let type = try litter.type()
      let queue = try await rabbit.sink(type, litter)
      let exchange = EntityNames.exchange(of: type)
      let outcomes = try await withThrowingTaskGroup(of: (Int, PublishOutcome).self) { group in
        for number in 0..<120 {
          group.addTask {
            var properties = MessageProperties()
            properties.messageID = "\(number)"
            // Nobody may publish in another user's name.
            if number == 40 || number == 80 { properties.userID = "somebody-else" }
            return (number, try await rabbit.publishRaw(exchange: exchange, routingKey: "key", properties: properties))
          }
        }
        return try await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
      }
      for number in 0..<120 {
        if number == 40 || number == 80 {
          #expect(outcomes[number]?.kind == "refused")
          #expect(outcomes[number]?.text.contains("user_id") == true)
        } else {
          #expect(outcomes[number] == .confirmed, "\(number)")
        }
      }
      let depth = try await rabbit.depth(queue)
      let got = try await foreign { try $0.take(queue, depth) }
      #expect(Set(got.compactMap(\.messageID)) == Set((0..<120).filter { $0 != 40 && $0 != 80 }.map(String.init)))
      // Afterwards the whole window is used again.
      #expect(await Publisher(rabbit, source: "tests").publish(encoded: [.init(type, [1])]) == [.confirmed])
    }
  }

  @Test func theDefaultExchangeIsNotBlamedForAnother() async throws {
    try await withTestBroker { rabbit, litter in
      let queue = unique("direct")
      try await rabbit.testQueue(queue, litter: litter)
      async let before = rabbit.publishRaw(exchange: "", routingKey: queue)
      async let refused = rabbit.publishRaw(exchange: unique("never-declared"), routingKey: "x")
      async let behind = rabbit.publishRaw(exchange: "", routingKey: queue)
      #expect(try await before == .confirmed)
      #expect(try await refused.kind == "refused")
      #expect(try await behind == .confirmed)
      #expect(try await rabbit.depth(queue) >= 2)
    }
  }

  /// None is missing, and what is there twice carries the same id twice. In order of their first sight.
  private func expectAll(_ events: [EncodedEvent], in queue: String, of rabbit: RabbitMQ) async throws {
    let depth = try await rabbit.depth(queue)
    #expect(depth >= events.count)
    let got = try await foreign { try $0.take(queue, depth) }
    var seen: Set<String> = []
    let first = got.compactMap(\.messageID).filter { seen.insert($0).inserted }
    #expect(first == events.compactMap(\.metadata.id?.text))
  }
}
