#!/usr/bin/env bash
# Runs the C hosts of capi-tests/ on stage/lib (`make lib` first): what they print is what they print on spice-server,
# and a stock client's picture equals the server's after random drawing.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh

# Command lines whose output is the same on both libraries.
SAME=(
    "startup"
    "random_draws --seed 5 --count 1000 --level 7"
)
# Arguments of compare_draws.py, one run per line.
DRAWS=(
    "--seed 1 --count 1000"
    "--seed 2 --count 1000 --bottom-up"
    "--seed 3 --count 1000 --level 7"
)

build_hosts startup random_draws
failed=0

for line in "${SAME[@]}"; do
    read -ra words <<<"$line"
    name=${words[0]}
    LD_LIBRARY_PATH=$STAGE_LIB timeout 120 "$HOSTS/$name" "${words[@]:1}" >"$HOSTS/$name.ours" || { echo "FAIL $name: status $?"; failed=1; }
    if ! /sbin/ldconfig -p | grep -q 'libspice-server\.so\.1 '; then
        echo "SKIPPED 1: $name is not compared, libspice-server1 is not installed"
        continue
    fi
    env -u LD_LIBRARY_PATH timeout 120 "$HOSTS/$name" "${words[@]:1}" >"$HOSTS/$name.reference"
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
exit $failed
