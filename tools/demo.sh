#!/usr/bin/env bash
# The two ways to see something: a C host of our own (`desktop`) or stock QEMU (`qemu`), both on our library.
# Installs what is missing, builds, runs on 127.0.0.1, says how to connect. Ctrl-C ends it with status 0.
#
#   PORT=5900        where to listen
#   DISK=file        (qemu) boot this image; without it the firmware's boot menu is shown
#   VGA=qxl          (qemu) or std, virtio
#   QEMU_ARGS="…"    (qemu) further arguments
#   DEMO_SECONDS=n   end by itself after n seconds (for tests)
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh

mode=${1:-desktop} port=${PORT:-5900}

say_how_to_connect() {
    cat <<TEXT

  Cayenne serves a screen on 127.0.0.1:$port, no password. From another terminal:

      remote-viewer spice://127.0.0.1:$port      (Debian: apt-get install virt-viewer)
      spicy -h 127.0.0.1 -p $port                (Debian: apt-get install spice-client-gtk)

  Ctrl-C here ends it.

TEXT
}

# Runs the program until it ends, Ctrl-C or DEMO_SECONDS; the status is the program's own.
# On a terminal it gets a process group of its own (set -m), so that Ctrl-C reaches it alone and `make`
# lives to report success; without a terminal it stays in ours and a signal to the group reaches it.
run() {
    if [ -n "${DEMO_SECONDS:-}" ]; then
        exec timeout --foreground --preserve-status --signal=INT --kill-after=10 "$DEMO_SECONDS" "$@"
    elif [ -t 0 ]; then
        set -m
        "$@"
    else
        exec "$@"
    fi
}

case $mode in
desktop)
    tools/setup.sh build demo
    tools/lib.sh
    build_hosts demo
    export LD_LIBRARY_PATH=$STAGE_LIB${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    # It says itself how to connect, once it listens.
    run "$HOSTS/demo" --addr 127.0.0.1 --port "$port"
    ;;
qemu)
    tools/setup.sh build qemu
    tools/lib.sh
    export LD_LIBRARY_PATH=$STAGE_LIB${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    args=(-name cayenne-demo -m 1024 -machine "accel=kvm:tcg" -nodefaults -vga "${VGA:-qxl}"
        -usb -device usb-tablet -spice "addr=127.0.0.1,port=$port,disable-ticketing=on")
    if [ -n "${DISK:-}" ]; then
        [ -r "$DISK" ] || { echo "demo: cannot read DISK=$DISK" >&2; exit 1; }
        # The image stays as it is: what the guest writes goes to a temporary file.
        args+=(-snapshot -drive "file=$DISK,if=virtio")
    else
        args+=(-boot "menu=on,splash-time=60000")
    fi
    read -ra more <<<"${QEMU_ARGS:-}"
    say_how_to_connect
    run qemu-system-x86_64 "${args[@]}" "${more[@]}"
    ;;
*)
    echo "usage: tools/demo.sh desktop|qemu" >&2
    exit 2
    ;;
esac
