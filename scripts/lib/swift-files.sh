# The Swift code of the project, as arguments for swift-format. Relative to $root, which must be the current folder.
swift_paths() {
  local path
  for path in Package.swift Sources Tests Examples Benchmarks/Package.swift Benchmarks/Sources Benchmarks/Tests; do
    if [[ -e $path ]]; then echo "$path"; fi
  done
}
