import Configuration
import Testing

@testable import WarrenRabbitMQ

@Suite struct TLSConfigurationTests {
  private typealias TLS = RabbitMQConfiguration.TLS

  private func problem(_ url: String) -> RabbitMQError? {
    do throws(RabbitMQError) {
      _ = try RabbitMQConfiguration(url: url)
      return nil
    } catch { return error }
  }

  @Test func amqpsIsTLSOnItsOwnPort() throws {
    let configuration = try RabbitMQConfiguration(url: "amqps://u:p@a,b:7,[::1]/v")
    #expect(configuration.hosts == [.init("a", port: 5671), .init("b", port: 7), .init("::1", port: 5671)])
    #expect(configuration.tls == TLS())
    #expect(configuration.tls?.verification == .full && configuration.tls?.minimumVersion == .tls12)
    #expect(configuration.authentication == .password)
    #expect(try RabbitMQConfiguration(url: "AMQPS://").hosts == [.init("localhost", port: 5671)])
    #expect(try RabbitMQConfiguration(url: "amqp://host").tls == nil)
  }

  @Test func parametersSetTheFields() throws {
    let configuration = try RabbitMQConfiguration(
      url: "amqps://h?cacertfile=/etc/ca%20s.pem&certfile=me.pem&keyfile=me.key&verify=verify_peer"
        + "&server_name_indication=rabbit.example&auth_mechanism=external")
    var tls = TLS()
    (tls.caFile, tls.certificateFile, tls.keyFile) = ("/etc/ca s.pem", "me.pem", "me.key")
    tls.serverName = "rabbit.example"
    #expect(configuration.tls == tls)
    #expect(configuration.authentication == .clientCertificate)
    #expect(try RabbitMQConfiguration(url: "amqps://h?verify=verify_none").tls?.verification == .unsafelyNone)
    #expect(try RabbitMQConfiguration(url: "amqp://h?auth_mechanism=plain").authentication == .password)
  }

  @Test(arguments: [
    ("amqp://h?cacertfile=a", "amqps://"), ("amqp://h?verify=verify_none", "amqps://"),
    ("amqps://h?cacertfile=", "cacertfile is empty"), ("amqps://h?verify=none", "verify_peer, verify_none"),
    ("amqps://h?verify=", "verify"), ("amqps://h?server_name_indication=disable", "server_name_indication"),
    ("amqps://h?server_name_indication=a%20b", "tls.serverName"), ("amqps://h?certfile=a", "tls.keyFile is missing"),
    ("amqps://h?keyfile=a", "tls.certificateFile is missing"), ("amqps://h?auth_mechanism=plane", "plain, external"),
    ("amqps://h?auth_mechanism=external", "tls.certificateFile"),
    ("amqp://h?auth_mechanism=external", "tls.certificateFile"),
    ("amqps://h?verify=verify_peer&verify=verify_peer", "given twice"), ("amqps://h?password=secret", "is unknown"),
  ])
  func everyErrorSaysWhatIsWrong(url: String, text: String) throws {
    let error = try #require(problem(url), "\(url) is no error")
    #expect(error.code == .invalidURL)
    #expect(error.message.contains(text), "\(error)")
  }

  @Test func theURLForMessagesIsReadAsTheSame() throws {
    var configuration = RabbitMQConfiguration(hosts: [.init("h", port: 5671)], user: "u")
    configuration.tls = TLS()
    #expect(configuration.redactedURL == "amqps://u@h:5671")
    configuration.tls?.caFile = "/a b/ca.pem"
    configuration.tls?.serverName = "rabbit.example"
    configuration.tls?.verification = .unsafelyNone
    configuration.tls?.certificateFile = "c&d"
    configuration.tls?.keyFile = "k"
    configuration.authentication = .clientCertificate
    let read = try RabbitMQConfiguration(url: configuration.redactedURL)
    #expect(read.tls == configuration.tls)
    #expect(read.authentication == .clientCertificate && read.hosts == configuration.hosts)
    #expect(configuration.redactedURL.contains("verify=verify_none"))
  }

  @Test func theKeysPasswordIsNowhereToBeRead() {
    var configuration = RabbitMQConfiguration()
    var tls = TLS()
    (tls.certificateFile, tls.keyFile, tls.keyPassword) = ("c", "k", "Zq7XvT1m")
    configuration.tls = tls
    var dumped = ""
    dump(tls, to: &dumped)
    dump(configuration, to: &dumped)
    for text in ["\(tls)", String(reflecting: tls), "\(configuration)", String(reflecting: configuration), dumped] {
      #expect(!text.contains("Zq7XvT1m"))
    }
    configuration.tls?.keyPassword = "Zq7XvT1m" + String(repeating: "x", count: 1000)
    do throws(RabbitMQError) {
      try configuration.validate()
      Issue.record("a password of 1008 bytes is taken")
    } catch {
      #expect(error.message.contains("tls.keyPassword is 1008 bytes"))
      #expect(!error.message.contains("Zq7XvT1m"))
    }
  }

  @Test func whatIsNoPathOrNameIsRefused() {
    let changes: [(@Sendable (inout TLS) -> Void, String)] = [
      ({ $0.caFile = "" }, "tls.caFile is empty"), ({ $0.caFile = "a\0b" }, "tls.caFile"),
      ({ ($0.certificateFile, $0.keyFile) = ("", "k") }, "tls.certificateFile is empty"),
      ({ $0.serverName = "" }, "tls.serverName is empty"), ({ $0.serverName = "é" }, "tls.serverName"),
      ({ $0.serverName = String(repeating: "a", count: 256) }, "tls.serverName"),
      ({ $0.keyPassword = "a\0" }, "tls.keyPassword"),
    ]
    for (change, text) in changes {
      var configuration = RabbitMQConfiguration()
      var tls = TLS()
      change(&tls)
      configuration.tls = tls
      do throws(RabbitMQError) {
        try configuration.validate()
        Issue.record("\(text): is taken")
      } catch {
        #expect(error.code == .invalidConfiguration && error.message.contains(text), "\(error)")
      }
    }
  }

  // MARK: ConfigReader

  private func read(_ values: [AbsoluteConfigKey: ConfigValue]) throws(RabbitMQError) -> RabbitMQConfiguration {
    try RabbitMQConfiguration(config: ConfigReader(provider: InMemoryProvider(values: values)))
  }

  @Test func everyKeySetsItsField() throws {
    let configuration = try read([
      "url": "amqps://h?cacertfile=from-the-url", "tls.caFile": "ca", "tls.certificateFile": "c", "tls.keyFile": "k",
      "tls.keyPassword": "p", "tls.serverName": "s", "tls.minimumVersion": "1.3", "tls.verification": "unsafelyNone",
      "authentication": "clientCertificate",
    ])
    var tls = TLS()
    (tls.caFile, tls.certificateFile, tls.keyFile, tls.keyPassword, tls.serverName) = ("ca", "c", "k", "p", "s")
    (tls.minimumVersion, tls.verification) = (.tls13, .unsafelyNone)
    #expect(configuration.tls == tls)
    #expect(configuration.authentication == .clientCertificate)
  }

  @Test(arguments: ["tls.minimumVersion", "tls.verification", "authentication"])
  func whatIsNoChoiceIsAnError(key: String) throws {
    do throws(RabbitMQError) {
      _ = try read(["url": "amqps://h", AbsoluteConfigKey(stringLiteral: key): "1.1"])
      Issue.record("1.1 is taken for \(key)")
    } catch {
      #expect(error.code == .invalidConfiguration)
      #expect(error.message.contains(key) && error.message.contains("allowed is one of"), "\(error)")
    }
  }

  /// Nobody who names a CA expects an open connection.
  @Test func settingsOfTLSNeedTLS() throws {
    for url in [nil, "amqp://h"] as [String?] {
      var values: [AbsoluteConfigKey: ConfigValue] = ["tls.caFile": "ca"]
      if let url { values["url"] = ConfigValue(.string(url), isSecret: false) }
      do throws(RabbitMQError) {
        _ = try read(values)
        Issue.record("tls.caFile is taken without TLS")
      } catch {
        #expect(error.code == .invalidConfiguration && error.message.contains("amqps://"), "\(error)")
      }
    }
  }
}
