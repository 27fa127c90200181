/// Decides when a caller may commit on its own thread instead of handing its part to the writer's queue.
///
/// For a lone caller the way to another thread and back takes a third of the time of a commit. But while it commits, its
/// thread is taken from all tasks, so it may only be for moments: when nobody else commits, and the disk is quick. What the
/// last groups were like tells that.
struct QuietTimes: Sendable {
  /// Of a group, in the mean. A sync takes a tenth of it on a common SSD, and five times as long on a turning disk.
  static let longestMean = Duration.milliseconds(2)

  private var isLonely = true
  private var mean = Duration.zero

  var mayCommitHere: Bool { isLonely && mean < Self.longestMean }

  /// A group has ended. The mean is that of about the last eight.
  mutating func note(members: Int, took: Duration) {
    isLonely = members <= 1
    mean += (took - mean) / 8
  }
}
