import Warren

/// The name of a stream: the events of one thing, such as `account-42`, in their order.
///
/// 1 to 255 bytes without control characters. A literal that breaks the rules is reported by the first append or read that
/// uses it.
public struct StreamName: Hashable, Sendable, Comparable, CustomStringConvertible, ExpressibleByStringLiteral {
  /// The name as it stands in the file.
  public let name: String

  /// Checks and takes a name from outside the code.
  /// - Throws: ``StoreError`` with code ``StoreError/Code/invalidEvent``, saying what is wrong with it.
  public init(_ name: String) throws(StoreError) {
    self.name = name
    try validate()
  }

  /// The stream of one thing of a category: `<category>-<id>`.
  public init(category: String, id: String) throws(StoreError) {
    guard !category.contains("-") else {
      throw StoreError(
        .invalidEvent, "the category \"\(category.shown(64))\" contains '-', which stands between category and id")
    }
    try self.init("\(category)-\(id)")
  }

  /// A literal of the code; see the type for when it is checked.
  public init(stringLiteral name: StaticString) { self.name = "\(name)" }

  func validate() throws(StoreError) {
    guard (1...255).contains(name.utf8.count) else {
      throw StoreError(
        .invalidEvent, "the stream \"\(name.shown(64))\" has \(name.utf8.count) bytes: a name has 1 to 255")
    }
    guard name.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7f }) else {
      throw StoreError(.invalidEvent, "the stream \"\(name.shown(64))\" contains control characters")
    }
  }

  /// By bytes, as SQLite compares.
  public static func == (a: StreamName, b: StreamName) -> Bool { a.name.utf8.elementsEqual(b.name.utf8) }

  /// By bytes.
  public func hash(into hasher: inout Hasher) {
    var name = name
    name.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
  }

  /// In the order of the bytes.
  public static func < (a: StreamName, b: StreamName) -> Bool { a.name.utf8.lexicographicallyPrecedes(b.name.utf8) }

  /// The text for messages and logs.
  public var description: String { name }
}
