#!/usr/bin/env bash
# The checks that read the source only. One of them by name, or all.
#
#   tools/lint.sh [fmt|clippy|deny]
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh

fmt() { cargo fmt --check && cargo fmt --check --manifest-path gst/Cargo.toml; }

clippy() {
    cargo clippy --locked --all-targets -- -D warnings
    if has_gstreamer; then
        cargo_gst clippy --all-targets -- -D warnings
    else
        echo "SKIPPED 1: clippy of gst/, there are no development files of GStreamer"
    fi
}

# Licences, bans and sources need no network once the crates are fetched. Advisories do (their database is a
# git repository), so they are a command of their own: cargo deny check advisories.
deny() {
    cargo fetch --locked --quiet
    cargo deny --offline --locked --all-features check licenses bans sources
    cargo fetch --locked --quiet --manifest-path gst/Cargo.toml
    cargo deny --offline --locked --all-features --manifest-path gst/Cargo.toml check licenses bans sources
}

case ${1:-all} in
    fmt) fmt ;;
    clippy) clippy ;;
    deny) deny ;;
    all) fmt && clippy && deny ;;
    *) echo "usage: tools/lint.sh [fmt|clippy|deny]" >&2; exit 2 ;;
esac
