import Testing
import Warren
import WarrenSupport

@testable import WarrenRabbitMQ

@Suite(.timeLimit(.minutes(1))) struct RequestSlotTests {
  private static let failure = RabbitMQError(.notFound, "no queue")

  /// The reply, or the code of the error.
  private static func end(
    _ slot: RequestSlot, _ what: String = "the declare"
  ) async -> (reply: Reply?, code: RabbitMQError.Code?) {
    do throws(RabbitMQError) { return (try await slot.reply(to: what), nil) } catch { return (nil, error.code) }
  }

  @Test func aReplyMayComeBeforeAnybodyWaits() async throws {
    let slot = RequestSlot(timeout: .seconds(3600))
    slot.settle(.success(.queue(name: "q", messages: 1, consumers: 2)))
    slot.settle(.failure(Self.failure))
    #expect(try await slot.reply(to: "it") == .queue(name: "q", messages: 1, consumers: 2))
    #expect(try await slot.reply(to: "it") == .queue(name: "q", messages: 1, consumers: 2))
  }

  @Test func anErrorArrivesAsItIs() async {
    let slot = RequestSlot(timeout: .seconds(3600))
    let waiter = Task { await Self.end(slot) }
    slot.settle(.failure(Self.failure))
    #expect(await waiter.value.code == .notFound)
  }

  @Test func theDeadlineEndsTheWaitAndNamesTheRequest() async {
    let slot = RequestSlot(timeout: .milliseconds(20))
    do throws(RabbitMQError) {
      _ = try await slot.reply(to: "declaring the queue \"q\"")
      Issue.record("there was no reply")
    } catch {
      #expect(error.code == .timedOut)
      #expect(error.isRetryable)
      #expect(error.message == "declaring the queue \"q\" was not answered within 0.02 seconds")
    }
    // The reply that comes after it changes nothing.
    slot.settle(.success(.done))
    #expect(await Self.end(slot).code == .timedOut)
  }

  @Test func cancellingTheTaskEndsTheWait() async {
    for _ in 0..<200 {
      let slot = RequestSlot(timeout: .seconds(3600))
      let waiter = Task { await Self.end(slot) }
      if Bool.random() { await Task.yield() }
      waiter.cancel()
      #expect(await waiter.value.code == .cancelled)
    }
  }

  @Test func underAllRacesItSettlesOnce() async {
    var random = ReplayableRandom()
    var replies = 0
    for _ in 0..<1000 {
      let slot = RequestSlot(timeout: .microseconds(random.int(0...6000)))
      let waiter = Task { await Self.end(slot) }
      let pause = random.int(0...8)
      async let reply: Void = {
        for _ in 0..<pause { await Task.yield() }
        slot.settle(.success(.done))
      }()
      if random.oneIn(3) { waiter.cancel() }
      // A second resume traps, a missing one runs into the suite's time limit.
      let end = await waiter.value
      await reply
      let again = await Self.end(slot)
      #expect(again == end, random.replay)
      if end.reply != nil { replies += 1 }
      #expect(end.reply == .done || end.code == .timedOut || end.code == .cancelled, random.replay)
    }
    #expect(replies > 0, random.replay)
  }
}
