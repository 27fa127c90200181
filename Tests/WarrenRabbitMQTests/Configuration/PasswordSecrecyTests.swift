import Configuration
import Testing

@testable import WarrenRabbitMQ

/// Whatever becomes of a URL, its password is nowhere to be read.
@Suite struct PasswordSecrecyTests {
  private static let marker = "Zq7XvT1m"

  /// All that a program might print of a value.
  private func prints(_ value: Any) -> String {
    var out = "\(value) \(String(reflecting: value)) "
    dump(value, to: &out)
    func children(_ value: Any, _ depth: Int) {
      for child in Mirror(reflecting: value).children {
        out += "\(child.label ?? "") \(child.value) "
        if depth < 4 { children(child.value, depth + 1) }
      }
    }
    children(value, 0)
    return out
  }

  private func isSecret(_ value: Any) -> Bool { !prints(value).contains(Self.marker) }

  /// A password as somebody types it, with everything that a URL gives another meaning to.
  private func password(_ random: inout ReplayableRandom) -> String {
    let pieces = [
      "/", "?", "#", "@", ":", ",", "[", "]", "%", "%4", "&", "=", " ", "\"", "\n", "1", "é", "//", "://", "amqp://",
      "?heartbeat=", "?connection_name", "&x=", "%zz", "%00", "%ff", ":5672/",
    ]
    func some() -> String { (0..<random.int(0...2)).map { _ in random.pick(pieces) }.joined() }
    return some() + Self.marker + some()
  }

  @Test func noURLGivesItsPasswordAway() async throws {
    var random = ReplayableRandom()
    var (good, bad) = (0, 0)
    for _ in 0..<5000 {
      await Task.yield()
      var password = password(&random)
      if random.oneIn(3) { password = percentEncoded(password) }
      let scheme = random.pick([
        "amqp://", "amqp://", "amqp://", "amqps://", "AMQP://", "http://", "amqp:", "amqp:/", "",
      ])
      let host = random.pick(["host", "", "host:5672", "host:x", "a,b", "[::1]", "[::1", ":", "ho%zzst", "a b"])
      let tail = random.pick(["", "", "/", "/v", "/v?heartbeat=5", "?heartbeat=x", "/a/b", "#x", "?foo=1", "/%zz"])
      let url = "\(scheme)user:\(password)@\(host)\(tail)"
      do throws(RabbitMQError) {
        let configuration = try RabbitMQConfiguration(url: url)
        good += 1
        guard configuration.password.contains(Self.marker) else {
          Issue.record("the password of \(url) is taken for something else. \(random.replay)")
          return
        }
        guard isSecret(configuration), isSecret([configuration]), isSecret(configuration.redactedURL) else {
          Issue.record("\(url) is printed with its password. \(random.replay)")
          return
        }
      } catch {
        bad += 1
        guard isSecret(error) else {
          Issue.record("\(url): \(error). \(random.replay)")
          return
        }
      }
    }
    #expect(good > 200 && bad > 200, random.replay)
  }

  @Test func noErrorAboutAnotherFieldShowsIt() {
    var configuration = RabbitMQConfiguration(password: Self.marker)
    configuration.channelMax = 0
    #expect(throws: RabbitMQError.self) { try configuration.validate() }
    do throws(RabbitMQError) { try configuration.validate() } catch { #expect(isSecret(error)) }
    configuration.channelMax = 1
    configuration.password = Self.marker + String(repeating: "x", count: 4000)
    do throws(RabbitMQError) {
      try configuration.validate()
      Issue.record("a password of 4008 bytes is taken")
    } catch {
      #expect(error.message.hasPrefix("password is 4008 bytes"))
      #expect(isSecret(error))
    }
  }

  @Test func aBrokerThatIsPrintedDoesNotShowIt() throws {
    let rabbit = try RabbitMQ(
      RabbitMQConfiguration(hosts: [.init("rabbit-1")], user: "accounts", password: Self.marker))
    #expect(isSecret(rabbit))
    #expect("\(rabbit)" == "RabbitMQ(amqp://accounts@rabbit-1:5672)")
  }

  @Test func noConfigReaderGivesItAway() {
    func value(_ content: ConfigContent) -> ConfigValue { ConfigValue(content, isSecret: false) }
    let password = value(.string(Self.marker))
    let wrong: [[AbsoluteConfigKey: ConfigValue]] = [
      ["url": value(.string("amqp://user:\(Self.marker)@host:x"))],
      ["url": value(.string("amqp://user:?\(Self.marker)@host"))],
      ["url": value(.bytes(Array(Self.marker.utf8)))], ["password": value(.stringArray([Self.marker]))],
      ["password": password, "channelMax": 0], ["password": password, "topology": "none"],
    ]
    for values in wrong {
      do throws(RabbitMQError) {
        _ = try RabbitMQConfiguration(config: ConfigReader(provider: InMemoryProvider(values: values)))
        Issue.record("\(values.keys) is taken")
      } catch {
        #expect(isSecret(error))
      }
    }
  }
}
