import BrokerFixture
import Foundation
import Testing
import Warren
import WarrenSupport

@testable import WarrenRabbitMQ

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// One event whose handler ends the process, among five hundred that are innocent, and a platform that starts workers again.
@Suite(.serialized) struct CrashLoopTests {
  private struct Note: Event {
    static let eventType: EventType = "worker.note"
    var number: Int
  }
  /// In another queue of the same process.
  private struct Other: Event {
    static let eventType: EventType = "worker.other"
    var number: Int
  }
  private static let innocents = 500
  private static let others = 20

  @Test(arguments: [1, 3]) func onlyTheCulpritIsDeadLettered(instances: Int) async throws {
    let file = FileManager.default.temporaryDirectory.appendingPathComponent(unique("ledger")).path
    defer { unlink(file) }
    try await withTestBroker { rabbit, litter in
      let service = unique("worker")
      let name = try ServiceName(service)
      try litter.service(service, Note.eventType, Other.eventType)
      litter.exchange(EntityNames.exchange(of: Note.eventType))
      litter.exchange(EntityNames.exchange(of: Other.eventType))
      let owner = try QueueOwner(service: name)
      let queue = EntityNames.workQueue(of: owner, type: Note.eventType)
      let deadLetters = EntityNames.deadLetterQueue(of: owner, type: Note.eventType)
      try await rabbit.topology.redeclare(TopologyEntity.subscription(owner, Note.eventType, .init()))
      try await rabbit.topology.redeclare(TopologyEntity.subscription(owner, Other.eventType, .init()))
      try await Publisher(rabbit, source: "tests").publish(contentsOf: (0..<Self.others).map { Other(number: $0) })
      let culprit = Int.random(in: 0...Self.innocents)
      try await Publisher(rabbit, source: "tests").publish(
        contentsOf: (0...Self.innocents).map { Note(number: $0) })

      let crashes = Lock(0)
      let isOver = Lock(false)
      let running = Lock<Set<Int32>>([])
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<instances {
          group.addTask {
            while !isOver.withLock({ $0 }) {
              let worker = try Worker(service: service, file: file, culprit: culprit)
              running.withLock { _ = $0.insert(worker.processID) }
              let status = await worker.end(within: .seconds(120))
              running.withLock { _ = $0.remove(worker.processID) }
              if status == SIGABRT { crashes.withLock { $0 += 1 } }
              if status == nil { kill(worker.processID, SIGKILL) }
            }
          }
        }
        let isBuried = try await rabbit.waitForDepth(deadLetters, 1, timeout: .seconds(90))
        #expect(isBuried)
        let isDone = try await eventually(timeout: .seconds(60)) {
          try Self.handled(file).count == Self.innocents && Self.handled(file, "other ").count == Self.others
        }
        #expect(isDone)
        isOver.withLock { $0 = true }
        // Those that wait for work which does not come.
        for processID in running.withLock({ $0 }) { kill(processID, SIGTERM) }
        try await group.waitForAll()
      }
      #expect(try Self.handled(file) == Set(0...Self.innocents).subtracting([culprit]))
      #expect(try await rabbit.depth(EntityNames.deadLetterQueue(of: owner, type: Other.eventType)) == 0)
      #expect(try await rabbit.waitForDepth(queue, 0))
      #expect(try await rabbit.depth(deadLetters) == 1)
      let crashCount = crashes.withLock { $0 }
      print("\(instances) instances: the culprit was number \(culprit); \(crashCount) crashes")
      #expect(crashCount >= 3 && crashCount <= 8)
      try await Self.checkLetter(deadLetters, rabbit, culprit)
    }
  }

  private static func handled(_ file: String, _ start: String = "") throws -> Set<Int> {
    guard FileManager.default.fileExists(atPath: file) else { return [] }
    let lines = try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n")
    return Set(lines.filter { $0.hasPrefix(start) }.compactMap { Int($0.dropFirst(start.count)) })
  }

  private static func checkLetter(_ queue: String, _ rabbit: RabbitMQ, _ culprit: Int) async throws {
    let letter = Collected<IncomingMessage>()
    let reader = QueueReader(
      queue: queue, connection: rabbit.consuming,
      pace: QueueReader.Pace(prefetch: 1, concurrency: 1, maximumBodySize: 1 << 20),
      process: { message, _ in
        letter.add(message)
        return .leave
      }, onEnd: { _ in })
    try await reader.start()
    let message = try #require(await letter.wait(for: 1)?.first)
    _ = await reader.stop(grace: .seconds(1))
    let properties = try MessageProperties(reading: message.properties)
    #expect(properties.headers["warren-dead-reason"]?.string == "crashLoop")
    #expect(try Note.decoded(type: Note.eventType, body: message.body).number == culprit)
  }
}
