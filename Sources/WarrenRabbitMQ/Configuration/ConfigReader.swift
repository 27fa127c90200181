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
  /// | `authentication` | `password` or `clientCertificate` |
  /// | `tls.caFile`, `tls.certificateFile`, `tls.keyFile`, `tls.keyPassword`, `tls.serverName` | text |
  /// | `tls.minimumVersion` | `1.2` or `1.3` |
  /// | `tls.verification` | `full` or `unsafelyNone` |
  /// | `topology` | `declare`, `verify` or `assume` |
  /// | `startup` | `retry` or `failFast` |
  /// | `publishing.window`, `publishing.windowBytes`, `publishing.maximumBodySize` | numbers |
  /// | `publishing.timeoutMilliseconds` | milliseconds |
  ///
  /// The keys of `tls` need a `url` with `amqps://`.
  ///
  /// ```swift
  /// let rabbit = try RabbitMQ(RabbitMQConfiguration(config: config.scoped(to: "rabbitmq")))
  /// ```
  /// - Throws: ``RabbitMQError`` with code ``RabbitMQError/Code/invalidURL`` or
  ///   ``RabbitMQError/Code/invalidConfiguration``, naming the field and what is allowed.
  public init(config: ConfigReader) throws(RabbitMQError) {
    // `ConfigReader` gives nil for a value of another kind, which would read as "not set".
    func text(_ key: ConfigKey, isSecret: Bool = false) throws(RabbitMQError) -> String? {
      if let text = config.string(forKey: key, isSecret: isSecret) { return text }
      if config.hasAnotherKind(key) { throw RabbitMQError(.invalidConfiguration, "\(key) is no text: allowed is text") }
      return nil
    }
    func number(_ key: ConfigKey) throws(RabbitMQError) -> Int? {
      if let number = config.int(forKey: key) { return number }
      if let text = config.string(forKey: key) {
        throw RabbitMQError(.invalidConfiguration, "\(key) is \"\(text)\": allowed is a whole number")
      }
      if config.hasAnotherKind(key) {
        throw RabbitMQError(.invalidConfiguration, "\(key) is no whole number: allowed is a whole number")
      }
      return nil
    }
    func choice<T: RawRepresentable<String> & CaseIterable>(_ key: ConfigKey) throws(RabbitMQError) -> T? {
      guard let value = try text(key) else { return nil }
      if let choice = T(rawValue: value) { return choice }
      let allowed = T.allCases.map(\.rawValue).joined(separator: ", ")
      throw RabbitMQError(.invalidConfiguration, "\(key) is \"\(value)\": allowed is one of \(allowed)")
    }
    if let url = try text("url", isSecret: true) { try self.init(url: url) } else { self.init() }
    if let value = try text("user") { user = value }
    if let value = try text("password", isSecret: true) { password = value }
    if let value = try text("virtualHost") { virtualHost = value }
    if let value = try text("connectionName") { connectionName = value }
    if let value = try number("heartbeatSeconds") { heartbeat = .seconds(value) }
    if let value = try number("connectTimeoutMilliseconds") { connectTimeout = .milliseconds(value) }
    if let value = try number("requestTimeoutMilliseconds") { requestTimeout = .milliseconds(value) }
    if let value = try number("writeStallLimitMilliseconds") { writeStallLimit = .milliseconds(value) }
    if let value = try number("channelMax") { channelMax = value }
    if let value = try number("frameMax") { frameMax = value }
    if let value: Authentication = try choice("authentication") { authentication = value }
    func needingTLS<T>(_ key: ConfigKey, _ value: T?) throws(RabbitMQError) -> T? {
      if value != nil, tls == nil {
        throw RabbitMQError(.invalidConfiguration, "\(key) is set, but url does not say amqps://: allowed is both")
      }
      return value
    }
    if let value = try needingTLS("tls.caFile", text("tls.caFile")) { tls?.caFile = value }
    if let value = try needingTLS("tls.certificateFile", text("tls.certificateFile")) { tls?.certificateFile = value }
    if let value = try needingTLS("tls.keyFile", text("tls.keyFile")) { tls?.keyFile = value }
    if let value = try needingTLS("tls.keyPassword", text("tls.keyPassword", isSecret: true)) {
      tls?.keyPassword = value
    }
    if let value = try needingTLS("tls.serverName", text("tls.serverName")) { tls?.serverName = value }
    if let value: TLS.Version = try needingTLS("tls.minimumVersion", choice("tls.minimumVersion")) {
      tls?.minimumVersion = value
    }
    if let value: TLS.Verification = try needingTLS("tls.verification", choice("tls.verification")) {
      tls?.verification = value
    }
    if let value: TopologyMode = try choice("topology") { topology = value }
    if let value: Startup = try choice("startup") { startup = value }
    if let value = try number("publishing.window") { publishing.window = value }
    if let value = try number("publishing.windowBytes") { publishing.windowBytes = value }
    if let value = try number("publishing.maximumBodySize") { publishing.maximumBodySize = value }
    if let value = try number("publishing.timeoutMilliseconds") { publishing.timeout = .milliseconds(value) }
    try validate()
  }
}

extension ConfigReader {
  /// Asked as a secret, so that no access log shows what it is.
  fileprivate func hasAnotherKind(_ key: ConfigKey) -> Bool {
    int(forKey: key, isSecret: true) != nil || double(forKey: key, isSecret: true) != nil
      || bool(forKey: key, isSecret: true) != nil || bytes(forKey: key, isSecret: true) != nil
      || stringArray(forKey: key, isSecret: true) != nil || intArray(forKey: key, isSecret: true) != nil
      || doubleArray(forKey: key, isSecret: true) != nil || boolArray(forKey: key, isSecret: true) != nil
      || byteChunkArray(forKey: key, isSecret: true) != nil
  }
}
