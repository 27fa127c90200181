#if canImport(FoundationEssentials)
  package import FoundationEssentials
#else
  package import Foundation
#endif

/// How deep JSON may be nested.
///
/// Foundation reads 512 levels, at a cost that grows with the third power of the depth where a type is recursive (half a second
/// for 3 kB of `{"a":{"a":…` in an optimised build): a stranger could keep a worker busy with small messages.
package enum Nesting {
  /// Deeper than any event that means something.
  package static let deepest = 128

  /// - Throws: ``WarrenError`` with code ``WarrenError/Code/decodingFailed``.
  package static func check(_ json: Data) throws(WarrenError) {
    // So deep, and closed again.
    guard json.count >= 2 * deepest, json.withUnsafeBytes(isTooDeep) else { return }
    throw WarrenError(.decodingFailed, "it is nested more than \(deepest) deep")
  }

  private static func isTooDeep(_ bytes: UnsafeRawBufferPointer) -> Bool {
    var depth = 0
    var isText = false
    var isEscaped = false
    for byte in bytes {
      if isText {
        if isEscaped {
          isEscaped = false
        } else if byte == 0x5c {
          isEscaped = true
        } else if byte == 0x22 {
          isText = false
        }
        continue
      }
      switch byte {
      case 0x22: isText = true
      case 0x5b, 0x7b:
        depth += 1
        if depth > deepest { return true }
      case 0x5d, 0x7d: depth -= 1
      default: break
      }
    }
    return false
  }
}
