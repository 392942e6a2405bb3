#!/usr/bin/env bash
# Full links a second, a whole session and the memory of a client, spice-server and ours in QEMU: `make bench-links`.
# QUICK=1: once, 5 s of links instead of 30. Arguments go to benches/links/run.py.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh

options=(--rounds 3 --seconds 30)
[ -z "${QUICK:-}" ] || options=(--rounds 1 --seconds 5)
tools/setup.sh qemu test
[ -e "$STAGE_LIB/libspice-server.so.1" ] || tools/lib.sh
bench_hosts links_client
/usr/bin/python3 benches/links/run.py --client "$HOSTS/links_client" --lib "$STAGE_LIB" --out target/bench/links.json "${options[@]}" "$@"
/usr/bin/python3 benches/report.py
