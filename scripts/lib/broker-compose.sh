# The broker as a container of docker-compose.yml, in a project of its own, so that several run side by side.

# A Docker client without an engine is common; some wait long for theirs.
compose_available() {
  have docker && within 5 docker info >/dev/null 2>&1 && within 5 docker compose version >/dev/null 2>&1
}

compose_ports() { { read -r amqp_port management_port <"$broker_dir/compose-ports"; } 2>/dev/null; }

compose() {
  local project
  project=warren-$(printf '%s' "$broker_dir" | cksum | cut -d ' ' -f 1)
  WARREN_AMQP_PORT=$amqp_port WARREN_MANAGEMENT_PORT=$management_port \
    docker compose --file "$root/docker-compose.yml" --project-name "$project" "$@"
}

compose_runs() { compose_ports && [[ -n $(compose ps --quiet --status running rabbitmq 2>/dev/null) ]]; }
compose_url() { compose_ports && echo "amqp://guest:guest@127.0.0.1:$amqp_port"; }
compose_pid() { die "this broker runs in a container"; }

compose_ctl() {
  compose_ports || die "no container was started for $broker_dir"
  compose exec -T rabbitmq rabbitmqctl "$@"
}

compose_start() {
  if ! compose_runs; then
    echo "$(free_port) $(free_port)" >"$broker_dir/compose-ports"
    compose_ports
    trap 'compose_stop; exit 130' HUP INT TERM
    compose up --detach --wait >&2 || die "docker compose could not start the broker"
    trap - HUP INT TERM
  fi
  wait_until 60 amqp_answers "$amqp_port" || die "the container runs but does not answer on port $amqp_port"
  say "management: http://127.0.0.1:$management_port (guest, guest)"
}

compose_stop() { if compose_ports; then compose down >&2; fi; }

compose_erase() {
  if compose_ports; then compose down --volumes >&2; fi
  rm -f "$broker_dir/compose-ports"
}
