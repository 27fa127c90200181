#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// A pass over one value: the text, and the values that are open in it. Types may catch errors and go on; what was doubtful on
/// the way stays so.
///
/// All is written to the innermost open value. Who holds an encoder or a container names it by its number, and a number that
/// is open no more, or has another value open within, is a doubt.
final class TextWriting {
  private enum Kind { case nothing, single, object, array }

  private struct Scope {
    var id: Int
    var kind = Kind.nothing
    /// Made by a container, which does not say when it has ended: writing around it ends it.
    var isNested = false
    /// Within `members`.
    var firstMember: Int
    var count = 0
    var isOrdered = true
  }

  /// The number of no value.
  static let nobody = 0
  private static let doubtful = -1
  /// Foundation refuses 512; stacks may be small.
  private static let deepest = 100

  // Unchecked: no other's code runs while one of these is being changed, and the checks took a third of the time.
  @exclusivity(unchecked) var text = JSONText()
  @exclusivity(unchecked) private(set) var isDoubtful = false
  /// Of all open objects, outermost first.
  @exclusivity(unchecked) private var members: [JSONText.Member] = []
  @exclusivity(unchecked) private var top = Scope(id: 1, firstMember: 0)
  @exclusivity(unchecked) private var below: [Scope] = []
  @exclusivity(unchecked) private var lastID = 1
  @exclusivity(unchecked) private var calls = 0

  init() { members.reserveCapacity(16) }

  /// For what Foundation may see in another way.
  func doubt() -> any Error {
    isDoubtful = true
    top.id = Self.doubtful
    return Doubt()
  }

  // MARK: Values

  /// The text of a value; nil when in doubt.
  func write(_ value: some Encodable) -> Data? {
    // Nothing is open for those who keep an encoder.
    defer { _ = doubt() }
    do {
      if try !leaf(value) {
        try call(value)
        endNested(above: 0)
        // Foundation refuses nothing at all.
        guard top.kind != .nothing else { return nil }
        close()
      }
    } catch {
      return nil
    }
    return isDoubtful ? nil : text.data
  }

  /// The value of the member or element that was begun.
  func value<T: Encodable>(_ value: T) throws {
    if try leaf(value) { return }
    try push(isNested: false, .nothing)
    let depth = below.count
    try call(value)
    endNested(above: depth)
    close()
    pop()
    if isDoubtful { throw Doubt() }
  }

  /// The only value of a value.
  func single<T: Encodable>(_ value: T, in id: Int) throws {
    try beginSingle(id)
    if try leaf(value) { return }
    top.kind = .nothing
    let depth = below.count
    try call(value)
    endNested(above: depth)
    close()
    top.kind = .single
    // What the value still holds is of the past.
    lastID += 1
    top.id = isDoubtful ? Self.doubtful : lastID
    if isDoubtful { throw Doubt() }
  }

  func beginSingle(_ id: Int) throws {
    guard reach(id), top.kind == .nothing else { throw doubt() }
    top.kind = .single
  }

  private func call<T: Encodable>(_ value: T) throws {
    guard calls < Self.deepest else { throw doubt() }
    calls += 1
    do {
      try value.encode(to: TextEncoder(self, top.id))
    } catch {
      _ = doubt()
      throw error
    }
    calls -= 1
    if isDoubtful { throw Doubt() }
  }

  /// True when the value was one of those that are written without asking them.
  private func leaf<T: Encodable>(_ value: T) throws -> Bool {
    if let value = same(value, as: String.self) {
      text.string(value)
    } else if let value = same(value, as: Int.self) {
      text.integer(Int64(value))
    } else if let value = same(value, as: Double.self) {
      guard text.number(value) else { throw doubt() }
    } else if let value = same(value, as: Date.self) {
      guard value.isRFC3339 else { throw doubt() }
      text.date(value)
    } else if let value = same(value, as: Data.self) {
      text.plain(value.base64EncodedString())
    } else if let value = same(value, as: URL.self) {
      text.string(value.absoluteString)
    } else if T.self == Decimal.self {
      throw doubt()
    } else {
      return false
    }
    return true
  }

  private func same<T, Known>(_ value: T, as type: Known.Type) -> Known? {
    T.self == type ? unsafeBitCast(value, to: type) : nil
  }

  // MARK: Containers

  /// Opens the object of a value, or goes on with it.
  func object(in id: Int) -> Int { open(.object, 0x7b, in: id) }

  /// Opens the array of a value, or goes on with it.
  func array(in id: Int) -> Int { open(.array, 0x5b, in: id) }

  private func open(_ kind: Kind, _ bracket: UInt8, in id: Int) -> Int {
    guard reach(id), top.kind == .nothing || top.kind == kind else {
      _ = doubt()
      return Self.nobody
    }
    if top.kind == .nothing {
      text.byte(bracket)
      top.kind = kind
    }
    return id
  }

  /// Opens an object as the member or element that was begun.
  func nestedObject() throws -> Int { try nest(.object, 0x7b) }

  /// Opens an array as the member or element that was begun.
  func nestedArray() throws -> Int { try nest(.array, 0x5b) }

  private func nest(_ kind: Kind, _ bracket: UInt8) throws -> Int {
    try push(isNested: true, kind)
    text.byte(bracket)
    return top.id
  }

  func member(_ key: String, in id: Int) throws {
    guard reach(id) else { throw doubt() }
    if top.count > 0 {
      members[members.count - 1].end = text.count
      text.byte(0x2c)
    }
    guard let member = text.key(key) else { throw doubt() }
    if top.count > 0, top.isOrdered, !text.isOrdered(members[members.count - 1], member) { top.isOrdered = false }
    members.append(member)
    top.count += 1
  }

  func element(in id: Int) throws {
    guard reach(id) else { throw doubt() }
    if top.count > 0 { text.byte(0x2c) }
    top.count += 1
  }

  /// How many elements an array has; nil when it is not the innermost.
  func count(in id: Int) -> Int? {
    guard reach(id) else {
      _ = doubt()
      return nil
    }
    return top.count
  }

  // MARK: The stack

  /// Ends what is open within, and makes sure that the value is the innermost.
  private func reach(_ id: Int) -> Bool {
    while top.id != id {
      guard top.isNested, !isDoubtful else { return false }
      close()
      pop()
    }
    return true
  }

  private func push(isNested: Bool, _ kind: Kind) throws {
    guard below.count < Self.deepest else { throw doubt() }
    below.append(top)
    lastID += 1
    top = Scope(id: lastID, kind: kind, isNested: isNested, firstMember: members.count)
  }

  private func pop() {
    let id = top.id
    if let last = below.popLast() { top = last }
    if isDoubtful { top.id = id }
  }

  private func endNested(above depth: Int) {
    while below.count > depth {
      close()
      pop()
    }
  }

  private func close() {
    switch top.kind {
    case .single: break
    case .nothing: text.word("{}")
    case .array: text.byte(0x5d)
    case .object:
      if top.count > 0 { members[members.count - 1].end = text.count }
      if !top.isOrdered {
        let isSorted = members.withUnsafeMutableBufferPointer { members in
          text.sort(UnsafeMutableBufferPointer(rebasing: members[top.firstMember...]))
        }
        // Which of two values counts is not decided here.
        if !isSorted { _ = doubt() }
      }
      members.removeLast(top.count)
      text.byte(0x7d)
    }
  }

  // MARK: Paths

  /// Who asks for a path may do anything with it, and Foundation's has its own ways. This one is good for a look.
  func path(of id: Int) -> [any CodingKey] {
    var path: [any CodingKey] = []
    var isFound = top.id == id
    for (index, scope) in below.enumerated() {
      if scope.id == id {
        isFound = true
        break
      }
      let next = index + 1 < below.count ? below[index + 1] : top
      switch scope.kind {
      case .object: path.append(TextKey(stringValue: text.key(of: members[next.firstMember - 1])))
      case .array: path.append(TextKey(intValue: scope.count - 1))
      case .nothing, .single: break
      }
    }
    if !isFound { path.append(TextKey(stringValue: "super")) }
    _ = doubt()
    return path
  }
}

private struct Doubt: Error {}

private struct TextKey: CodingKey {
  var stringValue: String
  var intValue: Int?
  init(stringValue: String) {
    self.stringValue = stringValue
    intValue = Int(stringValue)
  }
  init(intValue: Int) {
    stringValue = "Index \(intValue)"
    self.intValue = intValue
  }
}
