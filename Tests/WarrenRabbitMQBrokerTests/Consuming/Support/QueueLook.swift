import BrokerFixture
import Foundation
import Warren

@testable import WarrenRabbitMQ

/// One consumer without acknowledgements, on a channel of its own: what stands in a queue, in order, without taking it out.
final class QueueLook: ChannelListener {
  private let arrived = Watched<[IncomingMessage]>([])
  private let ended = Watched<RabbitMQError?>(nil)

  func received(_ messages: [IncomingMessage]) { arrived.update { $0 += messages } }
  func consumerCancelled(tag: String) {}
  func channelClosed(_ error: RabbitMQError) { ended.update { $0 = error } }

  /// Waits for `count` messages and hands them to `body`; afterwards they are back in the queue, unless `body` has settled them.
  static func at<R: Sendable>(
    _ queue: String, of rabbit: RabbitMQ, count: Int, timeout: Duration = .seconds(10),
    isolation: isolated (any Actor)? = #isolation, _ body: ([IncomingMessage], ChannelID) async throws -> R
  ) async throws -> R {
    let look = QueueLook()
    let channel = try await rabbit.consuming.openChannel(.plain(maximumBodySize: 32 << 20), listener: look)
    do {
      try await rabbit.consuming.request(.setPrefetch(max(count, 1)), on: channel)
      try await rabbit.consuming.request(.consume(queue: queue, tag: "look"), on: channel)
      guard let messages = await look.arrived.wait(timeout: timeout, until: { $0.count >= count }) else {
        throw Short(queue: queue, wanted: count, found: look.arrived.value.count)
      }
      let result = try await body(messages, channel)
      await rabbit.consuming.closeChannel(channel)
      return result
    } catch {
      await rabbit.consuming.closeChannel(channel)
      throw error
    }
  }

  struct Short: Error { var queue: String, wanted: Int, found: Int }
}

extension RabbitMQ {
  /// The first `count` messages of a queue, in order. They are there again when it returns: the broker gives them back a
  /// moment after it has answered that the channel is closed.
  func look(at queue: String, count: Int = 1, timeout: Duration = .seconds(10)) async throws -> [LookedAt] {
    let before = (try? await depth(queue)) ?? 0
    let letters = try await QueueLook.at(queue, of: self, count: count, timeout: timeout) { messages, _ in
      messages.map(LookedAt.init)
    }
    // Who consumes meanwhile may take some.
    _ = try? await eventually(timeout: .seconds(2)) { try await self.depth(queue) >= max(before, count) }
    return letters
  }

  /// Takes the first `count` messages out of a queue.
  func take(from queue: String, count: Int = 1, timeout: Duration = .seconds(10)) async throws -> [LookedAt] {
    try await QueueLook.at(queue, of: self, count: count, timeout: timeout) { messages, channel in
      let tags = messages.map { Acknowledgement.ack($0.deliveryTag, multiple: false) }
      consuming.submit(.acknowledge(channel, tags))
      return messages.map(LookedAt.init)
    }
  }
}

/// A message as it stands in a queue.
struct LookedAt: Sendable {
  let exchange: String
  let routingKey: String
  let body: Data
  let isRedelivered: Bool
  /// Nil when the properties cannot be read.
  let properties: MessageProperties?

  init(_ message: IncomingMessage) {
    exchange = message.exchange
    routingKey = message.routingKey
    body = message.body
    isRedelivered = message.isRedelivered
    properties = try? MessageProperties(reading: message.properties)
  }

  var text: String { String(decoding: body, as: UTF8.self) }
  var headers: [String: HeaderValue] { properties?.headers ?? [:] }
  func header(_ name: String) -> String? { headers[name]?.string }

  /// `warren-dead-reason`.
  var cause: String? { header("warren-dead-reason") }

  /// Why the broker itself moved it here, from its header `x-death`; nil when it did not.
  var brokersReason: String? {
    guard case .array(let deaths) = headers["x-death"], case .table(let death) = deaths.first else { return nil }
    return death["reason"]?.string
  }
}
