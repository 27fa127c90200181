# Loopback ports. The range stays below the one from which systems take ports for outgoing connections.

port_answers() { (: 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() {
  local port
  for _ in {1..200}; do
    port=$((20000 + RANDOM % 12000))
    if ! port_answers "$port"; then
      echo "$port"
      return
    fi
  done
  die "no free port on 127.0.0.1 between 20000 and 32000"
}

# A listening port proves little while a node boots or stands frozen: only a broker sends `connection.start` back,
# and the first byte of that frame is 1. In a subshell, which a reset connection may end.
amqp_answers() {
  (
    exec 3<>"/dev/tcp/127.0.0.1/$1"
    printf 'AMQP\0\0\11\1' >&3
    IFS= read -r -n 1 -t 2 first <&3
    [[ $first == $'\1' ]]
  ) 2>/dev/null
}
