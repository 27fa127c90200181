import Testing

@testable import WarrenRabbitMQ

/// Every field at both ends of what is allowed, and one step beyond.
@Suite struct ConfigurationLimitsTests {
  private struct Limit: Sendable, CustomTestStringConvertible {
    var field: String
    var good: [@Sendable (inout RabbitMQConfiguration) -> Void]
    var bad: [@Sendable (inout RabbitMQConfiguration) -> Void]
    var testDescription: String { field }
  }

  private static func limit<Value: Sendable>(
    _ field: String, _ path: any WritableKeyPath<RabbitMQConfiguration, Value> & Sendable, good: [Value], bad: [Value]
  ) -> Limit {
    Limit(
      field: field, good: good.map { value in { $0[keyPath: path] = value } },
      bad: bad.map { value in { $0[keyPath: path] = value } })
  }

  private static func text(_ count: Int) -> String { String(repeating: "a", count: count) }

  private static let day = Duration.seconds(86_400)
  private static let halfNanosecond = Duration(secondsComponent: 0, attosecondsComponent: 500_000_000)

  private static let limits: [Limit] = [
    limit("user", \.user, good: ["u", text(255), "é"], bad: ["", text(256), "a\0b"]),
    limit("password", \.password, good: ["", text(4000)], bad: [text(4001), "a\0b"]),
    limit("virtualHost", \.virtualHost, good: ["", "/", text(255)], bad: [text(256), "a\0b"]),
    limit("connectionName", \.connectionName, good: [nil, "n", text(200)], bad: ["", text(201)]),
    limit(
      "heartbeat", \.heartbeat, good: [.seconds(1), .seconds(600)],
      bad: [.zero, .seconds(1) - halfNanosecond, .seconds(600) + halfNanosecond, .seconds(-5)]),
    limit(
      "connectTimeout", \.connectTimeout, good: [.milliseconds(1), day],
      bad: [.zero, .microseconds(999), day + halfNanosecond, .seconds(-1)]),
    limit(
      "requestTimeout", \.requestTimeout, good: [.milliseconds(1), day],
      bad: [.zero, .microseconds(999), day + halfNanosecond, .seconds(Int64.max)]),
    limit(
      "writeStallLimit", \.writeStallLimit, good: [.milliseconds(1), day],
      bad: [.zero, .microseconds(999), day + halfNanosecond]),
    limit("channelMax", \.channelMax, good: [1, 65_535], bad: [0, -1, 65_536, .max]),
    limit("frameMax", \.frameMax, good: [8192, 1 << 20], bad: [8191, (1 << 20) + 1, 0, .min]),
    limit("publishing.window", \.publishing.window, good: [1, 65_535], bad: [0, 65_536, -1]),
    limit("publishing.windowBytes", \.publishing.windowBytes, good: [1024, 1 << 40], bad: [1023, (1 << 40) + 1, 0]),
    limit(
      "publishing.timeout", \.publishing.timeout, good: [.milliseconds(1), day],
      bad: [.zero, .microseconds(999), day + halfNanosecond]),
    limit(
      "publishing.maximumBodySize", \.publishing.maximumBodySize, good: [1, 512 << 20], bad: [0, (512 << 20) + 1]),
    limit(
      "hosts", \.hosts,
      good: [[.init("a")], [.init("::1", port: 1), .init("b", port: 65_535)], [.init("müller.example")]],
      bad: [
        [], [.init("")], [.init("a b")], [.init("a\n")], [.init("a\u{7f}")], [.init("a", port: 0)],
        [.init("a"), .init("b", port: 65_536)], [.init("a", port: -1)],
      ]),
  ]

  @Test(arguments: limits) private func bothEnds(limit: Limit) throws {
    for change in limit.good {
      var configuration = RabbitMQConfiguration()
      change(&configuration)
      #expect(throws: Never.self) { try configuration.validate() }
      #expect(throws: Never.self) { try RabbitMQ(configuration) }
    }
    for change in limit.bad {
      var configuration = RabbitMQConfiguration()
      change(&configuration)
      let error = try #require(throws: RabbitMQError.self) { try configuration.validate() }
      #expect(error.code == .invalidConfiguration)
      #expect(error.message.hasPrefix(limit.field), "\(error.message)")
      #expect(error.message.contains("allowed is "), "\(error.message)")
      #expect(throws: RabbitMQError.self) { try RabbitMQ(configuration) }
    }
  }

  @Test func theDefaultsAreAllowed() throws {
    try RabbitMQConfiguration().validate()
  }

  @Test func theErrorSaysWhatIsAndWhatMayBe() throws {
    var configuration = RabbitMQConfiguration()
    configuration.publishing.window = 0
    var error = try #require(throws: RabbitMQError.self) { try configuration.validate() }
    #expect(error.message == "publishing.window is 0: allowed is 1 to 65535")
    configuration = RabbitMQConfiguration()
    configuration.heartbeat = .milliseconds(500)
    error = try #require(throws: RabbitMQError.self) { try configuration.validate() }
    #expect(error.message == "heartbeat is 0.5 seconds: allowed is 1.0 seconds to 600.0 seconds")
  }
}
