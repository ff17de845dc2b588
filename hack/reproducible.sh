#!/usr/bin/env bash
# Two release builds, from copies of the sources in two folders and with two target folders: the same bytes, or the places
# where they differ.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset CARGO_TARGET_DIR
for name in one another/and-deeper; do
  mkdir -p "$folder/$name"
  # What is tracked, as it lies here: uncommitted changes count, ignored files don't.
  git ls-files -z --cached --others --exclude-standard | tar --null --files-from - --create | tar --extract --directory "$folder/$name"
  "$folder/$name/hack/build.sh" release dist
done
one=$folder/one/dist/databricks-app-operator
other=$folder/another/and-deeper/dist/databricks-app-operator
sha256sum "$one" "$other" | sed "s|$folder/||"
if ! cmp --silent "$one" "$other"; then
  echo "error: the builds differ in $(cmp --verbose "$one" "$other" | wc -l) bytes; paths that got in:" >&2
  grep --text --only-matching "$folder[[:print:]]*" "$one" "$other" | head >&2 || true
  exit 1
fi
if grep --text --quiet --fixed-strings -e "$folder" -e "$root" -e "${CARGO_HOME:-$HOME/.cargo}" "$one"; then
  echo 'error: a path of this machine is in the binary:' >&2
  grep --text --only-matching -e "$folder[[:print:]]\{0,80\}" -e "$root[[:print:]]\{0,80\}" -e "${CARGO_HOME:-$HOME/.cargo}[[:print:]]\{0,80\}" "$one" | head >&2
  exit 1
fi
echo 'the two builds are equal byte by byte, and hold no path of this machine'
