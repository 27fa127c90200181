import ArgumentParser
import Warren

/// A time span on the command line: `500ms`, `30s`, `5m`, `1h`.
struct Span: ExpressibleByArgument, CustomStringConvertible, Sendable {
  let duration: Duration

  init(_ duration: Duration) { self.duration = duration }

  init?(argument: String) {
    let digits = argument.prefix { $0.isNumber }
    guard let number = Int(digits), number <= 1_000_000_000 else { return nil }
    switch argument.dropFirst(digits.count) {
    case "ms": duration = .milliseconds(number)
    case "s": duration = .seconds(number)
    case "m": duration = .seconds(number * 60)
    case "h": duration = .seconds(number * 3600)
    default: return nil
    }
  }

  /// As it would be written.
  var description: String {
    let milliseconds = Int(duration / .milliseconds(1))
    for (unit, size) in [("h", 3_600_000), ("m", 60_000), ("s", 1000)] where milliseconds.isMultiple(of: size) {
      if milliseconds > 0 || unit == "s" { return "\(milliseconds / size)\(unit)" }
    }
    return "\(milliseconds)ms"
  }
  var defaultValueDescription: String { description }
}

/// Waits between tries: `5s,30s,2m`; `none` for no other try.
struct Waits: ExpressibleByArgument, Sendable {
  let waits: [Duration]

  init(_ waits: [Duration]) { self.waits = waits }

  init?(argument: String) {
    if argument == "none" {
      waits = []
      return
    }
    let spans = argument.split(separator: ",", omittingEmptySubsequences: false).map { Span(argument: String($0)) }
    guard !spans.contains(where: { $0 == nil }) else { return nil }
    waits = spans.compactMap { $0?.duration }
    if RetryPolicy(delays: waits).problem != nil { return nil }
  }
  var defaultValueDescription: String { waits.map { Span($0).description }.joined(separator: ",") }
}
