/// The query of a broker URL: RabbitMQ's names for settings.
struct URLParameters {
  static let plain = [
    "heartbeat", "connection_timeout", "channel_max", "frame_max", "connection_name", "auth_mechanism",
  ]
  static let ofTLS = ["cacertfile", "certfile", "keyfile", "verify", "server_name_indication"]

  private(set) var values: [(name: String, value: String)] = []

  init(_ text: Substring) throws(RabbitMQError) {
    for (index, pair) in text.split(separator: "&").enumerated() {
      let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let name = try percentDecoded(parts[0], part: "parameter number \(index + 1)")
      // By number: a name that nobody knows may be a piece of a password.
      guard Self.plain.contains(name) || Self.ofTLS.contains(name) else {
        throw .invalidURL(
          "parameter number \(index + 1)",
          "is unknown: known are \((Self.plain + Self.ofTLS).joined(separator: ", "))")
      }
      if values.contains(where: { $0.name == name }) { throw .invalidURL("parameter \(name)", "is given twice") }
      values.append((name, parts.count == 2 ? try percentDecoded(parts[1], part: "parameter \(name)") : ""))
    }
  }
}

extension RabbitMQConfiguration {
  mutating func set(_ name: String, _ value: String) throws(RabbitMQError) {
    func number(_ range: ClosedRange<Int>) throws(RabbitMQError) -> Int {
      guard let number = Int(value), range.contains(number) else {
        throw .invalidURL("parameter \(name)", "is not a number from \(range.lowerBound) to \(range.upperBound)")
      }
      return number
    }
    func choice<T>(_ choices: KeyValuePairs<String, T>) throws(RabbitMQError) -> T {
      guard let choice = choices.first(where: { $0.key == value }) else {
        throw .invalidURL("parameter \(name)", "is not one of \(choices.map(\.key).joined(separator: ", "))")
      }
      return choice.value
    }
    if URLParameters.ofTLS.contains(name) {
      if tls == nil { throw .invalidURL("parameter \(name)", "is of no use without TLS: write amqps://") }
      if value.isEmpty { throw .invalidURL("parameter \(name)", "is empty") }
    }
    switch name {
    case "heartbeat": heartbeat = .seconds(try number(1...600))
    case "connection_timeout": connectTimeout = .milliseconds(try number(1...86_400_000))
    case "channel_max": channelMax = try number(1...65_535)
    case "frame_max": frameMax = try number(8192...1_048_576)
    case "connection_name": connectionName = value
    case "auth_mechanism":
      authentication = try choice(["plain": .password, "external": .clientCertificate])
    case "cacertfile": tls?.caFile = value
    case "certfile": tls?.certificateFile = value
    case "keyfile": tls?.keyFile = value
    case "server_name_indication":
      // For Erlang's client this word switches the name's check off.
      if value == "disable" {
        throw .invalidURL("parameter \(name)", "cannot be \"disable\": write the name that the certificate is for")
      }
      tls?.serverName = value
    default: tls?.verification = try choice(["verify_peer": .full, "verify_none": .unsafelyNone])
    }
  }

  /// The parameters that say how the connection is made safe, for messages.
  var safetyParameters: String {
    var parameters: [String] = []
    func add(_ name: String, _ value: String?) {
      if let value { parameters.append("\(name)=\(percentEncoded(value))") }
    }
    add("cacertfile", tls?.caFile)
    add("certfile", tls?.certificateFile)
    add("keyfile", tls?.keyFile)
    add("server_name_indication", tls?.serverName)
    if tls?.verification == .unsafelyNone { add("verify", "verify_none") }
    if authentication == .clientCertificate { add("auth_mechanism", "external") }
    return parameters.isEmpty ? "" : "?" + parameters.joined(separator: "&")
  }
}
