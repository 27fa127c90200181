import Warren

extension RabbitMQError {
  /// The same error in terms of what Warren wanted: which argument differs, what it is and what it should be, and what
  /// the reader can do. Warren never deletes and makes anew behind anybody's back.
  func explained(entity: TopologyEntity, mode: TopologyMode) -> RabbitMQError {
    var text: String
    switch (code, entity) {
    case (.topologyMismatch, .queue(let name, let arguments)):
      text = "the queue \"\(name)\" exists with other settings than Warren declares. Nothing was changed."
      if let difference = BrokerDifference(message) {
        text += " \(difference.argument): the queue has \(difference.current), Warren declares \(difference.received)."
      } else {
        text += " The broker says: \(message)."
      }
      text += " Warren declares a durable queue with:"
      for (key, value) in arguments.sorted(by: { $0.key < $1.key }) { text += " \(key)=\(value.plainText)" }
      text +=
        ". Drain and delete the queue, or give the service another name, or set topology to assume and take it as it is"
    case (.topologyMismatch, .exchange(let name)):
      text =
        "the exchange \"\(name)\" exists with another kind or durability; Warren declares a durable topic exchange."
      text += " Nothing was changed. The broker says: \(message)"
    case (.topologyMismatch, .fanoutExchange(let name)):
      text =
        "the exchange \"\(name)\" exists with another kind or durability; Warren declares a durable fanout exchange."
      text += " Nothing was changed. The broker says: \(message)"
    case (.notFound, _) where mode == .verify:
      text = "\"\(entity.name)\" does not exist, and topology is set to verify: create it, or set topology to declare"
    case (.accessRefused, _):
      text = "this user may not \(mode == .verify ? "look at" : "declare") \"\(entity.name)\": \(message)."
      text += " Grant configure, write and read on it, or create it with another user and set topology to assume"
    default:
      text = "\"\(entity.name)\": \(message)"
    }
    return RabbitMQError(code, text, isRetryable: isRetryable, replyCode: replyCode)
  }
}

/// What RabbitMQ says about the first argument that differs: `inequivalent arg 'x-delivery-limit' for queue 'q' in vhost
/// '/': received the value '100' of type 'signedint' but current is none`.
struct BrokerDifference: Equatable {
  var argument: String
  var received: String
  var current: String

  init?(_ text: String) {
    guard let name = text.between("inequivalent arg '", "'"),
      let received = text.between("received ", " but current is "),
      let current = text.after(" but current is ")
    else { return nil }
    argument = name
    self.received = Self.plain(received)
    self.current = Self.plain(current)
  }

  private static func plain(_ text: String) -> String {
    if text.hasPrefix("none") { return "nothing" }
    return text.between("the value '", "'") ?? text.between("'", "'") ?? text
  }
}

extension String {
  func after(_ start: String) -> String? {
    guard let found = firstRange(of: start) else { return nil }
    return String(self[found.upperBound...])
  }

  func between(_ start: String, _ end: String) -> String? {
    guard let rest = after(start), let found = rest.firstRange(of: end) else { return nil }
    return String(rest[..<found.lowerBound])
  }
}

extension HeaderValue {
  /// For messages and golden files.
  package var plainText: String {
    switch self {
    case .string(let text): "\"\(text)\""
    case .int(let number): "\(number)"
    case .double(let number): "\(number)"
    case .bool(let flag): "\(flag)"
    case .bytes(let bytes): "\(bytes.count) bytes"
    case .timestamp(let date): date.rfc3339
    case .array(let values): "[" + values.map(\.plainText).joined(separator: ", ") + "]"
    case .table(let table):
      "{" + table.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value.plainText)" }.joined(separator: ", ") + "}"
    case .null: "null"
    }
  }
}
