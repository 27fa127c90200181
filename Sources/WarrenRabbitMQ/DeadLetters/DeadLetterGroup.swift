public import Warren

#if canImport(FoundationEssentials)
  public import FoundationEssentials
#else
  public import Foundation
#endif

/// Dead letters of one event type with one cause.
public struct DeadLetterGroup: Sendable, Equatable {
  /// The event type; nil where letters of a group do not say it.
  public let type: EventType?
  /// The cause, as in ``DeadLetter/cause``.
  public let cause: String
  /// How many messages.
  public fileprivate(set) var letters = 0
  /// How many events: a message that is there several times counts once, one without an id each time.
  public fileprivate(set) var events = 0
  /// The earliest first failure.
  public fileprivate(set) var first: Date?
  /// The latest failure.
  public fileprivate(set) var last: Date?
  /// The error of the letter that failed last.
  public fileprivate(set) var reason = ""
  /// The id of that letter; nil when it has none.
  public fileprivate(set) var example: String?

  fileprivate init(type: EventType?, cause: String) {
    self.type = type
    self.cause = cause
  }
}

/// Counts letters. Keeps 16 bytes for each different id, and nothing else of a letter.
struct DeadLetterSummary {
  /// Types and causes are words that anybody can write into a message: beyond so many groups they are counted together.
  static let mostGroups = 1000
  static let others = "(others)"

  private struct Name: Hashable {
    var type: EventType?
    var cause: String
  }
  private let type: EventType?
  private var byName: [Name: DeadLetterGroup] = [:]
  private var ids: [Name: Set<UInt128>] = [:]

  init(of type: EventType?) { self.type = type }

  mutating func add(_ letter: DeadLetter) {
    var name = Name(type: letter.type, cause: letter.cause)
    if byName[name] == nil, byName.count >= Self.mostGroups { name = Name(type: type, cause: Self.others) }
    var group = byName[name] ?? DeadLetterGroup(type: name.type, cause: name.cause)
    group.letters += 1
    if letter.hasOwnID {
      var hash = StableHash()
      hash.combine(letter.id)
      if ids[name, default: []].insert(hash.value).inserted { group.events += 1 }
    } else {
      group.events += 1
    }
    if let first = letter.firstFailure { group.first = min(group.first ?? first, first) }
    if group.last ?? .distantPast <= letter.lastFailure ?? .distantPast || group.letters == 1 {
      group.last = letter.lastFailure ?? group.last
      group.reason = letter.reason
      group.example = letter.hasOwnID ? letter.id : nil
    }
    byName[name] = group
  }

  /// The largest first.
  var groups: [DeadLetterGroup] {
    byName.values.sorted { a, b in
      if a.letters != b.letters { return a.letters > b.letters }
      return a.type != b.type ? a.type?.name ?? "" < b.type?.name ?? "" : a.cause < b.cause
    }
  }
}
