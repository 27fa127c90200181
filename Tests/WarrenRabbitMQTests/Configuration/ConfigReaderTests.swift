import Configuration
import Testing

@testable import WarrenRabbitMQ

@Suite struct ConfigReaderTests {
  private func read(_ values: [AbsoluteConfigKey: ConfigValue]) throws(RabbitMQError) -> RabbitMQConfiguration {
    try RabbitMQConfiguration(config: ConfigReader(provider: InMemoryProvider(values: values)))
  }

  private func problem(_ values: [AbsoluteConfigKey: ConfigValue]) -> RabbitMQError? {
    do throws(RabbitMQError) {
      _ = try read(values)
      return nil
    } catch { return error }
  }

  @Test func everyKeySetsItsField() throws {
    let configuration = try read([
      "url": "amqp://u:p@a,b:7/v?heartbeat=7", "user": "accounts", "password": "secret", "virtualHost": "shop",
      "connectionName": "checkout", "heartbeatSeconds": 5, "connectTimeoutMilliseconds": 6,
      "requestTimeoutMilliseconds": 7,
      "writeStallLimitMilliseconds": 8, "channelMax": 9, "frameMax": 10_000, "topology": "verify",
      "publishing.window": 11,
      "publishing.windowBytes": 12_000, "publishing.maximumBodySize": 13, "publishing.timeoutMilliseconds": 14,
    ])
    #expect(configuration.hosts == [.init("a"), .init("b", port: 7)])
    #expect(configuration.user == "accounts")
    #expect(configuration.password == "secret")
    #expect(configuration.virtualHost == "shop")
    #expect(configuration.connectionName == "checkout")
    #expect(configuration.heartbeat == .seconds(5))
    #expect(configuration.connectTimeout == .milliseconds(6))
    #expect(configuration.requestTimeout == .milliseconds(7))
    #expect(configuration.writeStallLimit == .milliseconds(8))
    #expect(configuration.channelMax == 9)
    #expect(configuration.frameMax == 10_000)
    #expect(configuration.topology == .verify)
    #expect(configuration.publishing.window == 11)
    #expect(configuration.publishing.windowBytes == 12_000)
    #expect(configuration.publishing.maximumBodySize == 13)
    #expect(configuration.publishing.timeout == .milliseconds(14))
  }

  @Test func withoutKeysTheDefaultsStand() throws {
    let (read, made) = (try read([:]), RabbitMQConfiguration())
    #expect(read.hosts == made.hosts && read.user == made.user && read.password == made.password)
    #expect(read.heartbeat == made.heartbeat && read.publishing == made.publishing && read.topology == made.topology)
    let url = try self.read(["url": "amqp://u:p@a/v?heartbeat=7"])
    #expect(url.user == "u" && url.password == "p" && url.virtualHost == "v" && url.heartbeat == .seconds(7))
  }

  @Test func environmentVariablesWorkUnderAScope() throws {
    let provider = EnvironmentVariablesProvider(environmentVariables: [
      "RABBITMQ_URL": "amqp://u:p@a", "RABBITMQ_HEARTBEAT_SECONDS": "30", "RABBITMQ_VIRTUAL_HOST": "shop",
      "RABBITMQ_PUBLISHING_WINDOW": "5", "RABBITMQ_PASSWORD": "12345", "HEARTBEAT_SECONDS": "1",
    ])
    let configuration = try RabbitMQConfiguration(config: ConfigReader(provider: provider).scoped(to: "rabbitmq"))
    #expect(configuration.hosts == [.init("a")])
    #expect(configuration.heartbeat == .seconds(30))
    #expect(configuration.virtualHost == "shop")
    #expect(configuration.publishing.window == 5)
    #expect(configuration.password == "12345")
  }

  private static let numbers = [
    "heartbeatSeconds", "connectTimeoutMilliseconds", "requestTimeoutMilliseconds", "writeStallLimitMilliseconds",
    "channelMax", "frameMax", "publishing.window", "publishing.windowBytes", "publishing.maximumBodySize",
    "publishing.timeoutMilliseconds",
  ]

  /// A setting that cannot be read must not be passed over as if it were not there.
  @Test(arguments: numbers) func whatIsNoWholeNumberIsAnError(key: String) throws {
    for content: ConfigContent in [
      .string("many"), .string(""), .string("5.0"), .double(2.5), .bool(true), .intArray([1]), .stringArray(["1"]),
    ] {
      let error = try #require(
        problem([AbsoluteConfigKey(stringLiteral: key): ConfigValue(content, isSecret: false)]), "\(content) is taken")
      #expect(error.code == .invalidConfiguration)
      #expect(error.message.contains(key) && error.message.contains("whole number"), "\(error.message)")
    }
    let outside = try #require(problem([AbsoluteConfigKey(stringLiteral: key): -1]))
    #expect(outside.code == .invalidConfiguration)
  }

  @Test(arguments: ["url", "user", "password", "virtualHost", "connectionName", "topology"])
  func whatIsNoTextIsAnError(key: String) throws {
    for content: ConfigContent in [
      .int(12345), .double(2.5), .bool(true), .bytes([1]), .stringArray(["a"]), .intArray([1]), .doubleArray([1]),
      .boolArray([true]),
      .byteChunkArray([[1]]),
    ] {
      let error = try #require(
        problem([AbsoluteConfigKey(stringLiteral: key): ConfigValue(content, isSecret: false)]), "\(content) is taken")
      #expect(error.code == .invalidConfiguration)
      #expect(error.message.contains(key) && error.message.contains("text"), "\(error.message)")
    }
  }

  @Test func theErrorsNameTheFieldAndWhatIsAllowed() {
    #expect(problem(["topology": "none"])?.message == "topology is \"none\": allowed is one of declare, verify, assume")
    #expect(problem(["channelMax": "many"])?.message == "channelMax is \"many\": allowed is a whole number")
    #expect(problem(["publishing.window": 0])?.message == "publishing.window is 0: allowed is 1 to 65535")
    #expect(problem(["user": ""])?.message.hasPrefix("user is empty") == true)
    #expect(problem(["url": "http://a"])?.code == .invalidURL)
    // The whole range of numbers: nothing overflows on the way.
    for number in [Int.max, .min] {
      #expect(problem(["connectTimeoutMilliseconds": .init(.int(number), isSecret: false)]) != nil)
    }
    for number in [Int.max, .min] {
      #expect(problem(["heartbeatSeconds": .init(.int(number), isSecret: false)]) != nil)
    }
  }
}
