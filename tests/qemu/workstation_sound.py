"""Sound through intel-hda: what the guest plays a stock client gets, what the client says the guest records.

Samples go through unpacked (SPICE_DISABLE_OPUS takes Opus from the client) as frames that carry their number, and as tones through
Opus. A guest in QEMU's translator may be late, so that a part is missing; what comes must be right, in order and whole otherwise.
"""
import array
import cmath
import math
import statistics
import time

from machine import Machine
from workstation_kit import expect, report

RATE = 48000
BLOCK = RATE // 10
TONES = (440, 1000)  # left and right; whole periods in a block
AMPLITUDE = 8000
MARK, MARKED = 0xC000, 0x4000
RAW = {"SPICE_DISABLE_OPUS": "1"}


def counter(seconds):
    """Frames as sound.c makes them: 16 bits of the number left, the rest and a mark right."""
    samples = array.array("H")
    for n in range(int(seconds * RATE)):
        samples.append(n & 0xFFFF)
        samples.append(MARKED | n >> 16)
    return samples.tobytes()


def tone(seconds):
    samples = array.array("h")
    for n in range(int(seconds * RATE)):
        for frequency in TONES:
            samples.append(round(AMPLITUDE * math.sin(2 * math.pi * frequency * n / RATE)))
    return samples.tobytes()


def numbers(data):
    """(count of marked frames, gaps, missing frames in them, repeated or reordered, silent frames in between, anything else)."""
    samples = array.array("H", data[: len(data) // 4 * 4])
    good = gaps = missing = back = silent = other = quiet = 0
    last = None
    for at in range(0, len(samples), 2):
        left, right = samples[at], samples[at + 1]
        if right & MARK == MARKED:
            number = (right & ~MARK) << 16 | left
            if last is not None:
                if number <= last:
                    back += 1
                elif number != last + 1:
                    gaps += 1
                    missing += number - last - 1
                silent += quiet
            last, quiet = number, 0
            good += 1
        elif left or right:
            other += 1
        else:
            quiet += 1
    return good, gaps, missing, back, silent, other


def check_numbers(name, data, seconds, said, least):
    good, gaps, missing, back, silent, other = numbers(data)
    share = good / (seconds * RATE)
    wrong = [f"{other} frames are nothing that was sent"] if other else []
    if back and Machine.library is None:
        # Recorded: when its ring has overflowed. Played: seen once, on a machine with five times the work that it could do.
        print(f"NOTE {name}: on spice-server frames come out of order, {back} times", flush=True)
    elif back:
        wrong.append(f"{back} frames came again or out of order")
    wrong += [f"only {share:.1%} of the frames came"] if share < least else []
    report(name, wrong, f"{good} frames ({share:.2%}), {gaps} gaps with {missing} missing, {silent} silent in between; the guest {said.strip()}")


def check_tones(name, data, seconds, said, limit):
    samples = array.array("h", data[: len(data) // 4 * 4])
    wrong, figures = [], []
    for channel, frequency in enumerate(TONES):
        signal = samples[channel::2]
        turn = [cmath.exp(-2j * math.pi * frequency * n / RATE) for n in range(BLOCK)]
        found = []
        for at in range(0, len(signal) - BLOCK, BLOCK):
            block = signal[at : at + BLOCK]
            part = 2 / BLOCK * sum(x * t for x, t in zip(block, turn))
            power = sum(x * x for x in block) / BLOCK
            if power > 100:
                tone_power = abs(part) ** 2 / 2
                found.append((abs(part), 10 * math.log10(tone_power / max(power - tone_power, 1e-9))))
        amplitude = statistics.median(a for a, _ in found) if found else 0
        ratio = statistics.median(r for _, r in found) if found else -99
        if len(found) < 0.8 * seconds * 10:
            wrong.append(f"{frequency} Hz: sound in {len(found)} of {seconds * 10} tenths of a second")
        if abs(amplitude - AMPLITUDE) > 0.1 * AMPLITUDE:
            wrong.append(f"{frequency} Hz has the amplitude {amplitude:.0f}")
        if ratio < limit:
            wrong.append(f"{frequency} Hz has {ratio:.1f} dB to the rest")
        figures.append(f"{frequency} Hz {ratio:.1f} dB, amplitude {amplitude:.0f}, {len(found)} tenths")
    report(name, wrong, "; ".join(figures) + f"; the guest {said.strip()}")


def play(station, kind, seconds):
    """What the client got, and what the guest said."""
    client, guest = station.client, station.guest
    path = station.file("heard.raw")
    client.send("listen", path)
    client.wait("listening")
    said = guest.must(f"sound play {kind} {seconds}", 4 * seconds + 60)
    client.wait("playback", 5, what="stop")
    client.send("hear-no-more")
    client.wait("heard")
    with open(path, "rb") as file:
        return file.read(), said


def record(station, data, seconds):
    client, guest = station.client, station.guest
    with open(station.file("spoken.raw"), "wb") as file:
        file.write(data)
    client.send("speak", station.file("spoken.raw"))
    said = guest.must(f"sound record {seconds} /tmp/recorded", 4 * seconds + 60)
    return guest.fetch("/tmp/recorded", seconds * RATE * 4), said


def is_right(percent, levels):
    return levels[0] == levels[1] and (levels[0] == 65535 if percent == 100 else 20000 < levels[0] < 60000)


def volume(station):
    client, guest = station.client, station.guest
    wrong = []
    for percent, name in ((50, "half"), (100, "full")):
        client.events.clear()
        client.taken = 0
        guest.must(f"sound mixer {percent}")
        for channel in ("playback", "record"):
            # The last one counts; the two channels come in any order.
            end, levels = time.monotonic() + 5, [0, 0]
            while not is_right(percent, levels) and time.monotonic() < end:
                client.pump(0.1)
                told = client.seen(channel, what="volume")
                levels = told[-1]["levels"] if told else levels
            if not is_right(percent, levels):
                wrong.append(f"{channel}: {name} is {levels}")
    report("sound: volume set in the guest reaches the client", wrong)


def tests(station):
    seconds = 3 if station.quick else 20
    # What QEMU's intel-hda drops by itself when the host is late, 2048 frames at a time, no library can give back.
    least = 0.7 if station.quick else 0.9
    for settings, name in ((RAW, "raw"), (None, "Opus")):
        client = station.connect("--audio", settings=settings)
        if not (client.wait("channel", 10, channel="playback", what="opened") or client.seen("channel", channel="playback", what="opened")):
            report(f"sound: {name}", "no playback channel")
            continue
        station.guest.must("sound mixer 100")
        heard, said = play(station, "counter" if settings else "tone", seconds)
        if settings:
            check_numbers("sound: played, raw", heard, seconds, said, least)
            start = client.seen("playback", what="start")
            report("sound: the format", expect([(event["channels"], event["rate"]) for event in start], [(2, RATE)], "starts"))
        else:
            check_tones("sound: played, Opus", heard, seconds, said, 30)
        heard, said = record(station, (counter if settings else tone)(seconds + 2), seconds)
        if settings:
            check_numbers("sound: recorded, raw", heard, seconds, said, least)
            volume(station)
        else:
            # Each frame that spice-server loses in its ring is a jump in the tone.
            check_tones("sound: recorded, Opus", heard, seconds, said, 30 if Machine.library else 12)
