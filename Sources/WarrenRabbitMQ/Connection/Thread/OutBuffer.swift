/// Bytes that wait to be sent. Everything after login goes through it, because a library call in the middle of a
/// half-sent frame would corrupt the stream; sending takes what the kernel takes and never blocks.
struct OutBuffer: ~Copyable {
  private var memory: UnsafeMutableRawPointer
  private var capacity: Int
  private var start = 0
  private var end = 0

  init(capacity: Int = 256 << 10) {
    self.capacity = capacity
    memory = .allocate(byteCount: capacity, alignment: 16)
  }

  deinit { memory.deallocate() }

  var count: Int { end - start }

  /// Appends up to `limit` bytes that `fill` writes; it returns how many.
  mutating func append(atMost limit: Int, _ fill: (UnsafeMutablePointer<UInt8>) -> Int) {
    reserve(limit)
    end += fill((memory + end).assumingMemoryBound(to: UInt8.self))
  }

  mutating func append(_ bytes: UnsafeRawBufferPointer) {
    guard let base = bytes.baseAddress else { return }
    reserve(bytes.count)
    (memory + end).copyMemory(from: base, byteCount: bytes.count)
    end += bytes.count
  }

  private mutating func reserve(_ extra: Int) {
    if end + extra <= capacity { return }
    let used = count
    if used + extra <= capacity, start >= used {
      memory.copyMemory(from: memory + start, byteCount: used)
    } else {
      var larger = capacity
      while larger < used + extra { larger *= 2 }
      let target = UnsafeMutableRawPointer.allocate(byteCount: larger, alignment: 16)
      target.copyMemory(from: memory + start, byteCount: used)
      memory.deallocate()
      memory = target
      capacity = larger
    }
    (start, end) = (0, used)
  }

  func peek(_ look: (UnsafeRawPointer, Int) -> Void) { look(memory + start, count) }

  enum Flush: Equatable {
    case done(sent: Int)
    case kernelIsFull(sent: Int)
    case failed(WireEnd)
  }

  /// `write` takes the beginning of what it is given. What it did not take it is given again, with what came behind it.
  mutating func flush(_ write: (UnsafeRawPointer, Int) -> Transport.Progress) -> Flush {
    var sent = 0
    while count > 0 {
      switch write(memory + start, count) {
      case .bytes(let n):
        start += n
        sent += n
      case .notNow: return .kernelIsFull(sent: sent)
      case .ended(let end): return .failed(end)
      }
    }
    (start, end) = (0, 0)
    return .done(sent: sent)
  }
}
