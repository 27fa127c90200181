import Foundation
import Warren

@testable import WarrenRabbitMQ

extension PublishRequest {
  static func sample(_ body: String = "{}", exchange: String = "events.sample") throws -> PublishRequest {
    let head = try PublishHead(
      exchange: exchange, routingKey: "sample", properties: MessageProperties(), bodySize: body.utf8.count)
    return PublishRequest(exchange: exchange, head: head, body: Data(body.utf8))
  }
}
