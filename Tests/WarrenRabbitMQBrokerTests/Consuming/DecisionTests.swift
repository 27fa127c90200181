import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// What a handler and the middleware around it decide about an event.
@Suite(.serialized) struct DecisionTests {
  private struct Ping: Event {
    static let eventType = freshType("ping")
    var number: Int
  }

  /// Handles the numbers 1 to `count` with `handle`, then returns the dead letters, by number. Whatever is not there was
  /// acknowledged: nothing is left in the work queue.
  private func deadLetters(
    count: Int, expected: Int, middleware: [Middleware<Delivery>] = [],
    handle: @escaping @Sendable (Int, HandlerContext) async throws -> Void
  ) async throws -> [Int: LookedAt] {
    try await withTestService(Ping.eventType) { service in
      let subscriber = service.subscriber {
        $0.middleware = middleware
      } handlers: {
        On(Ping.self) { event, context in try await handle(event.number, context) }
      }
      let queue = try service.workQueue(Ping.eventType)
      let deadLetters = try service.deadLetters(Ping.eventType)
      try await whileConsuming(subscriber) {
        try await service.publisher.publish(contentsOf: (1...count).map { Ping(number: $0) })
        #expect(try await service.rabbit.waitForDepth(deadLetters, expected))
        #expect(try await service.rabbit.waitForDepth(queue, 0))
      }
      #expect(try await service.rabbit.depth(queue) == 0)
      #expect(try await service.rabbit.depth(deadLetters) == expected)
      let letters = try await service.rabbit.look(at: deadLetters, count: expected)
      let numbered = try letters.map { (try Ping.decoded(type: Ping.eventType, body: $0.body).number, $0) }
      return Dictionary(uniqueKeysWithValues: numbered)
    }
  }

  @Test func aHandlerMayDeadLetterOrIgnoreAnEvent() async throws {
    let ran = Collected<Int>()
    let letters = try await deadLetters(count: 7, expected: 3) { number, context in
      ran.add(number)
      switch number {
      case 1: context.deadLetter("not for us")
      case 2: context.ignore("seen before")
      case 3:
        context.deadLetter("not for us either")
        throw Refusal("thrown after the decision")
      case 4:
        context.ignore("seen before")
        throw Refusal("thrown after the decision")
      case 5:
        context.ignore("the last decision counts")
        context.deadLetter("second thoughts")
      default: break
      }
    }
    #expect(ran.all.sorted() == Array(1...7))
    #expect(Set(letters.keys) == [1, 3, 5])
    #expect(letters.values.allSatisfy { $0.cause == "rejected" })
    #expect(letters[1]?.header("warren-last-error") == "not for us")
    #expect(letters[3]?.header("warren-last-error") == "not for us either")
    #expect(letters[5]?.header("warren-last-error") == "second thoughts")
  }

  @Test func middlewareRunsAroundEveryHandlerTheFirstOutermost() async throws {
    let steps = Collected<String>()
    func step(_ name: String) -> Middleware<Delivery> {
      { delivery, next in
        steps.add("\(name) in")
        try await next(delivery)
        steps.add("\(name) out")
      }
    }
    _ = try await deadLetters(count: 1, expected: 0, middleware: [step("a"), step("b")]) { _, _ in steps.add("handler")
    }
    #expect(steps.all == ["a in", "b in", "handler", "b out", "a out"])
  }

  @Test func middlewareMayStopFailSwallowRepeatAndChange() async throws {
    let runs = Collected<Int>()
    let judge: Middleware<Delivery> = { delivery, next in
      switch try Ping.decoded(type: delivery.type, body: delivery.body).number {
      case 1: return
      case 2: throw Refusal("the middleware refuses")
      case 3: try? await next(delivery)
      case 4:
        do { try await next(delivery) } catch { try await next(delivery) }
      case 5:
        do { try await next(delivery) } catch { throw Refusal("in other words") }
      case 6:
        let changed = Delivery(type: delivery.type, body: Data(#"{"number":60}"#.utf8)) { delivery.metadata }
        try await next(changed)
      default: try await next(delivery)
      }
    }
    let letters = try await deadLetters(count: 8, expected: 3, middleware: [judge]) { number, _ in
      runs.add(number)
      switch number {
      case 3, 5, 7: throw Refusal("the handler refuses")
      case 4 where runs.all.count(where: { $0 == 4 }) == 1: throw Refusal("only the first time")
      default: break
      }
    }
    #expect(runs.all.sorted() == [3, 4, 4, 5, 7, 8, 60])
    #expect(Set(letters.keys) == [2, 5, 7])
    #expect(letters.values.allSatisfy { $0.cause == "handlerFailed" })
    #expect(letters[2]?.header("warren-last-error") == "the middleware refuses")
    #expect(letters[5]?.header("warren-last-error") == "in other words")
    #expect(letters[7]?.header("warren-last-error") == "the handler refuses")
  }

  /// Middleware sees what the handler sees, also for raw handlers, catch-alls and bodies that cannot be decoded.
  @Test func middlewareRunsAroundRawHandlersAndUndecodableBodies() async throws {
    struct Typed: Event {
      static let eventType = freshType("typed")
      var number: Int
    }
    let raw = freshType("raw")
    try await withTestService(Typed.eventType, raw) { service in
      let seen = Collected<String>()
      let ended = Collected<String>()
      let note: Middleware<Delivery> = { delivery, next in
        let body = String(decoding: delivery.body, as: UTF8.self)
        seen.add(body)
        try await next(delivery)
        ended.add(body)
      }
      let subscriber = service.subscriber {
        $0.middleware = [note]
      } handlers: {
        On(Typed.self) { _, _ in }
        OnRaw(raw) { _, _ in }
        Otherwise { _, _ in }
      }
      try await whileConsuming(subscriber) {
        try await service.put("raw", into: service.workQueue(raw))
        try await service.put("other", into: service.workQueue(raw)) { $0.type = "some.other" }
        try await service.put("no JSON", into: service.workQueue(Typed.eventType))
        #expect(await ended.wait(for: 3) != nil)
        #expect(Set(seen.all) == ["raw", "other", "no JSON"])
        #expect(try await service.rabbit.look(at: service.deadLetters(Typed.eventType))[0].cause == "undecodable")
      }
    }
  }
}
