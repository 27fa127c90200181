import Foundation

/// One JSON object on one line.
func jsonLine(_ fields: [String: Any]) -> Data {
  let options: JSONSerialization.WritingOptions = [.sortedKeys, .withoutEscapingSlashes]
  return (try? JSONSerialization.data(withJSONObject: fields, options: options)) ?? Data("{}".utf8)
}

/// One JSON object whose values are JSON already, byte for byte.
func jsonLine(_ values: [(name: String, json: Data)]) -> Data {
  var line = Data("{".utf8)
  for (name, json) in values {
    if line.count > 1 { line.append(UInt8(ascii: ",")) }
    line.append(Data("\"\(name)\":".utf8))
    line.append(json)
  }
  line.append(UInt8(ascii: "}"))
  return line
}

/// JSON objects as lines.
func emitJSON(_ fields: [String: Any]) throws(OutputFailed) { try emit(jsonLine(fields)) }
