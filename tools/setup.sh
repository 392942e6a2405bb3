#!/usr/bin/env bash
# Makes sure that what a job needs is there. Idempotent: apt-get and cargo install run only when something is
# missing, apt-get only as root; otherwise the command to type is printed and the exit status is 1.
#
#   tools/setup.sh SET...      sets: build demo gst qemu test bench guest; "rust" checks the toolchain only
#
# CAYENNE_NO_APT=1 never runs apt-get (it prints what it would install).
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh

# Debian packages, one line per reason. A set contains what stands in it only; jobs name several sets.
BUILD_PACKAGES=(
    make
    gcc libc6-dev   # the C compiler, also cargo's linker driver
    lld             # the linker that honours the version script together with .symver
    libpixman-1-dev # compositing, as every client does it
    libturbojpeg0-dev # JPEG for slow links
    ca-certificates # cargo fetches crates by https
)
DEMO_PACKAGES=(
    pkg-config
    libspice-protocol-dev # spice/qxl_dev.h, spice/vd_agent.h: spice.h includes them
)
# For libcayenne-gst.so (`make lib` does without), and the elements that its tests and stock clients decode with.
GST_PACKAGES=(
    pkg-config
    libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev
    gstreamer1.0-plugins-base gstreamer1.0-plugins-good # videoconvert, vp8enc, vp9enc, jpegenc, and what plays them
    gstreamer1.0-plugins-ugly gstreamer1.0-plugins-bad  # x264enc; x265enc
    gstreamer1.0-libav                      # decoders for H.264 and H.265
)
QEMU_PACKAGES=(
    qemu-system-x86
)
TEST_PACKAGES=(
    g++                                     # libFuzzer
    python3                                 # the harness
    libspice-server1 libspice-server-dev    # the reference: same C programs, same header checks
    python3-gi gir1.2-spiceclientglib-2.0   # a client that stays connected
    spice-client-gtk                        # spicy, spicy-screenshot
    imagemagick python3-pil                 # picture comparison
    xvfb xauth virt-viewer xdotool          # viewers on a screen of their own, and somebody who types
    xserver-xspice xterm x11-apps           # Xspice runs xterm; xwd is the truth
    openbox feh ffmpeg x11-xserver-utils    # the busy desktop on Xspice: windows to drag, pictures, a film; xrandr
    mesa-utils libgl1-mesa-dri              # … glxgears, drawn without a graphics device
    zstd                                    # recorded traffic is packed with it
    nasm                                    # checks the committed bytes of the boot sector
    openssl                                 # certificates and keys in all forms, and a client for them
    libssl-dev                              # the clients of make bench-commands and bench-links encrypt their tickets
    chromium spice-html5                    # a browser that connects by WebSocket
    libopus0 python3-numpy                  # sound, compressed; how good it is
    sasl2-bin libsasl2-modules libsasl2-modules-db # SASL logins: users in a file, and the mechanisms
    krb5-kdc krb5-admin-server krb5-user libsasl2-modules-gssapi-mit # … and with tickets of a realm of the tests' own
    busybox-static cpio kmod xorriso        # the small guest's initrd (its kernel is fetched, not installed), and CDs for it
)
# Benchmarks; what they share with the tests stands there.
BENCH_PACKAGES=(
    python3-numpy python3-pil fonts-dejavu-core # pictures to encode
    strace                                  # make bench-syscalls counts with it
)
# Only for tests/guest/, which is run by hand.
GUEST_PACKAGES=(
    mmdebstrap cpio e2fsprogs               # a Debian in a file
    qemu-utils                              # snapshots want qcow2
)

# Cargo tools, name and version. Built into $TOOLS_ROOT, so that nobody's own ones are touched.
CARGO_TOOLS=(
    "cbindgen 0.29.4"
    "cargo-deny 0.20.2"
    "cargo-fuzz 0.13.2"
)

fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# "1.95" from Cargo.toml against `rustc --version`: the only place where the number is written.
check_rust() {
    local want have
    want=$(sed -n 's/^rust-version *= *"\(.*\)".*/\1/p' Cargo.toml)
    if ! command -v cargo >/dev/null || ! have=$(rustc --version 2>/dev/null | cut -d' ' -f2); then
        fail "no Rust toolchain found. Cayenne needs Rust $want or newer; get it from https://rustup.rs:
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- --default-toolchain $want
  (as a packaged alternative: apt-get install rustup, then rustup default $want)"
    fi
    # sort -V puts the smaller version first; a suffix such as -nightly does not count.
    if [ "$(printf '%s\n%s\n' "$want" "${have%%-*}" | sort -V | head -n 1)" != "$want" ]; then
        fail "this is Rust $have, but Cayenne needs $want or newer. With rustup:
    rustup toolchain install $want && rustup override set $want"
    fi
}

# What of the given packages is not installed, one name per line.
missing_packages() {
    local installed p
    installed=$(dpkg-query -W -f='${binary:Package} ${db:Status-Status}\n' 2>/dev/null |
        sed -n 's/^\([^ :]*\)\(:[^ ]*\)\{0,1\} installed$/\1/p')
    for p in "$@"; do
        grep -qxF "$p" <<<"$installed" || echo "$p"
    done
}

install_packages() {
    local missing command
    if ! command -v dpkg-query >/dev/null; then
        echo "setup: this is no Debian; it is up to you to have what these packages contain:" >&2
        printf '  %s\n' "$@" >&2
        return
    fi
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    command="apt-get install --yes --no-install-recommends ${missing[*]}"
    if [ "$(id -u)" -ne 0 ] || [ -n "${CAYENNE_NO_APT:-}" ]; then
        fail "these Debian packages are missing; please run (as root):
    $command"
    fi
    echo "setup: $command"
    # A failed update is not fatal: the lists that are there may do.
    apt-get update --quiet=2 || echo "setup: apt-get update failed, going on with the old lists" >&2
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends \
        -o Dpkg::Use-Pty=0 "${missing[@]}" </dev/null ||
        fail "apt-get could not install: ${missing[*]}"
}

install_cargo_tools() {
    local entry name version
    for entry in "${CARGO_TOOLS[@]}"; do
        read -r name version <<<"$entry"
        if [ "$(tool_version "$name")" != "$version" ]; then
            echo "setup: cargo install $name $version into $TOOLS_ROOT"
            # Unoptimised: these tools run for seconds, building them optimised takes minutes.
            cargo install --quiet --locked --debug --root "$TOOLS_ROOT" --version "$version" "$name" ||
                fail "cargo could not install $name $version"
        fi
    done
}

[ $# -gt 0 ] || fail "usage: tools/setup.sh build|demo|gst|qemu|test|bench|guest|rust..."
packages=() tools=no
for set in "$@"; do
    case $set in
        rust) ;;
        build) packages+=("${BUILD_PACKAGES[@]}") ;;
        demo) packages+=("${DEMO_PACKAGES[@]}") ;;
        gst) packages+=("${GST_PACKAGES[@]}") ;;
        qemu) packages+=("${QEMU_PACKAGES[@]}") ;;
        bench) packages+=("${BENCH_PACKAGES[@]}") ;;
        guest) packages+=("${GUEST_PACKAGES[@]}") ;;
        test) packages+=("${TEST_PACKAGES[@]}" "${GST_PACKAGES[@]}"); tools=yes ;;
        *) fail "no set named $set" ;;
    esac
done
# The toolchain first: its message must not wait for a long apt-get.
check_rust
[ ${#packages[@]} -eq 0 ] || install_packages "${packages[@]}"
[ $tools = no ] || install_cargo_tools
