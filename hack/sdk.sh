#!/usr/bin/env bash
# Databricks' own SDKs drive the fake workspace: one suite in Python, which runs the commands of docs/simulator.md, too, and
# one in JavaScript. DATABRICKS_SIM names the binary.
set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD
export DATABRICKS_SIM=${DATABRICKS_SIM:-${CARGO_TARGET_DIR:-$root/target}/debug/databricks-sim}
python_tests=tests/sdk/python
javascript_tests=tests/sdk/javascript

. hack/require.sh

[ -x "$DATABRICKS_SIM" ] || fail "$DATABRICKS_SIM is missing: cargo build -p databricks-sim, or set DATABRICKS_SIM"
python=$(python_with_venv) || exit 1
# Debian 12 has Node 18, on which the suites pass, too; 20 is the oldest that anybody should still install.
require 'node -e "process.exit(+(parseInt(process.versions.node) < 18))" && npm --version' 'Node 20 or newer with npm' nodejs npm
require 'curl --version' 'curl, which docs/simulator.md uses' curl

# Each set of pinned files and interpreter has a folder of its own; one that was not finished is begun again.
install() {
  local kind=$1 key
  shift
  key=$(cat "$@" | cksum | tr ' ' '-')
  folder=$root/target/sdk/$kind-$key
  [ -e "$folder/complete" ] && return
  rm -rf "$root/target/sdk/$kind"-*
  mkdir -p "$folder"
  "install_$kind" "$folder" || fail "the $kind SDK could not be installed"
  touch "$folder/complete"
}

install_python() {
  "$python" -m venv "$1" &&
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r $python_tests/requirements.txt
}

# The SDK declares a newer Node than it needs: whatever npm is told elsewhere, that is no reason to stop.
install_javascript() {
  cp $javascript_tests/package.json $javascript_tests/package-lock.json "$1" &&
    npm ci --prefix "$1" --engine-strict=false --ignore-scripts --no-audit --no-fund --loglevel=error
}

version=$(mktemp)
log=$(mktemp)
report=$(mktemp)
trap 'rm -f "$version" "$log" "$report"' EXIT
"$python" -VV >"$version"

install python $python_tests/requirements.txt "$version"
venv=$folder
install javascript $javascript_tests/package-lock.json
modules=$folder/node_modules

status=0
PYTHONDONTWRITEBYTECODE=1 "$venv/bin/python" -m pytest -q -p no:cacheprovider --rootdir $python_tests --junitxml "$report" $python_tests || status=1
# passed, and everything else: failures, errors, skipped
read -r python_passed python_rest < <("$python" - "$report" <<'P'
import sys, xml.etree.ElementTree as tree
suite = tree.parse(sys.argv[1]).getroot().find("testsuite")
rest = sum(int(suite.get(kind)) for kind in ("failures", "errors", "skipped"))
print(int(suite.get("tests")) - rest, rest)
P
)

NODE_PATH=$modules node --test --test-reporter=spec --test-reporter-destination=stdout \
  --test-reporter=tap --test-reporter-destination="$log" $javascript_tests/*.test.js || status=1
number() { sed -n "s/^# $1 \([0-9]*\)$/\1/p" "$log" | tail -1; }
javascript_passed=$(number pass)
javascript_rest=$(($(number fail) + $(number cancelled) + $(number skipped) + $(number todo)))

echo
echo "sdk python: ${python_passed:-0} passed"
echo "sdk javascript: ${javascript_passed:-0} passed"
if [ $status != 0 ] || [ "${python_passed:-0}" = 0 ] || [ "${javascript_passed:-0}" = 0 ] || [ "${python_rest:-1}" != 0 ] || [ "$javascript_rest" != 0 ]; then
  fail "an SDK suite failed or left tests out"
fi
