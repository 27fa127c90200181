/// What a handler does with events that somebody replays from a store to its service's queue: they have happened before, and
/// the service may have handled them then.
public enum ReplayHandling: String, Sendable, CaseIterable {
  /// They are acknowledged, counted as ignored, and not handled. The default.
  case ignore
  /// They are handled like all others. An inbox remembers each replay by itself: what was handled before is handled once more,
  /// and once in each replay.
  case handle
}

extension EventMetadata {
  /// The id of the replay that brought this event; nil for one that came by itself.
  public var replay: String? { headers[EventHeaders.replay]?.string }
}
