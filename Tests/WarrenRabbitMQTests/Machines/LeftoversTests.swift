import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// What handlers that outlived their channel mean for the same events' next deliveries.
@Suite(.timeLimit(.minutes(1))) struct LeftoversTests {
  private func message(
    _ tag: UInt64, id: String? = "a", body: String = "{}", isRedelivered: Bool = true
  ) -> IncomingMessage {
    var properties = MessageProperties()
    properties.messageID = id
    var writer = FieldWriter(capacity: 64)
    _ = properties.write(to: &writer)
    return IncomingMessage(
      deliveryTag: tag, isRedelivered: isRedelivered, exchange: "", routingKey: "q",
      properties: writer.bytes, body: Data(body.utf8), isOversized: false)
  }

  @Test func withoutLeftoversEverythingIsHandled() async throws {
    let leftovers = Leftovers()
    let reader = leftovers.newReader()
    #expect(await leftovers.settlement(of: message(1), to: reader) == nil)
  }

  @Test(arguments: [
    (QueueReader.Settlement.acknowledge, QueueReader.Settlement?.some(.acknowledge)), (.reject, nil), (.leave, nil),
  ])
  func theSecondDeliveryWaitsForTheFirst(
    first: QueueReader.Settlement, second: QueueReader.Settlement?
  ) async throws {
    let leftovers = Leftovers()
    let (old, new) = (leftovers.newReader(), leftovers.newReader())
    leftovers.began([message(7)], of: old)
    let again = message(1)
    let waiting = Task { await leftovers.settlement(of: again, to: new) }
    await Task.yield()
    leftovers.ended(7, of: old, first)
    #expect(await waiting.value == second)
    // Once: a third delivery is another matter.
    #expect(await leftovers.settlement(of: message(2), to: new) == nil)
  }

  /// A channel is lost between the taking of a delivery and the look at the leftovers.
  @Test func aDeliveryDoesNotWaitForItself() async throws {
    let leftovers = Leftovers()
    let reader = leftovers.newReader()
    let message = message(7)
    leftovers.began([message], of: reader)
    #expect(await leftovers.settlement(of: message, to: reader) == nil)
    leftovers.ended(7, of: reader, .acknowledge)
    await leftovers.waitForRoom(worker: 0, of: 1)
  }

  @Test func otherBodiesOtherIDsAndNoIDsAreOtherEvents() async throws {
    let leftovers = Leftovers()
    let (old, new) = (leftovers.newReader(), leftovers.newReader())
    leftovers.began([message(7), message(8, id: nil)], of: old)
    #expect(await leftovers.settlement(of: message(1, body: "[]"), to: new) == nil)
    #expect(await leftovers.settlement(of: message(1, id: "b"), to: new) == nil)
    #expect(await leftovers.settlement(of: message(1, id: nil), to: new) == nil)
    #expect(await leftovers.settlement(of: message(1, isRedelivered: false), to: new) == nil)
  }

  @Test func aCancelledWaitLeavesTheDelivery() async throws {
    let leftovers = Leftovers()
    let (old, new) = (leftovers.newReader(), leftovers.newReader())
    leftovers.began([message(7)], of: old)
    let again = message(1)
    let waiting = Task { await leftovers.settlement(of: again, to: new) }
    waiting.cancel()
    #expect(await waiting.value == .leave)
  }

  @Test func thereAreNeverMoreHandlersThanTheConcurrency() async throws {
    let leftovers = Leftovers()
    let old = leftovers.newReader()
    leftovers.began([message(1), message(2, id: "b")], of: old)
    await leftovers.waitForRoom(worker: 1, of: 4)
    let third = Task { await leftovers.waitForRoom(worker: 2, of: 4) }
    await Task.yield()
    leftovers.ended(2, of: old, .leave)
    await third.value
    leftovers.ended(1, of: old, .leave)
    await leftovers.waitForRoom(worker: 3, of: 4)
  }
}
