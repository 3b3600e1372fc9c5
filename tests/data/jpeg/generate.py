#!/usr/bin/env python3
"""Writes JPEGs with which the decoder at scale 1/8 is compared with libjpeg (src/render/codec/jpeg/tests.rs).

    generate.py                 the files beside this script
    generate.py DIRECTORY COUNT as many others, for JPEG_CORPUS

Needs cjpeg and jpegtran (Debian: libjpeg-turbo-progs). Each number is a seed: sampling factors, size, quality, restart
interval, tables, scans and contents. A name that begins with `other` is of a file that is left to libjpeg;
photo-progressive.jpg is ../gps.jpg.
"""

import random
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SAMPLING = ["1x1", "2x1", "2x2", "1x2", "4x1", "4x2", "2x4,1x2,1x2", "2x2,2x1,1x2", "2x2,1x1,2x1", "1x1,2x2,1x1",
            "1x1,1x1,2x2", "4x2,2x1,2x1", "2x2,1x1,2x2", "3x1", "1x3", "1x4"]
# Chroma of 4 x 4 samples, or sampling that is no whole multiple.
OTHER_SAMPLING = ["4x4", "2x1,3x1,1x1", "3x2,2x1,1x1"]


def ppm(random, width, height, channels):
    """Gradients, edges and noise, in parts that depend on the seed."""
    noise = random.choice([0, 0, 8, 60, 255])
    slopes = [(random.uniform(-3, 3), random.uniform(-3, 3), random.randrange(256)) for _ in range(channels)]
    box = [random.randrange(max(width, height)) for _ in range(4)]
    rows = bytearray()
    for y in range(height):
        for x in range(width):
            inside = box[0] <= x < box[1] + box[0] and box[2] <= y < box[3] + box[2]
            for at, (a, b, c) in enumerate(slopes):
                value = 255 * (at % 2) if inside else int(a * x + b * y + c)
                rows.append(min(255, max(0, value + (random.randrange(-noise, noise + 1) if noise else 0))))
    kind = b"P6" if channels == 3 else b"P5"
    return kind + b"\n%d %d\n255\n" % (width, height) + rows


def bands(random, first):
    """Scans of the AC coefficients of a component, to full precision."""
    splits = sorted(random.sample(range(2, 64), random.randrange(0, 4)))
    for start, end in zip([1] + splits, [split - 1 for split in splits] + [63]):
        low = random.choice([0, 0, 1, 2, 3])
        yield f"{first}: {start}-{end}, 0, {low};"
        for bit in range(low, 0, -1):
            yield f"{first}: {start}-{end}, {bit}, {bit - 1};"


def progressive(random, channels):
    """A valid script, with the AC scans of the components in any order."""
    low = random.choice([0, 1, 1, 2])
    together = random.random() < 0.7
    groups = [" ".join(map(str, range(channels)))] if together else [str(at) for at in range(channels)]
    script = [f"{group}: 0-0, 0, {low};" for group in groups]
    queues = [[f"{group}: 0-0, {bit}, {bit - 1};" for bit in range(low, 0, -1)] for group in groups]
    queues += [list(bands(random, at)) for at in range(channels)]
    while any(queues):
        queue = random.choice([queue for queue in queues if queue])
        script.append(queue.pop(0))
    return script


def sequential(random, channels):
    order = list(range(channels))
    if channels == 3 and random.random() < 0.5:
        return ["0;", "1 2;"] if random.random() < 0.5 else ["0 1;", "2;"]
    return [f"{at};" for at in order]


def make(seed, directory, small):
    random_ = random.Random(seed)
    largest = 70 if small else random_.choice([16, 40, 100, 200])
    width, height = random_.randrange(8, largest), random_.randrange(8, largest)
    channels = 1 if random_.random() < 0.08 else 3
    is_other = random_.random() < 0.04
    options = ["-quality", str(random_.choice([1, 10, 30, 50, 75, 75, 85, 90, 95, 98, 100]))]
    if channels == 3:
        options += ["-sample", random_.choice(OTHER_SAMPLING if is_other else SAMPLING)]
        if random_.random() < 0.08:
            options.append("-rgb")
    elif is_other:
        options.append("-arithmetic")
    if random_.random() < 0.3:
        options += ["-restart", random_.choice(["1B", "2B", "3B", "7B", "1", "2"])]
    if random_.random() < 0.4:
        options.append("-optimize")
    with tempfile.NamedTemporaryFile("w", suffix=".scans") as script:
        kind = random_.random()
        if kind < 0.45:
            options.append("-progressive")
            if kind < 0.3:
                script.write("\n".join(progressive(random_, channels)))
                script.flush()
                options += ["-scans", script.name]
        elif kind < 0.6:
            script.write("\n".join(sequential(random_, channels)))
            script.flush()
            options += ["-scans", script.name]
        image = ppm(random_, width, height, channels)
        made = subprocess.run(["cjpeg", *options], input=image, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if made.returncode != 0:
        # MCUs of more than ten blocks, for one.
        return None
    data = made.stdout
    if random_.random() < 0.1:
        cut = subprocess.run(["jpegtran", "-copy", "none", "-crop", f"{max(8, width // 2)}x{max(8, height // 2)}+3+5"],
                             input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        data = cut.stdout if cut.returncode == 0 else data
    if random_.random() < 0.1:
        # Fill bytes before the last marker, and bytes behind it.
        data = data[:-2] + b"\xff" * random_.randrange(1, 4) + data[-2:] + random_.randbytes(3)
    if random_.random() < 0.05:
        data = data[:2] + b"\xff\xfe" + struct.pack(">H", 5) + b"\xff\xd9\0" + data[2:]
    name = f"{'other-' if is_other else ''}{seed}.jpg"
    (directory / name).write_bytes(data)
    return name


def main():
    if len(sys.argv) == 1:
        for old in HERE.glob("*.jpg"):
            old.unlink()
        wanted, directory, seed = 64, HERE, 0
        photo = HERE / "photo-progressive.jpg"
        photo.write_bytes(subprocess.run(["jpegtran", "-copy", "none", "-progressive", HERE.parent / "gps.jpg"],
                                         stdout=subprocess.PIPE, check=True).stdout)
        # Chroma beyond the range of samples, which C and SIMD instructions limit in their own ways: its DC times 20.
        large = subprocess.run(["cjpeg", "-quality", "100", "-sample", "2x2"], stdout=subprocess.PIPE, check=True,
                               input=b"P6\n40 40\n255\n" + b"\xff\0\0" * 1600).stdout
        at = large.index(b"\xff\xdb\0\x43\1") + 5
        large = large[:at] + b"\x14" + large[at + 1:]
        (HERE / "other-large.jpg").write_bytes(large)
    else:
        directory, wanted, seed = Path(sys.argv[1]), int(sys.argv[2]), 100_000
        directory.mkdir(exist_ok=True)
    written = 0
    while written < wanted:
        written += make(seed, directory, len(sys.argv) == 1) is not None
        seed += 1


main()
