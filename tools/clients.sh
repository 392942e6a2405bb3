#!/usr/bin/env bash
# Stock clients (spice-glib) on C hosts that run on stage/lib (`make lib` first): pictures, keys and mouse, pointers,
# several displays, sound, and clients that are slow, late, replaced or many. About three minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh

# Programs of tests/clients/ with their C host and arguments, one run per line.
RUNS=(
    "compare_draws random_draws --level 1 --seed 3 --count 1000"
    "compare_draws random_draws --level 3 --seed 4 --count 1000 --bottom-up"
    "compare_draws odd_draws --seed 5 --count 1000"
    "compare_draws odd_draws --seed 6 --count 1000 --bottom-up"
    "compare_draws random_draws --level 7 --seed 3 --count 1000 --compression 2"
    "compare_draws random_draws --level 7 --seed 6 --count 1000 --compression 4 --bottom-up"
    "compare_draws odd_draws --level 3 --seed 5 --count 1000 --compression 6"
    "compare_draws odd_draws --seed 9 --count 1000 --compression 5"
    "check_lossy random_draws --level 7 --seed 3 --count 400 --smooth"
    "check_lossy random_draws --level 2 --seed 4 --count 400 --smooth --bottom-up"
    "check_lossy random_draws --slow --count 300"
    "check_lossy replay_player --compression 2 --count 1500 web"
    "check_lossy odd_draws --level 3 --seed 5 --count 400 --mean 64"
    "check_lossy cached_images --level 1 --count 400 --mean 64"
    "check_caches cached_images --count 400"
    "check_moves moving_photos --frames 24"
    "check_inputs serve_inputs"
    "check_cursor serve_cursors"
    "check_bad_commands bad_commands"
    "check_agent serve_agent"
    "check_monitors serve_monitors --devices 4 --count 300 --seconds 1"
    "compare_sound serve_sound"
    "check_hearing serve_sound --seconds 10"
    "check_sound serve_sound"
    "check_sound_latency serve_sound --seconds 5"
    "check_qos serve_qos"
    "check_pace random_draws --draws 5000 --joins 3 --stop 2"
    "check_traces replay_player --points 2 --stay 2 terminal"
    "check_traces replay_player --points 2 --stay 2 --compression 5 terminal"
    "check_stalled replay_player --seconds 8"
    "check_film play_film --seconds 1"
    "check_encoders play_film"
    "check_gl serve_gl"
    "check_gl serve_gl --engine uring --draws 200"
    "compare_devices serve_devices"
    "bulk_devices serve_devices --megabytes 40"
    "check_devices serve_devices --messages 3000 --rounds 20 --seconds 0.5"
    "check_capabilities replay_player --count 240 --html"
)

mapfile -t hosts < <(printf '%s\n' "${RUNS[@]}" | cut -d' ' -f2 | sort -u)
build_hosts "${hosts[@]}"
failed=0

for run in "${RUNS[@]}"; do
    read -r check host arguments <<<"$run"
    read -ra words <<<"$arguments"
    if timeout 300 /usr/bin/python3 "tests/clients/$check.py" --lib "$STAGE_LIB" --program "$HOSTS/$host" "${words[@]}"; then
        echo "PASS $run"
    else
        echo "FAIL $run"
        failed=1
    fi
done
exit $failed
