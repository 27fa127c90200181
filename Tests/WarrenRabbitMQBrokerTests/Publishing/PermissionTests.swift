import BrokerFixture
import Foundation
import Testing
import Warren
import WarrenRabbitMQ

/// Users who may not do everything. They are made with the broker's own tool, so these need to know where it is.
@Suite(.enabled(if: TestBroker.canBreak))
struct PermissionTests {
  @Test func aPublishThatIsForbiddenEndsAloneAndSaysWhy() async throws {
    try await withTestBroker { rabbit, litter in
      let allowed = try litter.type("allowed")
      let forbidden = try litter.type("forbidden")
      let queue = try await rabbit.sink(allowed, litter)
      let other = try await rabbit.sink(forbidden, litter)
      let writes = "^events\\.\(allowed)$"
      try await withUser(configure: "^$", write: writes, read: "^$") { user, change in
        try await withTestBroker({
          change(&$0)
          $0.topology = .assume
        }) { limited, _ in
          let publisher = Publisher(limited, source: "tests")
          let events = (0..<100).map { EncodedEvent($0 == 50 ? forbidden : allowed, "\($0)".utf8) }
          let outcomes = await publisher.publish(encoded: events)
          for (number, outcome) in outcomes.enumerated() where number != 50 {
            #expect(outcome == .confirmed, "\(number)")
          }
          #expect(outcomes[50].kind == "refused")
          #expect(outcomes[50].text.contains("ACCESS_REFUSED"))
          #expect(outcomes[50].text.contains("access to exchange 'events.\(forbidden)'"))
          #expect(outcomes[50].text.contains("refused for user '\(user)'"))
          let depth = try await rabbit.depth(queue)
          let got = try await foreign { try $0.take(queue, depth) }
          #expect(Set(got.map(\.text)) == Set((0..<100).filter { $0 != 50 }.map(String.init)))
          #expect(try await rabbit.depth(other) == 0)
        }
        // The same user with `declare`: the exchange cannot be declared, and the error says what to grant.
        try await withTestBroker(change) { limited, _ in
          let thrown = try #require(
            await error(PublishError.self) {
              try await Publisher(limited, source: "tests").publish(Numbered(allowed, 1))
            })
          #expect(thrown.code == .refused)
          #expect(thrown.message.contains("this user may not declare \"events.\(allowed)\""))
          #expect(thrown.message.contains("set topology to assume"))
        }
      }
    }
  }

  @Test func aRoutingKeyThatIsForbiddenEndsAlone() async throws {
    try await withTestBroker { rabbit, litter in
      let type = try litter.type()
      let queue = try await rabbit.sink(type, litter)
      try await withUser(configure: "^$", write: ".*", read: "^$") { user, change in
        _ = try await onThread {
          try TestBroker.ctl("set_topic_permissions", user, EntityNames.exchange(of: type), "^open\\.", "^$")
        }
        try await withTestBroker({
          change(&$0)
          $0.topology = .assume
        }) { limited, _ in
          let events = (0..<50).map {
            EncodedEvent(type, "\($0)".utf8, routingKey: $0 == 20 ? "closed.20" : "open.\($0)")
          }
          let outcomes = await Publisher(limited, source: "tests").publish(encoded: events)
          for (number, outcome) in outcomes.enumerated() where number != 20 {
            #expect(outcome == .confirmed, "\(number)")
          }
          #expect(outcomes[20].kind == "refused")
          #expect(outcomes[20].text.contains("closed.20"))
          let depth = try await rabbit.depth(queue)
          let got = try await foreign { try $0.take(queue, depth) }
          #expect(Set(got.map(\.text)) == Set((0..<50).filter { $0 != 20 }.map(String.init)))
        }
      }
    }
  }
}
