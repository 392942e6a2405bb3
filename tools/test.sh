#!/usr/bin/env bash
# Everything that has to hold before a change lands, in steps; all of them, or those named as arguments.
# Each step's output goes to the screen and to target/test-logs/STEP.log; the table at the end has one line per
# step, and cargo's own result lines close the output. A step that fails does not keep the others from running.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
. tools/env.sh

# name | files without which the step cannot be what it says (missing = failed) | command
STEPS=(
    "setup     |                              | tools/setup.sh build demo qemu test"
    "fmt       |                              | tools/lint.sh fmt"
    "clippy    |                              | tools/lint.sh clippy"
    "deny      | deny.toml                    | tools/lint.sh deny"
    "cargo-test| tests/architecture.rs        | cargo test --locked -- --show-output"
    "lib       |                              | tools/lib.sh"
    "gst-test  | gst/Cargo.lock               | if has_gstreamer; then cargo_gst test --release -- --show-output; else echo 'SKIPPED 5: no GStreamer'; fi"
    "headers   | tools/gen-headers.sh include | tools/gen-headers.sh --check"
    "abi-matrix| docs/abi-matrix.md           | diff -u docs/abi-matrix.md <(cargo run --quiet --locked --example abi_matrix)"
    "c-hosts   | capi-tests/random_draws.c    | tools/c-hosts.sh"
    "clients   | tests/clients/check_pace.py  | tools/clients.sh"
    "rings     | tests/rings/run.py          | tools/rings.sh --count 20000"
    "qemu      | tests/qemu/run.py            | /usr/bin/python3 tests/qemu/run.py --lib $STAGE_LIB && /usr/bin/python3 tests/qemu/sasl.py --lib $STAGE_LIB"
    "qemu-chars| tests/qemu/devices.py        | /usr/bin/python3 tests/qemu/devices.py --lib $STAGE_LIB"
    "workstation| tests/qemu/workstation.py   | tools/workstation.sh --quick"
    "migration | tests/qemu/migration.py      | /usr/bin/python3 tests/qemu/migration.py --lib $STAGE_LIB --quick && tests/guest/small/build.sh $TARGET_DIR/small-guest && /usr/bin/python3 tests/qemu/migration_station.py --lib $STAGE_LIB --image $TARGET_DIR/small-guest --quick"
    "io-uring  | tests/qemu/run.py            | tools/uring.sh"
    "door      | tests/qemu/door.py           | /usr/bin/python3 tests/qemu/door.py --lib $STAGE_LIB"
    "browser   | tests/qemu/browser.py        | /usr/bin/python3 tests/qemu/browser.py --lib $STAGE_LIB && /usr/bin/python3 tests/qemu/browser.py --lib $STAGE_LIB --wss"
    "xspice    | tests/xspice/desktop.py      | /usr/bin/python3 tests/xspice/run.py --lib $STAGE_LIB && /usr/bin/python3 tests/xspice/desktop.py --lib $STAGE_LIB --seconds 25"
    "fuzz      | fuzz/Cargo.toml              | tools/fuzz.sh 10"
)

names=() rows=() bad=() failed=0 skipped_total=0
for step in "${STEPS[@]}"; do names+=("$(cut -d'|' -f1 <<<"$step" | tr -d ' ')"); done
for wanted in "$@"; do
    [[ " ${names[*]} " == *" $wanted "* ]] || { echo "test: no step $wanted; there are: ${names[*]}" >&2; exit 2; }
done

logs=$TARGET_DIR/test-logs
mkdir -p "$logs"
rm -f "$logs"/*.log
[ -d ../shared ] || echo "test: ../shared is not there: tests that need it print SKIPPED"

for step in "${STEPS[@]}"; do
    IFS='|' read -r name needs command <<<"$step"
    name=${name// /}
    [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
    log=$logs/$name.log start=$SECONDS result=ok note=
    printf '\n==== %s:%s\n' "$name" "$command"
    for file in $needs; do
        [ -e "$file" ] || { echo "missing: $file"; result=FAILED note="missing $file"; }
    done
    if [ $result = ok ]; then
        # The table is ours, so eval sees no foreign word; a subshell keeps a step's cd and set to itself.
        (eval "$command") </dev/null 2>&1 | tee "$log" || { result=FAILED note="$log"; }
        # "SKIPPED 3: why" counts three, a SKIPPED without a number one.
        skipped=$(awk 'match($0, /SKIPPED( [0-9]+:)?/) {
            n = substr($0, RSTART + 8, RLENGTH - 9); sum += n == "" ? 1 : n } END { print sum + 0 }' "$log")
        skipped_total=$((skipped_total + skipped))
        [ "$skipped" -eq 0 ] || note="${note:+$note, }$skipped skipped"
    fi
    [ $result = ok ] || { failed=1; bad+=("$log"); }
    rows+=("$(printf '%-12s %-8s %5d s  %s' "$name" "$result" $((SECONDS - start)) "$note")")
    # Without a compiler every further failure would only bury this one's message.
    [ "$name $result" != "setup FAILED" ] || tools/setup.sh rust >/dev/null 2>&1 || break
done

printf '\n==== summary (%d s)\n' "$SECONDS"
printf '%s\n' "${rows[@]}"
# Where only the end of the output is kept, it says why.
for log in "${bad[@]}"; do
    [ ! -f "$log" ] || { printf '\n==== the end of %s\n' "$(basename "$log")"; tail -n 15 "$log" | cut -c 1-300; }
done
[ "$skipped_total" -eq 0 ] || echo "SKIPPED: $skipped_total checks (see the logs in $logs)"
if [ -f "$logs/cargo-test.log" ]; then
    echo
    grep -E '^test result:' "$logs/cargo-test.log" || echo "test result: FAILED. cargo test did not get as far as running tests"
fi
exit $failed
