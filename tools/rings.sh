#!/usr/bin/env bash
# QXL rings in shared memory with a guest in a process of its own, on both engines for sockets. Arguments go to tests/rings/run.py.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh

build_hosts serve_ring ring_guest
for io in epoll uring; do
    echo "CAYENNE_IO=$io"
    CAYENNE_IO=$io /usr/bin/python3 tests/rings/run.py --hosts "$HOSTS" --lib "$STAGE_LIB" "$@"
done
