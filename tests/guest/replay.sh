#!/usr/bin/env bash
# Plays recordings of a guest on stage/lib and on the system's libspice-server: as many commands, as many releases, the same picture.
#
#   tests/guest/replay.sh FILE...       files of `run.py --record`, written by either library; .zst is unpacked
set -euo pipefail
cd "$(dirname "$0")/../.."
. tools/env.sh
files=()
for file in "$@"; do files+=("$(cd "$OLDPWD" && realpath "$file")"); done
[ ${#files[@]} -gt 0 ] || { sed -n '2,4p' tests/guest/replay.sh; exit 2; }
build_hosts replay_player
failed=0
unpacked() { case $1 in *.zst) zstd -dcq "$1" ;; *) cat "$1" ;; esac; }

for file in "${files[@]}"; do
    ours=$(unpacked "$file" | LD_LIBRARY_PATH=$STAGE_LIB timeout 1200 "$HOSTS/replay_player" - 2>/dev/null) || ours="status $? $ours"
    theirs=$(unpacked "$file" | env -u LD_LIBRARY_PATH timeout 1200 "$HOSTS/replay_player" - 2>/dev/null) || theirs="status $? $theirs"
    if [ "$ours" = "$theirs" ]; then
        echo "PASS $(basename "$file"): ${ours//$'\n'/, }"
    else
        printf 'FAIL %s\n  ours:   %s\n  theirs: %s\n' "$(basename "$file")" "${ours//$'\n'/, }" "${theirs//$'\n'/, }"
        failed=1
    fi
done
exit $failed
