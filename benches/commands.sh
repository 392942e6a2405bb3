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
scenes=("$@")
[ ${#scenes[@]} -gt 0 ] || scenes=(fill grid text terminal scroll small-scroll xor)
client=${CLIENT:-drain} seconds=${SECONDS_EACH:-1} ahead=${AHEAD:-0}
read -ra run <<<"${RUN:-}"

[ -e "$STAGE_LIB/libspice-server.so.1" ] || tools/lib.sh
make --silent -C benches OUT="$HOSTS" "$HOSTS/commands" \
    SPICE_CFLAGS="-I$PWD/include/spice-server $(pkg-config --cflags spice-protocol)" \
    SPICE_LIBS="-L$STAGE_LIB -lspice-server"
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
reference=yes
/sbin/ldconfig -p | grep 'libspice-server\.so\.1 ' >/dev/null || reference=no

measure() { # SCENE ENVIRONMENT...
    env "${@:2}" "${run[@]}" timeout 120 "$HOSTS/commands" --scene "$1" --client "$client" --seconds "$seconds" --ahead "$ahead" \
        2>/dev/null
}

# The middle one of the values of a field.
median() { # FILE FIELD
    sed -n "s/.*\b$2=\([0-9.]*\).*/\1/p" "$1" | sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

for scene in "${scenes[@]}"; do
    for ((i = 0; i < runs; i++)); do
        [ $reference = no ] || measure "$scene" -u LD_LIBRARY_PATH >>"$results/$scene.reference"
        measure "$scene" LD_LIBRARY_PATH="$STAGE_LIB" >>"$results/$scene.ours"
    done
done

printf 'client=%s, %s s each, %s runs each by turns, medians; %s\n' "$client" "$seconds" "$runs" "$(nproc) cores, $(sed -n 's/^model name.*: //p;T;q' /proc/cpuinfo)"
printf '%-13s %12s %12s %7s %14s %14s %7s %12s %12s\n' scene 'reference/s' 'ours/s' ratio 'ref ns (CPU)' 'ours ns (CPU)' ratio 'sent, ref' 'sent, ours'
for scene in "${scenes[@]}"; do
    for who in reference ours; do
        file=$results/$scene.$who
        [ -e "$file" ] || : >"$file"
        rate=$(median "$file" rate) cpu=$(median "$file" cpu_ns)
        commands=$(median "$file" commands) sent=$(median "$file" as_commands)
        declare "${who}_rate=${rate:-0}" "${who}_cpu=${cpu:-0}"
        declare "${who}_sent=$(awk -v a="${sent:-0}" -v b="${commands:-0}" 'BEGIN { printf "%.1f %%", b ? 100 * a / b : 0 }')"
    done
    # shellcheck disable=SC2154
    awk -v scene="$scene" -v r1="$reference_rate" -v r2="$ours_rate" -v c1="$reference_cpu" -v c2="$ours_cpu" \
        -v s1="$reference_sent" -v s2="$ours_sent" 'BEGIN {
            printf "%-13s %12.0f %12.0f %7.1f %14.0f %14.0f %7.1f %12s %12s\n", scene, r1, r2, r1 ? r2 / r1 : 0,
                c1, c2, c2 ? c1 / c2 : 0, s1, s2
        }'
done
