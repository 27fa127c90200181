import Foundation
import Testing
import Warren
import WarrenSupport

@Suite struct MiddlewareTests {
  private final class Journal: Sendable {
    private let lines = Lock<[String]>([])
    var all: [String] { lines.withLock { $0 } }
    func add(_ line: String) { lines.withLock { $0.append(line) } }
  }

  private let journal = Journal()

  private func noting(_ name: String) -> Middleware<String> {
    { [journal] subject, next in
      journal.add("\(name) before \(subject)")
      try await next(subject)
      journal.add("\(name) after")
    }
  }

  private func run(_ middlewares: [Middleware<String>]) async throws {
    try await middlewares.run("subject") { [journal] in journal.add("last \($0)") }
  }

  @Test func theFirstOneIsOutermost() async throws {
    try await run([noting("a"), noting("b"), noting("c")])
    #expect(
      journal.all == [
        "a before subject", "b before subject", "c before subject", "last subject", "c after", "b after", "a after",
      ])
  }

  @Test func withoutAnyTheLastRunsAlone() async throws {
    try await run([])
    #expect(journal.all == ["last subject"])
  }

  @Test func aChangedSubjectIsWhatTheOthersSee() async throws {
    try await run([{ try await $1($0 + "!") }, noting("b"), { try await $1($0.uppercased()) }])
    #expect(journal.all == ["b before subject!", "last SUBJECT!", "b after"])
  }

  @Test func notCallingNextStopsWithoutAnError() async throws {
    try await run([noting("a"), { _, _ in }, noting("c")])
    #expect(journal.all == ["a before subject", "a after"])
  }

  @Test func throwingStops() async {
    await #expect(throws: SampleFailure()) {
      try await run([noting("a"), { _, _ in throw SampleFailure() }, noting("c")])
    }
    #expect(journal.all == ["a before subject"])
  }

  @Test func theErrorOfTheLastGoesThroughAll() async {
    let seen: Middleware<String> = { [journal] subject, next in
      do { try await next(subject) } catch {
        journal.add("saw \(error)")
        throw error
      }
    }
    await #expect(throws: SampleFailure()) { try await [seen, seen].run("x") { _ in throw SampleFailure() } }
    #expect(journal.all == ["saw sample failure", "saw sample failure"])
  }

  @Test func anErrorCanBeSwallowed() async throws {
    let swallow: Middleware<String> = { try? await $1($0) }
    try await [noting("a"), swallow].run("x") { _ in throw SampleFailure() }
    #expect(journal.all == ["a before x", "a after"])
  }

  @Test func anErrorCanBeReplaced() async {
    let replace: Middleware<String> = { subject, next in
      do { try await next(subject) } catch { throw WarrenError(.invalidConfiguration, "replaced") }
    }
    let error = await #expect(throws: WarrenError.self) { try await [replace].run("x") { _ in throw SampleFailure() } }
    #expect(error?.message == "replaced")
  }

  @Test func nextMayBeCalledAgain() async throws {
    let again: Middleware<String> = { subject, next in
      do { try await next(subject) } catch { try await next(subject + " again") }
    }
    try await [again].run("x") { [journal] in
      journal.add($0)
      if $0 == "x" { throw SampleFailure() }
    }
    #expect(journal.all == ["x", "x again"])
  }

  private enum Tenant { @TaskLocal static var current: String? }

  @Test func taskLocalsReachTheHandler() async throws {
    let tenant: Middleware<Delivery> = { delivery, next in
      try await Tenant.$current.withValue(delivery.metadata.headers["tenant"]?.string) { try await next(delivery) }
    }
    let incoming = Delivery(type: "a", body: Data()) {
      EventMetadata(id: nil, type: "a", headers: ["tenant": "warren"])
    }
    try await [tenant].run(incoming) { [journal] _ in journal.add(Tenant.current ?? "none") }
    #expect(journal.all == ["warren"])
    #expect(Tenant.current == nil)
  }

  @Test func cancellationIsSeenInside() async {
    let task = Task {
      try await [noting("a")].run("x") { _ in try await Task.sleep(for: .seconds(3600)) }
    }
    task.cancel()
    await #expect(throws: CancellationError.self) { try await task.value }
  }

  @Test func fiveHundredOfThemWork() async throws {
    let plusOne: Middleware<Int> = { try await $1($0 + 1) }
    let sum = Lock(0)
    try await Array(repeating: plusOne, count: 500).run(0) { total in sum.withLock { $0 = total } }
    #expect(sum.withLock { $0 } == 500)
  }
}
