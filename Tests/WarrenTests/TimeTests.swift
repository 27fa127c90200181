import Foundation
import Testing
import Warren

@Suite struct TimeTests {
  private static let firstYear: Int64 = -62_167_219_200_000  // 0000-01-01T00:00:00.000Z
  private static let lastYear: Int64 = 253_402_300_799_999  // 9999-12-31T23:59:59.999Z

  @Test(arguments: [
    (0, "1970-01-01T00:00:00.000Z"), (1, "1970-01-01T00:00:00.001Z"), (-1, "1969-12-31T23:59:59.999Z"),
    (1_357_017_300_000, "2013-01-01T05:15:00.000Z"), (951_782_399_999, "2000-02-28T23:59:59.999Z"),
    (951_782_400_000, "2000-02-29T00:00:00.000Z"), (951_868_800_000, "2000-03-01T00:00:00.000Z"),
    (-2_203_891_200_000, "1900-03-01T00:00:00.000Z"), (-2_203_891_200_001, "1900-02-28T23:59:59.999Z"),
    (4_107_542_399_999, "2100-02-28T23:59:59.999Z"), (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
    (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"), (Self.firstYear, "0000-01-01T00:00:00.000Z"),
    (Self.lastYear, "9999-12-31T23:59:59.999Z"), (-62_162_035_200_000, "0000-03-01T00:00:00.000Z"),
  ])
  func goldenTexts(_ milliseconds: Int64, _ text: String) {
    #expect(Date(milliseconds: milliseconds).rfc3339 == text)
    #expect(Date(rfc3339: text) == Date(milliseconds: milliseconds))
  }

  @Test func randomDatesComeBackToTheMillisecond() {
    var random = SeededGenerator()
    for _ in 0..<30_000 {
      let range = random.oneIn(2) ? Self.firstYear...Self.lastYear : -5_000_000_000_000...5_000_000_000_000
      let ms = Int64.random(in: range, using: &random)
      let text = Date(milliseconds: ms).rfc3339
      if text.utf8.count != 24 || Date(rfc3339: text)?.milliseconds != ms
        || Date(rfc3339: text) != Date(milliseconds: ms)
      {
        Issue.record("\(ms) became \(text) (\(random.replay))")
      }
    }
  }

  @Test func textsSortAsDatesDo() {
    var random = SeededGenerator()
    let dates = (0..<3000).map { _ in Int64.random(in: Self.firstYear...Self.lastYear, using: &random) }.sorted()
    let texts = dates.map { Date(milliseconds: $0).rfc3339 }
    #expect(texts == texts.sorted(), random.replay)
  }

  /// Foundation's calendar turns Julian in 1582, so only what is later can be compared.
  @Test func agreesWithFoundation() throws {
    var random = SeededGenerator()
    let style = Date.ISO8601FormatStyle(includingFractionalSeconds: true)
    for _ in 0..<400 {
      let date = Date(milliseconds: Int64.random(in: -12_000_000_000_000...Self.lastYear, using: &random))
      // Half a millisecond on top, because Foundation cuts what the binary fraction has lost.
      #expect(date.addingTimeInterval(0.0004).formatted(style) == date.rfc3339, random.replay)
    }
  }

  /// Walks through all days of 0000 to 2400 with a calendar that is only a table of month lengths.
  @Test func everyDayHasItsText() {
    var ms = Self.firstYear
    var wrong = 0
    for year in 0...2400 {
      let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
      // Every year's length, and every day of a few.
      let days = [0, 4, 100, 1900, 1970, 2000, 2024, 2400].contains(year)
      let lengths = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
      for (month, length) in lengths.enumerated() {
        for day in days ? Array(1...length) : [1, length] {
          let text = "\(padded(year, 4))-\(padded(month + 1, 2))-\(padded(day, 2))T00:00:00.000Z"
          let date = Date(milliseconds: ms + Int64(day - 1) * 86_400_000)
          if date.rfc3339 != text || Date(rfc3339: text) != date { wrong += 1 }
        }
        ms += Int64(length) * 86_400_000
      }
    }
    #expect(wrong == 0)
  }

  private func padded(_ number: Int, _ digits: Int) -> String {
    String(repeating: "0", count: max(0, digits - "\(number)".count)) + "\(number)"
  }

  @Test(arguments: [
    ("2013-01-01T05:15:00Z", "2013-01-01T05:15:00.000Z"), ("2013-01-01t05:15:00z", "2013-01-01T05:15:00.000Z"),
    ("2013-01-01T05:15:00.5Z", "2013-01-01T05:15:00.500Z"), ("2013-01-01T05:15:00.05Z", "2013-01-01T05:15:00.050Z"),
    ("2013-01-01T05:15:00.123456789Z", "2013-01-01T05:15:00.123Z"),
    ("2013-01-01T05:15:00.999999Z", "2013-01-01T05:15:00.999Z"),
    ("2013-01-01T05:15:00+05:30", "2012-12-31T23:45:00.000Z"),
    ("2013-01-01T05:15:00-05:00", "2013-01-01T10:15:00.000Z"),
    ("2013-01-01T05:15:00.25-00:00", "2013-01-01T05:15:00.250Z"),
    ("2013-01-01T00:00:00+23:59", "2012-12-31T00:01:00.000Z"),
    ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000Z"), ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000Z"),
  ])
  func readsWhatOthersWrite(_ text: String, _ normal: String) {
    #expect(Date(rfc3339: text)?.rfc3339 == normal)
  }

  @Test(arguments: [
    "", "Z", "2013", "2013-01-01", "2013-01-01T05:15", "2013-01-01T05:15:00", "2013-01-01 05:15:00Z",
    "20130101T051500Z",
    "2013-1-1T05:15:00Z", "13-01-01T05:15:00.00Z", "+2013-01-01T05:15:00Z", "-013-01-01T05:15:00Z",
    "2013-00-01T05:15:00Z",
    "2013-13-01T05:15:00Z", "2013-01-00T05:15:00Z", "2013-01-32T05:15:00Z", "2013-02-30T05:15:00Z",
    "2013-02-29T05:15:00Z",
    "1900-02-29T05:15:00Z", "2013-04-31T05:15:00Z", "2013-01-01T24:00:00Z", "2013-01-01T05:60:00Z",
    "2013-01-01T05:15:61Z",
    "2013-01-01T05:15:00.Z", "2013-01-01T05:15:00,5Z", "2013-01-01T05:15:00.5", "2013-01-01T05:15:00ZZ",
    "2013-01-01T05:15:00Z ",
    " 2013-01-01T05:15:00Z", "2013-01-01T05:15:00+0530",
    "2013-01-01T05:15:00+05", "2013-01-01T05:15:00+5:30", "2013-01-01T05:15:00+24:00", "2013-01-01T05:15:00+05:60",
    "2013-01-01T05:15:00-99:99", "2013-01-01T05:15:00+05:30Z", "2013-01-01T05:15:00 +05:30", "2013-01-01T05:15:0aZ",
    "２０１３-01-01T05:15:00Z", "2013-01-01T05:15:00\u{200b}Z", "2013-W01-2T05:15:00Z", "2013-001T05:15:00.0Z",
    "1357017300", "1357017300000000000000", "Tue, 01 Jan 2013 05:15:00 GMT", "2013-01-01T05:15:00.1e3Z",
    String(repeating: "9", count: 30),
    // Beyond the years that there are.
    "9999-12-31T23:59:60Z", "9999-12-31T23:59:59-00:01", "0000-01-01T00:00:00+00:01",
  ])
  func refusesWhatIsNotADate(_ text: String) {
    #expect(Date(rfc3339: text) == nil)
  }

  @Test func refusesWhatALineCannotShow() {
    let fraction = String(repeating: "1", count: 100_000)
    for text in [
      "2013-01-01T05:15:00Z\n", "2013-01-01T05:15:00Z\0", "\u{feff}2013-01-01T05:15:00Z",
      "2013-01-01T05:15:00.\(fraction)Z",
    ] {
      #expect(Date(rfc3339: text) == nil)
    }
  }

  /// Whatever is accepted is a date that says the same when it is written and read again.
  @Test func mutatedTextsNeverTrapAndNeverDrift() {
    var random = SeededGenerator()
    let alphabet = Array("0123456789TtZz:+-. ,éWe\0".unicodeScalars)
    for _ in 0..<30_000 {
      let ms = Int64.random(in: Self.firstYear...Self.lastYear, using: &random)
      var text = Array(Date(milliseconds: ms).rfc3339.unicodeScalars)
      for _ in 0..<random.int(1...4) {
        let at = random.int(0...(text.count - 1))
        switch random.int(0...2) {
        case 0: text[at] = random.pick(alphabet)
        case 1: text.insert(random.pick(alphabet), at: at)
        default: if text.count > 1 { text.remove(at: at) }
        }
      }
      var string = String.UnicodeScalarView()
      string.append(contentsOf: text)
      guard let date = Date(rfc3339: String(string)) else { continue }
      if (Self.firstYear...Self.lastYear).contains(date.milliseconds), Date(rfc3339: date.rfc3339) != date {
        Issue.record("\(String(string)) became \(date.rfc3339) (\(random.replay))")
      }
    }
  }

  @Test func roundsToTheNearestMillisecond() {
    #expect(Date(timeIntervalSince1970: 0.0004).milliseconds == 0)
    #expect(Date(timeIntervalSince1970: 0.0006).milliseconds == 1)
    #expect(Date(timeIntervalSince1970: -0.0006).milliseconds == -1)
    #expect(Date(timeIntervalSince1970: 0.9999).rfc3339 == "1970-01-01T00:00:01.000Z")
  }

  @Test(arguments: [Double.infinity, -.infinity, .nan, 1e300, -1e300, 1e18, .greatestFiniteMagnitude])
  func impossibleDatesSaturateInsteadOfTrapping(_ seconds: Double) {
    let date = Date(timeIntervalSince1970: seconds)
    #expect((-8_000_000_000_000_000...8_000_000_000_000_000).contains(date.milliseconds))
    #expect(date.rfc3339.utf8.count == 24)
    #expect(Date(rfc3339: date.rfc3339) != nil)
  }

  @Test func theWallClockIsFoundationsClock() {
    let before = Date()
    let now = Double(wallClockMilliseconds()) / 1000
    #expect(before.timeIntervalSince1970 - 0.002 <= now && now <= Date().timeIntervalSince1970 + 0.002)
  }
}
