import Foundation
import Testing
import Warren

/// Which bodies a decoder is given, by what their message says of them.
struct ForeignContentTests {
  @Test(
    arguments: [
      nil, "", "application/json", "Application/JSON", "application/json; charset=utf-8", "text/json",
      "application/json;charset=\"UTF-8\"", "application/vnd.api+json", "application/cloudevents+json ; a=b",
      "application/octet-stream", "text/plain", "text/plain; charset=us-ascii",
    ] as [String?])
  func jsonByAnyOfItsNames(type: String?) {
    #expect(ForeignContent(type: type, encoding: nil).problem(takesJSON: true) == nil)
  }

  @Test(arguments: [
    "application/xml", "application/x-protobuf", "text/html", "json", "application/jsonx", "image/png", "+json",
    "application/json; charset=utf-16", "text/plain;charset=latin1", "\u{1b}[2J", ";", "application/avro; x=+json",
  ])
  func somethingElse(type: String) {
    let problem = ForeignContent(type: type, encoding: nil).problem(takesJSON: true)
    if type == ";" {
      #expect(problem == nil)
    } else {
      #expect(problem != nil)
    }
    #expect(problem?.unicodeScalars.allSatisfy(\.isHarmless) != false)
    // A coding of the type's own may well read it.
    #expect(ForeignContent(type: type, encoding: nil).problem(takesJSON: false) == nil)
  }

  @Test(arguments: [("gzip", true), ("deflate", true), ("x", true), ("", false), ("identity", false), ("UTF-8", false)])
  func encodings(encoding: String, isRefused: Bool) {
    for takesJSON in [true, false] {
      let content = ForeignContent(type: "application/json", encoding: encoding)
      #expect((content.problem(takesJSON: takesJSON) != nil) == isRefused)
    }
  }
}
