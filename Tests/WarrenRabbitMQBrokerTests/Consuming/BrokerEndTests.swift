import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// The broker ends the consuming, for one reason or another: it goes on by itself where it can, and says so.
@Suite(.serialized) struct BrokerEndTests {
  private struct Ping: Event {
    static let eventType = freshType("ping")
    var number: Int
  }
  private struct Pong: Event {
    static let eventType = freshType("pong")
    var number: Int
  }

  /// What ends a run that fails fast.
  private func failure(of running: Task<Void, any Error>) async throws -> RabbitMQError {
    let ended = try #require(await end(of: running, within: .seconds(5)))
    return try #require(throws: RabbitMQError.self) { try ended.get() }
  }

  /// A deleted queue takes its events along; the consumer comes back with a new one, and says that it was gone.
  @Test func aDeletedQueueIsDeclaredAndReadAgain() async throws {
    try await withTestService(Ping.eventType) { service in
      let got = Collected<Int>()
      let caught = LogCatcher()
      let subscriber = service.subscriber(logger: caught.logger) { On(Ping.self) { event, _ in got.add(event.number) } }
      try await whileConsuming(subscriber) {
        let queue = try service.workQueue(Ping.eventType)
        try await service.rabbit.topology.perform(.deleteQueue(queue))
        #expect(await caught.wait(for: "not consuming: trying again"))
        #expect(await caught.wait(for: "consuming again"))
        try await service.publisher.publish(Ping(number: 1))
        #expect(await got.wait(for: 1) == [1])
        #expect(service.rabbit.health.liveConsumers == 1)
      }
    }
  }

  /// The exchange goes, and the binding with it, which no broker tells a consumer.
  @Test func aDeletedExchangeAndItsBindingComeBackWithinSeconds() async throws {
    try await withTestService(Ping.eventType) { service in
      let got = Collected<Int>()
      let caught = LogCatcher()
      let subscriber = service.subscriber(logger: caught.logger) { On(Ping.self) { event, _ in got.add(event.number) } }
      try await whileConsuming(subscriber) {
        try await service.rabbit.topology.perform(.deleteExchange(EntityNames.exchange(of: Ping.eventType)))
        #expect(await caught.wait(for: "somebody has deleted what this queue needs", timeout: .seconds(20)))
        let isBound = try await eventually(timeout: .seconds(20)) {
          do { try await service.publisher.publish(Ping(number: 1)) } catch let error as PublishError {
            #expect(error.code == .unroutable)
            return false
          }
          return true
        }
        #expect(isBound)
        #expect(await got.wait(for: 1) == [1])
      }
    }
  }

  @Test func aDeletedBindingComesBackWithinSeconds() async throws {
    try await withTestService(Ping.eventType) { service in
      let got = Collected<Int>()
      let subscriber = service.subscriber { On(Ping.self) { event, _ in got.add(event.number) } }
      try await whileConsuming(subscriber) {
        let exchange = EntityNames.exchange(of: Ping.eventType)
        try await service.rabbit.topology.perform(
          .unbind(queue: try service.workQueue(Ping.eventType), exchange: exchange, key: "#"))
        let isBound = try await eventually(timeout: .seconds(20)) {
          (try? await service.publisher.publish(Ping(number: 1))) != nil
        }
        #expect(isBound)
        #expect(await got.wait(for: 1) == [1])
      }
    }
  }

  /// One queue of two is deleted, each with a handler at work: the other goes on undisturbed.
  @Test func theHandlersOfOtherQueuesGoOnUndisturbed() async throws {
    try await withTestService(Ping.eventType, Pong.eventType) { service in
      let gate = Gate()
      let pings = Level()
      let pongs = Level()
      let caught = LogCatcher()
      let subscriber = service.subscriber(logger: caught.logger) {
        $0.concurrency = 1
      } handlers: {
        On(Ping.self) { _, _ in
          pings.enter()
          try await gate.pass()
          pings.leave()
        }
        On(Pong.self) { _, _ in
          pongs.enter()
          try await gate.pass()
          pongs.leave()
        }
      }
      try await whileConsuming(subscriber) {
        for number in 1...2 {
          try await service.publisher.publish(Ping(number: number))
          try await service.publisher.publish(Pong(number: number))
        }
        #expect(await pings.wait { $0.inside == 1 } != nil)
        #expect(await pongs.wait { $0.inside == 1 } != nil)
        try await service.rabbit.topology.perform(.deleteQueue(service.workQueue(Ping.eventType)))
        #expect(await caught.wait(for: "consuming again"))
        #expect(pongs.now.inside == 1)
        // The handler of the deleted queue still counts: no second one runs beside it.
        try await service.publisher.publish(Ping(number: 3))
        gate.open()
        #expect(await pongs.wait { $0.left == 2 } != nil)
        #expect(await pings.wait { $0.left == 2 } != nil)
      }
      #expect(pings.now.highest == 1 && pings.now.entered == 2)
      #expect(pongs.now.highest == 1 && pongs.now.entered == 2)
      #expect(try await service.rabbit.waitForDepth(service.workQueue(Pong.eventType), 0))
    }
  }

  /// 406 for a tag that does not exist. The first channel declares, the second reads.
  @Test func aClosedChannelIsOpenedAgain() async throws {
    try await withTestService(Ping.eventType) { service in
      try await withSecondBroker { broker in
        let got = Collected<Int>()
        let caught = LogCatcher()
        let subscriber = service.subscriber(on: broker, logger: caught.logger) {
          On(Ping.self) { event, _ in got.add(event.number) }
        }
        try await whileConsuming(subscriber) {
          broker.consuming.submit(.acknowledge(ChannelID(2), [.ack(4711, multiple: false)]))
          #expect(await caught.wait(for: "consuming again"))
          try await service.publisher.publish(Ping(number: 1))
          #expect(await got.wait(for: 1) == [1])
        }
      }
    }
  }

  @Test func waitingForARunThatDoesNotRunSaysSo() async throws {
    try await withTestService(Ping.eventType) { service in
      let subscriber = service.subscriber { On(Ping.self) { _, _ in } }
      let error = await #expect(throws: RabbitMQError.self) {
        try await subscriber.waitUntilReady(timeout: .milliseconds(50))
      }
      #expect(error?.code == .timedOut)
      #expect(error?.message.contains("run() is not running") == true)
      let waiting = Task { try await subscriber.waitUntilReady() }
      waiting.cancel()
      let cancelled = await #expect(throws: RabbitMQError.self) { try await waiting.value }
      #expect(cancelled?.code == .cancelled)
    }
  }

  /// Verified and missing, taken as there and missing, there with other settings: who waits hears why.
  @Test(arguments: [TopologyMode.verify, .assume, .declare]) func waitingForAFailedStartHearsTheReason(
    mode: TopologyMode
  ) async throws {
    try await withTestService(Ping.eventType, configuration: { $0.topology = mode }) { service in
      let queue = try service.workQueue(Ping.eventType)
      if mode == .declare {
        try await service.rabbit.testQueue(queue, arguments: ["x-queue-type": "classic"], litter: service.litter)
      }
      let subscriber = service.subscriber { On(Ping.self) { _, _ in } }
      let running = Task { try await subscriber.run() }
      let waited = await #expect(throws: RabbitMQError.self) { try await subscriber.waitUntilReady() }
      let thrown = try await failure(of: running)
      #expect(waited?.code == thrown.code)
      #expect(waited?.message == thrown.message)
      switch mode {
      case .verify:
        #expect(thrown.code == .notFound)
        #expect(thrown.message.contains("events.\(Ping.eventType)"))
      case .assume:
        #expect(thrown.code == .notFound)
        #expect(thrown.message.contains("cannot consume \"\(queue)\""))
      case .declare:
        #expect(thrown.code == .topologyMismatch)
        #expect(thrown.message.contains(queue) && thrown.message.contains("x-queue-type"))
      }
    }
  }

  @Test func verifiedOrAssumedQueuesAreReadAsTheyAre() async throws {
    for mode in [TopologyMode.verify, .assume] {
      try await withTestService(Ping.eventType) { service in
        try await service.declareQueues(Ping.eventType)
        try await withSecondBroker({ $0.topology = mode }) { broker in
          let got = Collected<Int>()
          let subscriber = service.subscriber(on: broker) {
            On(Ping.self) { event, _ in
              got.add(event.number)
              if event.number == 2 { throw Refusal("two") }
            }
          }
          try await whileConsuming(subscriber) {
            for number in 1...2 { try await service.publisher.publish(Ping(number: number)) }
            #expect(await got.wait(for: 2) != nil)
            let dead = try await service.rabbit.look(at: service.deadLetters(Ping.eventType))
            #expect(dead[0].text == #"{"number":2}"#)
          }
        }
        #expect(try await service.rabbit.depth(service.workQueue(Ping.eventType)) == 0)
      }
    }
  }

  /// The queue for the dead letters is gone. Where Warren may declare it, it comes back; where not, somebody must make it, and
  /// until then the event stays where it is.
  @Test(arguments: TopologyMode.allCases) func aDeletedDeadLetterQueueLosesNothing(mode: TopologyMode) async throws {
    try await withTestService(Ping.eventType) { service in
      try await service.declareQueues(Ping.eventType)
      try await withSecondBroker({ $0.topology = mode }) { broker in
        let caught = LogCatcher()
        let handled = Collected<Int>()
        let subscriber = service.subscriber(on: broker, logger: caught.logger) {
          On(Ping.self) { event, _ in
            handled.add(event.number)
            throw Refusal("no")
          }
        }
        let deadLetters = try service.deadLetters(Ping.eventType)
        try await whileConsuming(subscriber) {
          try await service.rabbit.topology.perform(.deleteQueue(deadLetters))
          try await service.publisher.publish(Ping(number: 1))
          switch mode {
          case .declare: break
          case .verify: #expect(await caught.wait(for: "a dead letter is not possible"))
          case .assume: #expect(await handled.wait(for: 1) != nil)
          }
          if mode != .declare {
            let entity = TopologyEntity.deadLetterQueue(name: deadLetters)
            await service.rabbit.topology.forget([entity])
            try await service.rabbit.topology.ensure([entity])
          }
          let isBack = try await eventually {
            do { return try await service.rabbit.depth(deadLetters) == 1 } catch { return false }
          }
          #expect(isBack)
          #expect(try await service.rabbit.look(at: deadLetters)[0].cause == "handlerFailed")
        }
        #expect(handled.all == [1])
        #expect(try await service.rabbit.depth(service.workQueue(Ping.eventType)) == 0)
      }
    }
  }
}
