import CRabbitMQ
import Warren

/// Headers and arguments as librabbitmq's tables. Owns the memory that they point into, for as long as it lives.
final class FieldTable {
  private var allocations: [UnsafeMutableRawPointer] = []
  private(set) var table = amqp_table_t()

  init(_ entries: some Sequence<(key: String, value: HeaderValue)>) {
    table = makeTable(Array(entries))
  }

  convenience init(_ entries: [String: HeaderValue]) {
    self.init(entries.sorted { $0.key < $1.key }.map { (key: $0.key, value: $0.value) })
  }

  deinit { for memory in allocations { memory.deallocate() } }

  private func makeTable(_ entries: [(key: String, value: HeaderValue)]) -> amqp_table_t {
    guard !entries.isEmpty else { return amqp_table_t(num_entries: 0, entries: nil) }
    let memory = UnsafeMutablePointer<amqp_table_entry_t>.allocate(capacity: entries.count)
    allocations.append(UnsafeMutableRawPointer(memory))
    for (i, entry) in entries.enumerated() {
      memory[i] = amqp_table_entry_t(key: bytes(entry.key.utf8), value: field(entry.value))
    }
    return amqp_table_t(num_entries: Int32(entries.count), entries: memory)
  }

  private func bytes(_ source: some Collection<UInt8>) -> amqp_bytes_t {
    let memory = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: max(1, source.count))
    _ = memory.initialize(from: source)
    let start = UnsafeMutableRawPointer(memory.baseAddress)
    if let start { allocations.append(start) }
    return amqp_bytes_t(len: source.count, bytes: start)
  }

  private func field(_ value: HeaderValue) -> amqp_field_value_t {
    func text(_ kind: Character, _ source: some Collection<UInt8>) -> amqp_field_value_t {
      let b = bytes(source)
      return warren_field_bytes(kind.asciiValue ?? 0, b.bytes, b.len)
    }
    switch value {
    case .string(let string): return text("S", string.utf8)
    case .bytes(let raw): return text("x", raw)
    case .int(let number): return warren_field_i64(UInt8(ascii: "l"), number)
    case .timestamp(let date): return warren_field_i64(UInt8(ascii: "T"), date.milliseconds / 1000)
    case .double(let number): return warren_field_f64(number)
    case .bool(let flag): return warren_field_bool(flag)
    case .null: return warren_field_void()
    case .table(let entries):
      let table = makeTable(entries.sorted { $0.key < $1.key }.map { (key: $0.key, value: $0.value) })
      return warren_field_table(table.entries, table.num_entries)
    case .array(let values):
      let memory = UnsafeMutablePointer<amqp_field_value_t>.allocate(capacity: max(1, values.count))
      allocations.append(UnsafeMutableRawPointer(memory))
      for (i, value) in values.enumerated() { memory[i] = field(value) }
      return warren_field_array(memory, Int32(values.count))
    }
  }
}
