#!/usr/bin/env bash
# System calls and processor time of the display stream, spice-server and ours on io_uring and epoll: `make bench-syscalls`.
# QUICK=1: once.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh

options=(--rounds 5)
[ -z "${QUICK:-}" ] || options=(--rounds 1)
tools/setup.sh test bench
bench_hosts commands encode_host
benches/syscalls/run.py "${options[@]}" "$@"
benches/report.py
