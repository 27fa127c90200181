#if canImport(FoundationEssentials)
  package import FoundationEssentials
#else
  package import Foundation
#endif
#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Milliseconds since 1970, UTC.
package func wallClockMilliseconds() -> UInt64 {
  var time = timespec()
  clock_gettime(CLOCK_REALTIME, &time)
  return UInt64(max(0, time.tv_sec)) * 1000 + UInt64(time.tv_nsec / 1_000_000)
}

extension Date {
  /// Whole milliseconds since 1970, UTC: the precision that events carry. Saturates far outside any real date.
  package var milliseconds: Int64 {
    let value = (timeIntervalSince1970 * 1000).rounded()
    return value.isFinite ? Int64(max(-8.0e15, min(8.0e15, value))) : 0
  }

  package init(milliseconds: Int64) {
    self.init(timeIntervalSince1970: Double(milliseconds) / 1000)
  }

  /// Years 0000 to 9999 are all that RFC 3339 can say.
  private static let rfc3339Milliseconds: ClosedRange<Int64> = -62_167_219_200_000...253_402_300_799_999

  /// True when ``rfc3339`` is this date and not the nearest one that it can say.
  var isRFC3339: Bool { timeIntervalSince1970.isFinite && Self.rfc3339Milliseconds.contains(milliseconds) }

  /// `2013-01-01T05:15:00.000Z` (RFC 3339, UTC, milliseconds). By hand, because it is written with every event and
  /// the format styles of Foundation cost more than the JSON of a small event.
  package var rfc3339: String {
    String(unsafeUninitializedCapacity: 24) { out in
      writeRFC3339(out)
      return 24
    }
  }

  /// Writes ``rfc3339``, which is 24 bytes.
  package func writeRFC3339(_ out: UnsafeMutableBufferPointer<UInt8>) {
    let range = Self.rfc3339Milliseconds
    let ms = max(range.lowerBound, min(range.upperBound, milliseconds))
    let days = ms >= 0 ? ms / 86_400_000 : (ms - 86_399_999) / 86_400_000
    var rest = ms - days * 86_400_000
    let (year, month, day) = civilDate(daysSince1970: days)
    func put(_ value: Int64, at: Int, digits: Int) {
      var value = value
      for i in stride(from: at + digits - 1, through: at, by: -1) {
        out[i] = 0x30 + UInt8(value % 10)
        value /= 10
      }
    }
    put(year, at: 0, digits: 4)
    out[4] = 0x2d
    put(month, at: 5, digits: 2)
    out[7] = 0x2d
    put(day, at: 8, digits: 2)
    out[10] = 0x54
    put(rest / 3_600_000, at: 11, digits: 2)
    rest %= 3_600_000
    out[13] = 0x3a
    put(rest / 60_000, at: 14, digits: 2)
    rest %= 60_000
    out[16] = 0x3a
    put(rest / 1000, at: 17, digits: 2)
    out[19] = 0x2e
    put(rest % 1000, at: 20, digits: 3)
    out[23] = 0x5a
  }

  /// Reads RFC 3339 with or without fractions of a second, with `Z` or an offset; nil for anything else.
  package init?(rfc3339 text: String) {
    var text = text
    guard let date = text.withUTF8({ Date(rfc3339: $0) }) else { return nil }
    self = date
  }

  init?(rfc3339 b: UnsafeBufferPointer<UInt8>) {
    guard b.count >= 20, b.count <= 40 else { return nil }
    func number(_ range: Range<Int>) -> Int64? {
      var value: Int64 = 0
      for i in range {
        guard i < b.count, (0x30...0x39).contains(b[i]) else { return nil }
        value = value * 10 + Int64(b[i] - 0x30)
      }
      return value
    }
    guard b[4] == 0x2d, b[7] == 0x2d, b[10] | 0x20 == 0x74, b[13] == 0x3a, b[16] == 0x3a,
      let year = number(0..<4), let month = number(5..<7), let day = number(8..<10),
      let hour = number(11..<13), let minute = number(14..<16), let second = number(17..<19),
      (1...12).contains(month), day >= 1, day <= length(ofMonth: month, year: year), hour < 24, minute < 60, second < 61
    else { return nil }
    var at = 19
    var fraction: Int64 = 0
    if at < b.count, b[at] == 0x2e {
      at += 1
      let start = at
      while at < b.count, (0x30...0x39).contains(b[at]) {
        if at - start < 3 { fraction = fraction * 10 + Int64(b[at] - 0x30) }
        at += 1
      }
      guard at > start else { return nil }
      for _ in min(3, at - start)..<3 { fraction *= 10 }
    }
    var offset: Int64 = 0
    guard at < b.count else { return nil }
    if b[at] | 0x20 == 0x7a {
      at += 1
    } else {
      guard b[at] == 0x2b || b[at] == 0x2d, at + 6 <= b.count, b[at + 3] == 0x3a,
        let h = number(at + 1..<at + 3), let m = number(at + 4..<at + 6), h < 24, m < 60
      else { return nil }
      offset = (b[at] == 0x2b ? 1 : -1) * (h * 60 + m) * 60_000
      at += 6
    }
    guard at == b.count else { return nil }
    let days = daysSince1970(year: year, month: month, day: day)
    let ms = days * 86_400_000 + hour * 3_600_000 + minute * 60_000 + second * 1000 + fraction - offset
    // An offset or a leap second at the ends leads to what RFC 3339 cannot say, and could not be written again.
    guard Self.rfc3339Milliseconds.contains(ms) else { return nil }
    self.init(milliseconds: ms)
  }
}

// The proleptic Gregorian calendar in eras of 400 years that begin on 1 March, so that the leap day is the last.
private func civilDate(daysSince1970 days: Int64) -> (year: Int64, month: Int64, day: Int64) {
  let shifted = days + 719_468
  let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
  let dayOfEra = shifted - era * 146_097
  let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
  let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
  let monthFromMarch = (5 * dayOfYear + 2) / 153
  let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
  return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * monthFromMarch + 2) / 5 + 1)
}

private func length(ofMonth month: Int64, year: Int64) -> Int64 {
  switch month {
  case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
  case 4, 6, 9, 11: 30
  default: 31
  }
}

private func daysSince1970(year: Int64, month: Int64, day: Int64) -> Int64 {
  let year = month <= 2 ? year - 1 : year
  let era = (year >= 0 ? year : year - 399) / 400
  let yearOfEra = year - era * 400
  let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
  return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
}
