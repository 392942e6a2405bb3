#!/usr/bin/env bash
# Everything beside the picture through stock QEMU: builds the small guest and runs tests/qemu/workstation.py on stage/lib
# (`make lib` first) or, with --reference, on the system's spice-server. Other arguments go on (--quick, --only NAME,...).
#
#   tools/workstation.sh --quick              as `make test` has it: about a minute and a half
#   tools/workstation.sh                      200 MB of files, 20 s of sound, 10 s for every flood: five minutes, on an idle machine
#   tools/workstation.sh --reference --quick
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh

arguments=(--lib "$STAGE_LIB")
for argument in "$@"; do
    shift
    if [ "$argument" = --reference ]; then arguments=("${arguments[@]:2}"); else set -- "$@" "$argument"; fi
done
tests/guest/small/build.sh "$TARGET_DIR/small-guest"
exec timeout 1800 /usr/bin/python3 tests/qemu/workstation.py --image "$TARGET_DIR/small-guest" "${arguments[@]}" "$@"
