#!/usr/bin/env bash
# Builds the shared library for use and leaves it in stage/lib under the names that hosts and linkers look for. Where the
# development files of GStreamer are, libcayenne-gst.so lies beside it afterwards, with the encoders for video.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh

tools/setup.sh build
cargo build --release --locked --lib
mkdir -p "$STAGE_LIB"
# By rename: a host that runs from the old file keeps its mapping.
cp "$TARGET_DIR/release/libspice_server.so" "$STAGE_LIB/.new"
mv "$STAGE_LIB/.new" "$STAGE_LIB/libspice-server.so.1"
ln -sfn libspice-server.so.1 "$STAGE_LIB/libspice-server.so"
echo "built stage/lib/libspice-server.so.1"
if has_gstreamer; then
    cargo_gst build --release --lib
    cp "$TARGET_DIR/gst/release/libcayenne_gst.so" "$STAGE_LIB/.new"
    mv "$STAGE_LIB/.new" "$STAGE_LIB/libcayenne-gst.so"
    echo "built stage/lib/libcayenne-gst.so"
else
    # One of another time would not be what this source says.
    rm -f "$STAGE_LIB/libcayenne-gst.so"
    echo "no development files of GStreamer: without libcayenne-gst.so video is MJPEG only (tools/setup.sh gst)"
fi
