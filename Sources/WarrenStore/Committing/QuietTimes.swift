/// Decides when a caller may commit on its own thread instead of handing its part to the writer's queue.
///
/// For a lone caller the way to another thread and back takes a third of the time of a commit. But while it commits, its
/// thread is taken from all tasks, so it may only be for moments: when nobody else commits, and the disk is quick. What the
/// last groups were like tells that.
struct QuietTimes: Sendable {
  /// A sync of a common SSD takes less.
  static let longestGroup = Duration.milliseconds(5)
  /// After a group that was slower, so many go over the writer's queue.
  static let slowGroups = 64

  private var isLonely = true
  private var groupsLeft = 0

  var mayCommitHere: Bool { isLonely && groupsLeft == 0 }

  /// A group has ended.
  mutating func note(members: Int, took: Duration) {
    isLonely = members <= 1
    if took > Self.longestGroup {
      groupsLeft = Self.slowGroups
    } else if groupsLeft > 0 {
      groupsLeft -= 1
    }
  }
}
