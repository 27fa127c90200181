/// FNV-1a with 128 bits (the parameters of RFC 9923): the same bytes give the same number in every process, on every
/// machine and in every version, which Swift's own `Hasher` does not promise. Not for use against an adversary.
package struct StableHash {
  private var state: UInt128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d

  package init() {}

  package mutating func combine(_ bytes: some Sequence<UInt8>) {
    for byte in bytes {
      state ^= UInt128(byte)
      state &*= 0x0000_0000_0100_0000_0000_0000_0000_013b
    }
  }

  /// Text with an end mark, so that ("ab", "c") and ("a", "bc") differ.
  package mutating func combine(_ text: String) {
    combine(text.utf8)
    combine(CollectionOfOne(0xff))
  }

  package var value: UInt128 { state }
}
