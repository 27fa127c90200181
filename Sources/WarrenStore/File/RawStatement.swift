import GRDB
import GRDBSQLite

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif
#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Binds and reads a prepared statement without GRDB's boxes: an event has twenty columns, and a box for each costs more
/// than SQLite's own work on the row.
struct RawStatement {
  private let handle: OpaquePointer
  private let db: Database

  init(_ sql: String, _ db: Database) throws {
    handle = try db.cachedStatement(sql: sql).sqliteStatement
    self.db = db
    sqlite3_reset(handle)
    sqlite3_clear_bindings(handle)
  }

  // SQLITE_TRANSIENT, which Swift does not import: SQLite copies.
  private static let copied = unsafeBitCast(-1, to: sqlite3_destructor_type.self)

  func bind(_ at: Int32, _ value: Int64?) {
    if let value { sqlite3_bind_int64(handle, at, value) } else { sqlite3_bind_null(handle, at) }
  }

  func bind(_ at: Int32, _ value: String?) {
    guard var value else {
      sqlite3_bind_null(handle, at)
      return
    }
    value.withUTF8 { bytes in
      _ = bytes.withMemoryRebound(to: CChar.self) { bytes in
        // A nil pointer would bind null.
        if let start = bytes.baseAddress {
          sqlite3_bind_text(handle, at, start, Int32(bytes.count), Self.copied)
        } else {
          sqlite3_bind_text(handle, at, "", 0, Self.copied)
        }
      }
    }
  }

  func bind(_ at: Int32, _ value: Data) {
    _ = value.withUnsafeBytes { bytes in
      if let base = bytes.baseAddress, bytes.count > 0 {
        sqlite3_bind_blob64(handle, at, base, UInt64(bytes.count), Self.copied)
      } else {
        sqlite3_bind_zeroblob(handle, at, 0)
      }
    }
  }

  /// True when there is a row.
  func step() throws -> Bool {
    switch sqlite3_step(handle) {
    case SQLITE_ROW: return true
    case SQLITE_DONE:
      sqlite3_reset(handle)
      return false
    default:
      let code = sqlite3_extended_errcode(db.sqliteConnection)
      let text = String(cString: sqlite3_errmsg(db.sqliteConnection))
      sqlite3_reset(handle)
      throw DatabaseError(resultCode: ResultCode(rawValue: code), message: text)
    }
  }

  /// Ends a statement that has not returned its last row.
  func reset() { sqlite3_reset(handle) }

  func isNull(_ at: Int32) -> Bool { sqlite3_column_type(handle, at) == SQLITE_NULL }
  func int(_ at: Int32) -> Int64 { sqlite3_column_int64(handle, at) }
  func optionalInt(_ at: Int32) -> Int64? { isNull(at) ? nil : int(at) }

  func text(_ at: Int32) -> String? {
    guard let start = sqlite3_column_text(handle, at) else { return nil }
    return String(
      decoding: UnsafeBufferPointer(start: start, count: Int(sqlite3_column_bytes(handle, at))), as: UTF8.self)
  }

  /// What a column holds, until the next step; nil for null.
  func bytes(_ at: Int32) -> UnsafeRawBufferPointer? {
    let start: UnsafeRawPointer?
    switch sqlite3_column_type(handle, at) {
    case SQLITE_NULL: return nil
    case SQLITE_BLOB: start = sqlite3_column_blob(handle, at)
    // As UTF-8, which it is not in every file: its first user may have chosen another encoding.
    default: start = sqlite3_column_text(handle, at).map { UnsafeRawPointer($0) }
    }
    // Nil stands for nothing, and for no memory.
    guard let start else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    return UnsafeRawBufferPointer(start: start, count: Int(sqlite3_column_bytes(handle, at)))
  }

  func isText(_ at: Int32, _ text: String) -> Bool {
    var text = text
    guard let bytes = bytes(at) else { return false }
    return text.withUTF8 { other in
      guard bytes.count == other.count, let a = bytes.baseAddress, let b = other.baseAddress else {
        return bytes.count == other.count
      }
      return memcmp(a, b, bytes.count) == 0
    }
  }

  func byteCount(_ at: Int32) -> Int { Int(sqlite3_column_bytes(handle, at)) }

  func data(_ at: Int32) -> Data {
    guard let start = sqlite3_column_blob(handle, at) else { return Data() }
    return Data(bytes: start, count: Int(sqlite3_column_bytes(handle, at)))
  }
}
