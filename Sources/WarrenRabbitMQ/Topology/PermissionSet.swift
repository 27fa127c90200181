public import Warren

/// What a broker's user may do: three regular expressions over the names of exchanges and queues.
///
/// The sets for the parts of a system, each as small as it can be. A user that plays several parts needs the union:
/// ``union(_:)``. RabbitMQ replaces all three expressions at once.
public struct PermissionSet: Hashable, Sendable {
  private enum Name: Hashable { case exchanges, defaultExchange, all(String), deadLetters(String), rungs(String) }
  private var configured: [Name] = []
  private var written: [Name] = []
  private var read: [Name] = []

  /// Publishes events, with exchanges that somebody else has declared (``TopologyMode/assume``).
  public static let publisher = PermissionSet(written: [.exchanges])

  /// Handles events of a service, and publishes from its handlers, with exchanges and queues that somebody else has declared
  /// (``TopologyMode/assume``). Retries go through the service's rungs, dead letters through the default exchange.
  public static func worker(_ service: QueueOwner) -> PermissionSet {
    let owner = service.description
    return PermissionSet(written: [.exchanges, .defaultExchange, .rungs(owner)], read: [.all(owner)])
  }

  /// Declares everything of a service, and the exchanges of event types: a subscriber or a publisher with
  /// ``TopologyMode/declare``. Includes what a worker and a publisher need.
  public static func topologyOwner(_ service: QueueOwner) -> PermissionSet {
    let owner = service.description
    return PermissionSet(
      configured: [.exchanges, .all(owner)], written: [.exchanges, .defaultExchange, .all(owner)],
      read: [.exchanges, .all(owner)])
  }

  /// Works with the dead letters of a service: ``DeadLetters``.
  public static func deadLetterOperator(_ service: QueueOwner) -> PermissionSet {
    PermissionSet(written: [.defaultExchange], read: [.deadLetters(service.description)])
  }

  /// What either of the two may.
  public func union(_ other: PermissionSet) -> PermissionSet {
    func merged(_ a: [Name], _ b: [Name]) -> [Name] { a + b.filter { !a.contains($0) } }
    return PermissionSet(
      configured: merged(configured, other.configured), written: merged(written, other.written),
      read: merged(read, other.read))
  }

  /// What may be declared and deleted.
  public var configurePattern: String { Self.pattern(configured) }
  /// What may be published to, and bound.
  public var writePattern: String { Self.pattern(written) }
  /// What may be consumed, and bound from.
  public var readPattern: String { Self.pattern(read) }

  /// The command that gives a user these rights, and no others, on a virtual host.
  public func command(user: String, virtualHost: String) -> String {
    let words = ["-p", virtualHost, user, configurePattern, writePattern, readPattern]
    return "rabbitmqctl set_permissions " + words.map(Self.quoted).joined(separator: " ")
  }

  private static func pattern(_ names: [Name]) -> String {
    let parts = names.map { name in
      switch name {
      case .exchanges: #"events\..+"#
      case .defaultExchange: #"amq\.default"#
      case .all(let owner): "\(owner)\\..+"
      case .deadLetters(let owner): "\(owner)\\.dead\\..+"
      case .rungs(let owner): "\(owner)\\.retry\\..+"
      }
    }
    switch parts.count {
    case 0: return "^$"
    case 1: return "^\(parts[0])$"
    default: return "^(\(parts.joined(separator: "|")))$"
    }
  }

  /// For a shell.
  private static func quoted(_ word: String) -> String {
    if word == "-p" { return word }
    return "'" + word.split(separator: "'", omittingEmptySubsequences: false).joined(separator: #"'\''"#) + "'"
  }
}

extension RabbitMQError {
  /// The same error with the command that grants what a subscription needs, when it is about a missing right.
  func advised(_ service: QueueOwner?, _ configuration: RabbitMQConfiguration) -> RabbitMQError {
    guard code == .accessRefused, let service, message.contains("ACCESS_REFUSED"), !message.contains("set_permissions")
    else { return self }
    let set = configuration.topology == .declare ? PermissionSet.topologyOwner(service) : .worker(service)
    let user = configuration.authentication == .clientCertificate ? "USER" : configuration.user
    let command = set.command(user: user, virtualHost: configuration.virtualHost)
    return RabbitMQError(
      code, "\(message). What this subscription needs is granted by: \(command)", isRetryable: isRetryable,
      replyCode: replyCode)
  }
}
