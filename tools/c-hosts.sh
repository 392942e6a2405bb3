#!/usr/bin/env bash
# Runs the C hosts of capi-tests/ on stage/lib (`make lib` first): what they print is what they print on spice-server,
# bad commands and misuse are harmless, and a stock client's picture equals the server's after random drawing.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh

# Programs whose output is the same on both libraries. capi-tests/NAME.differences, if there, is the known
# difference in the words of diff: what is not there yet. It has to be exactly that.
SAME=(startup qxl_sync)
# Programs that would kill spice-server and judge themselves: their last line counts what went wrong.
ALONE=(bad_commands misuse)
# Arguments of compare_draws.py, one run per line; with an even seed the first client leaves half way.
DRAWS=(
    "--seed 1 --count 1000"
    "--seed 2 --count 1000 --bottom-up"
    "--seed 7 --count 1000 --bottom-up"
)

build_hosts "${SAME[@]}" "${ALONE[@]}" random_draws
failed=0

for name in "${SAME[@]}"; do
    LD_LIBRARY_PATH=$STAGE_LIB timeout 120 "$HOSTS/$name" >"$HOSTS/$name.ours" || { echo "FAIL $name: status $?"; failed=1; }
    if ! /sbin/ldconfig -p | grep -q 'libspice-server\.so\.1 '; then
        echo "SKIPPED 1: $name is not compared, libspice-server1 is not installed"
        continue
    fi
    env -u LD_LIBRARY_PATH timeout 120 "$HOSTS/$name" >"$HOSTS/$name.reference" ||
        { echo "FAIL $name: status $? on spice-server"; failed=1; }
    # Differences that are known; a line number is no part of the promise.
    known=capi-tests/$name.differences
    [ -f "$known" ] || known=/dev/null
    diff "$HOSTS/$name.reference" "$HOSTS/$name.ours" | grep '^[<>]' >"$HOSTS/$name.differences" || true
    if diff -u "$known" "$HOSTS/$name.differences"; then
        echo "PASS $name: $(wc -l <"$HOSTS/$name.ours") lines, $(grep -c '^>' "$known") of them known to differ"
    else
        echo "FAIL $name: the output differs from spice-server's otherwise than $known says"
        failed=1
    fi
done

for name in "${ALONE[@]}"; do
    if LD_LIBRARY_PATH=$STAGE_LIB timeout 120 "$HOSTS/$name" >"$HOSTS/$name.ours"; then
        echo "PASS $name: $(tail -n 1 "$HOSTS/$name.ours")"
    else
        echo "FAIL $name: status $?"
        cat "$HOSTS/$name.ours"
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
exit $failed
