import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// Users who have exactly the rights of a documented set, and users who lack one of them. They are made with the broker's own
/// tool, so these need to know where it is.
@Suite(.enabled(if: TestBroker.canBreak), .serialized)
struct PermissionSetTests {
  private let rung = Duration.milliseconds(300)

  /// A service whose topology another user has declared, with the one rung that it uses.
  private func withDeclaredService(
    _ body: (_ service: TestService, _ owner: QueueOwner, _ type: EventType, _ follow: EventType) async throws -> Void
  ) async throws {
    let (type, follow) = (freshType("rights"), freshType("follow"))
    try await withTestService(type, follow) { service in
      let owner = try QueueOwner(service: service.name)
      try await service.declareQueues(type)
      try await service.declareQueues(follow)
      try await service.rabbit.topology.ensure(TopologyEntity.retryRung(of: owner, delay: rung))
      service.litter.queue(EntityNames.retryRung(of: owner, delay: rung))
      service.litter.exchange(EntityNames.retryRung(of: owner, delay: rung))
      try await body(service, owner, type, follow)
    }
  }

  private func options(_ options: inout Subscriber.Options) {
    options.retryLadder = [rung]
    options.retry = RetryPolicy(delays: [rung])
  }

  /// As a service has it: what is refused at first is tried again.
  private func withPatientBroker(
    _ change: (inout RabbitMQConfiguration) -> Void, _ body: (RabbitMQ) async throws -> Void
  ) async throws {
    var configuration = try TestBroker.configuration
    change(&configuration)
    configuration.topology = .assume
    let rabbit = try RabbitMQ(configuration)
    let running = Task { try await rabbit.run() }
    let result: Result<Void, any Error>
    do {
      try await rabbit.waitUntilConnected()
      result = .success(try await body(rabbit))
    } catch {
      result = .failure(error)
    }
    running.cancel()
    _ = await running.result
    try result.get()
  }

  @Test func aPublisherPublishesAndDoesNothingElse() async throws {
    try await withDeclaredService { service, owner, type, _ in
      try await withUser(.publisher) { _, change in
        try await withTestBroker({
          change(&$0)
          $0.topology = .assume
        }) { rabbit, _ in
          let publisher = Publisher(rabbit, source: "tests")
          try await publisher.publish(Numbered(type, 1))
          #expect(try await service.rabbit.waitForDepth(service.workQueue(type), 1))
          let reading = await error(RabbitMQError.self) {
            _ = try await rabbit.look(at: service.workQueue(type), timeout: .seconds(2))
          }
          #expect(reading?.code == .accessRefused)
          let declaring = await error(RabbitMQError.self) {
            try await rabbit.topology.perform(.declareExchange("events.x", kind: "topic", passive: false))
          }
          #expect(declaring?.code == .accessRefused)
        }
      }
    }
  }

  /// Handled, published from the handler, tried again, dead-lettered.
  @Test func aWorkerHandlesPublishesRetriesAndDeadLetters() async throws {
    try await withDeclaredService { service, owner, type, follow in
      try await withUser(.worker(owner)) { _, change in
        try await withTestBroker({
          change(&$0)
          $0.topology = .assume
        }) { rabbit, _ in
          let seen = Collected<String>()
          let subscriber = service.subscriber(on: rabbit, options) {
            OnRaw(type) { delivery, context in
              seen.add("\(String(decoding: delivery.body, as: UTF8.self)) \(delivery.attempt)")
              guard delivery.body.elementsEqual("good".utf8) else { throw Refusal("no") }
              try await Publisher(rabbit, source: "tests").publish(Numbered(follow, 1))
            }
          }
          try await whileConsuming(subscriber) {
            for body in ["good", "bad"] { try await service.put(body, exchange: type, "k") }
            #expect(await seen.wait(for: 3)?.sorted() == ["bad 1", "bad 2", "good 1"])
            #expect(try await service.rabbit.waitForDepth(service.deadLetters(type), 1))
            #expect(try await service.rabbit.waitForDepth(service.workQueue(follow), 1))
          }
          #expect(try await service.rabbit.depth(service.workQueue(type)) == 0)
        }
      }
    }
  }

  @Test func anOwnerDeclaresEverythingFromNothing() async throws {
    let type = freshType("rights")
    try await withTestService(type) { service in
      let owner = try QueueOwner(service: service.name)
      service.litter.queue(EntityNames.retryRung(of: owner, delay: rung))
      service.litter.exchange(EntityNames.retryRung(of: owner, delay: rung))
      try await withUser(.topologyOwner(owner)) { _, change in
        try await withTestBroker(change) { rabbit, _ in
          let seen = Collected<Int>()
          let subscriber = service.subscriber(on: rabbit, options) {
            OnRaw(type) { delivery, _ in
              seen.add(delivery.attempt)
              throw Refusal("no")
            }
          }
          try await whileConsuming(subscriber) {
            try await Publisher(rabbit, source: "tests").publish(Numbered(type, 1))
            #expect(await seen.wait(for: 2) == [1, 2])
            #expect(try await service.rabbit.waitForDepth(service.deadLetters(type), 1))
          }
          // Another service's names are not its own.
          let other = await error(RabbitMQError.self) {
            try await rabbit.topology.ensure([.deadLetterQueue(name: "other.dead.\(type)")])
          }
          #expect(other?.code == .accessRefused)
        }
      }
    }
  }

  @Test func anOperatorWorksWithTheDeadLettersAlone() async throws {
    try await withDeclaredService { service, owner, type, _ in
      for i in 0..<3 { try await service.putLetter("\(i)", type) }
      try await withUser(.deadLetterOperator(owner)) { _, change in
        try await withTestBroker({
          change(&$0)
          $0.topology = .assume
        }) { rabbit, _ in
          let dead = try DeadLetters(rabbit, service: service.name)
          #expect(try await dead.groups(of: .type(type)).map(\.letters) == [3])
          #expect(try await dead.edit(.type(type), .ids(["0"]), record: { _ in }, change: { $0.body }).done == 1)
          #expect(try await dead.replay(.type(type), .ids(["0"])).done == 1)
          #expect(try await dead.discard(.type(type), .all, record: { _ in }).done == 2)
          #expect(try await service.ids(in: service.workQueue(type), count: 1) == ["0"])
          let reading = await error(RabbitMQError.self) {
            _ = try await rabbit.look(at: service.workQueue(type), timeout: .seconds(2))
          }
          #expect(reading?.code == .accessRefused)
        }
      }
      // Without the right to publish they stay.
      for i in 3..<6 { try await service.putLetter("\(i)", type) }
      try await withUser(configure: "^$", write: "^$", read: PermissionSet.deadLetterOperator(owner).readPattern) {
        _, change in
        try await withTestBroker({
          change(&$0)
          $0.topology = .assume
        }) { rabbit, _ in
          let report = try await DeadLetters(rabbit, service: service.name).replay(.type(type), .all)
          guard case .refused(let text)? = report.stopped else {
            Issue.record("\(report)")
            return
          }
          #expect(text.contains("ACCESS_REFUSED"))
          #expect(text.contains(PermissionSet.deadLetterOperator(owner).writePattern))
          #expect(report.done == 0)
        }
      }
      #expect(try await service.ids(in: service.deadLetters(type), count: 3) == ["3", "4", "5"])
    }
  }

  // MARK: A right is missing

  enum Missing: String, CaseIterable {
    case read, retry, deadLetter
  }

  /// The subscription stands still and says what it needs; the line that it prints is enough, and nothing is lost.
  @Test(arguments: Missing.allCases) func aSubscriptionThatLacksARightNamesTheCommand(missing: Missing) async throws {
    try await withDeclaredService { service, owner, type, _ in
      let all = PermissionSet.worker(owner)
      let write =
        switch missing {
        case .read: all.writePattern
        case .retry: #"^(events\..+|amq\.default)$"#
        case .deadLetter: #"^(events\..+|.+\.retry\..+)$"#
        }
      try await withUser(configure: "^$", write: write, read: missing == .read ? "^$" : all.readPattern) { _, change in
        try await withPatientBroker(change) { rabbit in
          let seen = Collected<String>()
          let subscriber = service.subscriber(on: rabbit, options) {
            OnRaw(type) { delivery, _ in
              seen.add("\(String(decoding: delivery.body, as: UTF8.self)) \(delivery.attempt)")
              if delivery.body.elementsEqual("bad".utf8) { throw Refusal("no") }
            }
          }
          let running = Task { try await subscriber.run() }
          defer { running.cancel() }
          try await service.put("bad", exchange: type, "k")
          #expect(try await eventually(timeout: .seconds(20)) { subscriber.health.first?.state == .refused })
          let text = subscriber.health.first?.lastFailure?.message ?? ""
          #expect(text.contains("ACCESS_REFUSED"), "\(text)")
          let command = try #require(text.firstRange(of: "rabbitmqctl").map { String(text[$0.lowerBound...]) })
          #expect(
            command == all.command(user: rabbit.configuration.user, virtualHost: rabbit.configuration.virtualHost))
          #expect(rabbit.health.reasons.contains { $0.contains(command) })
          // What comes meanwhile waits.
          for n in 0..<5 { try await service.put("good \(n)", exchange: type, "k") }
          let before = seen.all.count
          #expect(before <= 2)
          try await administrate(command)
          #expect(try await eventually(timeout: .seconds(40)) { subscriber.health.first?.state == .consuming })
          #expect(try await service.rabbit.waitForDepth(service.deadLetters(type), 1, timeout: .seconds(20)))
          #expect(try await eventually { Set(seen.all).isSuperset(of: (0..<5).map { "good \($0) 1" }) })
          #expect(Set(seen.all).isSuperset(of: ["bad 1", "bad 2"]))
          running.cancel()
          _ = await running.result
        }
      }
      #expect(try await service.rabbit.waitForDepth(service.workQueue(type), 0))
    }
  }

  /// With `declare`: what may not be declared.
  @Test func anOwnerWithoutConfigureNamesTheCommand() async throws {
    let type = freshType("rights")
    try await withTestService(type) { service in
      let owner = try QueueOwner(service: service.name)
      let all = PermissionSet.topologyOwner(owner)
      try await withUser(configure: "^$", write: all.writePattern, read: all.readPattern) { _, change in
        try await withTestBroker(change) { rabbit, _ in
          let subscriber = service.subscriber(on: rabbit) { OnRaw(type) { _, _ in } }
          let thrown = await error(RabbitMQError.self) { try await subscriber.run() }
          #expect(thrown?.code == .accessRefused)
          let text = thrown?.message ?? ""
          let command = try #require(text.firstRange(of: "rabbitmqctl").map { String(text[$0.lowerBound...]) })
          try await administrate(command)
          let again = service.subscriber(on: rabbit) { OnRaw(type) { _, _ in } }
          try await whileConsuming(again) { #expect(again.health.first?.state == .consuming) }
        }
      }
    }
  }
}

extension TestService {
  fileprivate func put(_ body: String, exchange type: EventType, _ routingKey: String) async throws {
    try await put(Data(body.utf8), exchange: EntityNames.exchange(of: type), routingKey: routingKey)
  }
}
