# Sourced by ./demo and ./test: says what is missing, installs it, and makes the Python environment.
# Sets $python. Debian packages stand in packages*.txt beside this file, each with the reason it is needed.

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
fail() { printf '\033[1;31merror:\033[0m %s\n' "$*" >&2; exit 1; }

cache="${XDG_CACHE_HOME:-$HOME/.cache}/lundock"

# install_packages LIST...: the packages of those lists, such as packages.txt.
install_packages() {
  command -v apt-get >/dev/null || fail "this needs Debian 12 or a relative of it (no apt-get here); packages: cluster/packages.txt"
  local missing=() package
  for package in $(cd "$checkout/cluster" && sed -e 's/#.*//' "$@"); do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}")
  say "This machine lacks ${#missing[@]} Debian packages; installing: ${missing[*]}"
  local root=()
  if [ "$(id -u)" != 0 ]; then
    { command -v sudo >/dev/null && sudo -v; } ||
      fail "installing needs root. Run this, then start again:
  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
    root=(sudo)
  fi
  mkdir -p "$cache/logs"
  "${root[@]}" apt-get update >"$cache/logs/apt.log" 2>&1 &&
    "${root[@]}" "${install[@]}" >>"$cache/logs/apt.log" 2>&1 ||
    { tail -n 20 "$cache/logs/apt.log" >&2; fail "apt-get failed; the whole log: $cache/logs/apt.log"; }
}

make_environment() {
  local system key venv
  for system in python3.13 python3.12 python3.11 python3; do
    command -v "$system" >/dev/null && "$system" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
    system=
  done
  [ -n "$system" ] || fail "no Python 3.11 or newer with venv was found"
  key=$({ cat "$checkout/setup.py"; "$system" --version; } | sha256sum | cut -c1-12)
  venv="$cache/venv-$key"
  python="$venv/bin/python"
  # This checkout's code comes first, whichever checkout the environment was made from.
  export PYTHONPATH="$checkout${PYTHONPATH:+:$PYTHONPATH}"
  export PATH="$venv/bin:$PATH:/usr/sbin:/sbin"
  [ -e "$venv/complete" ] && return 0
  say "Making a virtual environment in $venv (a minute or two)"
  mkdir -p "$cache/logs"
  rm -rf "$venv"
  { "$system" -m venv "$venv" && "$python" -m pip install --disable-pip-version-check -e "$checkout[dev,tracing]"; } \
    >"$cache/logs/pip.log" 2>&1 || { tail -n 20 "$cache/logs/pip.log" >&2; fail "pip failed; the whole log: $cache/logs/pip.log"; }
  touch "$venv/complete"
}
