#!/usr/bin/env bash
# Runs every fuzz target for N seconds from its committed seeds and says how far each one came.
#
#   tools/fuzz.sh N [TARGET...]
#
# What libFuzzer finds to be new goes to fuzz/corpus (not committed); a finding goes to fuzz/artifacts and fails
# the run, with the command that repeats it.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh

case ${1:-} in ''|*[!0-9]*) echo "usage: tools/fuzz.sh SECONDS [TARGET...]" >&2; exit 2 ;; esac
seconds=$1
shift

[ -f fuzz/Cargo.toml ] || { echo "fuzz: missing: fuzz/Cargo.toml" >&2; exit 1; }
tools/setup.sh build test

# Sanitizers are unstable options: a nightly that is new enough, else the stable compiler told to accept them.
want=$(sed -n 's/^rust-version *= *"\(.*\)".*/\1/p' Cargo.toml)
nightly=$(rustc +nightly --version 2>/dev/null | sed -n 's/^rustc \([0-9.]*\)-nightly.*/\1/p' || true)
if [ -n "$nightly" ] && [ "$(printf '%s\n%s\n' "$want" "$nightly" | sort -V | head -n 1)" = "$want" ]; then
    cargo=(cargo +nightly)
else
    export RUSTC_BOOTSTRAP=1
    cargo=(cargo)
fi

targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <("${cargo[@]}" fuzz list)
[ ${#targets[@]} -gt 0 ] || { echo "fuzz: no targets" >&2; exit 1; }

logs=$TARGET_DIR/fuzz-logs
mkdir -p "$logs"
"${cargo[@]}" fuzz build

failed=0 rows=()
for target in "${targets[@]}"; do
    log=$logs/$target.log corpus=fuzz/corpus/$target seeds=fuzz/seeds/$target
    mkdir -p "$corpus"
    if [ ! -d "$seeds" ] || [ -z "$(ls -A "$seeds")" ]; then
        echo "fuzz: missing: seeds in $seeds" >&2
        rows+=("$(printf '%-24s %s' "$target" "NO SEEDS")")
        failed=1
        continue
    fi
    echo "fuzz: $target for $seconds s"
    result=ok
    # The first folder is libFuzzer's to write, the second one it only reads.
    "${cargo[@]}" fuzz run "$target" "$corpus" "$seeds" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 >"$log" 2>&1 || result=FINDING
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1)
    # "#123 DONE cov: 45 ft: 67 corp: 8/90b …": edges covered, features, kept inputs.
    progress=$(sed -n 's/^#[0-9]*\t.*cov: \([0-9]*\) ft: \([0-9]*\) corp: \([0-9]*\).*/\1 \2 \3/p' "$log" | tail -n 1)
    read -r cov ft corp <<<"${progress:-0 0 0}"
    # A target that does nothing must not look like one that found nothing.
    if [ $result = ok ] && [ "${executions:-0}" -eq 0 ]; then result="DID NOT RUN"; fi
    if [ "$result" != ok ]; then
        failed=1
        tail -n 60 "$log"
    fi
    rows+=("$(printf '%-24s %12s %8s %9s %8s  %s' "$target" "${executions:-0}" "$cov" "$ft" "$corp" "$result")")
done

printf '\n%-24s %12s %8s %9s %8s  %s\n' target executions coverage features corpus "result ($seconds s each, ${cargo[*]})"
printf '%s\n' "${rows[@]}"
exit $failed
