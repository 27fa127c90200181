import ArgumentParser

/// Which of the waiting things a command is about: held entries of a store, or dead letters of a service.
struct Choice: ParsableArguments {
  @Flag(help: "All of them.")
  var all = false

  @Option(parsing: .upToNextOption, help: "Those with these ids, as list and show print them.")
  var id: [String] = []

  @Option(help: "Those with this cause, as list prints it.")
  var cause: String?

  enum Chosen {
    case all
    case ids([String])
    case cause(String)
  }

  /// - Parameter others: whether the command has other ways to choose, and one of them was used.
  func chosen(orAll: Bool = false, others: [String: Bool] = [:]) throws -> Chosen? {
    let names = ["--all", "--id", "--cause"] + others.keys.sorted()
    let given = [all, !id.isEmpty, cause != nil].count { $0 } + others.values.count { $0 }
    if given > 1 { throw ValidationError("Use only one of \(names.joined(separator: ", ")).") }
    if !id.isEmpty { return .ids(id) }
    if let cause { return .cause(cause) }
    if others.values.contains(true) { return nil }
    guard all || orAll else { throw ValidationError("Say which: \(names.joined(separator: ", ")).") }
    return .all
  }
}
