import Foundation
import Warren
import WarrenRabbitMQ

/// Writes events as JSON lines, up to a number of them.
final class Printer: Sendable {
  private struct State {
    var printed = 0
    var failure: OutputFailed?
  }
  private let state = Watched(State())
  private let limit: Int?
  private let withMetadata: Bool

  init(limit: Int?, withMetadata: Bool) {
    self.limit = limit
    self.withMetadata = withMetadata
  }

  var failure: OutputFailed? { state.value.failure }
  var isDone: Bool { isDone(state.value) }

  private func isDone(_ state: State) -> Bool { state.failure != nil || limit.map { state.printed >= $0 } ?? false }

  func waitUntilDone() async { _ = await state.wait { self.isDone($0) } }

  /// Writes one line. Once there are enough it waits until it is cancelled, so that what comes later is not taken.
  func print(_ delivery: Delivery) async throws {
    guard !isDone else {
      _ = await state.wait { _ in false }
      throw CancellationError()
    }
    do throws(OutputFailed) {
      try emit(line(delivery))
      state.update { $0.printed += 1 }
    } catch {
      state.update { $0.failure = error }
      throw error
    }
  }

  private func line(_ delivery: Delivery) -> Data {
    let event = Self.singleLine(delivery.body)
    return withMetadata ? jsonLine([("metadata", MetadataLine(delivery).json), ("event", event)]) : event
  }

  /// The body as it is; written anew where it spans lines; as a JSON text where it is no JSON.
  static func singleLine(_ body: Data) -> Data {
    guard let value = try? JSONSerialization.jsonObject(with: body, options: .fragmentsAllowed) else {
      return (try? JSONEncoder().encode(String(decoding: body, as: UTF8.self))) ?? Data("null".utf8)
    }
    guard body.contains(where: { $0 == 0x0a || $0 == 0x0d }) else { return body }
    let options: JSONSerialization.WritingOptions = [.fragmentsAllowed, .sortedKeys, .withoutEscapingSlashes]
    return (try? JSONSerialization.data(withJSONObject: value, options: options)) ?? Data("null".utf8)
  }
}
