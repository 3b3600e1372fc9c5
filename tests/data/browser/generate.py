#!/usr/bin/env python3
"""Writes the images beside this script: AV1 and VP8 streams for tests/program/browser, which puts them into files of its
own with profiles, rotations and frames.

Needs avifenc (Debian: libavif-bin; the images in the repository were written by version 0.11.1 with libaom 3.6.0) and
cwebp (Debian: webp; 1.2.4) and cjpeg (Debian: libjpeg-turbo-progs; 2.1.5). Lines for MANIFEST.tsv go to the standard output.
"""

import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT = 24, 16


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(pixel):
    """An image of 8 bits per sample: gray, RGB or RGBA by the length of a pixel."""
    rows = [[pixel(x, y) for x in range(WIDTH)] for y in range(HEIGHT)]
    color = {1: 0, 3: 2, 4: 6}[len(rows[0][0])]
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, color, 0, 0, 0)
    raw = b"".join(b"\0" + b"".join(bytes(pixel) for pixel in row) for row in rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def colors(x, y, turn=0):
    """Every quarter has another gradient, so that a rotation shows."""
    x, y = (x + 6 * turn) % WIDTH, (y + 4 * turn) % HEIGHT
    across, down = 255 * x // (WIDTH - 1), 255 * y // (HEIGHT - 1)
    return (across, down, (255 - across, 60, down, 200)[x // 12 + 2 * (y // 8)])


def clear(x, y, turn=0):
    return colors(x, y, turn) + ((255, 170, 85, 0)[(x // 3 + y // 2 + turn) % 4],)


def gray(x, y):
    return (255 * ((x + y) % 24) // 23,)


def run(name, arguments, images, shown=f"{WIDTH}x{HEIGHT}"):
    with tempfile.TemporaryDirectory() as directory:
        files = [Path(directory, f"{number}.png") for number in range(len(images))]
        for file, image in zip(files, images):
            file.write_bytes(image)
        command = arguments([str(file) for file in files], str(HERE / name))
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{name}: {done.stdout}{done.stderr}")
    size = (HERE / name).stat().st_size
    options = " ".join(option for option in command if "/" not in option)
    note = "alpha 255, 170, 85 and 0" if "alpha" in name or "premultiplied" in name else "gradients"
    kind = {".avif": "AVIF", ".webp": "WebP", ".jpg": "JPEG"}[Path(name).suffix]
    print(f"{name}\t{size}\t{shown} {kind}\tgenerated: {options} (generate.py)\tCC0 (generated)\t{note}")


def avif(name, images, *options):
    quality = ["--min", "0", "--max", "8", "--minalpha", "0", "--maxalpha", "0"]
    run(name, lambda files, out: ["avifenc", "-c", "aom", "-s", "6", *quality, *options, *files, out], images)


def main():
    for depth in 8, 10, 12:
        for range_ in "full", "limited":
            for chroma in "420", "422", "444":
                avif(f"{chroma}-{depth}-{range_}.avif", [png(colors)], "-y", chroma, "-d", str(depth), "-r", range_)
            avif(f"400-{depth}-{range_}.avif", [png(gray)], "-y", "400", "-d", str(depth), "-r", range_)
        avif(f"alpha-{depth}.avif", [png(clear)], "-y", "444", "-d", str(depth))
        avif(f"premultiplied-{depth}.avif", [png(clear)], "-y", "444", "-d", str(depth), "-p")
    avif("alpha-420-limited.avif", [png(clear)], "-y", "420", "-r", "limited")
    avif("premultiplied-420-limited.avif", [png(clear)], "-y", "420", "-r", "limited", "-p")
    for name, options in ("frames", []), ("frames-premultiplied", ["-p"]):
        avif(f"{name}.avif", [png(lambda x, y: clear(x, y, turn)) for turn in range(3)], "-y", "444", *options)
    for name, pixel in ("lossy", colors), ("lossy-alpha", clear):
        run(f"{name}.webp", lambda files, out: ["cwebp", "-quiet", "-q", "90", *files, "-o", out], [png(pixel)])
    ppm = b"P6 25 17 255\n" + bytes(value for y in range(17) for x in range(25) for value in colors(x % WIDTH, y % HEIGHT))
    for sampling in "1x1", "2x1", "1x2", "2x2", "4x1":
        for name, options in ("", []), ("-progressive", ["-progressive"]), ("-restart", ["-restart", "1"]):
            command = lambda files, out: ["cjpeg", "-quality", "90", "-sample", sampling, *options, "-outfile", out, *files]
            run(f"{sampling}{name}.jpg", command, [ppm], "25x17")


if __name__ == "__main__":
    main()
