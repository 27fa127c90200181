import CWarrenTLS
import Warren

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// What ``RabbitMQConfiguration/TLS`` says, read and checked for one connection: files may have been renewed since the
/// last one.
final class TLSSettings {
  let context: OpaquePointer
  let verifies: Bool
  let hasCertificate: Bool
  let minimumVersion: RabbitMQConfiguration.TLS.Version
  /// What the broker's certificate has to be for.
  let name: String

  init(_ tls: RabbitMQConfiguration.TLS, host: RabbitMQConfiguration.Host) throws(TLSFailure) {
    verifies = tls.verification == .full
    minimumVersion = tls.minimumVersion
    hasCertificate = tls.certificateFile != nil
    // Certificates know no zone of an address and no dot at the end of a name.
    let given = tls.serverName ?? host.name
    let bare = given.prefix { $0 != "%" }
    name = bare.hasSuffix(".") ? String(bare.dropLast()) : String(bare)
    ERR_clear_error()
    guard let context = warren_tls_context(tls.minimumVersion.number, verifies) else {
      throw TLSFailure(.tlsFailed, "OpenSSL does not take the settings: \(Self.reasonText)")
    }
    self.context = context
    if verifies { try trust(tls.caFile) }
    if let certificate = tls.certificateFile, let key = tls.keyFile {
      try identify(certificate: certificate, key: key, password: tls.keyPassword)
    }
  }

  deinit { SSL_CTX_free(context) }

  private func trust(_ file: String?) throws(TLSFailure) {
    guard let file else {
      guard SSL_CTX_set_default_verify_paths(context) == 1 else {
        throw TLSFailure(.tlsFileUnusable, "the system's CA certificates cannot be read: set tls.caFile")
      }
      return
    }
    try Self.check(file, "tls.caFile")
    guard SSL_CTX_load_verify_locations(context, file, nil) == 1 else {
      throw TLSFailure(
        .tlsFileUnusable, "tls.caFile: \"\(file)\" holds no certificate in PEM form (\(Self.reasonText))")
    }
  }

  private func identify(certificate: String, key: String, password: String?) throws(TLSFailure) {
    try Self.check(certificate, "tls.certificateFile")
    try Self.check(key, "tls.keyFile")
    guard SSL_CTX_use_certificate_chain_file(context, certificate) == 1 else {
      throw TLSFailure(
        .tlsFileUnusable,
        "tls.certificateFile: \"\(certificate)\" holds no usable certificate in PEM form (\(Self.reasonText))")
    }
    if warren_tls_use_key(context, key, password) == 1, SSL_CTX_check_private_key(context) == 1 { return }
    let reasons = TLSReason.takeAll()
    let mismatches = [X509_R_KEY_VALUES_MISMATCH, X509_R_KEY_TYPE_MISMATCH]
    if reasons.contains(where: { $0.library == ERR_LIB_X509 && mismatches.contains($0.reason) }) {
      throw TLSFailure(
        .tlsFileUnusable, "tls.keyFile: \"\(key)\" is not the key of the certificate in \"\(certificate)\"")
    }
    if Self.isEncrypted(key) {
      throw TLSFailure(
        .tlsFileUnusable,
        "tls.keyFile: \"\(key)\" is encrypted: \(password == nil ? "set tls.keyPassword" : "tls.keyPassword is not its password")"
      )
    }
    throw TLSFailure(
      .tlsFileUnusable,
      "tls.keyFile: \"\(key)\" holds no usable private key in PEM form (\(reasons.first?.text ?? "no reason given"))")
  }

  /// Looked at first, because OpenSSL's words for a file that is not there are no help.
  private static func check(_ file: String, _ field: String) throws(TLSFailure) {
    var status = stat()
    var problem: String?
    if stat(file, &status) != 0 {
      problem = String(cString: strerror(errno))
    } else if status.st_mode & S_IFMT != S_IFREG {
      problem = "it is no file"
    } else if access(file, R_OK) != 0 {
      problem = String(cString: strerror(errno))
    }
    if let problem { throw TLSFailure(.tlsFileUnusable, "\(field): \"\(file)\" cannot be read: \(problem)") }
  }

  private static func isEncrypted(_ file: String) -> Bool {
    guard let stream = fopen(file, "r") else { return false }
    defer { fclose(stream) }
    var bytes = [UInt8](repeating: 0, count: 16 << 10)
    let count = fread(&bytes, 1, bytes.count, stream)
    return String(decoding: bytes.prefix(count), as: UTF8.self).contains("ENCRYPTED")
  }

  private static var reasonText: String { TLSReason.takeAll().first?.text ?? "no reason given" }
}

extension RabbitMQConfiguration.TLS.Version {
  fileprivate var number: Int32 {
    switch self {
    case .tls12: TLS1_2_VERSION
    case .tls13: TLS1_3_VERSION
    }
  }
}
