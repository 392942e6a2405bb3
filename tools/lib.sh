#!/usr/bin/env bash
# Builds the shared library for use and leaves it in stage/lib under the names that hosts and linkers look for.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh

tools/setup.sh build
cargo build --release --locked --lib
mkdir -p "$STAGE_LIB"
# By rename: a host that runs from the old file keeps its mapping.
cp "$TARGET_DIR/release/libspice_server.so" "$STAGE_LIB/.new"
mv "$STAGE_LIB/.new" "$STAGE_LIB/libspice-server.so.1"
ln -sfn libspice-server.so.1 "$STAGE_LIB/libspice-server.so"
echo "built stage/lib/libspice-server.so.1"
