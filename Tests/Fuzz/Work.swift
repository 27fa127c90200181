#if DEBUG
  import ArgumentParser
  import Foundation

  #if canImport(Glibc)
    import Glibc
  #elseif canImport(Musl)
    import Musl
  #else
    import Darwin
  #endif

  /// Reads inputs, one after the other, each made from the seed and its number alone.
  struct Work: ParsableCommand {
    static let configuration = CommandConfiguration(shouldDisplay: false)

    @Option var from: Int
    @Option var to: Int
    @Option var seed: UInt64
    @Option var board: String
    @Option var reader: String?

    /// An input whose reading takes longer is a failure: a stranger could keep a worker busy with it.
    private static let limit = Duration.seconds(1)

    func run() throws {
      let board = try Board(path: board, creates: false)
      let readers = Reader.all
      let only = reader.flatMap { name in readers.firstIndex { $0.name == name } }
      for index in from..<to {
        var random = Mutator(seed: seed, index: index)
        let number = only ?? Int.random(in: readers.indices, using: &random)
        let reader = readers[number]
        let input = random.input(from: reader.samples)
        board.write(index: index, reader: number, input: input)
        do {
          let start = ContinuousClock.now
          try reader.read(input)
          let duration = ContinuousClock.now - start
          if duration > Self.limit { throw Reader.Wrong("took \(duration) for \(input.count) bytes") }
        } catch {
          print("\(reader.name): \(error)")
          throw ExitCode.failure
        }
      }
      board.write(index: to, reader: 0, input: [])
    }
  }

  /// Reads one input again.
  struct Replay: ParsableCommand {
    @Option var reader: String
    @Argument(help: "The input in hexadecimal digits.") var input: String

    func run() throws {
      guard let reader = Reader.all.first(where: { $0.name == reader }) else {
        throw ValidationError("--reader: one of \(Reader.names.joined(separator: ", "))")
      }
      let digits = Array(input)
      var bytes: [UInt8] = []
      for at in stride(from: 0, to: digits.count - 1, by: 2) {
        guard let byte = UInt8(String(digits[at...(at + 1)]), radix: 16) else {
          throw ValidationError("not hexadecimal")
        }
        bytes.append(byte)
      }
      let start = ContinuousClock.now
      try reader.read(bytes)
      print("read \(bytes.count) bytes in \(ContinuousClock.now - start)")
    }
  }
#endif
