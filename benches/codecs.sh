#!/usr/bin/env bash
# The codecs beside spice-server's: `make bench-codecs`; docs/benchmarks.md says what is measured. QUICK=1: in under two
# minutes once all is built, with figures that say little.
#
# Leaves JSON in target/bench/, tables in target/bench/*.md and plots in target/bench/*.svg;
# `benches/report.py --docs` puts the last results into docs/benchmarks.md and docs/plots/.
# RUN: words in front of each host, e.g. "chrt -f 1" on a machine where others work.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh

out=target/bench pictures=target/bench/pictures
frames=16 rounds=3 kernel_rounds=9 modes=off,quic,lz,glz,lz4 shared=quic,glz
[ -z "${QUICK:-}" ] || frames=8 rounds=1 kernel_rounds=3 modes=quic,lz,glz shared=quic
size=1920x1080
step() { printf '\n== %s (%s s so far)\n' "$*" "$SECONDS"; }

step "packages"
tools/setup.sh build test bench
step "our library and the host"
tools/lib.sh
bench_hosts encode_host
step "pictures"
/usr/bin/python3 benches/side_by_side/pictures.py "$pictures" "${size%x*}" "${size#*x}"

named() { printf "$pictures/%s-$size.bgrx\n" "$@"; }
sequence() { named "$1" "$1-scrolled" "$1-sideways" "$1-down" | paste -sd+; }
mapfile -t singles < <(named photo ui gradient noise)

step "single pictures through both libraries: $rounds rounds"
benches/side_by_side/run.py --frames "$frames" --rounds "$rounds" --modes "$modes" --ours "$STAGE_LIB" \
    --out "$out/codecs.json" "${singles[@]}"
step "sequences through both libraries, GLZ"
benches/side_by_side/run.py --frames "$frames" --rounds "$rounds" --modes glz --ours "$STAGE_LIB" \
    --out "$out/sequences.json" "$(sequence photo)" "$(sequence ui)"
step "one client and three"
benches/side_by_side/clients.py --modes "$shared" --frames "$((frames / 2))" --rounds "$rounds" --ours "$STAGE_LIB" \
    --out "$out/clients.json" "${singles[@]:0:2}"
step "our encoders alone, scalar and best kernels"
cargo bench --quiet --bench kernels -- --rounds "$kernel_rounds" --json "$PWD/$out/kernels.json" \
    "${singles[@]}" "$(sequence photo)" "$(sequence ui)"
step "tables and plots"
benches/report.py
