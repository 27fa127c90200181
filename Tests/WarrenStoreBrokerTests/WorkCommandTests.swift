import BrokerFixture
import Foundation
import Testing
import Warren
import WarrenRabbitMQ
import WarrenSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// `warrenctl work`: a shell script is the worker.
@Suite(.serialized) struct WorkCommandTests {
  /// The command that runs, and where its script writes.
  private final class Work: Sendable {
    let folder: String
    private let process: Process
    let said = Watched("")
    private let ended = Watched<Int32?>(nil)

    /// `script` is run by `sh` for each event, with `$OUT` as a file to write to.
    init(_ script: String, _ arguments: [String]) throws {
      folder = NSTemporaryDirectory() + unique("warren-work")
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      process = Process()
      process.executableURL = Bundle.main.executableURL?.deletingLastPathComponent().appending(path: "warrenctl")
      process.arguments = ["work", "--url", TestBroker.url] + arguments + ["--", "sh", "-c", script]
      process.environment = ProcessInfo.processInfo.environment.merging([
        "OUT": folder + "/out", "FOLDER": folder, "WARREN_ID": "not the event's",
      ]) { $1 }
      let errors = Pipe()
      process.standardError = errors
      errors.whenReadable { [said] data in
        said.update { $0 += String(decoding: data, as: UTF8.self) }
      }
      process.terminationHandler = { [ended] process in ended.update { $0 = process.terminationStatus } }
      try process.run()
    }

    deinit {
      if process.isRunning { kill(process.processIdentifier, SIGKILL) }
      try? FileManager.default.removeItem(atPath: folder)
    }

    func isReady() async -> Bool { await said.wait(timeout: .seconds(20)) { $0.contains(" works on ") } != nil }
    func out() -> [String] {
      ((try? String(contentsOfFile: folder + "/out", encoding: .utf8)) ?? "").split(separator: "\n").map(String.init)
    }
    func signal(_ number: Int32) { kill(process.processIdentifier, number) }
    func end(within timeout: Duration = .seconds(20)) async -> Int32? {
      await ended.wait(timeout: timeout) { $0 != nil } ?? nil
    }
  }

  private struct Setting {
    let rabbit: RabbitMQ
    let type: EventType
    let service: String
    let publisher: Publisher
    var queue: String { "\(service).\(type)" }
    var deadLetters: String { "\(service).dead.\(type)" }

    func publish(_ bodies: String..., key: String? = nil, headers: [String: HeaderValue] = [:]) async throws {
      try await publish(bodies, key: key, headers: headers)
    }

    func publish(_ bodies: [String], key: String? = nil, headers: [String: HeaderValue] = [:]) async throws {
      let events = bodies.map { body in
        var metadata = EventMetadata(type: type, source: "tests")
        metadata.key = key
        metadata.headers = headers
        return EncodedEvent(metadata: metadata, body: Data(body.utf8))
      }
      let outcomes = await publisher.publish(encoded: events)
      #expect(!outcomes.contains { !$0.isConfirmed })
    }
  }

  private func with(_ body: (Setting) async throws -> Void) async throws {
    try await withTestBroker { rabbit, litter in
      let type = try litter.type("work")
      let service = unique("work")
      try litter.service(service, type)
      for delay in ["1s", "5s"] {
        litter.queue("\(service).retry.\(delay)")
        litter.exchange("\(service).retry.\(delay)")
      }
      try await body(
        Setting(rabbit: rabbit, type: type, service: service, publisher: Publisher(rabbit, source: "tests")))
    }
  }

  @Test func eventsComeOnStandardInputAndMetadataInTheEnvironment() async throws {
    try await with { setting in
      let script = #"""
        body=$(cat)
        printf '%s|%s|%s|%s|%s|%s|%s\n' \
          "$body" "$WARREN_TYPE" "$WARREN_SOURCE" "$WARREN_KEY" "$WARREN_ATTEMPT" "$WARREN_HEADERS" "${#WARREN_ID}" >> "$OUT"
        """#
      let work = try Work(script, ["\(setting.type)", "--service", setting.service, "--concurrency", "1"])
      #expect(await work.isReady())
      try await setting.publish(#"{"n":1}"#, #"{"n":"größer"}"#, key: "k1", headers: ["tenant": "blue", "n": 7])
      #expect(try await eventually { work.out().count == 2 })
      let rest = #"|\#(setting.type)|tests|k1|1|{"n":7,"tenant":"blue"}|36"#
      #expect(work.out() == [#"{"n":1}"# + rest, #"{"n":"größer"}"# + rest])
      work.signal(SIGTERM)
      #expect(await work.end() == 0)
      #expect(try await setting.rabbit.depth(setting.queue) == 0)
    }
  }

  @Test func exitCodesDecide() async throws {
    try await with { setting in
      let script = #"""
        body=$(cat)
        echo "$body $WARREN_ATTEMPT" >> "$OUT"
        case $body in
          1) exit 0 ;;
          2) echo "first line" >&2; echo "no such account" >&2; exit 65 ;;
          3) [ "$WARREN_ATTEMPT" -gt 1 ] || exit 75 ;;
          4) echo "database down" >&2; exit 3 ;;
          5) kill -9 $$ ;;
          6) kill $$ ;;
        esac
        """#
      let work = try Work(script, ["\(setting.type)", "--service", setting.service, "--retry", "1s"])
      #expect(await work.isReady())
      try await setting.publish("1", "2", "3", "4", "5", "6")
      #expect(try await setting.rabbit.waitForDepth(setting.deadLetters, 4, timeout: .seconds(20)))
      #expect(try await eventually { work.out().count == 10 })
      #expect(work.out().sorted() == ["1 1", "2 1", "3 1", "3 2", "4 1", "4 2", "5 1", "5 2", "6 1", "6 2"])
      work.signal(SIGTERM)
      #expect(await work.end() == 0)
      let letters = try await deadLetters(setting, 4)
      #expect(letters["2"] == "rejected: no such account")
      #expect(letters["4"] == "handlerFailed: exit code 3: database down")
      #expect(letters["5"] == "handlerFailed: ended by signal 9")
      #expect(letters["6"] == "handlerFailed: ended by signal 15")
      #expect(try await setting.rabbit.depth(setting.queue) == 0)
    }
  }

  /// Foundation's own way to start them and to read from them ended the worker after some hundred.
  @Test func thousandsOfShortCommandsEndNothing() async throws {
    try await with { setting in
      let work = try Work(
        "echo done >&2", ["\(setting.type)", "--service", setting.service, "--concurrency", "16"])
      #expect(await work.isReady())
      let count = 3000
      for _ in 0..<count / 100 { try await setting.publish(Array(repeating: "{}", count: 100)) }
      #expect(try await setting.rabbit.waitForDepth(setting.queue, 0, timeout: .seconds(60)))
      work.signal(SIGTERM)
      #expect(await work.end() == 0)
      #expect(try await setting.rabbit.depth(setting.queue) == 0)
      #expect(try await setting.rabbit.depth(setting.deadLetters) == 0)
      #expect(await work.said.wait(timeout: .seconds(10)) { $0.components(separatedBy: "done\n").count > count } != nil)
    }
  }

  @Test func aCommandThatTakesTooLongIsEndedWithWhatItHasStarted() async throws {
    try await with { setting in
      let script = #"cat > /dev/null; trap '' TERM; sleep 60 & echo $! >> "$OUT"; echo $$ >> "$OUT"; wait; sleep 60"#
      let work = try Work(
        script, ["\(setting.type)", "--service", setting.service, "--timeout", "500ms", "--retry", "none"])
      #expect(await work.isReady())
      try await setting.publish("1")
      #expect(try await setting.rabbit.waitForDepth(setting.deadLetters, 1, timeout: .seconds(20)))
      let started = work.out().compactMap { Int32($0) }
      #expect(started.count == 2)
      for processID in started {
        #expect(try await eventually { kill(processID, 0) != 0 }, "\(processID) is still there")
      }
      #expect(try await deadLetters(setting, 1)["1"]?.hasPrefix("timedOut: ") == true)
      work.signal(SIGTERM)
      #expect(await work.end() == 0)
    }
  }

  @Test func aStopLetsCommandsEndAndGivesTheRestBack() async throws {
    try await with { setting in
      let script =
        #"cat > /dev/null; echo begun >> "$OUT"; while [ ! -e "$FOLDER/go" ]; do sleep 0.05; done; echo done >> "$OUT""#
      let work = try Work(script, ["\(setting.type)", "--service", setting.service, "--concurrency", "2"])
      #expect(await work.isReady())
      try await setting.publish("1", "2", "3", "4", "5")
      #expect(try await eventually { work.out().count == 2 })
      work.signal(SIGTERM)
      #expect(await work.said.wait(timeout: .seconds(10)) { $0.contains("waiting for commands") } != nil)
      _ = FileManager.default.createFile(atPath: work.folder + "/go", contents: nil)
      #expect(await work.end() == 0)
      #expect(work.out().sorted() == ["begun", "begun", "done", "done"])
      #expect(try await setting.rabbit.waitForDepth(setting.queue, 3))
    }
  }

  @Test func withAStoreARepeatIsNotHandledAgain() async throws {
    try await with { setting in
      let store = NSTemporaryDirectory() + unique("warren-work-store") + ".sqlite"
      defer { for end in ["", "-wal", "-shm"] { unlink(store + end) } }
      let script = #"cat >> "$OUT"; echo >> "$OUT"; [ "$(grep -c . "$OUT")" -gt 1 ]"#
      let work = try Work(
        script,
        ["\(setting.type)", "--service", setting.service, "--store", store, "--retry", "100ms", "--concurrency", "1"])
      #expect(await work.isReady())
      let event = EncodedEvent(metadata: EventMetadata(type: setting.type, source: "tests"), body: Data("1".utf8))
      // Fails once and comes back from the store; the repeats are known.
      for _ in 0..<3 { _ = await setting.publisher.publish(encoded: [event]) }
      #expect(try await eventually { work.out().count == 2 })
      #expect(try await setting.rabbit.waitForDepth(setting.queue, 0))
      work.signal(SIGTERM)
      #expect(await work.end() == 0)
      // The third may have come while the first one waited: it is another delivery of the same event.
      #expect(work.out().count >= 2 && work.out().count <= 4)
      #expect(try await setting.rabbit.depth(setting.deadLetters) == 0)
    }
  }

  @Test(
    arguments: [
      (["a.b"], 64), (["a.b", "--service", "Not Good"], 64), (["a.b", "--service", "s", "--timeout", "26m"], 64),
      (["a.b", "--service", "s", "--retry", "5"], 64), (["Bad Type", "--service", "s"], 64),
    ] as [([String], Int32)])
  func wrongUsageIsSaid(arguments: [String], status: Int32) async throws {
    let work = try Work("true", arguments)
    #expect(await work.end() == status)
    #expect(await work.said.wait(timeout: .seconds(5)) { !$0.isEmpty } != nil)
  }

  /// Body to "cause: error".
  private func deadLetters(_ setting: Setting, _ count: Int) async throws -> [String: String] {
    let found = Collected<(String, String)>()
    let letters = try DeadLetters(setting.rabbit, service: try ServiceName(setting.service))
    try await letters.forEach(of: .type(setting.type)) { letter in
      found.add((String(decoding: letter.body, as: UTF8.self), "\(letter.cause): \(letter.reason)"))
      return true
    }
    #expect(found.all.count == count)
    return Dictionary(found.all) { first, _ in first }
  }
}
