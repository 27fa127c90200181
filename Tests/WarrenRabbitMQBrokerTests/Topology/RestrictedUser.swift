import BrokerFixture
import WarrenRabbitMQ

/// Runs `body` with a fresh user, and with what makes a configuration that user's.
func withUser(
  configure: String, write: String, read: String,
  _ body: (_ name: String, _ change: @escaping (inout RabbitMQConfiguration) -> Void) async throws -> Void
) async throws {
  let name = unique("user")
  let virtualHost = try TestBroker.configuration.virtualHost
  _ = try await onThread {
    try TestBroker.ctl("add_user", name, "secret of \(name)")
    return try TestBroker.ctl("set_permissions", "-p", virtualHost, name, configure, write, read)
  }
  let result: Result<Void, any Error>
  do {
    try await body(name) {
      $0.user = name
      $0.password = "secret of \(name)"
    }
    result = .success(())
  } catch {
    result = .failure(error)
  }
  _ = try await onThread { try TestBroker.ctl("delete_user", name) }
  try result.get()
}

/// With exactly the rights of a set.
func withUser(
  _ set: PermissionSet,
  _ body: (_ name: String, _ change: @escaping (inout RabbitMQConfiguration) -> Void) async throws -> Void
) async throws {
  try await withUser(configure: set.configurePattern, write: set.writePattern, read: set.readPattern, body)
}

/// Runs a line that Warren has printed, as an administrator would: a shell takes it apart.
func administrate(_ command: String) async throws {
  _ = try await onThread {
    let result = try TestBroker.run(["sh", "-c", "rabbitmqctl() { printf '%s\\n' \"$@\"; }; \(command)"])
    let words = result.output.split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(String.init)
    guard words.count == 7 else { throw TestBroker.Failed(text: "\(words)") }
    return try TestBroker.ctl(words[0], words[1], words[2], words[3], words[4], words[5], words[6])
  }
}
