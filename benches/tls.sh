#!/usr/bin/env bash
# The display stream inside TLS beside spice-server's: `make bench-tls`; docs/benchmarks.md has the figures.
# QUICK=1: in a minute once all is built. RUN: words in front of each host, e.g. "chrt -f 1".
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh

frames=24 rounds=5
[ -z "${QUICK:-}" ] || frames=8 rounds=1
tools/setup.sh build test bench
tools/lib.sh
bench_hosts encode_host
/usr/bin/python3 benches/side_by_side/tls.py --frames "$frames" --rounds "$rounds" --ours "$STAGE_LIB"
