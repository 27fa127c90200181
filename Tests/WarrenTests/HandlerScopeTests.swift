import Foundation
import Testing
import Warren
import WarrenSupport

/// Publishes inside a handler leave only when the handler has succeeded, with ids that a repeat makes again.
@Suite struct HandlerScopeTests {
  private let publisher = RecordingPublisher()
  private let cause = "0190b8a4-1c6a-7000-8000-000000000001"

  private func incoming(queue: String = "mailer.user.created", id: String? = nil) throws -> Delivery {
    delivery(id: try EventID(id ?? cause), queue: queue)
  }

  private func user(_ number: Int) -> UserCreated { UserCreated(id: number, name: "") }

  private func derived(_ ordinal: Int) throws -> EventID {
    .derived(
      from: try EventID(cause), of: try incoming(), handler: "mailer.user.created", type: UserCreated.eventType,
      ordinal: ordinal)
  }

  @Test func successLetsThemGoInOrderWithDerivedIDs() async throws {
    let receipts = Lock<[EventID?]>([])
    let result = await On(UserCreated.self) { _, _ in
      for number in 0..<3 {
        let receipt = try await publish(user(number), to: publisher)
        #expect(receipt.isCollected)
        receipts.withLock { $0.append(receipt.id) }
      }
    }.handle(try incoming())
    #expect(result.words == "handled")
    #expect(try result.collectedIDs == [derived(0), derived(1), derived(2)])
    #expect(receipts.withLock { $0 } == result.collectedIDs, "the publisher's caller is told the id that leaves")
    #expect(result.collected.map { $0.event.body.text } == (0..<3).map { #"{"id":\#($0),"name":""}"# })
    #expect(result.collected.allSatisfy { $0.publisher as? RecordingPublisher === publisher })
    #expect(publisher.published.isEmpty, "nothing leaves while the handler runs")
    #expect(result.collectedIDs.first??.text == "38635b41-98b8-899e-983e-cb0f34f9721a")
  }

  @Test(arguments: ["throw", "dead letter", "ignore", "dead letter and throw", "cancelled"])
  func withoutSuccessNothingLeaves(_ end: String) async throws {
    let result = await On(UserCreated.self) { _, context in
      try await publish(user(1), to: publisher)
      switch end {
      case "throw": throw SampleFailure()
      case "dead letter": context.deadLetter("x")
      case "ignore": context.ignore("x")
      case "cancelled": throw CancellationError()
      default:
        context.deadLetter("x")
        throw SampleFailure()
      }
    }.handle(try incoming())
    #expect(result.collected.isEmpty)
    #expect(result.words != "handled")
    #expect(publisher.published.isEmpty)
  }

  @Test func handlingAgainGivesTheSameIDs() async throws {
    let handler = On(UserCreated.self) { _, _ in
      for number in 0..<5 { try await publish(user(number), to: publisher) }
    }
    let first = await handler.handle(try incoming())
    let second = await handler.handle(try incoming())
    #expect(first.collectedIDs == second.collectedIDs && Set(first.collectedIDs).count == 5)
  }

  @Test func anotherQueueOrAnotherEventGivesOtherIDs() async throws {
    let handler = On(UserCreated.self) { _, _ in try await publish(user(1), to: publisher) }
    let ids = [
      await handler.handle(try incoming()).collectedIDs, await handler.handle(try incoming(id: "other")).collectedIDs,
      await handler.handle(try incoming(queue: "mailer_audit.user.created")).collectedIDs,
    ]
    #expect(Set(ids).count == 3)
  }

  @Test func anEventWithoutIDLetsEachPublishKeepItsNewID() async throws {
    let handler = On(UserCreated.self) { _, _ in
      try await publish(user(1), to: publisher)
      try await publish(user(2), to: publisher)
    }
    let ids = await handler.handle(delivery()).collectedIDs + handler.handle(delivery()).collectedIDs
    #expect(Set(ids).count == 4 && !ids.contains(nil))
  }

  @Test func aChosenIDIsKeptAndTakesItsPlaceInTheCount() async throws {
    let result = await On(UserCreated.self) { _, _ in
      try await publish(user(0), to: publisher)
      try await publish(user(1), id: EventID("order-7"), to: publisher)
      try await publish(user(2), to: publisher)
    }.handle(try incoming())
    #expect(try result.collectedIDs == [derived(0), id("order-7"), derived(2)])
    #expect(result.collected.map(\.event.hasOwnID) == [true, false, true])
  }

  // MARK: tasks

  @Test func childTasksPublishIntoTheSameScope() async throws {
    let result = await On(UserCreated.self) { _, _ in
      async let one = publish(user(1), to: publisher)
      async let two = publish(user(2), to: publisher)
      let both = try await [one, two]
      #expect(both.allSatisfy { $0.isCollected })
      try await withThrowingTaskGroup(of: Bool.self) { group in
        for number in 0..<50 { group.addTask { try await publish(user(number), to: publisher).isCollected } }
        for try await isCollected in group { #expect(isCollected) }
      }
    }.handle(try incoming())
    #expect(result.words == "handled")
    #expect(try result.collectedIDs == (0..<52).map { try derived($0) }, "each has an ordinal of its own, without gaps")
    #expect(Set(result.collected.map(\.event.body)).count == 50, "the numbers 0 to 49, and 1 and 2 once more")
    #expect(publisher.published.isEmpty)
  }

  @Test func anAwaitedUnstructuredTaskPublishesIntoTheScopeToo() async throws {
    let result = await On(UserCreated.self) { _, _ in
      let task = Task { try await publish(user(1), to: publisher) }
      let receipt = try await task.value
      #expect(receipt.isCollected)
    }.handle(try incoming())
    #expect(try result.collectedIDs == [derived(0)])
  }

  @Test func aDetachedTaskIsOutside() async throws {
    let result = await On(UserCreated.self) { _, _ in
      let task = Task.detached { try await publish(user(1), to: publisher) }
      let receipt = try await task.value
      #expect(!receipt.isCollected)
    }.handle(try incoming())
    #expect(result.collected.isEmpty)
    #expect(publisher.published.count == 1)
  }

  /// What a task publishes after its handler has ended must leave by itself: nobody would collect it any more.
  @Test func aTaskThatOutlivesTheHandlerPublishesByItself() async throws {
    let (ended, end) = AsyncStream.makeStream(of: Void.self)
    let late = Lock<Task<(id: EventID?, isCollected: Bool), any Error>?>(nil)
    let result = await On(UserCreated.self) { _, _ in
      try await publish(user(1), to: publisher)
      let task = Task {
        for await _ in ended {}
        return try await publish(user(2), to: publisher)
      }
      late.withLock { $0 = task }
    }.handle(try incoming())
    #expect(try result.collectedIDs == [derived(0)])
    end.finish()
    let receipt = try await #require(late.withLock { $0 }).value
    #expect(!receipt.isCollected)
    #expect(publisher.published.map(\.metadata.id) == [receipt.id])
    #expect(result.collected.count == 1)
  }

  @Test func aDecisionAfterTheHandlerHasEndedChangesNothing() async throws {
    let kept = Lock<HandlerContext?>(nil)
    let handler = On(UserCreated.self) { _, context in kept.withLock { $0 = context } }
    let result = await handler.handle(try incoming())
    try #require(kept.withLock { $0 }).deadLetter("too late")
    #expect(result.words == "handled")
    #expect(await On(UserCreated.self) { _, _ in }.handle(try incoming()).words == "handled")
  }

  @Test func thereIsNoScopeOutsideOfHandlers() async throws {
    #expect(HandlerScope.current == nil)
    let receipt = try await publish(user(1), to: publisher)
    #expect(!receipt.isCollected && publisher.published.count == 1)
    _ = await On(UserCreated.self) { _, _ in #expect(HandlerScope.current != nil) }.handle(try incoming())
    #expect(HandlerScope.current == nil)
  }

  @Test func theScopeKnowsItsDelivery() async throws {
    _ = await On(UserCreated.self) { _, _ in
      #expect(HandlerScope.current?.delivery.metadata.id?.text == cause)
    }.handle(try incoming())
  }

  /// One handler that calls another, as a test or a router does.
  @Test func aHandlerInsideAHandlerHasItsOwnScope() async throws {
    let inner = On(UserCreated.self) { _, context in
      try await publish(user(2), to: publisher)
      if context.delivery.queue == "fails" { throw SampleFailure() }
    }
    let result = await On(UserCreated.self) { _, _ in
      try await publish(user(1), to: publisher)
      let nested = await inner.handle(try incoming(queue: "inner.user.created"))
      #expect(nested.collected.count == 1)
      let failed = await inner.handle(try incoming(queue: "fails"))
      #expect(failed.collected.isEmpty)
      try await publish(user(3), to: publisher)
    }.handle(try incoming())
    #expect(try result.collectedIDs == [derived(0), derived(1)])
  }

  @Test func manyHandlersAtOnceDoNotMix() async throws {
    let handler = OnRaw("user.created") { delivery, _ in
      for _ in 0..<4 {
        try await publish(UserCreated(id: 0, name: delivery.metadata.id?.text ?? ""), to: publisher)
        await Task.yield()
      }
    }
    try await withThrowingTaskGroup(of: Bool.self) { group in
      for number in 0..<200 {
        let incoming = try incoming(id: "event-\(number)")
        group.addTask {
          let result = await handler.handle(incoming)
          let own = #"{"id":0,"name":"event-\#(number)"}"#
          return result.collected.count == 4 && result.collected.allSatisfy { $0.event.body.text == own }
        }
      }
      for try await isOwn in group { #expect(isOwn) }
    }
  }

  @Test func whatElseTheEventSaysIsKept() async throws {
    let (type, body) = try user(1).encoded()
    var metadata = EventMetadata(type: type, source: "tests")
    metadata.key = "k"
    metadata.headers = ["tenant": "x"]
    let event = EncodedEvent(metadata: metadata, body: body, routingKey: "eu.de", expiry: .seconds(5))
    let result = await OnRaw("user.created") { _, _ in
      _ = HandlerScope.current?.collect(event, hasChosenID: false, for: publisher)
    }.handle(try incoming())
    var expected = event
    expected.metadata.id = try derived(0)
    #expect(result.collected.map(\.event) == [expected])
  }
}
