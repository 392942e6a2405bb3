#!/bin/sh
# Writes the public headers from the Rust sources.
#
#   tools/gen-headers.sh           writes include/
#   tools/gen-headers.sh --check   fails if include/ is not what would be written
#
# Needs cbindgen 0.29 (cargo install cbindgen --version 0.29.4 --locked).
set -eu
cd "$(dirname "$0")/.."

case "$(cbindgen --version)" in
    "cbindgen 0.29."*) ;;
    *) echo "gen-headers: cbindgen 0.29 is needed" >&2; exit 1 ;;
esac

new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
mkdir -p "$new/spice-server"

cbindgen --quiet --config cbindgen.toml src/abi/mod.rs --output "$new/raw.h"

# What cbindgen cannot say: a union without a name (hosts use both spellings of its member), and
# deprecated members.
sed -e 's|^\( *\)void (\*attached_worker)(struct QXLInstance \*qin);|\1union {\
\1    void (*attached_worker)(struct QXLInstance *qin);\
\1    void (*attache_worker)(struct QXLInstance *qin,\
\1                           struct QXLWorker *qxl_worker) SPICE_GNUC_DEPRECATED;\
\1};|' \
    -e 's|^\( *void (\*set_mm_time)([^;]*)\);|\1 SPICE_GNUC_DEPRECATED;|' \
    -e 's/^\( *struct sockaddr [lp]addr\);/\1 SPICE_GNUC_DEPRECATED;/' \
    -e 's/^\( *socklen_t [lp]len\);/\1 SPICE_GNUC_DEPRECATED;/' \
    "$new/raw.h" >"$new/spice-server/spice.h"
if [ "$(grep -c 'SPICE_GNUC_DEPRECATED;' "$new/spice-server/spice.h")" != 6 ]; then
    echo "gen-headers: the members to mark were not all found" >&2
    exit 1
fi

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
major=${version%%.*}
minor=${version#*.}; minor=${minor%%.*}
micro=${version##*.}
cbindgen --quiet --config cbindgen-cayenne.toml src/abi/cayenne/mod.rs --output "$new/raw.h"
sed -e "s/@VERSION@/$version/" -e "s/@MAJOR@/$major/" -e "s/@MINOR@/$minor/" \
    -e "s/@MICRO@/$micro/" "$new/raw.h" >"$new/cayenne.h"

if [ "${1:-}" = --check ]; then
    diff -u include/spice-server/spice.h "$new/spice-server/spice.h"
    diff -u include/cayenne.h "$new/cayenne.h"
else
    mkdir -p include/spice-server
    cp "$new/spice-server/spice.h" include/spice-server/spice.h
    cp "$new/cayenne.h" include/cayenne.h
fi
