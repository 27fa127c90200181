import Testing
import Warren

@testable import WarrenRabbitMQ

/// RabbitMQ's URI specification, and what Warren adds to it.
@Suite struct BrokerURLTests {
  private typealias Host = RabbitMQConfiguration.Host

  /// The message of the error; nil when the URL is good.
  private func problem(_ url: String) -> String? {
    do throws(RabbitMQError) {
      _ = try RabbitMQConfiguration(url: url)
      return nil
    } catch {
      #expect(error.code == .invalidURL)
      #expect(!error.isRetryable)
      #expect(error.message.hasPrefix("the broker URL: "))
      return error.message
    }
  }

  private struct Example: Sendable {
    var url: String
    var user = "guest"
    var password = "guest"
    var host = "localhost"
    var port = 5672
    var virtualHost = "/"
  }

  /// Appendix A of the specification. Where it has nothing, the default of RabbitMQ's own clients stands.
  private static let appendix = [
    Example(
      url: "amqp://user:pass@host:10000/vhost", user: "user", password: "pass", host: "host", port: 10000,
      virtualHost: "vhost"),
    Example(
      url: "amqp://user%61:%61pass@ho%61st:10000/v%2fhost", user: "usera", password: "apass", host: "hoast",
      port: 10000,
      virtualHost: "v/host"),
    Example(url: "amqp://"),
    Example(url: "amqp://user@", user: "user"),
    Example(url: "amqp://user:pass@", user: "user", password: "pass"),
    Example(url: "amqp://host", host: "host"),
    Example(url: "amqp://:10000", port: 10000),
    Example(url: "amqp:///vhost", virtualHost: "vhost"),
    Example(url: "amqp://host/", host: "host", virtualHost: ""),
    Example(url: "amqp://host/%2f", host: "host", virtualHost: "/"),
    Example(url: "amqp://[::1]", host: "::1"),
  ]

  private static let more = [
    Example(url: "AMQP://HOST/V", host: "HOST", virtualHost: "V"),
    Example(url: "amqp://host:", host: "host"),
    Example(url: "amqp://host:1", host: "host", port: 1),
    Example(url: "amqp://host:65535", host: "host", port: 65535),
    Example(url: "amqp://127.0.0.1:5673", host: "127.0.0.1", port: 5673),
    Example(url: "amqp://[2001:db8::7]:5673/v", host: "2001:db8::7", port: 5673, virtualHost: "v"),
    Example(url: "amqp://[::ffff:127.0.0.1]:", host: "::ffff:127.0.0.1"),
    Example(url: "amqp://user:@host", user: "user", password: "", host: "host"),
    Example(url: "amqp://user:a:b:c@host", user: "user", password: "a:b:c", host: "host"),
    Example(url: "amqp://u%40x:p%40%3a%2F%3F%23%25@host", user: "u@x", password: "p@:/?#%", host: "host"),
    Example(
      url: "amqp://m%C3%BCller:%E2%82%AC@host/%F0%9F%90%87", user: "müller", password: "€", host: "host",
      virtualHost: "🐇"),
    Example(url: "amqp://user:pass@:10000/v", user: "user", password: "pass", port: 10000, virtualHost: "v"),
    Example(url: "amqp://user:p,w;x=1&y!$'()*+@host", user: "user", password: "p,w;x=1&y!$'()*+", host: "host"),
    Example(url: "amqp://host/a:b", host: "host", virtualHost: "a:b"),
    Example(url: "amqp://host/a+b%20c", host: "host", virtualHost: "a+b c"),
    Example(url: "amqp://host?", host: "host"),
  ]

  @Test(arguments: appendix + more) private func parts(example: Example) throws {
    let configuration = try RabbitMQConfiguration(url: example.url)
    #expect(configuration.hosts == [Host(example.host, port: example.port)])
    #expect(configuration.user == example.user)
    #expect(configuration.password == example.password)
    #expect(configuration.virtualHost == example.virtualHost)
  }

  /// The one example of the appendix that Warren refuses: no broker lets in a user without a name.
  @Test func aUserWithoutANameIsRefused() {
    #expect(problem("amqp://:@/")?.contains("the user is empty") == true)
    #expect(problem("amqp://@host")?.contains("the user is empty") == true)
    #expect(problem("amqp://:pass@host")?.contains("the user is empty") == true)
  }

  @Test func severalHostsAreTriedInOrder() throws {
    let configuration = try RabbitMQConfiguration(url: "amqp://u:p@rabbit-1,rabbit-2:5673,[::1]:7,:8/shop")
    #expect(
      configuration.hosts == [
        Host("rabbit-1"), Host("rabbit-2", port: 5673), Host("::1", port: 7), Host("localhost", port: 8),
      ])
    #expect(configuration.virtualHost == "shop")
    for url in ["amqp://,", "amqp://a,", "amqp://,a", "amqp://a,,b", "amqp://u:p@,/v"] {
      #expect(problem(url)?.contains("the host is empty") == true, "\(url)")
    }
  }

  @Test func parametersSetTheFieldsOfTheirNames() throws {
    let configuration = try RabbitMQConfiguration(
      url: "amqp://host/v?heartbeat=5&connection_timeout=1500&channel_max=16&frame_max=8192&connection_name=check%20out"
    )
    #expect(configuration.heartbeat == .seconds(5))
    #expect(configuration.connectTimeout == .milliseconds(1500))
    #expect(configuration.channelMax == 16)
    #expect(configuration.frameMax == 8192)
    #expect(configuration.connectionName == "check out")
    #expect(configuration.virtualHost == "v")
    let sparse = try RabbitMQConfiguration(url: "amqp://?&heartbeat=600&")
    #expect(sparse.heartbeat == .seconds(600))
    #expect(sparse.hosts == [Host("localhost")])
  }

  @Test func whatIsNotSaidKeepsItsDefault() throws {
    let (read, made) = (try RabbitMQConfiguration(url: "amqp://localhost"), RabbitMQConfiguration())
    #expect(read.hosts == made.hosts && read.user == made.user && read.password == made.password)
    #expect(read.heartbeat == made.heartbeat && read.connectTimeout == made.connectTimeout)
    #expect(read.channelMax == made.channelMax && read.frameMax == made.frameMax && read.publishing == made.publishing)
    #expect(read.connectionName == nil && read.topology == .declare && read.virtualHost == "/")
  }

  @Test(arguments: [
    ("", "scheme"), ("localhost", "scheme"), ("guest:guest@localhost", "scheme"), ("http://host", "scheme"),
    ("://host", "scheme"), ("amqps//host", "scheme"),
    ("amqp://host:0", "port"), ("amqp://host:65536", "port"), ("amqp://host:five", "port"), ("amqp://host:+5", "port"),
    ("amqp://host:-1", "port"), ("amqp://host:99999999999999999999", "port"), ("amqp://[::1]5672", "port"),
    ("amqp://host: 5672", "port"),
    ("amqp://::1", "host"), ("amqp://[::1", "host"), ("amqp://[host]", "host"), ("amqp://[]", "host"),
    ("amqp://[::1%25eth0]", "host"), ("amqp://a%20b", "host"), ("amqp://ho%st", "host"), ("amqp://%00", "host"),
    ("amqp://us%zzer@host", "user"), ("amqp://user%4@host", "user"), ("amqp://us%C3%28er@host", "user"),
    ("amqp://user:pa%ss@host", "password"), ("amqp://user:%ff@host", "password"), ("amqp://user:%00@host", "password"),
    ("amqp://a@b@c", "user or password"), ("amqp://user:a@b@host", "user or password"),
    ("amqp://host/a/b", "virtual host"), ("amqp://host/%zz", "virtual host"), ("amqp://host/%00", "virtual host"),
    ("amqp://host//", "virtual host"), ("amqp://host/a@b", "virtual host"), ("amqp://user:a/b@host", "virtual host"),
    ("amqp://host?a@b", "query"), ("amqp://user:a?b@host", "query"), ("amqp://host?haertbeat=5", "parameter"),
    ("amqp://host?=5", "parameter"), ("amqp://host?%zz=5", "parameter"), ("amqp://host?verify=1", "parameter"),
    ("amqp://host?heartbeat", "parameter heartbeat"), ("amqp://host?heartbeat=0", "parameter heartbeat"),
    ("amqp://host?heartbeat=601", "parameter heartbeat"), ("amqp://host?heartbeat=1.5", "parameter heartbeat"),
    ("amqp://host?heartbeat=%zz", "parameter heartbeat"),
    ("amqp://host?heartbeat=5&heartbeat=5", "parameter heartbeat"),
    ("amqp://host?heartbeat=5=5", "parameter heartbeat"),
    ("amqp://host?connection_timeout=0", "parameter connection_timeout"),
    ("amqp://host?connection_timeout=86400001", "parameter connection_timeout"),
    ("amqp://host?channel_max=0", "parameter channel_max"), ("amqp://host?channel_max=65536", "parameter channel_max"),
    ("amqp://host?frame_max=8191", "parameter frame_max"), ("amqp://host?frame_max=1048577", "parameter frame_max"),
    ("amqp://host?connection_name=", "connectionName"), ("amqp://host#x", "fragment"),
  ])
  func everyErrorNamesThePart(url: String, part: String) throws {
    let text = try #require(problem(url), "\(url) is no error")
    #expect(text.contains(part), "\(text)")
  }

  @Test func valuesThatAreTooLongAreRefused() {
    let long = String(repeating: "a", count: 256)
    #expect(problem("amqp://\(long.dropLast()):p@host/\(long.dropLast())") == nil)
    #expect(problem("amqp://\(long)@host")?.contains("user is 256 bytes") == true)
    #expect(problem("amqp://host/\(long)")?.contains("virtualHost is 256 bytes") == true)
    #expect(problem("amqp://u:\(String(repeating: "a", count: 4001))@host")?.contains("password is 4001 bytes") == true)
    #expect(problem("amqp://host?connection_name=\(long)")?.contains("connectionName is 256 bytes") == true)
  }

  @Test func theURLWithoutItsPasswordIsReadAsTheSame() async throws {
    var random = ReplayableRandom()
    for _ in 0..<300 {
      await Task.yield()
      let hosts = (0..<random.int(1...3)).map { _ in
        Host(
          random.pick(["rabbit-1", "127.0.0.1", "::1", "2001:db8::1", "ho%st", "a/b"]), port: random.int(1...65_535))
      }
      var user = random.text(upTo: 255)
      if user.isEmpty { user = "u" }
      let configuration = RabbitMQConfiguration(
        hosts: hosts, user: user, password: "secret", virtualHost: random.pick(["/", "", random.text(upTo: 255)]))
      let read = try RabbitMQConfiguration(url: configuration.redactedURL)
      #expect(read.hosts == hosts, random.replay)
      #expect(read.user == user, random.replay)
      #expect(read.virtualHost == configuration.virtualHost, random.replay)
      #expect(read.password == "guest")
    }
    #expect(RabbitMQConfiguration(password: "x").redactedURL == "amqp://guest@localhost:5672")
    #expect(RabbitMQConfiguration(hosts: [.init("::1")], virtualHost: "").description == "amqp://guest@[::1]:5672/")
  }
}
