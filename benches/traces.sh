#!/usr/bin/env bash
# Recordings of real guests through spice-server and our library, all image compressions: `make bench-traces`.
# QUICK=1: two modes, once. READ_BACK=1: pixels are asked for as drivers do. RUN: words in front of each host.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh

options=(--rounds 3)
[ -z "${QUICK:-}" ] || options=(--rounds 1 --modes "quic,lz" --commands 1500)
[ -z "${READ_BACK:-}" ] || options+=(--read-back)
tools/setup.sh test bench
bench_hosts traces
benches/traces/run.py "${options[@]}" "$@"
benches/report.py
