import BrokerFixture
import Foundation
import Testing
import Warren
import WarrenRabbitMQ
import WarrenSupport

/// The connection is cut after every byte of what the two sides say to each other.
@Suite(.serialized) struct CutTests {
  private struct Note: Event {
    static let eventType: EventType = "cut.note"
    var number: Int
  }

  /// Hears one connection from its beginning to its end.
  private final class Life: ConnectionListener {
    struct State {
      var hasOpened = false
      var end: RabbitMQError??
    }
    let state = Watched(State())
    func connectionOpened(_ info: ConnectionInfo) { state.update { $0.hasOpened = true } }
    func connectionBlocked(_ reason: String?) {}
    func connectionEnded(_ error: RabbitMQError?) { state.update { $0.end = .some(error) } }
  }

  private func proxy() throws -> FaultProxy { try FaultProxy(to: TestBroker.configuration.hosts[0].port) }

  private func configuration(through proxy: FaultProxy) throws -> RabbitMQConfiguration {
    var configuration = try TestBroker.configuration
    configuration.hosts = [.init("127.0.0.1", port: proxy.port)]
    configuration.recoveryPace.afterLoss = 0...2
    configuration.recoveryPace.unreachable = 1...5
    configuration.recoveryPace.settled = .milliseconds(1)
    return configuration
  }

  private func connect(through proxy: FaultProxy) throws -> (engine: RabbitMQEngine, life: Life) {
    let configuration = try configuration(through: proxy)
    let life = Life()
    let engine = RabbitMQEngine(
      host: configuration.hosts[0], configuration: configuration, name: "cut", listener: life)
    engine.start()
    return (engine, life)
  }

  @Test(arguments: [true, false]) func duringTheHandshake(isUp: Bool) async throws {
    let proxy = try proxy()
    defer { proxy.close() }
    // How long it is when nothing is cut.
    let (engine, life) = try connect(through: proxy)
    #expect(await life.state.wait(timeout: .seconds(10)) { $0.hasOpened } != nil)
    let length = isUp ? proxy.forwarded.up : proxy.forwarded.down
    engine.submit(.close(because: nil))
    #expect(await life.state.wait(timeout: .seconds(5)) { $0.end != nil } != nil)
    #expect(length > 100)

    let before = try await Leaks.before()
    for point in FaultRuns.points(upTo: length) {
      proxy.behave { behaviour in if isUp { behaviour.cutAfterUp = point } else { behaviour.cutAfterDown = point } }
      let (engine, life) = try connect(through: proxy)
      let ended = await life.state.wait(timeout: .seconds(10)) { $0.end != nil }
      let error = try #require(ended?.end ?? nil, "cut after \(point) bytes")
      #expect(error.isRetryable, "cut after \(point) bytes: \(error)")
      #expect(error.code == .connectFailed || error.code == .connectionLost, "cut after \(point) bytes: \(error)")
      #expect(engine.submit(.close(because: nil)) == false)
      proxy.behave { ($0.cutAfterUp, $0.cutAfterDown) = (nil, nil) }
    }
    #expect(try await Leaks.areGone(since: before), "\(before), now \(Leaks.now)")
  }

  /// Every publish is confirmed in the end, and everything that was confirmed is in the queue.
  @Test(arguments: [true, false]) func duringAPublish(isUp: Bool) async throws {
    let proxy = try proxy()
    defer { proxy.close() }
    try await withTestBroker { direct, litter in
      let exchange = EntityNames.exchange(of: Note.eventType)
      let queue = unique("cut")
      try await direct.topology.ensure([.exchange(of: Note.eventType)])
      litter.exchange(exchange)
      try await direct.testQueue(queue, bound: [(exchange, "#")], litter: litter)
      try await withRabbitMQ(configuration(through: proxy)) { rabbit in
        let publisher = Publisher(rabbit, source: "tests")
        try await publisher.publish(Note(number: -1))
        let sent = isUp ? proxy.forwarded.up : proxy.forwarded.down
        try await publisher.publish(Note(number: -1))
        func seen() -> Int { (isUp ? proxy.forwarded.up : proxy.forwarded.down) - sent }
        // The proxy counts what it has passed on already.
        #expect(try await eventually { seen() > 10 })
        let length = seen()
        var published = 2
        for point in FaultRuns.points(upTo: length) {
          proxy.behave { behaviour in if isUp { behaviour.cutAfterUp = point } else { behaviour.cutAfterDown = point } }
          try await publisher.publish(Note(number: point))
          published += 1
          proxy.behave { ($0.cutAfterUp, $0.cutAfterDown) = (nil, nil) }
          try await rabbit.waitUntilConnected(timeout: .seconds(10))
        }
        #expect(try await direct.depth(queue) >= published)
      }
    }
  }

  /// Every event is handled and acknowledged in the end; the down direction cuts deliveries, the up direction acknowledgements.
  @Test(arguments: [true, false]) func duringADelivery(isUp: Bool) async throws {
    let proxy = try proxy()
    defer { proxy.close() }
    try await withTestBroker { direct, litter in
      let service = unique("cut")
      try litter.service(service, Note.eventType)
      litter.exchange(EntityNames.exchange(of: Note.eventType))
      let publisher = Publisher(direct, source: "tests")
      let queue = EntityNames.workQueue(of: try QueueOwner(service: ServiceName(service)), type: Note.eventType)
      try await withRabbitMQ(configuration(through: proxy)) { rabbit in
        let handled = Collected<Int>()
        let subscriber = Subscriber(rabbit, service: try ServiceName(service)) {
          On(Note.self) { note, _ in handled.add(note.number) }
        }
        try await withSubscriber(subscriber) {
          func settle(_ number: Int) async throws {
            try await publisher.publish(Note(number: number))
            #expect(try await eventually { handled.all.contains(number) }, "event \(number)")
          }
          try await settle(-1)
          let sent = isUp ? proxy.forwarded.up : proxy.forwarded.down
          try await settle(-2)
          #expect(try await direct.waitForDepth(queue, 0))
          func seen() -> Int { (isUp ? proxy.forwarded.up : proxy.forwarded.down) - sent }
          #expect(try await eventually { seen() > 10 })
          let length = seen()
          for point in FaultRuns.points(upTo: length) {
            proxy.behave { behaviour in
              if isUp { behaviour.cutAfterUp = point } else { behaviour.cutAfterDown = point }
            }
            try await settle(point)
            proxy.behave { ($0.cutAfterUp, $0.cutAfterDown) = (nil, nil) }
            try await subscriber.waitUntilReady(timeout: .seconds(10))
          }
          #expect(try await direct.waitForDepth(queue, 0))
        }
        // Unacknowledged ones would be back now.
        #expect(try await direct.waitForDepth(queue, 0))
      }
    }
  }
}
