#!/usr/bin/env bash
# A short second pass with the backend that is not the default (`make lib` first): sockets are served through io_uring.
# C hosts, stock clients and stock QEMU, the parts that move most bytes or end most connections. About a minute.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh

export CAYENNE_IO=uring
build_hosts random_draws misuse replay_player serve_inputs serve_qos
said=$(CAYENNE_LOG=info LD_LIBRARY_PATH=$STAGE_LIB timeout 60 "$HOSTS/random_draws" --seed 1 --count 1 2>&1 >/dev/null </dev/null)
if ! grep -q "through io_uring" <<<"$said"; then
    # Where it is forbidden, what is left to see is that this is said and everything works.
    grep "through epoll: io_uring" <<<"$said" || { echo "FAIL nobody says what serves the sockets: $said"; exit 1; }
    echo "SKIPPED 1: there is no io_uring here"
    exit 0
fi
failed=0
check() { # NAME COMMAND...
    if timeout 120 "${@:2}"; then echo "PASS io_uring: $1"; else echo "FAIL io_uring: $1"; failed=1; fi
}
clients() { # CHECK HOST ARGUMENTS...
    check "$*" /usr/bin/python3 "tests/clients/$1.py" --lib "$STAGE_LIB" --program "$HOSTS/$2" "${@:3}"
}
# shellcheck disable=SC2016
check misuse sh -c 'LD_LIBRARY_PATH=$0 "$1" >/dev/null' "$STAGE_LIB" "$HOSTS/misuse"
clients compare_draws random_draws --level 7 --seed 3 --count 600 --compression 2
clients check_inputs serve_inputs
clients check_stalled replay_player --seconds 4
clients check_qos serve_qos --only bounds,statistics
check QEMU /usr/bin/python3 tests/qemu/run.py --lib "$STAGE_LIB" --accel "$([ -w /dev/kvm ] && echo kvm || echo tcg)" --kills 15 \
    --only tickets,sockets,query_spice,killed_clients,sandbox
exit $failed
