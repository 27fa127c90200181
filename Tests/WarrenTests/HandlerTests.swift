import Foundation
import Testing
import Warren
import WarrenSupport

@Suite struct HandlerTests {
  private let calls = Lock<[String]>([])
  private func note(_ call: String) { calls.withLock { $0.append(call) } }

  @Test func returningIsHandled() async {
    let handler = On(UserCreated.self) { user, _ in note("\(user.id) \(user.name)") }
    let result = await handler.handle(delivery())
    #expect(result.words == "handled" && result.collected.isEmpty && !result.isCommitted)
    #expect(calls.withLock { $0 } == ["1 John Doe"])
  }

  @Test func throwingIsFailedWithThatError() async throws {
    let result = await On(UserCreated.self) { _, _ in throw SampleFailure() }.handle(delivery())
    guard case .failed(let error) = result.outcome else {
      Issue.record("\(result.words)")
      return
    }
    #expect(error as? SampleFailure == SampleFailure())
  }

  @Test func aBodyThatCannotBeReadNeverReachesTheHandler() async {
    let result = await On(UserCreated.self) { _, _ in note("called") }.handle(delivery(#"{"id":"x"}"#))
    guard case .deadLetter(let reason) = result.outcome else {
      Issue.record("\(result.words)")
      return
    }
    #expect(reason.cause == "undecodable")
    #expect(reason.text == "user.created is not a UserCreated: expected Int at id")
    #expect(calls.withLock { $0 }.isEmpty)
  }

  @Test func aDecisionStandsAboveReturning() async {
    let dead = await On(UserCreated.self) { _, context in context.deadLetter("no such account") }.handle(delivery())
    #expect(dead.words == "dead letter: rejected: no such account")
    let ignored = await On(UserCreated.self) { _, context in context.ignore("a test user") }.handle(delivery())
    #expect(ignored.words == "ignored: a test user")
  }

  @Test func aDecisionStandsAboveThrowing() async {
    let dead = await On(UserCreated.self) { _, context in
      context.deadLetter("no such account")
      throw SampleFailure()
    }.handle(delivery())
    #expect(dead.words == "dead letter: rejected: no such account")
    let ignored = await OnRaw("user.created") { _, context in
      context.ignore("a test user")
      throw CancellationError()
    }.handle(delivery())
    #expect(ignored.words == "ignored: a test user")
  }

  /// The handler goes on after it has decided, and what it does is done.
  @Test func aDecisionDoesNotStopTheHandler() async {
    _ = await On(UserCreated.self) { _, context in
      context.ignore("x")
      note("after")
    }.handle(delivery())
    #expect(calls.withLock { $0 } == ["after"])
  }

  @Test func aDecisionOfAChildTaskCounts() async {
    let result = await On(UserCreated.self) { _, context in
      async let decision: Void = context.deadLetter("from a child")
      await decision
    }.handle(delivery())
    #expect(result.words == "dead letter: rejected: from a child")
  }

  @Test func aDecisionBelongsToOneDelivery() async {
    let handler = On(UserCreated.self) { user, context in if user.id == 1 { context.deadLetter("first") } }
    #expect(await handler.handle(delivery()).words == "dead letter: rejected: first")
    #expect(await handler.handle(delivery(#"{"id":2,"name":""}"#)).words == "handled")
  }

  @Test func theContextHasTheDeliveryAndItsMetadata() async throws {
    let incoming = delivery(id: try id("42"), queue: "mailer.user.created")
    _ = await On(UserCreated.self) { _, context in
      note(context.metadata.id?.text ?? "none")
      note(context.delivery.queue)
      note(context.delivery.routingKey)
      note(context.delivery.body.text)
    }.handle(incoming)
    #expect(calls.withLock { $0 } == ["42", "mailer.user.created", "user.created", #"{"id":1,"name":"John Doe"}"#])
  }

  @Test func rawHandlersGetTheBytesWhateverTheyAre() async {
    let handler = OnRaw("user.created", "user.deleted") { delivery, _ in note(delivery.body.text) }
    #expect(handler.eventTypes == ["user.created", "user.deleted"])
    #expect(await handler.handle(delivery("not json")).words == "handled")
    #expect(calls.withLock { $0 } == ["not json"])
    #expect(OnRaw(["a", "b"]) { _, _ in }.eventTypes == ["a", "b"])
  }

  @Test func theCatchAllStatesNoTypes() async {
    let handler = Otherwise { delivery, context in context.ignore("unknown \(delivery.type)") }
    #expect(handler.eventTypes.isEmpty)
    #expect(handler.queueOptions == QueueOptions())
    #expect(await handler.handle(delivery(type: "user.deleted")).words == "ignored: unknown user.deleted")
  }

  @Test func aFamilysHandlerReadsAllItsTypes() async {
    let handler = On(HostileBodyTests.Account.self) { event, _ in note("\(event)") }
    #expect(handler.eventTypes == HostileBodyTests.Account.eventTypes)
    #expect(await handler.handle(delivery(#"{"owner":"Ada"}"#, type: "account.opened")).words == "handled")
    #expect(await handler.handle(delivery("{}", type: "account.closed")).words == "handled")
    #expect(calls.withLock { $0 } == [#"opened(owner: "Ada")"#, "closed"])
    #expect(
      await handler.handle(delivery("{}", type: "account.lost")).words
        == "dead letter: undecodable: Account has no case for account.lost")
  }

  @Test func queueOptionsAreKept() {
    let options = QueueOptions(
      patterns: ["*.eu"], prefetch: 10, concurrency: 2, singleActiveConsumer: true, kind: .quorum)
    #expect(On(UserCreated.self, queue: options) { _, _ in }.queueOptions == options)
    #expect(OnRaw("a", queue: options) { _, _ in }.queueOptions == options)
    #expect(QueueOptions().patterns == ["#"] && QueueOptions().kind == .quorum && !QueueOptions().singleActiveConsumer)
    #expect(QueueOptions().prefetch == nil && QueueOptions().concurrency == nil)
  }

  @Test func cancellationReachesTheHandler() async {
    let (started, starting) = AsyncStream.makeStream(of: Void.self)
    let task = Task {
      await On(UserCreated.self) { _, _ in
        starting.yield()
        try await Task.sleep(for: .seconds(3600))
      }.handle(delivery())
    }
    for await _ in started { break }
    task.cancel()
    let result = await task.value
    guard case .failed(let error) = result.outcome else {
      Issue.record("\(result.words)")
      return
    }
    #expect(error is CancellationError)
  }

  // MARK: deliveries

  @Test func metadataIsDecodedOnceAndOnlyWhenAskedFor() async {
    let delivery = Delivery(type: "a", body: Data()) {
      note("decoded")
      return EventMetadata(type: "a")
    }
    _ = await OnRaw("a") { _, _ in }.handle(delivery)
    #expect(calls.withLock { $0 }.isEmpty)
    let ids = await withTaskGroup(of: EventID?.self) { group in
      for _ in 0..<50 { group.addTask { delivery.metadata.id } }
      return await group.reduce(into: Set<EventID?>()) { $0.insert($1) }
    }
    #expect(ids.count == 1)
    #expect(calls.withLock { $0 } == ["decoded"])
  }

  @Test func theRoutingKeyIsTheTypeUnlessGiven() {
    let plain = Delivery(type: "user.created", body: Data()) { EventMetadata(type: "user.created") }
    #expect(plain.routingKey == "user.created" && plain.queue.isEmpty && !plain.isRedelivered)
    let other = Delivery(type: "user.created", body: Data(), isRedelivered: true, routingKey: "") {
      EventMetadata(type: "a")
    }
    #expect(other.routingKey.isEmpty && other.isRedelivered)
  }

  // MARK: reasons

  @Test func everyReasonHasItsOwnCause() {
    let reasons: [DeadLetterReason] = [
      .undecodable("x"), .unknownType("x"), .handlerFailed("x"), .rejected("x"), .publishFailed("x"),
      DeadLetterReason(cause: "own", text: "x"),
    ]
    #expect(
      reasons.map(\.description)
        == ["undecodable: x", "unknownType: x", "handlerFailed: x", "rejected: x", "publishFailed: x", "own: x"])
    #expect(Set(reasons).count == reasons.count)
  }

  // MARK: lists of handlers

  @HandlerBuilder private func handlers(audit: Bool, extra: [EventType]) -> [any DeliveryHandler] {
    On(UserCreated.self) { _, _ in }
    if audit { OnRaw("audit.a") { _, _ in } }
    if audit { OnRaw("audit.b") { _, _ in } } else { OnRaw("plain") { _, _ in } }
    for type in extra { OnRaw(type) { _, _ in } }
    [OnRaw("listed.a") { _, _ in }, OnRaw("listed.b") { _, _ in }] as [any DeliveryHandler]
    Otherwise { _, _ in }
  }

  @Test func theBuilderKeepsTheOrder() {
    #expect(
      handlers(audit: true, extra: ["x", "y"]).map(\.eventTypes)
        == [["user.created"], ["audit.a"], ["audit.b"], ["x"], ["y"], ["listed.a"], ["listed.b"], []])
    #expect(
      handlers(audit: false, extra: []).map(\.eventTypes) == [
        ["user.created"], ["plain"], ["listed.a"], ["listed.b"], [],
      ])
  }
}
