import Warren

extension RabbitMQConfiguration {
  /// How a connection is encrypted, and how each side knows that the other one is who it says.
  ///
  /// ```swift
  /// var configuration = RabbitMQConfiguration(hosts: [.init("rabbit.example", port: 5671)])
  /// configuration.tls = TLS()
  /// configuration.tls?.caFile = "/etc/ssl/our-ca.pem"
  /// ```
  ///
  /// The broker's certificate has to be signed by a CA of ``caFile``, or of the system's store without one, it has to be
  /// valid now, and it has to be for the name that is connected to. All files are in PEM form and are read anew for every
  /// connection, so a renewed one is in use from the next connection on.
  public struct TLS: Hashable, Sendable {
    /// How much of the broker's certificate is checked.
    public enum Verification: String, Hashable, Sendable, CaseIterable {
      /// Who signed it, its dates, and the host name.
      case full
      /// Nothing: whoever stands between us and the broker reads and changes everything, the password included. Only for
      /// trying things out.
      case unsafelyNone
    }

    /// A version of the protocol.
    public enum Version: String, Hashable, Sendable, CaseIterable, CustomStringConvertible {
      /// TLS 1.2 (RFC 5246).
      case tls12 = "1.2"
      /// TLS 1.3 (RFC 8446).
      case tls13 = "1.3"

      /// The text for messages and logs.
      public var description: String { "TLS \(rawValue)" }
    }

    /// The CA certificates to trust, one or more. Nil trusts the system's.
    public var caFile: String?
    /// Our certificate, followed by those between it and the CA. Needs ``keyFile``.
    public var certificateFile: String?
    /// The private key of ``certificateFile``.
    public var keyFile: String?
    /// What the private key is encrypted with, where it is; up to 1,000 bytes. Never printed.
    public var keyPassword: String?
    /// The name that the certificate has to be for, and that the broker is told (SNI). Nil takes the host's name.
    public var serverName: String?
    /// The oldest version that is spoken. TLS 1.2.
    public var minimumVersion = Version.tls12
    /// Whether the broker's certificate is checked. ``Verification/full``.
    public var verification = Verification.full

    /// Trusts the system's CA certificates and shows no certificate of our own.
    public init() {}
  }

  /// Who we are, for the broker.
  public enum Authentication: String, Hashable, Sendable, CaseIterable {
    /// The one with ``user`` and ``password`` (SASL PLAIN).
    case password
    /// The one of the client certificate in ``tls-swift.property`` (SASL EXTERNAL). The broker needs its plugin
    /// `rabbitmq_auth_mechanism_ssl` and a user of the certificate's name; ``user`` and ``password`` do not matter.
    case clientCertificate
  }
}

extension RabbitMQConfiguration.TLS: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  /// The text for messages and logs: files and settings, without the key's password.
  public var description: String {
    let fields = [
      caFile.map { "caFile: \($0)" }, certificateFile.map { "certificateFile: \($0)" },
      keyFile.map { "keyFile: \($0)" }, serverName.map { "serverName: \($0)" },
      "minimumVersion: \(minimumVersion.rawValue)", "verification: \(verification.rawValue)",
    ]
    return "TLS(\(fields.compactMap { $0 }.joined(separator: ", ")))"
  }
  /// The text for debuggers, as in `description`.
  public var debugDescription: String { description }
  /// Without the key's password, so that `dump` cannot print it either.
  public var customMirror: Mirror { Mirror(self, children: ["tls": description]) }
}

extension RabbitMQConfiguration.TLS {
  /// Why this cannot be: the field, what it is, and what is allowed.
  var problem: (field: String, value: String, allowed: String)? {
    let texts = [
      ("tls.caFile", caFile), ("tls.certificateFile", certificateFile), ("tls.keyFile", keyFile),
      ("tls.serverName", serverName),
    ]
    for (field, text) in texts {
      guard let text else { continue }
      if text.isEmpty { return (field, "empty", "a text, or nothing at all") }
      if text.utf8.contains(0) || text.utf8.count > 4096 {
        return (field, "\(text.utf8.count) bytes", "up to 4096 bytes, none of them 0")
      }
    }
    if let serverName, !serverName.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) || serverName.utf8.count > 255 {
      return ("tls.serverName", "\"\(serverName.shown(80))\"", "a host name or an address")
    }
    if let keyPassword, keyPassword.utf8.count > 1000 || keyPassword.utf8.contains(0) {
      return ("tls.keyPassword", "\(keyPassword.utf8.count) bytes", "up to 1000 bytes, none of them 0")
    }
    if certificateFile != nil, keyFile == nil {
      return ("tls.keyFile", "missing", "the file with the key of tls.certificateFile")
    }
    if keyFile != nil, certificateFile == nil {
      return ("tls.certificateFile", "missing", "the file with the certificate of tls.keyFile")
    }
    return nil
  }
}

extension RabbitMQConfiguration.Authentication {
  /// SASL's name for it.
  var mechanism: String {
    switch self {
    case .password: "PLAIN"
    case .clientCertificate: "EXTERNAL"
    }
  }
}
