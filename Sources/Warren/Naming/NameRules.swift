/// The two alphabets that Warren's names are made of. Entity names on the broker are put together from them with
/// `.` and `_` as separators, so that no two different things can share a name.
enum NameRules {
  /// Why `name` cannot be an event type; nil when it can.
  static func problem(withType name: String) -> String? {
    if name.isEmpty { return "is empty" }
    if name.utf8.count > 128 { return "is longer than 128 bytes" }
    if let wrong = name.unicodeScalars.first(where: { !isTypeCharacter($0) }) {
      return "contains \(quoted(wrong)); allowed are a-z, 0-9, '.', '_' and '-'"
    }
    let segments = name.split(separator: ".", omittingEmptySubsequences: false)
    if segments.contains(where: \.isEmpty) {
      return "has an empty segment: it must not begin or end with '.' or contain '..'"
    }
    if let first = segments.first, ["retry", "dead", "group"].contains(first) {
      return "begins with '\(first)', which is reserved for Warren's own queues"
    }
    return nil
  }

  /// Why `name` cannot name a service, a subscription or a group; nil when it can.
  static func problem(withOwner name: String) -> String? {
    if name.isEmpty { return "is empty" }
    if name.utf8.count > 64 { return "is longer than 64 bytes" }
    if let wrong = name.unicodeScalars.first(where: { !isOwnerCharacter($0) }) {
      return "contains \(quoted(wrong)); allowed are a-z, 0-9 and '-'"
    }
    return nil
  }

  private static func isOwnerCharacter(_ c: Unicode.Scalar) -> Bool {
    ("a"..."z").contains(c) || ("0"..."9").contains(c) || c == "-"
  }

  private static func isTypeCharacter(_ c: Unicode.Scalar) -> Bool {
    isOwnerCharacter(c) || c == "." || c == "_"
  }

  private static func quoted(_ c: Unicode.Scalar) -> String {
    c.properties.isWhitespace || !c.isHarmless ? "U+" + String(c.value, radix: 16, uppercase: true) : "'\(c)'"
  }
}
