# What the scripts need from the system, found by what works and not by package names. Needs broker.sh.

# The Debian packages that are missing for: build; broker (any); node (a broker that tests may freeze and kill);
# clients (AMQP programs in C and openssl, for the tests).
missing_packages() {
  local purpose
  for purpose in "$@"; do
    case $purpose in
    build)
      have pkg-config || echo pkg-config
      pkg_config_finds librabbitmq || echo librabbitmq-dev
      pkg_config_finds openssl || echo libssl-dev
      pkg_config_finds sqlite3 || echo libsqlite3-dev
      ;;
    broker) machine_available || compose_available || echo rabbitmq-server ;;
    node) machine_available || (! have apt-get && compose_available) || echo rabbitmq-server ;;
    clients)
      have amqp-publish || echo amqp-tools
      have openssl || echo openssl
      ;;
    esac
  done
}

pkg_config_finds() { have pkg-config && pkg-config --exists "$1"; }

# install_packages PURPOSE...: does nothing, and asks for no password, where all is there.
install_packages() {
  local packages
  packages=$(missing_packages "$@" | tr '\n' ' ')
  [[ -n $packages ]] || return 0
  have apt-get || die "please install what these Debian packages hold: $packages
(macOS: brew install pkg-config rabbitmq-c rabbitmq sqlite
 Fedora: dnf install pkgconf librabbitmq-devel librabbitmq-tools rabbitmq-server openssl openssl-devel sqlite-devel)"
  say "installing: $packages"
  # shellcheck disable=SC2086  # a list of names
  without_services apt_install $packages
  packages=$(missing_packages "$@" | tr '\n' ' ')
  [[ -z $packages ]] || die "installed, and still not found: $packages"
}

as_root() {
  if ((EUID == 0)); then
    "$@"
  else
    have sudo || die "no sudo here; run the same command once as root, it installs the packages"
    sudo "$@"
  fi
}

# What apt says is of interest only when it fails.
apt_get() {
  local output
  output=$(as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" 2>&1) ||
    { tail -n 30 <<<"$output" >&2 && return 1; }
}

# The lists may be missing on a new machine, or so old that they name files which are gone.
apt_install() {
  apt_get update || say "apt-get update failed; trying with the lists that are here"
  apt_get install --yes --no-install-recommends "$@"
}

# Debian starts a service when it installs one. The scripts run nodes of their own, so a system node that nobody asked
# for would only hold the default ports. An existing policy is left alone, and so is a service that was there before.
without_services() (
  policy=/usr/sbin/policy-rc.d was_known=false
  if service_known; then was_known=true; fi
  if [[ ! -e $policy ]]; then
    trap 'as_root rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
    as_root chmod +x $policy
  fi
  "$@"
  if ! $was_known && service_known; then
    as_root systemctl disable --quiet --now rabbitmq-server >&2
    say "rabbitmq-server's system service is off; to use it: systemctl enable --now rabbitmq-server"
  fi
)

service_known() { [[ -d /run/systemd/system ]] && systemctl cat rabbitmq-server >/dev/null 2>&1; }
