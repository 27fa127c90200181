import Foundation
import Testing

@testable import WarrenRabbitMQ

@Suite struct FrameAssemblerTests {
  private typealias Content = FrameAssembler.Content

  private let carrier = FrameAssembler.Carrier.deliver(tag: 1, redelivered: false, exchange: "x", routingKey: "k")

  private func header(
    _ assembler: inout FrameAssembler, _ size: UInt64, _ properties: [UInt8] = []
  ) throws(FrameAssembler.Violation) -> Content? {
    var result: Result<Content?, FrameAssembler.Violation> = .success(nil)
    properties.withUnsafeBytes { bytes in
      do throws(FrameAssembler.Violation) {
        result = .success(try assembler.header(bodySize: size, properties: bytes))
      } catch { result = .failure(error) }
    }
    return try result.get()
  }

  private func body(
    _ assembler: inout FrameAssembler, _ fragment: some Collection<UInt8>
  ) throws(FrameAssembler.Violation) -> Content? {
    var result: Result<Content?, FrameAssembler.Violation> = .success(nil)
    Array(fragment).withUnsafeBytes { bytes in
      do throws(FrameAssembler.Violation) {
        result = .success(try assembler.body(bytes))
      } catch { result = .failure(error) }
    }
    return try result.get()
  }

  @Test func anEmptyBodyIsWholeWithItsHeader() throws {
    var assembler = FrameAssembler(maximumBodySize: 10)
    try assembler.begin(carrier)
    #expect(!assembler.isIdle)
    let content = try #require(try header(&assembler, 0, [1, 2, 3]))
    #expect(content == Content(carrier: carrier, properties: [1, 2, 3], body: Data(), isOversized: false))
    #expect(assembler.isIdle)
  }

  @Test(arguments: [(9, false), (10, false), (11, true), (1000, true)])
  func theLimitIsTheLargestBodyThatIsKept(size: Int, isOversized: Bool) throws {
    var assembler = FrameAssembler(maximumBodySize: 10)
    try assembler.begin(carrier)
    #expect(try header(&assembler, UInt64(size)) == nil)
    let bytes = [UInt8](repeating: 7, count: size)
    #expect(try body(&assembler, bytes.dropLast()) == nil)
    let content = try #require(try body(&assembler, bytes.suffix(1)))
    #expect(content.isOversized == isOversized)
    #expect(content.body == (isOversized ? Data() : Data(bytes)))
    // The next one is not affected.
    try assembler.begin(carrier)
    #expect(try header(&assembler, 0)?.isOversized == false)
  }

  @Test func aBodyThatClaimsAllBytesOfTheWorldTakesNoMemory() throws {
    for limit in [0, 1 << 20, Int.max] {
      var assembler = FrameAssembler(maximumBodySize: limit)
      try assembler.begin(carrier)
      #expect(try header(&assembler, .max) == nil)
      #expect(try body(&assembler, [1, 2, 3]) == nil)
      #expect(!assembler.isIdle)
    }
  }

  @Test func bytesOfASliceAreCopied() throws {
    var assembler = FrameAssembler(maximumBodySize: 100)
    try assembler.begin(carrier)
    var properties: [UInt8] = [5, 6]
    _ = try header(&assembler, 4, properties)
    properties[0] = 0
    var fragment: [UInt8] = [1, 2]
    _ = try body(&assembler, fragment)
    fragment[0] = 9
    let content = try #require(try body(&assembler, [3, 4]))
    #expect(content.properties == [5, 6])
    #expect(content.body == Data([1, 2, 3, 4]))
  }

  /// What the specification allows in each state.
  private enum Model: Equatable {
    case idle, header
    case body(missing: UInt64)
  }

  @Test func everyFrameInTheWrongPlaceIsAViolation() async {
    var random = ReplayableRandom()
    var violations = 0
    for _ in 0..<2000 {
      await Task.yield()
      var assembler = FrameAssembler(maximumBodySize: random.int(0...8))
      var model = Model.idle
      for _ in 0..<random.int(1...30) {
        var expected = true
        var result = true
        do {
          switch random.int(0...2) {
          case 0:
            expected = model == .idle
            if expected { model = .header }
            try assembler.begin(carrier)
          case 1:
            let size = UInt64(random.int(0...12))
            expected = model == .header
            if expected { model = size == 0 ? .idle : .body(missing: size) }
            _ = try header(&assembler, size)
          default:
            let count = random.int(0...6)
            if case .body(let missing) = model, missing >= UInt64(count) {
              let rest = missing - UInt64(count)
              model = rest == 0 ? .idle : .body(missing: rest)
            } else {
              expected = false
            }
            _ = try body(&assembler, [UInt8](repeating: 0, count: count))
          }
        } catch { result = false }
        #expect(result == expected, random.replay)
        // The connection ends with the first violation.
        if !expected {
          violations += 1
          break
        }
        #expect(assembler.isIdle == (model == .idle), random.replay)
      }
    }
    #expect(violations > 100, random.replay)
  }

  private enum Frame {
    case method(FrameAssembler.Carrier)
    case header(UInt64, [UInt8])
    case body([UInt8])
  }

  private func frames(of content: Content, whole: [UInt8], _ random: inout ReplayableRandom) -> [Frame] {
    var frames: [Frame] = [.method(content.carrier), .header(UInt64(whole.count), content.properties)]
    var rest = whole[...]
    while !rest.isEmpty {
      let part = rest.prefix(random.oneIn(10) ? 0 : random.int(1...rest.count))
      frames.append(.body(Array(part)))
      rest = rest.dropFirst(part.count)
    }
    return frames
  }

  @Test func interleavedChannelsInRandomPiecesComeOutAsTheyWereSent() async throws {
    var random = ReplayableRandom()
    for _ in 0..<500 {
      await Task.yield()
      let limit = random.int(0...40)
      var expected: [[Content]] = []
      var queues: [[Frame]] = []
      for channel in 0..<random.int(1...4) {
        var contents: [Content] = []
        var frames: [Frame] = []
        for number in 0..<random.int(0...5) {
          let whole = random.bytes(random.pick([0, 1, max(0, limit - 1), limit, limit + 1, random.int(0...80)]))
          let carrier: FrameAssembler.Carrier =
            random.oneIn(3)
            ? .returned(code: 312, text: "NO_ROUTE", exchange: "x\(channel)", routingKey: "k\(number)")
            : .deliver(tag: UInt64(number), redelivered: random.oneIn(2), exchange: "x\(channel)", routingKey: "")
          let isOversized = whole.count > limit
          let content = Content(
            carrier: carrier, properties: random.bytes(random.int(0...10)),
            body: isOversized ? Data() : Data(whole), isOversized: isOversized)
          contents.append(content)
          frames += self.frames(of: content, whole: whole, &random)
        }
        expected.append(contents)
        queues.append(frames.reversed())
      }
      var assemblers = expected.map { _ in FrameAssembler(maximumBodySize: limit) }
      var received = expected.map { _ in [Content]() }
      while let channel = queues.indices.filter({ !queues[$0].isEmpty }).randomElement(using: &random) {
        let content: Content?
        switch queues[channel].removeLast() {
        case .method(let carrier):
          try assemblers[channel].begin(carrier)
          content = nil
        case .header(let size, let properties): content = try header(&assemblers[channel], size, properties)
        case .body(let fragment): content = try body(&assemblers[channel], fragment)
        }
        if let content { received[channel].append(content) }
      }
      #expect(received == expected, random.replay)
      #expect(assemblers.allSatisfy { $0.isIdle }, random.replay)
    }
  }
}
