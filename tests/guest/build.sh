#!/usr/bin/env bash
# Builds the Debian guest that run.py boots: DIR/vmlinuz, DIR/initrd, DIR/root.ext4.
#
#   tests/guest/build.sh [DIR]        DIR: target/guest; about three minutes, 1.5 GB while it works
#
# Needs root, mmdebstrap, e2fsprogs and cpio. Packages come from wherever this machine's apt takes its own from. No boot loader, no
# systemd: init.sh is process 1. The kernel is Debian's normal one (the cloud kernel has no qxl module), unpacked without
# its hooks, and keeps only the modules that this machine model needs.
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD
out=${1:-../../target/guest}
mkdir -p "$out"
out=$(realpath "$out")
work=$out/work
[ "$(id -u)" -eq 0 ] || { echo "build: needs root" >&2; exit 1; }
for tool in mmdebstrap mkfs.ext4 cpio dpkg-deb; do
    command -v $tool >/dev/null || { echo "build: $tool is not installed (mmdebstrap e2fsprogs cpio)" >&2; exit 1; }
done

PACKAGES=(
    busybox-static kmod udev                            # process 1 and the initrd
    xserver-xorg-core xserver-xorg-input-evdev xauth
    xserver-xorg-video-qxl                              # the driver; modesetting is part of the server
    xterm xfonts-base twm
    x11-apps x11-utils x11-xserver-utils xdotool        # xwd, x11perf, xlogo; xrandr, xsetroot
    feh imagemagick                                     # the picture viewer, and pictures
    spice-vdagent xclip                                 # the agent, and a program that copies and pastes
)
# Modules with their dependencies; the rest of the 300 MB stays out.
MODULES=(
    virtio_pci virtio_blk virtio_console crc32c_generic ext4 qxl i8042 atkbd psmouse evdev serio_raw
    uinput usbhid hid_generic xhci_pci ehci_pci uhci_hcd
)

rm -rf "$work"
root=$work/root
mkdir -p "$root"
join() { local IFS=,; echo "$*"; }
# What was unpacked and configured once is kept under a name that says what it is.
packages=$out/packages-$(echo "${PACKAGES[@]}" | sha256sum | cut -c 1-12).tar
if [ ! -s "$packages" ]; then
    mmdebstrap --quiet --variant=apt --include="$(join "${PACKAGES[@]}")" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$packages.new.tar" # a name without .tar would be a folder
    mv "$packages.new.tar" "$packages"
fi
tar -C "$root" -xf "$packages" --exclude='./dev/*'
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*

# The kernel; the guest's own kmod works out what depends on what.
kernel=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
version=${kernel#linux-image-}
(cd "$work" && apt-get --quiet=2 -o APT::Sandbox::User=root download "$kernel")
dpkg-deb -x "$work/$kernel"_*.deb "$root/kernel"
cp "$root/kernel/boot/vmlinuz-$version" "$out/vmlinuz"
chroot "$root" depmod -b /kernel "$version"
for module in "${MODULES[@]}"; do
    # "insmod FILE" per line; what is built in prints "builtin".
    chroot "$root" modprobe -d /kernel -S "$version" --show-depends "$module"
done | sed -n 's,^insmod /kernel/\([^ ]*\).*,\1,p' | sort -u >"$work/list"
while read -r file; do
    install -D -m 644 "$root/kernel/$file" "$root/$file"
done <"$work/list"
cp "$root/kernel/lib/modules/$version"/modules.{order,builtin,builtin.modinfo} "$root/lib/modules/$version/"
rm -rf "$root/kernel"
chroot "$root" depmod "$version"

# The initrd only finds the disk.
early=$work/early
mkdir -p "$early"/{bin,dev,proc,sys,root,lib/modules}
cp "$root/bin/busybox" "$early/bin/"
cp -r "$root/lib/modules/$version" "$early/lib/modules/"
cat >"$early/init" <<'INIT'
#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
modprobe virtio_pci; modprobe virtio_blk; modprobe crc32c_generic; modprobe ext4
tries=0
until [ -b /dev/vda ] || [ $tries -gt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
mount -t ext4 -o rw /dev/vda /root
umount /proc /sys
mount --move /dev /root/dev
exec switch_root /root /sbin/init
INIT
chmod 755 "$early/init"
(cd "$early" && find . | cpio --quiet -o -H newc | gzip -1) >"$out/initrd"

install -m 755 "$here/init.sh" "$root/sbin/init"
mkdir -p "$root/opt/busybox"
chroot "$root" /bin/busybox --install -s /opt/busybox
mkdir -p "$root/etc/X11" "$root/pictures"
cp "$here"/xorg-*.conf "$root/etc/X11/"
echo guest >"$root/etc/hostname"
# Pictures with many colours, with few, and with transparency.
chroot "$root" convert -size 640x480 -seed 7 plasma:fractal /pictures/plasma.png
chroot "$root" convert -size 800x600 gradient:navy-gold /pictures/gradient.png
chroot "$root" convert -size 300x300 -seed 9 xc:gray +noise Random /pictures/noise.png
size=$(($(du -sm "$root" | cut -f1) + 150))
rm -f "$out/root.ext4"
mkfs.ext4 -q -F -O ^has_journal,^metadata_csum -d "$root" "$out/root.ext4" "${size}M"
rm -rf "$work"
ls -lh "$out"
