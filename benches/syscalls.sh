#!/usr/bin/env bash
# System calls and processor time of the display stream, spice-server and ours on io_uring and epoll: `make bench-syscalls`.
# QUICK=1: once.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh

options=(--rounds 5)
[ -z "${QUICK:-}" ] || options=(--rounds 1)
tools/setup.sh test bench
make --silent -C benches OUT="$HOSTS" "$HOSTS/commands" "$HOSTS/encode_host" \
    SPICE_CFLAGS="-I$PWD/include/spice-server -I$PWD/include $(pkg-config --cflags spice-protocol)" \
    SPICE_LIBS="-L$STAGE_LIB -lspice-server"
benches/syscalls/run.py "${options[@]}" "$@"
benches/report.py
