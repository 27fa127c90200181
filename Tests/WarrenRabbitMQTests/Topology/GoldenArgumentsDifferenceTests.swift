import Testing
import Warren

@testable import WarrenRabbitMQ

/// The texts with which brokers refuse other settings than the ones that exist. RabbitMQ 3.10.8 and 4.0.5 say the same.
@Suite struct GoldenArgumentsDifferenceTests {
  private struct Text: Sendable {
    var text: String
    var argument: String
    var received: String
    var current: String
  }

  private static let texts = [
    Text(
      text:
        "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': received 'quorum' but current is 'classic'",
      argument: "x-queue-type", received: "quorum", current: "classic"),
    Text(
      text:
        "PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit' for queue 'q' in vhost '/': received '100' but current is '20'",
      argument: "x-delivery-limit", received: "100", current: "20"),
    Text(
      text:
        "PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit' for queue 'q' in vhost '/': received the value '100' of type 'long' but current is none",
      argument: "x-delivery-limit", received: "100", current: "nothing"),
    Text(
      text:
        "PRECONDITION_FAILED - inequivalent arg 'x-dead-letter-routing-key' for queue 'q' in vhost '/': received the value 'd' of type 'longstr' but current is none",
      argument: "x-dead-letter-routing-key", received: "d", current: "nothing"),
    Text(
      text:
        "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/': received none but current is the value '60000' of type 'long'",
      argument: "x-message-ttl", received: "nothing", current: "60000"),
    Text(
      text:
        "PRECONDITION_FAILED - inequivalent arg 'x-single-active-consumer' for queue 'q' in vhost '/': received none but current is the value 'true' of type 'bool'",
      argument: "x-single-active-consumer", received: "nothing", current: "true"),
    Text(
      text:
        "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': received 'true' but current is 'false'",
      argument: "durable", received: "true", current: "false"),
    Text(
      text:
        "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'events.x' in vhost '/': received 'topic' but current is 'direct'",
      argument: "type", received: "topic", current: "direct"),
  ]

  @Test(arguments: texts) private func theArgumentAndBothValuesAreFound(text: Text) throws {
    let difference = try #require(BrokerDifference(text.text))
    #expect(difference.argument == text.argument)
    #expect(difference.received == text.received)
    #expect(difference.current == text.current)
    // Also behind what Warren puts in front of it.
    #expect(BrokerDifference(RabbitMQError(channelClose: 406, text: text.text).message) == difference)
  }

  /// A reply text has at most 255 bytes: brokers cut it.
  @Test func aTextThatIsCutIsNoReasonToFail() {
    for text in Self.texts.map(\.text) {
      for count in 0..<text.count {
        guard let difference = BrokerDifference(String(text.prefix(count))) else { continue }
        #expect(text.prefix(count).contains(" but current is "))
        #expect(!difference.argument.isEmpty)
      }
    }
    #expect(BrokerDifference("") == nil)
    #expect(BrokerDifference("PRECONDITION_FAILED - invalid arg 'x-queue-type' for queue 'q': unsupported") == nil)
  }

  @Test func theErrorSaysWhatThereIsAndWhatWarrenWants() {
    let queue = TopologyEntity.workQueue(name: "q", deadLetters: "d", options: .init())
    let refused = RabbitMQError(channelClose: 406, text: Self.texts[2].text)
    let explained = refused.explained(entity: queue, mode: .declare)
    #expect(explained.code == .topologyMismatch && explained.replyCode == 406 && !explained.isRetryable)
    #expect(
      explained.message
        == "the queue \"q\" exists with other settings than Warren declares. Nothing was changed. x-delivery-limit: the queue"
        + " has nothing, Warren declares 100. Warren declares a durable queue with: x-dead-letter-exchange=\"\""
        + " x-dead-letter-routing-key=\"d\" x-dead-letter-strategy=\"at-least-once\" x-delivery-limit=100"
        + " x-overflow=\"reject-publish\" x-queue-type=\"quorum\". Drain and delete the queue, or give the service another"
        + " name, or set topology to assume and take it as it is")
    let unknown = RabbitMQError(channelClose: 406, text: "PRECONDITION_FAILED - something new")
      .explained(entity: queue, mode: .declare)
    #expect(unknown.message.contains("The broker says: the broker refuses: PRECONDITION_FAILED - something new."))
    let exchange = RabbitMQError(channelClose: 406, text: Self.texts[7].text).explained(
      entity: .exchange(name: "events.x"), mode: .declare)
    #expect(exchange.message.contains("the exchange \"events.x\" exists with another kind or durability"))
    #expect(exchange.message.contains("current is 'direct'"))
  }
}
