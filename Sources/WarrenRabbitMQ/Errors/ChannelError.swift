extension RabbitMQError {
  /// The error behind a `channel.close` of the broker (AMQP 0-9-1 §1.4, soft errors).
  init(channelClose code: Int, text: String) {
    let kind: Code =
      switch code {
      case 403: .accessRefused
      case 404: .notFound
      case 405: .resourceLocked
      case 406: .topologyMismatch
      default: .channelClosed
      }
    self.init(kind, "the broker refuses: \(text)", isRetryable: code == 404 || code == 405, replyCode: code)
  }

  /// The exchange that the broker's text names: `no exchange 'events.x' in vhost '/'`.
  var exchangeInText: String? {
    guard let start = message.firstRange(of: "exchange '") else { return nil }
    let rest = message[start.upperBound...]
    guard let end = rest.firstRange(of: "' in vhost") else { return nil }
    let name = String(rest[..<end.lowerBound])
    // The broker's own name for the default exchange, which has none on the wire (AMQP 0-9-1 §3.1.3.1).
    return name == "amq.default" ? "" : name
  }
}
