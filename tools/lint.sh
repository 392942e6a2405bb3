#!/usr/bin/env bash
# The checks that read the source only. One of them by name, or all.
#
#   tools/lint.sh [fmt|clippy|deny]
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh

fmt() { cargo fmt --check; }

clippy() { cargo clippy --locked --all-targets -- -D warnings; }

# Licences, bans and sources need no network once the crates are fetched. Advisories do (their database is a
# git repository), so they are a command of their own: cargo deny check advisories.
deny() {
    cargo fetch --locked --quiet
    cargo deny --offline --locked --all-features check licenses bans sources
}

case ${1:-all} in
    fmt) fmt ;;
    clippy) clippy ;;
    deny) deny ;;
    all) fmt && clippy && deny ;;
    *) echo "usage: tools/lint.sh [fmt|clippy|deny]" >&2; exit 2 ;;
esac
