import BrokerFixture
import Foundation
import WarrenRabbitMQ

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The broker that faults are done to: one node, or a cluster of three.
struct Target: Sendable {
  enum Kind: Sendable { case node, cluster }
  let kind: Kind
  let configuration: RabbitMQConfiguration
  var hosts: [RabbitMQConfiguration.Host] { configuration.hosts }

  /// `WARREN_TEST_CLUSTER`: a program with the verbs `url` and `node`, as `scripts/cluster` has them.
  static let clusterProgram = ProcessInfo.processInfo.environment["WARREN_TEST_CLUSTER"].flatMap {
    $0.isEmpty ? nil : $0
  }

  static func node() throws -> Target { Target(kind: .node, configuration: try TestBroker.plainConfiguration) }

  static func cluster() throws -> Target {
    Target(kind: .cluster, configuration: try RabbitMQConfiguration(url: cluster("url")))
  }

  @discardableResult
  static func cluster(_ arguments: String...) throws -> String {
    guard let clusterProgram else { throw TestBroker.Failed(text: "WARREN_TEST_CLUSTER is not set") }
    let result = try TestBroker.run([clusterProgram] + arguments)
    guard result.status == 0 else { throw TestBroker.Failed(text: "\(arguments): \(result.output)") }
    return result.output.trimmingCharacters(in: .whitespacesAndNewlines)
  }

  /// `rabbitmqctl eval`, on a thread of its own: it takes a second.
  @discardableResult
  func evaluate(_ expression: String) async throws -> String {
    try await onThread {
      switch kind {
      case .node: try TestBroker.ctl("eval", expression)
      case .cluster: try Self.cluster("node", "1", "ctl", "eval", expression)
      }
    }
  }

  func addUser(_ name: String) async throws {
    try await evaluate(
      """
      rabbit_auth_backend_internal:add_user(<<"\(name)">>, <<"\(name)">>, <<"test">>),
      \(Self.permissions(of: name, ".*")).
      """)
  }

  /// Sets all three rights of a user.
  static func permissions(of name: String, _ pattern: String) -> String {
    """
    rabbit_auth_backend_internal:set_permissions(<<"\(name)">>, <<"/">>,
      <<"\(pattern)">>, <<"\(pattern)">>, <<"\(pattern)">>, <<"test">>)
    """
  }

  func removeUser(_ name: String) async throws {
    try await evaluate("rabbit_auth_backend_internal:delete_user(<<\"\(name)\">>, <<\"test\">>).")
  }

  private func list(_ column: String) async throws -> [String] {
    try await onThread {
      try Self.cluster("node", "1", "ctl", "-q", "list_queues", "name", column).split(separator: "\n").map(String.init)
    }
  }

  /// How many members each of these queues has running, at least.
  func onlineMembers(of queues: [String]) async throws -> Int {
    let lines = try await list("online")
    return queues.map { queue in
      lines.first { $0.hasPrefix("\(queue)\t") }?.split(separator: "\t").last?.split(separator: ",").count ?? 0
    }.min() ?? 0
  }

  /// The number of the node that leads a queue.
  func leader(of queue: String) async throws -> Int {
    let lines = try await list("leader")
    guard let line = lines.first(where: { $0.hasPrefix("\(queue)\t") }), let name = line.split(separator: "\t").last,
      let number = Int(name.dropFirst("warren".count).prefix(1))
    else { throw TestBroker.Failed(text: "\(queue) has no leader: \(lines)") }
    return number
  }
}

/// For what blocks.
func onThread<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
  try await withCheckedThrowingContinuation { continuation in
    Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
  }
}
