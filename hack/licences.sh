#!/usr/bin/env bash
# Every crate in Cargo.lock that is built carries a licence from the list below. Reads what cargo has already fetched.
set -euo pipefail
cd "$(dirname "$0")/.."
allowed='Apache-2.0|Apache-2.0 WITH LLVM-exception|MIT|MIT-0|BSD-2-Clause|BSD-3-Clause|ISC|Zlib|0BSD|Unicode-3.0|CC0-1.0|Unlicense|BSL-1.0|CDLA-Permissive-2.0|MPL-2.0'
cargo metadata --format-version 1 --locked --filter-platform "$(rustc -vV | sed -n 's/^host: //p')" |
  ALLOWED="$allowed" python3 -c '
import json, os, re, sys
allowed = set(os.environ["ALLOWED"].split("|"))
bad = []
for package in json.load(sys.stdin)["packages"]:
    expression = package.get("license") or "none"
    # Of alternatives one is enough; parts joined by AND are all needed.
    options = re.split(r"\s+OR\s+|/", expression.replace("(", "").replace(")", ""))
    if not any(all(part.strip() in allowed for part in re.split(r"\s+AND\s+", option)) for option in options):
        bad.append("{name} {version}: {0}".format(expression, **package))
if bad:
    sys.exit("licences outside the list in hack/licences.sh:\n  " + "\n  ".join(sorted(bad)))
'
if grep -q '"aws-lc' Cargo.lock; then
  echo 'aws-lc found in Cargo.lock: ring is the only TLS provider' >&2
  exit 1
fi
# Advisories need their database, which is fetched from outside; cargo-deny checks them where it is installed with one.
if command -v cargo-deny >/dev/null && [ -d "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs" ]; then
  cargo deny --offline check advisories
else
  echo 'advisories: not checked, no cargo-deny with a local database'
fi
