#!/usr/bin/env bash
# Runs the C hosts of capi-tests/ on stage/lib (`make lib` first): what they print is what they print on spice-server,
# what kills spice-server is harmless here, and a stock client's picture equals the server's after random drawing.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh

# QUIC images for a guest to send; spice-server aborts on grey ones.
STREAMS=(fuzz/seeds/quic_decode/tiny{7x5_rgb16,64x3_rgb32,17x1_rgb24,7x5_rgba}.quic)
# Certificates and keys in all forms.
PKI=$HOSTS/pki
tests/tls/pki.sh "$PKI"
# Programs whose output is the same on both libraries, with their arguments.
SAME=(
    "startup"
    "tls_files $PKI"
    "qxl_sync"
    "random_draws --seed 11 --level 1 --count 500"
    "random_draws --seed 12 --level 2 --count 500"
    "random_draws --seed 13 --level 3 --count 500"
    "random_draws --seed 14 --level 3 --count 500 --bottom-up"
    "random_draws --seed 5 --count 1000 --level 7"
    "guest_images --format 32 ${STREAMS[*]}"
    "guest_images --format 16 ${STREAMS[*]}"
)
# Lines that differ, for good or until an issue ends that: program | extended regex of the line | why, and the issue.
DIFFERENT=(
    "tls_files | ^RSA-1024 | Debian's policy refuses what is served here |"
    "tls_files | ^version 1, SHA-1: | Debian's policy refuses what is served here |"
    "tls_files | ^PBES1: | not supported |"
    "tls_files | ^key of another kind: | init fails instead of every client |"
    "tls_files | ^cipher without ECDHE: | not supported |"
    "tls_files | ^TLS 1.3 by name: | OpenSSL's lists do not know these names |"
)
# Programs for our library alone, which check themselves: most of what they do kills spice-server.
ALONE=(
    "misuse"
    "misuse --forked"
    "bad_commands"
    "bad_commands --forked"
)
# Arguments of compare_draws.py, one run per line; with an even seed the first client leaves half way.
DRAWS=(
    "--seed 1 --count 1000"
    "--seed 2 --count 1000 --bottom-up"
    "--seed 7 --count 1000 --bottom-up"
    "--seed 3 --count 1000 --level 7"
)

build_hosts draw_matrix startup tls_files qxl_sync random_draws guest_images misuse bad_commands
failed=0

fail() { echo "FAIL $*"; failed=1; }

# Runs a program on our library; its output goes to $out. The seeded programs end when told so.
ours() { # WORDS...
    local program=$1
    shift
    LD_LIBRARY_PATH=$STAGE_LIB timeout 180 "$HOSTS/$program" "$@" >"$out" </dev/null
}

for line in "${SAME[@]}"; do
    read -ra words <<<"$line"
    out=$HOSTS/${line//[ \/]/_}.ours reference=$HOSTS/${line//[ \/]/_}.reference
    ours "${words[@]}" || fail "$line: status $?"
    # Not `grep -q`: it may end before ldconfig has written all, which pipefail would take for "not installed".
    if ! /sbin/ldconfig -p | grep 'libspice-server\.so\.1 ' >/dev/null; then
        echo "SKIPPED 1: $line is not compared, libspice-server1 is not installed"
        continue
    fi
    env -u LD_LIBRARY_PATH timeout 180 "$HOSTS/${words[0]}" "${words[@]:1}" >"$reference" </dev/null ||
        fail "$line on spice-server: status $?"
    for entry in "${DIFFERENT[@]}"; do
        IFS='|' read -r program pattern why _ <<<"$entry"
        [ "${program// /}" = "${words[0]}" ] || continue
        pattern=${pattern# } pattern=${pattern% }
        count=$(grep -cE "$pattern" "$reference" || true)
        # One that is equal by now must leave the list.
        if diff <(grep -E "$pattern" "$reference") <(grep -E "$pattern" "$out") >/dev/null; then
            fail "$line: \"$pattern\" is listed as different and is equal"
        fi
        kind=DIFFERENT
        [[ $why != *"(issue "* ]] || kind=SKIPPED
        echo "$kind $count: $line, lines of \"$pattern\":$why"
        sed -i -E "/$pattern/d" "$reference" "$out"
    done
    if diff -u "$reference" "$out"; then
        echo "PASS $line: $(wc -l <"$out") lines equal"
    else
        fail "$line: the output differs from spice-server's"
    fi
done

for line in "${ALONE[@]}"; do
    read -ra words <<<"$line"
    out=$HOSTS/${line// /_}.ours
    if ours "${words[@]}" 2>"$out.log"; then
        echo "PASS $line: $(tail -n 1 "$out")"
    else
        fail "$line: status $?"
        tail -n 20 "$out"
    fi
    # A child that died does not fail the parent: every one must have survived.
    if [[ $line == *--forked ]] && ! tail -n 1 "$out" | awk '{ exit !($1 == $3 && $4 ~ /^survived/) }'; then
        fail "$line: $(tail -n 1 "$out")"
        grep -E 'died|signal' "$out" || true
    fi
done

# What the list of bad commands does to spice-server is recorded; a part of it is tried again, to show that it is so.
AREAS=(headers texts)
recorded=capi-tests/bad_commands/spice-server.txt
if /sbin/ldconfig -p | grep 'libspice-server\.so\.1 ' >/dev/null; then
    out=$HOSTS/bad_commands.reference
    env -u LD_LIBRARY_PATH timeout 180 "$HOSTS/bad_commands" --forked "${AREAS[@]}" >"$out" 2>/dev/null </dev/null || true
    lines=$(($(wc -l <"$out") - 1))
    # The last line is the score of this part alone.
    if [ "$lines" -gt 0 ] && ! head -n "$lines" "$out" | grep -vxFf "$recorded"; then
        echo "PASS bad_commands ${AREAS[*]} on spice-server: $(tail -n 1 "$out"), as recorded"
    else
        fail "bad_commands ${AREAS[*]} on spice-server: not what $recorded says"
    fi
else
    echo "SKIPPED 1: bad_commands on spice-server, libspice-server1 is not installed"
fi

for arguments in "${DRAWS[@]}"; do
    read -ra words <<<"$arguments"
    if timeout 300 /usr/bin/python3 tests/clients/compare_draws.py --lib "$STAGE_LIB" --program "$HOSTS/random_draws" "${words[@]}"; then
        echo "PASS random_draws $arguments"
    else
        fail "random_draws $arguments"
    fi
done
# The matrix of drawing: `capi-tests/compare_matrix.py --full --count 24000` and `compare_tiles.py --rounds 50` are the full ones.
matrix=(capi-tests/compare_matrix.py --program "$HOSTS/draw_matrix" --lib "$STAGE_LIB" --count "${MATRIX_COUNT:-4800}")
if ! /sbin/ldconfig -p | grep 'libspice-server\.so\.1 ' >/dev/null; then
    echo "SKIPPED 1: draw_matrix is not compared, libspice-server1 is not installed"
elif timeout 300 /usr/bin/python3 "${matrix[@]}"; then
    echo "PASS draw_matrix"
else
    fail "draw_matrix"
fi
if timeout 300 /usr/bin/python3 tests/clients/compare_tiles.py --program "$HOSTS/draw_matrix" --lib "$STAGE_LIB" --rounds "${MATRIX_ROUNDS:-5}"; then
    echo "PASS draw_matrix with a client"
else
    fail "draw_matrix with a client"
fi
# Recordings: the small one of the fuzz seeds and, where they are, those of real guests. The same numbers and the same
# last picture.
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
    theirs=$("$@" | env -u LD_LIBRARY_PATH timeout 300 "$HOSTS/replay_player" - 2>/dev/null) || true
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

# What both libraries write down of the same traffic is the same, event by event; and each plays the other's recording.
RECORDED=(
    "replay_player fuzz/seeds/replay/every_kind"
    "random_draws --seed 21 --level 7 --count 300"
    "qxl_sync"
    "guest_images --format 32 ${STREAMS[*]}"
)
record() { # LIBRARY_PATH FILE WORDS...
    local path=$1 file=$2 program=$3
    shift 3
    env -u LD_LIBRARY_PATH ${path:+LD_LIBRARY_PATH=$path} SPICE_WORKER_RECORD_FILENAME="$file" \
        timeout 180 "$HOSTS/$program" "$@" >/dev/null 2>&1 </dev/null
}
for line in "${RECORDED[@]}"; do
    read -ra words <<<"$line"
    file=$HOSTS/${words[0]}.rec
    record "$STAGE_LIB" "$file.ours" "${words[@]}" || fail "recording $line: status $?"
    if [ "$reference" -eq 0 ]; then
        echo "SKIPPED 1: the recording of ${words[0]} is not compared, libspice-server1 is not installed"
        continue
    fi
    record "" "$file.theirs" "${words[@]}" || fail "recording $line on spice-server: status $?"
    if equal=$(/usr/bin/python3 capi-tests/compare_recordings.py "$file.ours" "$file.theirs" 2>&1); then
        echo "PASS recording of ${words[0]}: $equal"
    else
        fail "recording of $line: $equal"
    fi
    # A recording does not say which layout a command has: those of guest_images would be taken for another.
    # The messages of qxl_sync have no release info when spice-server plays them.
    case ${words[0]} in guest_images | qxl_sync) continue ;; esac
    play "${words[0]}.ours" cat "$file.ours"
    play "${words[0]}.theirs" cat "$file.theirs"
done
exit $failed
