#!/usr/bin/env bash
# Runs the C hosts of capi-tests/ on stage/lib (`make lib` first): what they print is what they print on spice-server,
# and a stock client's picture equals the server's after random drawing.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh

# Programs whose output is the same on both libraries.
SAME=(startup)
# Arguments of compare_draws.py, one run per line.
DRAWS=(
    "--seed 1 --count 1000"
    "--seed 2 --count 1000 --bottom-up"
)

build_hosts "${SAME[@]}" random_draws
failed=0

for name in "${SAME[@]}"; do
    LD_LIBRARY_PATH=$STAGE_LIB timeout 120 "$HOSTS/$name" >"$HOSTS/$name.ours" || { echo "FAIL $name: status $?"; failed=1; }
    if ! /sbin/ldconfig -p | grep -q 'libspice-server\.so\.1 '; then
        echo "SKIPPED 1: $name is not compared, libspice-server1 is not installed"
        continue
    fi
    env -u LD_LIBRARY_PATH timeout 120 "$HOSTS/$name" >"$HOSTS/$name.reference"
    if diff -u "$HOSTS/$name.reference" "$HOSTS/$name.ours"; then
        echo "PASS $name: $(wc -l <"$HOSTS/$name.ours") lines equal"
    else
        echo "FAIL $name: the output differs from spice-server's"
        failed=1
    fi
done

for arguments in "${DRAWS[@]}"; do
    read -ra words <<<"$arguments"
    if timeout 300 /usr/bin/python3 tests/clients/compare_draws.py --lib "$STAGE_LIB" --program "$HOSTS/random_draws" "${words[@]}"; then
        echo "PASS random_draws $arguments"
    else
        echo "FAIL random_draws $arguments"
        failed=1
    fi
done
# Recordings: the small one of the fuzz seeds and, where they are, those of real guests. The same numbers and the same
# last picture; the small one has operations that are not drawn yet, so its picture is left out.
build_hosts replay_player
reference=$(/sbin/ldconfig -p | grep -c 'libspice-server\.so\.1 ' || true)
play() { # NAME COMMAND...: prints what the player prints, on either library
    local name=$1 ours theirs
    shift
    ours=$("$@" | LD_LIBRARY_PATH=$STAGE_LIB timeout 300 "$HOSTS/replay_player" - 2>/dev/null) || { echo "FAIL replay $name"; failed=1; return; }
    if [ "$reference" -eq 0 ]; then
        echo "SKIPPED 1: replay $name is not compared, libspice-server1 is not installed"
        return
    fi
    theirs=$("$@" | env -u LD_LIBRARY_PATH timeout 300 "$HOSTS/replay_player" - 2>/dev/null)
    [ "$name" != every_kind ] || { ours=$(grep -v primary <<<"$ours"); theirs=$(grep -v primary <<<"$theirs"); }
    if [ "$ours" = "$theirs" ]; then
        echo "PASS replay $name: ${ours//$'\n'/, }"
    else
        printf 'FAIL replay %s\n  ours:   %s\n  theirs: %s\n' "$name" "${ours//$'\n'/, }" "${theirs//$'\n'/, }"
        failed=1
    fi
}
play every_kind cat fuzz/seeds/replay/every_kind
for name in terminal office web; do
    trace=../shared/traces/$name.rec.zst
    if [ -e "$trace" ]; then
        play "$name" zstd -dcq "$trace"
    else
        echo "SKIPPED 1: $trace is not there"
    fi
done
exit $failed
