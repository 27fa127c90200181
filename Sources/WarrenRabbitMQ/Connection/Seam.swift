package import Warren

#if canImport(FoundationEssentials)
  package import FoundationEssentials
#else
  package import Foundation
#endif

/// One connection to a broker, seen from above: commands in, events out to listeners.
///
/// Everything that Warren does with a broker goes through here, so another implementation (a broker in memory) can stand
/// in for the real one. `submit` never blocks and may be called from any thread. An engine lives for one connection to one
/// address: when it is lost, what is pending ends, publishes go back to where they came from, and a new engine is needed.
package protocol ConnectionEngine: AnyObject, Sendable {
  /// Connects. The connection listener hears of success or failure.
  func start()
  /// Gives a command. False when the connection has ended: the command's slot is settled then, and publishes are still the
  /// caller's.
  @discardableResult
  func submit(_ command: EngineCommand) -> Bool
}

/// A channel as its user sees it. Never used twice in an engine's life, so whatever comes late for an old channel finds
/// nothing: an acknowledgement of a closed channel is dropped.
package struct ChannelID: Hashable, Sendable {
  package let value: UInt32
  package init(_ value: UInt32) { self.value = value }
}

package enum EngineCommand: Sendable {
  /// Opens a channel. A publishing channel is put into confirm mode and is reopened by the engine when the broker closes it.
  case open(ChannelID, ChannelKind, any ChannelListener, RequestSlot)
  /// One request with its reply; the slot is settled with the reply or an error.
  case request(ChannelID, Request, RequestSlot)
  /// Publishes on a publishing channel: the operations are settled one by one by the broker's answer. When the channel ends
  /// before, the listener gets back what is not settled.
  case publish(ChannelID, [PublishOperation], any ChannelListener)
  /// Settles deliveries of a consuming channel.
  case acknowledge(ChannelID, [Acknowledgement])
  /// Closes the channel; unacknowledged deliveries go back to their queues.
  case closeChannel(ChannelID, RequestSlot)
  /// Says goodbye to the broker and ends. What is pending ends with the reason, where there is one.
  case close(because: RabbitMQError?)
}

package enum ChannelKind: Sendable {
  case plain(maximumBodySize: Int)
  case publishing(window: Int, bytes: Int)
}

/// The methods of AMQP 0-9-1 that Warren waits for a reply to.
package enum Request: Sendable, Equatable {
  case declareExchange(String, kind: String, passive: Bool)
  case deleteExchange(String)
  case declareQueue(
    String, passive: Bool, durable: Bool, exclusive: Bool, autoDelete: Bool, arguments: [String: HeaderValue])
  case deleteQueue(String)
  case bind(queue: String, exchange: String, key: String)
  case unbind(queue: String, exchange: String, key: String)
  case setPrefetch(Int)
  case consume(queue: String, tag: String)
  case cancel(tag: String)
}

package enum Reply: Sendable, Equatable {
  case done
  case queue(name: String, messages: Int, consumers: Int)
}

package enum Acknowledgement: Sendable, Equatable {
  case ack(UInt64, multiple: Bool)
  /// With `requeue` false the broker dead-letters it, if the queue says where to.
  case reject(UInt64, requeue: Bool)
}

/// One message as it arrived.
package final class IncomingMessage: Sendable {
  package let deliveryTag: UInt64
  package let isRedelivered: Bool
  package let exchange: String
  package let routingKey: String
  package let properties: [UInt8]
  package let body: Data
  /// The body was larger than the channel allows and was not kept.
  package let isOversized: Bool

  package init(
    deliveryTag: UInt64, isRedelivered: Bool, exchange: String, routingKey: String, properties: [UInt8], body: Data,
    isOversized: Bool
  ) {
    self.deliveryTag = deliveryTag
    self.isRedelivered = isRedelivered
    self.exchange = exchange
    self.routingKey = routingKey
    self.properties = properties
    self.body = body
    self.isOversized = isOversized
  }
}

extension EngineCommand {
  /// Settles what waits for a command that no connection will carry out.
  package func refuse() {
    let error = RabbitMQError(.connectionClosed, "there is no connection to the broker", isRetryable: true)
    switch self {
    case .open(_, _, let listener, let slot):
      slot.settle(.failure(error))
      listener.channelClosed(error)
    case .request(_, _, let slot): slot.settle(.failure(error))
    case .closeChannel(_, let slot): slot.settle(.success(.done))
    case .publish, .acknowledge, .close: break
    }
  }
}

/// Hears what happens on one channel. Called on the engine's thread: must return at once.
package protocol ChannelListener: AnyObject, Sendable {
  func received(_ messages: [IncomingMessage])
  /// The broker has ended the consumer: its queue was deleted, or its node went down.
  func consumerCancelled(tag: String)
  /// Publishes that the broker has not settled, when the connection has ended: whether to write them again is up to the
  /// listener.
  func unsettled(_ operations: [PublishOperation])
  /// Publishes that the broker has refused, by closing their channel.
  func refused(_ operations: [PublishOperation], _ error: RabbitMQError)
  /// The broker has accepted something just now.
  func madeProgress()
  /// No deliveries and no unsettled publishes come after this.
  func channelClosed(_ error: RabbitMQError)
}

extension ChannelListener {
  package func unsettled(_ operations: [PublishOperation]) {
    for operation in operations { operation.abandon(because: "the connection to the broker has ended") }
  }
  package func refused(_ operations: [PublishOperation], _ error: RabbitMQError) {
    for operation in operations { operation.settle(.refused(error.message)) }
  }
  package func madeProgress() {}
}

/// Hears what happens to a connection. Called on the engine's thread: must return at once.
package protocol ConnectionListener: AnyObject, Sendable {
  func connectionOpened(_ info: ConnectionInfo)
  /// `reason` is nil when the broker takes publishes again.
  func connectionBlocked(_ reason: String?)
  /// Nothing comes after this. `error` is nil when it was closed from our side.
  func connectionEnded(_ error: RabbitMQError?)
}

package struct ConnectionInfo: Sendable, Equatable {
  package var host: String
  package var port: Int
  package var serverVersion: String
  package var frameMax: Int
  package var heartbeat: Duration
}

/// A listener for channels on which nothing arrives by itself.
package final class SilentListener: ChannelListener {
  package init() {}
  package func received(_ messages: [IncomingMessage]) {}
  package func consumerCancelled(tag: String) {}
  package func channelClosed(_ error: RabbitMQError) {}
}
