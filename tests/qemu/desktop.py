"""An X server in memory for graphical clients, and what can be seen on it."""
import os
import subprocess
import time

from machine import client_environment, read_ppm


class Desktop:
    """An X server in memory for graphical clients."""

    def __init__(self):
        self.process, self.display = None, None
        for number in range(91, 120):
            if os.path.exists(f"/tmp/.X11-unix/X{number}"):
                continue
            self.process = subprocess.Popen(
                ["Xvfb", f":{number}", "-screen", "0", "1280x1024x24", "-nolisten", "tcp"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            end = time.monotonic() + 10
            while time.monotonic() < end and not os.path.exists(f"/tmp/.X11-unix/X{number}"):
                time.sleep(0.1)
            self.display = f":{number}"
            return

    def shot(self, path):
        subprocess.run(
            ["import", "-window", "root", "-depth", "8", path], env=client_environment(self.display), timeout=30, check=True
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def contains(big, small):
    """Whether the picture `small` stands anywhere in `big` unscaled (both PPM)."""
    bw, bh, b = read_ppm(big)
    sw, sh, s = read_ppm(small)
    rows = [s[y * sw * 3 : (y + 1) * sw * 3] for y in range(sh)]
    # The row with the most different bytes is the best needle.
    needle = max(range(sh), key=lambda y: len(set(rows[y])))
    start = b.find(rows[needle])
    while start >= 0:
        x, y = start // 3 % bw, start // 3 // bw - needle
        if start % 3 == 0 and 0 <= y <= bh - sh and x + sw <= bw:
            if all(b[((y + i) * bw + x) * 3 : ((y + i) * bw + x + sw) * 3] == rows[i] for i in range(sh)):
                return True
        start = b.find(rows[needle], start + 1)
    return False
