# The half of scripts/fresh-machine that runs in namespaces of its own: fresh-inside.sh FOLDER COMMAND...
set -euo pipefail
source "$(dirname "$0")/common.sh"
machine=$1
shift
trap 'exit 130' HUP INT TERM

# What a user of Swift has anyway: git, the linker and headers that the toolchain leaves to the system, its libraries.
included=git,sudo,ca-certificates,tzdata,binutils,libc6-dev,libgcc-12-dev,libstdc++-12-dev
included+=,libcurl4,libedit2,libncurses6,libsqlite3-0,libxml2,zlib1g

# The Debian 12 sources that this machine uses, or Debian's own where it is another system.
debian_sources() {
  local sources=""
  if have apt-get; then
    # shellcheck disable=SC2016  # apt's own variables
    sources=$(apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' \
      'Created-By: Packages' 'Origin: Debian' 2>/dev/null | grep ' bookworm' | sort -u) || true
  fi
  if [[ $sources == *" bookworm main"* ]]; then
    echo "$sources"
  else
    echo "deb http://deb.debian.org/debian bookworm main"
  fi
}

install_debian() {
  local mirror
  mirror=$(debian_sources | sed -nE 's/^deb ([^ ]*) bookworm main$/\1/p' | head -n 1)
  if ! debootstrap --variant=minbase --include="$included" bookworm "$machine" "$mirror" >"$machine.log" 2>&1; then
    tail -n 20 "$machine.log" >&2
    die "debootstrap failed"
  fi
}

# Names, proxies, certificates and mirrors as on this machine, so that apt and git reach there what they reach here.
copy_network() {
  cp /etc/hosts /etc/resolv.conf "$machine/etc/" 2>/dev/null || true
  grep -q localhost "$machine/etc/hosts" 2>/dev/null || echo "127.0.0.1 localhost" >>"$machine/etc/hosts"
  cp -L /etc/ssl/certs/ca-certificates.crt "$machine/etc/ssl/certs/" 2>/dev/null || true
  debian_sources >"$machine/etc/apt/sources.list"
  cp -R /etc/apt/auth.conf.d "$machine/etc/apt/" 2>/dev/null || true
  if have apt-config; then
    apt-config dump | grep -E '^Acquire::(http|https|ftp|Check-|Retries|ForceIPv)' >"$machine/etc/apt/apt.conf.d/90host" || true
  fi
}

# bind FOLDER: read-only, at the same path.
bind() {
  mkdir -p "$machine$1"
  mount --bind "$1" "$machine$1"
  mount -o remount,bind,ro "$machine$1"
}

# Where git takes packages from elsewhere than their URL says, it must do so there too.
copy_git_rewriting() {
  local key value base
  while read -r key value; do
    base=${key#url.}
    base=${base%.insteadof}
    git config --file "$machine/etc/gitconfig" --add "url.$base.insteadOf" "$value"
    base=${base#file://}
    if [[ $base == /* && -d $base ]]; then
      bind "${base%/}"
      git config --file "$machine/etc/gitconfig" --replace-all safe.directory '*'
    fi
  done < <(git config --get-regexp '^url\..*\.insteadof$' | sort -u)
}

bind_swift() {
  local program
  program=$(readlink -f "$(command -v swift)")
  toolchain=${program%/bin/*}
  [[ $toolchain != /usr && $toolchain == /*/* ]] || die "the Swift toolchain must be in a folder of its own"
  bind "$toolchain"
}

mount_system() {
  mount -t proc proc "$machine/proc"
  mount -t tmpfs -o mode=755,nosuid tmpfs "$machine/dev"
  local device
  for device in null zero full random urandom tty; do
    touch "$machine/dev/$device"
    mount --bind "/dev/$device" "$machine/dev/$device"
  done
  ln -s /proc/self/fd "$machine/dev/fd"
  ln -s /proc/self/fd/0 "$machine/dev/stdin"
  ln -s /proc/self/fd/1 "$machine/dev/stdout"
  ln -s /proc/self/fd/2 "$machine/dev/stderr"
  ln -s pts/ptmx "$machine/dev/ptmx"
  mkdir -m 1777 "$machine/dev/shm"
  mkdir "$machine/dev/pts"
  mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts "$machine/dev/pts"
}

add_user() {
  chroot "$machine" useradd --create-home --shell /bin/bash newcomer
  echo 'newcomer ALL=(ALL) NOPASSWD: ALL' >"$machine/etc/sudoers.d/newcomer"
  chmod 440 "$machine/etc/sudoers.d/newcomer"
}

clone() {
  git bundle create --quiet "$machine/home/newcomer/warren.bundle" HEAD
  as_newcomer "git -c advice.detachedHead=false clone --quiet warren.bundle warren && rm -f warren.bundle"
}

as_newcomer() {
  local proxies=() name
  for name in http_proxy https_proxy no_proxy; do
    if [[ -n ${!name:-} ]]; then proxies+=("$name=${!name}"); fi
  done
  chroot --userspec=newcomer:newcomer "$machine" /usr/bin/env -i HOME=/home/newcomer USER=newcomer LANG=C.UTF-8 \
    PATH="$toolchain/bin:/usr/local/bin:/usr/bin:/bin" ${proxies[@]+"${proxies[@]}"} \
    bash -c "cd ~ && $1"
}

# A proof on a machine that has everything would prove nothing.
assert_bare() {
  local name
  for name in make cc pkg-config rabbitmq-server rabbitmqctl epmd amqp-publish; do
    if as_newcomer "PATH=\$PATH:/usr/sbin:/sbin; command -v $name" >&2; then die "$name is there already"; fi
  done
  if as_newcomer "ls /usr/lib/*/librabbitmq* /usr/include/amqp.h /usr/include/sqlite3.h 2>/dev/null"; then
    die "a library is there already"
  fi
}

timed "debootstrap" install_debian
copy_network
copy_git_rewriting
bind_swift
mount_system
add_user
clone
assert_bare
say "a bare Debian $(cat "$machine/etc/debian_version"), $(as_newcomer "git -C warren log -1 --format='HEAD is %h: %s'")"
trap timings EXIT
for command in "$@"; do
  timed "$command" as_newcomer "cd warren && $command"
done
