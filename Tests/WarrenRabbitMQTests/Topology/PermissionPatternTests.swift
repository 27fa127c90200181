import Foundation
import Testing
import Warren
import WarrenRabbitMQ

/// The expressions over names, without a broker; `PermissionSetTests` asks one.
struct PermissionPatternTests {
  private func matches(_ pattern: String, _ name: String) throws -> Bool {
    try Regex(pattern).firstMatch(in: name) != nil
  }

  @Test func theDocumentShowsWhatTheCodeSays() throws {
    let owner = try QueueOwner(service: "mailer")
    let document = try String(
      contentsOf: URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../../docs/permissions.md"),
      encoding: .utf8)
    for set in [
      PermissionSet.publisher, .worker(owner), .topologyOwner(owner), .deadLetterOperator(owner),
    ] {
      let cells = [set.configurePattern, set.writePattern, set.readPattern].map {
        "`" + $0.replacing("|", with: "\\|") + "`"
      }
      #expect(document.contains("| " + cells.joined(separator: " | ") + " |"), "\(cells)")
    }
    #expect(document.contains(PermissionSet.worker(owner).command(user: "mailer", virtualHost: "/")))
  }

  /// Other services' queues, and services whose names begin alike.
  @Test func noSetReachesAnotherService() throws {
    for service in ["mailer", "a", "m-1"] as [ServiceName] {
      let owner = try QueueOwner(service: service)
      for set in [PermissionSet.worker(owner), .topologyOwner(owner), .deadLetterOperator(owner)] {
        for other in ["\(service)-2", "\(service)_digest", "x\(service)", "other"] {
          for name in ["\(other).user.created", "\(other).dead.user.created", "\(other).retry.1s"] {
            for pattern in [set.configurePattern, set.writePattern, set.readPattern] {
              #expect(try !matches(pattern, name), "\(pattern) \(name)")
            }
          }
        }
        #expect(try !matches(set.configurePattern, "amq.default"))
      }
    }
    #expect(try !matches(PermissionSet.publisher.writePattern, "amq.default"))
    #expect(try !matches(PermissionSet.worker(QueueOwner(service: "mailer")).writePattern, "mailer.user.created"))
  }

  @Test func aUnionMayWhatEachMay() throws {
    let owner = try QueueOwner(service: "mailer", subscription: "digest")
    let set = PermissionSet.publisher.union(.deadLetterOperator(owner)).union(.publisher)
    #expect(set.writePattern == #"^(events\..+|amq\.default)$"#)
    #expect(set.readPattern == #"^mailer_digest\.dead\..+$"#)
    #expect(set.configurePattern == "^$")
    #expect(
      set.command(user: "o'neil", virtualHost: "/v h").hasPrefix(
        #"rabbitmqctl set_permissions -p '/v h' 'o'\''neil' '^$' "#))
  }
}
