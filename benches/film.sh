#!/usr/bin/env bash
# Films through spice-server and our library: frames that arrive, bytes, processor time, and the delay on slow lines:
# `make bench-film`. QUICK=1: once, shorter. RUN: words in front of the whole, for example "chrt -f 1".
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh

options=(--rounds 3 --seconds 10)
[ -z "${QUICK:-}" ] || options=(--rounds 1 --seconds 5)
build_hosts play_film
${RUN:-} benches/film/run.py --program "$HOSTS/play_film" --lib "$STAGE_LIB" "${options[@]}" "$@"
