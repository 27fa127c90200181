import Warren

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// An event as it is stored: what makes two events the same.
struct Coded: Equatable {
  let type: EventType
  let body: Data

  init(_ event: some Event) throws { (type, body) = try event.encoded() }
}
