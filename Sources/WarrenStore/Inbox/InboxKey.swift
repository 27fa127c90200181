import Warren

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// What makes two deliveries the same event for one queue.
struct InboxKey: Hashable, Sendable {
  var queue: String
  var source: String
  var type: String
  var id: String
  /// Of the body, for ids that somebody else made: they may stand for more than one event.
  var hash: Data?
  /// When the event was recorded or happened, as far as the message says, in milliseconds since 1970.
  var at: Int64?

  /// Nil for a message without an id, which cannot be told from its repeats.
  init?(_ delivery: Delivery) {
    let metadata = delivery.metadata
    guard let id = metadata.id else { return nil }
    queue = delivery.queue
    source = metadata.source ?? ""
    type = delivery.type.name
    self.id = id.text
    if let replay = metadata.replay {
      // A scope of its own: what was handled when it happened is handled once more. It is remembered from now on, not from
      // when it happened.
      queue += InboxRecords.replayMark + replay
    } else {
      at = (metadata.recordedAt ?? metadata.time)?.milliseconds
    }
    guard !delivery.hasOwnID else { return }
    var hash = StableHash()
    hash.combine(delivery.body)
    self.hash = withUnsafeBytes(of: hash.value.bigEndian) { Data($0) }
  }

  static func == (a: InboxKey, b: InboxKey) -> Bool {
    a.queue == b.queue && a.source == b.source && a.type == b.type && a.id == b.id
  }

  func hash(into hasher: inout Hasher) {
    hasher.combine(queue)
    hasher.combine(id)
  }
}
