#!/usr/bin/env bash
# Every test of the workspace, and how many each ring ran. DAO_TEST_STRICT makes a left-out test a failure.
set -uo pipefail
cd "$(dirname "$0")/.."
export DAO_TEST_STRICT=1
log=$(mktemp)
trap 'rm -f "$log"' EXIT

cargo test --workspace --locked --no-fail-fast 2>&1 | tee "$log"
status=${PIPESTATUS[0]}

# Ring 3 are the tests that need a control plane: those of tests/all besides the ones below, and envtest's own.
count() { grep -cE "^test $1.* \.\.\. ok" "$log"; }
total=$(count '')
ring2=$(count 'in_process::')
all=$(awk '/Running tests\/all\/main.rs \(target\/debug\/deps\/all-/ {inside=1} /Running|Doc-tests/ && !/deps\/all-/ {inside=0} inside' "$log" | grep -cE '^test .* \.\.\. ok')
architecture=$(count 'architecture::')
ring3=$((all - ring2 - architecture))
failed=$(grep -cE '^test .* \.\.\. FAILED' "$log")
ignored=$(grep -cE '^test .* \.\.\. ignored' "$log")
left_out=$(grep -c '^left out' "$log")
echo
echo "ring 1 (unit, property, simulator, environment): $((total - ring2 - ring3))"
echo "ring 2 (in process):                              $ring2"
echo "ring 3 (real API server):                         $ring3"
echo "$total passed, $failed failed, $((ignored + left_out)) skipped"
if [ "$ignored" -gt 0 ] || [ "$left_out" -gt 0 ]; then
  echo "error: tests were skipped" >&2
  exit 1
fi
exit "$status"
