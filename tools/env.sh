# Sourced by the scripts of this folder: where things are. No side effects but PATH.
# shellcheck shell=bash

# Where cargo puts its output (a user may have moved it).
TARGET_DIR=${CARGO_TARGET_DIR:-target}
case $TARGET_DIR in /*) ;; *) TARGET_DIR=$PWD/$TARGET_DIR ;; esac

# Programs that tools/setup.sh builds for this project; found before the user's own.
TOOLS_ROOT=$TARGET_DIR/tools
PATH=$TOOLS_ROOT/bin:$PATH

# What `make lib` leaves behind, for LD_LIBRARY_PATH.
# shellcheck disable=SC2034
STAGE_LIB=$PWD/stage/lib

# The version of an installed cargo tool; nothing if it is not there. All of them print "name version".
tool_version() {
    command -v "$1" >/dev/null || return 0
    "$1" --version 2>/dev/null | sed -n 's/^[^ ]* \([0-9][^ ]*\).*/\1/p;q'
}

# True if libcayenne-gst.so can be built here.
has_gstreamer() {
    command -v pkg-config >/dev/null && pkg-config --exists 'gstreamer-app-1.0 >= 1.18'
}

# cargo for gst/, a package of its own with its own lock file, so that the library's knows nothing of GStreamer.
cargo_gst() { # COMMAND ARGUMENTS...
    local command=$1
    shift
    cargo "$command" --locked --manifest-path gst/Cargo.toml --target-dir "$TARGET_DIR/gst" "$@"
}

# Builds programs of capi-tests/ (and the demo) against our headers and stage/lib; they land in $HOSTS. No run path is
# linked in: LD_LIBRARY_PATH decides which libspice-server.so.1 such a program meets.
HOSTS=$PWD/stage/hosts
build_hosts() { # NAME...
    make --silent -C capi-tests OUT="$HOSTS" "${@/#/$HOSTS/}" \
        SPICE_CFLAGS="-I$PWD/include/spice-server -I$PWD/include $(pkg-config --cflags spice-protocol)" \
        SPICE_LIBS="-L$STAGE_LIB -lspice-server"
}

# The same for programs of benches/.
bench_hosts() { # NAME...
    make --silent -C benches OUT="$HOSTS" "${@/#/$HOSTS/}" \
        SPICE_CFLAGS="-I$PWD/include/spice-server -I$PWD/include $(pkg-config --cflags spice-protocol)" \
        SPICE_LIBS="-L$STAGE_LIB -lspice-server"
}
