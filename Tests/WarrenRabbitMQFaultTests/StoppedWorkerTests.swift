import BrokerFixture
import Foundation
import Testing
import Warren
import WarrenRabbitMQ
import WarrenSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// A loaded worker in a process of its own is told to stop at random moments, or killed. Nothing is acknowledged that was not
/// handled: every event is in the ledger of the workers or still in the queue.
@Suite(.serialized) struct StoppedWorkerTests {
  private struct Note: Event {
    static let eventType: EventType = "worker.note"
    var number: Int
  }

  private static let grace = Duration.seconds(10)

  @Test(arguments: [SIGTERM, SIGKILL]) func atRandomMoments(signal: Int32) async throws {
    // SIGTERM as often as the long form asks for; SIGKILL is the broker's business more than ours.
    let rounds = signal == SIGTERM ? FaultRuns.terms : max(3, FaultRuns.terms / 10)
    let file = FileManager.default.temporaryDirectory.appendingPathComponent(unique("ledger")).path
    defer { unlink(file) }
    try await withTestBroker { rabbit, litter in
      let service = unique("worker")
      let name = try ServiceName(service)
      try litter.service(service, Note.eventType)
      litter.exchange(EntityNames.exchange(of: Note.eventType))
      let owner = try QueueOwner(service: name)
      let queue = EntityNames.workQueue(of: owner, type: Note.eventType)
      try await rabbit.topology.redeclare(TopologyEntity.subscription(owner, Note.eventType, .init()))
      let publisher = Publisher(rabbit, source: "tests")
      var published = 0
      var wasReady = 0
      for round in 0..<rounds {
        // So that there is always something to do.
        let depth = try await rabbit.depth(queue)
        if depth < 4000 {
          let numbers = published..<(published + 4000)
          try await publisher.publish(contentsOf: numbers.map { Note(number: $0) })
          published = numbers.upperBound
        }
        let worker = try Worker(service: service, file: file)
        let isReady = await worker.isReady.wait(timeout: .seconds(20)) { $0 } != nil
        #expect(isReady, "round \(round)")
        if isReady { wasReady += 1 }
        try await Task.sleep(for: .microseconds(Int.random(in: 0...300_000)))
        let start = ContinuousClock.now
        kill(worker.processID, signal)
        let status = await worker.end(within: Self.grace)
        #expect(
          status == (signal == SIGTERM ? 0 : SIGKILL),
          "round \(round): ended with \(status.map { "\($0)" } ?? "nothing") after \(ContinuousClock.now - start)")
        if status == nil { kill(worker.processID, SIGKILL) }
      }
      let handled = Set(try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n").compactMap { Int($0) })
      let rest = Collected<Int>()
      let last = Subscriber(rabbit, service: name) { On(Note.self) { note, _ in rest.add(note.number) } }
      // An empty queue has delivered everything, which is not handled yet: a stop then would give it back.
      let unhandled = Set(0..<published).subtracting(handled)
      try await withSubscriber(last) {
        let isHandled = try await eventually(timeout: .seconds(30)) { unhandled.isSubset(of: rest.all) }
        #expect(isHandled)
        let isEmpty = try await rabbit.waitForDepth(queue, 0, timeout: .seconds(30))
        #expect(isEmpty)
        try await last.pause()
      }
      #expect(try await rabbit.depth(queue) == 0)
      let missing = unhandled.subtracting(rest.all)
      #expect(missing.isEmpty, "acknowledged and not handled: \(missing.sorted().prefix(20))")
      #expect(wasReady == rounds && handled.count > rounds)
      let repeats = handled.intersection(rest.all).count
      print(
        "\(rounds) stops by signal \(signal): \(published) published, \(handled.count) handled, \(repeats) of them again"
      )
      // Told to stop, a worker finishes and acknowledges what it has begun.
      if signal == SIGTERM { #expect(repeats == 0) }
    }
  }
}
