# Which broker this checkout uses, and its life. Needs $root; see scripts/broker for what a caller can say.

source "$root/scripts/lib/process.sh"
source "$root/scripts/lib/ports.sh"
source "$root/scripts/lib/certificates.sh"
source "$root/scripts/lib/broker-machine.sh"
source "$root/scripts/lib/broker-compose.sh"

broker_dir=${BROKER_DIR:-$root/.broker}
[[ $broker_dir == /* ]] || broker_dir=$PWD/$broker_dir

broker_kind() { cat "$broker_dir/kind" 2>/dev/null; }
broker_runs() { [[ -n $(broker_kind) ]] && "$(broker_kind)_runs"; }

# True when the user brings a broker. A folder named by BROKER_DIR is a wish for another one; and a shell with
# RABBITMQ_URL="$(scripts/broker url)" still means ours.
broker_is_given() {
  [[ -n ${RABBITMQ_URL:-} && -z ${BROKER_DIR:-} ]] || return 1
  [[ -z $(broker_kind) || $RABBITMQ_URL != "$("$(broker_kind)_url")" ]]
}

# Who names a folder wants to kill and freeze the node, which a container does not allow.
broker_choose_kind() {
  if [[ -n ${BROKER_DIR:-} ]] && machine_available; then
    echo machine
  elif compose_available; then
    echo compose
  elif machine_available; then
    echo machine
  else
    die "no broker: set RABBITMQ_URL, start Docker, or install rabbitmq-server (scripts/test does on Debian and Ubuntu)"
  fi
}

# One start or stop at a time in a folder. The descriptor is closed in what stays running.
broker_lock() {
  mkdir -p "$broker_dir"
  if have flock; then
    exec 9>"$broker_dir/lock"
    flock -w 300 9 || die "another scripts/broker holds $broker_dir/lock"
  fi
}

# A program that is scripts/broker for this node, for tests and for whoever wants no options.
broker_write_program() {
  printf '#!/usr/bin/env bash\nBROKER_DIR=%q exec %q "$@"\n' "$broker_dir" "$root/scripts/broker" >"$broker_dir/broker"
  chmod +x "$broker_dir/broker"
}

broker_start() {
  broker_lock
  if ! broker_runs; then
    local kind
    kind=$(broker_choose_kind)
    echo "$kind" >"$broker_dir/kind"
    say "starting RabbitMQ ($kind)"
    broker_write_program
  fi
  "$(broker_kind)_start"
}

broker_stop() {
  [[ -n $(broker_kind) ]] || return 0
  broker_lock
  "$(broker_kind)_stop"
}

broker_erase() {
  [[ -n $(broker_kind) ]] || return 0
  broker_stop
  "$(broker_kind)_erase"
}
