# A broker for the length of a script, and what the script leaves behind: nothing. Needs broker.sh; the script's EXIT
# trap belongs to this file.

# session_folder: what a script may put there to be removed at its end.
session_dir="" session_stops=false session_children="" session_folder=""
trap end_session EXIT

# temporary_broker NAME: a fresh broker that nobody else uses, or the user's (RABBITMQ_URL). Tests may freeze and kill
# ours: WARREN_TEST_BROKER is a program like scripts/broker for it. Its URL for TLS is WARREN_TEST_TLS_URL, with certificates
# of all kinds beside the CA's.
temporary_broker() {
  [[ -z ${RABBITMQ_URL:-} ]] || return 0
  remove_abandoned_brokers
  session_dir=$root/.broker/$1.$$
  RABBITMQ_URL=$(BROKER_DIR=$session_dir "$root/scripts/broker" start)
  export RABBITMQ_URL
  unset WARREN_TEST_BROKER
  if BROKER_DIR=$session_dir "$root/scripts/broker" pid >/dev/null 2>&1; then
    export WARREN_TEST_BROKER=$session_dir/broker
  fi
  if WARREN_TEST_TLS_URL=$(BROKER_DIR=$session_dir "$root/scripts/broker" tls-url 2>/dev/null); then
    export WARREN_TEST_TLS_URL
  else
    unset WARREN_TEST_TLS_URL
  fi
}

# usual_broker: the one that runs for this checkout, else one that is started now and ended with the script.
usual_broker() {
  if ! RABBITMQ_URL=$("$root/scripts/broker" url 2>/dev/null); then
    unset RABBITMQ_URL
    session_stops=true
    RABBITMQ_URL=$("$root/scripts/broker" start)
  fi
  export RABBITMQ_URL
}

end_session() {
  local status=$? child
  trap '' HUP INT TERM
  for child in $session_children; do
    kill "$child" 2>/dev/null || true
    wait_until 5 child_ended "$child" || kill -KILL "$child" 2>/dev/null || true
  done
  [[ -z $session_folder ]] || rm -rf "$session_folder"
  if [[ -n $session_dir ]]; then
    if ((status != 0)) && [[ -d $session_dir/log ]]; then
      rm -rf "$root/.broker/log-of-failure"
      cp -R "$session_dir/log" "$root/.broker/log-of-failure"
      say "the broker's log is in .broker/log-of-failure"
    fi
    remove_broker "$session_dir"
  fi
  if $session_stops; then (unset RABBITMQ_URL && "$root/scripts/broker" stop) || true; fi
  timings
  exit "$status"
}

child_ended() { ! kill -0 "$1" 2>/dev/null; }

remove_broker() { BROKER_DIR=$1 "$root/scripts/broker" stop --erase && rm -rf "$1"; }

# A script that was killed could not end its broker; its process id is in the folder's name.
remove_abandoned_brokers() {
  local folder
  for folder in "$root"/.broker/*.[0-9]*; do
    if [[ -f $folder/kind && $(command_line "${folder##*.}") != *bash* ]]; then remove_broker "$folder"; fi
  done
}
