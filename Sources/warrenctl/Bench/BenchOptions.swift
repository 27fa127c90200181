import ArgumentParser
import Foundation
import Warren
import WarrenRabbitMQ

enum BenchQueue: String, ExpressibleByArgument, CaseIterable {
  case classic, quorum

  var kind: QueueKind { self == .classic ? .classicWithWeakerGuarantees : .quorum }
}

struct BenchOptions: ParsableArguments {
  @Option(help: "The kind of queue.")
  var queue = BenchQueue.quorum

  @Option(help: "How many events.")
  var count = 50_000

  @Option(help: "The size of an event's body in bytes.")
  var size = 160

  @Flag(help: "Accepted for scripts: the result is always one JSON line.")
  var json = false

  @OptionGroup var broker: BrokerOptions

  func validate() throws {
    if count < 1 { throw ValidationError("--count is \(count): allowed is 1 or more") }
    if size < 1 || size > 16 << 20 { throw ValidationError("--size is \(size): allowed is 1 to 16777216") }
  }

  var handlerOptions: QueueOptions { QueueOptions(kind: queue.kind) }

  static let service: ServiceName = "warren-bench"

  /// The entities of the measurement, freshly made; deleted at the end.
  func withQueue(
    _ rabbit: RabbitMQ, singleActiveConsumer: Bool = false, _ body: () async throws -> Void
  ) async throws {
    var handlerOptions = handlerOptions
    handlerOptions.singleActiveConsumer = singleActiveConsumer
    let owner = try QueueOwner(service: Self.service)
    let entities = TopologyEntity.subscription(owner, BenchEvent.eventType, handlerOptions)
    try await delete(entities, rabbit)
    try await rabbit.topology.ensureMissing(entities)
    do {
      try await body()
    } catch {
      try? await delete(entities, rabbit)
      throw error
    }
    try await delete(entities, rabbit)
  }

  private func delete(_ entities: [TopologyEntity], _ rabbit: RabbitMQ) async throws {
    for entity in entities {
      switch entity {
      case .queue(let name, _): try await rabbit.topology.perform(.deleteQueue(name))
      case .exchange(let name), .fanoutExchange(let name): try await rabbit.topology.perform(.deleteExchange(name))
      case .binding: break
      }
    }
    await rabbit.topology.forget(entities)
  }

  func events() throws -> some Sequence<BenchEvent> {
    let note = try BenchEvent.note(size: size, id: 1_000_000)
    return (0..<count).lazy.map { BenchEvent(id: 1_000_000 + $0, note: note) }
  }
}
