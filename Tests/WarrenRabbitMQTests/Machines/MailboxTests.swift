import CRabbitMQ
import Testing
import Warren
import WarrenSupport

@testable import WarrenRabbitMQ

@Suite(.timeLimit(.minutes(1))) struct MailboxTests {
  private func command(_ producer: UInt32, _ number: UInt64) -> EngineCommand {
    .acknowledge(ChannelID(producer), [.ack(number, multiple: false)])
  }

  private static func content(_ command: EngineCommand) -> (producer: UInt32, number: UInt64)? {
    guard case .acknowledge(let id, let acks) = command, case .ack(let number, _)? = acks.first else { return nil }
    return (id.value, number)
  }

  private static func isReadable(_ descriptor: Int32, timeout: Int32) -> Bool {
    var poller = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return poll(&poller, 1, timeout) > 0
  }

  @Test func theDescriptorIsWrittenOnlyForASleeper() {
    let mailbox = Mailbox()
    #expect(mailbox.descriptor >= 0)
    #expect(mailbox.post(command(1, 1)))
    #expect(!Self.isReadable(mailbox.descriptor, timeout: 0))
    // Something waits: no sleep.
    #expect(!mailbox.fallAsleep())
    var batch: [EngineCommand] = []
    mailbox.take(into: &batch)
    #expect(batch.count == 1)
    batch.removeAll()

    #expect(mailbox.fallAsleep())
    #expect(mailbox.post(command(1, 2)))
    #expect(Self.isReadable(mailbox.descriptor, timeout: 0))
    mailbox.wokeUp(drain: true)
    #expect(!Self.isReadable(mailbox.descriptor, timeout: 0))
    // One signal is enough for all that comes before the next sleep.
    #expect(mailbox.post(command(1, 3)))
    #expect(!Self.isReadable(mailbox.descriptor, timeout: 0))
    mailbox.take(into: &batch)
    #expect(batch.count == 2)
  }

  @Test func whoWakesUpByItselfNeedsNoSignal() {
    let mailbox = Mailbox()
    #expect(mailbox.fallAsleep())
    mailbox.wokeUp(drain: false)
    #expect(mailbox.post(command(1, 1)))
    #expect(!Self.isReadable(mailbox.descriptor, timeout: 0))
  }

  @Test func aClosedOneTakesNothingAndGivesBackWhatWasLeft() {
    let mailbox = Mailbox()
    for number in 1...3 { #expect(mailbox.post(command(1, UInt64(number)))) }
    #expect(mailbox.close().compactMap { Self.content($0)?.number } == [1, 2, 3])
    #expect(!mailbox.post(command(1, 4)))
    #expect(mailbox.close().isEmpty)
  }

  private struct Read: Sendable {
    var numbers: [UInt32: [UInt64]] = [:]
    var missedWakeUps = 0
    var sleeps = 0
  }

  /// The thread as it works: take, sleep only when nothing is there, wake up by the descriptor.
  @Test func nothingIsLostAndNobodySleepsOverACommand() async {
    var random = ReplayableRandom()
    var sleeps = 0
    for round in 0..<20 {
      let mailbox = Mailbox()
      let producers = UInt32(random.int(1...4))
      let each = UInt64(random.int(1...300))
      let expected = Int(producers) * Int(each)
      let read = Watched<Read?>(nil)
      startDetachedThread(name: "mailbox-test", stackSize: 512 << 10) {
        var result = Read()
        var count = 0
        var batch: [EngineCommand] = []
        while count < expected, result.missedWakeUps == 0 {
          mailbox.take(into: &batch)
          count += batch.count
          for command in batch {
            if let (producer, number) = Self.content(command) { result.numbers[producer, default: []].append(number) }
          }
          batch.removeAll(keepingCapacity: true)
          if count == expected { break }
          guard mailbox.fallAsleep() else { continue }
          result.sleeps += 1
          let isAwake = Self.isReadable(mailbox.descriptor, timeout: 20_000)
          if !isAwake { result.missedWakeUps += 1 }
          mailbox.wokeUp(drain: isAwake)
        }
        read.update { [result] in $0 = result }
      }
      await withTaskGroup(of: Void.self) { group in
        for producer in 0..<producers {
          group.addTask {
            for number in 0..<each {
              #expect(mailbox.post(self.command(producer, number)))
              if (number + UInt64(producer)) % 7 == 0 { await Task.yield() }
            }
          }
        }
      }
      let result = await read.wait(timeout: .seconds(50)) { $0 != nil } ?? nil
      #expect(result?.missedWakeUps == 0, "round \(round). \(random.replay)")
      for producer in 0..<producers {
        #expect(result?.numbers[producer] == Array(0..<each), "round \(round). \(random.replay)")
      }
      sleeps += result?.sleeps ?? 0
    }
    #expect(sleeps > 0, "it never slept, so this shows nothing. \(random.replay)")
  }

  @Test func atTheCloseEachCommandWasEitherTakenOrRefused() async {
    for _ in 0..<50 {
      let mailbox = Mailbox()
      let started = Watched(0)
      async let taken: [UInt64] = withTaskGroup(of: [UInt64].self) { group in
        for producer in 0..<4 {
          group.addTask {
            var taken: [UInt64] = []
            for number in UInt64(producer) * 1000..<UInt64(producer) * 1000 + 200 {
              if mailbox.post(self.command(1, number)) { taken.append(number) }
              if number % 100 == 10 { started.update { $0 += 1 } }
            }
            return taken
          }
        }
        return await group.reduce(into: []) { $0 += $1 }
      }
      _ = await started.wait { $0 > 0 }
      var first: [EngineCommand] = []
      mailbox.take(into: &first)
      let left = mailbox.close()
      let all = (first + left).compactMap { Self.content($0)?.number }
      #expect(await taken.sorted() == all.sorted())
    }
  }
}
