@testable import Warren
