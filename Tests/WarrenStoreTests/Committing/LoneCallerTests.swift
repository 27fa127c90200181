import GRDB
import Testing
import Warren
import WarrenSupport

@testable import WarrenStore

/// A caller that is alone commits on its own thread; everybody else over the writer's queue.
struct LoneCallerTests {
  /// Whether each commit was made inside a task.
  private static func places(of log: EventLog) -> Lock<[Bool]> {
    let places = Lock<[Bool]>([])
    _ = log.wakeUp.listen { places.withLock { $0.append(withUnsafeCurrentTask { $0 != nil }) } }
    return places
  }

  @Test func oneCallerCommitsByItself() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let places = Self.places(of: log)
    for number in 0..<5 { try await log.record(Happened(number: number)) }
    #expect(places.withLock { $0 } == Array(repeating: true, count: 5))
    #expect(try await log.outboxNumbers() == Array(0..<5))
  }

  @Test func aBodyOfTheUsersNeverRunsOnTheThreadsOfTasks() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let places = Self.places(of: log)
    try await log.transact { try log.record(Happened(number: 1), in: $0) }
    #expect(places.withLock { $0 } == [false])
  }

  @Test func nobodyWaitsThereForAnotherOnesTransaction() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let places = Self.places(of: log)
    let held = try await HeldWriter(folder.stranger())
    let caller = Task { try await log.record(Happened(number: 1)) }
    // It has tried, and is on the writer's queue.
    try await expectEventually { log.committer.groupCount == 1 }
    held.letGo()
    try await caller.value
    #expect(places.withLock { $0 } == [false])
    #expect(try await log.outboxNumbers() == [1])
  }

  @Test func anAppendIsSeenByReadersInTheProcess() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let stream: StreamName = "thing-1"
    for number in 1...3 {
      try await log.append([Happened(number: number)], to: stream)
      var seen = 0
      for try await _ in log.events(.init(stream: stream)) { seen += 1 }
      #expect(seen == number)
    }
  }

  @Test func itIsForQuietTimes() {
    var quiet = QuietTimes()
    #expect(quiet.mayCommitHere)
    quiet.note(members: 2, took: .zero)
    #expect(!quiet.mayCommitHere)
    quiet.note(members: 1, took: .zero)
    #expect(quiet.mayCommitHere)
    // Once in a while every disk is slow.
    quiet.note(members: 1, took: .milliseconds(10))
    #expect(quiet.mayCommitHere)
    for _ in 0..<50 { quiet.note(members: 1, took: .milliseconds(3)) }
    #expect(!quiet.mayCommitHere)
    for _ in 0..<50 { quiet.note(members: 1, took: .microseconds(200)) }
    #expect(quiet.mayCommitHere)
    // Nobody should wait twice for a disk that hangs.
    quiet.note(members: 1, took: .seconds(1))
    #expect(!quiet.mayCommitHere)
  }
}
