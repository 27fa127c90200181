# Processes by id, and never by id alone: an id in a file may belong to somebody else by now.

# A zombie has no command line, so it counts as gone: where nobody reaps orphans it would stay for ever.
command_line() {
  if [[ -d /proc/self ]]; then
    { tr '\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null || true
  else
    ps -o args= -p "$1" 2>/dev/null || true
  fi
}

# runs PID_FILE WORDS: true while the process in that file lives and has WORDS in its command line.
runs() {
  local pid=""
  [[ -s $1 ]] && read -r pid <"$1" && [[ $pid =~ ^[0-9]+$ ]] || return 1
  [[ " $(command_line "$pid") " == *" $2 "* ]]
}

gone() { ! runs "$@"; }

# end_process PID_FILE WORDS SECONDS: asks it to end, then kills it. A frozen process is thawed, or it could not end.
end_process() {
  local pid
  if runs "$1" "$2"; then
    read -r pid <"$1"
    kill -TERM "$pid" 2>/dev/null || true
    kill -CONT "$pid" 2>/dev/null || true
    if ! wait_until "$3" gone "$1" "$2"; then
      kill -KILL "$pid" 2>/dev/null || true
      wait_until 10 gone "$1" "$2" || say "process $pid does not end"
    fi
  fi
  rm -f "$1"
}

# detached COMMAND...: for `detached … &`. Out of reach of the terminal's Ctrl-C, and `$!` is COMMAND itself. Descriptors of
# the caller's callers are closed: who waits for their end would wait for the daemon's.
detached() {
  local descriptor
  for descriptor in /proc/self/fd/*; do
    descriptor=${descriptor##*/}
    if ((descriptor > 2)); then eval "exec $descriptor>&-" 2>/dev/null || true; fi
  done
  if have setsid; then exec setsid "$@"; else exec "$@"; fi
}
