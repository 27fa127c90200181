import WarrenSupport

/// The identity of one event: the same id is the same event, however often it is delivered.
///
/// Warren makes UUIDs of version 7 (RFC 9562 §5.7), which sort by the time they were made. Other producers may use any
/// text of 1 to 255 bytes without control characters; it travels as AMQP's `message-id`.
public struct EventID: Hashable, Sendable, CustomStringConvertible {
  /// The id as it stands on the wire.
  public let text: String

  /// Makes a new id, later than all that this process made before.
  public init() {
    text = UUIDv7Generator.shared.next()
  }

  /// Takes an id that was made elsewhere.
  /// - Throws: ``WarrenError`` with code ``WarrenError/Code/invalidMetadata``.
  public init(_ text: String) throws(WarrenError) {
    guard (1...255).contains(text.utf8.count) else {
      throw WarrenError(.invalidMetadata, "an event id has 1 to 255 bytes, this one has \(text.utf8.count)")
    }
    guard text.unicodeScalars.allSatisfy({ $0.value >= 0x20 && !(0x7f...0x9f).contains($0.value) }) else {
      throw WarrenError(.invalidMetadata, "an event id must not contain control characters")
    }
    self.text = text
  }

  /// The id of the `ordinal`-th event that `handler` publishes while it handles the event `cause`: handling the same
  /// event again gives the same ids, so that a repeat is recognised as one. A UUID of version 8 (RFC 9562 §5.8).
  public static func derived(from cause: EventID, handler: String, ordinal: Int) -> EventID {
    var hash = StableHash()
    hash.combine(cause.text)
    hash.combine(handler)
    hash.combine(String(ordinal))
    let bits = hash.value
    return EventID(high: UInt64(truncatingIfNeeded: bits >> 64), low: UInt64(truncatingIfNeeded: bits), version: 8)
  }

  init(high: UInt64, low: UInt64, version: UInt64) {
    text = uuidText(
      high: high & 0xffff_ffff_ffff_0fff | version << 12,
      low: low & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000)
  }

  /// By bytes: to `String` two Unicode spellings of one text are equal, to every other program they are two ids.
  public static func == (a: EventID, b: EventID) -> Bool { a.text == b.text && a.text.utf8.elementsEqual(b.text.utf8) }

  /// The text for messages and logs.
  public var description: String { text }
}

extension EventID {
  /// An id that was checked when it was stored.
  package static func known(_ text: String) throws(WarrenError) -> EventID {
    guard !text.isEmpty else { throw WarrenError(.invalidMetadata, "an event id is empty") }
    return EventID(unchecked: text)
  }

  private init(unchecked text: String) { self.text = text }
}

private func uuidText(high: UInt64, low: UInt64) -> String {
  String(unsafeUninitializedCapacity: 36) { out in
    var at = 0
    func put(_ word: UInt64) {
      var shift = 60
      while shift >= 0 {
        let nibble = UInt8(truncatingIfNeeded: word >> UInt64(shift)) & 0xf
        out[at] = nibble < 10 ? 0x30 + nibble : 0x57 + nibble
        at += 1
        if at == 8 || at == 13 || at == 18 || at == 23 {
          out[at] = 0x2d
          at += 1
        }
        shift -= 4
      }
    }
    put(high)
    put(low)
    return 36
  }
}

/// Version 7 by RFC 9562 §6.2, method 1: the 12 bits behind the milliseconds count up inside one millisecond, so that
/// ids of one process sort in the order in which they were made. The random part comes from a generator that is seeded
/// by the operating system once, because asking it for every id costs a system call.
private final class UUIDv7Generator: Sendable {
  static let shared = UUIDv7Generator()

  private struct State {
    var last: UInt64 = 0
    var random = Xoshiro256(seed: SystemRandomNumberGenerator())
  }
  private let state = Lock(State())

  func next() -> String {
    let now = wallClockMilliseconds() << 12
    let (stamp, random) = state.withLock { state in
      let random = state.random.next()
      state.last = max(state.last + 1, now | (random >> 56))
      return (state.last, state.random.next())
    }
    return EventID(high: (stamp >> 12) << 16 | (stamp & 0xfff), low: random, version: 7).text
  }
}

/// xoshiro256** 1.0 (Blackman and Vigna): fast, with a state large enough that two processes do not meet.
struct Xoshiro256: RandomNumberGenerator, Sendable {
  private var s: (UInt64, UInt64, UInt64, UInt64)

  init(seed: some RandomNumberGenerator) {
    var seed = seed
    s = (seed.next(), seed.next(), seed.next(), seed.next() | 1)
  }

  mutating func next() -> UInt64 {
    func rotate(_ x: UInt64, _ k: UInt64) -> UInt64 { x << k | x >> (64 - k) }
    let result = rotate(s.1 &* 5, 7) &* 9
    let t = s.1 << 17
    s.2 ^= s.0
    s.3 ^= s.1
    s.1 ^= s.2
    s.0 ^= s.3
    s.2 ^= t
    s.3 = rotate(s.3, 45)
    return result
  }
}
