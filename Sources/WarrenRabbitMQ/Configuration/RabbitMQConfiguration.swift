import Warren

/// How to reach a broker, and the limits that Warren keeps towards it.
///
/// ```swift
/// var configuration = try RabbitMQConfiguration(url: "amqp://accounts:secret@rabbit-1,rabbit-2/shop")
/// configuration.publishing.window = 256
/// ```
///
/// Everything has a default; what is out of its range is refused when ``RabbitMQ`` is made, with the name of the field.
public struct RabbitMQConfiguration: Sendable {
  /// One address of a broker.
  public struct Host: Hashable, Sendable {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    public var name: String
    /// The AMQP port, 1 to 65,535.
    public var port: Int

    /// Makes an address; 5672 is AMQP's port, 5671 the one with TLS.
    public init(_ name: String, port: Int = 5672) {
      self.name = name
      self.port = port
    }
  }

  /// What bounds publishing.
  public struct Publishing: Hashable, Sendable {
    /// The most events that are written and not confirmed yet, 1 to 65,535. More wait, in order. 1,000.
    public var window = 1000
    /// The most bytes that are written and not confirmed yet, at least 1 KiB. An event larger than this goes alone. 8 MiB.
    public var windowBytes = 8 << 20
    /// How long a publish may take until its confirm, 1 ms to 1 day. Longer than the election of a queue's leader. 30 s.
    public var timeout = Duration.seconds(30)
    /// The largest body, 1 byte to 512 MiB. RabbitMQ 4 takes no more than 16 MiB unless it is told to. 16 MiB.
    public var maximumBodySize = 16 << 20

    /// The defaults.
    public init() {}
  }

  /// What becomes of the first connection, and of the first declarations and consumers, when they do not succeed at once.
  public enum Startup: String, Hashable, Sendable, CaseIterable {
    /// They are tried again without end, as after any later loss: services may start before their broker.
    case retry
    /// `run()` throws: for scripts, and where the platform restarts what has failed. A later loss is recovered from.
    case failFast
  }

  /// The broker's addresses. Shuffled once, then tried in turn, the one that just failed last. At least one.
  public var hosts: [Host]
  /// The user name.
  public var user: String
  /// The password. Never printed.
  public var password: String
  /// Whether user and password say who we are, or the client certificate. ``Authentication/password``.
  public var authentication: Authentication
  /// How the connection is encrypted; nil is not at all.
  public var tls: TLS?
  /// The virtual host. `/` is the one that every broker has.
  public var virtualHost: String
  /// What the connections are called in the broker's lists; up to 200 bytes. Nil gives `warren`.
  public var connectionName: String?
  /// How often each side proves that it lives, 1 s to 10 min. A dead connection is noticed within two of them. 10 s.
  public var heartbeat: Duration
  /// How long finding a host's addresses, connecting to one of them, and TLS with the login there may each take, 1 ms to
  /// 1 day. 10 s.
  public var connectTimeout: Duration
  /// How long the broker may take to answer a request, 1 ms to 1 day. 20 s.
  public var requestTimeout: Duration
  /// How long the broker may read nothing of what waits to be sent, without having said that it is blocked, before the
  /// connection counts as lost; 1 ms to 1 day. 60 s.
  public var writeStallLimit: Duration
  /// The most channels of a connection, 1 to 65,535. 2,047, as brokers allow.
  public var channelMax: Int
  /// The largest frame that is offered, in bytes, 8,192 to 1 MiB. 131,072.
  public var frameMax: Int
  /// Whether a start that fails is tried again or ends `run()`. `retry`.
  public var startup: Startup
  /// Whether exchanges and queues are declared, verified, or taken as they are.
  public var topology: TopologyMode
  /// What bounds publishing.
  public var publishing: Publishing
  package var recoveryPace = RecoveryPace()

  /// Settings for the hosts given, with defaults for everything else.
  public init(
    hosts: [Host] = [Host("localhost")], user: String = "guest", password: String = "guest", virtualHost: String = "/"
  ) {
    self.hosts = hosts
    self.user = user
    self.password = password
    self.virtualHost = virtualHost
    authentication = .password
    tls = nil
    connectionName = nil
    heartbeat = .seconds(10)
    connectTimeout = .seconds(10)
    requestTimeout = .seconds(20)
    writeStallLimit = .seconds(60)
    channelMax = 2047
    frameMax = 131_072
    startup = .retry
    topology = .declare
    publishing = Publishing()
  }

  /// The URL without the password, for messages.
  public var redactedURL: String {
    let places = hosts.map { "\($0.name.contains(":") ? "[\($0.name)]" : percentEncoded($0.name)):\($0.port)" }
    let path = virtualHost == "/" ? "" : "/" + percentEncoded(virtualHost)
    let scheme = tls == nil ? "amqp" : "amqps"
    return "\(scheme)://\(percentEncoded(user))@\(places.joined(separator: ","))\(path)\(safetyParameters)"
  }

  /// - Throws: ``RabbitMQError`` with code ``RabbitMQError/Code/invalidConfiguration``, naming the field and what is allowed.
  public func validate() throws(RabbitMQError) {
    func check(
      _ field: String, _ value: some CustomStringConvertible, _ isAllowed: Bool, _ allowed: String
    ) throws(RabbitMQError) {
      if !isAllowed { throw RabbitMQError(.invalidConfiguration, "\(field) is \(value): allowed is \(allowed)") }
    }
    func check(_ field: String, _ value: Duration, from low: Duration, to high: Duration) throws(RabbitMQError) {
      try check(field, value, value >= low && value <= high, "\(low) to \(high)")
    }
    func check(_ field: String, _ value: Int, _ range: ClosedRange<Int>) throws(RabbitMQError) {
      try check(field, value, range.contains(value), "\(range.lowerBound) to \(range.upperBound)")
    }
    try check("hosts", "empty", !hosts.isEmpty, "at least one host")
    for host in hosts {
      let isName = !host.name.isEmpty && host.name.utf8.allSatisfy { $0 > 0x20 && $0 != 0x7f }
      try check("hosts", "\"\(host.name)\"", isName, "a name or an address without blanks")
      try check("hosts: the port of \(host.name)", host.port, 1...65_535)
    }
    try check("user", "empty", !user.isEmpty, "1 to 255 bytes")
    try check(
      "user", "\(user.utf8.count) bytes", user.utf8.count <= 255 && !user.utf8.contains(0),
      "1 to 255 bytes, none of them 0")
    let isShort = password.utf8.count <= 4000 && !password.utf8.contains(0)
    try check("password", "\(password.utf8.count) bytes", isShort, "up to 4000 bytes, none of them 0")
    if let (field, value, allowed) = tls?.problem { try check(field, value, false, allowed) }
    try check(
      "authentication", authentication.rawValue, authentication == .password || tls?.certificateFile != nil,
      "password, or clientCertificate with tls.certificateFile")
    let isVirtualHost = virtualHost.utf8.count <= 255 && !virtualHost.utf8.contains(0)
    try check("virtualHost", "\(virtualHost.utf8.count) bytes", isVirtualHost, "up to 255 bytes, none of them 0")
    let nameLength = connectionName?.utf8.count ?? 1
    try check("connectionName", "\(nameLength) bytes", (1...200).contains(nameLength), "1 to 200 bytes")
    try check("heartbeat", heartbeat, from: .seconds(1), to: .seconds(600))
    try check("connectTimeout", connectTimeout, from: .milliseconds(1), to: .seconds(86_400))
    try check("requestTimeout", requestTimeout, from: .milliseconds(1), to: .seconds(86_400))
    try check("writeStallLimit", writeStallLimit, from: .milliseconds(1), to: .seconds(86_400))
    try check("channelMax", channelMax, 1...65_535)
    try check("frameMax", frameMax, 8192...1_048_576)
    try check("publishing.window", publishing.window, 1...65_535)
    try check("publishing.windowBytes", publishing.windowBytes, 1024...(1 << 40))
    try check("publishing.timeout", publishing.timeout, from: .milliseconds(1), to: .seconds(86_400))
    try check("publishing.maximumBodySize", publishing.maximumBodySize, 1...(512 << 20))
  }
}

extension RabbitMQConfiguration: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  /// The text for messages and logs.
  public var description: String { redactedURL }
  /// The text for debuggers, as in `description`.
  public var debugDescription: String { redactedURL }
  /// Without the password, so that `dump` cannot print it either.
  public var customMirror: Mirror { Mirror(self, children: ["url": redactedURL]) }
}

/// What Warren does about exchanges and queues before it uses them.
public enum TopologyMode: String, Hashable, Sendable, CaseIterable {
  /// Declares them. Needs the permissions configure, write and read.
  case declare
  /// Checks that they exist, and fails where one does not. The broker does not compare arguments then.
  case verify
  /// Takes it that they exist. Needs no permission beyond writing and reading.
  case assume
}
