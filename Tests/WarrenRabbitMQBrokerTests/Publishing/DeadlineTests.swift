import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// No call hangs: each ends by its deadline or by its cancellation, and says whether anything was written.
struct DeadlineTests {
  /// Far above what these take and far below the defaults that they would wait for otherwise.
  private static let soon = Duration.seconds(16)

  private static func notRunning(_ change: (inout RabbitMQConfiguration) -> Void = { _ in }) throws -> RabbitMQ {
    var configuration = try TestBroker.configuration
    change(&configuration)
    return try RabbitMQ(configuration)
  }

  @Test func withoutRunAPublishEndsByItsDeadlineAndSaysSo() async throws {
    let rabbit = try Self.notRunning { $0.publishing.timeout = .milliseconds(200) }
    let publisher = Publisher(rabbit, source: "tests")
    let types = try (0..<8).map { try EventType("never.\($0)") }
    let took = try await elapsed {
      // Each a type of its own: what is declared is declared one by one, but nobody waits for the others' deadlines.
      try await withThrowingTaskGroup(of: Void.self) { group in
        for type in types {
          group.addTask {
            let thrown = await error(PublishError.self) { try await publisher.publish(Numbered(type, 1)) }
            #expect(thrown?.code == .notPublished)
            #expect(
              thrown?.message.contains("run() of this RabbitMQ is not running") == true, "\(thrown?.message ?? "")")
          }
        }
        group.addTask {
          let outcomes = await publisher.publish(encoded: types.map { .init($0, [1]) })
          #expect(
            outcomes.allSatisfy { $0.kind == "notPublished" && $0.text.contains("is not running") }, "\(outcomes)")
        }
        try await group.waitForAll()
      }
    }
    #expect(took < Self.soon, "\(took)")
  }

  @Test func withoutRunAndWithNothingToDeclareItIsTheSame() async throws {
    let rabbit = try Self.notRunning {
      $0.publishing.timeout = .milliseconds(200)
      $0.topology = .assume
    }
    let took = try await elapsed {
      let outcomes = await Publisher(rabbit, source: "tests").publish(
        encoded: (0..<200).map { .init("never.assumed", "\($0)".utf8) })
      #expect(outcomes.count == 200)
      #expect(outcomes.allSatisfy { $0.kind == "notPublished" && $0.text.contains("is not running") })
    }
    #expect(took < Self.soon, "\(took)")
  }

  @Test(arguments: [TopologyMode.declare, .assume])
  func withoutRunACancelledPublishEndsAtOnce(_ mode: TopologyMode) async throws {
    let rabbit = try Self.notRunning { $0.topology = mode }
    let publisher = Publisher(rabbit, source: "tests")
    let took = try await elapsed {
      let tasks = (0..<4).map { number in
        Task {
          let thrown = await error(PublishError.self) {
            try await publisher.publish(Numbered(try EventType("never.\(number)"), 1))
          }
          #expect(thrown?.code == .notPublished)
        }
      }
      let batch = Task {
        let outcomes = await publisher.publish(encoded: (0..<100).map { .init("never.batch", "\($0)".utf8) })
        #expect(outcomes.count == 100)
        #expect(outcomes.allSatisfy { $0.kind == "notPublished" })
      }
      await Task.yield()
      for task in tasks { task.cancel() }
      batch.cancel()
      for task in tasks { await task.value }
      await batch.value
    }
    #expect(took < Self.soon, "\(took)")
  }

  /// The relay keeps the broker's words back: what is written stays without a confirm.
  @Test func aDeadlineTellsWhatWasWrittenFromWhatWasNot() async throws {
    try await withHeldWindow { rabbit, type, queue, tap in
      let publisher = Publisher(rabbit, source: "tests")
      let took = try await elapsed {
        async let written = publisher.publish(encoded: [.init(type, "written".utf8)])
        #expect(await tap.waitForPublishes(2))
        async let waiting = publisher.publish(encoded: [.init(type, "waiting".utf8)])
        let outcomes = await written + waiting
        #expect(outcomes.map(\.kind) == ["unknown", "notPublished"])
        #expect(outcomes[0].text.contains("not confirmed within 4.0 seconds"))
        #expect(outcomes[1].text.contains("not written within 4.0 seconds"))
      }
      #expect(took < Self.soon, "\(took)")
      // The late confirm harms nobody, and what was taken out of the queue stays out.
      tap.release()
      #expect(await publisher.publish(encoded: [.init(type, "after".utf8)]) == [.confirmed])
      let got = try await foreign { try $0.take(queue, 3) }
      #expect(got.map(\.text) == ["first", "written", "after"])
      #expect(try await rabbit.depth(queue) == 0)
    }
  }

  @Test func aCancelledPublishTellsWhatWasWrittenFromWhatWasNot() async throws {
    try await withHeldWindow(timeout: .seconds(30)) { rabbit, type, queue, tap in
      let publisher = Publisher(rabbit, source: "tests")
      let took = try await elapsed {
        let written = Task { await error(PublishError.self) { try await publisher.publish(Numbered(type, 1)) } }
        #expect(await tap.waitForPublishes(2))
        let waiting = Task { await error(PublishError.self) { try await publisher.publish(Numbered(type, 2)) } }
        let batch = Task { await publisher.publish(encoded: [.init(type, "3".utf8), .init(type, "4".utf8)]) }
        await Task.yield()
        waiting.cancel()
        batch.cancel()
        let unwritten = await waiting.value
        #expect(unwritten?.code == .notPublished)
        #expect(unwritten?.mayHaveBeenPublished == false)
        #expect(await batch.value.map(\.kind) == ["notPublished", "notPublished"])
        written.cancel()
        let unknown = await written.value
        #expect(unknown?.code == .unknown)
        #expect(unknown?.mayHaveBeenPublished == true)
        #expect(unknown?.message.contains("the task was cancelled") == true)
      }
      #expect(took < Self.soon, "\(took)")
      tap.release()
      #expect(await publisher.publish(encoded: [.init(type, "after".utf8)]) == [.confirmed])
      let got = try await foreign { try $0.take(queue, 3) }
      #expect(got.map(\.text) == ["first", "{\"number\":1}", "after"])
    }
  }

  /// Many windows' worth: their deadlines must not add up.
  @Test func aBatchEndsWhenTheBrokerAnswersNothing() async throws {
    try await withHeldWindow { rabbit, type, queue, tap in
      let publisher = Publisher(rabbit, source: "tests")
      let took = try await elapsed {
        let outcomes = await publisher.publish(encoded: (0..<2000).map { .init(type, "\($0)".utf8) })
        #expect(outcomes.count == 2000)
        #expect(outcomes[0].kind == "unknown")
        #expect(outcomes[1...].allSatisfy { $0.kind == "notPublished" })
        let batch = await error(BatchPublishError.self) {
          try await publisher.publish(contentsOf: (0..<2000).map { Numbered(type, $0) })
        }
        #expect(batch?.outcomes.allSatisfy { $0.kind == "notPublished" } == true)
        #expect(batch?.isRetryable == true)
      }
      #expect(took < Self.soon, "\(took)")
      tap.release()
      #expect(await publisher.publish(encoded: [.init(type, "after".utf8)]) == [.confirmed])
      #expect(try await rabbit.depth(queue) == 3)
    }
  }

  /// A window of one behind a relay, with one event confirmed and the relay silent from there on. Nothing takes as long as
  /// the timeout except what waits for the relay, on a busy machine too.
  private func withHeldWindow(
    timeout: Duration = .seconds(4),
    _ body: (_ rabbit: RabbitMQ, _ type: EventType, _ queue: String, _ tap: Tap) async throws -> Void
  ) async throws {
    try await withTap { tap in
      try await withTestBroker({
        $0.go(through: tap)
        $0.publishing.window = 1
        $0.publishing.timeout = timeout
        // The silence is not to be taken for death.
        $0.heartbeat = .seconds(60)
      }) { rabbit, litter in
        let type = try litter.type()
        let queue = try await rabbit.sink(type, litter)
        #expect(await Publisher(rabbit, source: "tests").publish(encoded: [.init(type, "first".utf8)]) == [.confirmed])
        // A publisher that knows the type already: all that is kept back are confirms.
        tap.hold()
        defer { tap.release() }
        try await body(rabbit, type, queue, tap)
      }
    }
  }
}
