import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// `warrenctl dead`: what it prints and how it ends.
struct DeadCommandTests {
  private func withLetters(_ count: Int, _ body: (TestService, EventType, String) async throws -> Void) async throws {
    let type = freshType("dead")
    let record = FileManager.default.temporaryDirectory.appending(path: unique("record")).path
    defer { try? FileManager.default.removeItem(atPath: record) }
    try await withTestService(type) { service in
      try await service.declareQueues(type)
      for i in 0..<count {
        try await service.putLetter("\(i)", type, cause: i % 2 == 0 ? "even" : "odd", body: #"{"n":\#(i)}"#, minute: i)
      }
      try await body(service, type, record)
    }
  }

  @Test func lettersAreListedShownEditedReplayedAndDiscarded() async throws {
    try await withLetters(10) { service, type, record in
      let table = await service.dead("list", type)
      #expect(table.status == 0)
      #expect(table.lines.count == 3 && table.lines[0].hasPrefix("TYPE"))
      #expect(table.lines.contains { $0.contains("even") && $0.contains("2026-01-01T00:08:00.000Z") })
      let groups = await service.dead("list", type, "--json").objects
      #expect(groups.map { $0["letters"] as? Int } == [5, 5])
      #expect(groups.map { $0["cause"] as? String } == ["even", "odd"])
      #expect(groups.last?["example"] as? String == "9")

      let shown = await service.dead("show", type, "--id", "3", "4")
      #expect(shown.status == 0 && shown.objects.count == 2)
      #expect(shown.lines.first?.hasSuffix(#","event":{"n":3}}"#) == true)
      let letter = shown.objects.first?["letter"] as? [String: Any]
      #expect(letter?["id"] as? String == "3" && letter?["cause"] as? String == "odd")
      #expect(letter?["reason"] as? String == "no" && letter?["routingKey"] as? String == "some.key")
      #expect((shown.objects.first?["metadata"] as? [String: Any])?["type"] as? String == type.name)

      let edited = await service.dead("edit", type, "--id", "3", "--set", "n=33", "who.name=é", "--record", record)
      #expect(edited.status == 0, "\(edited.errors)")
      let again = await service.dead("show", type, "--id", "3")
      #expect(again.lines.first?.hasSuffix(#","event":{"n":33,"who":{"name":"é"}}}"#) == true)
      let whole = await service.dead(
        "edit", type, "--id", "5", "--file", "-", "--replay", "--record", record, input: #"{"n":"five"}"#)
      #expect(whole.status == 0, "\(whole.errors)")
      let work = try await service.rabbit.look(at: service.workQueue(type))[0]
      #expect(work.text == #"{"n":"five"}"#)

      let dry = await service.dead("replay", type, "--cause", "even", "--dry-run", "--json")
      #expect(dry.objects.first?["chosen"] as? Int == 5 && dry.objects.first?["done"] as? Int == 0)
      let replayed = await service.dead("replay", type, "--cause", "even", "--rate", "500", "--json")
      #expect(replayed.status == 0 && replayed.objects.first?["done"] as? Int == 5)
      #expect(try await service.ids(in: service.workQueue(type), count: 6) == ["5", "0", "2", "4", "6", "8"])

      let removed = await service.dead("discard", type, "--all", "--record", record)
      #expect(removed.status == 0)
      #expect(try await service.rabbit.waitForDepth(service.deadLetters(type), 0))
      let lines = try String(contentsOfFile: record, encoding: .utf8).split(separator: "\n")
      let records = try lines.map {
        try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
      }
      let actions = records.map { ($0["done"] as? [String: Any])?["action"] as? String ?? "" }
      #expect(actions == ["edit", "edit"] + Array(repeating: "discard", count: 4))
      let ids = records.map { ($0["letter"] as? [String: Any])?["id"] as? String ?? "" }
      #expect(ids == ["3", "5", "1", "7", "9", "3"])
      // Enough to make the message again.
      let bytes = records[0]["bytes"] as? [String: String]
      #expect(bytes?["body"] == Data(#"{"n":3}"#.utf8).base64EncodedString())
      let properties = bytes?["properties"].flatMap { Data(base64Encoded: $0) }.map { Array($0) } ?? []
      #expect((try? MessageProperties(reading: properties))?.messageID == "3")
    }
  }

  @Test func whatCannotBeDoneHasItsExitCode() async throws {
    try await withLetters(2) { service, type, record in
      let service2 = ["dead", "list", "--service", service.name.name]
      #expect(await Command.run(service2).status == 64)
      #expect(await Command.run(service2 + ["--type", "Not A Type"]).status == 64)
      #expect(await Command.run(["dead", "list", "--service", unique("none"), "--type", type.name]).status == 78)
      for verb in ["show", "replay", "discard"] { #expect(await service.dead(verb, type).status == 64, "\(verb)") }
      #expect(await service.dead("replay", type, "--all", "--cause", "even").status == 64)
      #expect(await service.dead("replay", type, "--all", "--rate", "0").status == 64)
      #expect(await service.dead("show", type, "--id", "none").status == 65)
      #expect(await service.dead("replay", type, "--id", "none").status == 65)
      #expect(await service.dead("edit", type, "--all", "--record", record).status == 64)
      let edit = await service.dead("edit", type, "--id", "1", "--file", "-", "--record", record, input: "{")
      #expect(edit.status == 65)
      #expect(await service.dead("edit", type, "--id", "1", "--set", "n.m=1", "--record", record).status == 65)
      let nowhere = await service.dead("discard", type, "--all", "--record", "/no/such/folder/record")
      #expect(nowhere.status == 74)
      try await service.rabbit.topology.perform(.deleteQueue(service.workQueue(type)))
      let gone = await service.dead("replay", type, "--all")
      #expect(gone.status == 69)
      #expect(gone.errors.contains("\"\(try service.workQueue(type))\" does not exist"))
      #expect(try await service.rabbit.waitForDepth(service.deadLetters(type), 2))
    }
  }

  /// Letters that want to take over the terminal of whoever looks at them.
  @Test func nothingOfALetterReachesATerminalAsItIs() async throws {
    try await withLetters(0) { service, type, record in
      let evil = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}"
      try await service.putLetter(
        evil, type, cause: evil, error: evil, body: "{\"text\":\"\u{9b}2J\u{7f}\u{202e}ok\"}",
        headers: ["k": .string(evil)])
      try await service.putLetter("2", type, cause: "other", body: evil)
      for arguments in [["list"], ["list", "--json"], ["show", "--all"], ["replay", "--all", "--dry-run"]] {
        let words = [Command.program, "dead"] + arguments + ["--service", service.name.name, "--type", type.name]
        let onTerminal = await Command(
          ["-qec", words.map { "'\($0)'" }.joined(separator: " "), "/dev/null"], program: "/usr/bin/script"
        ).ended()
        #expect(onTerminal.status == 0, "\(onTerminal.output)")
        #expect(!onTerminal.output.isEmpty)
        // The line ends of a terminal are all the controls that there are.
        let scalars = onTerminal.output.unicodeScalars.filter { $0 != "\r" && $0 != "\n" && !$0.isHarmless }
        #expect(scalars.isEmpty, "\(arguments): \(Array(scalars))")
      }
      // Elsewhere the event's bytes are left alone.
      let piped = await service.dead("show", type, "--id", evil)
      #expect(piped.output.contains("\"event\":{\"text\":\"\u{9b}2J\u{7f}\u{202e}ok\"}"))
    }
  }
}
