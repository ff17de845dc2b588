# Functions for scripts that need other programs; sourced.

fail() {
  echo "error: $*" >&2
  exit 1
}

# What a bare Debian or Ubuntu lacks is installed if we may, and named if we may not.
require() {
  local works=$1 needed=$2
  shift 2
  eval "$works" >/dev/null 2>&1 && return
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@" || fail "apt-get could not install $*"
    hash -r
  fi
  eval "$works" >/dev/null 2>&1 || fail "$0 needs $needed: install it (on Debian: apt-get install $*)"
}

newest_python() {
  local name
  for name in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
    if "$name" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
      echo "$name"
      return
    fi
  done
  return 1
}

# Prints the name of a Python that can make environments.
python_with_venv() {
  require newest_python 'Python 3.10 or newer with venv' python3 python3-venv >&2
  newest_python
}
