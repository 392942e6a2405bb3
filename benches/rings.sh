#!/usr/bin/env bash
# Small commands of a guest in another process, by callbacks and by rings in shared memory: `make bench-rings`. QUICK=1: once.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh

options=(--rounds 5)
[ -z "${QUICK:-}" ] || options=(--rounds 1 --count 100000)
tools/setup.sh build test
[ -e "$STAGE_LIB/libspice-server.so.1" ] || tools/lib.sh
build_hosts serve_ring ring_guest
/usr/bin/python3 benches/rings/run.py --hosts "$HOSTS" --lib "$STAGE_LIB" --out target/bench/rings.json "${options[@]}" "$@"
