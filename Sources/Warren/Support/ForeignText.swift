extension String {
  /// Text of strangers as it may stand in an error: one line, at most `limit` bytes and a mark, and nothing that a
  /// terminal or a log would act on.
  package func shown(_ limit: Int) -> String {
    var shown = ""
    for scalar in unicodeScalars {
      let piece = scalar.isHarmless ? String(scalar) : "\\u{\(String(scalar.value, radix: 16))}"
      if shown.utf8.count + piece.utf8.count > limit { return shown + "…" }
      shown += piece
    }
    return shown
  }
}

extension Unicode.Scalar {
  /// False for what has no look of its own, or changes the look of what is around it.
  package var isHarmless: Bool {
    switch properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned: false
    default: true
    }
  }
}
