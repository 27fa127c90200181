extension RabbitMQConfiguration {
  /// Reads a broker URL by RabbitMQ's URI specification.
  ///
  /// `amqp://user:password@host:port/vhost?heartbeat=10`, everything but `amqp://` optional; `amqps://` is the same with
  /// TLS, on port 5671 unless another one is given. Names may be percent-encoded,
  /// IPv6 addresses stand in brackets, and several hosts are separated by commas. Without a path the virtual host is `/`;
  /// a path of `/` alone means the virtual host whose name is empty, and `%2f` means `/`. An `@` in a virtual host or a
  /// parameter is written as `%40`.
  /// The parameters `heartbeat` (seconds), `connection_timeout` (milliseconds), `channel_max`, `frame_max` and
  /// `connection_name` set the fields of the same names, and `auth_mechanism` (`plain`, `external`) sets ``authentication``.
  /// With `amqps://` there are also `cacertfile`, `certfile` and `keyfile` (files in PEM form), `server_name_indication`
  /// (``TLS/serverName``) and `verify` (`verify_peer`; `verify_none` is ``TLS/Verification/unsafelyNone``).
  /// - Throws: ``RabbitMQError`` with code ``RabbitMQError/Code/invalidURL``, naming the part that is wrong, without the
  ///   password.
  public init(url: String) throws(RabbitMQError) {
    self.init()
    guard let colon = url.firstRange(of: "://") else {
      throw .invalidURL("scheme", "is missing: write amqp://host")
    }
    switch url[..<colon.lowerBound].lowercased() {
    case "amqp": break
    case "amqps": tls = TLS()
    // What stands there may be a password whose user forgot the scheme.
    default: throw .invalidURL("scheme", "is unknown: write amqp:// or amqps://")
    }
    var rest = url[colon.upperBound...]
    if rest.contains("#") { throw .invalidURL("fragment", "is not allowed: write # as %23") }
    // An '@' behind '?' or '/' is most likely the end of a password that is not percent-encoded: it would be taken for
    // something that may be shown.
    if let mark = rest.firstIndex(of: "?") {
      let query = rest[rest.index(after: mark)...]
      if query.contains("@") {
        throw .invalidURL("query", "contains an '@': write it as %40, and a '?' before it as %3f")
      }
      for (name, value) in try URLParameters(query).values { try set(name, value) }
      rest = rest[..<mark]
    }
    if let slash = rest.firstIndex(of: "/") {
      let path = rest[rest.index(after: slash)...]
      if path.contains("@") {
        throw .invalidURL("virtual host", "contains an '@': write it as %40, and a '/' before it as %2f")
      }
      if path.contains("/") { throw .invalidURL("virtual host", "contains a '/': write it as %2f") }
      virtualHost = try percentDecoded(path, part: "virtual host")
      rest = rest[..<slash]
    }
    if let at = rest.lastIndex(of: "@") {
      try readUser(rest[..<at])
      rest = rest[rest.index(after: at)...]
    }
    hosts = []
    for part in rest.split(separator: ",", omittingEmptySubsequences: false) {
      hosts.append(try Self.host(part, isAlone: rest.isEmpty, port: tls == nil ? 5672 : 5671))
    }
    do {
      try validate()
    } catch {
      throw RabbitMQError(.invalidURL, "the broker URL: \(error.message)")
    }
  }

  private mutating func readUser(_ text: Substring) throws(RabbitMQError) {
    if text.contains("@") { throw .invalidURL("user or password", "contains an '@': write it as %40") }
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    if parts[0].isEmpty { throw .invalidURL("user", "is empty: write amqp://user:password@host, or leave out the '@'") }
    user = try percentDecoded(parts[0], part: "user")
    if parts.count == 2 { password = try percentDecoded(parts[1], part: "password") }
  }

  private static func host(_ text: Substring, isAlone: Bool, port defaultPort: Int) throws(RabbitMQError) -> Host {
    var name = text
    var port: Substring?
    if text.hasPrefix("[") {
      guard let end = text.firstIndex(of: "]") else {
        throw .invalidURL("host", "begins with '[' but has no ']': IPv6 addresses are written like [::1]")
      }
      name = text[text.index(after: text.startIndex)..<end]
      guard name.contains(":"),
        name.utf8.allSatisfy({ isHexDigit($0) || $0 == UInt8(ascii: ":") || $0 == UInt8(ascii: ".") })
      else { throw .invalidURL("host", "has brackets around what is no IPv6 address") }
      let tail = text[text.index(after: end)...]
      if !tail.isEmpty {
        guard tail.hasPrefix(":") else { throw .invalidURL("port", "must follow ']' as :5672") }
        port = tail.dropFirst()
      }
    } else if let colon = text.firstIndex(of: ":") {
      name = text[..<colon]
      port = text[text.index(after: colon)...]
      if port?.contains(":") == true {
        throw .invalidURL("host", "has more than one ':': IPv6 addresses are written like [::1]")
      }
    }
    if name.isEmpty, port == nil, !isAlone { throw .invalidURL("host", "is empty: write amqp://host") }
    var host = Host("localhost", port: defaultPort)
    if !name.isEmpty { host.name = text.hasPrefix("[") ? String(name) : try percentDecoded(name, part: "host") }
    // An empty port is the default one (RFC 3986 §3.2.3).
    if let port, !port.isEmpty {
      guard port.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = Int(port), (1...65_535).contains(number)
      else {
        throw .invalidURL("port", "is not a number from 1 to 65535")
      }
      host.port = number
    }
    return host
  }
}

extension RabbitMQError {
  static func invalidURL(_ part: String, _ problem: String) -> RabbitMQError {
    RabbitMQError(.invalidURL, "the broker URL: the \(part) \(problem)")
  }
}

private func isHexDigit(_ byte: UInt8) -> Bool {
  (0x30...0x39).contains(byte) || (0x61...0x66).contains(byte | 0x20)
}

func percentDecoded(_ text: Substring, part: String) throws(RabbitMQError) -> String {
  var bytes: [UInt8] = []
  var rest = Array(text.utf8)[...]
  while let byte = rest.popFirst() {
    if byte != UInt8(ascii: "%") {
      bytes.append(byte)
      continue
    }
    guard rest.count >= 2, let high = rest.popFirst(), let low = rest.popFirst(), isHexDigit(high), isHexDigit(low),
      let value = UInt8(String(decoding: [high, low], as: UTF8.self), radix: 16)
    else { throw .invalidURL(part, "has a '%' without two hexadecimal digits: write '%' as %25") }
    bytes.append(value)
  }
  guard let decoded = String(validating: bytes, as: UTF8.self) else {
    throw .invalidURL(part, "is not UTF-8 after percent-decoding")
  }
  if decoded.utf8.contains(0) { throw .invalidURL(part, "contains a zero byte") }
  return decoded
}

func percentEncoded(_ text: String) -> String {
  var out = ""
  for byte in text.utf8 {
    let isLetter = (0x61...0x7a).contains(byte | 0x20)
    if isLetter || (0x30...0x39).contains(byte) || [0x2d, 0x2e, 0x5f, 0x7e].contains(byte) {
      out.unicodeScalars.append(Unicode.Scalar(byte))
    } else {
      out += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
    }
  }
  return out
}
