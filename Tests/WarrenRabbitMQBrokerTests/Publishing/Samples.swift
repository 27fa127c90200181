import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// An event whose type the test chooses, so that tests do not meet on an exchange.
struct Numbered: Event, Equatable {
  static let eventType: EventType = "numbered"
  var type = Self.eventType
  var number: Int
  var text: String?

  private enum CodingKeys: String, CodingKey { case number, text }

  init(_ type: EventType, _ number: Int, text: String? = nil) {
    self.type = type
    self.number = number
    self.text = text
  }

  func encoded() throws(WarrenError) -> (type: EventType, body: Data) {
    do { return (type, try Self.coding.encode(self)) } catch { throw WarrenError(.encodingFailed, "\(error)") }
  }

  static func decoded(type: EventType, body: Data) throws(WarrenError) -> Numbered {
    do {
      var value = try coding.decode(body)
      value.type = type
      return value
    } catch {
      throw WarrenError(.decodingFailed, "\(error)")
    }
  }
}

extension EncodedEvent {
  /// An event with any body, which need not be JSON.
  init(_ type: EventType, _ body: some Sequence<UInt8>, routingKey: String? = nil) {
    self.init(metadata: EventMetadata(type: type, source: "tests"), body: Data(body), routingKey: routingKey)
  }
}

extension RabbitMQ {
  /// A queue that gets what is published on the exchange of `type` with one of `keys`.
  func sink(
    _ type: EventType, keys: [String] = ["#"], arguments: [String: HeaderValue] = ["x-queue-type": "quorum"],
    _ litter: Litter
  ) async throws -> String {
    let queue = unique("sink")
    try await topology.ensure([.exchange(of: type)])
    try await testQueue(
      queue, arguments: arguments, bound: keys.map { (EntityNames.exchange(of: type), $0) }, litter: litter)
    return queue
  }

  /// Publishes around the publisher, on the channel that publishers use.
  func publishRaw(
    exchange: String, routingKey: String, _ body: String = "{}", properties: MessageProperties = .init()
  ) async throws -> PublishOutcome {
    let body = Data(body.utf8)
    let head = try PublishHead(exchange: exchange, routingKey: routingKey, properties: properties, bodySize: body.count)
    return await events.publish(PublishRequest(exchange: exchange, head: head, body: body))
  }
}

extension PublishOutcome {
  /// Without the text: what kind of outcome it is.
  var kind: String { String("\(self)".prefix { $0 != "(" }) }
  var text: String {
    switch self {
    case .confirmed: ""
    case .unroutable(let text), .refused(let text), .congested(let text), .notPublished(let text), .unknown(let text):
      text
    }
  }
}

/// The error that `body` throws, if it is of this type. A test fails when it throws another or none.
func error<E: Error>(
  _ type: E.Type = E.self, isolation: isolated (any Actor)? = #isolation,
  sourceLocation: SourceLocation = #_sourceLocation,
  _ body: () async throws -> Void
) async -> E? {
  do {
    try await body()
    Issue.record("nothing was thrown", sourceLocation: sourceLocation)
  } catch let error as E {
    return error
  } catch {
    Issue.record("thrown was \(error)", sourceLocation: sourceLocation)
  }
  return nil
}

/// How long `body` took.
func elapsed(isolation: isolated (any Actor)? = #isolation, _ body: () async throws -> Void) async throws -> Duration {
  let start = ContinuousClock.now
  try await body()
  return ContinuousClock.now - start
}
