#!/usr/bin/env bash
# Latencies and what an idle session costs, beside spice-server: `make bench-latency`. QUICK=1: in a minute. Arguments go to
# benches/latency/run.py (--only draw,key); RUN: words in front of each host.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh

options=(--rounds 3)
[ -z "${QUICK:-}" ] || options=(--rounds 1 --part 0.3 --idle-seconds 10)
tools/setup.sh test bench
bench_hosts latency latency_floor
/usr/bin/python3 benches/latency/run.py --program "$HOSTS/latency" --lib "$STAGE_LIB" --out target/bench/latency.json "${options[@]}" "$@"
