#if DEBUG
  /// Something of Warren's that reads foreign bytes, with samples of what it likes to read.
  struct Reader: Sendable {
    /// A value that is not what it should be.
    struct Wrong: Error, CustomStringConvertible {
      var description: String
      init(_ description: String) { self.description = description }
    }

    var name: String
    var samples: [[UInt8]]
    /// Throws only when something is wrong: what a reader refuses with its own error is fine.
    var read: @Sendable ([UInt8]) throws -> Void

    static let all = [text, url, properties, deadLetters, frames, assembly, bodies, rows, headers, parked]
    static let names = all.map(\.name)

    static func expect(_ isRight: Bool, _ what: @autoclosure () -> String) throws {
      if !isRight { throw Wrong(what()) }
    }
  }
#endif
