import BrokerFixture
import Foundation
import Testing
import Warren
import WarrenSupport

@testable import WarrenRabbitMQ

/// What goes wrong while a failed event is on its way to be tried again: it may be handled once more than needed, and is never
/// lost. Crashes and what breaks the broker itself are in the fault tests.
@Suite(.serialized, .timeLimit(.minutes(2))) struct RetryFailureTests {
  private struct Note: Event {
    static let eventType = freshType("retry-failure")
    var number: Int
  }
  private struct NotYet: Error, CustomStringConvertible { var description: String { "not yet" } }
  private static let rung = Duration.milliseconds(100)

  /// A service whose handler fails in the first round, on connections that a proxy can hold and cut.
  private struct Scene: Sendable {
    let service: TestService
    let proxy: FaultProxy
    /// Through the proxy.
    let rabbit: RabbitMQ
    /// The round of each run of the handler.
    let rounds = Collected<Int>()
    let log = LogCatcher()
    /// Runs of the second round wait here.
    let gate = Gate()

    var owner: QueueOwner { get throws { try QueueOwner(service: service.name) } }
    var rungName: String { get throws { EntityNames.retryRung(of: try owner, delay: rung) } }
    var queue: String { get throws { try service.workQueue(Note.eventType) } }

    /// - Parameter isAlone: the broker sends an event when it has the acknowledgement of the one before.
    func subscriber(isAlone: Bool = false) -> Subscriber {
      service.subscriber(on: rabbit, logger: log.logger) {
        if isAlone { ($0.prefetch, $0.concurrency) = (1, 1) }
        $0.retry = RetryPolicy(delays: [rung])
        $0.retryLadder = [rung]
      } handlers: {
        On(Note.self) { _, context in
          rounds.add(context.attempt)
          if context.attempt == 1 { throw NotYet() }
          try await gate.pass()
        }
      }
    }

    func publish(_ number: Int = 1) async throws { try await service.publisher.publish(Note(number: number)) }

    /// Nothing is left anywhere.
    func expectDone() async throws {
      #expect(try await service.rabbit.waitForDepth(queue, 0))
      #expect(try await service.rabbit.waitForDepth(rungName, 0))
      #expect(try await service.rabbit.depth(service.deadLetters(Note.eventType)) == 0)
    }
  }

  /// - Parameter isOpen: whether the second round ends at once.
  private func withScene(
    isOpen: Bool = true, _ change: (inout RabbitMQConfiguration) -> Void = { _ in },
    _ body: (Scene) async throws -> Void
  ) async throws {
    // Who is who can be read only without TLS.
    let plain = try TestBroker.plainConfiguration
    let proxy = try FaultProxy(to: plain.hosts[0].port)
    defer { proxy.close() }
    try await withTestService(Note.eventType) { service in
      service.litterRungs([Self.rung])
      try await withTestBroker({
        $0 = plain
        $0.hosts = [.init("127.0.0.1", port: proxy.port)]
        $0.recoveryPace.afterLoss = 0...20
        $0.recoveryPace.unreachable = 10...50
        change(&$0)
      }) { rabbit, _ in
        let scene = Scene(service: service, proxy: proxy, rabbit: rabbit)
        if isOpen { scene.gate.open() }
        try await body(scene)
      }
    }
  }

  // MARK: The copy is not accepted

  /// A rung of somebody else's, that takes nothing: the broker nacks. The event stays unacknowledged all the time.
  @Test func aNackedCopyIsTriedAgain() async throws {
    try await withScene({ $0.topology = .assume }) { scene in
      let (broker, litter) = (scene.service.rabbit, scene.service.litter)
      try await scene.service.declareQueues(Note.eventType)
      try await broker.topology.ensure([.fanoutExchange(name: scene.rungName)])
      let full = unique("full")
      try await broker.testQueue(
        full, arguments: ["x-queue-type": "classic", "x-max-length": 1, "x-overflow": "reject-publish"],
        bound: [(scene.rungName, "")], litter: litter)
      try await scene.service.put("{}", into: full)
      let running = Task { try await scene.subscriber().run() }
      try await scene.publish()
      #expect(await scene.log.wait(for: "a retry is not confirmed yet"))
      #expect(scene.rounds.all == [1])
      // Given up by this worker, it is in its queue.
      running.cancel()
      try await running.value
      #expect(try await broker.waitForDepth(scene.queue, 1))
      try await broker.topology.perform(.deleteQueue(full))
      try await broker.topology.ensure(TopologyEntity.retryRung(of: scene.owner, delay: Self.rung))
      try await whileConsuming(scene.subscriber()) {
        #expect(await scene.rounds.wait(for: 3) == [1, 1, 2])
        try await scene.expectDone()
      }
    }
  }

  /// The rung's exchange leads nowhere: the broker returns the copy.
  @Test func aReturnedCopyIsTriedAgain() async throws {
    try await withScene({ $0.topology = .assume }) { scene in
      let broker = scene.service.rabbit
      try await scene.service.declareQueues(Note.eventType)
      try await broker.topology.ensure([.fanoutExchange(name: scene.rungName)])
      try await whileConsuming(scene.subscriber()) {
        try await scene.publish()
        #expect(await scene.log.wait(for: "a retry is not confirmed yet"))
        #expect(scene.rounds.all == [1])
        try await broker.topology.ensure(TopologyEntity.retryRung(of: scene.owner, delay: Self.rung))
        #expect(await scene.rounds.wait(for: 2) == [1, 2])
        try await scene.expectDone()
      }
      #expect(scene.rounds.all == [1, 2])
    }
  }

  /// The confirm does not come in time: another copy is sent, and the event may be handled twice.
  @Test func aCopyWithoutAConfirmIsSentAgain() async throws {
    try await withScene({ $0.publishing.timeout = .seconds(1) }) { scene in
      try await whileConsuming(scene.subscriber()) {
        // The rung is declared, and the connection is up.
        try await scene.publish()
        #expect(await scene.rounds.wait(for: 2) == [1, 2])
        scene.proxy.behave { ($0.holdsDown, $0.heldRole) = (true, .publishing) }
        try await scene.publish()
        #expect(await scene.log.wait(for: "a retry is not confirmed yet"))
        scene.proxy.behave { $0 = .init() }
        #expect(await scene.rounds.wait(for: 4) != nil)
        try await scene.expectDone()
      }
      let again = scene.rounds.all.dropFirst(2)
      #expect(again.filter { $0 == 1 }.count == 1, "the original stayed unacknowledged: \(again)")
      #expect((1...4).contains(again.filter { $0 == 2 }.count), "\(again)")
    }
  }

  // MARK: Connections

  /// The copy is on the broker, its confirm is not here, and the original goes back to its queue with the connection.
  @Test func theConsumingConnectionIsLostBetweenCopyAndAcknowledgement() async throws {
    try await withScene { scene in
      try await whileConsuming(scene.subscriber()) {
        try await scene.publish()
        #expect(await scene.rounds.wait(for: 2) == [1, 2])
        try await scene.expectDone()
        scene.proxy.behave { ($0.holdsDown, $0.heldRole) = (true, .publishing) }
        let before = scene.rabbit.consuming.status.value.epoch
        try await scene.publish()
        // The copy has come through the rung, although nobody here knows it: round 2 runs.
        #expect(await scene.rounds.wait(for: 4) != nil)
        scene.proxy.cut(.consuming)
        #expect(await scene.rabbit.consuming.status.wait(timeout: .seconds(10)) { $0.epoch > before } != nil)
        scene.proxy.behave { $0 = .init() }
        // The acknowledgement of the lost connection is not sent on the new one, where its number is another delivery's.
        for number in 2...6 { try await scene.publish(number) }
        #expect(await scene.rounds.wait(for: 14, timeout: .seconds(20)) != nil)
        try await scene.expectDone()
      }
      let rest = scene.rounds.all.dropFirst(4)
      // The five, and at most one repeat of the one in each round.
      #expect((5...6).contains(rest.filter { $0 == 1 }.count), "\(rest)")
      #expect((5...7).contains(rest.filter { $0 == 2 }.count), "\(rest)")
    }
  }

  /// The publishing connection is lost before the confirm: the copy is written again.
  @Test func thePublishingConnectionIsLostBeforeTheConfirm() async throws {
    try await withScene { scene in
      try await whileConsuming(scene.subscriber()) {
        try await scene.publish()
        #expect(await scene.rounds.wait(for: 2) == [1, 2])
        scene.proxy.behave { ($0.holdsDown, $0.heldRole) = (true, .publishing) }
        try await scene.publish()
        #expect(await scene.rounds.wait(for: 4) != nil)
        scene.proxy.behave { $0 = .init() }
        scene.proxy.cut(.publishing)
        try await scene.expectDone()
        #expect(try await eventually { scene.rabbit.publishing.isOpen })
      }
      // Once for the copy whose confirm was lost, perhaps once for the one that was written again.
      let second = scene.rounds.all.dropFirst(2).filter { $0 == 2 }.count
      #expect((1...2).contains(second) && scene.rounds.all.filter { $0 == 1 }.count == 2, "\(scene.rounds.all)")
    }
  }

  /// The acknowledgement is written and does not arrive: the event is delivered again.
  @Test func theAcknowledgementIsLost() async throws {
    try await withScene(isOpen: false) { scene in
      // Or the acknowledgement of the first round may be held, too, and that round comes again.
      try await whileConsuming(scene.subscriber(isAlone: true)) {
        try await scene.publish()
        #expect(await scene.rounds.wait(for: 2) == [1, 2])
        scene.proxy.behave { ($0.holdsUp, $0.heldRole) = (true, .consuming) }
        scene.gate.open()
        let health = scene.rabbit
        #expect(try await eventually { health.health.consumers.allSatisfy { $0.runningHandlers == 0 } })
        scene.proxy.cut(.consuming)
        scene.proxy.behave { $0 = .init() }
        #expect(await scene.log.wait(for: "consuming again", timeout: .seconds(20)))
        try await scene.expectDone()
      }
      #expect((2...3).contains(scene.rounds.all.count), "\(scene.rounds.all)")
      #expect(scene.rounds.all.filter { $0 == 1 }.count == 1)
    }
  }

  // MARK: The rung

  @Test(arguments: ["queue", "exchange", "both"]) func aRungThatSomebodyHasDeletedIsDeclaredAgain(
    what: String
  ) async throws {
    try await withScene { scene in
      try await whileConsuming(scene.subscriber()) {
        try await scene.publish()
        #expect(await scene.rounds.wait(for: 2) == [1, 2])
        try await scene.expectDone()
        let topology = scene.service.rabbit.topology
        if what != "exchange" { try await topology.perform(.deleteQueue(scene.rungName)) }
        if what != "queue" { try await topology.perform(.deleteExchange(scene.rungName)) }
        try await scene.publish()
        #expect(await scene.rounds.wait(for: 4) == [1, 2, 1, 2])
        try await scene.expectDone()
      }
      #expect(scene.rounds.all == [1, 2, 1, 2])
    }
  }

  /// The broker sends what it moves out of a rung again when it is not sure that it arrived: both are handled, and nothing is
  /// upset. An inbox handles one of them.
  @Test func theSameCopyArrivesTwice() async throws {
    try await withScene { scene in
      let queue = try scene.queue
      try await whileConsuming(scene.subscriber()) {
        for _ in 0..<2 {
          try await scene.service.put("{\"number\":1}", into: queue) {
            $0.messageID = "7f9c0b1e-0000-7000-8000-000000000001"
            $0.type = Note.eventType.name
            $0.headers = [
              "warren-attempt": 2, "warren-origin-exchange": .string(EntityNames.exchange(of: Note.eventType)),
              "warren-origin-queue": .string(queue),
            ]
          }
        }
        #expect(await scene.rounds.wait(for: 2) == [2, 2])
        #expect(try await scene.service.rabbit.waitForDepth(queue, 0))
      }
      #expect(try await scene.service.rabbit.depth(scene.service.deadLetters(Note.eventType)) == 0)
    }
  }
}
