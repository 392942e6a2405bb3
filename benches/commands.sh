#!/usr/bin/env bash
# Small commands per second, spice-server and ours by turns: `make bench-commands`; docs/benchmarks.md says what is measured.
#
#   benches/commands.sh [RUNS] [SCENE...]     RUNS of each library (9); scenes: fill grid text terminal scroll small-scroll xor
#
# SECONDS_EACH: time for which commands are offered in one run (1). RUN: words in front of each run, e.g. "chrt -f 1" on
# a machine where others work. CLIENT: drain, stall, slow or none. AHEAD: commands that may be on the way to the client
# (0: as many as the library likes; not with the scene fill, of which covered commands never arrive).
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh

runs=${1:-9}
shift || true
[ -e "$STAGE_LIB/libspice-server.so.1" ] || tools/lib.sh
bench_hosts commands
/usr/bin/python3 benches/commands/run.py --program "$HOSTS/commands" --lib "$STAGE_LIB" --rounds "$runs" \
    --seconds "${SECONDS_EACH:-1}" --client "${CLIENT:-drain}" --ahead "${AHEAD:-0}" "$@"
