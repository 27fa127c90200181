import BrokerFixture
import Testing
import Warren
import WarrenRabbitMQ

/// Queues that refuse what does not fit. What was confirmed is in the queue, what was refused is not.
struct CongestionTests {
  private static func limit(_ kind: HeaderValue, _ length: HeaderValue) -> [String: HeaderValue] {
    ["x-queue-type": kind, "x-max-length": length, "x-overflow": "reject-publish"]
  }

  @Test func aFullClassicQueueTakesExactlyItsLimit() async throws {
    try await withTestBroker { rabbit, litter in
      let type = try litter.type()
      let queue = try await rabbit.sink(type, arguments: Self.limit("classic", 5), litter)
      let publisher = Publisher(rabbit, source: "tests")
      let outcomes = await publisher.publish(encoded: (0..<20).map { .init(type, "\($0)".utf8) })
      let text = "a queue of events.\(type) did not take the event: it is full or has no leader"
      #expect(outcomes == (0..<20).map { $0 < 5 ? .confirmed : .congested(text) })
      #expect(try await rabbit.depth(queue) == 5)

      let thrown = try #require(await error(PublishError.self) { try await publisher.publish(Numbered(type, 20)) })
      #expect(thrown.code == .congested)
      #expect(thrown.isRetryable)
      // This queue has it not; others of the exchange might.
      #expect(thrown.mayHaveBeenPublished)

      let got = try await foreign { try $0.take(queue, 5) }
      #expect(got.map(\.text) == ["0", "1", "2", "3", "4"])
      #expect(try await rabbit.waitForDepth(queue, 0))
      // Room again: the same call works.
      try await publisher.publish(Numbered(type, 21))
    }
  }

  @Test func aFullQuorumQueueHasWhatItConfirmed() async throws {
    try await withTestBroker { rabbit, litter in
      let type = try litter.type()
      let queue = try await rabbit.sink(type, arguments: Self.limit("quorum", 5), litter)
      let publisher = Publisher(rabbit, source: "tests")
      var confirmed = 0
      var congested = 0
      // The limit of a quorum queue is soft: a few more than it says get in before the channel hears of it.
      while congested < 10, confirmed < 1000 {
        switch await publisher.publish(encoded: [.init(type, "\(confirmed)".utf8)])[0] {
        case .confirmed: confirmed += 1
        case .congested: congested += 1
        case let other: Issue.record("\(other)")
        }
      }
      #expect(congested == 10)
      #expect(confirmed >= 5)
      #expect(try await rabbit.depth(queue) == confirmed)
    }
  }

  @Test func oneFullQueueAmongSeveralIsCongested() async throws {
    try await withTestBroker { rabbit, litter in
      let type = try litter.type()
      let full = try await rabbit.sink(type, keys: ["both"], arguments: Self.limit("classic", 1), litter)
      let other = try await rabbit.sink(type, keys: ["#"], litter)
      let events = ["both", "other", "both", "other"].map { EncodedEvent(type, [1], routingKey: $0) }
      let outcomes = await Publisher(rabbit, source: "tests").publish(encoded: events)
      #expect(outcomes.map(\.kind) == ["confirmed", "confirmed", "congested", "confirmed"])
      #expect(try await rabbit.depth(full) == 1)
      #expect(try await rabbit.depth(other) == 4)
    }
  }

  /// What is refused all the time may be the channel's fault: another one is opened, and nobody notices.
  @Test func aChannelOnWhichNothingIsAcceptedIsReplaced() async throws {
    try await withTestBroker { rabbit, litter in
      let type = try litter.type()
      let queue = try await rabbit.sink(type, arguments: Self.limit("classic", 1), litter)
      let (full, free) = (EncodedEvent(type, [1]), EncodedEvent(type, [2]))
      let log = LogCatcher()
      let other = try RabbitMQ(TestBroker.configuration, logger: log.logger)
      let running = Task { try await other.run() }
      let publisher = Publisher(other, source: "tests")
      #expect(await publisher.publish(encoded: [full]).map(\.kind) == ["confirmed"])
      var kinds: Set<String> = []
      let isReplaced = try await eventually(timeout: .seconds(20)) {
        kinds.formUnion(await publisher.publish(encoded: [full]).map(\.kind))
        return await log.wait(for: "opening another one", timeout: .zero)
      }
      #expect(isReplaced)
      // Unknown is the one that was under way then, and was refused again on the next channel.
      #expect(kinds.isSubset(of: ["congested", "unknown"]))
      _ = try await foreign { try $0.take(queue, 1) }
      #expect(try await rabbit.waitForDepth(queue, 0))
      #expect(await publisher.publish(encoded: [free]).map(\.kind) == ["confirmed"])
      #expect(try await rabbit.depth(queue) == 1)
      running.cancel()
      _ = try? await running.value
    }
  }
}
