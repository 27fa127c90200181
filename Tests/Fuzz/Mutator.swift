#if DEBUG
  /// Makes inputs out of samples: SplitMix64 (Steele, Lea and Flood) decides what to damage.
  struct Mutator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64, index: Int) { state = seed &* 0x9e37_79b9_7f4a_7c15 ^ UInt64(index) &* 0xbf58_476d_1ce4_e5b9 }

    mutating func next() -> UInt64 {
      state &+= 0x9e37_79b9_7f4a_7c15
      var z = state
      z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
      z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
      return z ^ (z >> 31)
    }

    private mutating func below(_ limit: Int) -> Int { limit > 0 ? Int(next() % UInt64(limit)) : 0 }

    /// Numbers at which lengths and kinds break.
    private static let numbers: [[UInt8]] = [
      [0], [1], [0x7f], [0x80], [0xff], [0, 0, 0, 0], [0xff, 0xff, 0xff, 0xff], [0x7f, 0xff, 0xff, 0xff], [0, 0, 0, 1],
      [0x80, 0, 0, 0], [0, 1, 0, 0], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
      [0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], [0x80, 0, 0, 0, 0, 0, 0, 0], [0x7f, 0xf8, 0, 0, 0, 0, 0, 0],
    ]
    /// Pieces that mean something to one reader or another.
    private static let words: [[UInt8]] =
      [
        "{", "}", "[", "]", "\"", ":", ",", "null", "true", "1e400", "-0", "\\u0000", "\\ud800", "{\"a\":", "[[[[", "é",
        "\u{0}",
        "\u{1b}[2J", "\u{202e}", "\u{feff}", "👨‍👩‍👧", "amqp://", "amqps://", "@", "%00", "%", "[::1]", ":99999", "/", "?",
        "&", "=",
        "events.", ".dead.", "retry", "T", "Z", "+25:00", "9999-12-31T23:59:60.999Z", "x-death", "warren-seq", "i", "t",
        "F",
        "A", "S", "l", "D", "V", "x", "application/json", "gzip", " ",
      ].map { Array($0.utf8) }

    mutating func input(from samples: [[UInt8]]) -> [UInt8] {
      var bytes = samples.isEmpty || below(20) == 0 ? noise() : samples[below(samples.count)]
      for _ in 0...below(6) {
        switch below(11) {
        case 0: if !bytes.isEmpty { bytes[below(bytes.count)] ^= 1 << UInt8(below(8)) }
        case 1: if !bytes.isEmpty { bytes[below(bytes.count)] = UInt8(truncatingIfNeeded: next()) }
        case 2: bytes.removeLast(below(bytes.count + 1))
        case 3:
          let start = below(bytes.count + 1)
          bytes.removeSubrange(start..<(start + below(bytes.count - start + 1)))
        case 4: bytes.insert(contentsOf: Self.numbers[below(Self.numbers.count)], at: below(bytes.count + 1))
        case 5:
          let number = Self.numbers[below(Self.numbers.count)]
          let at = below(bytes.count + 1)
          bytes.replaceSubrange(at..<min(bytes.count, at + number.count), with: number)
        case 6: bytes.insert(contentsOf: Self.words[below(Self.words.count)], at: below(bytes.count + 1))
        case 7:
          // The same once more, or many times.
          let start = below(bytes.count + 1)
          let piece = Array(bytes[start..<(start + below(min(64, bytes.count - start) + 1))])
          let times = below(10) == 0 ? below(2000) : 1 + below(4)
          guard piece.count * times < 200_000 else { break }
          for _ in 0..<times { bytes.insert(contentsOf: piece, at: start) }
        case 8:
          if let other = samples.isEmpty ? nil : samples[below(samples.count)] {
            bytes = bytes.prefix(below(bytes.count + 1)) + other.suffix(below(other.count + 1))
          }
        case 9: bytes.insert(contentsOf: noise(), at: below(bytes.count + 1))
        default: bytes.insert(UInt8(truncatingIfNeeded: next()), at: below(bytes.count + 1))
        }
      }
      return bytes.count > 300_000 ? Array(bytes.prefix(300_000)) : bytes
    }

    private mutating func noise() -> [UInt8] {
      (0..<below(below(30) == 0 ? 2000 : 40)).map { _ in UInt8(truncatingIfNeeded: next()) }
    }
  }
#endif
