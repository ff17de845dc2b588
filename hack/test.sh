#!/usr/bin/env bash
# Every test of the workspace, the Dockerfile's and the SDK suites, and how many each ring ran. DAO_TEST_STRICT makes a left-out test a failure.
set -uo pipefail
cd "$(dirname "$0")/.."
export DAO_TEST_STRICT=1
log=$(mktemp)
sdk_log=$(mktemp)
image_log=$(mktemp)
image=
trap 'rm -f "$log" "$sdk_log" "$image_log"; [ -z "$image" ] || kill "$image" 2>/dev/null' EXIT

# Compiles what the image holds. Scenes wait more than they compute, so there is time for it beside them.
nice -n 19 make --no-print-directory dockerfile >"$image_log" 2>&1 &
image=$!

# A thread for each of the API servers that scenes share (LANES in hack/envtest/src/testing.rs), also on two cores.
cores=$(getconf _NPROCESSORS_ONLN)
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((cores > 3 ? cores : 3))}

cargo test --workspace --locked --no-fail-fast 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
hack/sdk.sh 2>&1 | tee "$sdk_log"
sdk_status=${PIPESTATUS[0]}

wait "$image"
image_status=$?
image=
if [ "$image_status" -ne 0 ]; then
  cat "$image_log"
fi

# A ring is told by a test's module: those of tests/all, but for the three named here, run on a real API server.
count() { grep -cE "^test $1.* \.\.\. ok" "$log"; }
total=$(count '')
ring2=$(count 'in_process::')
modules=$(find tests/all -name '*.rs' -maxdepth 1 ! -name main.rs ! -name architecture.rs ! -name command_line.rs ! -name in_process.rs -exec basename {} .rs \;)
ring3=$(count "($(echo "$modules" | paste -sd '|')|chart::installed)::")
failed=$(grep -cE '^test .* \.\.\. FAILED' "$log")
ignored=$(grep -cE '^test .* \.\.\. ignored' "$log")
left_out=$(grep -c '^left out' "$log")
echo
echo "ring 1 (unit, property; simulator, environment): $((total - ring2 - ring3))"
echo "ring 2 (in process):                              $ring2"
echo "ring 3 (real API server):                         $ring3"
echo "$total passed, $failed failed, $((ignored + left_out)) skipped"
grep -E '^sdk (python|javascript): [0-9]+ passed$' "$sdk_log"
if [ "$ignored" -gt 0 ] || [ "$left_out" -gt 0 ]; then
  echo "error: tests were skipped" >&2
  exit 1
fi
if [ "$image_status" -ne 0 ]; then
  echo "error: the Dockerfile does not build what it copies: make dockerfile runs it alone" >&2
  exit "$image_status"
fi
if [ "$sdk_status" -ne 0 ]; then
  echo "error: the SDK suites failed: hack/sdk.sh runs them alone" >&2
  exit "$sdk_status"
fi
exit "$status"
