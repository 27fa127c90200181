import CWarrenTLS
import Warren

/// What TLS did not let pass, in words that say what to do about it.
struct TLSFailure: Error, Equatable {
  var code: RabbitMQError.Code
  var text: String
  var isRetryable: Bool

  init(_ code: RabbitMQError.Code, _ text: String, isRetryable: Bool = false) {
    self.code = code
    self.text = text
    self.isRetryable = isRetryable
  }

  static let certificateMissing = TLSFailure(
    .clientCertificateRefused,
    "the broker wants a client certificate: set tls.certificateFile and tls.keyFile to one that it trusts")

  init(_ reasons: [TLSReason], wire: warren_tls_wire, settings: TLSSettings) {
    let text = reasons.first?.text ?? "no reason given"
    func has(_ reason: Int32) -> Bool { reasons.contains { $0.library == ERR_LIB_SSL && $0.reason == reason } }
    // 22 is a handshake and 21 an alert (RFC 8446 §5.1): all that a server which speaks TLS may begin with.
    if wire.received > 0, wire.first_byte != 22, wire.first_byte != 21 {
      self.init(.tlsNotSpoken, "what answers speaks no TLS. Is this the port for amqps, most often 5671?")
    } else if has(SSL_R_CERTIFICATE_VERIFY_FAILED) {
      self = Self.untrusted(wire, name: settings.name)
    } else if let alert = reasons.lazy.compactMap(\.alert).first {
      self = Self.alerted(alert, text, wire, settings)
    } else if [SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_WRONG_SSL_VERSION, SSL_R_VERSION_TOO_LOW, SSL_R_WRONG_VERSION_NUMBER]
      .contains(where: has)
    {
      self = Self.tooOld(settings)
    } else {
      self.init(.tlsFailed, "TLS failed: \(text)")
    }
  }

  /// What the server has said by an alert (RFC 8446 §6.2).
  private static func alerted(
    _ alert: Int32, _ text: String, _ wire: warren_tls_wire, _ settings: TLSSettings
  ) -> TLSFailure {
    switch alert {
    case 70: return tooOld(settings)
    case 116: return certificateMissing
    // In TLS 1.2 a missing certificate has no alert of its own.
    case 40 where wire.certificate_was_requested: return certificateMissing
    case 42...46, 48, 49, 51:
      guard settings.hasCertificate else { break }
      return TLSFailure(
        .clientCertificateRefused,
        "the broker refuses the client certificate of tls.certificateFile (\(text)): it has to be valid and signed by a CA that the broker trusts"
      )
    case 80: return TLSFailure(.tlsFailed, "TLS failed in the broker: \(text)", isRetryable: true)
    default: break
    }
    return TLSFailure(.tlsFailed, "the broker ended the TLS handshake: \(text)")
  }

  private static func tooOld(_ settings: TLSSettings) -> TLSFailure {
    TLSFailure(
      .tlsVersionRefused,
      "the broker does not speak \(settings.minimumVersion) or newer: allow newer versions there, or a lower tls.minimumVersion here"
    )
  }

  private static func untrusted(_ wire: warren_tls_wire, name: String) -> TLSFailure {
    let subject = text(wire.subject).shown(200)
    let whose = wire.depth == 0 ? "the broker's certificate (\(subject))" : "the CA certificate (\(subject))"
    switch wire.problem {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return TLSFailure(.certificateExpired, "\(whose) has expired on \(text(wire.not_after).shown(40)): renew it")
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return TLSFailure(
        .certificateNotYetValid,
        "\(whose) is valid only from \(text(wire.not_before).shown(40)) on: check the clocks of both machines")
    case X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH:
      let names = text(wire.names).shown(300)
      return TLSFailure(
        .certificateWrongHost,
        "\(whose) is not for \"\(name)\" but for \(names.isEmpty ? "no host name at all" : names): connect by a name that it holds, or set tls.serverName to it"
      )
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
      return TLSFailure(
        .certificateUntrusted,
        "\(whose) is self-signed and not among the trusted ones: set tls.caFile to the file that holds the broker's CA")
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE,
      X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
      return TLSFailure(
        .certificateUntrusted,
        "\(whose) is signed by an unknown CA: set tls.caFile to the file that holds the broker's CA")
    default:
      let reason = X509_verify_cert_error_string(Int(wire.problem)).map { String(cString: $0) } ?? "\(wire.problem)"
      return TLSFailure(.certificateUntrusted, "\(whose) cannot be trusted: \(reason)")
    }
  }

  /// A C array of characters, which Swift sees as a tuple.
  private static func text<T>(_ characters: T) -> String {
    withUnsafeBytes(of: characters) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }
}

extension TLSReason {
  /// OpenSSL's reasons for a received alert are 1000 and its number.
  var alert: Int32? { library == ERR_LIB_SSL && (1000...1255).contains(reason) ? reason - 1000 : nil }
}
