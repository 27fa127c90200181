# The broker as a plain process: the machine's own rabbitmq-server with a node, ports and data of its own.
# Everything listens on loopback: AMQP, AMQP over TLS where there is openssl, the Erlang distribution, epmd and what
# rabbitmqctl opens.
#
# Files in $broker_dir: ports ("amqp dist epmd tls", kept so that a restarted node has the same URL), token, node.pid,
# epmd.pid, certificates/, etc/, home/, data/, log/.

# RabbitMQ's own programs. Debian's /usr/sbin/rabbitmq* would switch to the user rabbitmq and its node.
machine_programs() {
  local folder
  for folder in "${BROKER_PROGRAMS:-}" /usr/lib/rabbitmq/bin /usr/local/sbin /opt/homebrew/sbin; do
    if [[ -n $folder && -x $folder/rabbitmq-server && -x $folder/rabbitmqctl ]]; then
      echo "$folder"
      return
    fi
  done
  return 1
}

machine_available() { machine_programs >/dev/null; }
machine_ports() { { read -r amqp_port dist_port epmd_port tls_port <"$broker_dir/ports"; } 2>/dev/null; }

# Erlang ignores arguments that it does not know: the token marks the node as the one that this folder started.
machine_node_words() { echo "-warren $(cat "$broker_dir/token" 2>/dev/null)"; }
machine_epmd_words() { echo "-port $epmd_port"; }

machine_runs() { [[ -s $broker_dir/token ]] && runs "$broker_dir/node.pid" "$(machine_node_words)"; }
machine_pid() { machine_runs && cat "$broker_dir/node.pid"; }
machine_url() { machine_ports && echo "amqp://guest:guest@127.0.0.1:$amqp_port"; }

# Only where the node listens for TLS. Passwords work there as well as the client certificate (SASL EXTERNAL).
machine_tls_url() {
  [[ -e $broker_dir/certificates/complete ]] && machine_ports && [[ -n $tls_port ]] || return 1
  echo "amqps://guest:guest@localhost:$tls_port?cacertfile=$broker_dir/certificates/ca.pem"
}

# machine_environment exec|detached COMMAND...: a clean environment, since settings of another node in the user's shell
# must not reach this one. RUNNING_UNDER_SYSTEMD lets the server's shell become the node instead of waiting for it.
machine_environment() {
  local how=$1
  shift
  "$how" env -i PATH="$PATH" HOME="$broker_dir/home" LANG=C.UTF-8 \
    ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT="$epmd_port" ERL_CRASH_DUMP_SECONDS=0 \
    RABBITMQ_NODENAME="${BROKER_NODE:-warren}@localhost" RABBITMQ_DIST_PORT="$dist_port" \
    RABBITMQ_CONF_ENV_FILE="$broker_dir/etc/environment" RABBITMQ_CONFIG_FILE="$broker_dir/etc/rabbitmq.conf" \
    RABBITMQ_ADVANCED_CONFIG_FILE="$broker_dir/etc/advanced.config" \
    RABBITMQ_ENABLED_PLUGINS_FILE="$broker_dir/etc/enabled_plugins" \
    RABBITMQ_MNESIA_BASE="$broker_dir/data" RABBITMQ_FEATURE_FLAGS_FILE="$broker_dir/data/feature_flags" \
    RABBITMQ_LOG_BASE="$broker_dir/log" RABBITMQ_SCHEDULER_BIND_TYPE=u RUNNING_UNDER_SYSTEMD=true \
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}" \
    RABBITMQ_CTL_ERL_ARGS="-start_epmd false +S 1 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}" \
    RABBITMQ_CTL_DIST_PORT_MIN=0 RABBITMQ_CTL_DIST_PORT_MAX=0 "$@"
}

machine_ctl() {
  machine_ports || die "no node was started in $broker_dir"
  machine_environment exec "$(machine_programs)/rabbitmqctl" "$@"
}

random_word() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

machine_write_files() {
  mkdir -p "$broker_dir"/{etc,home,data}
  if [[ ! -s $broker_dir/home/.erlang.cookie ]]; then
    (umask 277 && random_word >"$broker_dir/home/.erlang.cookie")
  fi
  random_word >"$broker_dir/token"
  : >"$broker_dir/etc/environment"
  echo '[rabbitmq_auth_mechanism_ssl].' >"$broker_dir/etc/enabled_plugins"
  cat >"$broker_dir/etc/rabbitmq.conf" <<CONF
listeners.tcp.1 = 127.0.0.1:$amqp_port
vm_memory_high_watermark.absolute = 2GB
disk_free_limit.absolute = 50MB
raft.wal_max_size_bytes = 67108864
CONF
  # Which has no name in rabbitmq.conf.
  echo "[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, ${BROKER_FORWARD_AGAIN:-180000}}]}]." \
    >"$broker_dir/etc/advanced.config"
  if [[ -n $tls_port ]] && have openssl; then machine_write_tls; fi
}

machine_write_tls() {
  local certificates=$broker_dir/certificates
  make_certificates "$certificates"
  cat >>"$broker_dir/etc/rabbitmq.conf" <<CONF
listeners.ssl.1 = 127.0.0.1:$tls_port
ssl_options.cacertfile = $certificates/ca.pem
ssl_options.certfile = $certificates/server.pem
ssl_options.keyfile = $certificates/server.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = false
ssl_cert_login_from = common_name
auth_mechanisms.1 = PLAIN
auth_mechanisms.2 = AMQPLAIN
auth_mechanisms.3 = EXTERNAL
CONF
}

machine_epmd_answers() { runs "$broker_dir/epmd.pid" "$(machine_epmd_words)" && port_answers "$epmd_port"; }

# Started here and not by Erlang, so that its process id is known and it ends with the node.
machine_start_epmd() {
  machine_epmd_answers && return
  detached epmd -address 127.0.0.1 -port "$epmd_port" </dev/null >"$broker_dir/log/epmd" 2>&1 9>&- &
  echo $! >"$broker_dir/epmd.pid"
  wait_until 10 machine_epmd_answers
}

machine_start_node() {
  (
    ulimit -n 65536 2>/dev/null || true
    # shellcheck disable=SC2046  # two words
    machine_environment detached "$(machine_programs)/rabbitmq-server" $(machine_node_words)
  ) </dev/null >"$broker_dir/log/output" 2>&1 9>&- &
  echo $! >"$broker_dir/node.pid"
  wait_until 10 machine_runs && wait_until 180 machine_settled && machine_runs
}

machine_settled() { ! machine_runs || amqp_answers "$amqp_port"; }

machine_choose_ports() {
  machine_stop
  echo "$(free_port) $(free_port) $(free_port) $(free_port)" >"$broker_dir/ports"
  machine_ports
}

machine_ports_usable() {
  machine_ports && ! port_answers "$amqp_port" && ! port_answers "$dist_port" &&
    ! port_answers "${tls_port:-0}" && { machine_epmd_answers || ! port_answers "$epmd_port"; }
}

machine_start() {
  if machine_runs && machine_ports; then
    wait_until 60 amqp_answers "$amqp_port" ||
      die "the node runs (process $(machine_pid)) but does not answer; \`scripts/broker stop\` ends it"
    return
  fi
  have epmd || die "no epmd in PATH (it comes with Erlang)"
  mkdir -p "$broker_dir/log"
  trap 'machine_stop; exit 130' HUP INT TERM
  machine_ports_usable || machine_choose_ports
  for _ in 1 2 3; do
    machine_write_files
    if machine_start_epmd && machine_start_node; then
      trap - HUP INT TERM
      return
    fi
    machine_stop
    # Between the look and the start another process may have taken a port.
    grep -qsi -e eaddrinuse -e 'in use' "$broker_dir"/log/{output,epmd} || break
    machine_choose_ports
  done
  tail -n 20 "$broker_dir/log/output" >&2 || true
  die "the node does not start; its log is in $broker_dir/log"
}

machine_stop() {
  machine_ports || return 0
  end_process "$broker_dir/node.pid" "$(machine_node_words)" 30
  end_process "$broker_dir/epmd.pid" "$(machine_epmd_words)" 5
}

# Only what was made here: the caller may have named a folder that holds something else.
machine_erase() { rm -rf "${broker_dir:?}"/{certificates,data,log,etc,home,ports,token}; }
