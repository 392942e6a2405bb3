#!/usr/bin/env bash
# Builds the small guest of tests/qemu/workstation.py: DIR/vmlinuz and DIR/initrd, Debian's kernel with busybox and the C
# programs of this folder, all in memory.
#
#   tests/guest/small/build.sh [DIR]        DIR: target/small-guest; half a minute for the first time, then seconds
#
# Needs gcc, busybox-static, cpio, kmod and, for the kernel, apt; no root. The kernel is Debian's normal one, unpacked without its
# hooks, and keeps only the modules below. It is fetched again when apt knows a newer one.
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD
out=${1:-../../../target/small-guest}
mkdir -p "$out"
out=$(realpath "$out")
for tool in gcc busybox cpio depmod dpkg-deb; do
    PATH=$PATH:/sbin command -v $tool >/dev/null || { echo "build: $tool is not installed (gcc busybox-static cpio kmod)" >&2; exit 1; }
done
PATH=$PATH:/sbin

MODULES=(
    virtio_pci virtio_console                   # agent, ports, webdav
    snd_hda_intel snd_hda_codec_generic         # sound
    xhci_pci usb_storage sr_mod isofs           # a redirected CD
)

newest() { apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1; }
kernel=$(newest)
if [ -z "$kernel" ] && [ "$(id -u)" -eq 0 ]; then
    apt-get --quiet=2 update || true
    kernel=$(newest)
fi
# Without a word from apt the one that is there does.
[ -n "$kernel" ] || kernel=$(cat "$out/kernel" 2>/dev/null) || { echo "build: apt knows no linux-image-amd64" >&2; exit 1; }
version=${kernel#linux-image-}
if [ "$(cat "$out/kernel" 2>/dev/null)" != "$kernel" ]; then
    work=$out/work
    rm -rf "$work" "$out/modules" "$out/kernel"
    mkdir -p "$work"
    (cd "$work" && apt-get --quiet=2 -o APT::Sandbox::User= download "$kernel")
    dpkg-deb -x "$work/$kernel"_*.deb "$work/kernel"
    depmod -b "$work/kernel" "$version"
    for module in "${MODULES[@]}"; do
        modprobe -d "$work/kernel" -S "$version" --show-depends "$module"
    done | sed -n "s,^insmod $work/kernel/\([^ ]*\).*,\1,p" | sort -u >"$work/list"
    while read -r file; do
        install -D -m 644 "$work/kernel/$file" "$out/modules/$file"
    done <"$work/list"
    cp "$work/kernel/lib/modules/$version"/modules.{order,builtin,builtin.modinfo} "$out/modules/lib/modules/$version/"
    depmod -b "$out/modules" "$version"
    cp "$work/kernel/boot/vmlinuz-$version" "$out/vmlinuz"
    rm -rf "$work"
    echo "$kernel" >"$out/kernel"
fi

root=$out/root
rm -rf "$root"
mkdir -p "$root"/{bin,dev,proc,sys,tmp,mnt}
cp "$(command -v busybox)" "$root/bin/busybox"
cp -r "$out/modules/lib" "$root/"
install -m 755 "$here/init.sh" "$root/init"
for program in agent ports webdav sound; do
    gcc -O2 -Wall -Wextra -Werror -static -s -o "$root/bin/$program" "$here/$program.c" -lm
done
(cd "$root" && find . | cpio --quiet -o -H newc -R 0:0 | gzip -1) >"$out/initrd.new"
mv "$out/initrd.new" "$out/initrd"
rm -rf "$root"
