#!/usr/bin/env bash
# Tries the two commands of the README on a machine that has nothing: a minimal Debian 12 in DIR, a fresh
# clone of this repository, the Rust toolchain of this machine bound in, then `make demo` and `make test`.
#
#   sudo tools/chroot-test.sh DIR [bootstrap|demo|test|all]      (default: all)
#
# DIR is kept between runs (the bootstrap takes minutes); remove it by hand when done.
# Everything is mounted in a mount namespace of its own, so that nothing stays mounted when the script dies.
#
#   DEMO_SECONDS=5   how long the demo runs before it ends by itself
#   COLD=1           only the toolchain's programs are given: an empty crate cache, no cargo-deny and friends,
#                    as on a machine where rustup was run a minute ago (slower: they are built from source)
#
# Not part of CI: it needs root, the network and a quarter of an hour.
set -euo pipefail
self=$(realpath "$0")
cd "$(dirname "$self")/.."

usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 2; }
case $# in 1|2) ;; *) usage ;; esac
[ "$(id -u)" -eq 0 ] || { echo "chroot-test: debootstrap, mount and chroot need root" >&2; exit 2; }
command -v debootstrap >/dev/null || { echo "chroot-test: apt-get install debootstrap" >&2; exit 2; }
dir=$1 what=${2:-all} suite=bookworm
case $what in bootstrap|demo|test|all) ;; *) usage ;; esac
rustup_home=${RUSTUP_HOME:-$HOME/.rustup} cargo_home=${CARGO_HOME:-$HOME/.cargo}
trusted=/etc/ssl/certs/ca-certificates.crt

# The machine's own mirror, whatever it is, in the old one-line or the deb822 format.
mirror() {
    local files=()
    for f in /etc/apt/sources.list /etc/apt/sources.list.d/*; do [ -f "$f" ] && files+=("$f"); done
    [ ${#files[@]} -eq 0 ] || awk '
        $1 == "URIs:" { print $2; exit }
        $1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /^[a-z+]+:\/\//) { print $i; exit } }' "${files[@]}"
}

bootstrap() {
    if [ -e "$dir/etc/debian_version" ] && [ ! -d "$dir/debootstrap" ]; then
        echo "chroot-test: $dir is there already"
    else
        # make is the one program the user is asked to have: it is what he types.
        nice debootstrap --variant=minbase --include=make "$suite" "$dir" "$(mirror)"
    fi
    # Mirror settings of this machine, the public keys they name and the authorities it trusts (a mirror may have
    # one of its own): copied at run time, never committed.
    rm -f "$dir/etc/apt/sources.list"
    cp -aL /etc/apt/sources* "$dir/etc/apt/"
    [ ! -d /etc/apt/keyrings ] || cp -aL /etc/apt/keyrings "$dir/etc/apt/"
    [ ! -f "$trusted" ] || install -D -m 644 "$trusted" "$dir/opt/trusted.crt"
    cp -L /etc/resolv.conf "$dir/etc/resolv.conf"
}

# Runs inside the private mount namespace.
enter() {
    mkdir -p "$dir"/{proc,sys,dev,opt/rustup,opt/cargo,root}
    mount -t proc proc "$dir/proc"
    mount --rbind /sys "$dir/sys"
    mount --rbind /dev "$dir/dev"
    mount --bind "$rustup_home" "$dir/opt/rustup"
    if [ -n "${COLD:-}" ]; then
        mkdir -p "$dir/opt/cargo/bin"
        for p in rustup cargo rustc rustfmt cargo-fmt cargo-clippy clippy-driver rustdoc; do
            [ ! -e "$cargo_home/bin/$p" ] || cp -a "$cargo_home/bin/$p" "$dir/opt/cargo/bin/"
        done
        [ ! -f "$cargo_home/config.toml" ] || cp "$cargo_home/config.toml" "$dir/opt/cargo/"
    else
        mount --bind "$cargo_home" "$dir/opt/cargo"
    fi
    local pass=()
    for v in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY RUSTUP_AUTO_INSTALL; do
        [ -z "${!v:-}" ] || pass+=("$v=${!v}")
    done
    [ ! -f "$dir/opt/trusted.crt" ] || pass+=(CARGO_HTTP_CAINFO=/opt/trusted.crt SSL_CERT_FILE=/opt/trusted.crt)
    for target in "$@"; do
        echo "chroot-test: make $target"
        local start=$SECONDS
        # --login is not wanted: the command must not depend on anyone's profile.
        chroot "$dir" /usr/bin/env -i "${pass[@]}" HOME=/root LANG=C.UTF-8 TERM=dumb \
            PATH=/opt/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            CARGO_HOME=/opt/cargo RUSTUP_HOME=/opt/rustup DEMO_SECONDS="${DEMO_SECONDS:-5}" \
            sh -c "cd /root/cayenne && exec make $target" </dev/null
        echo "chroot-test: make $target succeeded in $((SECONDS - start)) s"
    done
}

if [ -n "${CHROOT_TEST_INSIDE:-}" ]; then
    read -ra targets <<<"$CHROOT_TEST_INSIDE"
    enter "${targets[@]}"
    exit
fi

bootstrap
[ "$what" != bootstrap ] || exit 0
# git is not asked of the user either: the clone is made from outside.
rm -rf "$dir/root/cayenne"
git clone --quiet --no-hardlinks . "$dir/root/cayenne"
inside=$what
[ "$what" != all ] || inside="demo test"
CHROOT_TEST_INSIDE=$inside exec unshare --mount --propagation private "$self" "$dir" "$what"
