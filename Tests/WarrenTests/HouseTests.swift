import Foundation
import Testing

/// Domain code imports `Warren`, so it must build where there is no broker, no C library and no database.
@Suite struct HouseTests {
  private static let package = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

  private func imports(in folder: String) throws -> [String: Set<String>] {
    let root = Self.package.appending(path: folder).resolvingSymlinksInPath()
    let files = try #require(FileManager.default.enumerator(at: root, includingPropertiesForKeys: nil))
      .compactMap { $0 as? URL }.filter { $0.pathExtension == "swift" }
    var imports: [String: Set<String>] = [:]
    for file in files {
      // The search is for speed: patterns are slow in debug builds.
      for line in try String(contentsOf: file, encoding: .utf8).split(separator: "\n") where line.contains("import ") {
        guard
          let match = line.firstMatch(
            of:
              /^\s*(?:@\w+(?:\([^)]*\))?\s+)*(?:(?:public|package|internal|private|fileprivate)\s+)?import\s+(?:(?:struct|class|enum|func|protocol|typealias|var|let)\s+)?(\w+)/
          )
        else { continue }
        imports[String(match.1), default: []].insert(file.lastPathComponent)
      }
    }
    try #require(!imports.isEmpty)
    return imports
  }

  @Test func theVocabularyImportsOnlyTheStandardLibraryFoundationAndTracing() throws {
    let allowed: Set = [
      "Foundation", "FoundationEssentials", "Glibc", "Musl", "Darwin", "Synchronization", "Instrumentation", "Logging",
    ]
    let vocabulary = try imports(in: "Sources/Warren").filter { !allowed.union(["WarrenSupport"]).contains($0.key) }
    #expect(vocabulary.isEmpty, "\(vocabulary)")
    let support = try imports(in: "Sources/WarrenSupport").filter { !allowed.contains($0.key) }
    #expect(support.isEmpty, "\(support)")
  }

  @Test func itsTestsNeedNothingElseEither() throws {
    let allowed: Set = ["Foundation", "Testing", "Warren", "WarrenSupport"]
    let foreign = try imports(in: "Tests/WarrenTests").filter { !allowed.contains($0.key) }
    #expect(foreign.isEmpty, "\(foreign)")
  }
}
