#!/usr/bin/env bash
# The operator's binary as it is shipped, in FOLDER: the same bytes wherever the sources and cargo's folder lie. The image and
# `make reproducible` both build with it.
#
#   hack/build.sh PROFILE FOLDER        PROFILE: release, or dev to try the recipe quickly
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${1:?usage: hack/build.sh PROFILE FOLDER}
folder=${2:?usage: hack/build.sh PROFILE FOLDER}
cargo=${CARGO_HOME:-$HOME/.cargo}

# Panic messages and `file!()` hold paths; parts are separated by the byte 0x1f, so that a path may hold spaces.
export CARGO_ENCODED_RUSTFLAGS="--remap-path-prefix=$cargo=/cargo"$'\x1f'"--remap-path-prefix=$PWD=/src"
# What a C compiler writes of paths (ring is partly C), and what any tool writes of dates.
export CFLAGS="${CFLAGS:-} -ffile-prefix-map=$cargo=/cargo -ffile-prefix-map=$PWD=/src"
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-0}

cargo build --locked --profile "$profile" --package databricks-app-operator --bin databricks-app-operator
target=${CARGO_TARGET_DIR:-target}/$([ "$profile" = dev ] && echo debug || echo "$profile")
mkdir -p "$folder"
cp "$target/databricks-app-operator" "$folder/"
