#if DEBUG
  import Foundation

  #if canImport(Glibc)
    import Glibc
  #elseif canImport(Musl)
    import Musl
  #else
    import Darwin
  #endif

  /// Memory that a worker shares with its supervisor: the input that it is at survives its death.
  struct Board {
    struct Failed: Error { var code: Int32 }
    private static let size = 1 << 20
    private static let most = size - 64
    private let memory: UnsafeMutableRawPointer

    init(path: String, creates: Bool) throws {
      let descriptor = open(path, creates ? O_RDWR | O_CREAT | O_TRUNC : O_RDWR, 0o600)
      guard descriptor >= 0 else { throw Failed(code: errno) }
      defer { close(descriptor) }
      if creates, ftruncate(descriptor, off_t(Self.size)) != 0 { throw Failed(code: errno) }
      guard let memory = mmap(nil, Self.size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0), memory != MAP_FAILED
      else { throw Failed(code: errno) }
      self.memory = memory
    }

    func begin() { write(index: index, reader: 0, input: []) }

    func write(index: Int, reader: Int, input: [UInt8]) {
      let input = input.prefix(Self.most)
      memory.storeBytes(of: reader, toByteOffset: 8, as: Int.self)
      memory.storeBytes(of: input.count, toByteOffset: 16, as: Int.self)
      input.withUnsafeBytes { if let base = $0.baseAddress { memcpy(memory + 64, base, $0.count) } }
      memory.storeBytes(of: index, as: Int.self)
    }

    var index: Int { memory.load(as: Int.self) }
    var reader: String {
      let number = memory.load(fromByteOffset: 8, as: Int.self)
      return Reader.names.indices.contains(number) ? Reader.names[number] : "-"
    }
    var input: [UInt8] {
      let count = min(max(0, memory.load(fromByteOffset: 16, as: Int.self)), Self.most)
      return Array(UnsafeRawBufferPointer(start: memory + 64, count: count))
    }
  }
#endif
