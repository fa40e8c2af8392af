# shellcheck shell=bash
# shellcheck disable=SC2034
# What the scripts share. Sourced, never run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
# The release binaries and their links; also the build context of the image FROM scratch.
RELEASE=$TARGET/release-bin
# The subcommands that are also called by a link's name.
LINKS="agent controller up antagonist dummy cpu-collect"
# What `up` remembers, so that `down` undoes exactly that.
STATE=${XDG_STATE_HOME:-$HOME/.local/state}/dockhealth-scripts
# Tools that cargo builds once.
TOOLS=${XDG_CACHE_HOME:-$HOME/.cache}/dockhealth-tools
# rustup's cargo before a distribution's older one; engines and servers live in sbin.
PATH=$TOOLS/bin:$HOME/.cargo/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

say() { printf '==> %s\n' "$*" >&2; }
warn() { printf 'warning: %s\n' "$*" >&2; }
fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# Prints a script's own comment header as its help.
usage() { sed -n '2,/^[^#]/{/^#/{s/^# \{0,1\}//;p}}' "$0"; }

# Puts the program FILE into $RELEASE as NAME, when it is static: release FILE NAME
release() {
  # An interpreter or a needed library makes a program dynamic; readelf reads those of any architecture.
  local parts
  parts=$(LC_ALL=C readelf --wide --program-headers --dynamic "$1")
  case $parts in *" INTERP "* | *"(NEEDED)"*) fail "$1 is not static" ;; esac
  mkdir -p "$RELEASE/links"
  if ! cmp -s "$1" "$RELEASE/$2"; then
    # A running dockhealth keeps the old file.
    cp "$1" "$RELEASE/$2.new"
    mv "$RELEASE/$2.new" "$RELEASE/$2"
  fi
  # In a folder of their own: Docker copies a link as a link only with its folder.
  local link
  for link in $LINKS; do ln -sfn dockhealth "$RELEASE/links/dockhealth-$link"; done
  printf '%s  static, %s bytes (%s MB)\n' "$RELEASE/$2" "$(stat -c %s "$1")" \
    "$(stat -c %s "$1" | awk '{ printf "%.1f", $1 / 1e6 }')"
}

# What is called ARCH here: sets `triple` to Rust's name for it, `gnu` to that of the C compiler and its package,
# `port` to that of Debian's port, `platform` to Docker's, `emulator` to that of its qemu: architecture ARCH
architecture() {
  case $1 in
    arm64) triple=aarch64-unknown-linux-gnu gnu=aarch64-linux-gnu port=arm64 platform=linux/arm64 emulator=qemu-aarch64-static ;;
    armv7) triple=armv7-unknown-linux-gnueabihf gnu=arm-linux-gnueabihf port=armhf platform=linux/arm/v7 emulator=qemu-arm-static ;;
    *) fail "$1: no such architecture; there are: arm64 armv7" ;;
  esac
}

# Runs a command as root, and says so when that takes sudo.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif have sudo; then
    say "sudo $*"
    sudo "$@"
  else
    fail "this needs root, and there is no sudo: $*"
  fi
}

# The engine: `answers`, `denied` (it is there, but not for this user), `down` (installed), or `absent`.
engine() {
  local socket=/var/run/docker.sock answer
  if have docker; then
    answer=$(docker version --format '{{.Server.Version}}' 2>&1) && { echo answers; return; }
    case $answer in *"permission denied"*) echo denied; return ;; esac
  elif [ -z "${DOCKER_HOST:-}" ] && [ -S "$socket" ] && have curl; then
    curl -sf --max-time 5 --unix-socket "$socket" http://localhost/_ping >/dev/null && { echo answers; return; }
    [ -w "$socket" ] || { echo denied; return; }
  fi
  if have dockerd; then echo down; else echo absent; fi
}

# Points dockhealth, which knows DOCKER_HOST but no docker contexts, to the engine that `docker` uses.
use_docker_context() {
  local host
  if [ -z "${DOCKER_HOST:-}" ] && have docker; then
    host=$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null) || return 0
    case $host in unix://* | tcp://*) export DOCKER_HOST=$host ;; esac
  fi
}

# Waits until the command succeeds: wait_until SECONDS COMMAND...
wait_until() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.2
  done
}

# Whether something listens at ADDRESS:PORT.
listens() {
  local host=${1%:*}
  host=${host#[}
  host=${host%]}
  case $host in 0.0.0.0 | '' | '*') host=127.0.0.1 ;; ::) host=::1 ;; esac
  (exec 3<>"/dev/tcp/$host/${1##*:}") 2>/dev/null
}

# Whether the process whose id is in FILE runs the program NAME: pid_runs FILE NAME
pid_runs() {
  [ -s "$1" ] && [ "$(cat "/proc/$(cat "$1")/comm" 2>/dev/null)" = "$2" ]
}

# Whether Node.js is there, with its npm, and new enough for what builds the web UI.
have_node() {
  have npm && have node && [ "$(node --version | sed 's/^v\([0-9]*\).*/\1/')" -ge 18 ]
}

# Builds the web UI into ui/dist, which cargo then embeds, when that is older than what it is made from.
build_ui() {
  local ui=$ROOT/ui stamp=$ROOT/ui/node_modules/.package-lock.json
  if ! have_node; then
    warn "there is no Node.js 18 with npm: what is built has no web UI, or an old one"
    return
  fi
  if [ ! -e "$stamp" ] || [ "$ui/package-lock.json" -nt "$stamp" ]; then
    say "npm fetches what the web UI is built with"
    (cd "$ui" && npm ci --no-audit --no-fund --loglevel=error) || fail "npm ci failed in ui/"
  fi
  local newer
  newer=$(find "$ui" "$ROOT/src/controller/http/openapi.json" \( -name node_modules -o -name dist -o -name tests \) -prune \
    -o -type f -newer "$ui/dist/index.html" -print -quit 2>/dev/null || true)
  if [ ! -e "$ui/dist/index.html" ] || [ -n "$newer" ]; then
    say "building the web UI"
    (cd "$ui" && npm run --silent build) || fail "npm run build failed in ui/"
  fi
}

# The machine, for figures that mean nothing without it.
machine() {
  local memory
  memory=$(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)
  echo "$(nproc) cores, $memory, Linux $(uname -r), load $(cut -d' ' -f1 /proc/loadavg)"
}

# What `up` needs root for, or nothing: the engine's socket, and pings where neither raw ICMP nor
# net.ipv4.ping_group_range is open to this user.
needs_root() {
  [ "$(id -u)" != 0 ] || return 1
  if [ "$(engine)" = denied ]; then echo "the Docker socket"; return; fi
  local low high
  read -r low high </proc/sys/net/ipv4/ping_group_range
  if [ "$(id -g)" -lt "$low" ] || [ "$(id -g)" -gt "$high" ]; then echo "ICMP sockets"; return; fi
  return 1
}
