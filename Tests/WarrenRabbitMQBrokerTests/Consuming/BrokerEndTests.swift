import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// The broker ends the consuming: `run()` says so, and so does everybody who waits.
@Suite(.serialized) struct BrokerEndTests {
  private struct Ping: Event {
    static let eventType = freshType("ping")
    var number: Int
  }
  private struct Pong: Event {
    static let eventType = freshType("pong")
    var number: Int
  }

  private func failure(
    of running: Task<Void, any Error>, within timeout: Duration = .seconds(5)
  ) async throws -> RabbitMQError {
    let ended = try #require(await end(of: running, within: timeout))
    return try #require(throws: RabbitMQError.self) { try ended.get() }
  }

  @Test func aDeletedQueueEndsTheRun() async throws {
    try await withTestService(Ping.eventType) { service in
      let subscriber = service.subscriber { On(Ping.self) { _, _ in } }
      let running = Task { try await subscriber.run() }
      try await subscriber.waitUntilReady()
      let queue = try service.workQueue(Ping.eventType)
      try await service.rabbit.topology.perform(.deleteQueue(queue))
      let error = try await failure(of: running)
      #expect(error.code == .consumerCancelled)
      #expect(error.message.contains(queue))
      #expect(error.isRetryable)
      let late = await #expect(throws: RabbitMQError.self) { try await subscriber.waitUntilReady() }
      #expect(late?.code == .consumerCancelled)
      #expect(late?.message == error.message)
    }
  }

  /// One queue of two is deleted, each with a handler at work: nothing new starts, those that run end undisturbed, and what
  /// the other queue's handler has done is acknowledged.
  @Test func theHandlersOfOtherQueuesEndUndisturbed() async throws {
    try await withTestService(Ping.eventType, Pong.eventType) { service in
      let gate = Gate()
      let pings = Level()
      let pongs = Level()
      let subscriber = service.subscriber {
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
      let running = Task { try await subscriber.run() }
      try await subscriber.waitUntilReady()
      for number in 1...2 {
        try await service.publisher.publish(Ping(number: number))
        try await service.publisher.publish(Pong(number: number))
      }
      #expect(await pings.wait { $0.inside == 1 } != nil)
      #expect(await pongs.wait { $0.inside == 1 } != nil)
      try await service.rabbit.topology.perform(.deleteQueue(service.workQueue(Ping.eventType)))
      // It has been noticed, and the reason can be had, although a handler still runs.
      let noticed = try await eventually {
        do throws(RabbitMQError) {
          try await subscriber.waitUntilReady(timeout: .milliseconds(10))
          return false
        } catch {
          return error.code == .consumerCancelled
        }
      }
      #expect(noticed)
      #expect(pongs.now.inside == 1)
      gate.open()
      #expect(try await failure(of: running).code == .consumerCancelled)
      #expect(pings.now.left == 1 && pings.now.entered == 1)
      #expect(pongs.now.left == 1 && pongs.now.entered == 1)
      // The first is acknowledged, the second is back.
      let rest = try await service.rabbit.take(from: service.workQueue(Pong.eventType))
      #expect(rest[0].text == #"{"number":2}"#)
      #expect(try await service.rabbit.waitForDepth(service.workQueue(Pong.eventType), 0))
    }
  }

  /// 406 for a tag that does not exist. The first channel declares, the second reads.
  @Test func aClosedChannelEndsTheRun() async throws {
    try await withTestService(Ping.eventType) { service in
      try await withSecondBroker { broker in
        let subscriber = service.subscriber(on: broker) { On(Ping.self) { _, _ in } }
        let running = Task { try await subscriber.run() }
        try await subscriber.waitUntilReady()
        broker.consuming.submit(.acknowledge(ChannelID(2), [.ack(4711, multiple: false)]))
        let error = try await failure(of: running)
        #expect(error.replyCode == 406)
        #expect(error.message.contains("4711"))
        // The connection is there for others.
        #expect(try await broker.waitForDepth(service.workQueue(Ping.eventType), 0))
      }
    }
  }

  @Test func aLostConnectionEndsTheRun() async throws {
    try await withTestService(Ping.eventType) { service in
      let host = try #require(try TestBroker.configuration.hosts.first)
      let proxy = try FaultProxy(to: host.port)
      defer { proxy.close() }
      let begun = Collected<Bool>()
      let error: RabbitMQError = try await withCheckedThrowingContinuation { continuation in
        Task {
          do {
            var configuration = try TestBroker.configuration
            configuration.hosts = [.init("127.0.0.1", port: proxy.port)]
            let broker = try RabbitMQ(configuration)
            let connection = Task { try await broker.run() }
            try await broker.waitUntilConnected()
            let subscriber = service.subscriber(on: broker) { options in
              options.gracePeriod = .zero
            } handlers: {
              On(Ping.self) { _, context in
                begun.add(context.delivery.isRedelivered)
                if !context.delivery.isRedelivered { try await Gate().pass() }
              }
            }
            let running = Task { try await subscriber.run() }
            try await subscriber.waitUntilReady()
            try await service.publisher.publish(Ping(number: 1))
            _ = await begun.wait(for: 1)
            proxy.cut()
            let error = try await failure(of: running, within: .seconds(10))
            _ = await connection.result
            continuation.resume(returning: error)
          } catch {
            continuation.resume(throwing: error)
          }
        }
      }
      #expect(error.code == .connectionLost)
      #expect(error.isRetryable)
      // What was at work comes again, to another instance.
      let second = service.subscriber { On(Ping.self) { _, context in begun.add(context.delivery.isRedelivered) } }
      try await whileConsuming(second) { #expect(await begun.wait(for: 2) == [false, true]) }
      #expect(try await service.rabbit.depth(service.workQueue(Ping.eventType)) == 0)
      #expect(try await service.rabbit.depth(service.deadLetters(Ping.eventType)) == 0)
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
          case .verify: #expect(await caught.wait(for: "the dead-letter queue is missing"))
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
