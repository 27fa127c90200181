import CRabbitMQ
import Testing

@testable import WarrenRabbitMQ

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

@Suite struct OutBufferTests {
  @Test func whatTheKernelTakesIsSent() throws {
    let pair = try SocketPair()
    var out = OutBuffer(capacity: 16)
    #expect(out.flush(to: pair.writer) == .done(sent: 0))
    out.append([1, 2, 3])
    out.append(atMost: 10) { at in
      at[0] = 4
      return 1
    }
    out.append([])
    out.append(atMost: 5) { _ in 0 }
    let count = out.count
    #expect(count == 4)
    #expect(out.flush(to: pair.writer) == .done(sent: 4))
    #expect(pair.readAll() == [1, 2, 3, 4])
    let rest = out.count
    #expect(rest == 0)
  }

  @Test func aFullKernelKeepsTheRest() throws {
    let pair = try SocketPair()
    var out = OutBuffer(capacity: 64)
    let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
    out.append(bytes)
    var received: [UInt8] = []
    var fulls = 0
    while true {
      let before = out.count
      let flush = out.flush(to: pair.writer)
      let after = out.count
      switch flush {
      case .done(let sent):
        #expect(sent == before)
        #expect(after == 0)
        received += pair.readAll()
        #expect(received == bytes)
        #expect(fulls > 0)
        return
      case .kernelIsFull(let sent):
        #expect(after == before - sent)
        fulls += 1
        received += pair.readAll()
      case .failed(let end):
        Issue.record("\(end)")
        return
      }
    }
  }

  @Test func aPeerThatIsGoneIsAnErrorAndNoSignal() throws {
    let pair = try SocketPair()
    pair.closeReader()
    var out = OutBuffer()
    out.append([1])
    #expect(out.flush(to: pair.writer) == .failed(.failed(errno: EPIPE)))
    let count = out.count
    #expect(count == 1)
  }

  @Test func randomAppendsAndPartialSendsKeepTheStream() async throws {
    var random = ReplayableRandom()
    for _ in 0..<60 {
      await Task.yield()
      let pair = try SocketPair()
      var out = OutBuffer(capacity: random.pick([1, 7, 64, 1000, 256 << 10]))
      var expected: [UInt8] = []
      var received: [UInt8] = []
      for _ in 0..<random.int(1...120) {
        switch random.int(0...5) {
        case 0, 1:
          let bytes = random.bytes(random.oneIn(8) ? random.int(0...20_000) : random.int(0...300))
          expected += bytes
          out.append(bytes)
        case 2:
          let bytes = random.bytes(random.int(0...400))
          expected += bytes
          // Asks for more than it takes, as an encoder does.
          out.append(atMost: bytes.count + random.int(0...3000)) { at in
            for (i, byte) in bytes.enumerated() { at[i] = byte }
            return bytes.count
          }
        case 3: received += pair.read(upTo: random.int(1...5000))
        default:
          let before = out.count
          let flush = out.flush(to: pair.writer)
          let after = out.count
          switch flush {
          case .done(let sent): #expect(sent == before && after == 0, random.replay)
          case .kernelIsFull(let sent): #expect(sent + after == before && after > 0, random.replay)
          case .failed(let end): Issue.record("\(end). \(random.replay)")
          }
        }
      }
      while case .kernelIsFull = out.flush(to: pair.writer) { received += pair.readAll() }
      received += pair.readAll()
      #expect(received == expected, random.replay)
    }
  }
}
