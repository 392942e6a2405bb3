#!/bin/busybox sh
# Process 1 of the guest. Takes commands, one a line, from the second serial port, runs each with sh and answers
# "::done STATUS" behind its output. The first line that it says is "::ready".
# What Debian left out of a minimal system, busybox has.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/opt/busybox HOME=/root DISPLAY=:0 LANG=C
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
hostname guest
ip link set lo up 2>/dev/null
for module in evdev psmouse atkbd usbhid hid_generic uhci_hcd ehci_pci xhci_pci; do modprobe -q $module; done
/lib/systemd/systemd-udevd --daemon 2>/dev/null
udevadm trigger --action=add 2>/dev/null
udevadm settle -t 120 2>/dev/null
stty -F /dev/ttyS1 raw -echo 115200
exec 3<>/dev/ttyS1
echo "::ready" >&3
while read -r line <&3; do
    sh -c "$line" >&3 2>&1 3>&- </dev/null
    echo "::done $?" >&3
done
