# Shared by all scripts: where the checkout is, how to speak, how to wait. Sourced, never run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)

say() { printf '%s\n' "$*" >&2; }

die() {
  say "$(basename "$0"): $*"
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# The usage text of a script is the comment block below its first line.
usage() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p;}' "$0" >&2; }

# within SECONDS COMMAND...: stops a command that hangs, where the system has `timeout` (macOS has not).
within() {
  local seconds=$1
  shift
  if have timeout; then timeout "$seconds" "$@"; else "$@"; fi
}

# wait_until SECONDS COMMAND...: asks again until COMMAND succeeds; false when the time is over.
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}

# timed NAME COMMAND...: runs COMMAND; `timings` prints how long each took, the one that failed or is running included.
timing_lines="" timing_name="" timing_began=0
timed() {
  timing_name=$1 timing_began=$SECONDS
  shift
  "$@"
  timing_lines+=$(timing_line "")$'\n'
  timing_name=""
}

timing_line() { printf '%6d s  %s%s' $((SECONDS - timing_began)) "$timing_name" "$1"; }

timings() {
  printf '%s' "$timing_lines" >&2
  [[ -z $timing_name ]] || say "$(timing_line " (not finished)")"
}

need_swift() { have swift || die "no swift in PATH: install Swift 6.2 or newer (swift.org/install)"; }
