#!/usr/bin/env bash
# Small commands per second with two builds of our library by turns, A B A B: what a change costs.
#
#   benches/commands-ab.sh DIR_A DIR_B [RUNS] [SCENE...]     directories with libspice-server.so.1; RUNS of each (9); fill grid text
#
# RUN: words in front of each run, e.g. "chrt -f 1" on a machine where others work. Per scene: the medians and their ratio, and the
# median of the ratios of neighbouring runs, which other work disturbs less.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,7s/^# \?//p' "$0" >&2; exit 2; }
a=$(realpath "$1") b=$(realpath "$2") runs=${3:-9}
shift $(($# > 3 ? 3 : $#))
cd "$(dirname "$0")/.."
. tools/env.sh
scenes=("$@")
[ ${#scenes[@]} -gt 0 ] || scenes=(fill grid text)
read -ra run <<<"${RUN:-}"

make --silent -C benches OUT="$HOSTS" "$HOSTS/commands" \
    SPICE_CFLAGS="-I$PWD/include/spice-server $(pkg-config --cflags spice-protocol)" \
    SPICE_LIBS="-L$STAGE_LIB -lspice-server"
rate() { # DIR SCENE
    LD_LIBRARY_PATH=$1 "${run[@]}" timeout 120 "$HOSTS/commands" --scene "$2" --client drain --seconds 1 2>/dev/null |
        sed -n 's/.*\brate=\([0-9.]*\).*/\1/p'
}
for scene in "${scenes[@]}"; do
    for ((i = 0; i < runs; i++)); do
        echo "$(rate "$a" "$scene") $(rate "$b" "$scene")"
    done | awk -v scene="$scene" '
        function middle(v, n,   i, j, t) {
            for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j - 1] > v[j]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
            return v[int((n + 1) / 2)]
        }
        { n++; a[n] = $1; b[n] = $2; r[n] = $2 / $1 }
        END { ma = middle(a, n); mb = middle(b, n); printf "%-8s A %9.0f  B %9.0f  B/A %.4f  by pairs %.4f\n", scene, ma, mb, mb / ma, middle(r, n) }'
done
