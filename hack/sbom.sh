#!/usr/bin/env bash
# Writes the bill of materials to FILE and judges it by the schema of CycloneDX, which a pinned Python package holds.
set -euo pipefail
cd "$(dirname "$0")/.."
file=${1:?usage: hack/sbom.sh FILE}
. hack/require.sh
python=$(python_with_venv) || exit 1
venv=target/sbom/$(cat hack/sbom/requirements.txt <("$python" -VV) | cksum | tr ' ' '-')
if [ ! -e "$venv/complete" ]; then
  rm -rf target/sbom
  "$python" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r hack/sbom/requirements.txt
  touch "$venv/complete"
fi
mkdir -p "$(dirname "$file")"
"$python" hack/sbom/sbom.py >"$file.unfinished"
"$venv/bin/python" hack/sbom/judge.py "$file.unfinished"
mv "$file.unfinished" "$file"
