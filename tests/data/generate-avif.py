#!/usr/bin/env python3
"""Writes the AVIF images beside this script that avifenc makes: one per feature that a reader has to know.

Needs avifenc (Debian: libavif-bin). The images in the repository were written by version 0.11.1 with libaom 3.6.0;
other versions write other bytes that show the same colors, and image sequences contain the time. Lines for MANIFEST.tsv
go to the standard output.

Unless its name says otherwise, an image is 64 x 48 pixels: red at the top left, green at the top right, blue at the
bottom left and white at the bottom right, each of 32 x 24 pixels. With alpha, these are opaque, 192, 128 and 0.
"""

import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
# With alpha 255, 192, 128 and 64.
MUTED = [(200, 120, 60, 255), (60, 120, 200, 192), (120, 200, 60, 128), (180, 60, 120, 64)]
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(rows):
    """An image of 8 bits per sample: gray, RGB or RGBA by the length of a pixel."""
    pixel = rows[0][0]
    color = {1: 0, 3: 2, 4: 6}[len(pixel)]
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, color, 0, 0, 0)
    raw = b"".join(b"\0" + b"".join(bytes(pixel) for pixel in row) for row in rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


# As an attribute, and among others.
SOURCE_TYPE = b"""<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?><x:xmpmeta xmlns:x='adobe:ns:meta/' x:xmptk='Secret Editor'>
<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><rdf:Description rdf:about=''
 xmlns:exif='http://ns.adobe.com/exif/1.0/' xmlns:Iptc4xmpExt='http://iptc.org/std/Iptc4xmpExt/2008-02-29/' exif:GPSLatitude='52,31.5N'
 Iptc4xmpExt:DigitalSourceType='http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia'/></rdf:RDF></x:xmpmeta>
<?xpacket end='w'?>"""


def quarters(width=64, height=48, colors=(RED, GREEN, BLUE, WHITE)):
    at = lambda x, y: colors[(2 * y >= height) * 2 + (2 * x >= width)]
    return png([[at(x, y) for x in range(width)] for y in range(height)])


def clear_quarters(width=64, height=48):
    return quarters(width, height, [color + (alpha,) for color, alpha in zip((RED, GREEN, BLUE, WHITE), (255, 192, 128, 0))])


def flat(color, width=64, height=64):
    return png([[color] * width] * height)


def rotated(shift, colors, alphas):
    """Quarters whose colors and alphas have moved by this many places."""
    return quarters(colors=[colors[(place - shift) % 4] + (alphas[(place - shift) % 4],) for place in range(4)])


def moving(frame, width=32, height=24):
    """A square of 8 x 8 pixels that moves by 2 to the right and 1 down in each frame, half transparent, over a gradient."""
    inside = lambda x, y: 0 <= x - 2 * frame < 8 and 0 <= y - frame < 8
    return png([[(250, 20 * frame, 30, 128) if inside(x, y) else (8 * x, 10 * y, 99, 255) for x in range(width)] for y in range(height)])


def encode(name, images, *options, durations=()):
    """Near lossless, so that a test can expect the colors within a few steps."""
    with tempfile.TemporaryDirectory() as directory:
        names = []
        for number, image in enumerate(images):
            if durations:
                names.extend(["--duration", str(durations[number])])
            names.append(str(Path(directory, f"{number}.png")))
            Path(names[-1]).write_bytes(image)
        quality = [] if "--lossless" in options else ["--min", "0", "--max", "8", "--minalpha", "0", "--maxalpha", "0"]
        command = ["avifenc", "-c", "aom", "-s", "6", *quality, *options, *names, str(HERE / name)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{name}: {done.stdout}{done.stderr}")
    return HERE / name


def icc_of_jpeg(data):
    """The profile in the one APP2 segment of a JPEG."""
    at = data.index(b"ICC_PROFILE\0\x01\x01")
    length = struct.unpack_from(">H", data, at - 2)[0]
    return data[at + 14:at - 2 + length]


def gray_profile():
    """A grayscale profile with the exponent 1 (ICC.1 8.4.4)."""
    tags = [(b"wtpt", b"XYZ \0\0\0\0" + struct.pack(">iii", 63190, 65536, 54061)), (b"kTRC", b"curv" + bytes(8))]
    table, data = struct.pack(">I", len(tags)), b""
    for name, tag in tags:
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(data), len(tag))
        data += tag
    head = struct.pack(">I4xI", 128 + len(table) + len(data), 0x02400000) + b"mntrGRAYXYZ " + bytes(12) + b"acsp"
    return head.ljust(68, b"\0") + struct.pack(">iii", 63190, 65536, 54061) + bytes(48) + table + data


def resized_grid(data, width, height):
    """Another output size for a grid: in its `ispe`, which avifenc writes first, and in its item."""
    (old_width, old_height) = struct.unpack_from(">II", data, data.index(b"ispe") + 8)
    at = data.index(b"ispe") + 8
    data = data[:at] + struct.pack(">II", width, height) + data[at + 8:]
    item = lambda w, h: struct.pack(">HH", w, h)
    at = data.index(b"mdat") + 4 + 4
    assert data[at:at + 4] == item(old_width, old_height), "the grid is not the first item of mdat"
    return data[:at] + item(width, height) + data[at + 4:]


def main():
    rows = []

    def add(name, size, images, options, note, durations=()):
        file = encode(name, images, *options, durations=durations)
        command = " ".join(["avifenc", *[Path(option).name for option in options]])
        rows.append((name, file, f"{size} AVIF", f"{command} (generate-avif.py)", note))

    plain, clear = [quarters()], [clear_quarters()]
    add("alpha.avif", "64x48x4", clear, ["-y", "444"], "alpha 255, 192, 128 and 0, not premultiplied")
    add("alpha-premultiplied.avif", "64x48x4", clear, ["-y", "444", "-p"], "the same image as alpha.avif: prem reference")
    add("alpha-10-bit.avif", "64x48x4", clear, ["-y", "420", "-d", "10"], "both streams have 10 bits")
    add("yuv420.avif", "64x48x3", plain, ["-y", "420"], "BT.601, full range")
    add("yuv422.avif", "64x48x3", plain, ["-y", "422"], "profile 2")
    add("yuv444.avif", "64x48x3", plain, ["-y", "444"], "profile 1")
    add("monochrome.avif", "64x48x1", [quarters(colors=[(0,), (85,), (170,), (255,)])], ["-y", "400"], "gray 0, 85, 170, 255; no chroma planes")
    add("limited-range.avif", "64x48x3", plain, ["-y", "420", "-r", "limited"], "the AV1 stream and nclx say limited range")
    add("limited-range-alpha.avif", "64x48x4", clear, ["-y", "444", "-r", "limited"], "limited range color; alpha has the full range")
    add("10-bit.avif", "64x48x3", plain, ["-y", "420", "-d", "10"], "")
    add("10-bit-444.avif", "64x48x3", plain, ["-y", "444", "-d", "10", "--cicp", "9/13/9"], "BT.2020 primaries and matrix, sRGB curve; colors are those of BT.2020")
    add("12-bit.avif", "64x48x3", plain, ["-y", "420", "-d", "12"], "profile 2")
    add("12-bit-limited-range.avif", "64x48x3", plain, ["-y", "444", "-d", "12", "-r", "limited"], "")
    add("bt709.avif", "64x48x3", plain, ["-y", "444", "--cicp", "1/13/1"], "matrix coefficients 1")
    add("pq.avif", "64x48x3", plain, ["-y", "420", "-d", "10", "--cicp", "9/16/9"], "high dynamic range: transfer characteristics 16")
    add("ycgco.avif", "64x48x3", plain, ["-y", "444", "--cicp", "1/13/8"], "matrix coefficients 8")
    add("lossless.avif", "64x48x3", plain, ["--lossless"], "identity matrix, quantizer 0")
    add("odd.avif", "33x17x4", [clear_quarters(33, 17)], ["-y", "420"], "odd sides in 4:2:0; quarters are 17 and 16 pixels wide, 9 and 8 high")
    add("irot-1.avif", "48x64x3 shown", plain, ["--irot", "1"], "stored as quarters; shown: green, white; red, blue")
    add("irot-3-imir-0.avif", "48x64x3 shown", plain, ["--irot", "3", "--imir", "0"], "stored as quarters; turned, then top and bottom exchanged: white, green; blue, red")
    add("imir-0.avif", "64x48x3", plain, ["--imir", "0"], "stored as quarters; top and bottom exchanged: blue, white; red, green")
    add("imir-1.avif", "64x48x3", plain, ["--imir", "1"], "stored as quarters; left and right exchanged: green, red; white, blue")
    add("clap.avif", "40x30x3 shown", plain, ["-y", "444", "--crop", "20,14,40,30"], "stored as quarters; the window starts at 20, 14: quarters meet at 12, 10")
    add("clap-irot-1.avif", "30x40x3 shown", [clear_quarters()], ["-y", "444", "--crop", "20,14,40,30", "--irot", "1"], "crop, then a quarter turn counterclockwise; alpha")
    add("pasp.avif", "64x48x3", plain, ["--pasp", "2,1"], "the pixel aspect ratio is ignored")
    add("grid.avif", "128x128x3", [flat(color) for color in (RED, GREEN, BLUE, WHITE)], ["-y", "420", "--grid", "2x2"], "one tile of 64 x 64 per color")
    add("grid-alpha.avif", "128x128x4", [flat(color + (alpha,)) for color, alpha in zip((RED, GREEN, BLUE, WHITE), (255, 192, 128, 0))],
        ["-y", "444", "--grid", "2x2"], "a second grid holds alpha")
    muted = [quarters(colors=MUTED)]
    add("premultiplied-10-bit.avif", "64x48x4", muted, ["-y", "444", "-d", "10", "-p"], "the colors MUTED of generate-avif.py")
    add("premultiplied-12-bit.avif", "64x48x4", muted, ["-y", "444", "-d", "12", "-p"], "the same image")
    add("premultiplied-limited-range.avif", "64x48x4", muted, ["-y", "444", "-r", "limited", "-p"], "the same image; alpha has the full range")
    add("premultiplied-lossless.avif", "64x48x4", muted, ["--lossless", "-p"], "the same image, identity matrix")
    add("premultiplied-animated.avif", "64x48x4 avis n=2", muted * 2, ["-y", "444", "-p"], "the primary item is the same image")
    add("premultiplied-grid.avif", "128x128x4", [flat(color) for color in MUTED], ["-y", "444", "--grid", "2x2", "-p"], "the same colors, one tile each")
    with tempfile.TemporaryDirectory() as directory:
        gray = Path(directory, "linear-gray.icc")
        gray.write_bytes(gray_profile())
        tones = [quarters(colors=[(16,), (63,), (112,), (208,)])]
        add("gray-profile.avif", "64x48x1", tones, ["-y", "400", "--icc", str(gray)], "gray 16, 63, 112, 208 with a profile of the exponent 1")
        profile = Path(directory, "p3.icc")
        profile.write_bytes(icc_of_jpeg((HERE / "p3-primaries.jpg").read_bytes()))
        exif = Path(directory, "exif")
        # avifenc repeats orientation 6 as irot 3, and a reader that obeys both turns the image twice.
        exif.write_bytes(b"MM\0\x2a\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 0))
        xmp = Path(directory, "xmp")
        xmp.write_bytes(b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>")
        add("icc.avif", "64x48x3", plain, ["-y", "444", "--icc", str(profile)], "Display P3 profile of p3-primaries.jpg")
        add("exif-xmp.avif", "48x64x3 shown", plain, ["--exif", str(exif), "--xmp", str(xmp)],
            "Exif orientation 6, which avifenc repeats as irot 3; XMP; stored as quarters; shown: blue, red; white, green")
        source_type = Path(directory, "source-type")
        source_type.write_bytes(SOURCE_TYPE)
        add("source-type.avif", "64x48x3", plain, ["--xmp", str(source_type)], "XMP with DigitalSourceType trainedAlgorithmicMedia")
    add("animated.avif", "64x48x4 avis n=3", [quarters(), quarters(colors=(WHITE, RED, GREEN, BLUE)), quarters(colors=(BLUE, WHITE, RED, GREEN))],
        ["-y", "420"], "the primary item is the first frame; opaque alpha")
    turning = lambda alphas: [rotated(shift, (RED, GREEN, BLUE, WHITE), alphas) for shift in range(3)]
    add("animated-10-bit.avif", "64x48x4 avis n=3", turning((255, 192, 128, 0)), ["-y", "420", "-d", "10", "--timescale", "30"],
        "frames of 2, 5 and 1 thirtieths of a second; quarters move one place to the next, with their alpha", (2, 5, 1))
    add("animated-clap-irot.avif", "30x40x4 shown avis n=3", turning((255, 255, 255, 255)),
        ["-y", "444", "--crop", "20,14,40,30", "--irot", "1"], "clap and irot in the sample entry; the same quarters, opaque")
    add("animated-lossless.avif", "32x24x4 avis n=8", [moving(frame) for frame in range(8)], ["--lossless", "-k", "4", "--timescale", "1000"],
        "moving() of generate-avif.py, key frames 0 and 4", (40, 50, 60, 70, 80, 90, 100, 110))
    overhang = HERE / "grid-overhang.avif"
    overhang.write_bytes(resized_grid((HERE / "grid.avif").read_bytes(), 100, 90))
    rows.append((overhang.name, overhang, "100x90x3 AVIF", "grid.avif with another output size (generate-avif.py)", "the right and bottom tiles overhang"))

    for name, file, kind, source, note in sorted(rows):
        print("\t".join([name, str(file.stat().st_size), kind, f"generated: {source}", "CC0 (generated)", note]))


if __name__ == "__main__":
    main()
