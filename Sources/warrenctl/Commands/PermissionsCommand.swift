import ArgumentParser
import Warren
import WarrenRabbitMQ

struct PermissionsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "permissions",
    abstract: "Print the command that gives a broker's user the rights that it needs, and no others.",
    discussion: """
      publisher: publishes events. worker: handles a service's events, with queues that somebody else has declared. owner: \
      declares them too. operator: works with the service's dead letters. Several parts are the union of their rights.
      """)

  enum Part: String, ExpressibleByArgument, CaseIterable {
    case publisher, worker, owner, `operator`
  }

  @Argument(help: "The parts that the user plays: publisher, worker, owner, operator.")
  var parts: [Part]

  @Option(help: "The service, for all parts but publisher.")
  var service: String?

  @Option(help: "A named subscription of the service, in place of its own queues.")
  var subscription: String?

  @Option(help: "The user.")
  var user = "USER"

  @Option(help: "The virtual host.")
  var vhost = "/"

  func validate() throws {
    if service == nil, parts.contains(where: { $0 != .publisher }) { throw ValidationError("Name the --service.") }
  }

  func run() async throws {
    try await reporting {
      var set: PermissionSet?
      for part in parts {
        let next = try permissions(part)
        set = set?.union(next) ?? next
      }
      if let set { try emit(set.command(user: user, virtualHost: vhost).utf8) }
      return .done
    }
  }

  private func permissions(_ part: Part) throws -> PermissionSet {
    if part == .publisher { return .publisher }
    let owner = try QueueOwner(service: ServiceName(service ?? ""), subscription: subscription)
    switch part {
    case .publisher: return .publisher
    case .worker: return .worker(owner)
    case .owner: return .topologyOwner(owner)
    case .operator: return .deadLetterOperator(owner)
    }
  }
}
