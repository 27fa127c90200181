public import Configuration

extension RabbitMQConfiguration {
  /// Reads settings from a `ConfigReader`; what is not set keeps its default.
  ///
  /// | key | meaning |
  /// | --- | --- |
  /// | `url` | a broker URL, as ``init(url:)`` reads it; the keys below stand above it |
  /// | `user`, `password`, `virtualHost`, `connectionName` | text |
  /// | `heartbeatSeconds` | whole seconds |
  /// | `connectTimeoutMilliseconds`, `requestTimeoutMilliseconds`, `writeStallLimitMilliseconds` | milliseconds |
  /// | `channelMax`, `frameMax` | numbers |
  /// | `topology` | `declare`, `verify` or `assume` |
  /// | `publishing.window`, `publishing.windowBytes`, `publishing.maximumBodySize` | numbers |
  /// | `publishing.timeoutMilliseconds` | milliseconds |
  ///
  /// ```swift
  /// let rabbit = try RabbitMQ(RabbitMQConfiguration(config: config.scoped(to: "rabbitmq")))
  /// ```
  /// - Throws: ``RabbitMQError`` with code ``RabbitMQError/Code/invalidURL`` or
  ///   ``RabbitMQError/Code/invalidConfiguration``, naming the field and what is allowed.
  public init(config: ConfigReader) throws(RabbitMQError) {
    if let url = config.string(forKey: "url", isSecret: true) { try self.init(url: url) } else { self.init() }
    // A text where a number is due would otherwise read as "not set".
    func number(_ key: ConfigKey) throws(RabbitMQError) -> Int? {
      if let number = config.int(forKey: key) { return number }
      guard let text = config.string(forKey: key) else { return nil }
      throw RabbitMQError(.invalidConfiguration, "\(key) is \"\(text)\": allowed is a whole number")
    }
    if let value = config.string(forKey: "user") { user = value }
    if let value = config.string(forKey: "password", isSecret: true) { password = value }
    if let value = config.string(forKey: "virtualHost") { virtualHost = value }
    if let value = config.string(forKey: "connectionName") { connectionName = value }
    if let value = try number("heartbeatSeconds") { heartbeat = .seconds(value) }
    if let value = try number("connectTimeoutMilliseconds") { connectTimeout = .milliseconds(value) }
    if let value = try number("requestTimeoutMilliseconds") { requestTimeout = .milliseconds(value) }
    if let value = try number("writeStallLimitMilliseconds") { writeStallLimit = .milliseconds(value) }
    if let value = try number("channelMax") { channelMax = value }
    if let value = try number("frameMax") { frameMax = value }
    if let value = config.string(forKey: "topology") {
      guard let mode = TopologyMode(rawValue: value) else {
        let allowed = TopologyMode.allCases.map(\.rawValue).joined(separator: ", ")
        throw RabbitMQError(.invalidConfiguration, "topology is \"\(value)\": allowed is one of \(allowed)")
      }
      topology = mode
    }
    if let value = try number("publishing.window") { publishing.window = value }
    if let value = try number("publishing.windowBytes") { publishing.windowBytes = value }
    if let value = try number("publishing.maximumBodySize") { publishing.maximumBodySize = value }
    if let value = try number("publishing.timeoutMilliseconds") { publishing.timeout = .milliseconds(value) }
    try validate()
  }
}
