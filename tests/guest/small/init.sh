#!/bin/busybox sh
# Process 1 of the small guest. Takes commands, one a line, from the second serial port, runs each with sh and answers
# "::done STATUS" behind its output. The first line that it says is "::ready".
export PATH=/bin HOME=/tmp LANG=C
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o size=80% tmp /tmp
mkdir -p /dev/virtio-ports
for module in virtio_pci virtio_console xhci_pci usb_storage sr_mod isofs snd_hda_codec_generic snd_hda_intel; do
    modprobe -q $module
done
# The names that udev would give.
name_ports() {
    for port in /sys/class/virtio-ports/*; do
        ln -sf "/dev/${port##*/}" "/dev/virtio-ports/$(cat "$port/name")"
    done 2>/dev/null
}
tries=0
until name_ports; ls /dev/vport* >/dev/null 2>&1 || [ $tries -gt 50 ]; do sleep 0.1; tries=$((tries + 1)); done
name_ports
stty -F /dev/ttyS1 raw -echo 115200
exec 3<>/dev/ttyS1
echo "::ready" >&3
# In a shell of its own: programs that go to the background become children of process 1, and their ends would break `read`.
while read -r line <&3; do
    sh -c "$line" >&3 2>&1 3>&- </dev/null
    echo "::done $?" >&3
done &
while true; do
    sleep 3600 &
    wait
done
