/// What a message says its body is, where that is something else than what Warren writes.
package struct ForeignContent: Hashable, Sendable {
  /// AMQP's `content-type`.
  package var type: String?
  /// AMQP's `content-encoding`.
  package var encoding: String?

  /// Takes both as they came.
  package init(type: String?, encoding: String?) {
    self.type = type
    self.encoding = encoding
  }

  /// Why a decoder must not be given such a body; nil when it may try.
  ///
  /// Clients that know nothing of the content say `application/octet-stream` or `text/plain`, and some write the charset where
  /// the compression belongs: these are read.
  package func problem(takesJSON: Bool) -> String? {
    let encodings = ["", "identity", "utf-8", "utf8", "us-ascii"]
    if let encoding, !encodings.contains(encoding.lowercased()) {
      return
        "its content-encoding is \"\(encoding.shown(64))\", and only plain bodies are decoded; OnRaw takes it as it is"
    }
    guard takesJSON, let type else { return nil }
    let parts = type.lowercased().split(separator: ";", omittingEmptySubsequences: false).map { Self.trimmed($0) }
    let media = parts.first ?? ""
    let plain = ["", "application/json", "text/json", "application/x-json", "application/octet-stream", "text/plain"]
    guard plain.contains(media) || media.hasPrefix("application/") && media.hasSuffix("+json") else {
      return "its content-type is \"\(type.shown(64))\", and the handler takes JSON; OnRaw takes it as it is"
    }
    for parameter in parts.dropFirst() where parameter.hasPrefix("charset=") {
      let charset = parameter.dropFirst("charset=".count).filter { $0 != "\"" }
      if !["utf-8", "utf8", "us-ascii"].contains(charset) {
        return "its charset is \"\(String(charset).shown(64))\", and JSON is UTF-8"
      }
    }
    return nil
  }

  private static func trimmed(_ text: Substring) -> String {
    String(text.drop { $0 == " " || $0 == "\t" }.reversed().drop { $0 == " " || $0 == "\t" }.reversed())
  }
}

extension Delivery {
  /// The event in the body.
  /// - Throws: ``WarrenError`` with code ``WarrenError/Code/decodingFailed``, also when the message says that its body is
  ///   nothing that the event's coding reads.
  package func decoded<E: Event>(_ event: E.Type) throws(WarrenError) -> E {
    if let problem = foreignContent?.problem(takesJSON: E.coding.isJSON) {
      throw WarrenError(.decodingFailed, "\(type) cannot be read: \(problem)")
    }
    return try E.read(type: type, body: body, metadata: metadata)
  }
}
